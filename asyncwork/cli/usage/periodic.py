"""Usage of ``asyncwork periodic``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options, add_yes_option

VERBS = ("ls", "show", "run", "pause", "unpause", "add", "edit", "reset", "rm", "history")

_DESCRIPTION = """\
Show the periodic jobs of a namespace, or change one. A change is kept in Redis, and all pools of asyncwork follow it
within about two seconds. Pools of gocraft/work take no notice.

verbs:
  ls                    show all periodic jobs
  show KEY …            show all that is known, and when they fire next
  run KEY …             enqueue them now, beside their schedule and also while they are paused
  pause KEY …           let them fire no more until they are unpaused
  unpause KEY …         let them fire again; what they have missed does not run
  add SPEC NAME [JSON]  add a periodic job; JSON is an object with its arguments
  edit KEY              give one another --spec, --tz or --args
  reset KEY …           undo what was changed here, so that what the code says holds again
  rm KEY …              remove periodic jobs that were added here, and not by code
  history KEY           show the last runs

KEY is what `ls` shows in its last column, or the name of the job if only one periodic job has it.
SPEC has six fields: second, minute, hour, day of month, month, day of week. Or it is @hourly, @daily, @every 90s, ….
"""

_EPILOG = f"""\
reset and rm ask first.

{ACTING_CODES}
examples:
  asyncwork periodic
  asyncwork periodic pause cleanup
  asyncwork periodic run 'cleanup:0 30 2 * * *'
  asyncwork periodic add '0 30 2 * * *' export '{{"days": 7}}' --tz Europe/Berlin
  asyncwork periodic edit cleanup --spec '0 0 4 * * *' --args '{{"days": 30}}'
  asyncwork periodic rm export --yes
  asyncwork periodic history cleanup --limit 5
  asyncwork periodic ls --json | jq -r '.periodic[] | select(.paused) | .key'
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "periodic", "show periodic jobs; pause, run, add, edit or remove one", _DESCRIPTION, _EPILOG
    )
    add = parser.add_argument
    add("verb", metavar="VERB", nargs="?", choices=VERBS, default="ls", help=f"{', '.join(VERBS)} (ls)")
    add("keys", metavar="KEY", nargs="*", help="the key or the name of a periodic job; with add: SPEC NAME [JSON]")
    add("--spec", metavar="SPEC", help="with edit: the new schedule")
    add(
        "--tz", metavar="ZONE", help="with add and edit: its time zone, such as Europe/Berlin; '' for the pools' hosts'"
    )
    add("--args", metavar="JSON", help="with edit: the new arguments, as a JSON object; '{}' for none")
    add("--limit", metavar="N", help="with history: how many runs, up to 100 (20)")
    add_yes_option(parser)
    add_output_options(parser)
    add_redis_options(parser)
