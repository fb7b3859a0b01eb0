"""The logs of a run: read, searched, and fetched from other machines."""
