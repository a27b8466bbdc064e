"""JSON API of gocraft/work's web UI, with the same paths, fields and types."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import Client
from ..errors import UsageError
from ..gocraft import GocraftClient
from ..models.job_record import JobRecord, Page
from . import pages
from .actions import perform, require_permission
from .context import app_context
from .errors import wants_page
from .formatting import quoted
from .params import query_params
from .prepared_action import PreparedAction, counted
from .responses import JsonResponse

_INT64 = 2**63
_UINT64 = 2**64

Endpoint = Callable[[Request], Awaitable[Response]]
Reader = Callable[[Client, Request], Awaitable[Any]]


def _client(request: Request) -> Client:
    return app_context(request).client


def _gocraft(request: Request) -> GocraftClient:
    return GocraftClient(_client(request))


async def _queues(client: Client, request: Request) -> object:
    return [{"job_name": each.name, "count": each.count, "latency": each.latency} for each in await client.queues()]


async def _worker_pools(client: Client, request: Request) -> object:
    return [
        {
            "worker_pool_id": each.pool_id,
            "started_at": each.started_at,
            "heartbeat_at": each.heartbeat_at,
            "job_names": each.job_names,
            "concurrency": each.concurrency,
            "host": each.host,
            "pid": each.pid,
            "worker_ids": each.worker_ids,
        }
        for each in await client.heartbeats()
    ]


async def _busy_workers(client: Client, request: Request) -> object:
    return [
        {
            "worker_id": each.worker_id,
            "is_busy": True,
            "job_name": each.job_name,
            "job_id": each.job_id,
            "started_at": each.started_at,
            "args_json": each.args.decode("utf-8", "replace"),
            "checkin": each.checkin,
            "checkin_at": each.checkin_at,
        }
        for each in await client.observations()
    ]


async def _retry_jobs(client: Client, request: Request) -> object:
    return _list("retry_at", await client.jobs("retry", _page(request)))


async def _scheduled_jobs(client: Client, request: Request) -> object:
    return _list("run_at", await client.jobs("scheduled", _page(request)))


async def _dead_jobs(client: Client, request: Request) -> object:
    return _list("died_at", await client.jobs("dead", _page(request)))


def _page(request: Request) -> int:
    text = query_params(request).text("page") or "1"
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) >= _UINT64:
        raise UsageError(f"page must be a whole number, not {quoted(text)}")
    return query_params(request).page()


def _list(time_field: str, page: Page) -> object:
    return {"count": page.total, "jobs": [{time_field: int(each.at or 0), **_job(each)} for each in page.jobs]}


def _job(record: JobRecord) -> dict[str, object]:
    if record.reason:
        # An invalid payload must not hide the jobs around it.
        return {"name": "", "id": "", "t": 0, "args": None, "err": record.reason}
    always = {"name": record.name, "id": record.id, "t": record.enqueued_at, "args": record.args}
    unless_empty = {
        "unique": record.unique,
        "unique_key": record.unique_key,
        "fails": record.fails,
        "err": record.err,
        "failed_at": record.failed_at,
    }
    return always | {name: value for name, value in unless_empty.items() if value}


def _reader(read: Reader) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            return JsonResponse(await read(_client(request), request))
        except UsageError as error:
            return _usage_error(error)

    return endpoint


def _usage_error(error: UsageError) -> Response:
    return JsonResponse({"error": str(error)}, 500)


async def _page_or_queues(request: Request) -> Response:
    response = await (pages.queues(request) if wants_page(request) else _reader(_queues)(request))
    response.headers["Vary"] = "Accept"
    return response


def _delete_one(request: Request) -> PreparedAction:
    died_at, job_id = _dead_job(request)
    return PreparedAction(
        {"died_at": died_at, "id": job_id}, counted(_gocraft(request).delete_dead_job(died_at, job_id))
    )


def _retry_one(request: Request) -> PreparedAction:
    died_at, job_id = _dead_job(request)
    return PreparedAction(
        {"died_at": died_at, "id": job_id}, counted(_gocraft(request).retry_dead_job(died_at, job_id))
    )


def _dead_job(request: Request) -> tuple[int, str]:
    text: str = request.path_params["died_at"]
    if text[0] not in "0123456789":
        raise HTTPException(404)
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= _INT64:
        raise UsageError(f"died_at must be whole epoch seconds as in /dead_jobs, not {quoted(text)}")
    return int(text), request.path_params["job_id"]


def _delete_all(request: Request) -> PreparedAction:
    return PreparedAction({"location": "dead", "all": 1}, counted(_gocraft(request).delete_all_dead_jobs()))


def _retry_all(request: Request) -> PreparedAction:
    return PreparedAction({"location": "dead", "all": 1}, counted(_gocraft(request).retry_all_dead_jobs()))


def _action(path: str, action: str, prepare: Callable[[Request], PreparedAction], none_found: str = "") -> Route:
    """Return the route of an action; ``none_found`` is the error text when no job was found."""

    async def endpoint(request: Request) -> Response:
        try:
            outcome = await perform(request, action, prepare(request))
        except UsageError as error:
            return _usage_error(error)
        if none_found and not outcome.done:
            return JsonResponse({"error": none_found}, 500)
        return JsonResponse({"status": "ok"})

    return Route(path, require_permission(action, endpoint), methods=["POST"])


_DEAD_JOB = "{died_at}/{job_id:path}"

routes: list[Route] = [
    Route("/queues", _page_or_queues),
    Route("/worker_pools", _reader(_worker_pools)),
    Route("/busy_workers", _reader(_busy_workers)),
    Route("/retry_jobs", _reader(_retry_jobs)),
    Route("/scheduled_jobs", _reader(_scheduled_jobs)),
    Route("/dead_jobs", _reader(_dead_jobs)),
    _action(f"/delete_dead_job/{_DEAD_JOB}", "delete", _delete_one, "nothing deleted"),
    _action(f"/retry_dead_job/{_DEAD_JOB}", "retry", _retry_one, "nothing retried"),
    _action("/delete_all_dead_jobs", "delete", _delete_all),
    _action("/retry_all_dead_jobs", "retry", _retry_all),
]
