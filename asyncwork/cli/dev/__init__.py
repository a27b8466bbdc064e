"""``asyncwork dev``: a pool, its Redis and the web UI in one terminal, restarted on changes."""
