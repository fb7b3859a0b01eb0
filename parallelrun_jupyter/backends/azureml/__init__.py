"""Azure ML: a run is a job there, and its results are read as they appear."""
