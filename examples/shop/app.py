"""The web application of the shop. Its process runs jobs too, while it serves requests.

    uvicorn examples.shop.app:app

On Ctrl-C or SIGTERM the server first answers its open requests, then the pool lets running jobs finish.
"""

from __future__ import annotations

import logging
from typing import Annotated

import anyio
from fastapi import Depends, FastAPI, HTTPException, UploadFile
from pydantic import BaseModel

import asyncwork.web
from asyncwork import JobLogFilter
from asyncwork.logging import TextFormatter

from .jobs import NAMESPACE, Shared, pool, send_email, thumbnail
from .store import Order, Orders, new_picture

log_handler = logging.StreamHandler()
log_handler.setFormatter(TextFormatter())
log_handler.addFilter(JobLogFilter())
logging.basicConfig(level=logging.INFO, handlers=[log_handler])

app = FastAPI(lifespan=pool.lifespan)
# The web UI is open to everyone who can reach it; `authorize=` restricts it.
app.mount("/jobs", asyncwork.web.create_app(namespace=NAMESPACE))


async def get_orders() -> Orders:
    shared: Shared = pool.resources
    return shared.orders


OpenOrders = Annotated[Orders, Depends(get_orders)]


class NewOrder(BaseModel):
    address: str
    product: str


@app.post("/pictures", status_code=202)
async def upload_picture(file: UploadFile) -> dict[str, str]:
    path = new_picture()
    await anyio.Path(path).write_bytes(await file.read())
    job = await thumbnail.enqueue(path)
    return {"picture": path.name, "job": job.id}


@app.post("/orders", status_code=201)
async def place_order(new: NewOrder, orders: OpenOrders) -> Order:
    order = await orders.add(new.address, new.product)
    await send_email.enqueue(order.id)
    return order


@app.get("/orders/{order_id}")
async def read_order(order_id: int, orders: OpenOrders) -> Order:
    order = await orders.get(order_id)
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return order
