"""The commands of the terminal and the notebook, and their options."""
