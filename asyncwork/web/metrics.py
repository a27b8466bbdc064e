"""Metrics of the namespace, in the text format of Prometheus."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._health.exposition import CONTENT_TYPE
from .._health.namespace_metrics import namespace_metrics, unavailable_metrics
from ..client import Client
from ..errors import RedisUnavailable
from .context import app_context

PATH = "/metrics"
# Seconds that Redis has for all replies.
_TIMEOUT = 10.0
# Seconds for which a reading is cached, because any client may send any number of requests if the path is open.
_CACHED_FOR = 1.0


class MetricsReading:
    """Reads the metrics, once for all concurrent requests."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._text = ""

    async def text(self, client: Client) -> str:
        """Return the metrics; they are at most a second old."""
        async with self._lock:
            if time.monotonic() - self._read_at >= _CACHED_FOR:
                self._text = await _read(client)
                self._read_at = time.monotonic()
            return self._text


async def _read(client: Client) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT):
            overview, (today,) = await client.overview(), await client.days(1)
            open_batches, limits = await client._open_batch_count(), await client.limits()
    except (RedisUnavailable, TimeoutError):
        return unavailable_metrics(client.namespace)
    return namespace_metrics(client.namespace, overview, today, open_batches, limits)


def route() -> Route:
    """Return the route of the metrics."""
    reading = MetricsReading()

    async def metrics(request: Request) -> Response:
        # Not as `media_type`, to which Starlette would add the charset again.
        headers = {"content-type": CONTENT_TYPE}
        return Response(await reading.text(app_context(request).client), headers=headers)

    return Route(PATH, metrics)
