"""`asyncwork enqueue --wait`: the result on standard output, and the exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwork import Client, Discard, Job

from .conftest import Bench
from .test_cli import run


@pytest.fixture
async def serving(bench: Bench) -> AsyncIterator[Bench]:
    """A bench with a pool that runs."""
    pool = bench.pool()

    @pool.job(result=60)
    async def double(job: Job, numbers: list[int]) -> dict[str, Any]:
        return {"doubled": [2 * each for each in numbers], "name": "Zoë", "timeout": job.timeout}

    @pool.job(result=60, max_fails=1)
    async def fail() -> None:
        raise ValueError("no such customer")

    @pool.job(result=60)
    async def discard() -> None:
        raise Discard("gone")

    @pool.job(result=60)
    async def hang() -> None:
        await asyncio.Event().wait()

    @pool.job
    async def forget() -> None:
        pass

    async with pool.running():
        yield bench


def on(bench: Bench) -> tuple[str, ...]:
    return ("--redis", bench.url, "--namespace", bench.namespace)


async def test_the_result_is_printed_as_json(serving: Bench) -> None:
    big = 2**70
    arguments = ("double", json.dumps({"numbers": [1, big]}), "--timeout", "20", *on(serving), "--wait")
    code, out, err = await run("enqueue", *arguments)
    assert (code, err) == (0, "")
    assert json.loads(out) == {"doubled": [2, 2 * big], "name": "Zoë", "timeout": 20}
    code, out, err = await run("enqueue", "double", '{"numbers": []}', *on(serving), "--wait", "60")
    assert (code, err) == (0, "")
    assert json.loads(out)["doubled"] == []


@pytest.mark.parametrize(
    ("arguments", "expected", "message"),
    [
        (("fail", "--wait"), 1, r"is dead: ValueError: no such customer"),
        (("discard", "--wait", "60"), 1, "is discarded: gone"),
        (("forget", "--wait"), 2, "is enqueued, but no results of 'forget' are kept, .*@pool.job(result=SECONDS)"),
        (("hang", "--wait", "0.3"), 5, "has not ended after 0.3 s"),
    ],
)
async def test_the_exit_code_says_how_a_job_without_a_result_has_ended(
    serving: Bench, arguments: tuple[str, ...], expected: int, message: str
) -> None:
    code, out, err = await run("enqueue", arguments[0], *on(serving), *arguments[1:])
    assert (code, out) == (expected, "")
    for part in message.split(".*"):
        assert part in err
    if arguments[0] == "fail":
        assert "Traceback" in err


async def test_a_job_that_no_pool_handles_is_reported_before_the_wait(bench: Bench) -> None:
    code, out, err = await run("enqueue", "double", *on(bench), "--wait", "0.3")
    assert code in (2, 5)
    assert out == ""
    assert "no pool is running in namespace" in err


async def test_a_paused_queue_is_reported(serving: Bench) -> None:
    async with Client(serving.url, namespace=serving.namespace) as client:
        await client.pause("double")
    problem = "the queue 'double' is paused: its jobs run when it is unpaused, for example in the web UI"
    code, out, err = await run("enqueue", "double", '{"numbers": []}', *on(serving))
    assert code == 0
    assert out.endswith(" double waits until its queue is unpaused\n")
    assert problem in err
    code, out, err = await run("enqueue", "double", '{"numbers": []}', *on(serving), "--wait", "0.2")
    assert (code, out) == (5, "")
    assert problem in err
    assert "has not ended after 0.2 s (--wait)" in err
