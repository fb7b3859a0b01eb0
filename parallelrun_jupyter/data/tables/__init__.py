"""Tables as files: found, cut into mini-batches without splitting a row, and typed."""
