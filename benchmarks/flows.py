"""Measure jobs that depend on each other, in four minutes: ``python -m benchmarks.flows``, with ``--quick`` for less.

A batch with a callback beside plain jobs, a fan-out whose last job waits for all others, and a chain, beside those of
Celery, RQ, streaq and BullMQ. The time is that of enqueueing them and of running them, without the start of the worker
between. Starts its own Redis.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from .catalogue import ASYNCWORK, WITH_FLOWS, Side
from .measure import Bench
from .orders import FLOWS, Case
from .table import spread, table
from .targets import Target
from .turns import Turns, aims, run, take_turns, times

_WORKERS = 100
_ROUNDS, _SECONDS = 5, 180.0
_JOBS, _FAN, _CHAIN = 100_000, 10_000, 1_000
# Jobs of a fan and of a chain of each peer. Slower ones get fewer, because with most of them each job takes longer the
# more there are.
_PEERS = {"celery": (1_000, 200), "rq": (200, 200), "streaq": (1_000, 300), "bullmq": (_FAN, _CHAIN)}
_QUICK = 50
# The aims: of the rate of plain jobs, times as quick as any peer, seconds.
_OF_PLAIN, _RIVALS, _CHAIN_SECONDS = 0.5, 5.0, 3.0


def _case(side: str, flow: str = "") -> Case:
    return Case(side, 1 if side == "rq" else _WORKERS, names=1, flow=flow)


_PLAIN, _BATCH = _case(ASYNCWORK.name), _case(ASYNCWORK.name, "batch")


def measure(bench: Bench, peers: Sequence[Side], *, quick: bool) -> Turns:
    """Measure all flows. A fan has one job more, which waits for the others."""
    few = _QUICK if quick else 1
    ours = _case(ASYNCWORK.name, "fan"), _case(ASYNCWORK.name, "chain")
    cases = {_PLAIN: _JOBS // few, _BATCH: _JOBS // few + 1, ours[0]: _FAN // few + 1, ours[1]: _CHAIN // few}
    for side in peers:
        fan, chain = _PEERS[side.name]
        cases[_case(side.name, "fan")] = fan // few + 1
        cases[_case(side.name, "chain")] = chain // few
    return take_turns(bench, cases, 1 if quick else _ROUNDS, _SECONDS)


def report(found: Turns) -> Iterator[str]:
    """Yield the tables."""
    yield "### Flows\n\n" + _flows(found)
    yield "### Aims\n\n" + aims(list(_targets(found)))


def _flows(found: Turns) -> str:
    rows = []
    for case, drains in found.drains.items():
        rates = found.rates(case, filling=True)
        ours = found.rates(_case(ASYNCWORK.name, case.flow), filling=True)
        seconds = [each.filling + each.worker.seconds for each in drains]
        rows.append(
            [
                f"{case.side}: {FLOWS.get(case.flow, 'plain jobs')}",
                f"{drains[0].jobs:,}",
                spread([each.filling for each in drains], "{:.2f}".format),
                spread(seconds, "{:.2f}".format),
                spread(rates),
                "" if case.side == ASYNCWORK.name else spread(times(ours, rates), "{:.1f}".format),
            ]
        )
    return table(["100 workers; RQ has 1", "jobs", "enqueued, s", "in all, s", "jobs/s", "asyncwork, times"], rows)


def _targets(found: Turns) -> Iterator[Target]:
    batch, plain = (found.rates(case, filling=True) for case in (_BATCH, _PLAIN))
    yield Target(f"batch: {_OF_PLAIN:.0%} of plain jobs", times(batch, plain), _OF_PLAIN)
    fan = found.rates(_case(ASYNCWORK.name, "fan"), filling=True)
    peers = [case for case in found.drains if case.side != ASYNCWORK.name and case.flow == "fan"]
    theirs = [found.rates(case, filling=True) for case in peers]
    quickest = [max(each) for each in zip(*theirs, strict=True)]
    what = f"fan-out of {_FAN:,}: {_RIVALS:.0f} x the quickest peer"
    yield Target(what, times(fan, quickest), _RIVALS, shown="{:.1f} x".format)
    chain = [each.filling + each.worker.seconds for each in found.drains.get(_case(ASYNCWORK.name, "chain"), [])]
    what = f"chain of {_CHAIN:,}: {_CHAIN_SECONDS:.0f} s"
    yield Target(what, chain, _CHAIN_SECONDS, at_least=False, shown="{:.2f} s".format)


if __name__ == "__main__":
    sys.exit(run("flows", __doc__, WITH_FLOWS, measure, report))
