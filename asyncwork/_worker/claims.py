"""Claims the jobs of a pool that may have been considered dead, before anything else is done to them."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from .._jobs.printable import plural
from .._redis.commands import ClaimJobs, ClearReaped, Command, CommandBatch
from .._redis.errors import ErrorReply
from .._redis.queue import Queue
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
        self._claimed: Counter[tuple[Queue, bytes]] = Counter()

    def begin(self, jobs: Iterable[tuple[Queue, bytes]]) -> CommandBatch | None:
        """Return a batch that claims these jobs, or just reports that this pool is alive when there are none; ``None``
        for a pool without queues.
        """
        if not self._queues:
            self._lease.claimed(self._lease.begin_claim(), _CLAIM_LASTS)
            return None
        self._started, self.in_progress = self._lease.begin_claim(), True
        by_queue: defaultdict[Queue, list[bytes]] = defaultdict(list, {self._queues[0]: []})
        for queue, payload in jobs:
            by_queue[queue].append(payload)
        self._claimed = Counter((queue, payload) for queue, payloads in by_queue.items() for payload in payloads)
        now = int(self._lease.now())
        commands: list[Command] = [ClaimJobs(queue, payloads, now) for queue, payloads in by_queue.items()]
        # By this, the claims of the other dispatchers know that the jobs may have been requeued.
        if self._lease.is_alone:
            commands.append(ClearReaped(self._queues[0], []))
        return CommandBatch(commands=commands, claims=True)

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
        for claim, positions in zip(commands, replies, strict=True):
            if isinstance(claim, ClearReaped):
                continue
            lost.update((claim.queue, claim.payloads[position - 1]) for position in positions)
        kept: list[HeldJob] = []
        later: list[HeldJob] = []
        dropped = 0
        for job in [*self.held_back, *ready]:
            if not self._claimed[job[:2]]:
                later.append(job)
                continue
            self._claimed[job[:2]] -= 1
            if lost[job[:2]]:
                lost[job[:2]] -= 1
                dropped += 1
            else:
                kept.append(job)
        if dropped:
            logger.warning("dropped %s that had not begun, because another pool has them", plural(dropped, "job"))
        # They came after the claim was sent.
        self.held_back = later
        assert self._started is not None
        self._lease.claimed(self._started, _CLAIM_LASTS)
        return kept, dropped

    def end(self) -> None:
        """Let other batches follow, whatever became of the claim."""
        self._started, self.in_progress = None, False
