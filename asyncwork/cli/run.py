"""``asyncwork run``: runs the jobs of a pool until told to stop."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from functools import partial
from typing import Any

from .. import _environment
from ..errors import UsageError
from ..options import read_concurrency, read_grace
from ..worker_pool import WorkerPool
from . import logs, settings
from .importer import find_pool
from .service import Service, serve
from .settings import choose

logger = logging.getLogger("asyncwork.cli")

_DESCRIPTION = """\
Run the jobs of a pool, on this machine, until told to stop.

APP is module:attribute, such as app:pool for the `pool` of app.py in the current directory. The attribute is a
WorkerPool, or a function that returns one; it may be nested, as in app:factory.pool.

An option counts more than what the pool was made with, and that more than the environment. If the app sets up
the root logger, that counts more than the environment, and less than an option.
"""

_EPILOG = """\
signals:
  SIGINT, SIGTERM, SIGHUP   take nothing new and let running jobs finish, for --grace seconds at most;
                            a second one cuts them off at once: they go back to the front of their queues;
                            a third one leaves without more ado
  SIGTSTP                   be quiet: take nothing new, let running jobs finish, and stay

exit codes:
  0  stopped cleanly        2  bad usage, or the app cannot be imported
  1  failed, or could not take leave of Redis: what it ran may run again
                            3  Redis cannot be reached, refuses us, or is too old

examples:
  asyncwork run app:pool
  asyncwork run app:pool --concurrency 50 --redis redis://:secret@10.0.0.5:6379/2 --namespace my_app
  asyncwork run app:pool --embedded                 no Redis at hand: starts one, its data are kept in .asyncwork
  asyncwork run app:pool --burst                    work off what waits, then exit; for cron and for tests
  asyncwork run app:pool --log-format json          for machines that read logs

A password on a command line is seen by everyone on the machine: ASYNCWORK_REDIS is the better place for it.
"""


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="run the jobs of a pool",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=partial(run, parser))
    parser.add_argument("app", metavar="APP", nargs="?", help="the pool, as module:attribute")
    add = parser.add_argument
    add("--concurrency", metavar="N", help="how many jobs run at once (environment: ASYNCWORK_CONCURRENCY)")
    settings.add_place(parser)
    add("--grace", metavar="SECONDS", help="how long running jobs may go on at a stop (environment: ASYNCWORK_GRACE)")
    add("--burst", action="store_true", help="exit when the queues are empty; what is due later is not waited for")
    add(
        "--embedded",
        metavar="DIR",
        nargs="?",
        const="",
        help="start a Redis of its own, which ends with it and keeps its data in DIR (.asyncwork)",
    )
    levels = ", ".join(settings.LEVELS).lower()
    add("--log-level", metavar="LEVEL", help=f"{levels} (environment: ASYNCWORK_LOG_LEVEL; info)")
    add(
        "--log-format",
        choices=logs.FORMATS,
        help="lines for people, or JSON objects (environment: ASYNCWORK_LOG_FORMAT; text)",
    )


def run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Do what the options say; return the exit code.

    :raises UsageError: when an option cannot be right, or there is no such app.
    :raises RedisUnusable, EmbeddedRedisError: when there is no Redis to begin with.
    """
    form_given = options.log_format is not None
    level, form = settings.log_options(options)
    if options.app is None and options.embedded and ":" in options.embedded:
        # `--embedded app:pool`: the directory is optional, and so this was taken for it.
        options.app, options.embedded = options.embedded, ""
    if options.app is None:
        parser.error("APP is missing: which pool? Write module:attribute, such as app:pool")
    if options.embedded is not None and options.redis is not None:
        raise UsageError("--embedded starts a Redis of its own, so --redis leads nowhere: give one of them")
    values: dict[str, Any] = {
        "namespace": choose("--namespace", options.namespace, _environment.NAMESPACE, str),
        "concurrency": choose("--concurrency", options.concurrency, _environment.CONCURRENCY, read_concurrency),
        "grace": choose("--grace", options.grace, _environment.GRACE, read_grace),
    }
    if options.embedded is None:
        values["redis"] = choose("--redis", options.redis, _environment.REDIS, settings.url)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What handlers print is to be seen when they do, not when so many kilobytes have come together.
        sys.stdout.reconfigure(line_buffering=True)
    with logs.set_up_unless_the_app_does(level, form, level_given=options.log_level is not None, form_given=form_given):
        pool = find_pool(options.app)
    logs.keep_ours()
    # The pool itself reads the environment where its code says nothing: only options replace what it was made with.
    given = {name: value for name, value in values.items() if getattr(options, name) is not None}
    _tell_overruled(pool, given, embedded=options.embedded is not None)
    pool.reconfigure(**{"url" if name == "redis" else name: value for name, value in given.items()})
    return serve(Service(pool, options.app, burst=options.burst, directory=options.embedded), form)


def _tell_overruled(pool: WorkerPool[Any], given: dict[str, Any], *, embedded: bool) -> None:
    """Log where the environment says something else than the code, for other processes may go by either."""
    for option, name, said, used in pool.overruled:
        if option not in given and not (embedded and option == "redis"):
            text = "environment variable %s=%s is ignored: the pool was made with %s (--%s counts more than both)"
            logger.warning(text, name, said, used, option)
