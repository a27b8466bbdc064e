"""The health of a pool, and the port that answers for it: in each state, and whatever its clients do."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import httpx
import pytest

from asyncwork import PoolHealth, WorkerPool
from asyncwork._health import decision, server
from asyncwork._health.listening import ListenAddress
from asyncwork._health.report import HealthReport, ProcessReport
from asyncwork._health.server import HealthServer
from asyncwork._jobs import forks
from asyncwork._pool.process_source import ProcessSource

from .conftest import LIMIT, Bench, until
from .proxy import open_proxy
from .test_cli import program, signals_as_usual
from .tuned import QUICK, tuned

__all__ = ["signals_as_usual"]  # fixtures

ANY_PORT = ListenAddress("127.0.0.1", 0)


class Port:
    """The health port of a process that runs one pool.

    :ivar source: what it answers from.
    """

    def __init__(self, server: HealthServer, source: ProcessSource) -> None:
        self._url = f"http://{server.address}"
        self.source = source

    def get(self, path: str) -> httpx.Response:
        """Send a request from this thread."""
        return httpx.get(self._url + path, timeout=LIMIT)

    async def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of a probe."""
        response = await asyncio.to_thread(self.get, path)
        assert response.headers["content-type"] == "application/json"
        return response.status_code, response.json()

    async def state(self) -> tuple[int, int, str, str]:
        """Return the status of each probe, the state and the reason."""
        (livez, health), (readyz, again) = await self.probe("/livez"), await self.probe("/readyz")
        assert health.keys() == again.keys() == {"live", "ready", "state", "reason", "since"}
        assert (again["since"] is None) == (readyz == 200)
        return livez, readyz, again["state"], again["reason"]


@contextmanager
def serving(pool: WorkerPool[Any] | None = None) -> Iterator[Port]:
    """Serve the health of a pool; ``None`` stands for a process that has not made its pool yet."""
    source = ProcessSource()
    source.pool = pool
    port = HealthServer(ANY_PORT, source)
    port.start()
    try:
        yield Port(port, source)
    finally:
        port.stop()


# The states of a pool


async def test_a_pool_from_start_to_stop(bench: Bench) -> None:
    opening, job_ends, job_runs = asyncio.Event(), asyncio.Event(), asyncio.Event()
    closing_now, close = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        await opening.wait()
        yield
        closing_now.set()
        await close.wait()

    pool = bench.pool(resources=resources)

    @pool.job
    async def wat() -> None:
        job_runs.set()
        await job_ends.wait()

    with serving() as port:
        assert await port.state() == (200, 503, "starting", "the pool is starting")
        port.source.pool = pool
        assert await port.state() == (200, 503, "starting", "the pool is starting")
        assert pool.health().state == "stopped"
        start = asyncio.create_task(pool.start())
        await until(lambda: pool.health().state == "starting")
        assert await port.state() == (200, 503, "starting", "the pool is starting")
        opening.set()
        await start
        assert await port.state() == (200, 200, "running", "")
        assert pool.health() == PoolHealth(live=True, ready=True, state="running")
        await wat.enqueue()
        await job_runs.wait()
        await pool.quiet()
        assert await port.state() == (200, 503, "quiet", "the pool is quiet: it fetches no jobs")
        pool.stop_soon()
        assert await port.state() == (200, 503, "stopping", "the pool is stopping")
        job_ends.set()
        await closing_now.wait()
        assert await port.state() == (200, 503, "stopping", "the pool is stopping")
        close.set()
        await pool.wait()
        assert await port.state() == (200, 503, "stopping", "the pool is stopping")
        assert pool.health().reason == "the pool does not run"


async def test_redis_away_is_not_ready_but_live(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK)
        with serving(pool) as port:
            async with pool.running():
                assert await port.state() == (200, 200, "running", "")
                before = time.time()
                proxy.withhold()

                async def is_away() -> bool:
                    return await port.state() == (200, 503, "running", decision.REDIS_AWAY)

                await until(is_away)
                # The last heartbeat was answered at most one period before, or one was under way.
                assert before - 10 < (await port.probe("/readyz"))[1]["since"] <= time.time()
                assert not pool.health().ready
                assert "asyncwork_redis_up 0" in pool.metrics_text()
                await proxy.release()

                async def is_back() -> bool:
                    return await port.state() == (200, 200, "running", "")

                await until(is_back)
                assert "asyncwork_redis_up 1" in pool.metrics_text()


async def test_a_blocked_event_loop_is_answered_for(bench: Bench) -> None:
    pool = bench.pool(**tuned(QUICK, stall=0.1, blocked=0.3))
    release = threading.Event()
    seen: list[tuple[int, int, dict[str, Any]]] = []

    @pool.job
    async def blocks() -> None:
        release.wait(LIMIT)

    def watch(port: Port) -> None:
        """Wait until the probes fail, without the event loop, then end the job."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            livez, readyz = port.get("/livez"), port.get("/readyz")
            if livez.status_code == 503:
                seen.append((livez.status_code, readyz.status_code, livez.json()))
                break
            time.sleep(0.01)
        seen.append((0, 0, {"text": port.get("/metrics").text}))
        release.set()

    with serving(pool) as port:
        async with pool.running():
            watching = threading.Thread(target=watch, args=(port,))
            before = time.time()
            watching.start()
            await blocks.enqueue()
            await until(release.is_set)
            watching.join()
            (livez, readyz, health), (_, _, metrics) = seen
            assert (livez, readyz, health["live"], health["ready"]) == (503, 503, False, False)
            assert health["reason"] == decision.BLOCKED
            assert before <= health["since"] <= time.time()
            blocked = re.findall(r"^asyncwork_event_loop_blocked_seconds (.*)", metrics["text"], re.MULTILINE)
            assert float(blocked[0]) > 0.3
            await pool.drain()
            await until(lambda: pool.health().live)
            assert await port.state() == (200, 200, "running", "")


async def test_a_short_block_is_not_a_failure(bench: Bench) -> None:
    pool = bench.pool()
    async with pool.running():
        assert pool._launcher is not None
        pool._launcher._probe.watchdog._pinged_at = time.monotonic() - 59
        assert pool.health().ready
        pool._launcher._probe.watchdog._pinged_at = time.monotonic() - 61
        assert pool.health() == PoolHealth(False, False, "running", decision.BLOCKED, pool.health().since)
        assert abs(time.time() - 61 - (pool.health().since or 0)) < 30


async def test_a_pool_that_ended_by_itself_is_not_ready(bench: Bench) -> None:
    pool = bench.pool()
    await pool.start()
    assert pool._launcher is not None
    pool._launcher._worker_broke(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        await pool.wait()
    assert (pool.health().live, pool.health().state) == (True, "stopped")


# Requests


class Fixed:
    """Answers always the same."""

    def __init__(self) -> None:
        self.fails = False

    def health(self) -> HealthReport:
        if self.fails:
            raise RuntimeError("a defect")
        return {"live": True, "ready": False, "state": "quiet", "reason": "é", "since": 1.0}

    def report(self) -> ProcessReport:
        return ProcessSource().report()


@pytest.fixture
def fixed() -> Iterator[tuple[Fixed, HealthServer]]:
    source = Fixed()
    port = HealthServer(ANY_PORT, source)
    port.start()
    yield source, port
    port.stop()


def exchange(port: HealthServer, sent: bytes, *, end: bool = False) -> tuple[str, dict[str, str], str]:
    """Send bytes; return the status line, the headers and the body of the answer."""
    with closing(socket.create_connection((port.address.host, port.address.port), timeout=LIMIT)) as connection:
        connection.sendall(sent)
        if end:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return first, dict(line.lower().split(": ", 1) for line in lines), body


@pytest.mark.parametrize(
    ("request_line", "status", "allow"),
    [
        ("GET /livez HTTP/1.1", "200 OK", ""),
        ("GET /livez?verbose=1 HTTP/1.0", "200 OK", ""),
        ("HEAD /livez HTTP/1.1", "200 OK", ""),
        ("GET /readyz HTTP/1.1", "503 Service Unavailable", ""),
        ("GET /metrics HTTP/1.1", "200 OK", ""),
        ("GET / HTTP/1.1", "404 Not Found", ""),
        ("GET /livez/ HTTP/1.1", "404 Not Found", ""),
        ("POST /nowhere HTTP/1.1", "404 Not Found", ""),
        ("POST /livez HTTP/1.1", "405 Method Not Allowed", "get, head"),
        ("DELETE /metrics HTTP/1.1", "405 Method Not Allowed", "get, head"),
        ("GET /livez", "400 Bad Request", ""),
        ("GET /livez HTTP/2", "400 Bad Request", ""),
        ("\xff\xfe \x00", "400 Bad Request", ""),
    ],
)
def test_what_a_request_is_answered(
    fixed: tuple[Fixed, HealthServer], request_line: str, status: str, allow: str
) -> None:
    sent = f"{request_line}\r\nHost: x\r\n\r\n".encode("latin-1")
    first, headers, body = exchange(fixed[1], sent)
    assert first == f"HTTP/1.1 {status}"
    assert headers.get("allow", "") == allow
    assert headers["connection"] == "close"
    assert headers["cache-control"] == "no-store"
    if request_line.startswith("HEAD"):
        assert (body, int(headers["content-length"]) > 0) == ("", True)
    else:
        assert len(body.encode()) == int(headers["content-length"])
    if headers["content-type"] == "application/json" and body:
        assert json.loads(body) == {"live": True, "ready": False, "state": "quiet", "reason": "é", "since": 1.0}


def test_a_request_may_come_in_parts_and_with_a_body(fixed: tuple[Fixed, HealthServer]) -> None:
    _, port = fixed
    with closing(socket.create_connection((port.address.host, port.address.port), timeout=LIMIT)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    sent = b"POST /livez HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    assert exchange(port, sent)[0] == "HTTP/1.1 405 Method Not Allowed"


def test_a_huge_head_is_refused(fixed: tuple[Fixed, HealthServer]) -> None:
    sent = b"GET /livez HTTP/1.1\r\nX: " + b"x" * 100_000
    assert exchange(fixed[1], sent, end=True)[0] == "HTTP/1.1 431 Request Header Fields Too Large"
    assert exchange(fixed[1], b"GET /livez HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 200 OK"


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side has closed a connection."""
    try:
        return not connection.recv(1)
    except ConnectionResetError:
        return True


def test_many_connections_leave_room_for_one_more(fixed: tuple[Fixed, HealthServer]) -> None:
    _, port = fixed
    idle = [socket.create_connection((port.address.host, port.address.port), timeout=LIMIT) for _ in range(200)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"GET /livez HTT")
        for _ in range(10):
            assert exchange(port, b"GET /livez HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 200 OK"
        assert len(port._connections) <= server._MAX_CONNECTIONS
        assert is_closed(idle[0])
    finally:
        for connection in idle:
            connection.close()


def test_a_slow_client_is_cut_off(monkeypatch: pytest.MonkeyPatch, fixed: tuple[Fixed, HealthServer]) -> None:
    monkeypatch.setattr(server, "_TIME_LIMIT", 0.05)
    _, port = fixed
    for sent in (b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\n\r\n"):
        with closing(socket.create_connection((port.address.host, port.address.port), timeout=LIMIT)) as connection:
            connection.sendall(sent)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    deadline = time.monotonic() + LIMIT
    while port._connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not port._connections


def test_a_defect_is_answered_and_logged_once(
    fixed: tuple[Fixed, HealthServer], caplog: pytest.LogCaptureFixture
) -> None:
    source, port = fixed
    source.fails = True
    for _ in range(3):
        assert exchange(port, b"GET /livez HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 500 Internal Server Error"
    source.fails = False
    assert exchange(port, b"GET /livez HTTP/1.1\r\n\r\n")[0] == "HTTP/1.1 200 OK"
    assert caplog.text.count("health port failed to answer /livez (RuntimeError: a defect)") == 1


def test_a_port_in_use(fixed: tuple[Fixed, HealthServer]) -> None:
    with pytest.raises(OSError, match="in use") as caught:
        HealthServer(fixed[1].address, fixed[0])
    assert caught.value.errno == errno.EADDRINUSE


def test_a_stopped_port_is_free_again() -> None:
    source = Fixed()
    first = HealthServer(ANY_PORT, source)
    first.start()
    first.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((first.address.host, first.address.port))
    unstarted = HealthServer(first.address, source)
    unstarted.stop()


def test_a_forked_child_does_not_keep_the_port(fixed: tuple[Fixed, HealthServer]) -> None:
    _, port = fixed
    assert port in forks.owned
    other = HealthServer(ANY_PORT, Fixed())
    other.forked()
    assert other._socket.fileno() == -1


# The command


def run(bench: Bench, *more: str) -> tuple[str, ...]:
    return ("run", "shop:pool", "--redis", bench.url, "--namespace", bench.namespace, *more)


@pytest.mark.processes
async def test_the_command_serves_its_health(bench: Bench) -> None:
    async with program(*run(bench, "--health", "127.0.0.1:0")) as running:
        url = (await running.says(r"serving /livez, /readyz and /metrics at (http://127\.0\.0\.1:\d+)$"))[1]
        await running.says("running up to")
        async with httpx.AsyncClient(base_url=url, timeout=LIMIT) as web:
            assert [(await web.get(path)).status_code for path in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]
            running.send(signal.SIGTSTP)
            await running.says("quiet: no more jobs")

            async def is_quiet() -> bool:
                return bool((await web.get("/readyz")).json()["state"] == "quiet")

            await until(is_quiet)
            running.send(signal.SIGTERM)
            assert await running.ends() == 0
            with pytest.raises(httpx.ConnectError):
                await web.get("/livez")


@pytest.mark.processes
async def test_the_environment_names_the_address(bench: Bench) -> None:
    async with program(*run(bench), env={"ASYNCWORK_HEALTH": "[::1]:0" if has_ipv6() else "127.0.0.1:0"}) as running:
        await running.says(r"serving /livez, /readyz and /metrics at http://\S+:\d+$")
        await running.says("running up to")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.processes
async def test_the_command_cannot_listen(bench: Bench) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with program(*run(bench, "--health", address)) as running:
            assert await running.ends() == 1
            assert f"another program listens at {address}: choose another port with --health" in running.err
    async with program(*run(bench, "--health", "8111")) as running:
        assert await running.ends() == 2
        assert "--health: '8111' is not HOST:PORT" in running.err
