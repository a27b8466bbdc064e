"""Celery, with a thread pool and late acknowledgement, without events or gossip. Only flows have results, in Redis: the
body of a chord waits for those of its header.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from celery import Celery, chain, chord
from celery.worker import WorkController, state

from ..orders import Order
from ..recording import Record, thread_safe


class _Sender:
    def __init__(self, tasks: dict[str, Any], flow: str) -> None:
        self._tasks = tasks
        self._flow = flow

    async def one(self, name: str, args: dict[str, Any]) -> None:
        self._tasks[name].apply_async(kwargs=args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        if self._flow:
            # Immutable signatures: none takes the result of another.
            signatures = [self._tasks[name].si(**args) for name, args in jobs]
            last = signatures.pop()
            (chain(*signatures, last) if self._flow == "chain" else chord(signatures, last)).apply_async()
            return
        for name, args in jobs:
            self._tasks[name].apply_async(kwargs=args)


def _app(order: Order, record: Record) -> tuple[Celery, dict[str, Any]]:
    sleep = order.case.sleep

    def handle(index: int, sent: int = 0) -> None:
        if sleep:
            time.sleep(sleep)
        record(index, sent)

    app = Celery("bench", broker=order.url, backend=order.url if order.case.flow else None)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_ignore_result=not order.case.flow,
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=4,
    )
    return app, {name: app.task(handle, name=name) for name in order.case.all_names()}


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Create its tasks."""
    _, tasks = _app(order, lambda index, sent: None)
    yield _Sender(tasks, order.case.flow)


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker in a thread, where it handles no signals."""
    app, _ = _app(order, thread_safe(record))
    app.finalize()
    # Its threads take the default app, which has no backend.
    app.set_default()
    worker = WorkController(
        app=app,
        pool="threads",
        concurrency=order.case.concurrency,
        loglevel="ERROR",
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
    )
    thread = threading.Thread(target=worker.start, daemon=True)
    thread.start()
    yield
    state.should_terminate = 0
    thread.join(timeout=10)
