"""Usage of ``asyncwork doctor``."""

from __future__ import annotations

from typing import Any

from .command import add_command, add_redis_options

_DESCRIPTION = """\
Find problems of a namespace, and show how to fix each: jobs that no pool runs, locks that have drifted, pools that are
gone, unsafe settings of Redis, clocks that differ. Pools may keep running. A possible problem is checked again for
11 seconds, and reported only if it stays.

Reads all keys of Redis, in steps, and up to 100,000 jobs. Writes nothing without --repair.
"""

_EPILOG = """\
--repair does what is safe while pools run, reports each step, and examines the namespace again. It returns jobs of
pools that are gone to the front of their queues and removes those pools, recounts locks, registers the names of queues
in which jobs wait, and frees unique keys that belong to no job. It deletes no job, changes nothing of a live pool, and
changes no setting of Redis.

exit codes:
  0  no problems (there may be notes)
  1  there are problems, or some remain after --repair
  2  bad usage
  3  Redis cannot be reached, refuses the connection, or is too old
  4  examined, and repaired with --repair, but standard output cannot be written, such as on a full disk

examples:
  asyncwork doctor
  asyncwork doctor -n my_app --redis redis://10.0.0.5:6379/2
  asyncwork doctor -n my_app --repair
  asyncwork doctor -n my_app --json | jq '.problems[].kind'
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "doctor", "find problems of a namespace, and fix them", _DESCRIPTION, _EPILOG)
    add_redis_options(parser)
    parser.add_argument("--repair", action="store_true", help="fix what can be fixed safely, and examine again")
    parser.add_argument("--json", action="store_true", help="print a JSON object, for machines")
