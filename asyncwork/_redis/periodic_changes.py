"""The changes that were made to periodic jobs at run time: pauses, edits, and jobs that no code registers.

A change is one field of a hash, by the key of the periodic job. The scripts that plan and requeue instances read it in
the same step, so that no instance of a paused job is enqueued, and none is planned by a definition that was replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from .._jobs.names import check_job_name, is_utf8
from .._jobs.periodic_job import InstanceParts, PeriodicJob
from .._json import codec, members
from ..errors import PayloadError, UsageError
from ..schedule import Schedule
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode, encode

# How a change begins; requeue.lua reads no more of it.
PAUSED, _NOT_PAUSED = b'{"paused":true,', b'{"paused":false,'
# Seconds whose instances one call of the script deletes at most; keeps each call below a few milliseconds.
_STEP = 2000
# How long instances that are due may wait to be requeued, seconds, so that a pause or removal finds them as well.
_OVERDUE = 600


@dataclass(frozen=True, slots=True)
class PeriodicChange:
    """The changes of one periodic job.

    :ivar paused: whether it fires no more until it is unpaused.
    :ivar name: the name of a job that was added at run time; empty for a job that the code registers.
    :ivar schedule: the schedule of an added job, or instead of the code's; ``None`` for the code's.
    :ivar args: the arguments of an added job, or instead of the code's, as JSON; ``None`` for the code's.
    :ivar who: the user who made the last change; empty if that was not given.
    :ivar at: when, epoch seconds; 0 if that is unknown.
    :ivar malformed: whether only its beginning could be read, which pauses the job.
    """

    paused: bool = False
    name: str = ""
    schedule: Schedule | None = None
    args: bytes | None = field(default=None, repr=False)
    who: str = ""
    at: int = 0
    malformed: bool = False

    @property
    def added(self) -> bool:
        """Whether the job was added at run time."""
        return bool(self.name)

    @property
    def edited(self) -> bool:
        """Whether it overrides what the code says."""
        return not self.name and (self.schedule is not None or self.args is not None)

    def applied_to(self, job: PeriodicJob) -> PeriodicJob:
        """Return a periodic job of the code as it was edited."""
        return job.edited(self.schedule, self.args) if self.edited else job

    def new_job(self, key: str) -> PeriodicJob | None:
        """Return the job that was added; ``None`` if the change is one of a job that the code registers."""
        if not self.name or self.schedule is None:
            return None
        return PeriodicJob(self.name, self.schedule, self.args or b"null", key)

    def encode(self) -> bytes:
        """Return it as JSON; the first member is ``paused``."""
        parts = [b'"paused":%b' % (b"true" if self.paused else b"false")]
        if self.name:
            parts.append(b'"name":%b' % codec.encode_string(self.name))
        if self.schedule is not None:
            parts.append(b'"spec":%b' % codec.encode_string(self.schedule.spec))
        if self.args is not None:
            parts.append(b'"args":%b' % self.args)
        parts += (b'"by":%b' % codec.encode_string(self.who), b'"at":%d' % self.at)
        return b"{%b}" % b",".join(parts)

    @classmethod
    def decode(cls, raw: bytes) -> PeriodicChange | None:
        """Return a change; ``None`` when it cannot be read."""
        return _decode(raw)


# Pools read all changes every two seconds, and parsing a spec takes its time.
@lru_cache(maxsize=1024)
def _decode(raw: bytes) -> PeriodicChange | None:
    if not raw.startswith((PAUSED, _NOT_PAUSED)):
        return None
    paused = raw.startswith(PAUSED)
    try:
        found, raws = codec.decode(raw), members.fields(raw)
        name, spec, args = found.get("name"), found.get("spec"), found.get("args")
        schedule = None if spec is None else Schedule.parse(spec)
        if name is not None:
            check_job_name(name)
        if not (args is None or isinstance(args, dict)) or (name is not None and schedule is None):
            raise PayloadError("the arguments are no object, or an added job has no spec")
    except (PayloadError, UsageError):
        return PeriodicChange(paused, malformed=True) if paused else None
    who, at = found.get("by"), found.get("at")
    return PeriodicChange(
        paused,
        name or "",
        schedule,
        raws.get("args"),
        who if isinstance(who, str) else "",
        at if type(at) is int and 0 <= at < 2**53 else 0,
    )


@dataclass(frozen=True, slots=True)
class ChangesReading:
    """The changes in a namespace.

    :ivar raw: all fields of the hash, as they are in Redis, by the key of the periodic job.
    :ivar changes: those that can be read.
    :ivar wrong_type: whether the key of the hash holds another type.
    """

    raw: Mapping[str, bytes] = field(default_factory=dict)
    changes: Mapping[str, PeriodicChange] = field(default_factory=dict)
    wrong_type: bool = False

    @property
    def malformed(self) -> list[str]:
        """The keys whose change cannot be read, sorted."""
        return sorted(key for key in self.raw if (each := self.changes.get(key)) is None or each.malformed)


class ChangeReply(IntEnum):
    """The result of a change."""

    CONFLICT = -1
    UNFINISHED = 0
    WRITTEN = 1


class PeriodicChanges:
    """The changes of one namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def read(self) -> ChangesReading:
        """Return all changes; none when the key holds another type."""
        try:
            found = await self._redis.client().hgetall(self._keys.periodic_changes)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return ChangesReading(wrong_type=True)
        # An empty value is none to the scripts, too.
        raw = {decode(key): value for key, value in found.items() if value}
        # No periodic job has a key that is not UTF-8.
        decoded = {key: PeriodicChange.decode(value) for key, value in raw.items() if is_utf8(key)}
        return ChangesReading(raw, {key: each for key, each in decoded.items() if each is not None})

    async def added(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that are of jobs which were added at run time."""
        try:
            found = await self._redis.client().hmget(self._keys.periodic_changes, list(map(encode, keys)))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return set()
        changes = ((key, PeriodicChange.decode(raw)) for key, raw in zip(keys, found, strict=True) if raw is not None)
        return {key for key, change in changes if change is not None and change.added}

    async def write(
        self, key: str, before: bytes, after: bytes, planned: InstanceParts | None, *, overdue: bool
    ) -> bool:
        """Replace a change, and delete the planned instances of the periodic job in the same step.

        :param before: the change as it was read; empty for none.
        :param after: the change to write; empty for none.
        :param planned: the payload of the instances as they were planned until now; ``None`` when it is unknown, so
            that no instance is deleted.
        :param overdue: whether instances that are due and not on their queue yet are deleted as well.
        :returns: whether it was written; it is not when the change is no longer the one that was read.
        """
        keys = [self._keys.scheduled, self._keys.periodic, self._keys.periodic_changes]
        parts = planned or (b"", b"", b"")
        args = [encode(key), before, after, *parts, _OVERDUE if overdue else 0, _STEP]
        while True:
            reply = ChangeReply(await run_script(self._redis.client(), "change_periodic", keys, args))
            if reply is not ChangeReply.UNFINISHED:
                return reply is ChangeReply.WRITTEN
