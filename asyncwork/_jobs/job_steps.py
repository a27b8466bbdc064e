"""The part of :class:`Job` that takes durable steps."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from ..errors import UsageError
from .step_names import check_name

if TYPE_CHECKING:
    from .step_run import StepRun

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Position = TypeVar("Position")
Row = TypeVar("Row")


class StepSource(Protocol):
    """Runs jobs, and records their steps."""

    def open(self, job: Any) -> StepRun | None:
        """Return the steps of the attempt that runs a job; ``None`` if it does not run here."""


# The running pools of this process. A job finds its pool when it first asks for a step, so that steps cost nothing to
# other jobs.
sources: list[StepSource] = []


class JobSteps:
    """Durable steps of a job: each runs once over all attempts.

    A pool records what they return in Redis, under the id of the job, until the job has succeeded.
    """

    __slots__ = ()

    name: str
    id: str
    # Set when first needed.
    _steps: StepRun

    @overload
    async def step(
        self, name: str, function: Callable[..., Awaitable[R]], /, *args: Any, retries: int, **kwargs: Any
    ) -> R: ...
    @overload
    async def step(self, name: str, function: Callable[..., R], /, *args: Any, retries: int, **kwargs: Any) -> R: ...
    @overload
    async def step(self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return what ``function(*args, **kwargs)`` returns, and run it only if no attempt of this job has done so.

        The function's result is recorded in Redis before this returns. A later attempt, after a failure, a crash or a
        wait, gets what is recorded. Steps are known by their names, so they may be taken in any order, in loops, and in
        ``asyncio.gather``. An exception of a step is not recorded: it fails the attempt, and the next one runs the step
        again. If the process dies after the function has had its effect and before that is recorded, it runs again,
        too: pass :meth:`key` to services that take idempotency keys.

        :param name: 1 to 200 printable characters; each name may be used once in an attempt.
        :param function: a coroutine function, or a plain one, which runs in a thread. It takes no steps itself.
        :param retries: how often it is tried again within this attempt when it raises an ``Exception``, up to 100
            times, after 1 s, 2 s, 4 s and so on, 30 s at most. The job keeps its worker meanwhile. A
            :class:`HandlerDecision` is not retried. A type checker does not check the other arguments of such a step.
        :returns: the result as it is read back from JSON, by the annotation of what the function returns: the first
            time, too, so that all attempts go on with the same value.
        :raises UsageError: when the name is not valid or was used in this attempt, within another step, for a job that
            no pool of this process runs, in another event loop than the pool's, or after 1,000 steps; or when
            ``retries`` is not valid, or a parameter of the function, too. The function was not called then.
        :raises HandlerError: when no JSON value can be of the type that the function is annotated to return. It was
            not called then.
        :raises StepError: when JSON cannot hold the result, when that has more than 256 KiB as JSON, or all results of
            the job more than 16 MiB, or when what is recorded is of another type. The job is dead then at once.
        :raises Superseded: when another pool has the job by now.
        :raises JobEndedError: when the attempt has ended.
        """
        # Not a parameter, because that of the function would be of another type.
        retries = kwargs.pop("retries", None)
        return await self._step_run().step(name, function, args, kwargs, retries)

    async def sleep(self, name: str, delay: float | timedelta) -> None:
        """Wait without a worker: the attempt ends, and the job runs again when the time is over.

        The time counts from the first attempt that gets here. Steps that run beside it are done before the attempt
        ends; anything else that runs is cut off. A wait of less than a second keeps its worker.

        :param name: as for :meth:`step`.
        :param delay: seconds, or a ``timedelta``; rounded up to whole seconds of Redis's clock.
        :raises UsageError: as :meth:`step`, and when the delay is negative, NaN, infinite or longer than 1000 years.
        :raises Superseded, JobEndedError: as :meth:`step`.
        """
        await self._step_run().sleep(name, delay)

    @overload
    async def event(self, name: str, *, timeout: float | timedelta) -> Any: ...
    @overload
    async def event(self, name: str, wanted: type[T], *, timeout: float | timedelta) -> T: ...
    async def event(self, name: str, wanted: Any = Any, *, timeout: float | timedelta) -> Any:
        """Return the value that :meth:`Client.signal` sends to this job under this name.

        If it has not been sent yet, the attempt ends as in :meth:`sleep`, and the job runs again when it is sent, or
        when its time is over. It may be sent at any time, also before the job has started.

        :param name: as for :meth:`step`.
        :param wanted: the type of the value, as for :meth:`arg`.
        :param timeout: seconds, or a ``timedelta``, from the first attempt that gets here.
        :raises EventTimeout: when the event has not been sent in time. It is then too late for it, also in later
            attempts.
        :raises UsageError: as :meth:`sleep`.
        :raises StepError: when the value is of another type. The job is dead then at once.
        :raises Superseded, JobEndedError: as :meth:`step`.
        """
        return await self._step_run().event(name, wanted, timeout)

    @overload
    def cursor(
        self, name: str, source: Callable[[Position | None], AsyncIterable[tuple[Position, Row]]]
    ) -> AsyncIterator[Row]: ...
    @overload
    def cursor(
        self, name: str, source: Callable[[Position | None], Iterable[tuple[Position, Row]]]
    ) -> AsyncIterator[Row]: ...
    def cursor(self, name: str, source: Callable[..., Any]) -> AsyncIterator[Any]:
        """Iterate over rows from where the last attempt was: ``async for row in job.cursor("rows", rows_after)``.

        The position of the last row that is done is recorded once a second, when the attempt ends, and when the pool
        stops. A row is done when the next one is asked for. A process that dies loses the last second.

        :param name: as for :meth:`step`.
        :param source: called with the recorded position, ``None`` at first; returns an iterable, also an asynchronous
            one, of pairs: a position, which JSON can hold, and a row. The position is read back by the annotation of
            its parameter.
        :raises UsageError, HandlerError: as :meth:`step`. While it is iterated, it raises what :meth:`step` does, and
            what the source raises.
        """
        return self._step_run().cursor(name, source)

    def key(self, name: str) -> str:
        """Return an idempotency key for a step: the id of this job, a colon, and the name. It is the same in all
        attempts, and no other job has it.

        :raises UsageError: when the name is not valid.
        """
        return f"{self.id}:{check_name(name)}"

    def _step_run(self) -> StepRun:
        try:
            return self._steps
        except AttributeError:
            pass
        for source in tuple(sources):
            if (found := source.open(self)) is not None:
                self._steps = found  # type: ignore[misc]  # Job has the slot
                return found
        raise UsageError(
            f"{self.name} {self.id} takes no steps: no pool of this process runs it, or it runs in a chunk; await "
            "them in its handler or middleware"
        )
