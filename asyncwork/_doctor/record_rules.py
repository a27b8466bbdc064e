"""Rules for what is kept of single jobs: records, streams, and marks. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from .._jobs.printable import plural, printable
from .._redis.pool_registry import served_without_records
from ..models.diagnosis import Problem
from ..models.pools import Heartbeat
from ..models.unique_holder import UniqueHolder
from .wording import REPAIR, listed, shell_word


def unkept_results(kept: Collection[str], live: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield the problems of jobs whose results are kept, but not by all live pools that serve them."""
    for name, hosts in sorted(served_without_records(kept, live).items()):
        yield Problem(
            "unkept_results",
            name,
            f"results of {printable(name)} are kept, but a pool of gocraft/work serves it, too ({listed(set(hosts))}): "
            "the jobs that run there end without a record, and programs that wait for them wait without end",
            "stop serving the name there, or register it without result=…",
            "asyncwork web",
        )


def lost_waits(awaited: Collection[str]) -> Iterator[Problem]:
    """Yield the problem of jobs that are waited for and that do not exist."""
    if awaited:
        do = "does" if len(awaited) == 1 else "do"
        yield Problem(
            "lost_waits",
            "",
            f"{plural(len(awaited), 'job')} {'is' if len(awaited) == 1 else 'are'} waited for and {do} not exist, and "
            f"no record says how {'it has' if len(awaited) == 1 else 'they have'} ended ({listed(awaited)})",
            "a pool of gocraft/work may have run them; let the doctor end the waits with ResultLost",
            REPAIR,
        )


def lost_steps(stepped: Collection[str]) -> Iterator[Problem]:
    """Yield the problem of jobs whose steps are recorded and that do not exist."""
    if stepped:
        jobs = "1 job are recorded, which does" if len(stepped) == 1 else f"{len(stepped)} jobs are recorded, which do"
        yield Problem(
            "lost_steps",
            "",
            f"steps of {jobs} not exist ({listed(stepped)}): another program has ended "
            f"{'it' if len(stepped) == 1 else 'them'}, or an attempt that took none",
            "let the doctor have them expire in a day, or wait for 30 days",
            REPAIR,
        )


def unexpiring(names: Sequence[str]) -> Iterator[Problem]:
    """Yield the problem of keys that have no expiry, and should: records and streams of jobs, and the key that keeps
    pools from looking ahead.
    """
    if names:
        keys = "1 key that should expire has" if len(names) == 1 else f"{len(names)} keys that should expire have"
        yield Problem(
            "unexpiring",
            "",
            f"{keys} no expiry, so that Redis keeps {'it' if len(names) == 1 else 'them'} for ever ({listed(names)})",
            "let the doctor have them expire in a day; another program has written them, or removed their expiry",
            REPAIR,
        )


def lost_holds(holds: Mapping[str, UniqueHolder]) -> Iterator[Problem]:
    """Yield the problem of keys that are held by jobs which do not exist, or have ended."""
    if holds:
        names = listed({each.name for each in holds.values()})
        are = f"{len(holds)} {'key is' if len(holds) == 1 else 'keys are'}"
        yield Problem(
            "lost_hold",
            "",
            f"{are} held for {names} by jobs that do not exist or have ended, and keep others out; a Go pool that has "
            "run such a job could not free its key",
            "let the doctor free the keys; their successors start then",
            REPAIR,
        )


def lost_successors(successors: Sequence[str]) -> Iterator[Problem]:
    """Yield the problem of jobs that wait for the end of another, and that no holder of a key knows."""
    if successors:
        are, they, them = (
            ("1 job waits", "it", "it") if len(successors) == 1 else (f"{len(successors)} jobs wait", "they", "them")
        )
        yield Problem(
            "lost_successor",
            "",
            f"{are} for the end of another, but no key says so, and {they} will not start ({listed(successors)}); a "
            "program has deleted the key, or Redis has evicted it",
            f"have {them} run now; if another job holds the key, that is refused: run {them} when it has ended",
            f"asyncwork jobs retry scheduled --id {shell_word(min(successors))}",
        )


def lost_cancels(cancels: Collection[str]) -> Iterator[Problem]:
    """Yield the problem of jobs that are marked to be cancelled and that do not exist."""
    if cancels:
        jobs = "1 job is" if len(cancels) == 1 else f"{len(cancels)} jobs are"
        yield Problem(
            "lost_cancels",
            "",
            f"{jobs} marked to be cancelled and {'does' if len(cancels) == 1 else 'do'} not exist "
            f"({listed(cancels)}); pools look for the marks in every job that they fetch",
            "let the doctor remove the marks",
            REPAIR,
        )
