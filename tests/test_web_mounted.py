"""The web UI mounted in FastAPI and Starlette, and in aiohttp through its adapter."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route
from yarl import URL

import asyncwork.web.aiohttp
from asyncwork.client import Client
from asyncwork.web import create_app

from .conftest import LIMIT, Bench, until
from .payloads import failed, put
from .web_app import calling

# FastAPI and Starlette


@asynccontextmanager
async def mounted(bench: Bench, path: str, outer: Callable[[Starlette, str], Any]) -> AsyncIterator[httpx.AsyncClient]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        app = outer(create_app(client=client, hosts=["test"]), path)
        async with calling(app) as caller:
            yield caller


def links(page: str) -> list[str]:
    """Return the links and static files of a page."""
    found = re.findall(r'\b(?:href|src|action|formaction)="([^"]*)"', page)
    assert len(found) > 5
    return [link for link in found if not link.startswith(("#", "?"))]


def in_fastapi(app: Starlette, path: str) -> Any:
    outer = FastAPI()
    outer.mount(path, app)
    return outer


def in_starlette(app: Starlette, path: str) -> Any:
    return Starlette(routes=[Mount(path, app)])


def in_a_mount_within_a_mount(app: Starlette, path: str) -> Any:
    _, first, second = path.split("/")
    return Starlette(routes=[Mount(f"/{first}", routes=[Mount(f"/{second}", app)])])


@pytest.mark.parametrize("outer", [in_fastapi, in_starlette, in_a_mount_within_a_mount])
async def test_it_is_served_under_any_path(bench: Bench, outer: Any) -> None:
    await put(bench, "dead", failed(), failed())
    async with mounted(bench, "/work/ui", outer) as caller:
        assert (await caller.get("/work/ui/queues")).json() == []
        assert (await caller.get("/queues")).status_code == 404
        assert (await caller.get("/work/ui/nowhere")).status_code == 404
        (job, _) = (await caller.get("/work/ui/api/jobs?location=dead")).json()["jobs"]
        page = await caller.get("/work/ui/dead", headers={"accept": "text/html"})
        assert page.status_code == 200
        assert all(link.startswith("/work/ui/") for link in links(page.text))
        response = await caller.post(
            "/work/ui/api/jobs/delete", data={"location": "dead", "ref": job["ref"], "back": "/work/ui/dead?page=1"}
        )
        location = response.headers["location"]
        assert (response.status_code, location.startswith("/work/ui/dead?page=1&done=delete&n=1")) == (303, True)
        response = await caller.post("/work/ui/api/queues/pause", data={"queue": "wat", "back": "/elsewhere"})
        assert response.headers["location"] == "/work/ui/?done=pause&n=1"
        assert (await caller.post("/work/ui/delete_all_dead_jobs")).json() == {"status": "ok"}
        redirect = await caller.get("/work/ui")
        assert (redirect.status_code, redirect.headers["location"].endswith("/work/ui/")) == (307, True)


async def test_static_files_need_no_permission(bench: Bench) -> None:
    asked: list[str] = []

    def authorize(request: Request, action: str) -> bool:
        asked.append(request.url.path)
        return True

    async with Client(bench.url, namespace=bench.namespace) as client:
        app = in_fastapi(create_app(client=client, authorize=authorize), "/static")
        async with calling(app) as caller:
            await caller.get("/static/queues")
            response = await caller.get("/static/static/nothing.css")
            assert response.status_code == 404
    assert asked == ["/static/queues"]


async def test_its_lifespan_may_be_run_by_the_application_around_it(bench: Bench) -> None:
    ui = create_app(bench.url, namespace=bench.namespace, hosts=["test"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with ui.router.lifespan_context(ui):
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/work", ui)
    async with app.router.lifespan_context(app), calling(app) as caller:
        assert (await caller.get("/work/queues")).json() == []


# aiohttp


@asynccontextmanager
async def bridged(app: Starlette, path: str, **options: Any) -> AsyncIterator[tuple[ClientSession, URL, TestServer]]:
    outer = web.Application(**options)
    outer.add_subapp(path, asyncwork.web.aiohttp.subapp(app))
    server = TestServer(outer)
    await server.start_server()
    try:
        async with asyncio.timeout(LIMIT), ClientSession() as session:
            yield session, server.make_url(path), server
    finally:
        await server.close()


async def test_aiohttp_serves_it_under_any_path(bench: Bench) -> None:
    await put(bench, "dead", failed(args={"a": "é"}), failed())
    app = create_app(bench.url, namespace=bench.namespace)
    async with bridged(app, "/work/ui") as (session, root, _):
        response = await session.get(root / "queues")
        assert (response.status, await response.json()) == (200, [])
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["content-type"] == "application/json; charset=utf-8"
        (job, _) = (await (await session.get(f"{root}/api/jobs?location=dead")).json())["jobs"]
        assert job["args"] == {"a": "é"}
        response = await session.get(root / "dead", headers={"accept": "text/html"})
        assert all(link.startswith("/work/ui/") for link in links(await response.text()))
        given = {"location": "dead", "ref": job["ref"], "back": "/work/ui/dead"}
        response = await session.post(root / "api/jobs/delete", data=given, allow_redirects=False)
        assert (response.status, response.headers["location"].startswith("/work/ui/dead?done=delete")) == (303, True)
        response = await session.post(root / "api/jobs/retry", json={"location": "dead", "all": True})
        assert (await response.json())["done"] == 1
        response = await session.head(root / "api/overview")
        assert (response.status, int(response.headers["content-length"]) > 100) == (200, True)
        assert (await session.get(root / "nowhere")).status == 404
        assert (await session.put(root / "queues")).status == 405
        response = await session.post(root / "api/queues/pause", data=b" " * 1_000_001)
        assert response.status == 413
        response = await session.get(f"{root}?page=2", allow_redirects=False)
        assert (response.status, response.headers["location"]) == (307, "/work/ui/?page=2")


async def test_in_aiohttp_it_answers_to_its_own_names_only(bench: Bench) -> None:
    await put(bench, "dead", failed())
    app = create_app(bench.url, namespace=bench.namespace, hosts=["tools.example"])
    async with bridged(app, "/work") as (session, root, _):
        for host, status in (("tools.example", 200), ("127.0.0.1", 200), ("evil.example", 403)):
            response = await session.get(root / "dead_jobs", headers={"host": host})
            assert response.status == status
        response = await session.post(root / "delete_all_dead_jobs", headers={"host": "evil.example"})
        assert response.status == 403
    assert len(await bench.job_set("dead")) == 1


async def test_aiohttp_serves_it_within_an_application_within_another(bench: Bench) -> None:
    app = create_app(bench.url, namespace=bench.namespace)
    middle, outer = web.Application(), web.Application()
    middle.add_subapp("/ui", asyncwork.web.aiohttp.subapp(app))
    outer.add_subapp("/work", middle)
    async with TestServer(outer) as server, ClientSession() as session:
        given = {"queue": "wat", "back": "/work/ui/queues"}
        response = await session.post(server.make_url("/work/ui/api/queues/pause"), data=given, allow_redirects=False)
        assert response.headers["location"] == "/work/ui/queues?done=pause&n=1"
        response = await session.get(server.make_url("/work/ui"), allow_redirects=False)
        assert response.headers["location"] == "/work/ui/"


async def test_aiohttp_hands_on_every_byte_of_a_request(bench: Bench) -> None:
    seen: dict[str, Any] = {}

    async def look(request: Request) -> JSONResponse:
        seen.update(request.scope)
        seen["body"] = await request.body()
        return JSONResponse({}, headers={"x-one": "a"})

    app = Starlette(routes=[Route("/{path:path}", look, methods=["POST"])])
    async with bridged(app, "/a/b") as (session, root, _):
        path = "/c%2Fd%20e/%C3%BC?x=%FF&y=a+b"
        url = URL(f"{root}{path}", encoded=True)
        body = b"x" * 300_000
        response = await session.post(url, data=body, headers={"X-Twice": "1", "x-other": "ü"})
        assert (response.status, response.headers.get("x-one")) == (200, "a")
        assert (seen["root_path"], seen["path"], seen["method"]) == ("/a/b", "/a/b/c/d e/ü", "POST")
        assert seen["raw_path"] == b"/a/b/c%2Fd%20e/%C3%BC"
        assert (seen["query_string"], seen["body"]) == (b"x=%FF&y=a+b", body)
        headers = dict(seen["headers"])
        assert (headers[b"x-twice"], headers[b"x-other"]) == (b"1", "ü".encode())
        assert (seen["client"][0], seen["scheme"], seen["http_version"]) == ("127.0.0.1", "http", "1.1")
        assert seen["server"][1] == root.port


class Ticker:
    """An endless stream that records when it is closed."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.app = Starlette(routes=[Route("/ticks", self._serve)])

    async def _serve(self, request: Request) -> StreamingResponse:
        return StreamingResponse(self._ticks(), media_type="text/event-stream")

    async def _ticks(self) -> AsyncIterator[bytes]:
        try:
            yield b"data: tick\n\n"
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def test_a_stream_ends_when_its_client_goes() -> None:
    ticker = Ticker()
    async with bridged(ticker.app, "/work") as (session, root, _):
        async with session.get(root / "ticks") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert await response.content.readline() == b"data: tick\n"
            assert not ticker.ended.is_set()
        await ticker.ended.wait()


async def test_streams_end_when_the_server_shuts_down(bench: Bench) -> None:
    ticker = Ticker()
    async with AsyncExitStack() as stack:
        session, root, server = await stack.enter_async_context(bridged(ticker.app, "/work"))
        response = await stack.enter_async_context(session.get(root / "ticks"))
        assert await response.content.readline() == b"data: tick\n"
        async with asyncio.timeout(LIMIT):
            await server.close()
        assert ticker.ended.is_set()


async def test_a_truncated_response_does_not_look_complete() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"some"
        raise ValueError("no more")

    class Quiet:
        """As the web UI does: logs, and lets the server make of it what it will."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(scope, receive, send)
            except* ValueError:
                pass

    async def serve(request: Request) -> Any:
        return Quiet(StreamingResponse(parts()))

    async with bridged(Starlette(routes=[Route("/cut", serve)]), "/work") as (session, root, _):
        response = await session.get(root / "cut")
        with pytest.raises(Exception, match=r"(?i)payload|closed|disconnect|reset"):
            await response.read()


async def test_the_live_stream_through_aiohttp(bench: Bench) -> None:
    app = create_app(bench.url, namespace=bench.namespace)
    async with bridged(app, "/work") as (session, root, server):
        async with session.get(f"{root}/live?path=/") as response:
            assert response.status == 200
            assert response.headers["content-type"].startswith("text/event-stream")

            async def blocks() -> Any:
                while True:
                    line = await response.content.readline()
                    if line.startswith(b"data: {"):
                        return json.loads(line[6:])

            assert await blocks()
        async with session.get(f"{root}/live?path=/") as response:
            await response.content.readline()
            async with asyncio.timeout(LIMIT):
                await server.close()


async def test_aiohttp_runs_its_lifespan(bench: Bench) -> None:
    app = create_app(bench.url, namespace=bench.namespace)
    redis_client = app.state.context.client._redis
    async with bridged(app, "/work") as (session, root, _):
        await session.get(root / "queues")
        assert redis_client._clients.get()
    assert not redis_client._clients.get()


async def test_a_client_that_goes_amid_its_request(bench: Bench) -> None:
    app = create_app(bench.url, namespace=bench.namespace)
    async with bridged(app, "/work") as (session, root, _):
        reader, writer = await asyncio.open_connection(root.host, root.port)
        writer.write(b"POST /work/api/queues/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""

        async def served() -> bool:
            return (await session.get(root / "queues")).status == 200

        await until(served)
