"""Rules for what was changed in periodic jobs at run time. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .._jobs.periodic_key import has_digest, split_periodic_key
from .._jobs.printable import printable
from .._redis.heartbeat_fields import is_of_go
from .._redis.keys import Keys
from .._redis.periodic_changes import ChangesReading, PeriodicChange
from ..models.diagnosis import Problem
from ..models.pools import Heartbeat
from .wording import listed, shell_word


def periodic_problems(reading: ChangesReading, live: Sequence[Heartbeat], keys: Keys) -> Iterator[Problem]:
    """Yield the problems of changes in periodic jobs.

    :param live: the heartbeats of the pools that are alive.
    """
    if reading.malformed:
        yield _malformed(reading, keys)
    yield from _unserved(reading.changes, live)
    yield from _planned_by_go(reading.changes, live)


def unused_changes(reading: ChangesReading, heartbeats: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield a note on changes in periodic jobs that no registered pool has."""
    code = {state.key for each in heartbeats for state in each.periodic}
    unused = [key for key, change in reading.changes.items() if key not in code and not change.added]
    if unused:
        names = {split_periodic_key(key)[0] for key in unused}
        yield Problem(
            "unused_changes",
            "",
            f"periodic jobs of {listed(names)} were paused or edited, and no registered pool has them with that "
            "schedule; the changes hold again when one does",
            "remove the changes if their schedules are gone for good (asyncwork periodic rm)",
            "asyncwork periodic ls",
        )


def _malformed(reading: ChangesReading, keys: Keys) -> Problem:
    names = {split_periodic_key(key)[0] for key in reading.malformed}
    return Problem(
        "malformed_changes",
        "",
        f"changes of periodic jobs cannot be read ({listed(names)}), so that these fire as their code says, or not at "
        "all if they seem to be paused",
        "find the program that wrote them; pause and unpause the jobs, which replaces the changes",
        f"redis-cli HGETALL {shell_word(keys.periodic_changes)}",
    )


def _unserved(changes: Mapping[str, PeriodicChange], live: Sequence[Heartbeat]) -> Iterator[Problem]:
    served = {name for each in live for name in each.job_names}
    planned = {state.key for each in live for state in each.periodic}
    added = ((key, each) for key, each in changes.items() if each.added and key not in planned)
    names = {each.name for _, each in added if not each.paused and each.name not in served}
    for name in sorted(names):
        yield Problem(
            "unserved_periodic",
            name,
            f"a periodic job {printable(name)} was added, and no running pool has a handler for that name, so that it "
            "does not fire",
            "start a pool that handles it, or remove it (asyncwork periodic rm)",
            "asyncwork run app:pool",
        )


def _planned_by_go(changes: Mapping[str, PeriodicChange], live: Sequence[Heartbeat]) -> Iterator[Problem]:
    hosts = {each.host or "an unknown host" for each in filter(is_of_go, live)}
    if not hosts:
        return
    # The periodic jobs of gocraft/work have no arguments.
    changed = (key for key, each in changes.items() if (each.paused or each.edited) and not has_digest(key))
    names = {split_periodic_key(key)[0] for key in changed}
    for name in sorted(names):
        yield Problem(
            "go_periodic",
            name,
            f"periodic job {printable(name)} is paused or edited, and a pool of gocraft/work runs ({listed(hosts)}), "
            "which takes no notice: if its code has the job, it goes on firing",
            "remove the schedule from that pool's code, or ignore this if it has none for the job",
            "asyncwork periodic ls",
        )
