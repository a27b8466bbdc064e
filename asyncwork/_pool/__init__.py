"""Parts of a worker pool: its registered handlers, its life from start to stop, and its settings."""
