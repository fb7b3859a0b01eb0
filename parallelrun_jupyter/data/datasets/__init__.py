"""Datasets: the inputs of a run, as the user describes them."""
