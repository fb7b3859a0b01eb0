"""The run folder: its record, its journal, and what is folded from them."""
