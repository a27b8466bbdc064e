"""For how long a pool may rely on the jobs that it holds being its own."""

from __future__ import annotations

import time

from .._jobs.clock import Clock


class Lease:
    """Runs from each heartbeat for less than the time after which another pool may consider this one dead and put its
    jobs back. Renewed by the heartbeat's thread, read by the event loop.

    :param seconds: how long it runs.
    :ivar expires: until when nobody can have put this pool's jobs back, epoch seconds.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self.expires = clock() + seconds
        # The same by a clock that nobody sets, which is read less often.
        self._until = time.monotonic() + seconds
        # How often this pool turned out to have been considered dead, and how often its jobs were claimed since.
        self._reaps = 0
        self._claimed = 0

    @property
    def reaped(self) -> bool:
        """Whether this pool turned out to have been considered dead since its jobs were last claimed."""
        return self._reaps != self._claimed

    @property
    def in_doubt(self) -> bool:
        """Whether another pool may have put this pool's jobs back since they were last claimed."""
        return self._reaps != self._claimed or self._clock() > self.expires or time.monotonic() > self._until

    def renew(self, beaten_at: float, took: float, *, reaped: bool) -> None:
        """Note that a heartbeat was written.

        :param beaten_at: when it was sent, epoch seconds.
        :param took: how long ago that was, seconds.
        :param reaped: whether this pool had been considered dead.
        """
        # In this order: the event loop must not take the pool for safe in between.
        self._reaps += reaped
        self.expires, self._until = beaten_at + self._seconds, time.monotonic() - took + self._seconds

    def begin_claim(self) -> tuple[float, float, int]:
        """Return what is to be given to :meth:`claimed` once the jobs were claimed."""
        return self._clock(), time.monotonic(), self._reaps

    def claimed(self, begun: tuple[float, float, int], valid_for: float) -> None:
        """Note that Redis has told which jobs are this pool's.

        :param valid_for: seconds for which that is relied on although no heartbeat can be written.
        """
        at, began, self._claimed = begun
        self.expires, self._until = max(self.expires, at + valid_for), max(self._until, began + valid_for)
