"""All dispatchers of a pool: that of its workers, and one for each job type that runs in chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from .._redis.queue import Queue
from .chunk_runner import ChunkRunner
from .dispatcher import Dispatcher
from .worker import Worker


class AllWorkers(Sequence[Worker]):
    """All that runs a job in a pool: its workers, and the jobs of its chunks. It shows both as they are now."""

    def __init__(self, workers: Sequence[Worker], runners: Sequence[ChunkRunner]) -> None:
        self._workers = workers
        self._runners = runners

    def _current(self) -> list[Worker]:
        return [*self._workers, *(member for each in self._runners for member in list(each.members))]

    def __len__(self) -> int:
        return len(self._current())

    def __iter__(self) -> Any:
        return iter(self._current())

    def __getitem__(self, index: Any) -> Any:
        return self._current()[index]


class Dispatchers:
    """Starts and stops the dispatchers of one pool together.

    :param workers: those of the pool, beside the chunks.
    :ivar main: the dispatcher of the workers.
    :ivar runners: those that run jobs in chunks.
    :ivar all_workers: all that runs a job, also in chunks.
    """

    def __init__(self, main: Dispatcher, workers: Sequence[Worker], runners: Sequence[ChunkRunner]) -> None:
        self.main = main
        self.runners = runners
        self.all_workers = AllWorkers(workers, self.runners)
        self._all = [main, *(each.dispatcher for each in runners)]

    @property
    def queues(self) -> list[Queue]:
        """All queues of the pool."""
        return [queue for each in self._all for queue in each.queues]

    def on_due(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever a batch has scheduled jobs that are due now."""
        for each in self._all:
            each.on_due(wake)

    def start(self) -> None:
        """Begin to fetch."""
        for each in self._all:
            each.start()

    @property
    def pipelines(self) -> list[asyncio.Task[None]]:
        """The tasks that must not end while the pool runs."""
        return [task for each in self._all for task in each.pipelines]

    @property
    def busy(self) -> int:
        """Number of jobs that this pool holds or is about to get."""
        return sum(each.busy for each in self._all)

    def stop(self) -> None:
        """Take nothing more; see :meth:`Fetcher.stop`."""
        self.main.fetcher.stop()
        for each in self.runners:
            each.stop()

    def resume(self) -> None:
        """Take jobs again after :meth:`stop`."""
        for each in self._all:
            each.fetcher.resume()

    def set_rated(self, names: Collection[str]) -> None:
        """Have the jobs of these names take a token, and no others; see :meth:`Fetcher.set_rated`."""
        for each in self._all:
            each.fetcher.set_rated(names)

    def reopen_limited(self) -> None:
        """Fetch from queues that wait for a token or for the end of a rest; see :meth:`Fetcher.reopen_limited`."""
        for each in self._all:
            each.fetcher.reopen_limited()

    def resize(self) -> None:
        """Take note that the pool runs another number of jobs at once."""
        for each in self.runners:
            each.resize()

    def cut_off_calls(self) -> list[asyncio.Task[None]]:
        """Cancel the calls of chunks that run, because the pool ends; return their tasks."""
        return [task for each in self.runners for task in each.cut_off()]

    async def end_pops(self) -> None:
        """End all blocking pops."""
        await asyncio.gather(*(each.fetcher.end_pops() for each in self._all))

    async def quiet(self) -> None:
        """Take nothing new; what runs goes on."""
        self.stop()
        await self.end_pops()

    async def until_idle(self) -> None:
        """Wait until no job runs, and Redis has every result."""
        for each in self._all:
            await each.until_idle()

    async def drain(self) -> None:
        """Wait until the queues are empty, except paused ones, and Redis has every result.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        added = -1
        # The jobs of one may enqueue jobs of another.
        while added != (now := sum(each.ready.added for each in self._all)):
            added = now
            for each in self._all:
                await each.drain()
            if not self.runners:
                return

    async def close(self) -> None:
        """End the pipelines after they have sent what they can."""
        for each in self.runners:
            each.close()
        await asyncio.gather(*(each.close() for each in self._all))

    async def abort(self) -> None:
        """End the pipelines and blocking pops now. Idempotent."""
        await asyncio.gather(*(each.abort() for each in self._all))

    async def send_pooled(self) -> None:
        """Send the results that the pipelines could not, over a pooled connection.

        :raises RedisError, OSError: when that connection has no replies either.
        """
        for each in self._all:
            await each.send_pooled()

    def unacknowledged(self) -> int:
        """Return the number of results that could not be written to Redis."""
        return sum(each.unacknowledged() for each in self._all)

    def unconfirmed(self) -> int:
        """Return the number of results that Redis has not confirmed. May be called from any thread."""
        return sum(each.unconfirmed() for each in self._all)

    @property
    def unbegun(self) -> int:
        """Number of jobs in memory that have not begun. May be called from any thread."""
        return sum(len(each.ready.jobs) for each in self._all)

    @property
    def reconnects(self) -> int:
        """How often a connection of a pipeline was opened again."""
        return self.main.reconnects

    def worker_ids(self) -> list[str]:
        """Return the ids under which is shown what the jobs of chunks do. May be called from any thread."""
        return [each_id for each in self.runners for each_id in list(each.worker_ids)]
