"""Planning: inputs are listed and cut into mini-batches, and written to the plan file."""
