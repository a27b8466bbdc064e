"""The only package that speaks to Redis or makes a key."""
