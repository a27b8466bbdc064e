"""The status and the diagnosis of a namespace: its server, its problems and the repairs that they need.

``Repairs`` has more than ten fields, because each is a repair of another kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .pools import Heartbeat
from .queues import QueueInfo, Sizes
from .unique_holder import UniqueHolder


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a namespace, or one that is about to occur.

    :ivar kind: ``eviction``, ``replica``, ``memory``, ``clients``, ``persistence``, ``orphans``, ``no_heartbeat``,
        ``stale_pool``, ``clock_skew``, ``unfollowed_request``, ``no_workers``, ``lock_drift`` or ``quarantine``; the
        doctor reports more kinds.
    :ivar subject: the queue, pool or key that has the problem; empty for the server or the namespace.
    :ivar text: the problem in words.
    :ivar remedy: what to do.
    :ivar command: a command line for it, or empty.
    """

    kind: str
    subject: str
    text: str
    remedy: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The Redis server.

    :ivar version: such as ``7.0.15``.
    :ivar memory: the memory that it uses, bytes.
    :ivar memory_limit: its ``maxmemory``, bytes; 0 for no limit.
    :ivar policy: its ``maxmemory-policy``; any but ``noeviction`` loses jobs.
    :ivar clients: the number of its connections.
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
    """The status of a namespace at one time.

    :ivar heartbeats: the heartbeat of each pool, also of dead pools that no reaper has removed yet.
    :ivar queues: every queue, sorted by name.
    :ivar problems: the problems that one reading shows, the worst first.
    """

    heartbeats: list[Heartbeat]
    queues: list[QueueInfo]
    sizes: Sizes
    problems: list[Problem]
    server: ServerInfo


class UniqueKey(NamedTuple):
    """A unique key, at the time when it was read.

    :ivar end: when it expires, epoch milliseconds of Redis's clock; 0 for never.
    :ivar owner: the id of the job that holds it; empty when the key has no owner, as with gocraft/work.
    """

    end: int
    owner: str


class LostMembers(NamedTuple):
    """Members of a batch that have not ended and are nowhere.

    :ivar total: how many members the batch had when it was read.
    :ivar left: how many of them had not ended.
    :ivar numbers: those to be counted as failed.
    """

    total: int
    left: int
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Repairs:
    """The repairs that a diagnosis suggests. Each is made only if the namespace is still as it was diagnosed.

    :ivar gone: by id of a dead pool, its ``heartbeat_at`` (empty for none), and the queues where it has jobs in
        progress or a share of the lock.
    :ivar locks: by queue whose lock is wrong, the pools that may have jobs of it in progress.
    :ivar unknown: queues whose names are to be registered.
    :ivar unclaimed: unique keys that are held for no job.
    :ivar cancels: ids of jobs that are marked to be cancelled and do not exist, with the time of the mark.
    :ivar awaited: ids of jobs that are waited for and do not exist.
    :ivar unexpiring: keys that have no expiry, and should.
    :ivar abandoned: ids of batches that are to be closed, because their creators will not, or that have to schedule
        callbacks.
    :ivar lost_members: by id of a batch, its members that are nowhere.
    :ivar holds: keys that are held by jobs which do not exist, or have ended.
    :ivar rates: job names with a rate that cannot be read.
    :ivar rate_states: job names for which the tokens that are taken cannot be read, or are of no queue.
    :ivar limits: fields of the hash of shared limits that cannot be read.
    :ivar stepped: ids of jobs whose steps are recorded and that do not exist.
    :ivar tenants: fair queues for whose tenants Redis holds something that does not follow from their jobs.
    """

    gone: Mapping[str, tuple[bytes, Sequence[str]]] = field(default_factory=dict)
    locks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    unclaimed: Mapping[str, UniqueKey] = field(default_factory=dict)
    cancels: Mapping[str, int] = field(default_factory=dict)
    awaited: Sequence[str] = ()
    unexpiring: Sequence[str] = ()
    abandoned: Sequence[str] = ()
    lost_members: Mapping[str, LostMembers] = field(default_factory=dict)
    holds: Mapping[str, UniqueHolder] = field(default_factory=dict)
    rates: Sequence[str] = ()
    rate_states: Sequence[str] = ()
    limits: Sequence[str] = ()
    tenants: Sequence[str] = ()
    stepped: Sequence[str] = ()

    def __bool__(self) -> bool:
        found = (self.gone, self.locks, self.unknown, self.unclaimed, self.cancels, self.awaited, self.unexpiring)
        more = (self.holds, self.tenants, self.stepped, self.abandoned, self.lost_members)
        limits = (self.rates, self.rate_states, self.limits)
        return any(map(bool, (*found, *more, *limits)))


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of a namespace, from repeated readings.

    :ivar problems: the problems, the worst first.
    :ivar notes: what is worth knowing but is not a problem.
    :ivar version: the version of Redis.
    :ivar persistence: how Redis persists its data, in words.
    :ivar pools: the number of live pools.
    :ivar queues: the number of queues.
    :ivar jobs: the number of jobs that have not ended.
    :ivar repairs: the repairs that :meth:`Client.repair` can make.
    """

    problems: list[Problem]
    notes: list[Problem]
    version: str
    persistence: str
    pools: int
    queues: int
    jobs: int
    repairs: Repairs = field(repr=False)
