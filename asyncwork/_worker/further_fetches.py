"""Decides whether to fetch once more from queues at their limit, for workers for which no acknowledgement is sent."""

from __future__ import annotations

from .._redis.commands import Fetch
from .._redis.work_queue import Fetched

# How many fetches bring all that they ask for until another further one is tried, after one that did not.
_SKIPPED = 100


class FurtherFetches:
    """The further fetches of a pool whose queues are not thought to hold more jobs than may run.

    Such a pool fetches beside acknowledgements only, because their jobs make room. The pipeline that sends them fetches
    for its share of the workers. If that brings all that was asked for, another pipeline fetches for the other workers,
    which would have nothing to do until the next poll. It is not tried after each fetch, because where the limit is as
    high as the share, it never brings anything.

    :ivar wanted: whether a further fetch is to be made.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._skipped = 0
        self._sent: Fetch | None = None

    def on_sent(self, fetch: Fetch) -> None:
        """Take note of a further fetch."""
        self._sent, self.wanted = fetch, False

    def on_fetched(self, fetch: Fetch, fetched: Fetched) -> None:
        """Take note of the reply to a fetch beside acknowledgements, or to a further one."""
        if len(fetched.jobs) < fetch.limit:
            self.wanted = False
            if fetch is self._sent:
                self._skipped = _SKIPPED
        elif self._skipped:
            self._skipped -= 1
        else:
            self.wanted = True
