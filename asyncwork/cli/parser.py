"""The command-line parser. The options and help texts of each command are in ``usage``.

It imports no command, so that help texts and usage errors appear without the time that the rest of asyncwork takes to
import.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from . import usage
from .usage.command import CommandParser

_EXAMPLES = """\
examples:
  asyncwork run app:pool                         run the jobs of `pool` in app.py until Ctrl-C or SIGTERM
  asyncwork run app:pool --embedded              the same with its own Redis server, if there is no other
  asyncwork enqueue send_email '{"address": "a@example.com"}'
  asyncwork job 5f2b7c0e9a6d4b1c8e3f0a2d         show a job, and why it does not run yet
  asyncwork web                                  show queues, jobs and pools in a browser
  asyncwork stats                                show queues, pools and sizes here; `asyncwork top` shows them live
  asyncwork jobs retry dead --name send_email    run dead jobs again
  asyncwork doctor                               find problems of a namespace, and how to fix them

`asyncwork COMMAND --help` lists the options of a command, with examples.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line; ``command`` among them is the name of the command.

    :param arguments: without the program's name; ``None`` for those of this process.
    :raises SystemExit: after ``--help`` and ``--version``, and if the command line is invalid.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:2] == ["completion", usage.completion.WORDS]:
        # argparse would drop a `--` among the words.
        return argparse.Namespace(command="completion", words=given[2:])
    parser, run = make_parser()
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help(sys.stderr)
        sys.exit(2)
    if options.command == "run":
        usage.run.complete(run, options)
        # The children of `--processes` are given the same.
        options.arguments = given
    elif options.command == "enqueue":
        usage.enqueue.complete(options)
    return options


def make_parser() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Return the parser of all commands, and that of ``asyncwork run``, whose options are completed after parsing."""
    parser = argparse.ArgumentParser(
        prog="asyncwork",
        description="An asyncio-native job runner on Redis, byte-compatible with gocraft/work.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", parser_class=CommandParser)
    usage.add_parsers(commands)
    return parser, commands.choices["run"]


class _Version(argparse.Action):
    """Prints the version. Looks it up only then, because that takes a while."""

    def __call__(self, *_: object) -> NoReturn:
        from .._version import version

        print(f"asyncwork {version()}")
        sys.exit()
