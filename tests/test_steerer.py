"""Whether the one who enqueues and cancels in a chaos run asks for no more than a busy machine can answer."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from asyncwork import CancelResult

from .chaos import steering
from .chaos.producers import PoolMetrics
from .conftest import until


class DoneJob:
    """A job that has ended when it is waited for."""

    def __init__(self, job_id: str) -> None:
        self.id = job_id

    async def result(self) -> str:
        return "done"


class CountingEnqueuer:
    """Counts what it enqueues."""

    def __init__(self) -> None:
        self.count = 0

    async def enqueue(self, name: str, args: dict[str, Any], **options: Any) -> DoneJob:
        self.count += 1
        return DoneJob(f"{name}-{self.count}")


class BlockingEnqueuer:
    """Waits for no result."""

    def result(self, job: DoneJob, timeout: float) -> str:
        return "done"


class SearchingClient:
    """Answers no cancel before it may.

    :ivar searches: how many cancels it has not answered.
    :ivar answered: how many it has.
    :ivar most: how many there were at a time.
    """

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.searches = self.answered = self.most = 0

    async def cancel(self, job_id: str, **options: Any) -> CancelResult:
        self.searches += 1
        self.most = max(self.most, self.searches)
        await self.may_answer.wait()
        self.searches -= 1
        self.answered += 1
        return CancelResult.GONE

    async def signal(self, job_id: str, name: str, value: Any) -> bool:
        return True

    async def pause(self, name: str) -> None:
        pass

    async def unpause(self, name: str) -> None:
        pass


async def test_cancels_do_not_pile_up_while_none_is_answered(monkeypatch: Any) -> None:
    monkeypatch.setattr(steering, "_MEETS_ALL_WITHIN", 0.0)
    enqueuer: Any = CountingEnqueuer()
    blocking: Any = BlockingEnqueuer()
    client: Any = SearchingClient()
    steerer = steering.Steerer(enqueuer, blocking, client, PoolMetrics(), random.Random(1), pause=0.0)
    running = asyncio.create_task(steerer.run())
    await until(lambda: client.searches >= steering.CANCELS)
    count = enqueuer.count
    for _ in range(1000):
        await asyncio.sleep(0)
    assert client.most == steering.CANCELS
    assert enqueuer.count <= count + 1  # one may have been about to be enqueued
    client.may_answer.set()
    await until(lambda: client.answered > 2 * steering.CANCELS)
    steerer.stopping = True
    await running
    await steerer.finish()
    assert client.most == steering.CANCELS
    assert enqueuer.count > count + 1
