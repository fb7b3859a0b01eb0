"""A node: the workers of one machine are started, fed, timed and sampled."""
