"""A node: one machine's workers, started, fed, timed and sampled."""
