"""Jobs whose requeueing Redis has not confirmed yet. A reply under way may bring them nevertheless."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable

from .._redis.queue import Queue
from .._redis.work_queue import HeldJob


class PendingRequeues:
    """The jobs of one pool whose requeueing Redis has not confirmed yet, also those that Redis may requeue by itself.

    Another reply may bring such a job meanwhile: it was requeued and taken again, or is requeued next. It is postponed
    until Redis has replied, and keeps its worker.

    :param stale_after: a reply that is older than this, in seconds, is revalidated with Redis before its jobs run,
        because the pool may have been considered dead meanwhile.
    """

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._payloads: Counter[bytes] = Counter()
        # By payload. Each is here once, because more replies bring the same job.
        self._postponed: dict[bytes, HeldJob] = {}
        # Replies to requests that were sent before this time are revalidated.
        self._distrusted_until = float("-inf")
        # Replies to requests that were sent before this time may not know that a queue, or a tenant of it, is to rest.
        self._rests: dict[tuple[Queue, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self._payloads)

    def __contains__(self, payload: object) -> bool:
        return payload in self._payloads

    @property
    def postponed(self) -> Collection[HeldJob]:
        """Jobs that keep their worker until Redis has replied whether they were requeued."""
        return self._postponed.values()

    def is_stale(self, requested_at: float, now: float) -> bool:
        """Return whether the jobs of a reply may be another pool's by now.

        :param requested_at: when the request was sent, by the event loop's clock, seconds.
        """
        return requested_at <= self._distrusted_until or now - requested_at > self._stale_after

    def distrust(self, now: float) -> None:
        """Have replies to requests that were sent until now revalidated."""
        self._distrusted_until = now

    def begin_rest(self, resting: tuple[Queue, str]) -> None:
        """A queue, or a tenant of it, is to rest."""
        self._rests[resting] = math.inf

    def on_rested(self, resting: tuple[Queue, str], now: float) -> None:
        """Redis has replied that it rests."""
        self._rests = {each: at for each, at in self._rests.items() if at > now - self._stale_after}
        self._rests[resting] = now

    def may_rest(self, resting: tuple[Queue, str], requested_at: float) -> bool:
        """Return whether the reply to a request may be too old to know that a queue, or a tenant of it, rests."""
        return requested_at <= self._rests.get(resting, -math.inf)

    def add(self, payloads: Iterable[bytes]) -> None:
        """Redis is asked about these jobs."""
        self._payloads.update(payloads)

    def remove(self, payloads: Iterable[bytes]) -> None:
        """Redis has replied about these jobs."""
        self._payloads.subtract(payloads)
        self._payloads = +self._payloads

    def postpone(self, job: HeldJob) -> bool:
        """Postpone a job; return whether it keeps its worker, which another reply may have brought it already."""
        if job[1] in self._postponed:
            return False
        self._postponed[job[1]] = job
        return True

    def drop_postponed(self, payload: bytes) -> bool:
        """Forget a postponed job that Redis is not asked about any more; return whether there was one."""
        return payload not in self._payloads and self._postponed.pop(payload, None) is not None

    def take_postponed(self) -> list[HeldJob]:
        """Return the postponed jobs about which Redis has replied. They must be revalidated."""
        if not self._postponed:
            return []
        settled = [job for job in self._postponed.values() if job[1] not in self._payloads]
        for _, payload, _ in settled:
            del self._postponed[payload]
            self._payloads[payload] += 1
        return settled
