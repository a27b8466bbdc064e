"""The session of a command that shows or changes a namespace."""

from __future__ import annotations

import argparse
import getpass
import platform
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from .._jobs.printable import printable
from ..client import Client
from ..errors import UsageError
from . import settings, streams, terminal
from .command_hints import CommandHints
from .errors import NothingMatches


class Session:
    """The client of a namespace, and how results are printed.

    :ivar client: the client.
    :ivar namespace: the namespace.
    :ivar hints: completes command lines for this namespace.
    :ivar width: the cells in a line; ``None`` for any number.
    :ivar colors: whether the output has colors.

    :raises UsageError: when an option is invalid.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        url, namespace = settings.redis_options(options)
        self.namespace: str = namespace
        self.client: Client = Client(url, namespace=namespace)
        self.hints: CommandHints = CommandHints(self.client.masked_url, self.namespace, given=options.redis is not None)
        self.width: int | None = terminal.output_width()
        self.colors: bool = terminal.has_colors(options.color)
        self._assume_yes = getattr(options, "yes", False)

    @property
    def target(self) -> dict[str, str]:
        """The fields with which each JSON document begins."""
        return {"namespace": self.namespace, "redis": self.client.masked_url}

    def styled(self, text: str, style: str) -> str:
        """Return a text with a style, if the output has colors."""
        return terminal.styled(text, style, colors=self.colors)

    def print_lines(self, lines: Sequence[str], done: str) -> None:
        """Print lines whose texts are escaped, and that may have colors.

        :param done: what the command has done, for the message when standard output cannot be written.
        :raises OutputError: when it cannot.
        """
        streams.print_escaped("\n".join(lines), done)

    def confirm(self, what: Sequence[str], question: str) -> None:
        """Ask before something is destroyed, unless --yes was given.

        :param what: lines that say what will be destroyed.
        :raises UsageError: when there is no terminal to ask on.
        :raises NothingMatches: when the answer is no.
        """
        if self._assume_yes:
            return
        if not (terminal.is_terminal(sys.stdin) and terminal.is_terminal(sys.stderr)):
            raise UsageError(f"{question} There is no terminal to ask on: add --yes if you are sure")
        if _answer([*what, f"{question} [y/N] "]).strip().lower() not in ("y", "yes"):
            raise NothingMatches("nothing was changed")


def _answer(lines: Sequence[str]) -> str:
    # The handler of asyncio only cancels the task, which cannot end while it reads. It is replaced before the question
    # appears, because Ctrl-C may follow at once.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with suppress(OSError):
            print(*lines, sep="\n", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, before)


def user() -> str:
    """Return the user of this command, as deletions and cancels record it, such as ``ada@worker-1``."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        name = "unknown"
    return printable(f"{name}@{platform.node()}")
