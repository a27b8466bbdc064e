"""What an enqueuer writes its batches with."""

from __future__ import annotations

from typing import NamedTuple

from .._jobs.clock import Clock
from .._jobs.tracing import JobTracing
from .keys import Keys


class BatchSource(NamedTuple):
    """What an enqueuer writes its batches with.

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
