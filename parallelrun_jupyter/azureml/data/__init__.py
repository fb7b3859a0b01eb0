"""Azure's datasets and tables by their names."""
