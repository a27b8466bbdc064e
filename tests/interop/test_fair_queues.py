"""Fair queues beside Go: what Go pushes is served, and jobs that a Go pool has moved get back to their tenants."""

from __future__ import annotations

from asyncwork._redis.fair_queues import FairQueues

from ..conftest import until
from .golang import Mixed


async def test_what_go_enqueues_is_served_beside_the_tenants(mixed: Mixed) -> None:
    pool = mixed.python("export", job={"partition": "tenant", "partition_concurrency": 1, "sleep": 2})
    async with pool.running():
        for number in range(6):
            await mixed.enqueue("export", {"n": number})
            await mixed.bench.enqueuer.enqueue("export", {"tenant": "acme"}, partition="acme")
        await mixed.until_ran(12)
        await mixed.drain(pool)
    assert await mixed.at_once("export") <= 2


async def test_a_retry_that_go_requeues_gets_back_to_its_tenant(mixed: Mixed) -> None:
    pool = mixed.python("export", job={"partition": "tenant", "partition_concurrency": 1, "fails": 1, "max_fails": 2})
    fair = FairQueues(mixed.bench.in_redis)
    async with pool.running():
        await mixed.bench.enqueuer.enqueue("export", {"tenant": "acme"}, partition="acme")
        await until(lambda: mixed.bench.redis.zcard(mixed.bench.keys.retry))
    ((payload, _),) = await mixed.bench.job_set("retry")
    await mixed.bench.redis.zadd(mixed.bench.keys.retry, {payload: 1})
    # It serves the name, but takes nothing: its requeuer moves the job to the plain list, written anew.
    await mixed.bench.redis.set(mixed.bench.keys.paused("export"), 1)
    async with mixed.pool(jobs={"export": {}}):
        await until(lambda: mixed.bench.redis.llen(mixed.bench.keys.queue("export")))
    (moved,) = await mixed.bench.waiting("export")
    assert moved != payload
    await fair.review("export")
    state = await fair.read("export")
    assert state is not None
    assert [(each.name, each.waiting) for each in state.tenants] == [("acme", 1)]
    await mixed.bench.redis.delete(mixed.bench.keys.paused("export"))
    async with pool.running():
        await mixed.drain(pool)
    assert len(await mixed.ran()) == 2
