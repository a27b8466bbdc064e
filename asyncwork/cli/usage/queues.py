"""Usage of ``asyncwork queues``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options, add_yes_option

VERBS = (*("ls", "show", "pause", "unpause", "cap", "max-waiting", "rate", "tenants", "tenant", "empty", "forget"),)

_DESCRIPTION = """\
Show the queues of a namespace, or change one.

verbs:
  ls                 show all queues, or those that are named
  show NAME …        show these queues, their counts of the last hour, and how long attempts took in the last 7 days
  pause NAME …       let no pool fetch jobs of these queues; running jobs go on
  unpause NAME …     let pools fetch jobs of these queues again
  cap NAME N         let at most N jobs of the queue run at once, over all pools; 0 for any number. It holds until the
                     next pool with that name starts, which sets its own
  max-waiting NAME N
                     refuse jobs beyond N that wait in the queue, from enqueuers that have a limit (max_waiting=); 0 for
                     any number, "default" for the limit that they have
  rate NAME RATE     let at most so many jobs of the queue start within a time, over all pools: COUNT/SECONDS, such as
                     100/60, with --burst or the default; none for any number; code for what the code of the pools
                     says. A rate that is set here holds until it is reset with code
  tenants NAME       show the tenants of a fair queue: how many of their jobs wait and run, their limits and weights
  tenant NAME TENANT change a tenant of a fair queue: --pause, --unpause, --concurrency N,
                     --rate RATE, --weight W; '' for the jobs without a tenant
  empty NAME …       delete the jobs that wait in these queues; it can be undone for ten minutes
  forget NAME …      remove the names, their pauses and limits. No job of the name may wait or run, and no running pool
                     may have a handler for it
"""

_EPILOG = f"""\
empty and forget ask first.

{ACTING_CODES}
examples:
  asyncwork queues
  asyncwork queues show export
  asyncwork queues pause send_email export
  asyncwork queues cap export 2 -n my_app
  asyncwork queues max-waiting export 10000
  asyncwork queues rate export 100/60 --burst 20
  asyncwork queues tenants export
  asyncwork queues tenant export acme --concurrency 10 --weight 3
  asyncwork queues tenant export acme --rate 10/1
  asyncwork queues empty export --yes
  asyncwork queues ls --json | jq '.queues[].waiting'
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "queues", "show queues; pause, limit, empty or forget one", _DESCRIPTION, _EPILOG)
    parser.add_argument("verb", metavar="VERB", nargs="?", choices=VERBS, default="ls", help=f"{', '.join(VERBS)} (ls)")
    parser.add_argument("names", metavar="NAME", nargs="*", help="the names of queues, which are those of their jobs")
    parser.add_argument(
        "--burst", metavar="N", help="how many jobs may start at once (as many as start in a tenth of a second, or 1)"
    )
    changes = parser.add_argument_group("options of tenant")
    pausing = changes.add_mutually_exclusive_group()
    pausing.add_argument("--pause", action="store_true", help="let no pool fetch its jobs; running jobs go on")
    pausing.add_argument("--unpause", action="store_true", help="let pools fetch its jobs again")
    changes.add_argument(
        "--concurrency",
        metavar="N",
        help="how many of its jobs may run at once, over all pools; 0 for any number, `default` for that of the queue",
    )
    changes.add_argument(
        "--rate",
        metavar="RATE",
        help="how many of its jobs may start within a time, over all pools: COUNT/SECONDS or COUNT/SECONDS/BURST; "
        "`none` for any number, `default` for that of the queue",
    )
    changes.add_argument("--weight", metavar="W", help="how many turns it gets for each turn of others, 0.01 to 100")
    add_yes_option(parser)
    add_output_options(parser)
    add_redis_options(parser)
