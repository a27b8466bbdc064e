"""Jobs and their payloads, in gocraft/work's layout.

A payload always has ``name, id, t, args``, then ``unique, unique_key, fails, err, failed_at`` if they are not empty. A
job that was given a timeout or an expiry has ``timeout`` or ``expires``, too, a traced one ``trace``, one that is
unique until it has ended ``hold``, and one of a tenant ``partition``. An existing payload is never encoded again. The
fields are spliced into its bytes, and every other value stays as it was written.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any, TypeVar, overload

from ._jobs.attempt import Attempt, attempt_of
from ._jobs.clock import wall_clock
from ._jobs.job_argument import MISSING, take_argument
from ._jobs.job_flow import HasFlow
from ._jobs.job_logger import JobLogger
from ._jobs.job_steps import JobSteps
from ._jobs.membership import SHORTEST_ID, batch_of
from ._jobs.payload import with_tenant, write_payload
from ._jobs.payload_fields import are_plain, checked_fields, time_or_none
from ._jobs.progress import make_progress
from ._jobs.stream_sink import StreamSink
from ._jobs.times import LATEST, seconds_of
from ._json import codec, members
from .errors import PayloadError, UsageError
from .models.job_status import Progress

T = TypeVar("T")
D = TypeVar("D")


class Job(JobSteps, HasFlow):
    """A job as its handler sees it.

    :ivar name: the job's name.
    :ivar id: its id; 24 hex digits unless another program chose the id.
    :ivar args: its arguments by name; empty when it has none.
    :ivar enqueued_at: when it was enqueued, epoch seconds.
    :ivar unique: whether it holds a unique key until it starts.
    :ivar expires: until when it may start, epoch seconds by Redis's clock; ``None`` for any time.
    :ivar raw: the payload's bytes in Redis.
    :ivar checked_in: the text and epoch second of the newest check-in, and its progress if it has numbers; or ``None``.
    """

    # Attributes for what a worker reads of every job, because a property is several times slower.
    __slots__ = (
        "_attempt",
        "_fields",
        "_log",
        "_plain",
        "_returned",
        "_sink",
        "_steps",
        "args",
        "checked_in",
        "enqueued_at",
        "expires",
        "id",
        "name",
        "raw",
        "unique",
    )

    # Whether it has the four fields that every job has, no others, and belongs to no batch.
    _plain: bool
    # Set when first needed. `_returned` is what the handler returned, for a type that keeps it.
    _attempt: Attempt
    _returned: object
    # `_sink` takes what it emits, for a type that has streams.
    _sink: StreamSink

    def __init__(self, raw: bytes, fields: dict[str, Any]) -> None:
        self.raw: bytes = raw
        self._fields = fields
        self.checked_in: tuple[str, int, Progress | None] | None = None
        self.name: str = fields["name"]
        self.id: str = fields["id"]
        self.args: dict[str, Any] = fields["args"] or {}
        self.enqueued_at: int = fields["t"]
        self.unique: bool = fields.get("unique") is True
        self.expires: float | None = time_or_none(fields.get("expires"))
        self._plain = False

    @classmethod
    def decode(cls, raw: bytes) -> Job:
        """Return the job of a payload.

        :raises PayloadError: when gocraft/work would not accept it as a job; the message says why.
        """
        fields = codec.decode_job(raw)
        try:
            name, job_id, enqueued_at, args = fields["name"], fields["id"], fields["t"], fields["args"]
        except KeyError:
            return cls(raw, checked_fields(raw, fields))
        size = len(fields)
        if (
            type(name) is str
            and type(job_id) is str
            and type(enqueued_at) is int
            and (args is None or type(args) is dict)
            and (size == 4 or (size == 5 and "timeout" in fields) or are_plain(fields))
        ):
            # On the hot path: calling the constructor would cost as much as all of this.
            job = object.__new__(cls)
            job.raw = raw
            job._fields = fields
            job.checked_in = None
            job.name = name
            job.id = job_id
            job.args = args or {}
            job.enqueued_at = enqueued_at
            if size == 4:
                job.unique, job.expires, job._plain = False, None, len(job_id) < SHORTEST_ID
            else:
                job.unique, job.expires = fields.get("unique") is True, time_or_none(fields.get("expires"))
                job._plain = False
            return job
        return cls(raw, checked_fields(raw, fields))

    @property
    def _hold(self) -> Any:
        """The mark in the payload for the key that the job holds until it has ended; ``None`` if it holds none. See
        ``_jobs.hold``.
        """
        return self._fields.get("hold")

    @property
    def given_args(self) -> dict[str, Any] | None:
        """The arguments as they were passed: ``None`` if there were none, which differs from an empty object."""
        return self._fields["args"]  # type: ignore[no-any-return]

    @property
    def unique_key(self) -> str:
        """The Redis key that keeps the job unique; empty if its payload has none."""
        return self._fields.get("unique_key") or ""

    @property
    def fails(self) -> int:
        """How many attempts have failed so far."""
        return self._fields.get("fails") or 0

    @property
    def err(self) -> str:
        """The error text of the newest failure; empty if there is none."""
        return self._fields.get("err") or ""

    @property
    def failed_at(self) -> int:
        """When the newest attempt failed, epoch seconds, or 0."""
        return self._fields.get("failed_at") or 0

    @property
    def timeout(self) -> float | None:
        """The timeout with which it was enqueued, seconds; 0 for none, and ``None`` for the timeout of its type."""
        # Another program may have written anything.
        value: Any = self._fields.get("timeout")
        return value if type(value) in (int, float) and 0 <= value <= LATEST else None

    @property
    def trace(self) -> str:
        """The W3C ``traceparent`` of the span in which it was enqueued; empty if there is none."""
        trace = self._fields.get("trace")
        return trace if isinstance(trace, str) else ""

    @property
    def partition(self) -> str:
        """The tenant to which it belongs in a fair queue; empty if there is none."""
        tenant = self._fields.get("partition")
        return tenant if isinstance(tenant, str) else ""

    @property
    def traceback(self) -> str:
        """The end of the newest failure's traceback; empty if there is none. Go pools keep no traceback."""
        traceback = self._fields.get("traceback")
        return traceback if isinstance(traceback, str) else ""

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger ``asyncwork.job``, with ``job_name`` and ``job_id`` as extra fields of each line.

        It works in threads, in hooks and in tests too, where no job is running.
        """
        # Made on first use, because most jobs log nothing.
        try:
            return self._log
        except AttributeError:
            self._log: JobLogger = JobLogger(self.name, self.id)
            return self._log

    @overload
    def arg(self, key: str) -> Any: ...
    @overload
    def arg(self, key: str, wanted: type[T]) -> T: ...
    @overload
    def arg(self, key: str, wanted: type[T], default: D) -> T | D: ...
    def arg(self, key: str, wanted: Any = Any, default: Any = MISSING) -> Any:
        """Return one argument, checked and converted as a handler's parameter is.

        An integral float up to 2^53 is an int, and an int is a float.

        :param wanted: any type that a handler's parameter may have, such as ``list[str]``, ``datetime`` or a dataclass.
        :param default: returned when the argument is missing.
        :raises ArgumentMismatchError: when the argument is missing without a default, or is of another type.
        """
        return take_argument(self.args, key, wanted, default)

    def checkin(self, text: object) -> None:
        """Report the job's progress, such as "row 10,000 of 1,000,000", which is shown beside the running job.

        A check-in is cheap, because the newest is written to Redis at most once a second. May be called from a thread.
        U+FFFD replaces a lone surrogate, which UTF-8 cannot hold.
        """
        # A plain str, because a subclass may have methods of its own.
        self.checked_in = (str.__str__(str(text)), int(wall_clock()), None)

    def progress(self, done: float, total: float | None = None, text: object = "") -> None:
        """Report how far the job is, such as ``job.progress(45, 100, "resizing")``.

        It is a :meth:`checkin` with numbers: as cheap, and the newest of both is shown. Clients and the web UI show the
        numbers as a bar, gocraft/work's web UI shows ``45/100 resizing``. May be called from a thread.

        :param done: how much is done, in any unit; zero or more, and more than ``total`` too.
        :param total: how much there is to do; ``None`` when that is unknown.
        :param text: what is being done.
        :raises UsageError: when ``done`` or ``total`` is no number, negative, NaN or infinite.
        """
        at = int(wall_clock())
        progress = make_progress(done, total, str.__str__(str(text)))
        self.checked_in = (str(progress), at, progress)

    async def emit(self, chunk: Any) -> None:
        """Add a chunk to the job's stream, which :meth:`Client.stream` reads while the job runs, and for a while after.

        It returns when Redis has the chunk. Chunks that several tasks emit at once are written in one round trip. A
        plain function, which runs in a thread, calls :meth:`emit_sync`. The stream keeps the last 10,000 chunks at
        least.

        :param chunk: anything that JSON can hold, as arguments; at most 1 MiB of JSON.
        :raises UsageError: when the job's type has no stream, which ``@pool.job(stream=3600)`` gives it; when the chunk
            is too long; or in another event loop than the pool's.
        :raises ArgumentEncodingError: when JSON cannot hold the chunk.
        :raises JobEndedError: when the attempt has ended, or another pool has the job.
        :raises RedisUnavailable: when Redis refuses or cannot be reached. The chunk may have been written.
        """
        await self._stream_sink().emit(chunk)

    def emit_sync(self, chunk: Any) -> None:
        """Add a chunk to the job's stream, as :meth:`emit` does, from a plain function in its thread.

        It blocks until Redis has the chunk.

        :param chunk: as for :meth:`emit`.
        :raises UsageError: as :meth:`emit`; and in an event loop, or in another thread than the handler's.
        :raises ArgumentEncodingError, JobEndedError, RedisUnavailable: as :meth:`emit`.
        """
        self._stream_sink().emit_sync(chunk)

    def _stream_sink(self) -> StreamSink:
        try:
            return self._sink
        except AttributeError:
            raise UsageError(
                f"{self.name} jobs have no stream: say for how long it is kept, as in @pool.job(stream=3600)"
            ) from None

    @property
    def batch_id(self) -> str | None:
        """The id of the batch whose member or callback it is; ``None`` if there is none."""
        return batch_of(self.id)

    def extend(self, seconds: float | timedelta) -> None:
        """Let the attempt that runs take at least ``seconds`` from now, however long it has run already.

        May be called from a thread. Does nothing to an attempt that has no timeout, has ended, or has timed out.

        :param seconds: seconds, or a ``timedelta``.
        :raises UsageError: when it is negative, NaN, infinite, of another type, or longer than 1000 years.
        """
        attempt_of(self).extend(seconds_of(seconds, "extend(seconds)"))

    @property
    def cancelled(self) -> threading.Event:
        """An event that is set when the attempt is to end: at its timeout, when the job is cancelled, and when a pool
        that stops waits for it no longer.

        A coroutine is cancelled where it waits, and need not look. A plain function runs in a thread, which nothing
        can end: it calls ``job.cancelled.is_set()`` from time to time, or ``job.cancelled.wait(seconds)`` instead of
        ``time.sleep(seconds)``, and ends itself by raising any exception. ``wait`` blocks, and is not for coroutines.
        """
        return attempt_of(self).cancelled

    def failed(self, err: str, at: int, traceback: str = "") -> None:
        """Count a failure in ``fails``, and keep its error text, time (epoch seconds) and traceback.

        U+FFFD replaces lone surrogates, which neither UTF-8 nor a Go pool can hold.
        """
        texts = {"err": codec.replace_surrogates(err), "traceback": codec.replace_surrogates(traceback)}
        # Another program may have written a negative number, which must not add attempts.
        self._fields = {**self._fields, "fails": max(0, self.fails) + 1, "failed_at": at, **texts}

    def payload(self) -> bytes:
        """Return the job's bytes with its failures as counted now. Every other value stays as it was written."""
        fails, err, failed_at, traceback = self.fails, self.err, self.failed_at, self.traceback
        changes = {
            "fails": b"%d" % fails if fails else None,
            "err": codec.encode_string(err) if err else None,
            "failed_at": b"%d" % failed_at if failed_at else None,
            "traceback": codec.encode_string(traceback) if traceback else None,
        }
        if self.expires is not None and self.expires != self._fields.get("expires"):
            # By its type. The next attempt is enqueued at another time, and has the same limit.
            changes["expires"] = b"%d" % self.expires
        try:
            return members.splice(self.raw, changes)
        except PayloadError:
            # The value of its unique key has replaced its bytes in progress, and is not a job.
            args = codec.encode_args(self.given_args)
            key = self.unique_key if self.unique else ""
            written = write_payload(self.name, self.id, self.enqueued_at, args, key, self.expires)
            if self.partition:
                written = with_tenant(written, self.partition)
            if type(cost := self._fields.get("cost")) is int:
                changes["cost"] = b"%d" % cost
            return members.splice(written, changes)

    def __repr__(self) -> str:
        return f"<Job {self.name} {self.id}>"
