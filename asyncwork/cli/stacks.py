"""SIGTTIN: writes to the log what each worker does.

A Python signal handler runs in the main thread alone, which a job may block in native code. faulthandler's runs at
once. It writes into a pipe, and a thread that reads from the pipe writes the log lines.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from . import signals

logger: logging.Logger = logging.getLogger("asyncwork.cli")

SIGNAL = signal.SIGTTIN
# The text that faulthandler writes once for each signal, in one piece. It writes the stack after it, in many pieces.
_HEADER = b"(most recent call first)"


@contextmanager
def written_on_signal(describe: Callable[[], str]) -> Iterator[None]:
    """Log what ``describe`` returns at each SIGTTIN within the context.

    :param describe: called in a thread of its own.
    """
    reading, writing = os.pipe()
    # A full pipe has the handler drop what it writes, instead of blocking the process.
    os.set_blocking(writing, False)
    signals.restore_in_forks(SIGNAL, signal.getsignal(SIGNAL))
    faulthandler.register(SIGNAL, writing, all_threads=False)
    threading.Thread(target=_run, args=(reading, describe), name="asyncwork stacks", daemon=True).start()
    try:
        yield
    finally:
        faulthandler.unregister(SIGNAL)
        os.close(writing)


def _run(reading: int, describe: Callable[[], str]) -> None:
    with open(reading, "rb", buffering=0) as pipe:
        while written := pipe.read(65_536):
            if _HEADER not in written:
                continue
            try:
                logger.warning("%s: %s", SIGNAL.name, describe())
            except Exception:
                logger.exception("%s: cannot write what the workers do", SIGNAL.name)
