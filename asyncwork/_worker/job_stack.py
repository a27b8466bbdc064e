"""The stack of a running job: that of its coroutines, or of its thread."""

from __future__ import annotations

import sys
import traceback
from types import FrameType
from typing import Any, Protocol

from .._jobs import calling
from .job_context import SuspendedJob


class HasCoroutine(Protocol):
    """A task, or what stands for one."""

    def get_coro(self) -> object: ...


def format_stack(task: HasCoroutine, thread: int | None) -> str:
    """Return the stack of the job that a worker runs, the innermost call last; empty if it cannot be read.

    :param task: the task of the worker.
    :param thread: the thread in which the job's plain function runs, or ``None``.
    """
    try:
        frames = _awaiting_frames(task) if thread is None else _thread_frames(thread)
        stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
        return "".join(stack.format())
    except Exception:  # such as an object that only looks like a coroutine
        return ""


def _awaiting_frames(task: HasCoroutine) -> list[FrameType]:
    frames: list[FrameType] = []
    awaiting: Any = task.get_coro()
    while awaiting is not None:
        for frame_name, next_name in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            if (frame := getattr(awaiting, frame_name, None)) is not None:
                awaiting = getattr(awaiting, next_name)
                break
        else:
            break
        if frame.f_code is SuspendedJob.__await__.__code__:
            # The frames so far are the worker's.
            frames, awaiting = [], frame.f_locals["self"].steps
        else:
            frames.append(frame)
    return frames


def _thread_frames(thread: int) -> list[FrameType]:
    frames: list[FrameType] = []
    frame = sys._current_frames().get(thread)
    while frame is not None and frame.f_code.co_filename != calling.__file__:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]
