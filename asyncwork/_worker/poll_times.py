"""The times at which an idle pool polls the queues on which no pop blocks.

Pure: times are by the event loop's clock, seconds.
"""

from __future__ import annotations

import math

# Seconds until the first poll after jobs came; doubled while nothing is found.
FIRST_POLL_DELAY = 0.01


class PollTimes:
    """The times of one pool's polls. Polls of open queues come often, because they cost little. A queue that was closed
    has to be fetched from to find whether it still is, so that comes less and less often.

    :param period: seconds between two polls while no jobs come.
    :param longest: the longest time between two fetches from closed queues, seconds.
    :ivar next_at: when the next poll is due; ``None`` when none is planned.
    :ivar poll_again_at: when the next poll is due while jobs wait.
    """

    def __init__(self, period: float, longest: float) -> None:
        self.next_at: float | None = None
        self.poll_again_at = -math.inf
        self._period = min(period, longest)
        self._longest = longest
        self._delay = self._closed_delay = FIRST_POLL_DELAY
        self._closed_at: float | None = None

    def on_jobs(self) -> None:
        """Poll soon again, because jobs came."""
        self._delay = self._closed_delay = FIRST_POLL_DELAY

    def on_poll(self, now: float) -> None:
        """Take note of a poll."""
        self.poll_again_at = now + self._period

    def plan(self, now: float, *, open_left: bool, closed: bool) -> float | None:
        """Return when to poll; ``None`` if that was planned before, or is not needed.

        :param open_left: whether there are queues to poll.
        :param closed: whether there are closed queues.
        """
        if self.next_at is not None:
            return None
        if not closed:
            self._closed_at = None
        elif self._closed_at is None:
            self._closed_at = now + self._closed_delay
            self._closed_delay = min(2 * self._closed_delay, self._longest)
        at = math.inf if self._closed_at is None else max(self._closed_at, now + FIRST_POLL_DELAY)
        if open_left:
            at = min(at, now + self._delay)
            self._delay = min(2 * self._delay, self._period)
        self.next_at = at if at < math.inf else None
        return self.next_at

    def due(self, now: float) -> bool:
        """Take note of a poll; return whether it includes closed queues."""
        self.next_at = None
        if self._closed_at is None or now < self._closed_at:
            return False
        self._closed_at = None
        return True
