"""Output: rows are committed, uploaded and published."""
