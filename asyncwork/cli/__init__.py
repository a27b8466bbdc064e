"""The command line: ``asyncwork …``, or ``python -m asyncwork …``.

Exit codes: 0 done, or stopped cleanly; 1 failed, or the doctor has found something wrong; 2 bad usage, or the app
cannot be imported; 3 Redis cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from ..errors import EmbeddedRedisError, RedisUnusable, UsageError
from . import doctor, enqueue, run, streams, web
from .importer import AppError
from .logs import complain

FAILED = 1
BAD_USAGE = 2
NO_REDIS = 3
INTERRUPTED = 130  # as shells say it of a program that Ctrl-C has ended

_EXAMPLES = """\
examples:
  asyncwork run app:pool                         run the jobs of `pool` in app.py until Ctrl-C or SIGTERM
  asyncwork run app:pool --embedded              the same on a Redis of its own, for a machine that has none
  asyncwork enqueue send_email '{"address": "a@example.com"}'
  asyncwork web                                  show queues, jobs and pools in a browser
  asyncwork doctor                               tell what is wrong with a namespace, and how to mend it

`asyncwork COMMAND --help` tells the options of a command, with examples.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code.

    :param arguments: without the program's name; ``None`` for those of this process.
    :raises SystemExit: after ``--help`` and ``--version``, and for what is no command line.
    """
    streams.open_missing()
    streams.escape_unwritable()
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.name is None:
        parser.print_help(sys.stderr)
        return BAD_USAGE
    try:
        code: int = options.command(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (RedisUnusable, EmbeddedRedisError) as error:
        complain(options, str(error))
        return NO_REDIS
    except AppError as error:
        complain(options, str(error), error.trace)
        return BAD_USAGE
    except UsageError as error:
        complain(options, str(error))
        return BAD_USAGE
    return code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="asyncwork",
        description="An asyncio-native job runner on Redis, byte-compatible with gocraft/work.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="name")
    run.add_command(commands)
    enqueue.add_command(commands)
    web.add_command(commands)
    doctor.add_command(commands)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes a while."""

    def __call__(self, *_: object) -> NoReturn:
        from .._version import version

        print(f"asyncwork {version()}")
        sys.exit()
