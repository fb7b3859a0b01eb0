"""Tables in a worker: reads the rows of a mini-batch with the decided column types."""
