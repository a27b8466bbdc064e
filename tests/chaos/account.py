"""Accounts for every job of a run: what was promised, what was done, and why. Pure: it is given all that is known."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from .app import CAP, DOOMED, DOOMED_FAILS
from .producers import PoolMetrics
from .pulse import Silence
from .record import CANCELLED, DONE, FAILED, ON_DEAD, ON_FAILURE, SNOOZED, Hold, HookCall, Opening, Run, readable
from .world import KILLED, OPTIONS, TOLD_TO_STOP, TOLD_TO_STOP_HOLDING_ON, Fault

_TICK = re.compile(r"periodic:tick:\* \* \* \* \* \*:(\d+)")
# After so many crashes a job is taken for their cause.
_MAX_CRASHES = 3
_STOPS = (TOLD_TO_STOP, TOLD_TO_STOP_HOLDING_ON)
# The faults by which a process loses what it runs, however short they are.
_FATAL = (KILLED, *_STOPS)
# The faults that keep no process from telling Redis anything.
_HARMLESS = ("clock of a worker jumped", "scripts flushed", "poison pushed", "lone surrogates pushed")
# Those during which nobody could beat: that time counts for nobody's death.
_NOBODY_BEATS = ("Redis restarted", "Redis read-only", "Redis paused", "Redis busy")
HELD = "a process did not run"
# Seconds. A fault is seen a little later than it was.
_SLACK = 0.5
# Seconds after a fault in which Redis has been told, over another connection, what the fault kept from it; or after the
# end of an attempt to which nothing happened.
_TOLD_AGAIN = 2 * OPTIONS.tuning.reply_timeout


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of a run.

    :ivar holds: when a process did not run, as it noted itself.
    :ivar silences: when no heartbeat of a process came.
    :ivar hook_calls: the calls of the hooks.
    :ivar openings: when the resources of a process were open.
    :ivar places: the payloads that are in Redis at the end, by place.
    :ivar poison: how many payloads that are no jobs were pushed.
    :ivar audit: what the audit complains of.
    :ivar surprises: what else should not have been: exit codes, defects in a log, jobs that do not come to rest.
    :ivar kinds: the kinds of jobs of which one must have run.
    :ivar fault_kinds: the kinds of faults of which one must have struck.
    """

    ledger: PoolMetrics
    runs: Sequence[Run]
    faults: Sequence[Fault]
    locations: Mapping[str, Sequence[bytes]]
    poison: int
    audit: Sequence[str]
    surprises: Sequence[str]
    holds: Sequence[Hold] = ()
    silences: Sequence[Silence] = ()
    hook_calls: Sequence[HookCall] = ()
    openings: Sequence[Opening] = ()
    kinds: frozenset[str] = frozenset()
    fault_kinds: frozenset[str] = frozenset()


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
    explanations = _Explanations(evidence)
    account.wrong += [*_absent(evidence), *_lost(evidence), *_replaced(evidence), *_multiplied(evidence)]
    account.wrong += [*_uncalled(evidence), *_misplaced(evidence, explanations)]
    account.wrong += [*_crowded(evidence, explanations), *_missed(evidence)]
    account.wrong += [*_unhooked(evidence), *_unclosed(evidence)]
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
        named = evidence.ledger.sent.get(run.number) == run.name
        if not (
            named or run.job_id in evidence.ledger.confirmed or run.name == "unique" or _TICK.fullmatch(run.job_id)
        ):
            yield f"{run.name} {run.job_id} ran, and nobody has enqueued it"


def _misplaced(evidence: Evidence, explanations: _Explanations) -> Iterator[str]:
    """What is still in Redis is where it belongs."""
    if len(evidence.locations["quarantine"]) != evidence.poison:
        yield f"{evidence.poison} payloads were no jobs, {len(evidence.locations['quarantine'])} are in quarantine"
    for payload in evidence.locations["dead"]:
        job = json.loads(payload)
        err = job.get("err", "")
        if err.startswith("CrashedError"):
            expected = explanations.crashes(readable(job["id"])) >= _MAX_CRASHES
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


def _crowded(evidence: Evidence, explanations: _Explanations) -> Iterator[str]:
    """No more jobs of a capped queue ran at once than may; those of a process in trouble do not count: it lost them."""
    ends = {fault.pid: fault.began for fault in evidence.faults if fault.kind == KILLED}
    events: list[tuple[float, int]] = []
    for run in evidence.runs:
        if run.name == "capped" and not explanations.is_troubled(run):
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
    waiting = {int(found[1]) for each in evidence.locations["scheduled"] if (found := _TICK.search(each.decode()))}
    if ticks and (missing := set(range(ticks[0], ticks[-1])) - set(ticks) - waiting):
        yield f"instances of the periodic job that never ran: {sorted(missing)}"


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
    gone = {fault.pid for fault in evidence.faults if fault.kind in _FATAL}
    for run in evidence.runs:
        if run.outcome != FAILED or run.pid in gone:
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


def _again(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Return each attempt that was made a second time, with the one before it."""
    attempts: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        attempts[run.job_id, run.fails].append(run)
    for same in attempts.values():
        for before, again in pairwise(same):
            if before.outcome != SNOOZED:
                yield again, before


class _Explanations:
    """Tells why an attempt could be made a second time.

    A process loses its jobs when it ends, or when no heartbeat of it comes for so long that others consider it dead.
    The length of a fault alone does not tell the latter: faults add up, and a busy machine is one. So the heartbeats
    themselves are looked at. A process that is silent without having been struck has a defect, which explains nothing.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._runs = evidence.runs
        self._ends: defaultdict[int | None, list[Fault]] = defaultdict(list)
        # What keeps a process from telling Redis anything, by pid; ``None`` for what keeps them all.
        self._troubles: defaultdict[int | None, list[Fault]] = defaultdict(list)
        for fault in evidence.faults:
            if fault.kind in _FATAL:
                self._ends[fault.pid].append(fault)
            elif fault.kind not in _HARMLESS:
                self._troubles[fault.pid].append(fault)
        for hold in evidence.holds:
            self._troubles[hold.pid].append(Fault(HELD, hold.pid, hold.began, hold.ended))
        # The silences in which a process can have been considered dead, each with what caused it.
        self._deaths: defaultdict[int, list[tuple[Silence, Fault]]] = defaultdict(list)
        for silence in evidence.silences:
            cause = self._cause(silence)
            if cause is not None and self._watched(silence) + _SLACK >= OPTIONS.dead_after:
                self._deaths[silence.pid].append((silence, cause))

    def _around(self, pid: int, began: float, ended: float, lasting: float = 0.0) -> list[Fault]:
        """Return the troubles of a process in a time, in the order in which they began.

        :param lasting: for how long after its end a trouble is one, seconds.
        """
        found = [
            fault
            for fault in (*self._troubles[pid], *self._troubles[None])
            if fault.began <= ended and fault.ended + lasting >= began
        ]
        return sorted(found, key=lambda fault: fault.began)

    def _cause(self, silence: Silence) -> Fault | None:
        """Return what lasted longest of what struck a process while it was silent: its own before everybody's, and what
        was done to it before what was seen of it.
        """

        def weight(fault: Fault) -> tuple[bool, bool, float]:
            return fault.pid is not None, fault.kind != HELD, fault.ended - fault.began

        return max(self._around(silence.pid, silence.began, silence.ended, OPTIONS.heartbeat), key=weight, default=None)

    def _watched(self, silence: Silence) -> float:
        """Return how much of a silence counts: others could beat, and somebody could look."""
        counted, at = 0.0, silence.began
        for fault in self._around(silence.pid, silence.began, silence.ended):
            if fault.kind in _NOBODY_BEATS:
                counted += max(0.0, fault.began - at)
                at = max(at, fault.ended)
        return counted + max(0.0, silence.ended - at)

    def _told_by(self, run: Run) -> float:
        """Return when Redis has been told of the end of an attempt, at the latest: until then it can be lost."""
        if run.ended is None:
            return float("inf")
        told = run.ended + _TOLD_AGAIN
        for fault in self._around(run.pid, run.ended, float("inf")):
            if fault.began > told:
                break
            told = max(told, fault.ended + _TOLD_AGAIN)
        return told

    def lost_by(self, run: Run, before: float) -> Fault | None:
        """Return what made a process lose an attempt before some time, if there is something."""
        told = min(before, self._told_by(run))
        for fault in self._ends[run.pid]:
            if fault.began <= told and fault.ended + _SLACK >= run.began and self._is_lost_at(run, fault):
                return fault
        for silence, cause in self._deaths[run.pid]:
            dead_at = silence.began + OPTIONS.dead_after - _SLACK
            if silence.began <= told and silence.ended >= run.began and dead_at <= before:
                return cause
        return None

    def _is_lost_at(self, run: Run, end: Fault) -> bool:
        """Tell whether a process that ended could lose an attempt: one that was told to stop settles what has ended,
        unless something keeps it from that.
        """
        if end.kind == KILLED or run.ended is None or run.outcome == CANCELLED:
            return True
        return bool(self._around(run.pid, run.ended - _SLACK, end.ended, _TOLD_AGAIN))

    def held_through(self, run: Run, before: Run) -> Fault | None:
        """Return what held a process while it was beginning a job that was another's by then, if there is something.

        A process that was held asks Redis before it begins anything. Only what it was beginning when it was held it
        begins without: the very first thing that it does.
        """
        for silence, cause in self._deaths[run.pid]:
            if not silence.began + OPTIONS.dead_after - _SLACK <= before.began <= run.began <= silence.ended + _SLACK:
                continue
            for hold in self._troubles[run.pid]:
                if hold.kind != HELD or hold.ended < before.began:
                    continue
                middle = (hold.began + hold.ended) / 2
                if middle <= run.began and not self._is_at_work(run.pid, middle, run.began):
                    return cause
        return None

    def _is_at_work(self, pid: int, began: float, ended: float) -> bool:
        """Tell whether an attempt began or ended in a process in a time."""
        return any(
            began <= at < ended
            for run in self._runs
            if run.pid == pid
            for at in (run.began, run.ended)
            if at is not None
        )

    def is_troubled(self, run: Run) -> bool:
        """Tell whether the process of an attempt was considered dead while it ran, or could have been."""
        end = float("inf") if run.ended is None else run.ended
        own = (*self._troubles[run.pid], *self._ends[run.pid])
        if any(fault.began <= end and fault.ended >= run.began for fault in own):
            return True
        return self.lost_by(run, end) is not None

    def crashes(self, job_id: str) -> int:
        """Return how often a job can have been in progress in a process that died: it ran there, or nobody ran it, so
        that it may have been about to.
        """
        runs = [run for run in self._runs if run.job_id == job_id]
        count = sum(self.lost_by(run, float("inf")) is not None for run in runs)
        # From the beginning of an attempt that was lost to that of the next.
        nexts = [*(run.began for run in runs[1:]), float("inf")]
        lost = [(run.pid, run.began, at) for run, at in zip(runs, nexts, strict=False) if self.lost_by(run, at)]
        deaths = [(fault.pid, fault.began) for ends in self._ends.values() for fault in ends]
        deaths += [(pid, silence.ended) for pid, silences in self._deaths.items() for silence, _ in silences]
        return count + sum(any(pid != its and a < at <= b for its, a, b in lost) for pid, at in deaths)


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
    dead, quarantined = len(evidence.locations["dead"]), len(evidence.locations["quarantine"])
    lines = [
        f"jobs confirmed {len(ledger.confirmed):,}, unsure {len(ledger.doubtful):,}",
        f"slots kept by key {len(ledger.keyed)}; jobs that took the place of another {len(ledger.replacing):,}",
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
