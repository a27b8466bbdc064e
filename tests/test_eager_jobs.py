"""Jobs of a test with timeouts, expiry, progress and streams: run in place, and drained."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from asyncwork import (
    Client,
    Discard,
    Job,
    JobEndedError,
    JobExpired,
    JobTimeoutError,
    Progress,
    ResultTimeout,
    UsageError,
    WorkerPool,
)
from asyncwork.testing import Jobs, open_jobs

from .conftest import Bench, until

pool: WorkerPool[Any] = WorkerPool("redis://127.0.0.1:1/0", namespace="production")
events: list[str] = []


@pool.job(timeout=0.05, result=60, max_fails=2, backoff=lambda job: 60)
async def wait(job: Job, how: str = "forever") -> str:
    match how:
        case "extended":
            job.extend(60)
            await asyncio.sleep(0.1)
            return "in time"
        case "stubborn":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "stubborn"
    events.append("waiting")
    await asyncio.Event().wait()
    return "never"


@pool.job(timeout=timedelta(seconds=0.05), skip_dead=True, max_fails=1)
def block(job: Job, how: str = "raise") -> None:
    assert job.cancelled.wait(10)
    events.append("told")
    match how:
        case "raise":
            raise ValueError("ended early")
        case "discard":
            raise Discard("gone")


@pool.job(stream=60, result=60)
async def write(job: Job, count: int) -> int:
    for number in range(count):
        job.progress(number + 1, count, "writing")
        await job.emit({"number": number})
    if not count:
        kept.append(job)
    return count


kept: list[Job] = []


@pool.job(stream=60)
def write_in_thread(job: Job) -> None:
    job.emit_sync("from a thread")


@pool.job
async def silent(job: Job) -> None:
    await job.emit("nowhere")


@pool.job(expires=60, result=60)
async def urgent(job: Job) -> float | None:
    events.append("urgent")
    return job.expires


@pytest.fixture
def jobs(bench: Bench) -> Iterator[Jobs]:
    events.clear()
    kept.clear()
    with open_jobs(pool, bench.url) as opened:
        yield opened


async def test_a_job_in_place_is_ended_at_its_timeout(jobs: Jobs) -> None:
    with jobs.eager() as ran:
        with pytest.raises(JobTimeoutError, match=r"timed out after 0\.05 s") as raised:
            await wait.enqueue()
        assert (__file__, "wait") in [(str(each.path), each.name) for each in raised.traceback]
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()
        await asyncio.sleep(0)
    (run,) = ran
    assert (run.outcome, run.failed, type(run.error)) == ("retry", True, JobTimeoutError)
    assert run.run_at is not None
    assert 50 < run.run_at - jobs.clock() <= 60


async def test_a_job_may_have_a_timeout_of_its_own_or_none_or_extend_it(jobs: Jobs) -> None:
    with jobs.eager():
        assert await (await wait.enqueue("extended")).result() == "in time"
        with pytest.raises(JobTimeoutError, match=r"timed out after 0\.01 s"):
            await wait.options(timeout=0.01).enqueue()
        with pytest.raises(TimeoutError) as raised:
            async with asyncio.timeout(0.2):
                await wait.options(timeout=0).enqueue()
        assert type(raised.value) is TimeoutError


async def test_a_handler_in_place_that_swallows_its_cancellation_is_done(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    with jobs.eager() as ran:
        assert await (await wait.enqueue("stubborn")).result() == "stubborn"
        current = asyncio.current_task()
        assert current is not None
        assert not current.cancelling()
    assert ran[0].outcome == "done"
    assert "is done, although it was to end before: JobTimeoutError" in caplog.text


async def test_a_plain_function_in_place_is_told_to_end(jobs: Jobs) -> None:
    with jobs.eager(raise_errors=False) as ran:
        await block.enqueue()
        block.sync.enqueue()
        await block.enqueue("discard")
        await block.enqueue("return")
    assert [(run.outcome, run.failed) for run in ran] == [
        ("dropped", True), ("dropped", True), ("dropped", False), ("done", False),
    ]  # fmt: skip
    assert events == ["told"] * 4
    assert [type(run.error) for run in ran] == [JobTimeoutError, JobTimeoutError, Discard, type(None)]


async def test_a_cancelled_test_is_told_from_a_timeout(jobs: Jobs) -> None:
    async def enqueue() -> None:
        await wait.options(timeout=60).enqueue()

    with jobs.eager() as ran:
        task = asyncio.create_task(enqueue())
        await until(lambda: bool(events))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ran == []


async def test_drained_jobs_have_the_error_of_their_timeout(jobs: Jobs) -> None:
    await wait.enqueue()
    await block.enqueue()
    ran = {run.name: run for run in await jobs.drain()}
    assert {name: type(run.error) for name, run in ran.items()} == {"wait": JobTimeoutError, "block": JobTimeoutError}
    assert (ran["wait"].outcome, ran["block"].outcome) == ("retry", "dropped")
    jobs.clock.move(minutes=2)
    with pytest.raises(JobTimeoutError):
        await jobs.drain(raise_first=True)


async def test_a_drained_job_that_is_cancelled_is_cancelled(jobs: Jobs) -> None:
    job = await wait.options(timeout=0).enqueue()
    draining = asyncio.create_task(jobs.drain())
    async with Client(jobs.url, namespace=jobs.namespace) as client:
        await until(lambda: jobs.pool._launcher is not None and any(each.job for each in jobs.pool._launcher.workers))
        await client.cancel(job.id, "not needed")
        (run,) = await draining
    assert (run.outcome, run.failed) == ("cancelled", False)


async def test_an_expired_job_in_place_does_not_run(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncwork.job")
    with jobs.eager() as ran:
        late = jobs.clock.now() - timedelta(seconds=5)
        job = await urgent.options(expires=late).enqueue()
        blocking = urgent.options(expires=late).sync.enqueue()
        assert ran == [] == events
        with pytest.raises(JobExpired):
            await job.result()
        with pytest.raises(JobExpired):
            urgent.sync.result(blocking)
        assert f"urgent {job.id} expired: not started by " in caplog.text
        jobs.clock.move(days=1)
        expires = await (await urgent.enqueue()).result()
        assert expires is not None
        assert 59 < expires - jobs.clock() <= 62
    assert [run.outcome for run in ran] == ["done"]


async def test_progress_and_chunks_are_recorded_in_place_and_when_drained(jobs: Jobs) -> None:
    chunks = ({"number": 0}, {"number": 1})
    with jobs.eager() as ran:
        await write.enqueue(2)
        write.sync.enqueue(2)
        await write_in_thread.enqueue()
    job = await write.enqueue(2)
    ran += await jobs.drain()
    assert [run.emitted for run in ran] == [chunks, chunks, ("from a thread",), chunks]
    assert [run.progress for run in ran] == [Progress(2, 2, "writing")] * 2 + [None, Progress(2, 2, "writing")]
    async with Client(jobs.url, namespace=jobs.namespace) as client:
        assert [chunk async for chunk in client.stream(job.id)] == list(chunks)


async def test_a_job_in_place_emits_only_while_it_runs_and_has_a_stream(jobs: Jobs) -> None:
    with jobs.eager() as ran:
        with pytest.raises(UsageError, match=r"silent jobs have no stream: .*stream=3600"):
            await silent.enqueue()
        await write.enqueue(0)
        with pytest.raises(JobEndedError, match=r"write .* cannot emit: this attempt has ended"):
            await kept[0].emit("late")
    assert [run.emitted for run in ran] == [(), ()]


async def test_waiting_for_what_keeps_nothing_or_has_not_ended(jobs: Jobs) -> None:
    with jobs.eager(raise_errors=False):
        by_name = await pool.enqueuer.enqueue("silent")
        with pytest.raises(UsageError, match="result=SECONDS"):
            await by_name.result(timeout=5)
        waiting = await wait.enqueue()
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match="it is to run again"):
            await waiting.result(timeout=60)
        assert time.monotonic() - began < 30
        (in_bulk,) = await wait.enqueue_many([wait.call("extended")])
        assert await in_bulk.result() == "in time"
        dead = await block.enqueue()
        with pytest.raises(UsageError, match="result=SECONDS"):
            await dead.result()
