"""Azure's pipelines: steps, runs, outputs and their views."""
