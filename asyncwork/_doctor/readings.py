"""The readings of a namespace, and the findings in them.

While jobs move, a reading is inconsistent for moments. So the doctor reads repeatedly, and trusts only the findings
that every reading has, for as long as a live pool needs to send a heartbeat.

``Readings`` has more than ten fields, because each is the result of one read, passed by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from .._redis.lock_state import LockState
from .._redis.periodic_changes import ChangesReading
from ..models.diagnosis import UniqueKey
from ..models.job_record import ErrorKinds
from ..models.pools import Heartbeat
from ..models.queues import JobCounts, QueueInfo
from ..models.unique_holder import UniqueHolder
from .batch_rules import BatchFindings
from .flow_rules import FlowFindings
from .heartbeats import HeartbeatHistory
from .rate_rules import RatesReading


class FindingKind(StrEnum):
    """The kinds of findings about a pool or a queue."""

    # Pools: registered without a heartbeat; its heartbeat does not change; its clock is wrong; not registered, but it
    # has jobs in progress or a share of a lock.
    NO_HEARTBEAT = "no heartbeat"
    STALE = "stale"
    SKEWED = "skewed"
    GONE = "gone"
    # Queues: a share differs from the number of jobs in progress; the lock differs from the sum of the shares; jobs
    # wait, but the name is not registered.
    SHARE = "share"
    LOCK = "lock"
    UNREGISTERED = "unregistered"


class Finding(NamedTuple):
    """Something that looks wrong at one reading.

    :ivar subject: the pool or the queue.
    :ivar detail: what must be the same at each reading.
    """

    kind: FindingKind
    subject: str
    detail: object = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Pools and queues at one time.

    :ivar now: Redis's clock, epoch seconds.
    :ivar heartbeats: of the registered pools.
    :ivar locks: by queue.
    :ivar gone: by pool that is not registered but has jobs in progress or a share of a lock, its ``heartbeat_at``.
    :ivar unregistered: by queue whose name is not registered, how many jobs wait in it.
    :ivar changes: what was changed in periodic jobs at run time.
    """

    now: float
    heartbeats: Sequence[Heartbeat]
    locks: Mapping[str, LockState]
    gone: Mapping[str, bytes] = field(default_factory=dict)
    unregistered: Mapping[str, int] = field(default_factory=dict)
    changes: ChangesReading = field(default_factory=ChangesReading)


@dataclass(frozen=True, slots=True)
class ServerReading:
    """The server and the clocks.

    :ivar info: the fields of Redis's INFO.
    :ivar settings: some of its settings; ``None`` when this user may not read them.
    :ivar ahead: by how many seconds this machine's clock is ahead of Redis's.
    """

    version: str
    info: Mapping[str, Any]
    settings: Mapping[str, str] | None
    ahead: float


@dataclass(frozen=True, slots=True)
class JobsReading:
    """The jobs that have not ended.

    :ivar count: how many there are.
    :ivar waiting: how many wait in each queue, registered or not.
    :ivar later: by ``retry`` and ``scheduled``, how many of each name; ``None`` when that was not read.
    :ivar unclaimed: unique keys that are held for no job; ``None`` when that was not read.
    :ivar cancels: ids that are marked to be cancelled and that no job has, with the time of the mark, epoch seconds.
    :ivar awaited: ids that are waited for and that no job has, although none has ended with them.
    :ivar stepped: ids whose steps are recorded and that no job has.
    :ivar batches: what is wrong with batches.
    :ivar flows: what is wrong with flows.
    :ivar tenants: by fair queue, for how many tenants Redis holds something that does not follow from its jobs; those
        where all is right are left out.
    :ivar holds: keys that are held by jobs which do not exist, or have ended.
    :ivar successors: ids of jobs that wait for the end of another, and that no holder of a key knows.
    """

    count: int
    waiting: Mapping[str, int]
    later: Mapping[str, Counter[str]] | None
    unclaimed: Mapping[str, UniqueKey] | None
    cancels: Mapping[str, int] = field(default_factory=dict)
    awaited: Sequence[str] = ()
    stepped: Sequence[str] = ()
    batches: BatchFindings = field(default_factory=BatchFindings)
    flows: FlowFindings = field(default_factory=FlowFindings)
    tenants: Mapping[str, int] = field(default_factory=dict)
    holds: Mapping[str, UniqueHolder] = field(default_factory=dict)
    successors: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RecordsReading:
    """The records and streams of jobs whose results are kept, and whether keys have the expiry that they should have.

    :ivar kept: the job names whose results are kept.
    :ivar unexpiring: the keys of records and streams, and the one that keeps pools from looking ahead, without an
        expiry.
    :ivar complete: whether all were read; there may be too many.
    """

    kept: Collection[str]
    unexpiring: Sequence[str]
    complete: bool


@dataclass(frozen=True, slots=True)
class Readings:
    """All that the doctor has read of a namespace.

    :ivar wrong_types: by key of a wrong type, the type of its value and the type that it must have.
    :ivar last: the last reading of pools and queues.
    :ivar history: the heartbeats of all readings.
    :ivar findings: those that every reading had.
    :ivar queues: those whose names are registered.
    :ivar recent: the counts of the last minutes, by queue; empty if no job has expired in that time.
    :ivar rates: the rates of the queues.
    """

    server: ServerReading
    wrong_types: Mapping[str, tuple[str, str]]
    last: Reading
    history: HeartbeatHistory
    findings: Sequence[Finding]
    queues: Sequence[QueueInfo]
    jobs: JobsReading
    quarantined: ErrorKinds
    records: RecordsReading
    recent: Mapping[str, JobCounts] = field(default_factory=dict)
    rates: RatesReading = field(default_factory=RatesReading)

    def subjects(self, *kinds: FindingKind) -> list[str]:
        """Return the pools or queues of the findings of these kinds, sorted."""
        return sorted(each.subject for each in self.findings if each.kind in kinds)


def findings(reading: Reading, history: HeartbeatHistory) -> Iterator[Finding]:
    """Yield what looks wrong at a reading that ``history`` has recorded."""
    beating = set()
    for each in reading.heartbeats:
        if not each.heartbeat_at:
            yield Finding(FindingKind.NO_HEARTBEAT, each.pool_id)
            continue
        beating.add(each.pool_id)
        if history.is_stale(each, reading.now):
            yield Finding(FindingKind.STALE, each.pool_id)
        elif history.skew(each, reading.now):
            yield Finding(FindingKind.SKEWED, each.pool_id)
    for pool_id, heartbeat_at in reading.gone.items():
        yield Finding(FindingKind.GONE, pool_id, heartbeat_at)
    for name, lock in reading.locks.items():
        if lock.excess != 0:
            yield Finding(FindingKind.LOCK, name, lock.excess)
        for pool_id, length, share in lock.mismatches():
            if pool_id in beating:
                yield Finding(FindingKind.SHARE, name, (pool_id, surplus(length, share)))
    yield from (Finding(FindingKind.UNREGISTERED, name) for name, count in reading.unregistered.items() if count)


def surplus(length: int, share: int | None) -> int | None:
    """Return by how much a pool's share exceeds its number of jobs in progress; ``None`` when it is not a number."""
    return None if share is None else share - length
