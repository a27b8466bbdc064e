"""In-process web UI for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette

from asyncwork.web import create_app, pages

from .conftest import Bench

# The pages that need parameters. Each test that shows one has its own.
_WITH_PARAMETERS = {"/queue", "/job", "/confirm", "/batch", "/batch/nodes", "/periodic/job"}
# The other pages.
PLAIN_PAGES = tuple(path for path in pages.PAGES if path not in _WITH_PARAMETERS)


def calling(app: Any, **options: Any) -> httpx.AsyncClient:
    """Return an HTTP client for an ASGI application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", **options)


@asynccontextmanager
async def serving(bench: Bench, **options: Any) -> AsyncIterator[tuple[Starlette, httpx.AsyncClient]]:
    """Run the web UI of a bench; yield it with an HTTP client. It allows any host name by default."""
    options.setdefault("hosts", ["*"])
    app = create_app(bench.url, namespace=bench.namespace, **options)
    async with app.router.lifespan_context(app), calling(app) as client:
        yield app, client


async def dump(bench: Bench) -> dict[bytes, tuple[bytes, bool]]:
    """Return all keys of a bench in Redis, each with its value and whether it expires."""
    keys = sorted([key async for key in bench.redis.scan_iter(f"{bench.namespace}*")])
    return {key: (await bench.redis.dump(key), await bench.redis.pttl(key) >= 0) for key in keys}
