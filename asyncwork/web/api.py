"""Read-only part of the JSON API; ``openapi.json`` describes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._admin.metrics import MOST_DAYS, MOST_MINUTES, MOST_RUN_DAYS, RATE_MINUTES, RUN_DAYS
from ..models.batches import BatchStatus
from ..models.job_record import Page
from ..models.job_status import JobState, JobStatus
from ..models.queues import JobCounts
from . import actions, sse
from .context import AppContext, app_context
from .flow_pages import flow_fields
from .job_status import read_reason, read_result
from .params import Params, query_params
from .periodic_input import preview
from .responses import JsonResponse

# The runs that are kept of each periodic job.
_MAX_RUNS = 100
_MAX_HOLDERS = 1_000

_DESCRIPTION = (Path(__file__).parent / "openapi.json").read_bytes()

_JOBS = "/api/jobs/"
# These come before the ids of jobs.
_ACTION_PATHS = frozenset(route.path for route in actions.routes)

Reader = Callable[[AppContext, Params], Awaitable[Any]]


async def _overview(app: AppContext, params: Params) -> object:
    client = app.client
    overview, recent = await client.overview(), await client.recent(RATE_MINUTES)
    return {
        "namespace": client.namespace,
        "title": app.title,
        "read_only": app.read_only,
        "redis": client.masked_url,
        "server": overview.server,
        "sizes": overview.sizes,
        "minutes": RATE_MINUTES,
        "recent": recent.get("", JobCounts()),
        "problems": overview.problems,
    }


async def _queues(app: AppContext, params: Params) -> object:
    recent = await app.client.recent(RATE_MINUTES)
    queues = [{**asdict(each), "recent": recent.get(each.name, JobCounts())} for each in await app.client.queues()]
    return {"minutes": RATE_MINUTES, "queues": queues}


async def _tenants(app: AppContext, params: Params) -> object:
    return await app.client.tenants(params.required("queue"))


async def _limits(app: AppContext, params: Params) -> object:
    return {"limits": await app.client.limits()}


async def _pools(app: AppContext, params: Params) -> object:
    return {"pools": await app.client.heartbeats()}


async def _deployments(app: AppContext, params: Params) -> object:
    return {"deployments": await app.client.deployments()}


async def _busy(app: AppContext, params: Params) -> object:
    return {"workers": await app.client.observations()}


async def _jobs(app: AppContext, params: Params) -> object:
    location, per_page, newest_first = params.required("location"), params.per_page(), params.newest_first()
    job_query, cursor = params.job_query(), params.text("cursor")
    if job_query or cursor:
        return await app.client.search(location, job_query, cursor=cursor, limit=per_page, newest_first=newest_first)
    page: Page = await app.client.jobs(location, params.page(), per_page=per_page, newest_first=newest_first)
    return page


async def _job(app: AppContext, params: Params) -> object:
    record = await app.client.job(params.required("location"), params.required("ref"))
    if record is None:
        raise HTTPException(
            404, "the job is not there any more: it has run, or was retried or deleted; search for its id"
        )
    return record


async def _errors(app: AppContext, params: Params) -> object:
    found = await app.client.error_kinds(
        params.required("location"), cursor=params.text("cursor"), query=params.job_query()
    )
    kinds = [{**asdict(each), "names": _name_counts(each.names)} for each in found.kinds]
    return {"kinds": kinds, "cursor": found.cursor, "looked": found.looked, "total": found.total}


def _name_counts(names: dict[str, int]) -> object:
    """Return names with their counts, the largest count first."""
    return [
        {"name": name, "count": count} for name, count in sorted(names.items(), key=lambda each: (-each[1], each[0]))
    ]


async def _find(app: AppContext, params: Params) -> object:
    return await app.client.find(params.required("text"), cursor=params.text("cursor"), limit=params.per_page())


async def _batches(app: AppContext, params: Params) -> object:
    found = await app.client.batches(params.page(), per_page=params.per_page())
    return {**asdict(found), "batches": list(map(_batch_fields, found.batches))}


async def _batch(app: AppContext, params: Params) -> object:
    batch = await app.client.batch(params.required("id"))
    if batch is None:
        raise HTTPException(404, "there is no batch with this id, or it is not kept any more")
    found = await app.client.batch_failures(batch.id, params.page(), per_page=params.per_page())
    failures = [{**asdict(each), "args": _args(each), "waiting_reason": ""} for each in found.jobs]
    flow = await app.client.flow(batch.id) if batch.is_flow else None
    fields = {**_batch_fields(batch), "flow": None if flow is None else await flow_fields(flow)}
    return {**fields, "failures": {**asdict(found), "jobs": failures}}


def _batch_fields(batch: BatchStatus) -> dict[str, object]:
    return {**asdict(batch), "state": batch.state, "done": batch.done, "is_flow": batch.is_flow}


async def _nodes(app: AppContext, params: Params) -> object:
    flow_id, state = params.required("id"), params.text("state") or None
    params.required("group")
    first = params.integer("group", 0, low=0, high=10**9)
    found = await app.client.flow_nodes(flow_id, first, params.page(), per_page=params.per_page(), state=state)
    if not found.total and await app.client.flow(flow_id) is None:
        raise HTTPException(404, "there is no flow with this id, or it is not kept any more")
    return found


async def _periodic(app: AppContext, params: Params) -> object:
    return {"periodic": await app.client.periodic_jobs()}


async def _periodic_runs(app: AppContext, params: Params) -> object:
    key, count = params.required("key"), params.integer("count", 50, low=1, high=_MAX_RUNS)
    return {"runs": await app.client.periodic_runs(key, count)}


async def _periodic_preview(app: AppContext, params: Params) -> object:
    return preview(params.required("spec"), params.text("tz").strip())


async def _history(app: AppContext, params: Params) -> object:
    queue, by = params.text("queue"), params.choice("by", "minute", "day")
    if by == "minute":
        counts = await app.client.minutes(params.integer("count", 60, low=1, high=MOST_MINUTES), queue=queue)
    else:
        counts = await app.client.days(params.integer("count", 30, low=1, high=MOST_DAYS), queue=queue)
    return {"queue": queue, "by": by, "counts": counts}


async def _run_times(app: AppContext, params: Params) -> object:
    queue = params.required("queue")
    days = params.integer("days", RUN_DAYS, low=1, high=MOST_RUN_DAYS)
    found = await app.client.run_times(queue, days)
    quantiles = {f"p{share}": found.quantile(share / 100) for share in (50, 95, 99)}
    return {"queue": queue, "days": days, **asdict(found), **quantiles}


async def _unique(app: AppContext, params: Params) -> object:
    count = params.integer("count", 100, low=1, high=_MAX_HOLDERS)
    return {"holders": await app.client.unique_holders(params.text("queue") or None, limit=count)}


async def _deletions(app: AppContext, params: Params) -> object:
    return {"deletions": await app.client.deletions()}


async def _finished(app: AppContext, params: Params) -> object:
    found = await app.client.finished(params.page(), per_page=params.per_page(), name=params.text("name") or None)
    # Arguments are JSON, and become part of the response as they are.
    return {
        **asdict(found),
        "jobs": [{**asdict(each), "args": _args(each), "waiting_reason": ""} for each in found.jobs],
    }


def _args(status: JobStatus) -> bytes:
    return status.args.encode(errors="replace")


async def _problems(app: AppContext, params: Params) -> object:
    return {"problems": (await app.client.overview()).problems}


async def _description(request: Request) -> Response:
    return Response(_DESCRIPTION, media_type="application/json; charset=utf-8")


async def _job_status(request: Request) -> Response:
    client = app_context(request).client
    job_id: str = request.path_params["job_id"]
    if f"{_JOBS}{job_id}" in _ACTION_PATHS:
        raise HTTPException(405, headers={"allow": "POST"})
    status = await client.status(job_id)
    if status.state is JobState.UNKNOWN:
        raise HTTPException(
            404,
            "nothing is known of a job with this id: it never was, or it has ended and nothing of it is kept; register "
            "its type with @pool.job(result=SECONDS) or history=True",
        )
    result, reason = await read_result(client, status), await read_reason(client, status)
    values = {**asdict(status), "args": _args(status), "waiting_reason": reason}
    return JsonResponse(values | ({"result": result} if result else {}))


def _route(path: str, read: Reader) -> Route:
    async def endpoint(request: Request) -> Response:
        return JsonResponse(await read(app_context(request), query_params(request)))

    return Route(path, endpoint)


routes: list[Route] = [
    _route("/api/overview", _overview),
    _route("/api/queues", _queues),
    _route("/api/tenants", _tenants),
    _route("/api/limits", _limits),
    _route("/api/pools", _pools),
    _route("/api/deployments", _deployments),
    _route("/api/busy", _busy),
    _route("/api/jobs", _jobs),
    _route("/api/job", _job),
    _route("/api/finished", _finished),
    Route("/api/jobs/{job_id}/stream", sse.job_stream),
    Route("/api/jobs/{job_id:path}", _job_status),
    _route("/api/errors", _errors),
    _route("/api/find", _find),
    _route("/api/batches", _batches),
    _route("/api/batch", _batch),
    _route("/api/batch/nodes", _nodes),
    _route("/api/periodic", _periodic),
    _route("/api/periodic/runs", _periodic_runs),
    _route("/api/periodic/preview", _periodic_preview),
    _route("/api/history", _history),
    _route("/api/run_times", _run_times),
    _route("/api/deletions", _deletions),
    _route("/api/unique", _unique),
    _route("/api/problems", _problems),
    Route("/api/openapi.json", _description),
]
