"""The state of a pool that runs: running, quiet or stopping, as signals, the application or an operator want it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from .._jobs.printable import printable, shown
from .._redis.namespace import Namespace
from .._redis.requested_states import QUIET, RUNNING, STOPPING, RequestedStates, StateRequest

logger = logging.getLogger("asyncwork")

_EFFECTS = {
    RUNNING: "running: jobs are fetched again",
    QUIET: "quiet: no more jobs are fetched, running jobs go on",
    STOPPING: "stopping: no more jobs are fetched, running jobs may finish",
}


class Fetching(Protocol):
    """What fetches the jobs of the pool."""

    def stop(self) -> None:
        """Take nothing more. A blocking pop may still take a job, which is then requeued."""

    async def end_pops(self) -> None:
        """End all blocking pops."""


class PoolState:
    """Whether a pool takes jobs, and is to end.

    :param resume: has the pool take jobs again.
    :ivar is_quiet: whether the pool takes no new jobs, but keeps running.
    :ivar stop_requested: whether :meth:`stop` was called.
    :ivar stopping: set when the pool is to end.
    :ivar hurrying: set when the running jobs are to be cut off.
    """

    def __init__(self, pool_id: str, fetching: Fetching, resume: Callable[[], None]) -> None:
        self._pool_id = pool_id
        self._fetching = fetching
        self._resume = resume
        self._loop = asyncio.get_running_loop()
        self._last_request: bytes | None = None
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
        await self._fetching.end_pops()

    def unquiet(self) -> None:
        """Take jobs again, unless the pool is to end."""
        if self.is_quiet and not self.stopping.is_set():
            self.is_quiet = False
            self._resume()

    # Requests of operators

    def reader(self, namespace: Namespace) -> Callable[[], Awaitable[None]]:
        """Return what reads the last request and complies with it. It raises RedisError or OSError."""
        requests = RequestedStates(namespace)

        async def read() -> None:
            self.on_request(await requests.read(self._pool_id))

        return read

    def on_heartbeat(self, raw: bytes | None) -> None:
        """Comply with the request that a heartbeat has returned. Also called from the heartbeat's thread."""
        if raw is not None and raw != self._last_request:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.on_request, raw)

    def on_request(self, raw: bytes | None) -> None:
        """Comply with a request, unless it was read before. The pool may be in that state already."""
        if raw is None or raw == self._last_request:
            return
        self._last_request = raw
        request = StateRequest.decode(raw)
        if request is None:
            logger.warning("request to pool %s ignored: it cannot be read: %s", self._pool_id, shown(raw))
            return
        if request.state == self.name() or self.stopping.is_set():
            return
        by = f" by {printable(request.who)}" if request.who else ""
        logger.warning("pool %s was asked%s to change: %s", self._pool_id, by, _EFFECTS[request.state])
        if request.state == STOPPING:
            self.stop()
        elif request.state == QUIET:
            self.is_quiet = True
            self._fetching.stop()
            self._quieting = asyncio.create_task(self._fetching.end_pops(), name="asyncwork quiet")
        else:
            self.unquiet()
