"""Usage of ``asyncwork deletions``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options

VERBS = ("ls", "restore")

_DESCRIPTION = """\
Show the deletions of jobs that can be undone, the last first, or undo one.

verbs:
  ls               show the deletions of the last ten minutes, up to 100
  restore TOKEN …  put the jobs where they were
"""

_EPILOG = f"""\
{ACTING_CODES}
examples:
  asyncwork deletions
  asyncwork deletions restore 5f2b7c0e9a6d4b1c8e3f0a2d
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "deletions", "show deletions of jobs; undo one", _DESCRIPTION, _EPILOG)
    parser.add_argument("verb", metavar="VERB", nargs="?", choices=VERBS, default="ls", help=f"{', '.join(VERBS)} (ls)")
    parser.add_argument("tokens", metavar="TOKEN", nargs="*", help="the undo token of a deletion")
    add_output_options(parser)
    add_redis_options(parser)
