"""The frame that the payloads of new jobs of one name have in common, so that many are made quickly."""

from __future__ import annotations

from typing import NamedTuple, Self

from .._jobs.ids import make_identifier
from .._jobs.payload import write_payload


class PayloadFrame(NamedTuple):
    """The parts that the packed payloads of all jobs of a name have in common, if they have no options.

    :ivar size: the bytes of a payload without its id and its arguments.
    :ivar before: what stands before the id.
    :ivar between: what stands between the id and the arguments.
    :ivar after: what stands after the arguments.
    """

    size: int
    before: bytes
    between: bytes
    after: bytes

    @classmethod
    def of(cls, name: str, now: int) -> Self:
        """Return the frame for a name and the epoch second at which the jobs are enqueued."""
        id_ = make_identifier()
        before, after = write_payload(name, id_, now, b"").rsplit(id_.encode(), 1)
        return cls(len(before) + len(after), b"\r\n" + before, after[:-1], after[-1:] + b"\r\n")
