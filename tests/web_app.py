"""The web UI in this process, for tests."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from starlette.applications import Starlette

from asyncwork.web import create_app

from .conftest import Bench

_IDS = (f"{number:024x}" for number in itertools.count(1))


def calling(app: Any, **options: Any) -> httpx.AsyncClient:
    """What sends requests to an ASGI application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", **options)


@asynccontextmanager
async def serving(bench: Bench, **options: Any) -> AsyncIterator[tuple[Starlette, httpx.AsyncClient]]:
    """The web UI of a bench, and what sends requests to it; it may be called by any name unless told otherwise."""
    options.setdefault("hosts", ["*"])
    app = create_app(bench.url, namespace=bench.namespace, **options)
    async with app.router.lifespan_context(app), calling(app) as client:
        yield app, client


def payload(name: str = "wat", *, args: Any = None, **more: Any) -> bytes:
    """A job as another program may write it."""
    return json.dumps({"name": name, "id": next(_IDS), "t": 1_500_000_000, "args": args, **more}).encode()


def failed(name: str = "wat", err: str = "ohno", **more: Any) -> bytes:
    """A job that has failed."""
    return payload(name, fails=3, err=err, failed_at=1_500_000_100, **more)


async def put(bench: Bench, place: str, *payloads: bytes, at: float = 1_500_000_200) -> None:
    """Put payloads into a sorted set, a second apart, or into a queue, the first to run first."""
    key = bench.keys.location(place)
    if place.startswith("queue:"):
        await bench.redis.sadd(bench.keys.known_jobs, place.removeprefix("queue:"))
        await bench.redis.lpush(key, *payloads)
    else:
        await bench.redis.zadd(key, {each: at + number for number, each in enumerate(payloads)})


async def dump(bench: Bench) -> dict[bytes, tuple[bytes, bool]]:
    """Everything that a bench has in Redis: its keys with what they hold and whether they expire."""
    keys = sorted([key async for key in bench.redis.scan_iter(f"{bench.namespace}*")])
    return {key: (await bench.redis.dump(key), await bench.redis.pttl(key) >= 0) for key in keys}
