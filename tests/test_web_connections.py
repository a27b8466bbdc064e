"""Connection limits of ``asyncwork web``: many and slow connections must not block other clients."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from asyncwork._health.listening import throttle_accept_errors
from asyncwork.web import connections
from asyncwork.web.connections import connection_limit, limited_protocol

from .conftest import LIMIT, Bench, until
from .test_cli import program, signals_as_usual
from .test_web_cli import LINE, at

__all__ = ["signals_as_usual"]  # fixtures

HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
# Bytes; more than the sockets on both sides hold.
MUCH = 20_000_000


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def much(request: Request) -> Response:
    return Response(b"x" * MUCH)


@asynccontextmanager
async def listening(limit: int = 50) -> AsyncIterator[int]:
    """Run a server with a connection limit; yield its port."""
    routes = [Route("/echo", echo, methods=["POST", "GET"]), Route("/much", much)]
    app = Starlette(routes=routes)
    config = uvicorn.Config(app, http=limited_protocol(limit), ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await serving


async def send(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Wait until the server closes the connection; return what it sent."""
    async with asyncio.timeout(LIMIT):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def answer(port: int, body: bytes = b"hello") -> bytes:
    """Return the response to a complete request on a new connection."""
    reader, writer = await send(port, HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    try:
        return await ended(reader)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "start",
    [b"", b"GET", HEAD, HEAD + b"Content-Length: 5\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx"],
)
async def test_a_request_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(connections, "_HEAD_TIMEOUT", 0.2)
    monkeypatch.setattr(connections, "_BODY_TIMEOUT", 0.2)
    async with listening() as port:
        reader, writer = await send(port, start)
        assert await ended(reader) == b""
        writer.close()


async def test_a_request_that_comes_bit_by_bit_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HEAD_TIMEOUT", 0.3)
    async with listening() as port:
        reader, writer = await send(port, b"GET /echo HTTP/1.1\r\n")
        end = asyncio.ensure_future(ended(reader))
        for number in range(1_000):
            if end.done() or writer.is_closing():
                break
            writer.write(b"x-%d: 1\r\n" % number)
            await asyncio.sleep(0.02)
        assert await end == b""
        assert number < 500
        writer.close()


async def test_a_client_that_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_READ_TIMEOUT", 0.2)
    async with listening() as port:
        reader, writer = await send(port, b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await ended(reader)) < MUCH
        writer.close()


async def test_whole_requests_are_served_however_slow_the_handler_and_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_HEAD_TIMEOUT", 0.3)
    monkeypatch.setattr(connections, "_BODY_TIMEOUT", 0.3)
    async with listening() as port:
        request = HEAD + b"Content-Length: 2\r\n\r\nhi"
        reader, writer = await send(port, request)
        for _ in range(3):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\nhi")
            await asyncio.sleep(0.2)
            writer.write(request)
        # Two in one go.
        writer.write(request + request)
        for _ in range(3):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\nhi")
        writer.close()


async def test_those_without_a_request_make_room(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "asyncwork.web")
    async with listening(limit=10) as port:
        slow = [await send(port, HEAD) for _ in range(10)]
        body = await send(port, HEAD + b"Content-Length: 9\r\n\r\nx")
        for _ in range(30):
            slow.append(await send(port, b"GET"))
            assert (await answer(port)).endswith(b"hello")
        # The ones that had waited longest were closed.
        assert await ended(slow[0][0]) == b""
        assert await ended(body[0]) == b""
        for _, writer in [*slow, body]:
            writer.close()
        await until(lambda: "below the connection limit" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.name == "asyncwork.web"]
    assert lines == [
        "reached the limit of 10 connections; closing those without a complete request for new ones",
        lines[1],
    ]


async def test_want_of_files_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    try:
        throttle_accept_errors(loop, connections.logger)
        error = OSError(24, "Too many open files")
        for _ in range(100):
            loop.call_exception_handler(
                {"message": "socket.accept() out of system resource", "exception": error, "socket": None}
            )
        loop.call_exception_handler({"message": "another matter"})
    finally:
        loop.set_exception_handler(before)
    assert [record.getMessage() for record in caplog.records] == [
        "failed to accept connections: [Errno 24] Too many open files",
        "another matter",
    ]


@pytest.mark.parametrize(("files", "limit"), [(50, 16), (256, 128), (1024, 500), (resource.RLIM_INFINITY, 500)])
def test_the_limit_stays_below_that_of_files(monkeypatch: pytest.MonkeyPatch, files: int, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connection_limit() == limit


async def test_many_unfinished_requests_do_not_block_others(bench: Bench) -> None:
    few_files = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
    arguments = ("web", "--listen", "127.0.0.1:0", *at(bench))
    async with program(*arguments, env={"ASYNCWORK_WEB_AUTH": "ada:secret"}, prefix=few_files) as running:
        await until(lambda: "\n" in running.out)
        line = re.search(LINE, running.out, re.MULTILINE)
        assert line
        port = int(line[3])
        starts = (b"", b"GET / HT", HEAD, b"\x16\x03junk\r\n\r\n")
        held = [await send(port, starts[number % 4]) for number in range(400)]
        for _ in range(20):
            reader, writer = await send(port, b"GET /queues HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 401 " in await ended(reader)
            writer.close()
        # A busy server accepts more of them before it closes others, and then has fewer than its limit.
        texts = [line.split(maxsplit=4)[4][:20] for line in running.err.splitlines()]
        assert len(texts) == len(set(texts)) <= 3, running.err
        assert "reached the limit of 128 connections" in running.err
        for _, writer in held:
            writer.close()
