"""Cancelled jobs: wherever they are, they end, and none that is marked starts."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from asyncwork import (
    CancelResult,
    Client,
    EnqueueOptions,
    Job,
    JobCall,
    JobCancelled,
    JobQuery,
    JobState,
    Snooze,
    UsageError,
)
from asyncwork._redis.cancels import CancelMark, Cancels
from asyncwork._redis.commands import CommandBatch, Fetch
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.services.canceller import Canceller

from .conftest import LIMIT, Bench, until
from .tuned import QUICK, tuned

ID = "order-7"
BECAUSE = CancelMark.new("because", "ann")
# A pool that hears of a mark by a message alone.
DEAF = tuned(QUICK, heartbeat=60.0, dead_after=120.0)


@pytest.fixture
async def client(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


async def marks(bench: Bench) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await bench.redis.hgetall(bench.keys.cancels)
    return found


async def nothing_left(bench: Bench) -> bool:
    """Whether no job and no mark is anywhere."""
    keys = bench.keys
    names = [keys.retry, keys.scheduled, keys.dead, keys.quarantine, keys.cancels, keys.queue("wat")]
    found = await bench.redis.keys(f"{keys.jobs}*:inprogress")
    return not (found or await bench.redis.exists(*names))


# Waiting


async def _queued(bench: Bench) -> str:
    return (await bench.enqueuer.enqueue("wat", {"n": 1}, unique=True)).id


async def _scheduled(bench: Bench) -> str:
    return (await bench.enqueuer.enqueue("wat", {"n": 1}, delay=60, unique=True)).id


async def _retried(bench: Bench) -> str:
    payload = {"name": "wat", "id": ID, "t": 1, "args": {"n": 1}, "fails": 1, "err": "sorry", "failed_at": 1}
    await bench.redis.zadd(bench.keys.retry, {json.dumps(payload): time.time() + 60})
    return ID


@pytest.mark.parametrize("enqueue", [_queued, _scheduled, _retried])
async def test_a_job_that_waits_is_deleted_at_once(
    bench: Bench, client: Client, enqueue: Callable[[Bench], Awaitable[str]]
) -> None:
    job_id = await enqueue(bench)
    for n in range(150):
        await bench.enqueuer.enqueue("wat", {"n": n})
        await bench.enqueuer.enqueue("wat", {"n": n}, delay=60)
    assert await client.cancel(job_id, "not needed") is CancelResult.NOW
    assert await client.cancel(job_id) is CancelResult.GONE
    assert not await marks(bench)
    assert not await bench.redis.keys(f"{bench.keys.unique}*")
    left = [*await bench.waiting("wat"), *(payload for payload, _ in await bench.job_set("scheduled"))]
    assert len(left) == 300
    assert job_id not in {json.loads(payload)["id"] for payload in left}


@pytest.mark.parametrize("location", ["dead", "quarantine", "nowhere"])
async def test_a_job_that_has_ended_is_gone(bench: Bench, client: Client, location: str) -> None:
    payload = json.dumps({"name": "wat", "id": ID, "t": 1, "args": None, "fails": 4, "err": "sorry", "failed_at": 1})
    if location == "dead":
        await bench.redis.zadd(bench.keys.dead, {payload: 1})
    elif location == "quarantine":
        await bench.redis.lpush(bench.keys.quarantine, payload)
    assert await client.cancel(ID) is CancelResult.GONE
    assert not await marks(bench)
    assert await bench.redis.exists(bench.keys.dead, bench.keys.quarantine) == (location != "nowhere")


async def test_a_job_that_is_not_found_in_time_does_not_start(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(300)])
    last = json.loads((await bench.waiting("wat"))[0])["id"]
    assert await client.cancel(last, "too\nlate", who="ann", seconds=0) is CancelResult.ASKED
    assert list(await marks(bench)) == [last.encode()]
    ran = await _run(bench)
    assert sorted(ran) == list(range(1, 300))
    assert await nothing_left(bench)
    caplog.set_level(logging.INFO)
    assert [each for each in caplog.messages if "cancelled" in each] in (
        [],
        [f"wat {last} cancelled by ann: too\\nlate"],
    )


async def _run(bench: Bench, **options: Any) -> Counter[int]:
    """Run all that there is; return how often each job ran."""
    pool, ran = bench.pool(concurrency=5, **options), Counter[int]()

    @pool.job
    async def wat(n: int = 0) -> None:
        ran[n] += 1

    async with pool.running():
        await pool.drain()
    return ran


# The gate


@pytest.mark.parametrize("spelling", ["first", "last", "spaces", "escapes", "after arguments with that text"])
async def test_a_marked_job_does_not_start_however_it_is_spelled(bench: Bench, spelling: str) -> None:
    fields: dict[str, Any] = {"name": "wat", "t": 1, "args": {"n": 1}}
    if spelling == "first":
        payload = json.dumps({"id": ID, **fields}, separators=(",", ":"))
    elif spelling == "last":
        payload = json.dumps({**fields, "id": ID}, separators=(",", ":"))
    elif spelling == "spaces":
        payload = json.dumps({**fields, "id": ID}, indent=2)
    elif spelling == "escapes":
        payload = json.dumps({**fields, "id": ID}).replace(ID, "\\u006f" + ID[1:])
    else:
        payload = json.dumps({**fields, "args": {"n": 1, "rows": [{"id": f"x{n}"} for n in range(200)]}, "id": ID})
    await Cancels(bench.in_redis).mark([ID], BECAUSE)
    await bench.redis.lpush(bench.keys.queue("wat"), payload)
    assert not await _run(bench)
    assert await nothing_left(bench)


@pytest.mark.parametrize("crashes", [0, 1])
async def test_a_job_with_the_id_of_a_marked_one_in_its_arguments_runs(bench: Bench, crashes: int) -> None:
    await Cancels(bench.in_redis).mark([ID], BECAUSE)
    job = await bench.enqueuer.enqueue("wat", {"n": 7, "id": ID})
    if crashes:
        (payload,) = await bench.waiting("wat")
        await bench.redis.hset(
            bench.keys.crashes, await bench.redis.eval("return redis.sha1hex(ARGV[1])", 0, payload), 1
        )
    assert await _run(bench) == {7: 1}
    assert list(await marks(bench)) == [ID.encode()]
    assert job.id != ID
    bench.leftovers.append(f"job {ID} is marked to be cancelled, but does not exist")


async def test_a_marked_job_does_not_start_when_a_blocking_pop_takes_it(bench: Bench) -> None:
    pool, ran = bench.pool(concurrency=2), Counter[int]()

    @pool.job
    async def wat(n: int) -> None:
        ran[n] += 1

    async with pool.running():
        await until(lambda: bench.blocked(pool) == 1)
        await Cancels(bench.in_redis).mark([ID], BECAUSE)
        payload = json.dumps({"name": "wat", "id": ID, "t": 1, "args": {"n": 1}})
        await bench.redis.lpush(bench.keys.queue("wat"), payload)
        await until(lambda: nothing_left(bench))
        await bench.enqueuer.enqueue("wat", {"n": 2})
        await until(lambda: ran[2])
    assert ran == {2: 1}


async def test_a_job_that_was_fetched_does_not_start_once_it_is_marked(bench: Bench, client: Client) -> None:
    """One worker is busy with a job that blocks, while the next one is at hand."""
    pool, ran, holding, begun = bench.pool(concurrency=1, **DEAF), Counter[int](), asyncio.Event(), asyncio.Event()

    @pool.job
    async def wat(n: int) -> None:
        ran[n] += 1
        if n == 1:
            begun.set()
            await holding.wait()

    async with pool.running():
        first = await bench.enqueuer.enqueue("wat", {"n": 1})
        await begun.wait()
        second = await bench.enqueuer.enqueue("wat", {"n": 2})
        dispatcher = pool._launcher._dispatcher  # type: ignore[union-attr]
        payload = (await bench.waiting("wat"))[0]
        # As if a fetch had brought it.
        await bench.redis.lmove(bench.keys.queue("wat"), bench.keys.in_progress("wat", str(pool.id)), "RIGHT", "LEFT")
        dispatcher._state.free += 1
        dispatcher._state.concurrency += 1
        dispatcher._state.job_done()
        dispatcher._state.free -= 2
        dispatcher._state.running += 2
        dispatcher.ready.add([(dispatcher.queues[0], payload, 0)])
        assert await client.cancel(second.id) is CancelResult.ASKED
        cancellations = pool._launcher._cancellations  # type: ignore[union-attr]
        await until(lambda: second.id in cancellations.marked)
        holding.set()
        await until(lambda: nothing_left(bench))
    assert ran == {1: 1}
    assert first.id != second.id


async def test_a_thousand_marks_close_no_queue(bench: Bench) -> None:
    ids = [f"gone-{n}" for n in range(1000)]
    cancels = Cancels(bench.in_redis)
    await cancels.mark(ids, BECAUSE)
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(500)])
    assert await _run(bench) == Counter(range(500))
    assert await cancels.ids() == set(ids)
    assert await cancels.clear(ids) == set(ids)


async def test_the_first_mark_of_a_job_stays(bench: Bench) -> None:
    cancels = Cancels(bench.in_redis)
    await cancels.mark([ID], CancelMark("first", "ann", 1))
    await cancels.mark([ID, "b"], CancelMark("second", "bob", 2))
    assert await cancels.read([ID, "b", "c"]) == {
        ID: CancelMark("first", "ann", 1),
        "b": CancelMark("second", "bob", 2),
    }
    assert 0 < await bench.redis.ttl(bench.keys.cancels) <= 7 * 86_400
    await bench.redis.delete(bench.keys.cancels)


@pytest.mark.parametrize("raw", [b"", b"7", b"{", b'{"by":1,"reason":[],"at":"x"}'])
def test_a_mark_of_another_program_is_a_mark(raw: bytes) -> None:
    assert CancelMark.decode(raw) == CancelMark("", "", 0)


async def test_marks_of_another_type_keep_no_job_from_running(bench: Bench) -> None:
    await bench.redis.set(bench.keys.cancels, "x")
    await bench.enqueuer.enqueue_many([JobCall("wat", {"n": n}, EnqueueOptions(id=f"own-{n}")) for n in range(3)])
    assert await _run(bench) == {0: 1, 1: 1, 2: 1}
    bench.leftovers.append(f"key {bench.keys.cancels} is of a wrong type")


# Ids that are chosen


@pytest.mark.parametrize("way", ["enqueue", "enqueue_many", "delay", "unique"])
async def test_a_mark_cannot_hit_a_later_job_with_that_id(bench: Bench, way: str) -> None:
    await Cancels(bench.in_redis).mark([ID, "other"], BECAUSE)
    if way == "enqueue_many":
        await bench.enqueuer.enqueue_many([JobCall("wat", {"n": 1}, EnqueueOptions(id=ID)), ("wat", {"n": 2})])
    else:
        delay, unique = (0 if way == "delay" else None), way == "unique"
        await bench.enqueuer.enqueue("wat", {"n": 1}, id=ID, delay=delay, unique=unique)
    assert list(await marks(bench)) == [b"other"]
    assert (await _run(bench))[1] == 1
    await bench.redis.delete(bench.keys.cancels)


@pytest.mark.parametrize("job_id", ["", "a b", "x" * 65, 7, None, "é", "a\n", b"abc"])
async def test_an_id_of_another_form_is_refused(client: Client, job_id: Any) -> None:
    with pytest.raises(UsageError, match="the id of a job is 1 to 64 ASCII letters, digits, '_' and '-', or that of"):
        await client.cancel(job_id)


async def test_other_bad_input_is_refused(client: Client) -> None:
    with pytest.raises(UsageError, match="reason must be"):
        await client.cancel(ID, 7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="who must be"):
        await client.cancel(ID, who=7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seconds"):
        await client.cancel(ID, seconds=-1)
    for location in ("dead", "quarantine"):
        with pytest.raises(UsageError, match=f"those in {location} have ended"):
            await client.cancel_matching(location)
    with pytest.raises(UsageError, match="a location is"):
        await client.cancel_matching("nowhere")


# Many


async def test_all_that_match_are_cancelled(bench: Bench, client: Client) -> None:
    await bench.enqueuer.enqueue_many([("wat", {"n": n % 2}) for n in range(400)])
    query = JobQuery(text='"n":1')
    assert (await client.count("queue:wat", query)).done == 200
    outcome = await client.cancel_matching("queue:wat", query, reason="odd", who="ann")
    assert (outcome.done, outcome.undo) == (200, "")
    assert {json.loads(payload)["args"]["n"] for payload in await bench.waiting("wat")} == {0}
    assert not await marks(bench)
    await bench.enqueuer.enqueue("wat", delay=60)
    assert (await client.cancel_matching("scheduled")).done == 1
    assert (await client.cancel_matching("retry")).done == 0


async def test_what_has_begun_meanwhile_is_asked_to_end(bench: Bench, client: Client) -> None:
    """As if a pool had taken the jobs after they were listed."""
    await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(4)])
    canceller = client._canceller
    members, _ = await client._status._inspector.members("queue:wat", 0, 10, newest_first=True)
    work_queue = WorkQueue(bench.redis_client, bench.keys, "a" * 24)
    queue = work_queue.queue("wat", 1)
    connection = await work_queue.open(5)
    commands = work_queue.encode.batch(CommandBatch(fetch=Fetch([queue], 2, 0.0)))
    await connection.request(commands, len(commands))
    assert await canceller.cancel_members("queue:wat", members, BECAUSE) == 4
    held = {
        json.loads(payload)["id"].encode() for payload in await bench.redis.lrange(queue.in_progress.decode(), 0, -1)
    }
    assert held == set(await marks(bench))
    await connection.close()
    await bench.redis.delete(queue.in_progress.decode(), bench.keys.lock("wat"), bench.keys.lock_info("wat"))
    await bench.redis.delete(bench.keys.cancels)


# Running


class Runner:
    """A pool with one handler for each way of running, and what became of its jobs."""

    def __init__(self, bench: Bench, **options: Any) -> None:
        self.began: Counter[str] = Counter()
        self.ended: list[str] = []
        self.release = threading.Event()
        self.pool = pool = bench.pool(concurrency=2, grace=options.pop("grace", 5.0), **options)
        pool.on_failure(self._on_failure)

        @pool.job
        async def waits(job: Job) -> None:
            self.began[job.name] += 1
            try:
                await asyncio.sleep(LIMIT)
            finally:
                await asyncio.sleep(0.01)
                self.ended.append(job.name)

        @pool.job
        async def swallows(job: Job) -> None:
            self.began[job.name] += 1
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(LIMIT)
            self.ended.append(job.name)

        @pool.job(max_fails=1)
        async def dies(job: Job) -> None:
            self.began[job.name] += 1
            try:
                await asyncio.sleep(LIMIT)
            except asyncio.CancelledError:
                raise ValueError("while it was cleaning up") from None

        @pool.job(backoff=lambda job: 0)
        async def fails(job: Job) -> None:
            self.began[job.name] += 1
            try:
                await asyncio.sleep(LIMIT)
            except asyncio.CancelledError:
                raise ValueError("while it was cleaning up") from None

        @pool.job
        def threads(job: Job) -> None:
            self.began[job.name] += 1
            if not job.cancelled.wait(LIMIT):
                raise AssertionError("nobody has cancelled it")
            self.ended.append(job.name)
            raise RuntimeError("cancelled")

    async def _on_failure(self, job: Job, error: BaseException) -> None:
        self.ended.append(f"{job.name} failed: {error}")

    async def until_began(self, name: str, times: int = 1) -> None:
        await until(lambda: self.began[name] >= times)


@pytest.mark.parametrize("heard", ["by a message", "with the heartbeat"])
@pytest.mark.parametrize("name", ["waits", "threads"])
async def test_a_running_job_is_ended(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, name: str, heard: str
) -> None:
    caplog.set_level(logging.INFO)
    runner = Runner(bench, **(DEAF if heard == "by a message" else QUICK))
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue(name)
        await runner.until_began(name)
        if heard == "by a message":
            assert await client.cancel(job.id, "user left", who="ann") is CancelResult.ASKED
        else:
            await bench.redis.hset(bench.keys.cancels, job.id, CancelMark.new("user left", "ann").encode())
        await until(lambda: nothing_left(bench))
        assert await client.cancel(job.id) is CancelResult.GONE
        assert (runner.began[name], runner.ended) == (1, [name])
        await until(lambda: f"{name} {job.id} cancelled by ann: user left" in caplog.messages)
        # The worker goes on.
        again = await bench.enqueuer.enqueue(name)
        await runner.until_began(name, 2)
        await client.cancel(again.id)
        await until(lambda: nothing_left(bench))
    assert runner.pool.counts.failed == runner.pool.counts.done == 0


async def test_a_handler_that_catches_the_cancellation_is_done(bench: Bench, client: Client) -> None:
    runner = Runner(bench)
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue("swallows")
        await runner.until_began("swallows")
        assert await client.cancel(job.id) is CancelResult.ASKED
        await until(lambda: nothing_left(bench))
    assert (runner.ended, runner.pool.counts.done) == (["swallows"], 1)


async def test_a_handler_that_fails_instead_is_dead_or_cancelled(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    runner = Runner(bench)
    async with runner.pool.running():
        dies = await bench.enqueuer.enqueue("dies")
        fails = await bench.enqueuer.enqueue("fails")
        await runner.until_began("dies")
        await runner.until_began("fails")
        assert await client.cancel(dies.id) is CancelResult.ASKED
        assert await client.cancel(fails.id) is CancelResult.ASKED
        await until(lambda: bench.redis.zcard(bench.keys.dead))
        await bench.redis.zremrangebyrank(bench.keys.dead, 0, -1)
        await until(lambda: nothing_left(bench))
    assert runner.began == {"dies": 1, "fails": 1}
    texts = [f"{name} failed: while it was cleaning up" for name in ("dies", "fails")]
    assert sorted(runner.ended) == texts
    assert (runner.pool.counts.failed, runner.pool.counts.cancelled) == (1, 1)
    line = f"fails {fails.id} cancelled; it failed as it ended (attempt 1): ValueError: while it was cleaning up"
    assert line in caplog.messages


@pytest.mark.parametrize("error", [ValueError("while it was cleaning up"), Snooze(LIMIT)], ids=["fails", "snoozes"])
async def test_who_waits_for_a_cancelled_job_does_not_wait_for_its_next_attempt(
    bench: Bench, client: Client, error: Exception
) -> None:
    pool, began = bench.pool(), asyncio.Event()

    @pool.job(result=60, history=True, backoff=lambda job: 10 * int(LIMIT))
    async def wat() -> None:
        began.set()
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError:
            raise error from None

    async with pool.running():
        job = await wat.enqueue()
        waiting = asyncio.create_task(job.result(LIMIT))
        await asyncio.wait_for(began.wait(), LIMIT)
        assert await client.cancel(job.id, "user left", who="ann") is CancelResult.ASKED
        with pytest.raises(JobCancelled, match="cancelled by ann: user left"):
            await waiting
        status = await client.status(job.id)
        assert (status.state, status.attempts) == (JobState.CANCELLED, 1)
        assert [each.outcome for each in status.history] == ["cancelled"]
        await until(lambda: nothing_left(bench))


async def test_a_job_cancelled_twice_is_cancelled_once(bench: Bench, client: Client) -> None:
    runner = Runner(bench)
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue("waits")
        await runner.until_began("waits")
        results = await asyncio.gather(*(client.cancel(job.id) for _ in range(5)))
        assert set(results) <= {CancelResult.ASKED, CancelResult.GONE}
        await until(lambda: nothing_left(bench))
    assert runner.ended == ["waits"]


async def test_running_jobs_that_match_are_cancelled(bench: Bench, client: Client) -> None:
    runner = Runner(bench)
    async with runner.pool.running():
        for name in ("waits", "swallows"):
            await bench.enqueuer.enqueue(name)
            await runner.until_began(name)

        async def observed() -> bool:
            return len(await client.observations()) == 2

        await until(observed)
        query = JobQuery(name="waits")
        counted = await client.count("busy", query)
        assert (counted.done, counted.looked) == (1, 2)
        assert (await client.cancel_matching("busy", query)).done == 1
        await until(lambda: runner.ended == ["waits"])
        assert (await client.cancel_matching("busy", JobQuery(name="swallows"))).done == 1
        await until(lambda: nothing_left(bench))


async def test_a_pool_that_stops_ends_cancelled_jobs(bench: Bench, client: Client) -> None:
    runner = Runner(bench, grace=LIMIT)
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue("waits")
        await runner.until_began("waits")
        runner.pool.stop_soon()
        assert await client.cancel(job.id) is CancelResult.ASKED
    assert runner.ended == ["waits"]
    assert await nothing_left(bench)


async def test_a_job_that_is_cut_off_by_a_stop_does_not_start_elsewhere(bench: Bench, client: Client) -> None:
    """It is marked after its pool has heard for the last time."""
    runner = Runner(bench, grace=0.0)
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue("waits")
        await runner.until_began("waits")
    await Cancels(bench.in_redis).mark([job.id], BECAUSE)
    other = Runner(bench)
    async with other.pool.running():
        await other.pool.drain()
    assert not other.began


async def test_a_job_of_a_dead_pool_does_not_start_elsewhere(bench: Bench, client: Client) -> None:
    payload = json.dumps({"name": "waits", "id": ID, "t": 1, "args": None})
    dead = "d" * 24
    await bench.redis.sadd(bench.keys.worker_pools, dead)
    await bench.redis.hset(bench.keys.heartbeat(dead), mapping={"heartbeat_at": 1, "job_names": "waits"})
    await bench.redis.lpush(bench.keys.in_progress("waits", dead), payload)
    assert await client.cancel(ID) is CancelResult.ASKED
    other = Runner(bench)
    async with other.pool.running():
        await until(lambda: nothing_left(bench))
    assert not other.began


async def test_a_pool_whose_user_may_not_subscribe_reads_the_marks(bench: Bench, client: Client) -> None:
    await bench.redis.acl_setuser(
        user := f"deaf-{bench.namespace}", enabled=True, passwords=["+pw"], keys="*", commands=["+@all", "-subscribe"]
    )
    runner = Runner(replace(bench, url=bench.url.replace("unix://", f"unix://{user}:pw@")))
    assert user in runner.pool._redis.url
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue("waits")
        await runner.until_began("waits")
        assert await client.cancel(job.id) is CancelResult.ASKED
        await until(lambda: nothing_left(bench))
    await bench.redis.acl_deluser(user)
    assert runner.ended == ["waits"]


async def test_the_canceller_subscribes_again_when_its_connection_breaks(bench: Bench, client: Client) -> None:
    runner = Runner(bench, **DEAF)
    async with runner.pool.running():
        for times in (1, 2):
            job = await bench.enqueuer.enqueue("waits")
            await runner.until_began("waits", times)
            assert await client.cancel(job.id) is CancelResult.ASKED
            await until(lambda: nothing_left(bench))
            await bench.redis.client_kill_filter(_type="pubsub")

            async def subscribed() -> bool:
                ((_, count),) = await bench.redis.pubsub_numsub(bench.keys.wake_channel())
                return bool(count)

            await until(subscribed)


async def test_old_marks_are_removed_by_the_canceller(bench: Bench) -> None:
    cancels = Cancels(bench.in_redis)
    await cancels.mark(["old"], CancelMark("", "", int(time.time()) - 8 * 86_400))
    await cancels.mark(["new"], BECAUSE)
    runner = Runner(bench)
    async with runner.pool.running():
        launcher = runner.pool._launcher
        assert launcher is not None
        canceller = Canceller(
            bench.in_redis, launcher._cancellations, launcher.workers, 0.01, launcher.state.reader(bench.in_redis)
        )
        assert await canceller.run_once() == 0.0
        assert await cancels.ids() == {"new"}
        await cancels.mark(["old"], CancelMark("", "", int(time.time()) - 8 * 86_400))
        await canceller.run_once()
        # Not again so soon.
        assert await cancels.ids() == {"new", "old"}
        assert canceller._subscription is not None
        await canceller._subscription.close()
    await cancels.clear(["new", "old"])


async def test_a_pool_with_few_connections_reads_the_marks_over_another_one(bench: Bench, client: Client) -> None:
    runner = Runner(replace(bench, url=f"{bench.url}&max_connections=1"))
    async with runner.pool.running():
        job = await bench.enqueuer.enqueue("waits")
        await runner.until_began("waits")
        assert await bench.redis.pubsub_numsub(bench.keys.wake_channel()) == [(bench.keys.wake_channel().encode(), 0)]
        assert await client.cancel(job.id) is CancelResult.ASKED
        await until(lambda: nothing_left(bench))


async def test_it_goes_on_when_its_caller_is_cancelled(bench: Bench) -> None:
    pool, started = bench.pool(), asyncio.Event()

    @pool.job(result=60)
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    job = await wait.enqueue()
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await started.wait()
        # As a web framework does when the client of a response has left.
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.cancel(job.id, "the user left")
        with pytest.raises(JobCancelled, match="the user left"):
            await job.result(LIMIT)
