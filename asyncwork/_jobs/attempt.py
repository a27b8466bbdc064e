"""One attempt of a job: whether it is to end, and by when. Its handler may run in a thread, so this is thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..job import Job

# One lock for all attempts, because it is held for a few instructions, and few attempts need it.
_lock = threading.Lock()


class Attempt:
    """The state of an attempt, beside its job. It is made when first needed, because most attempts need none of it.

    :ivar deadline: when its time is over, in seconds of :func:`time.monotonic`; 0 if it has no timeout.
    :ivar interrupted: whether it is to end.
    :ivar replacement: returns the error that replaces what it raises, if there is one, once it is to end.
    :ivar thread: the thread in which its plain function runs now, or ``None``.
    """

    __slots__ = ("_cancelled", "deadline", "interrupted", "replacement", "thread")

    def __init__(self) -> None:
        self._cancelled: threading.Event | None = None
        self.deadline = 0.0
        self.interrupted = False
        self.replacement: Callable[[BaseException], BaseException | None] = lambda _: None
        self.thread: int | None = None

    @property
    def cancelled(self) -> threading.Event:
        """An event that is set when the attempt is to end."""
        with _lock:
            if self._cancelled is None:
                self._cancelled = threading.Event()
                if self.interrupted:
                    self._cancelled.set()
            return self._cancelled

    def interrupt(self) -> None:
        """Have the attempt end itself."""
        with _lock:
            self.interrupted = True
            if self._cancelled is not None:
                self._cancelled.set()

    def extend(self, seconds: float) -> None:
        """Let the attempt run at least until ``seconds`` from now."""
        with _lock:
            self.deadline = max(self.deadline, monotonic() + seconds)


def attempt_of(job: Job) -> Attempt:
    """Return the attempt that runs a job, or is to run it."""
    try:
        return job._attempt
    except AttributeError:
        pass
    with _lock:
        # Another thread may have been quicker.
        if not hasattr(job, "_attempt"):
            job._attempt = Attempt()
        return job._attempt
