"""``asyncwork run --processes --health``: the parent serves the sum over its children, also while they are replaced."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from asyncwork._processes.link import ParentLink
from asyncwork._processes.messages import decode

from .conftest import LIMIT, Bench, until
from .test_processes import Fleet, fleet, stop

pytestmark = pytest.mark.processes


class Port:
    """The health port of a parent. It checks that no counter decreases from one scrape to the next."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._counters: dict[tuple[str, str], float] = {}

    async def probe(self) -> tuple[int, int, str, str]:
        """Return the status of each probe, the state and the reason."""
        livez, readyz = [await self._client.get(path) for path in ("/livez", "/readyz")]
        health = readyz.json()
        assert (health["since"] is None) == (readyz.status_code == 200)
        return livez.status_code, readyz.status_code, health["state"], health["reason"]

    async def scrape(self) -> dict[tuple[str, str], float]:
        """Return the samples, by name and the values of their labels."""
        samples: dict[tuple[str, str], float] = {}
        counters: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families((await self._client.get("/metrics")).text):
            found = {(each.name, ",".join(each.labels.values())): each.value for each in family.samples}
            samples |= found
            counters |= found if family.type in ("counter", "histogram") else {}
        lower = {key for key, before in self._counters.items() if counters.get(key, -1.0) < before}
        assert not lower
        self._counters = counters
        return samples

    async def shows(self, name: str, labels: str, expected: float) -> None:
        """Wait until a sample has a value."""

        async def does() -> bool:
            return (await self.scrape()).get((name, labels)) == expected

        await until(does)

    async def done(self, job_name: str, count: int) -> None:
        """Wait until so many jobs of a name are counted as done."""
        await self.shows("asyncwork_jobs_total", f"{job_name},done", count)


@asynccontextmanager
async def served(bench: Bench, tmp_path: Path, *options: str) -> AsyncIterator[tuple[Fleet, Port]]:
    async with fleet(bench, tmp_path, "--health", "127.0.0.1:0", *options) as running:
        (url,) = (await running.program.says(r"serving /livez, /readyz and /metrics at (http://\S+:\d+)$")).groups()
        async with httpx.AsyncClient(base_url=url, timeout=LIMIT) as client:
            yield running, Port(client)


async def test_the_parent_serves_the_sum_over_its_children(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    async with served(bench, tmp_path) as (running, port):
        for number in range(6):
            await bench.enqueuer.enqueue("hold", {"text": str(number), "release": str(release)})
        # A child has four slots.
        await port.shows("asyncwork_slots", "busy", 6)
        await port.shows("asyncwork_slots", "free", 2)
        await port.shows("asyncwork_processes", "running", 2)
        assert await port.probe() == (200, 200, "running", "")
        release.touch()
        await port.done("hold", 6)
        running.program.send(signal.SIGTSTP)
        await port.shows("asyncwork_processes", "quiet", 2)
        assert await port.probe() == (200, 503, "quiet", "the pool is quiet: it fetches no jobs")
        await stop(running)


async def test_a_killed_child_leaves_its_counts_and_the_others_answer(bench: Bench, tmp_path: Path) -> None:
    async with served(bench, tmp_path) as (running, port):
        for number in range(20):
            await bench.enqueuer.enqueue("work", {"number": number})
        await port.done("work", 20)
        victim = running.children()[1]
        os.kill(victim, signal.SIGKILL)
        await running.program.says(rf"restarting child 1 now: process {victim} was ended by SIGKILL")
        assert (await port.probe())[:2] == (200, 200)
        await until(lambda: running.children()[1] != victim)
        await port.shows("asyncwork_processes", "running", 2)
        await port.done("work", 20)
        await bench.enqueuer.enqueue("work", {"number": 20})
        await port.done("work", 21)
        await stop(running)


async def test_each_job_of_a_replaced_child_is_counted(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    async with served(bench, tmp_path, "--processes", "1") as (running, port):
        (first,) = running.children().values()
        await bench.enqueuer.enqueue("hold", {"text": "x", "release": str(release)})
        await running.did("start x")
        running.program.send(signal.SIGUSR2)
        await running.program.says(rf"replaced child 1 \(process {first}\) by process \d+, which serves")
        # The job ends between the last periodic report of the old child and its exit.
        release.touch()
        await running.program.says("rolling restart done")
        await port.done("hold", 1)
        await port.shows("asyncwork_processes", "running", 1)
        await port.done("hold", 1)
        await stop(running)


async def test_while_no_child_has_reported_the_parent_is_live_but_not_ready(bench: Bench, tmp_path: Path) -> None:
    # No child starts before it can be read what the application is.
    version = tmp_path / "version"
    os.mkfifo(version)
    async with fleet(
        bench, tmp_path, "--health", "127.0.0.1:0", serves=False, env={"FLEET_VERSION": str(version)}
    ) as running:
        (url,) = (await running.program.says(r"at (http://\S+:\d+)$")).groups()
        async with httpx.AsyncClient(base_url=url, timeout=LIMIT) as client:
            assert await Port(client).probe() == (200, 503, "starting", "no process runs yet, or none any more")
        running.program.send(signal.SIGTERM)
        assert await running.program.ends() == 0


async def test_the_link_works_with_descriptors_that_select_refuses() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 2048:
        pytest.skip(f"this machine allows only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    ended = threading.Event()
    parent, low = socket.socketpair()
    try:
        child = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1500))
        low.close()
        with parent, child:
            link = ParentLink(1, child)
            link.attach(lambda: {"jobs": 3, "text": "x" * 500_000}, ended.set)
            reading = threading.Thread(target=link._run, daemon=True)
            reading.start()
            link.send_report()
            last = asyncio.create_task(asyncio.to_thread(link.send_last_report))
            parent.settimeout(LIMIT)
            received = b""
            while received.count(b"\n") < 2:
                received += await asyncio.to_thread(parent.recv, 65_536)
            parent.close()
            await last
            assert await asyncio.to_thread(ended.wait, LIMIT)
            reading.join(LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert decode(received.splitlines()[1])[0] == "report"


async def test_a_child_that_cannot_make_its_report_says_that_it_is_alive() -> None:
    def fails() -> dict[str, object]:
        raise RuntimeError("dictionary changed size during iteration")

    parent, child = socket.socketpair()
    with parent, child:
        link = ParentLink(1, child)
        link.attach(lambda: {"jobs": 3}, lambda: None)
        link.send_report()
        link.attach(fails, lambda: None)
        link.send_report()
        lines = (await asyncio.to_thread(parent.recv, 4096)).splitlines()
    assert [decode(line) for line in lines] == [
        ("ready", {}),
        ("report", {"jobs": 3}),
        ("ready", {}),
        ("alive", {}),
    ]
