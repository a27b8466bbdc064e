"""Timeouts: an attempt that takes too long is ended where it waits, and a stop that comes meanwhile wins."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from enum import IntEnum
from typing import Any

import anyio
import pytest

from asyncwork import AsyncworkError, Client, Job, JobOptions, JobTimeoutError, Snooze, UsageError, WorkerPool
from asyncwork._jobs.attempt import attempt_of
from asyncwork._jobs.calling import call_by_kind
from asyncwork._jobs.payload import without_failures, write_payload
from asyncwork._redis.commands import fingerprint
from asyncwork._worker.interruption import TimeLimit
from asyncwork._worker.worker import Worker

from .conftest import LIMIT, Bench, until
from .tuned import QUICK, tuned

FOREVER = 1000
SHORT = 0.05


class Seconds(IntEnum):
    HALF_A_MINUTE = 30


def worker_of(pool: WorkerPool[Any]) -> Worker:
    """Return the only worker of a running pool."""
    assert pool._launcher is not None
    (worker,) = pool._launcher.workers
    return worker


def running_job(pool: WorkerPool[Any]) -> Job:
    job = worker_of(pool).job
    assert job is not None
    return job


async def only_dead(bench: Bench) -> Job:
    """Wait until one job is dead, and return it."""
    await until(lambda: bench.redis.zcard(bench.keys.dead))
    ((payload, _),) = await bench.job_set("dead")
    return Job.decode(payload)


def messages(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


async def test_a_job_that_never_waits_has_no_timer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, ran = [], []
    pool = bench.pool()

    @pool.job(timeout=SHORT)
    async def at_once() -> None:
        ran.append(1)

    @pool.job(timeout=FOREVER)
    async def waits() -> None:
        await asyncio.sleep(0)

    @pool.job
    async def without() -> None:
        await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def spy(delay: float, callback: Any, *args: Any, **options: Any) -> asyncio.TimerHandle:
        timer = call_later(delay, callback, *args, **options)
        if isinstance(getattr(callback, "__self__", None), TimeLimit):
            limits.append(timer)
        return timer

    monkeypatch.setattr(loop, "call_later", spy)
    await at_once.enqueue()
    await without.enqueue()
    async with pool.running():
        await pool.drain()
        assert (ran, limits) == ([1], [])
        await waits.enqueue()
        await pool.drain()
    (timer,) = limits
    assert timer.cancelled()


async def test_a_job_that_takes_too_long_is_cancelled_where_it_waits_and_retried(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[str] = []
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=timedelta(seconds=SHORT), max_fails=2, backoff=lambda _: 0)
    async def wat(job: Job) -> None:
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            attempts.append(f"cancelled {job.fails} {job.cancelled.is_set()}")
            raise

    await wat.enqueue()
    async with pool.running():
        dead = await only_dead(bench)
    assert attempts == ["cancelled 0 True", "cancelled 1 True"]
    text = "JobTimeoutError: timed out after 0.05 s (give it more with timeout=…, or job.extend(…) in the handler)"
    assert (dead.fails, dead.err) == (2, text)
    assert "await asyncio.sleep(FOREVER)" in dead.traceback
    assert len(messages(caplog, "failed (attempt 1)")) == len(messages(caplog, "is dead (attempt 2)")) == 1
    assert not messages(caplog, "has its task cancelled")


async def test_jobs_after_one_that_timed_out_are_not_harmed(bench: Bench) -> None:
    ran: list[int] = []
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def slow() -> None:
        await asyncio.sleep(FOREVER)

    @pool.job(timeout=FOREVER)
    async def wat(n: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        async with asyncio.timeout(FOREVER):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        ran.append(task.cancelling() + n)

    async with pool.running():
        for n in range(3):
            await slow.enqueue()
            await wat.enqueue(n=n)
        await until(lambda: len(ran) == 3)
        await pool.drain()
    assert sorted(ran) == [0, 1, 2]
    assert await bench.redis.zcard(bench.keys.dead) == 3


@pytest.mark.parametrize(("own", "ends"), [(SHORT, True), (0, False), (None, True)])
async def test_the_timeout_of_a_job_replaces_that_of_its_type(bench: Bench, own: float | None, ends: bool) -> None:
    started, finish, done = asyncio.Event(), asyncio.Event(), []
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT if own is None or not ends else FOREVER, max_fails=1)
    async def wat() -> None:
        started.set()
        await finish.wait()
        done.append(1)

    await wat.options(timeout=own).enqueue()
    async with pool.running():
        await started.wait()
        if ends:
            await only_dead(bench)
        else:
            await asyncio.sleep(3 * SHORT)
            finish.set()
            await pool.drain()
    assert done == ([] if ends else [1])


async def test_every_way_to_enqueue_writes_the_timeout(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat(n: int) -> None: ...

    await bench.enqueuer.enqueue("wat", {"n": 0}, timeout=0.5)
    await wat.options(timeout=timedelta(minutes=1)).enqueue(n=1)
    await wat.enqueue_many([wat.options(timeout=2, unique=True).call(n=2), wat.options(timeout=0).call(n=3)])
    await bench.enqueuer.enqueue("wat", {"n": 4}, timeout=Seconds.HALF_A_MINUTE)
    await bench.enqueuer.enqueue("wat", {"n": 5}, timeout=None)
    await asyncio.to_thread(lambda: wat.options(timeout=1e-5).sync.enqueue(n=6))
    await wat.options(timeout=7, delay=100).enqueue(n=7)
    await pool.enqueuer.close()
    pool.sync_enqueuer.close()
    payloads = [*await bench.waiting("wat"), *(payload for payload, _ in await bench.job_set("scheduled"))]
    assert payloads[1].endswith(b'"args":{"n":1},"timeout":60}')
    found = [json.loads(payload).get("timeout") for payload in payloads]
    assert found == [0.5, 60, 2, 0, 30, None, 1e-5, 7]
    assert [Job.decode(payload).timeout for payload in payloads] == found


async def test_a_job_keeps_its_timeout_when_it_is_retried(bench: Bench) -> None:
    job = Job.decode(b'{"name":"wat","id":"1","t":1,"args":null,"timeout":30}')
    job.failed("boom", 5)
    failed = job.payload()
    assert failed == b'{"name":"wat","id":"1","t":1,"args":null,"fails":1,"err":"boom","failed_at":5,"timeout":30}'
    assert Job.decode(failed).timeout == 30
    assert without_failures(failed, 7) == b'{"name":"wat","id":"1","t":7,"args":null,"timeout":30}'


@pytest.mark.parametrize("written", [b'"30"', b"-1", b"true", b"null", b"[1]", b"{}", b"9" * 400, b"1e300"])
async def test_a_timeout_in_redis_that_is_none_does_not_count(bench: Bench, written: bytes) -> None:
    done = []
    pool = bench.pool(concurrency=1)

    @pool.job(max_fails=1)
    async def wat() -> None:
        await asyncio.sleep(0)
        done.append(1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def limited() -> None:
        await asyncio.sleep(FOREVER)

    for name in ("wat", "limited"):
        payload = write_payload(name, "1", 1, b"null")[:-1] + b',"timeout":' + written + b"}"
        await bench.redis.lpush(bench.keys.queue(name), payload)
    async with pool.running():
        dead = await only_dead(bench)
        await pool.drain()
    assert (dead.name, done) == ("limited", [1])


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), 1e11, "30", True, timedelta(seconds=-1)])
async def test_a_timeout_that_is_none_is_refused(bench: Bench, bad: Any) -> None:
    pool = bench.pool()
    made: list[Callable[[], object]] = [
        lambda: JobOptions(timeout=bad),
        lambda: pool.job("wat", timeout=bad),
        lambda: pool.job(timeout=bad),
    ]

    @pool.job
    async def fine() -> None: ...

    made += [lambda: fine.options(timeout=bad), lambda: Job.decode(write_payload("a", "1", 1, b"null")).extend(bad)]
    for make in made:
        with pytest.raises(UsageError, match=r"^(timeout|extend\(seconds\)) must be") as error:
            make()
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="timeout must be"):
        await bench.enqueuer.enqueue("wat", timeout=bad)


def test_the_error_is_a_timeout_error() -> None:
    assert issubclass(JobTimeoutError, (AsyncworkError,))
    assert issubclass(JobTimeoutError, (TimeoutError,))
    assert JobOptions(timeout=timedelta(minutes=1)).timeout == 60
    assert JobOptions().timeout is None


@pytest.mark.parametrize("where", ["before it waits", "while it waits", "in a thread"])
async def test_an_extended_job_has_longer(bench: Bench, where: str) -> None:
    done = []
    pool = bench.pool(concurrency=1)

    def in_thread(job: Job) -> None:
        job.extend(FOREVER)
        assert not job.cancelled.wait(3 * SHORT)
        done.append(1)

    async def in_loop(job: Job) -> None:
        if where == "while it waits":
            await asyncio.sleep(0)
        job.extend(timedelta(seconds=FOREVER))
        job.extend(0)  # never makes it shorter
        await asyncio.sleep(3 * SHORT)
        done.append(1)

    pool.job("wat", timeout=SHORT, max_fails=1)(in_thread if where == "in a thread" else in_loop)
    await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
    assert done == [1]


async def test_an_extended_job_times_out_later(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat(job: Job) -> None:
        job.extend(4 * SHORT)
        await asyncio.sleep(FOREVER)

    await wat.enqueue()
    async with pool.running():
        dead = await only_dead(bench)
    assert dead.err.startswith("JobTimeoutError: timed out after 0.2 s")


async def test_the_handlers_own_timeouts_and_cancellations_stay_its_own(bench: Bench) -> None:
    seen: list[str] = []
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=FOREVER)
    async def wat() -> None:
        try:
            async with asyncio.timeout(SHORT):
                await asyncio.sleep(FOREVER)
        except TimeoutError as error:
            seen.append(type(error).__name__)
        child = asyncio.create_task(asyncio.sleep(FOREVER))
        child.cancel()
        try:
            await child
        except asyncio.CancelledError:
            seen.append("CancelledError")

    @pool.job(timeout=FOREVER, max_fails=1)
    async def raises() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("own")

    await wat.enqueue()
    await raises.enqueue()
    async with pool.running():
        dead = await only_dead(bench)
        await pool.drain()
    assert seen == ["TimeoutError", "CancelledError"]
    assert dead.err == "TimeoutError: own"


async def test_a_timeout_within_an_own_timeout_of_the_handler_is_the_jobs(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat() -> None:
        async with asyncio.timeout(FOREVER), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(FOREVER))

    await wat.enqueue()
    async with pool.running():
        assert (await only_dead(bench)).err.startswith("JobTimeoutError: ")


async def test_middlewares_and_context_managers_clean_up(bench: Bench) -> None:
    cleaned: list[str] = []
    pool = bench.pool(concurrency=1)

    @pool.middleware
    async def around(job: Job, call_next: Any) -> None:
        try:
            await call_next()
        finally:
            await asyncio.sleep(SHORT)
            cleaned.append("middleware")

    @asynccontextmanager
    async def resource() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(SHORT)
            cleaned.append("context manager")

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat() -> None:
        async with resource():
            await asyncio.sleep(FOREVER)

    await wat.enqueue()
    async with pool.running():
        assert (await only_dead(bench)).err.startswith("JobTimeoutError: ")
    assert cleaned == ["context manager", "middleware"]


async def test_a_job_that_catches_its_cancellation_and_returns_is_done(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT)
    async def wat() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER)

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
        assert not await bench.redis.exists(bench.keys.retry)
    assert len(messages(caplog, "is done, although it was to end before: JobTimeoutError: timed out")) == 1
    assert not messages(caplog, "has its task cancelled")


async def test_another_exception_is_that_of_the_handler(bench: Bench) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat() -> None:
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            raise ValueError("own") from None

    await wat.enqueue()
    async with pool.running():
        assert (await only_dead(bench)).err == "ValueError: own"


async def test_a_job_that_goes_on_is_overdue_and_logged_once_with_its_stack(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    finish = asyncio.Event()
    pool = bench.pool(concurrency=1, **tuned(QUICK, overdue=SHORT))

    @pool.job(timeout=SHORT)
    async def wat() -> None:
        while not finish.is_set():
            try:
                await finish.wait()
            except asyncio.CancelledError:
                continue

    job = await wat.enqueue()
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: worker_of(pool).job is not None)
        assert not worker_of(pool).overdue

        async def shown() -> bool:
            return any(each.overdue for each in await client.observations())

        await until(shown)
        await asyncio.sleep(3 * SHORT)
        finish.set()
        await pool.drain()
        assert not worker_of(pool).overdue
    (line,) = messages(caplog, " goes on ")
    assert line.startswith(f"wat {job.id} goes on 0.05 s after it was to end (JobTimeoutError: timed out after 0.05 s ")
    assert "its handler catches the cancellation" in line
    assert "in wat\n    await finish.wait()" in line
    assert "worker.py" not in line


async def test_a_thread_keeps_its_worker_until_it_ends(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    finish, finished = threading.Event(), []
    pool = bench.pool(concurrency=1, **tuned(QUICK, overdue=SHORT))

    @pool.job(timeout=SHORT, max_fails=1)
    def wat() -> None:
        finish.wait(LIMIT)
        finished.append(1)
        raise RuntimeError("too late")

    @pool.job
    async def after() -> None:
        finished.append(2)

    job = await wat.enqueue()
    async with pool.running():
        await until(lambda: worker_of(pool).overdue)
        await after.enqueue()
        assert running_job(pool).id == job.id
        assert finished == []
        finish.set()
        dead = await only_dead(bench)
        await pool.drain()
    assert finished == [1, 2]
    assert dead.err.startswith("JobTimeoutError: timed out after 0.05 s")
    assert "raise RuntimeError" in dead.traceback
    assert "Its function then raised RuntimeError: too late" in dead.traceback
    (line,) = messages(caplog, " goes on ")
    assert "a thread cannot be ended" in line
    assert "in wat\n    finish.wait(LIMIT)" in line
    assert "calling.py" not in line


@pytest.mark.parametrize("how", ["raises", "returns", "snoozes"])
async def test_a_thread_can_end_itself(bench: Bench, caplog: pytest.LogCaptureFixture, how: str) -> None:
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    def wat(job: Job) -> None:
        assert job.cancelled.wait(LIMIT)
        if how == "raises":
            raise InterruptedError
        if how == "snoozes":
            raise Snooze(FOREVER)

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    sizes = [await bench.redis.zcard(key) for key in (bench.keys.dead, bench.keys.scheduled)]
    assert sizes == [how == "raises", how == "snoozes"]
    assert bool(messages(caplog, "is done, although")) == (how == "returns")


async def test_a_function_does_not_begin_in_its_thread_after_its_timeout() -> None:
    """The thread may begin while the loop interrupts the job, and then cannot be cancelled any more."""
    job, ran = Job.decode(write_payload("wat", "1", 1, b"null")), []

    async def run_late(function: Any, *args: Any, **_: object) -> Any:
        attempt_of(job).interrupt()
        return function(*args)

    def wat(job: Job) -> None:
        ran.append(job)

    call = call_by_kind(wat, lambda _, job: wat(job), anyio.CapacityLimiter(1), run_late)
    with pytest.raises(asyncio.CancelledError):
        await call(None, job)
    assert ran == []


async def test_a_stop_sets_cancelled_in_threads(bench: Bench) -> None:
    started, ended = threading.Event(), threading.Event()
    pool = bench.pool(concurrency=1, grace=0)

    @pool.job(timeout=FOREVER)
    def wat(job: Job) -> None:
        started.set()
        if job.cancelled.wait(LIMIT):
            ended.set()

    await wat.enqueue()
    async with pool.running():
        await until(started.is_set)
    await until(ended.is_set)
    assert len(await bench.waiting("wat")) == 1


async def test_a_stop_at_the_same_moment_wins(bench: Bench) -> None:
    started = asyncio.Event()
    pool = bench.pool(concurrency=1)

    @pool.job(max_fails=1)
    async def wat() -> None:
        started.set()
        await asyncio.sleep(FOREVER)

    await wat.enqueue()
    payloads = await bench.waiting("wat")
    await pool.start()
    await started.wait()
    assert pool._launcher is not None
    assert worker_of(pool).interrupt(running_job(pool), JobTimeoutError("over"))
    pool._launcher._cancelling_workers = True
    assert not worker_of(pool).interrupt(running_job(pool), JobTimeoutError("over"))
    await pool.stop(now=True)
    assert await bench.waiting("wat") == payloads


async def test_an_interruption_is_decided_by_its_cause(bench: Bench) -> None:
    """A timeout does not replace another cause, which does replace a timeout; other jobs are not touched."""
    started, cleanups = asyncio.Event(), []
    pool = bench.pool(concurrency=1, **tuned(QUICK, overdue=LIMIT))

    @pool.job(max_fails=1)
    async def wat() -> None:
        started.set()
        try:
            await asyncio.sleep(FOREVER)
        finally:
            cleanups.append("begun")
            await asyncio.sleep(SHORT)
            cleanups.append("ended")

    await wat.enqueue()
    async with pool.running():
        await started.wait()
        worker, job = worker_of(pool), running_job(pool)
        assert not worker.interrupt(Job.decode(job.raw), ValueError("another job"))
        assert worker.interrupt(job, JobTimeoutError("over"))
        await until(lambda: cleanups == ["begun"])
        assert worker.interrupt(job, LookupError("cancelled"))
        assert worker.interrupt(job, LookupError("again"))
        assert worker.interrupt(job, JobTimeoutError("over"))
        assert (await only_dead(bench)).err == "LookupError: cancelled"
        assert not worker.interrupt(job, LookupError("ended"))
    assert cleanups == ["begun", "ended"]


async def test_an_overdue_job_can_be_cancelled_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool = bench.pool(concurrency=1, **tuned(QUICK, overdue=SHORT))

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat() -> None:
        try:
            await asyncio.sleep(FOREVER)
        except asyncio.CancelledError:
            await asyncio.sleep(FOREVER)

    await wat.enqueue()
    async with pool.running():
        await until(lambda: worker_of(pool).overdue)
        assert worker_of(pool).interrupt(running_job(pool), LookupError("cancelled"))
        assert (await only_dead(bench)).err == "LookupError: cancelled"
    assert len(messages(caplog, " goes on ")) == 1


async def no_crashes(bench: Bench) -> bool:
    return not await bench.redis.exists(bench.keys.crashes)


async def test_a_suspect_times_out_too(bench: Bench) -> None:
    """A job that was running when its process died runs under the same timeout, from when it begins."""
    pool = bench.pool(concurrency=1)

    @pool.job(timeout=SHORT, max_fails=1)
    async def wat() -> None:
        await asyncio.sleep(FOREVER)

    await wat.enqueue()
    (payload,) = await bench.waiting("wat")
    await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 2)
    async with pool.running():
        assert (await only_dead(bench)).err.startswith("JobTimeoutError: ")
        await until(lambda: no_crashes(bench))


async def test_a_job_can_look_whether_it_is_cancelled_outside_of_a_pool() -> None:
    job = Job.decode(write_payload("wat", "1", 1, b"null"))
    job.extend(30)
    assert not job.cancelled.is_set()
    assert job.cancelled is job.cancelled


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_a_plain_hook_is_called_after_a_timeout(bench: Bench) -> None:
    pool, called = bench.pool(), list[str]()

    @pool.on_failure
    def plain(job: Job, error: BaseException) -> None:
        called.append(str(error))

    @pool.job(timeout=0.05)
    async def wait() -> None:
        await asyncio.sleep(LIMIT)

    await wait.enqueue()
    async with pool.running():
        await until(lambda: called)
    assert called[0].startswith("timed out after 0.05 s")
