"""The JSON API of gocraft/work's own web UI: the same paths, fields and types."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..client import Client
from ..errors import UsageError
from ..models import JobRecord, Outcome, Page
from . import pages, params
from .actions import Step, guarded, perform
from .context import Site
from .errors import wants_page
from .responses import JsonResponse

_INT64 = 2**63
_UINT64 = 2**64

Endpoint = Callable[[Request], Awaitable[Response]]
Look = Callable[[Client, Request], Awaitable[Any]]


def _client(request: Request) -> Client:
    site: Site = request.app.state.site
    return site.client


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
        for each in await client.worker_pool_heartbeats()
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
        for each in await client.worker_observations()
    ]


async def _retry_jobs(client: Client, request: Request) -> object:
    return _listed("retry_at", await client.retry_jobs(_page(request)))


async def _scheduled_jobs(client: Client, request: Request) -> object:
    return _listed("run_at", await client.scheduled_jobs(_page(request)))


async def _dead_jobs(client: Client, request: Request) -> object:
    return _listed("died_at", await client.dead_jobs(_page(request)))


def _page(request: Request) -> int:
    text = params.query(request).text("page") or "1"
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) >= _UINT64:
        raise UsageError(f"page must be a whole number, not {text[:40]!r}")
    return params.query(request).page()


def _listed(time_field: str, page: Page) -> object:
    return {"count": page.total, "jobs": [{time_field: _int64(each.at), **_job(each)} for each in page.jobs]}


def _job(record: JobRecord) -> dict[str, object]:
    if record.fault:
        # One payload that is no job must not take the others with it.
        return {"name": "", "id": "", "t": 0, "args": None, "err": record.fault}
    always = {"name": record.name, "id": record.id, "t": record.enqueued_at, "args": record.args}
    unless_empty = {
        "unique": record.unique,
        "unique_key": record.unique_key,
        "fails": record.fails,
        "err": record.err,
        "failed_at": record.failed_at,
    }
    return always | {name: value for name, value in unless_empty.items() if value}


def _int64(at: float | None) -> int:
    if at is None or math.isnan(at):
        return 0
    return int(min(max(at, -_INT64), _INT64 - 1024))


def _look(look: Look) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            return JsonResponse(await look(_client(request), request))
        except UsageError as error:
            return _refused(error)

    return endpoint


def _refused(error: UsageError) -> Response:
    return JsonResponse({"error": str(error)}, 500)


async def _page_or_queues(request: Request) -> Response:
    response = await (pages.queues(request) if wants_page(request) else _look(_queues)(request))
    response.headers["Vary"] = "Accept"
    return response


def _delete_one(request: Request) -> Step:
    died_at, job_id = _one(request)
    return {"died_at": died_at, "id": job_id}, _as_outcome(_client(request).delete_dead_job(died_at, job_id))


def _retry_one(request: Request) -> Step:
    died_at, job_id = _one(request)
    return {"died_at": died_at, "id": job_id}, _as_outcome(_client(request).retry_dead_job(died_at, job_id))


def _one(request: Request) -> tuple[int, str]:
    text: str = request.path_params["died_at"]
    if text[0] not in "0123456789":
        raise HTTPException(404)
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= _INT64:
        raise UsageError(f"died_at must be whole epoch seconds, as /dead_jobs gives them, not {text[:40]!r}")
    return int(text), request.path_params["job_id"]


def _delete_all(request: Request) -> Step:
    return {"place": "dead", "all": 1}, _as_outcome(_client(request).delete_all_dead_jobs())


def _retry_all(request: Request) -> Step:
    return {"place": "dead", "all": 1}, _as_outcome(_client(request).retry_all_dead_jobs())


async def _as_outcome(doing: Awaitable[int]) -> Outcome:
    done = int(await doing)
    return Outcome(done, done)


def _act(path: str, action: str, begin: Callable[[Request], Step], nothing: str = "") -> Route:
    """Return the route of an act; ``nothing`` is what the answer says when there was nothing to act on."""

    async def endpoint(request: Request) -> Response:
        try:
            outcome = await perform(request, action, begin(request))
        except UsageError as error:
            return _refused(error)
        if nothing and not outcome.done:
            return JsonResponse({"error": nothing}, 500)
        return JsonResponse({"status": "ok"})

    return Route(path, guarded(action, endpoint), methods=["POST"])


_ONE = "{died_at}/{job_id:path}"

routes = [
    Route("/queues", _page_or_queues),
    Route("/worker_pools", _look(_worker_pools)),
    Route("/busy_workers", _look(_busy_workers)),
    Route("/retry_jobs", _look(_retry_jobs)),
    Route("/scheduled_jobs", _look(_scheduled_jobs)),
    Route("/dead_jobs", _look(_dead_jobs)),
    _act(f"/delete_dead_job/{_ONE}", "delete", _delete_one, "nothing deleted"),
    _act(f"/retry_dead_job/{_ONE}", "retry", _retry_one, "nothing retried"),
    _act("/delete_all_dead_jobs", "delete", _delete_all),
    _act("/retry_all_dead_jobs", "retry", _retry_all),
]
