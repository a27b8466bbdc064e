"""The examples, run as processes with real requests and signals."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import examples
from examples import app as app_example

from .conftest import LIMIT, Bench, until

ROOT = Path(__file__).parent.parent
NO_REDIS = "redis://127.0.0.1:1/0"
# A report or a set of thumbnails that takes 1.5 s.
LONG = 30


class Program:
    """A running example."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until its output matches."""
        async with asyncio.timeout(LIMIT):
            while True:
                # Read before the search, so that output of the last moment is found too.
                ended = self._reading.done()
                if match := re.search(pattern, self.output):
                    return match
                assert not ended, f"{pattern!r} is not in its output:\n{self.output}"
                await asyncio.sleep(0.01)

    async def ends(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        async with asyncio.timeout(LIMIT):
            await self._reading
            return await self.process.wait()


@asynccontextmanager
async def run(bench: Bench, *command: str, **environment: str) -> AsyncIterator[Program]:
    """Run a program in the project's directory, on the test's Redis and namespace."""
    own = {"ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, env={**os.environ, **own, **environment}, cwd=ROOT, stdout=PIPE, stderr=STDOUT
    )
    program = Program(process)
    try:
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await program.ends()


@asynccontextmanager
async def serve(bench: Bench, *command: str, **environment: str) -> AsyncIterator[tuple[Program, httpx.AsyncClient]]:
    """Run a server, with a client for it."""
    async with run(bench, *command, **environment) as program:
        url = (await program.says(r"[Rr]unning on (http://\S+)"))[1]
        async with httpx.AsyncClient(base_url=url, timeout=LIMIT, trust_env=False) as client:
            yield program, client


async def answer(client: httpx.AsyncClient, path: str) -> Any:
    """Wait until a path is found; return its JSON."""
    found: list[Any] = []

    async def is_found() -> bool:
        response = await client.get(path)
        assert response.status_code in (200, 404)
        found.append(response.json() if response.status_code == 200 else None)
        return response.status_code == 200

    await until(is_found)
    return found[-1]


async def running(bench: Bench, name: str) -> bool:
    """Return whether a job of this name runs."""
    return bool(await bench.redis.get(bench.keys.lock(name)) == b"1")


FASTAPI = ("uvicorn", "examples.fastapi_app:app", "--port", "0")
AIOHTTP = ("examples.aiohttp_app",)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_fastapi_serves_and_runs_jobs(bench: Bench, loop: str) -> None:
    async with serve(bench, *FASTAPI, "--loop", loop) as (program, client):
        ordered = await client.post("/reports", json={"customer_id": 7, "pages": 2})
        assert ordered.status_code == 202
        report = await answer(client, f"/reports/{ordered.json()['id']}")
        assert report["report"].startswith("2 pages about Ada, signed ")

        later = (await client.post("/reports/later", params={"seconds": 1}, json={"customer_id": 8})).json()
        assert len(await bench.job_set("scheduled")) == 1
        report = await answer(client, f"/reports/{later['id']}")
        assert report["report"].startswith("1 pages about Grace, signed ")

        assert (await client.post("/reports", json={"customer_id": "seven"})).status_code == 422
        page = await client.get("/work/", headers={"accept": "text/html"})
        assert (page.status_code, "write_report" in page.text) == (200, True)
        assert (await client.post("/reports", json={"customer_id": 9})).status_code == 202
        await program.says("there is no customer 9")
        program.process.send_signal(signal.SIGTERM)
        # uvicorn ends itself by the signal that has stopped it.
        assert await program.ends() == -signal.SIGTERM
    assert "Traceback" not in program.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
async def test_fastapi_lets_running_jobs_finish_when_it_is_stopped(
    bench: Bench, number: signal.Signals, code: int
) -> None:
    async with serve(bench, *FASTAPI) as (program, client):
        job_id = (await client.post("/reports", json={"customer_id": 7, "pages": LONG})).json()["id"]
        await until(lambda: running(bench, "write_report"))
        program.process.send_signal(number)
        assert await program.ends() == code
    assert program.output.index("Waiting for application shutdown") < program.output.index(f"{job_id} took")
    assert program.output.index(f"{job_id} took") < program.output.index("Application shutdown complete")
    assert await bench.audit() == []
    # It was enqueued while the pool was stopping, and waits for the next pool.
    assert len(await bench.waiting("sign_report")) == 1
    async with serve(bench, *FASTAPI) as (program, client):
        assert (await answer(client, f"/reports/{job_id}"))["report"].startswith(f"{LONG} pages about Ada")
        program.process.send_signal(number)
        await program.ends()


async def test_fastapi_requeues_running_jobs_when_it_is_stopped_by_force(bench: Bench) -> None:
    async with serve(bench, *FASTAPI) as (program, client):
        await client.post("/reports", json={"customer_id": 7, "pages": 1000})
        await until(lambda: running(bench, "write_report"))
        assert await bench.waiting("write_report") == []
        # The rest of this request never comes. uvicorn waits for it until the second signal.
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /reports HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await client.get("/reports/none")
        program.process.send_signal(signal.SIGINT)
        await program.says("Waiting for connections to close")
        program.process.send_signal(signal.SIGINT)
        await program.ends()
        writer.close()
    assert "Waiting for application shutdown" not in program.output
    assert len(await bench.waiting("write_report")) == 1


async def test_aiohttp_serves_and_runs_jobs(bench: Bench) -> None:
    async with serve(bench, *AIOHTTP, PORT="0") as (program, client):
        ordered = await client.post("/thumbnails", json={"user": "ada", "pictures": ["cat", "dog"]})
        assert ordered.status_code == 202
        made = await answer(client, f"/thumbnails/{ordered.json()['id']}")
        assert made == {"made": ["ada/cat.small.png", "ada/dog.small.png"]}

        later = (await client.post("/checksums", json={"text": "cat", "seconds": 1})).json()
        assert len(await bench.job_set("scheduled")) == 1
        assert await answer(client, f"/checksums/{later['id']}") == {"made": ["9e5e43a8"]}
        page = await client.get("/work/", headers={"accept": "text/html"})
        assert (page.status_code, "make_thumbnails" in page.text) == (200, True)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    assert "Traceback" not in program.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_aiohttp_lets_running_jobs_finish_when_it_is_stopped(bench: Bench, number: signal.Signals) -> None:
    async with serve(bench, *AIOHTTP, PORT="0") as (program, client):
        order = {"user": "ada", "pictures": ["cat"] * LONG}
        job_id = (await client.post("/thumbnails", json=order)).json()["id"]
        await until(lambda: running(bench, "make_thumbnails"))
        program.process.send_signal(number)
        assert await program.ends() == 0
    assert f"make_thumbnails {job_id} made {LONG}" in program.output
    assert await bench.waiting("make_thumbnails") == []


async def test_aiohttp_requeues_running_jobs_at_a_second_signal(bench: Bench) -> None:
    async with serve(bench, *AIOHTTP, PORT="0") as (program, client):
        await client.post("/thumbnails", json={"user": "ada", "pictures": ["cat"] * 1000})
        await until(lambda: running(bench, "make_thumbnails"))
        program.process.send_signal(signal.SIGTERM)

        async def refused() -> bool:
            try:
                await client.get("/thumbnails/none")
            except httpx.TransportError:
                return True
            return False

        await until(refused)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 1
    assert len(await bench.waiting("make_thumbnails")) == 1


@pytest.mark.parametrize(("command", "code"), [(FASTAPI, 3), (AIOHTTP, 1)])
async def test_a_server_without_redis_does_not_start_and_prints_the_reason(
    bench: Bench, command: tuple[str, ...], code: int
) -> None:
    async with run(bench, *command, ASYNCWORK_REDIS=NO_REDIS, PORT="0") as program:
        assert await program.ends() == code
    assert f"Redis at {NO_REDIS} cannot be reached" in program.output
    assert "unning on" not in program.output


async def test_the_pool_runs_the_jobs_of_the_producer(bench: Bench, tmp_path: Path) -> None:
    async with run(bench, "examples.enqueue", TMPDIR=str(tmp_path)) as producer:
        assert await producer.ends() == 0
    # One of two equal jobs, and two of three that share a key, are duplicates.
    assert producer.output.count("DuplicateJob") == 3
    async with run(bench, "asyncwork", "run", "examples.app:pool") as program:
        await program.says("sent .* to a@example.com: hello")
        await program.says("sent .* to b@example.com: two seconds later")
        await program.says("sent .* to c@example.com: three orders")
        await program.says("exported 50 rows")
        await program.says("exported 20 rows")
        await program.says("exported 30 rows")
        await program.says("caches calculated")
        await program.says("resized .*stripes.ppm")
        await until(lambda: program.output.count(": news") == 100)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    assert "Traceback" not in program.output
    assert not re.search("one order|two orders", program.output)
    for job_set in ("retry", "dead"):
        assert await bench.job_set(job_set) == []


async def test_the_pool_lets_running_jobs_finish(bench: Bench) -> None:
    async with run(bench, "asyncwork", "run", "examples.app:pool") as program:
        await bench.enqueuer.enqueue("export", {"rows": 150})
        await program.says("starting export")
        await until(lambda: running(bench, "export"))
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    assert "exported 150 rows" in program.output


async def test_the_producer_prints_that_redis_is_unreachable(bench: Bench) -> None:
    async with run(bench, "examples.enqueue", ASYNCWORK_REDIS=NO_REDIS) as program:
        assert await program.ends() == 1
    assert NO_REDIS in program.output
    assert "Traceback" not in program.output


async def test_a_handler_is_still_an_ordinary_function(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    await app_example.send_email(app_example.Context(customer_id=7), "a@example.com", subject="hi")
    assert "to a@example.com: hi" in capsys.readouterr().out
    picture = tmp_path / "odd.ppm"
    picture.write_bytes(b"P6\n3 3\n255\n" + bytes(range(27)))
    app_example.resize(str(picture))
    assert (tmp_path / "odd.small.ppm").read_bytes() == b"P6\n2 2\n255\n" + bytes(
        [0, 1, 2, 6, 7, 8, 18, 19, 20, 24, 25, 26]
    )


def test_the_list_of_examples_is_complete() -> None:
    listed = set(re.findall(r"^``(\w+)``", examples.__doc__ or "", re.MULTILINE))
    assert listed == {path.stem for path in (ROOT / "examples").glob("*.py")} - {"__init__"}
