"""Tables in a worker: a mini-batch's rows are read and typed."""
