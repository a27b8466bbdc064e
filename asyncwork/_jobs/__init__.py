"""Jobs apart from Redis: their names and ids, their handlers and arguments, and errors as text."""
