"""What the faults strike: a Redis, worker processes and producers, each behind a proxy of its own."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from asyncwork import Client, Enqueuer, PoolOptions, sync
from asyncwork._redis.keys import Keys
from asyncwork.embedded import EmbeddedRedis

from ..conftest import until
from ..proxy import Proxy
from ..tuned import tuned
from .app import HOLDING, SWALLOWED
from .changing import BEATING, EACH_SECOND, Changer
from .producers import PoolMetrics, Producer
from .pulse import Pulse
from .record import LEAST_HOLD, LOOK, readable
from .steering import Steerer

NAMESPACE = "chaos"
# As they come, but quick enough that a crash is noticed while a short run lasts.
OPTIONS = PoolOptions(**tuned(
    heartbeat=0.4, dead_after=2.0, reap=0.2, orphans=2.0, observe=0.2, requeue=0.5, periodic=2.0, horizon=30.0,
    reconcile=2.0, revive=1.0, count=0.5, reply_timeout=2.5, stall=1.5,
))  # fmt: skip

_ROOT = Path(__file__).parent.parent.parent
# Seconds between a worker's end and the start of the next in its place, at most.
_LONGEST_GAP = 1.0
# Exit codes of a worker that was stopped, also before it could heed that, or was killed: by a signal that it was sent.
_EXPECTED = {0: signal.SIGTERM, -signal.SIGTERM: signal.SIGTERM, -signal.SIGKILL: signal.SIGKILL}
# The exit code of one that found no Redis at its start.
_NO_REDIS = 3
# What one logs that was told to stop, but could not tell Redis everything; its exit code may be 1 then.
_NOT_CLEAN, _UNCLEAN = 1, re.compile(r"could not (deregister|write)")
# Seconds that a process may take to be there, or to begin a job, however busy the machine is: others wait before it.
_PATIENCE = 300.0
# Seconds between two looks at the heartbeats.
_LOOK = 0.1
# Characters of a log in which a worker's last words are.
_TAIL = 5000
# What was struck if it was no process: one of the producers.
PRODUCER = 0
# The faults by which a process ends.
KILLED = "worker killed"
TOLD_TO_STOP = "worker told to stop"
TOLD_TO_STOP_HOLDING_ON = "worker told to stop while a job holds on"
ASKED_TO_STOP = "pool asked to stop"
# The requests to pools by which none ends.
QUIET, RESIZED = "pool asked to be quiet", "pool resized"
TRIAL_HELD = "the trial, with its proxies, stood still"


@dataclass(slots=True)
class Fault:
    """Something that went wrong. Times are seconds of the monotonic clock.

    :ivar pid: of the process that it struck; ``None`` when it struck them all, :data:`PRODUCER` when it struck none.
    :ivar ended: when it was healed.
    :ivar cleared: when Redis held nothing any more that was of that process.
    :ivar size: how many jobs the pool was asked to run at once.
    """

    kind: str
    pid: int | None
    began: float
    ended: float = float("inf")
    cleared: float | None = None
    size: int | None = None


class Worker:
    """A worker process in its place: when it ends, another takes that."""

    def __init__(self, number: int, proxy: Proxy, directory: Path, rng: random.Random) -> None:
        self.number = number
        self.proxy = proxy
        # Held by a fault that no other may meet in this place.
        self.struck = asyncio.Lock()
        # Held by a request to be quiet, and by one to be resized, until it has been looked whether the pool was.
        self.quieted, self.resized = asyncio.Lock(), asyncio.Lock()
        self.log = directory / f"worker-{number}.log"
        self.surprises: list[str] = []
        self.processes = 0
        self._directory = directory
        self._rng = rng
        self._process: Process | None = None
        self._sent: set[int] = set()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._process is None else self._process.pid

    def send(self, number: int) -> None:
        """Send the process a signal, if there is one."""
        if self._process is not None and self._process.returncode is None:
            self._sent.add(number)
            with suppress(ProcessLookupError):
                # Not by its own method, which also looks whether it has ended: who waits for that would not learn how.
                os.kill(self._process.pid, number)

    def expect_stop(self) -> None:
        """Expect the process to end as if it had been told to by a signal."""
        self._sent.add(signal.SIGTERM)

    async def present(self) -> int:
        """Wait until there is a process; return its pid."""
        await until(lambda: self.pid is not None, limit=_PATIENCE)
        assert self.pid is not None
        return self.pid

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
            "ASYNCWORK_LOOP": ("asyncio", "auto")[self.number % 2],
            "CHAOS_RECORD": str(self._directory),
            "CHAOS_TIMES": json.dumps(
                {"heartbeat": OPTIONS.heartbeat, "dead_after": OPTIONS.dead_after, **asdict(OPTIONS.tuning)}
            ),
        }
        self._sent = set()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "asyncwork", "run", f"{__package__}.app:make_pool",
                cwd=_ROOT, env=environment, stdout=log, stderr=log,
                # Until the app hears it.
                preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
            )  # fmt: skip
        self.processes += 1
        try:
            code = await self._process.wait()
            sent = set(self._sent)
        finally:
            self.send(signal.SIGKILL)
            self._process = None
        if code == _NOT_CLEAN and signal.SIGTERM in sent and _UNCLEAN.search(self.log.read_text()[-_TAIL:]):
            return
        if code != _NO_REDIS and _EXPECTED.get(code) not in sent:
            self.surprises.append(f"worker {self.number} ended by itself, with exit code {code}: see {self.log}")

    def stop(self) -> None:
        """Have the process stop, and none take its place."""
        self._stopping = True
        self.send(signal.SIGTERM)


@dataclass
class World:
    """Everything there is.

    :ivar redis: leads to Redis by itself, past the proxies.
    :ivar busy: held by a fault of Redis, or of everything: one at a time.
    :ivar poison: how many payloads that are no jobs were pushed.
    :ivar plans: the newest planned instance of the periodic job each time that it was another, and when that was seen,
        epoch seconds.
    """

    directory: Path
    server: EmbeddedRedis
    redis: Any
    workers: list[Worker]
    producers: list[Producer]
    proxies: list[Proxy]
    steerer: Steerer
    client: Client
    changer: Changer
    ledger: PoolMetrics
    keys: Keys = field(default_factory=lambda: Keys(NAMESPACE))
    faults: list[Fault] = field(default_factory=list)
    pulse: Pulse = field(default_factory=Pulse)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    poison: int = 0
    plans: list[tuple[int, float]] = field(default_factory=list)

    @contextmanager
    def fault(self, kind: str, pid: int | None = None) -> Iterator[Fault]:
        """Note a fault that lasts while the body runs."""
        fault = Fault(kind, pid, time.monotonic())
        self.faults.append(fault)
        try:
            yield fault
        finally:
            fault.ended = time.monotonic()

    @contextmanager
    def fault_of(self, proxy: Proxy, kind: str) -> Iterator[None]:
        """Note a fault of connections that lasts while the body runs: of each process that is behind them meanwhile."""
        worker = next((each for each in self.workers if each.proxy is proxy), None)
        before = PRODUCER if worker is None or worker.pid is None else worker.pid
        with self.fault(kind, before) as fault:
            yield
        if worker is not None and worker.pid not in (None, before):
            self.faults.append(replace(fault, pid=worker.pid))

    async def push(self, fields: dict[str, Any], *, at: float | None = None) -> None:
        """Put a job on its queue, or among the scheduled ones, as a program would that is not ours. While nothing else
        is done to Redis: hold :attr:`busy`.
        """
        payload = json.dumps({"t": int(time.time()), **fields})
        if at is None:
            await self.redis.lpush(self.keys.queue(fields["name"]), payload)
        else:
            await self.redis.zadd(self.keys.scheduled, {payload: int(at)})
        self.ledger.confirmed[readable(fields["id"])] = fields["name"]

    async def holding(self, job_id: str) -> tuple[Worker, int]:
        """Wait until a job holds on; return the worker, and the pid of the process that runs it."""
        path = self.directory / HOLDING / job_id

        def found() -> tuple[Worker, int] | None:
            if path.exists() and (pid := path.read_text()):
                for worker in self.workers:
                    if worker.pid == int(pid):
                        return worker, worker.pid
            return None

        await until(found, limit=_PATIENCE)
        return found()  # type: ignore[return-value]

    def swallowed(self, job_id: str) -> bool:
        """Tell whether a job that holds on was cancelled, and did not heed that."""
        return (self.directory / SWALLOWED / job_id).exists()

    async def watch_heartbeats(self) -> None:
        """Look at the heartbeats until this is cancelled."""
        task = asyncio.current_task()
        assert task is not None
        try:
            # redis-py's own client swallows a cancellation that comes while it waits with a `socket_timeout`.
            while not task.cancelling():
                asked = time.monotonic()
                with suppress(RedisError, OSError):
                    beats = await self._beats()
                    self.pulse.saw(beats, asked, time.monotonic())
                    await self._look_at_plan()
                await asyncio.sleep(_LOOK)
        finally:
            self.pulse.end(time.monotonic())

    async def _beats(self) -> dict[int, bytes]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for raw in await self.redis.smembers(self.keys.worker_pools):
                pipe.hmget(self.keys.heartbeat(raw.decode()), "pid", "beats")
            return {int(pid): beats or b"" for pid, beats in await pipe.execute() if pid is not None}

    async def _look_at_plan(self) -> None:
        newest = int(await self.redis.hget(self.keys.periodic, f"tick:{EACH_SECOND}") or 0)
        if newest and (not self.plans or newest != self.plans[-1][0]):
            self.plans.append((newest, time.time()))

    async def watch_itself(self) -> None:
        """Note for ever when this process, in which the proxies are, stands still."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(LOOK)
            if (now := time.monotonic()) - began > LOOK + LEAST_HOLD:
                self.faults.append(Fault(TRIAL_HELD, None, began, now))

    async def pool_of(self, pid: int) -> str | None:
        """Return the id of the pool of a process, as far as Redis can tell now."""
        with suppress(RedisError, OSError):
            for raw in await self.redis.smembers(self.keys.worker_pools):
                if await self.redis.hget(self.keys.heartbeat(raw.decode()), "pid") == b"%d" % pid:
                    return str(raw.decode())
        return None

    async def state_of(self, pool_id: str) -> str:
        """Return what a pool says that it is; empty while Redis cannot tell."""
        with suppress(RedisError, OSError):
            return (await self.redis.hget(self.keys.heartbeat(pool_id), "state") or b"").decode()
        return ""

    async def slots(self) -> int:
        """Return how many jobs all pools say that they run at once."""
        pools = await self.redis.smembers(self.keys.worker_pools)
        return sum([int(await self.redis.hget(self.keys.heartbeat(raw.decode()), "concurrency")) for raw in pools])

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
            for job_set in (self.keys.retry, self.keys.scheduled)
            for member in await self.redis.zrangebyscore(job_set, 0, soon)
        ]
        # A job whose backoff failed waits for as long as the default one says.
        return [member for member in later if json.loads(member)["name"] not in ("tick", BEATING, "backing_off")]

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
        ledger, proxies = PoolMetrics(), [Proxy(server.url) for _ in range(workers + producers + 1)]
        for proxy in proxies:
            await proxy.start()
        enqueuers = [
            (Enqueuer(proxy.url, namespace=NAMESPACE), sync.Enqueuer(proxy.url, namespace=NAMESPACE))
            for proxy in proxies[workers:]
        ]
        # The last proxy leads the one who waits and cancels; the last enqueuers are his.
        client = Client(proxies[-1].url, namespace=NAMESPACE)
        world = World(
            directory,
            server,
            redis,
            [Worker(n, proxies[n], directory, random.Random(rng.random())) for n in range(workers)],
            [
                Producer(f"producer-{n}", enqueuer, blocking, ledger, random.Random(rng.random()), pause=0.04)
                for n, (enqueuer, blocking) in enumerate(enqueuers[:-1])
            ],
            proxies,
            Steerer(*enqueuers[-1], client, ledger, random.Random(rng.random()), pause=0.1),
            client,
            Changer(client, random.Random(rng.random())),
            ledger,
        )
        try:
            yield world
        finally:
            for worker in world.workers:
                worker.send(signal.SIGKILL)
            world.steerer.close()
            await client.close()
            for enqueuer, blocking in enqueuers:
                await enqueuer.close()
                blocking.close()
            for proxy in proxies:
                await proxy.stop()
            await redis.aclose()
            await redis.connection_pool.disconnect()
