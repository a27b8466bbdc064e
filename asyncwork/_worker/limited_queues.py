"""Which queues of a pool have a rate, and which of them wait for a token."""

from __future__ import annotations

from collections.abc import Iterable

from .._redis.keys import Queue


class LimitedQueues:
    """The queues of one pool whose jobs take a token when they are fetched.

    It is pure and synchronous, as :class:`FetchState` is. Times are by the event loop's clock, seconds.

    :ivar rated: the queues that may have a rate. No pop blocks on them, because a pop takes no token.
    :ivar opens_at: queues from which no job may be taken before a time: the next token comes then, or their rest ends.
    """

    def __init__(self) -> None:
        self.rated: frozenset[Queue] = frozenset()
        self.opens_at: dict[Queue, float] = {}

    def note(self, opens: Iterable[tuple[Queue, float]], now: float) -> list[Queue]:
        """Take note of when queues may be read again, in seconds; return those that may be read at once."""
        left = []
        for queue, seconds in opens:
            if seconds > 0:
                self.opens_at[queue] = now + seconds
            else:
                left.append(queue)
        return left

    def next_opening(self) -> float | None:
        """Return when the first of the queues may be read again; ``None`` if none waits."""
        return min(self.opens_at.values(), default=None)

    def open_due(self, now: float) -> list[Queue]:
        """Return the queues that may be read again now, which do not wait any more."""
        due = [queue for queue, at in self.opens_at.items() if at <= now]
        for queue in due:
            del self.opens_at[queue]
        return due

    def open_all(self) -> list[Queue]:
        """Return all queues that waited, which do not any more, because their rate or their rest may have changed."""
        waited = list(self.opens_at)
        self.opens_at.clear()
        return waited
