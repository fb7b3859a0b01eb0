"""Commands for the terminal and the notebook, and their options."""
