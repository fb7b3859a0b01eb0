"""Plans tables: finds their rows, cuts them into mini-batches, and decides the column types."""
