"""An aiohttp application that runs its jobs itself, while it serves.

    python -m examples.aiohttp_app

    curl localhost:8080/thumbnails -d '{"user": "ada", "pictures": ["cat", "dog"]}'
    curl localhost:8080/thumbnails/<the job's id>

Its jobs are to be seen at http://localhost:8080/work/, by whoever reaches it: `authorize=` would decide who that is.

Redis is at $ASYNCWORK_REDIS, or redis://localhost:6379/0; the port is $PORT, or 8080. On Ctrl-C or SIGTERM the server
first answers what it was asked, then the pool lets the jobs that run finish.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from dataclasses import dataclass, field

from aiohttp import web

import asyncwork.web.aiohttp
from asyncwork import CallNext, Job, WorkerPool

MADE: dict[str, list[str]] = {}  # by job id; a database, in a real application


@dataclass
class Context:
    made: list[str] = field(default_factory=list)


NAMESPACE = os.environ.get("ASYNCWORK_NAMESPACE", "aiohttp_app")
pool = WorkerPool(namespace=NAMESPACE, concurrency=10, context=Context)


@pool.middleware
async def keep(ctx: Context, job: Job, call_next: CallNext) -> None:
    """Keep what a job has made, when it has made all of it."""
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
    job = await checksum.enqueue_in(order["seconds"], order["text"])
    return web.json_response({"id": job.id, "run_at": job.run_at}, status=202)


@routes.get("/{kind:thumbnails|checksums}/{job_id}")
async def read_what_was_made(request: web.Request) -> web.Response:
    made = MADE.get(request.match_info["job_id"])
    if made is None:
        raise web.HTTPNotFound(text="there is nothing of such a job, or not yet")
    return web.json_response({"made": made})


app = web.Application()
app.add_routes(routes)
app.cleanup_ctx.append(pool.cleanup_ctx)
app.add_subapp("/work", asyncwork.web.aiohttp.subapp(asyncwork.web.create_app(namespace=NAMESPACE)))

if __name__ == "__main__":
    web.run_app(app, host="localhost", port=int(os.environ.get("PORT", "8080")))
