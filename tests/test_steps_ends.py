"""Durable steps at the end of their attempt: what is under way is recorded, and what cannot be is not run again."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncwork import Client, Discard, Job, JobEndedError, Retry, Snooze, StepError, UsageError, WorkerPool
from asyncwork._jobs.step_values import conversion_of
from asyncwork._redis.client import run_script
from asyncwork.testing import open_jobs

from .conftest import LIMIT, Bench, until
from .proxy import open_proxy
from .test_lost_answers import calls, once
from .test_steps import at_once, bench_is_empty, ran, records
from .tuned import QUICK, tuned


def unwritable() -> object:
    return object()


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_steps_beside_one_that_fails_are_recorded_before_the_next_attempt(bench: Bench, kind: str) -> None:
    pool, began, may_end, noted = bench.pool(), list[int](), threading.Event(), list[str]()

    async def pay() -> str:
        began.append(1)
        while not may_end.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return "paid"

    def pay_in_thread() -> str:
        began.append(1)
        may_end.wait(LIMIT)
        return "paid"

    async def fail() -> None:
        if not noted:
            await until(lambda: began)
            asyncio.get_running_loop().call_later(0.2, may_end.set)
            noted.append("failed")
            raise ValueError("no parcel")

    @pool.job(backoff=at_once)
    async def order(job: Job) -> None:
        steps = job.step("pay", pay if kind == "coroutine" else pay_in_thread), job.step("pack", fail)
        noted.append((await asyncio.gather(*steps))[0])

    await order.enqueue()
    await ran(bench, pool)
    assert began == [1]
    assert noted == ["failed", "paid"]
    assert await records(bench) == []


async def test_a_step_that_nobody_awaits_is_recorded_before_the_job_ends_and_no_other_begins(bench: Bench) -> None:
    pool, steps, refused = bench.pool(), list[str](), list[JobEndedError]()

    async def slow() -> None:
        await asyncio.sleep(0.1)
        steps.append("slow")

    tasks = []

    @pool.job(result=600)
    async def order(job: Job) -> None:
        async def beside() -> None:
            await job.step("slow", slow)
            try:
                await job.step("never", steps.append, "never")
            except JobEndedError as error:
                refused.append(error)

        tasks.append(asyncio.create_task(beside()))
        await job.step("quick", steps.append, "quick")

    job = await order.enqueue()
    async with pool.running():
        await job.result(timeout=LIMIT)
        assert steps == ["quick", "slow"]
        await until(lambda: refused)
    assert await records(bench) == []


async def test_a_timeout_ends_the_coroutines_that_go_on_after_the_handler(bench: Bench) -> None:
    pool, ended = bench.pool(), list[str]()

    async def endless() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            ended.append("cancelled")

    def threaded(job: Job) -> str:
        job.cancelled.wait(LIMIT)
        return "ends itself"

    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise ValueError("at once")

    @pool.job(max_fails=1, timeout=0.3)
    async def order(job: Job) -> None:
        await asyncio.gather(job.step("endless", endless), job.step("fail", fail))

    @pool.job(max_fails=1, timeout=0.3)
    async def in_thread(job: Job) -> None:
        await asyncio.gather(
            job.step("thread", threaded, job), job.step("endless", endless), job.step("fail", fail)
        )

    await order.enqueue()
    await in_thread.enqueue()
    async with pool.running():
        await until(lambda: bench_is_empty(bench))
    assert ended == ["cancelled", "cancelled"]
    dead = [Job.decode(payload) for payload, _ in await bench.job_set("dead")]
    assert [job.err.partition(":")[0] for job in dead] == ["JobTimeoutError", "JobTimeoutError"]
    ((_, fields),) = [(job.name, await steps_of(bench, job.id)) for job in dead if job.name == "in_thread"]
    # What the thread returned is recorded, as if it had not been interrupted.
    assert fields == ["thread"]


async def steps_of(bench: Bench, job_id: str) -> list[str]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        return [step.name for step in (await client.status(job_id)).steps]


async def test_a_stop_leaves_no_step_behind(bench: Bench) -> None:
    pool, ended, began = bench.pool(grace=0.0), list[str](), list[int]()

    async def endless() -> None:
        began.append(1)
        try:
            await asyncio.sleep(LIMIT)
        finally:
            ended.append("cancelled")

    async def fail() -> None:
        await until(lambda: began)
        raise ValueError("at once")

    @pool.job
    async def order(job: Job) -> None:
        await asyncio.gather(job.step("endless", endless), job.step("fail", fail))

    await order.enqueue()
    async with pool.running():
        await until(lambda: began)
        await asyncio.sleep(0.05)
    assert ended == ["cancelled"]
    assert await bench.redis.llen(bench.keys.queue("order")) == 1
    await bench.redis.delete(bench.keys.queue("order"))


@pytest.mark.parametrize("wrapped", ["group", "another error", "retry", "snooze", "sleep", "event"])
async def test_a_step_that_cannot_be_recorded_is_not_run_again_whatever_its_handler_raises(
    bench: Bench, wrapped: str
) -> None:
    pool, effects, compensated = bench.pool(), list[int](), list[int]()

    def effect() -> object:
        effects.append(1)
        return object()

    @pool.job(backoff=at_once)
    async def order(job: Job) -> None:
        if wrapped == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(job.step("charge", effect))
            return
        try:
            await job.step("charge", effect)
        except StepError as error:
            await job.step("note", compensated.append, 1)
            raising: dict[str, Callable[[], Awaitable[Any]]] = {
                "sleep": lambda: job.sleep("pause", 60),
                "event": lambda: job.event("go", timeout=60),
            }
            if wrapped in raising:
                await raising[wrapped]()
            raise {"another error": ValueError("no"), "retry": Retry(), "snooze": Snooze(1)}[wrapped] from error

    await order.enqueue()
    await ran(bench, pool)
    assert effects == [1]
    assert len(compensated) == (wrapped != "group")
    ((payload, _),) = await bench.job_set("dead")
    assert "step 'charge' has run, and what it returned cannot be recorded" in Job.decode(payload).err


async def test_a_handler_decides_about_a_step_that_cannot_be_recorded_if_the_job_ends(bench: Bench) -> None:
    pool, effects = bench.pool(), list[int]()

    def effect() -> object:
        effects.append(1)
        return object()

    @pool.job(backoff=at_once)
    async def order(job: Job, discards: bool) -> None:
        try:
            await job.step("charge", effect)
        except StepError as error:
            if discards:
                raise Discard("given up") from error

    await order.enqueue(True)
    await order.enqueue(False)
    await ran(bench, pool)
    assert effects == [1, 1]
    assert await bench.job_set("dead") == []
    assert await records(bench) == []


async def test_an_attempt_in_place_waits_for_its_steps_and_ends_by_one_that_cannot_be_recorded(bench: Bench) -> None:
    pool, ended = bench.pool(), list[str]()

    async def slow() -> None:
        await asyncio.sleep(0.05)
        ended.append("slow")

    def fail() -> None:
        raise ValueError("no")

    @pool.job
    async def order(job: Job, wrong: bool) -> None:
        if wrong:
            async with asyncio.TaskGroup() as group:
                group.create_task(job.step("charge", unwritable))
        await asyncio.gather(job.step("slow", slow), job.step("fail", fail))

    with open_jobs(pool, bench.url) as jobs, jobs.eager():
        with pytest.raises(ValueError, match="no"):
            await order.enqueue(False)
        assert ended == ["slow"]
        with pytest.raises(StepError, match="cannot be recorded"):
            await order.enqueue(True)


@pytest.mark.parametrize("how", ["timeout", "cancel", "own timeout"])
async def test_an_attempt_that_is_ended_while_a_step_is_recorded_waits_for_that(bench: Bench, how: str) -> None:
    """Otherwise the job would be moved before the record is sent again, and that would find no job."""
    effects, timed_out = list[int](), list[int]()
    times = tuned(QUICK, reconcile=60.0, reply_timeout=1.0, dead_after=60.0)
    async with open_proxy(bench.url) as proxy, Client(bench.url, namespace=bench.namespace) as client:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **times)

        async def effect() -> str:
            effects.append(1)
            return "done"

        @pool.job(backoff=at_once, timeout=0.3 if how == "timeout" else None)
        async def order(job: Job) -> None:
            if how == "own timeout":
                try:
                    async with asyncio.timeout(0.2):
                        await job.step("charge", effect)
                except TimeoutError:
                    timed_out.append(1)
                    raise
            else:
                await job.step("charge", effect)
            await job.event("go on", timeout=LIMIT)

        # Its connection is silent, and the others are not.
        proxy.mute_request = once(calls("record_step"))
        async with pool.running():
            job = await order.enqueue()
            await until(lambda: proxy.muted)
            if how == "cancel":
                await client.cancel(job.id)
                await until(lambda: bench_is_empty(bench))
            else:
                await until(lambda: waits(client, job.id))
                assert await client.signal(job.id, "go on")
                await until(lambda: bench_is_empty(bench))
    assert effects == [1]
    assert len(timed_out) == (how == "own timeout")
    assert await records(bench) == []


async def test_the_place_of_a_cursor_is_recorded_before_its_attempt_ends(bench: Bench) -> None:
    rows = list[int]()
    times = tuned(QUICK, reconcile=60.0, reply_timeout=2.0, dead_after=60.0)
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **times)

        @pool.job(backoff=at_once)
        async def export(job: Job) -> None:
            async for row in job.cursor("rows", lambda last: ((n, n) for n in range((last or 0) + 1, 6))):
                rows.append(row)
                if rows == [1, 2, 3]:
                    # What was sent after a second has no reply, and is sent again only when the attempt has ended.
                    await until(lambda: proxy.muted)
                    raise ValueError("no")

        proxy.mute_request = once(calls("move_cursor"))
        await export.enqueue()
        await ran(bench, pool)
    assert rows == [1, 2, 3, 3, 4, 5]
    assert await records(bench) == []


async def test_a_place_that_comes_late_does_not_set_a_cursor_back(bench: Bench) -> None:
    in_progress, steps, payload = "in-progress", bench.keys.steps("x"), b"job"
    await bench.redis.lpush(in_progress, payload)
    # The time is that of its pool, which makes it later for each place.
    places = [(b"[1000.5,7]", b"[1000.5,7]"), (b"[1000.501,8]", b"[1000.501,8]"), (b"[1000.5,7]", b"[1000.501,8]")]
    places += [(b"[1000.501,8]", b"[1000.501,8]"), (b"[2000.0,9,true]", b"[2000.0,9,true]")]
    places += [(b"[1000.501,8]", b"[2000.0,9,true]")]
    for sent, recorded in places:
        args = [payload, b"cursor:rows", sent, 100]
        assert await run_script(bench.in_redis.redis.client(), "move_cursor", [in_progress, steps], args) == 1
        assert await bench.redis.hget(steps, "cursor:rows") == recorded
    await bench.redis.delete(in_progress, steps)


def test_what_is_known_of_a_function_does_not_keep_it() -> None:
    """It may hold what the handler holds."""

    class Held:
        def method(self) -> int:
            return 7

    def make(held: Held) -> Callable[[], int]:
        def closure() -> int:
            return held.method()

        return closure

    held = Held()
    for function in (make(held), held.method, make(held)):
        assert conversion_of(function).convert is not None
    gone = weakref.ref(held)
    del held, function
    gc.collect()
    assert gone() is None
    # Neither of them can be referred to weakly, and each is a function.
    for builtin in (len, [].append, functools.partial(print)):
        assert conversion_of(builtin).convert is None


async def waits(client: Client, job_id: str) -> bool:
    return any(step.state == "waits" for step in (await client.status(job_id)).steps)


async def test_a_wait_of_no_time_takes_none(bench: Bench) -> None:
    pool, attempts = bench.pool(), list[float]()

    @pool.job
    async def order(job: Job) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for n in range(20):
            await job.sleep(f"pause {n}", 0)
            with pytest.raises(TimeoutError):
                await job.event(f"event {n}", timeout=0)
        attempts.append(loop.time() - began)

    await order.enqueue()
    await ran(bench, pool)
    # Half a second each, if they were rounded up to whole seconds.
    (took,) = attempts
    assert took < 10


async def test_a_name_that_was_refused_may_be_used(bench: Bench) -> None:
    pool, problems = bench.pool(), list[str]()

    @pool.job(max_fails=1)
    async def order(job: Job) -> None:
        for wrong in ("charge", 7, None):
            try:
                await job.step("charge", wrong)  # type: ignore[call-overload]
            except UsageError as error:
                problems.append(str(error))

    await order.enqueue()
    await ran(bench, pool)
    assert len(problems) == 3
