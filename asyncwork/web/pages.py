"""Pages about the namespace as a whole, and the routes of all pages."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._admin.metrics import RATE_MINUTES, RUN_DAYS
from .._admin.query import JobQuery
from .._jobs.location import queue_location
from ..models.pools import Heartbeat, Observation
from ..models.queues import JobCounts, QueueInfo
from . import batch_pages, charts, flow_pages, histograms, job_pages, listing, periodic_pages
from .labels import LOCATIONS
from .render import PageContent, PageHandler, PageRequest, page_response

# Maximum number of queues with a chart.
_MAX_SPARKS = 60
# Maximum number of keys on their page.
_MAX_HOLDERS = 200


@dataclass(frozen=True, slots=True)
class _QueueRow:
    queue: QueueInfo
    counts: JobCounts
    rate: float
    spark: Markup


@dataclass(frozen=True, slots=True)
class _BusyRow:
    observation: Observation
    pool: Heartbeat | None


@dataclass(frozen=True, slots=True)
class _PoolRow:
    pool: Heartbeat
    busy: int
    stale: bool


# Tenants of a fair queue that its page shows.
_MOST_TENANTS = 100


async def _overview(page: PageRequest) -> PageContent:
    client, now = page.client, page.overview
    pools, queues, sizes = now.heartbeats, now.queues, now.sizes
    view = page.params.choice("as", "charts", "minutes", "days")
    deployments = await client.deployments()
    drawn = [] if view == "days" else [charts.chart("minutes", page.hour, deployments)]
    drawn += [] if view == "minutes" else [charts.chart("days", await client.days(30), deployments)]
    latencies = [queue.latency for queue in queues if queue.count]
    first = {location: await client.jobs(location, per_page=1) for location in ("retry", "scheduled")}
    at = {location: found.jobs[0].at if found.jobs else None for location, found in first.items()}
    tiles = [
        ("/queues", "Queued", sizes.queued, "oldest" if latencies else "", max(latencies, default=0)),
        _tile("busy", sizes.busy, f"on {sum(pool.concurrency for pool in pools):,} workers"),
        _tile("retry", sizes.retry, "next", at["retry"]),
        _tile("scheduled", sizes.scheduled, "next", at["scheduled"]),
        _tile("dead", sizes.dead, f"{sum(minute.dead for minute in page.hour):,} in the last hour"),
    ]
    if sizes.quarantine:
        tiles.append(_tile("quarantine", sizes.quarantine, "not jobs"))
    values = {
        "pools": len(pools),
        "go_pools": sum(not pool.runner for pool in pools),
        "hosts": len({pool.host for pool in pools}),
        "server": now.server,
        "tiles": tiles,
        "charts": drawn,
        "table": drawn[0] if view != "charts" else None,
        "queues": await _queue_rows(page, queues),
    }
    return PageContent("overview.html", "/", "Overview", values)


def _tile(location: str, count: int, word: str, value: float | None = None) -> tuple[str, str, int, str, float | None]:
    return LOCATIONS[location].path, LOCATIONS[location].title, count, word, value


async def _queue_rows(page: PageRequest, queues: list[QueueInfo]) -> list[_QueueRow]:
    recent = await page.client.recent(RATE_MINUTES)
    minutes = RATE_MINUTES + time.time() % 60 / 60
    counts = [recent.get(queue.name, JobCounts()) for queue in queues]
    return [
        _QueueRow(queue, each, each.processed / minutes, Markup()) for queue, each in zip(queues, counts, strict=True)
    ]


async def _busy(page: PageRequest) -> PageContent:
    heartbeats = page.overview.heartbeats
    pools = {pool.pool_id: pool for pool in heartbeats}
    observations = sorted(await page.client.observations(), key=lambda each: each.started_at)
    rows = [_BusyRow(each, pools.get(each.pool_id)) for each in observations]
    stale = {each.subject for each in page.overview.problems if each.kind == "stale_pool"}
    busy = [sum(row.pool is pool for row in rows) for pool in heartbeats]
    values = {
        "running": rows,
        "capacity": sum(pool.concurrency for pool in heartbeats),
        "pools": [_PoolRow(pool, count, pool.pool_id in stale) for pool, count in zip(heartbeats, busy, strict=True)],
    }
    return PageContent("busy.html", "/busy", "Busy", values)


async def _queues(page: PageRequest) -> PageContent:
    minutes = await page.client._minutes_of([queue.name for queue in page.overview.queues[:_MAX_SPARKS]])
    rows = [
        replace(row, spark=charts.spark(minutes.get(row.queue.name, ())))
        for row in await _queue_rows(page, page.overview.queues)
    ]
    go_pools = any(not pool.runner for pool in page.overview.heartbeats)
    values = {"queues": rows, "go_pools": go_pools, "limits": await page.client.limits()}
    return PageContent("queues.html", "/queues", "Queues", values)


async def queues(request: Request) -> Response:
    """Return the page of all queues."""
    return await page_response(request, _queues)


async def _queue(page: PageRequest) -> PageContent:
    name = page.params.required("name")
    registered = {queue.name: queue for queue in page.overview.queues}
    queue = registered.get(name) or QueueInfo(name, 0, 0)
    job_query = JobQuery(text=page.params.text("text"))
    is_registered = name in registered
    chart, run_times = await _queue_charts(page, name) if is_registered else (None, None)
    values = {
        "queue": queue,
        "registered": is_registered,
        "chart": chart,
        "run_times": run_times,
        "listing": await listing.list_jobs(page, queue_location(name), job_query, newest_first=False),
        "fair": await page.client.tenants(name) if queue.fair else None,
        "most_tenants": _MOST_TENANTS,
        "limits": [each for each in await page.client.limits() if name in each.jobs],
    }
    return PageContent("queue.html", "/queue", name, values)


async def _queue_charts(page: PageRequest, name: str) -> tuple[charts.Chart, histograms.HistogramChart | None]:
    client, deployments = page.client, await page.client.deployments()
    chart = charts.chart("minutes", await client.minutes(60, queue=name), deployments)
    return chart, histograms.histogram(await client._daily_run_times(name, RUN_DAYS), deployments)


async def _deleted(page: PageRequest) -> PageContent:
    return PageContent("deleted.html", "/deleted", "Deleted", {"deletions": await page.client.deletions()})


async def _unique(page: PageRequest) -> PageContent:
    name = page.params.text("name")
    holders = await page.client.unique_holders(name or None, limit=_MAX_HOLDERS + 1)
    values = {"name": name, "holders": holders[:_MAX_HOLDERS], "more": len(holders) > _MAX_HOLDERS}
    return PageContent("unique.html", "/unique", "Unique keys", values)


PAGES: dict[str, PageHandler] = {
    "/": _overview,
    "/busy": _busy,
    "/queues": _queues,
    "/queue": _queue,
    "/retries": job_pages.retries,
    "/scheduled": job_pages.scheduled,
    "/dead": job_pages.dead,
    "/finished": job_pages.finished,
    "/quarantine": job_pages.quarantine,
    "/batches": batch_pages.batches,
    "/batch": batch_pages.batch,
    "/batch/nodes": flow_pages.nodes,
    "/periodic": periodic_pages.periodic,
    "/periodic/job": periodic_pages.periodic_job,
    "/periodic/new": periodic_pages.new_periodic,
    "/deleted": _deleted,
    "/unique": _unique,
    "/find": job_pages.find,
    "/job": job_pages.job,
    "/confirm": job_pages.confirm,
}


def _route(path: str, handler: PageHandler) -> Route:
    async def endpoint(request: Request) -> Response:
        return await page_response(request, handler)

    return Route(path, endpoint)


# /queues is also a path of gocraft/work's JSON API, so gocraft_api routes it and decides by the Accept header.
routes: list[Route] = [_route(path, handler) for path, handler in PAGES.items() if path != "/queues"]
