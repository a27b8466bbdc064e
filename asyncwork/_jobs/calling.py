"""Calls of a handler for a job: with its leading parameters and arguments, in a thread if the function is plain."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import anyio.to_thread

from ..job import Job
from . import forks
from .attempt import Attempt, attempt_of
from .function_kinds import is_async, refuse_generator, wraps_generator
from .parameters import UnknownArguments

# Runs a handler, given a context and a job.
Call: TypeAlias = Callable[[Any, Job], Awaitable[object]]
# Runs a plain function beside the event loop. Has the parameters of anyio.to_thread.run_sync.
RunPlain: TypeAlias = Callable[..., Awaitable[Any]]
# Limits how many plain functions run at once. A limiter belongs to an event loop, so a function may return it.
Threads: TypeAlias = anyio.CapacityLimiter | Callable[[], anyio.CapacityLimiter]


def make_call(
    function: Callable[..., Any],
    leading: tuple[bool, ...],
    fill: Callable[[Job], dict[str, Any]] | None,
    unknown: UnknownArguments,
    threads: Threads,
    run_plain: RunPlain = anyio.to_thread.run_sync,
) -> Call:
    """Return what runs a function for a job.

    :param leading: whether each leading parameter takes the job; it takes the context otherwise.
    :param fill: returns the keyword arguments; ``None`` when the function takes none.
    :param unknown: handles the job's arguments when the function takes neither arguments nor the job.
    :param run_plain: runs the function if it is a plain one.
    """
    return call_by_kind(function, _pass_arguments(function, leading, fill, unknown), threads, run_plain)


def call_by_kind(
    function: Callable[..., Any],
    call: Callable[[Any, Job], Any],
    threads: Threads,
    run_plain: RunPlain = anyio.to_thread.run_sync,
    attempt_of: Callable[[Job], Attempt] = attempt_of,
) -> Call:
    """Return what runs a call of a function: in a thread if it is a plain function.

    The result fails if the function turns out to have made a generator.

    :param run_plain: runs the function if it is a plain one.
    :param attempt_of: returns the attempt whose interruption ends the call.
    """
    if not is_async(function):
        return _in_thread(function, call, threads, run_plain, attempt_of)
    return _refusing_generators(function, call) if wraps_generator(function) else call


def _pass_arguments(
    function: Callable[..., Any],
    leading: tuple[bool, ...],
    fill: Callable[[Job], dict[str, Any]] | None,
    unknown: UnknownArguments,
) -> Call:
    if fill is not None:
        match leading:
            case (False, True):
                return lambda context, job: function(context, job, **fill(job))
            case (False,):
                return lambda context, job: function(context, **fill(job))
            case (True,):
                return lambda context, job: function(job, **fill(job))
            case _:
                return lambda context, job: function(**fill(job))
    match leading:
        case (False, True):
            return function
        case (True,):
            return lambda context, job: function(job)

    def with_context(context: Any, job: Job) -> Awaitable[object]:
        if job.args:
            unknown.found_all(job)
        return function(context)  # type: ignore[no-any-return]

    def with_nothing(context: Any, job: Job) -> Awaitable[object]:
        if job.args:
            unknown.found_all(job)
        return function()  # type: ignore[no-any-return]

    return with_context if leading else with_nothing


def _in_thread(
    function: Callable[..., Any],
    call: Callable[[Any, Job], Any],
    threads: Threads,
    run_plain: RunPlain,
    attempt_of: Callable[[Job], Attempt],
) -> Call:
    """Return a call that runs a plain function in a thread, with the context variables of its job."""

    def catch(attempt: Attempt, context: Any, job: Job) -> tuple[object, BaseException | None]:
        # Errors are returned because anyio inspects those that a thread raises, and any error must end the thread.
        pid = forks.pid
        # In this order: an interruption sets `interrupted` first, and cancels nothing that runs in a thread.
        attempt.thread = threading.get_ident()
        if attempt.interrupted:
            return None, asyncio.CancelledError()
        try:
            result, raised = call(context, job), None
        except BaseException as error:
            result, raised = None, error
        if forks.pid != pid:
            forks.end_process(raised)
        return result, raised

    async def run(context: Any, job: Job) -> object:
        limiter = threads if isinstance(threads, anyio.CapacityLimiter) else threads()
        attempt = attempt_of(job)
        try:
            result, error = await run_plain(catch, attempt, context, job, abandon_on_cancel=True, limiter=limiter)
        except asyncio.CancelledError:
            # The thread goes on.
            attempt.interrupt()
            raise
        attempt.thread = None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it would form a cycle with this frame
        # Some functions return an awaitable without being async: a lambda, or a decorated one.
        return await result if inspect.isawaitable(result) else refuse_generator(function, result)

    return run


def _refusing_generators(function: Callable[..., Any], call: Call) -> Call:
    """Return a call that fails the job when the function has only made a generator."""

    async def run(context: Any, job: Job) -> object:
        return refuse_generator(function, await call(context, job))

    return run
