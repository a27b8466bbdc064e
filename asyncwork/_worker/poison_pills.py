"""Poison pills: jobs that kill the process that runs them.

All jobs that were running when a pool died are suspects. A job that was running in two such pools, or would be dead
after the next, is run isolated: its pool marks it, and runs no other suspect beside it. If that pool dies too, the
marked job alone is to blame, unless a job ran beside it that was not a suspect; then the marked job is exempted once,
and the others are suspects as well. So other jobs finish, and the poison pills remain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from .._jobs.calling import Call
from .._jobs.printable import plural
from .._redis.commands import ClaimJobs, ClearSuspect, Command, MarkSuspect
from .._redis.queue import Queue
from ..errors import CrashedError
from ..job import Job
from .dispatcher import Dispatcher

# Number of crashes from which a job is run isolated.
_ISOLATED_FROM = 2


class JobTakenError(Exception):
    """The job had to wait before it could start, and another pool has taken it meanwhile."""


class PoisonPills:
    """Runs the suspects of one pool.

    :param ending: returns whether the workers are to end, so that a cancelled job is not to blame for that.
    """

    def __init__(self, dispatcher: Dispatcher, ending: Callable[[], bool]) -> None:
        self._dispatcher = dispatcher
        self._ending = ending
        self._isolation = asyncio.Lock()
        # Number of suspects that run without isolation.
        self._not_isolated = 0
        self._none_runs = asyncio.Event()
        self._none_runs.set()

    def wrap(self, call: Call, queue: Queue, payload: bytes, crashes: int, limit: int) -> Call:
        """Return what runs a suspect.

        :param crashes: number of times that it was running when its process died.
        :param limit: number of crashes from which it is not run any more; 0 for no limit.
        """

        async def run(context: Any, job: Job) -> None:
            if limit and crashes >= limit:
                self._clear(queue, payload)
                raise CrashedError(f"its process died {plural(crashes, 'time')} while it was running")
            # One crash before the limit, too: in the next, jobs that have not begun must not be blamed beside it.
            if crashes < _ISOLATED_FROM and crashes + 1 != limit:
                await self._run_beside_others(call, context, job, queue, payload)
            else:
                await self._run_isolated(call, context, job, queue, payload)

        return run

    async def _run_beside_others(self, call: Call, context: Any, job: Job, queue: Queue, payload: bytes) -> None:
        async with self._not_while_isolated() as waited:
            if waited:
                now = int(self._dispatcher.lease.now())
                await self._confirm_held(ClaimJobs(queue, [payload], now), [])
            try:
                await call(context, job)
            except BaseException:
                if not self._ending():
                    self._clear(queue, payload)
                raise
            self._clear(queue, payload)

    async def _run_isolated(self, call: Call, context: Any, job: Job, queue: Queue, payload: bytes) -> None:
        async with self._isolation:
            await self._none_runs.wait()
            await self._confirm_held(MarkSuspect(queue, [payload]), 1)
            try:
                await call(context, job)
            except Exception:
                await self._dispatcher.request(ClearSuspect(queue, [payload]))
                raise
            except BaseException:
                # After a cancellation, the task must not wait any more.
                if not self._ending():
                    self._clear(queue, payload)
                raise
            # Confirmed, before the next suspect is marked.
            await self._dispatcher.request(ClearSuspect(queue, [payload]))

    @asynccontextmanager
    async def _not_while_isolated(self) -> AsyncIterator[bool]:
        """Start while no suspect runs isolated, and keep the next one from starting isolated until the end; yield
        whether this had to wait.
        """
        waited = self._isolation.locked()
        async with self._isolation:
            self._not_isolated += 1
            self._none_runs.clear()
        try:
            yield waited
        finally:
            self._not_isolated -= 1
            if not self._not_isolated:
                self._none_runs.set()

    async def _confirm_held(self, command: Command, expected: object) -> None:
        """Let a job that had to wait start only if Redis replies, in time, that this pool still has it.

        :param expected: the reply in that case.
        :raises JobTakenError: when another pool has it.
        """
        in_time = False
        while not in_time:
            reply, in_time = await self._dispatcher.request_in_time(command)
            if reply != expected:
                raise JobTakenError

    def _clear(self, queue: Queue, payload: bytes) -> None:
        self._dispatcher.submit(ClearSuspect(queue, [payload]))
