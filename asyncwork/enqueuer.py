"""The API for programs that enqueue jobs by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ._jobs.clock import Clock, wall_clock
from ._jobs.ids import make_identifiers
from ._jobs.names import check_job_name
from ._redis.base_client import BaseClient
from ._redis.errors import REDIS_ERRORS
from ._redis.producer import Producer
from .errors import LATEST, EnqueueManyError, UsageError, check_delay
from .job import encode_job
from .models import EnqueuedJob

Args = Mapping[str, Any] | None

# Jobs and bytes in one round trip of a bulk enqueue. There is a limit because Redis is blocked meanwhile.
_MOST_JOBS = 1000
_MOST_BYTES = 1_000_000


class Enqueuer(BaseClient):
    """Enqueues jobs by name, including jobs that only other programs handle.

    Many tasks may use it at once, and several event loops, such as in threads. Each event loop has its own connection,
    which is opened on first use.

    :param url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``; ``None`` for
        the environment's ``ASYNCWORK_REDIS``, or ``redis://localhost:6379/0``.
    :param namespace: the prefix of every key; must be that of the pools that run the jobs. ``None`` for the
        environment's ``ASYNCWORK_NAMESPACE``, or ``work``.
    :raises UsageError: when the URL has another form, or a cluster would spread the keys of the namespace over slots.
    """

    def __init__(self, url: str | None = None, *, namespace: str | None = None, clock: Clock = wall_clock) -> None:
        super().__init__(url, namespace)
        self._producer = Producer(self._in_redis)
        self._clock = clock

    async def enqueue(self, name: str, args: Args = None) -> EnqueuedJob:
        """Enqueue a job to run as soon as a worker is free.

        :param args: its arguments by name, of types that JSON can hold.
        :raises UsageError: when the name is not a valid job name.
        :raises ArgumentsError: when JSON cannot hold the arguments; the message names the key.
        :raises RedisUnusable: when Redis refuses the job or cannot be reached. If the connection broke, the job may
            have been written.
        """
        job, payload = encode_job(check_job_name(name), _checked(args), int(self._clock()))
        with self._redis_errors(job):
            await self._producer.push(name, payload)
        return job

    async def enqueue_in(self, name: str, seconds: float, args: Args = None) -> EnqueuedJob:
        """Enqueue a job to run ``seconds`` from now, rounded up to a whole second.

        :raises UsageError: also when ``seconds`` is negative, NaN, infinite, or longer than 8000 years.
        :raises ArgumentsError, RedisUnusable: as :meth:`enqueue`.
        """
        return await self._schedule(name, self._after(seconds), args)

    async def enqueue_at(self, name: str, when: datetime | float, args: Args = None) -> EnqueuedJob:
        """Enqueue a job to run at a time: an aware ``datetime``, or epoch seconds. A time in the past means now.

        :raises UsageError: also when ``when`` is a naive ``datetime``, which has no time zone, or is beyond the year
            9999, as milliseconds are.
        :raises ArgumentsError, RedisUnusable: as :meth:`enqueue`.
        """
        return await self._schedule(name, epoch_second(when), args)

    async def enqueue_unique(self, name: str, args: Args = None) -> EnqueuedJob | None:
        """Enqueue a job unless a job with the same name and arguments is waiting; return ``None`` for such a duplicate.

        A job is unique until a worker starts it, and for 24 hours at most.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`enqueue`.
        """
        return await self._unique(name, args, None, None)

    async def enqueue_unique_in(self, name: str, seconds: float, args: Args = None) -> EnqueuedJob | None:
        """Enqueue a unique job to run ``seconds`` from now; return ``None`` for a duplicate.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`enqueue_in`.
        """
        return await self._unique(name, args, None, self._after(seconds))

    async def enqueue_unique_by_key(self, name: str, args: Args, key_map: Mapping[str, Any]) -> EnqueuedJob | None:
        """Enqueue a job unless a job with the same name and ``key_map`` is waiting.

        Return ``None`` for a duplicate. The waiting job will then run with these arguments instead of its own.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`enqueue`.
        """
        return await self._unique(name, args, key_map, None)

    async def enqueue_unique_in_by_key(
        self, name: str, seconds: float, args: Args, key_map: Mapping[str, Any]
    ) -> EnqueuedJob | None:
        """Enqueue a job unique by ``key_map`` to run ``seconds`` from now.

        Return ``None`` for a duplicate. The waiting job will then run with these arguments, but at its own time.

        :raises UsageError, ArgumentsError, RedisUnusable: as :meth:`enqueue_in`.
        """
        return await self._unique(name, args, key_map, self._after(seconds))

    async def enqueue_many(self, jobs: Iterable[tuple[str, Args]]) -> list[EnqueuedJob]:
        """Enqueue many jobs ``(name, arguments)`` in their order, thousands of them in a few round trips.

        All jobs are checked before the first is written.

        :raises UsageError, ArgumentsError: when a name or arguments are not valid. The message says which job; none is
            written.
        :raises EnqueueManyError: when Redis failed meanwhile. It holds the jobs that were written, may have been
            written and were not written.
        """
        now = int(self._clock())
        # Two lists instead of one list of pairs, because in bulk the garbage collector takes time for each pair.
        encoded: list[EnqueuedJob] = []
        payloads: list[bytes] = []
        names: set[str] = set()
        for index, ((name, args), job_id) in enumerate(zip(jobs, make_identifiers(), strict=False)):
            try:
                if type(name) is not str or name not in names:
                    names.add(check_job_name(name))
                job, payload = encode_job(name, _checked(args), now, job_id=job_id)
            except UsageError as error:
                raise type(error)(f"job {index}: {error}") from None
            encoded.append(job)
            payloads.append(payload)
        written: list[EnqueuedJob] = []
        refused: list[EnqueuedJob] = []
        refusal: BaseException | None = None
        for batch in _batches(payloads):
            sent = encoded[batch]
            try:
                errors = await self._producer.push_many([job.name for job in sent], payloads[batch])
            except REDIS_ERRORS as error:
                raise EnqueueManyError(written, sent, [*refused, *encoded[batch.stop :]], error) from error
            if not any(errors):
                written += sent
                continue
            for job, refused_by in zip(sent, errors, strict=True):
                refusal = refused_by or refusal
                (written if refused_by is None else refused).append(job)
        if refusal is not None:
            raise EnqueueManyError(written, [], refused, refusal) from refusal
        return written

    async def close(self) -> None:
        """Close the connections of this event loop. The enqueuer can be used again."""
        await self._producer.close()
        await super().close()

    def _after(self, seconds: float) -> int:
        return int(self._clock()) + math.ceil(check_delay(seconds))

    async def _schedule(self, name: str, run_at: int, args: Args) -> EnqueuedJob:
        job, payload = encode_job(check_job_name(name), _checked(args), int(self._clock()), run_at=run_at)
        with self._redis_errors(job):
            await self._producer.schedule(name, payload, run_at)
        return job

    async def _unique(
        self, name: str, args: Args, key_map: Mapping[str, Any] | None, run_at: int | None
    ) -> EnqueuedJob | None:
        check_job_name(name)
        key = self._producer.unique_key(name, _checked(args) if key_map is None else _checked(key_map, "key_map"))
        job, payload = encode_job(name, _checked(args), int(self._clock()), run_at=run_at, unique_key=key)
        with self._redis_errors(job):
            if run_at is None:
                new = await self._producer.push_unique(job, payload, key, by_key=key_map is not None)
            else:
                new = await self._producer.schedule_unique(job, payload, key, by_key=key_map is not None)
        return job if new else None


def epoch_second(when: datetime | float) -> int:
    """Return a time as a whole epoch second, a fraction rounded up.

    :raises UsageError: when it is a naive ``datetime``, negative, NaN, infinite, beyond the year 9999, or neither a
        ``datetime`` nor a number.
    """
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise UsageError(f"{when!r} has no time zone: pass datetime(…, tzinfo=UTC), or when.astimezone()")
        when = when.timestamp()
    if isinstance(when, bool) or not isinstance(when, (int, float)):
        raise UsageError(f"a time must be an aware datetime or epoch seconds, not {type(when).__name__}: {when!r}")
    # An integer may be too large for a float.
    if (isinstance(when, float) and not math.isfinite(when)) or when < 0:
        raise UsageError(f"a time must be finite epoch seconds, not {when!r}")
    if when > LATEST:
        raise UsageError(
            f"a time must be epoch seconds, and {when!r} of them are beyond the year 9999: are these milliseconds? "
            "Then divide by 1000"
        )
    return math.ceil(when)


def _checked(args: Args, what: str = "args") -> Args:
    if args is not None and type(args) is not dict and not isinstance(args, Mapping):
        raise UsageError(f"{what} must be a mapping of argument names to values, or None, not {type(args).__name__}")
    return args


def _batches(payloads: Sequence[bytes]) -> Iterator[slice]:
    """Yield which of the payloads are sent in each round trip."""
    start = size = 0
    for index, payload in enumerate(payloads):
        if index > start and (index - start >= _MOST_JOBS or size + len(payload) > _MOST_BYTES):
            yield slice(start, index)
            start, size = index, 0
        size += len(payload)
    if payloads:
        yield slice(start, len(payloads))
