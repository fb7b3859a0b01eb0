"""What a user does with a run: submit it, hold it, read its results, resume it."""
