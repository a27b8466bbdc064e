"""Metrics: attempts are counted by queue, in Redis also by the minute and by the day, and each of them once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.exceptions import ResponseError

from asyncwork import Client, Discard, Job, JobOptions, Retry, RunTimes, Snooze, UnknownJobError, UsageError, WorkerPool
from asyncwork._health.histogram import quantile
from asyncwork._jobs.payload import write_payload
from asyncwork._redis.cancels import CancelMark
from asyncwork._redis.metrics import TOTAL, MetricsStore, RunCounts
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._worker import outcome
from asyncwork._worker.metrics import PoolMetrics, QueueMetrics
from asyncwork._worker.services.metrics_writer import MetricsWriter
from asyncwork.models.pools import Heartbeat, PoolCounts
from asyncwork.models.queues import JobCounts

from .conftest import Bench, until
from .proxy import open_proxy
from .test_lost_answers import calls, once
from .tuned import tuned

QUICK = tuned(heartbeat=0.5, dead_after=1.0, reap=0.2, observe=0.05, reconcile=0.5, count=0.02)
POOL = "0123456789abcdef01234567"


def epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


class Clocked(MetricsStore):
    """Sees Redis's clock as it is set."""

    at = 0

    async def _now(self) -> int:
        return self.at


def clocked(bench: Bench, at: str) -> Clocked:
    counters = Clocked(bench.in_redis)
    counters.at = epoch(at)
    return counters


async def run_times(counters: MetricsStore, name: str, days: int) -> list[int]:
    """Return the sum of the days."""
    found = [counts for _, counts in await counters.run_times(name, days)]
    assert len(found) == days
    return [sum(each) for each in zip(*found, strict=True)]


def plain(counts: JobCounts) -> JobCounts:
    """Return the counts without those that depend on the clock."""
    return replace(counts, at=0, run_ms=0, wait_ms=0)


async def beat(bench: Bench) -> Callable[[], Any]:
    """Write a heartbeat of the pool; return a function that deletes it."""
    registry = PoolRegistry(bench.in_redis)
    await registry.write_heartbeat(Heartbeat(POOL, 1, 1, (), 1, (), "host", 1))
    return lambda: registry.forget_pool(POOL)


# In the process

OPTIONS = JobOptions(max_fails=2)
NO_DEAD = JobOptions(max_fails=1, skip_dead=True)
ENDS: list[tuple[int, JobOptions | None, BaseException, JobCounts]] = [
    (0, OPTIONS, ValueError(), JobCounts(processed=1, failed=1, retried=1)),
    (0, OPTIONS, Retry(after=5), JobCounts(processed=1, failed=1, retried=1)),
    (1, OPTIONS, ValueError(), JobCounts(processed=1, failed=1, dead=1)),
    (0, NO_DEAD, ValueError(), JobCounts(processed=1, failed=1)),
    (0, None, UnknownJobError("wat"), JobCounts(processed=1, failed=1, dead=1)),
    (0, OPTIONS, Snooze(60), JobCounts(processed=1)),
    (0, OPTIONS, Discard("no use"), JobCounts(processed=1)),
    (0, OPTIONS, outcome.ExpiredError(90), JobCounts(processed=1, expired=1)),
    (0, OPTIONS, outcome.CancelRequested("1", CancelMark("", "", 1)), JobCounts(processed=1, cancelled=1)),
]


@pytest.mark.parametrize(("fails", "options", "error", "expected"), ENDS)
def test_the_counts_of_a_failed_attempt(
    fails: int, options: JobOptions | None, error: BaseException, expected: JobCounts
) -> None:
    job = Job.decode(b'{"name":"wat","id":"1","t":90,"args":null,"fails":%d}' % fails)
    queue = QueueMetrics()
    metrics = PoolMetrics({"wat": queue})
    queue.record_attempt(90, 100.75, 101.0)
    queue.record_failure(outcome.decide(job, options, error, 101.0), error, failed=job.fails > fails)
    assert metrics.take() == {"wat": replace(expected, run_ms=250, wait_ms=10_000)}
    ended = {"expired": expected.expired, "cancelled": expected.cancelled}
    assert metrics.totals == PoolCounts(0, expected.retried + expected.dead, **ended)


def test_counts_are_taken_once() -> None:
    counters = {"a": QueueMetrics(), "b": QueueMetrics()}
    metrics = PoolMetrics(counters)
    assert metrics.take() == {}
    counters["a"].record_attempt(7, 10.0, 10.5)
    assert metrics.take() == {"a": JobCounts(processed=1, run_ms=500, wait_ms=3000)}
    counters["a"].record_attempt(11, 10.75, 11.0)
    counters["b"].record_attempt(10, 10.0, 10.0)
    assert metrics.take() == {"a": JobCounts(processed=1, run_ms=250), "b": JobCounts(processed=1)}
    assert metrics.take() == {}
    assert metrics.totals == PoolCounts(3, 0)


def test_many_short_runs_add_up() -> None:
    queue = QueueMetrics()
    metrics, run_ms = PoolMetrics({"a": queue}), 0
    for _ in range(1000):
        queue.record_attempt(10, 10.0, 10.0004)
        run_ms += metrics.take()["a"].run_ms
    assert run_ms in (399, 400)


def test_a_clock_that_is_set_back_and_a_job_without_a_time_take_nothing_away() -> None:
    queue = QueueMetrics()
    metrics = PoolMetrics({"a": queue})
    queue.record_attempt(1000, 10.0, 5.0)
    queue.record_attempt(0, 1e9, 1e9)
    # A payload's time has at most 64 bits.
    queue.record_attempt(-(2**63), 1e9, 1e9)
    queue.record_attempt(2**63 - 1, 1e9, 1e9)
    assert metrics.take() == {"a": JobCounts(processed=4)}


# In Redis


async def test_added_counts_can_be_read(bench: Bench) -> None:
    counters = clocked(bench, "2024-02-29 12:34:56")
    some, more = JobCounts(0, 5, 4, 3, 2, 1_000, 9_000), JobCounts(0, 1, 1, 0, 1, 10**12, 7)
    assert await counters.add(POOL, 1, {"a": some, "b": more}) == []
    assert await counters.add(POOL, 2, {"a": some}) == []
    minute, day = epoch("2024-02-29 12:34:00"), epoch("2024-02-29 00:00:00")
    double = JobCounts(minute, 10, 8, 6, 4, 2_000, 18_000)
    total = JobCounts(minute, 11, 9, 6, 5, 10**12 + 2_000, 18_007)
    for name, counted in [("a", double), ("b", replace(more, at=minute)), (TOTAL, total), ("c", JobCounts(minute))]:
        assert await counters.minutes(name, 2) == [JobCounts(minute - 60), counted]
        assert await counters.days(name, 2) == [JobCounts(day - 86_400), replace(counted, at=day)]
    assert await counters.minutes("a", 0) == []


async def test_expired_and_cancelled_jobs_are_counted_behind_the_cells(bench: Bench) -> None:
    counters = clocked(bench, "2024-01-31 23:59:59")
    dropped = JobCounts(processed=3, expired=2, cancelled=1)
    await counters.add(POOL, 1, {"a": JobCounts(processed=1)})
    minutes, days = bench.keys.minutes(counters.at // 3600, "a"), bench.keys.days("2024-01", "a")
    # What pools of earlier versions write too.
    assert (await bench.redis.strlen(minutes), await bench.redis.strlen(days)) == (60 * 32, 31 * 32)
    await counters.add(POOL, 2, {"a": dropped})
    counters.at -= 60
    await counters.add(POOL, 3, {"a": dropped})
    minute, day = epoch("2024-01-31 23:59:00"), epoch("2024-01-31 00:00:00")
    for name in ("a", TOTAL):
        counters.at = minute
        assert await counters.minutes(name, 3) == [
            JobCounts(minute - 120),
            replace(dropped, at=minute - 60),
            JobCounts(minute, 4, expired=2, cancelled=1),
        ]
        assert await counters.days(name, 1) == [JobCounts(day, 7, expired=4, cancelled=2)]
    assert (await bench.redis.strlen(minutes), await bench.redis.strlen(days)) == (60 * 40, 31 * 40)
    counters.at = epoch("2024-01-01 00:00:00")
    await counters.add(POOL, 4, {"a": JobCounts(processed=1, cancelled=2**33)})
    assert (await counters.days("a", 1))[0].cancelled == 2**32 - 1
    assert (await counters.minutes("a", 1))[0] == JobCounts(counters.at, 1, cancelled=2**32 - 1)


async def test_hours_and_days_are_read_over_their_borders(bench: Bench) -> None:
    counters = clocked(bench, "2023-12-31 23:58:59")
    moments = ["2023-12-31 23:58:59", "2023-12-31 23:59:00", "2023-12-31 23:59:59", "2024-01-01 00:00:00",
               "2024-01-01 00:01:30", "2024-01-31 00:01:30", "2024-03-01 08:00:00"]  # fmt: skip
    for number, moment in enumerate(moments, 1):
        counters.at = epoch(moment)
        await counters.add(POOL, number, {"a": JobCounts(processed=number)})
        if number == 5:
            minutes = await counters.minutes("a", 24 * 60)
            assert [each.processed for each in minutes[-5:]] == [0, 1, 5, 4, 5]
            assert [each.at for each in minutes] == list(range(epoch("2023-12-31 00:02:00"), counters.at, 60))
            assert sum(each.processed for each in minutes) == 15
    days = await counters.days("a", 400)
    counted = {datetime.fromtimestamp(each.at, UTC).date().isoformat(): each.processed for each in days}
    assert len(counted) == 400
    assert list(counted)[-1] == "2024-03-01"
    assert {day: count for day, count in counted.items() if count} == {
        "2023-12-31": 6, "2024-01-01": 9, "2024-01-31": 6, "2024-03-01": 7,
    }  # fmt: skip
    assert await counters.days(TOTAL, 400) == days


async def test_recent_is_the_last_whole_minutes_and_the_running_one(bench: Bench) -> None:
    counters = clocked(bench, "2024-01-01 11:54:59")
    for number, moment in enumerate(["11:54:59", "11:55:00", "11:59:59", "12:00:00", "12:00:20"], 1):
        counters.at = epoch(f"2024-01-01 {moment}")
        await counters.add(POOL, number, {"a": JobCounts(0, 10**number, 1, 1, 0, 3, 4), "b": JobCounts(processed=1)})
    began = epoch("2024-01-01 11:55:00")
    # More keys than one command reads.
    names = ["", "a", "b", *(f"idle {n}" for n in range(80))]
    found = await counters.recent(names, 5)
    assert list(found) == names
    assert found["a"] == JobCounts(began, 111_100, 4, 4, 0, 12, 16)
    assert found["b"] == JobCounts(began, 4)
    assert found[TOTAL] == JobCounts(began, 111_104, 4, 4, 0, 12, 16)
    assert found["idle 79"] == JobCounts(began)
    assert await counters.recent([], 5) == {}
    assert (await counters.recent(["a"], 0))["a"].processed == 110_000


async def test_counts_saturate(bench: Bench) -> None:
    counters = clocked(bench, "2024-01-01 00:00:00")
    for number, much in enumerate([2**32 - 2, 3, 2**62, 2**62, 10**30], 1):
        await counters.add(POOL, number, {"a": JobCounts(0, much, much, much, much, much, much)})
    (counted,) = await counters.minutes("a", 1)
    most = 2**32 - 1
    assert counted == JobCounts(counters.at, most, most, most, most, 2**63 - 1, 2**63 - 1)
    # A cell that is full leaves its neighbours alone.
    counters.at += 60
    assert await counters.minutes("a", 1) == [JobCounts(counters.at)]


async def test_kept_counts_are_bounded(bench: Bench) -> None:
    counters = clocked(bench, "2024-01-31 23:59:59")
    await counters.add(POOL, 1, {"a": JobCounts(processed=1)})
    for name in ("a", TOTAL):
        minutes, days = bench.keys.minutes(counters.at // 3600, name), bench.keys.days("2024-01", name)
        assert 86_390 <= await bench.redis.ttl(minutes) <= 86_400
        assert 400 * 86_400 - 10 <= await bench.redis.ttl(days) <= 400 * 86_400
        assert await bench.redis.strlen(minutes) == 60 * 32
        assert await bench.redis.strlen(days) == 31 * 32
    assert not await bench.redis.exists(bench.keys.heartbeat(POOL))


async def test_a_write_is_added_once_while_the_pool_has_a_heartbeat(bench: Bench) -> None:
    counters = MetricsStore(bench.in_redis)
    one, forget = {"a": JobCounts(processed=1)}, await beat(bench)
    for number in (1, 1, 2, 3, 3, 1):
        await counters.add(POOL, number, one)
    assert (await counters.days("a", 1))[0].processed == 3
    assert await bench.redis.hget(bench.keys.heartbeat(POOL), "counted") == b"3"
    # Another pool numbers its own.
    await counters.add("another", 1, one)
    await forget()
    await counters.add(POOL, 3, one)
    assert (await counters.days("a", 1))[0].processed == 5
    assert not await bench.redis.exists(bench.keys.heartbeat(POOL))


async def test_a_key_that_holds_something_else_loses_its_own_counts_alone(bench: Bench) -> None:
    counters = clocked(bench, "2024-01-01 00:00:00")
    junk, other = bench.keys.days("2024-01", "a"), bench.keys.days("2024-01", "b")
    await bench.redis.sadd(junk, "junk")
    await bench.redis.set(other, b"\xff" * 7)
    assert await counters.add(POOL, 1, {"a": JobCounts(processed=1), "b": JobCounts(processed=1)}) == [junk]
    assert (await counters.minutes("a", 1))[0].processed == 1
    assert (await counters.days("a", 1)) == [JobCounts(counters.at)]
    assert (await counters.days("b", 1))[0].processed == 2**32 - 1
    assert (await counters.days(TOTAL, 1))[0].processed == 2


async def test_run_times_are_counted_by_day(bench: Bench) -> None:
    counters = clocked(bench, "2024-01-31 23:59:00")
    one = {"a": JobCounts(processed=1), "b": JobCounts(processed=1)}
    forget = await beat(bench)
    for number in (1, 1, 2):
        assert await counters.add(POOL, number, one, {"a": {0: 3, 25: 1}, "b": {}}) == []
    counters = clocked(bench, "2024-02-01 00:00:00")
    await counters.add(POOL, 3, one, {"a": {0: 2**32, 7: 1}, "b": {24: 2}})
    first, second = [6, *[0] * 24, 2], [2**32 - 1, *[0] * 6, 1, *[0] * 18]
    assert await run_times(counters, "a", 1) == second
    assert await run_times(counters, "a", 2) == [one + other for one, other in zip(first, second, strict=True)]
    assert [date for date, _ in await counters.run_times("a", 2)] == ["2024-01-31", "2024-02-01"]
    assert await run_times(counters, "b", 40) == [*[0] * 24, 2, 0]
    assert await run_times(counters, "c", 40) == [0] * 26
    key = bench.keys.run_times("2024-01-31", "a")
    assert 40 * 86_400 - 10 <= await bench.redis.ttl(key) <= 40 * 86_400
    assert not await bench.redis.exists(bench.keys.run_times("2024-01-31", "b"))
    # The counts beside a key of another type are written.
    junk = bench.keys.run_times("2024-02-01", "b")
    await bench.redis.delete(junk)
    await bench.redis.sadd(junk, "junk")
    assert await counters.add(POOL, 4, one, {"b": {1: 1}, "a": {1: 1}}) == [junk]
    assert (await run_times(counters, "a", 1))[1] == 1
    assert await run_times(counters, "b", 1) == [0] * 26
    await bench.redis.delete(junk)
    await forget()


async def test_the_client_returns_the_run_times_of_a_queue(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    async with Client(bench.url, namespace=bench.namespace) as client:
        none = await client.run_times("wat")
        assert (none.total, none.quantile(0.5)) == (0, 0.0)
        for _ in range(3):
            await wat.enqueue()
        async with pool.running():
            await pool.drain()
        found = await client.run_times(wat, 1)
        assert (found.total, len(found.counts), len(found.bounds)) == (3, 26, 25)
        assert found.bounds[:3] == (0.001, 0.002, 0.004)
        for wrong in (("", 1), ("wat", 0), ("wat", 41), ("wat", True)):
            with pytest.raises(UsageError):
                await client.run_times(*wrong)


def test_quantiles_of_run_times() -> None:
    found = RunTimes((1.0, 3.0), (10, 10, 20))
    assert [found.quantile(share) for share in (0, 0.25, 0.375, 0.5, 1)] == [0.0, 1.0, 2.0, 3.0, 3.0]
    wrong: Any
    for wrong in (-0.1, 1.1, float("nan"), True, "0.5"):
        with pytest.raises(UsageError, match="share must be a number from 0 to 1"):
            found.quantile(wrong)


def test_run_times_are_taken_once() -> None:
    queues = {"a": QueueMetrics(), "b": QueueMetrics()}
    metrics = PoolMetrics(queues)
    for seconds in (0.0, 0.0005, 0.0015, 0.1, 10**5, 10**7):
        queues["a"].record_attempt(1, 1000.0, 1000.0 + seconds)
    assert metrics.take_runs(["a"]) == {"a": {0: 2, 1: 1, 7: 1, 25: 2}}
    assert metrics.take_runs(["a", "b"]) == {"a": {}, "b": {}}
    queues["a"].record_attempt(1, 1000.0, 1000.0)
    assert metrics.take_runs(["b", "a"]) == {"b": {}, "a": {0: 1}}


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ({0: 10}, 0.5, 0.0005),
        ({0: 10}, 1.0, 0.001),
        ({7: 100}, 0.0, 0.064),
        ({7: 100}, 0.25, 0.08),
        ({0: 90, 10: 10}, 0.9, 0.001),
        ({0: 90, 10: 10}, 0.95, 0.768),
        ({25: 4}, 0.99, 2**24 / 1000),
    ],
)
def test_quantiles_are_estimated(counts: dict[int, int], share: float, expected: float) -> None:
    assert quantile([counts.get(at, 0) for at in range(26)], share) == pytest.approx(expected)


# The metrics writer


async def test_many_queues_are_written_in_several_steps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = MetricsStore.add

    async def add(
        self: MetricsStore, pool_id: str, number: int, counts: dict[str, JobCounts], runs: dict[str, RunCounts]
    ) -> list[str]:
        sizes.append(len(counts))
        return await real(self, pool_id, number, counts, runs)

    monkeypatch.setattr(MetricsStore, "add", add)
    counters, forget = MetricsStore(bench.in_redis), await beat(bench)
    kept = {f"queue {n}": QueueMetrics() for n in range(250)}
    writer = MetricsWriter(counters, PoolMetrics(kept), POOL, 2.0)
    assert await writer.run_once() == 2.0
    assert sizes == []
    for n, queue in enumerate(kept.values()):
        for _ in range(n):
            queue.record_attempt(1, 2.0, 2.0)
    await writer.run_once()
    await writer.run_once()
    assert sizes == [100, 100, 49]
    found = await counters.recent(["", *kept], 1)
    assert [found[name].processed for name in kept] == list(range(250))
    assert found[TOTAL].processed == sum(range(250))
    assert [sum(await run_times(counters, name, 2)) for name in kept] == list(range(250))
    await forget()


@pytest.mark.parametrize("lose", ["answer", "request"])
async def test_unconfirmed_counts_are_written_again_and_counted_once(
    bench: Bench, lose: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK)

        @pool.job
        async def wat() -> None: ...

        setattr(proxy, f"lose_{lose}", once(calls("add_counts"), 3))
        counters = MetricsStore(bench.in_redis)
        async with pool.running():
            processed = 0
            while proxy.lost < 3:
                await wat.enqueue()
                await pool.drain()
                processed += 1
            await until(lambda: _processed(counters, "wat", processed))
        assert proxy.lost == 3
    assert (await counters.days("wat", 1))[0].processed == processed
    assert (await counters.days(TOTAL, 1))[0].processed == processed
    assert "metrics writer: Redis failed" in caplog.text


async def _processed(counters: MetricsStore, name: str, number: int) -> bool:
    return (await counters.days(name, 1))[0].processed == number


async def test_counts_that_redis_refuses_are_kept_until_it_accepts_them(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    user = bench.namespace
    await bench.redis.acl_setuser(user, enabled=True, nopass=True, keys="*", commands=["+@all", "-bitfield"])
    pool = WorkerPool(bench.url.replace("unix://", f"unix://{user}:any@"), namespace=bench.namespace, **QUICK)

    @pool.job
    async def wat() -> None: ...

    counters = MetricsStore(bench.in_redis)
    async with pool.running():
        assert pool.id is not None
        for _ in range(5):
            await wat.enqueue()
        await pool.drain()
        await until(lambda: "metrics writer: Redis failed" in caplog.text)
        assert (await counters.days("wat", 1))[0].processed == 0
        assert not await bench.redis.hexists(bench.keys.heartbeat(pool.id), "counted")
        await bench.redis.acl_setuser(user, enabled=True, nopass=True, commands=["+bitfield"])
        await until(lambda: _processed(counters, "wat", 5))
        await until(lambda: "metrics writer: Redis is back" in caplog.text)
    assert (await counters.days(TOTAL, 1))[0].processed == 5
    await bench.redis.acl_deluser(user)


# A pool


async def test_a_pool_counts_its_attempts_and_writes_the_last_when_it_stops(bench: Bench) -> None:
    pool = bench.pool(**tuned(QUICK, count=1000.0), grace=0)
    stuck = asyncio.Event()

    @pool.job
    async def fine() -> None:
        await asyncio.sleep(0.03)

    @pool.job(max_fails=2, backoff=lambda job: 0)
    async def fails() -> None:
        raise ValueError

    @pool.job(max_fails=1, skip_dead=True)
    async def dropped() -> None:
        raise ValueError

    @pool.job
    async def later() -> None:
        raise Snooze(1000)

    @pool.job
    async def never() -> None:
        raise Discard("no use")

    @pool.job
    async def cut_off() -> None:
        stuck.set()
        await asyncio.sleep(1000)

    for task in (fine, fine, fails, dropped, later, never, cut_off):
        await task.enqueue()
    await fine.options(unique=True).enqueue()
    now = int(time.time())
    fine_and_stray = (write_payload(name, name, now - 100, b"null") for name in ("fine", "stray"))
    await bench.redis.lpush(bench.keys.queue("fine"), *fine_and_stray, "no job")
    counters = MetricsStore(bench.in_redis)
    await pool.start()
    await stuck.wait()
    await until(lambda: pool.counts == PoolCounts(done=4, failed=3))
    await until(lambda: bench.job_set("scheduled"))
    assert await counters.days(TOTAL, 1) == [JobCounts(now - now % 86_400)]
    await pool.stop()
    assert pool.counts == PoolCounts(done=4, failed=3)
    names = ["fine", "fails", "dropped", "later", "never", "cut_off", "stray", TOTAL]
    found = await counters.recent(names, 1)
    assert {name: plain(counts) for name, counts in found.items()} == {
        "fine": JobCounts(processed=5, failed=1, dead=1),
        "fails": JobCounts(processed=2, failed=2, retried=1, dead=1),
        "dropped": JobCounts(processed=1, failed=1),
        "later": JobCounts(processed=1),
        "never": JobCounts(processed=1),
        "cut_off": JobCounts(),
        "stray": JobCounts(),
        TOTAL: JobCounts(processed=10, failed=4, retried=1, dead=2),
    }
    assert 120 <= found["fine"].run_ms < 5_000
    assert 200_000 <= found["fine"].wait_ms <= 240_000
    assert found[TOTAL].run_ms == sum(found[name].run_ms for name in names[:-1])
    assert found[TOTAL].wait_ms == sum(found[name].wait_ms for name in names[:-1])


async def test_several_pools_add_up(bench: Bench) -> None:
    pools = [bench.pool(**QUICK) for _ in range(3)]

    async def wat() -> None:
        await asyncio.sleep(0.001)

    for pool in pools:
        pool.job("wat")(wat)
        await pool.start()
    for _ in range(100):
        await bench.enqueuer.enqueue("wat")
    counters = MetricsStore(bench.in_redis)
    await until(lambda: _processed(counters, "wat", 100))
    for pool in pools:
        await pool.stop()
    assert (await counters.days(TOTAL, 1))[0].processed == sum(pool.counts.done for pool in pools) == 100


async def test_a_key_of_another_type_is_logged_once_and_blocks_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    counters = MetricsStore(bench.in_redis)
    today = datetime.fromtimestamp(await bench.redis_client.now(), UTC)
    await bench.redis.lpush(bench.keys.days(f"{today:%Y-%m}", "wat"), "junk")
    pool = bench.pool(**QUICK)

    @pool.job
    async def wat() -> None: ...

    async with pool.running():
        for number in (1, 2):
            await wat.enqueue()
            await until(lambda n=number: _processed(counters, TOTAL, n))
    assert caplog.text.count("the key holds another kind of value") == 1
    assert (await counters.recent(["wat"], 1))["wat"].processed == 2


@pytest.mark.parametrize("lose", ["answer", "request"])
async def test_a_connection_that_breaks_at_the_stop_loses_no_count(bench: Bench, lose: str) -> None:
    counters = MetricsStore(bench.in_redis)
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **tuned(QUICK, count=1000.0))

        @pool.job
        async def wat() -> None: ...

        setattr(proxy, f"lose_{lose}", once(calls("add_counts")))
        async with pool.running():
            await wat.enqueue()
            await pool.drain()
        assert proxy.lost == 1
    assert await _processed(counters, "wat", 1)


async def test_metrics_that_cannot_be_written_do_not_keep_a_pool_from_deregistering(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> list[str]:
        raise ResponseError("no")

    monkeypatch.setattr(MetricsStore, "add", refuse)
    pool = bench.pool(**QUICK)

    @pool.job
    async def wat() -> None: ...

    async with pool.running():
        await wat.enqueue()
        await pool.drain()
    assert "lost the newest metrics (ResponseError: no)" in caplog.text
    assert await bench.redis.scard(bench.keys.worker_pools) == 0
