"""Answers for a process that runs one pool, from before the pool is made until the process ends."""

from __future__ import annotations

from .._health import decision
from .._health.report import HealthReport, ProcessReport, health_report
from .._worker.pool_probe import PoolProbe
from .lifecycle import Lifecycle
from .reporter import Reporter


class ProcessSource:
    """The health and the report of this process. May be used by any thread.

    :ivar pool: the pool of this process; ``None`` until it is made.
    """

    def __init__(self) -> None:
        self.pool: Lifecycle | None = None
        self._reporter = Reporter()

    def health(self) -> HealthReport:
        """Return the health of the process."""
        return health_report(self._reporter.health(*self._state_and_probe()))

    def report(self) -> ProcessReport:
        """Return the report of the process."""
        state, probe = self._state_and_probe()
        return self._reporter.report(state, probe, None if self.pool is None else self.pool._ended_probe)

    def _state_and_probe(self) -> tuple[str, PoolProbe | None]:
        pool = self.pool
        if pool is None or pool._run is None:
            return decision.STARTING, None
        state, probe = pool._state_and_probe()
        return decision.STOPPING if state == decision.STOPPED else state, probe
