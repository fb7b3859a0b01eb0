"""The journal: its events, its files, and the state that is folded from it."""
