"""The heartbeat goes on whatever a handler does, and describes the pool. LoopWatchdog logs a blocked event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from asyncwork import ScheduleError, UsageError, WorkerPool
from asyncwork._jobs.periodic_job import PeriodicJob
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._version import version
from asyncwork._worker.services.heartbeat import NextFirings
from asyncwork.models.periodic import PeriodicState
from asyncwork.models.pools import Heartbeat
from asyncwork.schedule import Schedule

from .conftest import Bench, until
from .proxy import open_proxy
from .tuned import tuned


async def test_a_blocked_event_loop_is_logged_once_and_its_pool_is_not_reaped(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    quick = tuned(heartbeat=0.3, dead_after=1.0, reap=0.1, stall=0.4)
    beats: list[bytes | None] = []
    blocking, watching = bench.pool(**quick), bench.pool(**quick)

    @blocking.job
    async def blocks() -> None:
        time.sleep(2.5)  # noqa: ASYNC251 - that is the point

    async with blocking.running():
        assert blocking.id is not None
        key = bench.keys.heartbeat(blocking.id)
        beats.append(await bench.redis.hget(key, "heartbeat_at"))
        job = await blocks.enqueue()
        await until(lambda: "event loop blocked" in caplog.text)
        async with watching.running():
            await blocking.drain()
        beats.append(await bench.redis.hget(key, "heartbeat_at"))
    assert int(beats[1] or 0) - int(beats[0] or 0) >= 2
    (line,) = [record.getMessage() for record in caplog.records if "event loop blocked" in record.getMessage()]
    assert f"by job blocks {job.id}" in line
    assert "time.sleep(2.5)" in line
    assert "event loop resumed after" in caplog.text
    assert "of dead pool" not in caplog.text


async def test_a_connection_that_went_silent_does_not_keep_a_pool_from_beating(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **tuned(heartbeat=0.2, dead_after=4.0))
        async with pool.running():
            assert pool.id is not None
            key = bench.keys.heartbeat(pool.id)
            started_at = int(await bench.redis.hget(key, "started_at"))

            async def beats_after(second: int) -> bool:
                return int(await bench.redis.hget(key, "heartbeat_at")) > second

            # The first beat is not its thread's.
            await until(lambda: beats_after(started_at))
            proxy.mute()
            muted_at = int(time.time())
            # Later, another pool's reaper considers it dead.
            await until(lambda: beats_after(muted_at + 1), limit=4.0)


async def test_a_pool_that_was_considered_dead_logs_it_and_registers_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool = bench.pool()
    pool.job("wat")(lambda: None)
    async with pool.running():
        assert pool.id is not None
        pool_id = pool.id

        async def logged() -> bool:
            # Repeated, because the first heartbeat of the thread may come later and then registers the pool.
            await bench.redis.delete(bench.keys.heartbeat(pool_id))
            await bench.redis.srem(bench.keys.worker_pools, pool_id)
            return "was considered dead" in caplog.text

        await until(logged)
        await until(lambda: bench.redis.sismember(bench.keys.worker_pools, pool_id))

        async def settled() -> bool:
            return not await bench.redis.hexists(bench.keys.heartbeat(pool_id), "reaped")

        # It runs nothing that it could claim, and forgets it all the same.
        await until(settled)


async def test_it_describes_the_pool_and_its_state(bench: Bench) -> None:
    registry = PoolRegistry(bench.in_redis)
    started, finish = asyncio.Event(), asyncio.Event()
    pool = bench.pool(concurrency=2, **tuned(heartbeat=0.1, dead_after=1.0))

    @pool.job
    async def wat() -> None:
        started.set()
        await finish.wait()

    @pool.job
    async def foo() -> None: ...

    pool.periodically("TZ=Europe/Berlin 0 0 4 * * *", "report", {"n": 2**70, "x": "ü"}, elsewhere=True)
    pool.periodically("* * * * * *", "tick", elsewhere=True)

    async def state() -> str:
        (heartbeat,) = await registry.heartbeats()
        return heartbeat.state

    await pool.start()
    began = time.time()
    (heartbeat,) = await registry.heartbeats()
    assert (heartbeat.pool_id, heartbeat.state, heartbeat.runner) == (pool.id, "running", f"asyncwork {version()}")
    assert (heartbeat.job_names, heartbeat.concurrency, len(heartbeat.worker_ids)) == (("foo", "wat"), 2, 2)
    report, tick = heartbeat.periodic
    spec = "TZ=Europe/Berlin 0 0 4 * * *"
    assert (report.name, report.spec, report.args) == ("report", spec, '{"n":1180591620717411303424,"x":"ü"}'.encode())
    assert report.key.startswith(f"report:{spec}:")
    assert report.next == Schedule.parse(spec).next(began)
    assert (tick.name, tick.key, tick.args) == ("tick", "tick:* * * * * *", b"null")
    assert tick.next is not None
    assert tick.next - began < 2

    async def later() -> bool:
        (newer,) = await registry.heartbeats()
        return (newer.periodic[1].next or 0) > (tick.next or 0)

    await until(later)
    await wat.enqueue()
    await started.wait()
    await pool.quiet()
    await until(lambda: _is(state, "quiet"))
    stopping = asyncio.create_task(pool.stop())
    await until(lambda: _is(state, "stopping"))
    finish.set()
    await stopping
    assert await registry.heartbeats() == []


async def _is(state: Any, wanted: str) -> bool:
    return bool(await state() == wanted)


async def test_heartbeats_of_others_are_read_as_far_as_they_make_sense(bench: Bench) -> None:
    registry = PoolRegistry(bench.in_redis)
    go = {"heartbeat_at": 5, "started_at": 4, "job_names": "b,a", "concurrency": 3, "worker_ids": "2,1", "host": "h",
          "pid": 7}  # fmt: skip
    junk = {"heartbeat_at": "soon", "pid": "9" * 5000, "concurrency": "1.5", "started_at": "-3", "job_names": "",
            "worker_ids": ",", "host": b"\xff", "periodic": "[", "state": "asleep"}  # fmt: skip
    await bench.redis.sadd(bench.keys.worker_pools, "go", "gone", "junk", "no hash")
    await bench.redis.hset(bench.keys.heartbeat("go"), mapping=go)
    await bench.redis.hset(bench.keys.heartbeat("junk"), mapping=junk)
    await bench.redis.set(bench.keys.heartbeat("no hash"), "x")
    assert await registry.heartbeats() == [
        Heartbeat("go", 5, 4, ("a", "b"), 3, ("1", "2"), "h", 7),
        Heartbeat("gone", 0, 0, (), 0, (), "", 0),
        Heartbeat("junk", 0, -3, (), 0, (), "\ufffd", 0, state="asleep"),
        Heartbeat("no hash", 0, 0, (), 0, (), "", 0),
    ]
    await bench.redis.delete(bench.keys.worker_pools)


PERIODIC: list[tuple[str, tuple[PeriodicState, ...]]] = [
    ("", ()),
    ("[]", ()),
    ("{}", ()),
    ("null", ()),
    ("[1]", ()),
    ('[{"name":"a","spec":"b","key":"c","args":null}]', ()),
    ('[{"name":1,"spec":"b","key":"c","args":null,"next":1}]', ()),
    ('[{"name":"a","spec":"b","key":"c","args":[],"next":1}]', ()),
    ('[{"name":"a","spec":"b","key":"c","args":null,"next":null}]', (PeriodicState("a", "b", "c"),)),
    ('[{"name":"a","spec":"b","key":"c","args":null,"next":true}]', (PeriodicState("a", "b", "c"),)),
    ('[{"name":"a","spec":"b","key":"c","args":{},"next":8,"x":1}]', (PeriodicState("a", "b", "c", b"{}", 8),)),
]


@pytest.mark.parametrize(("text", "expected"), PERIODIC)
async def test_the_periodic_jobs_of_a_heartbeat(bench: Bench, text: str, expected: tuple[PeriodicState, ...]) -> None:
    await bench.redis.sadd(bench.keys.worker_pools, "pool")
    await bench.redis.hset(bench.keys.heartbeat("pool"), "periodic", text)
    (heartbeat,) = await PoolRegistry(bench.in_redis).heartbeats()
    assert heartbeat.periodic == expected
    await bench.redis.delete(bench.keys.worker_pools)


class Counted:
    """A schedule that notes how often it is asked."""

    def __init__(self, *answers: int | Exception) -> None:
        self.spec = "spec"
        self.asked: list[float] = []
        self._answers = list(answers)

    def next(self, after: float) -> int:
        self.asked.append(after)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_schedule_is_asked_again_when_its_next_firing_has_passed() -> None:
    hourly, never = Counted(100, 200), Counted(ScheduleError("never"))
    centuries_off = Counted(UsageError("a clock"), 300)
    schedules: list[Any] = [hourly, never, centuries_off]
    firings = NextFirings([PeriodicJob("a", schedule) for schedule in schedules])
    found = [[state.next for state in firings.after(now)] for now in (50, 99.9, 100, 150)]
    assert found == [[100, None, None], [100, None, 300], [200, None, 300], [200, None, 300]]
    assert (hourly.asked, never.asked, centuries_off.asked) == ([50, 100], [50], [50, 99.9])
