"""The canceller: ends the jobs that this pool runs and that are to be cancelled.

A message on a channel says at once that there are new marks. Because a message may be lost, the canceller also reads
the marks again and again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence

from ..._jobs.membership import member_of
from ..._redis.cancels import Cancels
from ..._redis.errors import ConnectionBroken, ErrorReply, is_out_of_connections, is_temporary
from ..._redis.namespace import Namespace
from ..._redis.subscription import Subscription
from ..cancellations import Cancellations
from ..outcome import CancelRequested
from ..worker import Worker

# Seconds between two searches for marks that are too old.
_CLEAR_PERIOD = 3600.0


class Canceller:
    """Interrupts the workers whose jobs are marked.

    :param period: seconds between two readings of the marks without a message.
    :param on_message: called after a message, because it may be about something else.
    """

    name = "canceller"

    def __init__(
        self,
        namespace: Namespace,
        cancellations: Cancellations,
        workers: Sequence[Worker],
        period: float,
        on_message: Callable[[], Awaitable[None]],
    ) -> None:
        self._redis = namespace.redis
        self._channel = namespace.keys.wake_channel()
        self._cancels = Cancels(namespace)
        self._cancellations = cancellations
        self._workers = workers
        self._period = period
        self._on_message = on_message
        self._cleared_at = -math.inf
        self._subscription: Subscription | None = None
        self._may_subscribe = True

    async def run_once(self) -> float:
        """Interrupt the marked jobs; then wait for a message."""
        try:
            if self._subscription is None and self._may_subscribe:
                await self._subscribe()
            await self._interrupt_marked()
            if self._subscription is None:
                return self._period
            if await self._subscription.wait(self._period):
                await self._on_message()
        except BaseException:
            if self._subscription is not None:
                await self._subscription.close()
                self._subscription = None
            raise
        return 0.0

    async def _subscribe(self) -> None:
        try:
            self._subscription = await self._redis.subscribe(self._channel)
        except ErrorReply as error:
            if is_temporary(error):
                raise
            # The user may lack the channel, and a proxy the command.
            self._may_subscribe = False
        except ConnectionBroken as error:
            # Without a connection of its own, it reads the marks over another one.
            if not is_out_of_connections(error):
                raise

    async def _interrupt_marked(self) -> None:
        marked = self._cancellations.marked
        found = await self._cancels.ids()
        marked.clear()
        marked.update(found)
        running = [(worker, job) for worker in self._workers if (job := worker.job) is not None]
        if marked and time.monotonic() - self._cleared_at > _CLEAR_PERIOD:
            await self._cancels.clear_old(list(marked))
            self._cleared_at = time.monotonic()
        # The handler may have replaced the id by any object.
        running = [(worker, job) for worker, job in running if type(job.id) is str]
        running = [(worker, job) for worker, job in running if self._cancellations.is_marked(job.id)]
        if running:
            members = {job.id: member.batch_id for _, job in running if (member := member_of(job.id)) is not None}
            marks = await self._cancels.read([*{job.id for _, job in running}, *set(members.values())])
            for worker, job in running:
                if (mark := marks.get(job.id) or marks.get(members.get(job.id, ""))) is not None:
                    worker.interrupt(job, CancelRequested(job.id, mark))
