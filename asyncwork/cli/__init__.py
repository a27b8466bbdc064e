"""The command line: ``asyncwork …``, or ``python -m asyncwork …``.

Exit codes: 0 done, or stopped cleanly; 1 failed, nothing matches, or the doctor found a problem; 2 bad usage, or the
app cannot be imported; 3 Redis cannot be used; 4 done, but the result could not be printed; 5 the job that was waited
for has not ended.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..errors import EmbeddedRedisError, QueueFull, RedisUnavailable, UniqueConflictError, UsageError
from . import streams
from .errors import BAD_USAGE, FAILED, INTERRUPTED, NO_REDIS, NOT_PRINTED, AppError, NothingMatches, OutputError
from .parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code.

    :param arguments: without the program's name; ``None`` for those of this process.
    :raises SystemExit: after ``--help`` and ``--version``, and if the command line is invalid.
    """
    try:
        streams.open_missing()
        streams.escape_unwritable()
        return _run_parsed(parse(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_parsed(options: argparse.Namespace) -> int:
    # After the help texts, which need no logging.
    from .logs import complain

    try:
        return _run_command(options)
    except (RedisUnavailable, EmbeddedRedisError) as error:
        complain(options, str(error))
        return NO_REDIS
    except (NothingMatches, QueueFull) as error:
        complain(options, str(error))
        return FAILED
    except OutputError as error:
        complain(options, str(error))
        return NOT_PRINTED
    except AppError as error:
        complain(options, str(error), error.trace)
        return error.code
    except UniqueConflictError as error:
        complain(options, str(error))
        return FAILED
    except UsageError as error:
        complain(options, str(error))
        return BAD_USAGE


def _run_command(options: argparse.Namespace) -> int:
    # Only the command that runs is imported, because each needs parts of asyncwork that the others do not.
    match options.command:
        case "run":
            from .early_signals import early_signals_handled

            # Before the imports of the command, which take longest.
            with early_signals_handled(options):
                from .run import run

                return run(options)
        case "enqueue":
            from .enqueue import enqueue as command
        case "cancel":
            from .cancel import cancel as command
        case "pools":
            from .pools import pools as command
        case "job":
            from .job import job as command
        case "web":
            from .web import web as command
        case "init":
            from .init import init as command
        case "dev":
            from .dev.command import dev as command
        case "check":
            from .check import check as command
        case "doctor":
            from .doctor import doctor as command
        case "stats":
            from .stats import stats as command
        case "top":
            from .top import top as command
        case "queues":
            from .queues import queues as command
        case "jobs":
            from .jobs import jobs as command
        case "periodic":
            from .periodic import periodic as command
        case "batches":
            from .batches import batches as command
        case "deletions":
            from .deletions import deletions as command
        case "limits":
            from .limits import limits as command
        case "unique":
            from .unique import unique as command
        case _:
            from .completion import completion as command
    return command(options)
