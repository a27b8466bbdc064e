"""The diagnosis that repeated readings of a namespace allow, and the repairs that it suggests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._redis.keys import Keys
from ..models.diagnosis import Diagnosis, Problem, Repairs
from ..models.pools import Heartbeat
from . import batch_rules, record_rules, rules
from .periodic_rules import periodic_problems, unused_changes
from .queue_rules import held_queues
from .rate_rules import rate_problems
from .readings import FindingKind, Readings, surplus
from .request_rules import unfollowed_requests, unreadable_requests
from .server_rules import no_persistence, own_clock, persistence, server_problems, unknown_persistence
from .tenant_rules import tenant_drift


def make_diagnosis(readings: Readings, keys: Keys) -> Diagnosis:
    """Return what is wrong with a namespace, and how to repair it."""
    last, server, jobs = readings.last, readings.server, readings.jobs
    gone = readings.subjects(FindingKind.GONE)
    lifeless = set(readings.subjects(FindingKind.STALE, FindingKind.NO_HEARTBEAT))
    suspects = {*lifeless, *readings.subjects(FindingKind.SKEWED)}
    live = [each for each in last.heartbeats if each.pool_id not in lifeless]
    unregistered = _to_register(readings, keys)
    problems = [
        *server_problems({**(server.settings or {}), **server.info}),
        *no_persistence(server.info, server.settings),
        *rules.wrong_types(readings.wrong_types, keys),
        *rules.orphans(last.locks, gone),
        *rules.pool_problems(
            [each for each in last.heartbeats if each.pool_id in suspects], last.now, readings.history
        ),
        *own_clock(server.ahead),
        *unfollowed_requests(live),
        *rules.unserved({"waiting": jobs.waiting, **(jobs.later or {})}, live),
        *_lock_drift(readings),
        *tenant_drift(jobs.tenants),
        *rules.unregistered_queues({name: last.unregistered[name] for name in unregistered}, keys),
        *rules.bad_names([each.name for each in readings.queues], keys),
        *rules.unclaimed_keys(jobs.unclaimed or {}, jobs.waiting, keys),
        *periodic_problems(last.changes, live, keys),
        *rules.expiring(readings.recent),
        *record_rules.lost_holds(jobs.holds),
        *record_rules.lost_successors(jobs.successors),
        *record_rules.lost_cancels(jobs.cancels),
        *record_rules.unkept_results(readings.records.kept, live),
        *record_rules.lost_waits(jobs.awaited),
        *record_rules.lost_steps(jobs.stepped),
        *batch_rules.batch_problems(jobs.batches),
        *record_rules.unexpiring(readings.records.unexpiring),
        *rate_problems(readings.rates, _bad_rate_states(readings)),
        *rules.quarantined(readings.quarantined.total, readings.quarantined.kinds, keys),
    ]
    return Diagnosis(
        problems,
        _notes(readings, live, gone),
        version=server.version,
        persistence=persistence(server.info, server.settings),
        pools=len(live),
        queues=len(jobs.waiting),
        jobs=jobs.count,
        repairs=_repairs(readings, unregistered),
    )


def _notes(readings: Readings, live: Sequence[Heartbeat], gone: Sequence[str]) -> list[Problem]:
    """Return what is worth knowing but is no problem."""
    server, jobs = readings.server, readings.jobs
    return [
        *unknown_persistence(server.info, server.settings),
        *rules.empty_shares(readings.last.locks, gone),
        *held_queues(readings.queues),
        *rules.ignored_arguments(live),
        *unreadable_requests(live),
        *unused_changes(readings.last.changes, readings.last.heartbeats),
        *rules.not_read(
            jobs_read=jobs.later is not None,
            unique_keys_read=jobs.unclaimed is not None,
            records_read=readings.records.complete,
        ),
    ]


def _repairs(readings: Readings, unregistered: Sequence[str]) -> Repairs:
    jobs = readings.jobs
    return Repairs(
        _to_reap(readings),
        _to_recompute(readings),
        unregistered,
        jobs.unclaimed or {},
        jobs.cancels,
        jobs.awaited,
        readings.records.unexpiring,
        abandoned=sorted({*jobs.batches.abandoned, *jobs.batches.overdue}),
        lost_members=jobs.batches.lost,
        holds=jobs.holds,
        rates=readings.rates.invalid_rates(),
        rate_states=_bad_rate_states(readings),
        limits=sorted(readings.rates.limits),
        tenants=sorted(jobs.tenants),
        stepped=jobs.stepped,
    )


def _bad_rate_states(readings: Readings) -> list[str]:
    names = {each.name for each in readings.queues}
    return readings.rates.invalid_states(names, readings.last.now)


def _lock_drift(readings: Readings) -> Iterator[Problem]:
    limits = {each.name: each.max_concurrency for each in readings.queues}
    differing = set(readings.subjects(FindingKind.LOCK))
    for name in sorted(_to_recompute(readings)):
        lock = readings.last.locks[name]
        confirmed = {
            each.detail for each in readings.findings if each.kind == FindingKind.SHARE and each.subject == name
        }
        mismatches = [each for each in lock.mismatches() if (each[0], surplus(*each[1:])) in confirmed]
        yield from rules.lock_drift(name, lock, limits.get(name, 0), mismatches, sum_differs=name in differing)


def _to_reap(readings: Readings) -> dict[str, tuple[bytes, Sequence[str]]]:
    """Return the pools to reap: by id, their ``heartbeat_at`` and the queues where they hold something."""
    locks = readings.last.locks
    heartbeats = {**dict.fromkeys(readings.subjects(FindingKind.NO_HEARTBEAT), b""), **readings.last.gone}
    return {
        pool_id: (heartbeats[pool_id], [name for name, lock in locks.items() if pool_id in lock.holders])
        for pool_id in readings.subjects(FindingKind.GONE, FindingKind.NO_HEARTBEAT)
    }


def _to_recompute(readings: Readings) -> dict[str, Sequence[str]]:
    """Return the queues whose locks to recompute, and the pools that may have jobs of them in progress."""
    names = {*readings.subjects(FindingKind.LOCK, FindingKind.SHARE)}
    return {name: sorted(readings.last.locks[name].in_progress) for name in names}


def _to_register(readings: Readings, keys: Keys) -> list[str]:
    """Return the queues whose names to register; none when the key of the names is not a set."""
    if keys.known_jobs in readings.wrong_types:
        return []
    return [name for name in readings.subjects(FindingKind.UNREGISTERED) if not rules.name_error(name)]
