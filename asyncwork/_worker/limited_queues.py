"""The queues of a pool that have a rate, and those of them that wait for a token."""

from __future__ import annotations

from collections.abc import Iterable

from .._redis.queue import Queue

# Seconds after which a queue is read again at the latest. Its rest may have been ended, with a message that was lost,
# Redis may have lost its data, and its clock may have been set forward.
_LONGEST_WAIT = 10.0


class LimitedQueues:
    """The queues of one pool whose jobs take a token when they are fetched.

    It is pure and synchronous, as :class:`FetchState` is. Times are by the event loop's clock, seconds.

    :ivar rated: the queues that may have a rate. Fetches and pops of their jobs take tokens.
    :ivar resting: the queues that this pool has let rest. A fetch learns when their rest ends.
    :ivar to_ask: the queues to name as limited: a fetch learns when they may be read again.
    :ivar opens_at: queues from which no job may be taken before a time: the next token comes then, or their rest ends.
    """

    def __init__(self) -> None:
        self.rated: frozenset[Queue] = frozenset()
        self.resting: set[Queue] = set()
        self.opens_at: dict[Queue, float] = {}
        self.to_ask: frozenset[Queue] = frozenset()
        # The fair queues whose tenants have rates, or did rest.
        self._tenants: set[Queue] = set()

    def _set_to_ask(self) -> None:
        self.to_ask = self.rated | self.resting | self._tenants

    def set_rated(self, queues: Iterable[Queue]) -> None:
        """Have these queues have a rate, and no others."""
        self.rated = frozenset(queues)
        self._set_to_ask()

    def note_tenants(self, queue: Queue) -> None:
        """Take note that the tenants of a fair queue have rates, or rest."""
        self._tenants.add(queue)
        self._set_to_ask()

    def rest(self, queue: Queue, seconds: float, now: float) -> None:
        """Take note that a queue is to rest."""
        self.resting.add(queue)
        self._set_to_ask()
        self.note([(queue, seconds)], now)

    def note_read(self, queues: Iterable[Queue]) -> None:
        """Forget the rests of queues that a fetch has read, but for those that go on."""
        self.resting.difference_update(queue for queue in queues if queue not in self.opens_at)
        self._set_to_ask()

    def note(self, opens: Iterable[tuple[Queue, float]], now: float) -> list[Queue]:
        """Take note of when queues may be read again, in seconds; return those that may be read at once."""
        left = []
        for queue, seconds in opens:
            if seconds > 0:
                self.opens_at[queue] = now + min(seconds, _LONGEST_WAIT)
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
