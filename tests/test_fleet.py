"""The parent of several processes, with children that run no pool: what it logs and does as they start and end."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asyncwork._processes import child_slot, fleet
from asyncwork._processes.child import ChildCommand
from asyncwork._processes.fleet import Fleet
from asyncwork._processes.systemd import Notifier
from asyncwork._processes.watch import ChildLimits

from .conftest import LIMIT, until

pytestmark = pytest.mark.processes

BARE = Path(__file__).parent / "apps" / "bare_child.py"


class Notified(Notifier):
    """Counts how often the service manager was told that the service is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def ready(self, status: str = "") -> None:
        self.times += 1


class Parent:
    """A parent in this process.

    :param words: the file that says what its children do.
    """

    def __init__(self, words: Path, caplog: pytest.LogCaptureFixture, *, count: int, burst: bool) -> None:
        self.words = words
        self.notified = Notified()
        command = ChildCommand((str(words),), program=(sys.executable, "-S", str(BARE)))
        limits = ChildLimits(slow_start=0.3)
        environment = {**os.environ}
        self.fleet = Fleet(count, command, limits, burst=burst, notifier=self.notified, environment=environment)
        self._caplog = caplog
        self.running = asyncio.create_task(self.fleet.run())

    @property
    def log(self) -> str:
        return "\n".join(self._caplog.messages)

    async def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until the log matches so many times; return the last match."""

        def found() -> list[re.Match[str]]:
            return list(re.finditer(pattern, self.log))

        await until(lambda: len(found()) >= times)
        return found()[-1]

    async def ends(self) -> int:
        async with asyncio.timeout(LIMIT):
            return await self.running


@asynccontextmanager
async def parent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, words: str, *, count: int = 1, burst: bool = False
) -> AsyncIterator[Parent]:
    caplog.set_level(logging.INFO, "asyncwork.cli")
    path = tmp_path / "words"
    path.write_text(words)
    running = Parent(path, caplog, count=count, burst=burst)
    try:
        yield running
    finally:
        for _ in range(3):
            running.fleet.stop("the test has ended")
        await running.ends()


async def test_a_child_that_does_not_begin_to_serve_is_logged_again_and_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with parent(tmp_path, caplog, "hang") as running:
        waiting = (
            r"waiting for child 1 \(process (\d+)\), which has not begun to serve after \d+ s: (.*?); SIGTTIN logs"
        )
        assert (await running.says(waiting, 3))[2] == "it imports the application"
        running.words.write_text("serve")
        # The new one serves beside the one that hangs, which is ended.
        running.fleet.roll("SIGUSR2")
        await running.says(r"replaced child 1 \(process \d+\) by process \d+, which serves")
        await running.says("rolling restart done")
        before = running.log.count("waiting for")
        await running.says("serving in 1 child process")
        assert running.log.count("waiting for") == before


@pytest.mark.parametrize("words", ["hang", "hang deaf"])
async def test_a_further_request_ends_a_new_child_that_hangs_and_begins_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(child_slot, "_GIVE_UP_SECONDS", 0.2)
    async with parent(tmp_path, caplog, "serve", count=2) as running:
        await running.says("serving in 2 child processes")
        running.words.write_text(words)
        running.fleet.roll("SIGUSR2")
        step = "it makes its pool, opens its resources or connects to Redis" if "deaf" in words else "it imports"
        hangs = await running.says(rf"waiting for child 1 \(process (\d+)\), which has not begun .*: {step}", 2)
        running.words.write_text("serve")
        running.fleet.roll("SIGUSR2")
        await running.says(rf"SIGUSR2: ending child 1 \(process {hangs[1]}\), which has not begun to serve: {step}")
        await running.says("rolling restart done")
        assert running.log.count("rolling restart done") == 1
        assert len(re.findall(r"replaced child \d \(process \d+\) by", running.log)) == 2
        assert "did not replace" not in running.log
        assert "rolling restart stopped" not in running.log
        with pytest.raises(ProcessLookupError):
            os.kill(int(hangs[1]), 0)


async def test_burst_logs_that_processes_serve_while_they_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with parent(tmp_path, caplog, "end", count=2, burst=True) as running:
        await asyncio.sleep(0)
        # Both have ended before the parent reads what they have sent.
        for child in running.fleet.take_reporting():
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222
        assert await running.ends() == 0
        assert running.notified.times == 1
    assert "serving in" not in running.log


async def test_that_processes_serve_is_logged_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The parent looks at its children never, so it is their messages that count.
    monkeypatch.setattr(fleet, "TICK", 1000.0)
    async with parent(tmp_path, caplog, "serve", count=2, burst=True) as running:
        await running.says("serving in 2 child processes")
        assert running.notified.times == 1
