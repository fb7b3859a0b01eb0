"""The cost of this project beside its alternatives, measured in one run."""
