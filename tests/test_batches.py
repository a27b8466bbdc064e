"""Batches: jobs that belong together end exactly once, however each of them ends, and then call back."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import asyncwork
from asyncwork import (
    Batch,
    BatchEndedError,
    BatchState,
    Client,
    Debounce,
    Discard,
    EnqueueOptions,
    Enqueuer,
    Job,
    JobCall,
    JobQuery,
    JobState,
    RedisUnavailable,
    Snooze,
    SyncBatch,
    Task,
    Throttle,
    Unique,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork._jobs.membership import Callback, Member, MemberState, callback_id, member_in, member_of
from asyncwork._jobs.payload import write_payload
from asyncwork._redis.batch_store import BatchStore
from asyncwork.cli import main

from .batch_apps import BatchApp, batch_app, client_of
from .conftest import LIMIT, Bench, open_bench, until
from .proxy import never, open_proxy
from .test_lost_answers import once
from .web_app import serving


@pytest.fixture
async def app(bench: Bench) -> AsyncIterator[BatchApp]:
    """A running pool."""
    app = batch_app(bench)
    async with app.pool.running():
        yield app


async def broken_off(batch: Batch, work: Task[Any, Any, Any], count: int) -> None:
    """Add jobs to a batch, and raise ZeroDivisionError in its block."""
    async with batch:
        await batch.add_many(work, numbers(count))
        raise ZeroDivisionError


def numbers(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"number": number, **more} for number in range(count)]


# Ends


async def test_a_batch_calls_back_once_when_all_members_are_done(app: BatchApp) -> None:
    async with app.batch("nightly", tags=["acme", "ü"]) as batch:
        await batch.add_many(app.work, numbers(300))
    status = await app.ended(batch.id)
    await app.until_called("success", "done")
    assert (status.name, status.tags, status.state) == ("nightly", ("acme", "ü"), BatchState.SUCCEEDED)
    assert (status.total, status.done, status.left, status.failed, status.cancelled) == (300, 300, 0, 0, 0)
    assert app.ran == Counter(f"{batch.id}-{number}" for number in range(300))
    assert 0 < await app.bench.redis.ttl(app.bench.keys.batch(batch.id)[0]) <= 86_400


async def test_ids_say_what_a_job_is(app: BatchApp) -> None:
    batch_id = "0123456789abcdef01234567"
    assert member_of(f"{batch_id}-0") == (batch_id, 0)
    assert member_of(f"{batch_id}-999999999") == (batch_id, 999_999_999)
    for other in (
        batch_id,
        f"{batch_id}-",
        f"{batch_id}-01",
        f"{batch_id}-1x",
        f"{batch_id}-done",
        f"A{batch_id[1:]}-1",
        7,
    ):
        assert member_of(other) is None
    assert callback_id(batch_id, Callback.DONE) == f"{batch_id}-done"
    member = f"{batch_id}-3"
    assert member_in(write_payload("wat", member, 1, b"null")) == (batch_id, 3)
    assert member_in(b'{"args":{"id":"%b"},"name":"wat","id":"x","t":1}' % member.encode()) is None
    assert member_in(b'{"args":{"id":"x"},"id": "%b","name":"wat","t":1}' % member.encode()) == (batch_id, 3)
    assert member_in(b'{"id":"%b"' % member.encode()) is None


@pytest.mark.parametrize("how", ["dead", "discard"])
async def test_a_failed_member_calls_back_at_once_and_success_waits_for_it(app: BatchApp, how: str) -> None:
    async with app.batch() as batch:
        await batch.add(app.work.call(how=how))
        await batch.add(app.work.call(how="wait"))
    await app.until_called("failure")
    assert (await app.status(batch.id)).state is BatchState.RUNNING
    app.go_on.set()
    status = await app.ended(batch.id)
    await app.until_called("failure", "done")
    assert (status.state, status.failed, status.done, status.waiting) == (BatchState.FAILED, 1, 1, ("success",))


async def test_many_failed_members_call_back_once(app: BatchApp) -> None:
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(50, how="dead"))
    status = await app.ended(batch.id)
    await app.until_called("failure", "done")
    assert (status.failed, status.total) == (50, 50)
    page = await client_of(app.bench, lambda client: client.batch_failures(batch.id, 2, per_page=20))
    assert (page.total, page.page, page.pages, len(page.jobs)) == (50, 2, 3, 20)
    assert [each.id for each in page.jobs] == [f"{batch.id}-{number}" for number in range(20, 40)]
    assert {each.state for each in page.jobs} == {JobState.DEAD}
    assert page.jobs[0].error == "ValueError: 20"


async def test_a_batch_succeeds_when_its_dead_members_are_retried_and_done(app: BatchApp) -> None:
    app.fail = {1, 2}
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(4))
    await app.ended(batch.id)
    await app.until_called("failure", "done")
    app.fail = {2}
    assert (await client_of(app.bench, lambda client: client.retry_batch(batch.id))).done == 2
    await until(lambda: app.ran[f"{batch.id}-1"] == 2 and app.ran[f"{batch.id}-2"] == 2)
    await until(lambda: _failed(app, batch.id, 1))
    app.fail = set()
    assert (await client_of(app.bench, lambda client: client.retry_batch(batch.id))).done == 1
    await app.until_called("failure", "done", "success")
    assert (await app.status(batch.id)).state is BatchState.SUCCEEDED
    assert (await client_of(app.bench, lambda client: client.retry_batch(batch.id))).done == 0


async def _failed(app: BatchApp, batch_id: str, count: int) -> bool:
    return (await app.status(batch_id)).failed == count


async def test_an_expired_member_has_failed(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add(app.work.options(expires=1).call(number=1))
    await asyncio.sleep(2.1)
    async with app.pool.running():
        assert (await app.ended(batch.id)).failed == 1
        await app.until_called("failure", "done")


async def test_deleted_and_cancelled_members_count_as_cancelled(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(2))
        await batch.add(app.work.options(delay=3600).call(number=3))
        await batch.add(app.work.options(delay=3600).call(number=4))
    async with Client(bench.url, namespace=bench.namespace) as client:
        (queued, _), (scheduled, _) = [(await client.jobs(at)).jobs for at in ("queue:work", "scheduled")]
        assert (await client.delete("queue:work", [queued.ref])).done == 1
        assert (await client.delete("scheduled", [scheduled.ref])).done == 1
        assert (await app.status(batch.id)).cancelled == 2
        await client.cancel(f"{batch.id}-1")
        await client.cancel(f"{batch.id}-3")
    status = await app.ended(batch.id)
    assert (status.state, status.cancelled, status.waiting) == (BatchState.CANCELLED, 4, ("success", "failure"))
    async with app.pool.running():
        await app.until_called("done")


async def test_an_emptied_queue_ends_its_members_and_undoing_brings_them_back(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(250))
    async with Client(bench.url, namespace=bench.namespace) as client:
        undo = (await client.delete_matching("queue:work", JobQuery())).undo
        assert (await app.ended(batch.id)).cancelled == 250
        assert await client.restore(undo) == 250
    async with app.pool.running():
        await app.until_called("done", "success")
    assert (await app.status(batch.id)).done == 250


async def test_a_deleted_set_ends_its_members(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many([app.work.options(delay=600).call(number=number) for number in range(150)])
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.delete_matching("scheduled", JobQuery())
    assert (await app.ended(batch.id)).cancelled == 150
    async with app.pool.running():
        await app.until_called("done")


async def test_results_of_members_are_kept_by_their_type(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def double(number: int) -> int:
        if number == 2:
            raise Discard("two")
        return 2 * number

    called: list[str] = []

    @pool.job
    async def note(job: Job) -> None:
        called.append(job.id)

    async with pool.running():
        async with pool.batch(on_done=note.call()) as batch:
            await batch.add_many(double.call(number) for number in range(4))
        await until(lambda: called)
        results = await client_of(bench, lambda client: client.batch_results(batch.id))
    assert [(each.number, each.state, each.result) for each in results] == [
        (0, JobState.DONE, 0),
        (1, JobState.DONE, 2),
        (2, JobState.DISCARDED, None),
        (3, JobState.DONE, 6),
    ]
    assert called == [f"{batch.id}-done"]


async def test_a_member_that_is_snoozed_or_retried_has_not_ended(bench: Bench) -> None:
    pool, attempts = bench.pool(), Counter[str]()

    @pool.job
    async def late(job: Job, how: str) -> None:
        attempts[how] += 1
        if attempts[how] == 1:
            if how == "snooze":
                raise Snooze(1)
            raise ValueError(how)

    async with pool.running():
        async with pool.batch() as batch:
            await batch.add_many([late.call("snooze"), late.call("retry")])
        await until(lambda: attempts["snooze"] == 2 and attempts["retry"] == 1)
        await until(lambda: _counts(bench, batch.id, (2, 1, 0)))
        assert await client_of(bench, lambda client: client.retry_matching("retry", JobQuery()))
        await until(lambda: _counts(bench, batch.id, (2, 0, 0)))


async def _counts(bench: Bench, batch_id: str, counts: tuple[int, int, int]) -> bool:
    status = await client_of(bench, lambda client: client.batch(batch_id))
    return (status.total, status.left, status.failed) == counts


# Creation


async def test_an_empty_batch_ends_at_once(app: BatchApp) -> None:
    async with app.batch() as batch:
        pass
    await app.until_called("success", "done")
    assert (await app.status(batch.id)).state is BatchState.SUCCEEDED


async def test_a_small_batch_is_nowhere_before_its_block_ends(app: BatchApp) -> None:
    batch = app.batch()
    with pytest.raises(ZeroDivisionError):
        await broken_off(batch, app.work, 1000)
    assert await client_of(app.bench, lambda client: client.batch(batch.id)) is None
    assert await app.bench.redis.zcard(app.bench.keys.batches) == 0


async def test_members_of_a_large_batch_run_while_it_is_added_to(app: BatchApp) -> None:
    produced = 0

    def produce() -> Iterator[JobCall[Any]]:
        nonlocal produced
        for number in range(3500):
            produced += 1
            yield app.work.call(number=number)

    async with app.batch() as batch:
        await batch.add_many(produce())
        assert produced == 3500
        await until(lambda: len(app.ran) == 3000)
        assert (await app.status(batch.id)).state is BatchState.OPEN
        assert not app.called
        await batch.flush()
        await until(lambda: len(app.ran) == 3500)
    status = await app.ended(batch.id)
    await app.until_called("success", "done")
    assert (status.total, len(app.ran)) == (3500, 3500)


async def test_long_payloads_are_written_by_the_megabyte(app: BatchApp) -> None:
    async with app.batch() as batch:
        for _ in range(30):
            await batch.add("work", {"how": "x" * 100_000})
        assert 0 < (await app.status(batch.id)).total < 30
    assert (await app.ended(batch.id)).done == 30
    await app.until_called("success", "done")


async def test_jobs_come_from_an_asynchronous_iterator_too(app: BatchApp) -> None:
    async def produce() -> AsyncIterator[dict[str, Any]]:
        for number in range(2300):
            yield {"number": number}

    async def calls() -> AsyncIterator[JobCall[Any]]:
        yield app.work.call(number=1)

    async with app.batch() as batch:
        await batch.add_many("work", produce())
        await batch.add_many(calls())
    assert (await app.ended(batch.id)).done == 2301
    await app.until_called("success", "done")


async def test_tasks_may_add_jobs_at_the_same_time(app: BatchApp) -> None:
    async with app.batch() as batch:
        await asyncio.gather(*(batch.add_many(app.work, numbers(700)) for _ in range(9)))
    assert (await app.ended(batch.id)).done == 6300
    assert len(app.ran) == 6300
    await app.until_called("success", "done")


async def test_an_exception_cancels_the_members_that_were_written(bench: Bench) -> None:
    app = batch_app(bench)
    batch = app.batch()
    with pytest.raises(ZeroDivisionError):
        await broken_off(batch, app.work, 2500)
    status = await app.status(batch.id)
    assert (status.total, status.left) == (2000, 2000)
    assert status.cancellation == "cancelled: its creator failed: ZeroDivisionError"
    async with app.pool.running():
        assert (await app.ended(batch.id)).cancelled == 2000
        await app.until_called("done")
    assert not app.ran
    assert not await bench.redis.exists(bench.keys.cancels)


async def test_duplicates_are_not_counted(app: BatchApp) -> None:
    await app.bench.redis.set(app.bench.keys.paused("work"), 1)
    async with app.batch("first") as batch:
        await batch.add_many([app.work.options(unique=True).call(number=number % 3) for number in range(9)])
        await batch.add(app.work.options(unique=True, delay=1).call(number=7))
        await batch.add(app.work.options(front=True).call(number=8))
    status = await app.status(batch.id)
    assert (status.total, status.left, status.open) == (5, 5, False)
    async with app.pool.batch("duplicates alone") as other:
        await other.add(app.work.options(unique=True).call(number=1))
    assert (await app.ended(other.id)).total == 0
    await app.bench.redis.delete(app.bench.keys.paused("work"))
    assert (await app.ended(batch.id)).done == 5
    await app.until_called("success", "done")


async def test_a_member_that_holds_a_key_until_it_has_ended_is_counted(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(unique=Unique(until="done"), max_fails=1)
    async def hold(number: int) -> None:
        if number == 2:
            raise ValueError("two")
        if number == 3:
            raise Discard("three")

    async with pool.batch() as batch:
        await batch.add_many([hold.call(number=number) for number in (0, 1, 2, 3, 0, 1)])
    assert await _counts(bench, batch.id, (4, 4, 0))
    async with pool.running():
        await until(lambda: _counts(bench, batch.id, (4, 0, 2)))
    await pool.enqueuer.close()


@pytest.mark.parametrize("of_type", [False, True])
@pytest.mark.parametrize(
    "rule",
    [
        {"unique": Unique(by=("number",), conflict="replace")},
        {"debounce": Debounce(5)},
        {"throttle": Throttle(60)},
    ],
    ids=lambda rule: next(iter(rule)),
)
async def test_no_member_has_a_rule_by_which_another_job_takes_its_place(
    bench: Bench, rule: dict[str, Any], of_type: bool
) -> None:
    pool = bench.pool()

    @pool.job(**rule if of_type else {})
    async def ruled(number: int) -> None: ...

    adds: list[Callable[[Batch], Any]] = [lambda batch: batch.add(ruled.options(**rule).call(1))]
    if of_type:
        adds = [
            lambda batch: batch.add(ruled.call(1)),
            lambda batch: batch.add(ruled, {"number": 1}),
            lambda batch: batch.add_many(ruled, [{"number": 1}]),
            lambda batch: batch.add_many([(ruled, {"number": 1})]),
        ]
    for add in adds:
        batch = pool.batch()
        with pytest.raises(UsageError, match=r"job 0: .* a rule by which a newer job takes its place: .*unique=False"):
            async with batch:
                await add(batch)
        assert not await bench.redis.exists(bench.keys.batch(batch.id)[0])
    # The remedy that the message names.
    async with pool.batch() as batch:
        await batch.add_many([ruled.options(unique=False).call(1)] * 2)
    async with pool.running():
        await until(lambda: _counts(bench, batch.id, (2, 0, 0)))
    await pool.enqueuer.close()


@pytest.mark.parametrize("refusal", ["QueueFull", "UniqueConflictError"])
async def test_a_batch_with_a_member_that_is_refused_is_cancelled(bench: Bench, refusal: str) -> None:
    pool, ran = bench.pool(), list[int]()
    options: Any = {"max_waiting": 2} if refusal == "QueueFull" else {"unique": Unique(conflict="raise")}

    @pool.job(**options)
    async def bounded(number: int) -> None:
        ran.append(number)

    @pool.job
    async def note(when: str) -> None:
        ran.append(-1)

    with pytest.raises(getattr(asyncwork, refusal)):
        async with pool.batch(on_success=note.call("success")) as batch:
            await batch.add_many(bounded.call(number) for number in (0, 1, 0))
    async with pool.running():
        await until(lambda: bench.redis.hexists(bench.keys.batch(batch.id)[0], "ended_at"))
        status = await client_of(bench, lambda client: client.batch(batch.id))
        assert (status.total, status.state, status.incomplete) == (2, BatchState.CANCELLED, True)
        assert status.cancellation == "cancelled: its creator could not write all of its members"
        await pool.drain()
    assert not ran
    await pool.enqueuer.close()


async def test_members_take_steps_and_are_counted_when_they_have_ended(bench: Bench) -> None:
    pool, charged = bench.pool(), list[int]()

    @pool.job(max_fails=2, backoff=lambda fails: 0)
    async def order(job: Job, number: int) -> None:
        await job.step("charge", charged.append, number)
        await job.event("approved", timeout=60)
        if number == 1 and not job.fails:
            raise ValueError("once more")
        if number == 2:
            raise Discard("two")

    async with pool.running():
        async with pool.batch() as batch:
            await batch.add_many([order.call(number=number) for number in range(3)])
        async with Client(bench.url, namespace=bench.namespace) as client:
            for number in range(3):
                await until(lambda at=number: client.signal(f"{batch.id}-{at}", "approved"))
            await until(lambda: _counts(bench, batch.id, (3, 0, 1)))
            assert sorted(charged) == [0, 1, 2]
    assert not [key async for key in bench.redis.scan_iter(bench.keys.steps("*"))]


async def test_members_of_a_fair_queue_take_turns_and_are_counted(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(partition="tenant", partition_concurrency=1, max_fails=1)
    async def turn(tenant: str, how: str = "") -> None:
        if how == "dead":
            raise ValueError(tenant)

    @pool.job(partition="tenant", result=60)
    async def kept(tenant: str) -> str:
        return tenant

    async with pool.running():
        async with pool.batch() as batch:
            await batch.add_many([turn.call(f"t{number % 3}") for number in range(30)])
            await batch.add_many([turn.call("t1", "dead"), kept.call("t2")])
        await until(lambda: _counts(bench, batch.id, (32, 0, 1)))
        await client_of(bench, lambda client: client.pause("turn"))
        async with pool.batch() as cancelled:
            await cancelled.add_many([turn.call(f"t{number % 3}") for number in range(9)])
        await client_of(bench, lambda client: client.cancel_batch(cancelled.id))
        await until(lambda: _counts(bench, cancelled.id, (9, 0, 0)))


async def test_members_add_members(app: BatchApp) -> None:
    pool = app.bench.pool()
    added = 0

    @pool.job
    async def grow(job: Job, depth: int) -> None:
        nonlocal added
        if depth:
            assert job.batch_id is not None
            batch = pool.open_batch(job.batch_id)
            await batch.add_many(grow, [{"depth": depth - 1}] * 3)
            added += 3

    @pool.job
    async def note(job: Job, when: str) -> None:
        app.called[when] += 1

    async with pool.running():
        async with pool.batch(on_success=note.call("success")) as batch:
            await batch.add(grow.call(4))
        assert (await app.ended(batch.id)).done == 1 + 3 + 9 + 27 + 81 == 1 + added
        await app.until_called("success")
        with pytest.raises(BatchEndedError, match="it has ended"):
            await pool.open_batch(batch.id).add(grow.call(0))


async def test_a_batch_may_be_a_member(app: BatchApp) -> None:
    async with app.batch("outer") as outer:
        await outer.add(app.work.call(number=1))
        for number in range(3):
            async with outer.add_batch(f"inner {number}", on_success=app.note.call(f"inner {number}")) as inner:
                await inner.add_many(app.work, numbers(4))
                async with inner.add_batch("innermost") as innermost:
                    await innermost.add(app.work.call(number=9))
    status = await app.ended(outer.id)
    await app.until_called("success", "done", "inner 0", "inner 1", "inner 2")
    assert (status.total, status.done) == (4, 4)
    assert (await app.status(inner.id)).parent == outer.id


async def test_a_batch_with_a_failed_member_is_a_failed_member_until_that_is_done(app: BatchApp) -> None:
    app.fail = {3}
    async with app.batch() as outer:
        async with outer.add_batch() as inner:
            await inner.add_many(app.work, numbers(5))
        async with outer.add_batch() as cancelled:
            await cancelled.add_many(app.work, numbers(2, how="wait"))
    await client_of(app.bench, lambda client: client.cancel_batch(cancelled.id))
    status = await app.ended(outer.id)
    await app.until_called("failure", "done")
    assert (status.total, status.failed, status.cancelled) == (2, 1, 1)
    app.fail = set()
    await client_of(app.bench, lambda client: client.retry_batch(inner.id))
    await until(lambda: _failed(app, outer.id, 0))
    assert (await app.status(outer.id)).state is BatchState.CANCELLED
    assert app.called == Counter(["failure", "done"])


@pytest.mark.parametrize("job_set", ["scheduled", "dead"])
@pytest.mark.parametrize("way", ["matching", "refs"])
async def test_an_entry_that_is_retried_by_hand_settles_its_batch(bench: Bench, job_set: str, way: str) -> None:
    """It is put on no queue, where no pool would take it. A Go pool may have killed it."""
    app = batch_app(bench)
    async with app.batch() as outer, outer.add_batch("inner") as inner:
        await inner.add(app.work.call())
    await BatchStore(bench.in_redis).settle([Member(inner.id, 0)], MemberState.DONE)
    await bench.redis.delete(bench.keys.queue("work"))
    ((entry, _),) = [each for each in await bench.job_set("scheduled") if b"asyncwork:settle" in each[0]]
    await bench.redis.zrem(bench.keys.scheduled, entry)
    await bench.redis.zadd(f"{bench.namespace}:{job_set}", {entry: 2_000_000_000})
    query = JobQuery(name="asyncwork:settle")
    async with Client(bench.url, namespace=bench.namespace) as client:
        if way == "refs":
            (job,) = (await client.search(job_set, query)).jobs
            assert (await client.retry(job_set, [job.ref])).done == 1
        else:
            assert (await client.retry_matching(job_set, query)).done == 1
        assert await bench.job_set(job_set) == [] or job_set == "scheduled"
        status = await client.batch(outer.id)
    assert status is not None
    assert status.state is BatchState.SUCCEEDED
    assert await bench.redis.llen(bench.keys.queue("asyncwork:settle")) == 0
    async with app.pool.running():
        await app.until_called("success", "done")


async def test_a_member_batch_that_is_never_written_is_cancelled(app: BatchApp) -> None:
    async with app.batch() as outer:
        with pytest.raises(ZeroDivisionError):
            await broken_off(outer.add_batch(), app.work, 1)
    status = await app.ended(outer.id)
    assert (status.total, status.cancelled) == (1, 1)
    await app.until_called("done")


# Cancel


async def test_cancelling_a_batch_ends_what_waits_and_what_runs(bench: Bench) -> None:
    app = batch_app(bench, concurrency=3)
    async with app.pool.running():
        async with app.batch() as batch:
            await batch.add_many(app.work, numbers(400, how="wait"))
            await batch.add_many([app.work.options(delay=3600).call(number=1) for _ in range(5)])
            async with batch.add_batch() as inner:
                await inner.add_many(app.work, numbers(20, how="wait"))
        await until(lambda: len(app.ran) == 3)
        await client_of(bench, lambda client: client.cancel_batch(batch.id, "enough", who="ada"))
        status = await app.ended(batch.id)
        assert (status.cancelled, status.total, status.cancellation) == (406, 406, "cancelled by ada: enough")
        assert (await app.status(inner.id)).cancelled == 20
        assert len(app.ran) == 3
        await app.until_called("done")
        again = await client_of(bench, lambda client: client.cancel_batch(batch.id))
        assert again == await app.status(batch.id)
        with pytest.raises(BatchEndedError, match="it has ended"):
            await app.pool.open_batch(batch.id).add(app.work.call())
    assert not await bench.redis.exists(bench.keys.cancels)


async def test_no_member_of_a_cancelled_batch_starts_although_it_was_not_found(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(700))
    await app.pool.enqueuer.enqueue("work", {"number": 5})
    await client_of(bench, lambda client: client.cancel_batch(batch.id, seconds=0))
    assert (await app.status(batch.id)).left == 700
    await bench.redis.set(bench.keys.paused("work"), 1)
    reason = await client_of(bench, lambda client: client.waiting_reason(f"{batch.id}-699"))
    assert "cancelled" in reason
    await bench.redis.delete(bench.keys.paused("work"))
    with pytest.raises(BatchEndedError, match="it was cancelled"):
        await app.pool.open_batch(batch.id).add(app.work.call())
    async with app.pool.running():
        assert (await app.ended(batch.id)).cancelled == 700
        await until(lambda: len(app.ran) == 1)
    assert not any(member_of(each) for each in app.ran)


async def test_a_batch_is_cancelled_in_its_block(app: BatchApp) -> None:
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(1001, how="wait"))
        await batch.cancel("no more")
        with pytest.raises(UsageError, match="its block is over"):
            await batch.add(app.work.call())
    status = await app.ended(batch.id)
    assert (status.total, status.cancelled) == (1000, 1000)
    await app.until_called("done")


# Bad input


async def test_bad_input_is_refused_where_it_happens(bench: Bench) -> None:
    app = batch_app(bench)
    call = app.work.call()
    cases: list[tuple[str, dict[str, Any]]] = [
        (r"on_done must be a task.call\(…\), or a pair \(name, arguments\), not <Task", {"on_done": app.work}),
        ("on_success must be a task.call", {"on_success": ("work", [1])}),
        ("no options but timeout", {"on_failure": app.work.options(delay=5).call()}),
        ("no options but timeout", {"on_failure": app.work.options(id="x").call()}),
        ("must not have a comma", {"on_done": ("a,b", None)}),
        ("tags must be a list of texts, such as \\['acme'\\], not str", {"tags": "acme"}),
        ("a tag of a batch must be a printable text of 1 to 200 characters, not ''", {"tags": [""]}),
        ("not 7", {"tags": [7]}),
        ("20 tags at most, not 21", {"tags": ["x"] * 21}),
        ("the name of a batch must be a printable text of 0 to 200 characters", {"name": "x" * 201}),
    ]
    for wrong, options in cases:
        with pytest.raises(UsageError, match=wrong):
            app.pool.batch(**options)
    batch = app.pool.batch(on_done=app.work.options(timeout=5).call())
    with pytest.raises(UsageError, match="its block has not begun"):
        await batch.add(call)
    async with batch:
        with pytest.raises(UsageError, match="job 0: the id of a member says"):
            await batch.add(app.work.options(id="mine").call())
        with pytest.raises(UsageError, match="job 1: a member of a batch cannot be unique by a mapping"):
            await batch.add_many([call, app.work.options(unique={"a": 1}).call()])
        with pytest.raises(UsageError, match="has its arguments already"):
            await batch.add(call, {"number": 1})
        with pytest.raises(UsageError, match="a list of jobs, not a single call"):
            await batch.add_many(call)
        with pytest.raises(UsageError, match="a list of the arguments of each, not None"):
            await batch.add_many("work")
        with pytest.raises(UsageError, match="job 1: args must be a mapping"):
            await batch.add_many("work", [None, 7])  # type: ignore[list-item]
        with pytest.raises(UsageError, match="entered once"):
            await batch.__aenter__()
    assert (await app.status(batch.id)).total == 0
    with pytest.raises(UsageError, match="its block is over"):
        await batch.add(call)
    wrong_ids: list[Any] = ["", "x", f"{batch.id}-1", 7]
    for wrong_id in wrong_ids:
        with pytest.raises(UsageError, match="24 hex digits"):
            app.pool.open_batch(wrong_id)
        async with Client(bench.url, namespace=bench.namespace) as client:
            for read in (client.batch, client.batch_failures, client.cancel_batch, client.retry_batch):
                with pytest.raises(UsageError, match="24 hex digits"):
                    await read(wrong_id)
    with pytest.raises(BatchEndedError, match="it never was, or has ended so long ago"):
        await app.pool.open_batch("0" * 24).add(call)
    assert await client_of(bench, lambda client: client.batch("0" * 24)) is None
    assert await client_of(bench, lambda client: client.cancel_batch("0" * 24)) is None
    async with app.pool.running():
        pass


@pytest.mark.parametrize("wrong", [lambda call: ("work", 7), lambda call: call])
async def test_the_position_of_bad_input_is_that_in_the_call(bench: Bench, wrong: Callable[[Any], Any]) -> None:
    """Whatever was added before, and however many are written at once."""
    app = batch_app(bench)

    def jobs() -> Iterator[Any]:
        yield from (app.work.call() for _ in range(1200))
        yield wrong(app.work.options(id="mine").call())

    async def jobs_one_by_one() -> AsyncIterator[Any]:
        for each in jobs():
            yield each

    async with app.batch() as batch:
        await batch.add(app.work.call())
        for given in (jobs(), jobs_one_by_one()):
            with pytest.raises(UsageError, match="job 1200: "):
                await batch.add_many(given)
        with pytest.raises(UsageError, match="job 1200: "):
            await app.pool.open_batch(batch.id).add_many(jobs())
        await batch.cancel()
    async with app.pool.running():
        await app.ended(batch.id)


async def test_a_batch_that_cannot_be_written_raises(bench: Bench) -> None:
    app = batch_app(bench)
    await bench.redis.set(bench.keys.queue("broken"), "x")
    batch = await app.pool.batch().__aenter__()
    await batch.add("broken")
    await batch.add_many(app.work, numbers(3))
    with pytest.raises(RedisUnavailable, match="wrong kind of value"):
        await batch.__aexit__(None, None, None)
    assert (await app.status(batch.id)).total == 3
    async with app.pool.running():
        assert (await app.ended(batch.id)).cancelled == 3
    bench.leftovers += [f"key {bench.keys.queue('broken')} is of a wrong type"]


# Other programs


def test_code_without_an_event_loop_makes_batches(redis_url: str) -> None:
    async def produce() -> AsyncIterator[dict[str, Any]]:
        yield {}

    arguments = produce()

    def adding(batch: SyncBatch) -> Iterator[tuple[str, None]]:
        yield "work", None
        batch.add("work")

    async def run() -> None:
        async with open_bench(redis_url, delete=True) as bench:
            app = batch_app(bench)
            enqueuer = sync.Enqueuer(bench.url, namespace=bench.namespace)

            def create() -> str:
                with enqueuer.batch("sync", on_success=("note", {"when": "success"}), tags=["x"]) as batch:
                    batch.add("work", {"number": 1})
                    batch.add_many("work", numbers(2100))
                    batch.add_many([("work", None), app.work.call(number=2)])
                    batch.flush()
                    with batch.add_batch("inner") as inner:
                        inner.add("work")
                    with pytest.raises(UsageError, match="what add_many iterates over cannot use the same batch"):
                        batch.add_many(adding(batch))
                    with pytest.raises(UsageError, match="asynchronous"):
                        batch.add_many("work", arguments)  # type: ignore[arg-type]
                enqueuer.open_batch(batch.id).add("work")
                other = enqueuer.batch("cancelled").__enter__()
                other.add_many("work", numbers(1500))
                other.__exit__(ZeroDivisionError, None, None)
                with enqueuer.batch() as third:
                    third.cancel("unused")
                enqueuer.close()
                return batch.id

            batch_id = await asyncio.to_thread(create)
            async with app.pool.running():
                assert (await app.ended(batch_id)).done == 2105
                await app.until_called("success")
                await until(lambda: _none_open(bench))

    asyncio.run(run())


async def _none_open(bench: Bench) -> bool:
    return not await bench.redis.zcard(bench.keys.open_batches)


async def test_batches_are_listed_the_newest_first(bench: Bench) -> None:
    app = batch_app(bench)
    ids, now = [], int(time.time())
    for number in range(5):
        async with app.pool.batch(f"b{number}") as batch:
            pass
        ids.append(batch.id)
        await bench.redis.zadd(bench.keys.batches, {batch.id: now + number})
    await bench.redis.delete(*bench.keys.batch(ids[3]))
    async with Client(bench.url, namespace=bench.namespace) as client:
        page = await client.batches(per_page=2)
        assert [each.name for each in page.batches] == ["b4", "b2"]
        assert (page.total, page.pages) == (4, 2)
        assert [each.name for each in (await client.batches(2, per_page=2)).batches] == ["b1", "b0"]
    async with app.pool.running():
        pass


async def test_members_of_a_batch_that_is_gone_are_ordinary_jobs(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(5))
    await bench.redis.delete(*bench.keys.batch(batch.id), bench.keys.open_batches)
    async with app.pool.running():
        await until(lambda: len(app.ran) == 5)
    assert not await bench.redis.exists(*bench.keys.batch(batch.id))
    assert not app.called


async def test_a_number_that_the_batch_never_had_is_an_ordinary_job(app: BatchApp) -> None:
    async with app.batch() as batch:
        await batch.add(app.work.call(how="wait"))
    payload = write_payload("work", f"{batch.id}-999999999", int(time.time()), b"null")
    await app.bench.redis.lpush(app.bench.keys.queue("work"), payload)
    await until(lambda: len(app.ran) == 2)
    assert await app.bench.redis.strlen(app.bench.keys.batch(batch.id)[1]) == 0
    app.go_on.set()
    assert (await app.ended(batch.id)).total == 1
    await app.until_called("success", "done")


async def test_keys_of_a_wrong_type_keep_no_member_from_ending(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(5))
    for key in bench.keys.batch(batch.id):
        await bench.redis.delete(key)
        await bench.redis.lpush(key, "x")
    async with app.pool.running():
        await until(lambda: len(app.ran) == 5)
    await bench.redis.delete(*bench.keys.batch(batch.id), bench.keys.open_batches)


async def test_a_member_in_whose_place_a_newer_job_runs_is_cancelled(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add(app.work.options(unique=True).call(number=1))
    # What a Go program's EnqueueUniqueByKey writes, with the same key.
    newer = write_payload("work", "f" * 24, int(time.time()), b'{"number":2}')
    (key,) = [each async for each in bench.redis.scan_iter(f"{bench.keys.unique}*")]
    await bench.redis.set(key, newer, ex=60)
    async with app.pool.running():
        assert (await app.ended(batch.id)).cancelled == 1
        await app.until_called("done")
    assert app.ran == Counter(["f" * 24])


# The doctor


async def test_the_doctor_closes_a_batch_whose_creator_died(bench: Bench) -> None:
    app = batch_app(bench)
    batch = await app.batch("abandoned").__aenter__()
    await batch.add_many(app.work, numbers(3))
    await batch.flush()
    async with app.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: _counts(bench, batch.id, (3, 0, 0)))
        assert not [each for each in (await client.diagnose(0)).problems if "batch" in each.kind]
        fields, long_ago = bench.keys.batch(batch.id)[0], int(time.time()) - 3700
        await bench.redis.hset(fields, "created_at", long_ago)
        # A creator may add members for hours.
        await batch.add(app.work.call(number=3))
        await batch.flush()
        await until(lambda: _counts(bench, batch.id, (4, 0, 0)))
        assert not [each for each in (await client.diagnose(0)).problems if "batch" in each.kind]
        await bench.redis.hset(fields, "added_at", long_ago)
        found = await client.diagnose(0)
        (problem,) = [each for each in found.problems if each.kind == "abandoned_batch"]
        assert re.match(rf"batch {batch.id} \(abandoned\) waits for its creator, .*; 4 members so far", problem.text)
        assert [line async for line in client.repair(found)] == [
            f"closed batches, so that they end with their members: {batch.id}"
        ]
        assert (await app.ended(batch.id)).done == 4
        await app.until_called("success", "done")
        assert not [each for each in (await client.diagnose(0)).problems if "batch" in each.kind]


async def test_a_member_batch_is_there_from_the_moment_when_it_is_counted(bench: Bench) -> None:
    app = batch_app(bench)
    outer = await app.batch("outer").__aenter__()
    await outer.add(app.work.call(number=1))
    # Its creator has begun its block, and dies in it.
    inner = await outer.add_batch("inner", on_success=app.note.call("inner")).__aenter__()
    await outer.__aexit__(None, None, None)
    async with app.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: app.ran)
        # A creator that is alive may take its time.
        assert not [each for each in (await client.diagnose(0)).problems if "batch" in each.kind or "lost" in each.kind]
        await bench.redis.hset(bench.keys.batch(inner.id)[0], "created_at", int(time.time()) - 3700)
        found = await client.diagnose(0)
        (problem,) = [each for each in found.problems if "batch" in each.kind or "lost" in each.kind]
        assert (problem.kind, problem.subject) == ("abandoned_batch", inner.id)
        assert [line async for line in client.repair(found)] == [
            f"closed batches, so that they end with their members: {inner.id}"
        ]
        status = await app.ended(outer.id)
        assert (status.total, status.done, status.cancelled, status.state) == (2, 1, 1, BatchState.CANCELLED)
        status = await app.ended(inner.id)
        assert (status.state, status.incomplete) == (BatchState.CANCELLED, True)
        assert status.cancellation == "cancelled: its creator had added no member in an hour"
        await app.until_called("done")
        assert not [each for each in (await client.diagnose(0)).problems if "batch" in each.kind or "lost" in each.kind]


@pytest.mark.parametrize("members", [0, 3])
async def test_a_batch_whose_block_fails_never_succeeds(app: BatchApp, members: int) -> None:
    async with app.batch("outer") as outer:
        inner = await outer.add_batch("inner", on_success=app.note.call("inner")).__aenter__()
        await inner.add_many(app.work, numbers(members))
        await inner.flush()
        await until(lambda: len(app.ran) == members)
        await until(lambda: _counts(app.bench, inner.id, (members, 0, 0)))
        await inner.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)
    status = await app.ended(inner.id)
    assert (status.total, status.done, status.state, status.incomplete) == (
        *(members, members, BatchState.CANCELLED, True),
    )
    status = await app.ended(outer.id)
    assert (status.cancelled, status.state) == (1, BatchState.CANCELLED)
    await app.until_called("done")


async def test_a_batch_that_is_cancelled_before_it_has_members_never_succeeds(app: BatchApp) -> None:
    async with app.batch("outer") as outer, outer.add_batch("inner", on_success=app.note.call("inner")) as inner:
        await client_of(app.bench, lambda client: client.cancel_batch(inner.id))
    status = await app.ended(inner.id)
    assert (status.total, status.state) == (0, BatchState.CANCELLED)
    assert (await app.ended(outer.id)).cancelled == 1
    await app.until_called("done")


async def test_the_doctor_counts_members_as_failed_that_are_nowhere(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(5))
        async with batch.add_batch() as inner:
            await inner.add(app.work.call(how="wait"))
    # As a Go pool does: no script of ours notes that it has ended.
    for number in (1, 3):
        (payload,) = [
            each for each in await bench.waiting("work") if b'%d"' % number in each and b"-%d" % number in each
        ][:1]
        await bench.redis.lrem(bench.keys.queue("work"), 1, payload)
    async with app.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: _counts(bench, batch.id, (6, 3, 0)))
        found = await client.diagnose(0)
        (problem,) = [each for each in found.problems if each.kind == "lost_members"]
        assert f"batch {batch.id} waits for 2 members that are nowhere" in problem.text
        assert [line async for line in client.repair(found)] == [
            f"counted members of batch {batch.id} as failed that are nowhere: 2"
        ]
        assert [line async for line in client.repair(found)] == [
            f"counted members of batch {batch.id} as failed that are nowhere: 0"
        ]
        await app.until_called("failure")
        app.go_on.set()
        assert (await app.ended(batch.id)).failed == 2
        failures = await client.batch_failures(batch.id)
        assert [(each.id, each.state) for each in failures.jobs] == [
            (f"{batch.id}-{number}", JobState.UNKNOWN) for number in (1, 3)
        ]
        assert not [each for each in (await client.diagnose(0)).problems if "batch" in each.kind or "lost" in each.kind]


async def test_the_doctor_schedules_callbacks_that_could_not_be(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add(app.work.call())
    await bench.redis.set(bench.keys.scheduled, "x")
    async with app.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: app.ran)
        assert (await app.ended(batch.id)).waiting == ("success", "done")
        await bench.redis.delete(bench.keys.scheduled)
        found = await client.diagnose(0)
        (problem,) = [each for each in found.problems if each.kind == "overdue_callbacks"]
        assert f"callbacks of 1 batch should have been scheduled ({batch.id})" in problem.text
        assert [line async for line in client.repair(found)]
        await app.until_called("success", "done")


# The web UI


async def test_pages_and_api_show_batches_and_act_on_them(bench: Bench) -> None:
    app = batch_app(bench)
    app.fail = {1}
    async with app.pool.running(), serving(bench) as (_, web):
        async with app.batch("<nightly>", tags=["a&b"]) as batch:
            await batch.add_many(app.work, numbers(3))
            await batch.add(app.work.call(number=9, how="wait"))
        await until(lambda: _counts(bench, batch.id, (4, 1, 1)))
        page = (await web.get("/batches")).text
        assert all(text in page for text in ("&lt;nightly&gt;", "a&amp;b", f"/batch?id={batch.id}"))
        page = (await web.get(f"/batch?id={batch.id}")).text
        assert all(text in page for text in ("3 of 4 have ended.", "ValueError: 1", f"/jobs/{batch.id}-1"))
        assert f"/batch?id={batch.id}" in (await web.get(f"/jobs/{batch.id}-1")).text
        found = (await web.get(f"/api/batch?id={batch.id}")).json()
        assert (found["state"], found["done"], found["failures"]["jobs"][0]["id"]) == ("running", 2, f"{batch.id}-1")
        assert (await web.get("/api/batches")).json()["batches"][0]["name"] == "<nightly>"
        app.fail = set()
        assert (await web.post("/api/batches/retry", json={"id": batch.id})).json()["done"] == 1
        await until(lambda: _counts(bench, batch.id, (4, 1, 0)))
        assert "1 job" in (await web.get(f"/confirm?action=cancel_batch&id={batch.id}")).text
        reply = await web.post(f"/api/batches/cancel?id={batch.id}", data={"back": f"/batch?id={batch.id}"})
        assert reply.status_code == 303
        await app.ended(batch.id)
        assert (await web.get(f"/batch?id={'0' * 24}")).status_code == 404
        assert (await web.get("/batch?id=x")).status_code == 404
        assert (await web.get(f"/api/batch?id={'0' * 24}")).status_code == 404
        assert (await web.get("/batch")).status_code == 400
        assert "asyncwork_namespace_open_batches 0" in (await web.get("/metrics")).text


# The terminal


def test_the_terminal_shows_batches_and_acts_on_them(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    namespace = f"test-{uuid.uuid4().hex[:12]}"

    def run(*words: str) -> tuple[int, str]:
        code = main(["batches", *words, "-n", namespace, "--redis", redis_url])
        out, err = capsys.readouterr()
        return code, out + err

    async def work() -> str:
        async with open_bench(redis_url, namespace) as bench:
            app = batch_app(bench)
            async with app.batch("nightly", tags=["acme"]) as batch:
                await batch.add_many(app.work, numbers(3))
                await batch.add(app.work.call(how="dead"))
                await batch.add(app.work.options(delay=3600).call(number=9))
            async with app.pool.running():
                await until(lambda: _counts(bench, batch.id, (5, 1, 1)))
            return batch.id

    assert run() == (0, "no batches\n")
    batch_id = asyncio.run(work())
    code, out = run("ls")
    assert code == 0
    assert re.search(rf"{batch_id} +nightly +batch +running +3 +1 +1 +0 +5 +.* ago +acme", out)
    code, out = run("show", batch_id)
    assert re.search(r"nightly: running\n  \[#{16} {4}\] 4/5 ended\n  done 3, failed 1, cancelled 0, left 1", out)
    assert f"failed: work {batch_id}-3 dead: ValueError: 0" in out
    (shown,) = json.loads(run("show", batch_id, "--json")[1])["batches"]
    assert (shown["state"], shown["failures"][0]["id"]) == ("running", f"{batch_id}-3")
    assert [each["id"] for each in json.loads(run("--json")[1])["batches"]] == [batch_id]
    assert run("retry", batch_id) == (0, f"batch {batch_id} (nightly): 1 dead member put on its queue\n")
    assert run("retry", batch_id)[0] == 1
    code, out = run("cancel", batch_id, "--yes")
    assert (code, "2 members ended by that" in out) == (0, True)
    assert run("cancel", batch_id, "--yes")[0] == 1
    for words in (["ls", batch_id], ["show"], ["show", "x"], ["retry", batch_id, "--json"], ["ls", "--limit", "0"]):
        assert run(*words)[0] == 2
    assert run("show", "0" * 24)[0] == 1

    async def end() -> None:
        async with open_bench(redis_url, namespace, delete=True) as bench, batch_app(bench).pool.running():
            await until(lambda: _none_open(bench))

    asyncio.run(end())


# Size


@pytest.mark.long
async def test_a_million_members_take_a_bit_each(bench: Bench) -> None:
    pool, called = bench.pool(concurrency=100), asyncio.Event()

    @pool.job
    async def nothing() -> None: ...

    @pool.job
    async def note() -> None:
        called.set()

    async with pool.running():
        async with pool.batch(on_success=note.call()) as batch:
            await batch.add_many("nothing", (None for _ in range(1_000_000)))
        async with asyncio.timeout(20 * LIMIT):
            await called.wait()
    # The last key is that of the nodes of flows.
    hash_key, *bitmaps, nodes = bench.keys.batch(batch.id)
    assert [await bench.redis.strlen(key) for key in bitmaps] == [125_000, 0, 0]
    # A string grows to twice its size at most.
    assert await bench.redis.memory_usage(bitmaps[0]) < 300_000
    assert await bench.redis.exists(nodes) == 0
    assert await bench.redis.memory_usage(hash_key) < 2_000
    assert (await bench.redis.hmget(hash_key, "total", "left", "failed")) == [b"1000000", b"0", b"0"]
    assert not [key async for key in bench.redis.scan_iter(f"{bench.namespace}*{batch.id}-*")]


# Writes that fail in the block


@pytest.mark.parametrize("way", ["refused", "cut off", "cancelled"])
async def test_a_batch_that_lacks_members_is_never_taken_for_complete(bench: Bench, way: str) -> None:
    """Its creator may catch the error of one write, and go on."""
    app = batch_app(bench)
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace)
        batch = pool.batch("lacking", on_success=("note", {"when": "success"}), on_done=("note", {"when": "done"}))
        refused: list[str] = []

        async def create() -> None:
            async with batch:
                await batch.add_many("work", numbers(1500))
                assert (await app.status(batch.id)).total == 1000
                try:
                    if way == "refused":
                        await bench.redis.config_set("maxmemory", 1)
                        await batch.flush()
                    elif way == "cut off":
                        proxy.lose_request = lambda request: b"MULTI" in request
                        await batch.flush()
                    else:
                        proxy.keep_answer = lambda request: b"MULTI" in request
                        async with asyncio.timeout(0.05):
                            await batch.flush()
                except (RedisUnavailable, TimeoutError) as error:
                    refused.append(type(error).__name__)
                finally:
                    await bench.redis.config_set("maxmemory", 0)
                    proxy.lose_request = proxy.keep_answer = never
                    proxy.let_go()
                with pytest.raises(UsageError, match="lacks members"):
                    await batch.add_many("work", numbers(10))

        with pytest.raises(UsageError, match=f"batch {batch.id} lacks members"):
            await create()
        assert len(refused) == 1
        await pool.enqueuer.close()
    status = await app.status(batch.id)
    assert status.cancellation.endswith("its creator could not write all of its members")
    async with app.pool.running():
        assert (await app.ended(batch.id)).done == 0
        await app.until_called("done")


async def test_a_batch_that_lacks_members_may_be_cancelled_in_its_block(bench: Bench) -> None:
    app = batch_app(bench)
    async with app.batch() as batch:
        await batch.add_many(app.work, numbers(1500))
        await bench.redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(RedisUnavailable):
                await batch.flush()
        finally:
            await bench.redis.config_set("maxmemory", 0)
        await batch.cancel("given up")
    assert (await app.status(batch.id)).cancellation == "cancelled: given up"
    async with app.pool.running():
        assert (await app.ended(batch.id)).done == 0
        await app.until_called("done")


async def test_a_batch_whose_first_reply_is_lost_is_cancelled_with_the_members_that_it_has(bench: Bench) -> None:
    app = batch_app(bench)
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace)
        outer = await pool.batch("outer").__aenter__()
        inner = outer.add_batch("inner")
        proxy.lose_answer = once(lambda request: b"on_done" in request)

        async def create() -> None:
            async with inner:
                await inner.add_many("work", numbers(2000))

        inner._writer._options = inner._writer._options._replace(  # type: ignore[union-attr]
            callbacks=app.batch()._writer._options.callbacks  # type: ignore[union-attr]
        )
        with pytest.raises(RedisUnavailable):
            await create()
        await outer.__aexit__(None, None, None)
        await pool.enqueuer.close()
    assert not (await app.status(inner.id)).open
    async with app.pool.running():
        assert (await app.ended(inner.id)).done == 0
        assert (await app.ended(outer.id)).cancelled == 1


async def test_jobs_that_add_members_use_no_more_numbers_than_they_add(app: BatchApp) -> None:
    """A number takes a bit, whether or not it is used."""
    pool = app.bench.pool()

    @pool.job
    async def grow(job: Job, depth: int) -> None:
        assert job.batch_id is not None
        if depth:
            await pool.open_batch(job.batch_id).add_many(grow, [{"depth": depth - 1}] * 3)
            async with pool.open_batch(job.batch_id).add_batch() as inner:
                await inner.add("work")

    async with pool.running():
        async with pool.batch() as batch:
            await batch.add(grow.call(3))
        assert (await app.ended(batch.id)).done == 1 + 3 + 9 + 27 + 13
    # A thousand of them by the creator.
    assert await app.bench.redis.hget(app.bench.keys.batch(batch.id)[0], "next") == b"%d" % (1000 + 39 + 13)


async def test_members_are_enqueued_when_they_are_added(bench: Bench) -> None:
    now = [1_000_000.0]
    enqueuer = Enqueuer(bench.url, namespace=bench.namespace, clock=lambda: now[0])
    async with enqueuer.batch() as batch:
        await batch.add("work")
        await batch.flush()
        # A long block.
        now[0] += 3600
        await batch.add("work")
        await batch.add(JobCall("work", None, EnqueueOptions(delay=60)))
    times = [Job.decode(payload).enqueued_at for payload in await bench.redis.lrange(bench.keys.queue("work"), 0, -1)]
    assert times == [1_003_600, 1_000_000]
    ((_, due),) = await bench.job_set("scheduled")
    assert due == 1_003_660
    await enqueuer.close()
    await client_of(bench, lambda client: client.cancel_batch(batch.id))
