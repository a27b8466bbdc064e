"""A pool with a context, two middlewares, four handlers and a periodic job.

    asyncwork run examples.app:pool    # or: python -m asyncwork run examples.app:pool
    python -m examples.enqueue         # in another terminal, to enqueue jobs for it

Both use the Redis at $ASYNCWORK_REDIS, or redis://localhost:6379/0. Without a Redis server:

    asyncwork run examples.app:pool --embedded
    ASYNCWORK_REDIS=unix://$PWD/.asyncwork/redis.sock python -m examples.enqueue
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from asyncwork import CallNext, Job, WorkerPool


@dataclass
class Context:
    """The context of one job; each job gets a fresh one."""

    customer_id: int | None = None


pool = WorkerPool(namespace=os.environ.get("ASYNCWORK_NAMESPACE", "my_app"), concurrency=10, context=Context)


@pool.middleware
async def log(job: Job, call_next: CallNext) -> object:
    print("starting", job.name, job.id)
    return await call_next()


@pool.middleware
async def find_customer(ctx: Context, job: Job, call_next: CallNext) -> object:
    if "customer_id" in job.args:
        ctx.customer_id = job.arg("customer_id", int)
    return await call_next()


@pool.job  # the function's name is the job's name
async def send_email(ctx: Context, address: str, subject: str = "hello", customer_id: int = 0) -> None:
    mail = EmailMessage()
    mail["To"], mail["Subject"] = address, subject
    mail.set_content(f"Dear customer {ctx.customer_id},\n")
    await asyncio.sleep(0.05)  # as long as a mail server takes
    print(f"sent {len(bytes(mail))} bytes to {address}: {subject}")


@pool.job("export", priority=10, max_fails=1)
async def export(job: Job) -> None:  # a handler can take the whole job, as in Go
    rows = job.arg("rows", int, 100)
    for i in range(rows):
        await asyncio.sleep(0.01)
        job.checkin(f"row {i + 1} of {rows}")
    print(f"exported {rows} rows")


@pool.job
def resize(path: str) -> None:  # a plain function runs in a thread
    """Halve a picture in binary PPM, dropping every second pixel and row."""
    _, size, _, pixels = Path(path).read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    rows = [pixels[3 * width * y :][: 3 * width] for y in range(0, height, 2)]
    small = b"".join(row[x : x + 3] for row in rows for x in range(0, 3 * width, 6))
    target = Path(path).with_suffix(".small.ppm")
    target.write_bytes(b"P6\n%d %d\n255\n%b" % ((width + 1) // 2, (height + 1) // 2, small))
    print(f"resized {path}: {target.stat().st_size} bytes")


@pool.job
async def calculate_caches() -> None:
    print("caches calculated")


pool.periodically("0 0 * * * *", "calculate_caches")  # seconds first; on the hour
