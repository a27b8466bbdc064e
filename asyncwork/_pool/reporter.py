"""Makes the reports of a pool: its health, and the counts that its metrics show."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from .._health import decision
from .._health.histogram import CHUNK_BOUNDS, WAIT_BOUNDS, histogram_of
from .._health.report import MOST_KINDS, MOST_NAMES, JobReport, LabelLimit, ProcessReport, empty_report, health_report
from .._worker.metrics import OUTCOMES, STEP_KINDS, QueueMetrics
from .._worker.pool_probe import PoolProbe
from ..models.pools import PoolHealth

_STOPPED = PoolHealth(live=True, ready=False, state=decision.STOPPED)


class Reporter:
    """Reports the health and the counts of one pool. May be used by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = decision.STOPPED
        self._since = self._started_at = time.time()
        self._names = LabelLimit(MOST_NAMES)
        self._kinds = LabelLimit(MOST_KINDS)
        # The run that was reported last, and its report.
        self._probe: PoolProbe | None = None
        self._last = empty_report(_STOPPED)

    def observe(self, state: str) -> float:
        """Return since when the pool has been in a state, epoch seconds: since it was first observed."""
        with self._lock:
            if state != self._state:
                self._state, self._since = state, time.time()
                if state == decision.STARTING:
                    self._started_at = self._since
            return self._since

    def health(self, state: str, probe: PoolProbe | None) -> PoolHealth:
        """Return the health of the pool.

        :param probe: ``None`` if no jobs are run now.
        """
        since = self.observe(state)
        if probe is not None:
            return probe.health(state, since)
        return decision.decide(state, since, now=since, blocked=0, blocked_limit=1, silence=0, silence_limit=1)

    def report(self, state: str, probe: PoolProbe | None, ended: PoolProbe | None = None) -> ProcessReport:
        """Return the report of the pool.

        :param probe: ``None`` if no jobs are run now. Then the counts are those of the last run.
        :param ended: reads a run whose jobs have ended, because some may have ended after the last report.
        """
        health = health_report(self.health(state, probe))
        with self._lock:
            if (source := probe or ended) is not None:
                if source is not self._probe:
                    self._probe, self._last = source, empty_report(_STOPPED)
                self._last = self._read(source)
            report = self._last if probe is not None else _without_gauges(self._last)
            return {**report, "health": health, "processes": {state: 1}, "started_at": self._started_at}

    def _read(self, probe: PoolProbe) -> ProcessReport:
        busy, concurrency = probe.busy, probe.concurrency
        by_label: dict[str, list[QueueMetrics]] = {}
        kinds: Counter[str] = Counter()
        counts = {name: each.metrics for name, each in probe.job_types.items()}
        # A long attempt takes steps before it ends.
        some = {name: each for name, each in counts.items() if each.processed or each.steps}
        # If there are too many names, those with most attempts are distinguished.
        for name, metrics in sorted(some.items(), key=lambda each: -each[1].processed):
            by_label.setdefault(self._names.label(name), []).append(metrics)
            kinds.update(metrics.failures.copy())
        return {
            **self._last,
            "redis": probe.redis_answers,
            "reconnects": probe.dispatchers.reconnects,
            "busy": busy,
            "free": max(0, concurrency - busy),
            "unbegun": probe.dispatchers.unbegun,
            "pending": probe.dispatchers.unconfirmed(),
            "blocked": probe.blocked,
            "lag": histogram_of([probe.watchdog.lag.reading()]),
            "jobs": {label: self._job(label, some) for label, some in by_label.items()},
            "failures": self._failures(kinds),
        }

    def _failures(self, counts: Counter[str]) -> dict[str, int]:
        by_label: Counter[str] = Counter()
        for kind, count in counts.most_common():
            by_label[self._kinds.label(kind)] += count
        return dict(by_label)

    def _job(self, label: str, metrics: Sequence[QueueMetrics]) -> JobReport:
        before = self._last["jobs"].get(label)
        outcomes, steps = Counter[str](), Counter[str]()
        for each in metrics:
            outcomes.update(each.outcomes())
            steps.update(each.steps.copy())
        if before is not None:
            # While the event loop records an attempt that failed, it seems to have succeeded for a moment. A count must
            # not decrease after that.
            outcomes |= Counter(before["outcomes"])
        return {
            "outcomes": {name: outcomes[name] for name in OUTCOMES},
            "run": histogram_of((each.run_counts, each.run) for each in metrics),
            "wait": histogram_of(((each.wait_counts, float(each.waited)) for each in metrics), WAIT_BOUNDS),
            "chunks": histogram_of(((each.chunk_counts, float(each.chunked)) for each in metrics), CHUNK_BOUNDS),
            # All kinds, so that each counter begins at 0.
            "steps": {kind: steps[kind] for kind in STEP_KINDS} if steps else {},
        }


def _without_gauges(report: ProcessReport) -> ProcessReport:
    return {**report, "redis": None, "busy": 0, "free": 0, "unbegun": 0, "pending": 0, "blocked": 0.0}
