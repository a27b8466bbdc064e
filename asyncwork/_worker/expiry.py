"""Expiry: a job that has not started in time is not run.

A job has a time limit if its payload holds one, or if its type has the option ``expires``. Only the calls of such jobs
are wrapped, so all other jobs pay nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from .._jobs.calling import Call
from .._jobs.periodic_job import firing_of
from .._jobs.times import seconds_of
from ..job import Job
from ..options import JobOptions
from .job_type import JobType
from .outcome import ExpiredError


class RedisClock:
    """The clock of Redis, estimated from the last heartbeat without asking Redis. All pools agree on it, even if the
    clock of their host is wrong. The heartbeat's thread sets it; the event loop reads it.
    """

    def __init__(self) -> None:
        # Added to the monotonic clock, because the wall clock may be set. The host's clock will do until the first
        # heartbeat.
        self._offset = time.time() - time.monotonic()
        self._set_at = time.monotonic()

    @property
    def age(self) -> float:
        """How long ago Redis replied to a heartbeat, seconds."""
        return time.monotonic() - self._set_at

    def now(self) -> float:
        """Return the time, epoch seconds."""
        return time.monotonic() + self._offset

    def set(self, now: float) -> None:
        """Set it to the time in a reply of Redis, epoch seconds, that has just come.

        The clock is late by the time that the reply took, so that no job expires too early.
        """
        self._set_at = time.monotonic()
        self._offset = now - self._set_at


class Expiry:
    """Keeps jobs from starting after their time.

    :param now: returns the time by Redis's clock, epoch seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def wrap(self, call: Call) -> Call:
        """Return what runs a job unless it has expired, by the time limit in its payload."""

        def run(context: Any, job: Job) -> Awaitable[object]:
            self._check(job)
            return call(context, job)

        return run

    def with_limits(self, job_types: Mapping[str, JobType]) -> dict[str, JobType]:
        """Return job types that run no job which has expired."""
        seconds = times_to_start({name: each.options for name, each in job_types.items()})
        return {
            name: replace(
                each, limit=self.wrap, call=self._limit(each.call, seconds[name]) if name in seconds else each.call
            )
            for name, each in job_types.items()
        }

    def _limit(self, call: Call, seconds: float) -> Call:
        def run(context: Any, job: Job) -> Awaitable[object]:
            if job.expires is None:
                # Kept in the job, so that a retry has the limit of the first attempt.
                job.expires = _limit_of(job, seconds)
                self._check(job)
            return call(context, job)

        return run

    def _check(self, job: Job) -> None:
        if job.expires is not None and self._now() > job.expires:
            raise ExpiredError(job.expires)


def times_to_start(options: Mapping[str, JobOptions]) -> dict[str, float]:
    """Return the option ``expires`` of the job types that have it, seconds by job name."""
    return {name: seconds_of(each.expires) for name, each in options.items() if each.expires is not None}


def _limit_of(job: Job, seconds: float) -> int:
    """Return when a job expires by its type's option, epoch seconds."""
    firing = firing_of(job.id) if job.id.startswith("periodic:") else None
    # `t` is a whole second, rounded down.
    return math.ceil((job.enqueued_at + 1 if firing is None else firing[1]) + seconds)
