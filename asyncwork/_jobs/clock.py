"""What time it is. One place, so that tests and skewed hosts can be told another."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds since the epoch, with fractions.
Clock = Callable[[], float]

wall_clock: Clock = time.time
