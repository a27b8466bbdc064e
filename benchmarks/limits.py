"""Measure what limits cost, in four minutes: ``python -m benchmarks.limits``, with ``--quick`` for less.

Queues with limits are drained in turn with a plain one. None of the limits is ever reached but a concurrency that is
the number of workers. docket, saq and BullMQ do the nearest that they have. Starts its own Redis.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from .catalogue import ASYNCWORK, WITH_LIMITS, Side
from .measure import Bench, Drain
from .orders import LIMITS, Case
from .table import spread, table
from .targets import Target
from .turns import Turns, aims, run, take_turns, times

_WORKERS = 100
_ROUNDS, _SECONDS = 5, 200.0
_JOBS, _QUICK_JOBS = 50_000, 2_000
# The limits of each peer, and how many jobs it runs in about two seconds.
_PEERS: dict[str, tuple[tuple[str, ...], int]] = {
    "docket": (("concurrency", "concurrency-wide", "rate", "fair-concurrency", "fair-rate", "unique"), 1_500),
    "saq": (("unique",), 2_000),
    "bullmq": (("concurrency", "concurrency-wide", "rate", "unique"), 15_000),
}
# For those with tenants, how many there are.
_TENANTS = {"fair": (10, 1_000), "fair-concurrency": (10,), "fair-rate": (10,)}
_LEAST = {
    "concurrency": 0.5,
    "concurrency-wide": 0.5,
    "rate": 0.5,
    "shared": 0.5,
    "fair": 1 / 3,
    "fair-concurrency": 1 / 3,
    "fair-rate": 1 / 3,
}
# How many times as many jobs as any peer.
_RIVALS = 10.0


def _case(side: str, limit: str = "", tenants: int = 0) -> Case:
    return Case(side, _WORKERS, names=1, limit=limit, tenants=tenants)


def cases_of(side: str, limits: Sequence[str]) -> list[Case]:
    """Return a plain queue of a side, and those with its limits."""
    limited = [_case(side, limit, tenants) for limit in limits for tenants in _TENANTS.get(limit, (0,))]
    return [_case(side), *limited]


def measure(bench: Bench, peers: Sequence[Side], *, quick: bool) -> Turns:
    """Measure all queues."""
    cases = dict.fromkeys(cases_of(ASYNCWORK.name, list(LIMITS)), _QUICK_JOBS if quick else _JOBS)
    for side in peers:
        limits, jobs = _PEERS[side.name]
        cases.update(dict.fromkeys(cases_of(side.name, limits), jobs // 10 if quick else jobs))
    return take_turns(bench, cases, 1 if quick else _ROUNDS, _SECONDS)


def report(found: Turns) -> Iterator[str]:
    """Yield the tables."""
    yield "### Limits\n\n" + _ours(found)
    if any(case.side != ASYNCWORK.name for case in found.drains):
        yield "### Beside others\n\n" + _theirs(found)
    yield "### Aims\n\n" + aims(list(_targets(found)))


def _ours(found: Turns) -> str:
    plain = found.rates(_case(ASYNCWORK.name))
    rows = []
    for case, drains in found.drains.items():
        if case.side == ASYNCWORK.name:
            rates = found.rates(case)
            ratio = spread(times(rates, plain), "{:.2f}".format) if case.limit else ""
            rows.append([_name(case), f"{drains[0].jobs:,}", spread(rates), ratio, *_cpu(drains)])
    return table(["asyncwork, 100 workers", "jobs", "jobs/s", "of plain", *_CPU], rows)


def _theirs(found: Turns) -> str:
    rows = []
    for case, drains in found.drains.items():
        if case.side != ASYNCWORK.name:
            rates = found.rates(case)
            ratio = times(found.rates(_counterpart(case)), rates)
            shown = spread(ratio, "{:.1f}".format)
            rows.append([f"{case.side}: {_name(case)}", f"{drains[0].jobs:,}", spread(rates), shown, *_cpu(drains)])
    return table(["100 workers", "jobs", "jobs/s", "asyncwork, times", *_CPU], rows)


# On a machine that others use, these change less than the jobs per second.
_CPU = ("µs of CPU a job", "of Redis")


def _cpu(drains: Sequence[Drain]) -> list[str]:
    cpu = [1e6 * each.worker.cpu / each.jobs for each in drains], [1e6 * each.redis.cpu / each.jobs for each in drains]
    return [spread(each, "{:.1f}".format) for each in cpu]


def _name(case: Case) -> str:
    if not case.limit:
        return "plain"
    return LIMITS[case.limit] + (f", {case.tenants:,} tenants" if case.tenants else "")


def _counterpart(case: Case) -> Case:
    """Return the case of asyncwork that does what the case of a peer does."""
    return _case(ASYNCWORK.name, case.limit, case.tenants)


def _targets(found: Turns) -> Iterator[Target]:
    plain = found.rates(_case(ASYNCWORK.name))
    for case in found.drains:
        if case.side != ASYNCWORK.name:
            ratio = times(found.rates(_counterpart(case)), found.rates(case))
            what = f"{_name(case)}: {_RIVALS:.0f} x {case.side}"
            yield Target(what, ratio, _RIVALS, shown="{:.1f} x".format)
        elif least := _LEAST.get(case.limit):
            yield Target(f"{_name(case)}: {least:.0%} of plain", times(found.rates(case), plain), least)


if __name__ == "__main__":
    sys.exit(run("limits", __doc__, WITH_LIMITS, measure, report))
