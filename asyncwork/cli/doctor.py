"""``asyncwork doctor``: tells what is wrong with a namespace, and mends what can be mended safely."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from ..client import WATCHED_FOR, Client, Diagnosis
from ..models import Problem
from . import settings
from .pasting import Pasting

_DESCRIPTION = f"""\
Tell what is wrong with a namespace, or threatens it: jobs that nobody runs, locks that have drifted, pools that are
gone, settings of Redis, clocks. Each with what to do. It may be at work meanwhile; what looks wrong is watched for
{WATCHED_FOR:g} seconds, and only what stays so is told.

It reads all keys of Redis, in steps, and up to 100,000 jobs. Without --repair it writes nothing.
"""

_EPILOG = """\
--repair does what is safe while pools run, tells each thing, and looks again: jobs of pools that are gone go back to
the front of their queues, and those pools are forgotten; locks are counted anew; queues where jobs wait are made known;
unique keys that are held for no job are freed. It deletes no job, touches nothing of a pool that lives, and changes no
setting of Redis.

exit codes:
  0  nothing is wrong (there may be notes)      2  bad usage
  1  something is wrong, or still is            3  Redis cannot be reached, refuses us, or is too old

examples:
  asyncwork doctor
  asyncwork doctor -n my_app --redis redis://10.0.0.5:6379/2
  asyncwork doctor -n my_app --repair
  asyncwork doctor -n my_app --json | jq '.faults[].kind'
"""

_WIDTH = 110


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="tell what is wrong with a namespace, and mend it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=doctor)
    settings.add_place(parser)
    parser.add_argument("--repair", action="store_true", help="mend what can be mended safely, and look again")
    parser.add_argument("--json", action="store_true", help="print a JSON object, for machines")


def doctor(options: argparse.Namespace) -> int:
    """Do what the options say; return the exit code.

    :raises UsageError: when an option cannot be right.
    :raises RedisUnusable: when Redis refuses, cannot be reached, or is too old.
    """
    url, namespace = settings.place(options)
    client = Client(url, namespace=namespace)
    if sys.stderr.isatty():
        print(f"looking; what looks wrong is watched for {WATCHED_FOR:g} s", file=sys.stderr)
    found, done = asyncio.run(_examine(client, repair=options.repair))
    pasting = Pasting(client.masked_url, namespace, given=options.redis is not None)
    found = replace(found, faults=_pasteable(found.faults, pasting), notes=_pasteable(found.notes, pasting))
    where = {"namespace": namespace, "redis": client.masked_url}
    print(_as_json(where, found, done) if options.json else "\n".join(_lines(where, found, done, options.repair)))
    return 1 if found.faults else 0


async def _examine(client: Client, *, repair: bool) -> tuple[Diagnosis, list[str]]:
    """Return how the namespace is, at last, and what was done."""
    async with client:
        found = await client.diagnose(WATCHED_FOR)
        done = [line async for line in client.repair(found)] if repair else []
        return await client.diagnose(WATCHED_FOR) if done else found, done


def _pasteable(threats: Sequence[Problem], pasting: Pasting) -> list[Problem]:
    return [replace(each, command=pasting.complete(each.command)) for each in threats]


def _as_json(where: dict[str, str], found: Diagnosis, done: Sequence[str]) -> str:
    fields = asdict(found)
    del fields["cures"]
    return json.dumps({**where, "healthy": not found.faults, "done": done, **fields}, indent=2)


def _lines(where: dict[str, str], found: Diagnosis, done: Sequence[str], repair: bool) -> Iterator[str]:
    for line in done:
        yield from _paragraph("done", line)
    if repair and not done:
        yield from _paragraph("done", "nothing: there is nothing that could be mended from here")
    for each in found.faults:
        yield from _told("wrong", each)
    for each in found.notes:
        yield from _told("note", each)
    if done or found.faults or found.notes:
        yield ""
    yield _verdict(found)
    yield f"namespace {where['namespace']!r} of {where['redis']}: {_looked_at(found)}"


def _told(word: str, threat: Problem) -> Iterator[str]:
    yield from _paragraph(word, threat.text)
    yield from _paragraph("", threat.remedy)
    if threat.command:
        # In one line, however long: it is to be pasted.
        yield f"{'':7}$ {threat.command}"


def _paragraph(word: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{word:7}",
        subsequent_indent=" " * 7,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(found: Diagnosis) -> str:
    faults, notes = len(found.faults), len(found.notes)
    what = f"{_plural(faults, 'thing is', 'things are')} wrong" if faults else "nothing is wrong"
    return f"{what}, {_plural(notes, 'note', 'notes')}" if notes else what


def _looked_at(found: Diagnosis) -> str:
    counts = [
        _plural(found.pools, "pool", "pools"),
        _plural(found.queues, "queue", "queues"),
        _plural(found.jobs, "job", "jobs") + " unfinished",
    ]
    return f"{', '.join(counts)}; Redis {found.version}, persistence: {found.persistence}"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
