"""Jobs for unit tests that call a handler, middleware or hook directly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._jobs.binding import bind_some_arguments
from .._jobs.clock import wall_clock
from .._jobs.names import Named, job_name
from .._jobs.option_checks import check_whole
from .._jobs.payload import encode_job
from ..job import Job
from ..task import Task
from .memory_steps import untimed_steps


def make_job(
    task: str | Named,
    args: Mapping[str, Any] | None = None,
    *,
    job_id: str = "",
    fails: int = 0,
    err: str = "",
    events: Mapping[str, Any] | None = None,
) -> Job:
    """Return a job as a worker passes it to a handler, but without Redis: ``make_job("resize", {"width": 80})``.

    Its steps run, and are recorded in memory. No wait takes any time: a sleep is over at once, and so is the time for
    an event that has not come.

    :param task: its task or its name.
    :param args: its arguments by name. Those of a task may have the types that its function is annotated with.
    :param job_id: its id; empty for a new one.
    :param fails: how many attempts have failed so far.
    :param err: the error text of the newest failure.
    :param events: the values of the events that have been sent to it, by their names.
    :raises UsageError: when the name is not valid, the task does not take one of the arguments, or ``fails`` is
        negative.
    :raises ArgumentEncodingError: when JSON cannot hold the arguments, or the value of an event.
    """
    check_whole(fails, "fails", 0)
    if isinstance(task, Task) and args is not None:
        args = bind_some_arguments(task._handler, (), args)
    now = int(wall_clock())
    _, payload = encode_job(job_name(task), args, now, job_id=job_id)
    job = Job.decode(payload)
    for _ in range(fails):
        job.failed(err, now)
    made = Job.decode(job.payload())
    made._steps = untimed_steps(made, events or {})
    return made
