"""Stopping: running jobs finish, those that do not finish in time are requeued, and no key is left behind."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asyncwork import PoolEndedError, UsageError, WorkerPool
from asyncwork._redis.commands import fingerprint
from asyncwork._worker import blocking_pops
from asyncwork._worker.dispatcher import Dispatcher
from asyncwork.embedded import EmbeddedRedis

from .conftest import LIMIT, UNSYNCED, Bench, open_bench, until
from .tuned import QUICK


def levels_of(text: str, caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return the levels of the log lines with a text."""
    return [record.levelno for record in caplog.records if text in record.getMessage()]


async def test_running_jobs_finish_and_waiting_ones_stay(bench: Bench) -> None:
    started, finish, finished = [], asyncio.Event(), []
    pool = bench.pool(concurrency=2)

    @pool.job
    async def wat(n: int) -> None:
        started.append(n)
        await finish.wait()
        finished.append(n)

    await wat.enqueue_many([wat.call(n=n) for n in range(5)])
    await pool.start()
    await until(lambda: len(started) == 2)
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0)
    finish.set()
    await stopping
    assert sorted(finished) == [0, 1]
    assert [json.loads(each)["args"]["n"] for each in await bench.waiting("wat")] == [2, 3, 4]


@pytest.mark.parametrize("how", ["grace", "now", "second"])
async def test_a_job_that_does_not_finish_goes_back_to_the_front_and_has_not_failed(
    bench: Bench, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    started: list[int] = []
    pool = bench.pool(concurrency=2, grace=0.05 if how == "grace" else 60)

    @pool.job
    async def wat(n: int) -> None:
        started.append(n)
        await asyncio.sleep(1000)

    await wat.enqueue_many([wat.call(n=n) for n in range(5)])
    payloads = await bench.waiting("wat")
    await pool.start()
    await until(lambda: len(started) == 2)
    stopping = asyncio.create_task(pool.stop(now=how == "now"))
    if how == "second":
        await asyncio.sleep(0.02)
        assert not stopping.done()
        pool.stop_soon(now=True)
    await stopping
    assert await bench.waiting("wat") == payloads
    assert await bench.job_set("retry") == []
    assert "cancelled 2 running jobs; they go back to the front of their queues" in caplog.text


async def test_a_handler_that_ignores_its_cancellation_is_left_behind(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwork._worker.shutdown._STEP_LIMIT", 2.0)
    released = asyncio.Event()
    started = asyncio.Event()
    pool = bench.pool(grace=0)

    @pool.job
    async def wat() -> None:
        started.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    await wat.enqueue()
    await pool.start()
    await started.wait()
    await pool.stop()
    assert "it did not end when it was cancelled" in caplog.text
    assert len(await bench.waiting("wat")) == 1
    released.set()
    await asyncio.sleep(0.01)


async def test_a_thread_that_does_not_end_does_not_hold_up_the_stop(bench: Bench) -> None:
    started, release = threading.Event(), threading.Event()
    pool = bench.pool(grace=0)

    @pool.job
    def wat() -> None:
        started.set()
        release.wait(LIMIT)

    await wat.enqueue()
    await pool.start()
    await until(started.is_set)
    await pool.stop()
    release.set()
    assert len(await bench.waiting("wat")) == 1


async def test_quiet_takes_nothing_new_and_keeps_running(bench: Bench) -> None:
    finish, finished = asyncio.Event(), []
    pool = bench.pool(concurrency=2)

    @pool.job
    async def wat(n: int) -> None:
        await finish.wait()
        finished.append(n)

    await wat.enqueue(n=0)
    async with pool.running():

        async def taken() -> bool:
            return not await bench.waiting("wat")

        await until(taken)
        await pool.quiet()
        await wat.enqueue(n=1)
        finish.set()
        await until(lambda: finished)
        assert pool.id is not None
        assert len(await bench.waiting("wat")) == 1
    assert finished == [0]


async def test_stopping_while_jobs_pour_in_loses_none(bench: Bench) -> None:
    ran: Counter[int] = Counter()
    pouring = True

    async def pour() -> int:
        n = 0
        while pouring:
            await bench.enqueuer.enqueue_many([(f"wat{(n + i) % 3}", {"n": n + i}) for i in range(20)])
            n += 20
        return n

    producer = asyncio.create_task(pour())
    pool = bench.pool(concurrency=20)

    async def wat(n: int) -> None:
        ran[n] += 1
        await asyncio.sleep(0)

    for name in range(3):
        pool.job(f"wat{name}")(wat)
    for round_ in range(12):
        await pool.start()
        await asyncio.sleep(0.01 * (round_ % 4))
        await pool.stop()
        assert await bench.redis.keys(f"{bench.namespace}:*:inprogress") == []
    pouring = False
    total = await producer
    async with pool.running():
        await pool.drain()
    assert ran == Counter(range(total))


async def test_cancelling_the_task_that_runs_the_pool_loses_nothing(bench: Bench) -> None:
    ran: Counter[int] = Counter()
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(2000)])
    pool = bench.pool(concurrency=10)

    @pool.job
    async def wat(n: int) -> None:
        await asyncio.sleep(0.001 * (n % 3))
        ran[n] += 1

    async def serve() -> None:
        async with pool.running():
            await asyncio.sleep(1000)

    for milliseconds in (1, 3, 10, 30):
        task = asyncio.create_task(serve())
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bench.audit() == []
    async with pool.running():
        await pool.drain()
    assert ran == Counter(range(2000))


def test_an_event_loop_that_is_torn_down_around_the_pool_loses_nothing(redis_url: str) -> None:
    namespaces: list[str] = []
    ran: Counter[int] = Counter()

    async def forgetful() -> None:
        async with open_bench(redis_url) as bench:
            namespaces.append(bench.namespace)
            await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(300)])
        pool = make(namespaces[0])
        await pool.start()
        await until(lambda: len(ran) > 50)
        # Ends without stopping the pool: asyncio.run cancels whatever is left.

    async def later() -> None:
        async with open_bench(redis_url) as bench:
            bench.namespace = namespaces[0]
            assert await bench.audit() == []
            pool = make(namespaces[0])
            async with pool.running():
                await pool.drain()

    def make(namespace: str) -> WorkerPool[Any]:
        pool = WorkerPool(redis_url, namespace=namespace, **QUICK)

        @pool.job
        async def wat(n: int) -> None:
            await asyncio.sleep(0.001)
            ran[n] += 1

        return pool

    asyncio.run(forgetful())
    asyncio.run(later())
    assert ran == Counter(range(300))


async def test_the_body_of_running_may_raise(bench: Bench) -> None:
    pool = bench.pool()
    with pytest.raises(LookupError, match="in the body"):
        async with pool.running():
            raise LookupError("in the body")
    assert pool.id is None


async def test_a_defect_ends_the_pool_loudly(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    def broken(*_: object) -> None:
        raise AssertionError("a defect of ours")

    monkeypatch.setattr(Dispatcher, "on_replies", broken)
    with pytest.raises(AssertionError, match="a defect of ours"):
        async with pool.running():
            await asyncio.sleep(30)
    assert levels_of("an unexpected error ended the pool", caplog) == [logging.CRITICAL]


async def test_drain_needs_a_running_pool(bench: Bench) -> None:
    with pytest.raises(UsageError, match="must run to be drained"):
        await bench.pool().drain()


async def test_a_drain_ends_when_the_pool_is_stopped(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)
    began, release = asyncio.Event(), asyncio.Event()

    @pool.job
    async def wat() -> None:
        began.set()
        await release.wait()

    await wat.enqueue_many(wat.call() for _ in range(3))
    await pool.start()
    draining = asyncio.create_task(pool.drain())
    await began.wait()
    pool.stop_soon()
    release.set()
    with pytest.raises(PoolEndedError, match="before its queues were empty"):
        await draining
    assert await bench.redis.llen(bench.keys.queue("wat")) == 2
    await pool.stop()
    with pytest.raises(UsageError, match="must run to be drained"):
        await pool.drain()


async def test_a_drain_may_be_cancelled(bench: Bench) -> None:
    pool = bench.pool()
    release = asyncio.Event()

    @pool.job
    async def wat() -> None:
        await release.wait()

    await wat.enqueue()
    async with pool.running():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.drain(), 0.05)
        release.set()
        await pool.drain()


async def test_drain_runs_the_due_jobs_of_the_sets(bench: Bench) -> None:
    ran: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(n: int) -> None:
        ran.append(n)

    await wat.options(at=1).enqueue(n=1)
    await wat.options(delay=1000).enqueue(n=2)
    async with pool.running():
        await pool.drain()
    assert ran == [1]
    assert len(await bench.job_set("scheduled")) == 1


async def test_a_running_pool_refuses_to_be_changed(bench: Bench) -> None:
    pool = bench.pool()

    async def middleware(job: Any, call_next: Any) -> None: ...

    async with pool.running():
        with pytest.raises(UsageError, match="the pool is running: add a handler before it starts"):
            pool.job("late")(middleware)
        with pytest.raises(UsageError, match="add a middleware before"):
            pool.middleware(middleware)
        with pytest.raises(UsageError, match="add a periodic job before"):
            pool.periodically("* * * * * *", "late")
        with pytest.raises(UsageError, match="reconfigure it before"):
            pool.reconfigure(concurrency=3)


async def test_stopping_while_redis_is_gone_ends_in_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = EmbeddedRedis(tmp_path, settings=UNSYNCED)
    server.start()
    try:
        async with open_bench(server.url) as bench:
            ran: list[int] = []
            started, finish = asyncio.Event(), asyncio.Event()
            pool = bench.pool()

            @pool.job
            async def wat(n: int) -> None:
                started.set()
                await finish.wait()
                ran.append(n)

            await wat.enqueue(n=1)
            await pool.start()
            await started.wait()
            server.stop()
            finish.set()
            began = time.monotonic()
            await pool.stop()
            assert time.monotonic() - began < LIMIT / 2
            assert ran == [1]
            assert "could not write 1 result to Redis: these jobs will run again" in caplog.text
            server.start()
            # What it left is found by the next pool, which runs the job again.
            again = bench.pool()
            again.job("wat")(wat)
            async with again.running():
                await until(lambda: len(ran) == 2)
                await again.drain()
    finally:
        server.stop()


async def test_a_wait_that_was_cancelled_takes_no_job_that_is_put_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Event()
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        started.set()
        await asyncio.sleep(1000)

    await wat.enqueue()
    await pool.start()
    await started.wait()
    assert pool._launcher is not None
    pops = pool._launcher._dispatcher.fetcher._pops
    await until(lambda: pops._blocked)
    connections = [pop.blocking.connection for pop in pops._blocked.values()]
    # Redis does not end them in time, and does not notice that the connections were closed.
    monkeypatch.setattr(blocking_pops, "_UNBLOCK_TIMEOUT", 1.0)
    monkeypatch.setattr(pops, "_unblock_all", lambda: asyncio.sleep(60))
    for connection in connections:
        monkeypatch.setattr(connection, "drop", lambda: None)
    await pool.stop(now=True)
    assert len(await bench.waiting("wat")) == 1
    monkeypatch.undo()
    for connection in connections:
        await connection.close()


async def test_a_second_error_of_a_wait_does_not_end_the_next_one(bench: Bench) -> None:
    pool = bench.pool()
    pool.job("wat")(lambda: None)
    async with pool.running():
        assert pool._launcher is not None
        pops = pool._launcher._dispatcher.fetcher._pops
        await until(lambda: pops._blocked)
        ((queue, first),) = pops._blocked.items()
        first.on_error(ConnectionError("the first"))
        await until(lambda: pops._blocked)
        second = pops._blocked[queue]
        assert second is not first
        first.on_error(ConnectionError("the first, again"))
        first.on_replies([None, None])
        assert pops._blocked[queue] is second


async def test_a_wait_that_was_cancelled_before_it_began_is_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork._worker.blocking_pops._UNBLOCK_TIMEOUT", LIMIT)
    pool = bench.pool()
    pool.job("wat")(lambda: None)
    await pool.start()
    await until(lambda: bench.blocked(pool))
    await pool.quiet()
    assert pool._launcher is not None
    dispatcher = pool._launcher._dispatcher
    # On behalf of one worker.
    dispatcher._state.free -= 1
    dispatcher._state.blocked.add(dispatcher.queues[0])
    while dispatcher.fetcher._pops._idle:
        await dispatcher.fetcher._pops._idle.pop().connection.close()
    dispatcher.fetcher._pops.start(dispatcher.queues[0])
    dispatcher.fetcher._pops._opening[dispatcher.queues[0]].cancel()
    began = time.monotonic()
    await pool.stop()
    assert time.monotonic() - began < LIMIT / 2


async def test_a_handler_that_swallows_its_cancellation_and_returns_is_done(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    started = asyncio.Event()
    pool = bench.pool(grace=0)

    @pool.job
    async def wat() -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)

    await wat.enqueue()
    await pool.start()
    await started.wait()
    await pool.stop()
    assert "did not end" not in caplog.text
    assert await bench.waiting("wat") == []
    assert pool.counts.done == 1


@pytest.mark.parametrize("way", ["running", "lifespan"])
async def test_a_second_cancellation_cancels_jobs_and_the_block_ends_with_the_pool(bench: Bench, way: str) -> None:
    started, cut_off = asyncio.Event(), asyncio.Event()
    pool = bench.pool(grace=60)

    @pool.job
    async def wat() -> None:
        started.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
            cut_off.set()
            raise

    async def serve() -> None:
        async with pool.running() if way == "running" else pool.lifespan(None):
            await asyncio.sleep(1000)

    await wat.enqueue()
    task = asyncio.create_task(serve())
    await started.wait()
    task.cancel()
    # Within the grace period, whatever the time.
    done, _ = await asyncio.wait([task], timeout=0.3)
    assert not done
    assert not cut_off.is_set()
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cut_off.is_set()
    assert pool.id is None
    assert len(await bench.waiting("wat")) == 1
    assert await bench.audit() == []


async def cancel_all_others() -> None:
    """What no job should do."""
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and task.get_name().startswith("asyncwork"):
            task.cancel()
    await asyncio.sleep(1000)


async def test_a_pool_that_ends_untold_ends_its_body(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool = bench.pool()
    pool.job("wat")(cancel_all_others)
    await bench.enqueuer.enqueue("wat")
    with pytest.raises(PoolEndedError, match="without a request to stop"):
        async with pool.running():
            await asyncio.sleep(30)
    assert pool.id is None
    assert levels_of("an unexpected error ended the pool", caplog) == [logging.CRITICAL]
    # It may be the job's doing, so it is held against it.
    (payload,) = await bench.waiting("wat")
    assert await bench.redis.hget(bench.keys.crashes, fingerprint(payload)) == b"1"


async def test_a_pool_that_ends_untold_under_a_lifespan_has_no_id(bench: Bench) -> None:
    pool = bench.pool()
    pool.job("wat")(cancel_all_others)
    await bench.enqueuer.enqueue("wat")
    with pytest.raises(PoolEndedError):
        async with pool.lifespan(None):
            await until(lambda: pool.id is None)
    # It can be started again.
    await bench.redis.delete(bench.keys.queue("wat"))
    async with pool.running():
        assert pool.id is not None


@pytest.mark.parametrize("executor", ["full", "shut down"])
async def test_a_stop_needs_nothing_of_the_applications_executor(bench: Bench, executor: str) -> None:
    loop, release, begun = asyncio.get_running_loop(), threading.Event(), threading.Event()
    busy = ThreadPoolExecutor(1)
    loop.set_default_executor(busy)

    def hold() -> None:
        begun.set()
        release.wait(LIMIT)

    pool = bench.pool()
    async with pool.running():
        held = loop.run_in_executor(None, hold)
        await until(begun.is_set)
        if executor == "shut down":
            release.set()
            await held
            await loop.shutdown_default_executor()
    # Its heartbeat has ended, and it is deregistered: the fixture's audit checks that.
    assert pool.stop_failure == ""
    release.set()
    await held
