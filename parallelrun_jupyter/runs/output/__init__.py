"""The rows of a run: committed, merged into one file, read back, and reported as Azure does."""
