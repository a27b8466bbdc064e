"""An aiohttp application that runs its own jobs while it serves requests.

    python -m examples.aiohttp_app

    curl localhost:8080/thumbnails -d '{"user": "ada", "pictures": ["cat", "dog"]}'
    curl localhost:8080/thumbnails/<the job's id>

The web UI for its jobs is at http://localhost:8080/work/, open to everyone who can reach it; `authorize=` restricts it.

Redis is at $ASYNCWORK_REDIS, or redis://localhost:6379/0; the port is $PORT, or 8080. On Ctrl-C or SIGTERM the server
first answers its open requests, then the pool lets running jobs finish.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from dataclasses import dataclass, field

from aiohttp import web

import asyncwork.web.aiohttp
from asyncwork import CallNext, Job, WorkerPool

MADE: dict[str, list[str]] = {}  # by job id; a real application has a database


@dataclass
class Context:
    made: list[str] = field(default_factory=list)


NAMESPACE = os.environ.get("ASYNCWORK_NAMESPACE", "aiohttp_app")
pool = WorkerPool(namespace=NAMESPACE, concurrency=10, context=Context)


@pool.middleware
async def keep(ctx: Context, job: Job, call_next: CallNext) -> None:
    """Keep the results of a job when the job has succeeded."""
    await call_next()
    if ctx.made:
        MADE[job.id] = ctx.made
    print(f"{job.name} {job.id} made {len(ctx.made)}", flush=True)


@pool.job
async def make_thumbnails(ctx: Context, job: Job, user: str, pictures: list[str]) -> None:
    for i, picture in enumerate(pictures):
        job.checkin(f"picture {i + 1} of {len(pictures)}")
        await asyncio.sleep(0.05)
        ctx.made.append(f"{user}/{picture}.small.png")


@pool.job
def checksum(ctx: Context, text: str) -> None:  # a plain function runs in a thread
    ctx.made.append(f"{zlib.crc32(text.encode()):08x}")


routes = web.RouteTableDef()


@routes.post("/thumbnails")
async def order_thumbnails(request: web.Request) -> web.Response:
    order = await request.json()
    job = await make_thumbnails.enqueue(order["user"], order["pictures"])
    return web.json_response({"id": job.id}, status=202)


@routes.post("/checksums")
async def order_checksum_later(request: web.Request) -> web.Response:
    order = await request.json()
    job = await checksum.options(delay=order["seconds"]).enqueue(order["text"])
    return web.json_response({"id": job.id, "run_at": job.run_at}, status=202)


@routes.get("/{kind:thumbnails|checksums}/{job_id}")
async def read_results(request: web.Request) -> web.Response:
    made = MADE.get(request.match_info["job_id"])
    if made is None:
        raise web.HTTPNotFound(text="this job has no results, or not yet")
    return web.json_response({"made": made})


app = web.Application()
app.add_routes(routes)
app.cleanup_ctx.append(pool.cleanup_ctx)
app.add_subapp("/work", asyncwork.web.aiohttp.subapp(asyncwork.web.create_app(namespace=NAMESPACE)))

if __name__ == "__main__":
    web.run_app(app, host="localhost", port=int(os.environ.get("PORT", "8080")))
