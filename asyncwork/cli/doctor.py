"""``asyncwork doctor``: finds problems of a namespace, and fixes those that can be fixed safely."""

from __future__ import annotations

import argparse
import asyncio
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from .._jobs.printable import plural
from ..client import WATCHED_FOR, Client
from ..models.diagnosis import Diagnosis, Problem
from . import settings, streams
from .command_hints import CommandHints
from .progress_bar import progress

_WIDTH = 110


def doctor(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid.
    :raises RedisUnavailable: when Redis refuses the connection, cannot be reached, or is too old.
    :raises OutputError: when standard output cannot be written.
    """
    url, namespace = settings.redis_options(options)
    client = Client(url, namespace=namespace)
    found, done = asyncio.run(_examine(client, repair=options.repair))
    hints = CommandHints(client.masked_url, namespace, given=options.redis is not None)
    found = replace(found, problems=_complete(found.problems, hints), notes=_complete(found.notes, hints))
    target = {"namespace": namespace, "redis": client.masked_url}
    text = _as_json(target, found, done) if options.json else "\n".join(_lines(target, found, done, options.repair))
    repaired = f", and {plural(len(done), 'repair')} made" if done else ""
    streams.print_result(text, f"namespace {namespace} was examined{repaired}")
    return 1 if found.problems else 0


async def _examine(client: Client, *, repair: bool) -> tuple[Diagnosis, list[str]]:
    """Return the diagnosis, after any repairs, and a line for each repair."""
    text = f"examining; what looks wrong is checked again for {WATCHED_FOR:g} s"
    async with client, progress(text):
        found = await client.diagnose(WATCHED_FOR)
        done = [line async for line in client.repair(found)] if repair else []
        return await client.diagnose(WATCHED_FOR) if done else found, done


def _complete(problems: Sequence[Problem], hints: CommandHints) -> list[Problem]:
    return [replace(each, command=hints.complete(each.command)) for each in problems]


def _as_json(target: dict[str, str], found: Diagnosis, done: Sequence[str]) -> str:
    fields = asdict(found)
    del fields["repairs"]
    return json.dumps({**target, "healthy": not found.problems, "done": done, **fields}, indent=2)


def _lines(target: dict[str, str], found: Diagnosis, done: Sequence[str], repair: bool) -> Iterator[str]:
    for line in done:
        yield from _paragraph("done", line)
    if repair and not done:
        yield from _paragraph("done", "nothing: there is nothing that --repair can fix")
    for each in found.problems:
        yield from _describe("wrong", each)
    for each in found.notes:
        yield from _describe("note", each)
    if done or found.problems or found.notes:
        yield ""
    yield _verdict(found)
    yield f"namespace {target['namespace']!r} of {target['redis']}: {_summary(found)}"


def _describe(label: str, problem: Problem) -> Iterator[str]:
    yield from _paragraph(label, problem.text)
    yield from _paragraph("", problem.remedy)
    if problem.command:
        # In one line, however long, so that it can be copied.
        yield f"{'':7}$ {problem.command}"


def _paragraph(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"{label:7}",
        subsequent_indent=" " * 7,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(found: Diagnosis) -> str:
    problems = _plural(len(found.problems), "problem", "problems") if found.problems else "no problems"
    return f"{problems}, {_plural(len(found.notes), 'note', 'notes')}" if found.notes else problems


def _summary(found: Diagnosis) -> str:
    counts = [
        _plural(found.pools, "pool", "pools"),
        _plural(found.queues, "queue", "queues"),
        _plural(found.jobs, "unfinished job", "unfinished jobs"),
    ]
    return f"{', '.join(counts)}; Redis {found.version}, persistence: {found.persistence}"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
