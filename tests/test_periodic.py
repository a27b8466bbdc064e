"""Periodic jobs: gocraft/work's bytes, each instance once, however many pools and however late."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from asyncwork import ArgumentsError, Job, ScheduleError, UsageError
from asyncwork.engine.periodic_enqueuer import PeriodicEnqueuer, PeriodicJob
from asyncwork.schedule import Schedule
from asyncwork.store.upkeep import Upkeep

from .conftest import Bench, until


class Slow(Upkeep):
    """Sees Redis's clock as it was some seconds ago."""

    behind = 0.0

    async def now(self) -> float:
        return await super().now() - self.behind


def enqueuer(bench: Bench, *specs: str, behind: float = 0.0) -> PeriodicEnqueuer:
    upkeep = Slow(bench.connector, bench.keys)
    upkeep.behind = behind
    jobs = [PeriodicJob("foo", Schedule.parse(spec)) for spec in specs]
    return PeriodicEnqueuer(upkeep, jobs, period=120.0, horizon=240.0)


def test_the_payload_is_gocraft_works() -> None:
    job = PeriodicJob("foo", Schedule.parse("0 * * * * *"))
    assert job.instance(1467334860) == (
        b'{"name":"foo","id":"periodic:foo:0 * * * * *:1467334860","t":1467334860,"args":null}'
    )


async def test_the_horizon_is_filled_to_just_before_its_end(bench: Bench) -> None:
    role = enqueuer(bench, "0 * * * * *", "30 * * * * *")
    assert await role.once() == 120.0
    now = int(await Upkeep(bench.connector, bench.keys).now())
    members = await bench.shelf("scheduled")
    assert len(members) == 8
    for payload, score in members:
        job = json.loads(payload)
        assert job["t"] == score
        assert job["id"] == f"periodic:foo:{'0' if score % 60 == 0 else '30'} * * * * *:{int(score)}"
        assert now - 1 < score < now + 241
    assert abs(int(await bench.redis.get(bench.keys.last_periodic_enqueue) or 0) - now) <= 1


async def test_again_and_from_another_pool_adds_nothing(bench: Bench) -> None:
    await enqueuer(bench, "0 * * * * *").once()
    before = await bench.shelf("scheduled")
    await asyncio.gather(*(enqueuer(bench, "0 * * * * *").once() for _ in range(5)))
    assert len(await bench.shelf("scheduled")) - len(before) in (0, 1)


async def test_an_instance_that_ran_is_not_added_again_by_a_late_pool(bench: Bench) -> None:
    await enqueuer(bench, "* * * * * *").once()
    await bench.redis.delete(bench.keys.scheduled)
    await enqueuer(bench, "* * * * * *", behind=100).once()
    assert len(await bench.shelf("scheduled")) <= 2


async def test_it_fires_each_second_once_over_several_pools(bench: Bench) -> None:
    fired: Counter[str] = Counter()
    pools = [bench.pool() for _ in range(3)]

    async def tick(job: Job) -> None:
        fired[job.id] += 1

    for pool in pools:
        pool.job("tick")(tick)
        pool.periodically("* * * * * *", "tick")
        await pool.start()
    await until(lambda: len(fired) == 3)
    for pool in pools:
        await pool.stop()
    assert set(fired.values()) == {1}
    assert all(job_id.startswith("periodic:tick:* * * * * *:") for job_id in fired)


async def test_a_periodic_job_may_have_arguments(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def tick(n: int) -> None:
        got.append(n)

    for n in (1, 2):
        pool.periodically("* * * * * *", "tick", {"n": n})
    async with pool.running():
        await until(lambda: set(got) == {1, 2})


async def test_what_cannot_be_is_refused_at_registration(bench: Bench) -> None:
    pool = bench.pool()
    for spec, message in [("nonsense", "."), ("0 0 0 31 2 *", "never"), ("* * * * * 7", "."), ("", ".")]:
        with pytest.raises(ScheduleError, match=message):
            pool.periodically(spec, "foo")
    with pytest.raises(UsageError, match="comma"):
        pool.periodically("* * * * * *", "a,b")
    with pytest.raises(ArgumentsError, match="x"):
        pool.periodically("* * * * * *", "foo", {"x": {1}})
    assert pool.periodic_jobs == []
