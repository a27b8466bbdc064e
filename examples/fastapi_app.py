"""A FastAPI application that runs its own jobs while it serves requests.

    uvicorn examples.fastapi_app:app

    curl localhost:8000/reports -H 'content-type: application/json' -d '{"customer_id": 7, "pages": 30}'
    curl localhost:8000/reports/<the job's id>

The web UI for its jobs is at http://localhost:8000/work/, open to everyone who can reach it; `authorize=` restricts it.

Redis is at $ASYNCWORK_REDIS, or redis://localhost:6379/0. On Ctrl-C or SIGTERM the server first answers its open
requests, then the pool lets running jobs finish.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import dataclass

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import asyncwork.web
from asyncwork import CallNext, Discard, Job, WorkerPool

CUSTOMERS = {7: "Ada", 8: "Grace"}  # a real application has a database
REPORTS: dict[str, str] = {}  # by the id of the job that wrote the report


@dataclass
class Context:
    customer: str = "nobody"


NAMESPACE = os.environ.get("ASYNCWORK_NAMESPACE", "fastapi_app")
pool = WorkerPool(namespace=NAMESPACE, concurrency=10, context=Context)
app = FastAPI(lifespan=pool.lifespan)
app.mount("/work", asyncwork.web.create_app(namespace=NAMESPACE))


@pool.middleware
async def log(job: Job, call_next: CallNext) -> object:
    start = time.perf_counter()
    try:
        return await call_next()
    finally:
        print(f"{job.name} {job.id} took {time.perf_counter() - start:.3f} s", flush=True)


@pool.middleware
async def find_customer(ctx: Context, job: Job, call_next: CallNext) -> object:
    if "customer_id" in job.args:
        customer_id = job.arg("customer_id", int)
        if customer_id not in CUSTOMERS:
            raise Discard(f"there is no customer {customer_id}")
        ctx.customer = CUSTOMERS[customer_id]
    return await call_next()


@pool.job
async def write_report(ctx: Context, job: Job, customer_id: int, pages: int = 1) -> None:
    for page in range(1, pages + 1):
        job.checkin(f"page {page} of {pages}")
        await asyncio.sleep(0.05)
    await sign_report.enqueue(job.id, text=f"{pages} pages about {ctx.customer}")


@pool.job
def sign_report(report_id: str, text: str) -> None:  # a plain function runs in a thread
    signature = hashlib.scrypt(text.encode(), salt=b"pepper", n=1 << 12, r=8, p=1)
    REPORTS[report_id] = f"{text}, signed {signature.hex()[:8]}"


class Order(BaseModel):
    customer_id: int
    pages: int = 1


@app.post("/reports", status_code=202)
async def order_report(order: Order) -> dict[str, str]:
    job = await write_report.enqueue(order.customer_id, pages=order.pages)
    return {"id": job.id}


@app.post("/reports/later", status_code=202)
async def order_report_later(order: Order, seconds: float) -> dict[str, str | int]:
    job = await write_report.options(delay=seconds).enqueue(order.customer_id, pages=order.pages)
    return {"id": job.id, "run_at": job.run_at}


@app.get("/reports/{job_id}")
async def read_report(job_id: str) -> dict[str, str]:
    if job_id not in REPORTS:
        raise HTTPException(404, "there is no such report, or not yet")
    return {"report": REPORTS[job_id]}
