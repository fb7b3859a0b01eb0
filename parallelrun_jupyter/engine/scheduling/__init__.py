"""Scheduling: signals in, actions out; no input or output, no clock."""
