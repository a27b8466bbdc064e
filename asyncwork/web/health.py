"""Health check for load balancers and orchestrators: whether the web process is alive and Redis replies."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import Client
from ..errors import RedisUnavailable
from .context import app_context
from .responses import JsonResponse

PATH = "/healthz"
# Seconds that Redis has to reply.
_TIMEOUT = 2.0
# Seconds for which a result is cached, because any client may send any number of health checks.
_CACHED_FOR = 1.0


class HealthCheck:
    """Pings Redis, once for all concurrent requests."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._redis_answers = False

    async def redis_answers(self, client: Client) -> bool:
        """Return whether Redis replies; the result is at most a second old."""
        async with self._lock:
            if time.monotonic() - self._checked_at >= _CACHED_FOR:
                try:
                    async with asyncio.timeout(_TIMEOUT):
                        await client.ping()
                except (RedisUnavailable, TimeoutError):
                    self._redis_answers = False
                else:
                    self._redis_answers = True
                self._checked_at = time.monotonic()
            return self._redis_answers


def route() -> Route:
    """Return the route of the health check."""
    check = HealthCheck()

    async def health(request: Request) -> Response:
        answers = await check.redis_answers(app_context(request).client)
        return JsonResponse({"redis": answers}, 200 if answers else 503)

    return Route(PATH, health)
