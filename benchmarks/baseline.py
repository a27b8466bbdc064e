"""The baseline: a minimal runner that only fetches, runs and settles jobs on one event loop.

It shows the cost of asyncwork's features. It uses batches and looks ahead as asyncwork does, and has no failures,
middleware, contexts, priorities, blocking pops, graceful stop or recovery.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Connection, ConnectionPool

_LUA = Path(__file__).with_name("lua")
_POOL_ID = b"f1005f1005f1005f1005f100"

# How far it looks ahead: as asyncwork does, so that both have batches of the same size.
# Seconds of work that is taken beyond the free slots, by the measured rate, and the most jobs.
_AHEAD, _MOST = 0.003, 512
# The longest time that a job may take on average, and the time over which the rate is measured, seconds.
_LONGEST_JOB, _PERIOD = 0.005, 0.005

# A decoded job.
Fields = dict[str, Any]


class Baseline:
    """Runs the jobs that wait in some queues, and ends.

    :param handler: runs one job.
    :param concurrency: number of jobs that run at once.
    :param pipelines: number of batches that may be in flight at once.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        names: Sequence[str],
        handler: Callable[[Fields], Awaitable[None]],
        *,
        concurrency: int,
        pipelines: int,
    ) -> None:
        self._connections = ConnectionPool.from_url(url, protocol=2, socket_timeout=None)
        self._handler = handler
        self._concurrency = concurrency
        self._pipelines = pipelines
        # How many jobs are requested, taken or running, and how many have ended.
        self._held = self._ended = 0
        self._window = _Window(concurrency)
        self._taken: deque[bytes] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._finished: dict[str, list[bytes]] = {}
        self._wakeup = asyncio.Event()
        self._empty = False
        queues = {name: f"{namespace}:jobs:{name}" for name in names}
        self._settle = {name: _Call("settle", _settle_keys(queue)) for name, queue in queues.items()}
        self._fetch = _Call("fetch", [key for queue in queues.values() for key in _fetch_keys(queue)])

    async def run(self) -> None:
        """Run the waiting jobs; return when the queues are empty and all jobs are settled."""
        slots = [asyncio.create_task(self._slot()) for _ in range(self._concurrency)]
        async with asyncio.TaskGroup() as pipelines:
            for _ in range(self._pipelines):
                pipelines.create_task(self._pipeline())
        for slot in slots:
            slot.cancel()
        await asyncio.wait(slots)

    async def _slot(self) -> None:
        taken, loop = self._taken, asyncio.get_running_loop()
        while True:
            while not taken:
                waiter = loop.create_future()
                self._waiters.append(waiter)
                await waiter
            payload = taken.popleft()
            job = orjson.loads(payload)
            await self._handler(job)
            finished = self._finished.get(job["name"])
            if finished is None:
                self._finished[job["name"]] = [payload]
            else:
                finished.append(payload)
            self._held -= 1
            self._ended += 1
            self._wakeup.set()

    async def _pipeline(self) -> None:
        connection: Connection = self._connections.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        await _request(connection, [_packed(b"SCRIPT", b"LOAD", _source(name)) for name in ("fetch", "settle")])
        while self._held or self._finished or not self._empty:
            finished, self._finished = self._finished, {}
            wanted = 0 if self._empty else self._wanted()
            if finished or wanted:
                await self._exchange(connection, finished, wanted)
                # Let the slots run the new jobs, so that the next batch settles them.
                await asyncio.sleep(0)
            else:
                self._wakeup.clear()
                await self._wakeup.wait()
        # Wake the other pipelines, which may wait although nothing will happen any more.
        self._wakeup.set()
        await connection.disconnect()

    def _wanted(self) -> int:
        """Return how many jobs to request: those that will soon begin, and at most this pipeline's share of them."""
        slots = self._concurrency + self._window.size(time.perf_counter(), self._ended)
        return max(0, min(slots - self._held, -(-slots // self._pipelines)))

    async def _exchange(self, connection: Connection, finished: dict[str, list[bytes]], wanted: int) -> None:
        """Settle and fetch in one round trip, and pass the new jobs to the slots."""
        self._held += wanted
        commands = [self._settle[name].packed(payloads) for name, payloads in finished.items()]
        if wanted:
            commands.append(self._fetch.packed([b"%d" % wanted]))
        replies = await _request(connection, commands)
        if wanted:
            jobs = replies[-1]
            self._empty = self._empty or len(jobs) < wanted
            self._held -= wanted - len(jobs)
            self._taken.extend(jobs)
            for _ in range(min(len(jobs), len(self._waiters))):
                self._waiters.popleft().set_result(None)


class _Window:
    """The number of jobs to take beyond the free slots, by the measured rate."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._size = self._ended = 0
        self._at = time.perf_counter()

    def size(self, now: float, ended: int) -> int:
        """Return the number.

        :param now: seconds.
        :param ended: number of jobs that have ended so far.
        """
        seconds, jobs = now - self._at, ended - self._ended
        if seconds >= _PERIOD:
            self._at, self._ended = now, ended
            short = self._concurrency * seconds <= jobs * _LONGEST_JOB
            self._size = min(round(jobs * _AHEAD / seconds), 2 * self._size + self._concurrency, _MOST) if short else 0
        return self._size


class _Call:
    """A script call by SHA-1, with its constant part packed in advance."""

    def __init__(self, script: str, keys: Sequence[str]) -> None:
        digest = hashlib.sha1(_source(script), usedforsecurity=False).hexdigest().encode()
        parts = [b"EVALSHA", digest, b"%d" % len(keys), *(key.encode() for key in keys), _POOL_ID]
        self._head = _bulk(parts)
        self._parts = len(parts)

    def packed(self, args: Sequence[bytes]) -> bytes:
        return b"*%d\r\n%b%b" % (self._parts + len(args), self._head, _bulk(args))


def _fetch_keys(queue: str) -> list[str]:
    in_progress = f"{queue}:{_POOL_ID.decode()}:inprogress"
    return [queue, in_progress, f"{queue}:paused", f"{queue}:lock", f"{queue}:lock_info", f"{queue}:max_concurrency"]


def _settle_keys(queue: str) -> list[str]:
    return [f"{queue}:{_POOL_ID.decode()}:inprogress", f"{queue}:lock", f"{queue}:lock_info"]


def _source(script: str) -> bytes:
    return (_LUA / f"{script}.lua").read_bytes()


def _packed(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), _bulk(parts))


def _bulk(parts: Sequence[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


async def _request(connection: Connection, commands: list[bytes]) -> list[Any]:
    await connection.send_packed_command(commands, check_health=False)
    return [await connection.read_response(disable_decoding=True) for _ in commands]
