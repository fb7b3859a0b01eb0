"""Scripts as users would write them: ``init()`` and ``run(mini_batch)``, independent of any engine."""
