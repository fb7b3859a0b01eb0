"""Azure's names for datasets, tables and inputs of steps."""
