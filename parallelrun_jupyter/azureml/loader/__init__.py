"""The import layer: serves Azure's modules by name."""
