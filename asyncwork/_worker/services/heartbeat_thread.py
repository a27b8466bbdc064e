"""The heartbeat's thread, for the services that must run even while a handler blocks the event loop of the pool.

The heartbeat is one of them: without the thread, other pools would consider a pool with a blocked loop dead.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from ..._redis.namespace import Namespace
from .service import Service, ServiceLoop

logger = logging.getLogger("asyncwork")

# Seconds that each step of stopping the thread may take.
_STOP_LIMIT = 5.0


class HeartbeatThread:
    """A thread that runs services in an event loop of its own, over a connection of its own.

    :param make_services: makes the services, the heartbeater first; called in the thread, with its own connection to
        the namespace.
    :param timeout: how long Redis may take to reply, seconds. Well below the time after which other pools consider this
        one dead, so that after a connection went silent there is time to send a heartbeat over another one.
    """

    def __init__(
        self, namespace: Namespace, make_services: Callable[[Namespace], Sequence[Service]], timeout: float
    ) -> None:
        self._namespace = Namespace(namespace.redis.clone(timeout), namespace.keys)
        self._make_services = make_services
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._loops: list[ServiceLoop] = []
        self._started = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Start the thread."""
        # A daemon thread does not keep the interpreter from exiting when Redis does not reply.
        self._thread = threading.Thread(target=self._main, name="asyncwork heartbeat", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._event_loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._loops = [ServiceLoop(service) for service in self._make_services(self._namespace)]
        self._started.set()
        try:
            await asyncio.gather(*(loop.run() for loop in self._loops))
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.exception("heartbeat ended by an unexpected error; other pools will consider this one dead")
        finally:
            await self._namespace.redis.close()

    def beat(self) -> None:
        """Write a heartbeat now, because what it says has changed."""
        if self._event_loop is not None and self._loops:
            with suppress(RuntimeError):  # it has ended
                self._event_loop.call_soon_threadsafe(self._loops[0].wake)

    async def stop(self) -> None:
        """Stop the thread without blocking this event loop. Redis has processed everything that it sent by then.

        The thread stops even if this call is cancelled; a second call waits for the same end.
        """
        if self._thread is None:
            return
        if self._ended is None:
            loop = asyncio.get_running_loop()
            self._ended = loop.create_future()
            # Not in the loop's executor: that is the application's, which may have filled it or shut it down.
            args = (self._thread, loop, self._ended)
            threading.Thread(target=self._join_and_notify, args=args, name="asyncwork stops", daemon=True).start()
        await asyncio.wait([self._ended])

    def _join_and_notify(
        self, thread: threading.Thread, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]
    ) -> None:
        self._join(thread)
        with suppress(RuntimeError):  # the loop is closed, so nothing waits any more
            loop.call_soon_threadsafe(_set_done, ended)

    def _join(self, thread: threading.Thread) -> None:
        self._started.wait(_STOP_LIMIT)
        # First let a heartbeat under way finish: it would register the pool again after it was deregistered.
        for step in (self._stop_loops, self._cancel):
            if thread.is_alive() and self._event_loop is not None:
                with suppress(RuntimeError):  # it has ended by itself
                    self._event_loop.call_soon_threadsafe(step)
                thread.join(_STOP_LIMIT)

    def _stop_loops(self) -> None:
        for loop in self._loops:
            loop.stop()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
