"""What a client answers: how a namespace is, jobs that were found, and what was done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .health import Threat
from .job_record import JobRecord
from .records import Heartbeat, QueueInfo, Sizes, UniqueKey


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the jobs in a place.

    :ivar jobs: at most ``per_page`` of them.
    :ivar total: how many there are in all.
    :ivar page: which page this is, from 1.
    """

    jobs: list[JobRecord]
    total: int
    page: int
    per_page: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found so far.

    :ivar jobs: those that match, in the order of the search.
    :ivar cursor: where to go on; empty when everything has been looked at.
    :ivar looked: how many jobs were looked at in this call.
    :ivar total: how many there are in all where was searched.
    """

    jobs: list[JobRecord]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Jobs whose errors differ in their values only.

    :ivar kind: what the errors have in common; empty for jobs without an error.
    :ivar count: how many jobs.
    :ivar names: how many of each job name.
    :ivar newest: the largest time of these jobs in their place, epoch seconds; 0 where they have none.
    :ivar example: one of the errors, whole.
    :ivar oldest: the smallest time, epoch seconds; 0 where they have none.
    """

    kind: str
    count: int
    names: dict[str, int]
    newest: float
    example: str
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """The errors of a place, by kind, the most frequent first; the other fields are as in :class:`Found`."""

    kinds: list[ErrorKind]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an act on jobs has done.

    :ivar done: how many jobs were moved or deleted; one that was gone meanwhile does not count.
    :ivar looked: how many were looked at.
    :ivar cursor: where to go on; empty when nothing is left to do.
    :ivar undo: for :meth:`Client.restore`, for ten minutes; empty when it cannot be undone.
    """

    done: int
    looked: int
    cursor: str = ""
    undo: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted at once, and can be brought back.

    :ivar undo: for :meth:`Client.restore`.
    :ivar place: where the jobs were.
    :ivar who: deleted them, as far as is known; empty when it is not.
    :ivar at: when, epoch seconds.
    :ivar until: how long it can be undone, epoch seconds.
    :ivar count: how many jobs.
    :ivar first: one of them.
    """

    undo: str
    place: str
    who: str
    at: float
    until: float
    count: int
    first: JobRecord


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Redis itself.

    :ivar version: such as ``7.0.15``.
    :ivar memory: bytes that its data take.
    :ivar memory_limit: bytes that they may take; 0 for no limit.
    :ivar policy: what it does when they would take more; anything but ``noeviction`` loses jobs.
    :ivar clients: how many connections it has.
    :ivar uptime: seconds since it was started.
    """

    version: str
    memory: int
    memory_limit: int
    policy: str
    clients: int
    uptime: int


@dataclass(frozen=True, slots=True)
class Overview:
    """A namespace at a glance, all of one moment.

    :ivar heartbeats: what each pool last wrote about itself, also those that are gone but were not reaped yet.
    :ivar queues: every queue, sorted by name.
    :ivar threats: what threatens the namespace, the worst first.
    """

    heartbeats: list[Heartbeat]
    queues: list[QueueInfo]
    sizes: Sizes
    threats: list[Threat]
    server: ServerInfo


@dataclass(frozen=True, slots=True)
class Cures:
    """What a repair may do, as of the diagnosis; it makes sure that it still holds.

    :ivar gone: pools that are gone: by id, what its heartbeat was (empty for none) and the queues where it holds
        something.
    :ivar locks: by queue whose lock is wrong, the pools that may hold some of it.
    :ivar unknown: queues to be made known.
    :ivar unclaimed: unique keys that are held for no job, as they were when they were looked at.
    """

    gone: Mapping[str, tuple[bytes, Sequence[str]]] = field(default_factory=dict)
    locks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    unclaimed: Mapping[str, UniqueKey] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.gone or self.locks or self.unknown or self.unclaimed)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """How a namespace is, having been watched for a while.

    :ivar faults: what is wrong, the worst first.
    :ivar notes: what is worth knowing and no fault.
    :ivar version: of Redis.
    :ivar persistence: how Redis keeps its data, in words.
    :ivar pools: how many pools live.
    :ivar queues: how many queues there are.
    :ivar jobs: how many jobs have not ended.
    :ivar cures: what of it :meth:`Client.repair` can mend.
    """

    faults: list[Threat]
    notes: list[Threat]
    version: str
    persistence: str
    pools: int
    queues: int
    jobs: int
    cures: Cures = field(repr=False)
