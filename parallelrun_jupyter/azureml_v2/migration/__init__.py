"""Writes runs, cells and notebooks of SDK v1 as folders that Azure ML v2 and this project can run."""
