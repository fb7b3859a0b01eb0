"""The rows of a run: committed, merged into one file, and reported as Azure does."""
