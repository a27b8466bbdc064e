"""The only place that speaks to Redis or knows a key."""
