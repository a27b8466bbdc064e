"""Adds the reports of several processes, so that one of them can answer for all."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType

from ..models.pools import PoolHealth
from .decision import BLOCKED, STARTING
from .report import (
    MOST_KINDS,
    MOST_NAMES,
    HealthReport,
    HistogramReport,
    JobReport,
    LabelLimit,
    ProcessReport,
    empty_report,
    health_report,
)

_NO_PROCESS = "no process runs yet, or none any more"
_NONE: Mapping[Hashable, ProcessReport] = MappingProxyType({})


def sum_of(reports: Sequence[ProcessReport]) -> ProcessReport:
    """Return the sum of the reports of some processes, at least one.

    It is live if one of them is, because a process that is not live can be replaced without the others. It is ready if
    one of them is.
    """
    processes: Counter[str] = Counter()
    for each in reports:
        processes.update(each["processes"])
    return {
        "version": reports[-1]["version"],
        "health": _health_of(reports),
        "processes": dict(processes),
        "started_at": min(each["started_at"] for each in reports),
        "redis": _redis_of(reports),
        "reconnects": sum(each["reconnects"] for each in reports),
        "busy": sum(each["busy"] for each in reports),
        "free": sum(each["free"] for each in reports),
        "unbegun": sum(each["unbegun"] for each in reports),
        "pending": sum(each["pending"] for each in reports),
        "blocked": max(each["blocked"] for each in reports),
        "lag": _histogram_of(each["lag"] for each in reports),
        "jobs": _jobs_of(each["jobs"] for each in reports),
        "failures": _counts_of(each["failures"] for each in reports),
    }


def _health_of(reports: Sequence[ProcessReport]) -> HealthReport:
    healths = [each["health"] for each in reports]
    live, ready = any(each["live"] for each in healths), any(each["ready"] for each in healths)
    # The state and the reason are those of a ready process if there is one, else of a live one; of several, the one
    # that has been so for longest.
    best = max(healths, key=lambda each: (each["ready"], each["live"], -(each["since"] or 0)))
    return {**best, "live": live, "ready": ready}


def _redis_of(reports: Sequence[ProcessReport]) -> bool | None:
    known = [each["redis"] for each in reports if each["redis"] is not None]
    return all(known) if known else None


def _counts_of(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _histogram_of(histograms: Iterable[HistogramReport]) -> HistogramReport:
    counts: list[int] = []
    total = 0.0
    for each in histograms:
        if len(counts) < len(each["counts"]):
            counts += [0] * (len(each["counts"]) - len(counts))
        for at, count in enumerate(each["counts"]):
            counts[at] += count
        total += each["sum"]
    return {"counts": counts, "sum": total}


def _jobs_of(jobs: Iterable[dict[str, JobReport]]) -> dict[str, JobReport]:
    by_name: dict[str, list[JobReport]] = {}
    for each in jobs:
        for name, job in each.items():
            by_name.setdefault(name, []).append(job)
    return {name: _job_of(some) for name, some in by_name.items()}


def _job_of(jobs: Sequence[JobReport]) -> JobReport:
    return {
        "outcomes": _counts_of(each["outcomes"] for each in jobs),
        "run": _histogram_of(each["run"] for each in jobs),
        "wait": _histogram_of(each["wait"] for each in jobs),
        "chunks": _histogram_of(each["chunks"] for each in jobs),
        "steps": _counts_of(each["steps"] for each in jobs),
    }


def silent(report: ProcessReport, seconds: float, limit: float) -> ProcessReport:
    """Return the last report of a process as it counts when the process has not reported since.

    :param seconds: the age of the report.
    :param limit: from which age on the process does not count as live. A process whose event loop is blocked still
        reports; one in which native code holds the GIL does not.
    """
    if seconds <= limit:
        return report
    health = PoolHealth(False, False, report["health"]["state"], BLOCKED, round(time.time() - seconds, 3))
    return {**report, "health": health_report(health), "blocked": max(report["blocked"], seconds)}


class ReportSum:
    """The sum of the reports of processes that come and go. Its counts never decrease: those of processes that have
    ended remain, so that Prometheus does not mistake the end of one for a reset of all.

    It is what a process that supervises others gives to :class:`~.server.HealthServer`. May be used by any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[Hashable, ProcessReport] = {}
        self._ended: ProcessReport | None = None
        # Since when no process has reported, epoch seconds.
        self._empty_since = round(time.time(), 3)
        self._names = LabelLimit(MOST_NAMES)
        self._kinds = LabelLimit(MOST_KINDS)

    def replace(
        self, reports: Mapping[Hashable, ProcessReport], ended: Mapping[Hashable, ProcessReport] = _NONE
    ) -> None:
        """Replace the reports of all processes. Those that have none any more have ended, and only their counts remain.

        :param reports: by something that identifies the process, and is not used again after its end.
        :param ended: the last reports of processes that have ended since, likewise.
        """
        limited = {process: self._limited(report) for process, report in reports.items()}
        last = {process: self._limited(report) for process, report in ended.items()}
        with self._lock:
            for process, report in {**self._reports, **last}.items():
                if process not in limited:
                    self._ended = _only_counts(report if self._ended is None else sum_of([self._ended, report]))
            if self._reports and not limited:
                self._empty_since = round(time.time(), 3)
            self._reports = limited

    def health(self) -> HealthReport:
        """Return whether one of the processes is live and ready."""
        with self._lock:
            running = list(self._reports.values())
            empty = self._empty_health()
        return _health_of(running) if running else health_report(empty)

    def report(self) -> ProcessReport:
        """Return the sum."""
        with self._lock:
            running, ended, empty = list(self._reports.values()), self._ended, self._empty_health()
        total = sum_of(running) if running else empty_report(empty)
        if ended is not None:
            counts = sum_of([ended, total])
            for name in ("reconnects", "lag", "jobs", "failures"):
                total[name] = counts[name]
        return total

    def _empty_health(self) -> PoolHealth:
        return PoolHealth(live=True, ready=False, state=STARTING, reason=_NO_PROCESS, since=self._empty_since)

    def _limited(self, report: ProcessReport) -> ProcessReport:
        """Return a report with the names and classes that the sum distinguishes."""
        jobs = _jobs_of({self._names.label(name): job} for name, job in report["jobs"].items())
        failures = _counts_of({self._kinds.label(kind): count} for kind, count in report["failures"].items())
        return {**report, "jobs": jobs, "failures": failures}


def _only_counts(report: ProcessReport) -> ProcessReport:
    return {**report, "busy": 0, "free": 0, "unbegun": 0, "pending": 0, "blocked": 0.0, "processes": {}}
