"""Pipelines: runs of runs. A detached driver launches the steps one by one, by the public API."""
