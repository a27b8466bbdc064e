"""Start a redis-server for this process, on a machine where none is running.

with EmbeddedRedis() as server:
    client = redis.Redis.from_url(server.url)
"""

from .program import find_redis_server
from .server import EmbeddedRedis

__all__ = ["EmbeddedRedis", "find_redis_server"]
