"""Queues, and counts of jobs: by location, and by minute or day.

``QueueInfo`` has more than ten fields, because each is one column of what is shown of a queue, passed by name.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

from .._health.histogram import quantile
from .._jobs.printable import shown
from ..errors import UsageError
from ..rate import Rate


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue.

    :ivar count: the number of jobs that wait in it.
    :ivar latency: how long ago the next job to run was enqueued, seconds; 0 when no job waits.
    :ivar running: the number of its jobs that run now, over all pools.
    :ivar max_concurrency: how many of its jobs may run at once, over all pools; 0 for any number.
    :ivar paused: whether pools fetch no jobs from it until it is unpaused.
    :ivar pools: the number of live pools that serve it.
    :ivar rate: its rate as ``COUNT/SECONDS/BURST``, which :meth:`Rate.parse` reads; empty if any number may start.
    :ivar rate_set: whether that was set at run time, and not by the code.
    :ivar tokens: how many of its jobs the rate lets start now; 0 if it has no rate.
    :ivar rests_for: for how long pools fetch no jobs from it, because one of them was rate limited, seconds; 0 if it
        does not rest.
    :ivar max_waiting: how many jobs may wait in it; 0 for any number.
    :ivar chunk: how many jobs one call of its handler takes at most; 0 for one job a call.
    :ivar wait: seconds for which a chunk waits for more jobs.
    :ivar fair: whether the tenants to which its jobs belong take turns.
    :ivar tenants: the number of tenants of a fair queue whose jobs wait.
    :ivar tenants_held: the number of those none of whose jobs may start: at the concurrency limit of a tenant, paused,
        without a token, resting, or waiting for a retry of an ordered job.
    :ivar duplicates_dropped: how many jobs of its name were not enqueued so far, because another one kept them out.
    :ivar duplicates_replaced: how many were not, but another one that waited has their arguments.
    """

    name: str
    count: int
    latency: int
    running: int = 0
    max_concurrency: int = 0
    paused: bool = False
    pools: int = 0
    rate: str = ""
    rate_set: bool = False
    tokens: int = 0
    rests_for: float = 0.0
    max_waiting: int = 0
    chunk: int = 0
    wait: float = 0.0
    fair: bool = False
    tenants: int = 0
    tenants_held: int = 0
    duplicates_dropped: int = 0
    duplicates_replaced: int = 0

    @property
    def rate_label(self) -> str:
        """The rate in words, such as ``100 per 60 s``; empty if there is none."""
        return Rate.parse(self.rate).label if self.rate else ""

    @property
    def is_full(self) -> bool:
        """Whether as many jobs wait as may, so that no more are enqueued."""
        return 0 < self.max_waiting <= self.count


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of a fair queue.

    :ivar name: empty for the jobs without a tenant.
    :ivar waiting: the number of its jobs that wait.
    :ivar running: the number of its jobs that run, over all pools.
    :ivar latency: how long ago the next of its jobs was enqueued, seconds; 0 when none waits.
    :ivar concurrency: how many of its jobs may run at once, over all pools; 0 for any number.
    :ivar weight: how many turns it gets for each turn of a tenant with the weight 1.
    :ivar paused: whether none of its jobs is fetched.
    :ivar held: whether jobs of it wait, and may not start now.
    :ivar retry_of: the id of the job whose retry the others wait for, because they are ordered; empty if they do not.
    :ivar rate: how many of its jobs may start within a time, over all pools, as ``COUNT/SECONDS/BURST``, which
        :meth:`Rate.parse` reads; empty for any number.
    :ivar opens_in: if it is held until its next token comes, or because it rests: for how long, seconds; else
        ``None``.
    :ivar rests: whether it rests, because one of its jobs was rate limited.
    """

    name: str
    waiting: int
    running: int
    latency: int
    concurrency: int
    weight: float
    paused: bool
    held: bool
    retry_of: str
    rate: str = ""
    opens_in: float | None = None
    rests: bool = False

    @property
    def rate_label(self) -> str:
        """The rate in words, such as ``10 per 1 s``; empty if there is none."""
        return Rate.parse(self.rate).label if self.rate else ""


@dataclass(frozen=True, slots=True)
class FairQueue:
    """A fair queue, and its tenants that have jobs or settings of their own.

    :ivar name: the queue's name.
    :ivar concurrency: how many jobs of each tenant may run at once, over all pools; 0 for any number.
    :ivar max_waiting: how many jobs of each tenant may wait; 0 for any number.
    :ivar ordered: whether the jobs of each tenant run one after the other.
    :ivar tenants: those whose jobs have waited longest first.
    :ivar rate: how many jobs of each tenant may start within a time, over all pools, as ``COUNT/SECONDS/BURST``; empty
        for any number.
    """

    name: str
    concurrency: int
    max_waiting: int
    ordered: bool
    tenants: list[Tenant]
    rate: str = ""

    @property
    def rate_label(self) -> str:
        """The rate in words, such as ``10 per 1 s``; empty if there is none."""
        return Rate.parse(self.rate).label if self.rate else ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The number of jobs in each location, over all queues.

    :ivar queued: jobs that wait in queues.
    :ivar busy: jobs that run now, according to the locks.
    """

    queued: int = 0
    busy: int = 0
    retry: int = 0
    scheduled: int = 0
    dead: int = 0
    quarantine: int = 0


@dataclass(frozen=True, slots=True)
class JobCounts:
    """The counts of a minute or a day. Only pools of asyncwork count.

    :ivar at: the start of the minute or day, epoch seconds.
    :ivar processed: attempts that ended, whether they succeeded or failed, and jobs that had expired.
    :ivar failed: attempts that failed.
    :ivar retried: failed attempts whose job is retried.
    :ivar dead: failed attempts whose job is dead.
    :ivar run_ms: the total running time of the attempts, milliseconds.
    :ivar wait_ms: the total time that their jobs waited in queues, milliseconds; each is measured in whole seconds.
    :ivar expired: jobs that were dropped, because they had not started in time.
    :ivar cancelled: jobs that were cancelled while a pool had them. One that is cancelled where it waits is deleted at
        once, and not counted.
    """

    at: int = 0
    processed: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    run_ms: int = 0
    wait_ms: int = 0
    expired: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class RunTimes:
    """How long the attempts at the jobs of a queue took. Only pools of asyncwork count.

    :ivar bounds: where the buckets end, seconds, the shortest first.
    :ivar counts: the attempts in each bucket: at index n, those shorter than ``bounds[n]`` that are not at an index
        before. There is one more than bounds, for all that took longer.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    def __add__(self, other: RunTimes) -> RunTimes:
        """Return how long the attempts of both took, such as those of two days."""
        return RunTimes(self.bounds, tuple(map(operator.add, self.counts, other.counts)))

    @property
    def total(self) -> int:
        """The number of all attempts."""
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Return an estimate of the seconds that a share of all attempts did not exceed; 0 if there were none.

        Times are taken to be spread evenly over their bucket. Those in the last count as its beginning.

        :param share: from 0 to 1, such as 0.95.
        :raises UsageError: when it is another number.
        """
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise UsageError(f"share must be a number from 0 to 1, such as 0.95, not {shown(share)}")
        return quantile(self.counts, share, self.bounds)
