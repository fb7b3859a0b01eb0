"""Azure ML v2 jobs on this machine: a reader of their files, and what runs them."""
