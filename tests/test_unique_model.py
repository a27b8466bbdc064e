"""Jobs that are unique until they have ended, against a plain model: whatever happens to them in whatever order, Redis
holds what the model says.

Jobs are enqueued, fetched, finished, failed, snoozed, killed, deleted, cancelled, restored, requeued by hand and when
they are due, and put back by pools that stop or crash. After every step each job is where the model has it, with the
arguments that it has there; each key is held by the job that the model says; and no two jobs of a key run at once.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from asyncwork import Client, EnqueuedJob, Unique, UniqueConflictError
from asyncwork._jobs.hold import Hold, read_hold
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.payload import with_time
from asyncwork._redis.commands import Command, CommandBatch, EndHolders, Fetch, MoveToQuarantine, RequeueFront
from asyncwork._redis.delayed import DelayedJobs
from asyncwork._redis.deletions import Deletions
from asyncwork._redis.enqueue_rules import SUCCESSOR_AT
from asyncwork._redis.queue import Queue
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker import outcome
from asyncwork._worker.outcome_record import command_for, record_success
from asyncwork.job import Job
from asyncwork.testing.invariants import find_violations

from .conftest import Bench

NAME = "wat"
POOLS = ("a" * 24, "b" * 24)
# Each key has its own rule.
RULES = [
    Unique(by=("k",), until=until, conflict=conflict)
    for until in ("done", "success")
    for conflict in ("drop", "replace", "raise", "after")
]
STEPS = 1000


@dataclass
class Known:
    """A job as the model has it.

    :ivar place: ``queue``, ``scheduled``, ``retry``, ``dead``, ``parked`` (a successor that waits) or a pool's id.
    :ivar fixed: whether it has begun and failed, so that its arguments are not exchanged any more.
    :ivar later: whether a successor is due only later.
    """

    key: int
    n: int
    place: str
    fixed: bool = False
    later: bool = False


@dataclass
class Model:
    """What there is.

    :ivar jobs: by id.
    :ivar holders: by key, the id of the job that holds it.
    :ivar successors: by key, the id of the job that waits until the holder has ended.
    """

    jobs: dict[str, Known] = field(default_factory=dict)
    holders: dict[int, str] = field(default_factory=dict)
    successors: dict[int, str] = field(default_factory=dict)

    def in_places(self, *places: str) -> list[str]:
        return sorted(job_id for job_id, job in self.jobs.items() if job.place in places)

    def free(self, job_id: str, key: int) -> None:
        """Free the key of a job that has ended."""
        if self.holders.get(key) != job_id:
            if self.successors.get(key) == job_id:
                del self.successors[key]
            return
        del self.holders[key]
        if (after := self.successors.pop(key, None)) is not None:
            self.holders[key] = after
            self.jobs[after].place = "scheduled" if self.jobs[after].later else "queue"

    def end(self, job_id: str) -> Known:
        job = self.jobs.pop(job_id)
        self.free(job_id, job.key)
        return job

    def die(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.place = "dead"
        if RULES[job.key].until == "done":
            self.free(job_id, job.key)

    def may_take(self, job_id: str, key: int) -> bool:
        return self.holders.setdefault(key, job_id) == job_id


class _Sent:
    """Takes the commands of a worker."""

    def __init__(self) -> None:
        self.command: Command | None = None

    def finish(self, command: Command) -> None:
        self.command = command

    def end_holder(self, queue: Queue, payload: bytes, hold: Hold) -> None:
        self.command = EndHolders(queue, [payload], [hold])


class Machine:
    """Does one thing after another, to Redis and to the model."""

    def __init__(self, bench: Bench, client: Client, seed: int) -> None:
        self.bench, self.client, self.rng, self.model = bench, client, random.Random(seed), Model()
        self.delayed, self.deleter = DelayedJobs(bench.in_redis), Deletions(bench.in_redis)
        self.work_queues = {pool: WorkQueue(bench.redis_client, bench.keys, pool) for pool in POOLS}
        self.queues: dict[str, Queue] = {pool: each.queue(NAME, 1) for pool, each in self.work_queues.items()}
        self.numbers = itertools.count(1)
        self.deletions: list[tuple[str, dict[str, Known]]] = []
        self.did: Counter[str] = Counter()

    async def step(self) -> None:
        actions = {
            "enqueue": 10, "fetch": 6, "finish": 3, "fail": 2, "kill": 2, "snooze": 1, "stop": 1, "crash": 1,
            "due": 4, "delete": 2, "restore": 2, "retry": 3, "cancel": 1, "quarantine": 1, "empty": 0.4,
            "clear_dead": 0.3,
        }  # fmt: skip
        (name,) = self.rng.choices(list(actions), list(actions.values()))
        if await getattr(self, name)():
            self.did[name] += 1
            await self.compare()

    def pick(self, *places: str) -> str | None:
        found = self.model.in_places(*places)
        return self.rng.choice(found) if found else None

    async def payload_of(self, job_id: str) -> bytes:
        return (await self.found())[job_id][1]

    async def order(self, pool: str, command: Command) -> Any:
        (reply,) = await self.work_queues[pool].send_pooled(CommandBatch(commands=[command]))
        assert not isinstance(reply, Exception), reply
        return reply

    # What users do

    async def enqueue(self) -> bool:
        key, n, model = self.rng.randrange(len(RULES)), next(self.numbers), self.model
        rule, later = RULES[key], self.rng.random() < 0.2
        holder, successor = model.holders.get(key), model.successors.get(key)
        enqueue, args = self.bench.enqueuer.enqueue, {"k": key, "n": n}
        delay = 1000 if later else None
        if holder is not None and rule.conflict == "raise":
            with pytest.raises(UniqueConflictError, match=f"job {holder} holds its key") as raised:
                await enqueue(NAME, args, unique=rule, delay=delay)
            assert (raised.value.holder_id, raised.value.name) == (holder, NAME)
            return True
        job: EnqueuedJob = await enqueue(NAME, args, unique=rule, delay=delay)
        if holder is None:
            assert not job.duplicate
            model.jobs[job.id] = Known(key, n, "scheduled" if later else "queue")
            model.holders[key] = job.id
            return True
        held = model.jobs[holder]
        exchangeable = held.place in ("queue", "scheduled") and not held.fixed
        if rule.conflict in ("replace", "after") and exchangeable:
            assert (job.id, job.duplicate, job.replaced) == (holder, True, True)
            held.n = n
        elif rule.conflict == "after" and successor is not None:
            assert (job.id, job.duplicate, job.replaced) == (successor, True, True)
            model.jobs[successor].n, model.jobs[successor].later = n, later
        elif rule.conflict == "after":
            assert not job.duplicate
            model.jobs[job.id], model.successors[key] = Known(key, n, "parked", later=later), job.id
        else:
            assert (job.id, job.duplicate, job.replaced) == (holder, True, False)
        return True

    async def retry(self) -> bool:
        """Requeue by hand, also what waits for the end of another."""
        if (job_id := self.pick("dead", "scheduled", "parked", "retry")) is None:
            return False
        job = self.model.jobs[job_id]
        location = "scheduled" if job.place == "parked" else job.place
        (ref,) = [each.ref for each in (await self.client.jobs(location, per_page=200)).jobs if each.id == job_id]
        if self.model.may_take(job_id, job.key):
            assert (await self.client.retry(location, [ref])).done == 1
            job.place, job.fixed = "queue", False
        else:
            with pytest.raises(UniqueConflictError, match="holds its key") as raised:
                await self.client.retry(location, [ref])
            assert raised.value.holder_id == self.model.holders[job.key]
        return True

    async def delete(self) -> bool:
        if (job_id := self.pick("dead", "scheduled", "parked", "retry", "queue")) is None:
            return False
        job = self.model.jobs[job_id]
        places = {"parked": "scheduled", "queue": f"queue:{NAME}"}
        location = places.get(job.place, job.place)
        (ref,) = [each.ref for each in (await self.client.jobs(location, per_page=200)).jobs if each.id == job_id]
        result = await self.client.delete(location, [ref])
        assert result.done == 1
        self.deletions.append((result.undo, {job_id: self.model.end(job_id)}))
        return True

    async def restore(self) -> bool:
        if not self.deletions:
            return False
        undo, deleted = self.deletions.pop(self.rng.randrange(len(self.deletions)))
        restored = 0
        for job_id, job in deleted.items():
            holds = job.place != "dead" or RULES[job.key].until == "success"
            may = not holds or self.model.may_take(job_id, job.key)
            if job.place == "parked":
                if may:
                    job.place = "scheduled"
                else:
                    may = self.model.successors.setdefault(job.key, job_id) == job_id
            if may:
                self.model.jobs[job_id] = job
                job.fixed = job.later = False
                restored += 1
        assert await self.client.restore(undo) == restored
        return True

    async def cancel(self) -> bool:
        if (job_id := self.pick("scheduled", "parked", "retry", "queue")) is None:
            return False
        assert (await self.client.cancel(job_id)).value == "now"
        self.model.end(job_id)
        return True

    async def empty(self) -> bool:
        waiting = self.model.in_places("queue")
        if not waiting:
            return False
        result = await self.client.empty(NAME)
        assert result.done == len(waiting)
        self.deletions.append((result.undo, {job_id: self.model.end(job_id) for job_id in waiting}))
        return True

    async def clear_dead(self) -> bool:
        dead = self.model.in_places("dead")
        assert await self.deleter.delete_all(JobSet.DEAD) == len(dead)
        for job_id in dead:
            self.model.end(job_id)
        return bool(dead)

    # What pools do

    async def fetch(self) -> bool:
        pool = self.rng.choice(POOLS)
        queue = self.queues[pool]
        (reply,) = await self.work_queues[pool].send_pooled(CommandBatch(fetch=Fetch([queue], 1, 0.0)))
        for _, payload, _ in self.work_queues[pool].parse_fetched(reply, [queue]).jobs:
            job = self.model.jobs[Job.decode(payload).id]
            assert job.place == "queue"
            assert not [each for each in self.model.jobs.values() if each.key == job.key and each.place in POOLS]
            job.place = pool
            return True
        return False

    async def ended(self, decided: outcome.Outcome, *, failed: bool = False) -> str | None:
        """Have a pool record how an attempt has ended, twice, as when a reply was lost; return the job's id."""
        if (job_id := self.pick(*POOLS)) is None:
            return None
        pool, payload = self.model.jobs[job_id].place, await self.payload_of(job_id)
        job = Job.decode(payload)
        if failed:
            job.failed("ohno", 1)
        sent = _Sent()
        if isinstance(decided, outcome.Done):
            record_success(sent, self.queues[pool], payload, None)  # type: ignore[arg-type]
            command = sent.command
        else:
            command = command_for(self.queues[pool], payload, job, decided)
        assert command is not None
        assert await self.order(pool, command) == 1
        assert await self.order(pool, command) == 0
        return job_id

    async def finish(self) -> bool:
        done: list[outcome.Outcome] = [outcome.Done(), outcome.Drop("no", failed=False), outcome.Expired(1.0)]
        if (job_id := await self.ended(self.rng.choice(done))) is not None:
            self.model.end(job_id)
        return job_id is not None

    async def fail(self) -> bool:
        if (job_id := await self.ended(outcome.RetryAt(1), failed=True)) is not None:
            self.model.jobs[job_id].place, self.model.jobs[job_id].fixed = "retry", True
        return job_id is not None

    async def kill(self) -> bool:
        if (job_id := await self.ended(outcome.Dead(1), failed=True)) is not None:
            self.model.jobs[job_id].fixed = True
            self.model.die(job_id)
        return job_id is not None

    async def snooze(self) -> bool:
        if (job_id := await self.ended(outcome.RunAt(2))) is not None:
            self.model.jobs[job_id].place = "scheduled"
        return job_id is not None

    async def quarantine(self) -> bool:
        if (job_id := self.pick(*POOLS)) is None:
            return False
        pool, payload = self.model.jobs[job_id].place, await self.payload_of(job_id)
        frees = read_hold(payload)
        command = MoveToQuarantine(self.queues[pool], [payload], entry=b"{}", frees=frees)
        assert [await self.order(pool, command) for _ in range(2)] == [1, 0]
        self.model.end(job_id)
        return True

    async def stop(self) -> bool:
        if (job_id := self.pick(*POOLS)) is None:
            return False
        pool, payload = self.model.jobs[job_id].place, await self.payload_of(job_id)
        await self.order(pool, RequeueFront(self.queues[pool], [payload]))
        self.model.jobs[job_id].place = "queue"
        return True

    async def crash(self) -> bool:
        pool = self.rng.choice(POOLS)
        cut_off = self.model.in_places(pool)
        await Recovery(self.bench.in_redis).recover(pool, [NAME], b"")
        for job_id in cut_off:
            self.model.jobs[job_id].place = "queue"
        return bool(cut_off)

    async def due(self) -> bool:
        """Requeue a job that is due, as a requeuer does."""
        if (job_id := self.pick("retry", "scheduled")) is None:
            return False
        job = self.model.jobs[job_id]
        member = await self.payload_of(job_id)
        job_set = JobSet.RETRY if job.place == "retry" else JobSet.SCHEDULED
        assert (await self.delayed.requeue(job_set, [(member, NAME, with_time(member, 2))])).moved == 1
        job.place, job.fixed = "queue", bool(Job.decode(member).fails)
        return True

    # What there is

    async def found(self) -> dict[str, tuple[str, bytes]]:
        """Return by id where each job is, and its payload."""
        keys, redis = self.bench.keys, self.bench.redis
        places = [("queue", each) for each in await redis.lrange(keys.queue(NAME), 0, -1)]
        for pool in POOLS:
            places += [(pool, each) for each in await redis.lrange(keys.in_progress(NAME, pool), 0, -1)]
        for name in ("retry", "scheduled", "dead"):
            members = await self.bench.job_set(name)
            places += [("parked" if score == SUCCESSOR_AT else name, each) for each, score in members]
        return {Job.decode(payload).id: (place, payload) for place, payload in places}

    async def compare(self) -> None:
        model, found = self.model, await self.found()
        assert {job_id: (place, json.loads(raw)["args"]["n"]) for job_id, (place, raw) in found.items()} == {
            job_id: (job.place, job.n) for job_id, job in model.jobs.items()
        }
        holds = {}
        for key in await self.bench.redis.keys(f"{self.bench.keys.holds}*"):
            job_id, next_id = await self.bench.redis.hmget(key, "id", "next_id")
            holds[model.jobs[job_id.decode()].key] = job_id.decode(), (next_id or b"").decode()
        assert holds == {key: (job_id, model.successors.get(key, "")) for key, job_id in model.holders.items()}


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_a_key_is_held_by_a_job_that_exists(bench: Bench, seed: int) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(bench.url, namespace=bench.namespace))
        machine = Machine(bench, client, seed)
        for number in range(STEPS):
            await machine.step()
            if number % 50 == 0:
                wrong = [each for each in await find_violations(bench.in_redis, running=True) if "pool" not in each]
                assert wrong == []
        assert len(machine.did) >= 15, machine.did
    # Nothing that was left in progress has a pool.
    for pool in POOLS:
        await Recovery(bench.in_redis).recover(pool, [NAME], b"")
