"""Claims the jobs of a pool that may have been considered dead, before anything else is done to them."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from .._jobs.printable import plural
from .._redis.commands import Batch, ClaimJobs, ClearReaped, Command
from .._redis.errors import ErrorReply
from .._redis.keys import Queue
from .._redis.work_queue import HeldJob
from .lease import Lease

logger = logging.getLogger("asyncwork")

# Seconds for which jobs may start after they were claimed, while no heartbeat can be written.
_CLAIM_LASTS = 1.0


class Claims:
    """The claims of one pool, one at a time.

    :ivar held_back: jobs that may not start before they are claimed.
    :ivar in_progress: whether a claim waits for its reply.
    """

    def __init__(self, lease: Lease, queues: Sequence[Queue]) -> None:
        self._lease = lease
        self._queues = queues
        self.held_back: list[HeldJob] = []
        self.in_progress = False
        self._started: tuple[float, float, int] | None = None

    def begin(self, jobs: Iterable[tuple[Queue, bytes]]) -> Batch | None:
        """Return a batch that claims these jobs, or clears the record that this pool was considered dead; ``None`` when
        there is nothing to write.
        """
        started, by_queue = self._lease.begin_claim(), defaultdict[Queue, list[bytes]](list)
        for queue, payload in jobs:
            by_queue[queue].append(payload)
        clear = ClearReaped(self._queues[0], []) if self._queues else None
        if by_queue and clear is not None:
            self._started, self.in_progress = started, True
            now = int(self._lease.now())
            claims: list[Command] = [ClaimJobs(queue, payloads, now) for queue, payloads in by_queue.items()]
            return Batch(commands=[*claims, clear], claims=True)
        was_reaped = self._lease.reaped
        self._lease.claimed(started, _CLAIM_LASTS)
        return Batch(commands=[clear]) if was_reaped and clear is not None else None

    def on_replies(
        self, commands: Sequence[Command], replies: Sequence[Any], ready: Iterable[HeldJob]
    ) -> ErrorReply | tuple[list[HeldJob], int]:
        """End a claim; return those of the jobs that may start now and the number of the others, or the error reply if
        there was one.

        :param ready: the jobs that have not started, beside those held back.
        """
        for reply in replies:
            if isinstance(reply, ErrorReply):
                return reply
        lost: Counter[tuple[Queue, bytes]] = Counter()
        for claim, positions in zip(commands[:-1], replies[:-1], strict=True):
            lost.update((claim.queue, claim.payloads[position - 1]) for position in positions)
        kept: list[HeldJob] = []
        dropped = 0
        for job in [*self.held_back, *ready]:
            if lost[job[:2]]:
                lost[job[:2]] -= 1
                dropped += 1
            else:
                kept.append(job)
        if dropped:
            logger.warning("dropped %s that had not begun, because another pool has them", plural(dropped, "job"))
        self.held_back = []
        assert self._started is not None
        self._lease.claimed(self._started, _CLAIM_LASTS)
        return kept, dropped

    def end(self) -> None:
        """Let other batches follow, whatever became of the claim."""
        self._started, self.in_progress = None, False
