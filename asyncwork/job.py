"""One job: how its bytes are made and read.

The layout is gocraft/work's: ``name, id, t, args`` always, then ``unique, unique_key, fails, err, failed_at`` where
they are not empty. A payload that exists is never encoded anew: fields are spliced into its bytes, so that every
other value stays as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, overload

from ._jobs.argument_types import MISSING, take_argument
from ._jobs.clock import wall_clock
from ._jobs.ids import make_identifier
from ._json import codec, members
from .errors import PayloadError
from .models import EnqueuedJob

T = TypeVar("T")
D = TypeVar("D")


class Job:
    """A job as its handler sees it.

    :ivar name: the job's name.
    :ivar id: its id; 24 hex digits unless another program chose otherwise.
    :ivar args: its arguments by name; empty when it has none.
    :ivar enqueued_at: when it was put on its queue, epoch seconds.
    :ivar unique: whether it holds a unique key until it starts.
    :ivar raw: the payload's bytes as they were taken from Redis.
    :ivar checked_in: the newest check-in, its text and epoch second, or ``None``.
    """

    # What a worker reads of every job is an attribute: a property costs several times as much.
    __slots__ = ("_fields", "args", "checked_in", "enqueued_at", "id", "name", "raw", "unique")

    def __init__(self, raw: bytes, fields: dict[str, Any]) -> None:
        self.raw = raw
        self._fields = fields
        self.checked_in: tuple[str, int] | None = None
        self.name: str = fields["name"]
        self.id: str = fields["id"]
        self.args: dict[str, Any] = fields["args"] or {}
        self.enqueued_at: int = fields["t"]
        self.unique: bool = fields.get("unique") is True

    @classmethod
    def decode(cls, raw: bytes) -> Job:
        """Read a payload.

        :raises PayloadError: when it is not a job as gocraft/work would take it; the message says why.
        """
        fields = codec.decode_job(raw)
        try:
            if (
                type(fields["name"]) is str
                and type(fields["id"]) is str
                and type(fields["t"]) is int
                and type(fields["args"]) in _ARGS_TYPES
                and len(fields) == 4
            ):
                return cls(raw, fields)
        except KeyError:
            pass
        if not _KNOWN_FIELDS.issuperset(fields) and any(members.field_name(name) != name for name in fields):
            fields = {name: codec.decode(value) for name, value in members.fields(raw).items()}
        _check_fields(fields)
        return cls(raw, fields)

    @property
    def given_args(self) -> dict[str, Any] | None:
        """The arguments as they were given: ``None`` where there were none, which is not the same as empty ones."""
        return self._fields["args"]  # type: ignore[no-any-return]

    @property
    def unique_key(self) -> str:
        """The Redis key that keeps the job unique, or empty when its payload does not say."""
        return self._fields.get("unique_key") or ""

    @property
    def fails(self) -> int:
        """How many attempts have failed so far."""
        return self._fields.get("fails") or 0

    @property
    def err(self) -> str:
        """The text of the newest failure, or empty."""
        return self._fields.get("err") or ""

    @property
    def failed_at(self) -> int:
        """When the newest attempt failed, epoch seconds, or 0."""
        return self._fields.get("failed_at") or 0

    @property
    def traceback(self) -> str:
        """The end of the newest failure's traceback, or empty; Go pools keep none."""
        traceback = self._fields.get("traceback")
        return traceback if isinstance(traceback, str) else ""

    @overload
    def arg(self, key: str) -> Any: ...
    @overload
    def arg(self, key: str, wanted: type[T]) -> T: ...
    @overload
    def arg(self, key: str, wanted: type[T], default: D) -> T | D: ...
    def arg(self, key: str, wanted: Any = Any, default: Any = MISSING) -> Any:
        """Return one argument, checked and converted.

        Conversions are gocraft/work's: an integral float up to 2^53 is an int, an int is a float.

        :param wanted: ``str``, ``int``, ``float``, ``bool``, ``list``, ``dict``, or a generic or union of these.
        :param default: returned when there is no such argument.
        :raises JobArgumentError: when it is missing and there is no default, or is of another type.
        """
        return take_argument(self.args, key, wanted, default)

    def checkin(self, text: object) -> None:
        """Tell where the job is, such as "row 10,000 of 1,000,000"; shown beside the running job.

        Cheap: it is written to Redis at most once a second. May be called from a thread. U+FFFD stands for a lone
        surrogate, which UTF-8 cannot hold.
        """
        # A plain text: what a subclass of str makes of its methods is no business of those who write it.
        self.checked_in = (str.__str__(str(text)), int(wall_clock()))

    def failed(self, err: str, at: int, traceback: str = "") -> None:
        """Count a failure: one more in ``fails``, and the newest ``err`` and ``failed_at`` (epoch seconds).

        U+FFFD stands for each lone surrogate, which neither UTF-8 nor a Go pool could hold.
        """
        texts = {"err": codec.replace_surrogates(err), "traceback": codec.replace_surrogates(traceback)}
        # Less than none is what somebody else has written, and no reason to try longer.
        self._fields = {**self._fields, "fails": max(0, self.fails) + 1, "failed_at": at, **texts}

    def payload(self) -> bytes:
        """Return the job's bytes with its failures as they are counted now and every other value as it came."""
        fails, err, failed_at, traceback = self.fails, self.err, self.failed_at, self.traceback
        changes = {
            "fails": b"%d" % fails if fails else None,
            "err": codec.encode_string(err) if err else None,
            "failed_at": b"%d" % failed_at if failed_at else None,
            "traceback": codec.encode_string(traceback) if traceback else None,
        }
        try:
            return members.splice(self.raw, changes)
        except PayloadError:
            # What its unique key held has taken the place of its bytes, and is no job: Redis has that one in progress.
            args = codec.encode_args(self.given_args)
            key = self.unique_key if self.unique else ""
            return members.splice(write_payload(self.name, self.id, self.enqueued_at, args, key), changes)

    def __repr__(self) -> str:
        return f"<Job {self.name} {self.id}>"


_ARGS_TYPES = (dict, type(None))
_FIELD_TYPES: dict[str, type] = {
    "name": str,
    "id": str,
    "t": int,
    "unique": bool,
    "unique_key": str,
    "fails": int,
    "err": str,
    "failed_at": int,
}
_KNOWN_FIELDS = frozenset({*_FIELD_TYPES, "args", "traceback"})
_ZEROES: dict[str, Any] = {"name": "", "id": "", "t": 0, "args": None}


def _check_fields(fields: dict[str, Any]) -> None:
    """Refuse what gocraft/work refuses, and fill in what it takes as empty: absent and null fields."""
    for name, kind in _FIELD_TYPES.items():
        value = fields.get(name)
        if value is not None and type(value) is not kind:
            raise PayloadError(f'not a job: "{name}" must be {kind.__name__}, found {type(value).__name__}')
    args = fields.get("args")
    if type(args) not in _ARGS_TYPES:
        raise PayloadError(f'not a job: "args" must be an object or null, found {type(args).__name__}')
    for name, zero in _ZEROES.items():
        if fields.get(name) is None:
            fields[name] = zero


def encode_job(
    name: str,
    args: Mapping[str, Any] | None,
    now: int,
    *,
    job_id: str = "",
    run_at: int | None = None,
    unique_key: str = "",
) -> tuple[EnqueuedJob, bytes]:
    """Return a new job and its payload.

    :param now: epoch seconds.
    :param job_id: its id; a new one without.
    :param run_at: epoch seconds, for a job that is to wait; ``now`` without.
    :param unique_key: the Redis key that keeps it unique; empty for a job that is not.
    :raises ArgumentsError: when JSON cannot hold the arguments; the message names the key.
    """
    job_id = job_id or make_identifier()
    job = EnqueuedJob(name, job_id, args, now, now if run_at is None else run_at, bool(unique_key))
    return job, write_payload(name, job_id, now, codec.encode_args(args), unique_key)


def write_payload(name: str, job_id: str, t: int, args: bytes, unique_key: str = "") -> bytes:
    """Return a job's payload in gocraft/work's field order; ``args`` is JSON already."""
    unique = b',"unique":true,"unique_key":%b' % codec.encode_string(unique_key) if unique_key else b""
    written_id = codec.encode_string(job_id)
    return b'{"name":%b,"id":%b,"t":%d,"args":%b%b}' % (_written_name(name), written_id, t, args, unique)


_written_name = lru_cache(maxsize=1024)(codec.encode_string)


# A payload in gocraft/work's own field order, up to where `t` ends.
_T = re.compile(rb'(\{"name":"[^"\\]*","id":"[^"\\]*","t":)\d+(?=,)')
# What a failure adds to one. The last brace is the object's own, so these are its members, not those of an argument.
_FAILURE = re.compile(
    rb',"fails":\d+,"err":"(?:[^"\\]|\\.)*","failed_at":\d+(?:,"traceback":"(?:[^"\\]|\\.)*")?\}', re.DOTALL
)


def with_time(payload: bytes, now: int) -> bytes:
    """Return a job's payload with ``t`` (epoch seconds) as the time it is put on its queue, all else byte for byte."""
    head = _T.match(payload)
    if head is None:
        return members.splice(payload, {"t": b"%d" % now})
    return b"%b%d%b" % (head[1], now, payload[head.end() :])


def without_failures(payload: bytes, now: int) -> bytes:
    """Return a job's payload as if it had never failed, put on its queue ``now`` (epoch seconds)."""
    start = payload.rfind(b',"fails":')
    if start > 0 and payload.count(b'"fails":') == 1 and _FAILURE.fullmatch(payload, start) and _T.match(payload):
        return with_time(payload[:start] + b"}", now)
    gone = dict.fromkeys(("fails", "err", "failed_at", "traceback"))
    return members.splice(payload, {**gone, "t": b"%d" % now})
