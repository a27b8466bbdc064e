"""Fair queues: tenants take turns, within their limits, whatever becomes of their jobs and of the pools."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from asyncwork import (
    Client,
    EnqueueManyError,
    HandlerError,
    Job,
    JobQuery,
    QueueFull,
    Rate,
    Snooze,
    Task,
    Unique,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork._jobs.tenants import tenant_text
from asyncwork._redis.commands import CommandBatch, Fetch, RequeueFront
from asyncwork._redis.fair_listing import in_turns
from asyncwork._redis.fair_queues import FairQueues
from asyncwork._redis.protocol import pack
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.services.tenant_reviewer import TenantReviewer
from asyncwork.cli import main
from asyncwork.testing import open_jobs

from .conftest import LIMIT, Bench, until
from .tuned import QUICK, tuned


def exporting(
    pool: WorkerPool[Any], ran: list[str], gate: asyncio.Event | None = None, **options: Any
) -> Task[..., ..., Any]:
    """A fair job type that notes whose job has run."""

    @pool.job(**{"partition": "tenant", **options})
    async def export(tenant: str, n: int = 0) -> None:
        if gate is not None:
            await gate.wait()
        ran.append(tenant)

    return export


async def quiet(bench: Bench, pool: WorkerPool[Any]) -> None:
    """Have a pool take nothing, also not by a first fetch that is under way."""
    await until(lambda: bench.blocked(pool) == 1)
    await pool.quiet()


async def state_of(bench: Bench, tenant: str, name: str = "export") -> Any:
    state = await FairQueues(bench.in_redis).read(name)
    assert state is not None
    return next((each for each in state.tenants if each.name == tenant), None)


# Turns


async def test_small_tenants_are_through_before_a_large_one(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=5)
    export = exporting(pool, ran)
    async with pool.running():
        pass  # declares the queue
    await bench.enqueuer.enqueue_many([export.call("large", n) for n in range(2000)])
    await bench.enqueuer.enqueue_many([export.call(f"small {n}") for n in range(20) for _ in range(3)])
    async with pool.running():
        await pool.drain()
    assert Counter(ran)["large"] == 2000
    last = max(at for at, tenant in enumerate(ran) if tenant != "large")
    # Three rounds of 21 tenants, and what the first fetches have taken.
    assert last < 200


async def test_a_new_tenant_waits_for_no_more_than_two_rounds_of_a_thousand_tenants(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=10)
    export = exporting(pool, ran)
    async with pool.running():
        pass
    calls = [export.call("large", n) for n in range(100_000)]
    await bench.enqueuer.enqueue_many(calls + [export.call(f"t{n}") for n in range(1000) for _ in range(4)])

    def at_last() -> bool:
        return "new" in ran

    async with pool.running():
        await until(lambda: len(ran) > 500)
        await export.enqueue("new")
        before = len(ran)
        await until(at_last)
        # Those that were taken ahead before it came are as many as a pool may take.
        assert ran.index("new") - before < 2 * 1001 + 1024
        await bench.redis.delete(bench.keys.tenants.list("export", "large"))
        await FairQueues(bench.in_redis).review("export")
        await pool.drain()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("options", [{}, {"partition_concurrency": 1}, {"ordered": True}])
async def test_a_job_that_comes_back_before_it_has_begun_keeps_its_turn(
    bench: Bench, options: dict[str, Any], count: int
) -> None:
    pool = bench.pool()
    export = exporting(pool, [], **options)
    async with pool.running():
        await until(lambda: bench.blocked(pool) == 1)
        await pool.quiet()
        await export.enqueue_many([export.call(f"t{n:02}", number) for n in range(50) for number in range(count)])
        work_queue = WorkQueue(bench.redis_client, bench.keys, "f" * 24)
        queue = work_queue.queue("export", 1)
        queue.fair = pack(*queue.tenant_keys)
        connection = await bench.redis_client.open()
        await connection.load_scripts()

        async def send(batch: CommandBatch) -> Any:
            commands = work_queue.encode.batch(batch)
            (reply,) = await connection.request(commands, len(commands))
            return reply

        async def take(count: int) -> list[bytes]:
            fetch = Fetch([queue], count, 0.0)
            return [
                payload
                for _, payload, _ in work_queue.parse_fetched(await send(CommandBatch(fetch=fetch)), [queue]).jobs
            ]

        try:
            # As a pool does that has looked ahead, and stands still for a moment. The tenants have more jobs, or none.
            taken = await take(20)
            await send(CommandBatch(commands=[RequeueFront(queue, taken)]))
            assert sorted(await take(20)) == sorted(taken)
            await Recovery(bench.in_redis).reap("f" * 24, ["export"], None)
            assert sorted(await take(20)) == sorted(taken)
        finally:
            await Recovery(bench.in_redis).reap("f" * 24, ["export"], None)
            await connection.close()
    async with pool.running():
        await pool.drain()


async def test_nobody_who_comes_again_and_again_is_served_before_those_who_wait(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=1, ahead=False)

    @pool.job(partition="tenant")
    async def export(tenant: str) -> None:
        ran.append(tenant)
        if tenant == "a" and len(ran) < 100:
            await export.enqueue("a")

    async with pool.running():
        pass
    await bench.enqueuer.enqueue_many([export.call("a"), *(export.call("b") for _ in range(10))])
    async with pool.running():
        await pool.drain()
    assert max(at for at, tenant in enumerate(ran) if tenant == "b") < 25


async def test_a_weight_of_three_gives_three_turns(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=1, ahead=False)
    export = exporting(pool, ran)
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await client.set_partition("export", "heavy", weight=3)
        await client.set_partition("export", "light", weight=0.5)
    for tenant in ("heavy", "normal", "light"):
        await bench.enqueuer.enqueue_many([export.call(tenant) for _ in range(60)])
    async with pool.running():
        await pool.drain()
    counts = Counter(ran[:45])
    assert counts == {
        "heavy": pytest.approx(30, abs=3),
        "normal": pytest.approx(10, abs=3),
        "light": pytest.approx(5, abs=2),
    }


async def test_an_idle_pool_is_woken_at_once(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=4)
    export = exporting(pool, ran)
    times = []
    async with pool.running():
        for n in range(20):
            await until(lambda: bench.blocked(pool) == 1)
            began = time.monotonic()
            await export.enqueue(f"t{n}")
            await until(lambda n=n: len(ran) == n + 1)
            times.append(time.monotonic() - began)
    # Far less than the time after which a pop of the bell looks by itself; the median is some milliseconds.
    assert sorted(times)[10] < 0.1


def test_jobs_are_listed_in_turns() -> None:
    lengths = [3, 1, 5]
    order = [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (2, 2), (2, 3), (2, 4)]
    for start in range(11):
        for count in range(11):
            assert in_turns(lengths, start, count) == order[start : start + count]
    assert in_turns([], 0, 5) == []


# Limits


async def test_no_more_jobs_of_a_tenant_run_than_may(bench: Bench) -> None:
    running, most, pools = Counter[str](), Counter[str](), [bench.pool(concurrency=10) for _ in range(2)]
    tasks = []
    for pool in pools:

        @pool.job(partition="tenant", partition_concurrency=2)
        async def export(tenant: str) -> None:
            running[tenant] += 1
            most[tenant] = max(most[tenant], running[tenant])
            await asyncio.sleep(0.001)
            running[tenant] -= 1

        tasks.append(export)
    async with pools[0].running(), pools[1].running():
        await tasks[0].enqueue_many([tasks[0].call(f"t{n % 5}") for n in range(300)])
        await pools[0].drain()
        await pools[1].drain()
        await until(lambda: not running.total())
    assert most == dict.fromkeys((f"t{n}" for n in range(5)), 2)


async def test_limits_and_pauses_of_a_tenant_are_changed_while_pools_run(bench: Bench) -> None:
    ran: list[str] = []
    gate = asyncio.Event()
    pool = bench.pool(concurrency=10)
    export = exporting(pool, ran, gate, partition_concurrency=1)
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await export.enqueue_many([export.call("acme") for _ in range(9)])

        async def runs(count: int) -> None:
            await until(lambda: _is_running(bench, count))

        await runs(1)
        await client.set_partition("export", "acme", concurrency=3)
        await runs(3)
        await client.pause_partition("export", "acme")
        gate.set()
        await until(lambda: len(ran) == 3)
        await runs(0)
        found = await client.tenants("export")
        (tenant,) = found.tenants
        assert (tenant.name, tenant.waiting, tenant.running, tenant.paused, tenant.held) == ("acme", 6, 0, True, True)
        assert (found.concurrency, tenant.concurrency, tenant.weight) == (1, 3, 1.0)
        assert "paused" in await client.waiting_reason((await client.jobs("queue:export")).jobs[0].id)
        await client.unpause_partition("export", "acme")
        await until(lambda: len(ran) == 9)
        await client.set_partition("export", "acme", concurrency="default")
        await until(lambda: _is_running(bench, 0))
        assert (await client.tenants("export")).tenants == []


async def _is_running(bench: Bench, count: int, tenant: str = "acme") -> bool:
    state = await state_of(bench, tenant)
    return (0 if state is None else state.running) == count


async def test_a_tenant_may_have_only_so_many_waiting_jobs(bench: Bench) -> None:
    pool = bench.pool()
    export = exporting(pool, [], partition_max=3)
    async with pool.running():
        await quiet(bench, pool)
        await export.enqueue_many([export.call("acme") for _ in range(3)])
        with pytest.raises(
            QueueFull, match="queue export is full for tenant 'acme': 3 jobs wait, and at most 3 may"
        ) as full:
            await export.enqueue("acme")
        error = full.value
        assert (error.name, error.waiting, error.limit, error.partition) == ("export", 3, 3, "acme")
        with pytest.raises(QueueFull):
            await export.options(unique=True).enqueue("acme", 5)
        with pytest.raises(QueueFull):
            await asyncio.to_thread(_enqueue_blocking, export)
        with pytest.raises(QueueFull):
            await bench.enqueuer.enqueue("export", {"tenant": "acme"}, partition="acme", front=True)
        await export.options(unique=True).enqueue("other", 5)
        # All or none of those that are sent at once.
        with pytest.raises(EnqueueManyError) as failed:
            await export.enqueue_many([export.call("new") for _ in range(4)])
        assert isinstance(failed.value.__cause__, QueueFull)
        assert (len(failed.value.written), len(failed.value.unwritten)) == (0, 4)
        # What is scheduled is not refused when it is due.
        await export.options(delay=1000).enqueue("acme")
        assert (await state_of(bench, "acme")).waiting == 3
    async with pool.running():
        await pool.drain()
    await bench.redis.delete(bench.keys.scheduled)


def _enqueue_blocking(task: Task[..., ..., Any]) -> None:
    try:
        task.sync.enqueue("acme")
    finally:
        task._source.sync_enqueuer.close()


async def test_a_rate_holds_for_all_tenants_together(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=10)
    export = exporting(pool, ran, rate=Rate(20, per=1, burst=2), partition_concurrency=1)
    async with pool.running():
        began = time.monotonic()
        await export.enqueue_many([export.call(f"t{n % 2}") for n in range(12)])
        await pool.drain()
    assert time.monotonic() - began >= 9 / 20
    assert Counter(ran) == {"t0": 6, "t1": 6}


async def test_a_job_of_a_tenant_is_unique_until_it_has_ended(bench: Bench) -> None:
    ran: list[str] = []
    pool, gate = bench.pool(concurrency=10), asyncio.Event()
    export = exporting(pool, ran, gate, unique=Unique(by=("tenant",), until="done", conflict="after"))
    async with pool.running():
        first = await export.enqueue("a", 1)
        await until(lambda: _is_running(bench, 1, "a"))
        second = await export.enqueue("a", 2)
        third = await export.enqueue("a", 3)
        assert (first.duplicate, second.id) == (False, third.id)
        gate.set()
        await until(lambda: len(ran) == 2)
        await pool.drain()


# Ordered jobs


async def test_ordered_jobs_run_one_after_the_other_and_wait_for_a_retry(bench: Bench) -> None:
    ran: list[tuple[str, int]] = []
    failed = set[tuple[str, int]]()
    pool = bench.pool(concurrency=10)

    @pool.job(partition="tenant", ordered=True, backoff=lambda job: 0)
    async def export(tenant: str, n: int) -> None:
        await asyncio.sleep(0)
        if n % 3 == 1 and (tenant, n) not in failed:
            failed.add((tenant, n))
            raise ValueError(n)
        if n == 5 and (tenant, n) not in failed:
            failed.add((tenant, n))
            raise Snooze(0)
        ran.append((tenant, n))

    async with pool.running():
        await export.enqueue_many([export.call(tenant, n) for n in range(6) for tenant in ("a", "b", "c")])
        await until(lambda: len(ran) == 18)
    for tenant in ("a", "b", "c"):
        assert [n for each, n in ran if each == tenant] == list(range(6))


async def test_an_ordered_job_that_sleeps_or_waits_for_an_event_keeps_those_behind_it_waiting(bench: Bench) -> None:
    pool, order = bench.pool(concurrency=4), list[tuple[str, int]]()

    @pool.job(partition="tenant", ordered=True)
    async def work(job: Job, tenant: str, n: int) -> None:
        if n == 1:
            await job.step("one", order.append, (tenant, 10))
            await job.sleep("pause", 1.1)
            await job.step("two", order.append, (tenant, 11))
            await job.event("early", timeout=LIMIT)
            await job.event("go on", timeout=LIMIT)
        order.append((tenant, n))

    async with Client(bench.url, namespace=bench.namespace) as client:
        jobs = [await work.enqueue(tenant, n) for tenant in ("ada", "bob") for n in range(4)]
        waiting, cancelled = jobs[1], jobs[5]
        assert await client.signal(waiting.id, "early")
        async with pool.running():
            await until(lambda: _waits_for_event(client, waiting.id))
            await until(lambda: _waits_for_event(client, cancelled.id))
            assert order.count(("ada", 0)) == order.count(("bob", 11)) == 1
            assert not {("ada", 2), ("bob", 2)} & set(order)
            assert await client.signal(waiting.id, "go on")
            await client.cancel(cancelled.id)
            await until(lambda: len(order) == 11)
            assert await bench.audit(running=True) == []
    assert [n for tenant, n in order if tenant == "ada"] == [0, 10, 11, 1, 2, 3]
    assert [n for tenant, n in order if tenant == "bob"] == [0, 10, 11, 2, 3]


async def _waits_for_event(client: Client, job_id: str) -> bool:
    steps = (await client.status(job_id)).steps
    return any(step.kind == "event" and step.state == "waits" for step in steps)


async def test_an_ordered_job_that_is_dead_or_deleted_keeps_nobody_waiting(bench: Bench) -> None:
    ran: list[int] = []
    pool = bench.pool(concurrency=10)

    @pool.job(partition="tenant", ordered=True, max_fails=2, backoff=lambda job: 0 if job.arg("n", int) == 0 else 900)
    async def export(tenant: str, n: int) -> None:
        if n < 2:
            raise ValueError(n)
        ran.append(n)

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await export.enqueue_many([export.call("a", n) for n in range(4)])
        # The first is dead after its retry, and the second waits for its own.
        await until(lambda: _has(bench, "dead", 1))
        await until(lambda: _has(bench, "retry", 1))
        state = await state_of(bench, "a")
        assert (state.waiting, state.running, state.held) == (2, 0, True)
        ((payload, _),) = await bench.job_set("retry")
        assert state.retry_of == Job.decode(payload).id
        waiting = (await client.jobs("queue:export")).jobs[0]
        assert "retry" in await client.waiting_reason(waiting.id)
        assert ran == []
        (record,) = (await client.jobs("retry")).jobs
        await client.delete("retry", [record.ref])
        await until(lambda: ran == [2, 3])


async def test_ordered_jobs_stay_in_order_where_one_sleeps_or_its_event_is_early(bench: Bench) -> None:
    ran: list[str] = []
    pool, early = bench.pool(concurrency=10), asyncio.Event()

    @pool.job(partition="tenant", ordered=True)
    async def export(job: Job, tenant: str, n: int) -> None:
        if n == 0 and tenant == "sleeps":
            await job.sleep("a while", timedelta(seconds=1))
        if n == 0 and tenant == "early":
            # When the event comes before the job has deferred, the job goes back to its queue at once.
            await early.wait()
        if n == 0 and tenant != "sleeps":
            await job.event("go", str, timeout=timedelta(seconds=1000))
        ran.append(f"{tenant} {n}")

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        first = [await export.enqueue(tenant, 0) for tenant in ("sleeps", "waits", "early")]
        await export.enqueue_many(
            [export.call(tenant, n) for n in range(1, 4) for tenant in ("sleeps", "waits", "early")]
        )
        await until(lambda: _has(bench, "scheduled", 2))
        state = await state_of(bench, "waits")
        assert (state.waiting, state.running, state.held, state.retry_of) == (3, 0, True, first[1].id)
        assert ran == []
        await client.signal(first[1].id, "go", "now")
        await client.signal(first[2].id, "go", "now")
        early.set()
        await until(lambda: len(ran) == 12)
    for tenant in ("sleeps", "waits", "early"):
        assert [each for each in ran if each.startswith(tenant)] == [f"{tenant} {n}" for n in range(4)]


async def test_jobs_that_are_no_longer_ordered_wait_for_no_retry(bench: Bench) -> None:
    ran: list[int] = []
    before, after = bench.pool(), bench.pool()

    @before.job(partition="tenant", ordered=True, backoff=lambda job: 900)
    async def export(tenant: str, n: int) -> None:
        raise ValueError(n)

    @after.job(name := "export", partition="tenant")
    async def unordered(tenant: str, n: int) -> None:
        ran.append(n)

    async with before.running():
        await export.enqueue_many([export.call("a", n) for n in range(2)])
        await until(lambda: _has(bench, "retry", 1))
    async with after.running():
        await until(lambda: ran == [1])
        assert await state_of(bench, "a", name) is None
    await bench.redis.delete(bench.keys.retry)


async def test_a_scheduled_job_that_is_restored_keeps_no_ordered_jobs_waiting(bench: Bench) -> None:
    ran: list[int] = []
    pool = bench.pool()

    @pool.job(partition="tenant", ordered=True)
    async def export(tenant: str, n: int) -> None:
        ran.append(n)

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await export.options(delay=100_000).enqueue("a", 5)
        (record,) = (await client.jobs("scheduled")).jobs
        deleted = await client.delete("scheduled", [record.ref])
        assert await client.restore(deleted.undo) == 1
        await export.enqueue("a", 1)
        await until(lambda: ran == [1])
    await bench.redis.delete(bench.keys.scheduled)


async def _has(bench: Bench, job_set: str, count: int) -> bool:
    return len(await bench.job_set(job_set)) == count


async def test_an_order_for_a_job_that_is_nowhere_is_given_up(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []
    pool = bench.pool()

    @pool.job(partition="tenant", ordered=True, backoff=lambda job: 900)
    async def export(tenant: str, n: int) -> None:
        if n == 0:
            raise ValueError(n)
        ran.append(tenant)

    async with pool.running():
        await export.enqueue_many([export.call("a", n) for n in range(2)])
        await until(lambda: _has(bench, "retry", 1))
        reviewer = TenantReviewer(bench.in_redis, {}, 60.0)
        for _ in range(2):
            await reviewer.review("export")
        assert (await state_of(bench, "a")).held
        # As another program may do.
        await bench.redis.delete(bench.keys.retry)
        caplog.clear()
        for _ in range(2):
            await reviewer.review("export")
        await until(lambda: ran == ["a"])
    assert "repaired the state of fair queue export" in caplog.text


# Other programs, crashes and lost state


async def test_what_other_programs_push_is_served(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=2)
    export = exporting(pool, ran, partition_concurrency=1)
    queue = bench.keys.queue("export")

    def payload(number: int, **fields: str) -> bytes:
        return json.dumps(
            {**fields, "name": "export", "id": f"{number:024x}", "t": 1, "args": {"tenant": "go"}}
        ).encode()

    async with pool.running():
        await until(lambda: bench.blocked(pool) == 1)
        await bench.redis.lpush(queue, payload(1))
        await until(lambda: len(ran) == 1)
        # A job that a Go pool has moved to the plain list has its tenant still.
        await bench.redis.lpush(queue, payload(2, partition="acme"), payload(3))
        await until(lambda: len(ran) == 3)
        await bench.enqueuer.enqueue("export", {"tenant": "by name"})
        await until(lambda: len(ran) == 4)
        await export.enqueue("mine")
        await pool.drain()


@pytest.mark.parametrize("ordered", [False, True])
async def test_limits_hold_for_many_jobs_of_one_tenant_that_others_have_pushed(bench: Bench, ordered: bool) -> None:
    ran: list[int] = []
    running, most = 0, 0
    pool = bench.pool(concurrency=20)
    limit = 0 if ordered else 2

    @pool.job(partition=lambda args: "other", partition_concurrency=limit, ordered=ordered)
    async def export(n: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        ran.append(n)
        running -= 1

    jobs = [
        json.dumps({"name": "export", "id": f"{n:024x}", "t": 1, "args": {"n": n}, "partition": "acme"}).encode()
        for n in range(1500)
    ]
    async with pool.running():
        # More than one step looks at.
        await bench.redis.lpush(bench.keys.queue("export"), *jobs)
        await until(lambda: len(ran) == len(jobs))
    assert most == (limit or 1)
    assert not ordered or ran == list(range(1500))


async def test_a_queue_that_is_not_fair_runs_jobs_with_a_tenant_as_all_others(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool()

    @pool.job
    async def export(job: Job) -> None:
        ran.append(job.partition)

    await bench.enqueuer.enqueue("export", partition="acme")
    await bench.enqueuer.enqueue("export", partition=7, unique=True)
    async with pool.running():
        await pool.drain()
    assert ran == ["acme", "7"]


async def test_jobs_that_waited_before_the_queue_was_fair_get_to_their_tenants(bench: Bench) -> None:
    ran: list[str] = []
    for _ in range(100):
        await bench.enqueuer.enqueue("export", {"tenant": "acme"}, partition="acme")
    pool = bench.pool(concurrency=3)
    export = exporting(pool, ran)
    async with pool.running():
        await export.enqueue("late")
        await pool.drain()
    assert len(ran) == 101


async def test_a_pool_that_knows_of_no_tenants_takes_turns_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    fair, plain = bench.pool(), bench.pool()
    export = exporting(fair, [])
    async with fair.running():
        pass

    @plain.job(name := "export")
    async def other(tenant: str, n: int = 0) -> None:
        ran.append(tenant)

    await bench.enqueuer.enqueue_many([export.call("a"), export.call("b")])
    async with plain.running():
        await plain.drain()
    assert sorted(ran) == ["a", "b"]
    assert f"jobs of {name} are taken in the turns of their tenants" in caplog.text


async def test_what_runs_when_a_pool_dies_is_counted_right(bench: Bench) -> None:
    ran: list[str] = []
    stuck, gate = bench.pool(concurrency=5, grace=0.1), asyncio.Event()
    export = exporting(stuck, ran, gate, partition_concurrency=2)
    await stuck.start()
    await bench.enqueuer.enqueue_many([export.call("acme", n) for n in range(6)])
    await until(lambda: _is_running(bench, 2))
    # Given back at the stop.
    await stuck.stop()
    assert (await state_of(bench, "acme")).waiting == 6
    assert not ran
    pool = bench.pool(concurrency=5)
    exporting(pool, ran, partition_concurrency=2)
    async with pool.running():
        await pool.drain()
    assert len(ran) == 6


async def test_keys_of_another_type_are_replaced(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=2)
    export = exporting(pool, ran, partition_concurrency=1)
    async with pool.running():
        await quiet(bench, pool)
        await export.enqueue_many([export.call(tenant) for tenant in "abcab"])
    keys = bench.keys.tenants.of("export")
    for key, value in zip(keys[2:8], ["ring", "running", "held", "order", "settings", "bell"], strict=True):
        await bench.redis.delete(key)
        await bench.redis.set(key, value)
    await bench.redis.set(bench.keys.tenants.list("export", "d"), "x")
    async with pool.running():
        await FairQueues(bench.in_redis).review("export", tenants="abcd")
        await until(lambda: len(ran) == 5)
    await bench.redis.delete(keys[6], bench.keys.tenants.list("export", "d"))


async def test_lost_options_are_restored(bench: Bench) -> None:
    pool = bench.pool(**tuned(QUICK, orphans=0.1))
    exporting(pool, [], partition_concurrency=2, partition_max=7)
    async with pool.running():
        await bench.redis.delete(bench.keys.tenants.options("export"), bench.keys.fair_queues)
        await until(lambda: bench.redis.get(bench.keys.tenants.options("export")))
    assert await bench.redis.get(bench.keys.tenants.options("export")) == b"2 7 0"
    assert await bench.redis.smembers(bench.keys.fair_queues) == {b"export"}


# What is done to the jobs


async def test_jobs_of_tenants_are_listed_searched_deleted_and_restored(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool()
    export = exporting(pool, ran)
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await quiet(bench, pool)
        jobs = await export.enqueue_many([export.call(f"t{n % 7}", n) for n in range(700)])
        (info,) = await client.queues()
        assert (info.count, info.fair, info.tenants, info.tenants_held) == (700, True, 7, 0)
        page = await client.jobs("queue:export", per_page=14)
        assert page.total == 700
        assert [each.id for each in page.jobs] == [each.id for each in jobs[:14]]
        seen, cursor = [], ""
        while True:
            found = await client.search("queue:export", JobQuery(), limit=100, cursor=cursor)
            seen += [each.id for each in found.jobs]
            if not (cursor := found.cursor):
                break
        assert sorted(seen) == sorted(each.id for each in jobs)
        status = await client.status(jobs[300].id)
        assert status.location == "queue:export"
        assert "its tenant" in await client.waiting_reason(jobs[300].id)
        refs = [each.ref for each in page.jobs[:5]]
        deleted = await client.delete("queue:export", refs)
        assert deleted.done == 5
        assert (await client.queues())[0].count == 695
        assert await client.restore(deleted.undo) == 5
        emptied = await client.empty("export")
        assert (emptied.done, (await client.queues())[0].count) == (700, 0)
        await client.restore(emptied.undo)
        assert (await client.jobs("queue:export", per_page=14)).jobs[0].id == jobs[0].id
    async with Client(bench.url, namespace=bench.namespace) as client:
        with pytest.raises(UsageError, match="jobs of that name wait or run"):
            await client.forget("export")
    async with pool.running():
        await pool.drain()
    assert len(ran) == 700
    async with Client(bench.url, namespace=bench.namespace) as client:
        await client.forget("export")
        with pytest.raises(UsageError, match="has no tenants"):
            await client.tenants("export")
    assert not [key async for key in bench.redis.scan_iter(f"{bench.namespace}:tenants:*")]


async def test_the_terminal_changes_a_tenant_and_says_what_that_does_not_do(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = bench.pool()
    export = exporting(pool, [], partition_concurrency=2)

    @pool.job(partition="tenant", ordered=True)
    async def mail(tenant: str) -> None: ...

    async def run(*words: str) -> str:
        words = ("queues", *words, "--redis", bench.url, "--namespace", bench.namespace)
        code = await asyncio.to_thread(main, words)
        printed = capsys.readouterr()
        return f"{code} {printed.out}{printed.err}".strip()

    async with pool.running():
        await until(lambda: bench.blocked(pool) == 2)
        await pool.quiet()
        await export.enqueue_many([export.call("acme"), export.call("")])
        assert await run("tenant", "export", "acme", "--pause") == "0 tenant acme of queue export is paused"
        named = "0 tenant (none) of queue export has weight 2"
        assert await run("tenant", "export", "", "--weight", "2") == named
        misspelled = "0 tenant acne of queue export is not paused; no job of it waits or runs"
        assert await run("tenant", "export", "acne", "--unpause") == misspelled
        limited = "runs at most 5 jobs at once, over all pools, but ordered jobs one after the other"
        assert limited in await run("tenant", "mail", "a", "--concurrency", "5")
        shown = await run("tenants", "export")
        assert "2 tenants; at most 2 jobs of each tenant at once" in shown
        assert "paused" in shown
        await run("tenant", "export", "acme", "--unpause")
    async with pool.running():
        await pool.drain()


async def test_tenants_are_shown_by_digests_if_arguments_are_redacted(bench: Bench) -> None:
    pool = bench.pool()
    export = exporting(pool, [])
    async with pool.running():
        await quiet(bench, pool)
        await export.enqueue_many([export.call("secret"), export.call("")])
        async with Client(bench.url, namespace=bench.namespace, redact=lambda record: record) as client:
            names = {each.name for each in (await client.tenants("export")).tenants}
            assert "secret" not in names
            (hidden,) = names - {""}
            await client.set_partition("export", hidden, concurrency=5)
            with pytest.raises(UsageError, match="has no tenant tenant:000000000000 now"):
                await client.pause_partition("export", "tenant:000000000000")
            assert "secret" not in repr(await client.search("queue:export", JobQuery(), limit=1))
        assert (await state_of(bench, "secret")).limit == 5
    async with pool.running():
        await pool.drain()


# Enqueueing


@pytest.mark.parametrize(
    ("value", "text"), [("acme", "acme"), (7, "7"), (True, "true"), (1.5, "1.5"), (None, ""), ('ü"\\', 'ü"\\')]
)
def test_a_tenant_is_named_by_text(value: Any, text: str) -> None:
    assert tenant_text(value, "it") == text


@pytest.mark.parametrize(
    "value", [[1], {"a": 1}, b"x", "x" * 201, "ü" * 101, "\ud800", float("nan"), pytest.param(10**5000, id="huge")]
)
def test_what_names_no_tenant_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="it must name a tenant"):
        tenant_text(value, "it")


async def test_the_tenant_of_a_job_is_its_argument_a_functions_value_or_an_option(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool = bench.pool()
    seen: list[tuple[str, str]] = []

    @pool.job(partition="customer")
    async def by_argument(job: Job, customer: int | str | None = None) -> None:
        seen.append((job.name, job.partition))

    @pool.job(partition=lambda args: f"{args['country']}-{args['customer'] % 2}")
    async def by_function(job: Job, country: str, customer: int) -> None:
        seen.append((job.name, job.partition))

    @pool.job(partition=lambda args: args["nothing"])
    async def by_broken(customer: int) -> None: ...

    async with pool.running():
        await by_argument.enqueue(7)
        await by_argument.enqueue('e"f\\ü')
        for _ in range(2):
            await by_argument.enqueue()
        await by_argument.options(partition="other").enqueue(7)
        await by_function.enqueue("de", 7)
        with sync.Enqueuer(bench.url, namespace=bench.namespace) as blocking:
            await asyncio.to_thread(blocking.enqueue, "by_argument", {"customer": 1}, partition=9)
        await pool.drain()
        with pytest.raises(UsageError, match="its partition could not be found: KeyError"):
            by_broken.call(1)
    assert Counter(seen) == {
        ("by_argument", "7"): 1,
        ("by_argument", 'e"f\\ü'): 1,
        ("by_argument", ""): 2,
        ("by_argument", "other"): 1,
        ("by_argument", "9"): 1,
        ("by_function", "de-1"): 1,
    }
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert lines == ["jobs of by_argument without the argument customer share one tenant, which has no name"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition_concurrency": 3}, "partition_concurrency is about tenants"),
        ({"partition_max": 3}, "partition_max is about tenants"),
        ({"ordered": True}, "ordered is about tenants"),
        ({"partition": ""}, "partition must be the name of an argument"),
        ({"partition": 7}, "partition must be the name of an argument"),
        ({"partition": "tenant", "partition_concurrency": -1}, "partition_concurrency must be a whole number"),
        ({"partition": "tenant", "partition_max": 1.5}, "partition_max must be a whole number"),
        ({"partition": "tenant", "ordered": 1}, "ordered must be True or False"),
        ({"partition": "tenant", "ordered": True, "partition_concurrency": 2}, "ordered jobs run one at a time"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    pool = WorkerPool()
    with pytest.raises(UsageError, match=message):
        pool.job(**options)


def test_the_argument_that_names_the_tenant_must_be_there() -> None:
    pool = WorkerPool()
    with pytest.raises(HandlerError, match=r"partition='tennant' must be one of its arguments.* Did you mean 'tenant'"):
        exporting(pool, [], partition="tennant")

    @pool.job(partition="anything")
    async def takes_all(**arguments: object) -> None: ...


@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.set_partition("export", "a", weight=0),
        lambda client: client.set_partition("export", "a", weight=float("nan")),
        lambda client: client.set_partition("export", "a", concurrency=-1),
        lambda client: client.set_partition("export", "x" * 201),
        lambda client: client.set_partition("other", "a", weight=2),
        lambda client: client.pause_partition("other", "a"),
        lambda client: client.tenants("other"),
    ],
)
async def test_changes_that_are_not_valid_are_refused(bench: Bench, change: Callable[[Client], Any]) -> None:
    pool = bench.pool()
    exporting(pool, [])
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        with pytest.raises(UsageError):
            await change(client)


async def test_the_doctor_finds_and_repairs_what_does_not_follow_from_the_jobs(bench: Bench) -> None:
    pool = bench.pool()
    export = exporting(pool, [], partition_concurrency=2)
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await quiet(bench, pool)
        await export.enqueue_many([export.call(tenant) for tenant in ("a", "b", "c", "")])
        await bench.redis.lpush(bench.keys.queue("export"), b"{}")
        assert not [each for each in (await client.diagnose(0)).problems if each.kind == "tenant_drift"]
        _, _, ring, running, held, *_ = bench.keys.tenants.of("export")
        await bench.redis.hset(running, "a", 7)
        await bench.redis.zrem(ring, "b")
        await bench.redis.sadd(held, "d")
        bench.leftovers = []
        assert len([line for line in await bench.audit(running=True) if "tenant" in line]) == 3
        diagnosis = await client.diagnose(0)
        (problem,) = [each for each in diagnosis.problems if each.kind == "tenant_drift"]
        assert problem.text.startswith("the state of 3 tenants of the fair queue export does not fit its jobs")
        lines = [line async for line in client.repair(diagnosis)]
        assert "corrected the state of 3 tenants of the fair queue export" in lines
        assert not (await client.diagnose(0)).repairs.tenants
        await bench.redis.lrem(bench.keys.queue("export"), 1, b"{}")
    async with pool.running():
        await pool.drain()


async def test_the_tests_of_an_application_have_fair_queues_too(redis_url: str) -> None:
    ran: list[str] = []
    pool = WorkerPool(redis_url)
    export = exporting(pool, ran, partition_max=2)
    with open_jobs(pool, redis_url) as jobs:
        for tenant in ("a", "b", "a"):
            await export.enqueue(tenant)
        with pytest.raises(QueueFull):
            await export.enqueue("a")
        jobs.assert_enqueued(export, "b")
        assert len(jobs.enqueued(export)) == 3
        await jobs.drain()
    assert ran == ["a", "b", "a"]
