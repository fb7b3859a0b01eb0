"""Several calls of ``run()`` in flight in one worker."""
