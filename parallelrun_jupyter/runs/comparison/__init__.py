"""The comparison of two runs: settings, counts, times, and the rows of each item."""
