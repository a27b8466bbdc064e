"""The options of a queue that have no key of their own: those that its pools have, and the limit set at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._json import codec
from ..errors import PayloadError
from .protocol import decode, read_count


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """The options of a job type that a pool writes when it starts. The others only show them.

    :ivar chunk: how many jobs one call takes at most; 0 for one job a call.
    :ivar wait: seconds for which a chunk waits for more jobs.
    :ivar max_waiting: how many jobs may wait; 0 for any number.
    """

    chunk: int = 0
    wait: float = 0.0
    max_waiting: int = 0

    def encode(self) -> bytes:
        """Return it as JSON."""
        return codec.encode_value({"chunk": self.chunk, "wait": self.wait, "max_waiting": self.max_waiting})

    @classmethod
    def read(cls, raw: bytes) -> QueueOptions:
        """Return what JSON says; what cannot be read counts as absent."""
        try:
            found = codec.decode(raw)
        except PayloadError:
            return cls()
        if not isinstance(found, dict):
            return cls()
        wait = found.get("wait")
        return cls(
            _count(found.get("chunk")),
            float(wait) if isinstance(wait, int | float) and not isinstance(wait, bool) else 0.0,
            _count(found.get("max_waiting")),
        )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def read_options(declared: Any, limits: Any) -> Mapping[str, QueueOptions]:
    """Return the options of queues by name, from the replies for both hashes.

    :param declared: what pools have written; anything but a hash says nothing.
    :param limits: how many jobs may wait, as was set at run time, which comes before what pools have.
    """
    found = {decode(name): QueueOptions.read(raw) for name, raw in _items(declared)}
    for name, raw in _items(limits):
        if (limit := read_count(raw)) is not None:
            queue, of_pools = decode(name), found.get(decode(name), QueueOptions())
            found[queue] = QueueOptions(of_pools.chunk, of_pools.wait, max(0, limit))
    return found


def _items(reply: Any) -> list[tuple[bytes, bytes]]:
    if isinstance(reply, dict):
        return list(reply.items())
    if isinstance(reply, list):
        return list(zip(reply[::2], reply[1::2], strict=True))
    return []
