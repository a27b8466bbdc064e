"""Makes the records of jobs whose type keeps results: how each has ended, and what its handler returned."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

from .._jobs.calling import Call
from .._jobs.conversions import Conversion
from .._jobs.error_text import describe_error
from .._jobs.mismatch import NotWritable, path_below
from .._json import codec
from .._redis.job_end import JobEnd
from ..job import Job
from ..models.job_status import JobState
from . import outcome
from .attempt_history import HISTORY_FOR, AttemptHistory

logger = logging.getLogger("asyncwork.job")

# Bytes of the JSON of a result.
RESULT_LIMIT = 1_048_576

_STATES = {state: state.value.encode() for state in JobState}
# On the hot path of jobs whose results are kept: the hash of a member of an enumeration is computed anew each time.
_DONE_STATE, _DONE = JobState.DONE, _STATES[JobState.DONE]


class ResultKeeper:
    """Keeps what the jobs of one type return.

    :param returns: how what its handler returns is written as JSON; ``None`` if only the end of each job is kept.
    :param seconds: for how long it is kept.
    :param stream_seconds: for how long their streams are kept; 0 if they have none.
    :param history: makes what is kept of each attempt; ``None`` if nothing is.
    """

    __slots__ = ("_history", "_returns", "_stream_seconds", "seconds")

    def __init__(
        self,
        returns: Conversion | None,
        seconds: int,
        stream_seconds: int = 0,
        history: AttemptHistory | None = None,
    ) -> None:
        self._returns = returns
        self.seconds = seconds
        self._stream_seconds = stream_seconds
        self._history = history

    @staticmethod
    def keeping(call: Call) -> Call:
        """Return a call that leaves what the handler returns with the job, whatever middlewares around it return."""

        async def run(context: Any, job: Job) -> object:
            result = await call(context, job)
            job._returned = result
            return result

        return run

    def done(self, payload: bytes, job: Job, started_at: float, now: float, crashes: int = 0) -> JobEnd:
        """Return the end of a job that succeeded. Times are epoch seconds."""
        attempt = _Attempt(payload, job, started_at, now, crashes)
        if self._returns is None:
            return self._end(JobState.DONE, attempt, "")
        try:
            value = getattr(job, "_returned", None)
            if self._returns.encode is not None:
                value = self._returns.encode(value)
            result = codec.encode_value(value)
            if len(result) <= RESULT_LIMIT:
                return self._end(JobState.DONE, attempt, "", b"result", result)
            problem = f"its JSON has {len(result)} bytes, and at most {RESULT_LIMIT} are kept"
        except NotWritable as error:
            problem = f"result{path_below(error)}: {error.reason}"
        except BaseException as error:  # a class of the application may raise anything
            problem = describe_error(error)
        label = {"job_name": job.name, "job_id": job.id}
        logger.warning("result of %s %s is not kept: %s", job.name, job.id, problem, extra=label)
        return self._end(JobState.DONE, attempt, "", b"problem", _utf8(problem))

    def end_of(
        self, decided: outcome.Outcome, payload: bytes, job: Job, started_at: float | None, now: float, crashes: int = 0
    ) -> JobEnd | None:
        """Return what the record of a job is to say after an attempt that did not succeed; ``None`` if nothing. Times
        are epoch seconds.

        :param started_at: ``None`` if the handler was not called.
        :param crashes: number of times that the job's process has died while it was running.
        """
        attempt = _Attempt(payload, job, started_at, now, crashes)
        match decided:
            case outcome.Dead():
                return self._failed(JobState.DEAD, attempt, job.err, is_counted=True)
            case outcome.Drop(reason, failed):
                return self._failed(JobState.DISCARDED, attempt, reason, is_counted=failed)
            case outcome.Cancelled(reason, failed=failed):
                return self._failed(JobState.CANCELLED, attempt, reason, is_counted=failed)
            case outcome.Expired():
                return self._failed(JobState.EXPIRED, attempt._replace(started_at=None), "")
            case outcome.RetryAt(at):
                return self._goes_on("failed", attempt, job.err, at)
            case outcome.RunAt(at):
                return self._goes_on("snoozed", attempt, "", at)
            case outcome.Rest(seconds):
                return self._goes_on("rate limited", attempt, "", now + seconds)
        return None

    def stopped(self, payload: bytes, started_at: float, now: float) -> JobEnd | None:
        """Return what the record of a job is to say of an attempt that a stop of its pool has cut off; ``None`` if
        nothing. Times are epoch seconds. The crashes before are left to the attempt after it, which knows them, too.
        """
        return self._goes_on("stopped", _Attempt(payload, Job.decode(payload), started_at, now), "", now)

    def quarantined(self, payload: bytes, reason: str, now: float) -> JobEnd:
        """Return the end of a job that is quarantined, because an attempt cannot be recorded."""
        return self._failed(JobState.QUARANTINED, _Attempt(payload, Job.decode(payload), now, now), reason)

    def _failed(self, state: JobState, attempt: _Attempt, reason: str, *, is_counted: bool = False) -> JobEnd:
        """Return the end of a job that did not succeed.

        :param is_counted: whether the attempt is among the failures that the job counts.
        """
        traceback = _utf8(attempt.job.traceback)
        more = (b"traceback", traceback) if state is JobState.DEAD else ()
        return self._end(state, attempt, reason, b"err", _utf8(reason), *more, is_counted=is_counted)

    def _end(self, state: JobState, attempt: _Attempt, error: str, *more: bytes, is_counted: bool = False) -> JobEnd:
        job, history, started_at = attempt.original(), self._history, attempt.started_at
        if history is not None:
            attempted = started_at, attempt.ended_at, error, attempt.crashes
            more += (*history.args(attempt.payload), *history.attempt(state.value, *attempted))
        return JobEnd(
            attempt.payload,
            job.id,
            self.seconds,
            more,
            _DONE if state is _DONE_STATE else _STATES[state],
            _utf8(job.name),
            attempt.job.fails + (started_at is not None and not is_counted),
            job.enqueued_at,
            started_at or 0.0,
            attempt.ended_at,
            self._stream_seconds,
            history is not None,
        )

    def _goes_on(self, word: str, attempt: _Attempt, error: str, at: float) -> JobEnd | None:
        """Return what is kept of an attempt after which the job runs again at a time, epoch seconds."""
        if self._history is None:
            return None
        started_at = attempt.ended_at if attempt.started_at is None else attempt.started_at
        fields = self._history.attempt(word, started_at, attempt.ended_at, error, attempt.crashes)
        # Until the next attempt has ended, if the job does not wait for too long until it starts.
        seconds = max(self.seconds, math.ceil(at - attempt.ended_at) + HISTORY_FOR)
        return JobEnd(attempt.payload, attempt.original().id, seconds, fields)


class _Attempt(NamedTuple):
    """An attempt that has ended. Times are epoch seconds.

    :ivar started_at: ``None`` if the job has ended before its handler was called.
    """

    payload: bytes
    job: Job
    started_at: float | None
    ended_at: float
    crashes: int = 0

    def original(self) -> Job:
        """Return a job whose name, id and time are those that were enqueued."""
        job = self.job
        if type(job.name) is str and type(job.id) is str and type(job.enqueued_at) is int:
            return job
        # The handler has replaced them.
        return Job.decode(self.payload)


def _utf8(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
