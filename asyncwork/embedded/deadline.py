"""The time limit of a start."""

from __future__ import annotations

import threading
import time


class Deadline:
    """Passes after some seconds, or as soon as ``cancelled`` is set."""

    def __init__(self, seconds: float, cancelled: threading.Event) -> None:
        self.seconds = seconds
        self.cancelled = cancelled
        self._at = time.monotonic() + seconds

    def has_passed(self) -> bool:
        """Return whether the start has to give up."""
        return self.cancelled.is_set() or time.monotonic() >= self._at
