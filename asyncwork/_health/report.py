"""The report of one process that runs jobs: what its health and its metrics are made of, as plain JSON.

Reports of several processes can be added; see :mod:`.summing`.
"""

from __future__ import annotations

import time
from typing import TypedDict

from .._version import version
from ..models.pools import PoolHealth

# The most names of jobs, and the most classes of exceptions, that the metrics of a process distinguish. All others are
# counted together as `OTHER`, because each name is some fifty time series.
MOST_NAMES = 100
MOST_KINDS = 50
OTHER = "other"


class HistogramReport(TypedDict):
    """Durations that were counted by length.

    :ivar counts: how many were in each bucket, the shortest first; without those of earlier buckets. The last bucket
        has no upper bound.
    :ivar sum: the sum of the durations, seconds.
    """

    counts: list[int]
    sum: float


class JobReport(TypedDict):
    """The counts of the jobs of one name since the pool was started.

    :ivar outcomes: attempts that ended, by outcome.
    :ivar run: how long the attempts took.
    :ivar wait: how long their jobs had waited in their queue.
    :ivar chunks: how many jobs the calls had that took a chunk; the sum is that of the jobs.
    :ivar steps: what was recorded of their steps, by kind; empty if nothing was.
    """

    outcomes: dict[str, int]
    run: HistogramReport
    wait: HistogramReport
    chunks: HistogramReport
    steps: dict[str, int]


class HealthReport(TypedDict):
    """A :class:`PoolHealth` as JSON; see there."""

    live: bool
    ready: bool
    state: str
    reason: str
    since: float | None


class ProcessReport(TypedDict):
    """The report of a process, or the sum of several. All counts are since the start of the pool.

    :ivar version: the version of asyncwork.
    :ivar processes: how many processes there are, by the state of their pool.
    :ivar started_at: when the pool was started, epoch seconds; of a sum, when the first was.
    :ivar redis: whether Redis answers, or ``None`` while the pool does not run; of a sum, whether it answers all.
    :ivar reconnects: how often a connection to Redis was opened again after it had failed.
    :ivar busy: workers that have a job, or are about to get one.
    :ivar free: all other workers.
    :ivar unbegun: jobs that were taken ahead of the workers, and have not begun.
    :ivar pending: results of jobs that Redis has not confirmed.
    :ivar blocked: for how long the event loop has been blocked, seconds, or 0; of a sum, the longest.
    :ivar lag: how long the event loop took to run a callback, measured about once a second.
    :ivar jobs: by name; :data:`OTHER` stands for all names beyond the limit.
    :ivar failures: failed attempts, by the class of their exception.
    """

    version: str
    health: HealthReport
    processes: dict[str, int]
    started_at: float
    redis: bool | None
    reconnects: int
    busy: int
    free: int
    unbegun: int
    pending: int
    blocked: float
    lag: HistogramReport
    jobs: dict[str, JobReport]
    failures: dict[str, int]


def health_report(health: PoolHealth) -> HealthReport:
    """Return a health as it is in reports."""
    return {
        "live": health.live,
        "ready": health.ready,
        "state": health.state,
        "reason": health.reason,
        "since": health.since,
    }


def empty_report(health: PoolHealth) -> ProcessReport:
    """Return the report of a process in which nothing has run yet."""
    return {
        "version": version(),
        "health": health_report(health),
        "processes": {},
        "started_at": time.time(),
        "redis": None,
        "reconnects": 0,
        "busy": 0,
        "free": 0,
        "unbegun": 0,
        "pending": 0,
        "blocked": 0.0,
        "lag": {"counts": [], "sum": 0.0},
        "jobs": {},
        "failures": {},
    }


class LabelLimit:
    """Limits the values of a label. A value that was once admitted stays admitted, so that no counter ever decreases.

    :param most: how many values are admitted.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._admitted: set[str] = set()

    def label(self, value: str) -> str:
        """Return the value, or :data:`OTHER` if it is beyond the limit."""
        if value not in self._admitted:
            if len(self._admitted) >= self._most:
                return OTHER
            self._admitted.add(value)
        return value
