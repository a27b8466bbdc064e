"""Payloads of jobs, as another program may write them, and where they are."""

from __future__ import annotations

import itertools
import json
from typing import Any

from .conftest import Bench

_IDS = (f"{number:024x}" for number in itertools.count(1))


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
