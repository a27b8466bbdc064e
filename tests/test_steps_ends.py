"""Durable steps at the end of their attempt: what is under way is recorded, and what cannot be is not run again."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import re
import shlex
import threading
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asyncwork import Client, Discard, Job, JobEndedError, Retry, Snooze, StepError, UsageError, WorkerPool
from asyncwork._jobs import step_calls
from asyncwork._jobs.step_values import conversion_of
from asyncwork._redis.client import run_script
from asyncwork.cli import main
from asyncwork.testing import make_job, open_jobs

from .conftest import LIMIT, Bench, open_bench, until
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
        paying: Awaitable[str] = job.step("pay", pay if kind == "coroutine" else pay_in_thread)
        noted.append((await asyncio.gather(paying, job.step("pack", fail)))[0])

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
        await asyncio.gather(job.step("thread", threaded, job), job.step("endless", endless), job.step("fail", fail))

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
    builtins: list[Any] = [len, [].append, functools.partial(print)]
    for builtin in builtins:
        assert conversion_of(builtin).convert is None


async def test_the_log_says_what_a_job_waits_for(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncwork.job")
    pool = bench.pool()

    @pool.job
    async def order(job: Job, both: bool) -> None:
        if both:
            await asyncio.gather(job.event("paid", timeout=LIMIT), job.sleep("pause", 1.1))
        await job.event("approved", timeout=LIMIT)

    async with Client(bench.url, namespace=bench.namespace) as client, pool.running():
        jobs = [await order.enqueue(both) for both in (False, True)]
        await until(lambda: waits(client, jobs[0].id))
        for name, job in [("approved", jobs[0]), ("paid", jobs[1]), ("approved", jobs[1])]:
            assert await client.signal(job.id, name)
        await until(lambda: bench_is_empty(bench))
    lines = [line.removeprefix(f"order {job.id} ") for line in caplog.messages for job in jobs if job.id in line]
    assert re.fullmatch(r"waits for the event 'approved' until \d{4}-.* UTC", lines[0])
    assert all(re.match("waits for the (event '(approved|paid)'|end of the sleep 'pause')", line) for line in lines)
    assert not [line for line in lines if "snoozed" in line]


# Tries within an attempt


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_step_is_tried_again_within_its_attempt(
    bench: Bench, threaded: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(step_calls, "_pause_after", lambda tries: 0.01 * tries)
    pool, tries, keys = bench.pool(), Counter[str](), set[str]()

    def charge_in_thread(name: str, key: str, *, until: int) -> int:
        tries[name] += 1
        keys.add(key)
        if tries[name] < until:
            raise ConnectionError("the service is away")
        return tries[name]

    async def charge(name: str, key: str, *, until: int) -> int:
        return charge_in_thread(name, key, until=until)

    function: Any = charge_in_thread if threaded else charge

    @pool.job(result=600, max_fails=2, backoff=at_once)
    async def order(job: Job) -> list[int]:
        first = await job.step("first", function, "first", job.key("first"), until=3, retries=3)
        second = await job.step("second", function, "second", job.key("second"), until=4, retries=2)
        return [first, second, await job.step("third", function, "third", job.key("third"), until=1, retries=0)]

    job = await order.enqueue()
    async with pool.running():
        # The second is tried three times in the first attempt, and once in the next.
        assert await job.result(timeout=LIMIT) == [3, 4, 1]
    assert tries == {"first": 3, "second": 4, "third": 1}
    assert keys == {f"{job.id}:{name}" for name in tries}
    lines = [each for each in caplog.messages if "to be tried again in 0.0" in each]
    assert len(lines) == 4
    text = "step 'first' failed (try 1 of 4), to be tried again in 0.01 s: ConnectionError: the service is away"
    assert lines[0] == f"order {job.id}: {text}"


def test_the_pauses_between_tries_grow() -> None:
    pauses = [step_calls._pause_after(tries) for tries in range(1, 101)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert set(pauses[5:]) == {30}


async def test_decisions_and_bad_use_are_not_tried_again(bench: Bench) -> None:
    pool, tries, problems = bench.pool(), list[str](), list[str]()

    async def decide(error: Exception) -> None:
        tries.append(type(error).__name__)
        raise error

    async def own(retries: int) -> int:
        return retries

    @pool.job(max_fails=1)
    async def order(job: Job) -> None:
        final = (Retry(), Snooze(60), Discard("no"), StepError("no"), UsageError("no"), JobEndedError("no"))
        for n, error in enumerate(final):
            with pytest.raises(type(error)):
                await job.step(f"step {n}", decide, error, retries=5)
        wrong: Any
        for n, wrong in enumerate((-1, 101, 1.5, True, "3")):
            with pytest.raises(UsageError) as raised:
                await job.step(f"wrong {n}", decide, ValueError(), retries=wrong)
            problems.append(str(raised.value))
        with pytest.raises(
            UsageError, match=r"own has a parameter of the same name: pass that with functools\.partial"
        ):
            await job.step("ambiguous", own, retries=3)
        assert await job.step("both", functools.partial(own, retries=7), retries=3) == 7
        assert await job.step("built in", max, 3, 4, retries=1) == 4
        problems.append("all right")

    await order.enqueue()
    await ran(bench, pool)
    assert tries == ["Retry", "Snooze", "Discard", "StepError", "UsageError", "JobEndedError"]
    assert problems[:-1] == [
        f"retries must be a whole number from 0 to 100, not {each}" for each in ("-1", "101", "1.5", "True", "'3'")
    ]
    assert problems[-1] == "all right"


async def test_an_attempt_that_ends_cuts_the_tries_of_its_steps_short(bench: Bench) -> None:
    pool, tries = bench.pool(), list[str]()

    async def fail(name: str) -> None:
        tries.append(name)
        raise ValueError(name)

    @pool.job(max_fails=1)
    async def sibling(job: Job) -> None:
        await asyncio.gather(job.step("again", fail, "again", retries=50), job.step("once", fail, "once"))

    @pool.job(max_fails=1, timeout=0.2)
    async def late(job: Job) -> None:
        await job.step("late", fail, "late", retries=50)

    await sibling.enqueue()
    await late.enqueue()
    async with pool.running():
        await until(lambda: bench_is_empty(bench))
    assert Counter(tries) == {"again": 1, "once": 1, "late": 1}
    dead = {job.name: job.err for job in [Job.decode(payload) for payload, _ in await bench.job_set("dead")]}
    assert dead["sibling"] == "ValueError: once"
    assert dead["late"].startswith("JobTimeoutError")


async def test_tries_in_place_follow_each_other_at_once(bench: Bench) -> None:
    pool, tries = bench.pool(), list[int]()

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 40:
            raise ValueError("not yet")
        return len(tries)

    @pool.job
    async def order(job: Job) -> None:
        await job.step("flaky", flaky, retries=100)

    with open_jobs(pool, bench.url) as jobs, jobs.eager():
        await order.enqueue()
    assert len(tries) == 40
    tries.clear()
    await order(make_job(order))
    assert len(tries) == 40


async def waits(client: Client, job_id: str) -> bool:
    return any(step.state == "waits" for step in (await client.status(job_id)).steps)


async def test_a_job_that_needs_no_event_leaves_none(bench: Bench) -> None:
    pool, ran_as = bench.pool(), list[bool]()

    @pool.job
    async def order(job: Job, asks: bool) -> None:
        ran_as.append(asks)
        if asks:
            await job.event("approved", timeout=LIMIT)

    @pool.job
    async def retried(job: Job) -> None:
        if not job.fails:
            await job.step("charge", ran_as.append, True)
            raise Retry(after=0)

    async with Client(bench.url, namespace=bench.namespace) as client:
        jobs = [await order.enqueue(asks) for asks in (True, False, False)]
        for job in jobs:
            assert await client.signal(job.id, "approved")
        await retried.enqueue()
        await ran(bench, pool)
        assert await records(bench) == []
        for job in jobs:
            with pytest.raises(JobEndedError):
                await client.signal(job.id, "approved")


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


def test_the_terminal_says_how_to_send_the_event_for_which_a_job_waits(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def wait() -> tuple[str, str]:
        async with open_bench(redis_url) as bench, Client(bench.url, namespace=bench.namespace) as client:
            pool = bench.pool()

            @pool.job
            async def order(job: Job) -> None:
                await job.event("it's here", timeout=LIMIT)

            async with pool.running():
                job = await order.enqueue()
                await until(lambda: waits(client, job.id))
            return bench.namespace, job.id

    namespace, job_id = asyncio.run(wait())
    assert main(["job", job_id, "-n", namespace, "--redis", redis_url]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "signal" in line]
    words = shlex.split(line)
    assert words[:7] == ["$", "asyncwork", "jobs", "signal", job_id, "it's here", "VALUE"]
    words[6] = "7"
    assert main(words[2:]) == 0
    assert "event it's here was sent" in capsys.readouterr().out
