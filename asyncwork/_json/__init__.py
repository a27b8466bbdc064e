"""JSON as gocraft/work reads and writes it."""
