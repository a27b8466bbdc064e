"""The Lua scripts against a plain model: whatever is done in whatever order, Redis holds what the model says.

After every step everything in the database is compared with the model, so nothing else may have changed; each job
accepted is in one place; the locks say what the lists say. Where a lock was spoilt from outside, the share of each pool
that does something there is right again, and no queue stays closed.

The same steps are taken at every run. With ``ASYNCWORK_MODEL_EXAMPLES=5000`` in the environment it takes others, in so
many examples.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asyncwork._jobs.location import JOB_SETS, JobSet
from asyncwork._jobs.payload import with_time, write_payload
from asyncwork._jobs.periodic_job import PeriodicJob, firing_of, instance_parts
from asyncwork._jobs.quarantine import write_entry
from asyncwork._redis import recovery as recovery_module
from asyncwork._redis import scripts
from asyncwork._redis.cancels import CancelMark, Cancels
from asyncwork._redis.client import RedisClient, run_script
from asyncwork._redis.commands import (
    AdmitPopped,
    BeginLookAhead,
    ClaimJobs,
    ClearCancelMark,
    ClearReaped,
    Command,
    CommandBatch,
    DropCancelled,
    EndLookAhead,
    Fetch,
    FreeUniqueKey,
    MarkSuspect,
    MoveToQuarantine,
    MoveToSet,
    ReadCancelMark,
    RequeueFront,
    fingerprint,
)
from asyncwork._redis.connection import Connection
from asyncwork._redis.delayed import DelayedJobs
from asyncwork._redis.deletions import Deletions
from asyncwork._redis.enqueue_steps import enqueue_many
from asyncwork._redis.job_end import JobEnd
from asyncwork._redis.keys import Keys
from asyncwork._redis.located_payload import LocatedPayload
from asyncwork._redis.namespace import Namespace
from asyncwork._redis.new_jobs import NewJobs
from asyncwork._redis.periodic import PeriodicInstances
from asyncwork._redis.periodic_changes import PeriodicChange, PeriodicChanges
from asyncwork._redis.placement import Placement
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._redis.producer import Producer
from asyncwork._redis.queue_settings import QueueSettings
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.undo import UndoStore
from asyncwork._redis.work_queue import NotOpen, Popped, WorkQueue
from asyncwork.errors import PayloadError
from asyncwork.job import Job
from asyncwork.models.enqueued_job import EnqueuedJob
from asyncwork.models.pools import Heartbeat
from asyncwork.schedule import Schedule

from .model import Held, Model, PoolQueue, fields, unique_key

EXAMPLES = int(os.environ.get("ASYNCWORK_MODEL_EXAMPLES", "0"))

# One begins as the other does, needs escaping in patterns, and is not ASCII.
NAMES = ("wat", "wat:[é]*")
# The queue whose lock is never spoilt.
SOUND = NAMES[0]
POOLS = ("a" * 24, "b" * 24, "c" * 24)
POOL_QUEUES = [(name, pool) for name in NAMES for pool in POOLS]
PERIODIC = [PeriodicJob("wat", Schedule.parse(spec)) for spec in ("* * * * * *", "0 * * * * *")]
# Jobs moved by one call of a script.
STEP = 2
FAR = 4_000_000_000

# Few, so that the same bytes come again.
JOBS = [write_payload("wat", "1", 1, b"null"), write_payload("wat", "2", 1, b'{"n":1.50}')]
NO_JOBS = [b"", b"\xff\0\r\n$1", b'{"name":7}']
PAYLOADS = [*JOBS, *NO_JOBS]


def running(machine: Scripts) -> bool:
    """Whether anything is in progress."""
    return any(machine.model.running.values())


names = st.sampled_from(NAMES)
pools = st.sampled_from(POOLS)
pool_queues = st.sampled_from(POOL_QUEUES)
payloads = st.sampled_from(PAYLOADS)
job_sets = st.sampled_from(JOB_SETS)
times = st.sampled_from([1, 2, 3, FAR])
orders = st.permutations(NAMES) | st.just(NAMES[:1])
# Which of what there is.
picks = st.integers(0, 11)
caps = st.sampled_from([0, 1, 2, 4, 6])
# In few steps, what is not there.
rarely = st.sampled_from([False, False, False, True])
ids = st.sampled_from(["1", "2", "u1", "x"])
unique_args = st.sampled_from([None, {"a": 1}, {"a": '"\b'}])


# The scripts that the model leaves out, because they move no job, or only one that other tests make; and where they are
# tested.
ELSEWHERE = {
    **dict.fromkeys(
        (
            *("ack_members", "close_batch", "delete_members_from_set", "delete_members_from_list"),
            *("drop_cancelled_members", "finish_members", "move_members", "quarantine_members"),
            *("reserve_members", "settle_members", "settle_parent"),
        ),
        "test_batch_model.py",
    ),
    **dict.fromkeys(
        ("add_nodes", "advance_flow", "create_unique_flow", "read_results", "retry_nodes"), "test_flow_model.py"
    ),
    "repair_flow": "test_flow_doctor.py",
    **dict.fromkeys(("cancel_batch", "count_members"), "test_flow_races.py"),
    "free_unique_member": "test_batches.py",
    "end_holder_members": "test_batches.py",
    "finish_steps_members": "test_batches.py",
    "add_counts": "test_metrics.py",
    **dict.fromkeys(
        (
            "enqueue_fair",
            "forget_tenants",
            "list_tenants",
            "open_tenants",
            "read_tenants",
            "review_tenants",
            "set_tenant",
        ),
        "test_fair_model.py, test_fair_queues.py, test_tenant_rates.py",
    ),
    "debounce": "test_unique_modes.py",
    "end_lost": "test_doctor.py",
    "drop_planned": "test_periodic.py",
    "defer": "test_steps.py",
    "emit": "test_streams.py",
    "finish_steps": "test_steps.py",
    "end_holder": "test_unique_model.py",
    "end_holders": "test_unique_model.py",
    "enqueue_holder": "test_unique_model.py",
    "enqueue_limited": "test_max_waiting.py",
    "fix_lock": "test_reaper.py",
    "free_holds": "test_unique_model.py",
    "free_unclaimed": "test_doctor.py",
    "join_reapers": "test_reaper.py",
    "move_cursor": "test_steps.py",
    "read_lock": "test_doctor.py",
    "read_steps": "test_steps.py",
    "rebuild_lock": "test_doctor.py",
    "record_step": "test_steps.py",
    "renew_heartbeat": "test_processes.py",
    "request_state": "test_pool_requests.py",
    "rest_queue": "test_rates.py",
    "run_periodic": "test_periodic_changes.py",
    "take_slot": "test_limits.py",
    "signal": "test_steps.py",
    "throttle": "test_unique_modes.py",
    "watch_jobs": "test_results.py",
    "watch_batches": "test_flows.py",
    "write_observations": "test_lost_state.py",
}

# Damages to a lock from outside: which of its keys is deleted, and what is written there.
SPOILT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "another number": ("lock", ("SET", 7)),
    "negative": ("lock", ("SET", -3)),
    "text": ("lock", ("SET", "many")),
    "a list": ("lock", ("RPUSH", 1)),
    "no lock": ("lock", ()),
    "one share": ("shares", ("HSET", "POOL", 5)),
    "a share as text": ("shares", ("HSET", "POOL", "many")),
    "shares as a string": ("shares", ("SET", "x")),
    "no shares": ("shares", ()),
}

# Everything in the database: key, what it holds, whether it expires.
DUMP = """
local read = {
  string = {'get'}, list = {'lrange', 0, -1}, zset = {'zrange', 0, -1, 'withscores'},
  hash = {'hgetall'}, set = {'smembers'},
}
local found = {}
for _, key in ipairs(redis.call('keys', '*')) do
  local kind = redis.call('type', key).ok
  local command = read[kind]
  local value = redis.call(command[1], key, unpack(command, 2))
  found[#found + 1] = {key, kind, value, redis.call('ttl', key) > 0 and 1 or 0}
end
return found
"""


@dataclass
class Dump:
    """The contents of a database.

    :ivar expiring: the keys that expire.
    """

    held: dict[str, Any] = field(default_factory=dict)
    expiring: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, answer: list[Any]) -> Dump:
        found = cls()
        for raw, kind, value, expires in answer:
            key = raw.decode()
            if kind in (b"hash", b"zset"):
                value = dict(zip(value[::2], value[1::2], strict=True))
            if kind == b"zset":
                value = {member: float(score) for member, score in value.items()}
            found.held[key] = set(value) if kind == b"set" else value
            found.expiring |= {key} if expires else set()
        return found


class Ground:
    """One database of a Redis, and the classes that use it, for one example after another.

    :param database: its number; no other test uses it.
    """

    def __init__(self, url: str, database: int = 9) -> None:
        self.runner = asyncio.Runner()
        self.keys = Keys("model")
        self.redis_client = RedisClient(f"{url.partition('?')[0]}?db={database}", namespace="model")
        self.connection: Connection = self.run(self.redis_client.open())
        self.work_queues = {pool: WorkQueue(self.redis_client, self.keys, pool) for pool in POOLS}
        self.queues = {(name, pool): self.work_queues[pool].queue(name, 1) for name, pool in POOL_QUEUES}
        namespace = Namespace(self.redis_client, self.keys)
        self.producer = Producer(namespace)
        self.registry = PoolRegistry(namespace)
        self.delayed = DelayedJobs(namespace)
        self.instances = PeriodicInstances(namespace)
        self.changes = PeriodicChanges(namespace)
        self.recovery = Recovery(namespace)
        self.settings = QueueSettings(namespace)
        self.deletions = Deletions(namespace)
        self.undo = UndoStore(namespace)
        self.cancels = Cancels(namespace)

    def run(self, request: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(request)

    def ask(self, *command: Any) -> Any:
        async def ask() -> Any:
            return await self.redis_client.client().execute_command(*command)

        return self.run(ask())

    def script(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        async def ask() -> Any:
            return await run_script(self.redis_client.client(), name, keys, args)

        return self.run(ask())

    def send(self, work_queue: WorkQueue, batch: CommandBatch) -> list[Any]:
        commands = work_queue.encode.batch(batch)
        replies: list[Any] = self.run(self.connection.request(commands, len(commands)))
        return replies

    def dump(self) -> Dump:
        # Records of jobs are no part of the model.
        records = self.keys.job_record("").encode()
        return Dump.of([each for each in self.ask("EVAL", DUMP, 0) if not each[0].startswith(records)])

    def close(self) -> None:
        self.ask("FLUSHDB")
        self.run(self.connection.close())
        self.run(self.redis_client.close())
        self.runner.close()


class Scripts(RuleBasedStateMachine):
    """All that may happen to a namespace."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground = ground
        self.keys = ground.keys
        self.model = Model()
        self.before = Dump()
        self.made = self.fetches = 0
        # Queues whose lock was spoilt from outside, and is not right again yet.
        self.spoilt: set[str] = set()
        # Records of jobs that have ended.
        self.ended: set[str] = set()
        ground.ask("FLUSHDB")

    @initialize(
        jobs=st.lists(st.tuples(names, payloads), min_size=3, max_size=8),
        key=unique_args,
        by_key=st.lists(st.booleans(), min_size=1, max_size=2),
        cap=caps,
    )
    def begin(self, jobs: list[tuple[str, bytes]], key: dict[str, Any] | None, by_key: list[bool], cap: int) -> None:
        """Something waits, and something is in progress everywhere."""
        self.set_cap(SOUND, cap)
        for each in by_key:
            self.enqueue_unique(SOUND, key, each, None)
        # The same bytes twice, with others between.
        self.enqueue([*jobs, *jobs])
        for pool in POOLS:
            self.fetch(pool, NAMES, 3, looks_ahead=False)

    # Coming in

    @rule(jobs=st.lists(st.tuples(names, payloads), min_size=1, max_size=4), front=st.booleans())
    def enqueue(self, jobs: list[tuple[str, bytes]], front: bool = False) -> None:
        if len(jobs) == 1 and not front:
            self.ground.run(self.ground.producer.push(*jobs[0]))
        else:
            self.write([(name, payload, Placement(None, "", False, front)) for name, payload in jobs])
        for name, payload in jobs:
            self.model.enqueue(name, payload, front=front)

    @rule(jobs=st.lists(st.tuples(payloads, times), min_size=1, max_size=3))
    def schedule(self, jobs: list[tuple[bytes, int]]) -> None:
        self.write([("wat", payload, Placement(at, "", False, False)) for payload, at in jobs])
        for payload, at in jobs:
            self.model.schedule(payload, at)

    def write(self, jobs: list[tuple[str, bytes, Placement]]) -> list[EnqueuedJob]:
        """Enqueue jobs in one round trip."""
        new = NewJobs(self.keys, 1)
        for name, payload, placement in jobs:
            job_id = str(fields(payload).get("id", ""))
            new.append(EnqueuedJob(name, job_id, None, 1, placement.run_at or 1), payload, placement)
        written: list[EnqueuedJob] = self.ground.run(self.ground.producer.run(enqueue_many(new, "redis://localhost")))
        return written

    @rule(name=names, key=unique_args, by_key=st.booleans(), at=st.none() | times, front=st.booleans())
    def enqueue_unique(
        self, name: str, key: dict[str, Any] | None, by_key: bool, at: int | None, front: bool = False
    ) -> None:
        self.enqueue_under(self.keys.unique_for(name, key), name, by_key, at, front=front and at is None)

    def enqueue_under(self, unique_key: str, name: str, by_key: bool, at: int | None, *, front: bool = False) -> None:
        self.made += 1
        payload = write_payload(name, f"u{self.made}", 1, b'{"n":%d}' % self.made, unique_key)
        new = self.model.hold(unique_key, payload, by_key=by_key)
        if not new:
            self.model.duplicates[f"{'replaced' if by_key else 'dropped'}:{name}"] += 1
        (job,) = self.write([(name, payload, Placement(at, unique_key, by_key, front))])
        assert (job.duplicate, job.id) == (not new, self.model.unique[unique_key].waiting)
        if new and at is None:
            self.model.enqueue(name, payload, front=front)
        elif new and at is not None:
            self.model.schedule(payload, at)

    @rule(name=names, key=unique_args, duplicates_write=st.booleans())
    def hold_as_go_does(self, name: str, key: dict[str, Any] | None, duplicates_write: bool) -> None:
        """Take a unique key as gocraft/work does; its newer versions overwrite one that is held."""
        unique_key = self.keys.unique_for(name, key)
        taken = self.ground.ask("SET", unique_key, 1, "EX", 99, *([] if duplicates_write else ["NX"]))
        if taken:
            self.model.unique[unique_key] = Held()

    # Taking

    @precondition(lambda self: any(self.model.queues.values()))
    @rule(pool=pools, order=orders, wanted=st.integers(1, 4), looks_ahead=st.booleans())
    def fetch(self, pool: str, order: Sequence[str], wanted: int, looks_ahead: bool) -> None:
        at = [(name, pool) for name in order]
        queues = [self.ground.queues[pool_queue] for pool_queue in at]
        work_queue = self.ground.work_queues[pool]
        # By the script for limited queues in every second step. None has a rate, because the model has no clock.
        self.fetches += 1
        rated = frozenset(queues) if self.fetches % 2 else frozenset()
        fetch = Fetch(queues, wanted, 0.0, looks_ahead, limited=rated, at_once=wanted)
        (reply,) = self.ground.send(work_queue, CommandBatch(fetch=fetch))
        fetched = work_queue.parse_fetched(reply, queues)
        assert fetched.paused == (looks_ahead and self.model.crashed is not None)
        taken = Counter(queue.name for queue, _, _ in fetched.jobs)
        expected = self.model.fetch(at, wanted, {name: taken[name] for name in self.spoilt})
        assert [(queue.name, payload) for queue, payload, _ in fetched.jobs] == expected
        assert all(crashes == self.model.crashes_of(payload) for _, payload, crashes in fetched.jobs)
        for name in {*taken} - self.spoilt:
            assert not self.model.caps.get(name) or self.model.admitted(name) <= self.model.caps[name]
        closed = {queue.name for queue in fetched.closed}
        if wanted > len(fetched.jobs):
            # Also those that have reached their limit with these jobs, and hold more.
            left = {name for name in order if self.model.queues[name]}
            assert left - self.spoilt <= closed
        for name in closed - self.model.paused:
            lock, shares = read_locks(self.ground.dump(), self.keys, name)
            assert lock == sum(shares.values()) >= self.model.caps[name] > 0

    @precondition(lambda self: any(self.model.queues.values()))
    @rule(pool=pools, pick=picks, admitted=st.sampled_from(["at once", "later", "when it is gone"]))
    def pop(self, pool: str, pick: int, admitted: str) -> None:
        filled = [name for name in NAMES if self.model.queues[name]]
        pool_queue = filled[pick % len(filled)], pool
        work_queue = self.ground.work_queues[pool]
        commands = work_queue.encode.blocking_pop(self.ground.queues[pool_queue], 1)
        popped = work_queue.parse_popped(self.ground.run(self.ground.connection.request(commands, 2)))
        assert popped is not None
        self.model.pop_by_hand(pool_queue)
        assert popped.waiting == len(self.model.queues[pool_queue[0]])
        remembered = +self.model.crashes or self.model.suspects or self.model.recorded or self.model.cancels
        if pool_queue[0] not in self.spoilt:
            assert popped.admitted == (
                not remembered and not self.model.caps.get(pool_queue[0]) and self.model.may_admit(pool_queue)
            )
        if popped.admitted:
            self.model.admit(pool_queue, popped.payload, admitted=True)
        elif admitted != "later":
            self.admit_one(pool_queue, popped.payload if admitted == "at once" else b"gone")

    @precondition(lambda self: any(self.model.queues.values()))
    @rule(pool=pools, pick=picks)
    def pop_limited(self, pool: str, pick: int) -> None:
        """As from a queue that may have a rate. It has none, because the model has no clock."""
        filled = [name for name in NAMES if self.model.queues[name]]
        pool_queue = filled[pick % len(filled)], pool
        is_counted = self.is_counted(pool_queue)
        self.model.pop_by_hand(pool_queue)
        may_take = self.model.may_admit(pool_queue)
        newest = self.model.running[pool_queue][0]
        popped = self.ask_popped(pool_queue, slice(None))
        if not is_counted:
            assert popped == Popped(newest, admitted=False, waiting=0)
            return
        assert may_take == isinstance(popped, Popped) or pool_queue[0] in self.spoilt
        self.model.admit(pool_queue, newest, admitted=isinstance(popped, Popped))
        if isinstance(popped, Popped):
            assert (popped.payload, popped.has_tokens, popped.opens_in) == (newest, True, None)
            assert popped.waiting == len(self.model.queues[pool_queue[0]])
            assert popped.admitted == (self.model.crashes_of(newest) == 0)
            if not popped.admitted:
                self.admit_one(pool_queue, newest)

    @rule(pool_queue=pool_queues)
    def end_limited_pop(self, pool_queue: PoolQueue) -> None:
        """The time of a pop was over: the script finds no job, but for one that another pop has just taken."""
        if pool_queue[0] in self.spoilt or self.model.popped[pool_queue]:
            return
        before = self.ground.dump()
        assert self.ask_popped(pool_queue, slice(1, None)) is None
        assert self.ground.dump() == before

    def is_counted(self, pool_queue: PoolQueue) -> bool:
        """Whether the share of a pool is written, and says how many jobs it has in progress."""
        shares = self.ground.dump().held.get(self.keys.lock_info(pool_queue[0]), {})
        share = shares.get(pool_queue[1].encode(), b"") if isinstance(shares, dict) else b""
        return share == b"%d" % len(self.model.running[pool_queue])

    def ask_popped(self, pool_queue: PoolQueue, part: slice) -> Popped | NotOpen | None:
        """Return the result of a pop of a queue that may have a rate, or of a part of its commands."""
        work_queue = self.ground.work_queues[pool_queue[1]]
        commands = work_queue.encode.blocking_pop(self.ground.queues[pool_queue], 1, limited=True)[part]
        replies = self.ground.run(self.ground.connection.request(commands, len(commands)))
        try:
            return work_queue.parse_popped([None, *replies][-2:], limited=True)
        except NotOpen as closed:
            return closed

    @precondition(lambda self: any(popped.total() for popped in self.model.popped.values()))
    @rule(pick=picks)
    def admit(self, pick: int) -> None:
        popped = [
            (pool_queue, payload) for pool_queue in POOL_QUEUES for payload in sorted(self.model.popped[pool_queue])
        ]
        pool_queue, payload = popped[pick % len(popped)]
        self.admit_one(pool_queue, payload)

    def admit_one(self, pool_queue: PoolQueue, payload: bytes) -> None:
        verdict, waiting, crashes = self.order(AdmitPopped(self.ground.queues[pool_queue], [payload]))
        if payload not in self.model.running[pool_queue]:
            assert verdict == -1
        else:
            if pool_queue[0] not in self.spoilt:
                assert verdict == self.model.may_admit(pool_queue)
            self.model.admit(pool_queue, payload, admitted=bool(verdict))
            assert crashes == self.model.crashes_of(payload)
        assert waiting == len(self.model.queues[pool_queue[0]])

    def order(self, order: Command) -> Any:
        """Have a pool do something."""
        pool = order.queue.in_progress.decode().split(":")[-2]
        work_queue = self.ground.work_queues[pool]
        (answer,) = self.ground.send(work_queue, CommandBatch(commands=[order]))
        assert not isinstance(answer, Exception)
        return answer

    # Settling

    def one_running(self, pick: int, elsewhere: bool) -> tuple[PoolQueue, bytes]:
        """Return a job in progress with where it is, or with where it might be."""
        running = [(pool_queue, payload) for pool_queue in POOL_QUEUES for payload in self.model.running[pool_queue]]
        pool_queue, payload = running[pick % len(running)]
        if elsewhere:
            pool_queue = pool_queue[0], POOLS[POOLS.index(pool_queue[1]) - 1]
        return pool_queue, payload

    def settle(self, do: Callable[[], Any], pool_queue: PoolQueue, given: Sequence[bytes]) -> Any:
        """Settle jobs; done again to what is no longer there, it changes nothing."""
        answer = do()
        once = self.ground.dump()
        if not {*given} & {*once.held.get(self.keys.in_progress(*pool_queue), ())}:
            do()
            assert self.ground.dump() == once
        return answer

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely, more=st.lists(payloads, max_size=2))
    def ack(self, pick: int, elsewhere: bool, more: list[bytes]) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        given = [payload, *more]
        acks = {self.ground.queues[pool_queue]: given}

        def do() -> Any:
            (answer,) = self.ground.send(self.ground.work_queues[pool_queue[1]], CommandBatch(acks))
            return answer

        assert self.settle(do, pool_queue, given) == self.model.ack(pool_queue, given)

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely, more=st.lists(payloads, max_size=2))
    def finish(self, pick: int, elsewhere: bool, more: list[bytes]) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        given = [payload, *more]
        ends = [JobEnd(each, fingerprint(each).decode(), 99, [], b"done") for each in given]
        self.ended |= {end.job_id for end in ends if end.payload in self.model.running[pool_queue]}

        def do() -> Any:
            batch = CommandBatch(ends={self.ground.queues[pool_queue]: ends})
            (answer,) = self.ground.send(self.ground.work_queues[pool_queue[1]], batch)
            return answer

        ids = [each.job_id for each in ends]
        assert self.settle(do, pool_queue, given) == self.model.finish(pool_queue, given, ids)
        for end in ends:
            assert self.ground.ask("EXISTS", self.keys.job_record(end.job_id)) == (end.job_id in self.ended)

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely)
    def drop_cancelled(self, pick: int, elsewhere: bool) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        job_id = str(fields(payload).get("id", ""))
        command = DropCancelled(self.ground.queues[pool_queue], [payload], job_id)
        dropped = self.settle(lambda: self.order(command), pool_queue, [payload])
        assert dropped == self.model.ack(pool_queue, [payload])
        if dropped:
            self.model.cancels.pop(job_id, None)

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely, job_set=st.sampled_from(JobSet), score=times)
    def move(self, pick: int, elsewhere: bool, job_set: JobSet, score: int) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        kept = failed(payload)
        order = MoveToSet(self.ground.queues[pool_queue], [payload], job_set=job_set, score=score, payload=kept)
        answer = self.settle(lambda: self.order(order), pool_queue, [payload])
        assert answer == self.model.move(pool_queue, payload, job_set.value, score, kept)

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely, more=st.lists(payloads, max_size=3))
    def requeue_front(self, pick: int, elsewhere: bool, more: list[bytes]) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        given = [payload, *more]
        order = RequeueFront(self.ground.queues[pool_queue], given)
        assert self.settle(lambda: self.order(order), pool_queue, given) == self.model.requeue_front(pool_queue, given)

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely)
    def move_to_quarantine(self, pick: int, elsewhere: bool) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        record = write_entry(pool_queue[0], payload, "no job", 1)
        order = MoveToQuarantine(self.ground.queues[pool_queue], [payload], entry=record)
        answer = self.settle(lambda: self.order(order), pool_queue, [payload])
        assert answer == self.model.move_to_quarantine(pool_queue, payload, record)

    @precondition(lambda self: any(map(unique_key, itertools.chain(*self.model.running.values()))))
    @rule(pick=picks, elsewhere=rarely, again=st.booleans())
    def free_unique(self, pick: int, elsewhere: bool, again: bool) -> None:
        unique = [
            (pool_queue, each)
            for pool_queue in POOL_QUEUES
            for each in self.model.running[pool_queue]
            if unique_key(each)
        ]
        pool_queue, payload = unique[pick % len(unique)]
        if elsewhere:
            pool_queue = pool_queue[0], POOLS[POOLS.index(pool_queue[1]) - 1]
        self.free_one(pool_queue, payload)
        if again:
            # The job starts once more, and its key may be another's by now.
            self.enqueue_under(str(fields(payload)["unique_key"]), pool_queue[0], by_key=True, at=FAR)
            self.free_one(pool_queue, payload)

    def free_one(self, pool_queue: PoolQueue, payload: bytes) -> None:
        job = Job.decode(payload)
        (key,) = self.keys.unique_of(job)
        order = FreeUniqueKey(self.ground.queues[pool_queue], [payload], keys=[key], job_id=job.id)
        answer = self.settle(lambda: self.order(order), pool_queue, [payload])
        assert answer == self.model.free_unique(pool_queue, payload, key, job.id)

    # Background services

    @precondition(lambda self: any(self.model.job_sets.values()))
    @rule(pick=picks, limit=st.integers(1, 4), away=rarely, name=st.none() | names)
    def requeue(self, pick: int, limit: int, away: bool, name: str | None) -> None:
        filled = [job_set for job_set in JobSet if self.model.job_sets[job_set.value]]
        job_set = filled[pick % len(filled)]
        found = self.ground.run(self.ground.delayed.due(job_set, limit))
        lying = sorted((score, member) for member, score in self.model.job_sets[job_set.value].items())
        payloads = [member for member, _ in found.jobs]
        assert payloads == [member for score, member in lying if score < FAR][:limit]
        assert found.next == (FAR if any(score == FAR for score, _ in lying) else None)
        # The latest first: what fired last is not what was moved last.
        members = [*payloads[::-1], *payloads[:1], *([b"not there"] if away else [])]
        moves = [(member, name, renewed(member, name)) for member in members]
        firings = {each: firing for each in members if (firing := firing_of(str(fields(each).get("id"))))}
        answer = self.ground.run(self.ground.delayed.requeue(job_set, moves, firings))
        moved, paused = self.model.requeue(job_set.value, moves, firings)
        assert answer == (moved, "", [], paused, {})

    @rule(job=st.sampled_from(PERIODIC), at=st.lists(st.integers(1, 12), min_size=1, max_size=4))
    def plan_periodic(self, job: PeriodicJob, at: list[int]) -> None:
        instances = [(each, job.instance(each)) for each in at]
        change = self.model.changes.get(job.key, b"")
        planned = self.ground.run(self.ground.instances.plan(job.key, 240.0, instances, change))
        assert planned == (self.model.plan(job.key, instances), 0, False)
        other = self.ground.run(self.ground.instances.plan(job.key, 240.0, [(FAR, b"")], b"another change"))
        assert other == (0, 0, True)

    @rule(job=st.sampled_from(PERIODIC), paused=st.booleans())
    def change_periodic(self, job: PeriodicJob, paused: bool) -> None:
        before, after = self.model.changes.get(job.key, b""), PeriodicChange(paused).encode() if paused else b""
        parts = instance_parts(job.name, job.key, job.args)
        assert self.ground.run(self.ground.changes.write(job.key, before, after, parts, overdue=True))
        self.model.change_periodic(job.key, after, job.instance)
        assert time.time() - 60 < self.ground.run(self.plan_anew(job.key)) < time.time() + 60
        assert not self.ground.run(self.ground.changes.write(job.key, b"another change", b"x", parts, overdue=True))

    async def plan_anew(self, job: str) -> int:
        """Return since when a periodic job is planned, and forget that: in this test the times are small numbers."""
        client = self.ground.redis_client.client()
        newest = int(await client.hget(self.keys.periodic, job))
        await client.hdel(self.keys.periodic, job)
        return newest

    @rule(pool=pools, at=st.integers(1, 9), again=st.booleans())
    def beat(self, pool: str, at: int, again: bool) -> None:
        heartbeat = Heartbeat(pool, at, 1, NAMES, 1, (), "host", 1)
        known = self.model.beat(pool, at, again=again)
        assert self.ground.run(self.ground.registry.write_heartbeat(heartbeat, again=again)).known is known

    @rule(
        pool_queue=pool_queues,
        pick=picks,
        more=st.lists(payloads, max_size=2),
        at=st.integers(1, 9),
        ends=st.booleans(),
    )
    def claim(self, pool_queue: PoolQueue, pick: int, more: list[bytes], at: int, ends: bool) -> None:
        there = [*self.model.queues[pool_queue[0]], *self.model.running[pool_queue]]
        given = [*([there[pick % len(there)]] if there else []), *more]
        assert self.order(ClaimJobs(self.ground.queues[pool_queue], given, at)) == self.model.claim(
            pool_queue, given, at
        )
        if ends:
            self.order(ClearReaped(self.ground.queues[pool_queue], []))
            self.model.end_claims(pool_queue[1])

    @rule(pool=pools)
    def forget_pool(self, pool: str) -> None:
        self.ground.run(self.ground.registry.forget_pool(pool))
        self.model.forget_pool(pool)

    @precondition(running)
    @rule(
        pick=picks,
        elsewhere=rarely,
        judged=st.sampled_from(["now", "any", "before", "never"]),
        limit=st.none() | st.integers(1, 2),
    )
    def reap(self, pick: int, elsewhere: bool, judged: str, limit: int | None) -> None:
        pool_queue, _ = self.one_running(pick, elsewhere)
        name, pool = pool_queue
        beat = {"now": self.model.beat_of(pool), "before": b"0", "never": b"", "any": None}[judged]
        lives = self.model.lives(pool, beat)
        if limit is None:
            answer = self.ground.run(self.ground.recovery.reap(pool, [name], beat))
            assert answer == (None if lives else self.model.reap(pool_queue, 999)[0])
        else:
            keys = [self.keys.in_progress(name, pool), self.keys.lock(name), self.keys.lock_info(name)]
            keys += [self.keys.queue(name), self.keys.heartbeat(pool)]
            answer = self.ground.script("reap", keys, [pool, limit, b"*" if beat is None else beat])
            assert tuple(answer) == ((-1, 0) if lives else self.model.reap(pool_queue, limit))
        if not lives:
            dump = self.ground.dump()
            lock, shares = read_locks(dump, self.keys, name)
            assert lock == sum(shares.values())
            assert self.model.running[pool_queue] or pool.encode() not in dump.held.get(self.keys.lock_info(name), {})

    @rule(pool=pools, order=orders, stale=rarely)
    def record_crash(self, pool: str, order: Sequence[str], stale: bool) -> None:
        self.ground.run(self.ground.recovery.record_crash(pool, order, b"0" if stale else self.model.beat_of(pool)))
        if any(self.model.running[name, pool] for name in order):
            # It is only for some time, so it does not matter if the pool turns out to live.
            self.model.crashed = pool
        if not stale:
            self.model.record_crash(pool, order, STEP)

    @rule(pool=pools)
    def begin_look_ahead(self, pool: str) -> None:
        allowed = self.model.begin_look_ahead(pool)
        assert (self.order(BeginLookAhead(self.ground.queues[NAMES[0], pool], [])) == 0) == allowed

    @rule(pool=pools)
    def end_look_ahead(self, pool: str) -> None:
        self.order(EndLookAhead(self.ground.queues[NAMES[0], pool], []))
        self.model.ahead.discard(pool)

    @rule()
    def look_ahead_goes_on(self) -> None:
        self.ground.run(self.end_pause())
        self.model.crashed = None

    async def end_pause(self) -> None:
        """Delete what would expire."""
        await self.ground.redis_client.client().delete(self.keys.look_ahead_paused)

    @precondition(running)
    @rule(pick=picks)
    def mark_suspect(self, pick: int) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere=False)
        self.order(MarkSuspect(self.ground.queues[pool_queue], [payload]))
        self.model.suspects[pool_queue[1]] = hashlib.sha1(payload).hexdigest()

    @rule(ids=st.lists(ids, min_size=1, max_size=2), second=st.integers(1, 2))
    def cancel(self, ids: list[str], second: int) -> None:
        mark = CancelMark("", "", second)
        self.ground.run(self.ground.cancels.mark(ids, mark))
        self.model.cancel(ids, mark.encode())

    @precondition(running)
    @rule(pick=picks, elsewhere=rarely, ends=st.booleans())
    def read_cancel_mark(self, pick: int, elsewhere: bool, ends: bool) -> None:
        pool_queue, payload = self.one_running(pick, elsewhere)
        queue, job_id = self.ground.queues[pool_queue], str(fields(payload).get("id", ""))
        held = payload in self.model.running[pool_queue]
        assert self.order(ReadCancelMark(queue, [payload], job_id)) == [held, self.model.cancels.get(job_id, b"")]
        if ends:
            self.order(ClearCancelMark(queue, [], job_id))
            self.model.cancels.pop(job_id, None)

    # Settings and deletions

    @rule(name=names)
    def pause(self, name: str) -> None:
        self.ground.run(self.ground.settings.pause(name))
        self.model.paused.add(name)

    @rule(name=names)
    def unpause(self, name: str) -> None:
        self.ground.run(self.ground.settings.unpause(name))
        self.model.paused.discard(name)

    @rule(name=names, cap=caps)
    def set_cap(self, name: str, cap: int) -> None:
        self.ground.run(self.ground.settings.set_max_concurrency(name, cap))
        self.model.caps[name] = cap

    @precondition(lambda self: self.model.filled())
    @rule(pick=picks, ranks=st.lists(picks, min_size=1, max_size=3), for_good=rarely, away=rarely, undone=st.booleans())
    def delete(self, pick: int, ranks: list[int], for_good: bool, away: bool, undone: bool) -> None:
        filled = self.model.filled()
        location = filled[pick % len(filled)]
        if location in JOB_SETS:
            lying = sorted((score, member) for member, score in self.model.job_sets[location].items())
        else:
            lying = [(0.0, member) for member in self.model.elements(location)]
        lying += [(0.0, b"not there")] if away else []
        given = [
            LocatedPayload(lying[rank % len(lying)][1], lying[rank % len(lying)][0], rank) for rank in sorted(ranks)
        ]
        token = ""
        if not for_good:
            token = self.ground.run(self.ground.undo.prepare(location))
            self.model.deleted[token] = (location, [])
        answer = self.ground.run(self.ground.deletions.delete(location, given, token))
        assert answer == self.model.delete(location, [(member.raw, member.rank) for member in given], token)
        if token and undone:
            self.everything_is_as_it_should_be()
            self.undo(token)

    @rule(name=names, for_good=rarely)
    def empty_queue(self, name: str, for_good: bool) -> None:
        token = ""
        if not for_good:
            token = self.ground.run(self.ground.undo.prepare(f"queue:{name}"))
            self.model.deleted[token] = (f"queue:{name}", [])
        assert self.ground.run(self.ground.deletions.empty_queue(name, token)) == self.model.empty(name, token)

    @rule(job_set=job_sets)
    def drop_all(self, job_set: str) -> None:
        assert self.ground.run(self.ground.deletions.delete_all(job_set)) == self.model.drop_all(job_set)

    @precondition(lambda self: self.model.deleted)
    @rule(pick=picks)
    def restore(self, pick: int) -> None:
        self.undo(list(self.model.deleted)[-1 - pick % len(self.model.deleted)])

    def undo(self, token: str) -> None:
        assert self.ground.run(self.ground.undo.restore(token)) == self.model.restore(token)

    @rule(name=names)
    def forget_job(self, name: str) -> None:
        forgotten = self.ground.run(self.ground.settings.forget(name))
        assert name in self.spoilt or forgotten is self.model.may_forget(name)
        if forgotten:
            left = self.ground.dump().held
            assert name.encode() not in left.get(self.keys.known_jobs, ())
            assert not left.keys() & {self.keys.lock(name), self.keys.lock_info(name)}
            self.model.forget_job(name)
            for what in ("dropped", "replaced"):
                self.model.duplicates.pop(f"{what}:{name}", None)

    # From outside

    @rule(pool=pools, how=st.sampled_from(sorted(SPOILT)), fetch=st.booleans())
    def spoil(self, pool: str, how: str, fetch: bool) -> None:
        pool_queue = NAMES[-1], pool
        which, command = SPOILT[how]
        key = self.keys.lock(pool_queue[0]) if which == "lock" else self.keys.lock_info(pool_queue[0])
        self.ground.ask("DEL", key)
        if command:
            self.ground.ask(command[0], key, *(pool_queue[1] if each == "POOL" else each for each in command[1:]))
        self.spoilt.add(pool_queue[0])
        # A spoilt share may be right by chance.
        self.before = self.ground.dump()
        if fetch:
            self.enqueue([(NAMES[-1], JOBS[0])])
            self.fetch(pool, NAMES[-1:], 1, looks_ahead=True)

    # What must hold

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        dump = self.ground.dump()
        locations = [*map(self.keys.queue, NAMES), *(self.keys.in_progress(*pool_queue) for pool_queue in POOL_QUEUES)]
        locations += map(self.keys.location, (*JOB_SETS, "quarantine"))
        lying = Counter(payload for location in locations for payload in dump.held.get(location, ()))
        assert lying == +self.model.accepted
        for name in NAMES:
            self.check_locks(name, dump)
        self.before = dump
        self.model.synced.clear()
        left = {key: held for key, held in dump.held.items() if not key.endswith((":lock", ":lock_info", ":place"))}
        left.pop(self.keys.known_jobs, None)
        left.pop(self.keys.deletions, None)
        for pool in POOLS:
            if beat := left.get(self.keys.heartbeat(pool)):
                assert (b"looks_ahead" in beat) == (pool in self.model.ahead)
                left[self.keys.heartbeat(pool)] = beat[b"heartbeat_at"]
        assert left == {key: held for key, held in self.expected().items() if held}
        starts = (
            *(self.keys.unique, self.keys.deleted(""), self.keys.deletions, self.keys.crashes_of("")),
            *(self.keys.periodic_runs(""), self.keys.look_ahead_paused),
        )
        expiring = {key for key in dump.held if key.startswith(starts)}
        assert dump.expiring - {self.keys.crashes, self.keys.cancels} == expiring

    def check_locks(self, name: str, dump: Dump) -> None:
        """A pool's share is the length of its list, and the lock is the sum of the shares.

        Where it was spoilt, only the shares of the pools that did something have to be right.
        """
        lock, shares = read_locks(dump, self.keys, name)
        lengths = {pool: len(dump.held.get(self.keys.in_progress(name, pool), ())) for pool in POOLS}
        expected = {pool: self.model.shares[name, pool] for pool in POOLS}
        if name not in self.spoilt:
            assert (lock, shares) == (sum(expected.values()), expected)
            assert all(self.model.popped[name, pool] or expected[pool] == lengths[pool] for pool in POOLS)
            return
        _, before = read_locks(self.before, self.keys, name)
        for pool in POOLS:
            if (name, pool) in self.model.synced and before[pool] != lengths[pool]:
                assert shares[pool] == lengths[pool] <= lock
        if shares == expected == lengths and lock == sum(lengths.values()):
            self.spoilt.discard(name)

    def expected(self) -> dict[str, Any]:
        """Everything but locks and names, as it is to be in Redis; what is empty is not there."""
        model, keys = self.model, self.keys
        crashes: dict[str, int | str] = {
            **+model.crashes,
            **{keys.suspect_field(pool): each for pool, each in model.suspects.items()},
        }
        crashes |= {keys.recorded_field(pool): each for pool, each in model.recorded.items()}
        return {
            **{keys.queue(name): elements for name, elements in model.queues.items()},
            **{keys.in_progress(*pool_queue): elements for pool_queue, elements in model.running.items()},
            **{keys.location(job_set): members for job_set, members in model.job_sets.items()},
            **{keys.paused(name): b"1" for name in model.paused},
            **{keys.max_concurrency(name): b"%d" % cap for name, cap in model.caps.items()},
            **{key: held.text for key, held in model.unique.items()},
            **{keys.heartbeat(pool): b"%d" % at for pool, at in model.beats.items()},
            **{keys.deleted(token): listed(location, kept) for token, (location, kept) in model.deleted.items()},
            keys.look_ahead_paused: (model.crashed or "").encode(),
            keys.quarantine: model.quarantine,
            keys.worker_pools: {pool.encode() for pool in model.beats},
            keys.periodic: as_hash(model.planned),
            keys.periodic_fired: as_hash(model.fired),
            **{keys.periodic_runs(job): {b"%d" % at: float(at) for at in runs} for job, runs in model.runs.items()},
            keys.periodic_changes: {job.encode(): change for job, change in model.changes.items()},
            keys.crashes: as_hash(crashes),
            keys.duplicates: as_hash(model.duplicates),
            keys.cancels: {job_id.encode(): mark for job_id, mark in model.cancels.items()},
            **{keys.crashes_of(pool): {each.encode() for each in counted} for pool, counted in model.counted.items()},
        }


def as_hash(fields: Mapping[str, int | str]) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in fields.items() if value}


def listed(location: str, kept: Sequence[tuple[bytes, float]]) -> list[bytes]:
    """Return what is kept of a deletion: members with their scores before them, elements alone."""
    if location not in JOB_SETS:
        return [element for element, _ in kept]
    return [part for member, score in kept for part in (b"%d" % score, member)]


def read_locks(dump: Dump, keys: Keys, name: str) -> tuple[int, dict[str, int]]:
    """A queue's lock and each pool's share of it; what is no number counts for nothing, as for the scripts."""
    shares = dump.held.get(keys.lock_info(name), {})
    shares = shares if isinstance(shares, dict) else {}
    return number(dump.held.get(keys.lock(name))), {pool: number(shares.get(pool.encode())) for pool in POOLS}


def number(held: Any) -> int:
    return int(held) if isinstance(held, bytes) and held.lstrip(b"-").isdigit() else 0


def failed(payload: bytes) -> bytes:
    """The payload after a failure; other bytes if it is not a job."""
    try:
        job = Job.decode(payload)
    except PayloadError:
        return payload + b"\xfe"
    job.failed("ValueError: boom", 5)
    return job.payload()


def renewed(payload: bytes, name: str | None) -> bytes:
    """Return the payload that is put on a queue for a member of a set, or into the quarantine if it has no name."""
    if name is None:
        return write_entry("retry", payload, "no job", 1)
    return with_time(payload, 9) if fields(payload) else payload


@pytest.fixture
def ground(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """A database of its own."""
    monkeypatch.setattr(recovery_module, "_SLICE", STEP)
    ground = Ground(redis_url)
    yield ground
    ground.close()


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the scripts that are called from now on."""
    found: set[str] = set()

    def noting(encode: Callable[..., bytes]) -> Callable[..., bytes]:
        def note(name: str, *args: Any, **options: Any) -> bytes:
            found.add(name)
            return encode(name, *args, **options)

        return note

    # A call begins with the one or the other.
    monkeypatch.setattr(scripts, "head", noting(scripts.head))
    monkeypatch.setattr(scripts, "digest", noting(scripts.digest))
    return found


# Seconds: a failure is made smaller for five minutes at most.
@pytest.mark.timeout(0 if EXAMPLES else 1800)
def test_whatever_happens_redis_holds_what_the_model_says(ground: Ground, called: set[str]) -> None:
    how = settings(
        max_examples=EXAMPLES or 180,
        stateful_step_count=50,
        derandomize=not EXAMPLES,
        database=None,
        # One at a time: making it smaller takes long.
        report_multiple_bugs=False,
        # The machine may be busy with other things.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )

    class OnGround(Scripts):
        def __init__(self) -> None:
            super().__init__(ground)

    run_state_machine_as_test(OnGround, settings=how)
    assert called == set(scripts.names()) - set(ELSEWHERE)
