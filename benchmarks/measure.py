"""Takes the measurements, each in processes of its own, on one Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from redis import Redis

from asyncwork.testing import audit

from .environments import Program
from .orders import NAMESPACE, Case, Drained, Order, Shared, Waited
from .process import BenchmarkError, Process
from .redis_use import Use, Watch, use

# Seconds between two looks whether several processes have emptied the queues.
_LOOK = 0.02
# Those that leave nothing in Redis but what is the wire's.
_OURS = {"asyncwork", "floor", "gocraft/work"}
# Those for which asyncwork enqueues.
_WITHOUT_PRODUCER = {"floor", "asyncio alone"}


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: what the worker saw, and what it cost Redis."""

    jobs: int
    worker: Drained
    redis: Use

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.worker.seconds

    @property
    def cost(self) -> float:
        """Seconds of CPU per job, the worker's and Redis's."""
        return (self.worker.cpu + self.redis.cpu) / self.jobs


@dataclass(frozen=True, slots=True)
class Flow:
    """Jobs that came as time went by.

    :ivar rate: jobs that were enqueued in a second.
    """

    rate: float
    waited: Waited


@dataclass(frozen=True, slots=True)
class Commands:
    """Redis commands per job.

    :ivar asked: that came over a connection.
    :ivar inside: that scripts ran.
    """

    asked: float
    inside: float


class Bench:
    """Measures on a Redis that is used for nothing else: it is emptied before each run.

    :param programs: what runs the sides, by their names.
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
        """Have jobs enqueued, then run by fresh processes.

        :param waiting: so many more wait in the queues, and are not run.
        :raises BenchmarkError: when a job did not run exactly once, or something is left in Redis.
        """
        self._fill(case, jobs + waiting)
        before = use(self._redis)
        order = Order("drain", self._url, case, jobs, waiting=waiting)
        drained = self._share(order) if case.processes > 1 else self._drain(order)
        spent = use(self._redis) - before
        if drained.astray:
            raise BenchmarkError(f"{case.label}: {drained.astray} of {jobs} jobs did not run exactly once")
        self._check(case, whole=waiting == 0)
        return Drain(jobs, drained, spent)

    def commands(self, case: Case, jobs: int) -> Commands:
        """Return how many commands Redis runs per job of a drain, by watching each.

        :raises BenchmarkError: as :meth:`drain`.
        """
        self._fill(case, jobs)
        with Watch(self._redis) as watch:
            self._drain(Order("drain", self._url, case, jobs))
        return Commands(watch.asked / jobs, watch.inside / jobs)

    def enqueue(self, what: str, case: Case, jobs: int) -> float:
        """Return the jobs per second that one process enqueues: ``trickle`` one at a time, ``fill`` in bulk.

        :raises BenchmarkError: when they are not all there, as far as that can be seen.
        """
        self._redis.flushall()
        with self._process(Order(what, self._url, case, jobs)) as producer:
            rate = jobs / float(producer.result())
        if case.side in _OURS and (found := self._waiting(case)) != jobs:
            raise BenchmarkError(f"{case.label}: {jobs} jobs were enqueued, and {found} wait in Redis")
        return rate

    def flow(self, case: Case, jobs: int, rate: float) -> Flow:
        """Have a worker at rest get jobs as time goes by.

        :param rate: jobs per second.
        :raises BenchmarkError: when something is left in Redis.
        """
        self._redis.flushall()
        with self._process(Order("wait", self._url, case, jobs)) as worker:
            worker.result()
            with self._process(Order("flow", self._url, case, jobs, rate)) as producer:
                seconds = float(producer.result())
            waited = Waited(**worker.result())
        self._check(case, whole=True)
        return Flow(jobs / seconds, waited)

    def _process(self, order: Order) -> Process:
        side = order.case.side
        if order.what == "fill" and side in _WITHOUT_PRODUCER:
            side = "asyncwork"
        return Process(self._programs[side], order)

    def _fill(self, case: Case, jobs: int) -> None:
        self._redis.flushall()
        with self._process(Order("fill", self._url, case, jobs)) as producer:
            producer.result()

    def _drain(self, order: Order) -> Drained:
        with self._process(order) as worker:
            return Drained(**worker.result())

    def _share(self, order: Order) -> Drained:
        """Have several processes drain the queues at once."""
        with ExitStack() as stack:
            share = Order("share", order.url, order.case, order.jobs)
            workers = [stack.enter_context(self._process(share)) for _ in range(order.case.processes)]
            for worker in workers:
                worker.result()
            for worker in workers:
                worker.say("go\n")
            while self._unfinished(order.case):
                time.sleep(_LOOK)
            for worker in workers:
                worker.say("stop\n")
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
        """Make sure that no job is left anywhere, and no lock, where the side's keys are known."""
        left = []
        if whole and case.side in _OURS:
            left += [key for kind in ("list", "zset") for key in self._redis.scan_iter(_type=kind)]
            left += [key for key in self._redis.scan_iter("*:lock") if self._redis.get(key) != "0"]
        if case.side == "asyncwork":
            left += asyncio.run(audit(self._url, NAMESPACE))
        if left:
            raise BenchmarkError(f"{case.label}: left in Redis: {', '.join(left)}")


def _together(shares: list[Shared]) -> Drained:
    """Return what several processes did as if one had done it; the memory is that of all."""
    runs = [bytes.fromhex(each.runs) for each in shares]
    astray = sum(sum(counts) != 1 for counts in zip(*runs, strict=True))
    return Drained(
        max(each.ended for each in shares) - min(each.started for each in shares if each.started),
        sum(each.cpu for each in shares),
        sum(each.idle for each in shares),
        sum(each.after for each in shares),
        sum(each.peak for each in shares),
        astray,
    )
