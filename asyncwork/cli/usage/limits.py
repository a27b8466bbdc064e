"""Usage of ``asyncwork limits``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options

VERBS = ("ls", "set", "reset")

_DESCRIPTION = """\
Show the limits that several job types and other code share, or change one.

verbs:
  ls          show each limit: its numbers, what is left and in use, and its jobs
  set NAME    set its rate and its concurrency until it is reset; one that is left
              out is unlimited
  reset NAME  return to the numbers of the code
"""

_EPILOG = f"""\
{ACTING_CODES}
examples:
  asyncwork limits
  asyncwork limits ls --json
  asyncwork limits set openai --rate 60000/60/5000 --concurrency 50
  asyncwork limits reset openai
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "limits", "show the limits that job types share; change one", _DESCRIPTION, _EPILOG)
    parser.add_argument("verb", metavar="VERB", nargs="?", choices=VERBS, default="ls", help=f"{', '.join(VERBS)} (ls)")
    parser.add_argument("names", metavar="NAME", nargs="*", help="the name of a limit")
    parser.add_argument("--rate", metavar="RATE", help="tokens/seconds, or tokens/seconds/burst")
    parser.add_argument("--concurrency", metavar="N", help="how many jobs and slots there may be at once")
    add_output_options(parser)
    add_redis_options(parser)
