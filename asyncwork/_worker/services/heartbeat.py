"""Shows that the pool lives. The heartbeat is written from a thread of its own, so that a handler that blocks the
event loop does not get the pool reaped."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from ..._jobs.clock import Clock
from ..._redis.errors import REDIS_ERRORS, is_out_of_connections
from ..._redis.namespace import Namespace
from ..._redis.registry import Registry
from ...models import Heartbeat, IgnoredArgument
from ..lease import Lease
from .forecast import NextFirings
from .periodic_enqueuer import PeriodicJob
from .service import Loop, Role

logger = logging.getLogger("asyncwork")

# Seconds that each step of stopping the thread may take.
_STOP_LIMIT = 5.0


class Heartbeater:
    """Writes the heartbeat of one pool.

    :param max_concurrency: the cap of each job name that the pool serves; 0 for any number.
    :param runner: the program and version that the pool is of.
    :param periodic: what the pool enqueues by a schedule.
    :param ignored: returns the arguments that were ignored so far; called from the heartbeat's thread.
    :param state: tells whether the pool is ``running``, ``quiet`` or ``stopping``; called from the heartbeat's thread.
    :param lease: renewed by each heartbeat.
    :param refused: called with what Redis said when it accepted no connection for a heartbeat; from its thread.
    :param beaten: whether this pool has beaten before.
    """

    name = "heartbeater"

    def __init__(
        self,
        namespace: Namespace,
        *,
        pool_id: str,
        max_concurrency: Mapping[str, int],
        concurrency: int,
        worker_ids: Sequence[str],
        runner: str,
        periodic: Sequence[PeriodicJob],
        state: Callable[[], str],
        ignored: Callable[[], tuple[IgnoredArgument, ...]],
        period: float,
        clock: Clock,
        lease: Lease,
        refused: Callable[[BaseException], None],
        beaten: bool,
    ) -> None:
        self._registry = Registry(namespace)
        self._lease = lease
        self._refused = refused
        self._max_concurrency = max_concurrency
        self._forecast = NextFirings(periodic)
        self._state = state
        self._ignored = ignored
        self._clock = clock
        self._period = period
        self._beaten = beaten
        self._still = Heartbeat(
            pool_id=pool_id,
            heartbeat_at=0,
            started_at=int(clock()),
            job_names=tuple(sorted(max_concurrency)),
            concurrency=concurrency,
            worker_ids=tuple(sorted(worker_ids)),
            host=socket.gethostname(),
            pid=os.getpid(),
            runner=runner,
        )

    async def once(self) -> float:
        """Write the heartbeat; warn if the pool had been declared dead meanwhile."""
        still, now, sent = self._still, self._clock(), time.monotonic()
        heartbeat = replace(
            still,
            heartbeat_at=int(now),
            state=self._state(),
            periodic=self._forecast.at(now),
            ignored=self._ignored(),
        )
        try:
            known = await self._registry.write_heartbeat(heartbeat, self._max_concurrency, again=self._beaten)
        except REDIS_ERRORS as error:
            if is_out_of_connections(error):
                self._refused(error)
            raise
        reaped = self._beaten and not known
        self._lease.renew(now, time.monotonic() - sent, reaped=reaped)
        if reaped:
            logger.warning(
                "pool %s was considered dead: what it was running may run twice. Was its process stopped, or cut off, "
                "did a handler hold the GIL, or did Redis lose its data?",
                still.pool_id,
            )
        self._beaten = True
        return self._period

    async def forget(self) -> None:
        """Delete the heartbeat."""
        await self._registry.forget_pool(self._still.pool_id, self._still.worker_ids)


class HeartbeatThread:
    """A thread with an event loop and a connection of its own in which roles run that must outlive a stuck loop.

    :param roles: makes the roles, given what they may speak to Redis by.
    :param patience: how long an answer of Redis may take, seconds. Well below the time after which the pool is taken
        for dead: a connection that went silent must not keep it from beating on another one.
    """

    def __init__(self, namespace: Namespace, roles: Callable[[Namespace], Sequence[Role]], patience: float) -> None:
        self._namespace = Namespace(namespace.redis.clone(patience), namespace.keys)
        self._roles = roles
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._loops: list[Loop] = []
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Start the thread."""
        # A daemon: the interpreter must be able to end even if Redis does not answer.
        self._thread = threading.Thread(target=self._main, name="asyncwork heartbeat", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._event_loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._loops = [Loop(role) for role in self._roles(self._namespace)]
        self._started.set()
        try:
            await asyncio.gather(*(loop.run() for loop in self._loops))
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.exception("the heartbeat of this pool has ended by a defect; it will be taken for dead")
        finally:
            await self._namespace.redis.close()

    async def stop(self) -> None:
        """End the thread, without blocking this event loop. What it has sent to Redis is done by then.

        It is ended also when this is cancelled; who calls it again waits for the same end.
        """
        if self._thread is None:
            return
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            # Not in the loop's executor: that is the application's, which may fill it or have shut it down.
            ending = (self._thread, loop, self._ended)
            threading.Thread(target=self._end_and_tell, args=ending, name="asyncwork stops", daemon=True).start()
        await asyncio.wait([self._ended])

    def _end_and_tell(
        self, thread: threading.Thread, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]
    ) -> None:
        self._end(thread)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_set_done, ended)

    def _end(self, thread: threading.Thread) -> None:
        self._started.wait(_STOP_LIMIT)
        # A beat that is under way may finish: it would register the pool anew after it was forgotten.
        for step in (self._end_loops, self._cancel):
            if thread.is_alive() and self._event_loop is not None:
                with suppress(RuntimeError):  # it has ended by itself
                    self._event_loop.call_soon_threadsafe(step)
                thread.join(_STOP_LIMIT)

    def _end_loops(self) -> None:
        for loop in self._loops:
            loop.end()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
