"""A pool survives everything that a job, a middleware, a backoff, a hook or a log handler does.

The hostile job fails with a text, and every other job runs once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncwork import CallNext, Discard, Job, Retry
from asyncwork._worker import hooks

from .conftest import LIMIT, Bench, until
from .hostile import (
    HOOK_LIMIT,
    LATER,
    App,
    EvilHandler,
    cancels_itself_at_the_end,
    cancels_itself_later,
    never_leaves_a_timeout,
)

PLAIN = 1000


@pytest.fixture
def evil_logging() -> Iterator[None]:
    """Add a log handler that raises to the loggers that applications use."""
    handler = EvilHandler()
    loggers = [logging.getLogger(name) for name in ("asyncwork", "asyncwork.job")]
    for logger in loggers:
        logger.addHandler(handler)
    yield
    for logger in loggers:
        logger.removeHandler(handler)


async def enqueue_all(bench: Bench, app: App) -> dict[str, str]:
    """Enqueue every hostile job among plain ones; return the names of the hostile jobs by id."""
    jobs = [(name, None) for name in (*app.failing, *app.others)]
    plain = [("threaded" if n % 10 == 9 else "plain", {"n": n}) for n in range(PLAIN)]
    mixed = [*jobs, *plain]
    random.Random(7).shuffle(mixed)
    enqueued = await bench.enqueuer.enqueue_many(mixed)
    return {job.id: job.name for job in enqueued if job.name not in ("plain", "threaded")}


async def all_is_well(bench: Bench, app: App, names: dict[str, str], plain: int = PLAIN) -> None:
    """Assert that every plain job ran once, and that every job which must fail has failed with a text."""
    assert app.ran() == Counter(range(plain))
    texts: dict[str, str] = {}
    for job_set in ("retry", "dead"):
        for member, _ in await bench.job_set(job_set):
            job = json.loads(member)
            texts[names[job["id"]]] = job["err"]
    for record in await bench.redis.lrange(bench.keys.quarantine, 0, -1):
        kept = json.loads(record)
        texts[names[json.loads(kept["payload"])["id"]]] = kept["reason"]
    assert sorted(texts) == sorted(app.failing)
    assert all(texts.values())


@pytest.mark.parametrize("way", ["running", "lifespan"])
async def test_in_an_application(
    bench: Bench, tmp_path: Path, evil_logging: None, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(hooks, "_TIME_LIMIT", HOOK_LIMIT)
    # A task group whose parent has ended tells the loop of its reader's failure.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    app = App(bench.url, bench.namespace, tmp_path / "diary")
    pool = app.pool
    names = await enqueue_all(bench, app)
    async with pool.running() if way == "running" else pool.lifespan(None):
        pool_id = pool.id
        await pool.drain()
        # Everything that jobs left behind has taken effect.
        await asyncio.sleep(0.1)
        await bench.enqueuer.enqueue("plain", {"n": PLAIN})
        await until(lambda: PLAIN in app.ran())
        assert pool.id == pool_id is not None
    assert pool.id is None
    await all_is_well(bench, app, names, PLAIN + 1)
    assert app.hooked["failed"] == app.hooked["in a thread"] == len(app.failing)
    assert app.hooked.keys() >= app.hook_names()


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_in_a_process_of_its_own(bench: Bench, tmp_path: Path, loop: str) -> None:
    diary = tmp_path / "diary"
    app = App(bench.url, bench.namespace, diary)
    app.add_what_stops_the_loop()
    names = await enqueue_all(bench, app)
    environment = {
        **os.environ,
        "ASYNCWORK_REDIS": bench.url,
        "ASYNCWORK_NAMESPACE": bench.namespace,
        "ASYNCWORK_LOOP": loop,
        "HOSTILE_DIARY": str(diary),
    }
    command = [sys.executable, "-m", "asyncwork", "run", "tests.hostile:pool", "--burst"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    await all_is_well(bench, app, names)


@pytest.mark.parametrize("leaving", [cancels_itself_at_the_end, cancels_itself_later, never_leaves_a_timeout])
async def test_a_late_cancellation_is_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, leaving: Callable[[], Awaitable[None]]
) -> None:
    pool = bench.pool(concurrency=2)
    pool.job("leaving")(leaving)
    for _ in range(5):
        await bench.enqueuer.enqueue("leaving")
    async with pool.running():
        await pool.drain()
        await until(lambda: "has its task cancelled" in caplog.text)
        # The late cancellations of the other jobs have taken effect, too.
        await asyncio.sleep(5 * LATER)
        assert await bench.job_set("retry") == []
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith("leaving ")
    assert "has its task cancelled as it ends, or later; ignoring that, for all jobs of this name" in line


async def _sleeps() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)


async def _waits_for_a_future() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(0.001, future.set_result, None)
    await future


async def _waits_in_time() -> None:
    await asyncio.wait_for(asyncio.sleep(0.001), 1)
    async with asyncio.timeout(1):
        await asyncio.sleep(0.001)


async def _waits_for_tasks() -> None:
    await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0))
    await asyncio.wait([asyncio.create_task(asyncio.sleep(0.001))])
    await asyncio.shield(asyncio.sleep(0.001))
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.001))
    async with anyio.create_task_group() as scope:
        scope.start_soon(asyncio.sleep, 0.001)


async def _waits_for_threads() -> None:
    await asyncio.to_thread(time.sleep, 0.001)
    await anyio.to_thread.run_sync(time.sleep, 0.001)


async def _waits_for_others() -> None:
    loop, event, queue = asyncio.get_running_loop(), asyncio.Event(), asyncio.Queue[int]()
    loop.call_soon(event.set)
    await event.wait()
    loop.call_soon(queue.put_nowait, 1)
    await queue.get()


async def _fails_having_waited() -> None:
    await asyncio.sleep(0.001)
    raise Discard("sorry")


async def test_a_job_that_leaves_nothing_behind_keeps_its_workers_task(bench: Bench) -> None:
    pool, tasks = bench.pool(concurrency=1), list[weakref.ref[Any]]()

    @pool.middleware
    async def note_task(job: Job, call_next: CallNext) -> object:
        tasks.append(weakref.ref(asyncio.current_task()))
        return await call_next()

    for waits in (
        _sleeps,
        _waits_for_a_future,
        _waits_in_time,
        _waits_for_tasks,
        _waits_for_threads,
        _waits_for_others,
        _fails_having_waited,
    ):
        pool.job(waits)
        await bench.enqueuer.enqueue(waits.__name__)
    pool.job("threaded")(lambda: None)
    await bench.enqueuer.enqueue("threaded")
    async with pool.running():
        await pool.drain()
        assert len(tasks) == 8
        assert len({task() for task in tasks}) == 1
        assert tasks[0]() is not None


_tasks: weakref.WeakSet[Any] = weakref.WeakSet()


async def _is_cancelled_through_its_task() -> None:
    """Behave like a client that keeps the tasks which use it, and cancels them when it is closed."""
    _tasks.add(asyncio.current_task())
    asyncio.get_running_loop().call_later(LATER, lambda: [task.cancel() for task in list(_tasks)])


async def _takes_its_cancellation_back() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    task.uncancel()


@pytest.mark.parametrize("leaving", [_is_cancelled_through_its_task, _takes_its_cancellation_back])
async def test_a_cancellation_without_a_reference_affects_no_other_job(
    bench: Bench, leaving: Callable[[], Awaitable[None]]
) -> None:
    # In each pair of jobs fetched together, one leaves a cancellation behind.
    pool, ended = bench.pool(concurrency=4), list[int]()

    @pool.job
    async def either(n: int) -> None:
        if n % 2 == 0:
            await leaving()
            return
        await asyncio.sleep(3 * LATER)
        ended.append(n)

    await bench.enqueuer.enqueue_many([("either", {"n": n}) for n in range(20)])
    async with pool.running():
        await pool.drain()
    assert sorted(ended) == [*range(1, 20, 2)]
    assert await bench.job_set("retry") == []


async def test_a_running_job_may_cancel_another(bench: Bench) -> None:
    pool, running = bench.pool(concurrency=2), asyncio.Event()
    tasks: list[asyncio.Task[Any] | None] = []

    @pool.job
    async def waits() -> None:
        tasks.append(asyncio.current_task())
        running.set()
        await asyncio.sleep(60)

    @pool.job
    async def cancels() -> None:
        await running.wait()
        assert tasks[0] is not None
        tasks[0].cancel()
        await asyncio.sleep(LATER)

    await bench.enqueuer.enqueue_many([("waits", None), ("cancels", None)])
    async with pool.running():
        await pool.drain()
        ((failed, _),) = await bench.job_set("retry")
    assert json.loads(failed)["name"] == "waits"


async def test_a_worker_whose_coroutine_is_closed_goes_on(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool, ran = bench.pool(concurrency=2), list[int]()

    @pool.job
    async def closes() -> None:
        task = asyncio.current_task()
        assert task is not None
        coroutine: Any = task.get_coro()
        asyncio.get_running_loop().call_soon(coroutine.close)
        await asyncio.sleep(LATER)

    @pool.job
    async def plain(n: int) -> None:
        await asyncio.sleep(LATER)
        ran.append(n)

    async with pool.running():
        await bench.enqueuer.enqueue("closes")
        await until(lambda: "something has closed its coroutine" in caplog.text)
        for n in range(6):
            await bench.enqueuer.enqueue("plain", {"n": n})
        await until(lambda: len(ran) == 6)
        await pool.drain()
    ((failed, _),) = await bench.job_set("retry")
    assert json.loads(failed)["name"] == "closes"


@pytest.mark.parametrize("failures", range(4))
async def test_errors_that_are_collected_late_hide_no_scope_that_a_job_never_leaves(
    bench: Bench, failures: int
) -> None:
    pool, kept, ran = bench.pool(concurrency=1), list[object](), list[int]()

    @pool.job
    async def fails() -> None:
        await asyncio.sleep(0)
        # Its traceback has the frame of the worker, which refers to the task.
        kept.append(error := Retry(after=1000))
        raise error

    @pool.job
    async def never_leaves_a_cancelled_scope() -> None:
        await asyncio.sleep(0)
        kept.clear()
        gc.collect()
        scope = anyio.CancelScope()
        scope.__enter__()
        scope.cancel()
        kept.append(scope)

    # In the scope, it would wait for a cancellation that the worker ignores.
    pool.job("threaded")(lambda: ran.append(1))
    async with asyncio.timeout(LIMIT), pool.running():
        # One at a time, so that the worker waits for each.
        for name in [*["fails"] * failures, "never_leaves_a_cancelled_scope", "threaded"]:
            await bench.enqueuer.enqueue(name)
            await pool.drain()
    assert ran == [1]


def _ends(how: str) -> None:
    match how:
        case "exits":
            sys.exit(3)
        case "gives a reason":
            sys.exit("for a reason")
        case "raises":
            raise ValueError("in the child")


# Exit codes of the child.
FORKED = {"exits": 3, "gives a reason": 1, "raises": 1, "returns": 0, "awaits": 1}


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
async def test_a_forked_child_ends_where_its_handler_does(bench: Bench, threaded: bool) -> None:
    pool, ran, codes = bench.pool(concurrency=1), list[int](), dict[str, int]()

    def forks(how: str) -> bool:
        """Fork, and return whether this is the child."""
        pid = os.fork()
        if not pid:
            return True
        codes[how] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return False

    async def forking(how: str) -> None:
        if forks(how):
            _ends(how)
            if how == "awaits":
                await asyncio.sleep(60)

    async def forking_later(how: str) -> None:
        await asyncio.sleep(0)
        await forking(how)

    def forking_in_a_thread(how: str) -> None:
        if forks(how):
            _ends(how)

    @pool.job
    async def plain(n: int) -> None:
        ran.append(n)

    handlers: list[Callable[[str], Any]] = [forking_in_a_thread] if threaded else [forking, forking_later]
    hows = [how for how in FORKED if how != "awaits" or not threaded]
    for handler in handlers:
        pool.job(handler.__name__)(handler)
    async with pool.running():
        for handler in handlers:
            codes.clear()
            mixed: list[tuple[str, dict[str, Any]]] = []
            for how in hows:
                mixed += [(handler.__name__, {"how": how}), ("plain", {"n": len(ran) + len(mixed)})]
            await bench.enqueuer.enqueue_many(mixed)
            await pool.drain()
            assert codes == {how: FORKED[how] for how in hows}
    assert len(ran) == len(set(ran)) == len(hows) * len(handlers)
    assert await bench.job_set("retry") == []
