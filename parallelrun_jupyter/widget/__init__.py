"""What is shown of a run. Everything here draws snapshots; nothing here decides what they mean."""
