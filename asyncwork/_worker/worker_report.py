"""The report of what each worker of a pool does, with stacks, for the log."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence

from .._jobs.attempt import attempt_of
from .._jobs.error_text import text_of
from .job_stack import format_stack
from .worker import Worker


def describe_workers(workers: Sequence[Worker], loop_thread: int) -> str:
    """Return what each busy worker does, and where the event loop is. Can be called from any thread.

    :param loop_thread: the id of the thread of the event loop.
    """
    parts = []
    for number, worker in enumerate(workers, 1):
        if (job := worker.job) is None or (task := worker.task) is None:
            continue
        seconds = max(0.0, time.time() - worker.started_at)
        stack = format_stack(task, attempt_of(job).thread)
        parts.append(f"worker {number}: {text_of(job.name)} {text_of(job.id)}, for {seconds:.1f} s\n{stack}")
    frame = sys._current_frames().get(loop_thread)
    stack = "" if frame is None else "".join(traceback.format_stack(frame))
    busy = f"{len(parts)} of {len(workers)} workers are busy" if workers else "the pool is starting, or has ended"
    return "\n".join([busy, *parts, f"the event loop is here:\n{stack}"])
