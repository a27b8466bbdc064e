"""Durable steps when replies get lost, pools stop, or pools are considered dead: no step is recorded twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from asyncwork import Client, Job, Superseded, WorkerPool
from asyncwork._redis.recovery import Recovery

from .conftest import LIMIT, Bench, until
from .proxy import open_proxy
from .test_lost_answers import calls, once
from .test_steps import bench_is_empty, records
from .tuned import QUICK, tuned

TIMES = tuned(QUICK, reconcile=0.1, reply_timeout=0.5, dead_after=60.0)


@pytest.mark.parametrize("script", ["read_steps", "record_step", "move_cursor", "defer", "finish_steps"])
@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_each_script_may_be_sent_again(bench: Bench, script: str, lost: str) -> None:
    effects, got = Counter[str](), list[Any]()
    async with open_proxy(bench.url) as proxy, Client(bench.url, namespace=bench.namespace) as client:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **TIMES)

        async def effect(name: str) -> str:
            effects[name] += 1
            return name

        @pool.job(result=600)
        async def order(job: Job) -> str:
            await job.step("one", effect, "one")
            async for row in job.cursor("rows", lambda last: [(n, n) for n in (1, 2) if n > (last or 0)]):
                effects[f"row {row}"] += 1
            got.append(await job.event("go on", timeout=LIMIT))
            return await job.step("two", effect, "two")

        losing = once(calls(script))
        if lost == "answer":
            proxy.lose_answer = losing
        else:
            proxy.lose_request = losing
        async with pool.running():
            job = await order.enqueue()
            await until(lambda: bench.redis.zcard(bench.keys.scheduled))
            assert await client.signal(job.id, "go on", 5)
            assert await job.result(timeout=LIMIT) == "two"
            await until(lambda: bench_is_empty(bench))
        assert proxy.lost
    assert effects == {"one": 1, "row 1": 1, "row 2": 1, "two": 1}
    assert got == [5]
    assert await records(bench) == []


async def test_a_wait_that_is_sent_again_after_the_job_was_woken_does_nothing(bench: Bench) -> None:
    attempts, got = list[int](), list[Any]()
    async with open_proxy(bench.url) as proxy, Client(bench.url, namespace=bench.namespace) as client:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **{**TIMES, "tuning": TIMES["tuning"]})
        go = asyncio.Event()

        @pool.job
        async def order(job: Job) -> None:
            attempts.append(1)
            got.append(await job.event("go on", timeout=LIMIT))
            await go.wait()

        # The reply comes only when the job runs again, in the same pool and with the same bytes.
        proxy.keep_answer = once(calls("defer"))
        async with pool.running():
            job = await order.enqueue()
            await until(lambda: bench.redis.zcard(bench.keys.scheduled))
            assert await client.signal(job.id, "go on", 5)
            await until(lambda: got)
            # By now it was sent again, over another connection, because no reply has come in time.
            await asyncio.sleep(1.5)
            proxy.let_go()
            go.set()
            await until(lambda: bench_is_empty(bench))
    assert len(attempts) == 2
    assert got == [5]


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.long) for n in range(3, 30))])
async def test_whatever_happens_no_step_is_recorded_twice(bench: Bench, seed: int) -> None:
    """Pools are started, stopped, cut off and taken for dead at random, while their jobs take steps and wait."""
    chance, jobs, steps = random.Random(seed), 20, 5
    recorded: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    calls_of, seen = Counter[tuple[str, str]](), defaultdict[tuple[str, str], set[int]](set)
    ended, superseded = Counter[str](), list[str]()

    async def effect(key: str, name: str) -> int:
        calls_of[key, name] += 1
        await asyncio.sleep(chance.random() * 0.02)
        return calls_of[key, name]

    async def act(job: Job) -> None:
        try:
            for n in range(steps):
                number = await job.step(f"step {n}", effect, job.id, f"step {n}")
                # Every attempt that goes on sees what was recorded, whichever attempt was the first.
                seen[job.id, f"step {n}"].add(number)
                recorded[job.id][f"step {n}"].append(number)
                if n == 1:
                    await job.event("go on", timeout=LIMIT)
                if n == 2 and not job.fails:
                    raise ValueError("try again")
        except Superseded:
            superseded.append(job.id)
            raise
        ended[job.id] += 1

    async with open_proxy(bench.url) as proxy, Client(bench.url, namespace=bench.namespace) as client:

        def make() -> WorkerPool[Any]:
            pool = WorkerPool(proxy.url, namespace=bench.namespace, grace=0.0, concurrency=8, **TIMES)
            pool.job("order", max_fails=3, max_crashes=0, backoff=lambda job: 0.0)(act)
            return pool

        ids = [(await bench.enqueuer.enqueue("order")).id for _ in range(jobs)]
        scripts = ("read_steps", "record_step", "defer", "finish_steps", "fetch", "move")
        signalled, pool = set[str](), make()
        await pool.start()
        try:
            for _ in range(12):
                await asyncio.sleep(chance.random() * 0.1)
                for job_id in chance.sample(ids, 4):
                    if job_id not in signalled:
                        signalled.add(job_id)
                        assert await client.signal(job_id, "go on")
                match chance.randrange(4):
                    case 0:
                        await pool.stop()
                        pool = make()
                        await pool.start()
                    case 1:
                        proxy.lose_answer = once(calls(chance.choice(scripts)))
                    case 2:
                        proxy.lose_request = once(calls(chance.choice(scripts)))
                    case 3 if pool.id:
                        await Recovery(bench.in_redis).reap(pool.id, ["order"], None)
            for job_id in set(ids) - signalled:
                assert await client.signal(job_id, "go on")
            await until(lambda: bench_is_empty(bench))
        finally:
            await pool.stop()
    assert set(ended) == set(ids)
    # Each step has one recorded value, which all attempts have seen.
    assert not {key: numbers for key, numbers in seen.items() if len(numbers) > 1}
    assert seen.keys() == {(job_id, f"step {n}") for job_id in ids for n in range(steps)}
    assert await records(bench) == []


async def test_a_retry_by_gocraft_work_keeps_the_steps(bench: Bench) -> None:
    """Its web UI retries a dead job: it writes the payload anew, with the same id and arguments."""
    pool, steps, fails = bench.pool(), list[str](), [True]

    def ship() -> None:
        if fails[0]:
            raise ValueError("no van")
        steps.append("ship")

    @pool.job(max_fails=1)
    async def order(job: Job, number: int) -> None:
        await job.step("charge", steps.append, f"charge {number}")
        await job.step("ship", ship)

    await order.enqueue(7)
    async with pool.running():
        await until(lambda: bench.redis.zcard(bench.keys.dead))
    ((payload, _),) = await bench.job_set("dead")
    job = Job.decode(payload)
    # As Go's json.Marshal writes its struct, without what it does not know.
    written = b'{"name":"order","id":"%b","t":%d,"args":{"number":7},"unique":false}' % (
        job.id.encode(),
        job.enqueued_at + 1,
    )
    async with bench.redis.pipeline(transaction=True) as pipe:
        pipe.zrem(bench.keys.dead, payload)
        pipe.lpush(bench.keys.queue("order"), written)
        await pipe.execute()
    fails[0] = False
    async with pool.running():
        await until(lambda: "ship" in steps)
        await until(lambda: bench_is_empty(bench))
    assert steps == ["charge 7", "ship"]
    assert await records(bench) == []
