"""Partition keys: read from paths, used for grouping, and written as folders."""
