"""The results of all measurements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .catalogue import PEERS
from .measure import Commands, Drain, Flow
from .orders import Case


def _lists() -> defaultdict[Case, list[Any]]:
    return defaultdict(list)


@dataclass
class Results:
    """The results by case: one value for each round, and two for ``backlogs``. ``commands`` and ``long`` are measured
    once.

    :ivar drains: drains of no-op jobs.
    :ivar sleeps: drains of jobs that sleep.
    :ivar trickles: jobs per second when enqueued one after the other.
    :ivar crowds: jobs per second when many tasks enqueue one each at the same time.
    :ivar fills: jobs per second when enqueued in bulk.
    :ivar idle: latencies of an idle worker.
    :ivar busy: latencies at half of the rate at which the side drains.
    :ivar commands: Redis commands per job.
    :ivar backlogs: drains by the number of further jobs that wait.
    :ivar long: a drain of very many jobs.
    :ivar missing: the peers that could not be measured, with the reasons.
    """

    drains: defaultdict[Case, list[Drain]] = field(default_factory=_lists)
    sleeps: defaultdict[Case, list[Drain]] = field(default_factory=_lists)
    trickles: defaultdict[Case, list[float]] = field(default_factory=_lists)
    crowds: defaultdict[Case, list[float]] = field(default_factory=_lists)
    fills: defaultdict[Case, list[float]] = field(default_factory=_lists)
    idle: defaultdict[Case, list[Flow]] = field(default_factory=_lists)
    busy: defaultdict[Case, list[Flow]] = field(default_factory=_lists)
    commands: dict[Case, Commands] = field(default_factory=dict)
    backlogs: defaultdict[int, list[Drain]] = field(default_factory=lambda: defaultdict(list))
    long: Drain | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def drop(self, side: str, reason: str) -> None:
        """Remove a peer that failed, because its rounds would not match those of the others."""
        self.missing[side] = reason
        enqueues = (self.trickles, self.crowds, self.fills)
        for found in (self.drains, self.sleeps, *enqueues, self.idle, self.busy, self.commands):
            for case in [case for case in found if case.side == side]:
                del found[case]


def paired(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def peers_of(found: Mapping[Case, Sequence[object]], concurrency: int | None = None) -> Iterator[Case]:
    """Yield the cases of peers, optionally only those with one concurrency."""
    names = {side.name for side in PEERS}
    for case in found:
        if case.side in names and concurrency in {None, case.concurrency}:
            yield case
