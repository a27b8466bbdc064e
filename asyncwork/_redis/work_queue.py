"""The queues of one pool: opening connections for them, blocking pops, and what is in progress."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import Enum
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from redis.exceptions import NoPermissionError

from . import scripts
from .client import RedisClient
from .command_encoder import CommandEncoder
from .commands import CommandBatch
from .connection import Connection
from .errors import REDIS_ERRORS, RedisError, is_wrong_type
from .existing_keys import maybe_existing
from .keys import Keys
from .protocol import command, value_of
from .queue import Queue
from .urls import NodeAddress

# A job that a pool holds: its queue, its payload, and how many times it was running when a pool died. If it may have to
# be cancelled, the number is that, plus one, times -1.
HeldJob: TypeAlias = tuple[Queue, bytes, int]


def crashes_of(held: HeldJob) -> int:
    """Return the number of times that a job was running when its process died."""
    return -1 - held[2] if held[2] < 0 else held[2]


class Verdict(Enum):
    """The decision of Redis about a job that a blocking pop took."""

    ADMITTED = 1
    REQUEUED = 0
    GONE = -1


class BlockingConnection(NamedTuple):
    """A connection on which a blocking pop may wait.

    :ivar client_id: the number by which its Redis node knows it; ``None`` if the Redis user may not end a blocking pop
        (``CLIENT UNBLOCK``).
    """

    connection: Connection
    client_id: int | None


class Popped(NamedTuple):
    """The result of a blocking pop.

    :ivar admitted: whether the job is accounted for and may start; if not, :class:`AdmitPopped` has to ask for that.
    :ivar waiting: number of jobs left in the queue that may be fetched now.
    :ivar has_tokens: whether the job has taken the tokens that it needs, if its queue has a rate or shared limits.
    :ivar opens_in: seconds after which the next job of the queue may be taken; ``None`` if it need not be waited for.
    """

    payload: bytes
    admitted: bool
    waiting: int
    has_tokens: bool = False
    opens_in: float | None = None


class NotOpen(Exception):
    """A blocking pop took nothing, because the queue is paused, rests, or is at one of its limits.

    :ivar opens_in: seconds after which a job may be taken; ``None`` if that is not known.
    """

    def __init__(self, opens_in: float | None = None) -> None:
        super().__init__(opens_in)
        self.opens_in = opens_in


class Fetched(NamedTuple):
    """The result of a fetch.

    :ivar closed: those of the queues that may not be fetched from now: paused, or at their concurrency limit.
    :ivar unreadable: those of the queues that are not lists, or for which this pool's in-progress list is not a list.
    :ivar paused: whether the pool must not look ahead any more, because a pool has crashed.
    :ivar opens: those of the queues from which jobs may be taken again after some seconds, when their next token comes
        or their rest ends; 0 for those of whose jobs some were left because they could not begin at once.
    :ivar tenants: those of the fair queues whose tenants have rates or rest, with the seconds after which the next one
        of them may go on; 0 if none waits for that.
    """

    jobs: list[HeldJob]
    closed: list[Queue]
    unreadable: list[Queue]
    paused: bool = False
    opens: Sequence[tuple[Queue, float]] = ()
    tenants: Sequence[tuple[Queue, float]] = ()


class WorkQueue:
    """The queues of one pool.

    :ivar pool_id: the id of the pool.
    :ivar encode: encodes commands for Redis.
    :ivar reconnects: how many connections were opened in place of others.
    """

    def __init__(self, redis: RedisClient, keys: Keys, pool_id: str) -> None:
        self._redis = redis
        self._keys = keys
        self.pool_id = pool_id
        self.encode = CommandEncoder(keys, pool_id.encode())
        self.reconnects = 0

    def queue(self, name: str, priority: int) -> Queue:
        """Return the queue of a job name, with the keys of this pool."""
        return Queue.of(self._keys, name, self.pool_id, priority)

    async def open(self, timeout: float, *, again: bool = False) -> Connection:
        """Open a connection; replies may take ``timeout`` seconds.

        :param again: whether it is opened in place of another.
        :raises RedisError, OSError: when Redis cannot be reached or refuses the connection.
        """
        connection = await self._redis.open(timeout)
        self.reconnects += again
        return connection

    async def spare_connections(self) -> int | None:
        """Return how many more clients Redis accepts now; ``None`` if the Redis user may not see that.

        :raises RedisError, OSError: when Redis refuses otherwise or cannot be reached.
        """
        return await self._redis.spare_connections()

    async def send_pooled(self, batch: CommandBatch) -> list[Any]:
        """Send a batch over a pooled connection, and return the replies to it.

        :raises RedisError, OSError: when Redis cannot be reached, the connection broke, or a reply did not arrive in
            time.
        """
        # Redis may have flushed the scripts since they were loaded.
        return await self._redis.send([scripts.with_source(each) for each in self.encode.batch(batch)])

    @staticmethod
    def parse_fetched(reply: Any, queues: Sequence[Queue]) -> Fetched:
        """Parse the reply to a fetch from these queues."""
        taken, closed, crashed, paused = reply if len(reply) == 4 else reply[:4]
        jobs: list[HeldJob] = []
        at = 0
        while at < len(taken):
            queue, end = queues[taken[at] - 1], at + 2 + taken[at + 1]
            jobs += zip(itertools.repeat(queue), taken[at + 2 : end], itertools.repeat(0))
            at = end
        if crashed:
            crashes = {taken[position - 1]: count for position, count in zip(crashed[::2], crashed[1::2], strict=True)}
            jobs = [(queue, payload, crashes.get(payload, 0)) for queue, payload, _ in jobs]
        unavailable, unreadable = [], []
        for position in closed:
            unavailable.append(queues[abs(position) - 1])
            if position < 0:
                unreadable.append(queues[-position - 1])
        if len(reply) == 4:
            return Fetched(jobs, unavailable, unreadable, paused == 1)
        opens = _openings(reply[4], queues)
        tenants = _openings(reply[5], [each for each in queues if each.fair]) if len(reply) > 5 else ()
        return Fetched(jobs, unavailable, unreadable, paused == 1, opens, tenants)

    async def open_blocking_connection(self, timeout: float) -> BlockingConnection:
        """Open a connection for blocking pops, and learn its number from Redis.

        :param timeout: seconds that a reply may take. A pop is sent with a longer time limit of its own.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        connection = await self.open(timeout)
        try:
            # No client has the number 0: this only tests whether the command is allowed.
            commands = [command(b"CLIENT", b"ID"), command(b"CLIENT", b"UNBLOCK", b"0")]
            replies = await connection.request(commands, len(commands))
            if any(isinstance(reply, NoPermissionError) for reply in replies):
                return BlockingConnection(connection, None)
            return BlockingConnection(connection, int(value_of(replies[0])))
        except BaseException:
            await connection.close()
            raise

    @classmethod
    def parse_popped(cls, replies: Sequence[Any], *, limited: bool = False) -> Popped | None:
        """Parse the replies to a blocking pop.

        :param limited: whether it was sent for a queue that may have a rate.
        :returns: ``None`` when the time was over, or :meth:`unblock` ended the wait.
        :raises RedisError: when Redis has refused the pop, or the script behind it has taken another job.
        :raises NotOpen: when nothing may be taken from the queue now.
        """
        if len(replies) > 2:
            return cls._parse_fetched_one(*replies, limited=limited)
        popped, admission = replies
        if isinstance(popped, Exception):
            raise popped
        if limited and isinstance(admission, list) and admission:
            return cls._parse_limited(popped, *admission)
        if popped is None:
            return None
        if limited:
            return Popped(popped, False, 0)
        # If the script was refused, AdmitPopped asks for the same.
        admitted, waiting = admission if isinstance(admission, list) else (0, 0)
        return Popped(popped, admitted == 1, waiting)

    @staticmethod
    def _parse_limited(popped: bytes | None, taken: Any, closed: Any, crashes: Any, waiting: int, opens: Any) -> Popped:
        """Parse the reply of the script that has decided on the job of a pop."""
        opens_in = _opens_in(opens)
        if not taken:
            raise NotOpen(None if closed else opens_in)
        # After the number of the queue, and that of its jobs.
        if taken[2] != popped:
            raise RedisError("the script behind a blocking pop has taken another job")
        return Popped(taken[2], not crashes, 0 if opens_in else waiting, True, opens_in)

    @staticmethod
    def _parse_fetched_one(bell: Any, reply: Any, waiting: Any, *, limited: bool) -> Popped | None:
        """Parse the replies to a pop of a fair queue's bell, to the fetch behind it, and whether more jobs wait."""
        if isinstance(reply, Exception):
            raise reply
        taken, closed, crashes, _, *more = reply
        opens_in = _opens_in(more[0]) if limited else None
        if taken:
            # After the number of the queue, and that of its jobs.
            return Popped(taken[2], not crashes, 1 if waiting == 1 and not opens_in else 0, limited, opens_in)
        if closed or opens_in:
            raise NotOpen(None if closed else opens_in)
        if isinstance(bell, Exception):
            raise bell
        return None

    @staticmethod
    def parse_opening(replies: Sequence[Any]) -> float | None:
        """Return in how many seconds the next tenant of a fair queue may go on, of the replies to a blocking pop.

        :returns: 0 if none waits for that; ``None`` if its tenants have no rates, and none rests.
        """
        if len(replies) < 3 or not isinstance(replies[1], list) or len(replies[1]) < 6:
            return None
        return float(replies[1][5][1]) / 1_000_000

    async def unblock(self, connections: Iterable[BlockingConnection]) -> None:
        """End the blocking pops of these connections as if their time were over, each on the node where it waits.

        Skip pops whose node is away, and pops that the Redis user may not end.
        """
        by_node: dict[NodeAddress | None, list[BlockingConnection]] = {}
        for each in connections:
            if each.client_id is not None:
                by_node.setdefault(each.connection.node, []).append(each)
        await asyncio.gather(*map(self._unblock, by_node.values()))

    async def _unblock(self, of_node: Sequence[BlockingConnection]) -> None:
        with suppress(*REDIS_ERRORS):
            async with self._redis.node_client(of_node[0].connection).pipeline(transaction=False) as pipe:
                for each in of_node:
                    pipe.client_unblock(each.client_id)
                await pipe.execute()

    async def in_progress(self, queues: Sequence[Queue]) -> dict[Queue, list[bytes] | None]:
        """Return the payloads in progress in this pool, the newest first, by queue; ``None`` if the key holds another
        type. If there are many queues, those without any are left out.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        queues = await maybe_existing(self._redis.client(), queues, attrgetter("in_progress"))
        if not queues:
            return {}
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.lrange(queue.in_progress, 0, -1)
            replies = await pipe.execute(raise_on_error=False)
        return {
            queue: None if is_wrong_type(reply) else value_of(reply)
            for queue, reply in zip(queues, replies, strict=True)
        }

    async def clear(self, queue: Queue) -> None:
        """Delete the key of this pool's in-progress list of a queue, whatever type it holds.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        await self._redis.client().delete(queue.in_progress)

    async def unfinished(self, queues: Sequence[Queue], *, resting: bool) -> bool:
        """Return whether a job of any of these queues waits and may be fetched now, or is in progress in this pool.

        :param resting: whether jobs of queues that rest count, which may be fetched later.
        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        queues = await maybe_existing(
            self._redis.client(), queues, *map(attrgetter, ("queue", "in_progress", "ring", "opens"))
        )
        if not queues:
            return False
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(queue.queue)
                pipe.pttl(self._keys.paused(queue.name))
                pipe.llen(queue.in_progress)
                pipe.exists(queue.ring, queue.opens)
            replies = [
                0 if is_wrong_type(each) else value_of(each) for each in await pipe.execute(raise_on_error=False)
            ]
        states = zip(replies[::4], replies[1::4], replies[2::4], replies[3::4], strict=True)
        # A pause has no end, and a rest has one.
        return any(
            ((waiting or turns) and (ends == -2 or (resting and ends >= 0))) or held
            for waiting, ends, held, turns in states
        )


def _opens_in(flat: Sequence[int]) -> float | None:
    """Return the seconds after which the only queue of a request may be read again; ``None`` if that is now."""
    return flat[-1] / 1_000_000 if flat and flat[-1] else None


def _openings(flat: Sequence[int], queues: Sequence[Queue]) -> Sequence[tuple[Queue, float]]:
    """Return pairs of a queue and seconds, of its number and microseconds."""
    return [(queues[number - 1], us / 1_000_000) for number, us in zip(flat[::2], flat[1::2], strict=True)]
