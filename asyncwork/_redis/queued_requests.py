"""Requests that wait for their turn on a connection that many tasks share.

Each kind has the same methods: :meth:`take` when it is its turn, then :meth:`on_replies` or :meth:`fail`, and
:meth:`expire` now and then.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from .errors import ErrorReply
from .protocol import command

# Jobs and bytes in one command. There is a limit because Redis is blocked meanwhile.
_MOST_JOBS, _MOST_BYTES = 1000, 1_000_000


class Commands:
    """The commands of one task.

    :param commands: packed.
    :param deadline: when it is too late for the replies, by the clock of the event loop.
    :ivar replies: becomes the replies, with errors in their places.
    :ivar sent: whether they may have been sent.
    """

    __slots__ = ("_commands", "_deadline", "replies", "sent")

    def __init__(self, commands: Sequence[bytes], replies: asyncio.Future[list[Any]], deadline: float) -> None:
        self._commands = commands
        self._deadline = deadline
        self.replies = replies
        self.sent = False

    def take(self) -> Sequence[bytes]:
        """Return what is to be sent now; nothing if its task was cancelled or has run out of time."""
        if self.replies.done():
            return ()
        self.sent = True
        return self._commands

    def on_replies(self, replies: list[Any]) -> None:
        """Pass the replies to the task."""
        if not self.replies.done():
            self.replies.set_result(replies)

    def fail(self, error: Exception) -> None:
        """Raise an error in the task, if it still waits."""
        if not self.replies.done():
            self.replies.set_exception(error)

    def expire(self, now: float) -> float:
        """Fail if it is too late; return when it will be, infinity if nothing waits."""
        if self._deadline <= now:
            self.fail(_late(self.sent))
        return math.inf if self.replies.done() else self._deadline


class Pushes:
    """Payloads that several tasks add to one queue at the same time. One command writes them, in their order.

    Redis accepts or refuses the command as a whole, so its reply holds for each of the tasks.

    :ivar key: the key of the queue.
    :ivar full: whether no more payloads fit.
    """

    __slots__ = ("_deadlines", "_futures", "_payloads", "_sent", "_size", "full", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._payloads: list[bytes] = []
        self._futures: list[asyncio.Future[None]] = []
        self._deadlines: list[float] = []
        self._size = 0
        self._sent = False
        self.full = False

    def add(self, payload: bytes, future: asyncio.Future[None], deadline: float) -> None:
        """Add a payload.

        :param future: is done when it is written, or has the error.
        :param deadline: when it is too late for the reply, by the clock of the event loop.
        """
        self._payloads.append(payload)
        self._futures.append(future)
        self._deadlines.append(deadline)
        self._size += len(payload)
        self.full = self._size >= _MOST_BYTES or len(self._payloads) >= _MOST_JOBS

    def take(self) -> Sequence[bytes]:
        """Return what is to be sent now, without the payloads of tasks that were cancelled or have run out of time."""
        if any(future.done() for future in self._futures):
            waiting = [index for index, future in enumerate(self._futures) if not future.done()]
            self._payloads = [self._payloads[index] for index in waiting]
            self._futures = [self._futures[index] for index in waiting]
            self._deadlines = [self._deadlines[index] for index in waiting]
        if not self._payloads:
            return ()
        self._sent = True
        return (command(b"LPUSH", self.key, *self._payloads),)

    def on_replies(self, replies: list[Any]) -> None:
        """Pass the only reply to the tasks."""
        (reply,) = replies
        if isinstance(reply, ErrorReply):
            self.fail(reply)
            return
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Raise an error in the tasks that still wait."""
        for future in self._futures:
            if not future.done():
                future.set_exception(error)

    def expire(self, now: float) -> float:
        """Fail those for which it is too late; return when it will be for the next, infinity if none waits."""
        next_deadline = math.inf
        for future, deadline in zip(self._futures, self._deadlines, strict=True):
            if future.done():
                continue
            if deadline <= now:
                future.set_exception(_late(self._sent))
            else:
                next_deadline = min(next_deadline, deadline)
        return next_deadline


QueuedRequest: TypeAlias = Commands | Pushes


def _late(sent: bool) -> TimeoutError:
    return TimeoutError("Redis did not reply in time" if sent else "the request was not sent in time")
