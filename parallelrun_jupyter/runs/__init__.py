"""The run folder: its record, its journal, and everything computed from them."""
