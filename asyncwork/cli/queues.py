"""``asyncwork queues``: shows queues and charts of them; pauses, limits, empties and forgets them."""

from __future__ import annotations

import argparse
import asyncio
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._admin.metrics import RATE_MINUTES, RUN_DAYS
from .._environment import number
from .._jobs.option_checks import check_maximum
from .._jobs.printable import plural, printable, shown
from ..errors import UsageError
from ..models.actions import ActionResult
from ..models.queues import QueueInfo
from ..rate import Rate
from . import json_text, settings
from .deletions import undo_line
from .errors import NothingMatches
from .progress_bar import progress
from .queue_charts import chart_json, hour_lines, run_time_lines
from .session import Session, user
from .snapshot import queue_json, queue_lines, queue_rows
from .tenants import TenantChange, change_tenant, names_of_tenant, read_change, show_tenants
from .terminal import has_blocks


def queues(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid, or a queue cannot be forgotten.
    :raises NothingMatches: when there is no such queue, or the answer was no.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    session, names, limit = Session(options), list(dict.fromkeys(options.names)), _Limit()
    change, tenant = read_change(options), ""
    if options.verb == "tenant":
        names, tenant = names_of_tenant(options.names, change)
    elif not change.is_empty:
        raise UsageError(
            "--pause, --unpause, --concurrency, --rate and --weight are for tenant: queues tenant NAME TENANT"
        )
    if options.verb in _EXAMPLES:
        example = _EXAMPLES[options.verb]
        if len(options.names) != 2:
            what = "a rate" if options.verb == "rate" else "a number"
            text = f"needs the name of a queue, and {what}: asyncwork queues {options.verb} {example}"
            raise UsageError(f"{options.verb} {text}")
        names, limit = options.names[:1], _limit_of(options)
    elif options.verb != "ls" and not names:
        raise UsageError(f"{options.verb} needs the name of a queue: asyncwork queues {options.verb} NAME")
    if options.verb == "tenants" and len(names) > 1:
        raise UsageError("tenants shows one queue: asyncwork queues tenants NAME")
    if options.verb not in ("ls", "show", "tenants") and options.json:
        raise UsageError("--json is for ls, show and tenants")
    if options.verb != "rate" and options.burst is not None:
        raise UsageError("--burst is for rate")
    changing = _Queues(session, as_document=options.json, tenant=tenant, change=change)
    asyncio.run(changing.run(options.verb, names, limit))
    return 0


def _cap(text: str) -> int:
    cap = number(text, int, "a whole number")
    check_maximum(cap, "max_concurrency")
    return cap


def _max_waiting(text: str) -> int | None:
    if text == "default":
        return None
    limit = number(text, int, "a whole number, or 'default'")
    check_maximum(limit, "max_waiting")
    return limit


@dataclass(frozen=True, slots=True)
class _Limit:
    """The limits of a queue that a command line gives.

    :ivar cap: for the verb ``cap``.
    :ivar max_waiting: for the verb ``max-waiting``; ``None`` for what the code says.
    :ivar rate: for the verb ``rate``; ``None`` for any number of jobs.
    :ivar by_code: for the verb ``rate``: whether the rate of the code is to hold.
    """

    cap: int = 0
    max_waiting: int | None = None
    rate: Rate | None = None
    by_code: bool = False


def _rate(text: str, burst: str | None) -> _Limit:
    """Return what the verb ``rate`` was given.

    :raises UsageError: when it is not a rate.
    """
    if text in ("none", "code"):
        if burst is not None:
            raise UsageError(f"--burst needs a rate, such as 100/60, not {text}")
        return _Limit(by_code=text == "code")
    rate = settings.read("RATE", text, Rate.parse)
    if burst is None:
        return _Limit(rate=rate)
    if text.count("/") == 2:
        raise UsageError(f"--burst is in the rate {text} already: pass one of them")
    return _Limit(rate=settings.read("--burst", burst, lambda each: Rate(rate.count, rate.per, _burst(each))))


def _burst(text: str) -> int:
    return number(text, int, "a whole number")


# The verbs that set a limit, each with an example of what follows.
_EXAMPLES = {"cap": "export 2", "max-waiting": "export 10000", "rate": "export 100/60"}


def _limit_of(options: argparse.Namespace) -> _Limit:
    text = options.names[1]
    match options.verb:
        case "cap":
            return _Limit(settings.read("N", text, _cap))
        case "max-waiting":
            return _Limit(max_waiting=settings.read("N", text, _max_waiting))
        case _:
            return _rate(text, options.burst)


class _Queues:
    def __init__(self, session: Session, *, as_document: bool, tenant: str, change: TenantChange) -> None:
        self._tenant = tenant
        self._change = change
        self._session = session
        self._client = session.client
        self._as_document = as_document

    async def run(self, verb: str, names: Sequence[str], limit: _Limit) -> None:
        async with self._client:
            chosen = _named(await self._client.queues(), names)
            match verb:
                case "ls":
                    await self._list(chosen)
                case "show":
                    await self._show(chosen)
                case "pause":
                    await self._pause(chosen)
                case "unpause":
                    await self._unpause(chosen)
                case "cap":
                    await self._cap(chosen[0], limit.cap)
                case "max-waiting":
                    await self._set_max_waiting(chosen[0], limit.max_waiting)
                case "rate":
                    await self._rate(chosen[0], limit)
                case "tenants":
                    queue = chosen[0].name
                    self._print(await show_tenants(self._session, self._client, queue, as_document=self._as_document))
                case "tenant":
                    line = await change_tenant(self._client, chosen[0].name, self._tenant, self._change)
                    self._session.print_lines([line], line)
                case "empty":
                    await self._empty(chosen)
                case _:
                    await self._forget(chosen)

    def _print(self, lines: Sequence[str]) -> None:
        self._session.print_lines(lines, f"namespace {self._session.namespace} was read")

    def _report(self, queue: QueueInfo, what: str, *more: str) -> None:
        line = f"queue {printable(queue.name)} {what}"
        self._session.print_lines([line, *more], line)

    async def _list(self, chosen: Sequence[QueueInfo]) -> None:
        rows = queue_rows(chosen, await self._client.recent(RATE_MINUTES))
        if self._as_document:
            objects = (json_text.object_text(queue_json(row)) for row in rows)
            self._print([json_text.document_text(self._session.target, queues=objects)])
        else:
            self._print(queue_lines(self._session, rows))

    async def _show(self, chosen: Sequence[QueueInfo]) -> None:
        rows = queue_rows(chosen, await self._client.recent(RATE_MINUTES))
        lines, objects, blocks = list[str](), list[str](), has_blocks()
        for row in rows:
            minutes = await self._client.minutes(60, queue=row.queue.name)
            run_times = await self._client.run_times(row.queue.name, RUN_DAYS)
            if self._as_document:
                objects.append(json_text.object_text(queue_json(row) | chart_json(minutes, run_times, RUN_DAYS)))
            else:
                lines += ([""] if lines else []) + queue_lines(self._session, [row]) + _options_of(row.queue)
                lines += ["", *hour_lines(minutes, blocks=blocks), *run_time_lines(run_times, RUN_DAYS, blocks=blocks)]
        if self._as_document:
            lines = [json_text.document_text(self._session.target, queues=objects)]
        self._print(lines)

    async def _pause(self, chosen: Sequence[QueueInfo]) -> None:
        for queue in chosen:
            await self._client.pause(queue.name)
            self._report(queue, f"is paused; {plural(queue.count, 'job')} waiting")

    async def _unpause(self, chosen: Sequence[QueueInfo]) -> None:
        for queue in chosen:
            await self._client.unpause(queue.name)
            self._report(queue, f"is not paused; {plural(queue.count, 'job')} waiting")

    async def _cap(self, queue: QueueInfo, cap: int) -> None:
        await self._client.set_max_concurrency(queue.name, cap)
        limit = f"runs at most {plural(cap, 'job')} at once" if cap else "runs any number of jobs at once"
        self._report(queue, f"{limit}, over all pools")

    async def _set_max_waiting(self, queue: QueueInfo, most: int | None) -> None:
        await self._client.set_max_waiting(queue.name, most)
        if most is None:
            self._report(queue, f"takes as many jobs as its enqueuers say; {plural(queue.count, 'job')} waiting")
        else:
            limit = (
                f"takes at most {plural(most, 'waiting job')} from enqueuers that have a limit"
                if most
                else "takes any number of waiting jobs"
            )
            self._report(queue, f"{limit}; {plural(queue.count, 'job')} waiting")

    async def _rate(self, queue: QueueInfo, limit: _Limit) -> None:
        if limit.by_code:
            await self._client.reset_rate(queue.name)
            self._report(queue, "has the rate of the code of its pools")
            return
        await self._client.set_rate(queue.name, limit.rate)
        if limit.rate is None:
            self._report(queue, "starts any number of jobs, whatever the code says, until its rate is reset")
        else:
            what = f"starts at most {limit.rate.label}, and {limit.rate.tokens:,} at once, over all pools"
            self._report(queue, f"{what}, until its rate is reset")

    async def _empty(self, chosen: Sequence[QueueInfo]) -> None:
        waiting = sum(queue.count for queue in chosen)
        if not waiting:
            raise NothingMatches(f"no job waits in {_list_of(chosen)}")
        what = [f"  {plural(queue.count, 'job')} waiting in queue {printable(queue.name)}" for queue in chosen]
        self._session.confirm(what, f"Delete {plural(waiting, 'job')}? It can be undone for ten minutes.")
        for queue in chosen:
            async with progress(f"deleting the jobs of {printable(queue.name)}"):
                result = await self._client.empty(queue.name, who=user())
            self._report(queue, f"is empty; {plural(result.done, 'job')} deleted", *self._undo(result))

    def _undo(self, result: ActionResult) -> Iterator[str]:
        if result.undo:
            yield undo_line(self._session, result.undo)

    async def _forget(self, chosen: Sequence[QueueInfo]) -> None:
        what = [f"  {each}" for each in map(_settings_of, chosen)]
        self._session.confirm(what, f"Forget {plural(len(chosen), 'queue')}?")
        for queue in chosen:
            await self._client.forget(queue.name)
            self._report(queue, "is forgotten")


def _options_of(queue: QueueInfo) -> list[str]:
    """Return lines about the options of a queue that few have."""
    lines = []
    if queue.chunk:
        lines.append(f"runs in chunks of up to {queue.chunk:,} jobs, which wait {queue.wait:g} s at most")
    if queue.max_waiting:
        lines.append(f"{queue.count:,} of at most {plural(queue.max_waiting, 'job')} waiting")
    return lines


def _settings_of(queue: QueueInfo) -> str:
    limit = f", limit {queue.max_concurrency}" if queue.max_concurrency else ""
    rate = f", rate {queue.rate}" if queue.rate_set and queue.rate else ""
    return f"queue {printable(queue.name)}{', paused' if queue.paused else ''}{limit}{rate}"


def _named(known: Sequence[QueueInfo], names: Sequence[str]) -> list[QueueInfo]:
    """Return the queues with these names, in their order; all without names.

    :raises NothingMatches: when there is none with one of the names.
    """
    by_name = {queue.name: queue for queue in known}
    for name in names:
        if name not in by_name:
            close = difflib.get_close_matches(name, by_name, n=1)
            hint = f"; did you mean {printable(close[0])}?" if close else ""
            raise NothingMatches(f"there is no queue {shown(name)} in this namespace{hint}")
    return [by_name[name] for name in names] if names else list(known)


def _list_of(chosen: Sequence[QueueInfo]) -> str:
    return ", ".join(printable(queue.name) for queue in chosen)
