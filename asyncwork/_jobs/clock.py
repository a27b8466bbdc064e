"""The clock. Everything reads the time from here, so that a test can pass another clock."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds since the epoch, with fractions.
Clock = Callable[[], float]

wall_clock: Clock = time.time
