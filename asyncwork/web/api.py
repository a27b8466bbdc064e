"""The JSON API for looking; ``openapi.json`` describes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..models import JobCounts, Page
from . import params
from .context import Site
from .params import Fields
from .responses import JsonResponse

# Minutes over which a rate is told.
_RECENT = 5
# Jobs that one search returns at most, and how many minutes and days are remembered.
_MOST_MINUTES = 24 * 60
_MOST_DAYS = 400

_DESCRIPTION = (Path(__file__).parent / "openapi.json").read_bytes()

Look = Callable[[Site, Fields], Awaitable[Any]]


async def _overview(site: Site, given: Fields) -> object:
    client = site.client
    overview, recent = await client.overview(), await client.recent(_RECENT)
    return {
        "namespace": client.namespace,
        "title": site.title,
        "read_only": site.read_only,
        "redis": client.masked_url,
        "server": overview.server,
        "sizes": overview.sizes,
        "minutes": _RECENT,
        "recent": recent.get("", JobCounts()),
        "threats": overview.threats,
    }


async def _queues(site: Site, given: Fields) -> object:
    recent = await site.client.recent(_RECENT)
    queues = [{**asdict(each), "recent": recent.get(each.name, JobCounts())} for each in await site.client.queues()]
    return {"minutes": _RECENT, "queues": queues}


async def _pools(site: Site, given: Fields) -> object:
    return {"pools": await site.client.worker_pool_heartbeats()}


async def _busy(site: Site, given: Fields) -> object:
    return {"workers": await site.client.worker_observations()}


async def _jobs(site: Site, given: Fields) -> object:
    place, per_page, newest_first = given.needed("place"), given.per_page(), given.newest_first()
    criteria, cursor = given.criteria(), given.text("cursor")
    if criteria or cursor:
        return await site.client.search(place, criteria, cursor=cursor, limit=per_page, newest_first=newest_first)
    page: Page = await site.client.jobs(place, given.page(), per_page=per_page, newest_first=newest_first)
    return page


async def _job(site: Site, given: Fields) -> object:
    record = await site.client.job(given.needed("place"), given.needed("handle"))
    if record is None:
        raise HTTPException(404, "the job is no longer there: it has run, was moved, or was deleted")
    return record


async def _errors(site: Site, given: Fields) -> object:
    found = await site.client.error_kinds(given.needed("place"), cursor=given.text("cursor"), criteria=given.criteria())
    kinds = [{**asdict(each), "names": _counted(each.names)} for each in found.kinds]
    return {"kinds": kinds, "cursor": found.cursor, "looked": found.looked, "total": found.total}


def _counted(names: dict[str, int]) -> object:
    """Return how many there are of each, the most first."""
    return [
        {"name": name, "count": count} for name, count in sorted(names.items(), key=lambda each: (-each[1], each[0]))
    ]


async def _find(site: Site, given: Fields) -> object:
    return await site.client.find(given.needed("text"), cursor=given.text("cursor"), limit=given.per_page())


async def _periodic(site: Site, given: Fields) -> object:
    return {"periodic": await site.client.periodic_jobs()}


async def _history(site: Site, given: Fields) -> object:
    queue, by = given.text("queue"), given.choice("by", "minute", "day")
    if by == "minute":
        counts = await site.client.minutes(given.whole("count", 60, low=1, high=_MOST_MINUTES), queue=queue)
    else:
        counts = await site.client.days(given.whole("count", 30, low=1, high=_MOST_DAYS), queue=queue)
    return {"queue": queue, "by": by, "counts": counts}


async def _deletions(site: Site, given: Fields) -> object:
    return {"deletions": await site.client.deletions()}


async def _threats(site: Site, given: Fields) -> object:
    return {"threats": await site.client.threats()}


async def _description(request: Request) -> Response:
    return Response(_DESCRIPTION, media_type="application/json; charset=utf-8")


def _route(path: str, look: Look) -> Route:
    async def endpoint(request: Request) -> Response:
        return JsonResponse(await look(request.app.state.site, params.query(request)))

    return Route(path, endpoint)


routes = [
    _route("/api/overview", _overview),
    _route("/api/queues", _queues),
    _route("/api/pools", _pools),
    _route("/api/busy", _busy),
    _route("/api/jobs", _jobs),
    _route("/api/job", _job),
    _route("/api/errors", _errors),
    _route("/api/find", _find),
    _route("/api/periodic", _periodic),
    _route("/api/history", _history),
    _route("/api/deletions", _deletions),
    _route("/api/threats", _threats),
    Route("/api/openapi.json", _description),
]
