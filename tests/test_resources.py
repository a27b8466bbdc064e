"""The resources of a pool, and the contexts that are made with them."""

from __future__ import annotations

import asyncio
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, Self

import anyio
import pytest

from asyncwork import Job, PoolEndedError, RedisUnavailable, UsageError, WorkerPool
from asyncwork.worker_pool import NoContext

from .conftest import Bench, until
from .tuned import QUICK


class Database:
    """A resource; its value is itself. It writes down what happens to it, together with the jobs that use it."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.is_open = False
        # Waited for while it is opened and closed.
        self.may_open, self.may_close = asyncio.Event(), asyncio.Event()
        self.may_open.set()
        self.may_close.set()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        self.diary.append("opening")
        try:
            await self.may_open.wait()
        except asyncio.CancelledError:
            self.diary.append("cancelled")
            raise
        self.is_open = True
        self.diary.append("opened")
        try:
            yield self
        finally:
            self.diary.append("closing")
            try:
                await self.may_close.wait()
            finally:
                self.is_open = False
                self.diary.append("closed")

    async def use(self) -> None:
        assert self.is_open
        await asyncio.sleep(0)
        self.diary.append("used")


@dataclass
class Context:
    db: Database
    steps: list[str] = field(default_factory=list)

    async def method(self) -> None:
        await self.db.use()


def make_context(db: Database) -> Context:
    return Context(db, ["made"])


def make_pool(bench: Bench, db: Database, **options: Any) -> WorkerPool[Context]:
    given: dict[str, Any] = {**QUICK, "grace": 5.0, "context": Context, **options}
    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=db.opened, **given)

    @pool.job
    async def wat(context: Context) -> None:
        await context.db.use()

    return pool


Held = tuple[asyncio.Event, asyncio.Event]


async def hold(bench: Bench, pool: WorkerPool[Any], db: Database) -> Held:
    """Add a job to a pool that runs until the second event is set, and then uses the database; the first says that it
    has begun."""
    began, release = asyncio.Event(), asyncio.Event()

    @pool.job
    async def held() -> None:
        began.set()
        await release.wait()
        await db.use()

    await held.enqueue()
    return began, release


async def is_registered(bench: Bench) -> bool:
    return bool(await bench.redis.scard(bench.keys.worker_pools))


# Open and close


async def test_they_are_open_from_before_the_first_job_until_after_the_last(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db, concurrency=1)
    began, release = await hold(bench, pool, db)
    await bench.enqueuer.enqueue("wat")
    db.may_open.clear()
    starting = asyncio.create_task(pool.start())
    await until(lambda: db.diary == ["opening"])
    assert not await is_registered(bench)
    assert not began.is_set()
    db.may_open.set()
    await starting
    await until(began.is_set)
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0.05)
    assert db.diary[-1] != "closing"
    release.set()
    await stopping
    assert db.diary[:2] == ["opening", "opened"]
    assert db.diary[-3:] == ["used", "closing", "closed"]
    assert pool.stop_failure == ""
    assert not await is_registered(bench)


async def test_a_second_start_waits_for_the_first(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db)
    db.may_open.clear()
    first = asyncio.create_task(pool.start())
    await until(lambda: db.diary == ["opening"])
    second, third = asyncio.create_task(pool.start()), asyncio.create_task(pool.start())
    await asyncio.sleep(0)
    assert not second.done()
    third.cancel()  # which is none of the pool's business
    await asyncio.wait([third])
    db.may_open.set()
    await asyncio.gather(first, second)
    assert await is_registered(bench)
    await pool.stop()
    assert db.diary == ["opening", "opened", "closing", "closed"]


async def test_a_second_start_raises_what_the_first_one_does(bench: Bench) -> None:
    opening, refuse = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        opening.set()
        await refuse.wait()
        if refuse.is_set():
            raise ConnectionError("no database")
        yield

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    starts = [asyncio.create_task(pool.start()) for _ in range(3)]
    await opening.wait()
    refuse.set()
    errors = await asyncio.gather(*starts, return_exceptions=True)
    assert [str(error) for error in errors] == ["no database"] * 3


async def test_each_start_opens_them_anew(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db)
    for _ in range(2):
        async with pool.running():
            await bench.enqueuer.enqueue("wat")
            await pool.drain()
    assert db.diary == ["opening", "opened", "used", "closing", "closed"] * 2
    assert pool.counts.done == 1


async def with_lifespan(pool: WorkerPool[Any], within: Callable[[], Awaitable[None]]) -> None:
    async with pool.lifespan(None):
        await within()


async def with_cleanup_ctx(pool: WorkerPool[Any], within: Callable[[], Awaitable[None]]) -> None:
    async for _ in pool.cleanup_ctx(None):
        await within()


@pytest.mark.parametrize("run", [with_lifespan, with_cleanup_ctx])
async def test_they_are_open_under_an_application(bench: Bench, run: Callable[..., Awaitable[None]]) -> None:
    db = Database()
    pool = make_pool(bench, db)

    async def within() -> None:
        await bench.enqueuer.enqueue("wat")
        await pool.drain()
        assert pool.resources is db

    await run(pool, within)
    assert db.diary == ["opening", "opened", "used", "closing", "closed"]


async def test_their_value_is_there_while_they_are_open(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db)
    with pytest.raises(UsageError, match="the pool's resources are not open: they are while the pool runs, if it was"):
        pool.resources  # noqa: B018
    async with pool.running():
        assert pool.resources is db
        # While they are closed, code that ends with them may still use the value.
        db.may_close.clear()
        pool.stop_soon()
        await until(lambda: db.diary[-1] == "closing")
        assert pool.resources is db
        assert pool.id is None
        with pytest.raises(UsageError, match="must run to be drained"):
            await pool.drain()
        db.may_close.set()
    with pytest.raises(UsageError, match="not open"):
        pool.resources  # noqa: B018


async def test_a_pool_without_resources_has_no_value(bench: Bench) -> None:
    async with bench.pool().running() as pool:
        with pytest.raises(UsageError, match="if it was made with resources="):
            pool.resources  # noqa: B018


async def test_the_value_may_be_none(bench: Bench) -> None:
    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=nullcontext, **QUICK)
    async with pool.running():
        assert pool.resources is None


async def test_they_may_take_the_pool(bench: Bench) -> None:
    @asynccontextmanager
    async def resources(pool: WorkerPool[Any]) -> AsyncIterator[list[Any]]:
        await pool.enqueuer.enqueue("wat")
        yield [pool]

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    ran: list[bool] = []

    @pool.job
    async def wat() -> None:
        ran.append(pool.resources == [pool])

    async with pool.running():
        await pool.drain()
    assert ran == [True]


async def test_jobs_see_context_variables_and_the_task_of_the_resources_is_one(bench: Bench) -> None:
    tasks: list[Any] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        # Both must be left in the task that entered them.
        async with anyio.create_task_group(), asyncio.timeout(100):
            yield
        tasks.append(asyncio.current_task())

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    await pool.start()
    await asyncio.create_task(pool.stop())
    assert tasks[0] is tasks[1]


# Trouble while they are opened


@pytest.mark.parametrize("error", [ZeroDivisionError("no"), UsageError("no"), RedisUnavailable("no"), SystemExit(4)])
@pytest.mark.parametrize("when", ["called", "entered"])
async def test_an_error_while_opening_is_raised_as_it_is(
    bench: Bench, error: BaseException, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    trouble: list[BaseException] = [error]
    db = Database()

    @asynccontextmanager
    async def entered() -> AsyncIterator[Database]:
        if trouble:
            raise trouble[0]
        async with db.opened():
            yield db

    def called() -> AbstractAsyncContextManager[Database]:
        if trouble:
            raise trouble[0]
        return db.opened()

    resources = called if when == "called" else entered
    pool = WorkerPool(bench.url, namespace=bench.namespace, context=Context, resources=resources, **QUICK)
    ran = pool.job("wat")(Context.method)
    await ran.enqueue()
    with pytest.raises(type(error)) as raised:
        await pool.running().__aenter__()
    assert raised.value is error
    assert pool.resources_error is error
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
    assert not await is_registered(bench)
    assert len(await bench.waiting("wat")) == 1
    await pool.wait()
    await pool.stop()
    # It can be started when the trouble is over.
    trouble.clear()
    async with pool.running():
        assert [pool.resources_error] == [None]
        await pool.drain()
    assert db.diary[2:3] == ["used"]


async def test_a_cancellation_that_opening_raises_by_itself_is_an_error(bench: Bench) -> None:
    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone
        yield

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    with pytest.raises(PoolEndedError, match="opening its resources raised a CancelledError") as raised:
        await pool.start()
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)
    assert pool.resources_error is raised.value


async def test_redis_is_tried_before_they_are_opened(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db)
    pool.reconfigure(url="redis://127.0.0.1:1/0")
    with pytest.raises(RedisUnavailable):
        await pool.start()
    assert db.diary == []
    assert pool.resources_error is None


async def test_they_are_closed_when_redis_is_lost_after_they_were_opened(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def announce(_: object) -> None:
        raise RedisUnavailable("lost")

    monkeypatch.setattr("asyncwork._worker.launcher.Launcher._announce", announce)
    db = Database()
    with pytest.raises(RedisUnavailable, match="lost"):
        await make_pool(bench, db).start()
    assert db.diary == ["opening", "opened", "closing", "closed"]


async def by_asyncio(task: asyncio.Task[None], pool: WorkerPool[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_stop(task: asyncio.Task[None], pool: WorkerPool[Any]) -> None:
    await pool.stop()
    await task


@pytest.mark.parametrize("end", [by_asyncio, by_stop])
async def test_a_stop_cancels_the_opening(bench: Bench, end: Callable[..., Awaitable[None]]) -> None:
    db = Database()
    pool = make_pool(bench, db)
    await bench.enqueuer.enqueue("wat")
    db.may_open.clear()
    within: list[object] = []

    async def run() -> None:
        async with pool.running():
            within.append(pool.id)

    task = asyncio.create_task(run())
    await until(lambda: db.diary == ["opening"])
    await end(task, pool)
    assert db.diary == ["opening", "cancelled"]
    # As after a stop that comes a moment later, the block is not cut off.
    assert within == ([None] if end is by_stop else [])
    assert len(await bench.waiting("wat")) == 1
    assert pool.stop_failure == ""


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_stop_may_come_before_the_run_has_begun(bench: Bench, cancelled: bool) -> None:
    db = Database()
    pool = make_pool(bench, db)
    starting = asyncio.create_task(pool.start())
    # The start has made the task of the run, which takes its first step after this one.
    await asyncio.sleep(0)
    assert pool._task is not None
    assert pool._run is not None
    assert pool._run._task is None
    pool.stop_soon()
    if cancelled:
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    else:
        await starting
    assert db.diary == []
    assert pool.id is None
    await pool.stop()


async def test_anyio_cancels_the_opening_once(bench: Bench) -> None:
    db, cleaned = Database(), []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            await asyncio.Event().wait()
            yield
        finally:
            db.diary.append("cleaning")
            await asyncio.sleep(0.05)
            cleaned.append(True)

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(pool.start)
            await asyncio.sleep(0.1)
            scope.cancel()
    assert cleaned == [True]


async def test_a_second_cancellation_cuts_off_what_cleans_up_after_the_first(bench: Bench) -> None:
    said: list[str] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            said.append("opening")
            await asyncio.Event().wait()
            yield
        finally:
            said.append("cleaning up")
            await asyncio.Event().wait()

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    starting = asyncio.create_task(pool.start())
    for text in ("opening", "cleaning up"):
        await until(functools.partial(lambda text: said[-1:] == [text], text))
        starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def test_opening_that_completes_although_it_was_cancelled_is_closed_again(bench: Bench) -> None:
    said: list[str] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        said.append("opening")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append("going on")
        yield
        said.append("closed")

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    starting = asyncio.create_task(pool.start())
    await until(lambda: said == ["opening"])
    await pool.stop()
    await starting
    assert said == ["opening", "going on", "closed"]


async def test_an_error_of_a_cancelled_opening_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    opening = asyncio.Event()

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        opening.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("interrupted") from None
        yield

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    starting = asyncio.create_task(pool.start())
    await until(opening.is_set)
    await pool.stop()
    await starting
    text = "opening the resources failed when a stop cancelled it: ConnectionError: interrupted"
    assert pool.stop_failure == text
    assert [each.message for each in caplog.records if each.exc_info] == [text]


# Trouble while they are closed


async def test_an_error_while_closing_is_logged_and_the_jobs_are_settled(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        yield
        raise ConnectionError("already gone")

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    began = asyncio.Event()

    @pool.job
    async def held() -> None:
        began.set()
        await asyncio.Event().wait()

    @pool.job
    async def wat() -> None: ...

    await wat.enqueue()
    await held.enqueue()
    async with pool.running():
        await until(lambda: began.is_set() and pool.counts.done)
        pool.stop_soon(now=True)
    text = "the resources could not be closed: ConnectionError: already gone"
    assert pool.stop_failure == text
    (record,) = [each for each in caplog.records if each.exc_info]
    assert (record.message, record.levelname) == (text, "ERROR")
    assert len(await bench.waiting("held")) == 1
    assert await bench.waiting("wat") == []
    assert not await is_registered(bench)


async def test_a_second_request_to_stop_cuts_off_closing(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db)
    await pool.start()
    db.may_close.clear()
    stopping = asyncio.create_task(pool.stop())
    await until(lambda: db.diary[-1] == "closing")
    # One that is not hurried changes nothing.
    pool.stop_soon()
    await asyncio.sleep(0.02)
    assert db.diary[-1] == "closing"
    pool.stop_soon(now=True)
    await stopping
    assert db.diary[-1] == "closed"
    assert pool.stop_failure == "the resources could not be closed: CancelledError"


async def test_a_stop_that_cuts_off_jobs_lets_them_close_in_peace(bench: Bench) -> None:
    db = Database()
    pool = make_pool(bench, db, grace=0.05)
    began, _ = await hold(bench, pool, db)
    await pool.start()
    await until(began.is_set)
    db.may_close.clear()
    stopping = asyncio.create_task(pool.stop(now=True))
    await until(lambda: db.diary[-1] == "closing")
    assert len(await bench.waiting("held")) == 1
    db.may_close.set()
    await stopping
    assert pool.stop_failure == ""


async def run_into_a_defect(pool: WorkerPool[Any]) -> None:
    async with pool.running():
        assert pool._launcher is not None
        pool._launcher._worker_broke(ZeroDivisionError("a defect"))
        await asyncio.Event().wait()


async def test_they_are_closed_when_the_pool_ends_by_a_defect(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    db = Database()
    pool = make_pool(bench, db)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await run_into_a_defect(pool)
    assert db.diary == ["opening", "opened", "closing", "closed"]
    assert "an unexpected error ended the pool: ZeroDivisionError: a defect" in caplog.text


async def test_resources_cannot_hide_a_defect(bench: Bench) -> None:
    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        with suppress(ZeroDivisionError):
            yield

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await run_into_a_defect(pool)


@pytest.mark.parametrize("make_group", [asyncio.TaskGroup, anyio.create_task_group])
async def test_a_task_of_theirs_that_fails_ends_the_pool(
    bench: Bench, caplog: pytest.LogCaptureFixture, make_group: Callable[[], Any]
) -> None:
    fail = asyncio.Event()

    async def refresh() -> None:
        await fail.wait()
        raise ConnectionError("no more tokens")

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        async with make_group() as group:
            getattr(group, "start_soon", lambda function: group.create_task(function()))(refresh)
            yield

    pool = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    began, _ = await hold(bench, pool, Database())

    async def run() -> None:
        async with pool.running():
            await until(began.is_set)
            fail.set()
            await asyncio.Event().wait()

    with pytest.raises(ConnectionError, match="no more tokens"):
        await run()
    assert "its resources ended the pool: ConnectionError: no more tokens" in caplog.text
    # The job is back in its queue, and no crash is counted against it.
    assert len(await bench.waiting("held")) == 1
    assert not await is_registered(bench)


def test_they_are_closed_at_the_end_of_an_event_loop(redis_url: str) -> None:
    said: list[str] = []

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            yield
        finally:
            said.append("closed")
            await asyncio.sleep(0)
            said.append("really")

    pool = WorkerPool(redis_url, namespace="end-of-loop", resources=resources, **QUICK)

    @pool.job
    async def held() -> None:
        said.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            said.append("ended")

    async def main() -> None:
        await held.enqueue()
        await pool.enqueuer.close()
        await pool.start()
        await until(lambda: said == ["began"])

    asyncio.run(main())
    assert said == ["began", "ended", "closed", "really"]


# Contexts


class Plain:
    pass


class Optional:
    def __init__(self, db: Any = None) -> None:
        self.db = db


class Made:
    def __init__(self, db: Database) -> None:
        self.db = db

    @classmethod
    def of(cls, db: Database) -> Self:
        return cls(db)

    def again(self, db: Database) -> Made:
        return Made(db)


class Maker:
    def __call__(self, db: Database) -> Made:
        return Made(db)


def swapped(other: object, db: Database) -> Made:
    return Made(db)


@functools.wraps(make_context)
def decorated(*args: Any) -> Any:
    return make_context(*args)


CONTEXTS: list[tuple[Any, type, bool]] = [
    (Plain, Plain, False),
    (Optional, Optional, False),
    (lambda: Plain(), Plain, False),
    (dict, dict, False),
    (Made, Made, True),
    (Context, Context, True),
    (make_context, Context, True),
    (Made.of, Made, True),
    (Made(Database()).again, Made, True),
    (Maker(), Made, True),
    (functools.partial(swapped, None), Made, True),
    (functools.partial(Optional, None), Optional, False),
    (decorated, Context, True),
]
CONTEXTS[2][0].__annotations__["return"] = Plain


@pytest.mark.parametrize(("context", "kind", "takes"), CONTEXTS)
async def test_what_makes_a_context(bench: Bench, context: Any, kind: type, takes: bool) -> None:
    db, ran = Database(), list[Any]()
    given: dict[str, Any] = {**QUICK, "context": context}
    pool: WorkerPool[Any] = WorkerPool(bench.url, namespace=bench.namespace, resources=db.opened, **given)

    async def handler(ctx: object, job: Job) -> None:
        ran.append(ctx)

    handler.__annotations__["ctx"] = kind
    task = pool.job("wat")(handler)
    await task.enqueue()
    await task.enqueue()
    async with pool.running():
        await pool.drain()
    first, second = ran
    assert first is not second
    assert type(first) is kind
    assert getattr(first, "db", None) is (db if takes else None)


async def test_a_local_class_is_found_by_the_functions_around_it(bench: Bench) -> None:
    class Local:
        def __init__(self, db: Database) -> None:
            self.db = db

    def make(db: Database) -> Local:
        return Local(db)

    db = Database()
    pool = WorkerPool(bench.url, namespace=bench.namespace, context=make, resources=db.opened, **QUICK)

    @pool.middleware
    async def around(ctx: Local, job: Job, call_next: Callable[[], Awaitable[object]]) -> object:
        await ctx.db.use()
        return await call_next()

    @pool.job
    async def wat(ctx: Local) -> None:
        await ctx.db.use()

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    assert db.diary.count("used") == 2


async def test_a_context_that_cannot_be_made_fails_the_job(bench: Bench) -> None:
    def make(db: Database) -> Plain:
        raise LookupError("no tenant")

    pool = WorkerPool(bench.url, namespace=bench.namespace, context=make, resources=Database().opened, **QUICK)

    @pool.job(max_fails=1)
    async def wat(ctx: Plain) -> None: ...

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    ((payload, _),) = await bench.job_set("dead")
    assert b"no tenant" in payload


# What is refused


def without_annotation(db: Any):  # type: ignore[no-untyped-def]
    return Plain()


def annotated_none() -> None: ...


def annotated_union() -> Plain | None: ...


def annotated_unknown() -> NoSuchClass:  # type: ignore[name-defined]  # noqa: F821
    ...


async def async_context() -> Plain:
    return Plain()


def generator_context() -> Iterator[Plain]:
    yield Plain()


def needs_two(db: Any, cache: Any) -> Plain:
    return Plain()


def needs_keyword(*, db: Any) -> Plain:
    return Plain()


class Abstract(ABC):
    @abstractmethod
    def method(self) -> None: ...


class Concrete(Abstract):
    def method(self) -> None: ...


class AProtocol(Protocol): ...


class Choice(Enum):
    ONE = 1


BAD_CONTEXTS: list[tuple[Any, str]] = [
    (None, "context must be a class or a function that makes the context of a job, not None"),
    (Plain(), "context must be a class or a function"),
    (without_annotation, r"as in `def without_annotation\(…\) -> TheContextClass`.*; it has no return annotation"),
    (annotated_none, "must be annotated with the class of the contexts that it returns.*; it returns None"),
    (annotated_union, r"; it returns tests\.test_resources\.Plain \| None"),
    (annotated_unknown, "'NoSuchClass', which cannot be resolved .*: define or import the class at the top level"),
    (async_context, "context async_context must be a plain function, because it is called for each job: open what"),
    (generator_context, "context generator_context must be a plain function"),
    (needs_two, r"context needs_two must take no argument or one, which is the value .*, but it needs \(db, cache\)"),
    (needs_keyword, r"but it needs \(\*, db\)"),
    (Abstract, "context Abstract cannot be instantiated, because it is abstract, a Protocol or an Enum: pass a class"),
    (functools.partial(Abstract), "cannot be instantiated, because it is abstract"),  # type: ignore[abstract]
    (AProtocol, "context AProtocol cannot be instantiated"),
    (Choice, "context Choice cannot be instantiated"),
    (Any, "context (typing[.])?Any (cannot be instantiated|must be)"),
]


def test_a_function_may_make_contexts_of_an_abstract_class() -> None:
    def make() -> Abstract:
        return Concrete()

    class Implementation(AProtocol): ...

    assert WorkerPool(context=make)._context.type is Abstract
    assert WorkerPool(context=Concrete)._context.type is Concrete
    assert WorkerPool(context=Implementation)._context.type is Implementation


@pytest.mark.parametrize(("context", "message"), BAD_CONTEXTS)
def test_what_cannot_make_a_context_is_refused(context: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorkerPool(context=context, resources=nullcontext)


def test_a_context_that_takes_resources_needs_some() -> None:
    with pytest.raises(UsageError, match=r"context Made takes an argument, .*, and the pool has none: pass resources="):
        WorkerPool(context=Made)  # type: ignore[arg-type]


async def undecorated() -> AsyncIterator[int]:
    yield 1


async def awaited() -> int:
    return 1


@contextmanager
def synchronous() -> Iterator[int]:
    yield 1


BAD_RESOURCES: list[tuple[Any, str]] = [
    (5, "resources must be a function that returns an async context manager, because each start .*, not 5"),
    (nullcontext(), "resources must be .*: pass the function, without calling it"),
    (Database().opened(), "resources must be .*: pass the function, without calling it"),
    (synchronous(), "resources must be .*: pass the function, without calling it"),
    (
        undecorated,
        "resources undecorated must be decorated with @contextlib.asynccontextmanager, and yield",
    ),
    (awaited, "resources awaited must be decorated with @contextlib.asynccontextmanager"),
    (needs_two, r"resources needs_two must take no argument or one, which is the pool, but it needs \(db, cache\)"),
]


@pytest.mark.parametrize(("resources", "message"), BAD_RESOURCES)
def test_resources_that_cannot_be_opened_are_refused(resources: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorkerPool(resources=resources)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (synchronous, "resources synchronous must return an async context manager, as a function does .*, not _Gener"),
        (lambda: awaited(), "not coroutine: <coroutine object awaited"),
        (lambda: None, "not NoneType: None"),
    ],
)
async def test_a_start_refuses_resources_that_are_no_context_manager(
    bench: Bench, resources: Any, message: str
) -> None:
    pool: WorkerPool[NoContext] = WorkerPool(bench.url, namespace=bench.namespace, resources=resources, **QUICK)
    with pytest.raises(UsageError, match=message) as raised:
        await pool.start()
    assert "\n" not in str(raised.value)
    assert pool.resources_error is None
    assert not await is_registered(bench)
