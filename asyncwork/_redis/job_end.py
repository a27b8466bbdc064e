"""The end of a job or an attempt, as a pool writes it to the job's record.

It has more than ten fields, because a tuple of plain values is the quickest to make, on the hot path of jobs that have
a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# The numbers of an end as one argument of a script: how long its record and its stream are kept, whether it is listed,
# how many parts `more` has, its attempts, and when it was enqueued, started and ended.
END_NUMBERS = b"%d %d %d %d %d %d %.6f %.6f"


class JobEnd(NamedTuple):
    """The end of a job, or of an attempt after which it runs again, as its record says it. Times are epoch seconds.

    :ivar payload: what is in progress.
    :ivar seconds: for how long its record is kept; 0 if it has none.
    :ivar more: further fields of the record and their values, in turn.
    :ivar state: how it has ended; empty if it runs again, and then only ``more`` counts.
    :ivar started_at: 0 if it never started.
    :ivar stream_seconds: for how long its stream is kept; 0 if it has none.
    :ivar listed: whether it is listed among the finished jobs, and its record holds its attempts.
    """

    payload: bytes
    job_id: str
    seconds: int
    more: Sequence[bytes]
    state: bytes = b""
    name: bytes = b""
    attempts: int = 0
    enqueued_at: int = 0
    started_at: float = 0.0
    ended_at: float = 0.0
    stream_seconds: int = 0
    listed: bool = False

    def fields(self) -> list[bytes]:
        """Return the fields of the record and their values, in turn."""
        if not self.state:
            return [*self.more]
        return [
            *(b"state", self.state, b"name", self.name, b"attempts", b"%d" % self.attempts),
            *(b"enqueued_at", b"%d" % self.enqueued_at),
            *(b"started_at", b"%.6f" % self.started_at, b"ended_at", b"%.6f" % self.ended_at),
            *self.more,
        ]
