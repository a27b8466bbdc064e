"""Accounts for every job of a run: what was promised, what was done, and why. Pure: it is given all that is known."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from .app import CAP, DOOMED_FAILS
from .producers import Ledger
from .record import DONE, SNOOZED, Run
from .world import PERIODS, Fault

_TICK = re.compile(r"periodic:tick:\* \* \* \* \* \*:(\d+)")
# After so many crashes a job is taken for their cause.
_MAX_CRASHES = 3
# The faults by which a process loses what it runs, however short they are.
_FATAL = ("worker killed", "worker told to stop")
# Seconds. A fault is seen a little later than it was.
_SLACK = 0.5
# Seconds until a process whose connections were struck tries again to tell that it lives.
_TRIED_AGAIN = 1.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a run.

    :ivar places: the payloads that are in Redis at the end, by place.
    :ivar poison: how many payloads that are no jobs were pushed.
    :ivar audit: what the audit complains of.
    :ivar surprises: what else should not have been: exit codes, defects in a log, jobs that do not come to rest.
    """

    ledger: Ledger
    runs: Sequence[Run]
    faults: Sequence[Fault]
    places: Mapping[str, Sequence[bytes]]
    poison: int
    audit: Sequence[str]
    surprises: Sequence[str]


@dataclass(slots=True)
class Account:
    """What the evidence says.

    :ivar wrong: a line for each promise that was not kept.
    :ivar twice: how many attempts ran twice, by the fault that explains it.
    :ivar recoveries: seconds that each recovery took, by what it was a recovery from.
    """

    wrong: list[str] = field(default_factory=list)
    twice: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, list[float]] = field(default_factory=dict)


def settle(evidence: Evidence) -> Account:
    """Account for everything."""
    account = Account()
    account.wrong += [*evidence.surprises, *evidence.audit]
    account.wrong += [*_lost(evidence), *_replaced(evidence), *_uncalled(evidence), *_misplaced(evidence)]
    account.wrong += [*_crowded(evidence), *_missed(evidence)]
    spells = _spells(evidence.faults)
    for again, before in _again(evidence.runs):
        fault = _lost_by(before, again.began, spells) or _held_through(again, before, spells)
        if fault is None:
            account.wrong.append(f"{again.name} {again.job_id} ran twice, and nothing explains it: {before}, {again}")
        else:
            account.twice[fault.kind] += 1
    account.recoveries = _recoveries(evidence)
    return account


def _ids(payloads: Sequence[bytes]) -> set[str]:
    return {str(json.loads(payload)["id"]) for payload in payloads}


def _lost(evidence: Evidence) -> Iterator[str]:
    """Every job that was confirmed came to its end, or is where it belongs."""
    done = {run.job_id for run in evidence.runs if run.outcome == DONE}
    waiting = _ids([payload for name, place in evidence.places.items() if name != "quarantine" for payload in place])
    for job_id, name in evidence.ledger.confirmed.items():
        if job_id not in done and job_id not in waiting:
            yield f"{name} {job_id} was confirmed, has not come to its end, and is nowhere"


def _replaced(evidence: Evidence) -> Iterator[str]:
    """Every job that is unique by a key ran, or a newer one in its place."""
    for slot, (number, at) in evidence.ledger.keyed.items():
        runs = [run for run in evidence.runs if run.slot == slot and run.name == "keyed" and run.outcome == DONE]
        # One whose answer was lost may have come to Redis after the newest that was accepted, and replaced it.
        if not any(run.number >= number or run.began >= at for run in runs):
            yield f"keyed {slot}: number {number} was accepted, and neither it nor a newer one came to its end"


def _uncalled(evidence: Evidence) -> Iterator[str]:
    """Nothing ran that was never enqueued."""
    for run in evidence.runs:
        named = evidence.ledger.sent.get(run.number) == run.name
        if not (
            named or run.job_id in evidence.ledger.confirmed or run.name == "unique" or _TICK.fullmatch(run.job_id)
        ):
            yield f"{run.name} {run.job_id} ran, and nobody has enqueued it"


def _misplaced(evidence: Evidence) -> Iterator[str]:
    """What is still in Redis is where it belongs."""
    if len(evidence.places["quarantine"]) != evidence.poison:
        yield f"{evidence.poison} payloads were no jobs, {len(evidence.places['quarantine'])} are in quarantine"
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        runs[run.job_id].append(run)
    spells = _spells(evidence.faults)
    for payload in evidence.places["dead"]:
        job = json.loads(payload)
        crashes = sum(_lost_by(run, float("inf"), spells) is not None for run in runs[job["id"]])
        blamed = job["err"].startswith("CrashedError") and crashes >= _MAX_CRASHES
        if not blamed and not (job["name"] == "doomed" and job["fails"] == DOOMED_FAILS):
            yield f"{job['name']} {job['id']} is dead after {job['fails']} failures: {job['err']}"
    # One that failed where the clock is wrong is to be tried again when that says.
    kept = _ids([*evidence.places["dead"], *evidence.places["retry"]])
    for job_id, name in evidence.ledger.confirmed.items():
        if name == "doomed" and job_id not in kept:
            yield f"doomed {job_id} is neither dead nor to be tried again"


def _is_troubled(run: Run, faults: Sequence[Fault], spells: Sequence[Fault]) -> bool:
    """Tell whether the process of an attempt was taken for dead while it ran, or could have been."""
    end = float("inf") if run.ended is None else run.ended
    if any(fault.pid == run.pid and fault.began <= end and fault.ended >= run.began for fault in faults):
        return True
    return _lost_by(run, end, spells) is not None


def _crowded(evidence: Evidence) -> Iterator[str]:
    """No more jobs of a capped queue ran at once than may; those of a process in trouble do not count: it lost them."""
    ends = {fault.pid: fault.began for fault in evidence.faults if fault.kind == "worker killed"}
    spells = _spells(evidence.faults)
    events: list[tuple[float, int]] = []
    for run in evidence.runs:
        if run.name == "capped" and not _is_troubled(run, evidence.faults, spells):
            end = run.ended if run.ended is not None else ends.get(run.pid, run.began)
            events += [(run.began, 1), (end, -1)]
    running = most = 0
    for _, change in sorted(events):
        running += change
        most = max(most, running)
    if most > CAP:
        yield f"{most} capped jobs ran at once, and {CAP} may"


def _missed(evidence: Evidence) -> Iterator[str]:
    """Every instance of the periodic job ran, from the first to the last."""
    ticks = sorted(int(found[1]) for run in evidence.runs if (found := _TICK.fullmatch(run.job_id)))
    waiting = {int(found[1]) for each in evidence.places["scheduled"] if (found := _TICK.search(each.decode()))}
    if ticks and (missing := set(range(ticks[0], ticks[-1])) - set(ticks) - waiting):
        yield f"instances of the periodic job that never ran: {sorted(missing)}"


def _again(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Return each attempt that was made a second time, with the one before it."""
    attempts: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        attempts[run.job_id, run.fails].append(run)
    for same in attempts.values():
        for before, again in pairwise(same):
            if before.outcome != SNOOZED:
                yield again, before


def _spells(faults: Sequence[Fault]) -> list[Fault]:
    """Return what struck each process, as one fault where the next came before it had told again that it lives."""
    found: list[Fault] = []
    last: dict[int | None, Fault] = {}
    for fault in sorted(faults, key=lambda each: each.began):
        before = last.get(fault.pid)
        if before is not None and fault.kind not in _FATAL and fault.began <= before.ended + _TRIED_AGAIN:
            before.ended = max(before.ended, fault.ended)
            continue
        spell = replace(fault)
        found.append(spell)
        if fault.kind not in _FATAL:
            last[fault.pid] = spell
    return found


def _lost_by(run: Run, before: float, faults: Sequence[Fault]) -> Fault | None:
    """Return the fault by which a process lost an attempt before some time, if there is one."""
    for fault in faults:
        lasts = fault.ended - fault.began
        if (
            fault.pid == run.pid
            and fault.began <= before
            and fault.ended + _SLACK + (0 if fault.kind in _FATAL else _TRIED_AGAIN) >= run.began
            and (fault.kind in _FATAL or lasts + _SLACK >= PERIODS.dead_after)
        ):
            return fault
    return None


def _held_through(run: Run, before: Run, faults: Sequence[Fault]) -> Fault | None:
    """Return the fault that held a process still just before it began a job that it had been about to begin, if there
    is one: the job was another's by then.
    """
    for fault in faults:
        if (
            fault.pid == run.pid
            and fault.ended - fault.began + _SLACK >= PERIODS.dead_after
            and fault.began <= before.began
            and fault.began <= run.began <= fault.ended + _SLACK
        ):
            return fault
    return None


def _recoveries(evidence: Evidence) -> dict[str, list[float]]:
    """Return how long it took after each fault: until a process's jobs were back when it was killed, else until a job
    began again where the fault was.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for fault in evidence.faults:
        if fault.cleared is not None:
            found[f"{fault.kind}: its jobs are back"].append(fault.cleared - fault.began)
        elif fault.kind not in _FATAL:
            began = [run.began for run in evidence.runs if fault.pid in (None, run.pid) and run.began >= fault.ended]
            if began:
                found[f"{fault.kind}: the next job begins"].append(began[0] - fault.ended)
    return dict(found)


def report(evidence: Evidence, account: Account) -> str:
    """Return it for people."""
    runs, ledger = evidence.runs, evidence.ledger
    kinds = Counter(fault.kind for fault in evidence.faults)
    done, cut_off = sum(run.outcome == DONE for run in runs), sum(run.ended is None for run in runs)
    dead, quarantined = len(evidence.places["dead"]), len(evidence.places["quarantine"])
    lines = [
        f"jobs confirmed {len(ledger.confirmed):,}, unsure {ledger.unsure:,}, slots kept by key {len(ledger.keyed)}",
        f"attempts {len(runs):,}, done {done:,}, cut off {cut_off:,}; dead {dead}, in quarantine {quarantined}",
        "",
        f"faults: {sum(kinds.values())}",
        *(f"  {count:4}  {kind}" for kind, count in kinds.most_common()),
        "",
        f"ran twice: {sum(account.twice.values())}",
        *(f"  {count:4}  {kind}" for kind, count in account.twice.most_common()),
        "",
        "seconds until recovery: median, most",
        *(
            f"  {median(seconds):6.2f} {max(seconds):6.2f}  {what} ({len(seconds)})"
            for what, seconds in sorted(account.recoveries.items())
        ),
        "",
        *(f"WRONG: {line}" for line in account.wrong),
        "nothing lost, nothing left behind" if not account.wrong else f"{len(account.wrong)} promises not kept",
    ]
    return "\n".join(lines)
