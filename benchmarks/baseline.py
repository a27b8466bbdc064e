"""The baseline: a minimal runner that only fetches, runs and settles jobs on one event loop.

It shows the cost of asyncwork's features. It uses batches as asyncwork does, and has no failures, middleware, contexts,
priorities, blocking pops, graceful stop or recovery.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Connection, ConnectionPool

_LUA = Path(__file__).with_name("lua")
_POOL_ID = b"f1005f1005f1005f1005f100"

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
        self._share = -(-concurrency // pipelines)
        self._free = concurrency
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
            self._free += 1
            self._wakeup.set()

    async def _pipeline(self) -> None:
        connection: Connection = self._connections.make_connection()  # type: ignore[no-untyped-call]
        await connection.connect()  # type: ignore[no-untyped-call]
        await _request(connection, [_packed(b"SCRIPT", b"LOAD", _source(name)) for name in ("fetch", "settle")])
        while self._free < self._concurrency or self._finished or not self._empty:
            finished, self._finished = self._finished, {}
            wanted = 0 if self._empty else min(self._free, self._share)
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

    async def _exchange(self, connection: Connection, finished: dict[str, list[bytes]], wanted: int) -> None:
        """Settle and fetch in one round trip, and pass the new jobs to the slots."""
        self._free -= wanted
        commands = [self._settle[name].packed(payloads) for name, payloads in finished.items()]
        if wanted:
            commands.append(self._fetch.packed([b"%d" % wanted]))
        replies = await _request(connection, commands)
        if wanted:
            jobs = replies[-1]
            self._empty = self._empty or len(jobs) < wanted
            self._free += wanted - len(jobs)
            self._taken.extend(jobs)
            for _ in range(min(len(jobs), len(self._waiters))):
                self._waiters.popleft().set_result(None)


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
