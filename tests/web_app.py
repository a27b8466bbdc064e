"""In-process web UI for tests."""

from __future__ import annotations

import itertools
import json
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

_IDS = (f"{number:024x}" for number in itertools.count(1))


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


def payload(name: str = "wat", *, args: Any = None, **more: Any) -> bytes:
    """Return the payload of a job, as another program may write it."""
    return json.dumps({"name": name, "id": next(_IDS), "t": 1_500_000_000, "args": args, **more}).encode()


def failed(name: str = "wat", err: str = "ohno", **more: Any) -> bytes:
    """Return the payload of a job that has failed."""
    return payload(name, fails=3, err=err, failed_at=1_500_000_100, **more)


async def put(bench: Bench, location: str, *payloads: bytes, at: float = 1_500_000_200) -> None:
    """Add payloads to a sorted set, one second apart, or to a queue, in the order in which they run."""
    key = bench.keys.location(location)
    if location.startswith("queue:"):
        await bench.redis.sadd(bench.keys.known_jobs, location.removeprefix("queue:"))
        await bench.redis.lpush(key, *payloads)
    else:
        await bench.redis.zadd(key, {each: at + number for number, each in enumerate(payloads)})


async def dump(bench: Bench) -> dict[bytes, tuple[bytes, bool]]:
    """Return all keys of a bench in Redis, each with its value and whether it expires."""
    keys = sorted([key async for key in bench.redis.scan_iter(f"{bench.namespace}*")])
    return {key: (await bench.redis.dump(key), await bench.redis.pttl(key) >= 0) for key in keys}
