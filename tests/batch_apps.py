"""Pools whose handlers do what their arguments say, for the tests of batches and of flows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from asyncwork import Batch, BatchStatus, Client, Discard, Job, Task, WorkerPool
from asyncwork._jobs.membership import Callback
from asyncwork.worker_pool import NoContext

from .conftest import Bench, until


async def client_of(bench: Bench, call: Callable[[Client], Any]) -> Any:
    """What a call of a client of the namespace returns."""
    async with Client(bench.url, namespace=bench.namespace) as client:
        return await call(client)


@dataclass(kw_only=True)
class App:
    """A pool with one handler that does what its arguments say."""

    bench: Bench
    pool: WorkerPool[NoContext]
    work: Task[Any, Any, Any]
    # The jobs that fail next, by their first argument.
    fail: set[Any] = field(default_factory=set)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def do(self, which: Hashable, how: str) -> None:
        """Wait, be discarded or fail, if a job is to do that."""
        if how == "wait":
            await self.go_on.wait()
        if how == "discard":
            raise Discard("not needed")
        if how == "dead" or which in self.fail:
            raise ValueError(f"{which}")


@dataclass(kw_only=True)
class BatchApp(App):
    """One whose jobs are members of batches, with the job of all callbacks, and those that ran."""

    note: Task[Any, Any, Any]
    ran: Counter[str] = field(default_factory=Counter)
    called: Counter[str] = field(default_factory=Counter)

    def batch(self, name: str = "", **options: Any) -> Batch:
        """A batch with all callbacks."""
        callbacks = {f"on_{each.value}": self.note.call(each.value) for each in Callback}
        return self.pool.batch(name, **{**callbacks, **options})

    async def status(self, batch_id: str) -> BatchStatus:
        found = await client_of(self.bench, lambda client: client.batch(batch_id))
        assert isinstance(found, BatchStatus)
        return found

    async def ended(self, batch_id: str) -> BatchStatus:
        """The batch, once it has ended."""
        await until(lambda: self._has_ended(batch_id))
        return await self.status(batch_id)

    async def _has_ended(self, batch_id: str) -> bool:
        return bool(await self.bench.redis.hexists(self.bench.keys.batch(batch_id)[0], "ended_at"))

    async def until_called(self, *callbacks: str) -> None:
        """Wait until these callbacks have run, and check that no others have, nor any of them twice."""
        await until(lambda: set(self.called) >= set(callbacks))
        assert self.called == Counter(callbacks)


def batch_app(bench: Bench, **options: Any) -> BatchApp:
    pool = bench.pool(**options)
    app: BatchApp

    @pool.job(max_fails=1)
    async def work(job: Job, number: int = 0, how: str = "") -> None:
        app.ran[job.id] += 1
        await app.do(number, how)

    @pool.job
    async def note(job: Job, when: str) -> None:
        assert job.batch_id is not None
        app.called[when] += 1

    app = BatchApp(bench=bench, pool=pool, work=work, note=note)
    return app


@dataclass(kw_only=True)
class FlowApp(App):
    """One whose jobs are nodes of flows, and another job that takes a result."""

    double: Task[Any, Any, Any]
    ran: list[str] = field(default_factory=list)
    got: list[Any] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        return Counter(self.ran)


def flow_app(bench: Bench, **options: Any) -> FlowApp:
    pool = bench.pool(**options)
    app: FlowApp

    @pool.job(max_fails=1)
    async def work(job: Job, name: str = "", value: Any = None, how: str = "") -> Any:
        app.ran.append(name)
        if value is not None:
            app.got.append(value)
        await app.do(name, how)
        return name

    @pool.job
    async def double(number: int) -> int:
        app.ran.append(str(number))
        return 2 * number

    app = FlowApp(bench=bench, pool=pool, work=work, double=double)
    return app
