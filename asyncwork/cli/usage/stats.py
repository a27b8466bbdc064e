"""Usage of ``asyncwork stats``."""

from __future__ import annotations

from typing import Any

from .command import READING_CODES, add_command, add_output_options, add_redis_options

_DESCRIPTION = """\
Show the queues, pools, sizes and problems of a namespace.

RATE/MIN and FAILED are of the last five minutes: attempts that ended per minute, and attempts that failed. Only pools
of asyncwork count them. LATENCY is how long ago the next job to run was enqueued. LIMIT is how many jobs of the queue
may run at once, over all pools.
"""

_EPILOG = f"""\
{READING_CODES}
examples:
  asyncwork stats
  asyncwork stats -n my_app --watch
  asyncwork stats --json | jq '.queues[] | select(.latency > 60) | .name'
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "stats", "show queues, pools and sizes", _DESCRIPTION, _EPILOG)
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        const="2",
        help="show them again after so many seconds, until Ctrl-C (2); with --json, each time in one line",
    )
    add_output_options(parser)
    add_redis_options(parser)
