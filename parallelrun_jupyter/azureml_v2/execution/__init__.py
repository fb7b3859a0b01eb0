"""Runs jobs on this machine: bindings to values, steps to records of a pipeline, names to local ones."""
