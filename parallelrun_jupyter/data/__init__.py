"""What a run reads: inputs, and how they become items."""
