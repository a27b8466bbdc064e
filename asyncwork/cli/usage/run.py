"""Usage of ``asyncwork run``."""

from __future__ import annotations

import argparse
from typing import Any

from .command import add_command, add_redis_options
from .log_options import add_log_options
from .loop_option import add_loop_option
from .process_options import SIGNALS, add_process_options

_DESCRIPTION = """\
Run the jobs of a worker pool in this process until it is stopped.

APP is module:attribute, such as app:pool for the `pool` of app.py in the current directory. The attribute is a
WorkerPool, or a function without arguments that returns one, plain or async. It may be nested, as in
app:factory.pool.

Options take precedence over the arguments of WorkerPool(…), and those over the environment. If the app configures the
root logger, that takes precedence over the environment, but not over options.
"""

_EPILOG = f"""\
signals:
  SIGINT, SIGTERM, SIGHUP   fetch no more jobs and let running jobs finish, for --grace seconds at most
                            second signal: cancel running jobs; they return to the front of their queues
                            third signal: exit at once
  SIGTSTP                   be quiet: fetch no more jobs, let running jobs finish, keep the process
{SIGNALS}
exit codes:
  0  stopped cleanly
  1  the pool could not be made, failed, or did not stop cleanly: jobs that it ran may run again;
     with --processes also: no process could start
  2  bad usage, or the app cannot be imported
  3  Redis cannot be reached, refuses the connection, or is too old

examples:
  asyncwork run app:pool
  asyncwork run app:pool --concurrency 50 --redis redis://:secret@10.0.0.5:6379/2 --namespace my_app
  asyncwork run app:pool --processes auto           use all CPUs; a process that dies is replaced at once
  asyncwork run app:pool --embedded                 start a Redis server, which keeps its data in .asyncwork
  asyncwork run app:pool --burst                    run the jobs that wait, then exit; for cron and for tests
  asyncwork run app:pool --log-format json          write log lines that machines read
  asyncwork run app:pool --health 127.0.0.1:8111    answer probes and serve metrics

Everyone on the machine can see a password on a command line. Set ASYNCWORK_REDIS instead.
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "run", "run the jobs of a worker pool", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("app", metavar="APP", nargs="?", help="the pool, as module:attribute")
    add("--concurrency", metavar="N", help="how many jobs run at once (environment: ASYNCWORK_CONCURRENCY)")
    add_redis_options(parser)
    add("--grace", metavar="SECONDS", help="time for running jobs to finish at a stop (environment: ASYNCWORK_GRACE)")
    add(
        "--version-label",
        metavar="LABEL",
        help="the version of the application, for the web UI's charts (environment: ASYNCWORK_VERSION_LABEL)",
    )
    add("--burst", action="store_true", help="exit once the queues are empty, without waiting for jobs due later")
    add(
        "--embedded",
        metavar="DIR",
        nargs="?",
        const="",
        help="start a Redis server that stops with this process and keeps its data in DIR (.asyncwork)",
    )
    add("--health", metavar="HOST:PORT", help="serve /livez, /readyz and /metrics (environment: ASYNCWORK_HEALTH)")
    add_loop_option(parser)
    add_process_options(parser)
    add_log_options(parser)


def complete(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Check and complete the options, as argparse cannot.

    :param parser: that of the command.
    :raises SystemExit: when the app is missing.
    """
    if options.app is None and options.embedded and ":" in options.embedded:
        # `--embedded app:pool`: argparse took the app for the directory, which is optional.
        options.app, options.embedded = options.embedded, ""
    if options.app is None:
        parser.error("APP is missing: name a pool as module:attribute, such as app:pool")
