"""Chunks: one call of a handler for many jobs, each of which ends by itself."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

from asyncwork import (
    CancelResult,
    Client,
    Discard,
    HandlerError,
    Job,
    JobState,
    JobTimeoutError,
    NoContext,
    Rate,
    RateLimited,
    Retry,
    Snooze,
    WorkerPool,
)
from asyncwork._redis.commands import fingerprint
from asyncwork._redis.recovery import Recovery
from asyncwork._worker.chunk_member import ChunkMember
from asyncwork._worker.chunk_runner import ChunkRunner
from asyncwork.testing.opening import open_jobs

from .conftest import LIMIT, Bench, until
from .test_crashes import supervised
from .tuned import QUICK, tuned

FOREVER = 1000
# Seconds that no test waits for.
LONG = 600.0


class Ctx:
    made = 0

    def __init__(self) -> None:
        Ctx.made += 1
        self.value = ""


def runner_of(pool: WorkerPool[Any]) -> ChunkRunner:
    assert pool._launcher is not None
    (runner,) = pool._launcher._chunk_runners
    return runner


def collected(pool: WorkerPool[Any]) -> int:
    """The number of jobs that wait in memory for more."""
    return len(runner_of(pool).dispatcher.ready.jobs)


async def run(pool: WorkerPool[Any]) -> None:
    """Run all jobs that wait."""
    async with pool.running(), asyncio.timeout(LIMIT):
        await pool.drain()


def sizes_of(calls: Sequence[Sequence[object]]) -> list[int]:
    return [len(each) for each in calls]


# Size and time


async def test_a_chunk_has_as_many_jobs_as_there_are_up_to_its_size(bench: Bench) -> None:
    calls: list[list[int]] = []
    pool = bench.pool(concurrency=1)

    @pool.job(chunk=100, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        calls.append([job.args["n"] for job in jobs])

    await wat.enqueue_many(wat.call(n=n) for n in range(250))
    await run(pool)
    assert sizes_of(calls) == [100, 100, 50]
    assert [n for call in calls for n in call] == list(range(250))
    assert pool.counts.done == 250


async def test_a_full_chunk_does_not_wait(bench: Bench) -> None:
    called = asyncio.Event()
    pool = bench.pool()

    @pool.job(chunk=3, wait=LONG)
    async def wat(jobs: list[Job]) -> None:
        called.set()

    async with pool.running():
        await wat.enqueue()
        await until(lambda: collected(pool) == 1)
        await wat.enqueue()
        await until(lambda: collected(pool) == 2)
        assert not called.is_set()
        await wat.enqueue()
        async with asyncio.timeout(LIMIT):
            await called.wait()


async def test_a_chunk_leaves_nothing_to_the_garbage_collector(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=10, wait=0)
    async def wat(jobs: list[Job]) -> None: ...

    def members() -> int:
        return sum(isinstance(each, ChunkMember) for each in gc.get_objects())

    async with pool.running(), asyncio.timeout(LIMIT):
        gc.collect()
        gc.disable()
        try:
            await wat.enqueue_many(wat.call() for _ in range(20))
            await pool.drain()
            await until(lambda: not members())
        finally:
            gc.enable()


async def test_a_chunk_that_is_not_full_begins_when_the_first_job_has_waited(bench: Bench) -> None:
    calls: list[tuple[float, int]] = []
    pool = bench.pool()

    @pool.job(chunk=1000, wait=timedelta(seconds=0.3))
    async def wat(jobs: list[Job]) -> None:
        calls.append((time.monotonic(), len(jobs)))

    async with pool.running():
        await until(lambda: runner_of(pool).dispatcher.blocked)
        began = time.monotonic()
        for _ in range(3):
            await wat.enqueue()
        await until(lambda: calls)
    ((at, jobs),) = calls
    assert jobs == 3
    assert at - began >= 0.28


async def test_without_a_wait_a_job_begins_as_it_comes(bench: Bench) -> None:
    calls: list[int] = []
    pool = bench.pool()

    @pool.job(chunk=10, wait=0)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    async with pool.running():
        await wat.enqueue()
        await until(lambda: calls == [1])


async def test_no_worker_of_the_pool_is_taken(bench: Bench) -> None:
    """A pool of one worker holds a chunk of many jobs, and runs other jobs meanwhile."""
    begun, end, ran = asyncio.Event(), asyncio.Event(), asyncio.Event()
    pool = bench.pool(concurrency=1)

    @pool.job(chunk=50, wait=0.01)
    async def wat(jobs: list[Job]) -> None:
        begun.set()
        await end.wait()

    @pool.job
    async def other() -> None:
        ran.set()

    await wat.enqueue_many(wat.call() for _ in range(50))
    async with pool.running(), asyncio.timeout(LIMIT):
        await begun.wait()
        assert await bench.redis.get(bench.keys.lock("wat")) == b"50"
        await other.enqueue()
        await ran.wait()
        end.set()


async def test_a_pool_has_as_many_calls_as_it_runs_jobs_at_once(bench: Bench) -> None:
    most, running, end = 0, 0, asyncio.Event()
    pool = bench.pool(concurrency=2)

    @pool.job(chunk=2, wait=0.01)
    async def wat(jobs: list[Job]) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await end.wait()
        running -= 1

    await wat.enqueue_many(wat.call() for _ in range(10))
    async with pool.running(), asyncio.timeout(LIMIT):
        await until(lambda: running == 2)
        # Not one job more is taken than the two calls have.
        assert await bench.redis.llen(bench.keys.queue("wat")) == 6
        assert await bench.redis.get(bench.keys.lock("wat")) == b"4"
        pool.resize(3)
        await until(lambda: running == 3)
        pool.resize(1)
        end.set()
        await pool.drain()
    assert most == 3


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_concurrency_limit_counts_jobs(bench: Bench, concurrency: int) -> None:
    running = most = 0
    pool = bench.pool(concurrency=concurrency)

    @pool.job(chunk=5, wait=0.01, max_concurrency=7)
    async def wat(jobs: list[Job]) -> None:
        nonlocal running, most
        running += len(jobs)
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= len(jobs)

    await wat.enqueue_many(wat.call() for _ in range(60))
    await run(pool)
    assert pool.counts.done == 60
    assert most <= 7
    await bench.redis.delete(bench.keys.max_concurrency("wat"))


async def test_a_rate_counts_jobs(bench: Bench) -> None:
    calls: list[int] = []
    pool = bench.pool()

    @pool.job(chunk=5, wait=0.02, rate=Rate(1, per=1000, burst=4))
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    await wat.enqueue_many(wat.call() for _ in range(7))
    async with pool.running():
        await until(lambda: sum(calls) == 4)
        await asyncio.sleep(0.1)
        assert sum(calls) == 4
    assert len(await bench.waiting("wat")) == 3


# How each job ends


async def test_each_job_ends_by_itself(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=10, wait=0.05, max_fails=2, result=60, backoff=lambda job: 1000)
    async def wat(jobs: list[Job]) -> Mapping[str, int | Exception]:
        made: dict[str, Any] = {
            "value": 7,
            "none": None,
            "fails": ValueError("not this one"),
            "dead": ValueError("nor this one"),
            "snoozes": Snooze(1000),
            "discarded": Discard("unneeded"),
            "retries": Retry(after=500),
            "class": ZeroDivisionError,
        }
        return {job.id: made[job.id] for job in jobs if job.id != "left-out"}

    names = ["value", "none", "fails", "snoozes", "discarded", "retries", "class", "left-out"]
    calls = [wat.options(id=name).call() for name in names]
    jobs = await wat.enqueue_many(calls)
    dead = {"name": "wat", "id": "dead", "t": 1, "args": None, "fails": 1, "err": "sorry", "failed_at": 1}
    await bench.redis.lpush(bench.keys.queue("wat"), json.dumps(dead))
    now = time.time()
    await run(pool)
    retried = {json.loads(each)["id"]: (json.loads(each)["err"], at) for each, at in await bench.job_set("retry")}
    assert {name: err for name, (err, _) in retried.items()} == {
        "fails": "ValueError: not this one",
        "retries": "Retry: Retry(after=500)",
        "class": "ZeroDivisionError",
    } or set(retried) == {"fails", "retries", "class"}
    assert retried["fails"][1] >= now + 999
    assert now + 499 <= retried["retries"][1] < now + 900
    ((snoozed, _),) = await bench.job_set("scheduled")
    assert json.loads(snoozed)["id"] == "snoozes"
    ((died, _),) = await bench.job_set("dead")
    assert json.loads(died)["err"].endswith("nor this one")
    async with Client(bench.url, namespace=bench.namespace) as client:
        states = {name: (await client.status(name)).state for name in ("value", "none", "left-out", "discarded")}
        assert states == {
            "value": JobState.DONE,
            "none": JobState.DONE,
            "left-out": JobState.DONE,
            "discarded": JobState.DISCARDED,
        }
    assert [await jobs[at].result() for at in (0, 1, 7)] == [7, None, None]
    assert (pool.counts.done, pool.counts.failed) == (3, 4)


async def test_an_exception_fails_all_jobs_of_the_call(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    hooked: list[str] = []
    pool = bench.pool()

    @pool.on_failure
    async def count(job: Job, error: Exception) -> None:
        hooked.append(job.id)

    @pool.job(chunk=20, wait=0.02, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        raise ValueError("all of them")

    await wat.enqueue_many(wat.call(n=n) for n in range(20))
    await run(pool)
    dead = [Job.decode(payload) for payload, _ in await bench.job_set("dead")]
    assert len(dead) == len(set(hooked)) == 20
    assert {job.err for job in dead} == {"ValueError: all of them"}
    # Each has the frames of the handler, and not those of the other jobs.
    assert len({job.traceback for job in dead}) == 1
    assert dead[0].traceback.count("in wat") == 1


@pytest.mark.parametrize("returned", [[1, 2], 7, "abc", {"unknown": 1}, {1: 2}])
async def test_what_is_no_mapping_of_the_ids_fails_the_call(bench: Bench, returned: object) -> None:
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02, max_fails=1)
    async def wat(jobs: list[Job]) -> Any:
        return returned

    await wat.enqueue_many([wat.call(), wat.call()])
    await run(pool)
    errors = {Job.decode(payload).err for payload, _ in await bench.job_set("dead")}
    assert len(errors) == 1
    assert "HandlerError: " in errors.copy().pop()
    assert "mapping of job ids" in errors.copy().pop() or "must be the ids of the jobs" in errors.copy().pop()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_errors_that_are_no_exceptions_fail_the_jobs(bench: Bench, error: type[BaseException]) -> None:
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        raise error

    await wat.enqueue_many([wat.call(), wat.call()])
    await run(pool)
    assert len(await bench.job_set("dead")) == 2


async def test_jobs_that_are_rate_limited_go_back_in_their_order(bench: Bench) -> None:
    calls: list[list[int]] = []
    pool = bench.pool()

    @pool.job(chunk=5, wait=0.02)
    async def wat(jobs: list[Job]) -> Mapping[str, object] | None:
        calls.append([job.args["n"] for job in jobs])
        if len(calls) > 1:
            return None
        return {job.id: RateLimited(1) for job in jobs if job.args["n"] != 2}

    await wat.enqueue_many(wat.call(n=n) for n in range(5))
    await run(pool)
    assert calls == [[0, 1, 2, 3, 4], [0, 1, 3, 4]]


async def test_a_retried_job_takes_part_again(bench: Bench) -> None:
    pool = bench.pool(**tuned(QUICK, requeue=0.05))
    fails: list[int] = []

    @pool.job(chunk=3, wait=0.02, backoff=lambda job: 0)
    async def wat(jobs: list[Job]) -> Mapping[str, Exception]:
        fails.extend(job.fails for job in jobs)
        return {job.id: ValueError() for job in jobs if job.fails < 2}

    await wat.enqueue_many([wat.call(), wat.call(), wat.call()])
    async with pool.running():
        await until(lambda: pool.counts.done == 3)
    assert sorted(fails) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


async def test_a_stray_job_and_bytes_that_are_no_job_keep_no_chunk(bench: Bench) -> None:
    calls: list[int] = []
    pool = bench.pool()

    @pool.job(chunk=10, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    @pool.job
    async def plain(n: int) -> None:
        calls.append(-n)

    queue = bench.keys.queue("wat")
    await wat.enqueue()
    await bench.redis.lpush(queue, b"nonsense", b'{"name":"unknown","id":"stray","t":1,"args":null}')
    await bench.redis.lpush(queue, b'{"name":"plain","id":"p","t":1,"args":{"n":5}}')
    await bench.redis.lpush(bench.keys.queue("plain"), b'{"name":"wat","id":"w","t":1,"args":null}')
    await run(pool)
    assert sorted(calls) == [-5, 1, 1]
    assert await bench.redis.llen(bench.keys.quarantine) == 1
    assert [Job.decode(payload).id for payload, _ in await bench.job_set("dead")] == ["stray"]


async def test_unique_jobs_free_their_keys(bench: Bench) -> None:
    pool = bench.pool()
    seen: list[int] = []

    @pool.job(chunk=10, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        seen.extend(job.args["n"] for job in jobs)

    await wat.options(unique={"key": 1}).enqueue(n=1)
    assert (await wat.options(unique={"key": 1}).enqueue(n=2)).duplicate
    await wat.enqueue(n=3)
    await run(pool)
    assert sorted(seen) == [2, 3]
    assert not (await wat.options(unique={"key": 1}).enqueue(n=4)).duplicate
    await run(pool)


# Jobs that end before the call


async def test_expired_jobs_are_no_part_of_the_call(bench: Bench) -> None:
    calls: list[int] = []
    pool = bench.pool()

    @pool.job(chunk=3, wait=LONG, result=60)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    expired = {"name": "wat", "id": "late", "t": 1, "args": None, "expires": 1}
    await bench.redis.lpush(bench.keys.queue("wat"), json.dumps(expired))
    await wat.enqueue_many([wat.call(), wat.call()])
    await run(pool)
    assert calls == [2]
    assert pool.counts.expired == 1


async def test_jobs_that_are_cancelled_while_they_wait_for_others_do_not_start(bench: Bench) -> None:
    calls: list[set[str]] = []
    pool = bench.pool()

    @pool.job(chunk=3, wait=LONG)
    async def wat(jobs: list[Job]) -> None:
        calls.append({job.id for job in jobs})

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await wat.options(id="a").enqueue()
        await wat.options(id="b").enqueue()
        await until(lambda: collected(pool) == 2)
        assert await client.cancel("a", seconds=0) is CancelResult.ASKED
        await until(lambda: "a" in pool._launcher._cancellations.marked)  # type: ignore[union-attr]
        await wat.options(id="c").enqueue()
        await until(lambda: pool.counts.cancelled == 1 and pool.counts.done == 2)
    assert calls == [{"b", "c"}]
    assert not await bench.redis.exists(bench.keys.cancels)


async def test_a_chunk_of_which_every_job_has_ended_before_has_no_call(bench: Bench) -> None:
    calls = 0
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        nonlocal calls
        calls += 1

    for job_id in "ab":
        payload = {"name": "wat", "id": job_id, "t": 1, "args": None, "expires": 1}
        await bench.redis.lpush(bench.keys.queue("wat"), json.dumps(payload))
    await run(pool)
    assert (calls, pool.counts.expired) == (0, 2)


# Ends from outside


async def test_a_timeout_ends_the_call_and_fails_all_of_its_jobs(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=3, wait=0.02, timeout=0.05, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        await asyncio.sleep(FOREVER)

    await wat.enqueue_many(wat.call() for _ in range(3))
    await run(pool)
    errors = [Job.decode(payload).err for payload, _ in await bench.job_set("dead")]
    assert len(errors) == 3
    assert all(each.startswith(f"{JobTimeoutError.__name__}: timed out after 0.05 s") for each in errors)


async def test_one_job_extends_the_time_of_the_call(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=3, wait=0.02, timeout=0.05)
    async def wat(jobs: list[Job]) -> None:
        jobs[-1].extend(LONG)
        await asyncio.sleep(0.15)

    await wat.enqueue_many(wat.call() for _ in range(3))
    await run(pool)
    assert pool.counts.done == 3


async def test_a_job_with_a_timeout_of_its_own_has_a_call_for_itself(bench: Bench) -> None:
    calls: list[list[str]] = []
    pool = bench.pool()

    @pool.job(chunk=3, wait=0.02, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        calls.append(sorted(job.id for job in jobs))
        if calls[-1] == ["own"]:
            await asyncio.sleep(FOREVER)

    await wat.enqueue_many(
        [wat.options(id="a").call(), wat.options(id="own", timeout=0.05).call(), wat.options(id="b").call()]
    )
    await run(pool)
    assert calls == [["a", "b"], ["own"]]
    ((payload, _),) = await bench.job_set("dead")
    assert "timed out after 0.05 s" in Job.decode(payload).err


async def test_a_cancelled_job_of_a_call_leaves_it_to_the_others(bench: Bench) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    saw: dict[str, bool] = {}
    pool = bench.pool()

    @pool.job(chunk=3, wait=0.02)
    async def wat(jobs: list[Job]) -> Mapping[str, object]:
        begun.set()
        await end.wait()
        saw.update({job.id: job.cancelled.is_set() for job in jobs})
        return {job.id: ValueError("cancelled") for job in jobs if job.cancelled.is_set()}

    await wat.enqueue_many(wat.options(id=each).call() for each in "abc")
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client, asyncio.timeout(LIMIT):
        await begun.wait()
        assert await client.cancel("b", "wrong", seconds=0) is CancelResult.ASKED
        await until(lambda: any(each.interruption for each in runner_of(pool).members))
        end.set()
        await until(lambda: (pool.counts.done, pool.counts.cancelled) == (2, 1))
    assert saw == {"a": False, "b": True, "c": False}
    assert not await bench.job_set("retry")


async def test_a_call_is_cancelled_when_all_of_its_jobs_are(bench: Bench) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        begun.set()
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await wat.enqueue_many(wat.options(id=each).call() for each in "ab")
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client, asyncio.timeout(LIMIT):
        await begun.wait()
        await client.cancel("a", seconds=0)
        await client.cancel("b", seconds=0)
        await cancelled.wait()
        await until(lambda: pool.counts.cancelled == 2)


# Plain functions


async def test_a_plain_function_takes_the_jobs_in_a_thread(bench: Bench) -> None:
    threads: list[int] = []
    pool = bench.pool(concurrency=1)

    @pool.job(chunk=3, wait=0.02, max_fails=1)
    def wat(jobs: Sequence[Job]) -> dict[str, Exception]:
        threads.append(threading.get_ident())
        return {jobs[0].id: ValueError("first")}

    await wat.enqueue_many(wat.call() for _ in range(3))
    await run(pool)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    assert (pool.counts.done, pool.counts.failed) == (2, 1)


async def test_a_thread_sees_that_its_time_is_over(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02, timeout=0.05, max_fails=1)
    def wat(jobs: list[Job]) -> None:
        for job in jobs:
            assert job.cancelled.wait(LIMIT)
        raise ValueError("ended itself")

    await wat.enqueue_many([wat.call(), wat.call()])
    await run(pool)
    errors = [Job.decode(payload).err for payload, _ in await bench.job_set("dead")]
    assert len(errors) == 2
    assert all("timed out after 0.05 s" in each for each in errors), errors


# Middlewares and contexts


async def test_middlewares_run_for_each_job_around_its_part_of_the_call(bench: Bench) -> None:
    seen: list[tuple[str, object]] = []
    pool = bench.pool_of(Ctx)

    @pool.middleware
    async def outer(ctx: Ctx, job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        ctx.value = job.id
        if job.id == "skipped":
            return None
        try:
            result = await call_next()
        except ValueError:
            seen.append((ctx.value, "failed"))
            raise
        seen.append((ctx.value, result))
        return result

    @pool.job(chunk=4, wait=0.02, max_fails=1)
    async def wat(ctx: Ctx, jobs: list[Job]) -> dict[str, object]:
        assert ctx.value == ""
        assert [job.id for job in jobs] == ["a", "b", "c"]
        return {"a": 1, "b": ValueError()}

    await wat.enqueue_many(wat.options(id=each).call() for each in ("a", "skipped", "b", "c"))
    await run(pool)
    assert sorted(seen, key=str) == [("a", 1), ("b", "failed"), ("c", None)]
    assert (pool.counts.done, pool.counts.failed) == (3, 1)


async def test_a_middleware_that_retries_calls_for_its_job_alone(bench: Bench) -> None:
    calls: list[list[str]] = []
    pool = bench.pool()

    @pool.middleware
    async def again(job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        try:
            return await call_next()
        except ValueError:
            return await call_next()

    @pool.job(chunk=2, wait=0.02)
    async def wat(jobs: list[Job]) -> dict[str, object]:
        calls.append([job.id for job in jobs])
        return {"a": ValueError()} if len(jobs) == 2 else {}

    await wat.enqueue_many(wat.options(id=each).call() for each in "ab")
    await run(pool)
    assert calls == [["a", "b"], ["a"]]
    assert pool.counts.done == 2


async def test_a_middleware_that_gives_up_ends_its_job_alone(bench: Bench) -> None:
    end = asyncio.Event()
    pool = bench.pool()

    @pool.middleware
    async def limited(job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        if job.id != "a":
            return await call_next()
        async with asyncio.timeout(0.05):
            return await call_next()

    @pool.job(chunk=2, wait=0.02, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        await end.wait()

    await wat.enqueue_many(wat.options(id=each).call() for each in "ab")
    async with pool.running():
        await until(lambda: pool.counts.failed == 1)
        assert pool.counts.done == 0
        end.set()
        await until(lambda: pool.counts.done == 1)


async def test_a_call_that_no_job_waits_for_is_cancelled(bench: Bench) -> None:
    cancelled = asyncio.Event()
    pool = bench.pool()

    @pool.middleware
    async def limited(job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        async with asyncio.timeout(0.05):
            return await call_next()

    @pool.job(chunk=2, wait=0.02, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            cancelled.set()

    await wat.enqueue_many([wat.call(), wat.call()])
    await run(pool)
    assert cancelled.is_set()
    assert pool.counts.failed == 2


async def test_context_variables_of_jobs_do_not_reach_the_call(bench: Bench) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []
    pool = bench.pool()

    @pool.middleware
    async def setting(job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        variable.set(job.id)
        return await call_next()

    @pool.job(chunk=2, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        seen.append(variable.get())
        variable.set("call")

    await wat.enqueue_many(wat.call() for _ in range(4))
    await run(pool)
    assert seen == ["unset", "unset"]


# Stop, pause, loss


async def test_a_stop_gives_back_what_has_not_begun(bench: Bench) -> None:
    pool = bench.pool(grace=LONG)

    @pool.job(chunk=10, wait=LONG)
    async def wat(jobs: list[Job]) -> None: ...

    for n in range(3):
        await wat.enqueue(n=n)
    async with pool.running():
        await until(lambda: collected(pool) == 3)
        began = time.monotonic()
    # Well before the grace period and the wait are over.
    assert time.monotonic() - began < LIMIT
    assert [json.loads(each)["args"]["n"] for each in await bench.waiting("wat")] == [0, 1, 2]


async def test_a_quiet_pool_gives_back_and_goes_on_later(bench: Bench) -> None:
    pool = bench.pool()
    calls: list[int] = []

    @pool.job(chunk=3, wait=LONG)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    await wat.enqueue_many([wat.call(), wat.call()])
    async with pool.running():
        await until(lambda: collected(pool) == 2)
        await pool.quiet()
        await until(lambda: bench.redis.llen(bench.keys.queue("wat")))
        await wat.enqueue()
        pool._launcher.state.unquiet()  # type: ignore[union-attr]
        await until(lambda: calls == [3])


async def test_a_pause_gives_back_what_has_not_begun(bench: Bench) -> None:
    pool = bench.pool()
    calls: list[list[int]] = []

    @pool.job(chunk=3, wait=LONG)
    async def wat(jobs: list[Job]) -> None:
        calls.append([job.args["n"] for job in jobs])

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        for n in range(2):
            await wat.enqueue(n=n)
        await until(lambda: collected(pool) == 2)
        await client.pause("wat")
        await until(lambda: collected(pool) == 0)
        await until(lambda: bench.redis.llen(bench.keys.queue("wat")))
        await wat.enqueue(n=2)
        assert not calls
        await client.unpause("wat")
        await until(lambda: calls == [[0, 1, 2]])


async def test_a_call_that_is_cut_off_by_a_stop_runs_again(bench: Bench) -> None:
    begun = asyncio.Event()
    pool = bench.pool(grace=0)

    @pool.job(chunk=3, wait=0.02, history=True)
    async def wat(jobs: list[Job]) -> None:
        begun.set()
        await asyncio.sleep(FOREVER)

    await wat.enqueue_many(wat.call(n=n) for n in range(3))
    async with pool.running(), asyncio.timeout(LIMIT):
        await begun.wait()
    assert [json.loads(each)["args"]["n"] for each in await bench.waiting("wat")] == [0, 1, 2]
    assert not await bench.redis.zcard(bench.keys.retry)


async def test_a_call_that_returns_when_it_is_cancelled_is_done(bench: Bench) -> None:
    begun = asyncio.Event()
    pool = bench.pool(grace=0)

    @pool.job(chunk=3, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        begun.set()
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            return

    await wat.enqueue_many(wat.call(n=n) for n in range(3))
    async with pool.running(), asyncio.timeout(LIMIT):
        await begun.wait()
    assert not await bench.waiting("wat")


async def test_a_call_that_goes_on_without_its_jobs_is_cut_off_by_a_stop(bench: Bench) -> None:
    calls: list[str] = []
    limits: list[asyncio.Timeout] = []
    pool = bench.pool(grace=0)

    @pool.middleware
    async def impatient(job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        async with asyncio.timeout(None) as limit:
            limits.append(limit)
            return await call_next()

    @pool.job(chunk=2, wait=LONG, max_fails=1)
    async def wat(jobs: list[Job]) -> None:
        for each in limits:
            each.reschedule(asyncio.get_running_loop().time())
        for which in ("by its jobs", "by the stop"):
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                calls.append(which)

    await wat.enqueue_many([wat.call(), wat.call()])
    async with pool.running(), asyncio.timeout(LIMIT):
        await until(lambda: pool.counts.failed == 2 and len(calls) == 1)
    assert calls == ["by its jobs", "by the stop"]


async def test_suspects_run_one_by_one(bench: Bench) -> None:
    calls: list[list[str]] = []
    pool = bench.pool()

    @pool.job(chunk=4, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        calls.append([job.id for job in jobs])

    await wat.enqueue_many(wat.options(id=each).call() for each in "abcd")
    for payload in await bench.waiting("wat"):
        if json.loads(payload)["id"] in "bd":
            await bench.redis.hset(bench.keys.crashes, fingerprint(payload).decode(), 1)
    await run(pool)
    assert calls == [["a", "c"], ["b"], ["d"]]
    assert not await bench.redis.exists(bench.keys.crashes)


async def test_jobs_that_may_be_another_pools_are_claimed_before_they_begin(bench: Bench) -> None:
    calls: list[int] = []
    pool = bench.pool()

    @pool.job(chunk=3, wait=LONG)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    async with pool.running():
        await wat.enqueue()
        await wat.enqueue()
        await until(lambda: collected(pool) == 2)
        dispatcher = runner_of(pool).dispatcher
        dispatcher.lease.renew(time.time(), 0.0, reaped=True)
        await wat.enqueue()
        await until(lambda: calls == [3])
        assert not dispatcher.lease.reaped


async def test_jobs_of_all_dispatchers_are_claimed_after_a_pool_was_considered_dead(bench: Bench) -> None:
    """What runs when another pool has requeued it, and no pool has taken it, is this pool's again, and runs once."""
    pool = bench.pool(concurrency=2)
    begun: list[str] = []
    end = asyncio.Event()

    @pool.job
    async def alone() -> None:
        begun.append("alone")
        await end.wait()

    @pool.job(chunk=2, wait=0)
    async def first(jobs: list[Job]) -> None:
        begun.extend(job.name for job in jobs)
        await end.wait()

    @pool.job(chunk=2, wait=0)
    async def second(jobs: list[Job]) -> None:
        begun.extend(job.name for job in jobs)
        await end.wait()

    names = ["alone", "first", "second"]
    async with pool.running(), asyncio.timeout(LIMIT):
        for name in names:
            # Nobody takes what is requeued before it is claimed.
            await bench.enqueuer.enqueue(name)
        await until(lambda: sorted(begun) == names)
        for name in names:
            await bench.redis.set(bench.keys.paused(name), 1)
        pool_id = str(pool.id)
        await bench.redis.srem(bench.keys.worker_pools, pool_id)
        assert await Recovery(bench.in_redis).reap(pool_id, names, None) == 3

        async def claimed() -> bool:
            held = [await bench.redis.llen(bench.keys.in_progress(name, pool_id)) for name in names]
            return held == [1, 1, 1]

        await until(claimed)

        async def settled() -> bool:
            return not await bench.redis.hexists(bench.keys.heartbeat(pool_id), "reaped")

        await until(settled)
        for name in names:
            await bench.redis.delete(bench.keys.paused(name))
        end.set()
        await pool.drain()
    assert sorted(begun) == names


async def test_a_chunk_that_goes_on_after_its_time_is_shown_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool = bench.pool(**tuned(QUICK, overdue=0.05))
    end = asyncio.Event()

    async def stubborn() -> None:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    @pool.job(chunk=2, wait=0.02, timeout=0.05)
    async def wat(jobs: list[Job]) -> None:
        await stubborn()

    await wat.enqueue_many([wat.call(), wat.call()])
    async with pool.running():
        await until(lambda: caplog.text.count("after it was to end") == 2)
        end.set()
        await pool.drain()
    shown = next(each.getMessage() for each in caplog.records if "after it was to end" in each.getMessage())
    assert "in wat\n" in shown
    assert "in stubborn\n" in shown
    assert pool.counts.done == 2


async def test_a_process_that_a_handler_forks_ends_with_the_handler(bench: Bench, tmp_path: Path) -> None:
    pool, parent = bench.pool(), os.getpid()

    @pool.job(chunk=2, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)  # noqa: ASYNC222
            assert os.waitstatus_to_exitcode(status) == 0
        else:
            (tmp_path / "child").touch()

    await wat.enqueue_many([wat.call(), wat.call()])
    await run(pool)
    assert os.getpid() == parent
    assert (tmp_path / "child").exists()
    assert pool.counts.done == 2


ENDING = """
import asyncio, sys
from asyncwork import Job, WorkerPool

pool = WorkerPool(sys.argv[1], namespace=sys.argv[2])
begun = asyncio.Event()

@pool.job(chunk=2, wait=600)
async def wat(jobs: list[Job]) -> None:
    begun.set()
    await asyncio.sleep(600)

async def main():
    await pool.start()
    await begun.wait()
    await asyncio.sleep(0.1)

asyncio.run(main())
print("ended")
"""


async def test_an_event_loop_ends_without_notice(bench: Bench) -> None:
    """Nothing is lost when a program ends while a chunk runs and another waits for jobs."""
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(3)])
    command = [sys.executable, "-c", ENDING, bench.url, bench.namespace]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    assert out == b"ended\n", err.decode()
    assert b"Exception ignored" not in err
    assert [json.loads(each)["args"]["n"] for each in await bench.waiting("wat")] == [0, 1, 2]


POISONED = """
import asyncio, os, signal
from asyncwork import Job, Tuning, WorkerPool

pool = WorkerPool(concurrency=2, heartbeat=0.1, dead_after=0.5, tuning=Tuning(reap=0.05))

@pool.job(chunk=10, wait=0.2)
async def wat(jobs: list[Job]) -> None:
    await asyncio.sleep(0.05)
    if any(job.args["n"] == 5 for job in jobs):
        os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_job_that_kills_its_process_is_found_among_its_chunk(bench: Bench, tmp_path: Path) -> None:
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(10)])
    started = await supervised(bench, tmp_path, POISONED, ("wat",))
    ((payload, _),) = await bench.job_set("dead")
    assert Job.decode(payload).args == {"n": 5}
    assert "died 3 times" in Job.decode(payload).err
    # The process in which it was found, and the three that it has killed.
    assert started == 4


async def test_jobs_that_had_not_begun_are_not_blamed_before_the_last_crash(bench: Bench, tmp_path: Path) -> None:
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(10)])
    script = POISONED.replace("wait=0.2", "wait=0.2, max_crashes=2")
    assert await supervised(bench, tmp_path, script, ("wat",)) == 3
    ((payload, _),) = await bench.job_set("dead")
    assert Job.decode(payload).args == {"n": 5}
    assert "died 2 times" in Job.decode(payload).err


async def test_the_reply_to_a_fetch_is_lost(bench: Bench) -> None:
    """Jobs that Redis holds as in progress, and that this pool has not, are found and run."""
    calls: list[int] = []
    pool = bench.pool()

    @pool.job(chunk=3, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    async with pool.running():
        payload = b'{"name":"wat","id":"lost","t":1,"args":null}'
        await bench.redis.lpush(bench.keys.in_progress("wat", str(pool.id)), payload)
        runner_of(pool).possible_loss.set()
        await until(lambda: calls == [1])


# Results, progress, streams, logs


async def test_each_job_has_its_check_in_and_its_progress(bench: Bench) -> None:
    begun, end = asyncio.Event(), asyncio.Event()
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02, result=60)
    async def wat(jobs: list[Job]) -> None:
        for n, job in enumerate(jobs, 1):
            job.checkin(f"at {job.id}")
            job.progress(n, 10)
        begun.set()
        await end.wait()

    await wat.enqueue_many(wat.options(id=each).call() for each in "ab")
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client, asyncio.timeout(LIMIT):
        await begun.wait()

        async def shown() -> bool:
            statuses = [await client.status(each) for each in "ab"]
            shown = [(each.state, each.progress and each.progress.done) for each in statuses]
            return shown == [(JobState.RUNNING, 1), (JobState.RUNNING, 2)]

        await until(shown)
        end.set()


async def test_each_job_has_its_stream(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02, stream=60)
    async def wat(jobs: list[Job]) -> None:
        for job in jobs:
            await job.emit(f"chunk of {job.id}")

    await wat.enqueue_many(wat.options(id=each).call() for each in "ab")
    await run(pool)
    async with Client(bench.url, namespace=bench.namespace) as client:
        for each in "ab":
            assert [chunk async for chunk in client.stream(each)] == [f"chunk of {each}"]


async def test_a_job_of_a_chunk_has_no_name_in_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    from asyncwork.logging import JobLogFilter

    caplog.handler.addFilter(JobLogFilter())
    pool = bench.pool()

    @pool.job(chunk=2, wait=0.02)
    async def wat(jobs: list[Job]) -> None:
        logging.getLogger("app").warning("%d jobs", len(jobs))

    await wat.enqueue_many([wat.call(), wat.call()])
    await wat.options(id="alone", timeout=9).enqueue()
    await run(pool)
    ids = {record.getMessage(): record.job_id for record in caplog.records if record.name == "app"}  # type: ignore[attr-defined]
    assert ids == {"2 jobs": "", "1 jobs": "alone"}


async def test_a_task_is_an_ordinary_function(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(chunk=2)
    async def wat(jobs: list[Job]) -> dict[str, int]:
        return {job.id: len(jobs) for job in jobs}

    jobs = [Job.decode(b'{"name":"wat","id":"%d","t":1,"args":null}' % n) for n in range(5)]
    assert await wat(jobs) == dict.fromkeys("01234", 5)


async def test_metrics_have_the_sizes_of_chunks(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(chunk=4, wait=0.02)
    async def wat(jobs: list[Job]) -> None: ...

    @pool.job
    async def plain() -> None: ...

    await wat.enqueue_many(wat.call() for _ in range(9))
    await plain.enqueue()
    async with pool.running():
        await pool.drain()
        text = pool.metrics_text()
    chunks = dict(line.split() for line in text.splitlines() if line.startswith("asyncwork_chunk_jobs"))
    of_wat = {name.replace('job_name="wat"', ""): float(value) for name, value in chunks.items()}
    assert (of_wat['asyncwork_chunk_jobs_bucket{,le="1"}'], of_wat['asyncwork_chunk_jobs_bucket{,le="4"}']) == (1, 3)
    assert (of_wat["asyncwork_chunk_jobs_sum{}"], of_wat["asyncwork_chunk_jobs_count{}"]) == (9, 3)
    assert len(of_wat) == len(chunks)
    assert not [each for each in chunks if "plain" in each]


# In tests of applications


async def test_a_test_runs_each_job_in_a_call_for_itself_when_it_is_enqueued(redis_url: str) -> None:
    pool: WorkerPool[NoContext] = WorkerPool()
    calls: list[list[int]] = []

    @pool.job(chunk=100, wait=LONG, max_fails=1, result=60)
    async def wat(jobs: list[Job]) -> dict[str, Any]:
        calls.append([job.args["n"] for job in jobs])
        return {job.id: job.args["n"] or ValueError("no") for job in jobs}

    with open_jobs(pool, redis_url) as jobs, jobs.eager() as ran:
        assert await (await wat.enqueue(n=7)).result() == 7
        with pytest.raises(ValueError, match="no"):
            await wat.enqueue(n=0)
        await wat.enqueue_many([wat.call(n=1), wat.call(n=2)])
        assert [run.outcome for run in ran] == ["done", "dead", "done", "done"]
    assert calls == [[7], [0], [1], [2]]


async def test_a_test_runs_jobs_in_chunks_when_it_drains(redis_url: str) -> None:
    pool: WorkerPool[NoContext] = WorkerPool(redis_url)
    calls: list[int] = []

    @pool.job(chunk=3, wait=0.01)
    async def wat(jobs: list[Job]) -> None:
        calls.append(len(jobs))

    with open_jobs(pool, redis_url) as jobs:
        await wat.enqueue_many(wat.call() for _ in range(5))
        ran = await jobs.drain()
        assert len(ran) == 5
    assert sorted(calls) == [2, 3]


# Registration


def jobs_and_context(ctx: Ctx, jobs: list[Job]) -> None: ...
def any_sequence(jobs: Sequence[Job]) -> None: ...
def annotated(jobs: Annotated[list[Job], "all"]) -> None: ...
def with_default(jobs: list[Job], limit: int = 7) -> None: ...


@pytest.mark.parametrize("function", [jobs_and_context, any_sequence, annotated, with_default])
def test_signatures_of_handlers_of_chunks(function: Callable[..., None]) -> None:
    assert WorkerPool(context=Ctx).job(chunk=2)(function).job_options.chunk == 2


def one_job(job: Job) -> None: ...
def no_jobs() -> None: ...
def arguments(address: str) -> None: ...
def jobs_of_another_type(jobs: list[str]) -> None: ...
def by_keyword(*, jobs: list[Job]) -> None: ...
def context_last(jobs: list[Job], ctx: Ctx) -> None: ...
def one_more(jobs: list[Job], address: str) -> None: ...


@pytest.mark.parametrize(
    "function", [one_job, no_jobs, arguments, jobs_of_another_type, by_keyword, context_last, one_more]
)
def test_other_signatures_are_refused(function: Callable[..., None]) -> None:
    with pytest.raises(HandlerError, match=r"a handler of chunks takes \(jobs: list\[Job\]\)"):
        WorkerPool(context=Ctx).job(chunk=2)(function)


def test_a_list_of_jobs_needs_the_option() -> None:
    with pytest.raises(HandlerError, match=r"takes the jobs of a chunk: register it with @pool.job\(chunk=100"):
        WorkerPool(context=NoContext).job(any_sequence)
