"""Azure's names for pipelines: steps, outputs, runs and their views."""
