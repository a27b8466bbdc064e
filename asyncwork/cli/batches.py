"""``asyncwork batches``: shows batches and flows; cancels the members of one, or retries those that are dead."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

from .._admin.flow_graph import mermaid
from .._environment import number
from .._jobs.option_checks import check_whole
from .._jobs.printable import plural, printable, shown
from ..errors import UsageError
from ..models.batches import BatchFailures, BatchStatus
from ..models.flows import FlowStatus
from ..models.job_status import JobStatus
from . import json_text, settings
from .errors import NothingMatches
from .flow_tree import groups_json, tree_lines
from .progress_bar import progress
from .session import Session, user
from .table import Column, Row, table
from .terminal import fit
from .times import age, time_and_age

_MOST, _DEFAULT = 200, 20
_BAR = 20
# Groups of a flow that `show` prints, however low the limit is.
_LEAST_GROUPS = 100

_COLUMNS = (
    Column("ID"),
    Column("NAME", shrinks=True),
    Column("KIND"),
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
    if verb == "graph" and len(options.ids) > 1:
        raise UsageError("graph shows one flow: give one ID")
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
                case "graph":
                    await self._graph(chosen[0])
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
            flow = await self._client.flow(batch.id) if batch.is_flow else None
            if self._as_document:
                jobs = [json_text.object_text(_failure_json(each)) for each in failures.jobs]
                fields = batch_json(batch) | ({} if flow is None else flow_json(flow))
                objects.append(json_text.object_text(fields, failures=f"[{', '.join(jobs)}]"))
            else:
                lines += ([""] if lines else []) + self._batch_lines(batch, failures, flow, now)
        if self._as_document:
            lines = [json_text.document_text(self._session.target, batches=objects)]
        self._print(lines)

    async def _graph(self, batch: BatchStatus) -> None:
        flow = await self._client.flow(batch.id) if batch.is_flow else None
        if flow is None:
            raise NothingMatches(f"batch {batch.id} is no flow: its members do not run after one another")
        self._print(mermaid(flow).splitlines())

    def _batch_lines(
        self, batch: BatchStatus, failures: BatchFailures, flow: FlowStatus | None, now: float
    ) -> list[str]:
        title = f"{_kind(batch)} {batch.id}{f' {printable(batch.name)}' if batch.name else ''}: {batch.state}"
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
            facts.append(f"its creator may add more {_members(batch)}s")
        if batch.tags:
            facts.append(f"tags: {printable(', '.join(batch.tags))}")
        if batch.parent:
            facts.append(f"a member of batch {batch.parent}")
        if batch.waiting:
            facts.append(f"not called yet: {', '.join(f'on_{each}' for each in batch.waiting)}")
        if batch.cancellation:
            facts.append(printable(batch.cancellation))
        if flow is not None:
            facts += [
                f"after a failure: {flow.on_failure}",
                *([f"unique: {printable(flow.unique)}"] if flow.unique else []),
            ]
            facts += tree_lines(flow, max(self._limit, _LEAST_GROUPS))
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
            alone = f"the {_kind(chosen[0])} has" if len(chosen) == 1 else "all of them have"
            raise NothingMatches(f"{alone} ended already")
        what = [f"  {plural(each.left, _members(each))} of {_kind(each)} {_label(each)}" for each in left]
        total = sum(each.left for each in left)
        self._session.confirm(what, f"Cancel {plural(total, _members(left[0]) if len(left) == 1 else 'job')}?")
        for each in left:
            async with progress(f"cancelling the {_members(each)}s of {_label(each)}"):
                now = await self._client.cancel_batch(each.id, who=user())
            if now is not None:
                line = (
                    f"{_kind(each)} {_label(each)} is cancelled: "
                    f"{plural(now.cancelled - each.cancelled, _members(each))} ended by that, "
                    f"{now.left} left, which are asked to end or do not start"
                )
                self._session.print_lines([line], line)

    async def _retry(self, chosen: Sequence[BatchStatus]) -> None:
        done = 0
        for each in chosen:
            async with progress(f"retrying the dead {_members(each)}s of {_label(each)}"):
                result = await self._client.retry_batch(each.id)
            done += result.done
            queues = "its queue" if result.done == 1 else "their queues"
            line = f"{_kind(each)} {_label(each)}: {plural(result.done, f'dead {_members(each)}')} put on {queues}"
            if result.done:
                self._session.print_lines([line], line)
        if not done:
            what = f"{_members(chosen[0])} of the {_kind(chosen[0])}" if len(chosen) == 1 else "job of these batches"
            raise NothingMatches(f"no {what} is dead")


def _kind(batch: BatchStatus) -> str:
    return "flow" if batch.is_flow else "batch"


def _members(batch: BatchStatus) -> str:
    """Return what one of its jobs is called."""
    return "node" if batch.is_flow else "member"


def _label(batch: BatchStatus) -> str:
    return f"{batch.id}{f' ({printable(batch.name)})' if batch.name else ''}"


def _row(each: BatchStatus, now: float) -> Row:
    counts = (each.done, each.left, each.failed, each.cancelled, each.total)
    texts = [each.id, each.name or "-", _kind(each), each.state.value, *(f"{count:,}" for count in counts)]
    return Row([*texts, age(min(each.created_at, now), now), ", ".join(each.tags) or "-"])


def _failure_line(job: JobStatus) -> str:
    name, error = printable(job.name or "job"), job.error.partition("\n")[0]
    return f"failed: {name} {job.id} {job.state}{f': {printable(error)}' if error else ''}"


def batch_json(batch: BatchStatus) -> dict[str, Any]:
    """Return a batch as a JSON object has it."""
    return {
        "id": batch.id,
        "kind": _kind(batch),
        "name": batch.name,
        "tags": list(batch.tags),
        "state": batch.state.value,
        "total": batch.total,
        "done": batch.done,
        "left": batch.left,
        "failed": batch.failed,
        "cancelled": batch.cancelled,
        "created_at": batch.created_at,
        "added_at": batch.added_at,
        "ended_at": batch.ended_at,
        "open": batch.open,
        "waiting": list(batch.waiting),
        "cancellation": batch.cancellation,
        "parent": batch.parent,
        "incomplete": batch.incomplete,
    }


def flow_json(flow: FlowStatus) -> dict[str, Any]:
    """Return what a JSON object of a batch has in addition, if that is a flow."""
    return {"on_failure": flow.on_failure, "unique": flow.unique, "groups": groups_json(flow.groups)}


def _failure_json(job: JobStatus) -> dict[str, Any]:
    return {"id": job.id, "name": job.name, "state": job.state.value, "error": job.error, "ended_at": job.ended_at}
