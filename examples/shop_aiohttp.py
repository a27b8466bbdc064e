"""The shop of ``examples/shop`` in aiohttp, with the same jobs.

    python -m examples.shop_aiohttp

It listens on port $PORT, or 8080. On Ctrl-C or SIGTERM the server first answers its open requests, then the pool lets
running jobs finish.
"""

from __future__ import annotations

import dataclasses
import logging
import os

import anyio
from aiohttp import web

import asyncwork.web.aiohttp
from asyncwork import JobLogFilter
from asyncwork.logging import TextFormatter

from .shop.jobs import NAMESPACE, Shared, pool, send_email, thumbnail
from .shop.store import Orders, new_picture

routes = web.RouteTableDef()


def open_orders() -> Orders:
    shared: Shared = pool.resources
    return shared.orders


@routes.post("/pictures")
async def upload_picture(request: web.Request) -> web.Response:
    file = (await request.post()).get("file")
    if not isinstance(file, web.FileField):
        raise web.HTTPUnprocessableEntity(text="file is missing")
    path = new_picture()
    await anyio.Path(path).write_bytes(file.file.read())
    job = await thumbnail.enqueue(path)
    return web.json_response({"picture": path.name, "job": job.id}, status=202)


@routes.post("/orders")
async def place_order(request: web.Request) -> web.Response:
    match await request.json():
        case {"address": str(address), "product": str(product)}:
            order = await open_orders().add(address, product)
            await send_email.enqueue(order.id)
            return web.json_response(dataclasses.asdict(order), status=201)
    raise web.HTTPUnprocessableEntity(text="an order has an address and a product")


@routes.get(r"/orders/{order_id:\d+}")
async def read_order(request: web.Request) -> web.Response:
    order_id = int(request.match_info["order_id"])
    order = await open_orders().get(order_id)
    if order is None:
        raise web.HTTPNotFound(text=f"there is no order {order_id}")
    return web.json_response(dataclasses.asdict(order))


app = web.Application()
app.add_routes(routes)
app.cleanup_ctx.append(pool.cleanup_ctx)
# The web UI is open to everyone who can reach it; `authorize=` restricts it.
app.add_subapp("/jobs", asyncwork.web.aiohttp.subapp(asyncwork.web.create_app(namespace=NAMESPACE)))

if __name__ == "__main__":
    log_handler = logging.StreamHandler()
    log_handler.setFormatter(TextFormatter())
    log_handler.addFilter(JobLogFilter())
    logging.basicConfig(level=logging.INFO, handlers=[log_handler])
    web.run_app(app, host="localhost", port=int(os.environ.get("PORT", "8080")))
