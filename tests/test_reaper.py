"""Dead pools: their jobs run again, their locks are rebuilt, and no key is deleted before the jobs are requeued."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Job
from asyncwork._redis.client import run_script
from asyncwork._redis.commands import ClaimJobs, CommandBatch
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.services.reaper import Reaper
from asyncwork.models.pools import Heartbeat, Observation

from .child import CAP, Child, running
from .conftest import LIMIT, Bench, open_bench, until
from .tuned import tuned

DEAD, OTHER, OWN = "d" * 24, "e" * 24, "a" * 24


class Watch:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hand:
    """A reaper with a clock moved by hand. It runs every second, and considers pools dead after 10 s."""

    def __init__(self, bench: Bench) -> None:
        self.watch = Watch()
        self.registry = PoolRegistry(bench.in_redis)
        self.recovery = Recovery(bench.in_redis)
        self.reaper = Reaper(
            bench.in_redis, OWN, period=1.0, dead_after=10.0, orphans_period=60.0, monotonic=self.watch
        )

    async def run_passes(self, seconds: int = 1) -> None:
        """Run one pass a second for some seconds."""
        for _ in range(seconds):
            await self.reaper.run_once()
            self.watch.now += 1


async def plant(bench: Bench, pool_id: str, *, names: str = "wat", beat: int | None = 1, jobs: int = 3) -> list[bytes]:
    """Write the keys that a dead pool leaves; return its payloads, the oldest first."""
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


async def test_a_pool_whose_heartbeat_does_not_change_is_reaped(bench: Bench) -> None:
    payloads = await plant(bench, DEAD)
    await bench.enqueuer.enqueue("wat")
    hand = Hand(bench)
    await hand.run_passes(10)
    assert len(await bench.waiting("wat")) == 1
    await hand.run_passes(1)
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
        await hand.run_passes(5)
    assert await bench.waiting("wat") == []
    assert await bench.redis.hget(bench.keys.lock_info("wat"), DEAD) == b"3"
    await hand.run_passes(11)
    assert len(await bench.waiting("wat")) == 3


async def test_time_in_which_the_reaper_did_not_run_does_not_count(bench: Bench) -> None:
    await plant(bench, DEAD)
    hand = Hand(bench)
    await hand.run_passes(1)
    hand.watch.now += 3600
    await hand.run_passes(1)
    assert await bench.waiting("wat") == []
    await hand.run_passes(10)
    assert len(await bench.waiting("wat")) == 3


async def test_a_pool_without_a_heartbeat_is_reaped_all_the_same(bench: Bench) -> None:
    await plant(bench, DEAD, beat=None)
    await Hand(bench).run_passes(11)
    assert len(await bench.waiting("wat")) == 3
    assert await bench.audit() == []


async def test_an_unregistered_pool_is_found_by_its_lock(bench: Bench) -> None:
    await plant(bench, DEAD, names="", beat=None)
    await Hand(bench).run_passes(11)
    assert len(await bench.waiting("wat")) == 3
    assert await bench.audit() == []


async def test_the_list_of_an_unregistered_pool_is_found_by_its_key(bench: Bench) -> None:
    (payload,) = await plant(bench, DEAD, names="", beat=None, jobs=1)
    await bench.redis.delete(bench.keys.lock("wat"), bench.keys.lock_info("wat"), bench.keys.known_jobs)
    await Hand(bench).run_passes(11)
    assert await bench.waiting("wat") == [payload]


@pytest.mark.parametrize("inner", ["jobs", "jobs:eu"])
async def test_the_jobs_of_a_namespace_within_this_one_are_left_to_it(bench: Bench, inner: str) -> None:
    async with open_bench(bench.url, f"{bench.namespace}:{inner}") as within:
        alive = await plant(within, DEAD)
        for each in (bench, within):
            # A pool of either is no orphan of the other.
            hand = Hand(each)
            for beat in range(13):
                await bench.redis.hset(within.keys.heartbeat(DEAD), "heartbeat_at", beat)
                await hand.run_passes()
            assert await within.redis.lrange(within.keys.in_progress("wat", DEAD), 0, -1) == alive[::-1]
        await Hand(within).run_passes(11)
        assert await within.waiting("wat") == alive
    await bench.redis.delete(*await bench.redis.keys(f"{bench.namespace}:*"))


async def test_the_jobs_of_the_namespace_around_this_one_are_left_to_it(bench: Bench) -> None:
    key = bench.keys.in_progress("jobs:wat", DEAD)
    await bench.redis.lpush(key, b'{"name":"jobs:wat","id":"1","t":1,"args":null}')
    await bench.redis.sadd(bench.keys.worker_pools, DEAD)
    async with open_bench(bench.url, f"{bench.namespace}:jobs") as within:
        await Hand(within).run_passes(13)
        assert await bench.redis.llen(key) == 1
        # No pool is registered there, so that its keys would count as those of the namespace around it.
        await bench.redis.delete(key, within.keys.reapers)
    await bench.redis.delete(bench.keys.worker_pools)


async def test_a_pool_that_is_no_longer_registered_is_reaped_by_its_heartbeat(bench: Bench) -> None:
    await plant(bench, DEAD)
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.lock_info("wat"))
    await Hand(bench).run_passes(12)
    assert len(await bench.waiting("wat")) == 3
    assert not await bench.redis.exists(bench.keys.heartbeat(DEAD))


async def test_a_lock_that_drifted_is_repaired(bench: Bench) -> None:
    alive = await plant(bench, OTHER, jobs=2)
    await bench.redis.set(bench.keys.lock("wat"), 20519)
    await Hand(bench).run_passes(1)
    assert await bench.redis.get(bench.keys.lock("wat")) == b"2"
    await Hand(bench).run_passes(11)
    assert await bench.waiting("wat") == alive


async def test_queues_that_a_dead_pool_does_not_name_are_reaped_too(bench: Bench) -> None:
    await plant(bench, DEAD, names="something_else")
    await Hand(bench).run_passes(11)
    assert len(await bench.waiting("wat")) == 3
    assert await bench.audit() == []


async def test_a_stale_share_without_jobs_is_cleaned_and_the_lock_rebuilt(bench: Bench) -> None:
    await plant(bench, DEAD, jobs=0)
    await bench.redis.set(bench.keys.lock("wat"), 20519)
    await bench.redis.hset(bench.keys.lock_info("wat"), mapping={DEAD: 200})
    await Hand(bench).run_passes(11)
    assert await bench.redis.get(bench.keys.lock("wat")) == b"0"
    assert await bench.audit() == []


async def test_shares_that_are_no_hash_keep_no_pool_from_being_reaped(bench: Bench) -> None:
    payloads = await plant(bench, DEAD)
    await bench.redis.set(bench.keys.lock_info("wat"), "no hash")
    await Hand(bench).run_passes(11)
    assert await bench.waiting("wat") == payloads
    assert await bench.redis.get(bench.keys.lock("wat")) == b"0"
    assert await bench.redis.smembers(bench.keys.worker_pools) == set()


async def test_the_living_keep_their_share(bench: Bench) -> None:
    await plant(bench, DEAD)
    alive = await plant(bench, OTHER, jobs=2)
    hand = Hand(bench)
    for beat in range(12):
        await bench.redis.hset(bench.keys.heartbeat(OTHER), "heartbeat_at", beat)
        await hand.run_passes(1)
    assert await bench.redis.get(bench.keys.lock("wat")) == b"2"
    assert await bench.redis.hgetall(bench.keys.lock_info("wat")) == {OTHER.encode(): b"2"}
    assert await bench.redis.lrange(bench.keys.in_progress("wat", OTHER), 0, -1) == alive[::-1]
    assert await bench.audit(running=True) == []
    await hand.run_passes(12)


async def test_a_pool_that_beats_at_the_last_moment_keeps_its_jobs(bench: Bench) -> None:
    await plant(bench, DEAD)
    hand = Hand(bench)
    # Judged by a heartbeat that is no longer the newest.
    assert await hand.recovery.reap(DEAD, ["wat"], b"0") is None
    assert await bench.redis.llen(bench.keys.in_progress("wat", DEAD)) == 3
    assert await hand.recovery.reap(DEAD, ["wat"], b"1") == 3
    await hand.registry.forget_pool(DEAD, [f"{DEAD[:23]}w"])


async def test_a_pool_that_claims_at_the_last_moment_keeps_its_jobs(bench: Bench) -> None:
    [running, *_] = await plant(bench, DEAD)
    hand = Hand(bench)
    await hand.run_passes(10)
    work_queue = WorkQueue(bench.redis_client, bench.keys, DEAD)
    claim = ClaimJobs(work_queue.queue("wat", 1), [running], heartbeat_at=2)
    assert await work_queue.send_pooled(CommandBatch(commands=[claim])) == [[]]
    await hand.run_passes(10)
    assert await bench.redis.llen(bench.keys.in_progress("wat", DEAD)) == 3
    # Redis has executed the claim after a reaper had read the heartbeat from before it.
    assert await hand.recovery.reap(DEAD, ["wat"], b"1") is None
    await hand.run_passes(1)
    assert len(await bench.waiting("wat")) == 3


async def test_many_jobs_are_moved_in_steps(bench: Bench) -> None:
    payloads = await plant(bench, DEAD, jobs=2000)
    await Hand(bench).run_passes(11)
    assert await bench.waiting("wat") == payloads


async def test_two_reapers_at_once_do_it_once(bench: Bench) -> None:
    payloads = await plant(bench, DEAD, jobs=1200)
    hands = [Hand(bench) for _ in range(3)]
    await asyncio.gather(*(hand.run_passes(11) for hand in hands))
    assert await bench.waiting("wat") == payloads
    assert await bench.audit() == []


WORKER = """
import asyncio, os, sys
from asyncwork import WorkerPool

# The second process waits until the first is considered dead. No other pool watches it meanwhile.
pool = WorkerPool(sys.argv[1], namespace=sys.argv[2], concurrency=200, heartbeat=0.5, dead_after=1.5)

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
    second = start(0.01)
    try:
        await until(lambda: len(read(log, "end")) == 250)
    finally:
        second.send_signal(signal.SIGINT)
        second.wait(LIMIT)
    assert set(read(log, "end").values()) == {1}
    assert await bench.audit() == []


async def test_a_stopped_process_that_comes_back_harms_nothing(bench: Bench, tmp_path: Path) -> None:
    stalled = Child(bench.url, bench.namespace, tmp_path / "log", concurrency=7, heartbeat=0.2, dead_after=1.0)
    finish, ran, most = asyncio.Event(), Counter[str](), 0
    reaper, held_here = bench.pool(), Counter[str]()

    async def runs(job: Job) -> None:
        nonlocal most
        held_here[job.name] += 1
        most = max(most, held_here["capped"])
        await finish.wait()
        held_here[job.name] -= 1
        ran[job.name] += 1

    for name in ("held", "capped", "other"):
        reaper.job(name, max_concurrency=CAP if name == "capped" else 0)(runs)
    with running(stalled):
        # Some at once, two of four that are capped, and one that is unique by key; a free worker waits in Redis.
        await bench.enqueuer.enqueue_many([("held", {"n": n, "seconds": 3}) for n in range(3)])
        await bench.enqueuer.enqueue_many([("capped", {"n": n, "seconds": 3}) for n in range(4)])
        await bench.enqueuer.enqueue("other", {"n": 1, "seconds": 3}, unique={"key": 1})
        await until(lambda: len(stalled.events("start")) == 6)
        stalled.signal(signal.SIGSTOP)
        assert not (await bench.enqueuer.enqueue("other", {"n": 2}, unique={"key": 1})).duplicate
        async with reaper.running():
            await until(lambda: held_here == {"held": 3, "capped": CAP, "other": 2})
            stalled.signal(signal.SIGCONT)
            await until(lambda: len(stalled.events("end")) == 6)
            await until(lambda: "was considered dead" in stalled.errors)
            # It takes jobs again, and leaves those that are another's by now.
            await bench.enqueuer.enqueue("blocks", {"n": 1, "seconds": 0.01})
            await until(lambda: stalled.events("end")["blocks-1"])
            mine = await bench.redis.hgetall(bench.keys.lock_info("capped"))
            assert mine[(reaper.id or "").encode()] == b"%d" % CAP
            assert await bench.redis.llen(bench.keys.in_progress("held", reaper.id or "")) == 3
            assert await bench.redis.llen(bench.keys.in_progress("other", reaper.id or "")) == 2
            assert await bench.redis.get(bench.keys.lock("capped")) == b"%d" % CAP
            finish.set()
            await until(lambda: ran["held"] == 3 and ran["other"] == 2)
            assert await asyncio.to_thread(stalled.end) == 0
            await reaper.drain()
    assert (ran["held"], ran["other"], most) == (3, 2, CAP)
    # The two that were taken back ran twice; either process may have run those that waited.
    there = sum(times for job, times in stalled.events("end").items() if job.startswith("capped"))
    assert ran["capped"] + there == 4 + CAP
    assert stalled.errors.count("was considered dead") == 1


@pytest.mark.parametrize("failing", [False, True])
async def test_a_job_that_held_the_gil_too_long_ends_and_is_blamed_for_no_crash(
    bench: Bench, tmp_path: Path, failing: bool
) -> None:
    stalled = Child(bench.url, bench.namespace, tmp_path / "log", heartbeat=0.2, dead_after=1.0)
    # It reaps, and does not run the jobs that it requeues.
    reaper = bench.pool()
    with running(stalled):
        await until(lambda: waits_everywhere(bench))
        args = {"n": 1, "seconds": 6.0, "holding_gil": True, "failing": failing}
        job = await bench.enqueuer.enqueue("blocks", args)
        async with reaper.running():
            await until(lambda: stalled.events("start")["blocks-1"])
            await until(lambda: bench.redis.llen(bench.keys.queue("blocks")))
            assert await bench.redis.hlen(bench.keys.crashes)
            await until(lambda: stalled.events("end")["blocks-1"])
            # Its other thread beats again, and its end counts.
            await until(lambda: "was considered dead" in stalled.errors)
            await until(lambda: _holds_nothing(bench, "blocks"))
            assert not await bench.redis.hlen(bench.keys.crashes)
            assert await asyncio.to_thread(stalled.end) == 0
    assert stalled.events("start") == {"blocks-1": 1}
    retried = [json.loads(payload) for payload, _ in await bench.job_set("retry")]
    assert [(each["id"], each["fails"]) for each in retried] == ([(job.id, 1)] if failing else [])


async def test_a_job_that_held_the_gil_too_long_and_runs_elsewhere_is_left_to_that_pool(
    bench: Bench, tmp_path: Path
) -> None:
    stalled = Child(bench.url, bench.namespace, tmp_path / "log", heartbeat=0.2, dead_after=1.0)
    other, runs, finish = bench.pool(), asyncio.Event(), asyncio.Event()

    @other.job
    async def blocks(n: int) -> None:
        runs.set()
        await finish.wait()

    with running(stalled):
        await until(lambda: waits_everywhere(bench))
        await bench.enqueuer.enqueue("blocks", {"n": 1, "seconds": 6.0, "holding_gil": True})
        await until(lambda: stalled.events("start")["blocks-1"])
        async with other.running():
            await runs.wait()
            await until(lambda: "was considered dead" in stalled.errors)
            await until(lambda: stalled.events("end")["blocks-1"])
            assert await bench.redis.llen(bench.keys.in_progress("blocks", other.id or "")) == 1
            finish.set()
            await other.drain()
            assert await asyncio.to_thread(stalled.end) == 0
        assert stalled.events("start") == {"blocks-1": 1}
        assert not await bench.redis.exists(bench.keys.crashes)


async def test_jobs_that_had_not_begun_when_their_pool_was_considered_dead_run_elsewhere_alone(
    bench: Bench, tmp_path: Path
) -> None:
    other, ran = bench.pool(), Counter[int]()

    @other.job
    async def blocks(n: int) -> None:
        ran[n] += 1

    # Taken together, and the first holds up the others.
    await bench.enqueuer.enqueue("blocks", {"n": 1, "seconds": 6.0, "holding_gil": True})
    await bench.enqueuer.enqueue_many([("blocks", {"n": n, "seconds": 0.0}) for n in (2, 3)])
    stalled = Child(bench.url, bench.namespace, tmp_path / "log", heartbeat=0.2, dead_after=1.0)
    with running(stalled):
        await until(lambda: stalled.events("start")["blocks-1"])
        async with other.running():
            await until(lambda: ran == Counter(range(1, 4)))
            await until(lambda: "dropped 2 jobs that had not begun" in stalled.errors)
            # It works on.
            await bench.enqueuer.enqueue("held", {"n": 4, "seconds": 0.0})
            await until(lambda: stalled.events("end")["held-4"])
            assert await asyncio.to_thread(stalled.end) == 0
            await other.drain()
    assert stalled.events("start") == {"blocks-1": 1, "held-4": 1}


async def _holds_nothing(bench: Bench, name: str) -> bool:
    """Tell whether no job of a name waits or runs."""
    lists = [bench.keys.queue(name), *await bench.redis.keys(f"{bench.keys.queue(name)}:*:inprogress")]
    return not await bench.redis.exists(*lists)


async def waits_everywhere(bench: Bench) -> bool:
    """Tell whether a child waits in Redis on each of its queues."""
    return [each["cmd"] for each in await bench.redis.client_list()].count("brpoplpush") == 6


async def test_a_job_that_a_stopped_process_popped_is_run_by_another_alone(bench: Bench, tmp_path: Path) -> None:
    stalled = Child(bench.url, bench.namespace, tmp_path / "log", heartbeat=0.2, dead_after=1.0)
    pool, ran = bench.pool(), set[int]()

    @pool.job
    async def held(n: int) -> None:
        ran.add(n)

    with running(stalled):
        await until(lambda: waits_everywhere(bench))
        stalled.signal(signal.SIGSTOP)
        # Its answer lies in the process's socket from now on.
        await bench.enqueuer.enqueue("held", {"n": 1})
        assert await bench.redis.llen(bench.keys.queue("held")) == 0
        async with pool.running():
            await until(lambda: ran == {1})
            stalled.signal(signal.SIGCONT)
            await bench.enqueuer.enqueue("blocks", {"n": 2, "seconds": 0.0})
            await until(lambda: stalled.events("end")["blocks-2"])
            assert await asyncio.to_thread(stalled.end) == 0
        assert not stalled.events("start")["held-1"]


async def test_a_stopped_process_that_is_considered_dead_takes_no_more_jobs(bench: Bench, tmp_path: Path) -> None:
    stalled = Child(bench.url, bench.namespace, tmp_path / "log", heartbeat=0.2, dead_after=1.0)
    pool, ran = bench.pool(), set[int]()

    @pool.job
    async def held(n: int) -> None:
        ran.add(n)

    @pool.job
    async def other() -> None: ...

    async def is_dead() -> bool:
        return bool(await bench.redis.scard(bench.keys.worker_pools) == 1)

    with running(stalled):
        # What ran in it is remembered by its crash.
        await bench.enqueuer.enqueue("other", {"n": 0, "seconds": 60})
        await until(lambda: stalled.events("start")["other-0"])
        await until(lambda: waits_everywhere(bench))
        stalled.signal(signal.SIGSTOP)
        async with pool.running():
            await until(is_dead)
            await bench.enqueuer.enqueue_many([("held", {"n": n}) for n in range(3)])
            await until(lambda: ran == {0, 1, 2})
        stalled.kill()


async def test_10_000_jobs_come_back_in_steps_while_others_are_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = await plant(bench, DEAD, jobs=10_000)
    left: list[int] = []
    steps: list[int] = []
    pool = bench.pool(concurrency=2)

    @pool.job
    async def other() -> None:
        left.append(await bench.redis.llen(bench.keys.in_progress("wat", DEAD)))
        if left[-1]:
            await other.enqueue()

    async def noted(client: Any, name: str, keys: Any, args: Any, **options: Any) -> Any:
        answer = await run_script(client, name, keys, args, **options)
        if name == "reap":
            steps.append(answer[0])
        return answer

    monkeypatch.setattr("asyncwork._redis.recovery.run_script", noted)
    await other.enqueue()
    async with pool.running():
        await until(lambda: left and not left[-1])
    assert max(steps) <= 500
    assert any(0 < each < 10_000 for each in left)
    assert await bench.waiting("wat") == payloads


async def test_the_keys_of_a_large_pool_are_deleted_in_steps(bench: Bench) -> None:
    registry, workers = PoolRegistry(bench.in_redis), [f"{n:024x}" for n in range(1000)]
    await registry.write_heartbeat(Heartbeat(DEAD, 1, 1, (), 1, tuple(workers), "host", 1))
    assert await registry.write_observations(DEAD, [Observation(each, "wat", "1", 1, b"") for each in workers], [])
    await bench.redis.delete(bench.keys.known_jobs)
    await bench.redis.config_resetstat()
    await registry.write_observations(DEAD, [], workers[:500])
    await registry.forget_pool(DEAD, workers)
    # A hundred each, and the heartbeat; and again, for observations written in the meantime.
    assert (await bench.redis.info("commandstats"))["cmdstat_del"]["calls"] == 5 + 10 + 1 + 10
    assert await bench.redis.keys(f"{bench.keys.prefix}*") == []


async def test_pools_that_beat_within_a_second_do_not_consider_each_other_dead(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    quick = tuned(heartbeat=0.05, dead_after=0.6, reap=0.02)
    async with bench.pool(**quick).running(), bench.pool(**quick).running():
        # Its whole seconds stand still for longer than that, again and again.
        await asyncio.sleep(2.5)
    assert "of dead pool" not in caplog.text
