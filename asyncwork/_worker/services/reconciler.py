"""The reconciler: requeues the jobs that Redis holds as in progress for this pool although no worker runs them, because
the reply that carried them was lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection

from ..._jobs.printable import plural, printable
from ..._redis.commands import RequeueFront
from ..._redis.queue import Queue
from ..._redis.work_queue import WorkQueue
from ..dispatcher import Dispatcher
from ..worker import Worker

logger = logging.getLogger("asyncwork")

# Seconds between two checks of a job that seems lost. A reply under way arrives in that time.
_RECHECK_PERIOD = 1.0


class Reconciler:
    """Compares this pool's in-progress lists in Redis with the process's jobs, every ``period`` seconds."""

    name = "reconciler"

    def __init__(
        self, work_queue: WorkQueue, dispatcher: Dispatcher, workers: Collection[Worker], period: float
    ) -> None:
        self._work_queue = work_queue
        self._dispatcher = dispatcher
        self._workers = workers
        self._period = period
        self._unaccounted: dict[Queue, Counter[bytes]] = {}

    async def run_once(self) -> float:
        """Requeue the jobs that the process did not hold at two checks in a row."""
        lists = await self._work_queue.in_progress(self._dispatcher.queues)
        held = self._dispatcher.held()
        held.update(worker.payload for worker in self._workers if worker.payload is not None)
        for queue in (queue for queue, payloads in lists.items() if payloads is None):
            logger.error("lost the in-progress list of queue %s: its key was overwritten", printable(queue.name))
            await self._work_queue.clear(queue)
            # An empty command, but it corrects this pool's share of the lock.
            self._dispatcher.submit(RequeueFront(queue, []))
        unaccounted = {queue: Counter(payloads or ()) - held for queue, payloads in lists.items()}
        for queue, payloads in unaccounted.items():
            lost = list((payloads & self._unaccounted.get(queue, Counter())).elements())
            if lost:
                text = "requeued %s of queue %s: the replies that carried them were lost"
                logger.warning(text, plural(len(lost), "job"), printable(queue.name))
                self._dispatcher.fetcher.requeue_unknown(queue, lost)
                unaccounted[queue] = Counter()
        self._unaccounted = {queue: payloads for queue, payloads in unaccounted.items() if payloads}
        return _RECHECK_PERIOD if self._unaccounted else self._period
