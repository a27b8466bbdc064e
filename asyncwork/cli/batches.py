"""``asyncwork batches``: shows batches; cancels the members of one, or retries those that are dead."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

from .._environment import number
from .._jobs.option_checks import check_whole
from .._jobs.printable import plural, printable, shown
from ..errors import UsageError
from ..models.batches import BatchFailures, BatchStatus
from ..models.job_status import JobStatus
from . import json_text, settings
from .errors import NothingMatches
from .progress_bar import progress
from .session import Session, user
from .table import Column, Row, table
from .terminal import fit
from .times import age, time_and_age

_MOST, _DEFAULT = 200, 20
_BAR = 20

_COLUMNS = (
    Column("ID"),
    Column("NAME", shrinks=True),
    Column("STATE"),
    Column("DONE", right=True),
    Column("LEFT", right=True),
    Column("FAILED", right=True),
    Column("CANCELLED", right=True),
    Column("TOTAL", right=True),
    Column("CREATED", right=True),
    Column("TAGS", shrinks=True),
)


def batches(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option or an id is invalid.
    :raises NothingMatches: when there is no such batch, or the answer was no.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    session, verb = Session(options), options.verb
    if verb == "ls" and options.ids:
        raise UsageError("ls shows all batches, and takes no ID: use show")
    if verb != "ls" and not options.ids:
        raise UsageError(f"{verb} needs the id of a batch, as `asyncwork batches` shows it")
    if verb not in ("ls", "show") and (options.json or options.limit is not None):
        raise UsageError(f"{'--json' if options.json else '--limit'} is for ls and show")
    limit = _DEFAULT if options.limit is None else settings.read("--limit", options.limit, _limit)
    asyncio.run(_Batches(session, limit, as_document=options.json).run(verb, list(dict.fromkeys(options.ids))))
    return 0


def _limit(text: str) -> int:
    limit = number(text, int, "a whole number")
    check_whole(limit, "it", 1, _MOST)
    return limit


class _Batches:
    def __init__(self, session: Session, limit: int, *, as_document: bool) -> None:
        self._session = session
        self._client = session.client
        self._limit = limit
        self._as_document = as_document

    async def run(self, verb: str, ids: Sequence[str]) -> None:
        async with self._client:
            if verb == "ls":
                await self._list()
                return
            chosen = [await self._find(batch_id) for batch_id in ids]
            match verb:
                case "show":
                    await self._show(chosen)
                case "cancel":
                    await self._cancel(chosen)
                case _:
                    await self._retry(chosen)

    async def _find(self, batch_id: str) -> BatchStatus:
        found = await self._client.batch(batch_id)
        if found is None:
            raise NothingMatches(f"there is no batch {shown(batch_id)} in this namespace, or it is not kept any more")
        return found

    def _print(self, lines: Sequence[str]) -> None:
        self._session.print_lines(lines, f"namespace {self._session.namespace} was read")

    async def _list(self) -> None:
        page = await self._client.batches(per_page=self._limit)
        if self._as_document:
            objects = (json_text.object_text(batch_json(each)) for each in page.batches)
            self._print([json_text.document_text(self._session.target, batches=objects)])
        elif page.batches:
            now, session = time.time(), self._session
            rows = [_row(each, now) for each in page.batches]
            lines = table(_COLUMNS, rows, session.width, colors=session.colors)
            if page.total > len(page.batches):
                lines.append(f"… and {page.total - len(page.batches):,} more: add --limit")
            self._print(lines)
        else:
            self._print(["no batches"])

    async def _show(self, chosen: Sequence[BatchStatus]) -> None:
        lines, objects, now = list[str](), list[str](), time.time()
        for batch in chosen:
            failures = await self._client.batch_failures(batch.id, per_page=self._limit)
            if self._as_document:
                jobs = [json_text.object_text(_failure_json(each)) for each in failures.jobs]
                objects.append(json_text.object_text(batch_json(batch), failures=f"[{', '.join(jobs)}]"))
            else:
                lines += ([""] if lines else []) + self._batch_lines(batch, failures, now)
        if self._as_document:
            lines = [json_text.document_text(self._session.target, batches=objects)]
        self._print(lines)

    def _batch_lines(self, batch: BatchStatus, failures: BatchFailures, now: float) -> list[str]:
        title = f"batch {batch.id}{f' {printable(batch.name)}' if batch.name else ''}: {batch.state}"
        ended = batch.total - batch.left
        bar = "#" * (round(_BAR * ended / batch.total) if batch.total else _BAR)
        facts = [
            f"[{bar:<{_BAR}}] {ended:,}/{batch.total:,} ended",
            f"done {batch.done:,}, failed {batch.failed:,}, cancelled {batch.cancelled:,}, left {batch.left:,}",
            f"created {time_and_age(batch.created_at, now)}",
        ]
        if batch.ended_at is not None:
            facts.append(f"ended {time_and_age(batch.ended_at, now)}")
        if batch.open:
            facts.append("its creator may add more members")
        if batch.tags:
            facts.append(f"tags: {printable(', '.join(batch.tags))}")
        if batch.parent:
            facts.append(f"a member of batch {batch.parent}")
        if batch.waiting:
            facts.append(f"not called yet: {', '.join(f'on_{each}' for each in batch.waiting)}")
        if batch.cancellation:
            facts.append(printable(batch.cancellation))
        facts += [_failure_line(each) for each in failures.jobs]
        if failures.total > len(failures.jobs):
            facts.append(f"… and {failures.total - len(failures.jobs):,} more that have failed: add --limit")
        width = self._session.width
        texts = [f"  {each}" for each in facts]
        return [
            self._session.styled(title, "bold"),
            *(texts if width is None else (fit(each, width) for each in texts)),
        ]

    async def _cancel(self, chosen: Sequence[BatchStatus]) -> None:
        left = [each for each in chosen if not each.ended]
        if not left:
            raise NothingMatches(f"{'the batch has' if len(chosen) == 1 else 'the batches have'} ended already")
        what = [f"  {plural(each.left, 'member')} of batch {_label(each)}" for each in left]
        self._session.confirm(what, f"Cancel {plural(sum(each.left for each in left), 'member')}?")
        for each in left:
            async with progress(f"cancelling the members of {_label(each)}"):
                now = await self._client.cancel_batch(each.id, who=user())
            if now is not None:
                line = (
                    f"batch {_label(each)} is cancelled: {plural(now.cancelled - each.cancelled, 'member')} ended by "
                    f"that, {now.left} left, which do not start"
                )
                self._session.print_lines([line], line)

    async def _retry(self, chosen: Sequence[BatchStatus]) -> None:
        done = 0
        for each in chosen:
            async with progress(f"retrying the dead members of {_label(each)}"):
                result = await self._client.retry_batch(each.id)
            done += result.done
            line = f"batch {_label(each)}: {plural(result.done, 'dead member')} put on their queues"
            if result.done:
                self._session.print_lines([line], line)
        if not done:
            raise NothingMatches(f"no member of {'the batch' if len(chosen) == 1 else 'the batches'} is dead")


def _label(batch: BatchStatus) -> str:
    return f"{batch.id}{f' ({printable(batch.name)})' if batch.name else ''}"


def _row(each: BatchStatus, now: float) -> Row:
    counts = (each.done, each.left, each.failed, each.cancelled, each.total)
    texts = [each.id, each.name or "-", each.state.value, *(f"{count:,}" for count in counts)]
    return Row([*texts, age(min(each.created_at, now), now), ", ".join(each.tags) or "-"])


def _failure_line(job: JobStatus) -> str:
    name, error = printable(job.name or "job"), job.error.partition("\n")[0]
    return f"failed: {name} {job.id} {job.state}{f': {printable(error)}' if error else ''}"


def batch_json(batch: BatchStatus) -> dict[str, Any]:
    """Return a batch as a JSON object has it."""
    return {
        "id": batch.id,
        "name": batch.name,
        "tags": list(batch.tags),
        "state": batch.state.value,
        "total": batch.total,
        "done": batch.done,
        "left": batch.left,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        "created_at": batch.created_at,
        "ended_at": batch.ended_at,
        "open": batch.open,
        "waiting": list(batch.waiting),
        "cancellation": batch.cancellation,
        "parent": batch.parent,
    }


def _failure_json(job: JobStatus) -> dict[str, Any]:
    return {"id": job.id, "name": job.name, "state": job.state.value, "error": job.error, "ended_at": job.ended_at}
