"""Jobs that a Go pool killed because it does not handle their name are requeued."""

from __future__ import annotations

import json
import time

from asyncwork._worker.services.go_rescuer import GoRescuer

from .conftest import Bench, until
from .tuned import tuned

KILLED = "unknown job when requeueing"


def dead(job_id: str, err: str, name: str = "wat") -> str:
    # As Lua's cjson writes it: in any order.
    return json.dumps({"err": err, "args": {"a": 1}, "name": name, "failed_at": 9, "id": job_id, "t": 5, "fails": 2})


async def test_a_job_killed_for_its_name_alone_is_requeued(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(
        bench.keys.dead,
        {
            dead("1", KILLED): 10,
            dead("2", "ValueError: boom"): 11,
            dead("3", f"ValueError: {KILLED}"): 12,
            dead("4", KILLED, name="unregistered"): 13,
            f"not json: {KILLED}": 14,
        },
    )
    service = GoRescuer(bench.in_redis, period=5.0)
    assert await service.run_once() == 5.0
    (payload,) = await bench.waiting("wat")
    job = json.loads(payload)
    assert abs(job.pop("t") - time.time()) < 5
    assert job == {"name": "wat", "id": "1", "args": {"a": 1}, "fails": 2}
    assert len(await bench.job_set("dead")) == 4
    # One that comes later, from a host whose clock is a little behind.
    await bench.redis.zadd(bench.keys.dead, {dead("5", KILLED): 12})
    await service.run_once()
    assert len(await bench.waiting("wat")) == 2


async def test_many_dead_are_read_in_pages(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.dead, {dead(str(n), KILLED if n % 3 else "boom"): 7 for n in range(3000)})
    await GoRescuer(bench.in_redis, period=5.0).run_once()
    assert len(await bench.waiting("wat")) == 2000
    assert len(await bench.job_set("dead")) == 1000


async def test_a_pool_runs_a_rescued_job(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(**tuned(revive=0.1))

    @pool.job
    async def wat(a: int) -> None:
        ran.append("wat")

    async with pool.running():
        await bench.redis.zadd(bench.keys.dead, {dead("1", KILLED): int(time.time())})
        await until(lambda: ran)
        await pool.drain()
    assert await bench.job_set("dead") == []
