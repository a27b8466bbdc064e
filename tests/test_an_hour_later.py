"""All pools of a namespace die at once, and others start an hour later: they take up every job, and run each once."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

from asyncwork import Job
from asyncwork._jobs.periodic_job import firing_of

from .child import Child, running
from .conftest import Bench, until

HOUR = 3600


async def an_hour_passes(bench: Bench) -> None:
    """Set every time that Redis keeps of the namespace back by an hour."""
    redis, keys = bench.redis, bench.keys
    for job_set in (keys.retry, keys.scheduled, keys.dead):
        for raw, score in await redis.zrange(job_set, 0, -1, withscores=True):
            await redis.zrem(job_set, raw)
            await redis.zadd(job_set, {_earlier(raw): score - HOUR})
    for pool_id in await redis.smembers(keys.worker_pools):
        await redis.hincrby(keys.heartbeat(pool_id.decode()), "heartbeat_at", -HOUR)
    for hash_ in (keys.periodic, keys.periodic_fired):
        for field in await redis.hkeys(hash_):
            await redis.hincrby(hash_, field, -HOUR)
    async for key in redis.scan_iter(f"{keys.prefix}*"):
        if (left := await redis.ttl(key)) > 0:
            # What has less to live is gone.
            await redis.expire(key, left - HOUR)


def _earlier(raw: bytes) -> bytes:
    """An instance of a periodic job is told from the others by its time."""
    firing = firing_of(Job.decode(raw).id)
    return raw if firing is None else re.sub(rb"\b%d\b" % firing[1], b"%d" % (firing[1] - HOUR), raw)


async def test_everything_is_taken_up(bench: Bench, tmp_path: Path) -> None:
    enqueuer, keys, now = bench.enqueuer, bench.keys, time.time()
    # Once a minute, but not while this test runs.
    spec = f"{(int(now) + 40) % 60} * * * * *"
    ran: Counter[str] = Counter()
    planner, successor = bench.pool(), bench.pool()

    async def runs(job: Job) -> None:
        ran[f"{job.name} {'tick' if job.id.startswith('periodic') else job.arg('n')}"] += 1

    for pool in (planner, successor):
        for name in ("held", "other", "capped", "tick"):
            pool.job(name, max_concurrency=2 if name == "capped" else 0)(runs)
        pool.periodically(spec, "tick")

    async with planner.running():
        await until(lambda: bench.redis.zcard(keys.scheduled))
    planned = await bench.redis.zcard(keys.scheduled)
    assert planned in (3, 4)

    children = [Child(bench.url, bench.namespace, tmp_path / "log", concurrency=3) for _ in range(2)]
    with running(*children):
        for n in range(6):
            name, args = "held" if n % 2 else "capped", {"n": n, "seconds": 1000}
            assert not (await enqueuer.enqueue(name, args, unique=True)).duplicate
        # Two of the capped ones run, and one waits.
        await until(lambda: len(children[0].events("start")) == 5)
    for n in range(10):
        await enqueuer.enqueue("other", {"n": n})
    assert not (await enqueuer.enqueue("other", {"n": 10}, unique=True)).duplicate
    await enqueuer.enqueue("other", {"n": 11}, delay=HOUR // 2)
    await enqueuer.enqueue("other", {"n": 12}, delay=HOUR * 2)
    await bench.redis.zadd(keys.retry, {b'{"name":"other","id":"r","t":1,"args":{"n":13},"fails":1}': now + HOUR // 2})
    await bench.redis.zadd(keys.retry, {b'{"name":"other","id":"s","t":1,"args":{"n":14},"fails":3}': now + HOUR * 2})
    # One that waits keeps its like out, also an hour later.
    await an_hour_passes(bench)
    assert (await enqueuer.enqueue("other", {"n": 10}, unique=True)).duplicate

    async with successor.running():
        # What was planned fires, late and once; nothing is planned for the time in which nobody was there.
        expected = {**{f"other {n}": 1 for n in (*range(12), 13)}, "tick tick": planned}
        expected |= {f"{'held' if n % 2 else 'capped'} {n}": 1 for n in range(6)}
        await until(lambda: ran.total() >= sum(expected.values()))
        await successor.drain()
        assert ran == expected
        assert not (await enqueuer.enqueue("other", {"n": 10}, unique=True)).duplicate
        await until(lambda: ran["other 10"] == 2)
    assert {Job.decode(raw).args["n"] for raw, _ in await bench.job_set("retry")} == {14}
    later = [Job.decode(raw) for raw, _ in await bench.job_set("scheduled")]
    assert [job.args["n"] for job in later if job.name == "other"] == [12]
    assert len([job for job in later if job.name == "tick"]) in (3, 4)
