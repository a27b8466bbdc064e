"""Accounts for the instances of the periodic job that fires each second.

Pools plan them some seconds ahead. One may be missing if no pool could plan for as long as the plan reaches, because
each was struck, had ended, or was not at work yet. One that was planned must have run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from .evidence import Evidence
from .explanations import Explanations
from .record import readable
from .world import OPTIONS

_TICK = re.compile(r"periodic:tick:\* \* \* \* \* \*:(\d+)")
# Seconds within which a pool plans that runs and that nothing strikes: a pass that comes early leaves that to the next
# one, and after an outage there is a pass about a second later.
WITHIN = 2 * OPTIONS.tuning.periodic + 1.0
# Seconds that a plan reaches ahead.
REACH = OPTIONS.tuning.horizon - 1.0


@dataclass(slots=True)
class Missing:
    """The instances that never ran, as epoch seconds.

    :ivar lost: those that were planned.
    :ivar forgotten: those that were not planned, although a pool could.
    :ivar excused: those that no pool could plan.
    """

    lost: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    excused: list[int] = field(default_factory=list)


def plan_problems(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """Yield a line if an instance was lost, and one if a pool has not planned what it could."""
    missing = _missing(evidence, explanations)
    if missing.lost:
        yield f"instances of the periodic job that never ran: {missing.lost}"
    if missing.forgotten:
        yield f"instances of the periodic job that no pool has planned, although one could: {missing.forgotten}"


def plan_lines(evidence: Evidence) -> list[str]:
    """Return what is to be known of the plan, for people."""
    excused = _missing(evidence, Explanations(evidence)).excused
    return [f"instances of the periodic job that no pool could plan {len(excused)}"]


def _missing(evidence: Evidence, explanations: Explanations) -> Missing:
    """Return the instances that never ran, from the first to the last that did."""
    ran = {run.job_id for run in evidence.runs}
    # The last worker that stops may put back what others than it would have run.
    kept = {
        readable(json.loads(payload)["id"])
        for name, payloads in evidence.locations.items()
        if name != "quarantine"
        for payload in payloads
    }
    first, *others = _seconds(ran) or [0]
    missing = set(range(first, others[-1] if others else first)).difference(_seconds(ran | kept))
    able = ((by + evidence.epoch, since + evidence.epoch) for by, since in explanations.at_work(WITHIN))
    return _judge(missing, evidence.plans, able)


def _seconds(job_ids: Iterable[str]) -> list[int]:
    return sorted(int(found[1]) for job_id in job_ids if (found := _TICK.fullmatch(job_id)))


def _judge(missing: Iterable[int], plans: Sequence[tuple[int, float]], able: Iterable[tuple[float, float]]) -> Missing:
    """Tell why instances never ran. All times are epoch seconds.

    :param able: by when a pool must have planned for the first time, and since when for the last time.
    """
    spans = [(by, since + REACH) for by, since in able]
    # What was due before it could be planned. A plan is seen a little later than it is made.
    unplanned = {
        at
        for (before, _), (newest, seen) in pairwise(plans)
        for at in range(before + 1, min(newest, math.floor(seen)) + 1)
    }
    found = Missing()
    for at in sorted(missing):
        if at not in unplanned:
            found.lost.append(at)
        elif any(began <= at <= ended for began, ended in spans):
            found.forgotten.append(at)
        else:
            found.excused.append(at)
    return found
