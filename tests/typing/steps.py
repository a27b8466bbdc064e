"""Durable steps: their arguments and results are those of their functions."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, assert_type

from asyncwork import Client, Job, JobStep, WorkerPool

pool = WorkerPool()
client = Client()


async def charge(order: int, *, key: str = "") -> dict[str, int]:
    return {}


def ship(order: int) -> str:
    return ""


async def rows(last: int | None) -> AsyncIterator[tuple[int, bytes]]:
    yield 1, b""


def pairs(last: str | None) -> list[tuple[str, float]]:
    return []


@pool.job
async def fulfil(job: Job, order: int) -> None:
    assert_type(await job.step("charge", charge, order, key=job.key("charge")), dict[str, int])
    assert_type(await job.step("ship", ship, order), str)
    await job.step("charge", charge, "text")  # E: overload
    await job.step("charge", charge, order, kay="")  # E: "kay" || overload
    await job.step("charge")  # E: overload
    assert_type(await job.step("charge", charge, order, key="", retries=3), dict[str, int])
    assert_type(await job.step("ship", ship, order, retries=3), str)
    await job.step("ship", ship, order, retries="3")  # E: "retries" || overload
    await job.sleep("pause", timedelta(days=3))
    await job.sleep("pause", "3 days")  # E: timedelta
    assert_type(await job.event("approved", timeout=3), Any)
    assert_type(await job.event("approved", int, timeout=3), int)
    await job.event("approved")  # E: overload
    async for row in job.cursor("rows", rows):
        assert_type(row, bytes)
    async for each in job.cursor("pairs", pairs):
        assert_type(each, float)


async def send() -> None:
    assert_type(await client.signal("id", "approved", {"by": "ada"}), bool)
    assert_type((await client.status("id")).steps, tuple[JobStep, ...])
