"""The filled queues among many, as far as a pool knows, and those from which the next fetch takes jobs."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence, Set
from itertools import accumulate

from .._redis.commands import Fetch
from .._redis.queue import Queue
from .._redis.work_queue import Fetched
from .priority_sampler import sample

# Queues that a fetch names at least, if so many are filled.
_FEWEST = 4


class FilledQueues:
    """The queues of one pool that hold jobs, as far as is known.

    It is pure and synchronous, as :class:`FetchState` is.
    """

    def __init__(self) -> None:
        # With whether each held more jobs than a fetch has taken. A fetch in flight may empty the others, so that the
        # next one does not name them.
        self._filled: dict[Queue, bool] = {}
        self._named: dict[Queue, Fetch] = {}
        # From which queues are drawn; some may not be filled any more.
        self._pool: list[Queue] = []
        self._weights: list[int] = []
        # About as many as the last fetches needed.
        self._width = _FEWEST

    def __len__(self) -> int:
        return len(self._filled)

    def __contains__(self, queue: Queue) -> bool:
        return queue in self._filled

    def add(self, queues: Iterable[Queue], *, deep: bool = False) -> None:
        """Have fetches name these queues, too.

        :param deep: whether they held more jobs than a fetch or a pop has taken.
        """
        for queue in queues:
            if queue not in self._filled:
                self._pool.append(queue)
                self._weights.append(queue.priority + (self._weights[-1] if self._weights else 0))
            self._filled[queue] = deep or self._filled.get(queue, False)

    def choose(self, limit: int, opened: Collection[Queue], excluded: Set[Queue]) -> list[Queue]:
        """Return the queues for a fetch, in a random order that is weighted by priority; none if no queue that may be
        named is known to be filled.

        :param limit: the most jobs that the fetch takes. Each filled queue holds one at least, as far as is known.
        :param opened: queues to be named that are not known to be filled.
        :param excluded: queues that no fetch may name.
        """
        queues = self._draw(min(self._width, max(_FEWEST, limit)), excluded) if self._filled else []
        if opened and (more := [queue for queue in opened if queue not in excluded and queue not in queues]):
            queues = sample([*queues, *more])
        return queues

    def _draw(self, number: int, excluded: Set[Queue]) -> list[Queue]:
        if len(self._filled) > 4 * number:
            # Draw as from all, but at a cost that does not depend on how many there are.
            for _ in range(2):
                drawn: dict[Queue, None] = {}
                # There are none to draw from if fetches under way had named all filled queues the last time.
                some = random.choices(self._pool, cum_weights=self._weights, k=2 * number) if self._pool else ()
                for queue in some:
                    if queue not in drawn and queue not in excluded and self._may_be_named(queue):
                        drawn[queue] = None
                if drawn:
                    return list(drawn)[:number]
                self._pool = [queue for queue in self._filled if self._may_be_named(queue)]
                self._weights = list(accumulate(queue.priority for queue in self._pool))
                if not self._pool:
                    return []
        chosen = sample(queue for queue in self._filled if queue not in excluded and self._may_be_named(queue))
        if not (chosen or self._named):
            # A later poll finds them again, when they may be named.
            self._filled.clear()
        return chosen[:number]

    def _may_be_named(self, queue: Queue) -> bool:
        deep = self._filled.get(queue)
        return deep is True or (deep is False and queue not in self._named)

    def on_fetch(self, fetch: Fetch) -> None:
        """Take note of a fetch that is about to be sent."""
        self._named.update((queue, fetch) for queue in fetch.queues if not self._filled.get(queue))

    def on_fetched(self, fetch: Fetch, fetched: Fetched) -> Sequence[Queue]:
        """Take note of what a fetch has brought; return the queues that Redis has read for it."""
        self.on_failed(fetch)
        read, rest = fetch.queues, list[Queue]()
        if len(fetched.jobs) == fetch.limit:
            last = fetched.jobs[-1][0]
            read = read[: 1 + read.index(last)]
            self._width = max(_FEWEST, 2 * len(read))
            if last not in fetched.closed:
                rest = [last]
        else:
            self._width = max(self._width, 2 * len(read))
        for queue in read:
            if queue not in rest:
                self._filled.pop(queue, None)
        self.add(rest, deep=True)
        return read

    def on_failed(self, fetch: Fetch) -> None:
        """Have other fetches name the queues of a fetch that has ended."""
        for queue in fetch.queues:
            if self._named.get(queue) is fetch:
                del self._named[queue]
