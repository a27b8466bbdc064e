"""Hooks: called for failed attempts and for dead jobs, and without any effect on what becomes of these."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from asyncwork import (
    ArgumentMismatchError,
    CrashedError,
    Discard,
    HandlerError,
    Job,
    JobLogFilter,
    JobOptions,
    Retry,
    Snooze,
    UnknownJobError,
    UsageError,
    WorkerPool,
)
from asyncwork._jobs.payload import write_payload
from asyncwork._redis.commands import fingerprint
from asyncwork._worker import hooks

from .conftest import LIMIT, Bench, until

LOGGER = "asyncwork.job"


async def test_each_failed_attempt_is_reported_and_the_last_one_as_death_too(bench: Bench) -> None:
    pool, called = bench.pool(), list[tuple[str, str, int, str, BaseException]]()
    raised: list[BaseException] = []

    @pool.on_dead
    async def died(job: Job, error: BaseException) -> None:
        called.append(("dead", job.id, job.fails, job.err, error))

    @pool.on_failure
    async def failed(job: Job, error: Exception) -> None:
        called.append(("failure", job.id, job.fails, job.err, error))
        assert "in wat" in job.traceback

    @pool.job("wat", max_fails=2, backoff=lambda job: 0)
    async def wat() -> None:
        raised.append(ValueError(len(raised)))
        raise raised[-1]

    job = await wat.enqueue()
    async with pool.running():
        await until(lambda: len(called) == 3)
    assert called == [
        ("failure", job.id, 1, "ValueError: 0", raised[0]),
        ("failure", job.id, 2, "ValueError: 1", raised[1]),
        ("dead", job.id, 2, "ValueError: 1", raised[1]),
    ]


async def _unrecordable(job: Job) -> None:
    job._fields = None  # type: ignore[assignment]
    raise ValueError("cannot be recorded")


def raising(error: BaseException) -> Callable[[], Any]:
    async def handler() -> None:
        raise error

    return handler


ONCE = JobOptions(max_fails=1)
DROPPED = JobOptions(max_fails=1, skip_dead=True)
# What the handler does, the options, and the hooks that are called.
CASES: dict[str, tuple[Callable[..., Any], JobOptions, list[str]]] = {
    "returns": (lambda: None, ONCE, []),
    "raises": (raising(ValueError()), JobOptions(), ["failure"]),
    "retry": (raising(Retry(after=60)), JobOptions(), ["failure"]),
    "last_retry": (raising(Retry(after=60)), ONCE, ["failure", "dead"]),
    "snooze": (raising(Snooze(60)), ONCE, []),
    "discard": (raising(Discard("no use")), ONCE, []),
    "dies": (raising(ValueError()), ONCE, ["failure", "dead"]),
    "dropped": (raising(ValueError()), DROPPED, ["failure", "dead"]),
    "exits": (raising(SystemExit(3)), ONCE, ["failure", "dead"]),
    "cancels": (raising(asyncio.CancelledError()), JobOptions(), ["failure"]),
    "quarantined": (_unrecordable, JobOptions(), ["failure", "dead"]),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_counts_as_a_failure(bench: Bench, case: str) -> None:
    handler, options, expected = CASES[case]
    pool, called = bench.pool(), list[str]()
    pool.on_failure(lambda job, error: called.append("failure"))
    pool.on_dead(lambda job, error: called.append("dead"))
    chosen = {"max_fails": options.max_fails, "skip_dead": options.skip_dead}
    pool.job("wat", **chosen)(handler)  # type: ignore[call-overload]
    await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
    assert sorted(called, reverse=True) == expected


async def test_jobs_that_no_handler_ran_are_dead_too(bench: Bench) -> None:
    pool, errors = bench.pool(), dict[str, BaseException]()

    @pool.on_dead
    async def note(job: Job, error: BaseException) -> None:
        errors[job.id] = error

    @pool.job
    async def wat(n: int) -> None: ...

    mismatched = await bench.enqueuer.enqueue("wat", {"n": "text"})
    poison = await bench.enqueuer.enqueue("wat", {"n": 1})
    payload, _ = reversed(await bench.waiting("wat"))
    await bench.redis.hset(bench.keys.crashes, fingerprint(payload), 3)
    await bench.redis.lpush(bench.keys.queue("wat"), write_payload("other", "stray", 1, b"null"))
    async with pool.running():
        await pool.drain()
    kinds = {mismatched.id: ArgumentMismatchError, poison.id: CrashedError, "stray": UnknownJobError}
    assert {job_id: type(error) for job_id, error in errors.items()} == kinds
    await until(lambda: _no_crashes(bench))


async def _no_crashes(bench: Bench) -> bool:
    return not await bench.redis.hlen(bench.keys.crashes)


async def test_a_plain_hook_runs_in_a_thread_and_its_lines_name_the_job(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pool, threads = bench.pool(), dict[str, threading.Thread]()

    @pool.on_failure
    def plain(job: Job, error: BaseException) -> None:
        threads["plain"] = threading.current_thread()
        logging.getLogger("app").info("plain")

    @pool.on_failure
    async def awaits(job: Job, error: BaseException) -> None:
        await asyncio.sleep(0)
        threads["async"] = threading.current_thread()
        logging.getLogger("app").info("async")

    pool.job("wat")(raising(ValueError()))
    job = await bench.enqueuer.enqueue("wat")
    caplog.handler.addFilter(job_filter := JobLogFilter())
    try:
        async with pool.running():
            await pool.drain()
    finally:
        caplog.handler.removeFilter(job_filter)
    assert threads["async"] is threading.main_thread() is not threads["plain"]
    lines = {each.getMessage(): vars(each)["job_id"] for each in caplog.records if each.name == "app"}
    assert lines == {"plain": job.id, "async": job.id}


async def test_draining_waits_for_hooks_and_for_the_jobs_that_they_enqueue(bench: Bench) -> None:
    pool, ran = bench.pool(), list[str]()

    @pool.job
    async def repairs(what: str) -> None:
        ran.append(what)

    @pool.on_dead
    async def enqueues(job: Job, error: BaseException) -> None:
        await asyncio.sleep(0.02)
        await repairs.enqueue(job.id)

    pool.job("wat", max_fails=1)(raising(ValueError()))
    job = await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
        assert ran == [job.id]


def raise_it(error: BaseException) -> None:
    raise error


async def _cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


RAISED: dict[str, Callable[[], BaseException]] = {
    "error": lambda: ValueError("sorry"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "generator_exit": GeneratorExit,
    "stop_iteration": StopIteration,
    "discard": lambda: Discard("no use"),
}


@pytest.mark.parametrize("kind", [*RAISED, "cancels_itself"])
async def test_what_a_hook_raises_is_logged_and_changes_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    pool, called = bench.pool(concurrency=2), Counter[str]()

    @pool.on_failure
    async def at_once(job: Job, error: BaseException) -> None:
        await _cancels_itself() if kind == "cancels_itself" else raise_it(RAISED[kind]())

    @pool.on_failure
    async def after_a_wait(job: Job, error: BaseException) -> None:
        await asyncio.sleep(0.001)
        await _cancels_itself() if kind == "cancels_itself" else raise_it(RAISED[kind]())

    names = ["at_once", "after_a_wait"]
    if kind != "cancels_itself":
        names.append("in_a_thread")

        @pool.on_failure
        def in_a_thread(job: Job, error: BaseException) -> None:
            raise RAISED[kind]()

    @pool.on_failure
    async def fine(job: Job, error: BaseException) -> None:
        called[job.id] += 1

    pool.job("wat")(raising(ValueError("the job's own")))
    jobs = await bench.enqueuer.enqueue_many([("wat", None)] * 5)
    async with pool.running():
        pool_id = pool.id
        await pool.drain()
        assert pool.id == pool_id
    assert called == {job.id: 1 for job in jobs}
    payloads = [json.loads(payload) for payload, _ in await bench.job_set("retry")]
    assert {each["id"]: (each["fails"], each["err"]) for each in payloads} == {
        job.id: (1, "ValueError: the job's own") for job in jobs
    }
    logged = Counter((each.getMessage().split(" failed for ")[0], vars(each)["job_id"]) for each in failures(caplog))
    prefix = "hook test_what_a_hook_raises_is_logged_and_changes_nothing.<locals>."
    assert logged == {(prefix + name, job.id): 1 for name in names for job in jobs}


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the lines about hooks that have raised."""
    return [each for each in caplog.records if " failed for " in each.getMessage() and each.name == LOGGER]


async def test_the_line_about_a_hook_shows_where_it_raised(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool = bench.pool()

    @pool.on_failure
    def alert(job: Job, error: BaseException) -> None:
        raise LookupError(job.name)

    pool.job("wat")(raising(ValueError()))
    job = await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
    (line,) = failures(caplog)
    assert line.getMessage().endswith(f".alert failed for wat {job.id}: LookupError: wat")
    assert line.exc_info is not None
    trace = line.exc_info[2]
    assert trace is not None
    assert trace.tb_frame.f_code.co_name == "alert"


async def test_the_outcome_is_recorded_while_a_hook_hangs_and_its_worker_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, hanging, ran = bench.pool(concurrency=1), asyncio.Event(), list[int]()

    @pool.on_failure
    async def hangs(job: Job, error: BaseException) -> None:
        hanging.set()
        await asyncio.Event().wait()

    @pool.job
    async def plain(n: int) -> None:
        ran.append(n)

    pool.job("wat")(raising(ValueError()))
    async with pool.running():
        monkeypatch.setattr(hooks, "_TIME_LIMIT", LIMIT)
        await bench.enqueuer.enqueue("wat")
        await hanging.wait()
        await until(lambda: bench.job_set("retry"))
        await plain.enqueue(1)
        await until(lambda: ran)
        monkeypatch.setattr(hooks, "_TIME_LIMIT", 0.05)
        job = await bench.enqueuer.enqueue("wat")
        await until(lambda: "did not end" in caplog.text)
        await pool.stop(now=True)
    lines = [each.getMessage() for each in caplog.records if "hook" in each.getMessage()]
    assert lines[0].startswith("cancelled a call of hook ")
    assert lines[0].endswith(f".hangs for wat {job.id}: it did not end within 0.05 s")
    assert lines[1:] == ["cancelled 1 call of hooks: the pool has stopped"]


async def test_nothing_waits_for_a_hook_that_ignores_its_cancellation(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_TIME_LIMIT", 0.02)
    monkeypatch.setattr(hooks, "_CLOSE_LIMIT", 0.02)
    pool, released, ended = bench.pool(), asyncio.Event(), asyncio.Event()

    @pool.on_failure
    async def ignores(job: Job, error: BaseException) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    pool.job("wat")(raising(ValueError()))
    await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
        assert not ended.is_set()
    assert pool.stop_failure == ""
    assert "did not end within 0.02 s" in caplog.text
    assert "the pool has stopped" not in caplog.text
    released.set()
    await ended.wait()


async def test_threads_of_hooks_that_hang_are_limited(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_MOST_THREADS", 1)
    monkeypatch.setattr(hooks, "_TIME_LIMIT", LIMIT)
    monkeypatch.setattr(hooks, "_LONGEST_WAIT", 0.02)
    pool, released, began = bench.pool(), threading.Event(), list[str]()

    @pool.on_failure
    def hangs(job: Job, error: BaseException) -> None:
        began.append(job.id)
        released.wait(LIMIT)

    pool.job("wat")(raising(ValueError()))
    try:
        async with pool.running():
            first = await bench.enqueuer.enqueue("wat")
            await until(lambda: began)
            assert pool._launcher is not None
            assert pool._launcher._hooks is not None
            (call,) = pool._launcher._hooks._awaited
            call._on_time_over()
            await pool.drain()
            second = await bench.enqueuer.enqueue("wat")
            await pool.drain()
            assert began == [first.id]
            released.set()
            monkeypatch.setattr(hooks, "_LONGEST_WAIT", LIMIT)
            third = await bench.enqueuer.enqueue("wat")
            await pool.drain()
            assert began == [first.id, third.id]
    finally:
        released.set()
    assert f"hangs for wat {first.id}: it did not end within {LIMIT:g} s" in caplog.text
    assert f"hangs for wat {second.id}: no thread was free for 0.02 s" in caplog.text


async def test_a_hook_that_is_cancelled_before_its_thread_begins_leaves_the_thread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_MOST_THREADS", 1)
    pool, called = bench.pool(), list[str]()

    @pool.on_failure
    def plain(job: Job, error: BaseException) -> None:
        called.append(job.id)

    runner = pool._registry.hook_runner()
    assert runner is not None
    job = Job.decode(b'{"name":"wat","id":"1","t":1,"args":null}')
    runner.attempt_failed(job, ValueError(), dead=False)
    (call,) = runner._awaited
    # One step: it has the thread's place, and the thread has not begun.
    await asyncio.sleep(0)
    call.cancel()
    await runner.finish()
    runner.attempt_failed(job, ValueError(), dead=False)
    await runner.finish()
    assert len(called) in (1, 2)
    assert not runner._threads.locked()


async def test_calls_of_hooks_are_limited(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_MOST_CALLS", 2)
    pool, released, called = bench.pool(), asyncio.Event(), Counter[str]()

    @pool.on_failure
    async def waits(job: Job, error: BaseException) -> None:
        called[job.id] += 1
        await released.wait()

    pool.job("wat")(raising(ValueError()))
    async with pool.running():
        await bench.enqueuer.enqueue_many([("wat", None)] * 5)
        await until(lambda: _count(bench, 5))
        assert called.total() == 2
        released.set()
        await pool.drain()
        await bench.enqueuer.enqueue("wat")
        await pool.drain()
    assert called.total() == 3
    lines = [each.getMessage() for each in caplog.records if "left out" in each.getMessage()]
    assert len(lines) == 2
    assert lines[0].endswith("(logged once): 2 calls of hooks have not ended")
    assert lines[1] == "hooks are called again; left out 3 calls"


async def _count(bench: Bench, number: int) -> bool:
    return len(await bench.job_set("retry")) == number


async def test_a_stop_waits_for_hooks_within_the_grace_period(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool, began, released, ended = bench.pool(grace=LIMIT), asyncio.Event(), asyncio.Event(), list[str]()

    @pool.on_dead
    async def waits(job: Job, error: BaseException) -> None:
        began.set()
        await released.wait()
        ended.append(job.id)

    pool.job("wat", max_fails=1)(raising(ValueError()))
    job = await bench.enqueuer.enqueue("wat")
    await pool.start()
    await began.wait()
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    released.set()
    await stopping
    assert ended == [job.id]
    assert "cancelled" not in caplog.text


@pytest.mark.parametrize("how", ["grace", "now"])
async def test_hooks_that_outlast_the_grace_period_are_cancelled(
    bench: Bench, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    pool = bench.pool(grace=0.05 if how == "grace" else LIMIT)
    began, cancelled = list[str](), list[str]()

    @pool.on_dead
    async def waits(job: Job, error: BaseException) -> None:
        began.append(job.id)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(job.id)
            raise

    pool.job("wat", max_fails=1)(raising(ValueError()))
    await bench.enqueuer.enqueue_many([("wat", None)] * 2)
    await pool.start()
    await until(lambda: len(began) == 2)
    await pool.stop(now=how == "now")
    assert sorted(cancelled) == sorted(began)
    assert "cancelled 2 calls of hooks: the pool has stopped" in caplog.text
    assert pool.stop_failure == ""
    assert len(await bench.job_set("dead")) == 2


async def test_a_job_that_was_cut_off_has_not_failed(bench: Bench) -> None:
    pool, began, called = bench.pool(grace=0.02), asyncio.Event(), list[str]()
    pool.on_failure(lambda job, error: called.append(job.id))

    @pool.job
    async def wat() -> None:
        began.set()
        await asyncio.sleep(1000)

    await wat.enqueue()
    await pool.start()
    await began.wait()
    await pool.stop()
    assert called == []
    assert len(await bench.waiting("wat")) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("waits", [False, True])
async def test_a_child_that_a_hook_has_forked_ends_with_it(bench: Bench, waits: bool) -> None:
    pool, codes = bench.pool(), list[int]()

    @pool.on_failure
    async def forks(job: Job, error: BaseException) -> None:
        pid = os.fork()
        if pid:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))  # noqa: ASYNC222
        elif waits:
            await asyncio.sleep(60)

    pool.job("wat")(raising(ValueError()))
    await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
    assert codes == [1 if waits else 0]


def test_a_pool_without_hooks_has_nothing_to_call() -> None:
    assert WorkerPool()._registry.hook_runner() is None


# Registration


class CallableHook:
    def __call__(self, job: Job, error: BaseException) -> None: ...


async def good_quoted(job: "Job", error: "Exception") -> None: ...  # noqa: UP037
def good_bare(job, error): ...  # type: ignore[no-untyped-def]
def good_any(job: object, error: Any) -> None: ...
def good_union(job: Job, error: Exception | None) -> None: ...
def good_more(job: Job, error: BaseException, channel: str = "ops") -> None: ...
def good_rest(*args: Any, **kwargs: Any) -> None: ...
def good_unresolved(job: work.Job, error: work.Error) -> None: ...  # type: ignore[name-defined]  # noqa: F821


GOOD = [good_quoted, good_bare, good_any, good_union, good_more, good_rest, good_unresolved, CallableHook()]


@pytest.mark.parametrize("hook", GOOD)
def test_these_are_hooks(hook: Any) -> None:
    pool = WorkerPool()
    assert pool.on_failure(hook) is hook
    assert pool.on_dead(hook) is hook


async def bad_few(job: Job) -> None: ...
async def bad_many(context: Any, job: Job, error: BaseException) -> None: ...
async def bad_keyword(job: Job, error: BaseException, *, channel: str) -> None: ...
async def bad_none() -> None: ...
async def bad_swapped(error: BaseException, job: Job) -> None: ...
async def bad_job(job: dict[str, Any], error: BaseException) -> None: ...
async def bad_error(job: Job, error: ValueError) -> None: ...
async def bad_text(job: Job, error: str) -> None: ...
async def bad_jobs(job: Job, error: Job) -> None: ...


async def bad_generator(job: Job, error: BaseException) -> Any:
    yield


BAD: list[tuple[Any, str]] = [
    (bad_few, "bad_few cannot be called with two arguments: too many positional arguments"),
    (bad_many, "bad_many cannot be called with two arguments: missing a required argument: 'error'"),
    (bad_keyword, "bad_keyword cannot be called with two arguments: missing a required .*'channel'"),
    (bad_none, "bad_none cannot be called with two arguments"),
    (bad_swapped, "bad_swapped gets a Job as 'error', which is annotated with another type"),
    (bad_job, "bad_job gets a Job as 'job', which is annotated with another type"),
    (bad_error, "bad_error gets every error as 'error', which is annotated with neither BaseException nor Exception"),
    (bad_text, "bad_text gets every error as 'error'"),
    (bad_jobs, "bad_jobs gets every error as 'error'"),
    (None, "not a hook: None"),
    ("alert", "not a hook: 'alert'"),
]


@pytest.mark.parametrize(("hook", "message"), BAD)
def test_these_are_refused_with_what_would_fit(hook: Any, message: str) -> None:
    pool = WorkerPool()
    for register in (pool.on_failure, pool.on_dead):
        with pytest.raises(HandlerError, match=message) as raised:
            register(hook)
        assert str(raised.value).endswith(
            "a hook takes (job: Job, error: BaseException), as an `async def` or a plain function"
        )
        assert "\n" not in str(raised.value)
    assert pool._registry.hook_runner() is None


@pytest.mark.parametrize(("hook", "message"), [(bad_generator, "`yield`"), (CallableHook, "register an instance")])
def test_what_would_not_run_is_refused(hook: Any, message: str) -> None:
    with pytest.raises(HandlerError, match=message):
        WorkerPool().on_failure(hook)


async def test_hooks_are_added_before_the_pool_starts(bench: Bench) -> None:
    pool = bench.pool()
    pool.job("wat")(lambda: None)
    async with pool.running():
        for register in (pool.on_failure, pool.on_dead):
            with pytest.raises(UsageError, match="the pool is running: add a hook before it starts"):
                register(good_any)
