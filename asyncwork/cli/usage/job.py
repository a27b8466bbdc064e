"""Usage of ``asyncwork job``."""

from __future__ import annotations

from typing import Any

from .command import add_command, add_redis_options

_DESCRIPTION = """\
Show what is known of one job: its state, why it waits, its times, attempts, error, progress, arguments and steps, and
its result if that is kept.

How a job has ended is known of dead jobs, and of those whose type is registered with result=SECONDS or history=True,
while that is kept.
"""

_EPILOG = """\
--follow prints the job, and then a line for each change until the job has ended; with --json, an object in one line for
each. Ctrl-C ends it.

exit codes:
  0    the job was found
  1    the job is unknown: it has ended and is not kept, or never was
  2    bad usage
  3    Redis cannot be reached, or refuses
  4    standard output cannot be written, such as on a full disk
  130  ended by Ctrl-C

examples:
  asyncwork job 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork job export-2030-01 --follow --namespace my_app
  asyncwork job export-2030-01 --json | jq -r .state
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "job", "show a job", _DESCRIPTION, _EPILOG)
    parser.add_argument("id", metavar="ID", help="the id of the job, as `asyncwork enqueue` prints it")
    parser.add_argument("--follow", action="store_true", help="print changes until the job has ended")
    parser.add_argument("--json", action="store_true", help="print a JSON object, for machines")
    add_redis_options(parser)
