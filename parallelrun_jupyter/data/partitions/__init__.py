"""Partition keys: read from paths, grouped by, and written as folders."""
