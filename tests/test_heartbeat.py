"""The heartbeat goes on whatever a handler does, and a handler that blocks the event loop is named."""

from __future__ import annotations

import time

import pytest

from asyncwork import Periods

from .conftest import Bench, until


async def test_a_blocked_event_loop_is_told_once_and_nobody_reaps_its_pool(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    quick = Periods(heartbeat=0.3, dead_after=1.0, reap=0.1, stall=0.4)
    beats: list[bytes | None] = []
    blocking, watching = bench.pool(periods=quick), bench.pool(periods=quick)

    @blocking.job
    async def blocks() -> None:
        time.sleep(2.5)  # noqa: ASYNC251 - that is the point

    async with blocking.running():
        assert blocking.id is not None
        key = bench.keys.heartbeat(blocking.id)
        beats.append(await bench.redis.hget(key, "heartbeat_at"))
        job = await blocks.enqueue()
        await until(lambda: "stood still" in caplog.text)
        async with watching.running():
            await blocking.drain()
        beats.append(await bench.redis.hget(key, "heartbeat_at"))
    assert int(beats[1] or 0) - int(beats[0] or 0) >= 2
    (told,) = [record.getMessage() for record in caplog.records if "stood still" in record.getMessage()]
    assert f"blocked by job blocks {job.id}" in told
    assert "time.sleep(2.5)" in told
    assert "the event loop goes on after" in caplog.text
    assert "is dead" not in caplog.text


async def test_a_pool_that_was_taken_for_dead_says_so_and_registers_anew(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.pool().running() as pool:
        assert pool.id is not None
        await bench.redis.delete(bench.keys.heartbeat(pool.id))
        await bench.redis.srem(bench.keys.worker_pools, pool.id)
        await until(lambda: "was taken for dead" in caplog.text)
        assert await bench.redis.sismember(bench.keys.worker_pools, pool.id)
