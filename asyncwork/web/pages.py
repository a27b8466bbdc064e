"""The pages of the namespace as a whole, and under which path each page is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .._admin.query import Criteria
from .._jobs.location import queue_location
from ..models import Heartbeat, JobCounts, JobRecord, QueueInfo
from . import charts, job_pages, listing
from .render import Ask, View, Viewer, respond

# Minutes over which a rate is told.
_RECENT = 5
# Queues that are drawn, at most.
_MOST_SPARKS = 60


@dataclass(frozen=True, slots=True)
class _QueueRow:
    queue: QueueInfo
    counts: JobCounts
    rate: float
    spark: Markup


@dataclass(frozen=True, slots=True)
class _BusyRow:
    job: JobRecord
    worker: str
    checkin: str
    checkin_at: int
    pool: Heartbeat | None


@dataclass(frozen=True, slots=True)
class _PoolRow:
    pool: Heartbeat
    busy: int
    stale: bool


async def _overview(ask: Ask) -> View:
    client, now = ask.client, ask.overview
    pools, queues, sizes = now.heartbeats, now.queues, now.sizes
    shown = ask.fields.choice("as", "charts", "minutes", "days")
    drawn = [] if shown == "days" else [charts.chart("minutes", ask.hour)]
    drawn += [] if shown == "minutes" else [charts.chart("days", await client.days(30))]
    waits = [queue.latency for queue in queues if queue.count]
    soonest = {place: await client.jobs(place, per_page=1) for place in ("retry", "scheduled")}
    at = {place: page.jobs[0].at if page.jobs else None for place, page in soonest.items()}
    tiles = [
        ("/queues", "Queued", sizes.queued, "oldest" if waits else "", max(waits, default=0)),
        ("/busy", "Busy", sizes.busy, f"of {sum(pool.concurrency for pool in pools):,} workers", None),
        ("/retries", "Retries", sizes.retry, "next", at["retry"]),
        ("/scheduled", "Scheduled", sizes.scheduled, "next", at["scheduled"]),
        ("/dead", "Dead", sizes.dead, f"{sum(minute.dead for minute in ask.hour):,} in the last hour", None),
    ]
    if sizes.quarantine:
        tiles.append(("/quarantine", "Quarantine", sizes.quarantine, "no jobs", None))
    values = {
        "pools": len(pools),
        "go_pools": sum(not pool.runner for pool in pools),
        "hosts": len({pool.host for pool in pools}),
        "server": now.server,
        "tiles": tiles,
        "charts": drawn,
        "table": drawn[0] if shown != "charts" else None,
        "queues": await _queue_rows(ask, queues),
    }
    return View("overview.html", "/", "Overview", values)


async def _queue_rows(ask: Ask, queues: list[QueueInfo]) -> list[_QueueRow]:
    recent = await ask.client.recent(_RECENT)
    minutes = _RECENT + time.time() % 60 / 60
    counts = [recent.get(queue.name, JobCounts()) for queue in queues]
    return [
        _QueueRow(queue, each, each.processed / minutes, Markup()) for queue, each in zip(queues, counts, strict=True)
    ]


async def _busy(ask: Ask) -> View:
    client, heartbeats = ask.client, ask.overview.heartbeats
    pools = {pool.pool_id: pool for pool in heartbeats}
    seen, jobs = await client.worker_observations(), await client.busy_jobs()
    by_id = {each.id: each for each in jobs}
    rows = [
        _BusyRow(by_id[each.job_id], each.worker_id, each.checkin, each.checkin_at, pools.get(each.pool_id))
        for each in seen
        if each.job_id in by_id
    ]
    rows.sort(key=lambda row: row.job.at or 0)
    stale = {each.subject for each in ask.overview.threats if each.kind == "stale_pool"}
    busy = [sum(row.pool is pool for row in rows) for pool in heartbeats]
    values = {
        "running": rows,
        "capacity": sum(pool.concurrency for pool in heartbeats),
        "pools": [_PoolRow(pool, count, pool.pool_id in stale) for pool, count in zip(heartbeats, busy, strict=True)],
    }
    return View("busy.html", "/busy", "Busy", values)


async def _queues(ask: Ask) -> View:
    drawn = await ask.client.minutes_of([queue.name for queue in ask.overview.queues[:_MOST_SPARKS]])
    rows = [
        replace(row, spark=charts.spark(drawn.get(row.queue.name, ())))
        for row in await _queue_rows(ask, ask.overview.queues)
    ]
    go_pools = any(not pool.runner for pool in ask.overview.heartbeats)
    return View("queues.html", "/queues", "Queues", {"queues": rows, "go_pools": go_pools})


async def queues(request: Request) -> Response:
    """Return the page of all queues."""
    return await respond(request, _queues)


async def _queue(ask: Ask) -> View:
    client, name = ask.client, ask.fields.needed("name")
    known = {queue.name: queue for queue in ask.overview.queues}
    queue = known.get(name) or QueueInfo(name, 0, 0)
    criteria = Criteria(text=ask.fields.text("text"))
    values = {
        "queue": queue,
        "known": name in known,
        "chart": charts.chart("minutes", await client.minutes(60, queue=name)) if name in known else None,
        "listing": await listing.look(ask, queue_location(name), criteria, newest_first=False),
    }
    return View("queue.html", "/queue", name, values)


async def _periodic(ask: Ask) -> View:
    return View("periodic.html", "/periodic", "Periodic", {"periodic": await ask.client.periodic_jobs()})


async def _deleted(ask: Ask) -> View:
    return View("deleted.html", "/deleted", "Deleted", {"deletions": await ask.client.deletions()})


VIEWERS: dict[str, Viewer] = {
    "/": _overview,
    "/busy": _busy,
    "/queues": _queues,
    "/queue": _queue,
    "/retries": job_pages.retries,
    "/scheduled": job_pages.scheduled,
    "/dead": job_pages.dead,
    "/quarantine": job_pages.quarantine,
    "/periodic": _periodic,
    "/deleted": _deleted,
    "/find": job_pages.find,
    "/job": job_pages.job,
    "/confirm": job_pages.confirm,
}


def _route(path: str, viewer: Viewer) -> Route:
    async def endpoint(request: Request) -> Response:
        return await respond(request, viewer)

    return Route(path, endpoint)


# The path of all queues is shared with gocraft/work's JSON, which decides who gets which.
routes = [_route(path, viewer) for path, viewer in VIEWERS.items() if path != "/queues"]
