"""The jobs of a location, as they are listed, searched and grouped by their errors.

``JobRecord`` has more than ten fields, because it shows what a payload holds, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .job_status import Progress


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job in a location, or a payload there that is not a job.

    :ivar location: its location: ``retry``, ``scheduled``, ``dead``, ``quarantine``, ``busy`` (running now) or
        ``queue:NAME``; ``periodic`` when ``redact`` is called with a periodic job.
    :ivar ref: the job ref, which finds it there again, whatever its id is; empty for a running job.
    :ivar name: its name; for a payload that is not a job, the queue or sorted set where it was found.
    :ivar id: its id; 24 hex digits unless another program chose it.
    :ivar args: its arguments as exact JSON text; ``null`` when it has none.
    :ivar at: when it is due (``retry``, ``scheduled``), died, was quarantined, or was started (``busy``), epoch
        seconds; ``None`` in a queue.
    :ivar enqueued_at: when it was put on its queue, epoch seconds.
    :ivar fails: the number of failed attempts.
    :ivar err: the text of the last failure.
    :ivar failed_at: the time of the last failure, epoch seconds, or 0.
    :ivar traceback: the end of its traceback, or empty; Go pools write none.
    :ivar checkin: the last check-in of a running job.
    :ivar unique: whether it holds a unique key until it starts.
    :ivar unique_key: that key, where the payload has it.
    :ivar size: the size of the payload, bytes.
    :ivar reason: why the payload is not a job; empty for a job.
    :ivar text: the payload as text; empty for a job.
    :ivar progress: the progress of a running job; ``None`` if its last check-in has no numbers.
    :ivar timeout: the timeout with which it was enqueued, seconds; 0 for none, ``None`` for the timeout of its type.
    :ivar expires: the time after which it does not start, epoch seconds, or 0.
    """

    location: str
    ref: str
    name: str = ""
    id: str = ""
    args: bytes = field(default=b"null", repr=False)
    at: float | None = None
    enqueued_at: int = 0
    fails: int = 0
    err: str = field(default="", repr=False)
    failed_at: int = 0
    traceback: str = field(default="", repr=False)
    checkin: str = field(default="", repr=False)
    unique: bool = False
    unique_key: str = field(default="", repr=False)
    size: int = 0
    reason: str = ""
    text: str = field(default="", repr=False)
    progress: Progress | None = None
    timeout: float | None = None
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the jobs in a location.

    :ivar jobs: up to ``per_page`` jobs.
    :ivar total: the number of jobs in the location.
    :ivar page: the number of the page, from 1.
    """

    jobs: list[JobRecord]
    total: int
    page: int
    per_page: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of one call of a search.

    :ivar jobs: the jobs that match, in the order of the search.
    :ivar cursor: continues the search; empty when all jobs have been read.
    :ivar looked: how many jobs this call has read.
    :ivar total: the number of jobs in the locations that were searched.
    """

    jobs: list[JobRecord]
    cursor: str
    looked: int
    total: int


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Jobs whose errors differ only in their values.

    :ivar kind: what the errors have in common; empty for jobs without an error.
    :ivar count: the number of jobs.
    :ivar names: the number of jobs of each name.
    :ivar newest: the latest :attr:`JobRecord.at` of the jobs, epoch seconds; 0 when they have none.
    :ivar example: the whole text of one of the errors.
    :ivar oldest: the earliest :attr:`JobRecord.at` of the jobs, epoch seconds; 0 when they have none.
    """

    kind: str
    count: int
    names: dict[str, int]
    newest: float
    example: str
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorKinds:
    """The errors in a location by kind, the most frequent first; other fields are those of :class:`SearchResult`."""

    kinds: list[ErrorKind]
    cursor: str
    looked: int
    total: int
