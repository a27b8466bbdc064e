"""Retries, deletes and cancels the jobs of ``asyncwork jobs``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from .._jobs.printable import plural, printable
from ..errors import RedisUnavailable
from ..models.actions import ActionResult, CancelResult
from ..models.job_record import JobRecord
from .deletions import undo_line
from .errors import NothingMatches
from .job_selection import STEP_SECONDS, Selection
from .progress_bar import progress
from .session import Session, user

# Refs that one call acts on.
_SLICE = 100
# Up to so many jobs in a location, the deletion of those that match can be undone.
_MOST_UNDONE = 1000


class _Words(NamedTuple):
    """How an action is called.

    :ivar verb: in a question, such as ``Delete``.
    :ivar ing: while it goes on, such as ``deleting``.
    :ivar done: when it is done, such as ``deleted``.
    """

    verb: str
    ing: str
    done: str


_WORDS = {
    "retry": _Words("Retry", "retrying", "on their queues"),
    "rm": _Words("Delete", "deleting", "deleted"),
    "cancel": _Words("Cancel", "cancelling", "cancelled, or asked to end"),
}


class ActionOnJobs:
    """Counts the jobs that match, asks, and acts on them."""

    def __init__(self, session: Session, selection: Selection) -> None:
        self._session = session
        self._client = session.client
        self._selection = selection
        self._done = 0
        self._undo: list[str] = []

    async def run(self, verb: str, reason: str) -> None:
        """Run an action, and print what it has done.

        :raises NothingMatches: when no job matches, or the answer was no.
        :raises UsageError: when the question cannot be asked.
        """
        words = _WORDS[verb]
        chosen = await self._choose(verb) if self._selection.limit is not None else None
        matching, total = (len(chosen), 0) if chosen is not None else await self._count()
        if not matching:
            raise NothingMatches(f"no job in {self._selection.words()} matches")
        if verb != "retry":
            self._session.confirm(self._described(matching, chosen), self._question(verb, matching, total))
        try:
            if chosen is None:
                await self._act_on_all(verb, matching, reason)
            else:
                await self._act_on(verb, chosen, reason)
        except (asyncio.CancelledError, RedisUnavailable):
            # Ctrl-C or an outage ends the command; what it has done so far stands.
            if self._done:
                with suppress(OSError):
                    print(*self._report(words), sep="\n", file=sys.stderr)
            raise
        if not self._done:
            raise NothingMatches(
                f"no job of {self._selection.words()} was changed: what matched is gone, or is not a job"
            )
        self._session.print_lines(self._report(words), self._report(words)[0])

    def _report(self, words: _Words) -> list[str]:
        lines = [f"{plural(self._done, 'job')} of {self._selection.words()} {words.done}"]
        return lines + [undo_line(self._session, undo) for undo in self._undo]

    def _question(self, verb: str, matching: int, total: int) -> str:
        question = f"{_WORDS[verb].verb} {plural(matching, 'job')} of {self._selection.words()}?"
        can_undo = verb == "rm" and total <= _MOST_UNDONE
        return f"{question} It can{'' if can_undo else 'not'} be undone{' for ten minutes' if can_undo else ''}."

    def _described(self, matching: int, chosen: Sequence[JobRecord] | None) -> list[str]:
        if chosen is None:
            return [f"  {plural(matching, 'job')} of {self._selection.words()} {self._conditions()}"]
        names = Counter(each.name for each in chosen).most_common(5)
        return [f"  {plural(count, 'job')} named {printable(name)}" for name, count in names]

    def _conditions(self) -> str:
        query = self._selection.query
        given: dict[str, object] = {"name": query.name, "error": query.error, "text": query.text or None}
        given |= {"id": query.id, **{f"argument {name}": value for name, value in query.args.items()}}
        texts = [f"{label} {printable(str(value))}" for label, value in given.items() if value is not None]
        return f"with {', '.join(texts)}" if texts else "(all)"

    async def _choose(self, verb: str) -> list[JobRecord]:
        async with progress("searching") as bar:
            records, _ = await self._selection.records(self._client, bar)
        # A payload that is not a job can only be deleted.
        return records if verb == "rm" else [each for each in records if not each.reason]

    async def _count(self) -> tuple[int, int]:
        """Return how many jobs match, and how many there are."""
        location, query = self._selection.location, self._selection.query
        matching = looked = 0
        cursor = ""
        async with progress("counting") as bar:
            bar.total = (await self._client.jobs(location, per_page=1)).total
            while True:
                result = await self._client.count(location, query, cursor=cursor, seconds=STEP_SECONDS)
                matching, looked, cursor = matching + result.done, looked + result.looked, result.cursor
                bar.done = looked
                if not cursor:
                    return matching, looked

    async def _act_on_all(self, verb: str, matching: int, reason: str) -> None:
        location, query, client = self._selection.location, self._selection.query, self._client

        async def step(cursor: str) -> ActionResult:
            match verb:
                case "retry":
                    return await client.retry_matching(location, query, cursor=cursor, seconds=STEP_SECONDS)
                case "rm":
                    return await client.delete_matching(
                        location, query, cursor=cursor, seconds=STEP_SECONDS, who=user()
                    )
                case _:
                    return await client.cancel_matching(
                        location, query, cursor=cursor, seconds=STEP_SECONDS, reason=reason, who=user()
                    )

        async with progress(_WORDS[verb].ing) as bar:
            bar.total = matching
            cursor = ""
            while True:
                result = await step(cursor)
                self._add(result)
                bar.done, cursor = self._done, result.cursor
                if not cursor:
                    return

    def _add(self, result: ActionResult) -> None:
        self._done += result.done
        if result.undo:
            self._undo.append(result.undo)

    async def _act_on(self, verb: str, chosen: Sequence[JobRecord], reason: str) -> None:
        location, client = self._selection.location, self._client
        async with progress(_WORDS[verb].ing) as bar:
            bar.total = len(chosen)
            if verb == "cancel":
                for record in chosen:
                    done = await client.cancel(record.id, reason, who=user())
                    self._done += done is not CancelResult.GONE
                    bar.done = self._done
                return
            # One undo token for all, of a deletion that is not large.
            size = _MOST_UNDONE if verb == "rm" else _SLICE
            for start in range(0, len(chosen), size):
                refs = [each.ref for each in chosen[start : start + size]]
                if verb == "rm":
                    self._add(await client.delete(location, refs, who=user()))
                else:
                    self._add(await client.retry(location, refs))
                bar.done = self._done
