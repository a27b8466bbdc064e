"""What is wrong with a namespace that is at work, told from repeated looks at it. Pure: decides, reads nothing.

While jobs move, much looks wrong for a moment. So each look gives signs, and only those count that every look has
given, for as long as a pool that lives needs to show that it does.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._jobs.names import check_job_name
from .._redis.keys import Keys
from ..errors import UsageError
from ..models import Diagnosis, ErrorKinds, Heartbeat, Problem, QueueInfo, Repairs, UniqueKey
from .lock_state import Holdings
from .rules import Watch, ignored_arguments, pool_threats, server_threats

# Seconds that this machine's clock may differ from Redis's.
_SKEW = 5
# Names that are listed before it says how many more there are.
_LISTED = 5
_REPAIR = "asyncwork doctor --repair"
_RUN = "asyncwork run app:pool"


class Sign(NamedTuple):
    """Something that looks wrong.

    :ivar kind: of pools, ``vacant`` (registered without a heartbeat), ``still`` (its heartbeat stands), ``skewed`` (its
        clock is wrong) and ``gone`` (not registered, but holds something); of queues, ``share`` (one differs from what
        is in progress), ``lock`` (it is not the sum of the shares) and ``unknown`` (its name is not known).
    :ivar subject: the pool or the queue.
    :ivar detail: what must be the same at every look.
    """

    kind: str
    subject: str
    detail: object = None


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of pools and queues at one time.

    :ivar now: Redis's clock, epoch seconds.
    :ivar heartbeats: of the registered pools; read after the holdings, so that a pool that has just begun is there.
    :ivar holdings: by queue.
    :ivar beats: by pool, its ``heartbeat_at``, of those that hold something and are not registered.
    :ivar unknown: how many jobs wait in each queue whose name is not known.
    """

    now: float
    heartbeats: Sequence[Heartbeat]
    holdings: Mapping[str, Holdings]
    beats: Mapping[str, bytes]
    unknown: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was seen of a namespace.

    :ivar wrong_types: keys that hold another kind of value than they must: what they hold, and what they must.
    :ivar info: the fields of Redis's INFO.
    :ivar settings: those of its settings that were asked for; ``None`` when it does not tell them.
    :ivar ahead: by how many seconds this machine's clock is ahead of Redis's.
    :ivar look: the last one.
    :ivar watch: has seen the heartbeats at every look.
    :ivar signs: what looked wrong at every look.
    :ivar queues: those whose names are known.
    :ivar waiting: how many jobs wait in each queue, known or not.
    :ivar later: by ``retry`` and ``scheduled``, how many jobs of each name; ``None`` when that was not looked at.
    :ivar unclaimed: unique keys that are held for no job; ``None`` when that was not looked at.
    :ivar jobs: how many have not ended.
    """

    version: str
    wrong_types: Mapping[str, tuple[str, str]]
    info: Mapping[str, Any]
    settings: Mapping[str, str] | None
    ahead: float
    look: Look
    watch: Watch
    signs: Sequence[Sign]
    queues: Sequence[QueueInfo]
    waiting: Mapping[str, int]
    later: Mapping[str, Counter[str]] | None
    unclaimed: Mapping[str, UniqueKey] | None
    quarantined: ErrorKinds
    jobs: int

    def subjects(self, *kinds: str) -> list[str]:
        """Return what looked wrong at every look, sorted."""
        return sorted(each.subject for each in self.signs if each.kind in kinds)


def conclude(seen: Seen, keys: Keys) -> Diagnosis:
    """Return what all that was seen means."""
    look, lifeless = seen.look, set(seen.subjects("still", "vacant"))
    ill = [each for each in look.heartbeats if each.pool_id in {*lifeless, *seen.subjects("skewed")}]
    live = [each for each in look.heartbeats if each.pool_id not in lifeless]
    # No name can be made known where their key is no set.
    unknown = [name for name in seen.subjects("unknown") if not _wrong_name(name)]
    unknown = [] if keys.known_jobs in seen.wrong_types else unknown
    kept, unsafe, untold = _persistence(seen.info, seen.settings)
    orphaned, harmless = _gone(look, seen.subjects("gone"))
    faults = [
        *server_threats({**(seen.settings or {}), **seen.info}),
        *unsafe,
        *_wrong_types(seen.wrong_types, keys),
        *orphaned,
        *pool_threats(ill, look.now, seen.watch),
        *_own_clock(seen.ahead),
        *_unserved(seen.waiting, seen.later or {}, live),
        *_locks(seen),
        *_unknown(unknown, look.unknown, keys),
        *_bad_names(seen.queues, keys),
        *_unclaimed(seen.unclaimed or {}, seen.waiting, keys),
        *_quarantined(seen.quarantined, keys),
    ]
    notes = [
        *untold,
        *harmless,
        *_waiting_on_purpose(seen.queues),
        *ignored_arguments(live),
        *_not_looked_at(seen),
    ]
    cures = Repairs(_to_bury(seen), _to_rebuild(seen), unknown, seen.unclaimed or {})
    return Diagnosis(faults, notes, seen.version, kept, len(live), len(seen.waiting), seen.jobs, cures)


# Looking


def signs(look: Look, watch: Watch) -> Iterator[Sign]:
    """Yield what looks wrong; ``watch`` has seen the heartbeats of this look."""
    beating = set()
    for each in look.heartbeats:
        if not each.heartbeat_at:
            yield Sign("vacant", each.pool_id)
            continue
        beating.add(each.pool_id)
        if watch.is_stale(each, look.now):
            yield Sign("still", each.pool_id)
        elif watch.skew(each, look.now):
            yield Sign("skewed", each.pool_id)
    for pool_id in look.beats:
        yield Sign("gone", pool_id, look.beats[pool_id])
    for name, holdings in look.holdings.items():
        if holdings.excess != 0:
            yield Sign("lock", name, holdings.excess)
        for pool_id, length, share in holdings.strays():
            if pool_id in beating:
                yield Sign("share", name, (pool_id, _surplus(length, share)))
    yield from (Sign("unknown", name) for name, count in look.unknown.items() if count)


def holders(holdings: Mapping[str, Holdings]) -> set[str]:
    """Return the pools that have jobs in progress, or a share of a lock, if only one of 0."""
    return {pool_id for each in holdings.values() for pool_id in held_by(each)}


def _surplus(length: int, share: int | None) -> int | None:
    return None if share is None else share - length


def held_by(holdings: Holdings) -> set[str]:
    """Return the pools that hold something of one queue."""
    return {*holdings.shares, *(pool_id for pool_id, length in holdings.lengths.items() if length)}


# Concluding


def _gone(look: Look, gone: Sequence[str]) -> tuple[list[Problem], list[Problem]]:
    """Return what is wrong, and what is worth a note, of pools that are gone but hold something."""
    running: dict[str, list[str]] = {}
    sharing: dict[str, list[str]] = {}
    jobs, empty = 0, set(gone)
    for name, holdings in look.holdings.items():
        for pool_id in gone:
            length, share = holdings.lengths.get(pool_id, 0), holdings.shares.get(pool_id, 0)
            if length:
                running.setdefault(name, []).append(pool_id)
                jobs += length
            elif share != 0:
                sharing.setdefault(name, []).append(pool_id)
            if length or share != 0:
                empty.discard(pool_id)
    threats, notes = [], []
    if running:
        what = f"{_jobs(jobs)} of {few(running)} {_is(jobs)} in progress in pools that are gone ({_pools_of(running)})"
        remedy = "a pool's reaper takes them back within a minute or so; if none runs, have the doctor do it"
        threats.append(Problem("orphans", few(running), f"{what}: nobody runs them", remedy, _REPAIR))
    if sharing:
        what = f"the lock of {few(sharing)} is held by pools that are gone ({_pools_of(sharing)})"
        why = "jobs that do not run count against a cap"
        remedy = "a pool's reaper takes them off within a minute; if none runs, have the doctor do it"
        threats.append(Problem("orphans", few(sharing), f"{what}: {why}", remedy, _REPAIR))
    if empty:
        what = f"pools that are gone have shares of 0 in locks ({few(empty)}); gocraft/work leaves them"
        notes.append(Problem("empty_shares", "", f"{what}, and they do no harm", "tidy up if you like", _REPAIR))
    return threats, notes


def _pools_of(found: Mapping[str, Sequence[str]]) -> str:
    return few({pool_id for pool_ids in found.values() for pool_id in pool_ids})


def _to_bury(seen: Seen) -> dict[str, tuple[bytes, Sequence[str]]]:
    beats = {**dict.fromkeys(seen.subjects("vacant"), b""), **seen.look.beats}
    return {
        pool_id: (beats[pool_id], [name for name, each in seen.look.holdings.items() if pool_id in held_by(each)])
        for pool_id in seen.subjects("gone", "vacant")
    }


def _locks(seen: Seen) -> Iterator[Problem]:
    caps = {each.name: each.max_concurrency for each in seen.queues}
    for name in sorted(_to_rebuild(seen)):
        holdings, parts = seen.look.holdings[name], []
        if any(each.kind == "lock" and each.subject == name for each in seen.signs):
            lock = "no number" if holdings.lock is None else holdings.lock
            parts.append(f"the lock of {shown(name)} is {lock}, but the pools' shares of it come to {holdings.held}")
        wrong = {each.detail for each in seen.signs if each.kind == "share" and each.subject == name}
        for pool_id, length, share in holdings.strays():
            if (pool_id, _surplus(length, share)) in wrong:
                has = "no number" if share is None else share
                parts.append(
                    f"pool {pool_id} runs {_jobs(length)} of {shown(name)}, but its share of the lock is {has}"
                )
        cap = caps.get(name)
        why = f"too few run, or more than its cap of {cap}" if cap else "a cap would not hold"
        remedy = "have it counted anew, which is safe while pools run"
        yield Problem("lock_drift", name, f"{'; '.join(parts)}: {why}", remedy, _REPAIR)


def _to_rebuild(seen: Seen) -> dict[str, Sequence[str]]:
    return {name: sorted(seen.look.holdings[name].lengths) for name in {*seen.subjects("lock", "share")}}


def _wrong_types(wrong: Mapping[str, tuple[str, str]], keys: Keys) -> Iterator[Problem]:
    for key, (kind, wanted) in wrong.items():
        healed = key in (keys.known_jobs, keys.worker_pools, keys.periodic) or key.startswith(f"{keys.worker_pools}:")
        if healed:
            remedy = "a running pool deletes it and writes it anew within seconds; if none runs, put it aside"
        else:
            remedy = "find out what wrote it, and put it aside"
        yield Problem(
            "wrong_type",
            key,
            f"{shown(key)} holds a {kind}, but must hold a {wanted}: "
            "what should be there cannot be read, and nothing can be put there",
            remedy,
            f"redis-cli RENAME {quoted(key)} {quoted(f'{key}.wrong_type')}",
        )


def _own_clock(ahead: float) -> Iterator[Problem]:
    if abs(ahead) > _SKEW:
        yield Problem(
            "clock_skew",
            "",
            f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} Redis's: "
            "what it enqueues for later runs at another time than was meant",
            "let both machines follow a time server (chrony, systemd-timesyncd)",
            "timedatectl set-ntp true",
        )


def _unserved(
    waiting: Mapping[str, int], later: Mapping[str, Counter[str]], live: Sequence[Heartbeat]
) -> Iterator[Problem]:
    served = {name for each in live for name in each.job_names}
    places: Mapping[str, Mapping[str, int]] = {"waiting": waiting, **later}
    without = sorted({name for found in places.values() for name in found if found[name] and name not in served})
    if live:
        for name in without:
            counts = {place: found.get(name, 0) for place, found in places.items()}
            text = f"no running pool has a handler for {shown(name)}, so its jobs do not run: {_lying(counts)}"
            yield Problem("no_workers", name, text, "start a pool that has one, or delete them (asyncwork web)", _RUN)
    elif without:
        counts = {place: sum(found.get(name, 0) for name in without) for place, found in places.items()}
        text = f"no pool is running, so no jobs do: {_lying(counts)} ({few(without)})"
        yield Problem("no_workers", "", text, "start one", _RUN)


def _lying(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {place}" for place, count in counts.items() if count)


def _unknown(names: Sequence[str], waiting: Mapping[str, int], keys: Keys) -> Iterator[Problem]:
    if names:
        count = sum(waiting[name] for name in names)
        wait = f"{_jobs(count)} of {few(names)} {'waits' if count == 1 else 'wait'}"
        yield Problem(
            "unknown_queue",
            few(names),
            f"{wait}, but {keys.known_jobs} lacks the name: "
            "the web UI does not show them, and their retries would not be put back",
            "add it; a program that pushes jobs by itself must do so, too",
            f"redis-cli SADD {' '.join(map(quoted, [keys.known_jobs, *names]))}",
        )


def _bad_names(queues: Sequence[QueueInfo], keys: Keys) -> Iterator[Problem]:
    for queue in queues:
        if wrong := _wrong_name(queue.name):
            yield Problem(
                "bad_name",
                queue.name,
                f"{keys.known_jobs} has a name that no pool can serve: {shown(wrong)}",
                "take it out (its queue stays), and mend the program that enqueued it",
                f"redis-cli SREM {quoted(keys.known_jobs)} {quoted(queue.name)}",
            )


def _wrong_name(name: str) -> str:
    """Return why no job can have this name; empty when one can."""
    try:
        check_job_name(name)
    except UsageError as error:
        return str(error)
    return ""


def _unclaimed(unclaimed: Collection[str], names: Iterable[str], keys: Keys) -> Iterator[Problem]:
    if unclaimed:
        # What the job's arguments are is nobody's business here.
        held = [name for name in names if any(key.startswith(f"{keys.unique}{name}:") for key in unclaimed)]
        are = f"{len(unclaimed)} {'unique key is' if len(unclaimed) == 1 else 'unique keys are'}"
        yield Problem(
            "unclaimed_unique",
            "",
            f"{are} held{f' for {few(held)}' if held else ''}, although no such job waits, runs or is to be retried: "
            "another one is taken for a duplicate, for a day at most",
            "have what is held for nothing freed",
            _REPAIR,
        )


def _quarantined(found: ErrorKinds, keys: Keys) -> Iterator[Problem]:
    if found.total:
        reasons = [f"{each.count} from {few(each.names)}: {shown(each.kind)}" for each in found.kinds[:_LISTED]]
        if len(found.kinds) > _LISTED:
            reasons.append("…")
        yield Problem(
            "quarantine",
            "",
            f"{found.total} {'payload is no job' if found.total == 1 else 'payloads are no jobs'}, "
            f"set aside and never run ({'; '.join(reasons)})",
            "look at them, here or in the web UI; mend the program that wrote them; delete them",
            f"redis-cli LRANGE {quoted(keys.quarantine)} 0 9",
        )


def _persistence(
    info: Mapping[str, Any], settings: Mapping[str, str] | None
) -> tuple[str, list[Problem], list[Problem]]:
    """Return how the server keeps its data, and what is wrong and what is worth a note with that."""
    if info.get("aof_enabled"):
        return "append-only file", [], []
    if not info or settings is None:
        what = "snapshots of its data" if info else "its data"
        text = f"Redis does not let this user see whether it writes {what} to disk"
        return (
            "not told",
            [],
            [Problem("persistence", "", text, "look where it is set up, such as its provider's pages")],
        )
    if not settings.get("save"):
        text = (
            "Redis writes nothing to disk, neither an append-only file nor snapshots: should it end, all jobs are lost"
        )
        remedy = "appendonly yes, now and in its configuration"
        return "none", [Problem("persistence", "", text, remedy, "redis-cli CONFIG SET appendonly yes")], []
    return f"snapshots (save {settings['save']})", [], []


def _waiting_on_purpose(queues: Sequence[QueueInfo]) -> Iterator[Problem]:
    for each in queues:
        if each.paused and each.count:
            text = f"{shown(each.name)} is paused; waiting: {each.count}"
            yield Problem("paused", each.name, text, "unpause it when it is time", "asyncwork web")
        elif each.count and 0 < each.max_concurrency <= each.running:
            text = f"{shown(each.name)} is at its cap of {each.max_concurrency} at once; waiting: {each.count}"
            yield Problem("capped", each.name, text, "raise its max_concurrency if that is too little")


def _not_looked_at(seen: Seen) -> Iterator[Problem]:
    if seen.later is None:
        text = "there are too many jobs to go through; unique keys, and who serves what is retried or scheduled"
        yield Problem("not_looked_at", "", f"{text}, were not looked at", "look again when there are fewer")
    elif seen.unclaimed is None:
        text = "there are too many unique keys to go through; whether their jobs wait was not looked at"
        yield Problem("not_looked_at", "", text, "look again when there are fewer")


# Saying


def few(names: Iterable[str]) -> str:
    """List some names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(map(shown, listed[:_LISTED])) + more


def shown(text: str) -> str:
    """Return a text as a line may hold it: what a terminal would obey, and what is no UTF-8, escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def quoted(word: str) -> str:
    """Return a word as a shell takes it."""
    if word.isprintable():
        return shlex.quote(word)
    plain = {*range(0x20, 0x7F)} - set(b"'\\")
    raw = word.encode(errors="surrogateescape")
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in raw) + "'"


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
