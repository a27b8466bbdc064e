"""The records of steps, for programs that do not run the jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from .._jobs.payload import with_time
from .._jobs.step_fields import CURSOR, EVENT, SLEEP, STEP, WAIT, field_of, read
from .._jobs.step_names import EARLY_LIMIT, KEPT_FOR, MOST_EARLY
from .._json import codec
from ..errors import PayloadError
from ..job import Job
from ..models.job_steps import JobStep
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .fair_queues import FairQueues
from .namespace import Namespace
from .protocol import encode
from .slices import slices

# Records that one command reads or changes.
_SLICE = 500


class Sent(NamedTuple):
    """The reply to an event that was sent.

    :ivar state: 1 if it was recorded; 0 if there is one; -1 if the job has moved; -2 if it was deleted; -3 if it has
        too many events that it has not waited for, and -4 if they are too long.
    :ivar value: of the field of the event.
    """

    state: int
    value: bytes


class StepRecords:
    """The records of steps in one namespace. Every method raises RedisError or OSError when Redis refuses or cannot be
    reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._fair = FairQueues(namespace)

    async def fields(self, job_id: str) -> Mapping[bytes, bytes]:
        """Return the fields of a job's record; none if it has no record, or the key holds another type."""
        try:
            found: Mapping[bytes, bytes] = await self._redis.client().hgetall(encode(self._keys.steps(job_id)))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return {}
        return found

    async def deferred_payload(self, job_id: str) -> bytes | None:
        """Return the payload with which a job last waited, empty if it never has; ``None`` if it has no record."""
        key = encode(self._keys.steps(job_id))
        try:
            async with self._redis.client().pipeline(transaction=False) as pipe:
                pipe.exists(key)
                pipe.hget(key, "payload")
                exists, payload = await pipe.execute()
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return None
        return (payload or b"") if exists else None

    async def send(
        self, job_id: str, event: str, value: bytes, payload: bytes, found_in: str = "", *, is_list: bool = False
    ) -> Sent:
        """Record an event, and have the job run if it waits for that.

        :param value: as JSON.
        :param payload: that of the job, or the one with which it last waited.
        :param found_in: the key where a job without a record was found.
        :param is_list: whether that is a list.
        """
        fair: list[tuple[str, ...]] = []
        try:
            name = Job.decode(payload).name
            queue, renewed = self._keys.queue(name), with_time(payload, await self._now())
            fair = await self._fair.keys_of([name])
        except PayloadError:
            # It has never waited, so it is moved nowhere.
            queue, renewed = self._keys.queue(""), b""
        keys = [self._keys.steps(job_id), self._keys.scheduled, queue, *([found_in] if found_in else [])]
        kind = "list" if is_list else "zset"
        args = [field_of(EVENT, event), value, KEPT_FOR, payload, renewed, kind, MOST_EARLY, EARLY_LIMIT]
        state, found = await run_script(self._redis.client(), "signal", map(encode, keys), args, fair=fair)
        return Sent(state, found)

    async def _now(self) -> int:
        return int(await self._redis.now())

    async def expire(self, job_ids: Sequence[str], seconds: int, *, gone: bool = True) -> int:
        """Have the records of jobs expire; return how many there were.

        :param seconds: when; 0 for now.
        :param gone: whether the jobs are gone, so that no event can be sent to them.
        """
        found = 0
        for some in slices(job_ids, _SLICE):
            keys = [encode(self._keys.steps(each)) for each in some]
            found += int(await run_script(self._redis.client(), "expire_steps", keys, [seconds, int(gone)]))
        return found


def steps_in(fields: Mapping[bytes, bytes], now: float, *, hidden: bool = False) -> tuple[JobStep, ...]:
    """Return the steps of a record, in the order in which they began.

    :param now: by Redis's clock, epoch seconds.
    :param hidden: whether the values are left out.
    """
    found = sorted(_steps(fields, now), key=lambda step: (step.started_at or step.ended_at, step.name))
    return tuple(JobStep(*_without_value(step)) for step in found) if hidden else tuple(found)


def _without_value(step: JobStep) -> tuple[str, str, str, float, float, int]:
    return step.name, step.kind, step.state, step.started_at, step.ended_at, step.until


def _steps(fields: Mapping[bytes, bytes], now: float) -> Iterator[JobStep]:
    texts = {name.decode(errors="replace"): value for name, value in fields.items()}
    for field, raw in texts.items():
        kind, _, name = field.partition(":")
        if kind + ":" in (STEP, SLEEP, CURSOR, WAIT) or (kind + ":" == EVENT and WAIT + name not in texts):
            try:
                yield _step(kind + ":", name, raw, texts.get(EVENT + name), now)
            except (PayloadError, IndexError, TypeError, ValueError, OverflowError):
                yield JobStep(name, "event" if kind + ":" == WAIT else kind, "unreadable")


def _step(kind: str, name: str, raw: bytes, event: bytes | None, now: float) -> JobStep:
    values = read(raw)
    at = _time(values[0])
    if kind == STEP:
        return JobStep(name, "step", "done", at, _time(values[1]), value=_text(values[2]))
    if kind == SLEEP:
        until = int(_time(values[1]))
        return JobStep(name, "sleep", "done" if until <= now else "waits", at, until if until <= now else 0.0, until)
    if kind == CURSOR:
        return JobStep(name, "cursor", "done" if len(values) > 2 else "moves", at, at, value=_text(values[1]))
    if kind == EVENT:
        return JobStep(name, "event", "early", 0.0, at, value=_text(values[1]))
    until = int(_time(values[1]))
    if event is None:
        return JobStep(name, "event", "waits", at, 0.0, until)
    came = read(event)
    is_late = len(came) < 2
    value = "" if is_late else _text(came[1])
    return JobStep(name, "event", "late" if is_late else "done", at, _time(came[0]), until, value)


def _time(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError(value)
    return float(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    return codec.encode_value(value).decode(errors="replace")
