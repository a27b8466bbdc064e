"""Jobs that have not started in time are not run."""

from __future__ import annotations

import json
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncwork import EnqueueOptions, Job, JobOptions, UsageError, WorkerPool, sync
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.payload import encode_job, without_failures
from asyncwork._redis.commands import fingerprint
from asyncwork._worker.expiry import Expiry, RedisClock
from asyncwork._worker.outcome import ExpiredError
from asyncwork._worker.services.requeuer import Requeuer
from asyncwork.testing import open_jobs

from .conftest import Bench

AN_HOUR_AGO = int(time.time()) - 3600


def payload(name: str = "report", job_id: str = "1", **fields: Any) -> bytes:
    return json.dumps({"name": name, "id": job_id, "t": AN_HOUR_AGO, "args": None, **fields}).encode()


async def put(bench: Bench, *payloads: bytes, name: str = "report") -> None:
    await bench.redis.sadd(bench.keys.known_jobs, name)
    await bench.redis.lpush(bench.keys.queue(name), *payloads)


class Ran:
    """The jobs of type ``report`` that ran in a pool, and its hooks that were called."""

    def __init__(self, pool: WorkerPool[Any], **options: Any) -> None:
        self.ids: list[str] = []
        self.hooks: list[str] = []

        @pool.job(**options)
        async def report(job: Job) -> None:
            self.ids.append(job.id)

        @pool.on_failure
        async def failed(job: Job, error: Exception) -> None:
            self.hooks.append(job.id)


async def test_a_job_that_has_expired_is_dropped(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pool = bench.pool()
    ran = Ran(pool)
    in_an_hour, just_now = int(time.time()) + 3600, int(time.time()) - 2
    await put(bench, payload(job_id="late", expires=just_now), payload(job_id="early", expires=in_an_hour), payload())
    async with pool.running():
        await pool.drain()
        assert sorted(ran.ids) == ["1", "early"]
        assert (pool.counts.done, pool.counts.failed, pool.counts.expired) == (2, 0, 1)
    assert ran.hooks == []
    assert await bench.job_set("dead") == await bench.job_set("retry") == []
    (line,) = [each for each in caplog.records if "expired" in each.message]
    when = datetime.fromtimestamp(just_now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert (line.levelname, line.message) == ("INFO", f"report late expired: not started by {when}")


async def test_an_expired_unique_job_frees_its_key(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool)
    first = await bench.enqueuer.enqueue("report", unique=True, expires=1)
    assert (await bench.enqueuer.enqueue("report", unique=True, expires=1)).duplicate
    (waiting,) = await bench.waiting("report")
    await bench.redis.delete(bench.keys.queue("report"))
    await put(bench, waiting.replace(b'"expires":', b'"expires":1,"was":'))
    async with pool.running():
        await pool.drain()
    assert ran.ids == []
    assert not (again := await bench.enqueuer.enqueue("report", unique=True)).duplicate
    assert again.id != first.id
    await bench.redis.delete(bench.keys.queue("report"), bench.keys.unique_for("report", None))


async def test_a_retry_that_is_due_too_late_is_not_run(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool)
    await bench.redis.sadd(bench.keys.known_jobs, "report")
    failed = payload(fails=1, err="x", failed_at=AN_HOUR_AGO, expires=AN_HOUR_AGO + 60)
    await bench.redis.zadd(bench.keys.retry, {failed: AN_HOUR_AGO + 30})
    async with pool.running():
        await pool.drain()
        assert pool.counts.expired == 1
    assert (ran.ids, ran.hooks) == ([], [])


async def test_a_type_counts_from_the_enqueue(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool, expires=timedelta(minutes=30))
    now = int(time.time())
    own = payload(job_id="own", expires=now + 60)
    await put(bench, payload(job_id="late"), payload(job_id="new", t=now - 60), own)
    async with pool.running():
        await pool.drain()
        assert pool.counts.expired == 1
    assert sorted(ran.ids) == ["new", "own"]


async def test_a_retry_keeps_the_limit_of_its_type(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(expires=600, backoff=lambda _: 3600)
    async def report() -> None:
        raise ValueError

    enqueued = await bench.enqueuer.enqueue("report")
    async with pool.running():
        await pool.drain()
    ((retried, _),) = await bench.job_set("retry")
    assert json.loads(retried)["expires"] == enqueued.enqueued_at + 601
    # The time of its first attempt is gone, and its limit is not.
    async with pool.running():
        await bench.redis.delete(bench.keys.retry)
        await put(bench, retried.replace(b'"expires":', b'"expires":1,"was":').replace(b'"t":', b'"t":1,"was_t":'))
        await pool.drain()
        assert pool.counts.expired == 1


async def test_a_scheduled_job_counts_from_its_time_however_late_it_is_requeued(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool, expires=1800)
    await bench.redis.sadd(bench.keys.known_jobs, "report")
    now = int(time.time())
    due = {payload(job_id="late"): now - 3000, payload(job_id="in time"): now - 60}
    await bench.redis.zadd(bench.keys.scheduled, due)
    async with pool.running():
        await pool.drain()
        assert pool.counts.expired == 1
    assert ran.ids == ["in time"]


async def test_the_requeuer_writes_the_limit(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "report")
    await bench.redis.zadd(
        bench.keys.scheduled, {payload(): AN_HOUR_AGO, payload(job_id="own", expires=7): AN_HOUR_AGO}
    )
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0, expires={"report": 90}).run_once()
    found = {(job := json.loads(each))["id"]: job["expires"] for each in await bench.waiting("report")}
    assert found == {"1": AN_HOUR_AGO + 90, "own": 7}


async def test_missed_firings_of_a_periodic_job_are_skipped(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool, expires=600)
    pool.periodically("0 0 0 1 1 *", "report")
    key = pool._registry.periodic[0].key
    now = int(time.time())
    # Requeued by a pool that does not know the option: its `t` is the time of that.
    missed, current = (payload(job_id=f"periodic:{key}:{at}", t=now) for at in (now - 3600, now - 60))
    await put(bench, missed, current)
    async with pool.running():
        await pool.drain()
        assert pool.counts.expired == 1
    assert ran.ids == [f"periodic:{key}:{now - 60}"]


async def test_the_clock_is_that_of_redis(bench: Bench) -> None:
    ahead = bench.pool(clock=lambda: time.time() + 86_400)
    ran = Ran(ahead)
    await bench.enqueuer.enqueue("report", id="valid", expires=600)
    await put(bench, payload(job_id="late", expires=int(time.time()) - 1))
    async with ahead.running():
        await ahead.drain()
        launcher = ahead._launcher
        assert launcher is not None
        assert abs(launcher._redis_clock.now() - time.time()) < 60
    assert ran.ids == ["valid"]


def test_the_clock_is_set_by_each_heartbeat() -> None:
    clock = RedisClock()
    assert abs(clock.now() - time.time()) < 1
    clock.set(5000.0)
    assert 5000 <= clock.now() < 5060


async def test_a_job_may_start_at_the_last_moment() -> None:
    now = 1000.0

    async def handler(context: Any, job: Job) -> None: ...

    call = Expiry(lambda: now).wrap(handler)
    await call(None, Job.decode(payload(expires=1000)))
    now = 1000.001
    with pytest.raises(ExpiredError, match="1000"):
        call(None, Job.decode(payload(expires=1000)))


async def test_a_crashed_job_that_has_expired_leaves_no_trace(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool)
    late = payload(expires=AN_HOUR_AGO)
    await bench.redis.hset(bench.keys.crashes, fingerprint(late), 1)
    await put(bench, late)
    async with pool.running():
        await pool.drain()
        assert pool.counts.expired == 1
    assert ran.ids == []
    assert await bench.redis.hgetall(bench.keys.crashes) == {}


@pytest.mark.parametrize("value", ["soon", True, None, [1], {}, 0, -5, "1"])
async def test_what_is_no_time_is_no_limit(bench: Bench, value: Any) -> None:
    pool = bench.pool()
    ran = Ran(pool)
    await put(bench, payload(expires=value))
    async with pool.running():
        await pool.drain()
    assert ran.ids == ["1"]


@pytest.mark.parametrize("value", ["1e308", "5e-324", "1.5", str(10**30)])
async def test_an_odd_time_breaks_nothing(bench: Bench, value: str) -> None:
    pool = bench.pool()
    ran = Ran(pool)
    await put(bench, payload(expires=0).replace(b'"expires": 0', b'"expires": ' + value.encode()))
    async with pool.running():
        await pool.drain()
    assert len(ran.ids) == (float(value) > 2)


async def test_how_expiry_is_enqueued(bench: Bench) -> None:
    now = time.time()
    at = datetime.now(UTC) + timedelta(days=1)
    pool = bench.pool()

    @pool.job
    async def report() -> None: ...

    await bench.enqueuer.enqueue("report", expires=60)
    await bench.enqueuer.enqueue("report", expires=timedelta(minutes=1))
    await bench.enqueuer.enqueue("report", expires=at, front=True)
    async with pool.enqueuer:
        await report.options(expires=60).enqueue()
    await bench.enqueuer.enqueue_many([report.options(expires=60).call()])
    with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
        enqueuer.enqueue("report", expires=60)
    first, *rest = (json.loads(each) for each in await bench.waiting("report"))
    assert first["expires"] == math.ceil(at.timestamp())
    assert len(rest) == 5
    for job in rest:
        assert list(job) == ["name", "id", "t", "args", "expires"]
        # Never too early, and at most two seconds late.
        assert now + 60 <= job["expires"] <= time.time() + 62
    await bench.enqueuer.enqueue("report", expires=60, delay=30, unique=True)
    ((scheduled, _),) = await bench.job_set("scheduled")
    assert list(json.loads(scheduled))[-3:] == ["unique", "unique_key", "expires"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expires": -1}, "expires must be zero or more seconds, not -1"),
        ({"expires": 0}, "expires must be more than 0 seconds, or the job would never start"),
        ({"expires": timedelta(0)}, "expires must be more than 0 seconds"),
        ({"expires": math.nan}, "expires must be zero or more seconds, not nan"),
        ({"expires": math.inf}, "expires must be zero or more seconds, not inf"),
        ({"expires": "60"}, "expires must be seconds or a timedelta, not str"),
        ({"expires": True}, "expires must be seconds or a timedelta, not bool"),
        ({"expires": 1e12}, "expires must be in seconds"),
        ({"expires": 32_000_000_000}, "expires must be in seconds and end before the year 3000"),
        ({"expires": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"expires": datetime(3001, 1, 1, tzinfo=UTC)}, "before the year 3000"),
        ({"expires": 60, "delay": 3600}, "the job would expire before it is due: expires counts from now"),
        ({"expires": datetime(2030, 1, 1, tzinfo=UTC), "at": datetime(2031, 1, 1, tzinfo=UTC)}, "before it is due"),
    ],
)
async def test_a_wrong_time_is_refused_in_one_line(bench: Bench, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        await bench.enqueuer.enqueue("report", **options)
    assert "\n" not in str(refused.value)
    assert await bench.waiting("report") == []


@pytest.mark.parametrize("value", [-1, 0, math.nan, "60", datetime(2030, 1, 1, tzinfo=UTC)])
def test_a_type_refuses_what_is_no_duration(value: Any) -> None:
    with pytest.raises(UsageError, match="expires must be"):
        JobOptions(expires=value)


def test_a_dead_job_that_is_run_again_has_no_limit() -> None:
    dead = Job.decode(encode_job("report", None, 5, expires=60)[1])
    dead.failed("x", 7)
    assert json.loads(dead.payload())["expires"] == 60
    assert "expires" not in json.loads(without_failures(dead.payload(), 9))
    foreign = payload(expires=60)[:-1] + b',"fails":1,"err":"x","failed_at":3}'
    assert "expires" not in json.loads(without_failures(foreign, 9))


async def test_a_test_moves_the_clock(bench: Bench) -> None:
    pool = bench.pool()
    ran = Ran(pool, expires=7200)
    with open_jobs(pool, bench.url) as jobs:
        await pool.enqueuer.enqueue("report", id="own", expires=600)
        await pool.enqueuer.enqueue("report", id="of-its-type")
        jobs.clock.move(hours=1)
        await jobs.drain()
        assert ran.ids == ["of-its-type"]
        assert [run.id for run in jobs.ran] == ["of-its-type"]


def test_options_are_compared_and_read() -> None:
    assert EnqueueOptions(expires=60).expires_at(1000) == 1061
    assert EnqueueOptions(expires=0.5).expires_at(1000) == 1002
    assert EnqueueOptions().expires_at(1000) is None
    assert EnqueueOptions(expires=datetime.fromtimestamp(10, UTC)).expires_at(1000) == 10
