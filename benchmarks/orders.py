"""The messages between the processes of a benchmark: an order on standard input, results on standard output.

This module does not import asyncwork, because the environments of the peers do not contain it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

NAMESPACE = "bench"
# Seconds for which results are kept.
KEPT = 60

# A concurrency that is never reached.
WIDE = 10_000
# What a queue may be, beside a plain one. No limit is ever reached but a concurrency that is the number of workers:
# what is measured is the cost of counting. Where it is reached, no jobs can be taken ahead, which the plain queue of a
# pool that never does is to be compared with.
LIMITS = {
    "no-ahead": "no look-ahead",
    "concurrency": "concurrency of the workers",
    "concurrency-wide": f"concurrency of {WIDE:,}",
    "rate": "rate",
    "shared": "shared limit",
    "fair": "fair",
    "fair-concurrency": "fair, limited concurrency",
    "fair-rate": "fair, rate",
    "unique": "unique",
    "chunk": "chunks",
}
# The rate that is never reached, jobs per second.
RATE = 10_000_000
# The most jobs of a chunk.
CHUNK = 100
# How jobs depend on each other. The last one of a batch or a fan waits for all others, and each one of a chain for the
# one before it.
FLOWS = {"batch": "batch with a callback", "fan": "flow with a fan-in", "chain": "chain"}


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration of a side.

    :ivar side: the name of the side: ``asyncwork``, ``baseline``, or a peer.
    :ivar concurrency: number of jobs that run at once, in each process.
    :ivar pipelines: number of batches that may be in flight at once.
    :ivar middleware: number of middlewares around the handler.
    :ivar checkins: number of check-ins of each job.
    :ivar names: number of job names.
    :ivar padding: bytes of text in each job's arguments.
    :ivar sleep: seconds that each job sleeps.
    :ivar processes: number of worker processes that share the queues.
    :ivar tracked: whether the result of each job is kept, for a minute.
    :ivar timeout: of each job, seconds; 0 for none.
    :ivar limit: the limit of the jobs, or what else their queue is, one of `LIMITS`; empty for a plain queue.
    :ivar tenants: number of tenants of the jobs, one of which has three of five; 0 for none.
    :ivar flow: how the jobs depend on each other, one of `FLOWS`; empty if they do not.
    """

    side: str
    concurrency: int
    pipelines: int = 2
    middleware: int = 0
    checkins: int = 0
    names: int = 10
    padding: int = 0
    sleep: float = 0.0
    processes: int = 1
    uvloop: bool = False
    tracked: bool = False
    timeout: float = 0.0
    limit: str = ""
    tenants: int = 0
    flow: str = ""

    @property
    def label(self) -> str:
        """Its name in the report, without its concurrency."""
        parts = [self.side]
        if self.side == "baseline":
            parts.append(f"{self.pipelines} in flight")
        if self.middleware:
            parts.append(f"{self.middleware} middleware")
        if self.checkins:
            parts.append("check-in" if self.checkins == 1 else f"{self.checkins} check-ins")
        if self.names != 10:
            parts.append(f"{self.names:,} names")
        if self.padding:
            parts.append(f"{self.padding // 1024} KiB of arguments")
        if self.processes > 1:
            parts.append(f"{self.processes} processes")
        if self.tracked:
            parts.append("with results")
        if self.timeout:
            parts.append("with a timeout")
        if self.uvloop:
            parts.append("uvloop")
        if self.limit:
            parts.append(LIMITS[self.limit])
        if self.tenants:
            parts.append(f"{self.tenants:,} tenants")
        if self.flow:
            parts.append(FLOWS[self.flow])
        return ", ".join(parts)

    @property
    def ceiling(self) -> Case:
        """The baseline to compare with: as many batches in flight, on the same event loop."""
        return Case("baseline", self.concurrency, self.pipelines, uvloop=self.uvloop)

    def name(self, index: int) -> str:
        """Return the job name of an index; the names take turns."""
        return f"job{index % self.names}"

    def all_names(self) -> list[str]:
        """Return the job names."""
        return [self.name(index) for index in range(self.names)]

    def args(self, index: int) -> dict[str, Any]:
        """Return the arguments of the job with an index."""
        args: dict[str, Any] = {"index": index}
        if self.padding:
            args["padding"] = "x" * self.padding
        if self.tenants:
            args["tenant"] = self.tenant(index)
        return args

    def tenant(self, index: int) -> int:
        """Return the tenant of an index: the first has three of five jobs, and the others take turns."""
        round_number, position = divmod(index, 5)
        return 0 if position < 3 else 1 + (2 * round_number + position - 3) % (self.tenants - 1)


@dataclass(frozen=True, slots=True)
class Order:
    """The task of one process.

    :ivar what: for a producer: ``fill`` (enqueue in bulk), ``trickle`` (one job after the other), ``crowd`` (many
        tasks at once, each its own job), ``flow`` (at a constant rate), ``trips`` (one job after the other, waiting
        for the result of each). For a worker: ``drain`` (until all jobs have run), ``share`` (together with other
        processes, until a line says to stop), ``wait`` (run jobs as they arrive, and measure their latency),
        ``serve`` (run jobs until a line says to stop). ``waiters``: wait for the results of so many jobs, which do
        not run.
    :ivar rate: jobs per second of ``flow``.
    :ivar waiting: the number of jobs beyond ``jobs`` that wait in the queues, and still wait at the end.
    """

    what: str
    url: str
    case: Case
    jobs: int
    rate: float = 0.0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Drained:
    """The result of a drain, measured in the worker's process.

    :ivar seconds: from the start of the first job to the end of the last.
    :ivar cpu: CPU seconds of this process in that time, all threads.
    :ivar idle: resident bytes before the start.
    :ivar after: resident bytes at the end.
    :ivar peak: the peak of resident bytes.
    :ivar not_once: number of jobs that did not run exactly once.
    :ivar early: number of jobs that ran before one that they wait for.
    """

    seconds: float
    cpu: float
    idle: int
    after: int
    peak: int
    not_once: int
    early: int = 0


@dataclass(frozen=True, slots=True)
class Shared:
    """The result of one of several processes that share the queues.

    :ivar started: when its first job started, on the clock that all processes share, seconds; 0 if it ran none.
    :ivar ended: when its last job ended, on the same clock.
    :ivar runs: the number of runs of the job with each index, one byte each, in hex.
    """

    started: float
    ended: float
    cpu: float
    idle: int
    after: int
    peak: int
    runs: str


@dataclass(frozen=True, slots=True)
class Waited:
    """The latencies of jobs, from just before they were enqueued to the start of their handler.

    :ivar seconds: the latency of each job.
    :ivar idle: resident bytes while the worker waited for the first job.
    """

    seconds: list[float]
    idle: int


def receive() -> Order:
    """Read this process's order from standard input."""
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    return Order(**{**given, "case": Case(**given["case"])})


@dataclass(frozen=True, slots=True)
class Waiters:
    """The memory of a process that waits for many results.

    :ivar before: resident bytes before the first wait, when the jobs are enqueued.
    :ivar after: resident bytes while all waits go on.
    """

    before: int
    after: int


def reply(result: Drained | Shared | Waited | Waiters | float | str) -> None:
    """Write a result to standard output, for the process that gave the order."""
    print(json.dumps(result if isinstance(result, (float, str)) else asdict(result)), flush=True)


def serialize(order: Order) -> str:
    """Return an order as a line of JSON."""
    return json.dumps(asdict(order)) + "\n"
