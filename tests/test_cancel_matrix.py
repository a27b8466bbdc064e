"""Cancelling, for each location of a job: the answer, the end of the job, its record, counts, log line and hooks."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from asyncwork import (
    CancelResult,
    Client,
    Job,
    JobCancelled,
    JobQuery,
    JobState,
    RedisUnavailable,
    ResultLost,
    Snooze,
    UsageError,
)
from asyncwork._redis.cancels import CancelMark, Cancels
from asyncwork._worker.cancellations import Cancellations

from .conftest import LIMIT, Bench, until
from .proxy import open_proxy
from .test_lost_answers import calls
from .tuned import QUICK, tuned

REASON = "the user left"
SAID = f"was cancelled by ann: {REASON}"
# A pool that hears of a mark by a message alone.
DEAF = tuned(QUICK, heartbeat=60.0, dead_after=120.0)
TRACKED = pytest.mark.parametrize("tracked", [False, True], ids=["plain", "tracked"])
NOW, ASKED, GONE = CancelResult.NOW, CancelResult.ASKED, CancelResult.GONE


class Stage:
    """A pool with one type of jobs, a client, and what became of the jobs.

    :param tracked: whether the type keeps results.
    """

    def __init__(self, bench: Bench, client: Client, tracked: bool, **options: Any) -> None:
        self.bench, self.client, self.tracked = bench, client, tracked
        self.began, self.hooks = Counter[str](), list[str]()
        self.body: Callable[[Job], Awaitable[None]] = self._blocks
        self.options = {"concurrency": 2, **options}
        self.pool = self.make_pool()

    def make_pool(self) -> Any:
        pool = self.bench.pool(**self.options)
        result = 60 if self.tracked else None

        @pool.job("wat", result=result, backoff=lambda job: LIMIT)
        async def wat(job: Job) -> None:
            self.began[job.id] += 1
            await self.body(job)

        @pool.job("threads", result=result)
        def threads(job: Job) -> None:
            self.began[job.id] += 1
            if job.cancelled.wait(LIMIT):
                raise InterruptedError

        @pool.on_failure
        async def failed(job: Job, error: BaseException) -> None:
            self.hooks.append(f"failed {job.id}")

        @pool.on_dead
        async def died(job: Job, error: BaseException) -> None:
            self.hooks.append(f"dead {job.id}")

        self.task = wat
        return pool

    async def _blocks(self, job: Job) -> None:
        await asyncio.sleep(LIMIT)

    async def register(self) -> None:
        """Have Redis know which results are kept."""
        async with self.pool.running():
            pass

    async def cancel(self, job_id: str) -> CancelResult:
        return await self.client.cancel(job_id, REASON, who="ann")

    async def unmarked(self) -> bool:
        return await is_unmarked(self.bench)

    async def wait_for(self, job_id: str) -> asyncio.Task[Any]:
        """Return a task that waits for the end of a tracked job."""
        waiting = asyncio.create_task(self.client.result(job_id, timeout=LIMIT))
        record = self.bench.keys.job_record(job_id)

        async def registered() -> bool:
            return any(name.startswith(b"wait:") for name in await self.bench.redis.hkeys(record))

        await until(registered)
        return waiting

    async def is_cancelled(self, job_id: str, waiting: asyncio.Task[Any] | None) -> None:
        """Check what is known of a cancelled job in the end."""
        await until(self.unmarked)
        assert await self.client.cancel(job_id) is GONE
        expected = JobState.CANCELLED if self.tracked else JobState.UNKNOWN

        # For a moment its worker may still be shown with it.
        async def is_known() -> bool:
            return (await self.client.status(job_id)).state is expected

        await until(is_known)
        assert not await self.bench.redis.keys(f"{self.bench.keys.unique}*")
        if waiting is not None:
            with pytest.raises(JobCancelled, match=SAID):
                await waiting
            with pytest.raises(JobCancelled, match=SAID):
                await self.client.result(job_id)
            assert (await self.client.status(job_id)).error == SAID.removeprefix("was ")
            assert 0 < await self.bench.redis.ttl(self.bench.keys.job_record(job_id)) <= 60
        assert self.hooks == []


async def is_unmarked(bench: Bench) -> bool:
    return not await bench.redis.exists(bench.keys.cancels)


@pytest.fixture
async def client(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


# Waiting


async def _queued(stage: Stage) -> str:
    return (await stage.task.enqueue()).id


async def _unique(stage: Stage) -> str:
    return (await stage.task.options(unique=True).enqueue()).id


async def _unique_by_key(stage: Stage) -> str:
    older = await stage.task.options(unique={"key": 1}).enqueue()
    assert (await stage.task.options(unique={"key": 1}).enqueue()).id == older.id
    return older.id


async def _scheduled(stage: Stage) -> str:
    return (await stage.task.options(delay=LIMIT, unique=True).enqueue()).id


async def _run_once(stage: Stage, error: BaseException) -> str:
    async def raises(job: Job) -> None:
        raise error

    stage.body, before = raises, stage.body
    job = await stage.task.enqueue()
    async with stage.pool.running():
        await stage.pool.drain()
    stage.body = before
    assert stage.began.pop(job.id) == 1
    stage.hooks.clear()
    return job.id


async def _snoozed(stage: Stage) -> str:
    return await _run_once(stage, Snooze(LIMIT))


async def _retry(stage: Stage) -> str:
    return await _run_once(stage, ValueError("sorry"))


async def _periodic(stage: Stage) -> str:
    job_id = f"periodic:wat:*/5 * * * * *:{int(time.time()) + 100}"
    payload = json.dumps({"name": "wat", "id": job_id, "t": int(time.time()), "args": None}, separators=(",", ":"))
    await stage.bench.redis.zadd(stage.bench.keys.scheduled, {payload: time.time() + 100})
    return job_id


WAITING = [_queued, _unique, _unique_by_key, _scheduled, _snoozed, _retry, _periodic]


@TRACKED
@pytest.mark.parametrize("place", WAITING, ids=lambda each: each.__name__[1:])
async def test_a_job_that_waits(
    bench: Bench, client: Client, place: Callable[[Stage], Awaitable[str]], tracked: bool
) -> None:
    stage = Stage(bench, client, tracked)
    await stage.register()
    job_id = await place(stage)
    waiting = await stage.wait_for(job_id) if tracked else None
    assert await stage.cancel(job_id) is NOW
    await stage.is_cancelled(job_id, waiting)
    assert not await bench.redis.exists(bench.keys.queue("wat"), bench.keys.scheduled, bench.keys.retry)
    # The unique key is free, and a job with that id, if one may choose it, is another job.
    again = await stage.task.options(unique={"key": 1}).enqueue()
    assert not again.duplicate
    same = None if job_id.startswith("periodic:") else await stage.task.options(id=job_id).enqueue()

    async def ends(job: Job) -> None: ...

    stage.body = ends
    async with stage.pool.running():
        await stage.pool.drain()
    assert stage.began == Counter([again.id] + ([same.id] if same is not None else []))
    assert (stage.pool.counts.cancelled, stage.pool.counts.failed) == (0, 0)


# With a pool


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@TRACKED
@pytest.mark.parametrize("name", ["wat", "threads"])
async def test_a_job_that_runs(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, name: str, tracked: bool
) -> None:
    stage = Stage(bench, client, tracked, **DEAF)
    async with stage.pool.running():
        job = await bench.enqueuer.enqueue(name, unique=True)
        await until(lambda: stage.began[job.id])
        waiting = await stage.wait_for(job.id) if tracked else None
        assert await stage.cancel(job.id) is ASKED
        await until(lambda: stage.pool.counts.cancelled)
        await until(lambda: f"{name} {job.id} cancelled by ann: {REASON}" in caplog.messages)
        await stage.is_cancelled(job.id, waiting)
    assert stage.began == {job.id: 1}
    assert stage.pool.counts.failed == stage.pool.counts.done == 0


@TRACKED
async def test_a_periodic_instance_that_runs(bench: Bench, client: Client, tracked: bool) -> None:
    stage = Stage(bench, client, tracked, **DEAF)
    async with stage.pool.running():
        job_id = await _periodic(stage)
        await client.retry_matching("scheduled")
        await until(lambda: stage.began[job_id])
        assert await stage.cancel(job_id) is ASKED
        await until(lambda: stage.pool.counts.cancelled)
        await stage.is_cancelled(job_id, None)


@TRACKED
async def test_a_job_that_a_parked_pop_takes(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, tracked: bool
) -> None:
    stage = Stage(bench, client, tracked, **DEAF)
    async with stage.pool.running():
        await until(lambda: bench.blocked(stage.pool) == 2)
        # A mark that comes before the job does, as when the job is moved meanwhile.
        await Cancels(bench.in_redis).mark(["a"], CancelMark.new(REASON, "ann"))
        await bench.redis.lpush(bench.keys.queue("wat"), json.dumps({"name": "wat", "id": "a", "t": 1, "args": None}))
        await until(lambda: stage.pool.counts.cancelled)
        await until(stage.unmarked)
        assert f"wat a cancelled by ann: {REASON}" in caplog.messages
        await stage.is_cancelled("a", None)
    assert not stage.began


@TRACKED
@pytest.mark.parametrize("unique", [False, True, {"key": 1}], ids=["plain", "unique", "by key"])
async def test_a_job_that_was_fetched_and_has_not_begun(
    bench: Bench, client: Client, unique: Any, tracked: bool
) -> None:
    """Its mark comes before it is fetched, and its pool knows of it from Redis alone."""
    stage = Stage(bench, client, tracked)
    await stage.register()
    job = await stage.task.options(unique=unique).enqueue()
    await stage.task.options(unique=unique or True).enqueue()
    await Cancels(bench.in_redis).mark([job.id], CancelMark.new(REASON, "ann"))

    async def ends(job: Job) -> None: ...

    stage.body = ends
    async with stage.pool.running():
        await stage.pool.drain()
    assert not stage.began[job.id]
    assert sum(stage.began.values()) == (0 if unique else 1)
    assert stage.pool.counts.cancelled == 1
    await stage.is_cancelled(job.id, None)


@TRACKED
async def test_a_job_in_the_grace_period(bench: Bench, client: Client, tracked: bool) -> None:
    stage = Stage(bench, client, tracked, grace=LIMIT)
    async with stage.pool.running():
        job = await stage.task.options(unique=True).enqueue()
        await until(lambda: stage.began[job.id])
        waiting = await stage.wait_for(job.id) if tracked else None
        stage.pool.stop_soon()
        assert await stage.cancel(job.id) is ASKED
    await stage.is_cancelled(job.id, waiting)
    assert stage.began == {job.id: 1}
    assert stage.pool.counts.cancelled == 1


@TRACKED
@pytest.mark.parametrize("when", ["before the reaper", "after the reaper"])
async def test_a_job_whose_pool_died(bench: Bench, client: Client, when: str, tracked: bool) -> None:
    stage, dead = Stage(bench, client, tracked), "d" * 24
    await stage.register()
    job = await stage.task.options(id="a").enqueue()
    await bench.redis.sadd(bench.keys.worker_pools, dead)
    await bench.redis.hset(bench.keys.heartbeat(dead), mapping={"heartbeat_at": 1, "job_names": "wat"})
    await bench.redis.lmove(bench.keys.queue("wat"), bench.keys.in_progress("wat", dead), "RIGHT", "LEFT")
    waiting = await stage.wait_for(job.id) if tracked else None
    if when == "before the reaper":
        assert await stage.cancel(job.id) is ASKED
    else:
        # As the reaper does, to a job that was marked in time or not.
        keys = bench.keys
        await bench.redis.lmove(keys.in_progress("wat", dead), keys.queue("wat"), "LEFT", "RIGHT")
        assert await stage.cancel(job.id) is NOW
    async with stage.pool.running():
        await until(stage.unmarked)
        await stage.is_cancelled(job.id, waiting)

        async def reaped() -> bool:
            return not await bench.redis.sismember(keys.worker_pools, dead)

        keys = bench.keys
        await until(reaped)
    assert not stage.began


async def test_a_job_that_snoozes_while_it_is_cancelled_has_ended(bench: Bench, client: Client) -> None:
    stage = Stage(bench, client, tracked=True)

    async def snoozes(job: Job) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(LIMIT)
        raise Snooze(LIMIT)

    stage.body = snoozes
    async with stage.pool.running():
        job = await stage.task.enqueue()
        await until(lambda: stage.began[job.id])
        waiting = await stage.wait_for(job.id)
        assert await stage.cancel(job.id) is ASKED
        await until(stage.unmarked)
        await stage.is_cancelled(job.id, waiting)
        assert not await bench.redis.exists(bench.keys.scheduled)
    assert stage.began == {job.id: 1}


# What has ended


@pytest.mark.parametrize("how", ["done", "dead", "expired", "discarded", "deleted"])
async def test_what_has_ended_stays_as_it_has_ended(bench: Bench, client: Client, how: str) -> None:
    stage = Stage(bench, client, tracked=True)
    await stage.register()
    job = await bench.enqueuer.enqueue("wat", expires=1000)
    record = bench.keys.job_record(job.id)
    await bench.redis.hset(record, mapping={"state": how, "result": "5", "err": "", "name": "wat"})
    if how == "dead":
        payload = (await bench.waiting("wat"))[0]
        await bench.redis.zadd(bench.keys.dead, {payload: time.time()})
    await bench.redis.delete(bench.keys.queue("wat"))
    before = await bench.redis.hgetall(record)
    for _ in range(2):
        assert await stage.cancel(job.id) is GONE
    assert await stage.unmarked()
    assert await bench.redis.hgetall(record) == before
    assert await bench.redis.zcard(bench.keys.dead) == (how == "dead")


async def test_what_never_was_is_gone_and_has_no_record(bench: Bench, client: Client) -> None:
    for job_id in ("a", "periodic:wat:* * * * * *:1467334860", "0" * 64):
        assert await client.cancel(job_id, REASON) is GONE
        assert (await client.status(job_id)).state is JobState.UNKNOWN
    assert not await bench.redis.keys(bench.keys.job_record("*"))
    assert await is_unmarked(bench)


@pytest.mark.parametrize(
    "job_id", ["periodic:", "periodic:wat", "periodic:wat:* * * * * *:x", "periodic:\ud800:* * * * * *:1", "wat:1"]
)
async def test_what_only_looks_like_a_periodic_instance_is_refused(client: Client, job_id: str) -> None:
    with pytest.raises(UsageError, match="the id of a job is"):
        await client.cancel(job_id)


# Twice, and while Redis is away


@TRACKED
async def test_many_cancel_a_job_that_waits(bench: Bench, client: Client, tracked: bool) -> None:
    stage = Stage(bench, client, tracked)
    await stage.register()
    job = await bench.enqueuer.enqueue("wat")
    waiting = await stage.wait_for(job.id) if tracked else None
    answers = await asyncio.gather(*(stage.cancel(job.id) for _ in range(10)))
    # The others may find that its mark was removed meanwhile, as by a pool that has met it.
    assert answers.count(NOW) == 1
    await stage.is_cancelled(job.id, waiting)


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_redis_goes_away_after_the_mark(bench: Bench, client: Client, lost: str) -> None:
    """The job is marked, and was not searched for: it does not start, and a second call cancels it."""
    stage = Stage(bench, client, tracked=False)
    job = await stage.task.enqueue()
    async with open_proxy(bench.url) as proxy, Client(proxy.url, namespace=bench.namespace) as far:
        marks = calls("mark_cancelled")
        if lost == "answer":
            proxy.lose_answer = marks
        else:
            proxy.lose_request = lambda request: b"LRANGE" in request.upper() or b"SMEMBERS" in request.upper()
        with pytest.raises(RedisUnavailable):
            await far.cancel(job.id, REASON)
    assert await bench.redis.hexists(bench.keys.cancels, job.id)
    async with stage.pool.running():
        await stage.pool.drain()
    assert not stage.began
    assert stage.pool.counts.cancelled == 1
    await stage.is_cancelled(job.id, None)


async def test_a_job_that_is_cancelled_and_times_out_is_cancelled(bench: Bench, client: Client) -> None:
    stage, may_end = Stage(bench, client, tracked=True), asyncio.Event()

    async def cleans_up(job: Job) -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            await may_end.wait()

    stage.body = cleans_up
    async with stage.pool.running():
        job = await stage.task.options(timeout=0.01).enqueue()
        await until(lambda: stage.began[job.id])
        waiting = await stage.wait_for(job.id)
        assert await stage.cancel(job.id) is ASKED
        (worker,) = [each for each in stage.pool._launcher.workers if each.job is not None]
        await until(lambda: "cancelled" in str(worker.interruption and worker.interruption._cause))
        may_end.set()
        await stage.is_cancelled(job.id, waiting)


async def test_all_running_jobs_are_cancelled_whatever_their_ids_are(bench: Bench, client: Client) -> None:
    stage = Stage(bench, client, tracked=False)
    async with stage.pool.running():
        periodic, plain = await _periodic(stage), await stage.task.enqueue()
        await client.retry_matching("scheduled")
        await until(lambda: stage.began[periodic] and stage.began[plain.id])

        async def observed() -> bool:
            return len(await client.observations()) == 2

        await until(observed)
        assert (await client.cancel_matching("busy", JobQuery(name="wat"))).done == 2
        await until(lambda: stage.pool.counts.cancelled == 2)
    assert await stage.unmarked()
    with pytest.raises(ResultLost):
        await client.result(plain.id)


async def test_a_job_that_runs_in_the_place_of_another_is_known_and_cancelled_by_the_id_of_that(
    bench: Bench, client: Client
) -> None:
    stage = Stage(bench, client, tracked=True, **DEAF)
    older = await stage.task.options(unique={"key": 1}).enqueue()
    await stage.task.options(unique={"key": 1}).enqueue()
    async with stage.pool.running():
        await until(lambda: stage.began)
        assert not stage.began[older.id]
        status = await client.status(older.id)
        assert (status.id, status.state) == (older.id, JobState.RUNNING)
        waiting = asyncio.create_task(client.result(older.id, timeout=LIMIT))
        assert await stage.cancel(older.id) is ASKED
        with pytest.raises(JobCancelled, match=SAID):
            await waiting
        await stage.is_cancelled(older.id, None)
    assert stage.pool.counts.cancelled == 1


def test_a_pool_that_has_heard_of_a_mark_has_it_for_the_job_that_runs_instead() -> None:
    cancellations = Cancellations(None, None)  # type: ignore[arg-type]
    older, newer, other = (
        Job.decode(b'{"name":"wat","id":"%b","t":1,"args":null}' % each) for each in (b"a", b"b", b"c")
    )
    cancellations.marked.add("a")
    cancellations.replaced(older, newer)
    cancellations.replaced(other, Job.decode(other.raw.replace(b'"c"', b'"d"')))
    assert cancellations.marked == {"a", "b"}


@pytest.mark.parametrize("place", ["queued", "scheduled", "running"])
async def test_the_stream_of_a_cancelled_job_has_one_end(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    # A reader of a job that has not begun learns of the end from its record.
    monkeypatch.setattr("asyncwork._redis.stream_reader._BLOCK", 0.02)
    pool, began = bench.pool(), asyncio.Event()

    @pool.job(stream=60)
    async def speaks(job: Job) -> None:
        await job.emit("Once")
        began.set()
        await asyncio.sleep(LIMIT)

    async with pool.running():
        if place == "queued":
            await client.pause("speaks")
        job = await speaks.options(delay=LIMIT if place == "scheduled" else None).enqueue()
        if place == "running":
            await began.wait()
        reading = asyncio.create_task(anext(each async for each in client.stream_items(job.id) if each.end))
        assert await client.cancel(job.id) is (ASKED if place == "running" else NOW)
        async with asyncio.timeout(LIMIT):
            assert (await reading).end == "cancelled"
        assert [each.end async for each in client.stream_items(job.id) if each.end] == ["cancelled"]
