"""The background services of a pool."""
