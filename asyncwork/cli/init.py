"""``asyncwork init``: writes a small app that runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._doctor.wording import shell_word
from .._jobs.printable import shown
from ..errors import UsageError
from . import streams
from .errors import FAILED, AppError

_APP = '''\
"""The background jobs of this project. `asyncwork dev app:pool` runs them."""

import asyncio

from asyncwork import Job, WorkerPool

# The namespace is the prefix of every key in Redis. The address of Redis is not in the code: `asyncwork dev` has its
# own, and in production the environment variable ASYNCWORK_REDIS holds it.
pool = WorkerPool(namespace="my_app")


# The function's name is the name of the job. The arguments of a job are JSON: they are checked against these types.
# A job that fails is retried; `max_fails` counts all attempts. From your code: await greet.enqueue("world")
@pool.job(max_fails=3)
async def greet(job: Job, name: str, times: int = 1) -> None:
    for _ in range(times):
        job.log.info("hello %s", name)
        await asyncio.sleep(0.1)


# A cron spec with seconds: at the start of each minute. However many processes run, the job is enqueued once.
@pool.periodic("0 * * * * *", tz="UTC")
async def tick(job: Job) -> None:
    job.log.info("another minute has passed")
'''


def init(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when a file is named instead of a directory.
    :raises AppError: when there is an app.py, or it cannot be written.
    :raises OutputError: when standard output cannot be written.
    """
    directory = Path(options.directory)
    if directory.suffix == ".py":
        raise UsageError(f"{shown(options.directory)} is a file: name its directory, and app.py is written there")
    path = directory / "app.py"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_APP)
    except FileExistsError:
        text = f"{path} exists, and is not overwritten: choose another directory"
        raise AppError(text, code=FAILED) from None
    except OSError as error:
        raise AppError(f"{path} cannot be written: {error.strerror or error}", code=FAILED) from None
    there = "" if options.directory == "." else f"cd {shell_word(options.directory)} && "
    lines = [
        f"wrote {path}. Run it, and enqueue a job in a second terminal in the same directory:",
        f"  {there}asyncwork dev app:pool",
        f"""  {there}asyncwork enqueue greet '{{"name": "world"}}'""",
    ]
    streams.print_result("\n".join(lines), f"{path} is written")
    return 0
