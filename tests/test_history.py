"""History: each attempt at a job is kept with its record, and jobs that have ended are listed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from asyncwork import Client, Discard, JobRecord, JobState, JobStatus, ResultLost, Snooze, UsageError
from asyncwork._redis.commands import fingerprint

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

    @pool.job(history=True, expires=10)
    async def late() -> None: ...

    await put(bench, "late", "e" * 24)
    async with pool.running():
        dead = await ended(client, (await dies.enqueue()).id)
        assert [(each.outcome, each.error) for each in dead.history] == [("dead", "ValueError: sorry")]
        dropped = await ended(client, (await drops.enqueue()).id)
        assert [(each.outcome, each.error) for each in dropped.history] == [("discarded", "no need")]
        assert outcomes(await ended(client, (await naps.enqueue()).id)) == ["snoozed", "done"]
        expired = await ended(client, "e" * 24)
    # It was never attempted.
    assert (expired.state, expired.history) == (JobState.EXPIRED, ())
    listed = (await client.finished()).jobs
    assert {each.state for each in listed} == {JobState.DEAD, JobState.DISCARDED, JobState.DONE, JobState.EXPIRED}


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


async def test_a_job_that_a_stop_returns_has_the_attempt_that_ends_it(bench: Bench, client: Client) -> None:
    began = asyncio.Event()
    first, second = bench.pool(grace=0.0), bench.pool()

    @first.job("wat", history=True)
    async def hangs() -> None:
        began.set()
        await asyncio.Event().wait()

    @second.job("wat", history=True)
    async def ends() -> None: ...

    async with first.running():
        job = await hangs.enqueue()
        await asyncio.wait_for(began.wait(), LIMIT)
    assert len(await bench.waiting("wat")) == 1
    async with second.running():
        assert outcomes(await ended(client, job.id)) == ["done"]


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
