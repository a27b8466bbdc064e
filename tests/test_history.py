"""History: each attempt at a job is kept with its record, and jobs that have ended are listed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from asyncwork import (
    Client,
    Discard,
    Job,
    JobRecord,
    JobState,
    JobStatus,
    PoolEndedError,
    ResultLost,
    Snooze,
    UsageError,
    WorkerPool,
)
from asyncwork._redis.commands import fingerprint
from asyncwork._redis.recovery import Recovery
from asyncwork._worker.launcher import Launcher

from .conftest import LIMIT, Bench, until

DAY = 86_400
# Lone surrogates, and more characters than are kept.
HOSTILE = "\ud800 sorry " + "x" * 2_000


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


async def ended(client: Client, job_id: str) -> JobStatus:
    """The status of a job, once it has ended."""
    found: list[JobStatus] = []

    async def has_ended() -> bool:
        found.append(await client.status(job_id))
        return found[-1].ended_at > 0

    await until(has_ended)
    return found[-1]


def launcher_of(pool: WorkerPool[Any]) -> Launcher:
    assert pool._launcher is not None
    return pool._launcher


def outcomes(status: JobStatus) -> list[str]:
    return [each.outcome for each in status.history]


async def put(bench: Bench, name: str, job_id: str, **more: Any) -> bytes:
    """Enqueue a job as its bytes."""
    payload = json.dumps({"name": name, "id": job_id, "t": 1, "args": None, **more}).encode()
    await bench.redis.sadd(bench.keys.known_jobs, name)
    await bench.redis.lpush(bench.keys.queue(name), payload)
    return payload


# Attempts


async def test_a_job_that_is_done(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(history=True)
    async def wat(n: int) -> int:
        return n

    began = time.time()
    async with pool.running():
        job = await wat.enqueue(5)
        status = await ended(client, job.id)
    (attempt,) = status.history
    assert began - 1 < attempt.started_at <= attempt.ended_at < time.time() + 1
    assert (attempt.outcome, attempt.host, attempt.pid) == ("done", socket.gethostname(), os.getpid())
    assert attempt.error == ""
    assert (status.state, status.name, status.args) == (JobState.DONE, "wat", '{"n":5}')
    for key in (bench.keys.job_record(job.id), bench.keys.finished):
        assert 0 < await bench.redis.ttl(key) <= DAY


async def test_history_keeps_no_results_unless_they_are_wanted(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(history=True)
    async def wat() -> int:
        return 1

    @pool.job(history=True, result=60)
    async def kept() -> int:
        return 2

    async with pool.running():
        with pytest.raises(UsageError, match=r"register it with @pool.job\(result=SECONDS\)"):
            await (await wat.enqueue()).result(LIMIT)
        with pytest.raises(ResultLost, match=r"register it with @pool.job\(result=SECONDS\)"):
            await (await bench.enqueuer.enqueue("wat")).result(LIMIT)
        job = await kept.enqueue()
        assert await job.result(LIMIT) == 2
        assert outcomes(await client.status(job.id)) == ["done"]
    assert 0 < await bench.redis.ttl(bench.keys.job_record(job.id)) <= 60


async def test_failed_attempts_are_shown_while_the_job_waits_and_runs(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    # pytest-xdist cannot send a captured traceback with lone surrogates.
    caplog.set_level(logging.CRITICAL, "asyncwork.job")
    pool, attempts, go = bench.pool(), [0], asyncio.Event()

    @pool.job(history=True, backoff=lambda job: 3 * DAY)
    async def wat() -> None:
        attempts[0] += 1
        if attempts[0] == 1:
            raise ValueError(HOSTILE)
        await go.wait()

    async with pool.running():
        job = await wat.enqueue()

        async def is_to_be_retried() -> bool:
            return (await client.status(job.id)).state is JobState.RETRY

        await until(is_to_be_retried)
        status = await client.status(job.id)
        assert outcomes(status) == ["failed"]
        assert status.history[0].error.startswith("ValueError: \ufffd sorry xxx")
        assert len(status.history[0].error) < 1_010
        # For longer than the job waits.
        assert await bench.redis.ttl(bench.keys.job_record(job.id)) > 3 * DAY
        assert (await client.finished()).total == 0
        ((payload, _),) = await bench.job_set("retry")
        await bench.redis.zadd(bench.keys.retry, {payload: 1})
        await until(lambda: attempts[0] == 2)
        assert outcomes(await client.status(job.id)) == ["failed"]
        go.set()
        assert outcomes(await ended(client, job.id)) == ["failed", "done"]
    assert 0 < await bench.redis.ttl(bench.keys.job_record(job.id)) <= DAY


async def test_waiters_are_not_woken_by_attempts_and_the_record_lasts(bench: Bench, client: Client) -> None:
    pool, attempts = bench.pool(), [0]

    @pool.job(history=True, result=60, backoff=lambda job: 0)
    async def wat() -> int:
        attempts[0] += 1
        if attempts[0] == 1:
            raise ValueError
        return attempts[0]

    job = await wat.enqueue()
    waiting = asyncio.create_task(job.result(LIMIT))
    async with pool.running():
        assert await waiting == 2
        assert outcomes(await client.status(job.id)) == ["failed", "done"]


async def test_ways_to_end(bench: Bench, client: Client) -> None:
    pool, snoozed = bench.pool(), [False]

    @pool.job(history=True, max_fails=1)
    async def dies() -> None:
        raise ValueError("sorry")

    @pool.job(history=True)
    async def drops() -> None:
        raise Discard("no need")

    @pool.job(history=True)
    async def naps() -> None:
        if not snoozed[0]:
            snoozed[0] = True
            raise Snooze(0)

    @pool.job(history=True, max_fails=1, timeout=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    @pool.job(history=True, max_fails=2, backoff=lambda job: 0, skip_dead=True)
    async def skips() -> None:
        raise ValueError

    @pool.job(history=True)
    async def unrecordable(job: Job) -> None:
        job._fields = None  # type: ignore[assignment]
        raise ValueError

    @pool.job(history=True, expires=10)
    async def late() -> None: ...

    await put(bench, "late", "e" * 24)
    async with pool.running():
        dead = await ended(client, (await dies.enqueue()).id)
        assert [(each.outcome, each.error) for each in dead.history] == [("dead", "ValueError: sorry")]
        dropped = await ended(client, (await drops.enqueue()).id)
        assert [(each.outcome, each.error) for each in dropped.history] == [("discarded", "no need")]
        assert outcomes(await ended(client, (await naps.enqueue()).id)) == ["snoozed", "done"]
        timed_out = await ended(client, (await slow.enqueue()).id)
        assert [each.outcome for each in timed_out.history] == ["dead"]
        assert timed_out.history[0].error.startswith("JobTimeoutError: timed out after 0.01 s")
        skipped = await ended(client, (await skips.enqueue()).id)
        assert (skipped.attempts, outcomes(skipped)) == (2, ["failed", "discarded"])
        odd = await ended(client, (await unrecordable.enqueue()).id)
        assert (odd.state, outcomes(odd)) == (JobState.QUARANTINED, ["quarantined"])
        expired = await ended(client, "e" * 24)
    # It was never attempted.
    assert (expired.state, expired.history) == (JobState.EXPIRED, ())
    listed = (await client.finished()).jobs
    assert {each.state for each in listed} == {
        *(JobState.DEAD, JobState.DISCARDED, JobState.DONE, JobState.EXPIRED, JobState.QUARANTINED)
    }


async def test_a_running_job_that_is_cancelled(bench: Bench, client: Client) -> None:
    pool, began = bench.pool(), asyncio.Event()

    @pool.job(history=True)
    async def wat() -> None:
        began.set()
        await asyncio.Event().wait()

    async with pool.running():
        job = await wat.enqueue()
        await asyncio.wait_for(began.wait(), LIMIT)
        await client.cancel(job.id, "user left")
        status = await ended(client, job.id)
    assert status.state is JobState.CANCELLED
    assert [each.outcome for each in status.history] == ["cancelled"]
    assert "user left" in status.history[0].error
    assert [each.id for each in (await client.finished()).jobs] == [job.id]


@pytest.mark.parametrize("plain", [False, True], ids=["a coroutine", "a plain function"])
async def test_an_attempt_that_a_stop_cuts_off(bench: Bench, client: Client, plain: bool) -> None:
    began, may_end = threading.Event(), threading.Event()
    first, second = bench.pool(grace=0.0), bench.pool()

    async def hangs(job: Job) -> None:
        began.set()
        # The job is still known by what Redis has.
        job.name = job.id = "replaced"
        await asyncio.Event().wait()

    def blocks() -> None:
        began.set()
        may_end.wait(LIMIT)

    first.job("wat", history=True)(blocks if plain else hangs)
    second.job("wat", history=True)(lambda: None)
    start = time.time()
    async with first.running():
        job = await bench.enqueuer.enqueue("wat")
        await until(began.is_set)
    may_end.set()
    status = await client.status(job.id)
    (attempt,) = status.history
    assert status.state is JobState.QUEUED
    assert start - 1 < attempt.started_at <= attempt.ended_at < time.time() + 1
    assert (attempt.outcome, attempt.host, attempt.pid) == ("stopped", socket.gethostname(), os.getpid())
    assert attempt.error == ""
    assert 0 < await bench.redis.ttl(bench.keys.job_record(job.id)) <= DAY
    assert (await client.finished()).total == 0
    async with second.running():
        assert outcomes(await ended(client, job.id)) == ["stopped", "done"]


async def test_several_stops_cut_off_several_jobs(bench: Bench, client: Client) -> None:
    pool, running = bench.pool(grace=0.0, concurrency=5), Counter[int]()

    @pool.job(history=True)
    async def wat(n: int) -> None:
        running[n] += 1
        await asyncio.Event().wait()

    @pool.job
    async def other() -> None:
        running[-1] += 1
        await asyncio.Event().wait()

    jobs = [await wat.enqueue(n) for n in range(6)]
    await other.enqueue()
    for so_far in (5, 10):
        async with pool.running():
            await until(lambda total=so_far: running.total() == total)
    for job in jobs:
        (n,) = (job.args or {}).values()
        assert outcomes(await client.status(job.id)) == ["stopped"] * running[n]
    # The oldest will be the first to run, and those that did not run are behind.
    assert [json.loads(each)["id"] for each in await bench.waiting("wat")] == [each.id for each in jobs]
    # Only jobs whose type has a history have a record.
    records = [each async for each in bench.redis.scan_iter(bench.keys.job_record("*"))]
    assert len(records) == sum(n >= 0 for n in running)


async def test_a_stop_replaces_what_was_to_end_the_attempt(bench: Bench, client: Client) -> None:
    pool, began = bench.pool(grace=0.0), asyncio.Event()

    @pool.job(history=True, timeout=0.01)
    async def stubborn() -> None:
        began.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                # By the timeout; the stop is the second one.
                await asyncio.Event().wait()

    async with pool.running():
        job = await stubborn.enqueue()
        await asyncio.wait_for(began.wait(), LIMIT)
        await until(lambda: any(each.interruption for each in launcher_of(pool).workers))
    assert outcomes(await client.status(job.id)) == ["stopped"]


async def test_a_handler_that_ends_when_it_is_stopped_has_not_been_cut_off(bench: Bench, client: Client) -> None:
    pool, began = bench.pool(grace=0.0), list[str]()

    @pool.job(history=True, backoff=lambda job: DAY)
    async def wat(how: str) -> None:
        began.append(how)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "fails":
                raise ValueError from None

    async with pool.running():
        jobs = {how: await wat.enqueue(how) for how in ("returns", "fails")}
        await until(lambda: len(began) == 2)
    assert outcomes(await client.status(jobs["returns"].id)) == ["done"]
    assert outcomes(await client.status(jobs["fails"].id)) == ["failed"]


async def test_a_job_that_has_not_begun_is_not_cut_off(bench: Bench, client: Client) -> None:
    pool, began = bench.pool(grace=0.0, concurrency=2), list[int]()

    @pool.job(history=True, max_crashes=0)
    async def wat(n: int) -> None:
        began.append(n)
        await asyncio.Event().wait()

    jobs = [await wat.enqueue(n) for n in range(2)]
    for payload in await bench.waiting("wat"):
        # They run one at a time.
        await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 2)
    async with pool.running():
        await until(lambda: began and sum(each.job is not None for each in launcher_of(pool).workers) == 2)
    (first,) = began
    assert outcomes(await client.status(jobs[first].id)) == ["stopped"]
    assert outcomes(await client.status(jobs[1 - first].id)) == []
    await bench.redis.delete(bench.keys.crashes)


async def test_an_attempt_that_another_pool_has_requeued_is_not_cut_off(bench: Bench, client: Client) -> None:
    pool, began = bench.pool(grace=0.0), asyncio.Event()

    @pool.job(history=True)
    async def wat() -> None:
        began.set()
        await asyncio.Event().wait()

    async with pool.running():
        job = await wat.enqueue()
        await asyncio.wait_for(began.wait(), LIMIT)
        await pool.quiet()
        await Recovery(bench.in_redis).reap(pool.id or "", ["wat"], None)
    assert outcomes(await client.status(job.id)) == []


async def test_an_attempt_that_the_end_of_a_broken_pool_cuts_off_is_a_crash(bench: Bench, client: Client) -> None:
    pool, again = bench.pool(), bench.pool()

    @pool.job("wat", history=True)
    async def breaks() -> None:
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task() and task.get_name().startswith("asyncwork"):
                task.cancel()
        await asyncio.Event().wait()

    again.job("wat", history=True)(lambda: None)
    job = await breaks.enqueue()
    with pytest.raises(PoolEndedError, match="without a request to stop"):
        async with pool.running():
            await asyncio.sleep(LIMIT)
    async with again.running():
        assert outcomes(await ended(client, job.id)) == ["crashed", "done"]


async def test_a_job_that_dies_of_its_crashes_has_no_attempt_more(bench: Bench, client: Client) -> None:
    pool, ran = bench.pool(), list[str]()

    @pool.job(history=True, max_crashes=2)
    async def dies() -> None:
        ran.append("dies")

    @pool.job(history=True, max_crashes=1, skip_dead=True)
    async def drops() -> None:
        ran.append("drops")

    for name, crashes in (("dies", 2), ("drops", 1)):
        payload = await put(bench, name, name)
        await bench.redis.hset(bench.keys.crashes, fingerprint(payload), crashes)
    async with pool.running():
        dead, dropped = await ended(client, "dies"), await ended(client, "drops")
    assert ran == []
    assert (dead.state, outcomes(dead)) == (JobState.DEAD, ["crashed", "crashed"])
    assert dead.error == "CrashedError: its process died 2 times while it was running"
    assert (dropped.state, outcomes(dropped)) == (JobState.DISCARDED, ["crashed"])


async def test_a_job_that_ends_before_it_begins_has_only_the_attempts_before(bench: Bench, client: Client) -> None:
    pool, ran = bench.pool(), list[str]()

    @pool.job(history=True, max_crashes=0)
    async def wat() -> None:
        ran.append("wat")

    late = await put(bench, "wat", "late", expires=5)
    cancelled = await put(bench, "wat", "cancelled")
    for payload in (late, cancelled):
        await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 1)
    await bench.redis.hset(bench.keys.cancels, "cancelled", b"{}")
    async with pool.running():
        expired, dropped = await ended(client, "late"), await ended(client, "cancelled")
    assert ran == []
    for status, state in ((expired, JobState.EXPIRED), (dropped, JobState.CANCELLED)):
        assert (status.state, outcomes(status)) == (state, ["crashed"])
        assert (status.attempts, status.started_at) == (0, 0)
    await bench.redis.delete(bench.keys.crashes)


async def test_crashes_are_attempts_and_none_replaces_another(bench: Bench, client: Client) -> None:
    pool, attempts, go = bench.pool(), [0], asyncio.Event()

    @pool.job(history=True, max_crashes=0, backoff=lambda job: DAY)
    async def wat() -> None:
        attempts[0] += 1
        if attempts[0] == 1:
            raise ValueError
        go.set()

    payload = await put(bench, "wat", "c" * 24)
    await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 2)
    async with pool.running():
        await until(lambda: bench.redis.zcard(bench.keys.retry))
    ((payload, _),) = await bench.job_set("retry")
    await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 1)
    await bench.redis.zrem(bench.keys.retry, payload)
    await bench.redis.lpush(bench.keys.queue("wat"), payload)
    again = bench.pool()
    again.job("wat", history=True, max_crashes=0)(lambda: None)
    async with again.running():
        status = await ended(client, "c" * 24)
    assert outcomes(status) == ["crashed", "crashed", "failed", "crashed", "done"]
    assert not await bench.redis.exists(bench.keys.crashes)


async def test_a_dead_job_that_is_retried_keeps_its_attempts(bench: Bench, client: Client) -> None:
    pool, attempts = bench.pool(), [0]

    @pool.job(history=True, max_fails=1)
    async def wat() -> None:
        attempts[0] += 1
        if attempts[0] == 1:
            raise ValueError

    async with pool.running():
        job = await wat.enqueue()
        assert (await ended(client, job.id)).state is JobState.DEAD
        (dead,) = (await client.jobs("dead")).jobs
        await client.retry("dead", [dead.ref])
        await until(lambda: attempts[0] == 2)

        async def done() -> bool:
            return (await client.status(job.id)).state is JobState.DONE

        await until(done)
    assert outcomes(await client.status(job.id)) == ["dead", "done"]
    listed = await client.finished()
    assert [(each.id, each.state) for each in listed.jobs] == [(job.id, JobState.DONE)]
    assert listed.total == 1


async def test_switched_off_later(bench: Bench, client: Client) -> None:
    on, off = bench.pool(), bench.pool()

    @on.job("wat", history=True)
    async def keeps() -> None: ...

    @off.job("wat")
    async def keeps_not() -> None: ...

    async with on.running():
        old = await keeps.enqueue()
        await ended(client, old.id)
    assert await bench.redis.hget(bench.keys.results, "wat") == b"%d" % DAY
    async with off.running():
        new = await bench.enqueuer.enqueue("wat")
        await until(lambda: off.counts.done == 1)
    assert outcomes(await client.status(old.id)) == ["done"]
    assert (await client.status(new.id)).state is JobState.UNKNOWN
    assert not await bench.redis.exists(bench.keys.job_record(new.id))
    assert await bench.redis.hget(bench.keys.results, "wat") is None


async def test_only_the_last_attempts_are_kept(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(history=True)
    async def wat() -> None: ...

    old = {
        f"attempt:{n:020.6f}:999": json.dumps({"outcome": str(n), "started_at": n, "ended_at": n})
        for n in range(1, 121)
    }
    await bench.redis.hset(bench.keys.job_record("1" * 24), mapping=old)
    await put(bench, "wat", "1" * 24)
    async with pool.running():
        status = await ended(client, "1" * 24)
    assert outcomes(status) == [*(str(n) for n in range(22, 121)), "done"]


async def test_arguments_that_are_too_long_are_left_out(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(history=True)
    async def wat(text: str) -> None: ...

    async with pool.running():
        short = await ended(client, (await wat.enqueue("x" * 9_900)).id)
        long = await ended(client, (await wat.enqueue("x" * 10_000)).id)
    assert json.loads(short.args) == {"text": "x" * 9_900}
    assert long.args == ""


@pytest.mark.parametrize("key", ["record", "finished"])
async def test_a_key_of_another_type_keeps_no_job_from_ending(bench: Bench, client: Client, key: str) -> None:
    pool, attempts = bench.pool(), [0]

    @pool.job(history=True, backoff=lambda job: 0)
    async def wat() -> None:
        attempts[0] += 1
        if attempts[0] == 1:
            raise ValueError

    wrong = bench.keys.job_record("1" * 24) if key == "record" else bench.keys.finished
    await bench.redis.set(wrong, "x")
    await put(bench, "wat", "1" * 24)
    async with pool.running():
        await until(lambda: pool.counts.done == 1)
        status = await ended(client, "1" * 24)
    assert status.state is JobState.DONE
    assert outcomes(status) == (["done"] if key == "record" else ["failed", "done"])
    assert len((await client.finished()).jobs) == (1 if key == "record" else 0)
    await bench.redis.delete(wrong)


async def test_unreadable_attempts_are_left_out(bench: Bench, client: Client) -> None:
    fields = {
        "attempt:1": b"\xff",
        "attempt:2": "5",
        "attempt:3": "{}",
        "attempt:4": '{"outcome":"a","started_at":"x"}',
    }
    good = {"attempt:5": '{"outcome":"failed","started_at":1,"ended_at":2}'}
    await bench.redis.hset(bench.keys.job_record("1" * 24), mapping={"state": "done", **fields, **good})
    assert outcomes(await client.status("1" * 24)) == ["failed"]


async def test_hostile_ids_and_arguments(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(history=True)
    async def wat(text: str) -> None: ...

    await put(bench, "wat", "\ud800", args={"text": "\udfff"})
    async with pool.running():
        await until(lambda: pool.counts.done == 1)
        await until(lambda: bench.redis.zcard(bench.keys.finished))
        (job,) = (await client.finished()).jobs
    assert (job.state, json.loads(job.args)) == (JobState.DONE, {"text": "\udfff"})


async def test_redaction(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(history=True, max_fails=1)
    async def wat(pin: str) -> None:
        raise ValueError(pin)

    def hide(record: JobRecord) -> JobRecord:
        return replace(record, args=record.args.replace(b"1234", b"..."))

    async with Client(bench.url, namespace=bench.namespace, redact=hide) as client, pool.running():
        job = await wat.enqueue("1234")
        status = await ended(client, job.id)
        await bench.redis.delete(bench.keys.dead)
        (listed,) = (await client.finished()).jobs
    for each in (status, listed):
        assert each.args == '{"pin":"..."}'
        assert "1234" not in repr(each) + each.traceback
        assert outcomes(each) == ["dead"]


async def test_redaction_of_jobs_that_go_on(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(history=True, backoff=lambda job: DAY)
    async def wat(pin: str) -> None:
        raise ValueError(pin)

    def broken(record: JobRecord) -> JobRecord:
        raise RuntimeError

    async with Client(bench.url, namespace=bench.namespace, redact=broken) as client, pool.running():
        job = await wat.enqueue("1234")
        await until(lambda: bench.redis.zcard(bench.keys.retry))
        status = await client.status(job.id)
    assert outcomes(status) == ["failed"]
    assert "1234" not in repr(status) + status.traceback


# The list of jobs that have ended


async def test_pages_have_the_last_job_first(bench: Bench, client: Client) -> None:
    for n in range(1, 6):
        await bench.redis.hset(bench.keys.job_record(str(n)), mapping={"state": "done", "name": f"n{n % 2}"})
        await bench.redis.zadd(bench.keys.finished, {str(n): n})
    page = await client.finished(per_page=2)
    assert ([each.id for each in page.jobs], page.total, page.page, page.pages) == (["5", "4"], 5, 1, 3)
    assert [each.id for each in (await client.finished(3, per_page=2)).jobs] == ["1"]
    assert (await client.finished(4, per_page=2)).jobs == ()
    named = await client.finished(2, per_page=2, name="n1")
    assert ([each.id for each in named.jobs], named.total, named.pages) == (["1"], 3, 2)
    assert (await client.finished(name="no such")).total == 0


async def test_jobs_whose_records_have_expired_are_not_listed(bench: Bench, client: Client) -> None:
    assert (await client.finished()).pages == 1
    for n in range(10):
        await bench.redis.zadd(bench.keys.finished, {str(n): n})
    await bench.redis.hset(bench.keys.job_record("3"), mapping={"state": "done", "result": "x" * 100})
    # It runs again: its record has attempts, but no state.
    await bench.redis.hset(bench.keys.job_record("7"), "attempt:1", '{"outcome":"a","started_at":1,"ended_at":1}')
    page = await client.finished()
    assert ([each.id for each in page.jobs], page.total) == (["3"], 2)
    assert await bench.redis.zrange(bench.keys.finished, 0, -1) == [b"3", b"7"]


async def test_the_list_is_bounded(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(history=True)
    async def wat() -> None: ...

    await bench.redis.zadd(bench.keys.finished, {f"old{n}": n for n in range(10_005)})
    async with pool.running():
        job = await wat.enqueue()
        await ended(client, job.id)
    assert await bench.redis.zcard(bench.keys.finished) == 10_000
    assert await bench.redis.zrange(bench.keys.finished, 0, 0) == [b"old6"]


async def test_types_without_a_history_are_not_listed(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> None: ...

    async with pool.running():
        job = await wat.enqueue()
        status = await ended(client, job.id)
    assert (status.history, status.args) == ((), "")
    assert not await bench.redis.exists(bench.keys.finished)


async def test_wrong_arguments(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    with pytest.raises(UsageError, match="history must be True or False, not 1"):
        pool.job(history=1)  # type: ignore[call-overload]
    for wrong in (0, -1, "1"):
        with pytest.raises(UsageError, match="page must be a whole number"):
            await client.finished(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="per_page must be a whole number from 1 to 200"):
        await client.finished(per_page=201)
    with pytest.raises(UsageError, match="by its name or its task"):
        await client.finished(name=5)  # type: ignore[arg-type]
