"""Calls the hooks of a pool when an attempt of a job has failed.

A hook can neither change nor delay what becomes of its job: the outcome is on its way to Redis before the hook starts,
and each call is a task of its own, beside the workers. A stop waits for the calls within the grace period.

An exception of a hook is logged. A call that does not end in time is cancelled, and nothing waits for it any more.
Calls and threads are limited, because hooks that hang would otherwise fill the memory as fast as jobs fail.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from .._jobs import forks
from .._jobs.error_text import describe_error, is_of
from .._jobs.hook import Hook, make_hook_call
from .._jobs.printable import plural
from ..job import Job
from .job_context import start
from .outcome import trace_in_handler

logger = logging.getLogger("asyncwork.job")

# Seconds that a call may take.
_TIME_LIMIT = 10.0
# Seconds that a plain function waits for a thread.
_LONGEST_WAIT = 60.0
# Plain functions that run at once. Those whose time is over count until they return.
_MOST_THREADS = 10
# Calls that have not ended. Further ones are left out.
_MOST_CALLS = 1000
# Seconds that cancelled calls have to end when the pool stops.
_CLOSE_LIMIT = 1.0


class HookRunner:
    """Calls the hooks of one run of a pool.

    :param on_failure: called for each failed attempt.
    :param on_dead: called for each job that will not run again.
    """

    def __init__(self, on_failure: Sequence[Hook], on_dead: Sequence[Hook]) -> None:
        self._on_failure = tuple(on_failure)
        self._on_dead = tuple(on_dead)
        self._threads = asyncio.Semaphore(_MOST_THREADS)
        self._awaited: set[_HookCall] = set()
        # Calls that go on although their time is over and they were cancelled.
        self._overdue: set[_HookCall] = set()
        self._left_out = 0
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def running(self) -> int:
        """Number of calls that have not ended and whose time is not over."""
        return len(self._awaited)

    def attempt_failed(self, job: Job, error: BaseException, *, dead: bool) -> None:
        """Start to call the hooks for a failed attempt.

        :param dead: whether the job will not run again.
        """
        for hook in (*self._on_failure, *self._on_dead) if dead else self._on_failure:
            if self._closed or len(self._awaited) + len(self._overdue) >= _MOST_CALLS:
                self._leave_out(hook, job)
            else:
                self._call(hook, job, error)

    async def finish(self) -> None:
        """Wait until each call has ended, or its time is over."""
        await self._idle.wait()

    async def close(self) -> None:
        """Cancel the calls that have not ended, and start no more."""
        self._closed = True
        if self._awaited:
            logger.warning("cancelled %s of hooks: the pool has stopped", plural(len(self._awaited), "call"))
        calls = [*self._awaited, *self._overdue]
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait([call.task for call in calls], timeout=_CLOSE_LIMIT)

    def _call(self, hook: Hook, job: Job, error: BaseException) -> None:
        if self._left_out:
            logger.warning("hooks are called again; left out %s", plural(self._left_out, "call"))
            self._left_out = 0
        call = _HookCall(hook, job, error, self._threads, self._stop_waiting)
        self._awaited.add(call)
        self._idle.clear()
        call.task.add_done_callback(lambda _: self._ended(call))

    def _leave_out(self, hook: Hook, job: Job) -> None:
        self._left_out += 1
        if self._left_out == 1:
            why = "the pool has stopped" if self._closed else f"{_MOST_CALLS} calls of hooks have not ended"
            text = "left out a call of hook %s for %s %s (logged once): %s"
            logger.error(text, hook.label, job.name, job.id, why, extra=_label(job))

    def _stop_waiting(self, call: _HookCall) -> None:
        self._awaited.discard(call)
        self._overdue.add(call)
        self._note_idle()

    def _ended(self, call: _HookCall) -> None:
        call.ended()
        self._awaited.discard(call)
        self._overdue.discard(call)
        self._note_idle()

    def _note_idle(self) -> None:
        if not self._awaited:
            self._idle.set()


class _HookCall:
    """One call of a hook.

    :param threads: limits how many plain functions run at once.
    :param on_overdue: called when the time of the call is over and it has not ended.
    :ivar task: the task in which it runs.
    """

    __slots__ = ("_cancelled", "_error", "_hook", "_job", "_loop", "_on_overdue", "_threads", "_timer", "task")

    def __init__(
        self,
        hook: Hook,
        job: Job,
        error: BaseException,
        threads: asyncio.Semaphore,
        on_overdue: Callable[[_HookCall], None],
    ) -> None:
        self._hook = hook
        self._job = job
        self._error = error
        self._threads = threads
        self._on_overdue = on_overdue
        self._cancelled = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        # Not made by the loop's task factory, because an eager one would run the hook within the worker's task.
        self.task = asyncio.Task(self._run(), loop=self._loop, name=f"asyncwork hook {hook.label}")

    def cancel(self) -> None:
        """Cancel the call, whose error is then not logged."""
        self._cancelled = True
        self.task.cancel()

    def ended(self) -> None:
        """Release what a call that has ended does not need."""
        if self._timer is not None:
            self._timer.cancel()

    async def _run(self) -> None:
        pid, raised = forks.pid, None
        try:
            await (self._run_in_thread() if self._hook.threaded else self._run_in_time(self._hook.function))
        except BaseException as error:
            raised = error
        if forks.pid != pid:
            forks.end_process(raised)
        if raised is not None and not (self._cancelled and is_of(raised, asyncio.CancelledError)):
            self._log_failure(raised)

    async def _run_in_time(self, function: Callable[[Job, BaseException], Any]) -> None:
        self._timer = self._loop.call_later(_TIME_LIMIT, self._on_time_over)
        suspended = start(make_hook_call(self._hook, function), self._error, self._job)
        if suspended is not None:
            await suspended

    async def _run_in_thread(self) -> None:
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                await self._threads.acquire()
        except TimeoutError:
            self._log("left out a call of hook %s for %s %s: no thread was free for %g s", _LONGEST_WAIT)
            return
        # Taken once: by the thread when it begins, or by this task if it ends before that.
        ticket = threading.Lock()

        def call(job: Job, error: BaseException) -> Any:
            if not ticket.acquire(blocking=False):
                return None
            try:
                return self._hook.function(job, error)
            finally:
                # The loop may have been closed, if nothing waited for this thread.
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._threads.release)

        try:
            await self._run_in_time(call)
        finally:
            if ticket.acquire(blocking=False):
                self._threads.release()

    def _on_time_over(self) -> None:
        if not self.task.done():
            self._log("cancelled a call of hook %s for %s %s: it did not end within %g s", _TIME_LIMIT)
            self.cancel()
            self._on_overdue(self)

    def _log(self, text: str, seconds: float) -> None:
        job = self._job
        logger.error(text, self._hook.label, job.name, job.id, seconds, extra=_label(job))

    def _log_failure(self, raised: BaseException) -> None:
        job, trace = self._job, trace_in_handler(raised)
        # Not the exception itself, because logging would evaluate its truth.
        shown = None if trace is None else (type(raised), raised, trace)
        text = "hook %s failed for %s %s: %s"
        described = describe_error(raised)
        logger.error(text, self._hook.label, job.name, job.id, described, exc_info=shown, extra=_label(job))


def _label(job: Job) -> dict[str, object]:
    return {"job_name": job.name, "job_id": job.id}
