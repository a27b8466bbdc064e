"""Durable steps: each runs once over all attempts of a job, and a wait frees the worker."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncwork import (
    CancelResult,
    Client,
    Discard,
    EventTimeout,
    Job,
    JobEndedError,
    Retry,
    Snooze,
    Superseded,
    Unique,
    UsageError,
)
from asyncwork._jobs.printable import shown
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import make_job, open_jobs

from .conftest import LIMIT, UNSYNCED, Bench, open_bench, until


async def ran(bench: Bench, pool: Any, limit: float = LIMIT) -> None:
    """Run a pool until everything has been run, retries and wake-ups included."""
    async with pool.running():
        await until(lambda: bench_is_empty(bench), limit)


async def bench_is_empty(bench: Bench) -> bool:
    names = [name.decode() for name in await bench.redis.smembers(bench.keys.known_jobs)]
    pools = [raw.decode() for raw in await bench.redis.smembers(bench.keys.worker_pools)]
    # At one moment, because jobs move. What a pop has just taken is not in the lock yet.
    async with bench.redis.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.llen(bench.keys.queue(name))
            pipe.get(bench.keys.lock(name))
            for pool_id in pools:
                pipe.llen(bench.keys.in_progress(name, pool_id))
        pipe.zcard(bench.keys.retry)
        pipe.zcard(bench.keys.scheduled)
        return not any(map(int, filter(None, await pipe.execute())))


async def records(bench: Bench) -> list[str]:
    """The keys of the records of steps."""
    return [key.decode() async for key in bench.redis.scan_iter(f"{bench.namespace}:step:*", count=1000)]


def at_once(job: Job) -> float:
    return 0.0


async def test_a_step_runs_once_over_all_attempts(bench: Bench) -> None:
    pool, charged, shipped = bench.pool(), list[int](), list[str]()

    async def charge(user_id: int) -> dict[str, int]:
        charged.append(user_id)
        return {"receipt": 7}

    def ship(address: str, *, express: bool) -> str:
        shipped.append(threading.current_thread().name)
        if len(shipped) < 3:
            raise ValueError("the van is full")
        return f"{address} {express}"

    seen = []

    @pool.job(backoff=at_once)
    async def order(job: Job, user_id: int) -> None:
        receipt = await job.step("charge", charge, user_id)
        seen.append((receipt, await job.step("ship", ship, "Rome", express=True)))

    await order.enqueue(5)
    await ran(bench, pool)
    assert charged == [5]
    assert len(shipped) == 3
    assert threading.main_thread().name not in shipped
    assert seen == [({"receipt": 7}, "Rome True")]
    assert await records(bench) == []


async def client_of(bench: Bench) -> Client:
    return Client(bench.url, namespace=bench.namespace)


@dataclass
class Receipt:
    number: int
    paid: date


async def test_results_come_back_by_the_annotation(bench: Bench) -> None:
    pool, seen = bench.pool(), []

    async def charge() -> Receipt:
        return Receipt(7, date(2026, 1, 31))

    def due() -> tuple[datetime, set[int]]:
        return datetime(2026, 1, 31, tzinfo=UTC), {3, 1}

    def plain():  # type: ignore[no-untyped-def]
        return (1, 2)

    @pool.job(backoff=at_once)
    async def order(job: Job) -> None:
        values = [await job.step("charge", charge), await job.step("due", due), await job.step("plain", plain)]
        seen.append(values)
        if len(seen) == 1:
            raise Retry

    await order.enqueue()
    await ran(bench, pool)
    # The first attempt gets what the others get.
    assert seen == [[Receipt(7, date(2026, 1, 31)), (datetime(2026, 1, 31, tzinfo=UTC), {1, 3}), [1, 2]]] * 2


async def test_steps_in_gather_and_in_loops(bench: Bench) -> None:
    pool, fetched, attempts = bench.pool(), list[int](), list[int]()

    async def fetch(page: int) -> int:
        if page == 4 and len(attempts) == 1:
            raise ValueError("page 4")
        await asyncio.sleep(0.001 * (9 - page))
        fetched.append(page)
        return page * page

    @pool.job(backoff=at_once, result=600)
    async def crawl(job: Job) -> int:
        attempts.append(1)
        steps = (job.step(f"page-{page}", fetch, page) for page in range(9))
        results = await asyncio.gather(*steps, return_exceptions=True)
        if failed := [each for each in results if isinstance(each, BaseException)]:
            raise failed[0]
        for page in range(9, 12):
            results.append(await job.step(f"page-{page}", fetch, page))
        return sum(each for each in results if isinstance(each, int))

    job = await crawl.enqueue()
    async with pool.running():
        assert await job.result(timeout=LIMIT) == sum(page * page for page in range(12))
    assert sorted(fetched) == list(range(12))
    assert len(attempts) == 2


async def test_a_sleep_frees_the_worker_and_outlives_the_pool(bench: Bench) -> None:
    steps, attempts = list[str](), list[int]()

    def pool_of() -> Any:
        pool = bench.pool(concurrency=1)

        @pool.job
        async def order(job: Job) -> None:
            attempts.append(1)
            await job.step("first", steps.append, "first")
            await job.sleep("cool down", timedelta(seconds=2))
            await job.step("second", steps.append, "second")

        @pool.job
        async def other() -> None:
            steps.append("other")

        return pool, order, other

    pool, order, other = pool_of()
    async with pool.running():
        await order.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        await other.enqueue()
        await until(lambda: "other" in steps)
    assert steps == ["first", "other"]
    pool, *_ = pool_of()
    await ran(bench, pool)
    assert steps == ["first", "other", "second"]
    assert len(attempts) == 2
    assert await records(bench) == []


async def test_an_event_wakes_its_job_at_once(bench: Bench) -> None:
    pool, got = bench.pool(), list[Any]()

    @pool.job(expires=60)
    async def order(job: Job) -> None:
        got.append("waits")
        got.append(await job.event("approved", timeout=3600))

    async with await client_of(bench) as client, pool.running():
        job = await order.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.scheduled))

        async def is_said_to_wait() -> bool:
            return "waits for the event 'approved' until" in await client.waiting_reason(job.id)

        # What its worker did may be read for a moment more.
        await until(is_said_to_wait)
        (step,) = (await client.status(job.id)).steps
        assert (step.name, step.kind, step.state) == ("approved", "event", "waits")
        assert await client.signal(job.id, "approved", {"by": "ada"}) is True
        # It does not wait for the requeuer, which looks once a second.
        assert not await bench.redis.zcard(bench.keys.scheduled)
        await until(lambda: len(got) == 3)
        await until(lambda: bench_is_empty(bench))
        with pytest.raises(JobEndedError, match="has ended, or there is none with this id"):
            await client.signal(job.id, "approved", {"by": "bob"})
    assert got == ["waits", "waits", {"by": "ada"}]
    assert await records(bench) == []


async def test_an_event_outlives_the_pool(bench: Bench) -> None:
    got = list[Any]()

    def pool_of() -> Any:
        pool = bench.pool()

        @pool.job
        async def order(job: Job) -> None:
            await job.step("one", got.append, "one")
            got.append(await job.event("go on", timeout=3600))

        return pool, order

    pool, order = pool_of()
    async with pool.running():
        job = await order.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.scheduled))
    async with await client_of(bench) as client:
        # Nobody runs it now: it waits in its queue.
        assert await client.signal(job.id, "go on", 5)
        assert await bench.redis.llen(bench.keys.queue("order")) == 1
    pool, _ = pool_of()
    await ran(bench, pool)
    assert got == ["one", 5]


async def test_an_event_may_come_before_the_job_runs_and_the_first_one_stays(bench: Bench) -> None:
    pool, got = bench.pool(), list[Any]()

    @pool.job
    async def order(job: Job) -> None:
        got.append(await job.event("approved", dict, timeout=3600))

    async with await client_of(bench) as client:
        with pytest.raises(JobEndedError):
            await client.signal("0" * 24, "approved")
        for enqueue in (order.enqueue(), order.options(delay=1).enqueue()):
            job = await enqueue
            assert await client.signal(job.id, "approved", {"n": 1}) is True
            assert await client.signal(job.id, "approved", {"n": 2}) is False
            (step,) = (await client.status(job.id)).steps
            assert (step.name, step.kind, step.state, step.value) == ("approved", "event", "early", '{"n":1}')
    await ran(bench, pool)
    assert got == [{"n": 1}] * 2
    assert await records(bench) == []


async def test_an_event_may_come_while_the_job_runs(bench: Bench) -> None:
    pool, got, started, go = bench.pool(), list[Any](), asyncio.Event(), asyncio.Event()

    @pool.job
    async def order(job: Job) -> None:
        started.set()
        await go.wait()
        got.append(await job.event("approved", timeout=3600))

    async with await client_of(bench) as client, pool.running():
        job = await order.enqueue()
        await started.wait()
        assert await client.signal(job.id, "approved", 5) is True
        go.set()
        await until(lambda: got)
        await until(lambda: bench_is_empty(bench))
    assert got == [5]


async def test_an_event_that_comes_too_late(bench: Bench) -> None:
    pool, got, go = bench.pool(), list[str](), asyncio.Event()

    @pool.job(backoff=at_once)
    async def order(job: Job) -> None:
        try:
            await job.event("approved", timeout=1)
        except EventTimeout as error:
            got.append(str(error))
        await go.wait()
        if len(got) == 1:
            raise Retry

    async with await client_of(bench) as client, pool.running():
        job = await order.enqueue()
        await until(lambda: got)
        assert await client.signal(job.id, "approved", 5) is False
        assert [step.state for step in (await client.status(job.id)).steps] == ["late"]
        go.set()
        await until(lambda: bench_is_empty(bench))
    # A later attempt goes the same way.
    assert len(got) == 2
    assert "has not come in 1 s" in got[1]


async def test_a_wait_lets_the_steps_beside_it_end(bench: Bench) -> None:
    pool, done, attempts = bench.pool(), list[str](), list[int]()

    async def slow(name: str) -> None:
        await asyncio.sleep(0.05)
        done.append(name)

    @pool.job
    async def order(job: Job) -> None:
        attempts.append(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(job.sleep("pause", 2))
            group.create_task(job.sleep("longer pause", 3))
            group.create_task(job.step("a", slow, "a"))
            group.create_task(job.step("b", slow, "b"))

    @pool.job
    async def swallows(job: Job) -> None:
        attempts.append(1)
        await asyncio.gather(job.sleep("pause", 2), job.step("c", slow, "c"), return_exceptions=True)

    await order.enqueue()
    await swallows.enqueue()
    await ran(bench, pool)
    assert sorted(done) == ["a", "b", "c"]
    assert len(attempts) in (4, 5)
    assert await records(bench) == []


async def test_bad_use(bench: Bench) -> None:
    pool, errors, ran_twice = bench.pool(), list[str](), list[int]()

    async def nested(job: Job) -> None:
        await job.step("inner", ran_twice.append, 1)

    async def keep(job: Job, what: Any) -> None:
        try:
            await what(job)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")

    @pool.job
    async def order(job: Job) -> None:
        await keep(job, lambda job: job.step("", ran_twice.append, 1))
        await keep(job, lambda job: job.step("a\nb", ran_twice.append, 1))
        await keep(job, lambda job: job.step("n" * 201, ran_twice.append, 1))
        await keep(job, lambda job: job.step(5, ran_twice.append, 1))
        await keep(job, lambda job: job.step("not callable", 5))
        await keep(job, lambda job: job.step("outer", nested, job))
        await job.step("one", int)
        await keep(job, lambda job: job.step("one", ran_twice.append, 1))
        await keep(job, lambda job: job.sleep("negative", -1))
        await keep(job, lambda job: job.sleep("no number", "soon"))
        await keep(job, lambda job: job.event("never", timeout=float("nan")))

    await order.enqueue()
    await ran(bench, pool)
    assert ran_twice == []
    named = "UsageError: a step's name must be text of 1 to 200 printable characters, not"
    assert errors == [
        f"{named} ''",
        f"{named} 'a\\nb'",
        f"{named} {shown('n' * 201)}",
        f"{named} 5",
        "UsageError: step 'not callable' needs a function and its arguments, not 5",
        (
            "UsageError: step 'inner' is within step 'outer', which would not run again if it were done: take them "
            "one after the other"
        ),
        "UsageError: two steps of this job are called 'one': give each a name of its own",
        "UsageError: the time to sleep must be zero or more seconds, not -1",
        "UsageError: the time to sleep must be seconds or a timedelta, not str: 'soon'",
        "UsageError: timeout must be zero or more seconds, not nan",
    ]


async def test_a_result_that_cannot_be_recorded_ends_the_job(bench: Bench) -> None:
    pool, effects = bench.pool(), list[str]()

    def returns(value: Any) -> Any:
        effects.append("effect")
        return value

    async def wrong() -> int:
        return "text"  # type: ignore[return-value]

    def unwritable() -> Job:
        effects.append("unwritable")
        raise AssertionError

    @pool.job(backoff=at_once)
    async def no_json(job: Job) -> None:
        await job.step("charge", returns, object())

    @pool.job(backoff=at_once)
    async def too_long(job: Job) -> None:
        await job.step("charge", returns, "x" * 262_143)

    @pool.job(backoff=at_once)
    async def wrong_type(job: Job) -> None:
        await job.step("charge", wrong)

    @pool.job(backoff=at_once, max_fails=2)
    async def before(job: Job) -> None:
        await job.step("charge", unwritable)

    for task in (no_json, too_long, wrong_type, before):
        await task.enqueue()
    await ran(bench, pool)
    # Dead at once, because another attempt would have run the step again.
    assert effects == ["effect", "effect"]
    dead = {job.name: job for payload, _ in await bench.job_set("dead") if (job := Job.decode(payload))}
    assert [dead[name].fails for name in ("no_json", "too_long", "wrong_type", "before")] == [1, 1, 1, 2]
    assert "step 'charge' has run, and what it returned cannot be recorded: " in dead["no_json"].err
    assert "its JSON has 262145 bytes, and at most 262144 are kept" in dead["too_long"].err
    assert (
        "what is recorded of step 'charge' has the wrong type: wanted int, found str 'text'" in dead["wrong_type"].err
    )
    assert "HandlerError" in dead["before"].err


async def test_too_many_steps(bench: Bench) -> None:
    pool, count = bench.pool(), list[int]()

    @pool.job(max_fails=1)
    async def order(job: Job) -> None:
        for some in range(0, 1_000, 100):
            await asyncio.gather(*(job.step(f"{n}", count.append, n) for n in range(some, some + 100)))
        await job.step("one more", count.append, 1_000)

    await order.enqueue()
    await ran(bench, pool)
    assert len(count) == 1_000
    ((payload, _),) = await bench.job_set("dead")
    assert "step 'one more' is one too many: a job has at most 1000 steps" in Job.decode(payload).err


async def test_a_job_that_no_pool_runs_takes_no_steps(bench: Bench) -> None:
    pool, kept = bench.pool(), list[Job]()

    @pool.job
    async def order(job: Job) -> None:
        kept.append(job)
        await job.step("one", int)

    await order.enqueue()
    await ran(bench, pool)
    assert kept[0].key("charge") == f"{kept[0].id}:charge"
    with pytest.raises(JobEndedError, match="can take no more steps: this attempt has ended"):
        await kept[0].step("two", int)
    with pytest.raises(UsageError, match="takes no steps: no pool of this process runs it"):
        await Job.decode(kept[0].raw).step("two", int)


async def test_a_cursor_keeps_its_place(bench: Bench) -> None:
    pool, rows, starts = bench.pool(), list[int](), list[Any]()

    async def rows_after(last: int | None) -> Any:
        starts.append(last)
        for n in range(0 if last is None else last + 1, 10):
            yield n, f"row {n}"

    @pool.job(backoff=at_once)
    async def export(job: Job) -> None:
        async for row in job.cursor("rows", rows_after):
            if row == "row 4" and len(starts) == 1:
                raise ValueError(row)
            rows.append(int(row[4:]))
        if len(starts) == 2:
            starts.append("again")
            raise Retry
        async for _ in job.cursor("more", lambda last: [(None, "a")]):
            pass

    await export.enqueue()
    await ran(bench, pool)
    assert rows == list(range(10))
    # After the last row, there is nothing more to ask for.
    assert starts == [None, 3, "again"]
    assert await records(bench) == []


async def test_a_stop_keeps_the_place_of_a_cursor_and_the_steps(bench: Bench) -> None:
    rows, steps, go = list[int](), list[str](), asyncio.Event()

    def pool_of(hangs_at: int) -> Any:
        pool = bench.pool(grace=0.0)

        @pool.job
        async def export(job: Job) -> None:
            await job.step("open", steps.append, "open")
            async for row in job.cursor("rows", lambda last: ((n, n) for n in range((last or 0) + 1, 8))):
                if row == hangs_at:
                    go.set()
                    await asyncio.Event().wait()
                rows.append(row)

        return pool, export

    pool, export = pool_of(4)
    async with pool.running():
        await export.enqueue()
        await go.wait()
    pool, export = pool_of(-1)
    await ran(bench, pool)
    assert rows == list(range(1, 8))
    assert steps == ["open"]


async def test_an_attempt_that_has_lost_its_job_is_stopped_at_its_next_step(bench: Bench) -> None:
    pool, started, go, effects = bench.pool(), asyncio.Event(), asyncio.Event(), list[str]()
    caught = list[BaseException]()

    @pool.job
    async def order(job: Job) -> None:
        first = not started.is_set()
        await job.step("one", effects.append, "one")
        if first:
            started.set()
            await go.wait()
        try:
            await job.step("two", effects.append, "zombie" if first else "two")
        except BaseException as error:
            caught.append(error)
            raise
        await job.step("three", effects.append, "three")

    async with pool.running():
        job = await order.enqueue()
        await started.wait()
        # As if this pool had been considered dead.
        in_progress = bench.keys.in_progress("order", pool.id or "")
        taken = await bench.redis.lrange(in_progress, 0, -1)
        await bench.redis.lmove(in_progress, bench.keys.queue("order"), "LEFT", "RIGHT")
        # Until the other attempt has ended: before, this one would go on with what that has recorded.
        await until(lambda: "three" in effects)
        await until(lambda: bench_is_empty(bench))
        go.set()
        await until(lambda: caught)
        await until(lambda: bench_is_empty(bench))
    assert len(taken) == 1
    assert isinstance(caught[0], Superseded)
    assert effects.count("three") == 1
    assert effects.count("one") == 1
    assert job.id in str(caught[0])


async def test_deleted_and_restored_jobs_keep_their_steps(bench: Bench) -> None:
    pool, steps = bench.pool(), list[str]()

    @pool.job
    async def order(job: Job) -> None:
        await job.step("one", steps.append, "one")
        steps.append(await job.event("go on", str, timeout=3600))

    async with await client_of(bench) as client:
        async with pool.running():
            job = await order.enqueue()
            await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        page = await client.jobs("scheduled")
        deleted = await client.delete("scheduled", [each.ref for each in page.jobs])
        with pytest.raises(JobEndedError):
            await client.signal(job.id, "go on", "now")
        assert 0 < await bench.redis.ttl(bench.keys.steps(job.id)) <= 600
        assert await client.restore(deleted.undo) == 1
        assert await bench.redis.ttl(bench.keys.steps(job.id)) > 86_400
        assert await client.signal(job.id, "go on", "now") is True
        await ran(bench, pool)
        assert steps == ["one", "now"]
        # Cancelled while it waits, a job leaves nothing behind.
        async with pool.running():
            job = await order.enqueue()
            await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        assert await client.cancel(job.id) is CancelResult.NOW
    assert await records(bench) == []


async def test_a_dead_job_that_is_retried_goes_on_with_its_steps(bench: Bench) -> None:
    pool, steps, broken = bench.pool(), list[str](), [True]

    def mail() -> None:
        if broken[0]:
            raise ValueError("no route")
        steps.append("mail")

    @pool.job(max_fails=1)
    async def order(job: Job) -> None:
        await job.step("charge", steps.append, "charge")
        await job.step("mail", mail)

    job = await order.enqueue()
    await ran(bench, pool)
    async with await client_of(bench) as client:
        status = await client.status(job.id)
        assert [(each.name, each.kind, each.state, each.value) for each in status.steps] == [
            ("charge", "step", "done", "null")
        ]
        broken[0] = False
        page = await client.jobs("dead")
        await client.retry("dead", [each.ref for each in page.jobs])
    await ran(bench, pool)
    assert steps == ["charge", "mail"]
    assert await records(bench) == []


async def test_the_doctor_and_the_audit_find_steps_of_jobs_that_are_nowhere(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def order(job: Job) -> None:
        await job.step("one", int)
        await job.event("go on", timeout=3600)

    async with await client_of(bench) as client:
        async with pool.running():
            job = await order.enqueue()
            await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        assert "lost_steps" not in {each.kind for each in (await client.diagnose(0.1)).problems}
        # As if another program had deleted it.
        await bench.redis.delete(bench.keys.scheduled)
        assert await bench.audit() == [f"steps of job {job.id} are recorded, but it does not exist"]
        diagnosis = await client.diagnose(0.1)
        (problem,) = [each for each in diagnosis.problems if each.kind == "lost_steps"]
        assert job.id in problem.text
        lines = [line async for line in client.repair(diagnosis)]
        assert "had the steps of jobs expire in a day that do not exist: 1" in lines
        assert 0 < await bench.redis.ttl(bench.keys.steps(job.id)) <= 86_400
        assert "lost_steps" not in {each.kind for each in (await client.diagnose(0.1)).problems}


async def test_a_key_of_another_type_is_no_record(bench: Bench) -> None:
    pool, steps = bench.pool(), list[str]()

    @pool.job
    async def order(job: Job) -> None:
        await job.step("one", steps.append, "one")
        await job.sleep("pause", 2)
        await job.step("two", steps.append, "two")

    job = await order.enqueue()
    await bench.redis.rpush(bench.keys.steps(job.id), "x")
    async with await client_of(bench) as client:
        assert (await client.status(job.id)).steps == ()
        assert "wrong_type" in {each.kind for each in (await client.diagnose(0.1)).problems}
    await ran(bench, pool)
    assert steps == ["one", "two"]


async def test_a_handler_that_a_test_calls_itself(bench: Bench) -> None:
    pool, steps = bench.pool(), list[str]()

    @pool.job
    async def order(job: Job, user: str) -> str:
        steps.append(await job.step("charge", str.upper, user))
        await job.sleep("cool down", timedelta(days=3))
        async for row in job.cursor("rows", lambda last: [(1, "a"), (2, "b")]):
            steps.append(row)
        if (await job.event("approved", dict, timeout=3600))["yes"]:
            with pytest.raises(EventTimeout):
                await job.event("paid", timeout=3600)
        return job.key("charge")

    job = make_job(order, {"user": "ada"}, events={"approved": {"yes": True}})
    assert await order(job, "ada") == f"{job.id}:charge"
    assert steps == ["ADA", "a", "b"]


async def test_jobs_that_run_in_place(bench: Bench) -> None:
    pool, steps = bench.pool(), list[str]()

    @pool.job
    async def order(job: Job) -> None:
        await job.step("charge", steps.append, "charge")
        async with asyncio.TaskGroup() as group:
            group.create_task(job.sleep("cool down", timedelta(days=3)))
        await job.step("mail", steps.append, "mail")

    with open_jobs(pool, bench.url) as jobs:
        with jobs.eager() as eager:
            await order.enqueue()
        assert [run.outcome for run in eager] == ["snoozed"]
        assert eager[0].run_at is not None
        assert steps == ["charge"]
        # In Redis, all of it runs, by the clock of the test.
        await order.enqueue()
        assert [run.outcome for run in await jobs.drain()] == ["snoozed"]
        jobs.clock.move(days=3, seconds=1)
        assert [run.outcome for run in await jobs.drain()] == ["done"]
        assert steps == ["charge", "charge", "mail"]


async def test_a_timeout_and_a_cancel_end_a_step_and_the_next_attempt_goes_on(bench: Bench) -> None:
    pool, steps, hangs = bench.pool(), list[str](), [True, True]
    entered = asyncio.Event()

    async def slow(which: int) -> None:
        steps.append(f"slow {which}")
        if hangs[which]:
            hangs[which] = False
            entered.set()
            await asyncio.Event().wait()

    @pool.job(backoff=at_once, timeout=0.2)
    async def timed(job: Job) -> None:
        await job.step("first", steps.append, "first")
        await job.step("slow", slow, 0)

    @pool.job
    async def cancelled(job: Job) -> None:
        await job.step("other", steps.append, "other")
        await job.step("slow", slow, 1)

    @pool.job(backoff=at_once, timeout=0.2, max_fails=2)
    async def threaded(job: Job) -> None:
        await job.step("thread", thread, job)
        steps.append("after")

    def thread(job: Job) -> str:
        if job.fails:
            raise AssertionError("it was recorded, although its time was over when it ended")
        assert job.cancelled.wait(LIMIT)
        return "recorded"

    await timed.enqueue()
    await ran(bench, pool)
    assert steps == ["first", "slow 0", "slow 0"]
    steps.clear()
    entered.clear()
    async with await client_of(bench) as client, pool.running():
        job = await cancelled.enqueue()
        await entered.wait()
        await client.cancel(job.id)
        await until(lambda: bench_is_empty(bench))
    assert steps == ["other", "slow 1"]
    steps.clear()
    await threaded.enqueue()
    await ran(bench, pool)
    assert steps == ["after"]
    assert await records(bench) == []


async def test_discarded_expired_and_snoozed_jobs_leave_nothing(bench: Bench) -> None:
    pool, ends = bench.pool(), list[int]()

    @pool.job
    async def discards(job: Job) -> None:
        await job.step("one", ends.append, 1)
        raise Discard("enough")

    @pool.job(expires=1)
    async def expires(job: Job) -> None:
        await job.step("one", ends.append, 1)
        await job.sleep("pause", 2)
        ends.append(2)

    @pool.job
    async def snoozes(job: Job) -> None:
        await job.step("one", ends.append, 1)
        if len(ends) < 5:
            ends.append(3)
            raise Snooze(1)

    for task in (discards, expires, snoozes):
        await task.enqueue()
    await expires.options(expires=1).enqueue()
    await ran(bench, pool)
    # What it has waited for itself is no delay, as for a job that is scheduled.
    assert ends.count(2) == 1
    assert ends.count(1) == 4
    assert await records(bench) == []


async def test_redis_goes_away_while_a_step_is_recorded(tmp_path: Path) -> None:
    effects = list[str]()
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with open_bench(server.url, "away") as bench:
            pool, entered, go = bench.pool(dead_after=LIMIT), asyncio.Event(), asyncio.Event()

            async def charge() -> str:
                effects.append("charge")
                entered.set()
                await go.wait()
                return "paid"

            @pool.job(result=600)
            async def order(job: Job) -> str:
                return await job.step("charge", charge)

            async with pool.running():
                job = await order.enqueue()
                await entered.wait()
                await asyncio.to_thread(server.stop)
                go.set()
                await asyncio.sleep(0.2)
                await asyncio.to_thread(server.start)
                assert await job.result(timeout=LIMIT) == "paid"
            assert effects == ["charge"]


async def test_a_job_that_is_unique_until_it_has_ended_frees_its_key_after_its_steps(bench: Bench) -> None:
    pool, steps = bench.pool(), list[str]()

    @pool.job(unique=Unique(until="done"), max_fails=1)
    async def order(job: Job, ends: str) -> None:
        await job.step("one", steps.append, ends)
        await job.event("go on", timeout=3600)
        if ends == "discarded":
            raise Discard("enough")

    async with await client_of(bench) as client, pool.running():
        for ends in ("done", "discarded", "cancelled"):
            job = await order.enqueue(ends)
            await until(lambda: bench.redis.zcard(bench.keys.scheduled))
            # It holds its key while it waits.
            assert (await order.enqueue(ends)).duplicate
            if ends == "cancelled":
                assert await client.cancel(job.id) is CancelResult.NOW
            else:
                assert await client.signal(job.id, "go on")
            await until(lambda: bench_is_empty(bench))
            assert await client.unique_holders() == []
    assert steps == ["done", "discarded", "cancelled"]
    assert await records(bench) == []


async def test_of_two_attempts_in_one_pool_the_first_result_counts_for_both(bench: Bench) -> None:
    pool, entered, go, count, got = bench.pool(), asyncio.Event(), asyncio.Event(), list[int](), list[int]()

    async def effect() -> int:
        count.append(1)
        number = len(count)
        if number == 1:
            entered.set()
            await go.wait()
        return number

    @pool.job
    async def order(job: Job) -> None:
        got.append(await job.step("one", effect))
        # The other one still runs, so that the job with the same bytes is in progress here.
        await until(lambda: len(got) == 2)

    async with pool.running():
        await order.enqueue()
        await entered.wait()
        # As if this pool had been considered dead, and has fetched the job again.
        await bench.redis.lmove(
            bench.keys.in_progress("order", pool.id or ""), bench.keys.queue("order"), "LEFT", "RIGHT"
        )
        await until(lambda: got)
        go.set()
        await until(lambda: len(got) == 2)
        await until(lambda: bench_is_empty(bench))
    assert got == [2, 2]


async def test_jobs_of_a_fair_queue_take_steps(bench: Bench) -> None:
    pool, steps = bench.pool(), list[str]()

    @pool.job(partition="tenant", partition_concurrency=1)
    async def order(job: Job, tenant: str) -> None:
        await job.step("one", steps.append, tenant)
        await job.sleep("pause", 1.1)
        await job.event("go on", timeout=3600)

    async with await client_of(bench) as client, pool.running():
        jobs = [await order.enqueue(tenant) for tenant in ("ada", "ada", "bob")]

        async def waits() -> bool:
            found = [(await client.status(job.id)).steps for job in jobs]
            return all(any(each.kind == "event" and each.state == "waits" for each in some) for some in found)

        await until(waits)
        for job in jobs:
            assert await client.signal(job.id, "go on")

        async def ended() -> bool:
            return not await records(bench)

        await until(ended)
        assert await bench.audit(running=True) == []
    assert sorted(steps) == ["ada", "ada", "bob"]
