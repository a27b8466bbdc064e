"""The options of an enqueue: delay, time, uniqueness, id and front, alone, in bulk, and from code without a loop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asyncwork import (
    ArgumentEncodingError,
    EnqueuedJob,
    EnqueueManyError,
    EnqueueOptions,
    JobCall,
    RedisUnavailable,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork._jobs.enqueue_options import AT_ONCE
from asyncwork._redis import enqueue_steps
from asyncwork._redis.blocking_client import BlockingClient
from asyncwork._redis.errors import ScriptMissing, mark_unsent
from asyncwork._redis.keys import Keys
from asyncwork._redis.new_jobs import NewJobs
from asyncwork.testing import open_jobs

from .conftest import Bench, until

YEARS = timedelta(days=365)


@pytest.fixture(params=["awaits", "blocks"])
def enqueue(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Callable[..., Any]]:
    """Both enqueuers have the same verb: a coroutine function that enqueues by either."""
    if request.param == "awaits":
        yield bench.enqueuer.enqueue
        return
    with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:

        async def in_a_thread(*args: Any, **options: Any) -> EnqueuedJob:
            return await asyncio.to_thread(enqueuer.enqueue, *args, **options)

        yield in_a_thread


@pytest.fixture(params=["awaits", "blocks"])
def enqueue_many(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Callable[..., Any]]:
    if request.param == "awaits":
        yield bench.enqueuer.enqueue_many
        return
    with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:

        async def in_a_thread(jobs: Any) -> list[EnqueuedJob]:
            return await asyncio.to_thread(enqueuer.enqueue_many, jobs)

        yield in_a_thread


async def test_both_write_the_same_bytes(bench: Bench) -> None:
    options: list[dict[str, Any]] = [{}, {"delay": 60}, {"at": 4_000_000_000}, {"unique": True}, {"unique": {"k": 1}}]
    for number, option in enumerate(options):
        bench.enqueuer._clock = lambda: 1000.0
        with sync.Enqueuer(bench.url, namespace=bench.namespace, clock=lambda: 1000.0) as blocking:
            await bench.enqueuer.enqueue(f"wat{number}", {"a": "<ü>"}, id="one", **option)
            first = await _dump(bench)
            await bench.redis.flushdb()
            blocking.enqueue(f"wat{number}", {"a": "<ü>"}, id="one", **option)
            assert await _dump(bench) == first
            await bench.redis.flushdb()


async def _dump(bench: Bench) -> dict[bytes, Any]:
    return {key: await bench.redis.dump(key) for key in await bench.redis.keys(f"{bench.namespace}:*")}


async def test_a_delay_is_seconds_or_a_timedelta(bench: Bench, enqueue: Callable[..., Any]) -> None:
    for delay in (300, 299.5, timedelta(minutes=5)):
        job = await enqueue("wat", delay=delay)
        assert job.run_at == job.enqueued_at + 300
    assert [score - job.enqueued_at for _, score in await bench.job_set("scheduled")] == pytest.approx([300] * 3, abs=2)


@pytest.mark.parametrize("option", [{"delay": 0}, {"at": 1}, {"at": datetime(2000, 1, 1, tzinfo=UTC)}])
async def test_no_delay_is_no_detour(bench: Bench, enqueue: Callable[..., Any], option: dict[str, Any]) -> None:
    job = await enqueue("wat", **option)
    assert job.run_at == job.enqueued_at
    await enqueue("wat", unique=True, **option)
    assert len(await bench.waiting("wat")) == 2
    assert await bench.job_set("scheduled") == []


async def test_front(bench: Bench, enqueue: Callable[..., Any]) -> None:
    for number in (2, 3):
        await enqueue("wat", {"n": number})
    await enqueue("wat", {"n": 1}, front=True)
    await enqueue("wat", {"n": 0}, front=True, unique=True)
    assert [json.loads(payload)["args"]["n"] for payload in await bench.waiting("wat")] == [0, 1, 2, 3]


async def test_an_id_of_ones_own(bench: Bench, enqueue: Callable[..., Any]) -> None:
    # It does not keep a second one out.
    for _ in range(2):
        job = await enqueue("wat", id="order-7")
        assert (job.id, job.duplicate) == ("order-7", False)
    assert [json.loads(payload)["id"] for payload in await bench.waiting("wat")] == ["order-7", "order-7"]
    # The audit cannot tell two jobs with one id from one job in two places.
    await bench.redis.delete(bench.keys.queue("wat"))


async def test_a_job_that_equals_a_scheduled_one_is_a_duplicate(
    bench: Bench, enqueue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)
    first = await enqueue("wat", {"n": 1}, id="order-7", delay=50)
    again = await enqueue("wat", {"n": 1}, id="order-7", delay=5000)
    assert (first.duplicate, again.duplicate, again.id) == (False, True, "order-7")
    await enqueue("wat", {"n": 2}, id="order-8", delay=50)
    assert [at for _, at in await bench.redis.zrange(bench.keys.scheduled, 0, -1, withscores=True)] == [
        first.run_at,
        first.run_at,
    ]


async def test_equal_jobs_of_one_call_are_duplicates(bench: Bench) -> None:
    async def wat() -> None: ...

    task = bench.pool().job(wat)
    options = task.options(delay=50, id="x")
    jobs = await bench.enqueuer.enqueue_many([options.call(), task.call(), options.call(), ("wat", None)])
    assert [job.duplicate for job in jobs] == [False, False, True, False]
    assert await bench.redis.zcard(bench.keys.scheduled) == 1
    await bench.redis.delete(bench.keys.queue("wat"))


@pytest.mark.parametrize("unique", [True, {"customer": 7}])
async def test_a_duplicate_is_returned_with_the_id_that_waits(
    bench: Bench, enqueue: Callable[..., Any], unique: Any
) -> None:
    first = await enqueue("wat", {"n": 1}, unique=unique)
    assert "duplicate" not in repr(first)
    assert (first.duplicate, first.unique) == (False, True)
    for option in ({}, {"delay": 60}, {"front": True}, {"id": "mine"}):
        again = await enqueue("wat", {"n": 1}, unique=unique, **option)
        assert (again.duplicate, again.id, again.replaced) == (True, first.id, unique is not True)
        # The rest is about the job that was not enqueued.
        assert again.run_at - again.enqueued_at == option.get("delay", 0)
        assert repr(again) == (
            f"EnqueuedJob(name='wat', id={first.id!r}, enqueued_at={again.enqueued_at}, run_at={again.run_at}, "
            f"unique=True, duplicate=True{', replaced=True' if again.replaced else ''})"
        )
        assert pickle.loads(pickle.dumps(again)).duplicate
    assert len(await bench.waiting("wat")) == 1
    assert await bench.job_set("scheduled") == []


async def test_a_duplicate_of_gocraft_works_job_has_no_id(bench: Bench, enqueue: Callable[..., Any]) -> None:
    await bench.redis.set(f"{bench.namespace}:unique:wat:", 1, ex=60)
    job = await enqueue("wat", unique=True)
    assert (job.duplicate, job.id) == (True, "")
    await bench.redis.delete(f"{bench.namespace}:unique:wat:")


async def test_a_script_that_redis_has_forgotten_is_sent_again(bench: Bench, enqueue_many: Callable[..., Any]) -> None:
    call = JobCall("wat", {"n": 1}, EnqueueOptions(unique=True))
    later = JobCall("wat", {"n": 2}, EnqueueOptions(unique=True, delay=60))
    for duplicate in (False, True):
        await bench.redis.script_flush()
        jobs = await enqueue_many([call, ("wat", None), later])
        assert [job.duplicate for job in jobs] == [duplicate, False, duplicate]


async def test_many_of_any_kind_keep_their_order(bench: Bench, enqueue_many: Callable[..., Any]) -> None:
    def call(n: int, **options: Any) -> JobCall:
        return JobCall("wat", {"n": n}, EnqueueOptions(**options))

    jobs = await enqueue_many(
        [
            ("wat", {"n": 0}),
            call(1),
            call(2, unique=True),
            call(2, unique=True),
            call(3),
            call(9, delay=60),
            call(8, delay=timedelta(seconds=50), unique=True),
            call(-1, front=True),
            ("other", None),
        ]
    )
    assert [job.duplicate for job in jobs] == [False] * 3 + [True] + [False] * 5
    assert jobs[3].id == jobs[2].id
    assert [job.name for job in jobs] == ["wat"] * 8 + ["other"]
    assert [json.loads(payload)["args"]["n"] for payload in await bench.waiting("wat")] == [-1, 0, 1, 2, 3]
    assert [json.loads(payload)["args"]["n"] for payload, _ in await bench.job_set("scheduled")] == [8, 9]


async def test_many_report_what_was_refused(bench: Bench, enqueue_many: Callable[..., Any]) -> None:
    await bench.redis.set(bench.keys.scheduled, "no set")
    calls = [JobCall("wat", {"n": n}, EnqueueOptions(delay=60 * (n % 2), unique=n > 1)) for n in range(4)]
    with pytest.raises(EnqueueManyError, match="2 jobs were written, 0 may have been, 2 were not") as caught:
        await enqueue_many(calls)
    assert [job.args for job in caught.value.written] == [{"n": 0}, {"n": 2}]
    assert [job.args for job in caught.value.unwritten] == [{"n": 1}, {"n": 3}]
    assert isinstance(caught.value, RedisUnavailable)
    await bench.redis.delete(bench.keys.scheduled)


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"delay": 5, "at": 4_000_000_000}, "either delay or at"),
    ({"delay": -1}, "delay must be zero or more seconds, not -1"),
    ({"delay": timedelta(seconds=-1)}, "delay must be zero or more seconds"),
    ({"delay": float("nan")}, "delay must be zero or more"),
    ({"delay": "5"}, "delay must be seconds or a timedelta, not str"),
    ({"delay": True}, "delay must be seconds or a timedelta, not bool"),
    ({"delay": 9e99}, "more than 1000 years"),
    ({"delay": 1000 * YEARS}, "end before the year 3000"),
    ({"at": datetime(3001, 1, 1, tzinfo=UTC)}, "before the year 3000, not 3001-01-01"),
    ({"at": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001
    ({"at": 4_000_000_000_000}, "milliseconds"),
    ({"at": "2030-01-01"}, "aware datetime or epoch seconds, not str"),
    ({"unique": 1}, "unique must be True, a Unique\\(…\\), or a mapping to be unique by, not int"),
    ({"unique": ["id"]}, "unique must be True, a Unique\\(…\\), or a mapping to be unique by, not list"),
    ({"unique": {"when": {1, 2}}}, "set"),
    ({"id": ""}, "id must be 1 to 64 ASCII letters"),
    ({"id": "a b"}, "id must be"),
    ({"id": "\ud800"}, "id must be"),
    ({"id": 7}, "id must be"),
    ({"id": "x" * 65}, "id must be"),
    ({"id": f"{'0a' * 12}-1"}, "id must not begin with 24 hex digits and '-', .* such as 'job-0a0a"),
    ({"id": f"{'0A' * 12}_"}, "id must not begin with 24 hex digits and '_'"),
    ({"front": 1}, "front must be True or False"),
    ({"front": True, "delay": 5}, "pass front, delay or at"),
    ({"front": True, "at": 4_000_000_000}, "pass front, delay or at"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS, ids=[str(options) for options, _ in BAD_OPTIONS])
async def test_a_wrong_option_is_refused(
    bench: Bench, enqueue: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        await enqueue("wat", **options)
    assert not await bench.redis.keys(f"{bench.namespace}:*")


@pytest.mark.parametrize("job", ["wat", ("wat",), ("wat", {}, 3), 5, None, ["wat", None]])
async def test_what_is_no_job_is_refused_in_bulk(bench: Bench, enqueue_many: Callable[..., Any], job: Any) -> None:
    with pytest.raises(UsageError, match=r"job 1: it must be a pair \(name, arguments\) or a task.call"):
        await enqueue_many([("wat", None), job])
    with pytest.raises(ArgumentEncodingError, match=r"job 1: .*set"):
        await enqueue_many([("wat", None), ("wat", {"a": {1}})])
    assert await bench.waiting("wat") == []


async def later() -> AsyncIterator[JobCall]:
    yield JobCall("wat", None)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (None, r"enqueue_many takes a list of pairs \(name, arguments\) and of task.call\(…\), not NoneType: None"),
        (5, "enqueue_many takes a list of pairs .*, not int: 5"),
        (
            JobCall("wat", {"n": 1}),
            r"not a single call of wat: pass \[task.call\(…\)\], or enqueue it with enqueue_call",
        ),
        (later(), r"not an asynchronous iterator: collect it first, as in \[job async for job in jobs\]"),
    ],
    ids=["None", "a number", "a call", "an asynchronous iterator"],
)
async def test_what_is_no_list_of_jobs_is_refused(enqueue_many: Callable[..., Any], jobs: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await enqueue_many(jobs)


async def test_a_call_is_not_taken_for_something_else(bench: Bench, enqueue: Callable[..., Any]) -> None:
    call = JobCall("wat", {"n": 1})
    assert call == JobCall("wat", {"n": 1}, AT_ONCE) != JobCall("wat", {"n": 2})
    with pytest.raises(TypeError, match="not iterable"):
        list(call)  # type: ignore[call-overload]
    # A name is taken from what has one, and the arguments of a call would be lost.
    with pytest.raises(UsageError, match="a name or a task, not a call of wat: pass the call to enqueue_call"):
        await enqueue(call)
    with pytest.raises(UsageError, match=r"job 0: .*not a call of wat"):
        await bench.enqueuer.enqueue_many([(call, None)])
    with sync.Enqueuer(bench.url, namespace=bench.namespace) as blocking:
        for wrong in ("wat", ("wat", None), None):
            with pytest.raises(UsageError, match=r"enqueue_call takes what task.call\(…\) returns, not "):
                await bench.enqueuer.enqueue_call(wrong)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match=r"enqueue_call takes what task.call\(…\) returns, not "):
                blocking.enqueue_call(wrong)  # type: ignore[arg-type]
    assert await bench.waiting("wat") == []


async def test_a_test_of_an_application_refuses_the_same(redis_url: str) -> None:
    pool = WorkerPool("redis://127.0.0.1:1/0")
    with open_jobs(pool, redis_url):
        for wrong in (None, JobCall("wat", None), later()):
            with pytest.raises(UsageError, match="enqueue_many takes a list of"):
                await pool.enqueuer.enqueue_many(wrong)  # type: ignore[arg-type]
            with pytest.raises(UsageError, match="enqueue_many takes a list of"):
                pool.sync_enqueuer.enqueue_many(wrong)  # type: ignore[arg-type]
        for verb in (pool.enqueuer.enqueue_call, pool.sync_enqueuer.enqueue_call):
            with pytest.raises(UsageError, match="enqueue_call takes what"):
                await verb("wat")  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("unsent", [True, False])
def test_a_connection_that_breaks_while_scripts_are_loaded(unsent: bool) -> None:
    new = NewJobs(Keys("work"), 1000)
    new.add_all([("a", None), JobCall("b", None, EnqueueOptions(unique=True)), ("c", None)])
    steps = enqueue_steps.enqueue_many(new, "redis://localhost")
    assert len(next(steps).commands) == 3
    # The commands are in the order of the replies: the unique job is in the middle of the first two queues.
    order = [write.jobs for write in new.writes(range(3))]
    steps.send([ScriptMissing() if positions == [1] else 1 for positions in order])
    broken = ConnectionResetError("gone")
    if unsent:
        mark_unsent(broken)
    with pytest.raises(EnqueueManyError) as caught:
        steps.throw(broken)
    error = caught.value
    assert [job.name for job in error.written] == ["a", "c"]
    assert [job.name for job in (error.unwritten if unsent else error.uncertain)] == ["b"]
    assert (error.uncertain if unsent else error.unwritten) == []
    assert error.__cause__ is broken


# Tasks


async def test_a_task_has_the_options_too(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat(n: int, m: int = 0) -> None: ...

    assert wat.job_options.max_fails == 4
    await wat.options(front=True).enqueue(1, m=2)
    assert (await wat.options(unique={"n": 1}).enqueue(n=1)).duplicate is False
    assert (await asyncio.to_thread(wat.options(unique={"n": 1}).sync.enqueue, 1)).duplicate
    await asyncio.to_thread(wat.sync.enqueue, 3)
    calls = [wat.call(4), wat.options(delay=timedelta(hours=1)).call(5)]
    assert [job.run_at - job.enqueued_at for job in await wat.enqueue_many(calls)] == [0, 3600]
    await asyncio.to_thread(wat.sync.enqueue_many, [wat.call(6)])
    await bench.enqueuer.enqueue(wat, {"n": 7})
    assert [json.loads(payload)["args"]["n"] for payload in await bench.waiting("wat")] == [1, 1, 3, 4, 6, 7]
    with pytest.raises(UsageError, match="argument 'n' is missing"):
        wat.sync.enqueue()  # type: ignore[call-arg]
    # The options would not be those of the jobs.
    for bound in (wat.options(delay=60), wat.options(delay=60).sync):
        assert not hasattr(bound, "enqueue_many")
    with pytest.raises(UsageError, match=r"wat takes no argument 'delay'; it takes .*, write task.options\(delay=…\)"):
        await wat.enqueue(1, delay=60)  # type: ignore[call-arg]
    pool.sync_enqueuer.close()
    await pool.enqueuer.close()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"max_retries": 3}, ". Instead, pass max_fails, which counts the first attempt too"),
        ({"max_tries": 3}, ". Instead, pass max_fails"),
        ({"name": "x"}, '. Instead, the name comes first, as in @pool.job("name")'),
        ({"max_fail": 3}, ". Did you mean 'max_fails'?"),
        ({"colour": "red"}, ""),
    ],
)
def test_an_option_that_a_job_type_does_not_have(options: dict[str, Any], hint: str) -> None:
    (name,) = options
    message = (
        f"pool.job has no option {name!r}; it has priority, max_fails, skip_dead, max_concurrency, max_crashes, "
        f"timeout, backoff, extra, result, expires, stream, history, "
        f"unique, debounce, throttle, rate, limits, cost, max_waiting, chunk, wait, "
        f"partition, partition_concurrency, partition_max, partition_rate, ordered{hint}"
    )
    for function in (None, "wat", print):
        with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
            WorkerPool().job(function, **options)


# Without an event loop


async def test_eight_threads_leave_eight_sockets_at_most(bench: Bench) -> None:
    async def connected() -> int:
        return sum(client["name"] == bench.namespace for client in await bench.redis.client_list())

    async def none_is_connected() -> bool:
        return await connected() == 0

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        enqueuer = sync.Enqueuer(f"{bench.url}&client_name={bench.namespace}", namespace=bench.namespace)
        with ThreadPoolExecutor(16) as threads:
            jobs = list(threads.map(partial(enqueuer.enqueue, "wat"), ({"n": n} for n in range(3000))))
        assert 0 < await connected() <= 8
        assert len({job.id for job in jobs}) == 3000
        enqueuer.close()
        await until(none_is_connected)
        # A closed one can be used again.
        enqueuer.enqueue("wat")
        enqueuer.close()
        await until(none_is_connected)
        del enqueuer
        gc.collect()
    assert [each for each in caught if each.category is ResourceWarning] == []
    assert await bench.redis.llen(bench.keys.queue("wat")) == 3001


async def test_a_thread_waits_while_others_use_all_connections(bench: Bench) -> None:
    with sync.Enqueuer(f"{bench.url}&max_connections=1", namespace=bench.namespace) as enqueuer:
        started = threading.Barrier(4)

        def enqueue(n: int) -> EnqueuedJob:
            started.wait()
            return enqueuer.enqueue("wat", {"n": n})

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(enqueue, range(4)))
    assert len(await bench.waiting("wat")) == 4


FORKS = """
import os, sys, threading
from asyncwork import sync

enqueuer = sync.Enqueuer(sys.argv[1], namespace=sys.argv[2])
enqueuer.enqueue("wat", {"by": "parent"})
child = os.fork()
if not child:
    threads = [threading.Thread(target=enqueuer.enqueue, args=("wat", {"by": "child"})) for _ in range(20)]
    for each in threads: each.start()
    for each in threads: each.join()
    enqueuer.close()
    os._exit(0)
for _ in range(20):
    enqueuer.enqueue("wat", {"by": "parent"})
assert os.waitpid(child, 0)[1] == 0
enqueuer.enqueue("wat", {"by": "parent"})
enqueuer.close()
"""


@pytest.mark.processes
async def test_a_forked_process_has_connections_of_its_own(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(FORKS)
    command = [sys.executable, "-W", "error::ResourceWarning", str(script), bench.url, bench.namespace]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    waiting = [json.loads(payload)["args"]["by"] for payload in await bench.waiting("wat")]
    assert (waiting.count("parent"), waiting.count("child")) == (22, 20)


def test_threads_of_a_forked_process_share_its_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    client = BlockingClient("redis://127.0.0.1:1/0", "work")
    inherited = client._connections()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    by_another_thread: list[object] = []

    class Interleaved(dict[int, Any]):
        """Has another thread come first, after this one has found nothing."""

        def get(self, key: int, default: Any = None) -> Any:
            found = super().get(key, default)
            client._processes = dict(self)
            by_another_thread.append(client._connections())
            self.clear()
            self.update(client._processes)
            client._processes = self
            return found

    client._processes = Interleaved(client._processes)
    assert client._connections() is by_another_thread[0] is not inherited
    assert client._processes == {-1: by_another_thread[0]}


async def test_redis_away_is_an_error_and_then_over(bench: Bench) -> None:
    with sync.Enqueuer("redis://127.0.0.1:1/0") as nowhere:
        with pytest.raises(RedisUnavailable, match=r"job wat \w+ could not be enqueued: Redis at redis://127.0.0.1:1"):
            nowhere.enqueue("wat")
        with pytest.raises(EnqueueManyError, match="0 jobs were written, 0 may have been, 2500 were not") as caught:
            nowhere.enqueue_many([("wat", None)] * 2500)
        assert len(caught.value.unwritten) == 2500


async def test_a_connection_that_redis_has_closed_is_opened_again(bench: Bench) -> None:
    with sync.Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
        for _ in range(3):
            enqueuer.enqueue("wat")
            clients = [each["id"] for each in await bench.redis.client_list() if each["cmd"] in ("lpush", "sadd")]
            for client in clients:
                await bench.redis.client_kill_filter(_id=client)
    assert len(await bench.waiting("wat")) == 3


async def test_a_silent_redis_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncwork._redis import blocking_client

    monkeypatch.setitem(blocking_client._SETTINGS, "socket_timeout", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with sync.Enqueuer(url) as enqueuer:
            with pytest.raises(RedisUnavailable, match=r"(?i)timeout|timed out"):
                await asyncio.to_thread(enqueuer.enqueue, "wat")
            with pytest.raises(EnqueueManyError, match="0 jobs were written, 1000 may have been, 1 were not"):
                await asyncio.to_thread(enqueuer.enqueue_many, [("wat", None)] * 1001)
