"""The process that enqueues: ``fill`` in bulk, ``trickle`` one job at a time, ``tick`` one job each 50 ms."""

from __future__ import annotations

import asyncio
import time

from redis import Redis

from asyncwork import Enqueuer
from asyncwork.job import encode_job
from asyncwork.store.keys import Keys

from .orders import NAMES, NAMESPACE, receive, reply

# Seconds between two jobs for an idle pool.
_TICK = 0.05


async def fill(url: str, jobs: int) -> float:
    """Enqueue jobs of all names in turn, in bulk; return the seconds it took."""
    async with Enqueuer(url, namespace=NAMESPACE) as enqueuer:
        start = time.perf_counter()
        await enqueuer.enqueue_many((NAMES[place % len(NAMES)], {"place": place}) for place in range(jobs))
        return time.perf_counter() - start


async def trickle(url: str, jobs: int) -> float:
    """Enqueue jobs of all names in turn, each when the one before is written; return the seconds it took."""
    async with Enqueuer(url, namespace=NAMESPACE) as enqueuer:
        start = time.perf_counter()
        for place in range(jobs):
            await enqueuer.enqueue(NAMES[place % len(NAMES)], {"place": place})
        return time.perf_counter() - start


def tick(url: str, jobs: int) -> float:
    """Write one job each 50 ms, with the time just before that in it; return the seconds it took."""
    keys = Keys(NAMESPACE)
    with Redis.from_url(url, protocol=2) as client:
        client.ping()
        start = time.perf_counter()
        for place in range(jobs):
            time.sleep(max(0.0, start + place * _TICK - time.perf_counter()))
            name = NAMES[place % len(NAMES)]
            _, payload = encode_job(name, {"sent_ns": time.time_ns()}, int(time.time()))
            client.lpush(keys.queue(name), payload)
        return time.perf_counter() - start


if __name__ == "__main__":
    order = receive()
    match order["what"]:
        case "fill":
            reply(asyncio.run(fill(order["url"], order["jobs"])))
        case "trickle":
            reply(asyncio.run(trickle(order["url"], order["jobs"])))
        case "tick":
            reply(tick(order["url"], order["jobs"]))
