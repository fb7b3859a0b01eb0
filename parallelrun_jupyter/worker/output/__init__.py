"""Encodes the results of run() as lines of text or as a table."""
