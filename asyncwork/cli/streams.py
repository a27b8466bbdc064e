"""Standard input, output and error, of which a process may have been started without."""

from __future__ import annotations

import io
import os
import sys

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_missing() -> None:
    """Open those of them that are closed on the null device.

    Otherwise the next file or socket gets the number of one of them. What is printed would be written there; and libuv,
    which uvloop uses, aborts the process when it is to close such a number.
    """
    # All of the numbers first: what is opened meanwhile would get one of them.
    for number, _, _ in _STREAMS:
        try:
            os.fstat(number)
        except OSError:
            _open_null(number)
    for _, name, mode in _STREAMS:
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - it stays open
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def escape_unwritable() -> None:
    """Have standard output escape the characters that its encoding cannot hold, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _open_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null == number:
        # As the standard ones are, for the processes that jobs start.
        os.set_inheritable(number, True)
    else:
        os.dup2(null, number)
        os.close(null)
