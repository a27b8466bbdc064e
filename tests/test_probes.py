"""The answers of the probes in each state: each row of the table in ``docs/monitoring.md``, against real processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from .architecture import ROOT
from .conftest import LIMIT, Bench, until
from .proxy import Proxy, open_proxy
from .test_cli import program, signals_as_usual
from .test_processes import Fleet

__all__ = ["signals_as_usual"]  # fixtures

pytestmark = pytest.mark.processes


@dataclass(frozen=True)
class Answers:
    """What the probes answer.

    :ivar livez: a status, as ``readyz`` and ``metrics``.
    """

    livez: int
    readyz: int
    metrics: int
    state: str
    reason: str


@dataclass(frozen=True)
class Row:
    """A row of the table for one number of processes."""

    state: str
    processes: int
    answers: Answers


def rows() -> list[Row]:
    """Return the rows of the table."""
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    section = text.partition("### Each state\n")[2].partition("\n### ")[0]
    found = []
    for line in re.findall(r"^\| (.*) \|$", section, re.MULTILINE)[2:]:
        state, processes, livez, readyz, metrics, name, reason = (cell.strip() for cell in line.split("|"))
        answers = Answers(int(livez), int(readyz), int(metrics), name.strip("`"), reason)
        found += [Row(state, {"one": 1, "two": 2}[each], answers) for each in processes.split(", ")]
    return found


class Probed:
    """A process whose health port is probed.

    :ivar row: what its probes answer in the state to come.
    :ivar release: the file that ends its jobs.
    :ivar version: the file that its import reads.
    """

    def __init__(
        self, running: Fleet, web: httpx.AsyncClient, row: Row, bench: Bench, proxy: Proxy, tmp_path: Path
    ) -> None:
        self.running = running
        self.row = row
        self.bench = bench
        self.proxy = proxy
        self.release = tmp_path / "release"
        self.version = tmp_path / "version"
        self._web = web

    async def answers(self) -> Answers:
        """Probe as Kubernetes does."""
        livez, readyz, metrics = [await self._web.get(path) for path in ("/livez", "/readyz", "/metrics")]
        health = readyz.json()
        return Answers(livez.status_code, readyz.status_code, metrics.status_code, health["state"], health["reason"])

    async def sees(self) -> None:
        """Wait until the answers are as expected, and the metrics say the same."""
        found: list[Answers] = []

        async def does() -> bool:
            found[:] = [await self.answers()]
            return found[0] == self.row.answers

        try:
            await until(does)
        except TimeoutError:
            raise AssertionError(f"{found[0]}, not {self.row.answers}: {self.running.program.err}") from None
        expected = (float(self.row.answers.livez == 200), float(self.row.answers.readyz == 200))

        async def says_the_same() -> bool:
            return (await self.sample("asyncwork_live"), await self.sample("asyncwork_ready")) == expected

        await until(says_the_same)

    async def sample(self, name: str) -> float:
        """Return the value of a metric without labels."""
        text = (await self._web.get("/metrics")).text
        (value,) = [
            each.value
            for family in text_string_to_metric_families(text)
            for each in family.samples
            if each.name == name
        ]
        return value

    @asynccontextmanager
    async def always(self) -> AsyncIterator[None]:
        """Check within the context that each answer is as expected."""
        await self.sees()
        ended = False

        async def probe() -> None:
            while not ended:
                assert await self.answers() == self.row.answers

        probing = asyncio.create_task(probe())
        try:
            yield
        finally:
            ended = True
            await probing

    async def serves(self) -> None:
        """Wait until each process serves."""
        await self.running.program.says("running up to", self.row.processes)

    async def block(self, count: int) -> None:
        """Block the event loops of some processes."""
        blocked: set[int] = set()
        while len(blocked) < count:
            before = len([what for what, _ in self.running.events if what == "start block"])
            await self.bench.enqueuer.enqueue("block", {"release": str(self.release)})
            # A process that is blocked may have got it: then the next one goes to the other.
            try:
                async with asyncio.timeout(0.5):
                    blocked = {*await self.running.did("start block", before + 1)}
            except TimeoutError:
                continue


async def imports(probed: Probed) -> None:
    await probed.sees()


async def serves(probed: Probed) -> None:
    await probed.serves()
    await probed.sees()


async def redis_away(probed: Probed) -> None:
    await probed.serves()
    probed.proxy.withhold()
    await probed.sees()
    await probed.proxy.release()


async def blocked(probed: Probed) -> None:
    await probed.serves()
    await probed.block(probed.row.processes)
    await probed.sees()


async def one_blocked(probed: Probed) -> None:
    await probed.serves()
    await probed.block(1)

    async def is_blocked() -> bool:
        return await probed.sample("asyncwork_event_loop_blocked_seconds") > BLOCKED

    await until(is_blocked)
    await probed.sees()
    assert await is_blocked()


async def quiet(probed: Probed) -> None:
    await probed.serves()
    probed.running.program.send(signal.SIGTSTP)
    await probed.sees()


async def stops(probed: Probed) -> None:
    await probed.serves()
    # A process has four slots.
    for number in range(6):
        await probed.bench.enqueuer.enqueue("hold", {"text": str(number), "release": str(probed.release)})
    jobs = 6 if probed.row.processes == 2 else 4
    await until(lambda: len(probed.running.events) >= jobs)
    probed.running.program.send(signal.SIGTERM)
    await probed.sees()
    probed.release.touch()


async def one_killed(probed: Probed) -> None:
    await probed.serves()
    victim = probed.running.children()[1]
    async with probed.always():
        os.kill(victim, signal.SIGKILL)
        await probed.running.program.says("restarting child 1 now")
        await probed.running.program.says("running up to", 3)


async def all_killed(probed: Probed) -> None:
    await probed.serves()
    probed.version.unlink()
    os.mkfifo(probed.version)
    for child in probed.running.children().values():
        os.kill(child, signal.SIGKILL)
    await probed.sees()


async def rolls(probed: Probed) -> None:
    await probed.serves()
    async with probed.always():
        probed.running.program.send(signal.SIGUSR2)
        await probed.running.program.says("rolling restart done")


# Seconds for which an event loop may be blocked in those of the states that are about this.
BLOCKED = 1.0
STATES: dict[str, Callable[[Probed], Awaitable[None]]] = {
    "The application is imported.": imports,
    "Jobs are fetched.": serves,
    "Redis does not answer.": redis_away,
    "Each event loop has been blocked for more than `Tuning.blocked`.": blocked,
    "The event loop of one child has been.": one_blocked,
    "The process is quiet.": quiet,
    "The process stops, and a job still runs.": stops,
    "One child was killed, and another starts.": one_killed,
    "All children were killed, and others start.": all_killed,
    "Child by child is replaced after a `SIGUSR2`.": rolls,
}
OF_TWO = (one_blocked, one_killed, all_killed, rolls)


def test_the_table_has_each_state() -> None:
    expected = {(state, 2) for state in STATES} | {(state, 1) for state, do in STATES.items() if do not in OF_TWO}
    assert sorted((row.state, row.processes) for row in rows()) == sorted(expected)


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.processes} {row.state}") for row in rows()])
async def test_what_the_probes_answer(bench: Bench, tmp_path: Path, row: Row) -> None:
    do = STATES[row.state]
    async with probed(bench, tmp_path, row, do) as running:
        await do(running)
        running.release.touch()
        if do is not stops:
            running.running.program.send(signal.SIGTERM)
        # Without a parent, SIGTERM ends a process that imports its application.
        expected = -signal.SIGTERM if do is imports and row.processes == 1 else 0
        assert await running.running.program.ends() == expected
    for name in ("block", "hold"):
        await bench.redis.delete(bench.keys.queue(name))
    if do is all_killed:
        await bench.redis.delete(bench.keys.crashes)


@asynccontextmanager
async def probed(
    bench: Bench, tmp_path: Path, row: Row, do: Callable[[Probed], Awaitable[None]]
) -> AsyncIterator[Probed]:
    version = tmp_path / "version"
    if do is imports:
        os.mkfifo(version)
    else:
        version.write_text("")
    env = {"FLEET_EVENTS": str(tmp_path / "events"), "PYTHONPATH": str(ROOT), "FLEET_VERSION": str(version)}
    if do in (blocked, one_blocked):
        env["FLEET_BLOCKED"] = str(BLOCKED)
    number = ("--processes", str(row.processes)) if row.processes > 1 else ()
    async with open_proxy(bench.url) as proxy:
        arguments = ("run", "fleet:pool", "--redis", proxy.url, "--namespace", bench.namespace)
        # The address is logged after the import, so port 0 will not do.
        address = f"127.0.0.1:{free_port()}"
        async with (
            program(*arguments, *number, "--health", address, env=env) as running,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=LIMIT, verify=False) as web,
        ):
            await until(lambda: is_served(web))
            yield Probed(Fleet(running, tmp_path / "events"), web, row, bench, proxy, tmp_path)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def is_served(web: httpx.AsyncClient) -> bool:
    try:
        await web.get("/livez")
    except httpx.ConnectError:
        return False
    return True
