"""What the faults strike: a Redis, worker processes and producers, each behind a proxy of its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from asyncwork import Enqueuer, Periods
from asyncwork.embedded import EmbeddedRedis
from asyncwork.store.keys import Keys

from ..conftest import until
from ..proxy import Proxy
from .producers import Ledger, Producer

NAMESPACE = "chaos"
# As they come, but quick enough that a crash is noticed while a short run lasts.
PERIODS = Periods(
    heartbeat=0.4, dead_after=2.0, reap=0.2, orphans=2.0, observe=0.2, requeue=0.5, periodic=2.0, horizon=30.0,
    reconcile=2.0, revive=1.0, count=0.5, exchange=2.5, stall=1.5,
)  # fmt: skip

_ROOT = Path(__file__).parent.parent.parent
# Seconds between a worker's end and the start of the next in its place, at most.
_LONGEST_GAP = 1.0
# Exit codes of a worker that was stopped, also before it could heed that, was killed, or found no Redis at its start.
_EXPECTED = (0, -signal.SIGTERM, -signal.SIGKILL, 3)


@dataclass(slots=True)
class Fault:
    """Something that went wrong. Times are seconds of the monotonic clock.

    :ivar pid: of the process that it struck; ``None`` when it struck Redis, or a producer.
    :ivar ended: when it was healed.
    :ivar cleared: when Redis held nothing any more that was of that process.
    """

    kind: str
    pid: int | None
    began: float
    ended: float = float("inf")
    cleared: float | None = None


class Worker:
    """A worker process in its place: when it ends, another takes that."""

    def __init__(self, number: int, proxy: Proxy, directory: Path, rng: random.Random) -> None:
        self.number = number
        self.proxy = proxy
        # Held by a fault that no other may meet in this place.
        self.struck = asyncio.Lock()
        self.log = directory / f"worker-{number}.log"
        self.surprises: list[str] = []
        self.processes = 0
        self._directory = directory
        self._rng = rng
        self._process: Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def send(self, number: int) -> None:
        """Send the process a signal, if there is one."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def run(self) -> None:
        """Start one process after the other, until told to stop."""
        while not self._stopping:
            await self._run_one()
            if not self._stopping:
                await asyncio.sleep(self._rng.random() * _LONGEST_GAP)

    async def _run_one(self) -> None:
        environment = {
            **os.environ,
            "ASYNCWORK_REDIS": self.proxy.url,
            "ASYNCWORK_NAMESPACE": NAMESPACE,
            "ASYNCWORK_UVLOOP": str(self.number % 2),
            "CHAOS_RECORD": str(self._directory),
            "CHAOS_PERIODS": json.dumps(asdict(PERIODS)),
        }
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "asyncwork", "run", f"{__package__}.app:make_pool",
                cwd=_ROOT, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes += 1
        try:
            code = await self._process.wait()
        finally:
            self.send(signal.SIGKILL)
        if code not in _EXPECTED:
            self.surprises.append(f"worker {self.number} ended with exit code {code}: see {self.log}")
        self._process = None

    def stop(self) -> None:
        """Have the process stop, and none take its place."""
        self._stopping = True
        self.send(signal.SIGTERM)


@dataclass
class World:
    """Everything there is.

    :ivar redis: leads to Redis by itself, past the proxies.
    :ivar busy: held by a fault of Redis, or of everything: one at a time.
    """

    directory: Path
    server: EmbeddedRedis
    redis: Any
    workers: list[Worker]
    producers: list[Producer]
    proxies: list[Proxy]
    ledger: Ledger
    keys: Keys = field(default_factory=lambda: Keys(NAMESPACE))
    faults: list[Fault] = field(default_factory=list)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    poison: int = 0

    @contextmanager
    def fault(self, kind: str, pid: int | None = None) -> Iterator[Fault]:
        """Note a fault that lasts while the body runs."""
        fault = Fault(kind, pid, time.monotonic())
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.ended = time.monotonic()

    async def pool_of(self, pid: int) -> str | None:
        """Return the id of the pool of a process, as far as Redis can tell now."""
        with suppress(RedisError, OSError):
            for raw in await self.redis.smembers(self.keys.worker_pools):
                if await self.redis.hget(self.keys.heartbeat(raw.decode()), "pid") == b"%d" % pid:
                    return str(raw.decode())
        return None

    async def reaped(self, pool_id: str) -> bool:
        """Wait until Redis holds nothing of a pool any more; tell whether it came to that."""

        async def nothing() -> bool:
            with suppress(RedisError, OSError):
                held = [key async for key in self.redis.scan_iter(f"*:{pool_id}:inprogress", count=1000)]
                return not held and not await self.redis.sismember(self.keys.worker_pools, pool_id)
            return False

        try:
            await until(nothing, limit=30)
        except TimeoutError:
            return False
        return True

    async def has_pools(self) -> bool:
        """Tell whether a process is at work."""
        return bool(await self.redis.scard(self.keys.worker_pools))

    async def calm(self) -> bool:
        """Tell whether nothing waits, runs, or is to be tried again soon, and nobody is left of the dead."""
        return not (await self._held() or await self._to_come() or await self._gone())

    async def _held(self) -> list[bytes]:
        names = await self.redis.smembers(self.keys.known_jobs)
        running = [key async for key in self.redis.scan_iter(f"{self.keys.jobs}*:inprogress", count=1000)]
        return running + [name for name in names if await self.redis.llen(self.keys.queue(name.decode()))]

    async def _to_come(self) -> list[bytes]:
        soon = time.time() + 600
        later = [
            member
            for shelf in (self.keys.retry, self.keys.scheduled)
            for member in await self.redis.zrangebyscore(shelf, 0, soon)
        ]
        return [member for member in later if b'"name":"tick"' not in member]

    async def _gone(self) -> list[bytes]:
        alive = {b"%d" % worker.pid for worker in self.workers if worker.pid is not None}
        pools = await self.redis.smembers(self.keys.worker_pools)
        return [raw for raw in pools if await self.redis.hget(self.keys.heartbeat(raw.decode()), "pid") not in alive]


@asynccontextmanager
async def open_world(directory: Path, rng: random.Random, *, workers: int, producers: int) -> AsyncIterator[World]:
    """Make a world; what it was is gone when the body has ended, but for its files."""
    # What Redis has confirmed is on the disk.
    server = EmbeddedRedis(directory / "redis", settings={"appendfsync": "always"}, start_timeout=30)
    async with server:
        redis = Redis.from_url(server.url, protocol=2, socket_timeout=10)
        ledger, proxies = Ledger(), [Proxy(server.url) for _ in range(workers + producers)]
        for proxy in proxies:
            await proxy.start()
        enqueuers = [Enqueuer(proxy.url, namespace=NAMESPACE) for proxy in proxies[workers:]]
        world = World(
            directory,
            server,
            redis,
            [Worker(n, proxies[n], directory, random.Random(rng.random())) for n in range(workers)],
            [
                Producer(f"producer-{n}", enqueuer, ledger, random.Random(rng.random()), pause=0.04)
                for n, enqueuer in enumerate(enqueuers)
            ],
            proxies,
            ledger,
        )
        try:
            yield world
        finally:
            for worker in world.workers:
                worker.send(signal.SIGKILL)
            for enqueuer in enqueuers:
                await enqueuer.close()
            for proxy in proxies:
                await proxy.stop()
            await redis.aclose()
            await redis.connection_pool.disconnect()
