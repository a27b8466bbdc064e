"""The look-ahead: how many jobs a pool takes beyond its free workers.

Where jobs are shorter than a round trip, workers would wait for Redis most of the time. So a pool takes as many more as
will begin within a few milliseconds by the measured rate. For longer jobs there are none.

A pool announces in its heartbeat that it looks ahead, before it does, because it then holds jobs that have not begun.
If it crashes, the other pools cannot know which of its jobs have begun, so they count the crash against none. Instead,
all pools stop looking ahead for some minutes. If the same job causes another crash then, it is counted.
"""

from __future__ import annotations

import math
from enum import Enum

# Seconds of work that is taken ahead, by the measured rate.
_AHEAD = 0.003
# The longest time that a job may take, on average, for a pool to look ahead, seconds.
_LONGEST_JOB = 0.005
# The shortest time over which the rate is measured, and the longest: a pool that was not busy has no rate. Seconds.
_SHORTEST_PERIOD, _LONGEST_PERIOD = 0.005, 0.05
# More jobs make batches no cheaper.
_MOST = 512
# Seconds without looking ahead after jobs were requeued, because they did not begin in time: at first, and at most. It
# is doubled each time that this happens again soon, because then slow jobs are among the short ones.
_FIRST_REST, _LONGEST_REST = 0.25, 4.0
# Seconds without looking ahead while jobs of a queue with a rate are fetched.
_LIMITED_REST = 0.05
# Seconds for which the announcement stays when a pool does not look ahead any more, because it soon may again.
KEPT = 1.0


class Announcement(Enum):
    """The change that a pool has to write to its heartbeat."""

    BEGIN = "begin"
    END = "end"


class LookAhead:
    """The look-ahead of one pool: a window that grows and shrinks with the measured rate.

    It is pure and synchronous, as :class:`FetchState` is.

    :param enabled: whether there is any.
    :ivar due: when :meth:`measure` is to be called next, by the event loop's clock, seconds.
    :ivar wanted: the number of jobs to take ahead by the last measurement.
    :ivar announced: whether the heartbeat says that this pool looks ahead.
    """

    def __init__(self, concurrency: int, *, enabled: bool) -> None:
        self.concurrency = concurrency
        self.due = -math.inf if enabled else math.inf
        self.announced = False
        self.wanted = 0
        # An announcement, or its end, is under way. There is one at a time, because two on different connections may
        # overtake each other.
        self._unconfirmed = False
        # The heartbeat to which the announcement under way is written may be gone.
        self._revoked = False
        self._not_before = -math.inf
        self._rest = _FIRST_REST
        self._wanted_at = -math.inf
        # The last measurement: when it was, and how many jobs had ended.
        self._at, self._ended = -math.inf, 0

    @property
    def size(self) -> int:
        """The number of jobs to take beyond the free workers."""
        return self.wanted if self.announced else 0

    def measure(self, now: float, ended: int) -> None:
        """Change the size by the rate since the last call.

        :param now: the event loop's clock, seconds.
        :param ended: number of jobs that have ended so far.
        """
        seconds, jobs = now - self._at, ended - self._ended
        self._at, self._ended, self.due = now, ended, now + _SHORTEST_PERIOD
        # If all workers are busy, a job takes this time on average; if not, less.
        if seconds > _LONGEST_PERIOD or now < self._not_before or self.concurrency * seconds > jobs * _LONGEST_JOB:
            self.wanted = 0
            return
        self.wanted = min(round(jobs * _AHEAD / seconds), 2 * self.wanted + self.concurrency, _MOST)
        self._wanted_at = now

    def on_requeued(self, now: float) -> None:
        """Do not look ahead for some time, because jobs did not begin in time."""
        if now < self._not_before:
            # These jobs were taken before the pause began, as were those that caused it.
            return
        again = now - self._not_before < 2 * self._rest
        self._rest = min(2 * self._rest, _LONGEST_REST) if again else _FIRST_REST
        self._pause(now, self._rest)

    def _pause(self, now: float, seconds: float) -> None:
        self.wanted, self._not_before = 0, now + seconds

    def next_announcement(self, now: float, ahead: int) -> Announcement | None:
        """Return what is to be written to the heartbeat now.

        :param ahead: how many jobs this pool may hold beyond its workers.
        """
        if self._unconfirmed:
            return None
        if not self.announced:
            if self.wanted:
                self._unconfirmed, self._revoked = True, False
                return Announcement.BEGIN
        elif not ahead and now - self._wanted_at > KEPT:
            self.announced, self._unconfirmed = False, True
            return Announcement.END
        return None

    def on_begun(self, paused: float, now: float) -> None:
        """Process the reply to an announcement.

        :param paused: seconds for which no pool is to look ahead, 0 if this pool may.
        """
        self._unconfirmed, self.announced = False, not (paused or self._revoked)
        if paused:
            self._pause(now, paused)

    def on_ended(self) -> None:
        """Redis has confirmed that the announcement is gone."""
        self._unconfirmed = False

    def on_paused(self, now: float) -> None:
        """Stop, because a pool has crashed."""
        # Redis replies to the next announcement for how long.
        self._pause(now, _FIRST_REST)
        self._wanted_at = -math.inf

    def yield_to_limited(self, now: float) -> None:
        """Do not look ahead for a moment, because jobs of a queue with a rate wait, which must begin at once."""
        if now >= self._not_before:
            self._pause(now, _LIMITED_REST)

    def revoke(self) -> None:
        """Announce again, because the heartbeat may be another one."""
        self.announced, self._revoked = False, True
