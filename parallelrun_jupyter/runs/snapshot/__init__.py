"""What a run looks like at one moment: bounded JSON, made from its state."""
