"""Streams: what a job emits, read from the beginning by any number of clients, and ended once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio.from_thread
import pytest

from asyncwork import (
    ArgumentEncodingError,
    Client,
    Discard,
    Job,
    JobEndedError,
    RedisUnavailable,
    Snooze,
    StreamItem,
    StreamLost,
    StreamTimeout,
    UsageError,
    WorkerPool,
)
from asyncwork._jobs import stream_sink
from asyncwork._redis.job_waits import JobWaits
from asyncwork._redis.stream_watch import StreamWatch
from asyncwork._redis.stream_writer import StreamWriter
from asyncwork._worker import job_streams

from .conftest import LIMIT, Bench, until

KEPT = 600


async def chunks(bench: Bench, job_id: str, **options: Any) -> list[Any]:
    """Return everything that a job has emitted when it has ended."""
    async with asyncio.timeout(LIMIT), Client(bench.url, namespace=bench.namespace) as client:
        return [each async for each in client.stream(job_id, **options)]


async def items(bench: Bench, job_id: str, **options: Any) -> list[StreamItem]:
    async with asyncio.timeout(LIMIT), Client(bench.url, namespace=bench.namespace) as client:
        return [each async for each in client.stream_items(job_id, **options)]


def told(found: list[StreamItem]) -> list[tuple[Any, int, str]]:
    return [(each.chunk, each.attempt, each.end) for each in found]


async def test_a_consumer_may_come_before_the_job(bench: Bench) -> None:
    pool, go = bench.pool(), asyncio.Event()

    @pool.job(stream=KEPT)
    async def speaks(job: Job) -> None:
        await job.emit("Once")
        await go.wait()
        await job.emit({"upon": ["a", 1, 2.5, None]})

    job = await speaks.enqueue()
    async with asyncio.timeout(LIMIT), Client(bench.url, namespace=bench.namespace) as client, pool.running():
        found = client.stream(job.id)
        assert await anext(found) == "Once"
        go.set()
        assert [each async for each in found] == [{"upon": ["a", 1, 2.5, None]}]


async def test_consumers_before_beside_and_after_the_job_read_the_same(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT)
    async def counts(job: Job) -> None:
        for n in range(10):
            await job.emit(n)

    job = await counts.enqueue()
    first = [asyncio.create_task(chunks(bench, job.id)) for _ in range(2)]
    async with pool.running():
        assert await asyncio.gather(*first) == [list(range(10))] * 2
        await pool.drain()
    assert await chunks(bench, job.id) == list(range(10))
    found = await items(bench, job.id)
    assert told(found) == [*((n, 1, "") for n in range(10)), (None, 0, "done")]
    assert told(await items(bench, job.id, after=found[7].id)) == told(found[8:])


async def test_a_job_that_emits_nothing_has_an_end(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT)
    async def is_silent() -> None: ...

    job = await is_silent.enqueue()
    async with pool.running():
        assert await chunks(bench, job.id) == []


@pytest.mark.parametrize(
    ("raises", "options", "end"),
    [
        (None, {}, "done"),
        (ValueError("sorry"), {"max_fails": 1}, "dead"),
        (ValueError("sorry"), {"max_fails": 1, "skip_dead": True}, "discarded"),
        (Discard("enough"), {}, "discarded"),
    ],
)
async def test_the_end_is_written_once(
    bench: Bench, raises: Exception | None, options: dict[str, Any], end: str
) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT, **options)
    async def ends(job: Job) -> None:
        await job.emit(1)
        if raises is not None:
            raise raises

    job = await ends.enqueue()
    async with pool.running():
        assert told(await items(bench, job.id)) == [(1, 1, ""), (None, 0, end)]
        await pool.drain()
    assert len(await bench.redis.xrange(bench.keys.stream(job.id))) == 2


async def test_a_retry_goes_on_in_the_stream_as_another_attempt(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT, max_fails=3, backoff=lambda job: 0)
    async def fails(job: Job) -> None:
        if job.fails != 1:
            await job.emit(f"with {job.fails}")
        if job.fails < 2:
            raise ValueError("not yet")

    job = await fails.enqueue()
    async with pool.running():
        found = await items(bench, job.id)
    assert told(found) == [("with 0", 1, ""), ("with 2", 3, ""), (None, 0, "done")]


async def test_the_end_is_written_by_an_attempt_that_emits_nothing(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT, backoff=lambda job: 0)
    async def fails_first(job: Job) -> None:
        if not job.fails:
            await job.emit("first")
            raise ValueError("not yet")

    job = await fails_first.enqueue()
    async with pool.running():
        assert told(await items(bench, job.id)) == [("first", 1, ""), (None, 0, "done")]


async def test_a_snooze_does_not_end_the_stream(bench: Bench) -> None:
    pool, runs = bench.pool(), 0

    @pool.job(stream=KEPT)
    async def snoozes(job: Job) -> None:
        nonlocal runs
        runs += 1
        await job.emit(runs)
        if runs == 1:
            raise Snooze(0)

    job = await snoozes.enqueue()
    async with pool.running():
        assert told(await items(bench, job.id)) == [(1, 1, ""), (2, 2, ""), (None, 0, "done")]


async def test_a_job_that_was_cut_off_by_a_stop_begins_another_attempt(bench: Bench) -> None:
    first, second, began = bench.pool(grace=0), bench.pool(), asyncio.Event()

    async def speaks(job: Job) -> None:
        await job.emit("again")
        began.set()
        if first.id is not None and not second_runs.is_set():
            await asyncio.sleep(LIMIT)

    second_runs = asyncio.Event()
    task = first.job(stream=KEPT)(speaks)
    second.job(stream=KEPT)(speaks)
    job = await task.enqueue()
    async with first.running():
        await began.wait()
    second_runs.set()
    async with second.running():
        assert told(await items(bench, job.id)) == [("again", 1, ""), ("again", 2, ""), (None, 0, "done")]


async def test_a_dead_job_that_is_retried_by_hand_has_a_new_stream(bench: Bench) -> None:
    pool, fails = bench.pool(), True

    @pool.job(stream=KEPT, max_fails=1)
    async def dies(job: Job) -> None:
        await job.emit(fails)
        if fails:
            raise ValueError("sorry")

    job = await dies.enqueue()
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        assert told(await items(bench, job.id)) == [(True, 1, ""), (None, 0, "dead")]
        fails = False
        (dead,) = (await client.jobs("dead")).jobs
        await client.retry("dead", [dead.ref])
        await pool.drain()
        assert told(await items(bench, job.id)) == [(False, 1, ""), (None, 0, "done")]


async def test_a_reader_reconnects_and_misses_nothing(bench: Bench) -> None:
    pool, go = bench.pool(), asyncio.Event()

    @pool.job(stream=KEPT)
    async def counts(job: Job) -> None:
        for n in range(20):
            await job.emit(n)
            if n == 9:
                await go.wait()

    job = await counts.enqueue()
    found: list[int] = []

    async def read() -> None:
        async with Client(bench.url, namespace=bench.namespace) as client:
            async for each in client.stream(job.id):
                found.append(each)  # noqa: PERF401 - seen by the test as it grows

    reading = asyncio.create_task(read())
    async with asyncio.timeout(LIMIT), pool.running():
        await until(lambda: len(found) == 10)

        async def blocked() -> list[str]:
            return [each["id"] for each in await bench.redis.client_list() if each["cmd"] == "xread"]

        await until(blocked)
        for connection in await blocked():
            await bench.redis.client_kill_filter(_id=connection)
        go.set()
        await reading
    assert found == list(range(20))


async def test_ten_thousand_chunks_are_all_read(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT)
    async def pours(job: Job) -> None:
        for first in range(0, 10_000, 1000):
            await asyncio.gather(*(job.emit(n) for n in range(first, first + 1000)))

    job = await pours.enqueue()
    async with pool.running():
        assert await chunks(bench, job.id) == list(range(10_000))


async def test_a_stream_is_bounded_and_expires(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT)
    async def pours(job: Job) -> None:
        for _ in range(13):
            await asyncio.gather(*(job.emit(n) for n in range(1000)))

    job = await pours.enqueue()
    async with pool.running():
        await pool.drain()
    key = bench.keys.stream(job.id)
    assert 10_000 <= await bench.redis.xlen(key) <= 10_000 + 200
    assert KEPT - 30 < await bench.redis.ttl(key) <= KEPT


async def test_chunks_of_one_turn_are_written_in_one_round_trip(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, written = bench.pool(), []
    write = job_streams.JobStreams.write

    async def count(self: Any, worker: Any, job: Job, attempt: int, seconds: int, chunks: Any) -> int:
        written.append(len(chunks))
        return await write(self, worker, job, attempt, seconds, chunks)

    monkeypatch.setattr(job_streams.JobStreams, "write", count)

    @pool.job(stream=KEPT)
    async def pours(job: Job) -> None:
        await asyncio.gather(*(job.emit(n) for n in range(20)))

    await pours.enqueue()
    async with pool.running():
        await pool.drain()
    assert written == [20]


async def test_a_plain_function_emits_from_its_thread(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT)
    def speaks(job: Job) -> None:
        anyio.from_thread.run(job.emit, "from a thread")
        with pytest.raises(UsageError, match=r"the event loop of the pool; .* calls job.emit_sync\(chunk\)"):
            asyncio.run(job.emit("from another loop"))
        for n in range(3):
            job.emit_sync(n)
        for bad in (object(), "x" * 1_048_576):
            with pytest.raises(UsageError):
                job.emit_sync(bad)

    job = await speaks.enqueue()
    async with pool.running():
        found = told(await items(bench, job.id))
    assert found == [*((each, 1, "") for each in ("from a thread", 0, 1, 2)), (None, 0, "done")]


async def test_a_plain_function_has_a_chunk_written_before_it_goes_on(bench: Bench) -> None:
    pool, seen = bench.pool(), []

    @pool.job(stream=KEPT)
    def speaks(job: Job) -> None:
        for n in range(3):
            job.emit_sync(n)
            seen.append(anyio.from_thread.run(bench.redis.xlen, bench.keys.stream(job.id)))

    await speaks.enqueue()
    async with pool.running():
        await pool.drain()
    assert seen == [1, 2, 3]


async def test_emit_sync_belongs_to_the_thread_of_the_handler(bench: Bench) -> None:
    pool, errors, jobs = bench.pool(), list[str](), list[Job]()

    def emit(job: Job) -> None:
        try:
            job.emit_sync("x")
        except (UsageError, JobEndedError) as error:
            errors.append(f"{type(error).__name__}: {error}")

    @pool.job(stream=KEPT)
    def in_another_thread(job: Job) -> None:
        other = threading.Thread(target=emit, args=[job])
        other.start()
        other.join()
        jobs.append(job)

    @pool.job(stream=KEPT)
    async def in_the_loop(job: Job) -> None:
        emit(job)

    @pool.job
    def without_stream(job: Job) -> None:
        emit(job)

    async with pool.running():
        for task in (in_another_thread, in_the_loop, without_stream):
            await task.enqueue()
            await pool.drain()
        await asyncio.to_thread(emit, jobs[0])
    ended = (
        f"JobEndedError: in_another_thread {jobs[0].id} cannot emit: this attempt has ended, or another pool has the "
    )
    assert errors == [
        "UsageError: emit_sync belongs to the thread in which the handler runs",
        "UsageError: emit_sync blocks its thread, which a coroutine must not: await job.emit(chunk)",
        "UsageError: without_stream jobs have no stream: say for how long it is kept, as in @pool.job(stream=3600)",
        f"{ended}job; await each emit before the handler returns",
    ]


async def test_a_thread_that_its_pool_has_left_cannot_emit(bench: Bench) -> None:
    pool, began, go, errors = bench.pool(grace=0), threading.Event(), threading.Event(), list[BaseException]()

    @pool.job(stream=KEPT)
    def speaks(job: Job) -> None:
        job.emit_sync("in time")
        began.set()
        go.wait(LIMIT)
        try:
            job.emit_sync("late")
        except BaseException as error:
            errors.append(error)

    job = await speaks.enqueue()
    async with pool.running():
        await until(began.is_set)
        streams = pool._launcher._streams  # type: ignore[union-attr]
    go.set()
    await until(lambda: errors)
    assert isinstance(errors[0], JobEndedError)
    assert len(await bench.redis.xrange(bench.keys.stream(job.id))) == 1
    assert streams._writer._connection._connection is None  # type: ignore[union-attr]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_thread_whose_event_loop_has_ended_cannot_emit(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_sink, "_CHECK", 0.01)
    loop = asyncio.new_event_loop()

    async def emit() -> None:
        raise AssertionError("it does not run")

    emitting = emit()
    if when == "before":
        loop.close()
    else:
        # The loop never takes up what it was passed.
        threading.Timer(0.02, loop.close).start()
    with pytest.raises(JobEndedError, match="wat 1 cannot emit: the event loop of its pool has ended"):
        stream_sink.emit_from_thread(emitting, loop, "wat 1")
    emitting.close()


async def test_emitting_after_the_end_is_refused(bench: Bench) -> None:
    pool, jobs, left = bench.pool(), [], []

    @pool.job(stream=KEPT)
    async def leaves(job: Job) -> None:
        jobs.append(job)
        # Not awaited, so it is written, or refused, after the end.
        left.append(asyncio.create_task(job.emit("late")))

    job = await leaves.enqueue()
    async with pool.running():
        await pool.drain()
        with pytest.raises(JobEndedError, match=f"leaves {job.id} cannot emit: this attempt has ended"):
            await left[0]
        with pytest.raises(JobEndedError, match="await each emit before the handler returns"):
            await jobs[0].emit("later")
        assert told(await items(bench, job.id)) == [(None, 0, "done")]


async def test_a_job_that_another_pool_has_cannot_emit(bench: Bench) -> None:
    pool, go, errors = bench.pool(), asyncio.Event(), []

    @pool.job(stream=KEPT)
    async def speaks(job: Job) -> None:
        await job.emit("here")
        await go.wait()
        try:
            await job.emit("no longer here")
        except JobEndedError as error:
            errors.append(error)

    job = await speaks.enqueue()
    async with pool.running():
        await until(lambda: bench.redis.exists(bench.keys.stream(job.id)))
        assert pool.id is not None
        # As a reaper does.
        payload = await bench.redis.rpoplpush(bench.keys.in_progress("speaks", pool.id), "elsewhere")
        go.set()
        await until(lambda: errors)
        await bench.redis.rpoplpush("elsewhere", bench.keys.in_progress("speaks", pool.id))
        assert payload
        await bench.redis.lrem(bench.keys.in_progress("speaks", pool.id), 0, payload)
    assert [each[1].get(b"chunk") for each in await bench.redis.xrange(bench.keys.stream(job.id))] == [b'"here"']


async def test_a_type_without_a_stream_cannot_emit(bench: Bench) -> None:
    pool, errors = bench.pool(), []

    @pool.job
    async def speaks(job: Job) -> None:
        try:
            await job.emit("x")
        except UsageError as error:
            errors.append(str(error))

    await speaks.enqueue()
    async with pool.running():
        await pool.drain()
    assert errors == ["speaks jobs have no stream: say for how long it is kept, as in @pool.job(stream=3600)"]


async def test_what_cannot_be_a_chunk_is_refused(bench: Bench) -> None:
    pool, errors = bench.pool(), []

    @pool.job(stream=KEPT)
    async def speaks(job: Job) -> None:
        for bad in (object(), float("nan"), "x" * 1_048_576):
            try:
                await job.emit(bad)
            except UsageError as error:
                errors.append(error)

    job = await speaks.enqueue()
    async with pool.running():
        assert told(await items(bench, job.id)) == [(None, 0, "done")]
    assert [type(each) for each in errors] == [ArgumentEncodingError, ArgumentEncodingError, UsageError]
    assert "a chunk must have at most 1048576 bytes as JSON, not 1048578" in str(errors[2])


async def test_a_job_that_is_deleted_before_it_starts_ends_its_stream(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(stream=KEPT)
    async def speaks() -> None: ...

    job = await speaks.options(delay=1000).enqueue()
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        reading = asyncio.create_task(items(bench, job.id))
        (waiting,) = (await client.jobs("scheduled")).jobs
        assert (await client.delete("scheduled", [waiting.ref])).done == 1
        assert told(await reading) == [(None, 0, "deleted")]


async def is_watched(bench: Bench, job_id: str) -> None:
    """Return when the end of a job is waited for."""
    await until(lambda: bench.redis.exists(bench.keys.job_record(job_id)))


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
@pytest.mark.parametrize("emits", [False, True])
async def test_a_reader_is_woken_by_an_end_that_no_stream_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, end: str, emits: bool
) -> None:
    # So that it does not find out by itself.
    monkeypatch.setattr("asyncwork._redis.stream_reader._BLOCK", 10 * LIMIT)
    monkeypatch.setattr("asyncwork._redis.stream_reader._SILENT", 0.05)
    pool = bench.pool()

    @pool.job(stream=KEPT, backoff=lambda job: 1000)
    async def speaks(job: Job) -> None:
        await job.emit(1)
        raise ValueError("sorry")

    location = "retry" if emits else "scheduled"
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        job = await speaks.options(delay=None if emits else 1000).enqueue()
        reading = asyncio.create_task(items(bench, job.id))
        await pool.drain()
        await is_watched(bench, job.id)
        if end == "cancelled":
            await client.cancel(job.id)
        else:
            assert (await client.delete_matching(location)).done == 1
        assert told(await reading) == [*([(1, 1, "")] if emits else []), (None, 0, end)]


async def test_a_reader_that_leaves_ends_its_watch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork._redis.stream_reader._SILENT", 0.01)
    async with Client(bench.url, namespace=bench.namespace) as client:
        reading = asyncio.create_task(anext(client.stream("nobody")))
        await is_watched(bench, "nobody")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: not client._waits.get()._waits)


async def test_a_type_without_a_stream_cannot_be_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork._redis.stream_reader._SILENT", 0.05)
    pool = bench.pool()

    @pool.job
    async def speaks() -> None: ...

    @pool.job(stream=KEPT)
    async def sings(job: Job) -> None:
        await job.emit("la")

    plain, other = await speaks.options(delay=1000).enqueue(), await sings.options(delay=1000).enqueue()
    async with Client(bench.url, namespace=bench.namespace) as client:
        # Before the first pool has started, nothing is known of either.
        for job in (plain, other):
            with pytest.raises(StreamTimeout):
                await chunks(bench, job.id, timeout=0.5)
        async with pool.running():
            for read in (chunks, items):
                with pytest.raises(UsageError, match=r"speaks jobs have no stream, .*@pool.job\(stream=SECONDS\)"):
                    await read(bench, plain.id)
            reading = asyncio.create_task(chunks(bench, other.id))
            await is_watched(bench, other.id)
            assert (await client.retry_matching("scheduled")).done == 2
            assert await reading == ["la"]


@pytest.mark.parametrize(
    ("heartbeats", "has_none"),
    [
        # A pool of gocraft/work, and beside it one of ours.
        ([{"job_names": "speaks"}], True),
        ([{"job_names": "speaks"}, {"job_names": "speaks", "runner": "asyncwork", "streams": "other,speaks"}], False),
        ([{"job_names": "speaks"}, {"job_names": "speaks", "runner": "asyncwork", "streams": ""}], True),
        # An older one of ours, which does not say.
        ([{"job_names": "speaks", "runner": "asyncwork"}], False),
        ([{"job_names": "other", "runner": "asyncwork", "streams": "other"}], False),
    ],
)
async def test_which_pools_have_streams(bench: Bench, heartbeats: list[dict[str, str]], has_none: bool) -> None:
    for number, fields in enumerate(heartbeats):
        await bench.redis.sadd(bench.keys.worker_pools, f"pool{number}")
        await bench.redis.hset(bench.keys.heartbeat(f"pool{number}"), mapping=fields)
    waits = JobWaits(bench.in_redis)
    assert await StreamWatch(bench.in_redis, waits, "a", lambda: None)._has_no_streams("speaks") is has_none
    await waits.close()
    await bench.redis.delete(bench.keys.worker_pools, *map(bench.keys.heartbeat, ("pool0", "pool1")))


async def test_a_reader_waits_no_longer_than_it_wants(bench: Bench) -> None:
    with pytest.raises(StreamTimeout, match="job nobody has emitted nothing, and has not ended, for 0"):
        await chunks(bench, "nobody", timeout=0.05)
    with pytest.raises(TimeoutError):
        await chunks(bench, "nobody", timeout=0)


async def test_a_stream_that_vanishes_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork._redis.stream_reader._BLOCK", 0.02)
    key = bench.keys.stream("a")
    await bench.redis.xadd(key, {"attempt": 1, "chunk": "1"})
    async with Client(bench.url, namespace=bench.namespace) as client:
        found = client.stream("a")
        assert await anext(found) == 1
        await bench.redis.delete(key)
        with pytest.raises(StreamLost, match="the stream of job a has expired, or Redis has lost it"):
            await anext(found)


@pytest.mark.parametrize(
    ("job_id", "options", "message"),
    [
        ("", {}, "job_id must be the id of a job"),
        (7, {}, "job_id must be the id of a job"),
        ("a\nb", {}, "job_id must be the id of a job"),
        ("a", {"after": "yesterday"}, "after must be the id of an item"),
        ("a", {"after": 5}, "after must be the id of an item"),
        ("a", {"timeout": -1}, "timeout must be zero or more seconds"),
    ],
)
async def test_bad_arguments_of_a_reader(bench: Bench, job_id: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await chunks(bench, job_id, **options)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "long", True])
def test_bad_times_to_keep_a_stream(value: Any) -> None:
    pool = WorkerPool("redis://127.0.0.1:1")
    with pytest.raises(UsageError, match="stream must be"):
        pool.job(stream=value)


async def test_a_key_of_another_type_is_refused_to_readers_and_replaced_by_jobs(bench: Bench) -> None:
    pool, jobs = bench.pool(), []

    @pool.job(stream=KEPT)
    async def speaks(job: Job, emits: bool) -> None:
        if emits:
            await job.emit(1)

    for emits in (True, False):
        job = await speaks.enqueue(emits)
        await bench.redis.set(bench.keys.stream(job.id), "not a stream")
        with pytest.raises(RedisUnavailable, match="WRONGTYPE"):
            await chunks(bench, job.id)
        jobs.append(job.id)
    async with pool.running():
        await pool.drain()
    assert [await chunks(bench, each) for each in jobs] == [[1], []]


async def test_redis_away_fails_the_attempt_of_a_job_that_emits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = bench.pool()
    errors: list[RedisUnavailable] = []
    send = StreamWriter._send

    async def refuse(self: Any, command: bytes) -> Any:
        if errors:
            return await send(self, command)
        raise ConnectionRefusedError("away")

    monkeypatch.setattr(StreamWriter, "_send", refuse)

    @pool.job(stream=KEPT, backoff=lambda job: 0)
    async def speaks(job: Job) -> None:
        try:
            await job.emit("x")
        except RedisUnavailable as error:
            errors.append(error)
            raise

    job = await speaks.enqueue()
    async with pool.running():
        assert told(await items(bench, job.id)) == [("x", 2, ""), (None, 0, "done")]
