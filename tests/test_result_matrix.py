"""Results: each kind of return value, each end of a job, and each way to wait."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel

from asyncwork import (
    CallNext,
    Client,
    Discard,
    Enqueuer,
    HandlerError,
    Job,
    JobExpired,
    JobFailed,
    JobState,
    NoResultError,
    ResultLost,
    ResultTimeout,
    Retry,
    Snooze,
    UsageError,
    WorkerPool,
    as_completed,
    gather,
    sync,
)
from asyncwork._redis.recovery import Recovery

from .conftest import LIMIT, Bench, open_bench, until
from .proxy import open_proxy
from .test_lost_answers import calls, once
from .tuned import QUICK


@pytest.fixture
async def client(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


async def is_waited_for(bench: Bench, job_id: str) -> None:
    async def registered() -> bool:
        return any(each.startswith(b"wait:") for each in await bench.redis.hkeys(bench.keys.job_record(job_id)))

    await until(registered)


# What is returned


class Color(Enum):
    RED = "red"


class Point(TypedDict):
    x: int


@dataclass
class Box:
    corner: Point
    color: Color | None = None


class Model(BaseModel):
    at: datetime
    parts: list[Decimal]


AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (int, 2**60),
    (float, 1.5),
    (str, "\u00fc\U0001f600"),
    (bool, False),
    (datetime, AT),
    (date, AT.date()),
    (time, time(1, 2, 3)),
    (timedelta, timedelta(days=1, milliseconds=5)),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.10")),
    (bytes, b"\x00\xff"),
    (Color, Color.RED),
    (Point, {"x": 1}),
    (Box, Box({"x": 1}, Color.RED)),
    (Model, Model(at=AT, parts=[Decimal("0.1")])),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (set[int], {1, 2}),
    (list[Box], [Box({"x": 1})]),
    (dict[str, date], {"a": AT.date()}),
    (int | str, "a"),
    (date | None, None),
    (Literal["a", "b"], "b"),
]


def returning(value: Any, kind: Any, *, plain: bool) -> Callable[[], Any]:
    async def in_loop() -> Any:
        return value

    def in_thread() -> Any:
        return value

    made = in_thread if plain else in_loop
    made.__annotations__["return"] = kind
    return made


async def test_values_come_back_as_they_were_returned(bench: Bench) -> None:
    pool = bench.pool()
    tasks: list[Any] = [
        pool.job(f"{number}-{plain}", result=60)(returning(value, kind, plain=plain))
        for number, (kind, value) in enumerate(VALUES)
        for plain in (False, True)
    ]
    async with pool.running():
        found = await gather(*[await each.enqueue() for each in tasks], timeout=LIMIT)
    expected = [value for _, value in VALUES for _ in range(2)]
    assert [(type(each), each) for each in found] == [(type(each), each) for each in expected]


@pytest.mark.parametrize("size", [1_048_576, 1_048_577])
@pytest.mark.parametrize("plain", [False, True], ids=["in the loop", "in a thread"])
async def test_the_longest_result(bench: Bench, size: int, plain: bool) -> None:
    pool = bench.pool()
    task: Any = pool.job("wat", result=60)(returning("x" * (size - 2), str, plain=plain))
    async with pool.running():
        job = await task.enqueue()
        if size <= 1_048_576:
            assert len(await job.result(LIMIT)) == size - 2
        else:
            with pytest.raises(ResultLost, match="has 1048577 bytes, and at most 1048576 are kept"):
                await job.result(LIMIT)


async def test_generators_are_no_results(bench: Bench) -> None:
    pool = bench.pool()

    def plain() -> Iterator[int]:
        yield 1

    async def asynchronous() -> AsyncIterator[int]:
        yield 1

    for each in (plain, asynchronous):
        with pytest.raises(HandlerError, match="generator"):
            pool.job(result=60)(each)

    @pool.job(result=60, max_fails=1)
    def hidden():  # type: ignore[no-untyped-def]
        return plain()

    async with pool.running():
        with pytest.raises(NoResultError):
            await (await hidden.enqueue()).result(LIMIT)


async def test_middlewares_do_not_change_the_result_and_may_leave_the_handler_out(bench: Bench) -> None:
    pool = bench.pool()

    @pool.middleware
    async def around(job: Job, call_next: CallNext) -> object:
        if job.args["skip"]:
            return "of the middleware"
        await call_next()
        return "of the middleware"

    @pool.job(result=60)
    async def wat(skip: bool) -> str | None:
        return "of the handler"

    async with pool.running():
        assert await wat.call(skip=False).result(LIMIT) == "of the handler"
        assert await wat.call(skip=True).result(LIMIT) is None


# How it ends


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (Retry(after=0), None, ""),
        (Snooze(0), None, ""),
        (Discard("enough"), JobFailed, "is discarded: enough"),
        (ValueError("sorry"), JobFailed, "is dead: ValueError: sorry"),
        (asyncio.CancelledError(), JobFailed, "is dead: CancelledError"),
        (SystemExit(3), JobFailed, "is dead: SystemExit: 3"),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_ends(bench: Bench, client: Client, error: BaseException, raised: Any, text: str) -> None:
    pool, ran = bench.pool(**QUICK), list[int]()

    @pool.job(result=60, max_fails=2 if raised is None else 1)
    async def wat() -> int:
        ran.append(1)
        if len(ran) == 1:
            raise error
        return len(ran)

    async with pool.running():
        job = await wat.enqueue()
        waits = [asyncio.create_task(each) for each in (job.result(LIMIT), client.result(job.id, timeout=LIMIT))]
        for each in waits:
            if raised is None:
                assert await each == 2
            else:
                with pytest.raises(raised, match=text):
                    await each


async def test_an_expired_job(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> None: ...

    async with pool.running():
        pass
    job = await bench.enqueuer.enqueue("wat", expires=1000)
    (payload,) = await bench.waiting("wat")
    waiting = asyncio.create_task(job.result(LIMIT))
    await is_waited_for(bench, job.id)
    late = payload.replace(b'"expires":', b'"expires":1,"was":')
    await bench.redis.lset(bench.keys.queue("wat"), 0, late)
    async with pool.running():
        with pytest.raises(JobExpired, match=f"wat {job.id} expired before it was started"):
            await waiting
    assert (await client.status(job.id)).state is JobState.EXPIRED


async def test_a_dead_job_that_is_retried_by_hand_and_done(bench: Bench, client: Client) -> None:
    pool, fails = bench.pool(), [True]

    @pool.job(result=60, max_fails=1)
    async def wat() -> int:
        if fails[0]:
            raise ValueError("sorry")
        return 5

    async with pool.running():
        job = await wat.enqueue()
        with pytest.raises(JobFailed):
            await job.result(LIMIT)
        fails[0] = False
        assert (await client.retry_matching("dead")).done == 1
        assert await job.result(LIMIT) == 5
        assert await client.result(job.id) == 5


async def test_a_quarantined_job(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(result=60, max_fails=1, backoff=lambda job: 0)
    async def wat(job: Job) -> None:
        # So that the attempt cannot be recorded.
        job._fields = None  # type: ignore[assignment]
        raise ValueError("sorry")

    async with pool.running():
        job = await wat.enqueue()
        with pytest.raises(JobFailed, match="is quarantined: it failed"):
            await job.result(LIMIT)
    assert (await client.status(job.id)).state is JobState.QUARANTINED
    await bench.redis.delete(bench.keys.quarantine)


async def test_a_result_that_is_over(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async with pool.running():
        job = await wat.enqueue()
        await pool.drain()
        await bench.redis.delete(bench.keys.job_record(job.id))
        with pytest.raises(ResultTimeout, match=r"has not ended after 0.01 s \(timeout=…\), or its result is not kept"):
            await job.result(0.01)
        with pytest.raises(ResultTimeout, match=r"or its result is not kept any more"):
            await asyncio.to_thread(lambda: wat.sync.result(job, timeout=0.01))
        assert (await client.status(job.id)).state is JobState.UNKNOWN
        with pytest.raises(ResultLost, match="it has ended, and how is not kept"):
            await client.result(job.id, timeout=LIMIT)
    pool.sync_enqueuer.close()


async def test_unknown_names(bench: Bench, client: Client) -> None:
    job = await bench.enqueuer.enqueue("nobody")
    for wait in (job.result(LIMIT), client.result(job.id, timeout=LIMIT)):
        with pytest.raises(UsageError, match="no results of 'nobody' are kept"):
            await wait


async def test_the_result_of_a_zombie_is_refused(bench: Bench) -> None:
    """Its pool was considered dead while it ran, and another pool has ended the job meanwhile."""
    zombie, other, may_end = bench.pool(concurrency=1), bench.pool(), asyncio.Event()

    async def slow() -> str:
        await may_end.wait()
        return "of the zombie"

    async def quick() -> str:
        return "of the other pool"

    task: Any = zombie.job("wat", result=60)(slow)
    other.job("wat", result=60)(quick)
    async with zombie.running():
        job = await task.enqueue()
        pool_id = str(zombie.id)
        await until(lambda: bench.redis.llen(bench.keys.in_progress("wat", pool_id)))
        await Recovery(bench.in_redis).reap(pool_id, ["wat"], None)
        async with other.running():
            assert await job.result(LIMIT) == "of the other pool"
        may_end.set()
    assert await bench.redis.hget(bench.keys.job_record(job.id), "result") == b'"of the other pool"'


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_the_end_is_sent_until_redis_confirms_it(bench: Bench, lost: str) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK)
        ran = list[int]()

        @pool.job(result=60)
        async def wat() -> int:
            ran.append(1)
            return len(ran)

        setattr(proxy, f"lose_{lost}", once(calls("finish")))
        job = await bench.enqueuer.enqueue("wat")
        async with pool.running():
            assert await job.result(LIMIT) == 1
            await pool.drain()
        assert proxy.lost == 1
    assert ran == [1]


# Who waits


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), 1e11, "1", True])
async def test_bad_timeouts_leave_no_wait_behind(bench: Bench, client: Client, bad: Any) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> int:
        return 5

    async with pool.running():
        job = await wat.options(delay=1000).enqueue()
        waits: list[Callable[[], Any]] = [
            lambda: job.result(bad),
            lambda: gather(job, timeout=bad),
            lambda: anext(as_completed([job], timeout=bad)),
            lambda: client.result(job.id, timeout=bad),
            lambda: asyncio.to_thread(lambda: wat.sync.result(job, timeout=bad)),
        ]
        for wait in waits:
            with pytest.raises(UsageError, match="timeout must be"):
                await wait()
        assert not await bench.redis.exists(bench.keys.job_record(job.id))
        for zero in (job.result(0), gather(job, timeout=0)):
            with pytest.raises(ResultTimeout, match="after 0 s"):
                await zero
        assert not pool.enqueuer._waits.get()._waits
    pool.sync_enqueuer.close()


async def test_a_thousand_wait_and_those_that_are_cancelled_leave_nothing(bench: Bench) -> None:
    pool, may_end = bench.pool(), asyncio.Event()

    @pool.job(result=60)
    async def wat() -> int:
        await may_end.wait()
        return 5

    async with pool.running():
        job, other = await wat.enqueue(), await wat.options(delay=1000).enqueue()
        waiting = [asyncio.create_task(job.result(LIMIT)) for _ in range(1000)]
        left = [asyncio.create_task(other.result(LIMIT)) for _ in range(10)]
        await is_waited_for(bench, job.id)
        assert sum(each.startswith(b"wait:") for each in await bench.redis.hkeys(bench.keys.job_record(job.id))) == 1
        for each in (*waiting[:500], *left):
            each.cancel()
        may_end.set()
        assert await asyncio.gather(*waiting[500:]) == [5] * 500
        waits = pool.enqueuer._waits.get()
        assert not waits._waits
        assert not waits._wait_of
        # Redis forgets the wait by itself.
        assert -2 <= await bench.redis.ttl(bench.keys.job_record(other.id)) <= 60
        assert all(each.cancelled() for each in (*waiting[:500], *left))


def test_one_enqueuer_waits_in_one_event_loop_after_another(redis_url: str) -> None:
    async def once_more(enqueuer: Enqueuer, *, closes: bool) -> int:
        async with open_bench(redis_url, namespace) as bench:
            pool = bench.pool()

            @pool.job("wat", result=60)
            async def wat() -> int:
                return 5

            async with pool.running():
                job = await enqueuer.enqueue("wat")
                found: int = await job.result(LIMIT)
            if closes:
                await enqueuer.close()
            return found

    namespace = f"test-{uuid.uuid4().hex[:12]}"
    enqueuer = Enqueuer(redis_url, namespace=namespace)
    for closes in (True, True):
        assert asyncio.run(once_more(enqueuer, closes=closes)) == 5
    assert not enqueuer._waits._values


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
async def test_threads_and_a_forked_process_wait_too(bench: Bench) -> None:
    pool, may_end, enqueuer = bench.pool(), asyncio.Event(), sync.Enqueuer(bench.url, namespace=bench.namespace)

    @pool.job(result=60)
    async def wat() -> int:
        await may_end.wait()
        return 5

    async with pool.running():
        job = await wat.enqueue()
        threads = [asyncio.create_task(asyncio.to_thread(enqueuer.result, job.id, timeout=LIMIT)) for _ in range(4)]
        record = bench.keys.job_record(job.id)

        async def all_wait() -> bool:
            fields: list[bytes] = await bench.redis.hkeys(record)
            return sum(each.startswith(b"wait:") for each in fields) == 4

        await until(all_wait)
        child = os.fork()
        if not child:
            # It inherits the connections of the parent, and must not use them.
            code = 1
            try:
                code = 0 if enqueuer.result(job.id, timeout=LIMIT) == 5 else 2
            finally:
                os._exit(code)
        may_end.set()
        assert await asyncio.gather(*threads) == [5] * 4
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        # In an event loop it blocks that, and works if the pool is elsewhere.
        assert enqueuer.result(job.id, timeout=LIMIT) == 5
    enqueuer.close()


async def test_what_is_read_again_after_a_reconnect(bench: Bench) -> None:
    """The subscription breaks with every end, so that no message of one can be relied upon."""
    pool = bench.pool()

    @pool.job(result=60)
    async def number(n: int) -> int:
        if n % 5 == 0:
            await bench.redis.client_kill_filter(_type="pubsub")
        return n

    async with pool.running():
        jobs = await number.enqueue_many([number.call(n) for n in range(25)])
        assert await gather(*jobs, timeout=LIMIT) == list(range(25))
