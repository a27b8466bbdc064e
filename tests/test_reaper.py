"""Pools that died: their jobs run again, their locks are rebuilt, and nothing is deleted before its jobs are safe."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from asyncwork.engine.reaper import Reaper
from asyncwork.store.upkeep import Upkeep

from .conftest import Bench, until

DEAD, OTHER, OWN = "d" * 24, "e" * 24, "a" * 24


class Watch:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hand:
    """A reaper with its clock in hand: looks every second, takes pools for dead after 10 s."""

    def __init__(self, bench: Bench) -> None:
        self.watch = Watch()
        self.upkeep = Upkeep(bench.connector, bench.keys)
        self.reaper = Reaper(self.upkeep, OWN, period=1.0, dead_after=10.0, orphans_period=60.0, monotonic=self.watch)

    async def look(self, seconds: int = 1) -> None:
        """Look once a second for so many seconds."""
        for _ in range(seconds):
            await self.reaper.once()
            self.watch.now += 1


async def plant(bench: Bench, pool_id: str, *, names: str = "wat", beat: int | None = 1, jobs: int = 3) -> list[bytes]:
    """Leave what a pool that died leaves; return its payloads, the oldest first."""
    payloads = [json.dumps({"name": "wat", "id": f"{pool_id}-{n}", "t": 1, "args": None}).encode() for n in range(jobs)]
    if names:
        await bench.redis.sadd(bench.keys.worker_pools, pool_id)
    if beat is not None:
        fields = {"heartbeat_at": beat, "job_names": names, "worker_ids": f"{pool_id[:23]}w"}
        await bench.redis.hset(bench.keys.heartbeat(pool_id), mapping=fields)
        await bench.redis.hset(f"{bench.namespace}:worker:{pool_id[:23]}w", mapping={"job_name": "wat"})
    for payload in payloads:
        await bench.redis.lpush(bench.keys.in_progress("wat", pool_id), payload)
    if jobs:
        await bench.redis.incrby(bench.keys.lock("wat"), jobs)
        await bench.redis.hincrby(bench.keys.lock_info("wat"), pool_id, jobs)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    return payloads


async def test_a_pool_whose_heartbeat_stands_still_is_reaped(bench: Bench) -> None:
    payloads = await plant(bench, DEAD)
    await bench.enqueuer.enqueue("wat")
    hand = Hand(bench)
    await hand.look(10)
    assert len(await bench.waiting("wat")) == 1
    await hand.look(1)
    # At the front of the queue, in the order in which they had been taken.
    assert (await bench.waiting("wat"))[:3] == payloads
    assert await bench.redis.get(bench.keys.lock("wat")) == b"0"
    assert not await bench.redis.exists(bench.keys.lock_info("wat"), bench.keys.heartbeat(DEAD))
    assert await bench.redis.smembers(bench.keys.worker_pools) == set()
    assert await bench.audit() == []


async def test_a_pool_that_beats_is_left_alone_however_wrong_its_clock(bench: Bench) -> None:
    await plant(bench, DEAD)
    hand = Hand(bench)
    for beat in range(6):
        await bench.redis.hset(bench.keys.heartbeat(DEAD), "heartbeat_at", beat)
        await hand.look(5)
    assert await bench.waiting("wat") == []
    assert await bench.redis.hget(bench.keys.lock_info("wat"), DEAD) == b"3"
    await hand.look(11)
    assert len(await bench.waiting("wat")) == 3


async def test_time_in_which_nobody_looked_does_not_count(bench: Bench) -> None:
    await plant(bench, DEAD)
    hand = Hand(bench)
    await hand.look(1)
    hand.watch.now += 3600
    await hand.look(1)
    assert await bench.waiting("wat") == []
    await hand.look(10)
    assert len(await bench.waiting("wat")) == 3


async def test_a_pool_without_a_heartbeat_is_reaped_all_the_same(bench: Bench) -> None:
    await plant(bench, DEAD, beat=None)
    await Hand(bench).look(11)
    assert len(await bench.waiting("wat")) == 3
    assert await bench.audit() == []


async def test_a_pool_that_nobody_knows_is_found_by_its_lock(bench: Bench) -> None:
    await plant(bench, DEAD, names="", beat=None)
    await Hand(bench).look(11)
    assert len(await bench.waiting("wat")) == 3
    assert await bench.audit() == []


async def test_a_list_of_a_pool_that_nobody_knows_is_found_by_its_key(bench: Bench) -> None:
    (payload,) = await plant(bench, DEAD, names="", beat=None, jobs=1)
    await bench.redis.delete(bench.keys.lock("wat"), bench.keys.lock_info("wat"), bench.keys.known_jobs)
    await Hand(bench).look(11)
    assert await bench.waiting("wat") == [payload]


async def test_queues_that_a_dead_pool_does_not_name_are_reaped_too(bench: Bench) -> None:
    await plant(bench, DEAD, names="something_else")
    await Hand(bench).look(11)
    assert len(await bench.waiting("wat")) == 3
    assert await bench.audit() == []


async def test_a_stale_share_without_jobs_is_cleaned_and_the_lock_rebuilt(bench: Bench) -> None:
    await plant(bench, DEAD, jobs=0)
    await bench.redis.set(bench.keys.lock("wat"), 20519)
    await bench.redis.hset(bench.keys.lock_info("wat"), mapping={DEAD: 200})
    await Hand(bench).look(11)
    assert await bench.redis.get(bench.keys.lock("wat")) == b"0"
    assert await bench.audit() == []


async def test_shares_that_are_no_hash_keep_no_pool_from_being_reaped(bench: Bench) -> None:
    payloads = await plant(bench, DEAD)
    await bench.redis.set(bench.keys.lock_info("wat"), "no hash")
    await Hand(bench).look(11)
    assert await bench.waiting("wat") == payloads
    assert await bench.redis.get(bench.keys.lock("wat")) == b"0"
    assert await bench.redis.smembers(bench.keys.worker_pools) == set()


async def test_the_living_keep_their_share(bench: Bench) -> None:
    await plant(bench, DEAD)
    alive = await plant(bench, OTHER, jobs=2)
    hand = Hand(bench)
    for beat in range(12):
        await bench.redis.hset(bench.keys.heartbeat(OTHER), "heartbeat_at", beat)
        await hand.look(1)
    assert await bench.redis.get(bench.keys.lock("wat")) == b"2"
    assert await bench.redis.hgetall(bench.keys.lock_info("wat")) == {OTHER.encode(): b"2"}
    assert await bench.redis.lrange(bench.keys.in_progress("wat", OTHER), 0, -1) == alive[::-1]
    assert await bench.audit(running=True) == []
    await hand.look(12)


async def test_a_pool_that_beats_at_the_last_moment_keeps_its_jobs(bench: Bench) -> None:
    await plant(bench, DEAD)
    hand = Hand(bench)
    # Judged by a heartbeat that is no longer the newest.
    assert await hand.upkeep.reap(DEAD, "wat", b"0") is None
    assert await bench.redis.llen(bench.keys.in_progress("wat", DEAD)) == 3
    assert await hand.upkeep.reap(DEAD, "wat", b"1") == 3
    await hand.upkeep.forget_pool(DEAD, [f"{DEAD[:23]}w"])


async def test_many_jobs_are_moved_in_steps(bench: Bench) -> None:
    payloads = await plant(bench, DEAD, jobs=2000)
    await Hand(bench).look(11)
    assert await bench.waiting("wat") == payloads


async def test_two_reapers_at_once_do_it_once(bench: Bench) -> None:
    payloads = await plant(bench, DEAD, jobs=1200)
    hands = [Hand(bench) for _ in range(3)]
    await asyncio.gather(*(hand.look(11) for hand in hands))
    assert await bench.waiting("wat") == payloads
    assert await bench.audit() == []


WORKER = """
import asyncio, os, sys
from asyncwork import WorkerPool

pool = WorkerPool(sys.argv[1], namespace=sys.argv[2], concurrency=200)

@pool.job
async def wat(n: int):
    with open(sys.argv[3], "a") as log:
        log.write(f"start {n}\\n")
    await asyncio.sleep(float(sys.argv[4]))
    with open(sys.argv[3], "a") as log:
        log.write(f"end {n}\\n")

async def main():
    async with pool.running():
        await asyncio.sleep(60)

asyncio.run(main())
"""


def read(log: Path, what: str) -> Counter[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return Counter(line.split()[1] for line in lines if line.startswith(what))


async def test_a_process_killed_in_the_middle_of_200_jobs_loses_none(bench: Bench, tmp_path: Path) -> None:
    script, log = tmp_path / "worker.py", tmp_path / "log"
    script.write_text(WORKER)
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(250)])

    def start(seconds: float) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, script, bench.url, bench.namespace, log, str(seconds)])

    first = start(60)
    try:
        await until(lambda: len(read(log, "start")) == 200)
    finally:
        first.kill()
        first.wait()
    killed_at = time.monotonic()
    second = start(0.01)
    try:
        await until(lambda: len(read(log, "end")) == 250, limit=30)
        assert time.monotonic() - killed_at < 15
    finally:
        second.send_signal(signal.SIGINT)
        second.wait(20)
    assert set(read(log, "end").values()) == {1}
    assert await bench.audit() == []


async def test_a_stopped_process_that_comes_back_harms_nothing(bench: Bench, tmp_path: Path) -> None:
    script, log = tmp_path / "worker.py", tmp_path / "log"
    errors = tmp_path / "errors"
    quick = "concurrency=5, periods=Periods(heartbeat=0.2)"
    script.write_text(WORKER.replace("concurrency=200", quick).replace("WorkerPool\n", "Periods, WorkerPool\n"))
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(5)])
    with errors.open("w") as stderr:
        stalled = subprocess.Popen(
            [sys.executable, script, bench.url, bench.namespace, log, "0.5"], stderr=stderr, text=True
        )
    reaper = bench.pool()
    try:
        await until(lambda: len(read(log, "start")) == 5)
        stalled.send_signal(signal.SIGSTOP)
        async with reaper.running():

            async def reaped() -> bool:
                return len(await bench.waiting("wat")) == 5

            await until(reaped)
            stalled.send_signal(signal.SIGCONT)
            # It ends what it ran, has nothing to settle, takes them as new jobs and runs them.
            await until(lambda: sum(read(log, "end").values()) == 10)
            await until(lambda: "was taken for dead" in errors.read_text())
    finally:
        stalled.send_signal(signal.SIGCONT)
        stalled.send_signal(signal.SIGINT)
        stalled.wait(20)
    assert await bench.audit() == []
