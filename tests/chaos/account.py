"""Accounts for every job of a run: what was promised, what ran, and why. It does no I/O."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from .app import CAP, CHUNK, DOOMED, DOOMED_FAILS, RATE, tenant
from .changing import ADDED, BEATING, fired_at_rest
from .evidence import Evidence
from .explanations import FATAL, Explanations
from .flows import flow_lines, flow_problems
from .plans import plan_lines, plan_problems
from .record import CANCELLED, DONE, FAILED, LIMITED, ON_DEAD, ON_FAILURE, SNOOZED, Opening, Run, readable
from .steered import TIMING_OUT, is_steered
from .steered_account import steered_lines, steered_problems
from .world import KILLED, OPTIONS, QUIET, RESIZED, Fault

_PERIODIC = re.compile(rf"periodic:(?:tick|{BEATING}|{ADDED}):\* \* \* \* \* \*:\d+")
# After so many crashes a job is taken for their cause.
_MAX_CRASHES = 3
# Seconds within which a pool follows a request: a message wakes it, or its heartbeat reads it. The jobs that it has
# fetched by then may begin. And how long before a request a trouble can have ended that was seen later.
_FOLLOWED, _BEFORE = OPTIONS.heartbeat + 0.6, 0.5


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
    explanations = Explanations(evidence)
    account.wrong += [*_absent(evidence), *_lost(evidence), *_replaced(evidence), *_multiplied(evidence)]
    account.wrong += [*_uncalled(evidence), *_misplaced(evidence, explanations)]
    account.wrong += [*_crowded(evidence, explanations), *_beside(evidence, explanations)]
    account.wrong += [*_unasked(evidence, explanations), *_oversized(evidence, explanations)]
    account.wrong += plan_problems(evidence, explanations)
    account.wrong += fired_at_rest(evidence.runs, evidence.rests)
    account.wrong += [*_unhooked(evidence), *_unclosed(evidence), *_too_many(evidence)]
    account.wrong += [*steered_problems(evidence, explanations)]
    account.wrong += flow_problems(evidence.ledger.flows, evidence.flows, evidence.runs)
    for again, before in _again(evidence.runs):
        fault = explanations.lost_by(before, again.began) or explanations.held_through(again, before)
        if fault is None:
            account.wrong.append(f"{again.name} {again.job_id} ran twice, and nothing explains it: {before}, {again}")
        else:
            account.twice[fault.kind] += 1
    account.recoveries = _recoveries(evidence)
    return account


def _ids(payloads: Sequence[bytes]) -> set[str]:
    return {readable(json.loads(payload)["id"]) for payload in payloads}


def _absent(evidence: Evidence) -> Iterator[str]:
    """Every kind of job and of fault was there."""
    ran = {f"{run.name} {run.kind}".rstrip() for run in evidence.runs}
    for kind in sorted(evidence.kinds - ran):
        yield f"no {kind} ran"
    for kind in sorted(evidence.fault_kinds - {fault.kind for fault in evidence.faults}):
        yield f"there was no {kind!r}"
    called = {call.hook for call in evidence.hook_calls}
    if "doomed" in evidence.kinds:
        yield from (f"no {hook} hook was called" for hook in (ON_FAILURE, ON_DEAD) if hook not in called)
    if "sharing" in evidence.kinds and not evidence.openings:
        yield "no resources were opened"
    if "keyed" in evidence.kinds and not evidence.ledger.replacing:
        yield "no job took the place of another by its key"


def _lost(evidence: Evidence) -> Iterator[str]:
    """Every job that was confirmed came to its end, or is where it belongs."""
    done = {run.job_id for run in evidence.runs if run.outcome == DONE}
    waiting = _ids(
        [payload for name, location in evidence.locations.items() if name != "quarantine" for payload in location]
    )
    for job_id, name in evidence.ledger.confirmed.items():
        if job_id not in done and job_id not in waiting:
            yield f"{name} {job_id} was confirmed, has not come to its end, and is nowhere"


def _replaced(evidence: Evidence) -> Iterator[str]:
    """Every job that is unique by a key ran, or a newer one in its place."""
    doubtful = evidence.ledger.doubtful
    dead = [json.loads(payload).get("args") for payload in evidence.locations["dead"]]
    for slot, (number, at) in evidence.ledger.keyed.items():
        runs = [run for run in evidence.runs if run.slot == slot and run.name == "keyed" and run.outcome == DONE]
        kept = any(args and args.get("slot") == slot and args["number"] >= number for args in dead)
        # One whose answer was lost may have come to Redis after the newest that was accepted, and replaced it.
        if not kept and not any(run.number >= number or (run.number in doubtful and run.began >= at) for run in runs):
            yield f"keyed {slot}: number {number} was accepted, and neither it nor a newer one came to its end"


def _multiplied(evidence: Evidence) -> Iterator[str]:
    """Each entry on a queue was one job: the one that was put there, or the newest in its place, and not both."""
    ran: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for run in evidence.runs:
        if run.slot:
            ran[run.name, run.slot].add(run.job_id)
    for (name, slot), ids in ran.items():
        if len(ids) > (entries := evidence.ledger.entries[name, slot]):
            yield f"{name} {slot}: {entries} were put on the queue at most, and {len(ids)} ran"


def _uncalled(evidence: Evidence) -> Iterator[str]:
    """Nothing ran that was never enqueued."""
    for run in evidence.runs:
        # Of one that was enqueued beside its schedule, the answer may be lost, and with it the id.
        named = run.name == BEATING or evidence.ledger.sent.get(run.number) == run.name
        if not (
            named or run.job_id in evidence.ledger.confirmed or run.name == "unique" or _PERIODIC.fullmatch(run.job_id)
        ):
            yield f"{run.name} {run.job_id} ran, and nobody has enqueued it"


def _misplaced(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """What is still in Redis is where it belongs."""
    if len(evidence.locations["quarantine"]) != evidence.poison:
        yield f"{evidence.poison} payloads were no jobs, {len(evidence.locations['quarantine'])} are in quarantine"
    for payload in evidence.locations["dead"]:
        job = json.loads(payload)
        err = job.get("err", "")
        if err.startswith("CrashedError"):
            expected = explanations.crashes(readable(job["id"])) >= _MAX_CRASHES
        elif job["name"] in TIMING_OUT:
            expected = err.startswith("JobTimeoutError")
        else:
            expected = err and job["name"] in DOOMED and job["fails"] == DOOMED_FAILS
        if not expected:
            yield f"{job['name']} {job['id']} is dead after {job['fails']} failures: {err}"
    # One that failed where the clock is wrong is to be tried again when that says.
    # Nobody waits for those whose backoff failed: one may have become due as the last worker stopped.
    due = evidence.locations.get("queue backing_off", ())
    kept = _ids([*evidence.locations["dead"], *evidence.locations["retry"], *due])
    for job_id, name in evidence.ledger.confirmed.items():
        if name in DOOMED and job_id not in kept:
            yield f"{name} {job_id} is neither dead nor to be tried again"


def _crowded(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """No more jobs of a capped queue, or of a tenant, ran at once than may.

    Those of a process in trouble do not count: it lost them.
    """
    ends = {fault.pid: fault.began for fault in evidence.faults if fault.kind == KILLED}
    events: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for run in evidence.runs:
        if run.name in ("capped", "fair") and not explanations.is_troubled(run):
            end = run.ended if run.ended is not None else ends.get(run.pid, run.began)
            whose = "capped jobs" if run.name == "capped" else f"jobs of {tenant(run.number)}"
            events[whose] += [(run.began, 1), (end, -1)]
    for whose, changes in events.items():
        running = most = 0
        for _, change in sorted(changes):
            running += change
            most = max(most, running)
        if most > CAP:
            yield f"{most} {whose} ran at once, and {CAP} may"


def _beside(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """No two jobs ran at once that hold a slot until they have ended; those of a process in trouble do not count."""
    ends = {fault.pid: fault.began for fault in evidence.faults if fault.kind == KILLED}
    slots: defaultdict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        if run.name == "exclusive" and not explanations.is_troubled(run):
            slots[run.slot].append(run)
    for slot, runs in slots.items():
        for before, after in pairwise(sorted(runs, key=lambda run: run.began)):
            end = before.ended if before.ended is not None else ends.get(before.pid, before.began)
            if after.began < end:
                yield f"exclusive {before.job_id} and {after.job_id} of {slot} ran at once: {before}, {after}"


def _unasked(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """A quiet pool began no job from a heartbeat after it was asked until it was asked to run again."""
    for fault in evidence.faults:
        if fault.kind == QUIET:
            for run in _begun_after(evidence, explanations, fault):
                late = run.began - fault.began
                yield f"{run.name} {run.job_id} began {late:.2f} s after its pool, in {run.pid}, was asked to be quiet"


def _oversized(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """A pool began no job while as many ran as it was asked to run at once. Chunks run beside those, as many."""
    for fault in evidence.faults:
        if fault.kind == RESIZED and fault.size is not None:
            for run in _begun_after(evidence, explanations, fault):
                in_chunk = run.name == "chunked"
                beside = sum(
                    other.pid == run.pid
                    and (other.name == "chunked") == in_chunk
                    and other.began < run.began
                    and (other.ended or float("inf")) > run.began
                    for other in evidence.runs
                )
                if beside >= fault.size * (CHUNK if in_chunk else 1):
                    asked = f"its pool, in {run.pid}, was asked to run {fault.size} at once"
                    yield f"{run.name} {run.job_id} began beside {beside} others, and {asked}"


def _begun_after(evidence: Evidence, explanations: Explanations, request: Fault) -> Iterator[Run]:
    """Return the attempts that a pool began after a request, while nothing kept it from following that."""
    for run in evidence.runs:
        is_late = run.pid == request.pid and request.began + _FOLLOWED <= run.began < request.ended
        if is_late and not explanations.is_held(run.pid, request.began - _BEFORE, run.began):
            yield run


def _unhooked(evidence: Evidence) -> Iterator[str]:
    """Each hook was called for an attempt that failed in its process, once; and for each, unless the process died."""
    calls = Counter((call.pid, call.hook, call.job_id, call.fails) for call in evidence.hook_calls if not call.crashed)
    failed = Counter(
        (run.pid, run.job_id, run.fails + 1) for run in evidence.runs if run.outcome in (FAILED, CANCELLED)
    )
    for (pid, hook, job_id, fails), count in calls.items():
        if count > failed[pid, job_id, fails]:
            times = f"failed {failed[pid, job_id, fails]} times in process {pid}"
            yield f"{hook} was called {count} times for attempt {fails} of {job_id}, which {times}"
    gone = {fault.pid for fault in evidence.faults if fault.kind in FATAL}
    for run in evidence.runs:
        # The hooks are not called for a job that was cancelled.
        if run.outcome != FAILED or run.pid in gone or is_steered(run.name):
            continue
        for hook in (ON_FAILURE, ON_DEAD) if run.name in DOOMED and run.fails + 1 == DOOMED_FAILS else (ON_FAILURE,):
            if not calls[run.pid, hook, run.job_id, run.fails + 1]:
                yield f"{hook} was not called for attempt {run.fails + 1} of {run.name} {run.job_id}"


def _unclosed(evidence: Evidence) -> Iterator[str]:
    """The resources of a process were open while jobs ran, and were closed when it ended, unless it was killed."""
    openings: defaultdict[int, list[Opening]] = defaultdict(list)
    for opening in evidence.openings:
        openings[opening.pid].append(opening)
    killed = {fault.pid for fault in evidence.faults if fault.kind == KILLED}
    for pid, found in openings.items():
        if len(found) > 1:
            yield f"process {pid} opened its resources {len(found)} times"
        if found[-1].ended is None and pid not in killed:
            yield f"process {pid} ended without being killed, and has not closed its resources"
    if not evidence.openings:
        return
    for run in evidence.runs:
        if not any(each.began <= run.began <= (each.ended or float("inf")) for each in openings[run.pid]):
            yield f"{run.name} {run.job_id} began in process {run.pid} while its resources were closed"


def _too_many(evidence: Evidence) -> Iterator[str]:
    """No more jobs with a rate began than it allows, in all.

    A process that stood still begins late what it has taken, so this is not checked for each span. A fault may have
    lost the state of the rate, and so a burst.
    """
    rated = [run for run in evidence.runs if run.name == "rated"]
    if not rated:
        return
    seconds = max(run.began for run in rated) - min(run.began for run in rated)
    allowed = RATE.tokens * (1 + len(evidence.faults)) + seconds * RATE.count / RATE.seconds
    if len(rated) > allowed:
        yield f"{len(rated)} jobs with a rate of {RATE.label} began in {seconds:.1f} s"


def _again(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Return each attempt that was made a second time, with the one before it."""
    attempts: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        attempts[run.job_id, run.fails].append(run)
    for same in attempts.values():
        for before, again in pairwise(same):
            if before.outcome not in (SNOOZED, LIMITED):
                yield again, before


def _recoveries(evidence: Evidence) -> dict[str, list[float]]:
    """Return how long it took after each fault: until a process's jobs were back when it was killed, else until a job
    began again where the fault was.
    """
    found: defaultdict[str, list[float]] = defaultdict(list)
    for fault in evidence.faults:
        if fault.cleared is not None:
            found[f"{fault.kind}: its jobs are back"].append(fault.cleared - fault.began)
        elif fault.kind not in FATAL:
            began = [run.began for run in evidence.runs if fault.pid in (None, run.pid) and run.began >= fault.ended]
            if began:
                found[f"{fault.kind}: the next job begins"].append(began[0] - fault.ended)
    return dict(found)


def report(evidence: Evidence, account: Account) -> str:
    """Return it for people."""
    runs, ledger = evidence.runs, evidence.ledger
    kinds = Counter(fault.kind for fault in evidence.faults)
    done, cut_off = sum(run.outcome == DONE for run in runs), sum(run.ended is None for run in runs)
    dead, quarantined = len(evidence.locations["dead"]), len(evidence.locations["quarantine"])
    lines = [
        f"jobs confirmed {len(ledger.confirmed):,}, unsure {len(ledger.doubtful):,}",
        f"slots kept by key {len(ledger.keyed)}; jobs that took the place of another {len(ledger.replacing):,}",
        *steered_lines(evidence),
        *flow_lines(evidence.ledger.flows, evidence.flows),
        f"times in which a periodic job was paused, edited or removed {len(evidence.rests)}",
        *plan_lines(evidence),
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
    # An id may hold half of a character.
    return "\n".join(lines).encode(errors="backslashreplace").decode()
