"""In which order a pipeline processes replies, has jobs run, and sends its next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis import Redis

from asyncwork._redis.commands import CommandBatch, Fetch
from asyncwork._redis.queue import Queue
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.pipeline import Pipeline
from asyncwork._worker.services.outage import Outage

from .conftest import LIMIT, Bench, until


class Source:
    """Gives each pipeline one batch and a further one when it is woken, and records what happens."""

    closing = False
    jobs_first = False

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.events: list[str] = []
        self.idle: list[Callable[[], None]] = []
        self.batches = 0

    def next_batch(self) -> CommandBatch | None:
        self.events.append("looks for a batch")
        if not self.batches:
            return None
        self.batches -= 1
        return CommandBatch(fetch=Fetch([self.queue], 1, 0.0, False, False))

    async def wait_for_batch(self) -> CommandBatch | None:
        return self.next_batch()

    def add_idle(self, wakeup: Callable[[], None]) -> None:
        self.idle.append(wakeup)

    def wake_idle(self) -> None:
        raise AssertionError("no connection was closed")

    def on_replies(self, batch: CommandBatch, replies: list[Any]) -> None:
        self.events.append("has replies")
        asyncio.get_running_loop().call_soon(self.events.append, "runs jobs")

    def on_lost(self, batch: CommandBatch) -> None:
        raise AssertionError("no connection was lost")

    def reduce_connections(self, error: BaseException) -> None:
        raise AssertionError("no connection was refused")


async def test_replies_that_come_at_once_are_processed_one_after_the_other(bench: Bench) -> None:
    work_queue = WorkQueue(bench.redis_client, bench.keys, "a" * 24)
    source = Source(work_queue.queue("wat", 1))
    source.batches = 2
    outage = Outage("dispatcher")
    tasks = [
        asyncio.create_task(Pipeline(work_queue, source, outage, outage, LIMIT).run(), name="pipeline") for _ in "ab"
    ]
    try:
        await until(lambda: len(source.idle) == 2)
        wakeups, source.idle = source.idle, []
        source.batches = 2
        with Redis.from_url(bench.url, socket_timeout=LIMIT) as redis:
            before = fetches(redis)
            for wake in wakeups:
                wake()
            # The event loop does nothing until Redis has replied to both.
            while fetches(redis) < before + 2:
                pass
            redis.ping()
        source.events.clear()
        await until(lambda: len(source.idle) == 2)
        assert source.events == 2 * ["has replies", "runs jobs", "looks for a batch"]
    finally:
        source.closing = True
        for wake in source.idle:
            wake()
        await asyncio.gather(*tasks)


def fetches(redis: Redis) -> int:
    """Return how many scripts Redis has executed."""
    stats: Any = redis.info("commandstats")
    return int(stats["cmdstat_evalsha"]["calls"])
