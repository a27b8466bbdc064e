"""Jobs that are unique until they have ended, debounced or throttled, as users meet them."""

from __future__ import annotations

import asyncio
import itertools
import json
import pickle
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from asyncwork import (
    CancelResult,
    Client,
    Debounce,
    Discard,
    EnqueuedJob,
    EnqueueManyError,
    EnqueueOptions,
    Enqueuer,
    Job,
    JobCall,
    JobOptions,
    JobQuery,
    Retry,
    Snooze,
    Throttle,
    Unique,
    UniqueConflictError,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork._jobs.hold import digest_of
from asyncwork._jobs.periodic_job import PeriodicJob
from asyncwork._redis.deletions import Deletions
from asyncwork._redis.enqueue_rules import SUCCESSOR_AT
from asyncwork.schedule import Schedule
from asyncwork.testing import open_jobs

from .conftest import LIMIT, Bench, until
from .test_cli import run
from .test_cli_queues import on
from .tuned import QUICK, tuned
from .web_app import serving

BY_USER = Unique(by=("user",), until="done")


@pytest.fixture
async def bench(bench: Bench) -> AsyncIterator[Bench]:
    """The namespace of a test, with the connections of pools closed that did not run."""
    made: list[WorkerPool[Any]] = []
    make = bench.pool

    def pool(**options: Any) -> WorkerPool[Any]:
        made.append(make(**options))
        return made[-1]

    bench.pool = pool  # type: ignore[method-assign]
    yield bench
    for each in made:
        each.sync_enqueuer.close()
        await each.enqueuer.close()


def hold_key(bench: Bench, name: str = "export", **by: Any) -> str:
    return bench.keys.hold(name, digest_of(by))


async def holds(bench: Bench) -> list[str]:
    return sorted(key.decode() for key in await bench.redis.keys(f"{bench.keys.holds}*"))


def no_holds(bench: Bench) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not await holds(bench)

    return check


class Steered:
    """A pool with one task, whose jobs wait until they are let go."""

    def __init__(self, bench: Bench, rule: Unique, **options: Any) -> None:
        self.pool = bench.pool(**options.pop("pool_options", {}))
        self.began: list[tuple[int, int]] = []
        self.running: set[int] = set()
        self.gates: dict[int, asyncio.Event] = {}
        self.raises: dict[int, BaseException] = {}

        @self.pool.job(unique=rule, **options)
        async def export(user: int, n: int = 0) -> None:
            assert user not in self.running, "two run at once"
            self.running.add(user)
            self.began.append((user, n))
            try:
                await self.gates.setdefault(n, asyncio.Event()).wait()
                if n in self.raises:
                    raise self.raises[n]
            finally:
                self.running.discard(user)

        self.task = export

    def let_go(self, n: int) -> None:
        self.gates.setdefault(n, asyncio.Event()).set()


# A key that is held


async def test_a_job_keeps_others_out_until_it_is_done(bench: Bench) -> None:
    steered = Steered(bench, BY_USER)
    async with steered.pool.running():
        first = await steered.task.enqueue(1, 1)
        again = await steered.task.enqueue(1, 2)
        other = await steered.task.enqueue(2, 3)
        assert (first.duplicate, first.unique, other.duplicate) == (False, True, False)
        assert (again.duplicate, again.replaced, again.id) == (True, False, first.id)
        await until(lambda: len(steered.began) == 2)
        running = await steered.task.enqueue(1, 4)
        assert (running.duplicate, running.id) == (True, first.id)
        assert await holds(bench) == sorted([hold_key(bench, user=1), hold_key(bench, user=2)])
        held = await bench.redis.hgetall(hold_key(bench, user=1))
        assert held[b"id"].decode() == first.id
        assert abs(int(held[b"since"]) - time.time()) < LIMIT
        steered.let_go(1)
        steered.let_go(3)
        await until(no_holds(bench))
        last = await steered.task.enqueue(1, 5)
        assert not last.duplicate
        steered.let_go(5)
    assert sorted(steered.began) == [(1, 1), (1, 5), (2, 3)]


async def test_the_key_says_nothing_of_the_arguments_and_does_not_expire(bench: Bench) -> None:
    await bench.enqueuer.enqueue("export", {"user": "Ada Lovelace", "n": 1}, unique=BY_USER)
    ((key,), ttl) = await holds(bench), await bench.redis.ttl((await holds(bench))[0])
    assert "Ada" not in key
    assert re.fullmatch(rf"{re.escape(bench.keys.holds)}export:[0-9a-f]{{64}}", key)
    assert ttl == -1


@pytest.mark.parametrize(
    ("raised", "options", "is_held"),
    [
        (None, {}, False),
        (None, {"result": 60}, False),
        (Discard("no"), {}, False),
        (ValueError("ohno"), {"max_fails": 1}, False),
        (ValueError("ohno"), {"max_fails": 1, "skip_dead": True}, False),
        (ValueError("ohno"), {"max_fails": 1, "result": 60, "history": True}, False),
        (ValueError("ohno"), {"max_fails": 2}, True),
        (Retry(after=1000), {}, True),
        (Snooze(1000), {}, True),
    ],
    ids=["done", "result", "discard", "dead", "skip_dead", "dead with a record", "retry", "Retry", "snooze"],
)
async def test_an_end_frees_the_key_and_nothing_else_does(
    bench: Bench, raised: BaseException | None, options: dict[str, Any], is_held: bool
) -> None:
    steered = Steered(bench, BY_USER, **options)
    if raised is not None:
        steered.raises[1] = raised
    steered.let_go(1)
    async with steered.pool.running():
        job = await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began) and not steered.running)
        if is_held:
            await until(lambda: _waits_later(bench))
        else:
            await until(no_holds(bench))
        again = await steered.task.enqueue(1, 2)
        assert (again.duplicate, again.id == job.id) == (is_held, is_held)
        steered.let_go(2)


async def _waits_later(bench: Bench) -> bool:
    return bool(await bench.job_set("retry") or await bench.job_set("scheduled"))


async def test_until_success_a_dead_job_holds_its_key_until_it_is_retried_and_done(bench: Bench) -> None:
    steered = Steered(bench, Unique(by=("user",), until="success"), max_fails=1)
    steered.raises[1] = ValueError("ohno")
    steered.let_go(1)
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        job = await steered.task.enqueue(1, 1)
        await until(lambda: bench.job_set("dead"))
        assert (await steered.task.enqueue(1, 2)).id == job.id
        del steered.raises[1]
        (dead,) = (await client.jobs("dead")).jobs
        assert (await client.retry("dead", [dead.ref])).done == 1
        await until(no_holds(bench))
        assert len(steered.began) == 2


async def test_a_dead_job_with_the_id_of_the_holder_does_not_free_the_key(bench: Bench) -> None:
    steered = Steered(bench, BY_USER, max_fails=1)
    steered.raises[1] = ValueError("ohno")
    steered.let_go(1)
    mine = steered.task.options(id="user-1")
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await mine.enqueue(1, 1)
        await until(lambda: bench.job_set("dead"))
        assert not (await mine.enqueue(1, 2)).duplicate
        await until(lambda: (1, 2) in steered.began)
        (dead,) = (await client.jobs("dead")).jobs
        with pytest.raises(UniqueConflictError, match="cannot be retried: job user-1 holds its key"):
            await client.retry("dead", [dead.ref])
        assert (await client.retry_matching("dead", JobQuery())).done == 0
        deletion = await client.delete("dead", [dead.ref])
        assert (await steered.task.enqueue(1, 3)).duplicate
        assert await client.restore(deletion.undo) == 1
        assert await Deletions(bench.in_redis).delete_all("dead") == 1
        assert (await steered.task.enqueue(1, 3)).duplicate
        steered.let_go(2)
        await until(no_holds(bench))
    assert steered.began == [(1, 1), (1, 2)]


async def test_a_deleted_job_is_not_restored_beside_one_with_its_id(bench: Bench) -> None:
    steered = Steered(bench, BY_USER)
    mine = steered.task.options(id="user-1", delay=1000)
    async with Client(bench.url, namespace=bench.namespace) as client:
        await mine.enqueue(1, 1)
        (first,) = (await client.jobs("scheduled")).jobs
        deletion = await client.delete("scheduled", [first.ref])
        assert not (await mine.enqueue(1, 2)).duplicate
        assert await client.restore(deletion.undo) == 0
        assert len(await bench.job_set("scheduled")) == 1
        (second,) = (await client.jobs("scheduled")).jobs
        deletion = await client.delete("scheduled", [second.ref])
        assert await client.restore(deletion.undo) == 1
        assert await holds(bench) == [hold_key(bench, user=1)]
        assert await client.cancel("user-1") is CancelResult.NOW
        assert await holds(bench) == []


async def test_a_job_does_not_wait_for_its_own_end(bench: Bench) -> None:
    steered = Steered(bench, Unique(by=("user",), until="done", conflict="after"))
    mine = steered.task.options(id="user-1")
    async with steered.pool.running():
        await mine.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        # As one does that has not got the answer.
        again = await mine.enqueue(1, 1)
        assert (again.id, again.duplicate, again.replaced) == ("user-1", True, False)
        assert await bench.job_set("scheduled") == []
        steered.let_go(1)
        await until(no_holds(bench))


async def test_a_job_that_waits_for_a_dead_one_says_so(bench: Bench) -> None:
    steered = Steered(bench, Unique(by=("user",), until="success", conflict="after"), max_fails=1)
    steered.raises[1] = ValueError("ohno")
    steered.let_go(1)
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        dead = await steered.task.enqueue(1, 1)
        await until(lambda: bench.job_set("dead"))
        waits = await steered.task.enqueue(1, 2)
        reason = await client.waiting_reason(waits.id)
        assert reason == f"it waits until job {dead.id}, which holds its key, has succeeded or is deleted"
        await client.cancel(waits.id)


async def test_until_success_a_dead_job_that_is_deleted_frees_its_key_and_takes_it_when_it_is_restored(
    bench: Bench,
) -> None:
    steered = Steered(bench, Unique(by=("user",), until="success"), max_fails=1)
    steered.raises[1] = ValueError("ohno")
    steered.let_go(1)
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        job = await steered.task.enqueue(1, 1)
        await until(lambda: bench.job_set("dead"))
        (dead,) = (await client.jobs("dead")).jobs
        deletion = await client.delete("dead", [dead.ref])
        assert await holds(bench) == []
        assert await client.restore(deletion.undo) == 1
        assert (await bench.redis.hget(hold_key(bench, user=1), "id")).decode() == job.id


async def test_a_dead_job_is_not_retried_by_hand_while_another_holds_its_key(bench: Bench) -> None:
    steered = Steered(bench, BY_USER, max_fails=1)
    steered.raises[1] = ValueError("ohno")
    steered.let_go(1)
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        dead = await steered.task.enqueue(1, 1)
        await until(lambda: bench.job_set("dead"))
        job = await steered.task.enqueue(1, 2)
        await until(lambda: (1, 2) in steered.began)
        (record,) = (await client.jobs("dead")).jobs
        with pytest.raises(UniqueConflictError, match=f"job {dead.id} cannot be retried: job {job.id} holds") as raised:
            await client.retry("dead", [record.ref])
        assert (raised.value.name, raised.value.holder_id) == ("export", job.id)
        assert (await client.retry_matching("dead")).done == 0
        assert len(await bench.job_set("dead")) == 1
        steered.let_go(2)
        await until(no_holds(bench))
        assert (await client.retry("dead", [record.ref])).done == 1
        await until(lambda: len(steered.began) == 3)


@pytest.mark.parametrize("how", ["delete", "cancel", "empty"])
async def test_a_job_that_is_taken_away_frees_its_key(bench: Bench, how: str) -> None:
    job = await bench.enqueuer.enqueue("export", {"user": 1}, unique=BY_USER)
    async with Client(bench.url, namespace=bench.namespace) as client:
        if how == "cancel":
            assert await client.cancel(job.id) is CancelResult.NOW
        elif how == "empty":
            assert (await client.empty("export")).done == 1
        else:
            (record,) = (await client.jobs("queue:export")).jobs
            await client.delete("queue:export", [record.ref])
    assert await holds(bench) == []


async def test_a_running_job_that_is_cancelled_frees_its_key(bench: Bench) -> None:
    steered = Steered(bench, BY_USER)
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        job = await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        assert await client.cancel(job.id) is CancelResult.ASKED
        await until(no_holds(bench))


async def test_an_expired_job_frees_its_key(bench: Bench) -> None:
    steered = Steered(bench, BY_USER)
    await steered.task.options(expires=1).enqueue(1, 1)
    past = time.time() + 2.1
    await until(lambda: _redis_is_past(bench, past))
    async with steered.pool.running():
        await until(no_holds(bench))
    assert steered.began == []


async def _redis_is_past(bench: Bench, at: float) -> bool:
    return float((await bench.redis.time())[0]) > at


async def test_a_stop_and_a_crash_keep_the_key(bench: Bench) -> None:
    steered = Steered(bench, BY_USER, pool_options={"grace": 0.01})
    async with steered.pool.running():
        job = await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
    assert len(await bench.waiting("export")) == 1
    again = await steered.task.enqueue(1, 2)
    assert (again.duplicate, again.id) == (True, job.id)


async def test_a_rule_by_all_arguments(bench: Bench) -> None:
    rule = Unique(until="done")
    first = await bench.enqueuer.enqueue("export", {"a": 1, "b": [2.0]}, unique=rule)
    again = await bench.enqueuer.enqueue("export", {"b": [2.0], "a": 1}, unique=rule)
    other = await bench.enqueuer.enqueue("export", {"a": 1}, unique=rule)
    none = [await bench.enqueuer.enqueue("export", unique=rule) for _ in range(2)]
    assert [each.duplicate for each in (first, again, other, *none)] == [False, True, False, False, True]


# Conflicts


async def test_replace_exchanges_the_arguments_of_the_job_that_waits(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="replace")
    steered = Steered(bench, rule)
    before = await steered.task.enqueue(3, 0)
    first = await steered.task.enqueue(1, 1)
    behind = await steered.task.enqueue(2, 9)
    again = await steered.task.enqueue(1, 2)
    assert (again.duplicate, again.replaced, again.id) == (True, True, first.id)
    assert "replaced=True" in repr(again)
    queue = [Job.decode(each) for each in await bench.waiting("export")]
    assert [(each.id, each.args["n"]) for each in queue] == [(before.id, 0), (first.id, 2), (behind.id, 9)]
    steered.let_go(0)
    steered.let_go(9)
    async with steered.pool.running():
        await until(lambda: (1, 2) in steered.began)
        # It has begun, and keeps its own.
        running = await steered.task.enqueue(1, 3)
        assert (running.duplicate, running.replaced, running.id) == (True, False, first.id)
        steered.let_go(2)
        await until(no_holds(bench))
    assert (1, 3) not in steered.began


@pytest.mark.parametrize(("before", "behind"), [(10, 30_000), (30_000, 10), (20_010, 20_010)])
async def test_replace_searches_both_ends_of_a_long_queue(bench: Bench, before: int, behind: int) -> None:
    async def fill(count: int) -> None:
        for _ in range(0, count, 10_000):
            some = [b"%d" % n for n in range(min(10_000, count))]
            await bench.redis.lpush(bench.keys.queue("wat"), *some)

    rule = Unique(by=("user",), until="done", conflict="replace")
    await fill(before)
    first = await bench.enqueuer.enqueue("wat", {"user": 1, "n": 1}, unique=rule)
    await fill(behind)
    again = await bench.enqueuer.enqueue("wat", {"user": 1, "n": 2}, unique=rule)
    is_found = min(before, behind) < 20_000
    assert (again.id, again.duplicate, again.replaced) == (first.id, True, is_found)
    waiting = [each for each in await bench.waiting("wat") if each.startswith(b"{")]
    assert [Job.decode(each).args for each in waiting] == [{"user": 1, "n": 2 if is_found else 1}]
    async with Client(bench.url, namespace=bench.namespace) as client:
        (queue,) = await client.queues()
        assert (queue.duplicates_dropped, queue.duplicates_replaced) == (1 - is_found, is_found)
        await client.delete_matching("queue:wat")


async def test_duplicates_are_counted_by_what_became_of_them(bench: Bench) -> None:
    ways: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
        "plain": ({"unique": True}, (2, 0)),
        "later": ({"unique": True, "delay": 100}, (2, 0)),
        "keyed": ({"unique": {"key": 1}}, (0, 2)),
        "done": ({"unique": BY_USER}, (2, 0)),
        "raised": ({"unique": Unique(by=("user",), until="done", conflict="raise")}, (2, 0)),
        "replaced": ({"unique": Unique(by=("user",), until="done", conflict="replace")}, (0, 2)),
        "after": ({"unique": Unique(by=("user",), until="done", conflict="after")}, (0, 2)),
        "bounced": ({"debounce": Debounce(100, by=("user",))}, (0, 2)),
        "throttled": ({"throttle": Throttle(per=100, by=("user",))}, (2, 0)),
        "trailing": ({"throttle": Throttle(per=100, by=("user",), trailing=True)}, (0, 1)),
    }
    for name, (options, _) in ways.items():
        for _ in range(3):
            with suppress(UniqueConflictError):
                await bench.enqueuer.enqueue(name, {"user": 7}, **options)
    # One that is sent again because the reply was lost is no duplicate of another.
    for _ in range(2):
        await bench.enqueuer.enqueue("same", {"user": 7}, unique=BY_USER, id="own")
    async with Client(bench.url, namespace=bench.namespace) as client, serving(bench) as (_, web):
        queues = {each.name: each for each in await client.queues()}
        found = {name: (each.duplicates_dropped, each.duplicates_replaced) for name, each in queues.items()}
        assert found == {**{name: counts for name, (_, counts) in ways.items()}, "same": (0, 0)}
        assert "2 duplicates dropped" in (await web.get("/queue?name=plain", headers={"accept": "text/html"})).text
        text = (await web.get("/metrics")).text
        assert 'asyncwork_namespace_queue_duplicates_total{queue="keyed",outcome="replaced"} 2' in text
        # A key of another type counts nothing, and keeps no job out.
        await bench.redis.delete(bench.keys.duplicates)
        await bench.redis.set(bench.keys.duplicates, "x")
        assert (await bench.enqueuer.enqueue("plain", {"user": 7}, unique=True)).duplicate
        assert (await client.queues())[0].duplicates_dropped == 0
        await bench.redis.delete(bench.keys.duplicates)
        await bench.enqueuer.enqueue("plain", {"user": 7}, unique=True)
        await client.delete_matching("queue:plain")
        await client.forget("plain")
        assert not await bench.redis.exists(bench.keys.duplicates)
        for name in ways:
            await client.delete_matching(f"queue:{name}")
        await client.delete_matching("scheduled")


async def test_replace_keeps_the_time_of_a_scheduled_job(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="replace")
    first = await bench.enqueuer.enqueue("export", {"user": 1, "n": 1}, unique=rule, delay=1000)
    again = await bench.enqueuer.enqueue("export", {"user": 1, "n": 2}, unique=rule)
    assert (again.id, again.replaced) == (first.id, True)
    ((payload, score),) = await bench.job_set("scheduled")
    assert (Job.decode(payload).args, Job.decode(payload).id) == ({"user": 1, "n": 2}, first.id)
    assert score == first.run_at


async def test_raise_names_the_holder(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="raise")
    first = await bench.enqueuer.enqueue("export", {"user": 1}, unique=rule)
    with pytest.raises(UniqueConflictError, match=f"'export' job was not enqueued: job {first.id} holds") as raised:
        await bench.enqueuer.enqueue("export", {"user": 1}, unique=rule)
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.name, error.holder_id, str(error)) == ("export", first.id, str(raised.value))
    calls = [JobCall("export", {"user": user}, EnqueueOptions(unique=rule)) for user in (1, 2)]
    with pytest.raises(EnqueueManyError, match=f"job {first.id} holds its key") as many:
        await bench.enqueuer.enqueue_many(calls)
    assert [[each.args for each in some] for some in (many.value.written, many.value.unwritten)] == [
        [{"user": 2}],
        [{"user": 1}],
    ]
    assert isinstance(many.value.__cause__, UniqueConflictError)
    start = Unique(by=("user",), conflict="raise")
    first = await bench.enqueuer.enqueue("other", {"user": 1}, unique=start)
    with pytest.raises(UniqueConflictError, match=first.id):
        await bench.enqueuer.enqueue("other", {"user": 1}, unique=start)


async def test_holders_that_end_together_each_free_their_own_key(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    steered = Steered(bench, rule, pool_options={"concurrency": 8})
    steered.gates = dict.fromkeys(range(5), gate := asyncio.Event())
    async with steered.pool.running():
        jobs = [await bench.enqueuer.enqueue("export", {"user": n, "n": n}, unique=rule) for n in range(5)]
        await until(lambda: len(steered.running) == 5)
        # One has a successor, the key of one belongs to another job by now, and one is no key any more.
        await bench.enqueuer.enqueue("export", {"user": 1, "n": 10}, unique=rule)
        await bench.redis.hset(hold_key(bench, user=2), "id", "another")
        await bench.redis.set(hold_key(bench, user=3), "text")
        await bench.redis.hset(bench.keys.cancels, mapping={jobs[0].id: "1", "another": "1"})
        gate.set()
        await until(lambda: steered.running == {1})
        assert sorted(await holds(bench)) == sorted(hold_key(bench, user=n) for n in (1, 2, 3))
        assert await bench.redis.type(hold_key(bench, user=3)) == b"string"
        steered.gates[10].set()
        await until(lambda: not steered.running)
    assert steered.began[5:] == [(1, 10)]
    assert await bench.redis.hkeys(bench.keys.cancels) == [b"another"]
    assert sorted(await holds(bench)) == sorted(hold_key(bench, user=n) for n in (2, 3))
    await bench.redis.delete(hold_key(bench, user=2), hold_key(bench, user=3), bench.keys.cancels)


async def test_after_runs_once_more_with_the_newest_arguments(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    steered = Steered(bench, rule)
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        first = await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        jobs = [await steered.task.enqueue(1, n) for n in (2, 3, 4)]
        assert [(each.duplicate, each.replaced) for each in jobs] == [(False, False), (True, True), (True, True)]
        assert len({each.id for each in jobs} | {first.id}) == 2
        (parked,) = await bench.job_set("scheduled")
        assert parked[1] == SUCCESSOR_AT
        reason = await client.waiting_reason(jobs[0].id)
        assert reason == f"it waits until job {first.id}, which holds its key, has ended"
        _, out, _ = await run("job", jobs[0].id, *on(bench))
        assert re.search(r"^due +after another job$", out, re.MULTILINE)
        _, out, _ = await run("jobs", "ls", "scheduled", *on(bench))
        assert re.search(rf"^{jobs[0].id} +export +after another job ", out, re.MULTILINE)
        async with serving(bench) as (_, web):
            for page in ("/scheduled", f"/jobs/{jobs[0].id}", "/"):
                answer = await web.get(page)
                assert "after another job" in answer.text
                assert "3000-01-01" not in answer.text
        assert steered.began == [(1, 1)]
        steered.let_go(1)
        await until(lambda: (1, 4) in steered.began)
        assert (await bench.redis.hget(hold_key(bench, user=1), "id")).decode() == jobs[0].id
        steered.let_go(4)
        await until(no_holds(bench))
    assert steered.began == [(1, 1), (1, 4)]


async def test_a_successor_starts_at_once(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    # Its requeuers do not help.
    steered = Steered(bench, rule, pool_options=tuned(QUICK, requeue=1000.0))
    async with steered.pool.running():
        delays = []
        for n in range(1, 10, 2):
            await steered.task.enqueue(1, n)
            await until(lambda n=n: (1, n) in steered.began)
            await steered.task.enqueue(1, n + 1)
            start = time.monotonic()
            steered.let_go(n)
            await until(lambda n=n: (1, n + 1) in steered.began)
            delays.append(time.monotonic() - start)
            steered.let_go(n + 1)
            await until(no_holds(bench))
    assert min(delays) < 0.5


async def test_a_successor_with_a_delay_starts_when_both_are_over(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    steered = Steered(bench, rule)
    async with steered.pool.running():
        await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        later = await steered.task.options(delay=1000).enqueue(1, 2)
        steered.let_go(1)
        await until(lambda: _scheduled_at(bench, later.run_at))
        assert (await bench.redis.hget(hold_key(bench, user=1), "id")).decode() == later.id


async def _scheduled_at(bench: Bench, at: float) -> bool:
    return [score for _, score in await bench.job_set("scheduled")] == [at]


async def test_after_exchanges_the_arguments_of_a_job_that_has_not_begun(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    jobs = [await bench.enqueuer.enqueue("export", {"user": 1, "n": n}, unique=rule) for n in range(3)]
    assert [each.replaced for each in jobs] == [False, True, True]
    assert [Job.decode(each).args["n"] for each in await bench.waiting("export")] == [2]
    assert await bench.job_set("scheduled") == []


async def test_a_drain_waits_for_successors(bench: Bench) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    steered = Steered(bench, rule)
    async with steered.pool.running():
        await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        await steered.task.enqueue(1, 2)
        steered.let_go(1)
        steered.let_go(2)
        await until(lambda: len(steered.began) == 2)
        await steered.pool.drain()
    assert await holds(bench) == []


# All ways in


async def test_every_way_to_enqueue_knows_the_rule_of_the_task(bench: Bench) -> None:
    steered = Steered(bench, BY_USER)
    task = steered.task
    enqueuers: list[Callable[[], Awaitable[EnqueuedJob]]] = [
        lambda: task.enqueue(1),
        lambda: task.options(timeout=5).enqueue(1),
        lambda: steered.pool.enqueuer.enqueue(task, {"user": 1}),
        lambda: steered.pool.enqueuer.enqueue_call(task.call(1)),
        lambda: asyncio.to_thread(task.sync.enqueue, 1),
        lambda: asyncio.to_thread(steered.pool.sync_enqueuer.enqueue, task, {"user": 1}),
    ]
    first = await task.enqueue(1)
    for enqueue in enqueuers:
        job = await enqueue()
        assert (job.duplicate, job.id) == (True, first.id)
    for jobs in (
        await task.enqueue_many([task.call(1), task.call(1, 0)]),
        await steered.pool.enqueuer.enqueue_many([(task, {"user": 1}), (task, {"user": 1, "n": 0})]),
        await asyncio.to_thread(task.sync.enqueue_many, [task.call(1)]),
    ):
        assert {(each.duplicate, each.id) for each in jobs} == {(True, first.id)}
    # A call may leave the rule out, or have its own.
    assert not (await task.options(unique=False).enqueue(1)).duplicate
    by_all = task.options(unique=Unique(until="done"))
    assert [(await by_all.enqueue(1, 5)).duplicate for _ in range(2)] == [False, True]


async def test_the_jobs_of_a_test_of_an_application_know_the_rule(bench: Bench) -> None:
    app = WorkerPool("redis://127.0.0.1:1/0", namespace="production")
    ran: list[int] = []

    @app.job(unique=Unique(by=("user",), until="done", conflict="after"))
    async def export(user: int, n: int = 0) -> None:
        ran.append(n)
        if n == 1:
            assert not (await export.enqueue(user, 2)).duplicate
            assert (await app.enqueuer.enqueue(export, {"user": user, "n": 3})).replaced

    with open_jobs(app, bench.url) as jobs:
        await app.enqueuer.enqueue(export, {"user": 1, "n": 1})
        await jobs.drain()
        assert ran == [1, 3]
        async with jobs.eager():
            for n in (4, 5):
                await export.enqueue(1, n)
        assert ran == [1, 3, 4, 5]
        with pytest.raises(UsageError, match="args must be a mapping"):
            await app.enqueuer.enqueue(export, ["x"])  # type: ignore[arg-type]


async def test_every_way_to_enqueue_by_name(bench: Bench) -> None:
    first = await bench.enqueuer.enqueue("export", {"user": 1}, unique=BY_USER)
    with sync.Enqueuer(bench.url, namespace=bench.namespace) as blocking:
        again = blocking.enqueue("export", {"user": 1, "n": 2}, unique=BY_USER)
        many = blocking.enqueue_many([JobCall("export", {"user": 1}, EnqueueOptions(unique=BY_USER))])
    assert {each.id for each in (again, *many)} == {first.id}
    await bench.redis.script_flush()
    assert (await bench.enqueuer.enqueue("export", {"user": 1}, unique=BY_USER)).id == first.id


async def test_a_default_counts_as_the_argument(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(unique=Unique(by=("user", "month"), until="done"))
    async def export(user: int, month: str = "may") -> None: ...

    first = await export.enqueue(1)
    for job in (await export.enqueue(1, "may"), await pool.enqueuer.enqueue(export, {"user": 1})):
        assert (job.duplicate, job.id) == (True, first.id)
    assert not (await export.enqueue(1, "june")).duplicate


async def test_until_start_is_the_uniqueness_of_gocraft_work(bench: Bench) -> None:
    for rule, key, args in (
        (Unique(), bench.keys.unique_for("export", {"user": 1, "n": 2}), {"user": 1, "n": 2}),
        (Unique(by=("user",)), bench.keys.unique_for("export", {"user": 1}), {"user": 1, "n": 2}),
    ):
        job = await bench.enqueuer.enqueue("export", args, unique=rule)
        assert await bench.redis.get(key) == f"waiting:{job.id}".encode()
        (payload,) = await bench.waiting("export")
        assert (Job.decode(payload).unique, Job.decode(payload).unique_key) == (True, key)
        assert (await bench.enqueuer.enqueue("export", args, unique=rule)).id == job.id
        await bench.redis.delete(key, bench.keys.queue("export"))
    by_true = await bench.enqueuer.enqueue("export", {"user": 1}, unique=True)
    assert (await bench.enqueuer.enqueue("export", {"user": 1}, unique=Unique())).id == by_true.id
    await bench.redis.delete(bench.keys.unique_for("export", {"user": 1}), bench.keys.queue("export"))
    replace = Unique(by=("user",), conflict="replace")
    first = await bench.enqueuer.enqueue("export", {"user": 1, "n": 1}, unique=replace)
    again = await bench.enqueuer.enqueue("export", {"user": 1, "n": 2}, unique=replace)
    assert (again.id, again.replaced) == (first.id, True)


async def test_until_start_frees_the_key_when_the_job_begins(bench: Bench) -> None:
    steered = Steered(bench, Unique(by=("n",)))
    async with steered.pool.running():
        await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        again = await steered.task.enqueue(2, 1)
        assert not again.duplicate
        steered.let_go(1)
        await until(lambda: len(steered.began) == 2)


async def test_an_instance_of_a_periodic_job_is_dropped_while_another_holds_its_key(bench: Bench) -> None:
    steered = Steered(bench, BY_USER)
    steered.pool.periodically("0 0 0 1 1 *", steered.task, {"user": 1})
    tick = PeriodicJob("export", Schedule.parse("0 0 0 1 1 *"), b'{"user":1,"n":7}')
    async with steered.pool.running():
        job = await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        await bench.redis.zadd(bench.keys.scheduled, {tick.instance(300): 300})
        await until(lambda: _no_instances(bench))
        assert len(steered.began) == 1
        assert (await bench.redis.hget(hold_key(bench, user=1), "id")).decode() == job.id
        steered.let_go(1)
        await until(no_holds(bench))
        await bench.redis.zadd(bench.keys.scheduled, {tick.instance(301): 301})
        await until(lambda: (1, 7) in steered.began)
        assert (await steered.task.enqueue(1, 8)).id.startswith("periodic:")
        steered.let_go(7)
        await until(no_holds(bench))


async def _no_instances(bench: Bench) -> bool:
    return not [score for _, score in await bench.job_set("scheduled") if score < 1000]


# Debounce and throttle


async def test_a_debounced_job_runs_once_with_the_last_arguments(bench: Bench) -> None:
    pool, saved = bench.pool(), []

    @pool.job(debounce=Debounce(1, by=("doc",)))
    async def save(doc: str, n: int) -> None:
        saved.append((doc, n, time.time()))

    async with pool.running():
        jobs = [await save.enqueue("a", n) for n in range(3)]
        other = await save.enqueue("b", 9)
        last = time.time()
        assert len({each.id for each in jobs}) == 1
        assert [(each.duplicate, each.replaced) for each in jobs] == [(False, False), (True, True), (True, True)]
        assert other.id != jobs[0].id
        assert len(await bench.job_set("scheduled")) == 2
        await until(lambda: len(saved) == 2)
        assert sorted((doc, n) for doc, n, _ in saved) == [("a", 2), ("b", 9)]
        assert all(at >= last + 0.9 for _, _, at in saved)
        # It has run: what comes now is another burst.
        again = await save.enqueue("a", 5)
        assert (again.duplicate, again.id == jobs[0].id) == (False, False)
    assert await bench.redis.ttl(bench.keys.debounce("save", digest_of({"doc": "a"}))) > 0


async def test_a_burst_does_not_wait_for_longer_than_max_wait(bench: Bench) -> None:
    rule = Debounce(100, by=("doc",), max_wait=timedelta(seconds=150))
    first = await bench.enqueuer.enqueue("save", {"doc": 1, "n": 1}, debounce=rule)
    now = (await bench.redis.time())[0]
    assert 99 <= first.run_at - now <= 101
    key = bench.keys.debounce("save", digest_of({"doc": 1}))
    # As if the first had come 140 s ago.
    await bench.redis.hset(key, "first", f"{now - 140:.6f}")
    again = await bench.enqueuer.enqueue("save", {"doc": 1, "n": 2}, debounce=rule)
    assert again.id == first.id
    assert 9 <= again.run_at - now <= 12
    ((payload, score),) = await bench.job_set("scheduled")
    assert (Job.decode(payload).args["n"], score) == (2, again.run_at)


async def test_a_debounced_job_that_was_deleted_begins_anew(bench: Bench) -> None:
    rule = Debounce(100)
    first = await bench.enqueuer.enqueue("save", {"doc": 1}, debounce=rule)
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert await client.cancel(first.id) is CancelResult.NOW
    again = await bench.enqueuer.enqueue("save", {"doc": 1}, debounce=rule)
    assert (again.duplicate, again.id == first.id) == (False, False)
    assert len(await bench.job_set("scheduled")) == 1


@pytest.mark.parametrize("trailing", [False, True])
async def test_a_throttled_job_starts_once_in_a_period(bench: Bench, trailing: bool) -> None:
    rule = Throttle(per=100, by=("user",), trailing=trailing)
    first = await bench.enqueuer.enqueue("mail", {"user": 1, "n": 1}, throttle=rule)
    other = await bench.enqueuer.enqueue("mail", {"user": 2, "n": 1}, throttle=rule)
    more = [await bench.enqueuer.enqueue("mail", {"user": 1, "n": n}, throttle=rule) for n in (2, 3)]
    assert [Job.decode(each).id for each in await bench.waiting("mail")] == [first.id, other.id]
    scheduled = await bench.job_set("scheduled")
    if not trailing:
        assert [(each.duplicate, each.replaced, each.id) for each in more] == [(True, False, first.id)] * 2
        assert scheduled == []
        return
    assert [(each.duplicate, each.replaced) for each in more] == [(False, False), (True, True)]
    assert more[0].id == more[1].id != first.id
    ((payload, score),) = scheduled
    assert (Job.decode(payload).args["n"], score) == (3, more[1].run_at)
    assert 99 <= score - (await bench.redis.time())[0] <= 101


async def test_a_period_begins_anew_when_the_trailing_job_has_started(bench: Bench) -> None:
    rule = Throttle(per=100, by=("user",), trailing=True)
    key = bench.keys.throttle("mail", digest_of({"user": 1}))

    async def enqueue(n: int) -> EnqueuedJob:
        return await bench.enqueuer.enqueue("mail", {"user": 1, "n": n}, throttle=rule)

    async def age(seconds: float) -> None:
        at = float(await bench.redis.hget(key, "at"))
        await bench.redis.hset(key, "at", f"{at - seconds:.6f}")

    now = (await bench.redis.time())[0]
    await enqueue(1)
    trailing = await enqueue(2)
    # Its time has come, and it was requeued.
    await age(101.5)
    await bench.redis.delete(bench.keys.scheduled)
    third = await enqueue(3)
    assert (third.duplicate, third.id == trailing.id) == (False, False)
    assert 96 <= third.run_at - now <= 103
    await age(201)
    await bench.redis.delete(bench.keys.scheduled)
    assert (await enqueue(4)).run_at <= now + LIMIT
    assert len(await bench.waiting("mail")) == 2


async def test_a_throttle_of_a_clock_that_was_ahead_does_not_keep_jobs_out(bench: Bench) -> None:
    rule = Throttle(per=5)
    await bench.enqueuer.enqueue("mail", {"user": 1}, throttle=rule)
    await bench.redis.hset(bench.keys.throttle("mail", digest_of({"user": 1})), "at", f"{time.time() + 1000:.6f}")
    assert not (await bench.enqueuer.enqueue("mail", {"user": 1}, throttle=rule)).duplicate


@pytest.mark.parametrize("kind", ["hold", "debounce", "throttle"])
async def test_a_key_of_another_type_keeps_no_job_out(bench: Bench, kind: str) -> None:
    rules: dict[str, dict[str, Any]] = {
        "hold": {"unique": Unique(until="done")},
        "debounce": {"debounce": Debounce(100)},
        "throttle": {"throttle": Throttle(100)},
    }
    key = getattr(bench.keys, kind)("export", digest_of({"user": 1}))
    await bench.redis.set(key, "x")
    assert not (await bench.enqueuer.enqueue("export", {"user": 1}, **rules[kind])).duplicate
    assert (await bench.enqueuer.enqueue("export", {"user": 1}, **rules[kind])).duplicate


# The doctor


@pytest.mark.parametrize("since", [1, 2**40])
async def test_the_doctor_frees_a_key_whose_job_is_nowhere(bench: Bench, since: int) -> None:
    rule = Unique(by=("user",), until="done", conflict="after")
    steered = Steered(bench, rule)
    async with Client(bench.url, namespace=bench.namespace) as client:
        async with steered.pool.running():
            lost = await steered.task.enqueue(1, 1)
            await until(lambda: bool(steered.began))
            waits = await steered.task.enqueue(1, 2)
            steered.let_go(2)
            # As a Go pool does, which knows no holds.
            await bench.redis.delete(bench.keys.in_progress("export", str(steered.pool.id)))
            steered.let_go(1)
            await until(lambda: not steered.running)
        key = hold_key(bench, user=1)
        assert (await bench.audit())[0] == f"key {key} is held by job {lost.id}, which does not exist or has ended"
        assert not [each for each in (await client.diagnose(0)).problems if each.kind == "lost_hold"]
        # A young one may be that of a job that moves right now.
        await bench.redis.hset(key, "since", since)
        diagnosis = await client.diagnose(0)
        (problem,) = [each for each in diagnosis.problems if each.kind == "lost_hold"]
        assert problem.text.startswith("1 key is held for export by jobs that do not exist or have ended")
        assert "freed keys that were held by jobs that do not exist: 1" in [
            line async for line in client.repair(diagnosis)
        ]
        assert (await bench.redis.hget(key, "id")).decode() == waits.id
        async with steered.pool.running():
            await until(lambda: (1, 2) in steered.began)
            await until(no_holds(bench))


async def test_the_doctor_finds_a_job_that_waits_for_the_end_of_none(bench: Bench) -> None:
    steered = Steered(bench, Unique(by=("user",), until="done", conflict="after"))
    async with steered.pool.running(), Client(bench.url, namespace=bench.namespace) as client:

        async def found() -> list[str]:
            return [each.command for each in (await client.diagnose(0)).problems if each.kind == "lost_successor"]

        await steered.task.enqueue(1, 1)
        await until(lambda: bool(steered.began))
        waits = await steered.task.enqueue(1, 2)
        assert await found() == []
        # As a Redis does that evicts keys.
        await bench.redis.delete(hold_key(bench, user=1))
        steered.let_go(1)
        await until(lambda: not steered.running)
        assert await found() == [f"asyncwork jobs retry scheduled --id {waits.id}"]
        assert (await run("jobs", "retry", "scheduled", "--id", waits.id, *on(bench)))[0] == 0
        await until(lambda: (1, 2) in steered.began)
        assert await found() == []
        steered.let_go(2)
        await until(no_holds(bench))


async def test_the_doctor_leaves_the_keys_of_jobs_alone(bench: Bench) -> None:
    jobs = {}
    for until_what in ("done", "success"):
        rule = Unique(by=("user",), until=until_what, conflict="after")
        for delay in (None, 1000):
            args = {"user": f"{until_what} {delay}"}
            jobs[args["user"]] = await bench.enqueuer.enqueue("export", args, unique=rule, delay=delay)
    for key in await holds(bench):
        await bench.redis.hset(key, "since", 1)
    (payload,) = [each for each in await bench.waiting("export") if b"success None" in each]
    await bench.redis.lrem(bench.keys.queue("export"), 1, payload)
    await bench.redis.zadd(bench.keys.dead, {payload: 1})
    async with Client(bench.url, namespace=bench.namespace) as client:
        diagnosis = await client.diagnose(0)
    assert not diagnosis.repairs.holds
    assert len(await holds(bench)) == 4


# Who holds a key


@pytest.mark.parametrize("redacted", [False, True])
async def test_the_api_and_a_page_show_who_holds_a_key_and_free_it(bench: Bench, redacted: bool) -> None:
    rule = Unique(by=("user",), until="success", conflict="after")
    job = await bench.enqueuer.enqueue("export", {"user": "Ada <b>"}, unique=rule, delay=1000)
    other = await bench.enqueuer.enqueue("other", {"user": 1}, unique=BY_USER)
    # It runs, so that a successor waits.
    await bench.redis.hdel(hold_key(bench, user="Ada <b>"), "payload")
    after = await bench.enqueuer.enqueue("export", {"user": "Ada <b>"}, unique=rule)
    redact = (lambda record: replace(record, args=b"null")) if redacted else None
    async with serving(bench, redact=redact) as (_, web):
        answer = await web.get("/api/unique?queue=export")
        (holder,) = answer.json()["holders"]
        since = holder.pop("since")
        assert abs(since - time.time()) < LIMIT
        assert holder == {"name": "export", "job_id": job.id, "until": "success", "next_id": after.id}
        assert len((await web.get("/api/unique?count=1")).json()["holders"]) == 1
        page = (await web.get("/unique?name=export", headers={"accept": "text/html"})).text
        assert job.id in page
        assert after.id in page
        assert other.id not in page
        for text in (answer.text, page):
            assert "Ada" not in text
            assert digest_of({"user": "Ada <b>"}) not in text
        assert other.id in (await web.get("/unique", headers={"accept": "text/html"})).text
        free = {"queue": "export", "id": job.id}
        assert (await web.post("/api/unique/free", json=free)).json()["done"] == 1
        assert (await web.post("/api/unique/free", json=free)).json()["done"] == 0
        (holder,) = (await web.get("/api/unique?queue=export")).json()["holders"]
        assert holder["job_id"] == after.id
        assert len(await bench.waiting("export")) == 1
        form = await web.post("/api/unique/free", data={**free, "id": after.id, "back": "/unique"})
        assert (form.status_code, form.headers["location"].startswith("/unique?done=free")) == (303, True)
    async with Client(bench.url, namespace=bench.namespace) as client:
        for each in (job, after):
            await client.cancel(each.id)


async def test_a_key_is_found_among_more_than_are_listed(bench: Bench) -> None:
    names = {hold_key(bench, user=user): f"job-{user}" for user in range(10_500)}
    async with bench.redis.pipeline(transaction=False) as pipe:
        for key, job_id in names.items():
            pipe.hset(key, mapping={"id": job_id, "since": 1, "until": "done"})
        await pipe.execute()
    async with Client(bench.url, namespace=bench.namespace) as client:
        listed = {each.job_id for each in await client.unique_holders("export", limit=10_000)}
        key, job_id = next((key, job_id) for key, job_id in names.items() if job_id not in listed)
        assert not await client.free_unique("export", "job-x")
        assert not await client.free_unique("other", job_id)
        assert await client.free_unique("export", job_id)
        assert not await client.free_unique("export", job_id)
    assert await bench.redis.exists(*names) == len(names) - 1
    await bench.redis.unlink(*names)


async def test_a_retry_that_a_holder_prevents_is_a_conflict_for_the_api(bench: Bench) -> None:
    await bench.enqueuer.enqueue("export", {"user": 1}, unique=BY_USER)
    (payload,) = await bench.waiting("export")
    dead = payload.replace(Job.decode(payload).id.encode(), b"0" * 24)
    await bench.redis.zadd(bench.keys.dead, {dead: 1})
    async with serving(bench) as (_, web):
        (job,) = (await web.get("/api/jobs?location=dead")).json()["jobs"]
        answer = await web.post("/api/jobs/retry", json={"location": "dead", "ref": job["ref"]})
    assert answer.status_code == 409
    assert "holds its key" in answer.json()["error"]


async def test_the_terminal_shows_who_holds_a_key_and_frees_it(bench: Bench) -> None:
    code, out, _ = await run("unique", *on(bench))
    assert (code, out) == (0, "no job holds a key until it has ended\n")
    args = ("--unique-by", "user", "--until", "done", *on(bench))
    code, out, _ = await run("enqueue", "export", '{"user": 1}', *args)
    (job_id, *_) = out.split()
    code, out, _ = await run("enqueue", "export", '{"user": 1}', *args)
    assert (code, out) == (0, f"duplicate: {job_id} export holds its key; nothing was enqueued\n")
    code, out, err = await run("enqueue", "export", '{"user": 1}', *args, "--conflict", "raise")
    assert (code, out) == (1, "")
    assert f"job {job_id} holds its key" in err
    code, out, _ = await run("enqueue", "export", '{"user": 1, "n": 2}', *args, "--conflict", "replace")
    assert out == f"duplicate: {job_id} export with this key is already waiting, and will run with the new arguments\n"
    code, out, _ = await run("unique", "ls", "export", *on(bench))
    assert re.search(rf"^{job_id} +export +.* +done +-$", out, re.MULTILINE)
    code, out, _ = await run("unique", "--json", *on(bench))
    assert [each["job_id"] for each in json.loads(out)["holders"]] == [job_id]
    code, out, _ = await run("unique", "free", "export", job_id, *on(bench))
    assert (code, out) == (0, f"the key of job {job_id} is free\n")
    code, _, err = await run("unique", "free", "export", job_id, *on(bench))
    assert (code, err) == (1, f"asyncwork unique: job {job_id} of export holds no key\n")
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.empty("export")


async def test_the_terminal_debounces_and_throttles(bench: Bench) -> None:
    for option in (("--debounce", "100", "--max-wait", "200"), ("--throttle", "100", "--trailing")):
        outs = [(await run("enqueue", "save", '{"doc": 1}', *option, "--by", "doc", *on(bench)))[1] for _ in range(3)]
        assert "will run with the new arguments" in outs[2]
    code, out, _ = await run("enqueue", "save", '{"doc": 1}', "--throttle", "100", "--by", "doc", *on(bench))
    assert (code, out.endswith("has started within the period; nothing was enqueued\n")) == (0, True)
    code, _, err = await run("enqueue", "save", '{"doc": 1}', "--debounce", "5", "--unique-by", "doc", *on(bench))
    assert code == 2
    assert (
        "--unique-by and --debounce exclude each other: write one of them; --debounce has its arguments from --by"
        in err
    )


# Bad usage


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unique(by="user"), r"Unique: by must be the names of arguments, such as \('user',\) with a comma"),
        (lambda: Unique(by=()), r"by must be the names of one or more arguments, such as \('user_id',\), not \(\)"),
        (lambda: Unique(by=(1,)), "by must be the names"),  # type: ignore[arg-type]
        (lambda: Unique(by=("a", "a")), "by names an argument twice"),
        (lambda: Unique(until="end"), "until must be 'start', 'done' or 'success', not 'end'"),  # type: ignore[arg-type]
        (lambda: Unique(conflict="skip"), "must be 'drop', 'replace', 'raise' or 'after', not 'skip'"),  # type: ignore[arg-type]
        (lambda: Unique(conflict="after"), "needs until='done' or until='success'"),
        (lambda: Unique(conflict="replace"), "needs by=…"),
        (lambda: Debounce(0), r"Debounce\(…\) must be more than 0 seconds"),
        (lambda: Debounce(-1), "zero or more seconds"),
        (lambda: Debounce("5"), "seconds or a timedelta, not str"),  # type: ignore[arg-type]
        (lambda: Debounce(5, max_wait=4), r"max_wait \(4 s\) must not be less than the wait \(5 s\)"),
        (lambda: Throttle(0), r"Throttle\(per=…\) must be more than 0 seconds"),
        (lambda: Throttle(1, trailing=1), "trailing must be True or False, not 1"),  # type: ignore[arg-type]
        (lambda: JobOptions(unique="yes"), r"unique must be True, or a Unique\(…\), not 'yes'"),  # type: ignore[arg-type]
        (lambda: JobOptions(debounce=5), r"debounce must be a Debounce\(…\), not 5"),  # type: ignore[arg-type]
        (lambda: JobOptions(unique=True, debounce=Debounce(1)), "unique and debounce exclude each other"),
        (lambda: JobOptions(throttle=Throttle(1), debounce=Debounce(1)), "debounce and throttle exclude each other"),
        (lambda: EnqueueOptions(unique=True, throttle=Throttle(1)), "unique and throttle exclude each other"),
        (
            lambda: EnqueueOptions(debounce=Debounce(1), delay=1),
            r"Debounce\(…\) says when the job starts",
        ),
        (lambda: EnqueueOptions(throttle=Throttle(1), at=1), r"Throttle\(…\) says when the job starts"),
        (
            lambda: EnqueueOptions(debounce=Debounce(1), front=True),
            "a debounced job starts later",
        ),
    ],
)
def test_a_wrong_rule_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_rule_that_names_no_argument_is_refused_at_registration() -> None:
    pool = WorkerPool()
    with pytest.raises(UsageError, match=r"export takes no argument 'usr'; it takes user, n\. Did you mean 'user'"):

        @pool.job(unique=Unique(by=("usr",), until="done"))
        async def export(user: int, n: int = 0) -> None: ...

    @pool.job
    async def other(user: int) -> None: ...

    with pytest.raises(UsageError, match=r"Debounce\(by=…\): other takes no argument 'doc'; it takes user"):
        other.options(debounce=Debounce(1, by=("doc",)))

    @pool.job(unique=Unique(by=("anything",), until="done"))
    async def takes_any(**rest: object) -> None: ...


async def test_a_missing_argument_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(UsageError, match="argument 'user' of this export job is missing; it has 'n'"):
        await bench.enqueuer.enqueue("export", {"n": 1}, unique=BY_USER)
    with pytest.raises(UsageError, match="is missing; it has none"):
        await bench.enqueuer.enqueue("export", throttle=Throttle(1, by=("user",)))
    assert await bench.redis.keys(f"{bench.namespace}*") == []


async def test_enqueuers_of_two_processes_agree_on_the_key(bench: Bench) -> None:
    values: Any = {"when": "2030-01-01", "ratio": 1.5, "é": "<&>"}
    async with Enqueuer(bench.url, namespace=bench.namespace) as other:
        jobs = [
            await each.enqueue("export", dict(args), unique=Unique(until="done"))
            for each, args in ((bench.enqueuer, values), (other, reversed(values.items())))
        ]
    assert [each.duplicate for each in jobs] == [False, True]


async def test_many_jobs_at_once_of_one_key_leave_one(bench: Bench) -> None:
    counter = itertools.count()
    jobs = await asyncio.gather(
        *(bench.enqueuer.enqueue("export", {"user": 1, "n": next(counter)}, unique=BY_USER) for _ in range(200))
    )
    assert sum(not each.duplicate for each in jobs) == 1
    assert len(await bench.waiting("export")) == 1
