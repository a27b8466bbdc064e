"""Usage of ``asyncwork batches``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options, add_yes_option

VERBS = ("ls", "show", "graph", "cancel", "retry")

_DESCRIPTION = """\
Show the batches and flows of a namespace, or act on the jobs of one.

verbs:
  ls            show the newest batches and flows
  show ID …     show all that is known, with the members that have failed; of a
                flow, how its nodes run after one another, and their states
  graph ID      print a flow as text for Mermaid
  cancel ID …   cancel the members that have not ended; no more can be added
  retry ID …    put the dead members on their queues
"""

_EPILOG = f"""\
cancel asks first.

{ACTING_CODES}
examples:
  asyncwork batches
  asyncwork batches show 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork batches graph w2b7c0e9a6d4b1c8e3f0a2d5 > flow.mmd
  asyncwork batches retry 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork batches cancel 5f2b7c0e9a6d4b1c8e3f0a2d --yes
  asyncwork batches ls --json | jq -r '.batches[] | select(.state == "failed") | .id'
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "batches", "show batches and flows; cancel or retry the jobs of one", _DESCRIPTION, _EPILOG
    )
    add = parser.add_argument
    add("verb", metavar="VERB", nargs="?", choices=VERBS, default="ls", help=f"{', '.join(VERBS)} (ls)")
    add("ids", metavar="ID", nargs="*", help="the id of a batch or flow, 24 characters")
    add(
        "--limit",
        metavar="N",
        help="with ls: how many batches, with show: how many failed members, up to 200 (20)",
    )
    add_yes_option(parser)
    add_output_options(parser)
    add_redis_options(parser)
