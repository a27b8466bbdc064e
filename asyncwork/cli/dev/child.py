"""``python -m asyncwork.cli.dev.child …``: a command that ends with the development server that started it.

Its standard input is a pipe, which ends when the server does, even when that is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from .. import main


def _stop_at_end_of(pipe: int) -> None:
    while os.read(pipe, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _watch_parent() -> None:
    pipe = os.dup(0)
    # Jobs, and the programs that they start, find an empty standard input.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_stop_at_end_of, args=(pipe,), daemon=True).start()


if __name__ == "__main__":
    _watch_parent()
    sys.exit(main())
