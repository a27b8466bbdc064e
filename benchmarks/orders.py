"""What the processes of a benchmark tell each other: an order on standard input, results on standard output.

Nothing here or in what it imports is asyncwork's: the environments of the peers do not have it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

NAMESPACE = "bench"


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run jobs.

    :ivar side: who runs them: ``asyncwork``, ``floor`` for the sketch, or a peer.
    :ivar concurrency: how many jobs run at once, in each process.
    :ivar exchanges: how many batches may be under way to Redis at once.
    :ivar middleware: how many middlewares are around the handler.
    :ivar checkins: how often each job checks in.
    :ivar names: how many job names there are.
    :ivar padding: bytes of text in each job's arguments.
    :ivar sleep: seconds that each job sleeps.
    :ivar processes: how many worker processes share the queues.
    """

    side: str
    concurrency: int
    exchanges: int = 2
    middleware: int = 0
    checkins: int = 0
    names: int = 10
    padding: int = 0
    sleep: float = 0.0
    processes: int = 1
    uvloop: bool = False

    @property
    def label(self) -> str:
        """What it is called in the report, its concurrency aside."""
        parts = [self.side]
        if self.side == "floor":
            parts.append(f"{self.exchanges} in flight")
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
        if self.uvloop:
            parts.append("uvloop")
        return ", ".join(parts)

    @property
    def ceiling(self) -> Case:
        """The floor that this is compared with: as many exchanges in flight, on the same event loop."""
        return Case("floor", self.concurrency, self.exchanges, uvloop=self.uvloop)

    def name(self, place: int) -> str:
        """The name of the job at a place: all names in turn."""
        return f"job{place % self.names}"

    def all_names(self) -> list[str]:
        """The job names."""
        return [self.name(place) for place in range(self.names)]

    def args(self, place: int) -> dict[str, Any]:
        """The arguments of the job at a place."""
        return {"place": place, "padding": "x" * self.padding} if self.padding else {"place": place}


@dataclass(frozen=True, slots=True)
class Order:
    """What a process is to do.

    :ivar what: a producer's: ``fill`` (in bulk), ``trickle`` (one job after the other), ``flow`` (as time goes by). A
        worker's: ``drain`` (until all have run), ``share`` (with other processes, until told to stop), ``wait`` (run
        what comes, and tell how long it took).
    :ivar rate: jobs a second that flow.
    :ivar waiting: how many jobs more than ``jobs`` wait in the queues, and still do at the end.
    """

    what: str
    url: str
    case: Case
    jobs: int
    rate: float = 0.0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Drained:
    """How a drain went, as the worker's process saw it.

    :ivar seconds: from the start of the first job to the end of the last.
    :ivar cpu: seconds of CPU of this process meanwhile, all threads.
    :ivar idle: resident bytes before the start.
    :ivar after: resident bytes at the end.
    :ivar peak: resident bytes at most, by the end.
    :ivar astray: how many jobs did not run exactly once.
    """

    seconds: float
    cpu: float
    idle: int
    after: int
    peak: int
    astray: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What one of several processes did.

    :ivar started: when its first job started, on the clock that all processes share (seconds); 0 if it ran none.
    :ivar ended: when its last job ended.
    :ivar runs: how often it ran the job at each place, a byte each, in hex.
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
    """How long jobs took from before they were enqueued to their handler's start.

    :ivar seconds: of each job.
    :ivar idle: resident bytes while the worker waited for the first.
    """

    seconds: list[float]
    idle: int


def receive() -> Order:
    """Return the order that this process was given."""
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    return Order(**{**given, "case": Case(**given["case"])})


def reply(result: Drained | Shared | Waited | float | str) -> None:
    """Tell the process that gave the order."""
    print(json.dumps(result if isinstance(result, (float, str)) else asdict(result)), flush=True)


def written(order: Order) -> str:
    """Return an order as a line."""
    return json.dumps(asdict(order)) + "\n"
