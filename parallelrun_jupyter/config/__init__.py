"""What a run is asked to do: its settings, its step, where it runs, its script."""
