"""Everything that is known of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .changing import Rest
from .producers import PoolMetrics
from .pulse import Life, Silence
from .record import Hold, HookCall, Opening, Run
from .steering import SteeredJob
from .world import Fault


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a run.

    :ivar holds: when a process did not run, as it noted itself.
    :ivar silences: when no heartbeat of a process came.
    :ivar lives: by pid, from when to when a process had a heartbeat.
    :ivar plans: the newest planned instance of the periodic job each time that it was another, and when that was seen,
        epoch seconds.
    :ivar epoch: the epoch second at which the monotonic clock was 0.
    :ivar hook_calls: the calls of the hooks.
    :ivar openings: when the resources of a process were open.
    :ivar places: the payloads that are in Redis at the end, by place.
    :ivar poison: how many payloads that are no jobs were pushed.
    :ivar audit: what the audit complains of.
    :ivar surprises: what else should not have been: exit codes, defects in a log, jobs that do not come to rest.
    :ivar kinds: the kinds of jobs of which one must have run.
    :ivar fault_kinds: the kinds of faults of which one must have struck.
    :ivar steered: the jobs whose results are kept, and what became of them.
    :ivar flows: by id of a flow, how each of its nodes has ended.
    :ivar rests: the times in which periodic jobs were paused, edited or removed.
    """

    ledger: PoolMetrics
    runs: Sequence[Run]
    faults: Sequence[Fault]
    locations: Mapping[str, Sequence[bytes]]
    poison: int
    audit: Sequence[str]
    surprises: Sequence[str]
    holds: Sequence[Hold] = ()
    silences: Sequence[Silence] = ()
    lives: Mapping[int, Life] = field(default_factory=dict)
    plans: Sequence[tuple[int, float]] = ()
    epoch: float = 0.0
    hook_calls: Sequence[HookCall] = ()
    openings: Sequence[Opening] = ()
    kinds: frozenset[str] = frozenset()
    fault_kinds: frozenset[str] = frozenset()
    steered: Sequence[SteeredJob] = ()
    rests: Sequence[Rest] = ()
    flows: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
