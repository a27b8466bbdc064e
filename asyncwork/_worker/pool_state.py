"""The state of a pool that runs: running, quiet or stopping, and how many jobs it runs at once, as signals, the
application or an operator want it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from .._jobs.printable import printable
from .._redis.namespace import Namespace
from .._redis.pool_requests import QUIET, RUNNING, STOPPING, PoolRequests, WrittenRequests
from ..models.pools import PoolRequest

logger = logging.getLogger("asyncwork")

_EFFECTS = {
    RUNNING: "running: jobs are fetched again",
    QUIET: "quiet: no more jobs are fetched, running jobs go on",
    STOPPING: "stopping: no more jobs are fetched, running jobs may finish",
}


class Fetching(Protocol):
    """The part of the pool that fetches jobs."""

    def stop(self) -> None:
        """Take nothing more. A blocking pop may still take a job, which is then requeued."""

    async def end_pops(self) -> None:
        """End all blocking pops."""


class Size(Protocol):
    """How many jobs the pool runs at once."""

    @property
    def concurrency(self) -> int:
        """That number."""

    def resize(self, concurrency: int) -> None:
        """Run another number of jobs at once from now on."""


class PoolState:
    """Whether a pool takes jobs, how many it runs at once, and whether it is to end.

    :param resume: has the pool take jobs again.
    :param announce: has the pool write a heartbeat, because what it says has changed.
    :ivar is_quiet: whether the pool takes no new jobs, but keeps running.
    :ivar stop_requested: whether :meth:`stop` was called.
    :ivar stopping: set when the pool is to end.
    :ivar hurrying: set when the running jobs are to be cut off.
    """

    def __init__(
        self,
        pool_id: str,
        fetching: Fetching,
        size: Size,
        *,
        resume: Callable[[], None],
        announce: Callable[[], None],
    ) -> None:
        self._pool_id = pool_id
        self._fetching = fetching
        self._size = size
        self._resume = resume
        self._announce = announce
        self._loop = asyncio.get_running_loop()
        self._last_requests = WrittenRequests()
        # When the requests were made that were followed: whether they were for a state, epoch seconds.
        self._followed: dict[bool, float] = {}
        self._quieting: asyncio.Task[None] | None = None
        self.is_quiet: bool = False
        self.stop_requested: bool = False
        self.stopping: asyncio.Event = asyncio.Event()
        self.hurrying: asyncio.Event = asyncio.Event()

    def name(self) -> str:
        """Return whether the pool is running, quiet or stopping. Also called from the heartbeat's thread."""
        if self.stopping.is_set():
            return STOPPING
        return QUIET if self.is_quiet else RUNNING

    def stop(self, *, now: bool = False) -> None:
        """Take no new jobs, and end when the running jobs have finished or the grace period is over; or ``now``."""
        self.stop_requested = True
        self._fetching.stop()
        self.stopping.set()
        if now:
            self.hurrying.set()

    async def quiet(self) -> None:
        """Take no new jobs, but keep running."""
        self.is_quiet = True
        self._fetching.stop()
        self._announce()
        await self._fetching.end_pops()

    def unquiet(self) -> None:
        """Take jobs again, unless the pool is to end."""
        if self.is_quiet and not self.stopping.is_set():
            self.is_quiet = False
            self._resume()

    def is_in_its_loop(self) -> bool:
        """Return whether the caller runs in the event loop of the pool. May be called from any thread."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def resize(self, concurrency: int) -> None:
        """Run another number of jobs at once, unless the pool is to end. It lasts until the pool ends."""
        if not self.stopping.is_set():
            self._size.resize(concurrency)
            self._announce()

    # Requests of operators

    def followed(self) -> tuple[float, ...]:
        """Return when the requests were made that the pool has followed, epoch seconds. Also called from the
        heartbeat's thread.
        """
        return tuple(self._followed.values())

    def reader(self, namespace: Namespace) -> Callable[[], Awaitable[None]]:
        """Return what reads the last requests and complies with them. It raises RedisError or OSError."""
        requests = PoolRequests(namespace)

        async def read() -> None:
            self.on_requests(await requests.read(self._pool_id))

        return read

    def on_heartbeat(self, written: WrittenRequests) -> None:
        """Comply with the requests that a heartbeat has returned. Also called from the heartbeat's thread."""
        if self._unread(written) != WrittenRequests():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.on_requests, written)

    def on_requests(self, written: WrittenRequests) -> None:
        """Comply with the requests that were not read before, with a request to stop first, because it wins."""
        unread, before = self._unread(written), self._last_requests
        self._last_requests = WrittenRequests(
            *(old if raw is None else raw for raw, old in zip(unread, before, strict=True))
        )
        for request in unread.decode():
            if request.unreadable:
                text = "request to pool %s ignored: it cannot be read: %s"
                logger.warning(text, self._pool_id, request.unreadable)
                continue
            if not self.stopping.is_set():
                self._follow(request)
            self._followed = {**self._followed, bool(request.state): request.at}
            self._announce()

    def _unread(self, written: WrittenRequests) -> WrittenRequests:
        pairs = zip(written, self._last_requests, strict=True)
        return WrittenRequests(*(None if raw == last else raw for raw, last in pairs))

    def _follow(self, request: PoolRequest) -> None:
        """Comply with a request. The pool may be as requested already."""
        before = self._size.concurrency
        if request.state == self.name() or request.concurrency == before:
            return
        effect = _EFFECTS.get(request.state) or (
            f"concurrency: {request.concurrency} instead of {before}, running jobs go on"
        )
        by = f" by {printable(request.who)}" if request.who else ""
        logger.warning("pool %s was asked%s to change: %s", self._pool_id, by, effect)
        if request.concurrency:
            self._size.resize(request.concurrency)
        elif request.state == STOPPING:
            self.stop()
        elif request.state == QUIET:
            self.is_quiet = True
            self._fetching.stop()
            self._quieting = asyncio.create_task(self._fetching.end_pops(), name="asyncwork quiet")
        else:
            self.unquiet()
