"""The explanations for what happened twice, or late: the faults that struck a process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from .evidence import Evidence
from .pulse import Silence
from .record import CANCELLED, Run
from .world import (
    ASKED_TO_STOP,
    KILLED,
    OPTIONS,
    QUIET,
    RESIZED,
    TOLD_TO_STOP,
    TOLD_TO_STOP_HOLDING_ON,
    TRIAL_HELD,
    Fault,
)

_STOPS = (TOLD_TO_STOP, TOLD_TO_STOP_HOLDING_ON, ASKED_TO_STOP)
# The faults by which a process loses what it runs, however short they are.
FATAL = (KILLED, *_STOPS)
# The faults that keep no process from telling Redis anything.
_HARMLESS = (QUIET, RESIZED, "clock of a worker jumped", "scripts flushed", "poison pushed", "lone surrogates pushed")
# Those during which nobody could beat: that time counts for nobody's death.
_NOBODY_BEATS = ("Redis restarted", "Redis read-only", "Redis paused", "Redis busy")
HELD = "a process did not run"
# Seconds. A fault is seen a little later than it was.
_SLACK = 0.5
# Seconds after a fault in which Redis has been told, over another connection, what the fault kept from it; or after the
# end of an attempt to which nothing happened.
_TOLD_AGAIN = 2 * OPTIONS.tuning.reply_timeout


class Explanations:
    """Tells why an attempt could be made a second time.

    A process loses its jobs when it ends, or when no heartbeat of it comes for so long that others consider it dead.
    The length of a fault alone does not tell the latter: faults add up, and a busy machine is one. So the heartbeats
    themselves are looked at. A process that is silent without having been struck has a defect, which explains nothing.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._runs = evidence.runs
        self._lives, self._silences = evidence.lives, evidence.silences
        self._ends: defaultdict[int | None, list[Fault]] = defaultdict(list)
        # What keeps a process from telling Redis anything, by pid; ``None`` for what keeps them all.
        self._troubles: defaultdict[int | None, list[Fault]] = defaultdict(list)
        for fault in evidence.faults:
            if fault.kind in FATAL:
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

    def is_held(self, pid: int, began: float, ended: float) -> bool:
        """Tell whether a process did not run, or was kept from Redis, at some moment of a time."""
        return bool(self._around(pid, began, ended))

    def is_troubled(self, run: Run) -> bool:
        """Tell whether the process of an attempt was considered dead while it ran, or could have been."""
        end = float("inf") if run.ended is None else run.ended
        own = (*self._troubles[run.pid], *self._ends[run.pid])
        if any(fault.began <= end and fault.ended >= run.began for fault in own):
            return True
        return self.lost_by(run, end) is not None

    def at_work(self, seconds: float) -> Iterator[tuple[float, float]]:
        """Return the times in which nothing struck a process, of those in which it ran for some seconds: by when it had
        run that long, and since when it ran that long until the end. On a busy machine it does not run all the time.
        """
        for pid, life in self._lives.items():
            ended = min([life.ended, *(fault.began for fault in self._ends[pid])])
            held = [(silence.began, silence.ended) for silence in self._silences if silence.pid == pid]
            struck: list[tuple[float, float]] = []
            for fault in self._around(pid, life.began, ended):
                (held if fault.kind in (HELD, TRIAL_HELD) else struck).append((fault.began, fault.ended))
            for began, until in _between(struck, life.began, ended):
                running = list(_between(held, began, until))
                if sum(end - start for start, end in running) > seconds:
                    yield (
                        _after(running, seconds),
                        -_after([(-end, -start) for start, end in reversed(running)], seconds),
                    )

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


def _between(times: Iterable[tuple[float, float]], began: float, ended: float) -> Iterator[tuple[float, float]]:
    """Return what is left of a time between other times."""
    for start, end in sorted(times):
        if began < min(start, ended):
            yield began, min(start, ended)
        began = max(began, end)
    if began < ended:
        yield began, ended


def _after(times: Iterable[tuple[float, float]], seconds: float) -> float:
    """Return when these times have lasted some seconds in all; they last longer."""
    at = 0.0
    for began, ended in times:
        at = began + seconds
        if at <= ended:
            break
        seconds -= ended - began
    return at
