"""``asyncwork periodic``: shows periodic jobs; pauses, runs, adds, edits, resets and removes them."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .._environment import number
from .._jobs.option_checks import check_whole
from .._jobs.printable import plural, printable, shown
from ..errors import UsageError
from ..models.periodic import PeriodicState
from . import json_text, settings
from .enqueue import read_arguments
from .errors import NothingMatches
from .periodic_text import full_lines, job_json, job_lines, outlook, run_json, run_lines, summary
from .session import Session, user

_MOST_RUNS, _DEFAULT_RUNS = 100, 20
# The verbs that take an option.
_TAKES = {"spec": ("edit",), "tz": ("add", "edit"), "args": ("edit",), "limit": ("history",)}


def periodic(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid, or a periodic job cannot be changed so.
    :raises NothingMatches: when there is no such periodic job, or the answer was no.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    session = Session(options)
    _check(options)
    asyncio.run(_Periodic(session, options).run())
    return 0


def _check(options: argparse.Namespace) -> None:
    """Check what argparse cannot.

    :raises UsageError: when the command line is invalid.
    """
    verb, count = options.verb, len(options.keys)
    for option, verbs in _TAKES.items():
        if getattr(options, option) is not None and verb not in verbs:
            raise UsageError(f"--{option} is for {' and '.join(verbs)}")
    if options.json and verb not in ("ls", "show", "history"):
        raise UsageError("--json is for ls, show and history")
    if verb == "ls":
        if count:
            raise UsageError("ls shows all periodic jobs, and takes no KEY: use show")
    elif verb == "add":
        if count not in (2, 3):
            raise UsageError("add needs a schedule and a name: asyncwork periodic add '0 30 2 * * *' cleanup")
    elif not count:
        raise UsageError(f"{verb} needs the key of a periodic job, as `asyncwork periodic` shows it")
    elif verb in ("edit", "history") and count > 1:
        raise UsageError(f"{verb} takes one KEY. A key with blanks needs quotes")


def _limit(text: str) -> int:
    limit = number(text, int, "a whole number")
    check_whole(limit, "it", 1, _MOST_RUNS)
    return limit


class _Periodic:
    def __init__(self, session: Session, options: argparse.Namespace) -> None:
        self._session = session
        self._client = session.client
        self._options = options
        given = options.limit
        self._limit = _DEFAULT_RUNS if given is None else settings.read("--limit", given, _limit)

    async def run(self) -> None:
        options = self._options
        async with self._client:
            if options.verb == "add":
                await self._add(*options.keys)
                return
            chosen = _chosen(await self._client.periodic_jobs(), list(dict.fromkeys(options.keys)))
            client = self._client
            match options.verb:
                case "ls" | "show":
                    self._show(chosen, whole=options.verb == "show")
                case "history":
                    await self._history(chosen[0])
                case "edit":
                    await self._edit(chosen[0])
                case "run":
                    for job in chosen:
                        job_id = await client.run_periodic(job.key, who=user())
                        self._report(job, f"is enqueued as job {job_id}")
                case "pause":
                    await self._change(chosen, client.pause_periodic, "is paused")
                case "unpause":
                    await self._change(chosen, client.unpause_periodic, "is not paused")
                case "reset":
                    self._confirm(chosen, "Forget what was edited in")
                    await self._change(chosen, client.reset_periodic, "is what the code says")
                case _:
                    self._confirm(chosen, "Remove")
                    await self._change(chosen, client.remove_periodic, "is removed")

    def _print(self, lines: Sequence[str]) -> None:
        self._session.print_lines(lines, f"namespace {self._session.namespace} was read")

    def _report(self, job: PeriodicState, what: str, *more: str) -> None:
        line = f"periodic job {printable(job.key)} {what}"
        self._session.print_lines([line, *more], line)

    def _confirm(self, chosen: Sequence[PeriodicState], what: str) -> None:
        self._session.confirm(
            [f"  {summary(each)}" for each in chosen], f"{what} {plural(len(chosen), 'periodic job')}?"
        )

    async def _change(self, chosen: Sequence[PeriodicState], change: Callable[..., Awaitable[None]], done: str) -> None:
        for job in chosen:
            await change(job.key, who=user())
            self._report(job, done)

    def _show(self, chosen: Sequence[PeriodicState], *, whole: bool) -> None:
        session = self._session
        if self._options.json:
            self._print([json_text.document_text(session.target, periodic=map(job_json, chosen))])
        elif whole:
            blocks = ["\n".join(full_lines(session, each)) for each in chosen]
            self._print(["\n\n".join(blocks)])
        else:
            self._print(job_lines(session, chosen))

    async def _history(self, job: PeriodicState) -> None:
        session = self._session
        runs = await self._client.periodic_runs(job.key, self._limit)
        if self._options.json:
            target = {**session.target, "key": job.key}
            self._print([json_text.document_text(target, runs=map(run_json, runs))])
        else:
            self._print(run_lines(session, runs))

    async def _add(self, spec: str, name: str, arguments: str | None = None) -> None:
        zone = self._options.tz or None
        args = None if arguments is None else read_arguments(arguments)
        key = await self._client.add_periodic(spec, name, args, tz=zone, who=user())
        (job,) = _chosen(await self._client.periodic_jobs(), [key])
        self._report(job, "is added", *outlook(job))

    async def _edit(self, job: PeriodicState) -> None:
        options = self._options
        arguments = None if options.args is None else settings.read("--args", options.args, read_arguments)
        zone: Mapping[str, Any] = {} if options.tz is None else {"tz": options.tz or None}
        if options.spec is None and arguments is None and not zone:
            raise UsageError("edit needs --spec, --tz or --args")
        await self._client.edit_periodic(job.key, spec=options.spec, arguments=arguments, who=user(), **zone)
        (job,) = _chosen(await self._client.periodic_jobs(), [job.key])
        self._report(job, "is changed", *outlook(job))


def _chosen(known: Sequence[PeriodicState], keys: Sequence[str]) -> list[PeriodicState]:
    """Return the periodic jobs with these keys or names, in their order; all without keys.

    :raises NothingMatches: when there is none with one of them.
    :raises UsageError: when several have one of the names.
    """
    return [_one(known, key) for key in keys] if keys else list(known)


def _one(known: Sequence[PeriodicState], key: str) -> PeriodicState:
    by_key = {each.key: each for each in known}
    if key in by_key:
        return by_key[key]
    named = [each for each in known if each.name == key]
    if len(named) == 1:
        return named[0]
    if named:
        keys = ", ".join(shlex.quote(printable(each.key)) for each in named)
        raise UsageError(f"{len(named)} periodic jobs have the name {shown(key)}: give the key of one, {keys}")
    close = difflib.get_close_matches(key, [*by_key, *(each.name for each in known)], n=1)
    hint = f"; did you mean {shown(close[0])}?" if close else ""
    raise NothingMatches(f"there is no periodic job {shown(key)} in this namespace{hint}")
