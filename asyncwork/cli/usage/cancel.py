"""Usage of ``asyncwork cancel``."""

from __future__ import annotations

from typing import Any

from .command import add_command, add_redis_options

_DESCRIPTION = """\
Cancel one job, wherever it is: waiting in its queue, scheduled, to be retried, or running on any machine. A job that
runs is ended where it waits, and is not retried.

Prints one line that says whether the job was waiting and is deleted, is asked to end, or is gone.
"""

_EPILOG = """\
exit codes:
  0  the job was waiting and is deleted, or is asked to end
  1  there is no such job, or it has ended
  2  bad usage, such as an id that no job can have
  3  Redis cannot be reached, or refuses
  4  as for 0 or 1, but standard output cannot be written, such as on a full disk

examples:
  asyncwork cancel 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork cancel export-2030-01 --reason 'the user left' --namespace my_app
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "cancel", "cancel a job", _DESCRIPTION, _EPILOG)
    parser.add_argument("id", metavar="ID", help="the id of the job, as `asyncwork enqueue` prints it")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; the job's pool logs it")
    add_redis_options(parser)
