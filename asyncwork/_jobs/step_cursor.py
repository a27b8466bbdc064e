"""A cursor: iterates over rows, and keeps its position over the attempts of a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._json import codec
from ..errors import ArgumentEncodingError, UsageError
from .mismatch import NotWritable, path_below
from .printable import shown
from .step_names import RESULT_LIMIT
from .step_values import decode_position, position_conversion

if TYPE_CHECKING:
    from .step_run import StepRun

Position = TypeVar("Position")
Row = TypeVar("Row")

_END = object()
# Seconds after which a new position is recorded.
PERIOD = 1.0


class StepCursor(Generic[Position, Row]):
    """Iterates over the rows after the position that the last attempt has recorded. A row is done when the next one is
    asked for.

    Made by :meth:`Job.cursor`, and iterated once: ``async for row in job.cursor("rows", rows_after)``.
    """

    # Not an async generator, because one that is left early is closed by a task that outlives the attempt.

    def __init__(self, run: StepRun, name: str, source: Callable[..., Any]) -> None:
        self._run = run
        self._name = name
        self._source = source
        self._positions = position_conversion(source)
        self._rows: AsyncIterator[Any] | Iterator[Any] | None = None
        self._has_ended = False
        # The position of the row that is being worked on, and of the last one that is done, as JSON.
        self._current: bytes | None = None
        self._done: bytes = b"null"
        # When the last position was sent, epoch seconds.
        self._at = 0.0
        # Whether that has changed since it was sent, and how many sent positions have no reply.
        self._is_dirty = False
        self._unconfirmed = 0
        self._timer: asyncio.TimerHandle | None = None

    def __aiter__(self) -> StepCursor[Position, Row]:
        return self

    async def __anext__(self) -> Row:
        self._run.check()
        if self._current is not None:
            self._done, self._current = self._current, None
            self._move_later()
        if self._rows is None:
            await self._open()
        row: Any = _END if self._has_ended else await self._next()
        if row is _END:
            await self._end()
            raise StopAsyncIteration
        try:
            position, value = row
        except (TypeError, ValueError):
            raise UsageError(
                f"cursor {self._name!r} needs pairs of a position and a row, and its function gave {shown(row)}"
            ) from None
        self._current = self._encode(position)
        return value  # type: ignore[no-any-return]

    async def _open(self) -> None:
        recorded = await self._run.position(self._name)
        position = None
        if recorded is not None:
            self._at, position, self._has_ended = decode_position(self._name, recorded, self._positions)
            self._done = self._encode(position)
        if self._has_ended:
            return
        rows = self._source(position)
        if hasattr(rows, "__aiter__"):
            self._rows = aiter(rows)
        elif hasattr(rows, "__iter__"):
            self._rows = iter(rows)
        else:
            raise UsageError(
                f"cursor {self._name!r} needs a function that returns an iterable of pairs, and it returned "
                f"{shown(rows)}: `yield position, row` in it"
            )

    async def _next(self) -> Any:
        if isinstance(self._rows, Iterator):
            return next(self._rows, _END)
        assert self._rows is not None
        return await anext(self._rows, _END)

    def _encode(self, position: Any) -> bytes:
        encode = self._positions.encode
        try:
            encoded = codec.encode_value(position if encode is None else encode(position))
        except NotWritable as error:
            problem = f"position{path_below(error)}: {error.reason}"
        except ArgumentEncodingError as error:
            problem = str(error)
        else:
            if len(encoded) <= RESULT_LIMIT:
                return encoded
            problem = f"its JSON has {len(encoded)} bytes, and at most {RESULT_LIMIT} are kept"
        raise UsageError(f"a position of cursor {self._name!r} cannot be recorded: {problem}")

    async def _end(self) -> None:
        self._stop_timer()
        if not self._has_ended:
            self._has_ended, self._is_dirty = True, False
            await self._run.end_cursor(self._name, self._done, self._next_time())

    def _move_later(self) -> None:
        self._is_dirty = True
        if self._timer is None:
            # Not in the job's context variables, which may refer to the task of its worker.
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self.flush, context=Context())

    def flush(self, *, last: bool = False) -> None:
        """Have the position recorded now, if it has changed.

        :param last: whether the attempt ends. Then a position that has no reply yet is sent once more, so that it comes
            before the end of the attempt, after which nothing is recorded.
        """
        self._stop_timer()
        if self._is_dirty or (last and self._unconfirmed and not self._has_ended):
            self._is_dirty = False
            self._unconfirmed += 1
            self._run.move_cursor(self._name, self._done, self._next_time(), self._on_moved)

    def _on_moved(self) -> None:
        self._unconfirmed -= 1

    def _next_time(self) -> float:
        """Return the time of the next position, epoch seconds: later than that of the last, whose write may come
        late."""
        self._at = max(self._run.now(), self._at + 0.001)
        return self._at

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
