"""The pool within web frameworks and other programs: what starts it, what stops it, and what learns of a failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from fastapi import BackgroundTasks, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from asyncwork import RedisUnavailable, Task, WorkerPool
from asyncwork.worker_pool import NoContext

from .conftest import LIMIT, Bench, until
from .tuned import QUICK

NO_REDIS = "redis://127.0.0.1:1/0"

Pool = WorkerPool[NoContext]
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def make_pool(bench: Bench, grace: float = 5.0) -> Pool:
    return WorkerPool(bench.url, namespace=bench.namespace, grace=grace, **QUICK)


class Slow:
    """A pool with a job that goes on until it is told to finish, or until it is cut off."""

    def __init__(self, bench: Bench, grace: float = 5.0) -> None:
        self.pool = make_pool(bench, grace)
        self.began, self.finish = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []
        self.job: Task[..., ..., Any] = self.pool.job("slow")(self.run)

    async def run(self) -> None:
        self.began.set()
        try:
            await self.finish.wait()
        except asyncio.CancelledError:
            self.ended.append("cut off")
            raise
        self.ended.append("finished")

    async def runs(self) -> None:
        """Have one run."""
        await self.job.enqueue()
        await until(self.began.is_set)


def break_down(pool: Pool) -> None:
    """Have a running pool end by a defect in its engine, soon."""
    assert pool._launcher is not None
    pool._launcher._worker_broke(ZeroDivisionError("a defect"))


# Starlette and FastAPI


class Served:
    """An ASGI application whose lifespan runs in a task of its own, as under uvicorn."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def startup(self) -> dict[str, Any]:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self.task = asyncio.create_task(self._app(scope, self._to_app.get, self._from_app.put))
        return await self._told("lifespan.startup")

    async def shutdown(self) -> dict[str, Any]:
        return await self._told("lifespan.shutdown")

    async def _told(self, event: str) -> dict[str, Any]:
        await self._to_app.put({"type": event})
        return await self._from_app.get()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://test")


def starlette(lifespan: Lifespan, enqueue: Callable[[], Awaitable[str]]) -> Any:
    async def order(request: Request) -> JSONResponse:
        return JSONResponse(await enqueue())

    return Starlette(routes=[Route("/order", order)], lifespan=lifespan)


def fastapi(lifespan: Lifespan, enqueue: Callable[[], Awaitable[str]]) -> Any:
    app = FastAPI(lifespan=lifespan)
    app.get("/order")(enqueue)
    return app


@pytest.fixture(params=[starlette, fastapi])
def make_app(request: pytest.FixtureRequest) -> Any:
    """Makes an application of a lifespan and of what answers ``/order``."""
    return request.param


async def nothing() -> str:
    return ""


async def test_a_task_is_a_background_task(bench: Bench) -> None:
    got: list[str] = []
    pool = make_pool(bench)

    @pool.job
    async def send(name: str) -> None:
        await asyncio.sleep(0)
        got.append(f"{name}, async")

    @pool.job
    def send_plain(name: str) -> None:
        in_a_thread = threading.current_thread() is not threading.main_thread()
        got.append(f"{name}, in a thread: {in_a_thread}")

    app = FastAPI()

    @app.get("/many")
    async def many(background: BackgroundTasks) -> None:
        background.add_task(send, "Ada")
        background.add_task(send_plain, name="Grace")

    @app.get("/one")
    async def one() -> JSONResponse:
        return JSONResponse("", background=BackgroundTask(send, "Edsger"))

    async with Served(app).client() as client:
        assert (await client.get("/many")).status_code == 200
        assert (await client.get("/one")).status_code == 200
    assert got == ["Ada, async", "Grace, in a thread: True", "Edsger, async"]


async def test_the_lifespan_runs_jobs_from_startup_to_shutdown(bench: Bench, make_app: Any) -> None:
    got: list[str] = []
    pool = make_pool(bench)

    @pool.job
    async def greet(name: str) -> None:
        got.append(name)

    async def enqueue() -> str:
        return (await greet.enqueue(name="Ada")).id

    served = Served(make_app(pool.lifespan, enqueue))
    for times in (1, 2):
        assert await served.startup() == {"type": "lifespan.startup.complete"}
        async with served.client() as client:
            assert len((await client.get("/order")).json()) == 24
        await until(lambda times=times: len(got) == times)
        assert await served.shutdown() == {"type": "lifespan.shutdown.complete"}
        assert pool.id is None
        assert await bench.audit() == []


async def test_the_lifespan_ends_when_what_runs_has_finished(bench: Bench, make_app: Any) -> None:
    slow = Slow(bench)
    served = Served(make_app(slow.pool.lifespan, nothing))
    await served.startup()
    await slow.runs()
    shutdown = asyncio.create_task(served.shutdown())
    await asyncio.sleep(0.1)
    assert not shutdown.done()
    slow.finish.set()
    assert await shutdown == {"type": "lifespan.shutdown.complete"}
    assert slow.ended == ["finished"]


async def test_the_lifespan_ends_after_the_grace_period(bench: Bench, make_app: Any) -> None:
    slow = Slow(bench, grace=0.1)
    served = Served(make_app(slow.pool.lifespan, nothing))
    await served.startup()
    await slow.runs()
    assert await served.shutdown() == {"type": "lifespan.shutdown.complete"}
    assert slow.ended == ["cut off"]
    assert len(await bench.waiting("slow")) == 1


async def test_the_application_does_not_start_without_redis(make_app: Any) -> None:
    served = Served(make_app(WorkerPool(NO_REDIS).lifespan, nothing))
    failed = await served.startup()
    assert failed["type"] == "lifespan.startup.failed"
    assert f"RedisUnavailable: Redis at {NO_REDIS} cannot be reached" in failed["message"]
    assert served.task is not None
    with pytest.raises(RedisUnavailable, match="cannot be reached"):
        await served.task


async def test_a_lifespan_that_is_cancelled_stops_the_pool(bench: Bench, make_app: Any) -> None:
    slow = Slow(bench)
    served = Served(make_app(slow.pool.lifespan, nothing))
    await served.startup()
    await slow.runs()
    assert served.task is not None
    served.task.cancel()
    slow.finish.set()
    with pytest.raises(asyncio.CancelledError):
        await served.task
    assert slow.pool.id is None
    assert slow.ended == ["finished"]


async def test_the_shutdown_tells_of_a_defect_that_ended_the_pool(
    bench: Bench, make_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow(bench)
    served = Served(make_app(slow.pool.lifespan, nothing))
    await served.startup()
    await slow.runs()
    break_down(slow.pool)
    # At once in the log: the application goes on to serve.
    await until(lambda: "an unexpected error ended the pool: ZeroDivisionError: a defect" in caplog.text)
    assert slow.ended == ["cut off"]
    failed = await served.shutdown()
    assert failed["type"] == "lifespan.shutdown.failed"
    assert "ZeroDivisionError: a defect" in failed["message"]
    assert served.task is not None
    with pytest.raises(ZeroDivisionError):
        await served.task
    assert len(await bench.waiting("slow")) == 1


async def test_the_lifespan_goes_along_with_another(bench: Bench, make_app: Any) -> None:
    trail: list[str] = []
    first, second = make_pool(bench), make_pool(bench)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(first.lifespan(app))
            await stack.enter_async_context(second.lifespan(app))
            trail.append("up")
            yield
        trail.append("down")

    served = Served(make_app(lifespan, nothing))
    await served.startup()
    assert len({first.id, second.id} - {None}) == 2
    await served.shutdown()
    assert trail == ["up", "down"]
    assert {first.id, second.id} == {None}


async def test_uvicorn_stops_the_pool_when_every_request_is_answered(bench: Bench) -> None:
    """A request that is under way when the server is told to stop can still enqueue."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    pool = make_pool(bench)

    @pool.job
    async def wat() -> None: ...

    async def enqueue() -> str:
        asked.set()
        await go_on.wait()
        assert pool.id is not None
        return (await wat.enqueue()).id

    config = uvicorn.Config(fastapi(pool.lifespan, enqueue), port=0, log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(trust_env=False) as client:
        request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/order"))
        await asked.wait()
        server.should_exit = True
        await asyncio.sleep(0.3)
        go_on.set()
        assert (await request).status_code == 200
    await serving
    assert pool.id is None


# aiohttp


def aiohttp_app(*pools: Pool) -> web.Application:
    app = web.Application()
    for pool in pools:
        app.cleanup_ctx.append(pool.cleanup_ctx)
    return app


async def in_a_task(work: Awaitable[object]) -> None:
    async def run() -> None:
        await work

    await asyncio.create_task(run())


async def in_this_task(work: Awaitable[object]) -> None:
    await work


@pytest.mark.parametrize("do", [in_this_task, in_a_task])
async def test_the_cleanup_context_runs_jobs_while_the_application_runs(bench: Bench, do: Any) -> None:
    got: list[str] = []
    pool = make_pool(bench)

    @pool.job
    async def greet(name: str) -> None:
        got.append(name)

    async def order(request: web.Request) -> web.Response:
        return web.Response(text=(await greet.enqueue(name="Ada")).id)

    app = aiohttp_app(pool)
    app.router.add_get("/order", order)
    server = TestServer(app)
    await do(server.start_server())
    assert pool.id is not None
    async with ClientSession() as session, session.get(server.make_url("/order")) as response:
        assert len(await response.text()) == 24
    await until(lambda: got)
    await do(server.close())
    assert pool.id is None


@pytest.mark.parametrize("do", [in_this_task, in_a_task])
async def test_the_clean_up_waits_for_what_runs(bench: Bench, do: Any) -> None:
    slow = Slow(bench)
    runner = web.AppRunner(aiohttp_app(slow.pool))
    await do(runner.setup())
    await slow.runs()
    cleaning = asyncio.create_task(do(runner.cleanup()))
    await asyncio.sleep(0.1)
    assert not cleaning.done()
    slow.finish.set()
    await cleaning
    assert slow.ended == ["finished"]


async def test_aiohttp_stops_the_pool_when_every_request_is_answered(bench: Bench) -> None:
    """A request that is under way when the server is told to stop can still enqueue."""
    asked, go_on = asyncio.Event(), asyncio.Event()
    pool = make_pool(bench)

    @pool.job
    async def wat() -> None: ...

    async def order(request: web.Request) -> web.Response:
        asked.set()
        await go_on.wait()
        assert pool.id is not None
        return web.Response(text=(await wat.enqueue()).id)

    app = aiohttp_app(pool)
    app.router.add_get("/order", order)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with ClientSession() as session:
        request = asyncio.create_task(session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/order"))
        await asked.wait()
        cleaning = asyncio.create_task(runner.cleanup())
        await asyncio.sleep(0.3)
        go_on.set()
        async with await request as response:
            assert response.status == 200
    await cleaning
    assert pool.id is None


async def test_a_clean_up_that_is_cancelled_still_lets_what_runs_finish(bench: Bench) -> None:
    slow = Slow(bench)
    runner = web.AppRunner(aiohttp_app(slow.pool))
    await runner.setup()
    await slow.runs()
    cleaning = asyncio.create_task(runner.cleanup())
    await asyncio.sleep(0.1)
    cleaning.cancel()
    await asyncio.sleep(0.1)
    slow.finish.set()
    await asyncio.wait([cleaning])
    await until(lambda: slow.ended)
    assert slow.ended == ["finished"]
    await slow.pool.wait()


async def test_the_cleanup_context_tells_that_redis_is_not_there(bench: Bench) -> None:
    good, bad = make_pool(bench), WorkerPool(NO_REDIS)
    runner = web.AppRunner(aiohttp_app(good, bad))
    with pytest.raises(RedisUnavailable, match="cannot be reached"):
        await runner.setup()
    await runner.cleanup()
    assert good.id is None


async def test_the_clean_up_tells_of_a_defect_that_ended_the_pool(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = make_pool(bench), make_pool(bench)
    runner = web.AppRunner(aiohttp_app(broken, fine))
    await runner.setup()
    break_down(broken)
    await until(lambda: "an unexpected error ended the pool" in caplog.text)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await runner.cleanup()
    assert fine.id is None


# Anywhere


async def test_running_stops_the_pool_when_the_body_raises(bench: Bench) -> None:
    slow = Slow(bench, grace=0.1)

    async def body() -> None:
        async with slow.pool.running():
            await slow.runs()
            raise LookupError("the body's own")

    with pytest.raises(LookupError, match="the body's own"):
        await body()
    assert slow.ended == ["cut off"]
    assert slow.pool.id is None


async def test_a_body_that_is_cancelled_lets_what_runs_finish(bench: Bench) -> None:
    slow, inside = Slow(bench), asyncio.Event()

    async def body() -> None:
        async with slow.pool.running():
            await slow.runs()
            inside.set()
            await asyncio.sleep(1000)

    task = asyncio.create_task(body())
    await inside.wait()
    task.cancel()
    await asyncio.sleep(0.1)
    assert slow.ended == []
    slow.finish.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.ended == ["finished"]
    assert slow.pool.id is None


async def test_a_body_whose_scope_is_cancelled_lets_what_runs_finish(bench: Bench) -> None:
    """anyio's scopes cancel again and again what is in them."""
    slow = Slow(bench)
    with anyio.CancelScope() as scope:
        async with slow.pool.running():
            await slow.runs()
            asyncio.get_running_loop().call_later(0.1, slow.finish.set)
            scope.cancel()
            await anyio.sleep(1000)
    assert scope.cancelled_caught
    assert slow.ended == ["finished"]


async def test_a_body_may_have_a_time_limit(bench: Bench) -> None:
    slow = Slow(bench, grace=0.1)

    async def body() -> None:
        async with asyncio.timeout(None) as limit, slow.pool.running():
            await slow.runs()
            limit.reschedule(asyncio.get_running_loop().time() + 0.2)
            await asyncio.sleep(1000)

    with pytest.raises(TimeoutError):
        await body()
    assert slow.ended == ["cut off"]


async def test_running_tells_that_redis_is_not_there() -> None:
    pool = WorkerPool(NO_REDIS)
    with pytest.raises(RedisUnavailable, match="cannot be reached"):
        async with pool.running():
            pytest.fail("the body must not run")
    assert pool.id is None


async def fall(pool: Pool, body: Callable[[], Awaitable[None]]) -> BaseException:
    """Run a body until a defect ends the pool; return what is raised, having seen that this task goes on."""

    async def run() -> None:
        async with pool.running():
            break_down(pool)
            await body()

    with pytest.raises(ZeroDivisionError, match="a defect") as caught:
        await run()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert pool.id is None
    await asyncio.sleep(0)
    return caught.value


async def test_a_defect_ends_the_body_and_is_raised(bench: Bench) -> None:
    trail: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            trail.append("the body's finally")

    await fall(make_pool(bench), body)
    assert trail == ["the body's finally"]


async def test_a_defect_is_raised_though_the_body_swallows_its_cancellation(bench: Bench) -> None:
    async def body() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)

    await fall(make_pool(bench), body)


async def test_what_the_body_raises_when_a_defect_ends_it_is_kept(bench: Bench) -> None:
    async def body() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise LookupError("the body's own")

    error: BaseException | None = await fall(make_pool(bench), body)
    seen: list[type[BaseException]] = []
    while error is not None:
        seen.append(type(error))
        error = error.__context__
    assert LookupError in seen


async def cancelled_after(steps: int, work: Coroutine[Any, Any, None]) -> None:
    """Cancel work that would not end, after so many turns of the event loop; see that it heard of it."""
    task = asyncio.create_task(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=LIMIT)
    assert task.cancelled()


@pytest.mark.parametrize("steps", [*range(20), 30, 50, 80, 130, 210, 340, 550])
async def test_a_start_that_is_cancelled_leaves_nothing_behind(bench: Bench, steps: int) -> None:
    pool = make_pool(bench)

    async def body() -> None:
        async with pool.running():
            await asyncio.sleep(1000)

    await cancelled_after(steps, body())
    assert pool.id is None


@pytest.mark.parametrize("steps", range(16))
async def test_a_cancellation_is_not_lost_while_enqueueing(bench: Bench, steps: int) -> None:
    async def work() -> None:
        await bench.enqueuer.enqueue("wat")
        await bench.enqueuer.enqueue_many([("wat", None)] * 10)
        await asyncio.sleep(1000)

    await bench.enqueuer.enqueue("warm up")
    await cancelled_after(steps, work())


async def test_a_pool_runs_on_one_event_loop_after_another(bench: Bench) -> None:
    got: list[int] = []
    pool = make_pool(bench)

    @pool.job
    def wat(n: int) -> None:
        got.append(n)

    async def once(n: int) -> None:
        async with pool.running():
            await wat.enqueue(n=n)
            await pool.drain()

    for n in range(3):
        await asyncio.to_thread(asyncio.run, once(n))
    assert got == [0, 1, 2]
