"""Finds the jobs that Redis holds as in progress for this pool and that nobody here runs: the answer that brought them
was lost. They go back to the front of their queue."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from ..._redis.commands import RequeueFront
from ..._redis.keys import Queue
from ..._redis.work_queue import WorkQueue
from ..dispatcher import Dispatcher
from ..worker import Worker

logger = logging.getLogger("asyncwork")

# Seconds between two looks at a job that seems to be nobody's: an answer that is on its way has arrived by then.
_SECOND_LOOK = 1.0


class Reconciler:
    """Compares what Redis holds with what is held here, every ``period`` seconds."""

    name = "reconciler"

    def __init__(self, work_queue: WorkQueue, dispatcher: Dispatcher, workers: Sequence[Worker], period: float) -> None:
        self._work_queue = work_queue
        self._dispatcher = dispatcher
        self._workers = workers
        self._period = period
        self._suspects: dict[Queue, Counter[bytes]] = {}

    async def once(self) -> float:
        """Give back what was nobody's at two looks in a row."""
        lists = await self._work_queue.in_progress(self._dispatcher.queues)
        held = self._dispatcher.held()
        held.update(worker.payload for worker in self._workers if worker.payload is not None)
        for queue in (queue for queue, payloads in lists.items() if payloads is None):
            logger.error("queue %s: what this pool had in progress was overwritten; it goes on without", queue.name)
            await self._work_queue.clear(queue)
            # Nothing, but that sets its share of the lock right.
            self._dispatcher.submit(RequeueFront(queue, []))
        unknown = {queue: Counter(payloads or ()) - held for queue, payloads in lists.items()}
        for queue, strays in unknown.items():
            confirmed = list((strays & self._suspects.get(queue, Counter())).elements())
            if confirmed:
                logger.warning("queue %s: took up jobs whose fetch had no answer: %d", queue.name, len(confirmed))
                self._dispatcher.requeue_unknown(queue, confirmed)
                unknown[queue] = Counter()
        self._suspects = {queue: strays for queue, strays in unknown.items() if strays}
        return _SECOND_LOOK if self._suspects else self._period
