"""The examples, run as processes with real requests and signals."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

import examples
from asyncwork import Client, WorkerPool
from asyncwork.sync import Enqueuer
from asyncwork.testing import Jobs, open_jobs
from examples import app as app_example
from examples import llm_agent, order_steps
from examples.flask_app import create_app
from examples.shop.jobs import pool, thumbnail
from examples.shop.store import open_orders

from .conftest import LIMIT, Bench, until

ROOT = Path(__file__).parent.parent
NO_REDIS = "redis://127.0.0.1:1/0"


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


async def running(bench: Bench, name: str) -> bool:
    """Return whether a job of this name runs."""
    return bool(await bench.redis.get(bench.keys.lock(name)) == b"1")


ORDER = {"address": "ada@example.com", "product": "lamp"}
FASTAPI = ("uvicorn", "examples.shop.app:app", "--port", "0")
AIOHTTP = ("examples.shop_aiohttp",)


class MailService:
    """The mail service of the shop. It answers while ``answers`` is set; a job that sends an e-mail runs until then."""

    def __init__(self) -> None:
        self.received: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self._app = web.Application()
        self._app.router.add_post("/messages", self._receive)

    async def _receive(self, request: web.Request) -> web.Response:
        self.received.append(await request.json())
        self.keys.append(request.headers["Idempotency-Key"])
        await self.answers.wait()
        return web.Response(status=202)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; the value is the URL."""
        server = TestServer(self._app)
        await server.start_server()
        try:
            yield str(server.make_url("")).rstrip("/")
        finally:
            self.answers.set()
            await server.close()


@pytest.fixture
async def mail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[MailService]:
    """The mail service of a shop that has no orders yet."""
    mail = MailService()
    async with mail.serving() as url:
        monkeypatch.setenv("SHOP_MAIL_URL", url)
        monkeypatch.setenv("SHOP_DATA", str(tmp_path))
        yield mail


async def place_order(client: httpx.AsyncClient) -> int:
    """Place an order; return its id."""
    placed = await client.post("/orders", json=ORDER)
    assert placed.status_code == 201
    order_id: int = placed.json()["id"]
    return order_id


async def is_emailed(client: httpx.AsyncClient, order_id: int) -> bool:
    order = (await client.get(f"/orders/{order_id}")).json()
    assert order == {"id": order_id, **ORDER, "emailed": order["emailed"]}
    return bool(order["emailed"])


def png() -> bytes:
    """Return a picture of 1000 x 500 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 500)).save(buffer, "png")
    return buffer.getvalue()


async def reviews(bench: Bench) -> list[tuple[bytes, float]]:
    """The scheduled requests for reviews with their scores. Shortly before a night's job, that is scheduled too."""
    return [each for each in await bench.job_set("scheduled") if json.loads(each[0])["name"] == "ask_for_review"]


async def use_the_shop(
    bench: Bench, mail: MailService, program: Program, client: httpx.AsyncClient, data: Path
) -> None:
    """Do what a user of the shop does, and see what comes of it."""
    order_id = await place_order(client)
    await until(lambda: is_emailed(client, order_id))
    assert mail.received == [{"to": "ada@example.com", "text": "We have received your order: lamp."}]
    ((_, at),) = await reviews(bench)
    assert 13.9 < (at - time.time()) / 86_400 < 14.1

    uploaded = await client.post("/pictures", files={"file": png()})
    assert uploaded.status_code == 202
    small = data / f"{uploaded.json()['picture']}.jpg"
    await program.says(f"took .* id={uploaded.json()['job']}")
    with Image.open(small) as picture:
        assert picture.size == (200, 100)

    assert (await client.post("/orders", json={"product": "lamp"})).status_code == 422
    assert (await client.post("/pictures")).status_code == 422
    assert (await client.get("/orders/99")).status_code == 404
    page = await client.get("/jobs/", headers={"accept": "text/html"})
    assert (page.status_code, "ask_for_review" in page.text) == (200, True)
    await bench.enqueuer.enqueue("send_email", {"order_id": 99})
    await program.says("there is no order 99")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_fastapi_serves_and_runs_jobs(bench: Bench, mail: MailService, loop: str, tmp_path: Path) -> None:
    async with serve(bench, *FASTAPI, "--loop", loop) as (program, client):
        await use_the_shop(bench, mail, program, client, tmp_path)
        program.process.send_signal(signal.SIGTERM)
        # uvicorn ends itself by the signal that has stopped it.
        assert await program.ends() == -signal.SIGTERM
    assert "Traceback" not in program.output


# After Ctrl-C, old versions of uvicorn exit with 1.
@pytest.mark.parametrize(("number", "codes"), [(signal.SIGTERM, [-signal.SIGTERM]), (signal.SIGINT, [0, 1])])
async def test_fastapi_lets_running_jobs_finish_when_it_is_stopped(
    bench: Bench, mail: MailService, number: signal.Signals, codes: list[int]
) -> None:
    mail.answers.clear()
    async with serve(bench, *FASTAPI) as (program, client):
        order_id = await place_order(client)
        await until(lambda: mail.keys)
        program.process.send_signal(number)
        await program.says("Waiting for application shutdown")
        assert await running(bench, "send_email")
        mail.answers.set()
        assert await program.ends() in codes
    took = re.search(f"took .* job=send_email id={mail.keys[0]}", program.output)
    assert took is not None
    assert program.output.index("Waiting for application shutdown") < took.start()
    assert took.start() < program.output.index("Application shutdown complete")
    assert await bench.audit() == []
    # It was enqueued while the pool was stopping, and waits for the next pool. Here it is due at once.
    ((review, _),) = await reviews(bench)
    await bench.redis.zadd(bench.keys.scheduled, {review: int(time.time())})
    async with serve(bench, *FASTAPI) as (program, client):
        await until(lambda: len(mail.received) == 2)
        assert mail.received[1]["text"] == "How do you like your lamp?"
        assert await is_emailed(client, order_id)
        program.process.send_signal(number)
        await program.ends()


async def test_fastapi_requeues_running_jobs_when_it_is_stopped_by_force(bench: Bench, mail: MailService) -> None:
    mail.answers.clear()
    async with serve(bench, *FASTAPI) as (program, client):
        await place_order(client)
        await until(lambda: mail.keys)
        assert await bench.waiting("send_email") == []
        # The rest of this request never comes. uvicorn waits for it until the second signal.
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await client.get("/orders/99")
        program.process.send_signal(signal.SIGINT)
        await program.says("Waiting for connections to close")
        program.process.send_signal(signal.SIGINT)
        await program.ends()
        writer.close()
    assert "Waiting for application shutdown" not in program.output
    assert len(await bench.waiting("send_email")) == 1


async def test_aiohttp_serves_and_runs_jobs(bench: Bench, mail: MailService, tmp_path: Path) -> None:
    async with serve(bench, *AIOHTTP, PORT="0") as (program, client):
        await use_the_shop(bench, mail, program, client, tmp_path)
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    assert "Traceback" not in program.output


async def refused(client: httpx.AsyncClient) -> bool:
    """Return whether a server accepts no more connections."""
    try:
        await client.get("/orders/99")
    except httpx.TransportError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_aiohttp_lets_running_jobs_finish_when_it_is_stopped(
    bench: Bench, mail: MailService, number: signal.Signals
) -> None:
    mail.answers.clear()
    async with serve(bench, *AIOHTTP, PORT="0") as (program, client):
        await place_order(client)
        await until(lambda: mail.keys)
        program.process.send_signal(number)
        await until(lambda: refused(client))
        assert await running(bench, "send_email")
        mail.answers.set()
        assert await program.ends() == 0
    assert re.search(f"took .* job=send_email id={mail.keys[0]}", program.output)
    assert await bench.waiting("send_email") == []


async def test_aiohttp_requeues_running_jobs_at_a_second_signal(bench: Bench, mail: MailService) -> None:
    mail.answers.clear()
    async with serve(bench, *AIOHTTP, PORT="0") as (program, client):
        await place_order(client)
        await until(lambda: mail.keys)
        program.process.send_signal(signal.SIGTERM)
        await until(lambda: refused(client))
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 1
    assert len(await bench.waiting("send_email")) == 1


@pytest.mark.parametrize(("command", "code"), [(FASTAPI, 3), (AIOHTTP, 1)])
async def test_a_server_without_redis_does_not_start_and_prints_the_reason(
    bench: Bench, command: tuple[str, ...], code: int
) -> None:
    async with run(bench, *command, ASYNCWORK_REDIS=NO_REDIS, PORT="0") as program:
        assert await program.ends() == code
    assert f"Redis at {NO_REDIS} cannot be reached" in program.output
    assert "unning on" not in program.output


async def test_the_commands_of_the_shop(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of its README, on other ports."""
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    web_command, worker = " ".join(FASTAPI[:2]), "asyncwork run examples.shop.jobs:pool"
    mail_command, tests = "uvicorn examples.shop.mail_service:app --port 8025", "pytest examples/shop/tests"
    text = (ROOT / "examples/shop/README.md").read_text(encoding="utf-8")
    commands = {line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()}
    assert {each for each in commands if not each.startswith("curl ")} == {web_command, worker, mail_command, tests}

    async with serve(bench, *mail_command.replace("8025", "0").split()) as (mail, mail_client):
        monkeypatch.setenv("SHOP_MAIL_URL", str(mail_client.base_url))
        async with open_orders() as orders, run(bench, *worker.split()) as program:
            order = await orders.add(**ORDER)
            await bench.enqueuer.enqueue("send_email", {"order_id": order.id})
            await mail.says("to ada@example.com: We have received your order: lamp.")
            await program.says("took")
            program.process.send_signal(signal.SIGTERM)
            assert await program.ends() == 0
    assert "Traceback" not in program.output


async def test_the_shops_own_tests_pass(bench: Bench) -> None:
    async with run(bench, "pytest", "examples/shop/tests", ASYNCWORK_TEST_REDIS=bench.url) as program:
        assert await program.ends() == 0, program.output
    assert re.search(r"\b\d+ passed in", program.output)


@pytest.fixture
def asyncwork_pool() -> WorkerPool[Any]:
    return pool


def test_flask_enqueues(jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATA", str(tmp_path))
    with Enqueuer(jobs.url, namespace=jobs.namespace) as exports:
        client = create_app(exports).test_client()
        uploaded = client.post("/pictures", data={"file": (io.BytesIO(png()), "lamp.png")})
        exported = [client.post("/exports?rows=7") for _ in range(2)]
        assert client.post("/exports?rows=0").status_code == 422
        assert client.post("/pictures").status_code == 400
    assert uploaded.status_code == 202
    answer: dict[str, str] = uploaded.get_json()
    path = tmp_path / answer["picture"]
    assert jobs.assert_enqueued(thumbnail, path=path).id == answer["job"]
    (export,) = jobs.enqueued("export")
    assert export.args == {"rows": 7}
    assert [(each.status_code, each.json) for each in exported] == [(202, {"job": export.id})] * 2

    assert [(run.name, run.outcome) for run in jobs.sync.drain()] == [("thumbnail", "done")]
    with Image.open(path.with_suffix(".jpg")) as small:
        assert small.size == (200, 100)


async def test_the_pool_runs_the_jobs_of_the_producer(bench: Bench, tmp_path: Path) -> None:
    async with run(bench, "examples.enqueue", TMPDIR=str(tmp_path)) as producer:
        assert await producer.ends() == 0
    # One of two equal jobs, and two of three that share a key, are duplicates.
    assert producer.output.count("duplicate=True") == 3
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
    found = [*(ROOT / "examples").glob("*.py"), *(each.parent for each in (ROOT / "examples").glob("*/__init__.py"))]
    assert listed == {path.stem for path in found} - {"__init__"}


async def test_orders_are_fulfilled_in_steps(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    with open_jobs(order_steps.pool, bench.url) as jobs:
        job = await order_steps.fulfil.enqueue(7, "a@example.com")
        await order_steps.fulfil.enqueue(8, "b@example.com")
        assert [run.outcome for run in await jobs.drain()] == ["snoozed"] * 2
        async with Client(jobs.url, namespace=jobs.namespace) as client:
            assert await client.signal(job.id, "approved", {"by": "ada", "yes": True})
        assert [run.outcome for run in await jobs.drain()] == ["snoozed"]
        jobs.clock.move(seconds=12)
        assert [run.outcome for run in await jobs.drain()] == ["done"]
        # Nobody has approved the other one.
        jobs.clock.move(days=4)
        assert [run.outcome for run in await jobs.drain()] == ["done"]
    said = capsys.readouterr().out.splitlines()
    first, second = (
        [line for line in said if str(n) in line or f"{word}@" in line] for n, word in ((7, "a"), (8, "b"))
    )
    assert first[0].startswith("charged order 7: receipt ")
    assert sorted(first[1:3]) == ["shipped order 7", "to a@example.com: thank you for 7.00"]
    assert first[3:] == ["to a@example.com: has parcel-7 arrived?"]
    assert second[0].startswith("charged order 8: receipt ")
    assert second[-1] == "to b@example.com: your order was declined"
    assert sum(line.startswith("refunded") for line in said) == 1


def events_of(text: str) -> list[dict[str, str]]:
    """Return server-sent events as their fields."""
    return [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.split("\n\n") if event]


async def test_fastapi_streams_what_a_job_says(bench: Bench) -> None:
    async with serve(bench, "uvicorn", "examples.stream_app:app", "--port", "0") as (program, client):
        asked = await client.post("/answers", params={"question": "Why?"})
        assert asked.status_code == 202
        path = f"/answers/{asked.json()['job']}"
        *words, end = events_of((await client.get(path)).text)
        said = " ".join(json.loads(each["data"]) for each in words)
        assert said == "You asked 'Why?', and I am only an example."
        assert (end["event"], end["data"]) == ("end", '"done"')
        # As a browser that has lost its connection.
        again = await client.get(path, headers={"last-event-id": words[-2]["id"]})
        assert events_of(again.text) == [words[-1], end]
        program.process.send_signal(signal.SIGTERM)
        await program.ends()
    assert "Traceback" not in program.output


async def test_an_agent_thinks_in_durable_turns_and_streams_them(bench: Bench) -> None:
    async with serve(bench, "uvicorn", "examples.llm_agent:app", "--port", "0") as (program, client):
        asked = await client.post("/questions", params={"text": "How warm is it in Oslo and Rome?"})
        job_id = asked.json()["job"]
        *said, end = events_of((await client.get(f"/questions/{job_id}")).text)
        chunks = [json.loads(each["data"]) for each in said]
        assert sorted(each["said"] for each in chunks if "tool" in each) == ["-3° in Oslo", "14° in Rome"]
        assert " ".join(each["word"] for each in chunks if "word" in each) == "It is -3° in Oslo and 14° in Rome."
        assert (end["event"], end["data"]) == ("end", '"done"')
        async with Client(bench.url, namespace=bench.namespace) as reader:
            assert await reader.result(job_id) == "It is -3° in Oslo and 14° in Rome."
            (limit,) = await reader.limits()
            # Two turns have asked the model.
            assert (limit.name, limit.running, limit.slots) == ("model", 0, 0)
        program.process.send_signal(signal.SIGTERM)
        await program.ends()
    assert "Traceback" not in program.output


async def test_an_agent_does_not_repeat_the_turns_that_it_has_paid_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()
    ask = llm_agent.ask_model

    async def ask_and_break_once(messages: list[llm_agent.Message], say: Any) -> llm_agent.Reply:
        asked.append(len(messages))
        if len(asked) == 2:
            raise ConnectionError("the model is away")
        return await ask(messages, say)

    monkeypatch.setattr(llm_agent, "ask_model", ask_and_break_once)
    # The test above takes its slots, in the Redis of the example.
    monkeypatch.setattr(llm_agent.model, "slot", lambda cost, wait: nullcontext())
    with open_jobs(llm_agent.pool, bench.url) as jobs:
        await llm_agent.agent.enqueue("How warm is it in Lima?")
        outcomes = [run.outcome for run in await jobs.drain()]
        jobs.clock.move(hours=1)
        outcomes += [run.outcome for run in await jobs.drain()]
    assert outcomes == ["retry", "done"]
    # One message at first, and the tool's in the second turn, which was tried twice.
    assert asked == [1, 3, 3]


async def test_an_import_is_a_flow(bench: Bench, tmp_path: Path) -> None:
    data = {"IMPORT_DATA": str(tmp_path)}
    async with run(bench, "asyncwork", "run", "examples.import_rows:pool", **data) as program:
        async with run(bench, "examples.import_rows", "--rows", "2000", **data) as producer:
            assert await producer.ends() == 0
        assert re.search(r"succeeded: 24 done, 0 failed, 0 cancelled, 0 left\n$", producer.output), producer.output
        await program.says(r"customers: 20 chunks, 2,059.95 EUR")
        await program.says("customers: 20 files removed")
        async with run(bench, "examples.import_rows", "--rows", "1000", "--broken", "7", **data) as producer:
            assert await producer.ends() == 0
        # The report is cancelled, and both that run all the same are done.
        assert re.search(r"failed: 12 done, 1 failed, 1 cancelled, 0 left\n$", producer.output), producer.output
        await program.says("customers: 2,000 rows removed")
        await program.says("customers: 10 files removed")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["rows.sqlite"]
