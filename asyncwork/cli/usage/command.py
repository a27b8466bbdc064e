"""Options that several commands have, and the wording of their exit codes."""

from __future__ import annotations

import argparse
from typing import Any

COLORS = ("auto", "always", "never")

READING_CODES = """\
exit codes:
  0    shown
  2    bad usage
  3    Redis cannot be reached, or refuses
  4    standard output cannot be written, such as on a full disk
  130  ended by Ctrl-C
"""

ACTING_CODES = """\
exit codes:
  0    shown, or done
  1    nothing matches, or the answer to the question was no: nothing was changed
  2    bad usage, or a question that cannot be asked without a terminal: pass --yes
  3    Redis cannot be reached, or refuses
  4    as for 0 or 1, but standard output cannot be written, such as on a full disk
  130  ended by Ctrl-C
"""


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. It takes arguments that may be omitted also behind options.

    Otherwise argparse looks for them only right behind the argument before them, and refuses those of
    ``enqueue NAME --delay 5 JSON`` and ``pools stop --who ops POOL``.
    """

    _is_intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments of the command; return its options, and what is left."""
        # Before Python 3.12.7, the parsing of intermixed arguments calls this method again.
        if self._is_intermixed:
            return super().parse_known_args(args, namespace)
        self._is_intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixed = False


def add_command(commands: Any, name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Add a command; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_redis_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name Redis and the namespace."""
    redis = "redis://, redis+sentinel://, redis+cluster://, … (environment: ASYNCWORK_REDIS)"
    namespace = "the prefix of every key in Redis (environment: ASYNCWORK_NAMESPACE; work)"
    parser.add_argument("-n", "--namespace", metavar="NS", help=namespace)
    parser.add_argument("--redis", metavar="URL", help=redis)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how a result is printed."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, for machines")
    add_color_option(parser)


def add_color_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says whether the output has colors."""
    parser.add_argument(
        "--color",
        choices=COLORS,
        default="auto",
        help="colors; auto: on a terminal, unless NO_COLOR is set (auto)",
    )


def add_yes_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that answers the question before something is destroyed."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before something is destroyed")
