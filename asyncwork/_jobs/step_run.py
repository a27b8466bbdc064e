"""The steps of one attempt of a job: each runs once over all attempts, and a wait frees the worker.

The recorded steps are read once, when the attempt first calls for a step. A wait ends the attempt: as soon as no step
runs any more, each call that waits raises :class:`Deferred`, and the worker has the job run again later.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..decisions import Discard
from ..errors import EventTimeout, JobEndedError, StepError, Superseded, UsageError
from . import step_fields
from .active_steps import ActiveSteps
from .attempt import attempt_of
from .calling import Threads
from .clock import Clock
from .conversions import Conversion
from .error_text import is_of
from .function_kinds import is_async
from .step_calls import StepCall, StepCaller, step_call, within
from .step_cursor import StepCursor
from .step_fields import CURSOR, EVENT, SLEEP, STEP, WAIT, field_of
from .step_names import MOST_STEPS, TOTAL_LIMIT, check_name
from .step_values import conversion_of, decode_event, decode_result, encode_result
from .step_waits import Deferred, StepStore, Wait
from .times import LATEST, seconds_of

if TYPE_CHECKING:
    from ..job import Job
    from .calling import RunPlain

# Seconds: a shorter wait keeps its worker.
_SHORT = 1.0


class StepRun:
    """The steps of one attempt.

    :param clock: the clock by which delayed jobs are due.
    :param threads: limits how many plain functions run at once.
    :param run_plain: runs plain functions.
    :ivar active: the steps that are under way.
    :ivar caller: calls their functions.
    :ivar deferred: raised to end the attempt, because it waits; ``None`` until then.
    :ivar lost: whether another pool has the job.
    :ivar has_ended: whether the attempt has ended.
    """

    def __init__(self, job: Job, store: StepStore, clock: Clock, threads: Threads, run_plain: RunPlain) -> None:
        self._job = job
        # The handler may replace them.
        self._label = f"{job.name} {job.id}"
        self._store = store
        self._clock = clock
        # The event loop of the first step, because a job may be made where no event loop runs.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading = asyncio.Lock()
        self._fields: dict[bytes, bytes] | None = None
        self._total = 0
        self._used: set[str] = set()
        self._waits: list[Wait] = []
        self.active: ActiveSteps = ActiveSteps(job)
        self.caller: StepCaller = StepCaller(job, self._label, self.active, threads, run_plain)
        # A step that has run and cannot be recorded.
        self._unrecorded: StepError | None = None
        self._cursors: list[StepCursor[Any, Any]] = []
        self.deferred: Deferred | None = None
        self.lost: bool = False
        self.has_ended: bool = False

    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        retries: object = None,
    ) -> Any:
        """Return what a function has returned, and run it unless it has; see :meth:`Job.step`."""
        name = self._begin(name)
        call = step_call(name, function, args, kwargs, retries)
        returns, field = conversion_of(function), field_of(STEP, name)
        with self.active.one():
            fields = await self._read()
            if field not in fields:
                self._check_room(name, fields)
                await self._check_lease()
            if field not in self._known():
                await self._run(name, field, call, returns)
            return decode_result(name, self._known()[field], returns)

    async def _run(self, name: str, field: bytes, call: StepCall, returns: Conversion) -> None:
        """Run a step and record what it returns."""
        started_at = self._clock()
        result = await self.caller.call(name, call, self._check_lease)
        try:
            encoded = encode_result(name, result, returns)
            if self._total + len(encoded) > TOTAL_LIMIT:
                raise StepError(
                    f"step {name!r} has run, and what it returned cannot be recorded: the results of the job's steps "
                    f"would have more than {TOTAL_LIMIT} bytes: return where they are stored"
                )
        except StepError as error:
            self._unrecorded = error
            raise
        await self._record(field, step_fields.done(started_at, self._clock(), encoded))
        if attempt_of(self._job).interrupted and not is_async(call.function):
            # The attempt was to end while a thread ran, which nothing can end.
            raise asyncio.CancelledError

    async def _check_lease(self) -> None:
        """Check that the job is still this attempt's, before a step has its effect.

        :raises Superseded, Deferred, JobEndedError: as :meth:`check`.
        """
        if self._store.is_in_doubt():
            await self._read_again()
        self.check()

    async def sleep(self, name: str, delay: Any) -> None:
        """Wait without a worker; see :meth:`Job.sleep`."""
        name, seconds = self._begin(name), seconds_of(delay, "the time to sleep")
        field = field_of(SLEEP, name)
        with self.active.one():
            until = await self._until(name, field, seconds)
        await self._wait(Wait(until, name, is_event=False))

    async def event(self, name: str, wanted: Any, timeout: Any) -> Any:
        """Wait for an event without a worker; see :meth:`Job.event`."""
        name, seconds = self._begin(name), seconds_of(timeout, "timeout")
        field = field_of(EVENT, name)
        with self.active.one():
            found = (await self._read()).get(field)
            until = 0 if found is not None else await self._until(name, field_of(WAIT, name), seconds)
        if found is None:
            await self._wait(Wait(until, name, is_event=True))
            with self.active.one():
                # Either this comes first, or the event does, which then stays.
                found = await self._record(field, step_fields.too_late(self._clock()))
        if len(step_fields.read(found)) < 2:
            raise EventTimeout(f"event {name!r} of {self._label} has not come in {seconds:g} s (timeout=…)")
        return decode_event(name, found, wanted)

    def cursor(self, name: str, source: Callable[..., Any]) -> StepCursor[Any, Any]:
        """Return what iterates over rows from where the last attempt was; see :meth:`Job.cursor`."""
        cursor: StepCursor[Any, Any] = StepCursor(self, self._begin(name), source)
        self._cursors.append(cursor)
        return cursor

    async def position(self, name: str) -> bytes | None:
        """Return the recorded position of a cursor; ``None`` if there is none."""
        with self.active.one():
            fields = await self._read()
            field = field_of(CURSOR, name)
            if field not in fields:
                self._check_room(name, fields)
            return fields.get(field)

    def now(self) -> float:
        """Return the time by the clock by which delayed jobs are due, epoch seconds."""
        return self._clock()

    async def end_cursor(self, name: str, position: bytes, at: float) -> None:
        """Record that a cursor has no more rows."""
        with self.active.one():
            moved = step_fields.position_of(at, position, ended=True)
            if not await self._store.move(field_of(CURSOR, name), moved):
                self._on_lost()
                raise self._superseded()

    def move_cursor(self, name: str, position: bytes, at: float, on_moved: Callable[[], None]) -> None:
        """Record the position of a cursor soon; call ``on_moved`` then.

        :param at: epoch seconds.
        """

        def on_reply(is_held: bool) -> None:
            on_moved()
            if not is_held:
                self.lost = True

        self._store.move_soon(field_of(CURSOR, name), step_fields.position_of(at, position), on_reply)

    def cause_of(self, error: BaseException | None) -> BaseException | None:
        """Return the error by which the outcome of the attempt is decided.

        :param error: what the handler raised, ``None`` if it has returned. It may have caught the error by which a wait
            ends the attempt, and a task group wraps that, or the error that a step cannot be recorded: then the job
            must not run again, whatever the handler raises.
        """
        if self._unrecorded is not None and error is not None and not is_of(error, Discard):
            return self._unrecorded
        if self.deferred is None or not (error is None or _is_only(error, Deferred)):
            return error
        return self.deferred

    def end(self) -> None:
        """Take no more steps, because the attempt has ended; have the positions of cursors recorded."""
        if not self.has_ended:
            for cursor in self._cursors:
                cursor.flush(last=True)
            self.has_ended = True

    def check(self) -> None:
        """Check that the attempt may go on.

        :raises Superseded: when another pool has the job.
        :raises Deferred: when the attempt waits.
        :raises JobEndedError: when it has ended.
        """
        if self.lost:
            raise self._superseded()
        if self.has_ended or self.active.closing:
            raise JobEndedError(
                f"{self._label} can take no more steps: this attempt has ended; await each step before the handler "
                "returns"
            )
        if self.deferred is not None:
            raise Deferred(self.deferred.waits)

    def _begin(self, name: object) -> str:
        """Return the name of a step that is to begin.

        :raises UsageError: when it is not valid, has been used in this attempt, or would be within another step; or
            in another event loop than the pool's.
        """
        name = check_name(name)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if loop is not self._loop:
            raise UsageError("steps belong to the event loop in which the job runs")
        if (outer := within.get()) is not None:
            raise UsageError(
                f"step {name!r} is within step {outer!r}, which would not run again if it were done: take them one "
                "after the other"
            )
        self.check()
        if name in self._used:
            raise UsageError(f"two steps of this job are called {name!r}: give each a name of its own")
        self._used.add(name)
        return name

    async def _read(self) -> dict[bytes, bytes]:
        async with self._reading:
            if self._fields is None:
                await self._read_again()
        self.check()
        return self._known()

    def _known(self) -> dict[bytes, bytes]:
        assert self._fields is not None
        return self._fields

    async def _read_again(self) -> None:
        found = await self._store.read()
        if found is None:
            self._on_lost()
            raise self._superseded()
        self._fields = {**found, **(self._fields or {})}
        self._total = sum(map(len, self._fields.values()))

    def _check_room(self, name: str, fields: dict[bytes, bytes]) -> None:
        kinds = (STEP.encode(), SLEEP.encode(), WAIT.encode(), CURSOR.encode())
        if sum(each.startswith(kinds) for each in fields) >= MOST_STEPS:
            raise UsageError(
                f"step {name!r} is one too many: a job has at most {MOST_STEPS} steps; let one of them do more, or "
                "enqueue further jobs"
            )

    async def _record(self, field: bytes, value: bytes) -> bytes:
        """Record a value; return the one that is recorded, which an attempt before may have been quicker with."""
        recorded = await self._store.record(field, value)
        if recorded is None:
            self._on_lost()
            raise self._superseded()
        self._known()[field] = recorded
        self._total += len(recorded)
        return recorded

    async def _until(self, name: str, field: bytes, seconds: float) -> int:
        """Return until when to wait, epoch second, as the first attempt that got here has recorded it."""
        fields = await self._read()
        if field not in fields:
            self._check_room(name, fields)
            now = self._clock()
            at = min(math.ceil(now + seconds), LATEST) if seconds else int(now)
            await self._record(field, step_fields.until(now, at))
        found = step_fields.read(self._known()[field])
        if len(found) < 2 or type(found[1]) not in (int, float):
            raise StepError(f"what is recorded of the wait {name!r} cannot be read")
        return int(found[1])

    async def _wait(self, wait: Wait) -> None:
        """Return if a wait is over, or will be within a second; else end the attempt."""
        left = wait.until - self._clock()
        if left <= _SHORT:
            if left > 0:
                await asyncio.sleep(left)
                self.check()
            return
        self._waits.append(wait)
        try:
            await self.active.wait()
            self.check()
            if self._unrecorded is not None:
                # The next attempt would run that step again.
                raise self._unrecorded
            self.deferred = Deferred(tuple(self._waits))
            raise self.deferred
        finally:
            self._waits.remove(wait)

    def _on_lost(self) -> None:
        self.lost = True

    def _superseded(self) -> Superseded:
        return Superseded(f"{self._label} is another pool's by now: this attempt takes no more steps")


def _is_only(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether an error is of a kind, or a group of nothing else but that and cancellations."""
    if isinstance(error, BaseExceptionGroup):
        return error.split((kind, asyncio.CancelledError))[1] is None
    return is_of(error, kind)
