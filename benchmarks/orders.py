"""What the processes of a benchmark tell each other: an order on standard input, results on standard output."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import sys
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")

NAMESPACE = "bench"
NAMES = [f"job{number}" for number in range(10)]

# Seconds until a process that should long have ended shows where it hangs, and ends.
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """One way to drain the queues.

    :ivar side: ``asyncwork``, or ``floor`` for the sketch.
    :ivar concurrency: how many jobs run at once.
    :ivar exchanges: how many batches may be under way to Redis at once.
    :ivar middleware: how many middlewares are around the handler.
    """

    side: str
    concurrency: int
    exchanges: int = 2
    middleware: int = 0
    uvloop: bool = False

    @property
    def label(self) -> str:
        """What it is called in the report, its concurrency aside."""
        parts = [self.side]
        if self.side == "floor":
            parts.append(f"{self.exchanges} in flight")
        if self.middleware:
            parts.append(f"{self.middleware} middleware")
        if self.uvloop:
            parts.append("uvloop")
        return ", ".join(parts)

    @property
    def ceiling(self) -> Case:
        """The floor that this is compared with: as many exchanges in flight, on the same event loop."""
        return Case("floor", self.concurrency, self.exchanges, uvloop=self.uvloop)


@dataclass(frozen=True, slots=True)
class Drained:
    """How a drain went, as the worker's process saw it.

    :ivar seconds: from the start to the end of the last job.
    :ivar cpu: seconds of CPU of this process meanwhile, all threads.
    :ivar idle: resident bytes before the start.
    :ivar peak: resident bytes at most, by the end.
    :ivar astray: how many jobs did not run exactly once.
    """

    seconds: float
    cpu: float
    idle: int
    peak: int
    astray: int


@dataclass(frozen=True, slots=True)
class Waited:
    """How long jobs for an idle pool took from before their LPUSH to their handler's start.

    :ivar seconds: of each job.
    :ivar idle: resident bytes while the pool waited for the first.
    """

    seconds: list[float]
    idle: int


def receive() -> dict[str, Any]:
    """Return the order that this process was given."""
    faulthandler.dump_traceback_later(_PATIENCE, exit=True)
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    return order


def reply(result: Drained | Waited | float | str) -> None:
    """Tell the process that gave the order."""
    print(json.dumps(result if isinstance(result, (float, str)) else asdict(result)), flush=True)


def run(work: Coroutine[Any, Any, T], case: Case) -> T:
    """Run the work of a case on its event loop."""
    if not case.uvloop:
        return asyncio.run(work)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
