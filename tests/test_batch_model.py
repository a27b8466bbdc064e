"""Batches against a plain model: whatever happens to their members in whatever order, Redis holds what the model says.

Members are added, fetched, ended in every way, ended twice, returned by a reaper, ended by a pool that has lost them,
retried, deleted and cancelled, at random. After each step the counters and the bitmaps of every batch are those of the
model, and each callback was scheduled exactly as often: never, or once.

The same steps are taken at every run. With ``ASYNCWORK_BATCH_SEEDS=2000`` in the environment there are more of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from asyncwork import Batch, Client
from asyncwork._doctor.batch_reader import read_batches
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.membership import Callback, Member, MemberState, callback_id, member_in, member_of
from asyncwork._jobs.quarantine import write_entry
from asyncwork._redis.batch_store import BatchStore
from asyncwork._redis.commands import (
    CommandBatch,
    DropCancelled,
    Fetch,
    FinishJob,
    MemberAck,
    MoveToQuarantine,
    MoveToSet,
)
from asyncwork._redis.delayed import DelayedJobs
from asyncwork._redis.deletions import Deletions
from asyncwork._redis.job_end import JobEnd
from asyncwork._redis.located_payload import LocatedPayload
from asyncwork._redis.member_commands import EndMember
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.services.requeuer import Requeuer
from asyncwork.job import Job

from .conftest import Bench

SEEDS = int(os.environ.get("ASYNCWORK_BATCH_SEEDS", "40"))
STEPS = 60
POOLS = ("a" * 24, "b" * 24)


@dataclass
class ModelBatch:
    """What a batch should be.

    :ivar members: by number: ``left``, ``done``, ``failed`` or ``cancelled``.
    :ivar incomplete: whether it was cancelled while its creator could add members.
    :ivar scheduled: the callbacks that were.
    :ivar parent: its member in another batch.
    :ivar told: whether the parent has to be told of an end.
    """

    open: bool = True
    cancelled: bool = False
    incomplete: bool = False
    members: dict[int, str] = field(default_factory=dict)
    scheduled: set[str] = field(default_factory=set)
    ended: bool = False
    parent: Member | None = None
    told: bool = False

    def counts(self) -> Counter[str]:
        return Counter(self.members.values())

    def settle(self, number: int, state: str) -> None:
        before = self.members[number]
        if before in ("done", state):
            return
        self.members[number] = state
        if state == "failed" and "success" not in self.scheduled:
            self.scheduled.add("failure")
        self.check_end()

    def check_end(self) -> None:
        counts = self.counts()
        if counts["left"] or self.open:
            return
        good = not counts["failed"] and not counts["cancelled"] and not self.incomplete
        self.told = self.told or (self.parent is not None and (good or not self.ended))
        self.ended = True
        self.scheduled.add("done")
        if good:
            self.scheduled.add("success")

    def as_member(self) -> str:
        counts = self.counts()
        return "failed" if counts["failed"] else "cancelled" if counts["cancelled"] or self.incomplete else "done"


class World:
    """A namespace, what it should be, and random steps in it."""

    def __init__(self, bench: Bench, client: Client, seed: int) -> None:
        self.bench = bench
        self.client = client
        self.random = random.Random(seed)
        self.batches: dict[str, ModelBatch] = {}
        self.handles: dict[str, Batch] = {}
        namespace = bench.in_redis
        self.work_queues = {each: WorkQueue(bench.redis_client, bench.keys, each) for each in POOLS}
        self.queues = {each: self.work_queues[each].queue("work", 1) for each in POOLS}
        self.recovery, self.delayed, self.deletions = Recovery(namespace), DelayedJobs(namespace), Deletions(namespace)
        self.requeuer = Requeuer(namespace, JobSet.SCHEDULED, 1.0)
        # What each pool holds, and what it has held before.
        self.held: dict[str, list[bytes]] = {each: [] for each in POOLS}
        self.lost: list[tuple[str, bytes]] = []
        self.steps = (
            *(self.create,) * 2,
            *(self.add, self.close),
            *(self.fetch,) * 5,
            *(self.end,) * 8,
            *(self.end_as_zombie, self.reap, self.retry, self.requeue, self.requeue),
            *(self.delete_waiting, self.delete_dead, self.cancel, self.lose),
        )

    async def step(self) -> None:
        await self.random.choice(self.steps)()

    def callbacks(self) -> dict[str, Any]:
        chosen = [each for each in Callback if self.random.random() < 0.9]
        return {f"on_{each.value}": ("note", None) for each in chosen}

    # Steps

    async def create(self) -> None:
        """Create a batch, which may be a member of another."""
        callbacks, model = self.callbacks(), ModelBatch()
        parent = self.open_batch()
        if parent is not None and self.random.random() < 0.4:
            batch = self.handles[parent].add_batch(**callbacks)
            await batch.__aenter__()
            model.parent = batch._writer.parent
            assert model.parent is not None
            self.batches[parent].members[model.parent.number] = "left"
        else:
            batch = await self.bench.enqueuer.batch(**callbacks).__aenter__()
        self.batches[batch.id], self.handles[batch.id] = model, batch
        await self.add_to(batch.id)
        if self.random.random() < 0.5:
            await batch.flush()
        else:
            await self.close_one(batch.id)

    def open_batch(self) -> str | None:
        found = [each for each, model in self.batches.items() if model.open and not model.cancelled]
        return self.random.choice(found) if found else None

    async def add(self) -> None:
        """Add members from the block of a batch, or from one of its members."""
        if (batch_id := self.open_batch()) is not None:
            await self.add_to(batch_id)
            await self.handles[batch_id].flush()
            return
        unended = [each for each, model in self.batches.items() if model.counts()["left"] and not model.cancelled]
        if unended:
            batch_id = self.random.choice(unended)
            batch, count = self.bench.enqueuer.open_batch(batch_id), self.random.randrange(1, 4)
            await batch.add_many("work", [{"n": number} for number in range(count)])
            self.take_note(batch_id, batch, count)

    async def add_to(self, batch_id: str) -> None:
        batch, count = self.handles[batch_id], self.random.choice([0, 1, 2, 5])
        await batch.add_many("work", [{"n": number} for number in range(count)])
        self.take_note(batch_id, batch, count)

    def take_note(self, batch_id: str, batch: Batch, count: int) -> None:
        last = batch._writer._next
        self.batches[batch_id].members |= dict.fromkeys(range(last - count, last), "left")

    async def close(self) -> None:
        if (batch_id := self.open_batch()) is not None:
            await self.close_one(batch_id)

    async def close_one(self, batch_id: str) -> None:
        await self.handles[batch_id].__aexit__(None, None, None)
        model = self.batches[batch_id]
        model.open, model.incomplete = False, model.incomplete or model.cancelled
        model.check_end()

    async def fetch(self) -> None:
        pool = self.random.choice(POOLS)
        fetch = Fetch([self.queues[pool]], self.random.randrange(1, 6), 0.0)
        ((taken, *_),) = await self.work_queues[pool].send_pooled(CommandBatch(fetch=fetch))
        self.held[pool] += taken[2:]

    async def end(self) -> None:
        """End members that a pool holds, some of them twice, because a reply was lost."""
        pool = self.random.choice(POOLS)
        if not self.held[pool]:
            return
        chosen = self.random.sample(self.held[pool], self.random.randrange(1, min(4, len(self.held[pool])) + 1))
        for payload in chosen:
            self.held[pool].remove(payload)
            self.lost.append((pool, payload))
        how = self.random.choice(
            ["done", "done", "done", "done", "dropped", "dead", "cancelled", "quarantined", "record"]
        )
        await self.send_end(pool, chosen, how)
        if self.random.random() < 0.3:
            await self.send_end(pool, chosen, self.random.choice([how, "done"]))
        for payload in chosen:
            member = member_in(payload)
            assert member is not None
            state = {"done": "done", "record": "done", "cancelled": "cancelled"}.get(how, "failed")
            self.batches[member.batch_id].settle(member.number, state)

    async def end_as_zombie(self) -> None:
        """End members that another pool may have by now."""
        if self.lost:
            pool, payload = self.random.choice(self.lost)
            if payload not in self.held[pool]:
                await self.send_end(pool, [payload], self.random.choice(["done", "dead", "cancelled", "record"]))

    async def send_end(self, pool: str, payloads: list[bytes], how: str) -> None:
        queue, commands, acks = self.queues[pool], [], []
        for payload in payloads:
            job = Job.decode(payload)
            member = member_of(job.id)
            assert member is not None
            end = JobEnd(payload, job.id, 60, [], b"done", b"work", 1)
            state = MemberState.FAILED
            if how in ("done", "dropped"):
                acks.append(MemberAck(payload, member, MemberState.DONE if how == "done" else state))
                continue
            if how == "dead":
                job.failed("no", 1)
                by: Any = MoveToSet(queue, [payload], job_set=JobSet.DEAD, score=1, payload=job.payload())
            elif how == "quarantined":
                by = MoveToQuarantine(queue, [payload], entry=write_entry("work", payload, "x", 1.0))
            elif how == "cancelled":
                by, state = DropCancelled(queue, [payload], job.id), MemberState.CANCELLED
            else:
                by, state = FinishJob(queue, [payload], end), MemberState.DONE
            commands.append(EndMember(queue, [payload], by, member, state))
        batch = CommandBatch(members={queue: acks} if acks else {}, commands=commands)
        await self.work_queues[pool].send_pooled(batch)

    async def reap(self) -> None:
        """Return what a pool holds to the queue."""
        pool = self.random.choice(POOLS)
        await self.recovery.reap(pool, ["work"], None)
        self.lost += [(pool, payload) for payload in self.held[pool]]
        self.held[pool].clear()

    async def retry(self) -> None:
        if self.batches:
            await self.client.retry_batch(self.random.choice(list(self.batches)))

    async def requeue(self) -> None:
        """Do a pass of a requeuer, which also settles the members that are batches."""
        while await self.requeuer.run_once() == 0:
            pass
        while told := [each for each, model in self.batches.items() if model.told]:
            for batch_id in told:
                model = self.batches[batch_id]
                model.told = False
                assert model.parent is not None
                self.batches[model.parent.batch_id].settle(model.parent.number, model.as_member())

    async def delete_waiting(self) -> None:
        waiting = await self.bench.redis.lrange(self.bench.keys.queue("work"), 0, -1)
        if waiting and self.random.random() < 0.5:
            at = self.random.randrange(len(waiting))
            member = member_in(waiting[at])
            assert member is not None
            located = LocatedPayload(waiting[at], None, len(waiting) - 1 - at)
            assert await self.deletions.delete("queue:work", [located]) == 1
            self.batches[member.batch_id].settle(member.number, "cancelled")

    async def delete_dead(self) -> None:
        dead = await self.bench.job_set("dead")
        if dead:
            payload, score = self.random.choice(dead)
            assert await self.deletions.delete("dead", [LocatedPayload(payload, score, 0)]) == 1

    async def cancel(self) -> None:
        """Cancel a batch: what waits is deleted."""
        if self.random.random() < 0.3 and self.batches:
            batch_id = self.random.choice(list(self.batches))
            waiting = list(map(member_in, await self.bench.redis.lrange(self.bench.keys.queue("work"), 0, -1)))
            await self.client.cancel_batch(batch_id)
            self.cancelled(batch_id, [each for each in waiting if each is not None])

    def cancelled(self, batch_id: str, waiting: list[Member]) -> None:
        model = self.batches[batch_id]
        if model.ended:
            return
        model.cancelled = True
        for child, each in self.batches.items():
            if each.parent is not None and each.parent.batch_id == batch_id and not each.ended:
                self.cancelled(child, waiting)
        for number in sorted(each.number for each in waiting if each.batch_id == batch_id):
            model.settle(number, "cancelled")
        if model.open and not model.counts()["left"]:
            model.open, model.incomplete = False, True
            model.check_end()

    async def lose(self) -> None:
        """Lose a waiting member, and have it counted as lost."""
        if self.random.random() < 0.2:
            raw = await self.bench.redis.rpop(self.bench.keys.queue("work"))
            member = None if raw is None else member_in(raw)
            if member is not None:
                await BatchStore(self.bench.in_redis).settle([member], MemberState.FAILED)
                self.batches[member.batch_id].settle(member.number, "failed")

    # Checks

    async def check(self) -> None:
        readings = {each.status.id: each for each in await read_batches(self.bench.in_redis, list(self.batches))}
        called = await self.called()
        for batch_id, model in self.batches.items():
            reading, counts = readings.get(batch_id), model.counts()
            if reading is None:
                # Nothing of it was written yet.
                assert not model.ended
                continue
            status, total = reading.status, len(model.members)
            assert (status.total, status.left, status.failed, status.cancelled, status.ended) == (
                *(total, counts["left"], counts["failed"], counts["cancelled"], model.ended),
            ), batch_id
            assert reading.bits == (total - counts["left"], counts["failed"], counts["cancelled"])
            for callback in Callback:
                # Not all batches have all callbacks.
                times = called[callback_id(batch_id, callback)]
                if callback.value in model.scheduled:
                    assert callback.value not in status.waiting
                    assert times == (f"on_{callback.value}" in self.given(batch_id))
                else:
                    assert times == 0

    def given(self, batch_id: str) -> set[str]:
        options = self.handles[batch_id]._writer._options
        assert options is not None
        return {f"on_{each.value}" for each in options.callbacks}

    async def called(self) -> Counter[str]:
        """How often each callback was scheduled. Nothing fetches them from their queue."""
        due = [raw for raw, _ in await self.bench.job_set("scheduled")]
        queued = await self.bench.redis.lrange(self.bench.keys.queue("note"), 0, -1)
        return Counter(Job.decode(raw).id for raw in (*due, *queued) if Job.decode(raw).name == "note")

    async def finish(self) -> None:
        """End everything; each batch has ended then."""
        for batch_id, model in self.batches.items():
            if model.open:
                if model.cancelled:
                    await BatchStore(self.bench.in_redis).close(batch_id)
                    model.open = False
                    model.check_end()
                else:
                    await self.close_one(batch_id)
        for _ in range(1000):
            await self.fetch()
            await self.end()
            if not any(self.held.values()) and not await self.bench.waiting("work"):
                break
        for _ in range(len(self.batches) + 1):
            await self.requeue()
        for pool in POOLS:
            # Removes its shares of the lock.
            await self.recovery.reap(pool, ["work"], None)
        assert all(model.ended for model in self.batches.values())
        await self.check()
        assert await self.bench.redis.zcard(self.bench.keys.open_batches) == 0
        for batch_id in self.batches:
            for key in self.bench.keys.batch(batch_id):
                assert await self.bench.redis.ttl(key) != -1


@pytest.mark.parametrize("part", range(4))
async def test_batches_are_what_a_plain_model_says(bench: Bench, part: int) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "work", "note")
    async with Client(bench.url, namespace=bench.namespace) as client:
        for seed in range(part, SEEDS, 4):
            world = World(bench, client, seed)
            try:
                for _ in range(STEPS):
                    await world.step()
                    await world.check()
                await world.finish()
            except BaseException as error:
                error.add_note(f"with seed {seed}")
                raise
            assert await bench.audit() == []
            await bench.delete_keys()
            await bench.redis.sadd(bench.keys.known_jobs, "work", "note")
