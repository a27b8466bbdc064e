"""RQ, with a ``SimpleWorker``, which does not fork and runs one job at a time. Without results (``result_ttl=0``), but
in flows, where a job that is gone could not be waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis import Redis
from rq import Queue, SimpleWorker
from rq.timeouts import BaseDeathPenalty

from ..orders import Order
from ..recording import Record

# Jobs in one pipeline.
_BATCH = 1000

# Global, because RQ imports the function of a job by name.
_sleep = 0.0
_record: Record = lambda index, sent: None  # noqa: E731


def handle(index: int, sent: int = 0) -> None:
    """Run a job."""
    if _sleep:
        time.sleep(_sleep)
    _record(index, sent)


class _Sender:
    def __init__(self, redis: Redis, order: Order) -> None:
        self._queues = {name: Queue(name, connection=redis) for name in order.case.all_names()}
        self._flow = order.case.flow

    async def one(self, name: str, args: dict[str, Any]) -> None:
        self._queues[name].enqueue(handle, kwargs=args, result_ttl=0)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        if self._flow == "chain":
            before = None
            for name, args in jobs:
                before = self._queues[name].enqueue(handle, kwargs=args, depends_on=before)
        elif self._flow:
            name, last = jobs.pop()
            new = [Queue.prepare_data(handle, kwargs=args) for _, args in jobs]
            enqueued = self._queues[name].enqueue_many(new)
            self._queues[name].enqueue(handle, kwargs=last, depends_on=enqueued)
        else:
            self._many(jobs)

    def _many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        for name, queue in self._queues.items():
            ours = [Queue.prepare_data(handle, kwargs=args, result_ttl=0) for each, args in jobs if each == name]
            for first in range(0, len(ours), _BATCH):
                queue.enqueue_many(ours[first : first + _BATCH])


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Create a queue for each name."""
    yield _Sender(Redis.from_url(order.url), order)


class _Unlimited(BaseDeathPenalty):
    """Sets no time limit, because RQ's limit needs a signal, which a thread cannot receive."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


class _Worker(SimpleWorker):
    """A worker for a thread, where no signals can be handled."""

    death_penalty_class = _Unlimited

    def _install_signal_handlers(self) -> None:
        pass


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker."""
    global _sleep, _record
    _sleep, _record = order.case.sleep, record
    redis = Redis.from_url(order.url)
    worker = _Worker([Queue(name, connection=redis) for name in order.case.all_names()], connection=redis)
    threading.Thread(target=worker.work, kwargs={"logging_level": "WARNING"}, daemon=True).start()
    yield
