"""What the public coroutines and blocking calls raise when Redis fails: errors of the tree in `errors.py` alone."""

from __future__ import annotations

import asyncio
import copy
import importlib
import inspect
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from asyncwork import (
    Batch,
    BoundTask,
    Client,
    Diagnosis,
    Discard,
    EnqueuedJob,
    EnqueueManyError,
    EnqueueOptions,
    Enqueuer,
    Flow,
    FlowHandle,
    Job,
    JobEndedError,
    JobFlow,
    JobQuery,
    Limit,
    Rate,
    RateLimited,
    RedisUnavailable,
    Repairs,
    ResultLost,
    Retry,
    Snooze,
    StreamTimeout,
    SyncBatch,
    SyncBoundTask,
    SyncFlow,
    SyncTask,
    Task,
    UsageError,
    WorkerPool,
    as_completed,
    gather,
    sync,
)
from asyncwork._jobs.job_call import JobCall
from asyncwork._redis import blocking_client
from asyncwork._redis import client as redis_client
from asyncwork.embedded import EmbeddedRedis
from asyncwork.gocraft import GocraftClient, GocraftEnqueuer
from asyncwork.testing import Jobs, SyncJobs, audit, open_jobs

from .conftest import UNSYNCED, Bench
from .test_types import MODULES, public_names
from .tuned import QUICK, tuned

PERIODIC = "wat:@hourly"
REF, UNDO, BATCH, FLOW = f"~{'a' * 20}~0", "a" * 24, "a" * 24, "w" + "a" * 23
DIAGNOSIS = Diagnosis([], [], "", "", 0, 0, 0, Repairs(locks={"wat": ["p"]}, unknown=["wat"]))

LATER = JobCall("wat", None, EnqueueOptions(delay=60))

Call = Callable[[Any], Awaitable[object]]


async def read(client: Client) -> list[object]:
    with suppress(StreamTimeout):
        return [each async for each in client.stream("a", timeout=0)]
    return []


async def send(client: Client) -> None:
    # Keys of other types hold no jobs.
    with suppress(JobEndedError):
        await client.signal("a" * 24, "approved")


async def read_items(client: Client) -> list[object]:
    with suppress(StreamTimeout):
        return [each async for each in client.stream_items("a", timeout=0)]
    return []


async def wait_for_unknown(client: Client) -> None:
    with suppress(ResultLost):
        await client.result("a")


async def wait_batch(client: Client) -> None:
    with suppress(ResultLost):
        await client.wait_batch(BATCH, timeout=0)


async def repair(client: Client) -> list[str]:
    return [line async for line in client.repair(DIAGNOSIS)]


# Each public method but `close`, which fails never: some calls of it.
CLIENT: dict[str, list[Call]] = {
    "ping": [lambda client: client.ping()],
    "overview": [lambda client: client.overview()],
    "heartbeats": [lambda client: client.heartbeats()],
    "observations": [lambda client: client.observations()],
    "queues": [lambda client: client.queues()],
    "periodic_jobs": [lambda client: client.periodic_jobs()],
    "deployments": [lambda client: client.deployments()],
    "periodic_runs": [lambda client: client.periodic_runs(PERIODIC)],
    "pause_periodic": [lambda client: client.pause_periodic(PERIODIC)],
    "unpause_periodic": [lambda client: client.unpause_periodic(PERIODIC)],
    "run_periodic": [lambda client: client.run_periodic(PERIODIC)],
    "add_periodic": [lambda client: client.add_periodic("@daily", "wat")],
    "edit_periodic": [lambda client: client.edit_periodic(PERIODIC, spec="@daily")],
    "reset_periodic": [lambda client: client.reset_periodic(PERIODIC)],
    "remove_periodic": [lambda client: client.remove_periodic(PERIODIC)],
    "minutes": [lambda client: client.minutes(), lambda client: client.minutes(queue="wat")],
    "days": [lambda client: client.days()],
    "run_times": [lambda client: client.run_times("wat")],
    "recent": [lambda client: client.recent()],
    "diagnose": [lambda client: client.diagnose(0)],
    "repair": [repair],
    "jobs": [
        lambda client: client.jobs("dead"),
        lambda client: client.jobs("quarantine"),
        lambda client: client.jobs("busy"),
        lambda client: client.jobs("queue:wat"),
    ],
    "job": [lambda client: client.job("queue:wat", REF), lambda client: client.job("dead", f"1.0{REF}")],
    "search": [
        lambda client: client.search("retry", JobQuery(name="wat")),
        lambda client: client.search("queue:wat", JobQuery(name="wat")),
    ],
    "find": [lambda client: client.find("wat")],
    "error_kinds": [lambda client: client.error_kinds("dead"), lambda client: client.error_kinds("quarantine")],
    "count": [lambda client: client.count("dead", JobQuery(name="wat"))],
    "pause": [lambda client: client.pause("wat")],
    "unpause": [lambda client: client.unpause("wat")],
    "set_max_concurrency": [lambda client: client.set_max_concurrency("wat", 3)],
    "tenants": [lambda client: client.tenants("wat")],
    "set_partition": [lambda client: client.set_partition("wat", "acme", weight=2)],
    "pause_partition": [lambda client: client.pause_partition("wat", "acme")],
    "unpause_partition": [lambda client: client.unpause_partition("wat", "acme")],
    "set_max_waiting": [
        lambda client: client.set_max_waiting("wat", 3),
        lambda client: client.set_max_waiting("wat", None),
    ],
    "set_rate": [lambda client: client.set_rate("wat", Rate(3)), lambda client: client.set_rate("wat", None)],
    "limits": [lambda client: client.limits()],
    "set_limit": [lambda client: client.set_limit("wat", concurrency=3)],
    "reset_limit": [lambda client: client.reset_limit("wat")],
    "reset_rate": [lambda client: client.reset_rate("wat")],
    "empty": [lambda client: client.empty("wat")],
    "forget": [lambda client: client.forget("wat")],
    "quiet_pool": [lambda client: client.quiet_pool("a" * 24)],
    "unquiet_pool": [lambda client: client.unquiet_pool("a" * 24)],
    "resize_pool": [lambda client: client.resize_pool("a" * 24, 3)],
    "stop_pool": [lambda client: client.stop_pool("a" * 24)],
    "retry": [lambda client: client.retry("dead", [f"1.0{REF}"])],
    "delete": [lambda client: client.delete("queue:wat", [REF]), lambda client: client.delete("dead", [f"1.0{REF}"])],
    "retry_matching": [lambda client: client.retry_matching("retry")],
    "delete_matching": [
        lambda client: client.delete_matching("scheduled"),
        lambda client: client.delete_matching("queue:wat", JobQuery(name="wat")),
    ],
    "cancel": [lambda client: client.cancel("a" * 24)],
    "signal": [send],
    "cancel_refs": [lambda client: client.cancel_refs("scheduled", [f"1.0{REF}"])],
    "cancel_matching": [
        lambda client: client.cancel_matching("scheduled"),
        lambda client: client.cancel_matching("queue:wat", JobQuery(name="wat")),
        lambda client: client.cancel_matching("busy"),
    ],
    "batch": [lambda client: client.batch(BATCH)],
    "batches": [lambda client: client.batches()],
    "flow": [lambda client: client.flow(FLOW)],
    "flow_nodes": [lambda client: client.flow_nodes(FLOW, 0)],
    "batch_failures": [lambda client: client.batch_failures(BATCH)],
    "batch_results": [lambda client: client.batch_results(BATCH)],
    "wait_batch": [wait_batch],
    "cancel_batch": [lambda client: client.cancel_batch(BATCH)],
    "retry_batch": [lambda client: client.retry_batch(BATCH)],
    "stream": [read],
    "stream_items": [read_items],
    "restore": [lambda client: client.restore(UNDO)],
    "deletions": [lambda client: client.deletions()],
    "status": [lambda client: client.status("a")],
    "result": [wait_for_unknown],
    "finished": [lambda client: client.finished(), lambda client: client.finished(name="wat")],
    "waiting_reason": [lambda client: client.waiting_reason("a")],
    "unique_holders": [lambda client: client.unique_holders(), lambda client: client.unique_holders("wat")],
    "free_unique": [lambda client: client.free_unique("wat", "a")],
}

ENQUEUER: dict[str, list[Call]] = {
    "enqueue": [
        lambda enqueuer: enqueuer.enqueue("wat"),
        lambda enqueuer: enqueuer.enqueue("wat", {"n": 1}, delay=60),
        lambda enqueuer: enqueuer.enqueue("wat", {"n": 1}, unique=True),
        lambda enqueuer: enqueuer.enqueue("wat", {"n": 1}, unique={"n": 1}, delay=60),
    ],
    "enqueue_many": [lambda enqueuer: enqueuer.enqueue_many([("wat", None), ("wat", {"n": 1})])],
    "enqueue_call": [lambda enqueuer: enqueuer.enqueue_call(JobCall("wat", None))],
}


def blocking(call: Call) -> Call:
    """Return a blocking call as one that runs in a thread."""
    return lambda enqueuer: asyncio.to_thread(call, enqueuer)


SYNC = {name: [blocking(call) for call in calls] for name, calls in ENQUEUER.items()}

GOCRAFT_CLIENT: dict[str, list[Call]] = {
    **{
        name: [lambda client, name=name: getattr(client, name)()]  # type: ignore[misc]
        for name in (
            *("worker_pool_heartbeats", "worker_observations", "queues", "scheduled_jobs", "retry_jobs", "dead_jobs"),
            *("retry_all_dead_jobs", "delete_all_dead_jobs"),
        )
    },
    **{
        name: [lambda client, name=name: getattr(client, name)(5, "a")]  # type: ignore[misc]
        for name in (
            *("retry_dead_job", "delete_dead_job", "run_retry_job", "delete_retry_job"),
            *("run_scheduled_job", "delete_scheduled_job"),
        )
    },
}

GOCRAFT_ENQUEUER: dict[str, list[Call]] = {
    "enqueue": [lambda enqueuer: enqueuer.enqueue("wat")],
    "enqueue_in": [lambda enqueuer: enqueuer.enqueue_in("wat", 5)],
    "enqueue_unique": [lambda enqueuer: enqueuer.enqueue_unique("wat")],
    "enqueue_unique_in": [lambda enqueuer: enqueuer.enqueue_unique_in("wat", 5)],
    "enqueue_unique_by_key": [lambda enqueuer: enqueuer.enqueue_unique_by_key("wat", {}, {"n": 1})],
    "enqueue_unique_in_by_key": [lambda enqueuer: enqueuer.enqueue_unique_in_by_key("wat", 5, {}, {"n": 1})],
}

TASK: dict[str, list[Call]] = {
    "enqueue": [lambda task: task.enqueue(), lambda task: task.enqueue(n=1)],
    "enqueue_many": [lambda task: task.enqueue_many([task.call(), task.options(delay=60).call(1)])],
}

BOUND_TASK: dict[str, list[Call]] = {"enqueue": [lambda bound: bound.enqueue(1)]}

SYNC_BOUND_TASK: dict[str, list[Call]] = {"enqueue": [blocking(lambda task: task.enqueue(1))]}

SYNC_TASK: dict[str, list[Call]] = {
    **SYNC_BOUND_TASK,
    "enqueue_many": [blocking(lambda task: task.enqueue_many([JobCall("wat", None), LATER]))],
}


async def run_in(block: Any) -> None:
    async with block:
        pass


async def run_each(steps: AsyncIterator[None]) -> None:
    async for _ in steps:
        pass


POOL: dict[str, list[Call]] = {
    "start": [lambda pool: pool.start()],
    "running": [lambda pool: run_in(pool.running())],
    "lifespan": [lambda pool: run_in(pool.lifespan(None))],
    "cleanup_ctx": [lambda pool: run_each(pool.cleanup_ctx(None))],
}

JOBS: dict[str, list[Call]] = {
    "enqueued": [blocking(lambda jobs: jobs.enqueued())],
    "assert_enqueued": [blocking(lambda jobs: jobs.assert_enqueued("wat"))],
    "assert_not_enqueued": [blocking(lambda jobs: jobs.assert_not_enqueued("wat"))],
    "drain": [lambda jobs: jobs.drain()],
}

SYNC_JOBS: dict[str, list[Call]] = {"drain": [blocking(lambda jobs: jobs.drain())]}


async def use_batch(batch: Batch, call: Call) -> None:
    await batch.__aenter__()
    await call(batch)
    await batch.__aexit__(None, None, None)


def use_sync_batch(batch: SyncBatch, call: Call) -> None:
    batch.__enter__()
    call(batch)
    batch.__exit__(None, None, None)


# Each is made within the block of a batch. What waits to be written raises at its end.
IN_BATCH: dict[str, list[Call]] = {
    "add": [lambda batch: batch.add("wat")],
    "add_many": [lambda batch: batch.add_many("wat", [None] * 1500)],
    "flush": [lambda batch: batch.flush()],
}


def in_block_of(call: Call) -> Call:
    return lambda batch: use_batch(batch, call)


BATCH_CALLS: dict[str, list[Call]] = {name: [in_block_of(call) for call in calls] for name, calls in IN_BATCH.items()}


def in_block_of_sync(call: Call) -> Call:
    return lambda batch: asyncio.to_thread(use_sync_batch, batch, call)


SYNC_BATCH_CALLS: dict[str, list[Call]] = {
    name: [in_block_of_sync(call) for call in calls] for name, calls in IN_BATCH.items()
}

FLOW_CALLS: dict[str, list[Call]] = {"start": [lambda flow: flow.start()]}

SYNC_FLOW_CALLS: dict[str, list[Call]] = {"start": [lambda flow: asyncio.to_thread(flow.start)]}

FLOW_HANDLE: dict[str, list[Call]] = {
    "status": [lambda handle: handle.status()],
    "wait": [lambda handle: handle.wait()],
    "cancel": [lambda handle: handle.cancel()],
    "retry": [lambda handle: handle.retry()],
    "graph": [lambda handle: handle.graph()],
}

CALLS = {
    Client: CLIENT,
    Enqueuer: ENQUEUER,
    sync.Enqueuer: SYNC,
    GocraftClient: GOCRAFT_CLIENT,
    GocraftEnqueuer: GOCRAFT_ENQUEUER,
    Task: TASK,
    BoundTask: BOUND_TASK,
    SyncBoundTask: SYNC_BOUND_TASK,
    SyncTask: SYNC_TASK,
    Batch: BATCH_CALLS,
    SyncBatch: SYNC_BATCH_CALLS,
    Flow: FLOW_CALLS,
    SyncFlow: SYNC_FLOW_CALLS,
    FlowHandle: FLOW_HANDLE,
    WorkerPool: POOL,
    Jobs: JOBS,
    SyncJobs: SYNC_JOBS,
}

# Methods that do not call Redis.
LOCAL = {
    Client: {"close", "limit"},
    # Batches are tried by `BATCH_CALLS`.
    Enqueuer: {"close", "batch", "open_batch", "flow", "chain"},
    # A wait for a result goes on while Redis is away.
    sync.Enqueuer: {"close", "result", "batch", "open_batch", "flow", "chain"},
    Task: {"call", "options", "bind_values"},
    BoundTask: {"call"},
    SyncBoundTask: {"result"},
    SyncTask: {"result"},
    WorkerPool: {
        *("health", "job", "limit", "metrics_text", "middleware", "on_dead", "on_failure", "periodic", "periodically"),
        *("reconfigure", "stop_soon", "batch", "open_batch", "flow", "chain"),
    },
    Jobs: {"eager", "release"},
    # A batch that was not written is cancelled without Redis.
    Batch: {"add_batch", "cancel"},
    SyncBatch: {"add_batch", "cancel"},
    Flow: {"add", "add_many"},
    SyncFlow: {"add", "add_many"},
}
# Methods of a pool that has been started.
OF_A_RUN = {"drain", "quiet", "resize", "stop", "wait"}
# Each run needs a pool of its own.
RUNNING = (WorkerPool, Jobs, SyncJobs, Batch, SyncBatch, Flow, SyncFlow, FlowHandle)


@pytest.mark.parametrize("cls", CALLS)
def test_each_public_method_is_called_here(cls: type) -> None:
    found = {name for name, _ in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}
    others = LOCAL.get(cls, set()) | (OF_A_RUN if cls is WorkerPool else set())
    assert others <= found
    assert found - others == set(CALLS[cls])


def is_coroutine(function: object) -> bool:
    function = inspect.unwrap(function) if callable(function) else function
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def test_each_public_coroutine_is_called_here() -> None:
    modules = [importlib.import_module(name) for name in MODULES]
    public = [getattr(module, name) for module in modules for name in public_names(module)]
    classes = {each for each in public if inspect.isclass(each)}
    assert {each for each in public if is_coroutine(each)} == {audit, gather, as_completed}
    with_coroutines = {
        cls
        for cls in classes
        if any(is_coroutine(member) for name, member in inspect.getmembers(cls) if not name.startswith("_"))
    }
    # `Job.emit` is tried by tests/test_streams.py, `Limit.slot` by tests/test_limits.py, and `JobFlow` by
    # tests/test_flows.py.
    assert with_coroutines == (CALLS.keys() | {EnqueuedJob, JobCall, Job, JobFlow, Limit}) - {
        sync.Enqueuer,
        SyncBoundTask,
        SyncTask,
        SyncBatch,
        SyncFlow,
        SyncJobs,
    }


def pool_at(url: str, namespace: str) -> tuple[WorkerPool[Any], Task[..., ..., Any]]:
    pool = WorkerPool(url, namespace=namespace, **tuned(QUICK, reply_timeout=1.0))

    @pool.job
    async def wat(n: int = 0) -> None: ...

    return pool, wat


@contextmanager
def jobs_at(url: str, namespace: str) -> Iterator[Jobs]:
    """The jobs of a test, as `open_jobs` opens them, without the audit at the end."""
    jobs = Jobs(pool_at(url, namespace)[0], url, namespace)
    try:
        with jobs._opened():
            yield jobs
    finally:
        jobs._background.close()


@asynccontextmanager
async def opened(cls: type, url: str, namespace: str) -> AsyncIterator[Any]:
    """An instance of a public class, which is closed afterwards."""
    if cls is sync.Enqueuer:
        with sync.Enqueuer(url, namespace=namespace) as enqueuer:
            yield enqueuer
    elif cls in (Task, BoundTask, SyncBoundTask, SyncTask):
        pool, task = pool_at(url, namespace)
        later = task.options(delay=60)
        yield {Task: task, BoundTask: later, SyncBoundTask: later.sync, SyncTask: task.sync}[cls]
        await pool.enqueuer.close()
        pool.sync_enqueuer.close()
    elif cls is Batch:
        async with Enqueuer(url, namespace=namespace) as enqueuer:
            yield enqueuer.batch()
    elif cls is SyncBatch:
        with sync.Enqueuer(url, namespace=namespace) as sync_enqueuer:
            yield sync_enqueuer.batch()
    elif cls in (Flow, FlowHandle):
        async with Enqueuer(url, namespace=namespace) as enqueuer:
            flow = enqueuer.flow()
            flow.add("wat")
            handle = FlowHandle(FLOW, flow._make_client, flow._wait_for)
            yield flow if cls is Flow else handle
    elif cls is SyncFlow:
        with sync.Enqueuer(url, namespace=namespace) as sync_enqueuer:
            sync_flow = sync_enqueuer.flow()
            sync_flow.add("wat")
            yield sync_flow
    elif cls is WorkerPool:
        yield pool_at(url, namespace)[0]
    elif cls in (Jobs, SyncJobs):
        with jobs_at(url, namespace) as jobs:
            yield jobs if cls is Jobs else jobs.sync
    elif cls in (Client, GocraftClient):
        async with Client(url, namespace=namespace) as client:
            yield client if cls is Client else GocraftClient(client)
    else:
        async with Enqueuer(url, namespace=namespace) as enqueuer_:
            yield enqueuer_ if cls is Enqueuer else GocraftEnqueuer(enqueuer_)


async def outcomes(cls: type, url: str, namespace: str) -> dict[str, list[object]]:
    """Make each call once, all at the same time; return what each returned or raised."""
    calls = [(name, call) for name, several in CALLS[cls].items() for call in several]

    async def alone(call: Call) -> object:
        async with opened(cls, url, namespace) as instance:
            return await call(instance)

    if cls in RUNNING:
        results = await asyncio.gather(*(alone(call) for _, call in calls), return_exceptions=True)
    else:
        async with opened(cls, url, namespace) as shared:
            results = await asyncio.gather(*(call(shared) for _, call in calls), return_exceptions=True)
    found: dict[str, list[object]] = {}
    for (name, _), result in zip(calls, results, strict=True):
        found.setdefault(name, []).append(result)
    return found


async def assert_all_unavailable(url: str, namespace: str) -> None:
    for cls in CALLS:
        found = await outcomes(cls, url, namespace)
        wrong = {name: results for name, results in found.items() if not all(map(is_unavailable, results))}
        assert not wrong, cls
    with pytest.raises(RedisUnavailable):
        await audit(url, namespace)
    for steps in (lambda jobs: None, lambda jobs: jobs.clock.move(5)):
        with pytest.raises(RedisUnavailable):
            await asyncio.to_thread(use_jobs, url, namespace, steps)


def use_jobs(url: str, namespace: str, steps: Callable[[Jobs], None]) -> None:
    pool, task = pool_at(url, namespace)
    pool.periodically("* * * * * *", task)
    with open_jobs(pool, url) as jobs:
        steps(jobs)


def is_unavailable(result: object) -> bool:
    """Whether it is the public error for a Redis that fails, which says where that Redis is."""
    return isinstance(result, EnqueueManyError) or (isinstance(result, RedisUnavailable) and "Redis at " in str(result))


async def test_a_redis_that_is_away(bench: Bench) -> None:
    await assert_all_unavailable("redis://127.0.0.1:1/0", bench.namespace)


async def test_a_redis_that_refuses_every_command(bench: Bench) -> None:
    user = bench.namespace
    await bench.redis.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", "~*", "&*", "-@all", "+auth")
    parts = urlsplit(bench.url)
    url = urlunsplit(parts._replace(netloc=f"{user}:secret@{parts.netloc.rpartition('@')[2]}"))
    await assert_all_unavailable(url, bench.namespace)
    await bench.redis.execute_command("ACL", "DELUSER", user)


async def test_a_redis_that_never_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "COMMAND_TIMEOUT", 0.2)
    monkeypatch.setattr(blocking_client, "COMMAND_TIMEOUT", 0.2)
    monkeypatch.setitem(blocking_client._SETTINGS, "socket_timeout", 0.2)

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            pass
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        await assert_all_unavailable(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", bench.namespace)
    finally:
        server.close()


async def test_a_redis_that_goes_away_while_a_pool_runs(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        pool, _ = pool_at(server.url, "test")
        pool.reconfigure(grace=0.5)
        await pool.start()
        await asyncio.to_thread(server.stop)
        with pytest.raises(RedisUnavailable, match="Redis at "):
            await pool.drain()
        await pool.quiet()
        await pool.stop()
        await pool.wait()


# A pool can be started in such a namespace.
@pytest.mark.parametrize("kind", ["text", "list"])
@pytest.mark.parametrize("cls", [each for each in CALLS if each not in RUNNING])
async def test_a_redis_whose_keys_are_of_wrong_types(bench: Bench, cls: type, kind: str) -> None:
    keys = bench.keys
    named = [
        each for name, each in vars(keys).items() if isinstance(each, str) and name not in ("prefix", "jobs", "unique")
    ]
    of_queue = [each("wat") for each in (keys.queue, keys.paused, keys.lock, keys.lock_info, keys.max_concurrency)]
    taken = {*named, *of_queue, keys.deletions, keys.deleted(UNDO), keys.deleted_from(UNDO), keys.heartbeat("p")}
    for key in taken:
        await (bench.redis.set(key, "5") if kind == "text" else bench.redis.rpush(key, "5"))
    found = await outcomes(cls, bench.url, bench.namespace)
    errors = [each for results in found.values() for each in results if isinstance(each, BaseException)]
    assert not [each for each in errors if not isinstance(each, (RedisUnavailable, UsageError))]
    assert any("WRONGTYPE" in str(each) or "wrong" in str(each) for each in errors)
    async for key in bench.redis.scan_iter(match=f"{keys.prefix}*"):
        await bench.redis.delete(key)


@pytest.mark.parametrize(
    "error",
    [
        EnqueueManyError([], [], [EnqueuedJob("wat", "1", None, 1, 1, unique=False)], OSError("away")),
        Snooze(5),
        RateLimited(5),
        Retry("busy", after=5),
        Discard("gone"),
        RedisUnavailable("away"),
    ],
)
def test_errors_go_to_other_processes(error: BaseException) -> None:
    for same in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(same), str(same), repr(vars(same))) == (type(error), str(error), repr(vars(error)))


class NoOffset(tzinfo):
    def utcoffset(self, _: datetime | None) -> None: ...
    def dst(self, _: datetime | None) -> None: ...
    def tzname(self, _: datetime | None) -> None: ...


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 10**5000},
        {"delay": -(10**5000)},
        {"at": 10**5000},
        {"at": datetime(2030, 1, 1, tzinfo=NoOffset())},
        {"at": datetime(1960, 1, 1, tzinfo=UTC)},
        {"id": 10**5000},
        {"id": "é" * 10_000_000},
        {"front": 10**5000},
        {"unique": 10**5000},
    ],
    ids=lambda options: "-".join(options),
)
async def test_what_cannot_be_shown_is_refused_in_one_line(bench: Bench, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        await bench.enqueuer.enqueue("wat", **options)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [10**5000, None, b"wat"], ids=["long", "none", "bytes"])
async def test_a_name_that_is_none_is_refused_in_one_line(bench: Bench, name: Any) -> None:
    for calling in (bench.enqueuer.enqueue(name), bench.enqueuer.enqueue_many([name])):
        with pytest.raises(UsageError) as caught:
            await calling
        assert len(str(caught.value)) < 300
