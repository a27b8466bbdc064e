"""The steps of a job that runs without Redis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread

from .._jobs.clock import Clock, wall_clock
from .._jobs.step_fields import EVENT, event_of, field_of
from .._jobs.step_names import check_name
from .._jobs.step_run import StepRun
from .._jobs.step_waits import Wait
from .._json import codec
from ..job import Job
from .background_loop import run_plain


class MemoryStore:
    """Records the steps of one attempt in memory.

    :param fields: what is recorded already.
    """

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._fields = {**fields}

    async def read(self) -> dict[bytes, bytes]:
        return {**self._fields}

    async def record(self, field: bytes, value: bytes) -> bytes:
        return self._fields.setdefault(field, value)

    async def move(self, field: bytes, value: bytes) -> bool:
        self._fields[field] = value
        return True

    def move_soon(self, field: bytes, value: bytes, on_reply: Callable[[bool], None]) -> None:
        self._fields[field] = value
        on_reply(True)

    def is_in_doubt(self) -> bool:
        return False


class _UntimedRun(StepRun):
    """The steps of a job that no pool runs. No wait takes any time."""

    async def _wait(self, wait: Wait) -> None:
        self.check()


def steps_in_memory(job: Job, clock: Clock) -> StepRun:
    """Return the steps of a job that runs in place. A wait ends its attempt, as it does in a pool."""
    run = StepRun(job, MemoryStore({}), clock, anyio.to_thread.current_default_thread_limiter, run_plain)
    run.caller.pause = _no_pause
    return run


def untimed_steps(job: Job, events: Mapping[str, Any]) -> StepRun:
    """Return the steps of a job whose handler a test calls itself. No wait takes any time.

    :param events: the values of the events that have been sent to it.
    :raises UsageError: when a name is not valid.
    :raises ArgumentEncodingError: when JSON cannot hold a value.
    """
    at = wall_clock()
    fields = {
        field_of(EVENT, check_name(name)): event_of(at, codec.encode_value(value)) for name, value in events.items()
    }
    threads = anyio.to_thread.current_default_thread_limiter
    run = _UntimedRun(job, MemoryStore(fields), wall_clock, threads, anyio.to_thread.run_sync)
    run.caller.pause = _no_pause
    return run


async def _no_pause(seconds: float) -> None:
    """Let the tries of a step follow each other at once."""


def steps_cause(job: Job, error: BaseException | None) -> BaseException | None:
    """Return the error by which the outcome of an attempt is decided.

    :param error: what the handler raised, ``None`` if it has returned.
    """
    steps = getattr(job, "_steps", None)
    return steps.cause_of(error) if isinstance(steps, StepRun) else error
