"""Single measurements, each in new processes, on one Redis."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import audit

from .environments import Program
from .orders import NAMESPACE, Case, Drained, Order, Shared, Waited, Waiters
from .process import BenchmarkError, Process
from .redis_use import CommandMonitor, Use, use

# Seconds between two checks whether several processes have emptied the queues.
_POLL_INTERVAL = 0.02
# Sides that store their jobs under gocraft/work's keys.
_SAME_KEYS = {"asyncwork", "baseline", "base", "gocraft/work"}
# Holds no jobs: batches are kept for some time after they have ended.
_KEPT = {f"{NAMESPACE}:groups"}
# Sides whose jobs asyncwork enqueues.
_WITHOUT_PRODUCER = {"baseline", "asyncio alone"}


@dataclass(frozen=True, slots=True)
class Drain:
    """The result of a drain: the worker's measurements, and Redis's resource use.

    :ivar filling: seconds that it took to enqueue the jobs.
    """

    jobs: int
    worker: Drained
    redis: Use
    filling: float = 0.0

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.worker.seconds

    @property
    def cost(self) -> float:
        """CPU seconds per job, of the worker and Redis together."""
        return (self.worker.cpu + self.redis.cpu) / self.jobs


@dataclass(frozen=True, slots=True)
class Flow:
    """The result of a measurement with jobs at a constant rate.

    :ivar rate: enqueued jobs per second.
    """

    rate: float
    waited: Waited


@dataclass(frozen=True, slots=True)
class Commands:
    """Redis commands per job.

    :ivar sent: commands that arrived over a connection.
    :ivar in_scripts: commands that scripts ran.
    """

    sent: float
    in_scripts: float


class Bench:
    """Runs measurements. It deletes everything in its Redis before each of them.

    :param programs: the programs of the sides, by name.
    """

    def __init__(self, url: str, programs: Mapping[str, Program]) -> None:
        self._url = url
        self._redis: Any = Redis.from_url(url, protocol=2, decode_responses=True)
        self._programs = programs

    @property
    def redis_version(self) -> str:
        """The version of the server."""
        return str(self._redis.info("server")["redis_version"])

    def drain(self, case: Case, jobs: int, waiting: int = 0) -> Drain:
        """Enqueue jobs, and run them in new processes.

        :param waiting: the number of further jobs that wait in the queues and are not run.
        :raises BenchmarkError: when a job did not run exactly once, or before one that it waits for, or data is left in
            Redis.
        """
        filling = self._fill(case, jobs + waiting)
        before = use(self._redis)
        order = Order("drain", self._url, case, jobs, waiting=waiting)
        drained = self._share(order) if case.processes > 1 else self._drain(order)
        spent = use(self._redis) - before
        if drained.not_once:
            raise BenchmarkError(f"{case.label}: {drained.not_once} of {jobs} jobs did not run exactly once")
        if drained.early:
            raise BenchmarkError(f"{case.label}: {drained.early} jobs ran before one that they wait for")
        self._check(case, whole=waiting == 0)
        return Drain(jobs, drained, spent, filling)

    def commands(self, case: Case, jobs: int) -> Commands:
        """Return the number of commands that Redis runs per job of a drain, counted by MONITOR.

        :raises BenchmarkError: when the worker fails.
        """
        self._fill(case, jobs)
        with CommandMonitor(self._redis) as monitor:
            self._drain(Order("drain", self._url, case, jobs))
        return Commands(monitor.sent / jobs, monitor.in_scripts / jobs)

    def enqueue(self, what: str, case: Case, jobs: int) -> float:
        """Return the jobs per second that one process enqueues.

        :param what: ``trickle`` to enqueue one job at a time, ``crowd`` from many tasks at once, ``fill`` in bulk.
        :raises BenchmarkError: when jobs are missing in Redis, if the side's keys are known.
        """
        self._redis.flushall()
        with self._process(Order(what, self._url, case, jobs)) as producer:
            rate = jobs / float(producer.result())
        if case.side in _SAME_KEYS and (found := self._waiting(case)) != jobs:
            raise BenchmarkError(f"{case.label}: {jobs} jobs were enqueued, but {found} wait in Redis")
        return rate

    def flow(self, case: Case, jobs: int, rate: float) -> Flow:
        """Enqueue jobs at a constant rate for an idle worker.

        :param rate: jobs per second.
        :raises BenchmarkError: when data is left in Redis.
        """
        self._redis.flushall()
        with self._process(Order("wait", self._url, case, jobs)) as worker:
            worker.result()
            with self._process(Order("flow", self._url, case, jobs, rate)) as producer:
                seconds = float(producer.result())
            waited = Waited(**worker.result())
        self._check(case, whole=True)
        return Flow(jobs / seconds, waited)

    def trips(self, case: Case, jobs: int) -> list[float]:
        """Return the seconds from enqueueing a job to its result, for jobs that an idle worker runs one by one.

        :raises BenchmarkError: when the worker or the producer fails.
        """
        self._redis.flushall()
        with self._process(Order("serve", self._url, case, jobs)) as worker:
            worker.result()
            with self._process(Order("trips", self._url, case, jobs)) as producer:
                waited = Waited(**producer.result())
            worker.write("stop\n")
        return waited.seconds

    def waiters(self, case: Case, count: int) -> Waiters:
        """Return the memory of a process that waits for so many results at once.

        :raises BenchmarkError: when it fails.
        """
        self._redis.flushall()
        with self._process(Order("waiters", self._url, case, count)) as process:
            return Waiters(**process.result())

    def _process(self, order: Order) -> Process:
        side = order.case.side
        if order.what == "fill" and side in _WITHOUT_PRODUCER:
            side = "asyncwork"
        return Process(self._programs[side], order)

    def _fill(self, case: Case, jobs: int) -> float:
        """Enqueue jobs; return the seconds that it took."""
        self._redis.flushall()
        with self._process(Order("fill", self._url, case, jobs)) as producer:
            return float(producer.result())

    def _drain(self, order: Order) -> Drained:
        with self._process(order) as worker:
            return Drained(**worker.result())

    def _share(self, order: Order) -> Drained:
        """Drain the queues with several processes at once."""
        with ExitStack() as stack:
            share = Order("share", order.url, order.case, order.jobs)
            workers = [stack.enter_context(self._process(share)) for _ in range(order.case.processes)]
            for worker in workers:
                worker.result()
            for worker in workers:
                worker.write("go\n")
            while self._unfinished(order.case):
                time.sleep(_POLL_INTERVAL)
            for worker in workers:
                worker.write("stop\n")
            return _together([Shared(**worker.result()) for worker in workers])

    def _unfinished(self, case: Case) -> bool:
        if self._waiting(case):
            return True
        locks = self._redis.mget([f"{NAMESPACE}:jobs:{name}:lock" for name in case.all_names()])
        return any(int(lock or 0) for lock in locks)

    def _waiting(self, case: Case) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        for name in case.all_names():
            pipeline.llen(f"{NAMESPACE}:jobs:{name}")
        return sum(pipeline.execute())

    def _check(self, case: Case, *, whole: bool) -> None:
        """Check that no job and no lock is left, if the side's keys are known."""
        left = []
        if whole and case.side in _SAME_KEYS:
            left += [key for kind in ("list", "zset") for key in self._redis.scan_iter(_type=kind) if key not in _KEPT]
            left += [key for key in self._redis.scan_iter("*:lock") if self._redis.get(key) != "0"]
        if case.side == "asyncwork":
            left += asyncio.run(audit(self._url, NAMESPACE))
        if left:
            raise BenchmarkError(f"{case.label}: left in Redis: {', '.join(left)}")


def _together(shares: list[Shared]) -> Drained:
    """Return the combined result of several processes; their memory is added."""
    runs = [bytes.fromhex(each.runs) for each in shares]
    not_once = sum(sum(counts) != 1 for counts in zip(*runs, strict=True))
    return Drained(
        max(each.ended for each in shares) - min(each.started for each in shares if each.started),
        sum(each.cpu for each in shares),
        sum(each.idle for each in shares),
        sum(each.after for each in shares),
        sum(each.peak for each in shares),
        not_once,
    )


@contextmanager
def started_bench(programs: Mapping[str, Program]) -> Iterator[Bench]:
    """Start a Redis for measurements, on loopback TCP, that persists nothing."""
    with (
        tempfile.TemporaryDirectory(prefix="asyncwork-bench-") as directory,
        EmbeddedRedis(Path(directory) / "redis", appendonly=False, port=0) as server,
    ):
        yield Bench(server.url, programs)
