"""Timeouts: each place where a job can wait, and each event that can come at the same moment."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asyncwork import CancelResult, Client, Job, JobCancelled, JobTimeoutError, UsageError
from asyncwork._jobs.attempt import attempt_of

from .conftest import LIMIT, Bench, until
from .test_timeouts import only_dead, running_job, worker_of

SHORT = 0.05
OVER = "JobTimeoutError: timed out after 0.05 s"


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


# Where it waits


async def _in_a_task_group(ended: list[str]) -> None:
    async def child() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            ended.append("child")

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(child())


async def _in_an_anyio_group(ended: list[str]) -> None:
    async def child() -> None:
        try:
            await anyio.sleep(LIMIT)
        finally:
            ended.append("child")

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(child)


async def _in_a_scope(ended: list[str]) -> None:
    with anyio.CancelScope():
        try:
            await anyio.sleep(LIMIT)
        finally:
            ended.append("scope")


async def _in_a_longer_scope(ended: list[str]) -> None:
    with anyio.fail_after(LIMIT):
        async with asyncio.timeout(LIMIT):
            try:
                await anyio.sleep(LIMIT)
            finally:
                ended.append("scope")


async def _in_a_shielded_cleanup(ended: list[str]) -> None:
    try:
        await asyncio.sleep(LIMIT)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(SHORT)
        ended.append("shielded")


async def _in_wait_for(ended: list[str]) -> None:
    try:
        await asyncio.wait_for(asyncio.Event().wait(), LIMIT)
    finally:
        ended.append("wait_for")


async def _in_gather(ended: list[str]) -> None:
    try:
        await asyncio.gather(asyncio.sleep(LIMIT), asyncio.sleep(LIMIT))
    finally:
        ended.append("gather")


async def _in_a_context_manager_that_waits(ended: list[str]) -> None:
    @asynccontextmanager
    async def resource(name: str) -> AsyncIterator[None]:
        try:
            yield
        finally:
            async with asyncio.timeout(LIMIT):
                await asyncio.sleep(SHORT)
            ended.append(name)

    async with resource("outer"), resource("inner"):
        await asyncio.sleep(LIMIT)


WHERE = [
    (_in_a_task_group, ["child"] * 2),
    (_in_an_anyio_group, ["child"] * 2),
    (_in_a_scope, ["scope"]),
    (_in_a_longer_scope, ["scope"]),
    (_in_a_shielded_cleanup, ["shielded"]),
    (_in_wait_for, ["wait_for"]),
    (_in_gather, ["gather"]),
    (_in_a_context_manager_that_waits, ["inner", "outer"]),
]


@pytest.mark.parametrize(("body", "expected"), WHERE, ids=[each.__name__[1:] for each, _ in WHERE])
async def test_it_ends_where_it_waits(
    bench: Bench, body: Callable[[list[str]], Awaitable[None]], expected: list[str]
) -> None:
    pool, ended, clean = bench.pool(concurrency=1), list[str](), list[int]()

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat() -> None:
        await body(ended)

    @pool.job
    async def after() -> None:
        # In the task of the job before, if that can be used on.
        for _ in range(3):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        clean.append(task.cancelling())

    await wat.enqueue()
    async with pool.running():
        assert (await only_dead(bench)).err.startswith(OVER)
        await after.enqueue()
        await pool.drain()
    assert (ended, clean) == (expected, [0])


async def _own_timeout() -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(LIMIT)


async def _own_scope() -> None:
    with anyio.fail_after(0):
        await anyio.sleep(LIMIT)


async def _own_wait_for() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 0)


@pytest.mark.parametrize("body", [_own_timeout, _own_scope, _own_wait_for])
async def test_the_timeouts_of_the_handler_are_its_own(bench: Bench, body: Callable[[], Awaitable[None]]) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=LIMIT, max_fails=1)
    async def wat() -> None:
        await body()

    await wat.enqueue()
    async with pool.running():
        dead = await only_dead(bench)
    assert dead.err.startswith("TimeoutError")


# None, and extended


@pytest.mark.parametrize(("of_type", "own"), [(0, None), (SHORT, 0), (0, 0), (None, 0), (None, None)])
@pytest.mark.parametrize("plain", [False, True], ids=["in the loop", "in a thread"])
async def test_without_a_timeout_there_is_no_deadline(bench: Bench, of_type: Any, own: Any, plain: bool) -> None:
    pool, deadlines = bench.pool(concurrency=1), list[float]()

    def in_thread(job: Job) -> None:
        deadlines.append(attempt_of(job).deadline)

    async def in_loop(job: Job) -> None:
        await asyncio.sleep(0)
        deadlines.append(attempt_of(job).deadline)

    pool.job("wat", timeout=of_type)(in_thread if plain else in_loop)
    await bench.enqueuer.enqueue("wat", timeout=own)
    async with pool.running():
        await pool.drain()
    assert deadlines == [0.0]


async def test_an_extension_after_the_timeout_changes_nothing(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat(job: Job) -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            job.extend(LIMIT)
            with pytest.raises(UsageError, match="must be zero or more seconds"):
                job.extend(-1)
            await asyncio.sleep(0)

    await wat.enqueue()
    async with pool.running():
        assert (await only_dead(bench)).err.startswith(OVER)


# At the same moment


@pytest.mark.parametrize("plain", [False, True], ids=["in the loop", "in a thread"])
async def test_the_end_of_the_grace_period_wins_over_a_timeout_before_it(bench: Bench, plain: bool) -> None:
    """The job has timed out, and still cleans up when the pool waits no longer: it runs again, and has not failed."""
    pool, may_end, cleans = bench.pool(concurrency=1, grace=SHORT), threading.Event(), threading.Event()
    began = threading.Event()

    async def in_loop() -> None:
        began.set()
        try:
            await asyncio.sleep(LIMIT)
        finally:
            cleans.set()
            await asyncio.sleep(LIMIT)

    def in_thread(job: Job) -> None:
        began.set()
        job.cancelled.wait(LIMIT)
        cleans.set()
        may_end.wait(LIMIT)

    pool.job("wat", max_fails=1)(in_thread if plain else in_loop)
    await bench.enqueuer.enqueue("wat")
    payloads = await bench.waiting("wat")
    async with pool.running():
        await until(began.is_set)
        # As at its timeout, which might come before the thread has begun.
        assert worker_of(pool).interrupt(running_job(pool), JobTimeoutError("over"))
        await until(cleans.is_set)
    may_end.set()
    assert await bench.waiting("wat") == payloads
    assert not await bench.redis.exists(bench.keys.dead, bench.keys.retry)


@pytest.mark.parametrize("first", ["cancel", "timeout"])
async def test_a_cancel_wins_over_a_timeout(bench: Bench, first: str) -> None:
    pool, cleans, may_end = bench.pool(concurrency=1), asyncio.Event(), asyncio.Event()

    @pool.job(timeout=SHORT if first == "timeout" else LIMIT, result=60, max_fails=1)
    async def wat(job: Job) -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            cleans.set()
            await may_end.wait()

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        job = await wat.enqueue()
        if first == "timeout":
            await cleans.wait()
        else:
            await until(lambda: worker_of(pool).job is not None)
        assert await client.cancel(job.id, "enough") is CancelResult.ASKED
        await until(lambda: "enough" in str(getattr(worker_of(pool).interruption, "_cause", "")))
        if first == "cancel":
            worker, running = worker_of(pool), worker_of(pool).job
            assert running is not None
            assert worker.interrupt(running, JobTimeoutError("over"))
        may_end.set()
        with pytest.raises(JobCancelled, match="was cancelled: enough"):
            await job.result(LIMIT)
    assert pool.counts.cancelled == 1
