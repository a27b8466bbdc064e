"""Usage of ``asyncwork pools``."""

from __future__ import annotations

import argparse
from typing import Any

from ..._environment import number
from ...errors import UsageError
from ...options import check_workers
from .command import add_command, add_redis_options

ALL = "all"

_ACTIONS = ("ls", "quiet", "unquiet", "resize", "stop")

_DESCRIPTION = """\
Show the worker pools of a namespace, or ask them to be quiet, to run again, to stop, or to run another number of jobs
at once, on whatever machine they are.

A pool complies at once, or with its next heartbeat, and logs who has asked. Pools of gocraft/work take no requests.
"""

_EPILOG = """\
actions:
  ls       show the pools
  quiet    fetch no more jobs, let running jobs go on
  unquiet  fetch jobs again
  resize   run NUMBER jobs at once, until the pool ends; running jobs go on
  stop     stop as SIGTERM does: running jobs have the pool's grace period to finish

exit codes:
  0  shown, or asked
  1  there is no such pool, it takes no requests, or it is stopping; with `all`: this is so of one pool or more
  2  bad usage
  3  Redis cannot be reached, or refuses
  4  as for 0, but standard output cannot be written, such as on a full disk

examples:
  asyncwork pools ls --namespace my_app
  asyncwork pools ls --json | jq -r '.[].pool_id'
  asyncwork pools quiet 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork pools resize 5f2b7c0e9a6d4b1c8e3f0a2d 50
  asyncwork pools stop all
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    text = "show worker pools; quiet, unquiet, resize or stop them"
    parser = add_command(commands, "pools", text, _DESCRIPTION, _EPILOG)
    add: Any = parser.add_argument
    add("action", metavar="ACTION", nargs="?", choices=_ACTIONS, default="ls", help=f"{', '.join(_ACTIONS)} (ls)")
    add("pool", metavar="POOL", nargs="?", help="the id of the pool, as `asyncwork pools ls` prints it, or `all`")
    add("number", metavar="NUMBER", nargs="?", help="with resize: how many jobs the pool is to run at once, 1 to 10000")
    add("--json", action="store_true", help="with ls: print a JSON array, for machines")
    add("--who", metavar="NAME", help="who asks, for the logs of the pools (user@host)")
    add_redis_options(parser)
    parser.set_defaults(complain=parser.error)


def check(options: argparse.Namespace) -> None:
    """Check what argparse cannot, and read the number.

    :raises SystemExit: when the command line is invalid.
    """
    if options.number is not None and options.action != "resize":
        options.complain(f"{options.action} takes no NUMBER: {options.number!r}")
    if options.action == "ls":
        if options.pool is not None:
            options.complain("ls shows all pools, and takes no POOL")
    elif options.pool is None:
        options.complain(f"POOL is missing: the id of a pool, or {ALL}")
    elif options.json:
        options.complain("--json is for ls alone")
    if options.action == "resize":
        _read_number(options)


def _read_number(options: argparse.Namespace) -> None:
    if options.number is None:
        options.complain("NUMBER is missing: how many jobs the pool is to run at once")
    try:
        options.number = number(options.number, int, "a whole number")
        check_workers(options.number)
    except UsageError as error:
        options.complain(str(error))
