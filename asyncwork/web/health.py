"""What a load balancer or an orchestrator asks: whether the web process lives, and whether Redis answers it."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import Client
from ..errors import RedisUnusable
from .context import Site
from .responses import JsonResponse

PATH = "/healthz"
# Seconds that Redis is given to answer, and for which an answer is good: anybody may ask, as often as they like.
_PATIENCE = 2.0
_GOOD_FOR = 1.0


def is_health_check(request: Request) -> bool:
    """Tell whether a request asks for nothing else: it needs no password, no name of the server, and no permission."""
    path: str = request.scope["path"]
    root: str = request.scope.get("root_path", "")
    below = path.removeprefix(root) if path.startswith(f"{root}/") else path
    return request.method in ("GET", "HEAD") and below == PATH


class HealthCheck:
    """Asks Redis for a sign of life, once for all who want to know at the same time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._redis = False

    async def redis_answers(self, client: Client) -> bool:
        """Tell whether Redis answers, as of a second ago at most."""
        async with self._lock:
            if time.monotonic() - self._asked >= _GOOD_FOR:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await client.ping()
                except (RedisUnusable, TimeoutError):
                    self._redis = False
                else:
                    self._redis = True
                self._asked = time.monotonic()
            return self._redis


def route() -> Route:
    """Return the route of the health check."""
    check = HealthCheck()

    async def health(request: Request) -> Response:
        site: Site = request.app.state.site
        return JsonResponse({"redis": await check.redis_answers(site.client)})

    return Route(PATH, health)
