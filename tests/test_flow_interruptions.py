"""A program loses Redis at each request of the start of a flow, is cancelled or dies there: the flow ends all the same,
each of its nodes runs once at most, and its text is free again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncwork import Client, Flow, Job, RedisUnavailable
from asyncwork._redis import flow_writer

from .batch_apps import FlowApp, flow_app
from .conftest import Bench, until
from .test_flow_doctor import findings, repair

# More than a start needs.
MOST_REQUESTS = 20


class DiedError(BaseException):
    """Stands for the death of the process."""


class Interruption:
    """Loses one of the requests of a producer, or all from it on.

    :param at: which, from 0.
    :param is_sent: whether Redis gets it, and its reply is lost.
    :param error: what is raised then; no request follows the death of the process.
    """

    def __init__(self, app: FlowApp, at: int, *, is_sent: bool, error: type[BaseException]) -> None:
        self.at, self.is_sent, self.error = at, is_sent, error
        self.count = 0
        self._write: Callable[..., Awaitable[Any]] = app.pool.enqueuer._producer._write

    async def write(self, names: list[str], commands: list[bytes]) -> Any:
        number, self.count = self.count, self.count + 1
        if self.error is DiedError and number > self.at:
            raise DiedError
        if number != self.at or self.is_sent:
            replies = await self._write(names, commands)
        if number == self.at:
            raise self.error
        return replies

    @property
    def took_place(self) -> bool:
        return self.count > self.at


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows are written three nodes at a time, so that sets of nodes need several parts."""
    monkeypatch.setattr(flow_writer, "MOST_MEMBERS", 3)


def build(app: FlowApp, flow: Flow, size: int) -> None:
    """Add nodes to a flow, so many after the first."""
    root = flow.add(app.work.call("root"))
    if size:
        middle = flow.add_many((app.work.call(f"middle{number}") for number in range(size)), after=root)
        flow.add(app.work.call("other root"))
        flow.add(app.work.call("last"), after=middle, when="done")


async def check_ended(app: FlowApp, client: Client, flow_id: str) -> None:
    """Check that a flow has ended, or does not exist, and no node has run twice."""
    status = await client.flow(flow_id)
    assert status is None or status.batch.ended
    assert max(app.counts().values(), default=1) == 1
    for key in app.bench.keys.batch(flow_id):
        assert await app.bench.redis.ttl(key) != -1
    assert await app.bench.redis.zcard(app.bench.keys.open_batches) == 0
    assert await app.bench.redis.hlen(app.bench.keys.unique_flows) == 0


async def idle(app: FlowApp) -> bool:
    """Whether all jobs have run."""
    bench = app.bench
    running = await bench.redis.keys(bench.keys.in_progress("work", "*"))
    return not await bench.waiting("work") and not await bench.job_set("scheduled") and not running


@pytest.mark.parametrize("unique", ["", "text"])
@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("error", [ConnectionResetError, asyncio.CancelledError])
async def test_what_was_written_is_cancelled_with_its_creator(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, unique: str, size: int, is_sent: bool, error: type[BaseException]
) -> None:
    """Redis is lost, or the task of the creator is cancelled."""
    app = flow_app(bench)
    async with Client(bench.url, namespace=bench.namespace) as client, app.pool.running():
        for at in range(MOST_REQUESTS):
            app.ran.clear()
            flow = app.pool.flow(unique=unique)
            build(app, flow, size)
            interruption = Interruption(app, at, is_sent=is_sent, error=error)
            with monkeypatch.context() as patch:
                patch.setattr(app.pool.enqueuer._producer, "_write", interruption.write)
                try:
                    await flow.start()
                except (RedisUnavailable, asyncio.CancelledError):
                    assert interruption.took_place
                else:
                    assert not interruption.took_place
            await until(lambda: idle(app))
            await until(lambda: none_open(bench), 10)
            await check_ended(app, client, flow.id)
            if not interruption.took_place:
                assert len(app.ran) == (size + 3 if size else 1)
                return
        raise AssertionError("it does not come to its end")


async def none_open(bench: Bench) -> bool:
    return int(await bench.redis.zcard(bench.keys.open_batches)) == 0


@pytest.mark.parametrize("unique", ["", "text"])
@pytest.mark.parametrize("is_sent", [False, True])
async def test_the_doctor_ends_a_flow_whose_creator_has_died(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, unique: str, is_sent: bool
) -> None:
    app = flow_app(bench)
    async with Client(bench.url, namespace=bench.namespace) as client, app.pool.running():
        for at in range(MOST_REQUESTS):
            app.ran.clear()
            flow = app.pool.flow(unique=unique)
            build(app, flow, 7)
            interruption = Interruption(app, at, is_sent=is_sent, error=DiedError)
            with monkeypatch.context() as patch:
                patch.setattr(app.pool.enqueuer._producer, "_write", interruption.write)
                try:
                    await flow.start()
                except DiedError:
                    assert interruption.took_place
            await until(lambda: idle(app))
            key = bench.keys.batch(flow.id)[0]
            if await bench.redis.hexists(key, "open"):
                # It may still be at work, as far as the doctor can see.
                assert await findings(client) == []
                await bench.redis.hset(key, mapping={"created_at": 1, "added_at": 1})
                await repair(client)
            await until(lambda: none_open(bench), 10)
            await until(lambda: idle(app))
            await check_ended(app, client, flow.id)
            assert await findings(client) == []
            if not interruption.took_place:
                return
        raise AssertionError("it does not come to its end")


@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("error", [ConnectionResetError, asyncio.CancelledError])
async def test_nodes_that_a_node_adds_are_written_or_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_sent: bool, error: type[BaseException]
) -> None:
    """The job of the node fails then, and tries again. What it has added before runs, once."""
    app = flow_app(bench)
    interruption: Interruption | None = None

    @app.pool.job(max_fails=1)
    async def adds(job: Job) -> None:
        assert job.flow is not None
        with monkeypatch.context() as patch:
            if interruption is not None:
                patch.setattr(app.pool.enqueuer._producer, "_write", interruption.write)
            middle = await job.flow.add_many((app.work.call(f"middle{number}") for number in range(7)), after=job)
            await job.flow.add(app.work.call("last"), after=middle, when="done")

    async with Client(bench.url, namespace=bench.namespace) as client, app.pool.running():
        for at in range(MOST_REQUESTS):
            app.ran.clear()
            flow = app.pool.flow()
            flow.add(app.work.call("follows"), after=flow.add(adds.call()), when="done")
            interruption = Interruption(app, at, is_sent=is_sent, error=error)
            await flow.start()
            await until(lambda: none_open(bench), 10)
            await until(lambda: idle(app))
            await check_ended(app, client, flow.id)
            assert await findings(client) == []
            assert "follows" in app.ran
            if not interruption.took_place:
                assert len(app.ran) == 9
                return
        raise AssertionError("it does not come to its end")
