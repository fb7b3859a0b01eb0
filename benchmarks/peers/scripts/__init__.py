"""What users would write: ``init()`` and ``run(mini_batch)``, knowing nothing of any engine."""
