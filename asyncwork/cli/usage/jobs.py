"""Usage of ``asyncwork jobs``."""

from __future__ import annotations

from typing import Any

from .command import ACTING_CODES, add_command, add_output_options, add_redis_options, add_yes_option

VERBS = ("ls", "show", "errors", "find", "retry", "rm", "cancel", "signal")
LOCATIONS = ("retry", "scheduled", "dead", "quarantine", "busy", "finished")

_DESCRIPTION = """\
Show the jobs of a location, or act on those that match.

verbs:
  ls LOCATION      list jobs, 20 unless --limit or --all is given
  show LOCATION    show jobs with all that is known of them, otherwise as ls
  errors LOCATION  group jobs by their errors, the most frequent first
  find TEXT        list jobs of all locations but finished that have a text in their id, name, arguments or error
  retry LOCATION   put jobs of retry, scheduled or dead on their queues now
  rm LOCATION      delete jobs
  cancel LOCATION  cancel jobs of a queue, of retry or scheduled, or running ones (busy)
  signal ID EVENT [JSON]
                   send an event to the job with an id, which goes on at once if it waits for that

locations:
  queue:NAME     the jobs that wait in a queue, the next to run first
  retry          failed jobs that are tried again
  scheduled      jobs that are due later
  dead           jobs that have failed for good, the last first
  quarantine     payloads that are not jobs, the last first
  busy           the jobs that run now
  finished       jobs that have ended, of the types with history=True, the last first
"""

_EPILOG = f"""\
Every condition that is given must hold. retry, rm and cancel need a condition, --limit or --all. They count the
jobs that match first, and rm and cancel ask. Jobs that arrive meanwhile are left alone. A deletion can be undone for
ten minutes if the location has no more than 1,000 jobs, or with --limit; the token is printed.

{ACTING_CODES}
examples:
  asyncwork jobs ls dead --name send_email
  asyncwork jobs errors dead
  asyncwork jobs retry dead --error 'TimeoutError: no reply after … s'
  asyncwork jobs rm queue:export --arg user=7
  asyncwork jobs cancel busy --name export --reason 'the disk is full' --yes
  asyncwork jobs signal 5f2b7c0e9a6d4b1c8e3f0a2d approved '{{"by": "ada"}}'
  asyncwork jobs ls scheduled --all --json | jq -r '.jobs[].id'
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "jobs", "show, retry, delete or cancel jobs", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("verb", metavar="VERB", choices=VERBS, help=", ".join(VERBS))
    locations = f"queue:NAME, {', '.join(LOCATIONS)}; for find, the text; for signal, the id of the job"
    add("location", metavar="LOCATION", help=locations)
    add("event", metavar="EVENT", nargs="?", help="for signal: the name of the event")
    add("value", metavar="JSON", nargs="?", help="for signal: what the event brings, null by default")
    add("--name", metavar="NAME", help="jobs of this name")
    add("--error", metavar="TEXT", help="jobs with an error like this: other numbers, ids and quoted texts match too")
    add("--text", metavar="TEXT", help="jobs with this text in their id, name, arguments or error")
    add("--id", metavar="ID", help="the job with this id")
    add(
        "--arg",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="jobs whose argument KEY has this value, as JSON or else as text; may be repeated",
    )
    add("--limit", metavar="N", help="show N jobs, or act on N jobs at most")
    add("--all", action="store_true", help="show all jobs that match; act on all jobs of the location")
    add("--reason", metavar="TEXT", default="", help="why jobs are cancelled; their pools log it")
    add_yes_option(parser)
    add_output_options(parser)
    add_redis_options(parser)
