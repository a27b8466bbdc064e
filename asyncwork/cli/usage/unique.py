"""Usage of ``asyncwork unique``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options

VERBS = ("ls", "free")

_DESCRIPTION = """\
Show the jobs that hold keys until they have ended, and so keep others out, or free the key of one.

verbs:
  ls [NAME]     show up to 1,000, those first that have held their keys longest, and the job that starts next
  free NAME ID  free the key of a job, which stays where it is; another one may then start beside it
"""

_EPILOG = f"""\
{ACTING_CODES}
examples:
  asyncwork unique
  asyncwork unique ls export --json
  asyncwork unique free export 5f2b7c0e9a6d4b1c8e3f0a2d
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "unique", "show which jobs hold unique keys; free one", _DESCRIPTION, _EPILOG)
    parser.add_argument("verb", metavar="VERB", nargs="?", choices=VERBS, default="ls", help=f"{', '.join(VERBS)} (ls)")
    parser.add_argument("words", metavar="WORD", nargs="*", help="the name of jobs, and the id of one")
    add_output_options(parser)
    add_redis_options(parser)
