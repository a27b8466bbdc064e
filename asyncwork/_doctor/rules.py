"""Rules for a namespace: problems of its pools, queues, locks and keys. Pure functions, which read nothing.

The overview of the web UI and the doctor call the same rules, so that one state has one wording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from .._jobs.membership import SETTLE_NAME
from .._jobs.names import check_job_name
from .._jobs.printable import plural, printable
from .._redis.heartbeat_fields import is_of_go
from .._redis.keys import Keys
from .._redis.lock_state import LockState
from ..errors import UsageError
from ..models.diagnosis import Problem
from ..models.job_record import ErrorKind
from ..models.pools import Heartbeat
from ..models.queues import JobCounts
from .heartbeats import HeartbeatHistory
from .server_rules import clock_skew, skew
from .wording import LISTED, REPAIR, listed, shell_word

_RUN = "asyncwork run app:pool"

# Minutes whose counts are read. So many expired jobs are a problem, if they are this share of those that ended.
RECENT_MINUTES, _EXPIRED_JOBS, _EXPIRED_SHARE = 10, 10, 0.1

# A pool, its number of jobs in progress of a queue (None when that was not read), and its share of the lock.
Mismatch: TypeAlias = tuple[str, int | None, int | None]


# Pools


def pool_problems(heartbeats: Sequence[Heartbeat], now: float, history: HeartbeatHistory) -> Iterator[Problem]:
    """Yield the problems of registered pools; ``now`` is Redis's clock, epoch seconds."""
    for each in heartbeats:
        where = f"{each.host or 'an unknown host'}, process {each.pid}"
        ahead = history.skew(each, now)
        if not each.heartbeat_at:
            yield Problem(
                "no_heartbeat",
                each.pool_id,
                f"pool {each.pool_id} is registered but has no heartbeat, so its jobs in progress wait for a reaper",
                "another pool requeues its jobs within seconds; if no pool runs, let the doctor do it",
                REPAIR,
            )
        elif history.is_stale(each, now):
            yield Problem(
                "stale_pool",
                each.pool_id,
                f"the pool on {where} has sent no heartbeat for {history.silence(each, now):.0f} s",
                "another pool requeues its jobs within seconds; if no pool runs, start one",
                _RUN,
            )
        elif ahead:
            yield clock_skew(each.pool_id, f"the clock of {where} is {skew(ahead)}")


def orphans(locks: Mapping[str, LockState], gone: Collection[str]) -> Iterator[Problem]:
    """Yield the problems of pools that are ``gone`` but have jobs in progress, or shares of locks."""
    running: dict[str, list[str]] = {}
    sharing: dict[str, list[str]] = {}
    count = 0
    for name, lock in locks.items():
        for pool_id in sorted(gone):
            if length := lock.in_progress.get(pool_id, 0):
                running.setdefault(name, []).append(pool_id)
                count += length
            elif lock.shares.get(pool_id, 0) != 0:
                sharing.setdefault(name, []).append(pool_id)
    if running:
        yield Problem(
            "orphans",
            listed(running),
            f"{plural(count, 'job')} of {listed(running)} {'is' if count == 1 else 'are'} in progress in pools that "
            f"are gone ({_pools_of(running)}), and will not run there",
            "a pool's reaper requeues them within about a minute; if no pool runs, let the doctor do it",
            REPAIR,
        )
    if sharing:
        yield Problem(
            "orphans",
            listed(sharing),
            f"the lock of {listed(sharing)} is held by pools that are gone ({_pools_of(sharing)}), "
            "so that jobs which do not run count against a concurrency limit",
            "a pool's reaper removes their shares within a minute; if no pool runs, let the doctor do it",
            REPAIR,
        )


def empty_shares(locks: Mapping[str, LockState], gone: Collection[str]) -> Iterator[Problem]:
    """Yield a note on pools that are ``gone`` and have nothing but shares of 0."""
    empty = {
        pool_id
        for pool_id in gone
        if not any(lock.in_progress.get(pool_id, 0) or lock.shares.get(pool_id, 0) != 0 for lock in locks.values())
    }
    if empty:
        yield Problem(
            "empty_shares",
            "",
            f"pools that are gone have shares of 0 in locks ({listed(empty)}); "
            "gocraft/work leaves them, and they do no harm",
            "remove them if you like",
            REPAIR,
        )


def _pools_of(found: Mapping[str, Sequence[str]]) -> str:
    return listed({pool_id for pool_ids in found.values() for pool_id in pool_ids})


def ignored_arguments(heartbeats: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield a note on each job name whose jobs have arguments that the handler does not take.

    It is not a problem, because such arguments may be meant for a middleware.
    """
    counts: dict[str, Counter[str]] = {}
    for each in heartbeats:
        for ignored in each.ignored:
            counts.setdefault(ignored.job_name, Counter())[ignored.argument] += ignored.count
    for name, arguments in sorted(counts.items()):
        ignored_ones = ", ".join(f"{key!r} ({count} times)" for key, count in arguments.most_common(LISTED))
        yield Problem(
            "ignored_arguments",
            name,
            f"jobs {name!r} have arguments that their handler does not take, and run without them: {ignored_ones}",
            "correct the name where the jobs are enqueued, or give the handler such a parameter",
        )


# Queues


def _without_entries(found: Mapping[str, int]) -> Mapping[str, int]:
    return {name: count for name, count in found.items() if name != SETTLE_NAME}


def unserved(counts: Mapping[str, Mapping[str, int]], live: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield the problems of jobs that no live pool has a handler for.

    :param counts: by ``waiting``, ``retry`` and ``scheduled``, as far as they were read, how many jobs of each name.
    """
    served = {name for each in live for name in each.job_names}
    if not all(map(is_of_go, live)):
        # No handler runs these entries: the requeuers of asyncwork's pools take them from the sorted sets.
        counts = {state: _without_entries(found) if state != "waiting" else found for state, found in counts.items()}
    names = sorted({name for found in counts.values() for name in found if found[name] and name not in served})
    if live:
        for name in names:
            yield Problem(
                "no_workers",
                name,
                f"no running pool has a handler for {printable(name)}, so its jobs do not run "
                f"({_in_words({state: found.get(name, 0) for state, found in counts.items()})})",
                "start a pool that has one, or delete the jobs (asyncwork web)",
                _RUN,
            )
    elif names:
        total = {state: sum(found.get(name, 0) for name in names) for state, found in counts.items()}
        text = f"no pool is running, so no jobs do: {_in_words(total)} ({listed(names)})"
        yield Problem("no_workers", "", text, "start a pool", _RUN)


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def unregistered_queues(waiting: Mapping[str, int], keys: Keys) -> Iterator[Problem]:
    """Yield the problem that jobs are ``waiting`` in queues whose names are not registered."""
    if waiting:
        count, names = sum(waiting.values()), sorted(waiting)
        yield Problem(
            "unknown_queue",
            listed(names),
            f"{plural(count, 'job')} of {listed(names)} {'waits' if count == 1 else 'wait'}, but {keys.known_jobs} "
            "lacks the name, so that the web UI does not show them and their retries are not requeued",
            "add it; a program that pushes jobs itself must add it too",
            f"redis-cli SADD {' '.join(map(shell_word, [keys.known_jobs, *names]))}",
        )


def bad_names(names: Iterable[str], keys: Keys) -> Iterator[Problem]:
    """Yield the problems of registered names that no pool can serve."""
    for name in names:
        if reason := name_error(name):
            yield Problem(
                "bad_name",
                name,
                f"{keys.known_jobs} has a name that no pool can serve: {printable(reason)}",
                "remove it (its queue stays), and fix the program that enqueued it",
                f"redis-cli SREM {shell_word(keys.known_jobs)} {shell_word(name)}",
            )


def name_error(name: str) -> str:
    """Return why no job can have this name, or an empty text."""
    try:
        check_job_name(name)
    except UsageError as error:
        return str(error)
    return ""


# Locks


def lock_drift(
    name: str, lock: LockState, limit: int, mismatches: Sequence[Mismatch], *, sum_differs: bool
) -> Iterator[Problem]:
    """Yield the problem that a queue's lock, or a pool's share of it, is wrong.

    :param limit: how many jobs of the queue may run at once; 0 for any number.
    :param sum_differs: whether the lock is known to differ from the sum of the shares.
    """
    parts = []
    if sum_differs:
        value = "not a number" if lock.lock is None else lock.lock
        parts.append(f"the lock of {printable(name)} is {value}, but the pools' shares of it sum to {lock.held}")
    for pool_id, length, share in mismatches:
        value = "not a number" if share is None else share
        if length is None:
            parts.append(f"pool {pool_id}'s share of the lock of {printable(name)} is {value}")
        else:
            jobs = plural(length, "job")
            parts.append(f"pool {pool_id} runs {jobs} of {printable(name)}, but its share of the lock is {value}")
    if parts:
        effect = (
            f"too few jobs run, or more than its limit of {limit}" if limit else "a concurrency limit would not hold"
        )
        yield Problem(
            "lock_drift",
            name,
            f"{'; '.join(parts)}: {effect}",
            "a pool's reaper corrects most locks within a minute; otherwise let the doctor do it, which is safe while "
            "pools run",
            REPAIR,
        )


# Keys and payloads


def wrong_types(found: Mapping[str, tuple[str, str]], keys: Keys) -> Iterator[Problem]:
    """Yield the problems of keys of a wrong type.

    :param found: by key, the type of its value and the type that it must have.
    """
    for key, (kind, wanted) in found.items():
        rewritten = key in (keys.known_jobs, keys.worker_pools, keys.reapers, keys.periodic) or key.startswith(
            f"{keys.worker_pools}:"
        )
        yield Problem(
            "wrong_type",
            key,
            f"{printable(key)} holds a {kind}, but must hold a {wanted}; what belongs there can be neither read nor "
            "written",
            "a running pool deletes it and writes it again within seconds; if no pool runs, rename it"
            if rewritten
            else "find the program that wrote it, and rename it",
            f"redis-cli RENAME {shell_word(key)} {shell_word(f'{key}.wrong_type')}",
        )


def unclaimed_keys(unclaimed: Collection[str], names: Iterable[str], keys: Keys) -> Iterator[Problem]:
    """Yield the problem of unique keys that are held for no job.

    :param names: job names that the keys may be for.
    """
    if unclaimed:
        # The text names the jobs, but not their arguments, which may be confidential.
        held = [name for name in names if any(key.startswith(f"{keys.unique}{name}:") for key in unclaimed)]
        are = f"{len(unclaimed)} {'unique key is' if len(unclaimed) == 1 else 'unique keys are'}"
        yield Problem(
            "unclaimed_unique",
            "",
            f"{are} held{f' for {listed(held)}' if held else ''}, although no such job waits, runs or is to be "
            "retried; for up to a day, a new one is rejected as a duplicate",
            "let the doctor free the keys that are held for no job",
            REPAIR,
        )


def expiring(recent: Mapping[str, JobCounts]) -> Iterator[Problem]:
    """Yield the problems of queues whose jobs often expire.

    :param recent: the counts of the last minutes, by queue; that of all queues together has no name.
    """
    for name, counts in recent.items():
        ended = counts.processed - counts.retried
        if name and counts.expired >= _EXPIRED_JOBS and counts.expired > ended * _EXPIRED_SHARE:
            yield Problem(
                "expiring",
                name,
                f"{counts.expired} of the {ended} jobs of {printable(name)} that ended in the last {RECENT_MINUTES} "
                "minutes had expired before they could start, and were dropped",
                "run more workers, give its jobs a higher priority, or give them longer with expires=…",
            )


def quarantined(total: int, kinds: Sequence[ErrorKind], keys: Keys) -> Iterator[Problem]:
    """Yield the problem of payloads in the quarantine.

    :param kinds: their reasons, as far as they were read.
    """
    if total:
        reasons = [f"{each.count} from {listed(each.names)}: {printable(each.kind)}" for each in kinds[:LISTED]]
        if len(kinds) > LISTED:
            reasons.append("…")
        because = f" ({'; '.join(reasons)})" if reasons else ""
        yield Problem(
            "quarantine",
            "",
            f"{total} {'payload is not a job' if total == 1 else 'payloads are not jobs'}, "
            f"quarantined and never run{because}",
            "inspect them (asyncwork web), fix the program that wrote them, and delete them",
            f"redis-cli LRANGE {shell_word(keys.quarantine)} 0 9",
        )


def not_read(*, jobs_read: bool, unique_keys_read: bool, records_read: bool) -> Iterator[Problem]:
    """Yield a note on what the doctor has not read because there was too much of it."""
    if not jobs_read:
        text = "there are too many jobs to read; unique keys, and handlers for retried or scheduled jobs"
        yield Problem("not_read", "", f"{text}, were not checked", "run the doctor again when there are fewer")
    elif not unique_keys_read:
        text = "there are too many unique keys to read; whether their jobs exist was not checked"
        yield Problem("not_read", "", text, "run the doctor again when there are fewer")
    if not records_read:
        text = "there are too many records or streams of jobs to read; whether they expire, and waits, were not checked"
        yield Problem("not_read", "", text, "run the doctor again when there are fewer")
