"""The parts of an enqueuer with which its batches and flows are written."""

from __future__ import annotations

from typing import NamedTuple

from .._jobs.clock import Clock
from .._jobs.tracing import JobTracing
from .keys import Keys


class BatchSource(NamedTuple):
    """The parts of an enqueuer with which its batches and flows are written.

    :ivar clock: returns epoch seconds.
    """

    keys: Keys
    namespace: str
    masked_url: str
    tracing: JobTracing | None
    clock: Clock

    @property
    def now(self) -> int:
        """The whole second."""
        return int(self.clock())
