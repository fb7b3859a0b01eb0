"""The entry scripts: ``init()`` opens the device, and ``run(mini_batch)`` reads, predicts and returns rows."""
