"""Waits for results: what they search, what a handle remembers, and what they report when Redis refuses or is away."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from asyncwork import (
    Client,
    Enqueuer,
    JobCancelled,
    JobFailed,
    JobRecord,
    RedisUnavailable,
    ResultTimeout,
    UsageError,
    as_completed,
    gather,
    sync,
)
from asyncwork._redis import blocking_waits, job_waits, wait_outage
from asyncwork._redis.blocking_client import BlockingClient
from asyncwork._redis.errors import ConnectionBroken, is_lasting
from asyncwork._redis.job_search import FoundJob, JobSearch
from asyncwork._redis.job_waits import JobWaits
from asyncwork._redis.multiplexer import Multiplexer
from asyncwork.models.enqueued_job import set_source

from .conftest import LIMIT, Bench, until

# By id


async def test_a_job_that_ends_while_it_is_searched_for_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async def miss(self: JobSearch, job_ids: Collection[str]) -> dict[str, FoundJob]:
        async with pool.running():
            await pool.drain()
        return {}

    monkeypatch.setattr(JobSearch, "find", miss)
    # So that no message and no other reading makes up for it.
    monkeypatch.setattr(JobWaits, "_read", read_first(JobWaits._read))
    job = await wat.enqueue()
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert await client.result(job.id, timeout=LIMIT) == 5


def read_first(read: Callable[[JobWaits, Any], None]) -> Callable[[JobWaits, Any], None]:
    """Read records when they are first asked for, and not again."""
    seen = set[str]()

    def read_once(self: JobWaits, job_ids: Collection[str]) -> None:
        new = [each for each in job_ids if each not in seen]
        seen.update(new)
        read(self, new)

    return read_once


async def test_a_wait_that_begins_while_the_connection_closes_has_a_listener(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_waits, "_LINGER", 0.0)
    pool, closing, may_close = bench.pool(), asyncio.Event(), asyncio.Event()
    close = Multiplexer.close

    async def close_slowly(self: Multiplexer) -> None:
        await close(self)
        closing.set()
        await may_close.wait()

    @pool.job(result=60)
    async def wat(n: int) -> int:
        return n

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        first, second = await wat.enqueue(1), await wat.options(delay=1).enqueue(2)
        monkeypatch.setattr(Multiplexer, "close", close_slowly)
        assert await client.result(first.id) == 1
        await asyncio.wait_for(closing.wait(), LIMIT)
        waiting = asyncio.create_task(client.result(second.id, timeout=LIMIT))
        await until(lambda: client._waits.get()._waits)
        may_close.set()
        assert await waiting == 2


async def test_all_places_are_searched(bench: Bench) -> None:
    pool, may_end = bench.pool(concurrency=1), asyncio.Event()

    @pool.job(result=60, max_fails=2, backoff=lambda job: 1000)
    async def wat(does: str) -> str:
        if does == "waits":
            await may_end.wait()
        if does == "fails":
            raise ValueError("sorry")
        return does

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        retry = await wat.enqueue("fails")
        await pool.drain()
        running = await wat.enqueue("waits")
        await until(lambda: bench.redis.llen(bench.keys.in_progress("wat", pool.id or "")))
        jobs = [retry, running, await wat.enqueue("runs"), await wat.options(delay=1000).enqueue("later")]
        found = await client._waits.get().search.find([*(job.id for job in jobs), "nobody"])
        assert {each.job.id: each.location for each in found.values()} == dict(
            zip((job.id for job in jobs), ("retry", "busy", "queue:wat", "scheduled"), strict=True)
        )
        waiting = [asyncio.create_task(client.result(job.id, timeout=LIMIT)) for job in jobs]
        await until(
            lambda: len(known := client._waits.get()._waits) == 4 and not any(w.unknown for w in known.values())
        )
        may_end.set()
        assert await asyncio.gather(*waiting[1:3]) == ["waits", "runs"]
        assert (await client.retry_matching("scheduled")).done == 1
        assert await waiting[3] == "later"
        assert (await client.retry_matching("retry")).done == 1
        with pytest.raises(JobFailed, match=f"wat {retry.id} is dead: ValueError: sorry"):
            await waiting[0]
        await bench.redis.delete(bench.keys.job_record(retry.id))
        with pytest.raises(JobFailed, match=f"wat {retry.id} is dead: ValueError: sorry") as failed:
            await client.result(retry.id)
        assert "ValueError" in failed.value.traceback


async def test_calls_of_one_time_share_a_search_and_cancelled_ones_leave_nothing(bench: Bench) -> None:
    async with Client(bench.url, namespace=bench.namespace) as client:
        search = client._waits.get().search
        first = asyncio.create_task(search.find(["a"]))
        await asyncio.sleep(0)
        later = [asyncio.create_task(search.find([name])) for name in "bcd"]
        later[0].cancel()
        assert await asyncio.gather(first, *later[1:]) == [{}, {}, {}]
        with pytest.raises(asyncio.CancelledError):
            await later[0]
        with pytest.raises(ResultTimeout):
            await client.result("a", timeout=0)
        left = asyncio.create_task(search.find(["a"]))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await left


async def test_redis_that_goes_away_after_a_job_was_found_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(job_waits, "_READ_AGAIN", 0.05)
    pool, refused = bench.pool(), list[Exception]()
    request = JobWaits._request

    async def fail(self: JobWaits, job_ids: Any) -> list[Any]:
        if len(refused) < 3:
            refused.append(ReadOnlyError("You can't write against a read only replica."))
            raise refused[-1]
        return await request(self, job_ids)

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async with pool.running():
        pass
    job = await wat.enqueue()
    async with Client(bench.url, namespace=bench.namespace) as client:
        waiting = asyncio.create_task(client.result(job.id, timeout=LIMIT))
        await until(lambda: [each for each in client._waits.get()._waits.values() if not each.unknown])
        monkeypatch.setattr(JobWaits, "_request", fail)
        await until(lambda: len(refused) == 3)
        async with pool.running():
            assert await waiting == 5
    assert [record.getMessage() for record in caplog.records if "waiting for jobs" in record.getMessage()] == [
        "waiting for jobs: Redis is away (You can't write against a read only replica.); going on when it is back",
        "waiting for jobs: Redis is back",
    ]


async def test_the_error_of_a_failed_job_is_redacted(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60, max_fails=1)
    async def wat(card: str) -> None:
        raise ValueError(card)

    def hide(record: JobRecord) -> JobRecord:
        return replace(record, args=b"null")

    async with pool.running(), Client(bench.url, namespace=bench.namespace, redact=hide) as client:
        job = await wat.enqueue("4111111111111111")
        await pool.drain()
        for _ in ("with a record", "without"):
            with pytest.raises(JobFailed, match=f"wat {job.id} is dead: ") as failed:
                await client.result(job.id, timeout=LIMIT)
            assert "4111" not in f"{failed.value} {failed.value.error} {failed.value.traceback}"
            await bench.redis.delete(bench.keys.job_record(job.id))


# What a handle remembers


async def test_a_handle_remembers_what_was_waited_for(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60, max_fails=1)
    async def wat(n: int) -> list[int]:
        if n == 2:
            raise ValueError("sorry")
        return [n]

    async with pool.running():
        jobs = await wat.enqueue_many([wat.call(n) for n in range(3)])
        by_name = await bench.enqueuer.enqueue("wat", {"n": 5})
        blocking = await asyncio.to_thread(wat.sync.enqueue, 6)
        assert await by_name.result(LIMIT) == [5]
        assert await asyncio.to_thread(wat.sync.result, blocking, timeout=LIMIT) == [6]
        async for job in as_completed(jobs, timeout=LIMIT):
            await bench.redis.delete(bench.keys.job_record(job.id))
            if job is jobs[2]:
                for _ in range(2):
                    with pytest.raises(JobFailed, match="is dead: ValueError: sorry"):
                        await job.result()
            else:
                first = await job.result()
                assert first == [job.args and job.args["n"]]
                # Each caller has a value of its own.
                first.append(0)
        assert await gather(*jobs[:2]) == [[0], [1]]
        with pytest.raises(JobFailed):
            await gather(*jobs)
        await bench.redis.delete(*map(bench.keys.job_record, (by_name.id, blocking.id)))
        assert await by_name.result() == [5]
        assert await asyncio.to_thread(wat.sync.result, blocking) == [6]
        assert await asyncio.to_thread(wat.sync.result, jobs[0]) == [0]
        # What it remembers stays here.
        with pytest.raises(UsageError, match="has no connection"):
            await pickle.loads(pickle.dumps(by_name)).result()
        # It has no connection that could be awaited.
        with pytest.raises(UsageError, match="has no connection"):
            await blocking.result()
        for bad in (lambda: jobs[0].result(-1), lambda: asyncio.to_thread(wat.sync.result, jobs[0], timeout=-1)):
            with pytest.raises(UsageError, match="timeout must be"):
                await bad()
    pool.sync_enqueuer.close()


async def test_a_remembered_end_that_was_not_the_last_is_waited_for_again(bench: Bench) -> None:
    pool, fails = bench.pool(), [True]

    @pool.job(result=60, max_fails=1)
    async def wat() -> int:
        if fails[0]:
            raise ValueError("sorry")
        return 5

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        dead, deleted = await wat.enqueue(), await wat.options(delay=1000).enqueue()
        with pytest.raises(JobFailed):
            await dead.result(LIMIT)
        undo = (await client.delete_matching("scheduled")).undo
        with pytest.raises(JobCancelled):
            await deleted.result(LIMIT)
        await bench.redis.delete(*(bench.keys.job_record(job.id) for job in (dead, deleted)))
        with pytest.raises(JobFailed):
            await dead.result()
        with pytest.raises(JobCancelled):
            await deleted.result()
        fails[0] = False
        assert await client.restore(undo) == 1
        assert (await client.retry_matching("dead")).done == 1
        assert (await client.retry_matching("scheduled")).done == 1
        assert await gather(dead, deleted, timeout=LIMIT) == [5, 5]


# A Redis that refuses, or is away


def as_user(bench: Bench, user: str, password: str) -> str:
    parts = urlsplit(bench.url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


REFUSALS = [
    (["+@all"], "wrong", "invalid username-password pair"),
    (["+@all", "-@scripting"], "secret", "no permissions"),
]


@pytest.mark.parametrize(("rules", "password", "text"), REFUSALS)
async def test_who_is_refused_is_told_at_once(bench: Bench, rules: list[str], password: str, text: str) -> None:
    user = bench.namespace
    await bench.redis.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", "~*", "&*", *rules)
    job, url = await bench.enqueuer.enqueue("wat"), as_user(bench, user, password)
    async with Enqueuer(url, namespace=bench.namespace) as enqueuer, Client(url, namespace=bench.namespace) as client:
        set_source(job, enqueuer)

        async def completed() -> None:
            async for _ in as_completed([job]):
                pass

        def block() -> None:
            with sync.Enqueuer(url, namespace=bench.namespace) as blocking:
                blocking.result(job)

        waits: list[Callable[[], Awaitable[Any]]] = [
            job.result,
            lambda: job.result(0),
            lambda: gather(job),
            completed,
            lambda: client.result(job.id),
            lambda: asyncio.to_thread(block),
        ]
        for wait in waits[:1] + waits[2:] if rules[1:] else waits:
            with pytest.raises(RedisUnavailable, match=text):
                async with asyncio.timeout(LIMIT):
                    await wait()
        assert not enqueuer._waits.get()._waits
    await bench.redis.execute_command("ACL", "DELUSER", user)


async def test_a_blocking_wait_without_a_channel_reads_records_and_says_so_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (blocking_waits, wait_outage):
        monkeypatch.setattr(module, "POLL", 0.02)
    # So that nothing but that makes up for it.
    monkeypatch.setattr(blocking_waits, "_READ_AGAIN", 10 * LIMIT)
    user, pool = bench.namespace, bench.pool()
    await bench.redis.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", "~*", "resetchannels", "+@all")
    url = as_user(bench, user, "secret")

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async with pool.running():
        pass
    jobs = [await wat.enqueue(), await wat.enqueue()]
    with sync.Enqueuer(url, namespace=bench.namespace) as enqueuer:
        waiting = [asyncio.create_task(asyncio.to_thread(enqueuer.result, job.id, timeout=LIMIT)) for job in jobs]
        for job in jobs:
            await until(lambda job=job: bench.redis.hlen(bench.keys.job_record(job.id)))
        async with pool.running():
            assert await asyncio.gather(*waiting) == [5, 5]
    refused = [record.getMessage() for record in caplog.records if "refuses a channel" in record.getMessage()]
    assert len(refused) == 1
    assert "their records are read every 0.02 s" in refused[0]
    await bench.redis.execute_command("ACL", "DELUSER", user)


async def test_threads_that_wait_log_an_outage_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(blocking_waits, "_DELAY", 0.01)
    pool, tried, is_back = bench.pool(), list[int](), threading.Event()
    opens = BlockingClient.open

    def open_later(self: BlockingClient) -> Any:
        tried.append(threading.get_ident())
        if not is_back.is_set():
            raise ConnectionBroken("away")
        return opens(self)

    monkeypatch.setattr(BlockingClient, "open", open_later)

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async with pool.running():
        jobs = [await wat.enqueue(), await wat.enqueue()]
        waiting = [asyncio.create_task(asyncio.to_thread(wat.sync.result, job, timeout=LIMIT)) for job in jobs]
        await until(lambda: len(set(tried)) == 2 and len(tried) > 6)
        with pytest.raises(ResultTimeout):
            await asyncio.to_thread(wat.sync.result, jobs[0], timeout=0.01)
        is_back.set()
        assert await asyncio.gather(*waiting) == [5, 5]
    pool.sync_enqueuer.close()
    assert [record.getMessage() for record in caplog.records if "waiting for jobs" in record.getMessage()] == [
        "waiting for jobs: Redis is away (away); going on when it is back",
        "waiting for jobs: Redis is back",
    ]


@pytest.mark.parametrize(
    ("error", "lasts"),
    [
        (AuthenticationError("invalid username-password pair or user is disabled."), True),
        (NoPermissionError("this user has no permissions to run the 'evalsha' command"), True),
        (ResponseError("unknown command 'EVALSHA'"), True),
        (ResponseError("BUSY Redis is busy running a script."), False),
        (ResponseError("MISCONF Errors writing to the AOF file"), False),
        (ReadOnlyError("You can't write against a read only replica."), False),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), False),
        (ClusterDownError("The cluster is down"), False),
        (MovedError("1234 127.0.0.1:7000"), False),
        (BusyLoadingError("Redis is loading the dataset in memory"), False),
        (ConnectionBroken("max number of clients reached"), False),
        (TimeoutError("Redis did not reply in time"), False),
    ],
)
def test_which_errors_last(error: Exception, lasts: bool) -> None:
    assert is_lasting(error) is lasts
