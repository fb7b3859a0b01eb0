"""Partition keys: in paths, in columns, and in folders that are written by key."""
