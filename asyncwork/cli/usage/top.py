"""Usage of ``asyncwork top``."""

from __future__ import annotations

from typing import Any

from .command import READING_CODES, add_color_option, add_command, add_redis_options

_DESCRIPTION = """\
Show the queues and pools of a namespace live on the terminal, every two seconds. Pause and unpause queues there.

While Redis is away, it goes on showing what it last read, and says so.
"""

_EPILOG = f"""\
keys:
  up, down (or k, j)     choose a queue
  left, right (or h, l)  choose the column to sort by
  r                      reverse the order
  enter                  show the chosen queue: its counts, pools, running and waiting jobs
  escape, backspace      return to the list of queues
  p                      pause the chosen queue, or unpause it
  q, Ctrl-C              quit; Ctrl-Z suspends

{READING_CODES}
examples:
  asyncwork top
  asyncwork top -n my_app --interval 1
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "top", "show queues and pools live", _DESCRIPTION, _EPILOG)
    parser.add_argument("--interval", metavar="SECONDS", default="2", help="the time between two readings (2)")
    add_color_option(parser)
    add_redis_options(parser)
