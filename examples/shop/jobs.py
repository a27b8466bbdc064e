"""The jobs of the shop, and the pool that runs them.

asyncwork run examples.shop.jobs:pool
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from PIL import Image, UnidentifiedImageError

from asyncwork import CallNext, Discard, Job, WorkerPool

from .store import Order, Orders, open_orders


@dataclass
class Shared:
    """The resources that all jobs of a process share."""

    orders: Orders
    mail: httpx.AsyncClient


class Context:
    """The context of a handler. Each job has a new one."""

    def __init__(self, shared: Shared) -> None:
        self.orders = shared.orders
        self.mail = shared.mail


def mail_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=os.environ.get("SHOP_MAIL_URL", "http://localhost:8025"), timeout=30)


@asynccontextmanager
async def resources() -> AsyncIterator[Shared]:  # opened before the first job, closed after the last one
    async with open_orders() as orders, mail_client() as mail:
        yield Shared(orders, mail)


NAMESPACE = os.environ.get("ASYNCWORK_NAMESPACE", "shop")
pool = WorkerPool(namespace=NAMESPACE, concurrency=10, resources=resources, context=Context)


@pool.middleware
async def log_duration(job: Job, call_next: CallNext) -> object:
    start = time.perf_counter()
    try:
        return await call_next()
    finally:
        job.log.info("took %.3f s", time.perf_counter() - start)


@pool.on_dead
async def report(job: Job, error: BaseException) -> None:
    job.log.error("gave up after %d attempts: %s", job.fails, error)


@pool.job
def thumbnail(path: Path) -> None:  # a plain function runs in a thread
    try:
        with Image.open(path) as picture:
            picture.thumbnail((200, 200))
            picture.convert("RGB").save(path.with_suffix(".jpg"))
    except UnidentifiedImageError as error:
        raise Discard(str(error)) from error  # another attempt would read the same file


@pool.job(max_fails=5)  # what httpx raises is retried, after longer and longer delays
async def send_email(ctx: Context, job: Job, order_id: int) -> None:
    order = await find_order(ctx, order_id)
    if order.emailed:
        return
    await post_mail(ctx, job, order, f"We have received your order: {order.product}.")
    await ask_for_review.options(delay=timedelta(days=14), unique=True).enqueue(order_id)
    await ctx.orders.mark_emailed(order_id)


@pool.job(max_fails=2)
async def ask_for_review(ctx: Context, job: Job, order_id: int) -> None:
    order = await find_order(ctx, order_id)
    await post_mail(ctx, job, order, f"How do you like your {order.product}?")


@pool.periodic("0 0 3 * * *", tz="Europe/Berlin")  # every night at three; the first field is the seconds
@pool.job
async def send_missing_emails(ctx: Context) -> None:
    """Try again to send the e-mails whose jobs are dead."""
    await send_email.enqueue_many(send_email.call(order_id) for order_id in await ctx.orders.not_emailed())


async def find_order(ctx: Context, order_id: int) -> Order:
    order = await ctx.orders.get(order_id)
    if order is None:
        raise Discard(f"there is no order {order_id}")
    return order


async def post_mail(ctx: Context, job: Job, order: Order, text: str) -> None:
    # A job runs again if its process dies. By the key, the mail service recognizes an e-mail that it has already sent.
    key = {"Idempotency-Key": job.id}
    response = await ctx.mail.post("/messages", json={"to": order.address, "text": text}, headers=key)
    response.raise_for_status()
