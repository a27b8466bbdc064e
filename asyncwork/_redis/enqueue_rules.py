"""The scripts that enqueue a job by a rule of `asyncwork.unique`, and what their replies mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

from .._jobs.times import LATEST
from ..errors import UniqueConflictError
from ..models.enqueued_job import DuplicateJob, EnqueuedJob, ReplacingJob
from ..unique import Debounce, Throttle, Unique
from . import scripts
from .keys import Keys
from .protocol import encode, pack

# The replies of the scripts: nothing was done, the job was enqueued, or the arguments of the job that waits were
# exchanged.
_REFUSED, _ENQUEUED, _EXCHANGED, _SUCCEEDS = range(4)
# The score at which a successor waits in the scheduled set. No job can be scheduled for later.
SUCCESSOR_AT = LATEST
# Seconds for which the key of a burst is kept after its job was due. The job may start late, if no pool runs.
_BURST_KEPT = 86_400


class _Parts(NamedTuple):
    """A payload in three parts, so that a script can give a job the id of the one that it replaces."""

    before: bytes
    job_id: bytes
    after: bytes

    @classmethod
    def of(cls, payload: bytes, job_id: str) -> _Parts:
        # A name cannot have these bytes, because JSON escapes its quotes.
        start = payload.index(b'"id":"') + 6
        raw_id = encode(job_id)
        return cls(payload[:start], raw_id, payload[start + len(raw_id) :])


def request(
    keys: Keys,
    job: EnqueuedJob,
    payload: bytes,
    rule: Unique | Debounce | Throttle,
    digest: str,
    run_at: int | None,
    *,
    front: bool,
    limit: int | None,
    fair: bool,
) -> bytes:
    """Return the command that enqueues a job by a rule.

    :param digest: of the values by which the rule distinguishes jobs.
    :param run_at: when it is due, epoch seconds; ``None`` for now.
    :param limit: how many jobs may wait in its queue if no limit was set at run time; ``None`` if it can have none.
    :param fair: whether its queue may be fair.
    """
    tenants = pack(*map(encode, keys.tenants.of(job.name))) if fair else b""
    parts, queue, scheduled = _Parts.of(payload, job.id), encode(keys.queue(job.name)), encode(keys.scheduled)
    in_front = b"%d" % front
    more_keys = [encode(keys.duplicates)] if limit is None else [encode(keys.duplicates), encode(keys.max_waiting)]
    more_args = [encode(job.name)] if limit is None else [encode(job.name), b"%d" % limit]
    if isinstance(rule, Debounce):
        most = b"0" if rule.max_wait is None else _number(rule.max_wait)
        args = [*parts, _number(rule.wait), most, b"%d" % _BURST_KEPT, encode(job.name)]
        packed_keys = pack(encode(keys.debounce(job.name, digest)), scheduled, encode(keys.duplicates))
        return scripts.call("debounce", 3, packed_keys, args)
    if isinstance(rule, Throttle):
        args = [*parts, _number(rule.per), b"%d" % rule.trailing, in_front]
        script_keys = [encode(keys.throttle(job.name, digest)), queue, scheduled, *more_keys]
        return scripts.call("throttle", len(script_keys), pack(*script_keys), args + more_args, fair=tenants)
    due = b"" if run_at is None else b"%d" % run_at
    args = [*parts, rule.until.encode(), due, in_front, rule.conflict.encode(), b"%d" % SUCCESSOR_AT]
    script_keys = [encode(keys.hold(job.name, digest)), queue, scheduled, *more_keys]
    return scripts.call("enqueue_holder", len(script_keys), pack(*script_keys), args + more_args, fair=tenants)


def read_reply(job: EnqueuedJob, rule: Unique | Debounce | Throttle, reply: Any) -> EnqueuedJob:
    """Return what the caller gets to know of a job that was enqueued by a rule.

    :raises UniqueConflictError: when another job holds its key, and the rule says so.
    """
    what, raw_id, *due = reply
    holder = raw_id.decode(errors="replace")
    run_at = int(due[0]) if due else job.run_at
    if what == _REFUSED and isinstance(rule, Unique) and rule.conflict == "raise":
        raise conflict(job, holder)
    if what == _REFUSED:
        return duplicate(job, holder, run_at=run_at)
    if what == _EXCHANGED:
        return duplicate(job, holder, run_at=run_at, replaced=True)
    return EnqueuedJob(job.name, job.id, job.args, job.enqueued_at, run_at, job.unique)


def duplicate(job: EnqueuedJob, holder: str, *, run_at: int | None = None, replaced: bool = False) -> EnqueuedJob:
    """Return a job that was not enqueued.

    :param holder: the id of the job that keeps it out.
    :param run_at: when that is due, epoch seconds; ``None`` for when the other would have been.
    :param replaced: whether that runs with these arguments now.
    """
    kind = ReplacingJob if replaced else DuplicateJob
    at = job.run_at if run_at is None else run_at
    return kind(job.name, holder, job.args, job.enqueued_at, at, unique=True)


def conflict(job: EnqueuedJob, holder: str) -> UniqueConflictError:
    """Return the error for a job that was not enqueued.

    :param holder: the id of the job that keeps it out; empty if that is unknown.
    """
    which = f"job {holder}" if holder else "a job that another program has enqueued"
    return UniqueConflictError(f"the {job.name!r} job was not enqueued: {which} holds its key", job.name, holder)


def _number(seconds: float | timedelta) -> bytes:
    # The rules have made numbers of theirs.
    assert not isinstance(seconds, timedelta)
    return b"%.6f" % seconds
