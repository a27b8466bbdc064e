"""Where work is taken and given up: what the dispatcher says to Redis.

Everything a pool finished and everything it wants goes out in one write (a :class:`Batch`). Whatever is settled
here is idempotent, so that it can be said again when an answer was lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from redis.exceptions import NoPermissionError

from .._jobs.location import JobSet
from . import scripts
from .client import RedisClient
from .connection import Wire
from .errors import REDIS_ERRORS, is_wrong_type
from .keys import Keys, Queue
from .protocol import pack, value_of
from .urls import NodeAddress

# Seconds that an answer to a blocking pop may take beyond the time it blocks.
_POP_SLACK = 10.0


class Verdict(Enum):
    """What became of a job that a blocking pop brought."""

    ADMITTED = 1
    GIVEN_BACK = 0
    GONE = -1


class BlockingConnection(NamedTuple):
    """A connection on which a blocking pop may wait.

    :ivar client_id: the number by which its node of Redis knows it; ``None`` where this user may not end a blocking pop
        (``CLIENT UNBLOCK``).
    """

    wire: Wire
    client_id: int | None


class Popped(NamedTuple):
    """What a blocking pop brought.

    :ivar admitted: whether the job is accounted for and may start; if not, that is to be asked by :class:`Admit`.
    :ivar waiting: how many jobs are left in its queue.
    """

    payload: bytes
    admitted: bool
    waiting: int


class Fetched(NamedTuple):
    """What a fetch brought.

    :ivar closed: those of the queues looked at from which none may be taken now.
    :ivar unreadable: those of them that are no lists, or this pool's in-progress list is none.
    :ivar crashes: how many times a job was running when its process died, by payload, where it ever was.
    """

    jobs: list[tuple[Queue, bytes]]
    closed: list[Queue]
    unreadable: list[Queue]
    crashes: dict[bytes, int]


@dataclass(slots=True, eq=False)
class Order:
    """Something to be done to one job or some jobs of a queue, other than acknowledging them.

    ``answered`` is called with Redis's answer, once.
    """

    queue: Queue
    payloads: Sequence[bytes]
    answered: Callable[[Any], None] = field(default=lambda _: None, kw_only=True)

    def command(self, work_queue: WorkQueue) -> bytes:
        """Return the packed command."""
        raise TypeError(f"{type(self).__name__} says nothing to Redis")


@dataclass(slots=True, eq=False)
class Move(Order):
    """Off the in-progress list and onto a shelf, written anew; ``score`` in epoch seconds."""

    shelf: JobSet
    score: int
    payload: bytes

    def command(self, work_queue: WorkQueue) -> bytes:
        args = pack(work_queue.pool_id, self.payloads[0], b"%d" % self.score, self.payload)
        return scripts.call("move", 4, self.queue.ack_keys + work_queue.shelves[self.shelf], 4, args)


@dataclass(slots=True, eq=False)
class GiveBack(Order):
    """Back to the front of the queue; the last of the payloads will be the first to run."""

    def command(self, work_queue: WorkQueue) -> bytes:
        args = pack(work_queue.pool_id, *self.payloads)
        return scripts.call("requeue_front", 4, self.queue.front_keys, 1 + len(self.payloads), args)


@dataclass(slots=True, eq=False)
class Quarantine(Order):
    """Set aside; ``record`` is JSON that holds the payload and what is wrong with it."""

    record: bytes

    def command(self, work_queue: WorkQueue) -> bytes:
        args = pack(work_queue.pool_id, self.payloads[0], self.record)
        return scripts.call("quarantine", 4, self.queue.ack_keys + work_queue.quarantine, 3, args)


@dataclass(slots=True, eq=False)
class Admit(Order):
    """Account for a job that a blocking pop brought and that may not start at once, or give it back; answers
    ``[verdict, how many wait, crashes]``.
    """

    def command(self, work_queue: WorkQueue) -> bytes:
        keys = self.queue.fetch_keys + work_queue.crashes
        return scripts.call("admit", 7, keys, 2, pack(work_queue.pool_id, self.payloads[0]))


@dataclass(slots=True, eq=False)
class Claim(Order):
    """Make sure that jobs are still this pool's. What another pool has put back on the queue, and nobody has taken, is
    in progress here again. Answers the places, from 1, of those that are not this pool's any more.
    """

    def command(self, work_queue: WorkQueue) -> bytes:
        keys = work_queue.registration + self.queue.front_keys
        return scripts.call("claim", 6, keys, 1 + len(self.payloads), pack(work_queue.pool_id, *self.payloads))


@dataclass(slots=True, eq=False)
class ClaimsEnd(Order):
    """All jobs of this pool are claimed: forget that it was considered dead."""

    def command(self, work_queue: WorkQueue) -> bytes:
        return b"*3\r\n" + pack(b"HDEL") + work_queue.heartbeat + pack(b"reaped")


@dataclass(slots=True, eq=False)
class FreeUnique(Order):
    """Let a unique job begin: free its key, given in each way it may be spelled. Answers ``[0]`` when the job is not in
    progress here any more, ``[1]`` when it is to run, ``[1, payload]`` when a newer payload has taken its place.
    """

    keys: Sequence[str]
    job_id: str

    def command(self, work_queue: WorkQueue) -> bytes:
        keys = pack(self.queue.in_progress, *(key.encode() for key in self.keys))
        args = pack(self.payloads[0], self.job_id.encode())
        return scripts.call("free_unique", 1 + len(self.keys), keys, 2, args)


@dataclass(slots=True, eq=False)
class Accuse(Order):
    """Tell that should this pool die now, this job is to be blamed alone; answers 0 if another pool has it."""

    def command(self, work_queue: WorkQueue) -> bytes:
        args = pack(self.payloads[0], work_queue.accused, fingerprint(self.payloads[0]))
        return scripts.call("mark_suspect", 2, pack(self.queue.in_progress) + work_queue.crashes, 3, args)


@dataclass(slots=True, eq=False)
class Acquit(Order):
    """Forget that a job was running when its process died, and that it was accused: it has come to an end."""

    def command(self, work_queue: WorkQueue) -> bytes:
        known_by = fingerprint(self.payloads[0])
        return b"*5\r\n" + pack(b"HDEL") + work_queue.crashes + pack(known_by, doubt_of(known_by), work_queue.accused)


@dataclass(slots=True, eq=False)
class Batch:
    """What is told to Redis and asked of it in one round trip.

    :ivar acks: the payloads of jobs that ended well, by queue.
    :ivar orders: what else is to be done to jobs.
    :ivar among: the queues to fetch from, in the order in which to look at them.
    :ivar wanted: how many jobs to fetch; 0 for none.
    :ivar asked_at: when they were asked for, by the event loop's clock.
    :ivar claims: whether the orders make sure, before everything else, that jobs are this pool's.
    """

    acks: Mapping[Queue, Sequence[bytes]]
    orders: Sequence[Order]
    among: Sequence[Queue] = ()
    wanted: int = 0
    asked_at: float = 0.0
    claims: bool = False

    def split(self, answers: list[Any]) -> tuple[list[Any], list[Any], Any]:
        """Return the answers to the acks, to the orders, and to the fetch (a raw answer for :meth:`WorkQueue.fetched`;
        ``None`` without a fetch). A refusal stands in its place as a ``ErrorReply``.
        """
        got = answers.pop() if self.wanted else None
        return answers[: len(self.acks)], answers[len(self.acks) :], got


def fingerprint(payload: bytes) -> bytes:
    """Return what a payload is known by where crashes are counted: its SHA-1, in hex."""
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest().encode()


def doubt_of(known_by: bytes) -> bytes:
    """Return the field, among the crashes, that tells of a job's fingerprint that it was let off once."""
    return known_by + b":doubt"


class WorkQueue:
    """The queues of one pool."""

    def __init__(self, redis: RedisClient, keys: Keys, pool_id: str) -> None:
        self._redis = redis
        self._keys = keys
        self.pool_id = pool_id.encode()
        self._pool = pack(self.pool_id)
        self.shelves = {shelf: pack(getattr(keys, shelf.value).encode()) for shelf in JobSet}
        self.quarantine = pack(keys.quarantine.encode())
        self.crashes = pack(keys.crashes.encode())
        self.accused = keys.suspect_field(pool_id).encode()
        self.heartbeat = pack(keys.heartbeat(pool_id).encode())
        self.registration = pack(keys.worker_pools.encode()) + self.heartbeat

    def queue(self, name: str, priority: int) -> Queue:
        """Return the queue of a job name, as this pool sees it."""
        return Queue.of(self._keys, name, self.pool_id.decode(), priority)

    async def open(self, timeout: float) -> Wire:
        """Open a connection for exchanges or blocking pops; answers may take ``timeout`` seconds.

        :raises RedisError, OSError: when Redis cannot be reached or refuses us.
        """
        return await self._redis.open(timeout)

    async def spare_connections(self) -> int | None:
        """Return how many more clients Redis accepts now; ``None`` when this user may not see that.

        :raises RedisError, OSError: when Redis refuses otherwise or cannot be reached.
        """
        return await self._redis.spare_connections()

    def commands(self, batch: Batch) -> list[bytes]:
        """Return the packed commands of a batch, for one round trip."""
        commands = [
            scripts.call("ack", 3, queue.ack_keys, 1 + len(payloads), self._pool + pack(*payloads))
            for queue, payloads in batch.acks.items()
        ]
        commands += [order.command(self) for order in batch.orders]
        if batch.wanted:
            keys = b"".join([self.crashes, *[queue.fetch_keys for queue in batch.among]])
            args = self._pool + pack(b"%d" % batch.wanted)
            commands.append(scripts.call("fetch", 1 + 6 * len(batch.among), keys, 2, args))
        return commands

    async def settle(self, batch: Batch) -> list[Any]:
        """Say a batch over a pooled connection, and return the answers to it.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or no answer came in time.
        """
        # It may have forgotten the scripts since they were told.
        loads, commands = [scripts.load_command(name) for name in scripts.names()], self.commands(batch)
        answers = await self._redis.send([*loads, *commands])
        return answers[len(loads) :]

    @staticmethod
    def fetched(answer: Any, order_of_queues: Sequence[Queue]) -> Fetched:
        """Read the answer to a fetch over these queues."""
        taken, closed, crashed = answer
        jobs: list[tuple[Queue, bytes]] = []
        at = 0
        while at < len(taken):
            queue, end = order_of_queues[taken[at] - 1], at + 2 + taken[at + 1]
            jobs += zip(itertools.repeat(queue), taken[at + 2 : end])
            at = end
        crashes = {taken[place - 1]: count for place, count in zip(crashed[::2], crashed[1::2], strict=True)}
        unreadable = [order_of_queues[-place - 1] for place in closed if place < 0]
        return Fetched(jobs, [order_of_queues[abs(place) - 1] for place in closed], unreadable, crashes)

    async def open_blocking_connection(self, timeout: float) -> BlockingConnection:
        """Open a connection for blocking pops; their answers may take ``timeout`` seconds beside the time they block.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        wire = await self.open(timeout)
        try:
            # No client has the number 0: this only tells whether the command is allowed.
            commands = [b"*2\r\n" + pack(b"CLIENT", b"ID"), b"*3\r\n" + pack(b"CLIENT", b"UNBLOCK", b"0")]
            answers = await wire.ask(commands, len(commands))
            if any(isinstance(answer, NoPermissionError) for answer in answers):
                return BlockingConnection(wire, None)
            return BlockingConnection(wire, int(value_of(answers[0])))
        except BaseException:
            await wire.close()
            raise

    async def pop(self, wire: Wire, queue: Queue, block: float) -> Popped | None:
        """Wait up to ``block`` seconds for a job of a queue; it is then in progress.

        :returns: ``None`` when the time was over or the wait was ended by :meth:`unblock`.
        :raises RedisError, OSError: when Redis refuses, or the connection broke: a job may be in progress by then.
        """
        commands = [
            b"*4\r\n" + pack(b"BRPOPLPUSH", queue.queue, queue.in_progress, b"%g" % block),
            scripts.call("admit_popped", 7, queue.fetch_keys + self.crashes, 1, self._pool),
        ]
        answer, entered = await wire.ask(commands, len(commands), block + _POP_SLACK)
        payload: bytes | None = value_of(answer)
        if payload is None:
            return None
        # Where that was refused, the job is asked about by itself.
        open_, waiting = entered if isinstance(entered, list) else (0, 0)
        return Popped(payload, open_ == 1, waiting)

    async def unblock(self, seats: Iterable[BlockingConnection]) -> None:
        """End the blocking pops of these connections, as if their time were over: each on the node where it waits.

        What cannot be ended is passed over: its node is away, or this user may not.
        """
        by_node: dict[NodeAddress | None, list[BlockingConnection]] = {}
        for seat in seats:
            if seat.client_id is not None:
                by_node.setdefault(seat.wire.node, []).append(seat)
        await asyncio.gather(*map(self._unblock, by_node.values()))

    async def _unblock(self, of_node: Sequence[BlockingConnection]) -> None:
        with suppress(*REDIS_ERRORS):
            async with self._redis.node_client(of_node[0].wire).pipeline(transaction=False) as pipe:
                for seat in of_node:
                    pipe.client_unblock(seat.client_id)
                await pipe.execute()

    async def in_progress(self, queues: Sequence[Queue]) -> dict[Queue, list[bytes] | None]:
        """Return the payloads that Redis holds as in progress for this pool, the newest first, by queue; ``None`` where
        the list was overwritten by something else.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.lrange(queue.in_progress, 0, -1)
            answers = await pipe.execute(raise_on_error=False)
        return {
            queue: None if is_wrong_type(answer) else value_of(answer)
            for queue, answer in zip(queues, answers, strict=True)
        }

    async def clear(self, queue: Queue) -> None:
        """Delete what is in the place of this pool's in-progress list of a queue.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        await self._redis.client().delete(queue.in_progress)

    async def unfinished(self, queues: Sequence[Queue]) -> bool:
        """Tell whether a job of any of these queues waits and may be taken now, or is in progress in this pool.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(queue.queue)
                pipe.exists(self._keys.paused(queue.name))
                pipe.llen(queue.in_progress)
            answers = [
                0 if is_wrong_type(each) else value_of(each) for each in await pipe.execute(raise_on_error=False)
            ]
        states = zip(answers[::3], answers[1::3], answers[2::3], strict=True)
        return any((waiting and not paused) or in_progress for waiting, paused, in_progress in states)
