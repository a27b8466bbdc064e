"""The decisions of the fetch state: what becomes of a job that Redis has returned, and what a pool does as it waits."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from .._redis.queue import Queue


class NextStep(Enum):
    """What to do with a job that Redis has returned."""

    RUN = "run"
    REVALIDATE = "revalidate"
    REQUEUE = "requeue"
    POSTPONE = "postpone"
    IGNORE = "ignore"


class WaitPlan(NamedTuple):
    """The plan of a pool that waits for jobs: where to block, and when to poll.

    :ivar block_on: queues on which pops are to block now; their workers are counted as blocked.
    :ivar poll_at: when to call :meth:`FetchState.poll`, by the event loop's clock, seconds; ``None`` if that is not
        needed, or was planned before.
    :ivar unblock: whether all pops must end first, because jobs wait while all free workers are blocked.
    """

    block_on: Sequence[Queue] = ()
    poll_at: float | None = None
    unblock: bool = False


NOTHING = WaitPlan()
UNBLOCK = WaitPlan(unblock=True)
