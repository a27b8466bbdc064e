"""The process that runs the jobs by asyncwork: drains the queues, or waits for jobs as they come."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from asyncwork import CallNext, Job, WorkerPool

from . import memory
from .orders import NAMES, NAMESPACE, Case, Drained, Waited, receive, reply, run
from .tally import Tally

# Seconds in which a pool that has nothing to do comes to rest.
_SETTLING = 1.0


def make_pool(url: str, case: Case) -> WorkerPool[Any]:
    """Return a pool such as an application would have, without its handlers."""
    pool = WorkerPool(url, namespace=NAMESPACE, concurrency=case.concurrency, exchanges=case.exchanges)

    async def pass_on(job: Job, call_next: CallNext) -> object:
        return await call_next()

    for _ in range(case.middleware):
        pool.middleware(pass_on)
    return pool


async def drain(url: str, case: Case, jobs: int) -> Drained:
    """Run everything that waits."""

    async def count(job: Job) -> None:
        tally.ran(job.args["place"])

    pool = make_pool(url, case)
    for name in NAMES:
        pool.job(name)(count)
    tally = Tally(jobs)
    async with pool.running():
        await tally.done.wait()
    return tally.result()


async def wait(url: str, case: Case, jobs: int) -> Waited:
    """Run jobs as they come, each of which tells when it was sent. Says ``waiting`` when the pool is at rest."""
    seconds: list[float] = []
    done = asyncio.Event()

    async def note(job: Job) -> None:
        seconds.append((time.time_ns() - job.args["sent_ns"]) / 1e9)
        if len(seconds) == jobs:
            done.set()

    pool = make_pool(url, case)
    for name in NAMES:
        pool.job(name)(note)
    async with pool.running():
        await asyncio.sleep(_SETTLING)
        idle = memory.resident()
        reply("waiting")
        await done.wait()
    return Waited(seconds, idle)


if __name__ == "__main__":
    order = receive()
    case = Case(**order["case"])
    arguments = (order["url"], case, order["jobs"])
    if order["what"] == "wait":
        reply(run(wait(*arguments), case))
    else:
        reply(run(drain(*arguments), case))
