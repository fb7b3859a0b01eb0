"""The definition of a run: settings, inputs and output, compute, entry script."""
