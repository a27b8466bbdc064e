"""One run of everything that jobs can do and that can be done to them, on any kind of Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

from asyncwork import (
    BatchState,
    CancelResult,
    Client,
    Debounce,
    Discard,
    EnqueueOptions,
    Job,
    JobCall,
    JobQuery,
    JobState,
    NodeState,
    QueueFull,
    Rate,
    RateLimited,
    Snooze,
    Throttle,
    Unique,
    UsageError,
    WorkerPool,
)
from asyncwork._jobs.membership import Member, MemberState
from asyncwork._jobs.periodic_job import PeriodicJob
from asyncwork._redis.batch_store import BatchStore
from asyncwork._redis.cancels import CancelMark, Cancels
from asyncwork._redis.commands import fingerprint
from asyncwork._redis.fair_queues import FairQueues
from asyncwork._redis.flow_store import FlowStore
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork.gocraft import GocraftClient
from asyncwork.schedule import Schedule

from .conftest import LIMIT, Bench, until
from .looking_ahead import look_ahead
from .tuned import QUICK, tuned

# A key's first part in braces decides its slot in a cluster. None of these may be taken for that part.
NAMES = ("wat", "{other}", "{}", "a{b}c:d", "{")
BRACES = {"{elsewhere}": "}{ {}"}

OFTEN = tuned(QUICK, dead_after=2.0, orphans=0.5, revive=0.2, count=0.2, periodic=1.0, horizon=5.0)

WORKER = """
import asyncio, sys
from asyncwork import WorkerPool

pool = WorkerPool(sys.argv[1], namespace=sys.argv[2])

@pool.job
async def killed(n: int):
    print(n, flush=True)
    await asyncio.sleep(60)

async def main():
    async with pool.running():
        await asyncio.sleep(60)

asyncio.run(main())
"""


class Traveller:
    """A namespace, a pool and a client, and what has run."""

    def __init__(self, bench: Bench, client: Client) -> None:
        self.bench = bench
        self.client = client
        self.ran: Counter[str] = Counter()
        self.hold = asyncio.Event()
        self.pool = bench.pool(version_label="v1", **OFTEN)
        self._register(self.pool)

    def _register(self, pool: WorkerPool[Any]) -> None:
        async def plain(job: Job) -> None:
            self.ran[job.name] += 1

        for name in NAMES:
            pool.job(name, priority=3)(plain)

        @pool.job(backoff=lambda job: 0, max_fails=2)
        async def fails(job: Job) -> None:
            self.ran[f"fails {job.fails}"] += 1
            raise ValueError("{sorry}")

        @pool.job(max_concurrency=1)
        async def holds(job: Job) -> None:
            job.checkin("{here}")
            await self.hold.wait()
            self.ran["holds"] += 1

        @pool.job
        async def snoozes(job: Job) -> None:
            self.ran["snoozes"] += 1
            if self.ran["snoozes"] == 1:
                raise Snooze(1)
            raise Discard("{enough}")

        @pool.job("shares{}", limits=[pool.limit("llm", rate=Rate(1000), concurrency=3)])
        async def shares() -> None:
            self.ran["shares"] += 1

        @pool.job("rated{}", rate=Rate(1000))
        async def rated() -> None:
            self.ran["rated"] += 1
            if self.ran["rated"] == 2:
                raise RateLimited(1000)

        @pool.job("speaks{}", stream=60)
        async def speaks(job: Job) -> None:
            job.progress(1, 2, "{half}")
            await job.emit({"{": "}"})

        @pool.job("steps{}")
        async def steps(job: Job) -> None:
            await job.step("{step}", plain, job)
            async for _ in job.cursor(
                "{cursor}", lambda last: [({"{": n}, n) for n in range(2)] if last is None else []
            ):
                pass
            await job.sleep("{sleep}", 1.1)
            assert await job.event("{event}", timeout=LIMIT) == {"{": "}"}

        @pool.job
        async def lasts() -> None:
            self.ran["lasts"] += 1
            try:
                await asyncio.sleep(LIMIT)
            except asyncio.CancelledError:
                self.ran["lasts cancelled"] += 1
                raise

        @pool.job
        async def killed(n: int) -> None:
            self.ran[f"killed {n}"] += 1

        @pool.job("chunked", chunk=3, wait=0.2, max_waiting=3)
        async def chunked(jobs: list[Job]) -> None:
            self.ran["chunked"] += len(jobs)

        @pool.job("kept", result=1000)
        async def kept(text: str) -> str:
            return text

        pool.job("every{second}")(plain)
        pool.periodically("* * * * * *", "every{second}", {"{": "}"})

    async def until_ran(self, what: str, times: int = 1) -> None:
        await until(lambda: self.ran[what] >= times)


async def journey(bench: Bench) -> None:
    """Have everything happen in a namespace, and check that it did; nothing is left to run."""
    await a_worker_is_killed(bench)
    await a_pop_takes_a_token(bench)
    with pytest.MonkeyPatch.context() as patch:
        look_ahead(patch, 3)
        await go(bench)


async def go(bench: Bench) -> None:
    """Have everything happen that needs no process of its own."""
    async with Client(bench.url, namespace=bench.namespace) as client:
        await tenants_take_turns(bench, client)
        traveller = Traveller(bench, client)
        async with traveller.pool.running():
            await jobs_run(traveller)
            await jobs_run_in_chunks(traveller)
            await queues_have_rates(traveller)
            await jobs_emit(traveller)
            await jobs_take_steps(traveller)
            await jobs_fail(traveller)
            await results_are_kept(traveller)
            await batches_end(traveller)
            await flows_end(traveller)
            await keys_are_held(traveller)
            await things_go_wrong(traveller)
            await jobs_are_held_and_observed(traveller)
            await traveller.until_ran("every{second}")
            await periodic_jobs_are_changed(traveller)
            await until(lambda: traveller.ran["killed 1"] and traveller.ran["killed 2"])
            await traveller.pool.drain()
        await job_sets_are_managed(traveller)
        await queues_are_managed(traveller)
        await the_namespace_is_examined(traveller)
        assert (await client.minutes())[-1].processed + (await client.minutes())[-2].processed > 20
        assert (await client.days(1))[0].failed >= 2
        assert [each.name for each in await client.periodic_jobs()] == ["every{second}"]
        assert [each.version_label for each in await client.deployments()] == ["v1"]


async def a_worker_is_killed(bench: Bench) -> None:
    """A process dies in the middle of two jobs."""
    await bench.enqueuer.enqueue_many([("killed", {"n": n}) for n in (1, 2)])
    command = [sys.executable, "-c", WORKER, bench.url, bench.namespace]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert {await process.stdout.readline(), await process.stdout.readline()} == {b"1\n", b"2\n"}
    finally:
        process.kill()
        await process.wait()


async def a_pop_takes_a_token(bench: Bench) -> None:
    """A job of a queue with a rate comes while its pool is idle."""
    pool, ran = bench.pool(), asyncio.Event()

    @pool.job("popped{}", rate=Rate(1000))
    async def popped() -> None:
        ran.set()

    async with pool.running():
        await until(lambda: bench.blocked(pool) == 1)
        await bench.enqueuer.enqueue("popped{}")
        await asyncio.wait_for(ran.wait(), LIMIT)


async def tenants_take_turns(bench: Bench, client: Client) -> None:
    """A queue is fair for a while: its jobs end in all ways, and its tenants are changed."""
    name, gate, pool, ran = "fair{}", asyncio.Event(), bench.pool(grace=0.1), list[str]()

    @pool.job(
        name, partition="tenant", ordered=True, result=60, max_fails=2, backoff=lambda job: 0, partition_rate=Rate(50)
    )
    async def fair(tenant: str, does: str = "") -> None:
        if does == "lasts":
            await gate.wait()
        ran.append(tenant)
        if does == "fails":
            raise ValueError("{sorry}")
        if does == "rests" and ran.count(tenant) == 1:
            raise RateLimited(retry_after=1)

    async def counts() -> tuple[int, int]:
        tenants = (await client.tenants(name)).tenants
        return sum(each.waiting for each in tenants), sum(each.running for each in tenants)

    async def idle() -> bool:
        return await counts() == (0, 0) and not (await client.overview()).sizes.retry

    enqueue_many = bench.enqueuer.enqueue_many
    async with pool.running():
        await enqueue_many([fair.call("{a}"), fair.call("{b}", "fails"), fair.options(unique=True).call("{a}", "x")])
        await fair.enqueue("{r}", "rests")
        await bench.redis.lpush(bench.keys.tenants.list(name, "{c}"), b'{no job,"partition":"{c}"}')
        await FairQueues(bench.in_redis).review(name, tenants=["{c}"])
        await until(idle)
        await client.retry("dead", [each.ref for each in (await client.jobs("dead")).jobs if each.name == name])
        await until(idle)
        await client.pause_partition(name, "{a}")
        await enqueue_many([fair.call("{a}") for _ in range(3)])
        deleted = await client.delete(f"queue:{name}", [(await client.jobs(f"queue:{name}")).jobs[0].ref])
        await client.restore(deleted.undo)
        await client.restore((await client.empty(name)).undo)
        assert await counts() == (3, 0)
        await client.unpause_partition(name, "{a}")
        await enqueue_many([fair.options(delay=1000).call("{d}"), fair.options(delay=0).call("{d}")])
        scheduled = [each.ref for each in (await client.jobs("scheduled")).jobs if each.name == name]
        await client.restore((await client.delete("scheduled", scheduled)).undo)
        await client.delete("scheduled", [(await client.jobs("scheduled")).jobs[0].ref])
        await until(idle)
        await enqueue_many([fair.call("{e}", "lasts")])
        await until(lambda: _is_running(client, name))
    # It went back at the stop.
    assert await counts() == (1, 0)
    await client.empty(name)
    await client.delete_matching("dead", JobQuery())
    await client.delete_matching("quarantine", JobQuery())
    await client.forget(name)
    assert ran.count("{a}") == 5


async def _is_running(client: Client, name: str) -> bool:
    return any(each.running for each in (await client.tenants(name)).tenants)


async def jobs_run(traveller: Traveller) -> None:
    """Jobs of all names are enqueued in all ways."""
    enqueuer = traveller.bench.enqueuer
    for name in NAMES:
        await enqueuer.enqueue(name, BRACES)
        await enqueuer.enqueue(name, BRACES, delay=1)
        await enqueuer.enqueue(name, at=time.time())
        assert not (await enqueuer.enqueue(name, BRACES, delay=1, unique=True)).duplicate
        assert (await enqueuer.enqueue(name, BRACES, delay=1, unique=True)).duplicate
        assert not (await enqueuer.enqueue(name, {"n": 1}, delay=1, unique={"{key}": 1})).duplicate
        assert (await enqueuer.enqueue(name, {"n": 2}, delay=1, unique={"{key}": 1})).duplicate
        await enqueuer.enqueue(name, {"{unique}": name}, unique=True)
        await enqueuer.enqueue(name, BRACES, unique={"}": "{now}"})
    await enqueuer.enqueue_many([(name, BRACES) for name in NAMES])
    for name in NAMES:
        await traveller.until_ran(name, 8)
        assert traveller.ran[name] == 8


async def jobs_run_in_chunks(traveller: Traveller) -> None:
    """Jobs share a call, and a queue that is full takes no more."""
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    await client.pause("chunked")
    for n in range(3):
        await enqueuer.enqueue("chunked", {"n": n}, max_waiting=3, unique=n == 0)
    for unique in (True, False):
        with pytest.raises(QueueFull):
            await enqueuer.enqueue("chunked", {"{": "}"}, max_waiting=3, unique=unique)
    await client.unpause("chunked")
    await traveller.until_ran("chunked", 3)
    await enqueuer.enqueue("chunked")
    await traveller.until_ran("chunked", 4)


async def jobs_emit(traveller: Traveller) -> None:
    """The stream of a job is read until its end."""
    job = await traveller.bench.enqueuer.enqueue("speaks{}")
    items = [each async for each in traveller.client.stream_items(job.id, timeout=LIMIT)]
    assert [(each.chunk, each.end) for each in items] == [({"{": "}"}, ""), (None, "done")]


async def jobs_take_steps(traveller: Traveller) -> None:
    """A job takes steps, sleeps, and waits for an event."""
    job = await traveller.bench.enqueuer.enqueue("steps{}")
    await send_event(traveller, job.id)
    await until(lambda: is_gone(traveller, job.id))
    assert traveller.ran["steps{}"] == 1


async def send_event(traveller: Traveller, job_id: str) -> None:
    async def waits() -> bool:
        steps = (await traveller.client.status(job_id)).steps
        return any(each.kind == "event" and each.state == "waits" for each in steps)

    await until(waits)
    assert await traveller.client.signal(job_id, "{event}", {"{": "}"})


async def is_gone(traveller: Traveller, job_id: str) -> bool:
    return (await traveller.client.status(job_id)).state is JobState.UNKNOWN


async def jobs_fail(traveller: Traveller) -> None:
    """Jobs are tried again, die, are run later, and are dropped."""
    await traveller.bench.enqueuer.enqueue("fails", BRACES)
    await traveller.bench.enqueuer.enqueue("snoozes")
    await traveller.until_ran("fails 1")
    await traveller.until_ran("snoozes", 2)

    async def dead() -> int:
        return (await traveller.client.jobs("dead")).total

    await until(dead)


async def queues_have_rates(traveller: Traveller) -> None:
    """A queue rests, and has another rate, which is forgotten with its name."""
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    for _ in range(2):
        await enqueuer.enqueue("rated{}")

    async def rests() -> bool:
        return any(each.rests_for > 900 for each in await client.queues())

    await until(rests)
    await client.set_rate("rated{}", Rate(5, per=1, burst=2))
    await client.unpause("rated{}")
    await traveller.until_ran("rated", 3)
    await client.set_rate("rated{}", None)
    await enqueuer.enqueue("rated{}")
    await traveller.until_ran("rated", 4)
    await client.reset_rate("rated{}")
    await traveller.bench.redis.sadd(traveller.bench.keys.known_jobs, "gone{}")
    async with client.limit("llm").slot():
        await enqueuer.enqueue("shares{}", cost=2)
        await traveller.until_ran("shares", 1)
    await client.set_limit("llm", rate=Rate(1000), concurrency=3)
    assert [each.name for each in await client.limits()] == ["llm"]
    await client.reset_limit("llm")
    await client.set_rate("gone{}", Rate(1))
    await client.forget("gone{}")


async def results_are_kept(traveller: Traveller) -> None:
    """Results are waited for, also those of jobs that a newer one replaces, or that are deleted."""
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    assert await (await enqueuer.enqueue("kept", {"text": "{1}"})).result(LIMIT) == "{1}"
    for text in ("{older}", "{newer}"):
        job = await enqueuer.enqueue("kept", {"text": text}, unique={"{": 1}, delay=1)
    assert await job.result(LIMIT) == "{newer}"
    await client.pause("kept")
    for delete in (client.empty, lambda name: client.delete_matching(f"queue:{name}")):
        # A blocking pop may have taken the first one, which goes back.
        jobs = [await enqueuer.enqueue("kept", {"text": "x"}) for _ in range(2)]
        await delete("kept")
        assert (await client.status(jobs[1].id)).state is JobState.DELETED
    await client.unpause("kept")


async def batches_end(traveller: Traveller) -> None:
    """Members of batches end in every way, and the batches call back."""
    bench, client, pool, before = traveller.bench, traveller.client, traveller.pool, traveller.ran["{}"]
    async with pool.batch("{nightly}", on_done=("{}", None), on_success=("{}", None), tags=["{"]) as batch:
        await batch.add("{other}")
        await batch.add("kept", {"text": "{member}"})
        await batch.add("steps{}")
        await batch.add(JobCall("{other}", {"{": 1}, EnqueueOptions(unique=True)))
        await batch.add(JobCall("{other}", {"{": 2}, EnqueueOptions(unique=Unique(until="done"))))
        await batch.flush()
        async with batch.add_batch() as inner:
            await inner.add("{other}")
    await send_event(traveller, f"{batch.id}-2")
    await until(lambda: traveller.ran["{}"] == before + 2)
    found = await client.batch(batch.id)
    assert found is not None
    assert (found.state, found.total) == (BatchState.SUCCEEDED, 6)
    await client.pause("fails")
    async with pool.batch() as failing:
        await failing.add("fails")
        for delay in (0, 1000):
            await failing.add(JobCall("lasts", None, EnqueueOptions(delay=1000 + delay)))
        await failing.add("{other}")
    await pool.open_batch(failing.id).add("{other}")
    unreadable = b'{"name":"fails","id":"%b-4",' % failing.id.encode()
    await bench.redis.lpush(bench.keys.queue("fails"), unreadable)
    await bench.redis.hincrby(bench.keys.batch(failing.id)[0], "total", 1)
    await bench.redis.hincrby(bench.keys.batch(failing.id)[0], "left", 1)
    await client.delete_matching("scheduled", JobQuery(name="lasts"))
    await client.unpause("fails")

    async def has_ended() -> bool:
        found = await client.batch(failing.id)
        return found is not None and found.ended

    await until(has_ended)
    await client.pause("{other}")
    async with pool.batch() as cancelled:
        await cancelled.add_many("{other}", [None] * 3)
    assert (await client.batches()).total == 4
    await client.cancel_batch(cancelled.id, seconds=0)
    await client.unpause("{other}")
    await client.pause("fails")
    for delete in (lambda: client.empty("fails"), lambda: client.delete_matching("queue:fails")):
        async with pool.batch() as deleted:
            # A blocking pop may have taken the first one, which goes back.
            await deleted.add_many("fails", [None] * 2)
        await delete()  # type: ignore[no-untyped-call]
    await client.empty("fails")
    await client.unpause("fails")
    assert (await client.batch_failures(failing.id)).total == 2
    # Those of others are counted later on.
    assert (await client.delete_matching("dead", JobQuery(text=failing.id))).done == 1
    assert (await client.delete_matching("quarantine", JobQuery(text=failing.id))).done == 1
    await client.retry_batch(failing.id)
    assert await client.batch_results(batch.id)
    # It has ended already.
    await BatchStore(bench.in_redis).settle([Member(batch.id, 0)], MemberState.FAILED)
    assert (await client.batch_failures(batch.id)).total == 0


async def flows_end(traveller: Traveller) -> None:
    """Nodes of flows run after one another and take results, in more steps than one script takes, and are retried."""
    client, pool = traveller.client, traveller.pool
    flow = pool.flow("{flow}", unique="{unique}", tags=["{"])
    first = flow.add("kept", {"text": "{node}"})
    many = flow.add_many("{other}", [{"{": first.result}] * 600)
    flow.add("{}", after=many, label="{last}")
    flow.add("{}", after=many, when="failure")
    found = await (await flow.start()).wait(LIMIT)
    assert (found.batch.state, found.batch.total) == (BatchState.SUCCEEDED, 603)
    assert (await client.flow_nodes(flow.id, 1, state=NodeState.DONE)).total == 600
    flow = pool.chain(("fails", None), ("{other}", None))
    handle = await flow.start()
    assert (await handle.wait(LIMIT)).batch.state is BatchState.FAILED
    assert (await handle.retry()).done == 1
    assert (await handle.wait(LIMIT)).batch.cancelled == 1
    await client.pause("{other}")
    handle = await pool.chain(("{other}", None), ("{other}", None)).start()
    await handle.cancel("{why}")
    await client.unpause("{other}")
    assert (await handle.wait(LIMIT)).batch.state is BatchState.CANCELLED
    assert (await client.delete_matching("dead", JobQuery(text=flow.id))).done == 1
    # One that is not stuck stays as it is.
    assert await FlowStore(traveller.bench.in_redis).repair(flow.id, [], [], []) == 0


async def keys_are_held(traveller: Traveller) -> None:
    """Jobs are unique until they have ended, debounced and throttled; a key is freed by its job, and by hand."""
    client, enqueuer, name = traveller.client, traveller.bench.enqueuer, "a{b}c:d"
    rule = Unique(by=("{key}",), until="done", conflict="after")
    job = await enqueuer.enqueue(name, {"{key}": 1}, unique=rule, delay=1000)
    assert (await enqueuer.enqueue(name, {"{key}": 1, "}": 2}, unique=rule)).replaced
    assert [each.job_id for each in await client.unique_holders(name)] == [job.id]
    assert await client.free_unique(name, job.id)
    assert await client.cancel(job.id) is CancelResult.NOW
    before = traveller.ran[name]
    await enqueuer.enqueue(name, {"{key}": 1}, unique=rule)
    for n in range(2):
        await enqueuer.enqueue(name, {"{n}": n}, debounce=Debounce(1, by=("{n}",)))
        await enqueuer.enqueue(name, {"{n}": n}, throttle=Throttle(100))
    # The result of this one is kept.
    await enqueuer.enqueue("kept", {"text": "{held}"}, unique=Unique(until="done"))
    await traveller.until_ran(name, before + 5)

    async def is_free() -> bool:
        return not await client.unique_holders()

    await until(is_free)


async def things_go_wrong(traveller: Traveller) -> None:
    """A bad payload is quarantined, a job that a Go pool killed is rescued, and one of a lost reply is found."""
    bench, pool_id = traveller.bench, traveller.pool.id or ""
    await bench.redis.lpush(bench.keys.queue("{other}"), b"{no job}")
    before = traveller.ran["{}"]
    unknown = {"name": "{}", "id": "1" * 24, "t": 1, "args": None, "err": "unknown job when requeueing", "fails": 1}
    await bench.redis.zadd(bench.keys.dead, {json.dumps(unknown).encode(): int(time.time())})
    stray = json.dumps({"name": "{}", "id": "2" * 24, "t": 1, "args": None}).encode()
    await bench.redis.lpush(bench.keys.in_progress("{}", pool_id), stray)
    suspect = json.dumps({"name": "{}", "id": "3" * 24, "t": 1, "args": None}).encode()
    await bench.redis.hset(bench.keys.crashes, fingerprint(suspect), 2)
    await bench.redis.lpush(bench.keys.queue("{}"), suspect)
    # By a schedule that was changed since.
    at = int(time.time()) + 1
    planned = PeriodicJob("every{second}", Schedule.parse("*/1 * * * * *"), b'{"{":"}"}').instance(at)
    await bench.redis.zadd(bench.keys.scheduled, {planned: at})
    await traveller.until_ran("{}", before + 3)

    async def dropped() -> bool:
        return await bench.redis.zscore(bench.keys.scheduled, planned) is None

    await until(dropped)

    async def quarantined() -> int:
        return (await traveller.client.jobs("quarantine")).total

    await until(quarantined)


async def periodic_jobs_are_changed(traveller: Traveller) -> None:
    """A periodic job is paused, run beside its schedule, edited and reset; another is added and removed."""
    client, name = traveller.client, "every{second}"
    (state,) = await client.periodic_jobs()
    await client.pause_periodic(state.key, who="{ada}")
    before = traveller.ran[name]
    await client.run_periodic(state.key)
    await traveller.until_ran(name, before + 1)
    await client.edit_periodic(state.key, spec="*/1 * * * * *", arguments={})
    await client.unpause_periodic(state.key)
    added = await client.add_periodic("* * * * * *", name, {"}": "{"})
    for key in (state.key, added):
        start = (await client.periodic_runs(key, 1))[0].at if await client.periodic_runs(key, 1) else 0

        async def has_run(key: str = key, start: int = start) -> bool:
            return any(each.at > start for each in await client.periodic_runs(key))

        await until(has_run)
    await client.remove_periodic(added)
    await client.reset_periodic(state.key)


async def jobs_are_held_and_observed(traveller: Traveller) -> None:
    """A pause holds, a concurrency limit holds, and running jobs can be observed."""
    assert traveller.pool.id is not None
    assert await PoolRegistry(traveller.bench.in_redis).renew_heartbeat(traveller.pool.id, time.time())
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    await client.unquiet_pool(traveller.pool.id, who="{ada}")
    await client.resize_pool(traveller.pool.id, traveller.pool.concurrency + 1, who="{ada}")
    before = traveller.ran["wat"]
    await client.pause("wat")
    await enqueuer.enqueue("wat")
    for n in range(3):
        await enqueuer.enqueue("holds", {"n": n, **BRACES})
    await until(client.observations)
    (busy,) = await client.observations()
    assert (busy.job_name, busy.checkin) == ("holds", "{here}")

    async def only_one_runs() -> bool:
        queues = {each.name: each for each in (await client.overview()).queues}
        return (queues["holds"].running, queues["holds"].count, queues["wat"].paused) == (1, 2, True)

    # Not at once: a blocking pop may have taken the second, which goes back.
    await until(only_one_runs)
    await considered_dead(traveller)
    assert len((await client.find("holds", seconds=LIMIT)).jobs) == 3
    await cancelled(traveller)
    await client.set_max_concurrency("holds", 2)
    await client.set_max_waiting("chunked", 1)
    await client.set_max_waiting("chunked", None)
    traveller.hold.set()
    await traveller.until_ran("holds", 3)
    assert traveller.ran["wat"] == before
    await client.unpause("wat")
    await traveller.until_ran("wat", before + 1)


async def cancelled(traveller: Traveller) -> None:
    """Jobs are cancelled: one that waits, one that a pool takes when it is marked, and one that runs."""
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    job = await enqueuer.enqueue("wat", BRACES)
    assert await client.cancel(job.id, "{no need}") is CancelResult.NOW
    assert await client.cancel(job.id) is CancelResult.GONE
    await enqueuer.enqueue("lasts", id="own")
    await traveller.until_ran("lasts")
    assert await client.cancel("own") is CancelResult.ASKED
    await until(lambda: traveller.ran["lasts cancelled"])
    await Cancels(traveller.bench.in_redis).mark(["marked"], CancelMark.new("{no need}", ""))
    await traveller.bench.redis.lpush(
        traveller.bench.keys.queue("lasts"), json.dumps({"name": "lasts", "id": "marked", "t": 1, "args": None})
    )

    async def is_dropped() -> bool:
        return not await traveller.bench.redis.exists(traveller.bench.keys.cancels)

    await until(is_dropped)
    assert traveller.ran["lasts"] == 1


async def considered_dead(traveller: Traveller) -> None:
    """A crash is counted against the pool although it lives: it claims what it runs, and the count is taken back."""
    redis, keys, pool_id = traveller.bench.redis, traveller.bench.keys, traveller.pool.id or ""
    await redis.sadd(keys.crashes_of(pool_id), "0" * 40)

    async def claimed() -> bool:
        reaped = await redis.hexists(keys.heartbeat(pool_id), "reaped")
        return not reaped and not await redis.exists(keys.crashes_of(pool_id))

    await until(claimed)


async def job_sets_are_managed(traveller: Traveller) -> None:
    """Dead and scheduled jobs are searched, requeued, deleted, and restored."""
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    (dead,) = (await client.search("dead", JobQuery(name="fails"))).jobs
    assert await client.job("dead", dead.ref) == dead
    assert (await client.error_kinds("dead")).kinds[0].count == 1
    assert (await client.retry("dead", [dead.ref])).done == 1
    for n in range(3):
        await enqueuer.enqueue("{other}", {"{n}": n}, delay=1000, unique=True)
    ours = (await client.search("scheduled", JobQuery(name="{other}"))).jobs
    deleted = await client.delete("scheduled", [ours[0].ref])
    assert (deleted.done, await client.restore(deleted.undo)) == (1, 1)
    assert (await enqueuer.enqueue("{other}", {"{n}": 0}, delay=1000, unique=True)).duplicate
    assert (await client.delete_matching("scheduled", JobQuery(text="{n}"))).done == 3
    assert not (await enqueuer.enqueue("{other}", {"{n}": 0}, delay=1000, unique=True)).duplicate
    assert (await client.retry_matching("scheduled")).done >= 1
    waiting = (await client.jobs("queue:every{second}")).total
    assert waiting == 0 or (await client.empty("every{second}")).done == waiting
    (bad,) = (await client.jobs("quarantine", newest_first=True)).jobs
    assert (await client.delete("quarantine", [bad.ref])).done == 1


async def queues_are_managed(traveller: Traveller) -> None:
    """Waiting jobs are deleted and restored; a name is forgotten."""
    client, enqueuer = traveller.client, traveller.bench.enqueuer
    await enqueuer.enqueue("{other}", BRACES, unique=True)
    jobs = (await client.jobs("queue:{other}")).jobs
    deleted = await client.delete("queue:{other}", [jobs[0].ref])
    assert (deleted.done, await client.restore(deleted.undo)) == (1, 1)
    emptied = await client.empty("{other}")
    assert (emptied.done, await client.restore(emptied.undo)) == (len(jobs), len(jobs))
    with pytest.raises(UsageError, match="jobs of that name wait"):
        await client.forget("{other}")
    assert (await client.empty("{other}")).done == len(jobs)
    assert (await client.empty("fails")).done == 1
    await client.forget("{other}")
    assert "{other}" not in [each.name for each in await client.queues()]
    assert await GocraftClient(client).delete_all_dead_jobs() == 0


async def the_namespace_is_examined(traveller: Traveller) -> None:
    """Problems are found and repaired."""
    client, redis, keys = traveller.client, traveller.bench.redis, traveller.bench.keys
    await redis.set(keys.lock("holds"), 7)
    await redis.set(keys.unique_for("{}", {"{": "}"}), "1", ex=1000)
    for job_id in ("{lost}", "}lost{"):
        await redis.hset(keys.job_record(job_id), f"wait:{keys.ended_channel('nowhere')}", "1")
    diagnosis = await client.diagnose(0.0)
    problems = {"lock_drift", "unclaimed_unique", "lost_waits", "unexpiring"}
    assert problems <= {each.kind for each in diagnosis.problems}
    assert [line async for line in client.repair(diagnosis)]
    assert not problems & {each.kind for each in (await client.diagnose(0.0)).problems}
