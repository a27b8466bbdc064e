"""Results of jobs that a Go pool runs: it writes no record, so a wait for one is bounded, and its end is unknown."""

from __future__ import annotations

import asyncio

import pytest

from asyncwork import Client, JobState, ResultTimeout

from ..conftest import LIMIT, until
from .golang import Mixed


async def test_a_job_that_a_go_pool_has_run_has_no_result(mixed: Mixed) -> None:
    bench, pool = mixed.bench, mixed.bench.pool()

    @pool.job("wat", result=60)
    async def wat(n: int) -> int:
        return n

    async with pool.running():
        pass
    job = await bench.enqueuer.enqueue("wat", {"n": 7})
    waiting = asyncio.create_task(job.result(LIMIT))
    await until(lambda: bench.redis.exists(bench.keys.job_record(job.id)))
    async with mixed.pool(jobs={"wat": {}}), Client(bench.url, namespace=bench.namespace) as client:
        await mixed.until_ran(1)

        async def is_unknown() -> bool:
            return (await client.status(job.id)).state is JobState.UNKNOWN

        await until(is_unknown)
        with pytest.raises(ResultTimeout, match="or a Go pool has run it"):
            await job.result(0.01)
        assert not waiting.done()
        waiting.cancel()
