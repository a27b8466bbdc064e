"""Usage of ``asyncwork enqueue``."""

from __future__ import annotations

import argparse
from typing import Any

from .command import add_command, add_redis_options

_DESCRIPTION = """\
Put one job into Redis, for a pool of the same namespace to run. No pool needs to run now, and the job needs no handler
here.

Prints one line with the job's id, its name, and when it runs. If no running pool handles the job, the line says that
it waits, and a message on standard error says more. For a duplicate of a unique job, the line begins with `duplicate:`
and has the id of the job that keeps it out. A job is unique until a worker starts it, and for 24 hours at most; with
--until done it is unique until it has ended, also when it is dead, and with --until success until it has succeeded or
is deleted. --conflict says what becomes of a duplicate: nothing (drop), the job that waits gets its arguments
(replace), an error (raise), or it runs once the other job has ended (after).

With --wait, it prints instead what the handler returned, as JSON, once the job has ended. The job's type must keep its
results, as with @pool.job(result=3600). For a duplicate, it waits for the job that waits.
"""

_EPILOG = """\
exit codes:
  0  enqueued, whether or not a pool handles the job; or a duplicate of a unique job that is already waiting; with
     --wait: the job is done
  1  nothing was enqueued, because as many jobs of its tenant wait as may, or, with --conflict raise, another job holds
     the key; with --wait: the job has failed for good, was cancelled, has expired, or its result is lost
  2  bad usage, such as arguments that are not JSON, or --wait for a job whose type keeps no results
  3  Redis cannot be reached, or refuses the job
  4  enqueued or done, as for 0, but standard output cannot be written, such as on a full disk
  5  with --wait SECONDS: the job is enqueued, and has not ended in time

examples:
  asyncwork enqueue send_email '{"address": "a@example.com", "subject": "hello"}'
  asyncwork enqueue calculate_caches
  asyncwork enqueue send_email '{"address": "a@example.com"}' --delay 300
  asyncwork enqueue send_email '{"address": "a@example.com"}' --at 2030-01-01T09:00:00+01:00
  asyncwork enqueue export '{"rows": 100}' --unique --namespace my_app
  asyncwork enqueue export '{"user": 7, "rows": 100}' --unique-by '{"user": 7}'
  asyncwork enqueue export '{"user_id": 7}' --unique-by user_id --until done --conflict after
  asyncwork enqueue save '{"doc": 7}' --debounce 5 --max-wait 60 --by doc
  asyncwork enqueue export '{"rows": 100}' --front --id export-2030-01
  asyncwork enqueue export '{"rows": 100}' --expires 300 --timeout 60 --wait
  asyncwork enqueue export '{"rows": 100}' --wait 30
"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "enqueue", "put a job into Redis", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("job", metavar="NAME", help="the name of the job")
    add("arguments", metavar="JSON", nargs="?", help="its arguments by name, as a JSON object (none)")
    add("--delay", metavar="SECONDS", help="run the job after so many seconds")
    add("--at", metavar="TIME", help="run the job at this time: ISO 8601 with UTC offset, or epoch seconds")
    add("--front", action="store_true", help="run the job before those that wait in its queue")
    add("--cost", metavar="N", help="how many tokens of each of its limits it takes")
    add("--partition", metavar="TENANT", help="the tenant to which it belongs in a fair queue")
    add("--expires", metavar="SECONDS", help="drop the job if it has not started within so many seconds")
    add("--timeout", metavar="SECONDS", help="end an attempt of the job after so many seconds; 0 for no limit")
    add(
        "--wait",
        metavar="SECONDS",
        nargs="?",
        const="",
        help="wait until the job has ended, for so many seconds at most, and print its result as JSON",
    )
    add("--unique", action="store_true", help="do nothing if a unique job of the same name and arguments is waiting")
    add(
        "--unique-by",
        metavar="NAMES",
        help="the same, but compare only the arguments with these names, with commas between them. With a JSON object: "
        "if a job of the same name and with this object as its key is waiting, only have that run with these "
        "arguments, at its own time",
    )
    add("--until", choices=["start", "done", "success"], help="until when a unique job keeps others out (start)")
    add(
        "--conflict",
        choices=["drop", "replace", "raise", "after"],
        help="what becomes of a job that is kept out (drop)",
    )
    add("--debounce", metavar="SECONDS", help="run the job when no other like it has come for so many seconds")
    add("--max-wait", metavar="SECONDS", help="with --debounce: run it so many seconds after the first at the latest")
    add("--throttle", metavar="SECONDS", help="let one job start within so many seconds; do nothing if one has")
    add("--trailing", action="store_true", help="with --throttle: run the newest of the others at the end of that time")
    add("--by", metavar="NAMES", help="with --debounce or --throttle: the arguments that distinguish jobs (all)")
    add("--id", metavar="ID", help="the id of the job: 1 to 64 letters, digits, _ and - (random)")
    add_redis_options(parser)


def complete(options: argparse.Namespace) -> None:
    """Complete the options, as argparse cannot."""
    if options.arguments is None and options.wait and options.wait.lstrip().startswith("{"):
        # `NAME --wait JSON`: argparse took the JSON for the seconds, which are optional.
        options.arguments, options.wait = options.wait, ""
