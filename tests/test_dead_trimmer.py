"""The oldest dead jobs are deleted when there are too many, or when they are too old."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest

from asyncwork import Tuning, UsageError
from asyncwork._worker.services.dead_trimmer import DeadTrimmer

from .conftest import Bench, until
from .tuned import QUICK, tuned

DAY = 86_400


def dead(job_id: str, **fields: Any) -> str:
    return json.dumps({"name": "wat", "id": job_id, "t": 1, "args": None, **fields})


def trimmer(bench: Bench, most: int = 0, seconds: float = 0, ahead: float = 0) -> DeadTrimmer:
    clock = lambda: time.time() + ahead  # noqa: E731
    return DeadTrimmer(bench.in_redis, period=60.0, most=most, seconds=seconds, clock=clock)


async def fill(bench: Bench, count: int, first: float = 1.0) -> None:
    if count:
        await bench.redis.zadd(bench.keys.dead, {dead(str(n)): first + n for n in range(count)})


async def ids(bench: Bench) -> list[str]:
    return [json.loads(raw)["id"] for raw, _ in await bench.job_set("dead")]


@pytest.mark.parametrize("count", [0, 1, 249, 250, 251, 700])
async def test_the_newest_are_kept(bench: Bench, caplog: pytest.LogCaptureFixture, count: int) -> None:
    caplog.set_level(logging.INFO)
    await fill(bench, count)
    assert await trimmer(bench, most=250).run_once() == 60.0
    assert await ids(bench) == [str(n) for n in range(max(0, count - 250), count)]
    lines = [each.message for each in caplog.records]
    gone = max(0, count - 250)
    jobs = "job" if gone == 1 else "jobs"
    assert lines == ([f"trimmed {gone} dead {jobs}: at most 250 are kept"] if gone else [])


async def test_the_old_are_deleted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = time.time()
    await fill(bench, 150, first=now - 31 * DAY)
    await bench.redis.zadd(bench.keys.dead, {dead("new"): now - 29 * DAY, dead("newest"): now})
    await trimmer(bench, most=1000, seconds=30 * DAY).run_once()
    assert await ids(bench) == ["new", "newest"]
    assert [each.message for each in caplog.records] == [
        "trimmed 150 dead jobs: at most 1000 are kept, for at most 30 days"
    ]


async def test_nothing_is_deleted_without_limits(bench: Bench) -> None:
    await fill(bench, 300)
    await trimmer(bench).run_once()
    assert len(await ids(bench)) == 300


async def test_a_clock_that_is_ahead_makes_no_job_old(bench: Bench) -> None:
    await fill(bench, 3, first=time.time())
    await trimmer(bench, seconds=30 * DAY, ahead=365 * DAY).run_once()
    assert len(await ids(bench)) == 3


async def test_unique_keys_are_freed_and_no_undo_is_kept(bench: Bench) -> None:
    key = bench.keys.unique_for("wat", None)
    await bench.redis.set(key, "1")
    await bench.redis.zadd(bench.keys.dead, {dead("1", unique=True, unique_key=key): 1, dead("2"): 2})
    await trimmer(bench, most=1).run_once()
    assert await ids(bench) == ["2"]
    assert sorted(await bench.redis.keys(f"{bench.namespace}:*")) == [bench.keys.dead.encode()]


async def test_members_that_are_no_jobs_are_deleted_too(bench: Bench) -> None:
    await bench.redis.zadd(bench.keys.dead, {b"\xff{": 1, b"": 2, dead("1"): 3})
    await trimmer(bench, most=1).run_once()
    assert await ids(bench) == ["1"]


async def test_several_pools_never_delete_too_many(bench: Bench) -> None:
    await fill(bench, 1500)
    trimmers = [trimmer(bench, most=700) for _ in range(6)]
    await asyncio.gather(*(each.run_once() for each in trimmers))
    assert await ids(bench) == [str(n) for n in range(800, 1500)]


async def test_what_was_deleted_before_an_outage_is_logged_after_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await fill(bench, 250)
    service = trimmer(bench, most=10)
    delete, calls = service._deletions.delete, 0

    async def fail_later(*args: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ConnectionResetError
        return await delete(*args)

    service._deletions.delete = fail_later  # type: ignore[assignment, method-assign]
    with pytest.raises(ConnectionResetError):
        await service.run_once()
    await service.run_once()
    assert [each.message for each in caplog.records] == ["trimmed 240 dead jobs: at most 10 are kept"]


async def test_a_pool_trims(bench: Bench) -> None:
    pool = bench.pool(**tuned(QUICK, trim=0.1, dead_max=2))

    @pool.job
    async def wat() -> None: ...

    await fill(bench, 5)
    async with pool.running():
        await until(lambda: _is(bench, ["3", "4"]))
        await fill(bench, 3, first=50)
        await until(lambda: _is(bench, ["1", "2"]))


async def _is(bench: Bench, expected: list[str]) -> bool:
    return await ids(bench) == expected


def test_the_defaults() -> None:
    assert (Tuning().dead_max, Tuning().dead_for) == (10_000, 180 * DAY)
    assert (Tuning(dead_max=0, dead_for=0).dead_max, Tuning(dead_for=0).dead_for) == (0, 0)


@pytest.mark.parametrize("options", [{"dead_max": -1}, {"dead_max": 1.5}, {"dead_for": -1}, {"dead_for": "1"}])
def test_wrong_limits_are_refused(options: Any) -> None:
    with pytest.raises(UsageError, match=f"Tuning.{next(iter(options))} must be"):
        Tuning(**options)
