"""The command-line parser, with the help texts of all commands.

One file has all of them, because the commands share options and the wording of exit codes. It imports no command, so
that help texts and usage errors appear without the time that the rest of asyncwork takes to import.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from . import pools_arguments

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_LISTEN = "127.0.0.1:5040"

_EXAMPLES = """\
examples:
  asyncwork run app:pool                         run the jobs of `pool` in app.py until Ctrl-C or SIGTERM
  asyncwork run app:pool --embedded              the same with its own Redis server, if there is no other
  asyncwork enqueue send_email '{"address": "a@example.com"}'
  asyncwork job 5f2b7c0e9a6d4b1c8e3f0a2d         show a job, and why it does not run yet
  asyncwork web                                  show queues, jobs and pools in a browser
  asyncwork doctor                               find problems of a namespace, and how to fix them

`asyncwork COMMAND --help` lists the options of a command, with examples.
"""

_RUN = """\
Run the jobs of a worker pool in this process until it is stopped.

APP is module:attribute, such as app:pool for the `pool` of app.py in the current directory. The attribute is a
WorkerPool, or a function without arguments that returns one, plain or async. It may be nested, as in
app:factory.pool.

Options take precedence over the arguments of WorkerPool(…), and those over the environment. If the app configures the
root logger, that takes precedence over the environment, but not over options.
"""

_RUN_MORE = """\
signals:
  SIGINT, SIGTERM, SIGHUP   fetch no more jobs and let running jobs finish, for --grace seconds at most
                            second signal: cancel running jobs; they return to the front of their queues
                            third signal: exit at once
  SIGTSTP                   be quiet: fetch no more jobs, let running jobs finish, keep the process

exit codes:
  0  stopped cleanly
  1  the pool could not be made, failed, or did not stop cleanly: jobs that it ran may run again
  2  bad usage, or the app cannot be imported
  3  Redis cannot be reached, refuses the connection, or is too old

examples:
  asyncwork run app:pool
  asyncwork run app:pool --concurrency 50 --redis redis://:secret@10.0.0.5:6379/2 --namespace my_app
  asyncwork run app:pool --embedded                 start a Redis server, which keeps its data in .asyncwork
  asyncwork run app:pool --burst                    run the jobs that wait, then exit; for cron and for tests
  asyncwork run app:pool --log-format json          write log lines that machines read

Everyone on the machine can see a password on a command line. Set ASYNCWORK_REDIS instead.
"""

_ENQUEUE = """\
Put one job into Redis, for a pool of the same namespace to run. No pool needs to run now, and the job needs no handler
here.

Prints one line with the job's id, its name, and when it runs. If no running pool handles the job, the line says that
it waits, and a message on standard error says more. For a duplicate of a unique job, the line begins with `duplicate:`
and has the id of the job that waits. A job is unique until a worker starts it, and for 24 hours at most.

With --wait, it prints instead what the handler returned, as JSON, once the job has ended. The job's type must keep its
results, as with @pool.job(result=3600). For a duplicate, it waits for the job that waits.
"""

_ENQUEUE_MORE = """\
exit codes:
  0  enqueued, whether or not a pool handles the job; or a duplicate of a unique job that is already waiting; with
     --wait: the job is done
  1  with --wait: the job has failed for good, was cancelled, has expired, or its result is lost
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
  asyncwork enqueue export '{"rows": 100}' --front --id export-2030-01
  asyncwork enqueue export '{"rows": 100}' --expires 300 --timeout 60 --wait
  asyncwork enqueue export '{"rows": 100}' --wait 30
"""

_JOB = """\
Show what is known of one job: its state, why it waits, its times, attempts, error, progress and arguments, and its
result if that is kept.

How a job has ended is known of dead jobs, and of those whose type is registered with result=SECONDS or history=True,
while that is kept.
"""

_JOB_MORE = """\
--follow prints the job, and then a line for each change until the job has ended; with --json, an object in one line for
each. Ctrl-C ends it.

exit codes:
  0    the job was found
  1    the job is unknown: it has ended and is not kept, or never was
  2    bad usage
  3    Redis cannot be reached, or refuses
  4    standard output cannot be written, such as on a full disk
  130  ended by Ctrl-C

examples:
  asyncwork job 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork job export-2030-01 --follow --namespace my_app
  asyncwork job export-2030-01 --json | jq -r .state
"""

_CANCEL = """\
Cancel one job, wherever it is: waiting in its queue, scheduled, to be retried, or running on any machine. A job that
runs is ended where it waits, and is not retried.

Prints one line that says whether the job was waiting and is deleted, is asked to end, or is gone.
"""

_CANCEL_MORE = """\
exit codes:
  0  the job was waiting and is deleted, or is asked to end
  1  there is no such job, or it has ended
  2  bad usage, such as an id that no job can have
  3  Redis cannot be reached, or refuses
  4  as for 0 or 1, but standard output cannot be written, such as on a full disk

examples:
  asyncwork cancel 5f2b7c0e9a6d4b1c8e3f0a2d
  asyncwork cancel export-2030-01 --reason 'the user left' --namespace my_app
"""

_WEB = """\
Show the jobs, queues and worker pools of a namespace in a browser, and manage them there.

Prints one line with the address once it listens. Redis may be down at the start; the pages say so until it is back.
"""

_WEB_MORE = """\
By default it listens on this machine only. On any other address it requires --auth (or --insecure). The password is
sent unencrypted unless a proxy with TLS stands in front.

exit codes:
  0  stopped by SIGINT, SIGTERM or SIGHUP
  1  cannot listen at the address, for example because another program does
  2  bad usage, or asyncwork[web] is not installed

examples:
  asyncwork web
  asyncwork web -n my_app --redis redis://10.0.0.5:6379/2 --read-only
  ASYNCWORK_WEB_AUTH=ada:secret asyncwork web --listen 0.0.0.0:5040
  asyncwork web --root-path /work --allow-host tools.example.com

The last example is for a proxy on the same machine. The proxy must pass on the host name, as nginx does with
`proxy_set_header Host $http_host;`.

Everyone on the machine can see a password on a command line. Set ASYNCWORK_REDIS and ASYNCWORK_WEB_AUTH instead.
"""

_DOCTOR = """\
Find problems of a namespace, and show how to fix each: jobs that no pool runs, locks that have drifted, pools that are
gone, unsafe settings of Redis, clocks that differ. Pools may keep running. What looks wrong is checked again for 11
seconds, and reported only if it stays wrong.

Reads all keys of Redis, in steps, and up to 100,000 jobs. Writes nothing without --repair.
"""

_DOCTOR_MORE = """\
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


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a command line; ``command`` among them is the name of the command.

    :param arguments: without the program's name; ``None`` for those of this process.
    :raises SystemExit: after ``--help`` and ``--version``, and if the command line is invalid.
    """
    parser = argparse.ArgumentParser(
        prog="asyncwork",
        description="An asyncio-native job runner on Redis, byte-compatible with gocraft/work.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    run = _add_run(commands)
    _add_enqueue(commands)
    _add_job(commands)
    _add_cancel(commands)
    pools = _add_pools(commands)
    _add_web(commands)
    _add_doctor(commands)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        sys.exit(2)
    if options.command == "run":
        _complete_run(run, options)
    if options.command == "pools":
        pools_arguments.complete(pools, options)
    return options


class _Version(argparse.Action):
    """Prints the version. Looks it up only then, because that takes a while."""

    def __call__(self, *_: object) -> NoReturn:
        from .._version import version

        print(f"asyncwork {version()}")
        sys.exit()


def _add_run(commands: Any) -> argparse.ArgumentParser:
    parser = _add_command(commands, "run", "run the jobs of a worker pool", _RUN, _RUN_MORE)
    add = parser.add_argument
    add("app", metavar="APP", nargs="?", help="the pool, as module:attribute")
    add("--concurrency", metavar="N", help="how many jobs run at once (environment: ASYNCWORK_CONCURRENCY)")
    _add_redis_options(parser)
    add("--grace", metavar="SECONDS", help="time for running jobs to finish at a stop (environment: ASYNCWORK_GRACE)")
    add("--burst", action="store_true", help="exit once the queues are empty, without waiting for jobs due later")
    add(
        "--embedded",
        metavar="DIR",
        nargs="?",
        const="",
        help="start a Redis server that stops with this process and keeps its data in DIR (.asyncwork)",
    )
    _add_log_options(parser)
    return parser


def _complete_run(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.app is None and options.embedded and ":" in options.embedded:
        # `--embedded app:pool`: argparse took the app for the directory, which is optional.
        options.app, options.embedded = options.embedded, ""
    if options.app is None:
        parser.error("APP is missing: name a pool as module:attribute, such as app:pool")


def _add_enqueue(commands: Any) -> None:
    parser = _add_command(commands, "enqueue", "put a job into Redis", _ENQUEUE, _ENQUEUE_MORE)
    add = parser.add_argument
    add("job", metavar="NAME", help="the name of the job")
    add("arguments", metavar="JSON", nargs="?", help="its arguments by name, as a JSON object (none)")
    add("--delay", metavar="SECONDS", help="run the job after so many seconds")
    add("--at", metavar="TIME", help="run the job at this time: ISO 8601 with UTC offset, or epoch seconds")
    add("--front", action="store_true", help="run the job before those that wait in its queue")
    add("--expires", metavar="SECONDS", help="drop the job if it has not started within so many seconds")
    add("--timeout", metavar="SECONDS", help="end an attempt of the job after so many seconds; 0 for no limit")
    add(
        "--wait",
        metavar="SECONDS",
        nargs="?",
        const="",
        help="wait until the job has ended, for so many seconds at most, and print its result as JSON; write it last",
    )
    add("--unique", action="store_true", help="do nothing if a unique job of the same name and arguments is waiting")
    add(
        "--unique-by",
        metavar="JSON",
        help="if a job of the same name and with this JSON object as its key is waiting, only have that run with these "
        "arguments, at its own time",
    )
    add("--id", metavar="ID", help="the id of the job: 1 to 64 letters, digits, _ and - (random)")
    _add_redis_options(parser)


def _add_job(commands: Any) -> None:
    parser = _add_command(commands, "job", "show a job", _JOB, _JOB_MORE)
    parser.add_argument("id", metavar="ID", help="the id of the job, as `asyncwork enqueue` prints it")
    parser.add_argument("--follow", action="store_true", help="print changes until the job has ended")
    parser.add_argument("--json", action="store_true", help="print a JSON object, for machines")
    _add_redis_options(parser)


def _add_cancel(commands: Any) -> None:
    parser = _add_command(commands, "cancel", "cancel a job", _CANCEL, _CANCEL_MORE)
    parser.add_argument("id", metavar="ID", help="the id of the job, as `asyncwork enqueue` prints it")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; the job's pool logs it")
    _add_redis_options(parser)


def _add_pools(commands: Any) -> argparse.ArgumentParser:
    texts = pools_arguments.DESCRIPTION, pools_arguments.EPILOG
    parser = _add_command(commands, "pools", "show worker pools, and have them be quiet or stop", *texts)
    pools_arguments.add_arguments(parser)
    _add_redis_options(parser)
    return parser


def _add_web(commands: Any) -> None:
    parser = _add_command(commands, "web", "show a namespace in a browser", _WEB, _WEB_MORE)
    add = parser.add_argument
    _add_redis_options(parser)
    add("--listen", metavar="HOST:PORT", default=_LISTEN, help=f"the address; port 0 takes any free port ({_LISTEN})")
    add("--auth", metavar="USER:PASSWORD", help="require this login (environment: ASYNCWORK_WEB_AUTH)")
    add("--read-only", action="store_true", help="show everything, change nothing")
    add("--insecure", action="store_true", help="accept requests from other machines without a password")
    add(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="accept requests to this host name, besides localhost; may be repeated",
    )
    add(
        "--trusted-proxy",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="trust X-Forwarded-Host and X-Forwarded-For of a proxy with this IP address or network; may be repeated",
    )
    add("--root-path", metavar="PATH", default="", help="the path at which a proxy serves it, such as /work")
    add(
        "--redact",
        metavar="MODULE:FUNCTION",
        help="hide secrets: the function takes a JobRecord and returns it as it may be shown "
        "(environment: ASYNCWORK_WEB_REDACT)",
    )
    add("--title", metavar="TEXT", help="the title of the pages (the namespace)")
    _add_log_options(parser)


def _add_doctor(commands: Any) -> None:
    parser = _add_command(commands, "doctor", "find problems of a namespace, and fix them", _DOCTOR, _DOCTOR_MORE)
    _add_redis_options(parser)
    parser.add_argument("--repair", action="store_true", help="fix what can be fixed safely, and examine again")
    parser.add_argument("--json", action="store_true", help="print a JSON object, for machines")


def _add_command(commands: Any, name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _add_redis_options(parser: argparse.ArgumentParser) -> None:
    redis = "redis://, redis+sentinel://, redis+cluster://, … (environment: ASYNCWORK_REDIS)"
    namespace = "the prefix of every key in Redis (environment: ASYNCWORK_NAMESPACE; work)"
    parser.add_argument("-n", "--namespace", metavar="NS", help=namespace)
    parser.add_argument("--redis", metavar="URL", help=redis)


def _add_log_options(parser: argparse.ArgumentParser) -> None:
    levels = ", ".join(LOG_LEVELS).lower()
    parser.add_argument("--log-level", metavar="LEVEL", help=f"{levels} (environment: ASYNCWORK_LOG_LEVEL; info)")
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        help="lines for people, or JSON objects (environment: ASYNCWORK_LOG_FORMAT; text)",
    )
