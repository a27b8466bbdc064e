"""Progress: check-ins with numbers, as clients, Go's web UI and ours show them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from asyncwork import Client, Job, JobRecord, Progress, UsageError
from asyncwork._jobs.progress import read_progress, write_number
from asyncwork.testing import make_job

from .conftest import LIMIT, Bench, until


class Index:
    """An integer of another library."""

    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("given", "text", "fraction"),
    [
        ((45, 100, "resizing"), "45/100 resizing", 0.45),
        ((45, 100), "45/100", 0.45),
        ((45,), "45", None),
        ((0, 0), "0/0", 1.0),
        ((3, 2), "3/2", 1.0),
        ((0.25, 1.0, "of it"), "0.25/1 of it", 0.25),
        ((Decimal("0.5"), Fraction(1, 1)), "0.5/1", 0.5),
        ((Index(), True), "7/1", 1.0),
        ((10**15, 10**16), "1e+15/1e+16", 0.1),
        ((1, None, 42), "1 42", None),
    ],
)
def test_a_progress_is_a_checkin_with_numbers(given: tuple[Any, ...], text: str, fraction: float | None) -> None:
    job = make_job("wat")
    job.progress(*given)
    assert job.checked_in is not None
    checkin, at, progress = job.checked_in
    assert checkin == text == str(progress)
    assert at > 0
    assert progress is not None
    assert progress.fraction == fraction
    total = "" if progress.total is None else write_number(progress.total)
    assert read_progress(write_number(progress.done), total, checkin) == progress


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((-1,), "done must be zero or more, and finite, not -1"),
        ((float("nan"),), "done must be zero or more, and finite, not nan"),
        ((1, float("inf")), "total must be zero or more, and finite, not inf"),
        (("5",), "done must be a number, not str: '5'"),
        ((None,), "done must be a number, not NoneType: None"),
        ((1, [2]), "total must be a number, not list"),
        ((10**400,), "done must be less than 1e308"),
    ],
)
def test_what_is_no_progress_is_refused(given: tuple[Any, ...], message: str) -> None:
    job = make_job("wat")
    job.checkin("before")
    with pytest.raises(UsageError, match=message):
        job.progress(*given)
    assert job.checked_in is not None
    assert job.checked_in[0] == "before"


@pytest.mark.parametrize("done", ["", "-1", "nan", "inf", "1e999", "9" * 40, "0x1", "1.2.3", "1 2"])
def test_numbers_of_another_program_that_are_none_are_ignored(done: str) -> None:
    assert read_progress(done, "2", "text") is None


async def test_progress_is_shown_while_the_job_runs(bench: Bench) -> None:
    pool, go = bench.pool(), asyncio.Event()

    @pool.job
    async def works(job: Job) -> None:
        job.progress(45, 100, "resizing")
        await go.wait()
        job.checkin("nearly done")
        await asyncio.Event().wait()

    await works.enqueue()
    async with asyncio.timeout(LIMIT), pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(client.observations)
        (seen,) = await client.observations()
        assert (seen.checkin, seen.progress) == ("45/100 resizing", Progress(45, 100, "resizing"))
        (running,) = (await client.jobs("busy")).jobs
        assert running.progress == seen.progress
        fields = await bench.redis.hgetall(bench.keys.observation(seen.worker_id))
        assert (fields[b"checkin"], fields[b"done"], fields[b"total"]) == (b"45/100 resizing", b"45", b"100")
        go.set()

        async def is_replaced() -> bool:
            (seen,) = await client.observations()
            return (seen.checkin, seen.progress) == ("nearly done", None)

        await until(is_replaced)
        pool.stop_soon(now=True)
    await bench.redis.delete(bench.keys.queue("works"))


async def test_progress_is_redacted_as_the_checkin_is(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def works(job: Job, secret: str) -> None:
        job.progress(1, 2, f"of {secret}")
        await asyncio.Event().wait()

    def hide(record: JobRecord) -> JobRecord:
        return replace(record, args=b"null")

    def fail(record: JobRecord) -> JobRecord:
        raise ValueError

    await works.enqueue("hunter2")
    async with asyncio.timeout(LIMIT), pool.running():
        for redact, shown in ((hide, Progress(1, 2, "of [redacted]")), (fail, None)):
            async with Client(bench.url, namespace=bench.namespace, redact=redact) as client:
                await until(client.observations)
                (seen,) = await client.observations()
                assert seen.progress == shown
        pool.stop_soon(now=True)
    await bench.redis.delete(bench.keys.queue("works"))
