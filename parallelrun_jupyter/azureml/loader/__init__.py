"""The import layer: Azure's modules by name, served from here."""
