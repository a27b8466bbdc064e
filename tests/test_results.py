"""Results: how a job has ended and what its handler returned is kept, and those who wait for that are woken."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from asyncwork import (
    CallNext,
    Client,
    Discard,
    Enqueuer,
    HandlerError,
    Job,
    JobCall,
    JobCancelled,
    JobFailed,
    JobQuery,
    JobState,
    ResultLost,
    ResultTimeout,
    Retry,
    UsageError,
    WorkerPool,
    as_completed,
    gather,
    sync,
)
from asyncwork._redis import job_waits
from asyncwork._redis.client import RedisClient
from asyncwork._redis.errors import ErrorReply
from asyncwork._redis.job_record import read_record
from asyncwork._worker.result_keeper import RESULT_LIMIT
from asyncwork.embedded import EmbeddedRedis
from asyncwork.models.enqueued_job import EnqueuedJob

from .conftest import LIMIT, Bench, open_bench, until
from .tuned import QUICK


@dataclass
class Size:
    width: int
    taken: date


SIZE = Size(3, date(2026, 1, 31))


async def record_of(bench: Bench, job_id: str) -> dict[bytes, bytes]:
    return await bench.redis.hgetall(bench.keys.job_record(job_id))  # type: ignore[no-any-return]


# What comes back


async def test_a_result_comes_back_as_its_annotation_says(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def measure(path: str) -> Size:
        return SIZE

    @pool.job(result=timedelta(minutes=1))
    def measure_all(paths: list[str]) -> dict[str, Size]:
        return dict.fromkeys(paths, SIZE)

    @pool.job(result=60)
    async def nothing() -> None: ...

    @pool.job(result=60)
    async def unannotated():  # type: ignore[no-untyped-def]
        return (1, "a")

    early = await measure.enqueue("a.png")
    waiting = asyncio.create_task(early.result(LIMIT))
    async with pool.running():
        assert await waiting == SIZE
        assert await early.result(LIMIT) == SIZE
        assert await measure.call("b.png").result(LIMIT) == SIZE
        assert await measure.call("b.png") == SIZE
        assert await (await measure_all.enqueue(["a"])).result(timedelta(seconds=LIMIT)) == {"a": SIZE}
        returned: object = await bench.enqueuer._wait_for_result(await nothing.enqueue(), LIMIT)
        assert returned is None
        assert await (await unannotated.enqueue()).result(LIMIT) == [1, "a"]
        one, two = await measure.enqueue_many([measure.call("x"), measure.options(delay=0).call("y")])
        assert await gather(one, two, timeout=LIMIT) == [SIZE, SIZE]
    ttl = await bench.redis.ttl(bench.keys.job_record(early.id))
    assert 0 < ttl <= 60
    assert bench.keys.kind(bench.keys.job_record(early.id)) == "hash"


async def test_by_name_the_result_is_json(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def measure(path: str) -> Size:
        return SIZE

    async with pool.running():
        job = await bench.enqueuer.enqueue("measure", {"path": "a"})
        assert await job.result(LIMIT) == {"width": 3, "taken": "2026-01-31"}
        job = await bench.enqueuer.enqueue("measure", {"path": "a"}, delay=0)
        async with Client(bench.url, namespace=bench.namespace) as client:
            assert await client.result(job.id, timeout=LIMIT) == {"width": 3, "taken": "2026-01-31"}


async def test_middlewares_may_return_anything(bench: Bench) -> None:
    pool = bench.pool()

    @pool.middleware
    async def quiet(job: Job, call_next: CallNext) -> str:
        await call_next()
        return "of the middleware"

    @pool.job(result=60)
    async def wat() -> str:
        return "of the handler"

    async with pool.running():
        assert await wat.call() == "of the handler"


async def test_failures(bench: Bench) -> None:
    pool, attempts = bench.pool(**QUICK), [0]

    @pool.job(result=60, max_fails=2, backoff=lambda job: 0)
    async def twice() -> int:
        attempts[0] += 1
        if attempts[0] == 1:
            raise Retry
        return attempts[0]

    @pool.job(result=60, max_fails=1)
    async def broken() -> None:
        raise ValueError("no such file")

    @pool.job(result=60)
    async def unwanted() -> None:
        raise Discard("not wanted")

    @pool.job(result=60, max_fails=1, skip_dead=True)
    async def dropped() -> None:
        raise ValueError("sorry")

    async with pool.running():
        assert await twice.call().result(LIMIT) == 2
        with pytest.raises(JobFailed, match=r"broken \w+ is dead: ValueError: no such file") as failed:
            await broken.call()
        assert failed.value.error == "ValueError: no such file"
        assert "in broken" in failed.value.traceback
        assert "in broken" in failed.value.__notes__[0]
        again = pickle.loads(pickle.dumps(failed.value))
        assert (str(again), again.error, again.traceback) == (
            str(failed.value),
            failed.value.error,
            failed.value.traceback,
        )
        with pytest.raises(JobFailed, match=r"unwanted \w+ is discarded: not wanted"):
            await unwanted.call()
        with pytest.raises(JobFailed, match=r"dropped \w+ is discarded: failed 1 times"):
            await dropped.call()


async def test_what_cannot_be_kept_is_told_and_the_job_is_done(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool, ran = bench.pool(), list[str]()

    class Odd:
        def __repr__(self) -> str:
            raise SystemExit

    @pool.job(result=60)
    async def odd() -> Any:
        ran.append("odd")
        return Odd()

    @pool.job(result=60)
    async def fits() -> str:
        return "x" * (RESULT_LIMIT - 2)

    @pool.job(result=60)
    async def too_long() -> str:
        ran.append("too_long")
        return "x" * (RESULT_LIMIT - 1)

    @pool.job(result=60)
    async def other() -> Size:
        return 5  # type: ignore[return-value]

    async with pool.running():
        assert len(await fits.call()) == RESULT_LIMIT - 2
        with caplog.at_level(logging.WARNING, "asyncwork.job"):
            with pytest.raises(ResultLost, match="its JSON has 1048577 bytes, and at most 1048576 are kept"):
                await too_long.call()
            with pytest.raises(ResultLost, match="not JSON"):
                await odd.call()
        with pytest.raises(ResultLost, match="its result is not what its task returns"):
            await other.call()
    assert sorted(ran) == ["odd", "too_long"]
    lines = [each.message for each in caplog.records if "is not kept" in each.message]
    assert len(lines) == 2


# Waiting


async def test_a_wait_ends_in_time_and_the_job_goes_on(bench: Bench) -> None:
    pool, may_end = bench.pool(), asyncio.Event()

    @pool.job(result=60)
    async def slow() -> str:
        await may_end.wait()
        return "late"

    async with pool.running():
        job = await slow.enqueue()
        with pytest.raises(ResultTimeout, match=r"has not ended after 0.01 s \(timeout=…\)"):
            await job.result(0.01)
        with pytest.raises(TimeoutError):
            await job.result(0)
        waits = [asyncio.create_task(job.result(LIMIT)) for _ in range(3)]
        await asyncio.sleep(0)
        waits[0].cancel()
        may_end.set()
        assert await asyncio.gather(*waits[1:]) == ["late", "late"]
        (waiting,) = pool.enqueuer._waits._values.values()
        assert not waiting._waits
        assert not waiting._wait_of
    assert not [name for name in await record_of(bench, job.id) if name.startswith(b"wait:")]


async def test_many_at_once(bench: Bench) -> None:
    pool = bench.pool(concurrency=3)
    order = asyncio.Queue[asyncio.Event]()

    @pool.job(result=60, max_fails=1)
    async def number(n: int) -> int:
        await events[n].wait()
        if n == 1:
            raise ValueError(n)
        return n

    events = [asyncio.Event() for _ in range(3)]
    async with pool.running():
        jobs = [await number.enqueue(n) for n in range(3)]
        ended = as_completed(jobs, timeout=LIMIT)
        seen = list[EnqueuedJob[Any]]()
        for n in (2, 1, 0):
            events[n].set()
            seen.append(await anext(ended))
        assert seen == [jobs[2], jobs[1], jobs[0]]
        assert await seen[0].result() == 2
        with pytest.raises(StopAsyncIteration):
            await anext(ended)
        with pytest.raises(JobFailed):
            await gather(*jobs)
        waiting = await number.options(delay=1000).enqueue(0)
        with pytest.raises(ResultTimeout, match="1 of 2 jobs have not ended"):
            await gather(jobs[0], waiting, timeout=0.2)
        with pytest.raises(ResultTimeout, match="1 of 1 jobs have not ended"):
            await anext(as_completed([waiting], timeout=0.01))
    assert order.empty()


async def test_a_watcher_that_races_the_end_misses_nothing(bench: Bench) -> None:
    pool = bench.pool(concurrency=50)

    @pool.job(result=60)
    async def number(n: int) -> int:
        if n % 3 == 0:
            await asyncio.sleep(0)
        return n

    async with pool.running():
        jobs = await number.enqueue_many([number.call(n) for n in range(1000)])
        assert await gather(*jobs, timeout=LIMIT) == list(range(1000))


async def test_waits_survive_redis(tmp_path: Any) -> None:
    async with EmbeddedRedis(tmp_path) as redis, open_bench(redis.url) as bench:
        pool, may_end = bench.pool(**QUICK), asyncio.Event()

        @pool.job(result=60)
        async def slow() -> str:
            await may_end.wait()
            return "late"

        async with pool.running():
            job = await slow.enqueue()
            waiting = asyncio.create_task(job.result(LIMIT))
            await until(lambda: bench.redis.hlen(bench.keys.job_record(job.id)))
            # The connections break: the message of the end has no subscriber.
            await bench.redis.client_kill_filter(_type="pubsub", skipme=True)
            may_end.set()
            assert await waiting == "late"


async def test_a_lost_message_is_made_up_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_waits, "_READ_AGAIN", 0.05)
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    job = await wat.enqueue()
    waiting = asyncio.create_task(job.result(LIMIT))
    record = bench.keys.job_record(job.id)
    await until(lambda: bench.redis.hlen(record))
    await bench.redis.delete(record)
    async with pool.running():
        assert await waiting == 5


async def test_a_duplicate_waits_for_the_job_that_runs(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def echo(text: str) -> str:
        return text

    older = await echo.options(unique={"key": 1}).enqueue("old")
    newer = await echo.options(unique={"key": 1}).enqueue("new")
    assert newer.duplicate
    assert newer.id == older.id
    waits = [asyncio.create_task(each.result(LIMIT)) for each in (older, newer)]
    await until(lambda: bench.redis.hlen(bench.keys.job_record(older.id)))
    async with pool.running():
        assert await asyncio.gather(*waits) == ["new", "new"]
        assert await older.result(LIMIT) == "new"
        async with Client(bench.url, namespace=bench.namespace) as client:
            assert (await client.status(older.id)).state is JobState.DONE


async def test_deleting_a_job_ends_the_wait(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> None: ...

    async def deleted_by(delete: Callable[[], Awaitable[object]], job: EnqueuedJob[Any]) -> None:
        waiting = asyncio.create_task(job.result(LIMIT))
        await until(lambda: bench.redis.hlen(bench.keys.job_record(job.id)))
        await delete()
        with pytest.raises(JobCancelled, match="was deleted"):
            await waiting
        assert (await client.status(job.id)).state is JobState.DELETED

    async with pool.running():
        pass
    async with Client(bench.url, namespace=bench.namespace) as client:
        await deleted_by(lambda: client.delete_matching("queue:wat"), await wat.enqueue())
        await deleted_by(lambda: client.empty(wat), await wat.enqueue())
        await deleted_by(lambda: client.delete_matching("scheduled"), await wat.options(delay=1000).enqueue())
    await pool.enqueuer.close()


async def test_a_restored_job_is_waited_for_again(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async with pool.running():
        pass
    async with Client(bench.url, namespace=bench.namespace) as client:
        queued, emptied, scheduled = (
            await wat.enqueue(),
            await wat.enqueue(),
            await wat.options(delay=1000).enqueue(),
        )
        undo = [
            (await client.delete_matching("queue:wat", query=JobQuery(text=queued.id))).undo,
            (await client.empty(wat)).undo,
            (await client.delete_matching("scheduled")).undo,
        ]
        for job in (queued, emptied, scheduled):
            assert (await client.status(job.id)).state is JobState.DELETED
        for token in undo:
            assert await client.restore(token) == 1
        for job, state in (
            (queued, JobState.QUEUED),
            (emptied, JobState.QUEUED),
            (scheduled, JobState.SCHEDULED),
        ):
            assert (await client.status(job.id)).state is state
        waiting = asyncio.create_task(gather(queued, emptied, scheduled, timeout=LIMIT))
        await until(lambda: bench.redis.hlen(bench.keys.job_record(scheduled.id)))
        assert (await client.retry_matching("scheduled")).done == 1
        async with pool.running():
            assert await waiting == [5, 5, 5]


async def test_a_dead_job_that_is_requeued_is_waited_for_again(bench: Bench) -> None:
    pool, fails = bench.pool(), [True]

    @pool.job(result=60, max_fails=1)
    async def wat() -> int:
        if fails[0]:
            raise ValueError("sorry")
        return 5

    job = await wat.enqueue()
    await bench.redis.zadd(bench.keys.dead, {b"no job": 1})
    async with Client(bench.url, namespace=bench.namespace) as client:
        async with pool.running():
            with pytest.raises(JobFailed):
                await job.result(LIMIT)
        assert (await client.status(job.id)).state is JobState.DEAD
        fails[0] = False
        assert (await client.retry_matching("dead", query=JobQuery(name="wat"))).done == 1
        assert (await client.status(job.id)).state is JobState.QUEUED
        async with pool.running():
            assert await job.result(LIMIT) == 5
        assert (await client.status(job.id)).state is JobState.DONE


async def test_the_status_of_a_dead_job_that_another_program_has_requeued(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60, max_fails=1)
    async def wat() -> None:
        raise ValueError("sorry")

    job = await wat.enqueue()
    async with pool.running():
        with pytest.raises(JobFailed):
            await job.result(LIMIT)
    (payload,) = await bench.redis.zrange(bench.keys.dead, 0, -1)
    async with Client(bench.url, namespace=bench.namespace) as client:
        await bench.redis.lpush(bench.keys.queue("wat"), payload)
        await bench.redis.zrem(bench.keys.dead, payload)
        assert (await client.status(job.id)).state is JobState.QUEUED
        await bench.redis.delete(bench.keys.queue("wat"))
        assert (await client.status(job.id)).state is JobState.DEAD


async def test_a_later_job_with_the_same_id_is_another_one(bench: Bench) -> None:
    pool, sizes = bench.pool(), [1, RESULT_LIMIT]

    @pool.job(result=60)
    async def wat() -> str:
        return sizes.pop(0) * "a"

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        first = await wat.options(id="same").enqueue()
        assert await first.result(LIMIT) == "a"
        await client.pause(wat)
        second = await wat.options(id="same").enqueue()
        assert (await client.status("same")).state is JobState.QUEUED
        waiting = asyncio.create_task(second.result(LIMIT))
        await client.unpause(wat)
        # It must not get the result of the first one, which has the same id.
        with pytest.raises(ResultLost, match="1048578 bytes"):
            await waiting


async def test_waits_end_when_the_connections_are_closed(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> None: ...

    async with pool.running():
        pass
    job = await wat.enqueue()
    waiting = asyncio.create_task(job.result())
    await until(lambda: bench.redis.hlen(bench.keys.job_record(job.id)))
    await pool.enqueuer.close()
    with pytest.raises(UsageError, match=f"closed while job {job.id} was waited for"):
        await waiting


async def test_a_record_of_another_type_keeps_no_other_wait(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    jobs = [await wat.enqueue() for _ in range(3)]
    await bench.redis.set(bench.keys.job_record(jobs[1].id), "no record")
    waiting = asyncio.create_task(gather(*jobs, timeout=LIMIT))
    async with pool.running():
        assert await waiting == [5, 5, 5]


async def test_a_wait_without_time_reads_the_record(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    job = await wat.enqueue()
    with pytest.raises(ResultTimeout):
        await job.result(0)
    async with pool.running():
        assert await job.result(LIMIT) == 5
        assert await job.result(0) == 5
        assert await asyncio.to_thread(wat.sync.result, job, timeout=0) == 5


async def test_jobs_are_yielded_in_the_order_in_which_they_end(bench: Bench) -> None:
    pool, may_end = bench.pool(), [asyncio.Event() for _ in range(7)]

    @pool.job(result=60)
    async def wait(n: int) -> None:
        await may_end[n].wait()

    jobs = [await wait.enqueue(n) for n in range(7)]
    found: list[object] = []
    may_end[0].set()
    async with pool.running():
        async for job in as_completed(reversed(jobs), timeout=LIMIT):
            for n in range(1, 7) if not found else ():
                may_end[n].set()
                await jobs[n].result(LIMIT)
            found.append(job.args)
    assert found == [{"n": n} for n in range(7)]


@pytest.mark.parametrize("bad", ["abc", None, 1])
async def test_only_jobs_can_be_waited_for(bad: Any) -> None:
    with pytest.raises(UsageError, match="jobs that were enqueued can be waited for, not"):
        await gather(bad)
    with pytest.raises(UsageError, match="can be waited for"):
        async for _ in as_completed([bad]):
            pass
    pool = WorkerPool()
    task = pool.job("wat", result=60)(lambda: None)
    with pytest.raises(UsageError, match="can be waited for"):
        task.sync.result(bad)
    with pytest.raises(UsageError, match="can be waited for"):
        sync.Enqueuer().result(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [list, tuple, iter], ids=["list", "tuple", "iterator"])
async def test_gather_takes_jobs_one_by_one(make: Callable[[list[EnqueuedJob[int]]], Any]) -> None:
    jobs: list[EnqueuedJob[int]] = [EnqueuedJob("wat", n, None, 0, 0) for n in "12"]
    for some in (jobs, jobs[:1], []):
        with pytest.raises(UsageError, match=re.escape("gather(*jobs), not gather(jobs)")):
            await gather(make(some))


async def test_jobs_are_to_be_several() -> None:
    job = EnqueuedJob("wat", "1", None, 0, 0)
    for one in (job, 5):
        with pytest.raises(
            UsageError, match=re.escape("jobs must be an iterable of them, as in as_completed([job]), not")
        ):
            async for _ in as_completed(one):  # type: ignore[arg-type]
                pass


async def test_a_lost_job_is_said_to_be_lost(bench: Bench) -> None:
    await bench.redis.hset(bench.keys.job_record("a"), mapping={"state": "lost", "problem": "gone", "attempts": "inf"})
    async with Client(bench.url, namespace=bench.namespace) as client:
        status = await client.status("a")
        assert (status.state, status.problem, status.attempts) == (JobState.LOST, "gone", 0)
        with pytest.raises(ResultLost, match="is lost: gone"):
            await client.result("a", timeout=LIMIT)


async def test_a_result_that_has_no_json_says_what_would_be_right(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def naive() -> list[datetime]:
        return [datetime(2020, 1, 1)]  # noqa: DTZ001

    job = await naive.enqueue()
    async with pool.running():
        with pytest.raises(ResultLost, match=r"result\[0\]: .*time zone"):
            await job.result(LIMIT)


async def test_what_is_known_of_a_job_that_was_deleted(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> None: ...

    async with pool.running():
        pass
    queued, scheduled = await wat.enqueue(), await wat.options(delay=1000).enqueue()
    async with Client(bench.url, namespace=bench.namespace) as client:
        for job in (queued, scheduled):
            await client.cancel(job.id)
            status = await client.status(job.id)
            assert (status.name, status.enqueued_at, status.state) == ("wat", job.enqueued_at, JobState.CANCELLED)
        queued = await wat.enqueue()
        await client.empty(wat)
        assert (await client.status(queued.id)).name == "wat"
    await pool.enqueuer.close()


@pytest.mark.parametrize(
    ("location", "end", "state"),
    [
        ("retry", lambda client, job_id: client.cancel(job_id), JobState.CANCELLED),
        ("retry", lambda client, job_id: client.delete_matching("retry"), JobState.DELETED),
        ("queue", lambda client, job_id: client.cancel(job_id), JobState.CANCELLED),
        ("queue", lambda client, job_id: client.delete_matching("queue:wat"), JobState.DELETED),
        ("queue", lambda client, job_id: client.empty("wat"), JobState.DELETED),
    ],
    ids=["cancel in retry", "delete in retry", "cancel in its queue", "delete in its queue", "empty its queue"],
)
async def test_a_job_keeps_its_attempts_when_it_is_deleted_before_the_next(
    bench: Bench, location: str, end: Callable[[Client, str], Awaitable[object]], state: JobState
) -> None:
    pool = bench.pool()

    @pool.job(result=60, max_fails=9)
    async def wat() -> None:
        raise ValueError("not yet")

    async with pool.running():
        job = await wat.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.retry))
    if location == "queue":
        [payload] = await bench.redis.zrange(bench.keys.retry, 0, -1)
        await bench.redis.delete(bench.keys.retry)
        await bench.redis.lpush(bench.keys.queue("wat"), payload)
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert (await client.status(job.id)).attempts == 1
        await end(client, job.id)
        status = await client.status(job.id)
        assert (status.state, status.attempts) == (state, 1)


# Status


async def test_the_status_of_a_job_through_its_life(bench: Bench) -> None:
    pool, may_end, fails = bench.pool(**QUICK), asyncio.Event(), [True]

    @pool.job(result=60, max_fails=3, backoff=lambda job: 1000)
    async def wat() -> str:
        await may_end.wait()
        if fails[0]:
            raise ValueError("sorry")
        return "done"

    async with Client(bench.url, namespace=bench.namespace) as client:

        async def state(job: EnqueuedJob[Any]) -> JobState:
            return (await client.status(job.id)).state

        later = await wat.options(delay=1000).enqueue()
        scheduled = await client.status(later.id)
        assert (scheduled.state, scheduled.run_at) == (JobState.SCHEDULED, later.run_at)
        job = await wat.enqueue()
        waiting = await client.status(job.id)
        assert (waiting.state, waiting.name, waiting.enqueued_at) == (JobState.QUEUED, "wat", job.enqueued_at)
        async with pool.running():
            await until(lambda: pool._launcher is not None and pool._launcher._dispatcher.busy)
            running = await client.status(job.id)
            assert (running.state, running.attempts) == (JobState.RUNNING, 1)
            may_end.set()

            async def retried() -> bool:
                return await state(job) is JobState.RETRY

            await until(retried)
            status = await client.status(job.id)
            assert status.error == "ValueError: sorry"
            assert status.attempts == 1
            assert status.run_at > job.run_at
            fails[0] = False
            await client.retry_matching("retry")
            assert await job.result(LIMIT) == "done"
            status = await client.status(job.id)
            assert status.state is JobState.DONE
            assert status.state.ended
            assert status.attempts == 2
            assert status.enqueued_at
            assert status.started_at <= status.ended_at
        assert await state(later) is JobState.SCHEDULED


async def test_the_status_of_a_plain_job(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(max_fails=1)
    async def bad() -> None:
        raise ValueError("sorry")

    @pool.job
    async def good() -> None: ...

    async with pool.running():
        dead, done = await bad.enqueue(), await good.enqueue()
        await pool.drain()
    async with Client(bench.url, namespace=bench.namespace) as client:
        status = await client.status(dead.id)
        assert (status.state, status.error) == (JobState.DEAD, "ValueError: sorry")
        with pytest.raises(JobFailed, match="is dead: ValueError: sorry"):
            await client.result(dead.id)
        assert (await client.status(done.id)).state is JobState.UNKNOWN
        with pytest.raises(ResultLost, match="there is no job"):
            await client.result(done.id)
        assert not JobState.UNKNOWN.ended


# Without an event loop


async def test_blocking_callers_wait_too(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def measure(path: str) -> Size:
        return SIZE

    def call() -> None:
        job = measure.sync.enqueue("a")
        assert measure.sync.result(job, timeout=LIMIT) == SIZE
        assert measure.sync.result(job, timeout=LIMIT) == SIZE
        with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
            job = enqueuer.enqueue("measure", {"path": "a"})
            assert enqueuer.result(job, timeout=LIMIT) == {"width": 3, "taken": "2026-01-31"}
            assert enqueuer.result(job.id, timeout=LIMIT) == {"width": 3, "taken": "2026-01-31"}
            later = enqueuer.enqueue("measure", {"path": "a"}, delay=1000)
            with pytest.raises(ResultTimeout):
                enqueuer.result(later, timeout=0.05)
            with pytest.raises(UsageError, match="no results of 'plain' are kept"):
                enqueuer.result(enqueuer.enqueue("plain"))

    async with pool.running():
        await asyncio.to_thread(call)
    pool.sync_enqueuer.close()
    assert threading.active_count() < 50


# Wrong use


async def test_waiting_for_what_is_not_kept(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def plain() -> int:
        return 5

    with pytest.raises(UsageError, match=r"results of 'plain' are not kept.*@pool.job\(result=SECONDS\)"):
        await plain.call()
    assert not await bench.waiting("plain")
    job = await plain.enqueue()
    with pytest.raises(UsageError, match="results of 'plain' are not kept"):
        await job.result()
    with pytest.raises(UsageError, match="not kept"):
        plain.sync.result(job)
    async with pool.running():
        by_name = await bench.enqueuer.enqueue("plain")
        with pytest.raises(UsageError, match="no results of 'plain' are kept"):
            await by_name.result(LIMIT)
    with pytest.raises(UsageError, match="has no connection"):
        await pickle.loads(pickle.dumps(job)).result()
    with pytest.raises(UsageError, match="lost its task"):
        await JobCall("plain", None).result()


@pytest.mark.parametrize("result", [-1, 0, "x", float("nan"), True, timedelta(seconds=-1)])
def test_a_time_that_is_none(result: Any) -> None:
    with pytest.raises(UsageError, match="result"):
        WorkerPool().job(result=result)


async def test_wrong_waits(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat")
    with pytest.raises(UsageError, match="timeout"):
        await job.result("x")  # type: ignore[call-overload]
    async with Client(bench.url, namespace=bench.namespace) as client:
        for wrong in (5, "", None):
            with pytest.raises(UsageError, match="a job's id must be text"):
                await client.status(wrong)  # type: ignore[arg-type]


def test_a_return_type_that_json_cannot_hold_is_refused() -> None:
    pool = WorkerPool()

    async def wat() -> complex:
        return 1j

    with pytest.raises(HandlerError, match=r"wat: what it returns cannot be kept\. JSON has no complex"):
        pool.job(result=60)(wat)
    pool.job(wat)


async def test_a_key_of_another_type_keeps_no_job_from_ending(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    job = await wat.enqueue()
    await bench.redis.set(bench.keys.job_record(job.id), "x")
    async with pool.running():
        await pool.drain()
        assert await job.result(LIMIT) == 5


def test_read_record() -> None:
    assert read_record([b"a", b"1", b"b", b"2"]) == {b"a": b"1", b"b": b"2"}


async def test_an_enqueuer_that_is_closed_ends_its_waits(bench: Bench) -> None:
    enqueuer = Enqueuer(bench.url, namespace=bench.namespace)
    job = await enqueuer.enqueue("wat", delay=1000)
    waiting = asyncio.create_task(job.result(LIMIT))
    await asyncio.sleep(0)
    await enqueuer.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_busy_redis_does_not_end_the_subscription(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = bench.pool()
    refused: list[str] = []
    subscribe = RedisClient.subscribe

    async def refuse_once(self: RedisClient, channel: str) -> Any:
        if not refused:
            refused.append(channel)
            raise ErrorReply("BUSY Redis is busy running a script.")
        return await subscribe(self, channel)

    monkeypatch.setattr(RedisClient, "subscribe", refuse_once)

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async def subscribed() -> bool:
        ((_, count),) = await bench.redis.pubsub_numsub(refused[0])
        return bool(count)

    job = await wat.enqueue()
    waiting = asyncio.create_task(job.result(LIMIT))
    await until(lambda: refused)
    await until(subscribed)
    async with pool.running():
        assert await waiting == 5


async def test_a_pool_warns_of_pools_that_keep_no_results(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool, keys, pool_id = bench.pool(), bench.keys, "a" * 24

    @pool.job(result=60)
    async def wat() -> None: ...

    heartbeat = {"heartbeat_at": int(time.time()), "started_at": 1, "job_names": "other,wat", "host": "gopher"}
    for runs in (True, False):
        caplog.clear()
        await bench.redis.sadd(keys.worker_pools, pool_id)
        await bench.redis.hset(keys.heartbeat(pool_id), mapping=heartbeat | ({} if runs else {"heartbeat_at": 1}))
        async with pool.running():
            await bench.redis.srem(keys.worker_pools, pool_id)
            await bench.redis.delete(keys.heartbeat(pool_id))
        found = [each.getMessage() for each in caplog.records if "gocraft/work" in each.getMessage()]
        assert len(found) == runs
        assert all(each.startswith("results of wat are not kept by a pool of gocraft/work") for each in found)
