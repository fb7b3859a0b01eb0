"""The engines on a function and a variable of a notebook, in the one line that their users write."""
