"""Redis comes back empty, or its clock was wrong, while pools run: what they need is there again within seconds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, Job, WorkerPool
from asyncwork._doctor.heartbeats import HeartbeatHistory
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.periodic_job import PeriodicJob
from asyncwork._redis import producer, registered_names, scripts
from asyncwork._redis.errors import REDIS_ERRORS
from asyncwork._redis.periodic import PeriodicInstances
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._worker.lease import Lease
from asyncwork._worker.services.go_rescuer import GoRescuer
from asyncwork._worker.services.heartbeat import Heartbeater, HeartbeatSource
from asyncwork._worker.services.observer import Observer
from asyncwork._worker.services.periodic_enqueuer import PeriodicEnqueuer
from asyncwork._worker.services.requeuer import Requeuer
from asyncwork.embedded import EmbeddedRedis
from asyncwork.models.pools import Heartbeat, Observation
from asyncwork.schedule import Schedule

from .conftest import Bench, open_bench, until
from .proxy import open_proxy
from .tuned import QUICK, tuned

REAP = scripts.digest("reap")
MINUTELY = PeriodicJob("foo", Schedule.parse("0 * * * * *"))


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Bench]:
    """A Redis of the test's own, that may be emptied."""
    with EmbeddedRedis(tmp_path, appendonly=False) as server:
        async with open_bench(server.url) as bench:
            yield bench


class Hand:
    """A monotonic clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


# Caps


async def test_caps_hold_again_within_seconds_when_redis_was_emptied(own: Bench) -> None:
    pool, running, most = own.pool(), 0, 0
    release = asyncio.Event()

    @pool.job(max_concurrency=1)
    async def capped() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    async with pool.running():
        await own.redis.flushdb()
        await until(lambda: own.redis.exists(own.keys.max_concurrency("capped")))
        for _ in range(10):
            await capped.enqueue()
        await until(lambda: running)
        release.set()
        await pool.drain()
    assert most == 1


class Running:
    """The state of a pool that was asked for nothing."""

    def name(self) -> str:
        return "running"

    def followed(self) -> tuple[float, ...]:
        return ()


def heartbeater(bench: Bench, **caps: int) -> Heartbeater:
    return Heartbeater(
        bench.in_redis,
        HeartbeatSource(
            "a" * 24,
            job_names=dict.fromkeys(caps, False),
            size=lambda: (1, []),
            started_at=time.time(),
            periodic=[],
            state=Running(),
            ignored=tuple,
        ),
        max_concurrency=caps,
        results=dict.fromkeys(caps, 60),
        period=1.0,
        clock=time.time,
        lease=Lease(1.0, time.time),
        on_no_connection=lambda _: None,
        on_written=lambda *_: None,
        registered=False,
    )


async def test_it_is_written_again_for_how_long_results_are_kept(bench: Bench) -> None:
    role = heartbeater(bench, wat=3)
    await role.run_once()
    assert not await bench.redis.exists(bench.keys.results)
    await bench.redis.delete(bench.keys.worker_pools)
    await bench.redis.hset(bench.keys.results, "other", 5)
    await role.run_once()
    assert await bench.redis.hgetall(bench.keys.results) == {b"wat": b"60", b"other": b"5"}
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat("a" * 24))


async def test_a_heartbeat_leaves_a_cap_that_was_set_meanwhile(bench: Bench) -> None:
    role = heartbeater(bench, wat=3, free=0)
    async with Client(bench.url, namespace=bench.namespace) as client:
        await role.run_once()
        assert await bench.redis.get(bench.keys.max_concurrency("wat")) == b"3"
        assert not await bench.redis.exists(bench.keys.max_concurrency("free"))
        await client.set_max_concurrency("wat", 7)
        await role.run_once()
        assert await bench.redis.get(bench.keys.max_concurrency("wat")) == b"7"
        # It was reaped.
        await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat("a" * 24))
        await role.run_once()
        assert await bench.redis.get(bench.keys.max_concurrency("wat")) == b"7"
        # Taken away by hand while the pool is known.
        await bench.redis.delete(bench.keys.max_concurrency("wat"))
        await role.run_once()
        assert not await bench.redis.exists(bench.keys.max_concurrency("wat"))
    await PoolRegistry(bench.in_redis).forget_pool("a" * 24)


# Periodic jobs


async def test_periodic_jobs_are_planned_anew_at_once_when_redis_was_emptied(own: Bench) -> None:
    pool = own.pool()

    @pool.job
    async def tick() -> None: ...

    pool.periodically("* * * * * *", "tick")
    async with pool.running():
        await until(lambda: own.redis.zcard(own.keys.scheduled))
        await own.redis.flushdb()
        await until(lambda: own.redis.zcard(own.keys.scheduled))


async def test_a_redis_that_restarts_without_its_data(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, appendonly=False, settings={"save": ""}) as server:
        async with open_bench(server.url) as bench:
            pool, ran = bench.pool(), Counter[str]()

            @pool.job(max_concurrency=2)
            async def tick() -> None:
                ran["tick"] += 1

            @pool.job
            async def wat() -> None:
                ran["wat"] += 1

            def restart() -> None:
                server.stop()
                for data in tmp_path.rglob("*.rdb"):
                    data.unlink()
                server.start()

            pool.periodically("* * * * * *", "tick")
            async with pool.running():
                await until(lambda: ran["tick"])
                await wat.enqueue()
                await bench.redis.set("lost", 1)
                await asyncio.to_thread(restart)
                ran.clear()
                await until(lambda: ran["tick"])
                assert not await bench.redis.exists("lost")
                await until(lambda: bench.redis.exists(bench.keys.max_concurrency("tick")))
                await wat.enqueue()
                assert await bench.redis.sismember(bench.keys.known_jobs, "wat")
                await until(lambda: ran["wat"])


async def plan(bench: Bench, *jobs: PeriodicJob, monotonic: Hand | None = None) -> PeriodicEnqueuer:
    namespace = bench.in_redis
    role = PeriodicEnqueuer(namespace, jobs, period=120.0, horizon=240.0, monotonic=monotonic or Hand())
    await role.run_once()
    return role


@pytest.mark.parametrize("ahead", [300, 3600, 86_000, 10**9, "inf", "nan", "soon"])
async def test_a_plan_that_is_ahead_of_the_clock_is_made_anew(
    bench: Bench, caplog: pytest.LogCaptureFixture, ahead: int | str
) -> None:
    role = await plan(bench, MINUTELY)
    assert len(await bench.job_set("scheduled")) in (3, 4)
    # Redis's clock was ahead for a moment: what was planned then has fired.
    await bench.redis.delete(bench.keys.scheduled)
    newest = int(time.time()) + ahead if isinstance(ahead, int) else ahead
    await bench.redis.hset(bench.keys.periodic, MINUTELY.key, newest)
    # Not only when the horizon is filled the next time.
    await role.run_once()
    assert len(await bench.job_set("scheduled")) in (3, 4)
    assert int(await bench.redis.hget(bench.keys.periodic, MINUTELY.key)) <= time.time() + 241
    assert ("by a wrong clock of Redis" in caplog.text) == (ahead != "soon")
    before = await bench.job_set("scheduled")
    await role.run_once()
    assert len(await bench.job_set("scheduled")) - len(before) in (0, 1)


async def test_a_plan_that_is_made_anew_has_nothing_that_is_past(bench: Bench) -> None:
    namespace, now = bench.in_redis, int(time.time())
    await bench.redis.hset(bench.keys.periodic, MINUTELY.key, now + 3600)
    instances = [(at, MINUTELY.instance(at)) for at in (now - 60, now + 60)]
    assert (await PeriodicInstances(namespace).plan(MINUTELY.key, 240.0, instances)).added == 1


async def test_when_it_fired_last_is_never_to_come(bench: Bench) -> None:
    namespace, now = bench.in_redis, int(time.time())
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.hset(bench.keys.periodic_fired, MINUTELY.key, now + 3600)
    assert await PeriodicInstances(namespace).last_fired() == {}
    await bench.redis.zadd(bench.keys.scheduled, {MINUTELY.instance(now - 60): now - 60})
    await Requeuer(namespace, JobSet.SCHEDULED, 1.0).run_once()
    assert await PeriodicInstances(namespace).last_fired() == {MINUTELY.key: now - 60}


async def test_the_go_rescuer_goes_on_when_the_clock_was_ahead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead, now = 3600.0, bench.redis_client.now

    async def moved() -> float:
        return await now() + ahead

    monkeypatch.setattr(bench.redis_client, "now", moved)
    killed = '{"name":"foo","id":"%d","t":1,"args":null,"fails":1,"err":"unknown job when requeueing","failed_at":1}'
    await bench.redis.zadd(bench.keys.dead, {killed % 1: time.time() + 3000})
    role = GoRescuer(bench.in_redis, 1.0)
    await role.run_once()
    ahead = 0.0
    await role.run_once()
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.delete(bench.keys.dead)
    await bench.redis.zadd(bench.keys.dead, {killed % 2: time.time()})
    await role.run_once()
    assert len(await bench.waiting("foo")) == 1


def test_a_pool_that_was_seen_by_a_clock_that_was_ahead_is_stale_in_time() -> None:
    history, beat = HeartbeatHistory(), Heartbeat("a", 100, 1, (), 1, (), "host", 1)
    history.record([beat], 4000.0)
    history.record([beat], 101.0)
    history.record([beat], 120.0)
    assert history.is_stale(beat, 120.0)


async def test_a_periodic_job_that_no_pool_has_any_more_is_forgotten(bench: Bench) -> None:
    namespace, clock = bench.in_redis, Hand()
    other = PeriodicJob("bar", Schedule.parse("0 * * * * *"))
    await plan(bench, MINUTELY, other)
    await bench.redis.hset(bench.keys.periodic_fired, mapping={MINUTELY.key: 1, other.key: 2})
    keeps = bench.pool()
    keeps.periodically("0 * * * * *", "bar", elsewhere=True)
    async with keeps.running(), Client(bench.url, namespace=bench.namespace) as client:
        role = await plan(bench, monotonic=clock)
        for minutes, expected in [(30, {"foo", "bar"}), (29, {"foo", "bar"}), (3, {"bar"})]:
            clock.now += 60 * minutes
            await role.run_once()
            assert {each.name for each in await client.periodic_jobs()} == expected
        assert set(await bench.redis.hkeys(bench.keys.periodic)) == {other.key.encode()}
        assert await PeriodicInstances(namespace).jobs() == {other.key}


async def test_beside_a_go_pool_no_periodic_job_is_forgotten(bench: Bench) -> None:
    clock = Hand()
    await bench.redis.sadd(bench.keys.worker_pools, "go")
    await bench.redis.hset(bench.keys.heartbeat("go"), "heartbeat_at", 5)
    await bench.redis.hset(bench.keys.periodic_fired, MINUTELY.key, 1)
    role = await plan(bench, monotonic=clock)
    for _ in range(4):
        clock.now += 3000
        await role.run_once()
    assert await bench.redis.hkeys(bench.keys.periodic_fired) == [MINUTELY.key.encode()]
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat("go"))


# What workers do


class Busy:
    """A worker, as the observer sees it."""

    id = "w" * 24
    started_at = 5.0
    overdue = False

    def __init__(self, job: Job | None) -> None:
        self.job = job


JOB = Job.decode(b'{"name":"wat","id":"1","t":5,"args":null}')
POOL = "a" * 24


async def observer(bench: Bench, workers: Sequence[Any], clock: Hand | None = None) -> Observer:
    namespace = bench.in_redis
    await PoolRegistry(namespace).write_heartbeat(Heartbeat(POOL, 1, 1, (), 1, (), "host", 1))
    return Observer(namespace, POOL, workers, lambda _: True, 1.0, monotonic=clock or Hand())


async def test_an_observation_whose_answer_was_lost_is_deleted_when_the_worker_is_idle(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy, open_bench(proxy.url, bench.namespace) as through:
        first, worker = Busy(JOB), Busy(None)
        first.id = "f" * 24
        role = await observer(through, [first, worker])
        # So that Redis knows the script.
        await role.run_once()
        worker.job = JOB
        proxy.lose_answer = lambda request: b"job_name" in request
        with pytest.raises(REDIS_ERRORS):
            await role.run_once()
        assert await bench.redis.exists(bench.keys.observation(worker.id))
        proxy.lose_answer = lambda _: False
        worker.job = None
        await role.run_once()
        assert not await bench.redis.exists(bench.keys.observation(worker.id))
        await PoolRegistry(bench.in_redis).forget_pool(POOL, [first.id])


async def test_an_observation_that_comes_after_the_leave_is_not_written(bench: Bench) -> None:
    role = await observer(bench, [Busy(JOB)])
    namespace = bench.in_redis
    await PoolRegistry(namespace).forget_pool(POOL)
    assert not await PoolRegistry(namespace).write_observations(POOL, [Observation(Busy.id, "wat", "1", 1, b"")], [])
    await role.run_once()
    assert not await bench.redis.exists(bench.keys.observation(Busy.id))


async def test_what_workers_do_is_written_again_when_it_was_lost_or_is_wrong(bench: Bench) -> None:
    clock, busy, idle = Hand(), Busy(JOB), Busy(None)
    idle.id = "i" * 24
    role = await observer(bench, [busy, idle], clock)
    await role.run_once()
    await bench.redis.delete(bench.keys.observation(busy.id))
    await bench.redis.hset(bench.keys.observation(idle.id), "job_name", "came late")
    clock.now += 59
    await role.run_once()
    assert not await bench.redis.exists(bench.keys.observation(busy.id))
    clock.now += 1
    await role.run_once()
    assert await bench.redis.hget(bench.keys.observation(busy.id), "job_name") == b"wat"
    assert not await bench.redis.exists(bench.keys.observation(idle.id))
    await role.delete_written()
    await PoolRegistry(bench.in_redis).forget_pool(POOL)


# What an enqueuer tells


async def test_names_are_told_again_after_seconds(own: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registered_names.REGISTERED_FOR <= 10
    monkeypatch.setattr(producer, "REGISTERED_FOR", 0.2)
    await own.enqueuer.enqueue("wat")
    await own.redis.flushdb()

    async def known() -> bool:
        await own.enqueuer.enqueue("wat")
        return bool(await own.redis.sismember(own.keys.known_jobs, "wat"))

    await until(known)


async def test_names_are_told_again_on_a_new_connection(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy, open_bench(proxy.url, bench.namespace) as through:
        enqueuer = through.enqueuer
        await enqueuer.enqueue("wat")
        await enqueuer.enqueue("foo")
        await proxy.cut()
        await bench.redis.delete(bench.keys.known_jobs)
        await asyncio.gather(*(enqueuer.enqueue(name) for name in ("wat", "foo", "wat")))
        assert await bench.redis.smembers(bench.keys.known_jobs) == {b"wat", b"foo"}


# A stop


async def test_taking_leave_survives_a_connection_that_breaks(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with open_proxy(bench.url) as proxy, open_bench(proxy.url, bench.namespace) as through:
        pool = through.pool(**tuned(heartbeat=5.0))
        pool.job("wat")(lambda: None)
        await pool.start()
        pool_id = pool.id
        assert pool_id is not None
        await until(lambda: through.blocked(pool))

        met: set[str] = set()

        def breaks(request: bytes) -> bool:
            """Tell whether a request is the first of a step of the leave."""
            step = "forget" if b"SREM" in request else "reap" if b"EVALSHA" in request and REAP in request else ""
            new = bool(step) and step not in met
            met.add(step)
            return new

        pool.stop_soon()
        proxy.lose_request = breaks
        await pool.stop()
        assert {"reap", "forget"} <= met
        assert pool.stop_failure == ""
        assert "could not deregister" not in caplog.text


async def test_a_leave_that_failed_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK, grace=0.5)
        pool.job("wat")(lambda: None)
        await pool.start()
        proxy.lose_request = lambda _: True
        await pool.stop()
    assert pool.stop_failure.startswith("could not deregister from Redis (")
    assert pool.stop_failure in caplog.text
    other = bench.pool()
    async with other.running():
        await until(lambda: alone(bench))
    assert other.stop_failure == ""


async def alone(bench: Bench) -> bool:
    return bool(await bench.redis.scard(bench.keys.worker_pools) == 1)
