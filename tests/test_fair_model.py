"""Fair queues against a plain model: random runs of everything that moves their jobs, with processes that die, commands
that are sent twice, and pools that act on jobs that others have by now. After each step, what Redis holds beside the
jobs must be what follows from them.

The same runs are made each time. With ``ASYNCWORK_FAIR_BLOCKS=40`` in the environment there are more of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncwork._jobs.enqueue_options import EnqueueOptions
from asyncwork._jobs.ids import make_identifier
from asyncwork._jobs.location import JobSet
from asyncwork._redis.commands import (
    AdmitPopped,
    ClaimJobs,
    Collecting,
    CommandBatch,
    DropCancelled,
    Fetch,
    MoveToQuarantine,
    MoveToSet,
    RequeueAndRest,
    RequeueFront,
)
from asyncwork._redis.connection import Connection
from asyncwork._redis.delayed import DelayedJobs
from asyncwork._redis.deletions import Deletions
from asyncwork._redis.fair_queues import FairOptions, FairQueues
from asyncwork._redis.job_end import JobEnd
from asyncwork._redis.located_payload import LocatedPayload
from asyncwork._redis.new_jobs import NewJobs
from asyncwork._redis.protocol import pack
from asyncwork._redis.queue import Queue
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.undo import UndoStore
from asyncwork._redis.work_queue import WorkQueue
from asyncwork.job import Job
from asyncwork.rate import Rate

from .conftest import Bench

NAME = "export"
TENANTS = ("", "a", "b", "c:d", 'e"f', "ü")
RUNS, STEPS = 250, 30
BLOCKS = int(os.environ.get("ASYNCWORK_FAIR_BLOCKS", "4"))
# How many jobs may run at once where the queue has a shared limit.
SHARED = 6
# Seconds between a fetch and the reading of Redis's clock.
MOST_LATE = 0.05


class Pool:
    """What a pool sends, without the pool: so it can die between any two commands, and go on when it is dead."""

    def __init__(self, bench: Bench) -> None:
        self.pool_id = make_identifier()
        self.work_queue = WorkQueue(bench.redis_client, bench.keys, self.pool_id)
        self.queue: Queue = self.work_queue.queue(NAME, 1)
        self.queue.fair = pack(*self.queue.tenant_keys)
        # What it believes that it runs.
        self.jobs: list[bytes] = []


class World:
    """A namespace, some pools, and which jobs should be somewhere."""

    def __init__(self, bench: Bench, connection: Connection, chance: random.Random, options: FairOptions) -> None:
        self.bench, self.connection, self.chance, self.options = bench, connection, chance, options
        self.fair = FairQueues(bench.in_redis)
        self.recovery = Recovery(bench.in_redis)
        self.delayed, self.deletions = DelayedJobs(bench.in_redis), Deletions(bench.in_redis)
        self.undo = UndoStore(bench.in_redis)
        self.pools = [Pool(bench), Pool(bench)]
        self.ids: Counter[str] = Counter()
        self.limits: dict[str, int] = {}
        self.paused: set[str] = set()
        self.uncounted = False
        self.rate = Rate.parse(options.rate) if options.rate else None
        self.rested = False
        # Whether those who enqueue have a limit of how many jobs may wait, which then are counted.
        self.limited = chance.random() < 0.5
        # Whether its jobs have a shared limit, with a concurrency and a rate.
        self.shared = chance.random() < 0.3
        # By tenant, when its jobs were taken, by Redis's clock, seconds.
        self.starts: defaultdict[str, list[float]] = defaultdict(list)
        self.steps: list[str] = []

    async def share(self, *, shared: bool) -> None:
        """Have the jobs of the queue have a shared limit, or no more."""
        redis, keys = self.bench.redis, self.bench.keys
        if not shared:
            await redis.delete(keys.limits)
        elif self.shared:
            await redis.hset(keys.limits, mapping={"code:llm": f"3000/1/6 {SHARED}", f"job:{NAME}": "pool 2 llm"})

    async def send(self, pool: Pool, batch: CommandBatch) -> list[Any]:
        commands = pool.work_queue.encode.batch(batch)
        replies = await self.connection.request(commands, len(commands))
        assert not [reply for reply in replies if isinstance(reply, Exception)], replies
        return replies

    def limit(self, tenant: str) -> int:
        return 1 if self.options.ordered else self.limits.get(tenant, self.options.concurrency)

    # What happens

    async def enqueue(self) -> None:
        new = NewJobs(self.bench.keys, 1_700_000_000)
        for _ in range(self.chance.randint(1, 5)):
            tenant = self.chance.choice(TENANTS)
            options = EnqueueOptions(
                partition=tenant, front=self.chance.random() < 0.1, max_waiting=1000 if self.limited else None
            )
            new.add(NAME, {"n": 1}, options)
        writes = new.writes(range(len(new.jobs)))
        replies = await self.connection.request([each.command for each in writes], len(writes))
        assert not [each for each in replies if isinstance(each, Exception)], replies
        self.ids.update(job.id for job in new.jobs)

    async def push_as_go_does(self) -> None:
        tenant = self.chance.choice(TENANTS)
        # Sometimes more than are read at once.
        for _ in range(70 if self.chance.random() < 0.1 else 1):
            fields: dict[str, Any] = {"name": NAME, "id": make_identifier(), "t": 1, "args": {"partition": "no"}}
            if tenant:
                # As cjson writes it after a move: in any order.
                fields = {"partition": tenant, **fields}
            await self.bench.redis.lpush(self.bench.keys.queue(NAME), json.dumps(fields, separators=(",", ":")))
            self.ids[fields["id"]] += 1

    async def fetch(self) -> None:
        pool = self.chance.choice(self.pools)
        before = await self.running()
        fetch = Fetch([pool.queue], self.chance.randint(1, 8), 0.0)
        rooms = {tenant: self.chance.randint(1, 3) for tenant in TENANTS if self.chance.random() < 0.2}
        others = self.chance.randint(0, 4)
        if self.chance.random() < 0.3:
            fetch.collecting = Collecting(rooms, others)
        if self.shared or self.chance.random() < 0.3:
            fetch.limited, fetch.at_once = {pool.queue}, 8
        (reply,) = await self.send(pool, CommandBatch(fetch=fetch))
        jobs = [payload for _, payload, _ in pool.work_queue.parse_fetched(reply, fetch.queues).jobs]
        taken = Counter(Job.decode(payload).partition for payload in jobs)
        if self.shared and jobs and not self.uncounted:
            assert before.total() + len(jobs) <= SHARED
        if fetch.collecting is not None:
            begun = [tenant for tenant, count in taken.items() if count > rooms.get(tenant, 0)]
            assert not begun or (len(taken) == 1 and taken[begun[0]] <= max(others, rooms.get(begun[0], 0)))
        if not self.uncounted:
            for tenant, count in taken.items():
                assert tenant not in self.paused
                assert not self.limit(tenant) or before[tenant] + count <= self.limit(tenant)
        if self.rate is not None:
            at = await self.bench.in_redis.redis.now()
            for tenant, count in taken.items():
                self.note_starts(self.rate, tenant, count, at)
        if self.chance.random() < 0.9:  # else the reply is lost
            pool.jobs += jobs

    def note_starts(self, rate: Rate, tenant: str, count: int, at: float) -> None:
        """No span of time sees more starts than its tokens, and the burst."""
        starts = self.starts[tenant]
        starts += [at] * count
        for number, since in enumerate(starts):
            assert len(starts) - number <= rate.tokens + rate.count / rate.seconds * (at - since + MOST_LATE), tenant

    async def rest(self) -> None:
        pool = self.chance.choice(self.pools)
        if pool.jobs:
            self.rested = True
            (payload,) = self.some_one(pool)
            await self.send(pool, CommandBatch(commands=[RequeueAndRest(pool.queue, [payload], 0.005)]))

    def some_one(self, pool: Pool) -> list[bytes]:
        return [pool.jobs.pop(self.chance.randrange(len(pool.jobs)))]

    def some(self, pool: Pool) -> list[bytes]:
        count = self.chance.randint(0, len(pool.jobs))
        taken, pool.jobs = pool.jobs[:count], pool.jobs[count:]
        # After a reap, it may have got a job again that it had before.
        return list(dict.fromkeys(taken))

    async def ack(self) -> None:
        pool = self.chance.choice(self.pools)
        done = self.some(pool)
        held = Counter(await self.in_progress(pool))
        batch = CommandBatch(acks={pool.queue: done})
        if self.chance.random() < 0.5:
            ends = [JobEnd(each, Job.decode(each).id, 60, [], b"done", b"export", 1, 1, 1.0, 2.0) for each in done]
            batch = CommandBatch(ends={pool.queue: ends})
        for _ in range(self.chance.choice([1, 1, 2])):
            if done:
                await self.send(pool, batch)
        for each in done:
            self.ids[Job.decode(each).id] -= each in held

    async def end_otherwise(self) -> None:
        pool = self.chance.choice(self.pools)
        held = Counter(await self.in_progress(pool))
        for payload in self.some(pool):
            job = Job.decode(payload)
            command: Any = RequeueFront(pool.queue, [payload])
            match self.chance.randrange(6):
                case 0:
                    job.failed("boom", 5)
                    command = MoveToSet(pool.queue, [payload], JobSet.RETRY, 5, job.payload())
                case 1:
                    command = MoveToSet(pool.queue, [payload], JobSet.SCHEDULED, 5, payload)
                case 2:
                    command = MoveToSet(pool.queue, [payload], JobSet.DEAD, 5, payload)
                case 3:
                    command = DropCancelled(pool.queue, [payload], job.id)
                    self.ids[job.id] -= payload in held
                case 4:
                    command = MoveToQuarantine(pool.queue, [payload], b"{}")
                    self.ids[job.id] -= payload in held
            for _ in range(self.chance.choice([1, 1, 2])):
                await self.send(pool, CommandBatch(commands=[command]))

    async def requeue_due(self) -> None:
        job_set = self.chance.choice(list(JobSet))
        members = [each.payload for each in await self.delayed.page(job_set, 0, self.chance.randint(1, 5))]
        if members:
            await self.delayed.requeue(job_set, [(each, NAME, each) for each in members])

    async def die(self) -> None:
        pool = self.chance.choice(self.pools)
        await self.recovery.reap(pool.pool_id, [NAME], None)
        if self.chance.random() < 0.7:  # else it goes on as if nothing had happened
            self.pools[self.pools.index(pool)] = Pool(self.bench)

    async def claim(self) -> None:
        pool = self.chance.choice(self.pools)
        if pool.jobs:
            (missing,) = await self.send(pool, CommandBatch(commands=[ClaimJobs(pool.queue, pool.jobs, 1)]))
            gone = {number - 1 for number in missing}
            pool.jobs = [each for number, each in enumerate(pool.jobs) if number not in gone]

    async def admit(self) -> None:
        """Ask whether a job may start that was taken, maybe before its tenant was paused or was to rest."""
        pool = self.chance.choice(self.pools)
        if pool.jobs:
            (payload,) = self.some_one(pool)
            resting = await self.resting(payload)
            held = payload in await self.in_progress(pool)
            ((verdict, _, _),) = await self.send(pool, CommandBatch(commands=[AdmitPopped(pool.queue, [payload])]))
            assert (verdict == -1) == (not held)
            if verdict == 1:
                pool.jobs.append(payload)
                assert Job.decode(payload).partition not in self.paused
                assert not await self.resting(payload)
            elif verdict == 0:
                assert resting or Job.decode(payload).partition in self.paused

    async def resting(self, payload: bytes) -> bool:
        tenant = Job.decode(payload).partition
        ends = await self.bench.redis.zscore(self.bench.keys.tenants.rests(NAME), tenant)
        return float(ends or 0) > await self.bench.in_redis.redis.now() * 1_000_000

    async def delete(self) -> None:
        tenant = self.chance.choice(TENANTS)
        waiting = await self.bench.redis.lrange(self.bench.keys.tenants.list(NAME, tenant), 0, -1)
        if waiting and self.chance.random() < 0.5:
            undo = await self.undo.prepare(f"queue:{NAME}")
            await self.deletions.delete(f"queue:{NAME}", [LocatedPayload(waiting[0], None, 0)], undo)
            await self.undo.restore(undo)
        elif waiting:
            await self.deletions.delete(f"queue:{NAME}", [LocatedPayload(waiting[0], None, 0)])
            self.ids[Job.decode(waiting[0]).id] -= 1

    async def delete_delayed(self) -> None:
        job_set = self.chance.choice([JobSet.RETRY, JobSet.SCHEDULED])
        for each in await self.delayed.page(job_set, 0, 1):
            await self.deletions.delete(job_set, [LocatedPayload(each.payload, each.score, 0)])
            self.ids[Job.decode(each.payload).id] -= 1

    async def empty(self) -> None:
        undo = await self.undo.prepare(f"queue:{NAME}")
        await self.deletions.empty_queue(NAME, undo)
        await self.check()
        await self.undo.restore(undo)

    async def change(self) -> None:
        tenant, limit = self.chance.choice(TENANTS), self.chance.randint(0, 3)
        await self.fair.set_tenant(NAME, tenant, limit=str(limit), weight=str(self.chance.choice([1, 3, 0.5])))
        self.limits[tenant] = limit
        paused = self.chance.random() < 0.3
        await self.fair.set_tenant(NAME, tenant, paused=str(int(paused)))
        (self.paused.add if paused else self.paused.discard)(tenant)

    async def reap_as_go_does(self) -> None:
        pool = self.chance.choice(self.pools)
        keys = self.bench.keys
        while await self.bench.redis.rpoplpush(keys.in_progress(NAME, pool.pool_id), keys.queue(NAME)):
            self.uncounted = True
        await self.bench.redis.hset(keys.lock_info(NAME), pool.pool_id, 0)
        await self.recovery.fix_locks()

    async def review(self) -> None:
        wrong = await self.fair.review(NAME)
        assert self.uncounted or not wrong
        self.uncounted = False

    # What must hold

    async def in_progress(self, pool: Pool) -> list[bytes]:
        found: list[bytes] = await self.bench.redis.lrange(self.bench.keys.in_progress(NAME, pool.pool_id), 0, -1)
        return found

    async def running(self) -> Counter[str]:
        found: Counter[str] = Counter()
        async for key in self.bench.redis.scan_iter(f"{self.bench.namespace}:jobs:{NAME}:*:inprogress", count=1000):
            found.update(Job.decode(each).partition for each in await self.bench.redis.lrange(key, 0, -1))
        return found

    async def check(self) -> None:
        redis, keys = self.bench.redis, self.bench.keys
        _, _, ring, running, held, order, _, bell, opens, rests, counted_key, _, _ = keys.tenants.of(NAME)
        waiting = {tenant: await redis.llen(keys.tenants.list(NAME, tenant)) for tenant in TENANTS}
        ringed = {each.decode(): turn for each, turn in await redis.zrange(ring, 0, -1, withscores=True)}
        kept = {each.decode() for each in await redis.smembers(held)}
        counted = {each.decode(): int(count) for each, count in (await redis.hgetall(running)).items()}
        waits = {each.decode() for each in await redis.zrange(opens, 0, -1)}
        resting = {each.decode() for each in await redis.zrange(rests, 0, -1)}
        assert waits <= kept
        assert self.rate or resting or not waits
        orders = {each.decode() for each in await redis.hkeys(order)}
        if not self.uncounted:
            assert counted == dict(await self.running())
        for tenant, count in waiting.items():
            places = (tenant in ringed) + (tenant in kept)
            # Of jobs that others have pushed, the next fetch takes note.
            assert places == bool(count) or tenant == "", (tenant, count, places)
            if self.uncounted or not places or not count:
                continue
            full = 0 < self.limit(tenant) <= counted.get(tenant, 0)
            must_wait = full or tenant in self.paused or tenant in orders
            assert (tenant in kept) == (must_wait or tenant in waits), tenant
            # An ended job helps nobody who has no token, and a token nobody who may not start for another reason.
            assert not (must_wait and tenant in waits), tenant
        if (number := await redis.get(counted_key)) is not None:
            assert int(number) == sum(count for tenant, count in waiting.items() if tenant)
        rung = await redis.llen(bell)
        # After a tenant has begun to wait for a token, the bell wakes one pool, which learns of that; maybe in vain.
        assert rung == 1 if ringed else rung == 0 or (rung == 1 and (self.rate or self.rested))
        if ringed:
            assert max(ringed.values()) - min(ringed.values()) <= 2 + 1e-9

    async def finish(self) -> None:
        """Run all jobs to their ends; nothing is left."""
        await self.review()
        await self.share(shared=False)
        for tenant in TENANTS:
            # The ends of their rests, and their tokens, are waited for.
            await self.fair.set_tenant(NAME, tenant, limit="-", weight="1")
            if tenant in self.paused:
                await self.fair.set_tenant(NAME, tenant, paused="0")
        for pool in self.pools:
            await self.recovery.reap(pool.pool_id, [NAME], None)
        for job_set in JobSet:
            while members := [each.payload for each in await self.delayed.page(job_set, 0, 100)]:
                await self.delayed.requeue(job_set, [(each, NAME, each) for each in members])
        # Retries that were deleted by others are waited for in vain.
        orders = await self.fair.orders(NAME)
        delayed = await self.fair.delayed(set(orders.values()))
        await self.fair.review(NAME, [each for each in orders.items() if each[1] not in delayed])
        # Lost replies: the lists of the dead ones are reaped, too.
        for pool_id, names in (await self.recovery.in_progress_lists()).items():
            await self.recovery.reap(pool_id, names, None)
        pool, ran = Pool(self.bench), Counter[str]()
        while True:
            fetch = Fetch([pool.queue], 50, 0.0)
            (reply,) = await self.send(pool, CommandBatch(fetch=fetch))
            jobs = [payload for _, payload, _ in pool.work_queue.parse_fetched(reply, fetch.queues).jobs]
            if not jobs:
                if not await self.bench.redis.exists(self.bench.keys.tenants.opens(NAME)):
                    break
                await asyncio.sleep(0.002)
                continue
            ran.update(Job.decode(payload).id for payload in jobs)
            await self.send(pool, CommandBatch(acks={pool.queue: jobs}))
        assert ran == +self.ids
        await self.bench.redis.zremrangebyscore(self.bench.keys.tenants.rests(NAME), "-inf", "+inf")
        tokens = f"{self.bench.namespace}:tenants:tokens:".encode()
        left = {key async for key in self.bench.redis.scan_iter(f"{self.bench.namespace}:tenants:*", count=1000)}
        left = {key for key in left if not key.startswith(tokens)}
        keys = self.bench.keys.tenants
        assert left - {keys.waiting(NAME).encode()} == {keys.options(NAME).encode()}


_EVENTS: dict[Callable[[World], Awaitable[None]], int] = {
    World.enqueue: 6,
    World.push_as_go_does: 1,
    World.fetch: 8,
    World.ack: 5,
    World.end_otherwise: 3,
    World.requeue_due: 2,
    World.die: 1,
    World.claim: 1,
    World.admit: 1,
    World.delete: 1,
    World.delete_delayed: 1,
    World.empty: 1,
    World.change: 1,
    World.reap_as_go_does: 1,
    World.review: 1,
    World.rest: 1,
}


@pytest.mark.parametrize("block", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, BLOCKS))])
async def test_what_is_derived_of_a_fair_queue_always_follows_from_its_jobs(bench: Bench, block: int) -> None:
    connection = await bench.redis_client.open()
    await connection.load_scripts()
    try:
        for seed in range(block * RUNS, (block + 1) * RUNS):
            chance = random.Random(seed)
            rate = chance.choice(["", "", "200/1/1", "2000/1/3"])
            options = FairOptions(chance.choice([0, 1, 2, 3]), 0, ordered=seed % 4 == 0, rate=rate)
            world = World(bench, connection, chance, options)
            await world.fair.declare({NAME: options})
            await world.share(shared=True)
            for step in range(STEPS):
                (event,) = chance.choices(list(_EVENTS), list(_EVENTS.values()))
                world.steps.append(event.__name__)
                try:
                    await event(world)
                    await world.check()
                except BaseException as error:
                    error.add_note(f"seed {seed}, step {step}: {' '.join(world.steps)}")
                    raise
            try:
                await world.finish()
            except BaseException as error:
                error.add_note(f"seed {seed}, at the end: {' '.join(world.steps)}")
                raise
            await bench.delete_keys()
    finally:
        await connection.close()
