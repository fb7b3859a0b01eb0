"""Checks of files before a run: findings with file, line, column and a proposal."""
