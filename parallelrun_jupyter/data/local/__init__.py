"""Files on this machine: their listing, and their planned versions."""
