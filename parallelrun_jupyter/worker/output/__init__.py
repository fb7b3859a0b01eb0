"""What run() returned, as lines of text or as a table."""
