"""The values that the public API returns: frozen, and without behaviour. Each module has those of one subject."""
