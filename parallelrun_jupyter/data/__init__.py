"""Inputs of a run: datasets, object stores, and their division into mini-batches."""
