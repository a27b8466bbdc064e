"""The store that records the steps of an attempt, as a protocol, and the waits of an attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol


class StepStore(Protocol):
    """Where the steps of one attempt are recorded."""

    async def read(self) -> dict[bytes, bytes] | None:
        """Return the fields of what is recorded; ``None`` if the job is not this attempt's any more."""

    async def record(self, field: bytes, value: bytes) -> bytes | None:
        """Set a field that is not set; return its value, or ``None`` if the job is not this attempt's any more."""

    async def move(self, field: bytes, value: bytes) -> bool:
        """Set a field; return whether the job is still this attempt's."""

    def move_soon(self, field: bytes, value: bytes, on_reply: Callable[[bool], None]) -> None:
        """Set a field soon; call ``on_reply`` then with whether the job is still this attempt's."""

    def is_in_doubt(self) -> bool:
        """Return whether the job may be another pool's by now."""


class Wait(NamedTuple):
    """A wait of an attempt: for a time, or for an event.

    :ivar until: epoch second.
    :ivar name: the name of the sleep or of the event.
    """

    until: int
    name: str
    is_event: bool

    def __str__(self) -> str:
        return f"the event {self.name!r}" if self.is_event else f"the end of the sleep {self.name!r}"


class Deferred(BaseException):
    """Ends an attempt that waits, like a cancellation: not an ``Exception``, which a handler may catch.

    :ivar waits: what it waits for.
    """

    def __init__(self, waits: tuple[Wait, ...]) -> None:
        self.waits = waits
        super().__init__(" or ".join(dict.fromkeys(map(str, waits))))

    @property
    def until(self) -> int:
        """When the job runs again, epoch second."""
        return min(wait.until for wait in self.waits)
