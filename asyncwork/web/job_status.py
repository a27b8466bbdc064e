"""One job by its id: what its page and the JSON API show, wherever the job is and however it has ended."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._admin.query import JobQuery
from .._jobs.location import queue_location
from .._json import codec
from ..client import Client
from ..errors import (
    JobCancelled,
    JobExpired,
    JobFailed,
    PayloadError,
    ResultLost,
    ResultTimeout,
    UsageError,
)
from ..models.job_record import JobRecord
from ..models.job_status import JobState, JobStatus
from .flow_pages import find_node
from .formatting import milliseconds
from .labels import location_labels
from .links import has_page, job_path
from .render import PageContent, PageHandler, PageRequest, page_response
from .step_line import step_line

PREFIX = "/jobs/"
# Seconds for which a job is searched for: for a new page, and for the live sections of an open page.
_LOOKUP_TIMEOUT, _LIVE_LOOKUP_TIMEOUT = 2.0, 0.2
# Seconds until the result of a job that is done must have been read.
_RESULT_TIMEOUT = 2.0
# How many chunks of a stream the page shows, the last ones.
_MAX_CHUNKS = 100
_SETS = (JobState.RETRY, JobState.SCHEDULED, JobState.DEAD)
_WAITING = (JobState.QUEUED, JobState.SCHEDULED, JobState.RETRY)
_NO_RESULT = (JobCancelled, JobExpired, JobFailed, ResultLost, ResultTimeout, UsageError)


async def read_result(client: Client, status: JobStatus) -> bytes:
    """Return the kept result of a job that is done as JSON; empty when there is none, or values are redacted."""
    if status.state is not JobState.DONE or client._redacts:
        return b""
    try:
        return codec.encode_value(await client.result(status.id, timeout=_RESULT_TIMEOUT))
    except (*_NO_RESULT, PayloadError):
        return b""


async def read_reason(client: Client, status: JobStatus) -> str:
    """Return why a job does not run yet; empty for one that does not wait."""
    return await client.waiting_reason(status.id) if status.state in _WAITING else ""


def handler_of(path: str) -> PageHandler | None:
    """Return the handler of the page of a job; ``None`` for the path of another page."""
    job_id = path.removeprefix(PREFIX)
    return partial(_page, job_id=job_id) if job_id and path.startswith(PREFIX) else None


async def _page(page: PageRequest, *, job_id: str) -> PageContent:
    seconds = _LIVE_LOOKUP_TIMEOUT if page.live else _LOOKUP_TIMEOUT
    status = await page.client.status(job_id, seconds=seconds)
    record = await _record(page.client, status, seconds)
    values: dict[str, Any] = {
        "job": status,
        "record": record,
        "args": status.args.encode(errors="replace") or (record.args if record else b""),
        "result": await read_result(page.client, status),
        "no_args": status.args == "null",
        "reason": _sentence(await read_reason(page.client, status)),
        "ending": _sentence(status.cancellation),
        "steps": step_line(status.steps) if status.steps else None,
        "takes_events": bool(status.steps) and (not status.state.ended or status.state is JobState.DEAD),
        "chunks": await _chunks(page.client, job_id),
        "max_chunks": _MAX_CHUNKS,
        "host": await _host(page.client, status),
        "events": _events(status),
        "cancellable": status.state in (*_WAITING, JobState.RUNNING),
    }
    unknown = status.state is JobState.UNKNOWN
    values["node"] = node = await find_node(page.client, job_id) if unknown else None
    if node is not None:
        return PageContent("status.html", job_path(job_id), node.name, values)
    title = status.name or ("Job not found" if unknown else "(no name)")
    # A page that is open stays as it is when the job has gone.
    return PageContent("status.html", job_path(job_id), title, values, status=404 if unknown else 200)


async def _record(client: Client, status: JobStatus, seconds: float) -> JobRecord | None:
    """Return the payload of a job that waits or is dead, by which it can be retried or deleted."""
    if status.state in _SETS:
        location: str = status.state.value
    elif status.state is JobState.QUEUED and status.name:
        location = status.location or queue_location(status.name)
    else:
        return None
    found = await client.search(location, JobQuery(text=status.id), limit=20, seconds=seconds)
    return next((each for each in found.jobs if each.id == status.id), None)


async def _host(client: Client, status: JobStatus) -> str:
    """Return the host that runs a job; empty if none does or it is unknown."""
    if status.state is not JobState.RUNNING:
        return ""
    pools = {each.pool_id: each.host for each in await client.heartbeats()}
    running = (each for each in await client.observations() if each.worker_id == status.worker_id)
    return next((pools.get(each.pool_id, "") for each in running), "")


async def _chunks(client: Client, job_id: str) -> list[tuple[int, bytes]]:
    """Return the last chunks that a job has emitted, each with its attempt, as JSON; none if values are redacted.

    There is one more than the page shows if it does not show all.
    """
    if client._redacts or not has_page(job_id):
        return []
    try:
        # The end of the stream is an item, too.
        items = await client._last_items(job_id, _MAX_CHUNKS + 2)
        chunks = [each for each in items if not each.end][-_MAX_CHUNKS - 1 :]
        return [(each.attempt, codec.encode_value(each.chunk)) for each in chunks]
    except PayloadError:
        # Another program has written to the stream.
        return []


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _events(status: JobStatus) -> list[tuple[float | None, str, str, str]]:
    """Return the events in a job's life: time, text, details, and CSS class."""
    events: list[tuple[float | None, str, str, str]] = []
    # A retry that is put on its queue counts as enqueued then.
    before = sum(0 < each.started_at < status.enqueued_at for each in status.history)
    for number, each in enumerate(status.history, 1):
        took = f"took {milliseconds(1_000 * (each.ended_at - each.started_at))}" if each.ended_at else ""
        details = " · ".join(text for text in (took, each.host, each.error) if text)
        kind = "past" if each.outcome in ("done", "snoozed", "rate limited", "stopped") else "bad"
        events.append((each.started_at, f"Attempt {number}: {each.outcome}", details, kind))
    if status.enqueued_at:
        text = "Back in its queue" if status.requeued else "Enqueued"
        events.insert(before, (status.enqueued_at, text, "", "past"))
    if status.started_at and (not status.history or status.state is JobState.RUNNING):
        text = f"Attempt {status.attempts} started" if status.attempts else "Started"
        events.append((status.started_at, text, "", "past"))
    if status.state is JobState.QUEUED:
        events.append((None, "Waiting in its queue", "", "next"))
    if status.run_at:
        events.append((status.run_at, location_labels(status.state.value).time, "", "next"))
    if status.ended_at and not (status.history and status.history[-1].outcome == status.state.value):
        kind = "past" if status.state is JobState.DONE else "bad"
        events.append((status.ended_at, status.state.value.capitalize(), "", kind))
    return events


async def _endpoint(request: Request) -> Response:
    handler = handler_of(PREFIX + request.path_params["job_id"])
    if handler is None:
        raise HTTPException(404)
    return await page_response(request, handler)


routes: list[Route] = [Route("/jobs/{job_id:path}", _endpoint)]
