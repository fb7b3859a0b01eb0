"""Datasets: what a run reads, as the user names it."""
