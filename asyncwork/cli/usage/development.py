"""Usage of the commands for development: ``asyncwork init``, ``dev`` and ``check``."""

from __future__ import annotations

from typing import Any

from .command import add_command, add_redis_options
from .loop_option import add_loop_option

PORT = 5040

_INIT = """\
Write a small app.py that runs: a pool, a job and a periodic job, with comments. Never overwrites a file.
"""

_INIT_MORE = """\
exit codes:
  0  written
  1  there is an app.py already, or it cannot be written
  2  bad usage

examples:
  asyncwork init
  asyncwork init my_project
"""

_DEV = """\
Run a pool for development: with its own Redis and the web UI, in one terminal. A change of a Python file restarts the
pool. If the changed app cannot be imported, the error is shown and the pool that runs goes on.

APP is module:attribute, as for `asyncwork run`. The Redis keeps its data in .asyncwork. While it runs, the other
commands find this Redis and the namespace by themselves, if they run in the same directory.
"""

_DEV_MORE = """\
Ctrl-C stops everything. Running jobs have --grace seconds to finish, also before a restart; then they return to the
front of their queues. A second Ctrl-C cancels them.

exit codes:
  0  stopped by SIGINT, SIGTERM or SIGHUP
  1  a development server runs in this directory already
  2  bad usage, or the app cannot be imported at the start
  3  Redis cannot be started

examples:
  asyncwork dev app:pool
  asyncwork dev app:pool --watch templates
  asyncwork dev app:pool --redis redis://127.0.0.1:6379/5
"""

_CHECK = """\
Import an app without Redis, and list its jobs with their options and arguments, and its periodic jobs with their next
firings. It is made for CI.
"""

_CHECK_MORE = """\
exit codes:
  0  the app is valid; there may be warnings
  1  the app cannot be imported, or is not valid
  4  standard output cannot be written, such as on a full disk

examples:
  asyncwork check app:pool
  asyncwork check app:pool --json | jq -r '.jobs[].name'
"""


def add_parser(commands: Any) -> None:
    """Add the commands."""
    init = add_command(commands, "init", "write a small app.py that runs", _INIT, _INIT_MORE)
    init.add_argument("directory", metavar="DIR", nargs="?", default=".", help="where; created if missing (.)")
    dev = add_command(commands, "dev", "run a pool, a Redis and the web UI, for development", _DEV, _DEV_MORE)
    add = dev.add_argument
    add("app", metavar="APP", help="the pool, as module:attribute")
    add("--port", metavar="N", default=str(PORT), help=f"the port of the web UI, or the next free one ({PORT})")
    add("--grace", metavar="SECONDS", default="5", help="time for running jobs to finish at a restart or stop (5)")
    add(
        "--watch",
        metavar="DIR",
        action="append",
        default=[],
        help="restart on a change of any file in it too; may be repeated",
    )
    add_loop_option(dev)
    add_redis_options(dev)
    check = add_command(commands, "check", "check an app, without Redis", _CHECK, _CHECK_MORE)
    check.add_argument("app", metavar="APP", help="the pool, as module:attribute")
    check.add_argument("--json", action="store_true", help="print a JSON object, for machines")
