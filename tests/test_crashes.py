"""A job that kills its process again and again ends up dead; those that happened to run beside it do not."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from asyncwork import JobOptions, UsageError, WorkerPool
from asyncwork._redis.commands import fingerprint
from asyncwork._redis.recovery import Recovery

from .conftest import LIMIT, Bench, until
from .forked import ForkedProcess, fork

POOL = "a" * 24

WORKER = """
import asyncio, os, signal
from asyncwork import Tuning, WorkerPool

pool = WorkerPool(concurrency=4, heartbeat=0.1, dead_after=0.5, tuning=Tuning(reap=0.05))

@pool.job
async def poison():
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)

@pool.job
async def neighbour(n: int):
    await asyncio.sleep(0.15)
"""


async def supervised(bench: Bench, directory: Path, script: str, names: tuple[str, ...]) -> int:
    """Run a worker, anew whenever it dies, until nothing waits or runs; return how many times it was started."""
    (directory / "worker.py").write_text(script)
    environment = {**os.environ, "ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace}
    worker: ForkedProcess | None = None
    started = 0

    async def ended() -> bool:
        nonlocal worker, started
        if worker is None or worker.poll() is not None:
            worker = fork("asyncwork", "run", "worker:pool", cwd=directory, env=environment)
            started += 1
        left = [await bench.redis.llen(bench.keys.queue(name)) for name in names]
        return not any(left) and not await bench.redis.keys(f"{bench.keys.jobs}*:inprogress")

    try:
        await until(ended, limit=2 * LIMIT)
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait(LIMIT)
    return started


async def test_the_culprit_dies_and_its_neighbours_run(bench: Bench, tmp_path: Path) -> None:
    for n in range(3):
        await bench.enqueuer.enqueue("neighbour", {"n": n})
    poison = await bench.enqueuer.enqueue("poison")
    for n in range(3, 6):
        await bench.enqueuer.enqueue("neighbour", {"n": n})
    started = await supervised(bench, tmp_path, WORKER, ("neighbour", "poison"))
    # One more where a neighbour that nobody suspected ran beside it the third time.
    assert started in (4, 5)
    ((dead, _),) = await bench.job_set("dead")
    job = json.loads(dead)
    assert (job["id"], job["fails"]) == (poison.id, 1)
    assert job["err"] == "CrashedError: its process died 3 times while it was running"
    assert await bench.job_set("retry") == []
    assert not await bench.redis.exists(bench.keys.crashes)


async def test_two_culprits_die_and_no_neighbour_of_theirs(bench: Bench, tmp_path: Path) -> None:
    # The neighbours are long enough to be there at any crash, and are behind one culprit and before the other.
    script = WORKER.replace("asyncio.sleep(0.15)", "asyncio.sleep(0.3)")
    first = await bench.enqueuer.enqueue("poison", {"n": 1})
    for n in range(5):
        await bench.enqueuer.enqueue("neighbour", {"n": n})
    second = await bench.enqueuer.enqueue("poison", {"n": 2})
    await supervised(bench, tmp_path, script.replace("def poison()", "def poison(n: int)"), ("neighbour", "poison"))
    assert {json.loads(raw)["id"] for raw, _ in await bench.job_set("dead")} == {first.id, second.id}
    assert not await bench.redis.exists(bench.keys.crashes)


class Fleet:
    """Pools that die one after the other, and what blames their jobs for it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._recovery = Recovery(bench.in_redis)
        self._dead = 0

    async def dies(self, *jobs: str, accused: str = "") -> None:
        """Have a pool die while it runs these, one of them perhaps on trial."""
        self._dead += 1
        pool_id, keys = f"{self._dead:024d}", self._bench.keys
        await self._bench.redis.lpush(keys.in_progress("wat", pool_id), *jobs)
        if accused:
            await self._bench.redis.hset(keys.crashes, keys.suspect_field(pool_id), fingerprint(accused.encode()))
        await self._recovery.record_crash(pool_id, ["wat"], b"")
        await self._bench.redis.delete(keys.in_progress("wat", pool_id))

    async def count(self, job: str) -> int:
        """How many crashes are held against a job."""
        return int(await self._bench.redis.hget(self._bench.keys.crashes, fingerprint(job.encode())) or 0)


async def test_one_that_nobody_suspected_casts_doubt_on_the_accused_once(bench: Bench) -> None:
    fleet = Fleet(bench)
    for _ in range(2):
        await fleet.dies("accused", "other")
    await fleet.dies("accused", "other", "new", accused="accused")
    assert [await fleet.count(each) for each in ("accused", "other", "new")] == [2, 2, 1]
    await fleet.dies("accused", "other", "newer", accused="accused")
    assert [await fleet.count(each) for each in ("accused", "other", "newer")] == [3, 2, 1]
    await fleet.dies("other", "new", accused="other")
    assert [await fleet.count(each) for each in ("other", "new")] == [3, 1]


async def in_progress(bench: Bench, pool: WorkerPool[Any], number: int) -> bool:
    """Tell whether so many jobs are in progress in a pool."""
    return bool(await bench.redis.llen(bench.keys.in_progress("wat", pool.id or "")) == number)


@pytest.mark.parametrize("crashes", [1, 2])
async def test_a_suspect_that_another_pool_took_while_it_waited_runs_there_alone(bench: Bench, crashes: int) -> None:
    # All of its workers are busy: it takes nothing back.
    pool, other, started, finish = bench.pool(concurrency=2), bench.pool(), list[int](), asyncio.Event()

    async def wat(n: int) -> None:
        started.append(n)
        await finish.wait()

    for each in (pool, other):
        each.job(wat)
    for n in (1, 2):
        await bench.enqueuer.enqueue("wat", {"n": n})
    first, second = await bench.waiting("wat")
    await bench.redis.hset(bench.keys.crashes, mapping={fingerprint(first): 2, fingerprint(second): crashes})
    async with pool.running():
        await until(lambda: in_progress(bench, pool, 2))
        # Whichever begins, the other waits for its end.
        await until(lambda: started)
        waits = 3 - started[0]
        await Recovery(bench.in_redis).reap(pool.id or "", ["wat"], None)
        async with other.running():
            await until(lambda: in_progress(bench, other, 2))
            finish.set()
            await other.drain()
            await pool.drain()
    assert started.count(waits) == 1


async def test_no_suspect_runs_beside_one_on_trial(bench: Bench) -> None:
    pool, beside = bench.pool(concurrency=8), list[set[int]]()
    running: set[int] = set()

    @pool.job
    async def suspect(n: int) -> None:
        running.add(n)
        beside.append(set(running))
        await asyncio.sleep(0.05)
        running.remove(n)

    for n in range(8):
        await suspect.enqueue(n)
    for n, payload in enumerate(await bench.waiting("suspect")):
        await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 2 if n in (2, 5) else 1)
    async with pool.running():
        await pool.drain()
    assert all(each in ({2}, {5}) for each in beside if each & {2, 5})
    assert any(len(each) > 1 for each in beside)


async def gone(bench: Bench) -> bool:
    return not await bench.redis.hlen(bench.keys.crashes)


async def plant(bench: Bench, name: str, crashes: int) -> bytes:
    """A job that was running when so many processes died."""
    await bench.enqueuer.enqueue(name)
    (payload,) = await bench.waiting(name)
    await bench.redis.hset(bench.keys.crashes, fingerprint(payload), crashes)
    return payload


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize(("limit", "crashes", "runs"), [(3, 2, True), (3, 3, False), (1, 1, False), (0, 99, True)])
async def test_from_when_on_a_job_is_not_run_any_more(
    bench: Bench, blocked: bool, limit: int, crashes: int, runs: bool
) -> None:
    ran: list[str] = []
    pool = bench.pool()

    @pool.job("wat", max_crashes=limit)
    async def wat() -> None:
        ran.append("wat")

    if blocked:
        async with pool.running():
            await until(lambda: bench.blocked(pool))
            # The count is to be there when it is taken: both in one step.
            payload = b'{"name":"wat","id":"1","t":1,"args":null}'
            async with bench.redis.pipeline(transaction=True) as pipe:
                pipe.hset(bench.keys.crashes, fingerprint(payload), crashes)
                pipe.lpush(bench.keys.queue("wat"), payload)
                await pipe.execute()
            await until(lambda: gone(bench))
            await pool.drain()
    else:
        await plant(bench, "wat", crashes)
        async with pool.running():
            await pool.drain()
    assert bool(ran) is runs
    assert len(await bench.job_set("dead")) == (not runs)
    assert await bench.redis.hlen(bench.keys.crashes) == 0


async def test_suspects_run_one_at_a_time_and_others_do_not_wait(bench: Bench) -> None:
    together: list[int] = []
    pool = bench.pool(concurrency=8)
    running = 0

    @pool.job
    async def suspect(n: int) -> None:
        nonlocal running
        running += 1
        together.append(running)
        await innocent.enqueue()
        await until(lambda: done)
        running -= 1

    done: list[bool] = []

    @pool.job
    async def innocent() -> None:
        done.append(True)

    for n in range(4):
        await suspect.enqueue(n)
    for payload in await bench.waiting("suspect"):
        await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 2)
    async with pool.running():
        await pool.drain()
    assert together == [1, 1, 1, 1]
    assert await bench.redis.hlen(bench.keys.crashes) == 0


@pytest.mark.parametrize("crashes", [1, 2])
@pytest.mark.parametrize("error", [ValueError("no crash"), SystemExit(1), asyncio.CancelledError(), GeneratorExit()])
async def test_a_failure_acquits(bench: Bench, error: BaseException, crashes: int) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        raise error

    await plant(bench, "wat", crashes)
    async with pool.running():
        await pool.drain()
    assert len(await bench.job_set("retry")) == 1
    assert await bench.redis.hlen(bench.keys.crashes) == 0


async def test_a_crash_is_counted_once_and_against_the_likeliest(bench: Bench) -> None:
    recovery = Recovery(bench.in_redis)
    payloads = [f'{{"name":"wat","id":"{n}","t":1,"args":null}}'.encode() for n in range(1200)]
    await bench.redis.lpush(bench.keys.in_progress("wat", POOL), *payloads)
    await bench.redis.hset(bench.keys.heartbeat(POOL), "heartbeat_at", 7)
    await recovery.record_crash(POOL, ["wat", "other"], b"6")
    assert not await bench.redis.exists(bench.keys.crashes)
    for _ in range(2):
        await recovery.record_crash(POOL, ["wat", "other"], b"7")
    assert {await bench.redis.hget(bench.keys.crashes, fingerprint(each)) for each in payloads} == {b"1"}
    await bench.redis.hset(bench.keys.crashes, fingerprint(payloads[5]), 2)
    other = "b" * 24
    await bench.redis.rename(bench.keys.in_progress("wat", POOL), bench.keys.in_progress("wat", other))
    await recovery.record_crash(other, ["wat"], b"")
    counts = [await bench.redis.hget(bench.keys.crashes, fingerprint(each)) for each in payloads[:8]]
    assert counts == [b"1"] * 5 + [b"3"] + [b"1"] * 2
    assert 80_000 < await bench.redis.ttl(bench.keys.crashes) <= 86_400
    await bench.redis.delete(bench.keys.in_progress("wat", other), bench.keys.heartbeat(POOL))


async def test_a_hash_that_is_none_keeps_no_job_from_running(bench: Bench) -> None:
    pool, ran = bench.pool(), []

    @pool.job
    async def wat() -> None:
        ran.append(1)

    await bench.redis.set(bench.keys.crashes, "no hash")
    await bench.redis.lpush(bench.keys.in_progress("wat", POOL), b'{"name":"wat","id":"1","t":1,"args":null}')
    await bench.redis.sadd(bench.keys.worker_pools, POOL)
    await bench.redis.hset(bench.keys.heartbeat(POOL), mapping={"heartbeat_at": 1, "job_names": "wat"})
    await wat.enqueue()
    async with pool.running():
        await pool.drain()
        await until(lambda: bench.blocked(pool))
        await wat.enqueue()
        await until(lambda: len(ran) == 3)


def test_max_crashes_is_checked() -> None:
    with pytest.raises(UsageError, match="max_crashes must be a whole number of 0 or more"):
        JobOptions(max_crashes=-1)


async def test_a_job_that_ends_its_pool_by_a_defect_is_dead_in_the_end(bench: Bench) -> None:
    def make_pool() -> WorkerPool[Any]:
        pool = bench.pool()

        @pool.job
        async def wat() -> None:
            assert pool._launcher is not None
            pool._launcher._worker_broke(ZeroDivisionError("a defect of ours"))
            await asyncio.sleep(1000)

        return pool

    await bench.enqueuer.enqueue("wat")
    for crashes in range(1, 4):
        with pytest.raises(ZeroDivisionError):
            async with make_pool().running():
                await asyncio.sleep(30)
        (payload,) = await bench.waiting("wat")
        assert await bench.redis.hget(bench.keys.crashes, fingerprint(payload)) == b"%d" % crashes
    async with make_pool().running() as pool:
        await pool.drain()
    ((dead, _),) = await bench.job_set("dead")
    assert json.loads(dead)["err"].startswith("CrashedError")
    assert not await bench.redis.exists(bench.keys.crashes)
