"""Makes the records of jobs whose type keeps results: how each has ended, and what its handler returned."""

from __future__ import annotations

import logging
from typing import Any

from .._jobs.calling import Call
from .._jobs.conversions import Conversion
from .._jobs.error_text import describe_error
from .._json import codec
from .._redis.commands import JobEnd
from ..job import Job
from ..models import JobState
from . import outcome

logger = logging.getLogger("asyncwork.job")

# Bytes of the JSON of a result.
RESULT_LIMIT = 1_048_576

_NO_RESULTS = b"its type keeps no results: register it with @pool.job(result=SECONDS)"


class ResultKeeper:
    """Keeps what the jobs of one type return.

    :param returns: how what its handler returns is written as JSON; ``None`` if only the end of each job is kept.
    :param seconds: for how long it is kept.
    :param stream_seconds: for how long their streams are kept; 0 if they have none.
    """

    __slots__ = ("_returns", "_stream_seconds", "seconds")

    def __init__(self, returns: Conversion | None, seconds: int, stream_seconds: int = 0) -> None:
        self._returns = returns
        self.seconds = seconds
        self._stream_seconds = stream_seconds

    @staticmethod
    def keeping(call: Call) -> Call:
        """Return a call that leaves what the handler returns with the job, whatever middlewares around it return."""

        async def run(context: Any, job: Job) -> object:
            result = await call(context, job)
            job._returned = result
            return result

        return run

    def done(self, payload: bytes, job: Job, started_at: float, now: float) -> JobEnd:
        """Return the end of a job that succeeded. Times are epoch seconds."""
        if self._returns is None:
            return self._end(JobState.DONE, payload, job, started_at, now, b"problem", _NO_RESULTS)
        try:
            value = getattr(job, "_returned", None)
            if self._returns.encode is not None:
                value = self._returns.encode(value)
            result = codec.encode_value(value)
            if len(result) <= RESULT_LIMIT:
                return self._end(JobState.DONE, payload, job, started_at, now, b"result", result)
            problem = f"its JSON has {len(result)} bytes, and at most {RESULT_LIMIT} are kept"
        except BaseException as error:  # a class of the application may raise anything
            problem = describe_error(error)
        label = {"job_name": job.name, "job_id": job.id}
        logger.warning("result of %s %s is not kept: %s", job.name, job.id, problem, extra=label)
        return self._end(JobState.DONE, payload, job, started_at, now, b"problem", _utf8(problem))

    def end_of(
        self, decided: outcome.Outcome, payload: bytes, job: Job, started_at: float, now: float
    ) -> JobEnd | None:
        """Return the end of a job after an attempt; ``None`` if it will run again. Times are epoch seconds."""
        match decided:
            case outcome.Done():
                return self.done(payload, job, started_at, now)
            case outcome.Dead():
                return self.failed(JobState.DEAD, payload, job, job.err, started_at, now)
            case outcome.Drop(reason):
                return self.failed(JobState.DISCARDED, payload, job, reason, started_at, now)
            case outcome.Cancelled(reason):
                return self.failed(JobState.CANCELLED, payload, job, reason, started_at, now)
            case outcome.Expired():
                return self.failed(JobState.EXPIRED, payload, job, "", started_at, now)
        return None

    def failed(self, state: JobState, payload: bytes, job: Job, reason: str, started_at: float, now: float) -> JobEnd:
        """Return the end of a job that did not succeed. Times are epoch seconds."""
        traceback = _utf8(job.traceback)
        more = (b"traceback", traceback) if state is JobState.DEAD else ()
        return self._end(state, payload, job, started_at, now, b"err", _utf8(reason), *more)

    def _end(self, state: JobState, payload: bytes, job: Job, started_at: float, now: float, *more: bytes) -> JobEnd:
        name, job_id, enqueued_at = job.name, job.id, job.enqueued_at
        if not (type(name) is str and type(job_id) is str and type(enqueued_at) is int):
            # The handler has replaced them.
            job = Job.decode(payload)
            name, job_id, enqueued_at = job.name, job.id, job.enqueued_at
        attempts = job.fails if state is JobState.DEAD else job.fails + 1
        fields = [b"state", state.value.encode(), b"name", _utf8(name), b"attempts", b"%d" % attempts]
        fields += (b"enqueued_at", b"%d" % enqueued_at, b"started_at", b"%.6f" % started_at, b"ended_at", b"%.6f" % now)
        return JobEnd(payload, job_id, self.seconds, [*fields, *more], self._stream_seconds)


def _utf8(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
