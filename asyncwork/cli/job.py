"""``asyncwork job``: shows what is known of one job, once or until it has ended."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

from .._doctor.wording import shell_word
from .._jobs.membership import is_flow, member_of
from .._jobs.printable import printable, utc_time
from ..client import Client
from ..errors import AsyncworkError, RedisUnavailable
from ..models.job_status import JobAttempt, JobState, JobStatus
from ..models.job_steps import JobStep
from . import settings, streams
from .command_hints import CommandHints
from .errors import FAILED
from .json_text import object_text
from .times import duration, time_and_age

# Seconds between two readings, at least.
_POLL = 0.5
# Seconds after which a reason that differs in its numbers alone is printed again.
_REASON_AGAIN = 10.0
# Seconds for which the record of a job that is done is waited for, though it exists.
_RESULT_TIMEOUT = 5.0
_WAITING = (JobState.QUEUED, JobState.SCHEDULED, JobState.RETRY)
_UNKNOWN = "unknown: it has ended and is not kept, or never was in this namespace"


class _View(NamedTuple):
    """The status of a job at one time, with what the command shows beside it.

    :ivar reason: why it waits; empty if it does not.
    :ivar has_result: whether its result is kept.
    """

    status: JobStatus
    reason: str = ""
    has_result: bool = False
    result: Any = None

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of it: a node that waits for others of its flow is in no location yet."""
        return self.status.state is JobState.UNKNOWN and not self.reason


def job(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when the id or an option is invalid.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    url, namespace = settings.redis_options(options)
    client = Client(url, namespace=namespace)
    hints = CommandHints(client.masked_url, namespace, given=options.redis is not None)
    printer = _Printer(options.id, hints, as_json=options.json)
    return asyncio.run(_show(client, printer, options.id, follow=options.follow))


async def _show(client: Client, printer: _Printer, job_id: str, *, follow: bool) -> int:
    async with client:
        view = await _read(client, job_id)
        printer.print_all(view)
        if view.is_unknown:
            return FAILED
        unknown, pause = 0, _POLL
        # A job that moves on while it is searched for may be missed once.
        while follow and not view.status.state.ended and unknown < 2:
            await asyncio.sleep(pause)
            began = time.monotonic()
            view = await _read(client, job_id)
            unknown = unknown + 1 if view.is_unknown else 0
            if unknown != 1:
                printer.print_changes(view)
            # At least half of the time goes by without a search, however long that takes.
            pause = max(_POLL, time.monotonic() - began)
        return 0


async def _read(client: Client, job_id: str) -> _View:
    status = await client.status(job_id)
    if status.state in _WAITING or (status.state is JobState.UNKNOWN and _is_node(job_id)):
        return _View(status, await client.waiting_reason(job_id))
    if status.state is not JobState.DONE or status.problem:
        return _View(status)
    try:
        return _View(status, has_result=True, result=await client.result(job_id, timeout=_RESULT_TIMEOUT))
    except RedisUnavailable:
        raise
    except AsyncworkError:
        # The record has expired meanwhile, or what it holds cannot be read.
        return _View(status)


def _is_node(job_id: str) -> bool:
    member = member_of(job_id)
    return member is not None and is_flow(member.batch_id)


class _Printer:
    """Prints a job, and then what changes."""

    def __init__(self, job_id: str, hints: CommandHints, *, as_json: bool) -> None:
        self._job_id = job_id
        self._hints = hints
        self._as_json = as_json
        self._shown: dict[str, str] = {}
        self._reason_at = 0.0

    def print_all(self, view: _View) -> None:
        """Print all that is known."""
        self._find_changes(view)
        text = _as_json(view) if self._as_json else "\n".join(self._lines(view))
        self._print(text)

    def print_changes(self, view: _View) -> None:
        """Print what has changed since the last time, one line for each."""
        if not (changes := self._find_changes(view)):
            return
        if self._as_json:
            self._print(_as_json(view))
            return
        at = datetime.now().astimezone().isoformat(" ")[11:19]
        self._print("\n".join(f"{at}  {label}: {text}" for label, text in changes.items()))

    def _print(self, text: str) -> None:
        streams.print_result(text, f"job {printable(self._job_id)} was read")

    def _find_changes(self, view: _View) -> dict[str, str]:
        # Without ages, which change all the time.
        facts = dict(_facts(view, None))
        changes = {label: text for label, text in facts.items() if self._shown.get(label) != text}
        if "waits" in changes:
            now, before = time.monotonic(), self._shown.get("waits", "")
            if _without_numbers(before) == _without_numbers(facts["waits"]) and now - self._reason_at < _REASON_AGAIN:
                del changes["waits"]
                facts["waits"] = before
            else:
                self._reason_at = now
        self._shown = facts
        return changes

    def _lines(self, view: _View) -> Iterator[str]:
        status, now = view.status, time.time()
        if view.is_unknown:
            yield f"job {printable(self._job_id)} is {_UNKNOWN}"
            return
        yield from (f"{label:12}{text}" for label, text in _facts(view, now))
        if status.traceback:
            yield "traceback"
            yield from (f"{'':12}{printable(line)}" for line in status.traceback.splitlines())
        if status.state is not JobState.UNKNOWN and not status.state.ended:
            yield ""
            for step in status.steps:
                if step.kind == "event" and step.state == "waits":
                    command = f"asyncwork jobs signal {printable(status.id)} {shell_word(printable(step.name))} VALUE"
                    yield f"$ {self._hints.complete(command)}"
            yield f"$ {self._hints.complete(f'asyncwork cancel {printable(status.id)}')}"


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "", text)


def _as_json(view: _View) -> str:
    fields = {**asdict(view.status), "waiting_reason": view.reason}
    del fields["args"]
    if view.has_result:
        fields["result"] = view.result
    return object_text(fields, args=view.status.args or "null")


def _facts(view: _View, now: float | None) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each thing that is known of a job.

    :param now: epoch seconds; ``None`` for texts without ages.
    """
    status = view.status
    if status.name:
        yield "job", f"{printable(status.name)} {printable(status.id)}"
    overdue = ", overdue: it goes on although it was to end" if status.overdue else ""
    if status.pool_dead_since is not None:
        since = f" since {time_and_age(status.pool_dead_since, now)}" if status.pool_dead_since else ""
        overdue = f", in a pool that is considered dead: no heartbeat{since}; another pool is to requeue the job"
    unknown = _UNKNOWN if view.is_unknown else "waiting in its flow"
    yield "state", unknown if status.state is JobState.UNKNOWN else f"{status.state}{overdue}"
    if status.cancellation and status.state is JobState.RUNNING:
        yield "ending", printable(status.cancellation)
    if view.reason:
        yield "waits", view.reason
    if status.location:
        yield "location", printable(status.location)
    if status.worker_id:
        yield "worker", printable(status.worker_id)
    if status.attempts:
        yield "attempts", str(status.attempts)
    if status.progress is not None:
        yield "progress", printable(str(status.progress))
    elif status.checkin:
        yield "check-in", printable(status.checkin)
    times = {
        "requeued" if status.requeued else "enqueued": status.enqueued_at,
        "due": status.run_at,
        "started": status.started_at,
        "ended": status.ended_at,
        "expires": status.expires,
    }
    yield from ((label, time_and_age(at, now)) for label, at in times.items() if at)
    if status.timeout is not None:
        yield "timeout", duration(status.timeout) if status.timeout else "none"
    if status.args:
        yield "arguments", "none" if status.args == "null" else printable(status.args)
    if status.error:
        yield "error", printable(status.error)
    yield from ((each.kind, _step(each, now)) for each in status.steps)
    yield from ((f"attempt {n}", _attempt(each)) for n, each in enumerate(status.history, 1))
    if view.has_result:
        yield "result", printable(json.dumps(view.result, ensure_ascii=False))
    if status.problem:
        yield "result", f"was not kept: {printable(status.problem)}"


def _step(step: JobStep, now: float | None) -> str:
    value = f": {printable(step.value)}" if step.value not in ("", "null") else ""
    took = max(0.0, step.ended_at - step.started_at)
    match step.kind, step.state:
        case "step", "done":
            text = f"done in {duration(took)}, {time_and_age(step.ended_at, now)}"
        case _, "waits":
            text = f"waits until {time_and_age(step.until, now)}"
        case "sleep", "done":
            text = f"over since {time_and_age(step.until, now)}"
        case "event", "late":
            text = f"has not come by {time_and_age(step.until, now)}"
        case "event", "done" | "early":
            text = f"came at {time_and_age(step.ended_at, now)}"
        case "cursor", _:
            text = f"{'after the last row' if step.state == 'done' else 'at a row'}, {time_and_age(step.ended_at, now)}"
        case _:
            text = step.state
    return f"{printable(step.name)} {text}{value}"


def _attempt(attempt: JobAttempt) -> str:
    if not attempt.started_at:
        # Nothing else is known of an attempt whose process died.
        return printable(attempt.outcome)
    took = duration(max(0.0, attempt.ended_at - attempt.started_at))
    where = f" on {printable(attempt.host)}, process {attempt.pid}" if attempt.host else ""
    error = f": {printable(attempt.error)}" if attempt.error else ""
    return f"{printable(attempt.outcome)} after {took}{where}, {utc_time(attempt.started_at)}{error}"
