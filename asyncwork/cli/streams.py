"""Standard input, output and error, which may be closed when the process starts."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..logging import escape_controls
from .errors import OutputError

_STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))


def open_missing() -> None:
    """Open closed standard streams on the null device.

    Otherwise the next file or socket would get the number of a standard stream: printed text would be written into it,
    and libuv, which uvloop uses, would abort the process on closing it.
    """
    # All numbers come first, because opening a file may take one of them.
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
    """Make standard output escape characters that its encoding cannot represent, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def output_to_error() -> Iterator[None]:
    """Make file descriptor 1 that of standard error for a while, so that other programs write there too."""
    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)


def print_result(text: str, done: str) -> None:
    """Print the result of a command.

    :param done: what the command has done, as the subject of the message, such as ``the job is enqueued``.
    :raises OutputError: when standard output cannot be written, such as on a full disk.
    """
    print_escaped(escape_controls(text), done)


def print_escaped(text: str, done: str) -> None:
    """Print a text as :func:`print_result` does. Parts of it that other programs wrote are escaped already.

    :raises OutputError: when standard output cannot be written.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # The interpreter writes what is left in the buffer when it exits, and would fail again.
        _open_null(1)
        raise OutputError(f"{done}, but standard output cannot be written: {error}") from None


def _open_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null == number:
        # Processes that jobs start inherit the standard streams.
        os.set_inheritable(number, True)
    else:
        os.dup2(null, number)
        os.close(null)
