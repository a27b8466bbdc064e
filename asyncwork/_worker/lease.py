"""The time for which a pool may run the jobs that it holds without asking Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from .._jobs.clock import Clock


class Renewable(Protocol):
    """A lease that each heartbeat renews."""

    def renew(self, sent_at: float, took: float, *, reaped: bool) -> None:
        """Record that a heartbeat was written; see :meth:`Lease.renew`."""


class Lease:
    """A time limit that each heartbeat extends. It ends before another pool may consider this one dead and requeue its
    jobs. The heartbeat's thread renews it; the event loop reads it.

    :param seconds: how long the lease lasts after a heartbeat.
    :param siblings: the leases of all dispatchers of the pool, this one among them; ``None`` if it is the only one.
    :ivar reaped: whether another pool has considered this one dead since its jobs were last claimed.
    :ivar expires: until when no other pool can have requeued this pool's jobs, epoch seconds.
    """

    def __init__(self, seconds: float, clock: Clock, siblings: Sequence[Lease] | None = None) -> None:
        self.reaped = False
        self._siblings = siblings if siblings is not None else [self]
        self._seconds = seconds
        self._clock = clock
        self.expires = clock() + seconds
        # The same time by the monotonic clock, which cannot be set but is read less often.
        self._until = time.monotonic() + seconds
        # How often this pool was found to have been considered dead, and how many of these its last claim covers.
        self._reaps = 0
        self._claimed = 0

    @property
    def in_doubt(self) -> bool:
        """Whether another pool may have requeued this pool's jobs since they were last claimed."""
        return self._reaps != self._claimed or self._clock() > self.expires or time.monotonic() > self._until

    @property
    def is_alone(self) -> bool:
        """Whether the pool has no other lease."""
        return len(self._siblings) == 1

    @property
    def all_claimed(self) -> bool:
        """Whether no lease of the pool is in doubt."""
        return not any(each.in_doubt for each in self._siblings)

    def now(self) -> float:
        """Return the time by the clock of the heartbeats, epoch seconds."""
        return self._clock()

    def renew(self, sent_at: float, took: float, *, reaped: bool) -> None:
        """Record that a heartbeat was written.

        :param sent_at: when it was sent, epoch seconds.
        :param took: seconds that have passed since.
        :param reaped: whether this pool had been considered dead.
        """
        # In this order, so that the event loop never sees a renewed lease before it sees that the pool was reaped.
        self._reaps += reaped
        if reaped:
            self.reaped = True
        self.expires, self._until = sent_at + self._seconds, time.monotonic() - took + self._seconds

    def begin_claim(self) -> tuple[float, float, int]:
        """Return the state that :meth:`claimed` needs once the jobs are claimed."""
        return self.now(), time.monotonic(), self._reaps

    def claimed(self, begun: tuple[float, float, int], valid_for: float) -> None:
        """Record that Redis has confirmed which jobs are this pool's.

        :param valid_for: seconds for which the confirmation holds even if no heartbeat can be written.
        """
        at, began, self._claimed = begun
        self.reaped = self._reaps != self._claimed
        self.expires, self._until = max(self.expires, at + valid_for), max(self._until, began + valid_for)


class Leases:
    """The leases of all dispatchers of a pool. Each is claimed by itself, and a heartbeat renews all of them."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self._leases = leases

    def renew(self, sent_at: float, took: float, *, reaped: bool) -> None:
        """Record that a heartbeat was written; see :meth:`Lease.renew`."""
        for each in self._leases:
            each.renew(sent_at, took, reaped=reaped)
