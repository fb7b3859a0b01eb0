"""Remote files brought to this machine: a cache, and who fills it."""
