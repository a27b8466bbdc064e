"""A namespace: the Redis that holds it, and the names of its keys."""

from __future__ import annotations

from dataclasses import dataclass

from .client import RedisClient
from .keys import Keys


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace in one Redis, which everything that reads or writes it shares."""

    redis: RedisClient
    keys: Keys

    @classmethod
    def of(cls, redis: RedisClient) -> Namespace:
        """Return the namespace that a client was made for."""
        return cls(redis, Keys(redis.namespace))
