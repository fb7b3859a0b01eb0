"""A run at one moment: bounded JSON, computed from its state."""
