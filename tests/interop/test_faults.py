"""Crashes on one side that the other side repairs, and what gocraft/work loses, doubles or blocks by itself."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from asyncwork import Client
from asyncwork._redis.recovery import Recovery

from ..conftest import until
from ..tuned import QUICK, tuned
from .golang import GoPool, Mixed

# A Redis key that nobody sets: a job that waits for it hangs.
NEVER = "never"
JOB = '{"name":"wat","id":"0123456789abcdef01234567","t":1425263409,"args":{"a":1}}'
LONE = '{"name":"wat","id":"0123456789abcdef76543210","t":1425263409,"args":{"a":"\\ud800"}}'


async def started(mixed: Mixed, count: int) -> None:
    async def enough() -> bool:
        return len(await mixed.events("start")) == count

    await until(enough)


# Crashes


@pytest.mark.parametrize("death", ["killed", "by its job"])
async def test_a_go_pool_that_dies_has_its_jobs_run_here_before_those_that_wait(mixed: Mixed, death: str) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    held = 4 if death == "killed" else 1
    ids = [job.id for job in await mixed.bench.enqueuer.enqueue_many([("wat", None)] * 8)]
    go = {"wat": {"until": NEVER} if death == "killed" else {"crash": True}}
    await redis.set(keys.paused("wat"), 1)
    async with mixed.pool(held, jobs=go, attentive=death != "killed") as pool:
        await redis.delete(keys.paused("wat"))
        await started(mixed, held)
        if death == "killed":
            # It waits for ever for what hangs.
            pool.process.terminate()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pool.process.wait(), 0.3)
            await pool.kill()
        assert await pool.ends() < 0
    assert await redis.llen(keys.in_progress("wat", pool.id)) == held
    assert await redis.get(keys.lock("wat")) == b"%d" % held
    await redis.set(keys.paused("wat"), 1)
    await redis.delete(mixed.record)
    # Nobody is alive who beats more slowly than this pool expects.
    async with mixed.python("wat", **QUICK, concurrency=1).running() as python:

        async def reaped() -> bool:
            return len(await mixed.bench.waiting("wat")) == 8

        await until(reaped)
        assert [json.loads(payload)["id"] for payload in await mixed.bench.waiting("wat")] == ids
        await redis.delete(keys.paused("wat"))
        await mixed.drain(python)
    assert [each.id for each in await mixed.events("end")] == ids
    assert await redis.smembers(keys.worker_pools) == set()


WORKER = """
import asyncio, json, os, sys, time
from redis.asyncio import Redis
from asyncwork import Job, WorkerPool

url, namespace, record, seconds = sys.argv[1:]
redis = Redis.from_url(url, protocol=2)
pool = WorkerPool(url, namespace=namespace, concurrency=3)

async def tell(what: str, job: Job) -> None:
    told = {"event": what, "by": "python", "pid": os.getpid(), "name": job.name, "id": job.id, "args": job.given_args}
    await redis.rpush(record, json.dumps(told | {"fails": job.fails, "at": time.time()}))

@pool.job
async def wat(job: Job) -> None:
    await tell("start", job)
    await asyncio.sleep(float(seconds))
    await tell("end", job)

async def main() -> None:
    async with pool.running():
        print("ready", pool.id, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@asynccontextmanager
async def python_process(mixed: Mixed, seconds: float) -> AsyncIterator[GoPool]:
    """A Python pool of three workers in a process of its own, whose jobs take so long; killed at the end."""
    command = [sys.executable, "-c", WORKER, mixed.bench.url, mixed.bench.namespace, mixed.record, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    pool = GoPool(process)
    try:
        pool.id = (await pool.says(r"ready (\w+)"))[1]
        yield pool
    finally:
        if process.returncode is None:
            await pool.kill()


async def test_a_python_pool_that_dies_is_reaped_by_go_and_a_living_one_is_not(mixed: Mixed) -> None:
    redis, keys, orphan = mixed.bench.redis, mixed.bench.keys, "d" * 24
    dead = [job.id for job in await mixed.bench.enqueuer.enqueue_many([("wat", None)] * 3)]
    async with python_process(mixed, 60) as pool:
        await started(mixed, 3)
    assert await redis.llen(keys.in_progress("wat", pool.id)) == 3
    await redis.delete(mixed.record)
    # Go takes a heartbeat for old after 10 s, and first looks 10 s after it has started.
    await redis.hset(keys.heartbeat(pool.id), "heartbeat_at", int(time.time()) - 10)
    # Another pool has lost its heartbeat.
    await redis.sadd(keys.worker_pools, orphan)
    await redis.lpush(keys.in_progress("wat", orphan), JOB)
    await redis.incr(keys.lock("wat"))
    await redis.hset(keys.lock_info("wat"), orphan, 1)
    await mixed.bench.enqueuer.enqueue("taw")
    patient = tuned(heartbeat=2.0, dead_after=60.0)
    living = mixed.python("taw", job={"until": f"{mixed.bench.namespace}:go-on"}, **patient)
    async with living.running(), mixed.pool(jobs={"wat": {}}) as go:
        await started(mixed, 1)
        assert living.id is not None

        async def reaped() -> bool:
            pools = await redis.smembers(keys.worker_pools)
            return len(await mixed.ran("go")) == 3 and pools == {str(living.id).encode(), go.id.encode()}

        await until(reaped)
        assert sorted(await mixed.ran("go")) == sorted(dead)
        assert await redis.llen(keys.in_progress("taw", living.id)) == 1
        assert await redis.get(keys.lock("taw")) == b"1"
        # What the orphan was running is nobody's now: to Go it is lost.
        assert await redis.lrange(keys.in_progress("wat", orphan), 0, -1) == [JOB.encode()]
        assert await redis.hget(keys.lock_info("wat"), orphan) is None
        await redis.set(f"{mixed.bench.namespace}:go-on", 1)
        await mixed.drain(living)
    await redis.delete(f"{mixed.bench.namespace}:go-on")
    # Ours finds the list.
    assert await mixed.bench.waiting("wat") == []
    await mixed.sweep()
    assert await mixed.bench.waiting("wat") == [JOB.encode()]
    await mixed.run_python("wat")
    assert len(set(await mixed.ran())) == len(await mixed.ran()) == 5


async def test_no_job_is_lost_when_a_pool_of_each_is_killed_in_the_middle(mixed: Mixed) -> None:
    there = await mixed.enqueue_all([{"how": "enqueue", "name": "wat", "args": {"n": n}} for n in range(200)])
    here = await mixed.bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(200)])
    ids = {job["id"] for job in there} | {job.id for job in here}
    dying = mixed.pool(3, jobs={"wat": {"until": NEVER}}, attentive=False)
    async with dying as first, python_process(mixed, 60) as second:
        await started(mixed, 6)
        held = set(await mixed.held_by(first.id, second.id))
        survivor = mixed.python("wat", job={"sleep": 5}, concurrency=3)
        async with mixed.pool(3, jobs={"wat": {"sleep": 5}}), survivor.running():

            async def under_way() -> bool:
                return len(await mixed.ran()) > 100

            await until(under_way)
            await first.kill()
            await second.kill()

            async def done() -> bool:
                return set(await mixed.ran()) == ids

            await until(done)
            await mixed.drain(survivor)
    starts = Counter(each.id for each in await mixed.events("start"))
    assert len(held) == 6
    assert starts == Counter(ids) + Counter(held)
    assert len(await mixed.ran()) == len(ids)
    assert {each.by for each in await mixed.events("end")} == {"go", "python"}
    # Where Go's reaper was the quicker, it has left what the dead were said to be doing, to expire within a day.
    for key in await mixed.bench.redis.keys(f"{mixed.bench.namespace}:worker:*"):
        assert await mixed.bench.redis.ttl(key) > 86_000
        await mixed.bench.redis.delete(key)


async def test_a_go_pool_that_was_reaped_while_it_ran_lowers_a_lock_that_is_not_its_own(mixed: Mixed) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    job = await mixed.bench.enqueuer.enqueue("wat")
    go_on = f"{mixed.bench.namespace}:go-on"
    async with mixed.pool(1, jobs={"wat": {"until": go_on}}) as pool:
        await started(mixed, 1)
        assert await Recovery(mixed.bench.in_redis).reap(pool.id, ["wat"], None) == 1
        await redis.set(go_on, 1)
        await mixed.until_ran(2)
    assert await mixed.ran() == [job.id, job.id]
    assert await redis.get(keys.lock("wat")) == b"-1"
    assert await redis.hgetall(keys.lock_info("wat")) == {pool.id.encode(): b"-1"}
    # Ours puts it right.
    await mixed.sweep()
    assert await redis.get(keys.lock("wat")) == b"0"
    assert await redis.hgetall(keys.lock_info("wat")) == {}
    await redis.delete(go_on)


async def test_a_go_pool_that_stops_leaves_shares_of_0_that_ours_removes(mixed: Mixed) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    await mixed.enqueue("wat")
    async with mixed.pool(jobs={"wat": {}}) as pool:
        await mixed.until_ran(1)
        await pool.drain()
    assert await redis.hgetall(keys.lock_info("wat")) == {pool.id.encode(): b"0"}
    async with mixed.python("wat", **QUICK).running():

        async def removed() -> bool:
            return not await redis.hexists(keys.lock_info("wat"), pool.id)

        await until(removed)


# What is no job


@pytest.mark.parametrize("job_set", ["retry", "scheduled"])
@pytest.mark.parametrize("bad", ["not json", LONE])
async def test_what_lua_cannot_read_blocks_gos_requeuer_until_ours_moves_it(
    mixed: Mixed, job_set: str, bad: str
) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    await redis.sadd(keys.known_jobs, "wat")
    await redis.zadd(getattr(keys, job_set), {bad: 1, JOB: 2})
    async with mixed.pool(jobs={"wat": {}}) as pool:
        await pool.says(r"ERROR: requeuer\.process")
        assert len(await mixed.bench.job_set(job_set)) == 2
        async with mixed.python("wat").running():
            await mixed.until_ran(2 if bad == LONE else 1)
    assert await mixed.bench.job_set(job_set) == []
    assert await redis.llen(keys.quarantine) == (bad != LONE)
    await redis.delete(keys.quarantine)


async def test_a_payload_without_a_name_is_lost_by_gos_requeuer_and_left_by_ours(mixed: Mixed) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    nameless = '{"id":"0123456789abcdef01234567","t":1425263409,"args":null}'
    await redis.zadd(keys.scheduled, {nameless: 1, JOB: 2})
    async with mixed.python("wat").running():
        await mixed.until_ran(1)
    assert await mixed.bench.job_set("scheduled") == [(nameless.encode(), 1)]
    async with mixed.pool(jobs={"wat": {}}) as pool:
        await pool.says(r"ERROR: requeuer\.process")
    assert not await redis.exists(keys.scheduled, keys.retry, keys.dead, keys.queue("wat"))


async def test_a_payload_that_is_no_job_is_held_by_go_and_set_aside_by_ours(mixed: Mixed) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    await redis.lpush(keys.queue("wat"), "not json", JOB)
    async with mixed.pool(1, jobs={"wat": {}}) as pool:
        await pool.says(r"ERROR: worker\.fetch")
        await mixed.until_ran(1)
    assert await redis.lrange(keys.in_progress("wat", pool.id), 0, -1) == [b"not json"]
    assert await redis.get(keys.lock("wat")) == b"1"
    async with mixed.python("wat", **QUICK).running():
        await until(lambda: redis.llen(keys.quarantine))
    assert await redis.get(keys.lock("wat")) == b"0"
    (record,) = await redis.lrange(keys.quarantine, 0, -1)
    assert json.loads(record)["payload"] == "not json"


async def test_a_job_in_the_queue_of_another_name_leaves_both_locks_wrong_until_ours_reaps(mixed: Mixed) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    await redis.sadd(keys.known_jobs, "wat", "other")
    await redis.lpush(keys.queue("other"), JOB)
    await mixed.run_go("other")
    ((payload, _),) = await mixed.bench.job_set("dead")
    assert json.loads(payload)["err"] == "stray job: no handler"
    assert await redis.mget(keys.lock("other"), keys.lock("wat")) == [b"1", b"-1"]
    await mixed.sweep()
    assert await redis.mget(keys.lock("other"), keys.lock("wat")) == [b"0", b"0"]
    # Ours releases the lock of the queue that it was in.
    await redis.lpush(keys.queue("other"), JOB.replace("01234567", "76543210"))
    await mixed.run_python("other")
    assert await redis.mget(keys.lock("other"), keys.lock("wat")) == [b"0", b"0"]


async def test_one_bad_payload_breaks_the_page_of_gos_client_and_not_of_ours(mixed: Mixed) -> None:
    redis, keys = mixed.bench.redis, mixed.bench.keys
    await redis.zadd(keys.dead, {"not json": 1, JOB: 2})
    with pytest.raises(LookupError, match="invalid character"):
        await mixed.client("dead", 1)
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        bad, good = (await client.jobs("dead")).jobs
        assert bad.reason
        assert (good.name, good.reason) == ("wat", "")


# Uniqueness


async def test_a_duplicate_does_not_renew_a_key_on_either_side(mixed: Mixed) -> None:
    await mixed.enqueue("wat", how="unique")
    (key,) = await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")
    await mixed.bench.redis.expire(key, 100)
    assert await mixed.enqueue("wat", how="unique") is None
    assert await mixed.bench.redis.ttl(key) <= 100
    assert (await mixed.bench.enqueuer.enqueue("wat", unique=True)).duplicate
    assert await mixed.bench.redis.ttl(key) <= 100
    await mixed.run_go("wat")


@pytest.mark.parametrize("enqueuer", ["go", "python"])
async def test_a_go_pool_does_not_free_a_key_with_an_integer_beyond_2_to_53(mixed: Mixed, enqueuer: str) -> None:
    async def enqueue() -> bool:
        if enqueuer == "go":
            return await mixed.enqueue("wat", {"n": 2**53 + 1}, how="unique") is not None
        return not (await mixed.bench.enqueuer.enqueue("wat", {"n": 2**53 + 1}, unique=True)).duplicate

    assert await enqueue()
    await mixed.run_go("wat")
    assert not await enqueue()
    (key,) = await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")
    await mixed.bench.redis.delete(key)
    assert await enqueue()
    await mixed.run_python("wat")
    assert not await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")


@pytest.mark.parametrize("runner", ["go", "python"])
async def test_a_retry_frees_the_key_of_the_next_job_at_go_only(mixed: Mixed, runner: str) -> None:
    enqueuer, args = mixed.bench.enqueuer, {"n": 1}
    assert not (await enqueuer.enqueue("wat", args, unique=True)).duplicate
    await mixed.run_python("wat", fails=1, backoff=lambda job: 3600)
    # Started once, it has let go of the key; another one holds it now.
    assert not (await enqueuer.enqueue("wat", args, delay=3600, unique=True)).duplicate
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        assert (await client.retry_matching("retry")).done == 1
        await (mixed.run_go("wat") if runner == "go" else mixed.run_python("wat"))
        # A duplicate of the one that waits.
        again = await enqueuer.enqueue("wat", args, unique=True)
        assert (not again.duplicate) == (runner == "go")
        await client.retry_matching("scheduled")
    await mixed.run_python("wat")
    assert len(await mixed.ran()) == (4 if runner == "go" else 3)


# Caps


async def test_the_last_pool_to_start_sets_the_cap(mixed: Mixed) -> None:
    cap = mixed.bench.keys.max_concurrency("wat")
    async with mixed.python("wat", job={"max_concurrency": 3}).running():
        assert await mixed.bench.redis.get(cap) == b"3"
        async with mixed.pool(jobs={"wat": {}}):
            assert await mixed.bench.redis.get(cap) == b"0"
    async with mixed.pool(jobs={"wat": {"max_concurrency": 5}}):
        assert await mixed.bench.redis.get(cap) == b"5"
