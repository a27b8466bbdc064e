"""The demo shows what it says, in a terminal and without one, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from contextlib import suppress
from pathlib import Path

import pytest

from examples import demo

from .conftest import until

ROOT = Path(__file__).parent.parent
# Seconds after which a demo has failed: it takes 15 of them alone on a machine.
MOST = 300
FEW = ("--files", "40", "--no-ops", "500")

pytestmark = pytest.mark.processes


class Demo:
    """A running demo, whose temporary directories are made in ``scratch``, which is also where it is started.

    :param columns: the width of its terminal; 0 for none.
    """

    def __init__(self, scratch: Path, *options: str, columns: int = 0) -> None:
        self.output = ""
        self.code: int | None = None
        self._scratch = scratch
        self._options = options
        self._columns = columns

    async def run(self) -> None:
        """Run it to its end."""
        environment = {**os.environ, "TMPDIR": str(self._scratch), "PYTHONUNBUFFERED": "1"}
        environment.pop("COLUMNS", None)
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self._columns, 0, 0))
        try:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(ROOT / "examples" / "demo.py"), *self._options),
                cwd=self._scratch,
                env=environment,
                stdin=DEVNULL,
                stdout=its if self._columns else PIPE,
                stderr=STDOUT,
            )
        finally:
            os.close(its)
        try:
            async with asyncio.timeout(MOST):
                if self.process.stdout is None:
                    await asyncio.to_thread(self._read, ours)
                else:
                    async for line in self.process.stdout:
                        self.output += line.decode()
                self.code = await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
            os.close(ours)

    def _read(self, terminal: int) -> None:
        with suppress(OSError):  # how Linux tells that a terminal has no other end any more
            while data := os.read(terminal, 10_000):
                self.output += data.decode()

    async def has_left_nothing(self) -> None:
        match = re.search(r"redis-server is ready, process (\d+)", self.output)
        assert match is not None

        def gone() -> bool:
            with suppress(ProcessLookupError):
                os.kill(int(match[1]), 0)
                return False
            return True

        await until(gone)
        assert list(self._scratch.iterdir()) == []

    @property
    def table(self) -> dict[str, tuple[int, int, str]]:
        """Runs, failures and what became of it, by job."""
        rows = re.findall(r"^(\w+) +([\d,]+) +(\d+) +[\d.]+ (?:s|ms|µs)   (.*?)\r?$", self.output, re.MULTILINE)
        return {name: (int(runs.replace(",", "")), int(failed), note) for name, runs, failed, note in rows}


async def test_in_a_terminal_everything_runs_and_fits_80_columns(tmp_path: Path) -> None:
    tour = Demo(tmp_path, columns=80)
    await tour.run()
    assert tour.code == 0, tour.output
    await tour.has_left_nothing()
    assert re.search(r"\d+ done, \d+ waiting, \d to retry, \d+ jobs/s   packing file \d+ of \d+", tour.output)
    assert "\x1b" not in tour.output
    # On a busy machine a warning may stand behind the progress.
    lines = re.split(r"[\r\n]+|requeued \d+ jobs? of queue .*", tour.output)
    assert [line for line in lines if len(line) >= 80] == []
    assert tour.table["inspect_module"][0] > 300
    assert tour.table["tick"][0] >= 3
    assert tour.table["nothing"][0] == 20_000


async def test_without_a_terminal_it_prints_plain_lines(tmp_path: Path) -> None:
    tour = Demo(tmp_path, *FEW)
    await tour.run()
    assert tour.code == 0, tour.output
    await tour.has_left_nothing()
    assert "\r" not in tour.output
    assert "Traceback" not in tour.output
    table = tour.table
    assert table.keys() == set(demo.pool.job_names)
    assert table.pop("tick")[0] >= 1
    assert {name: row[:2] for name, row in table.items()} == {
        "inspect_module": (40, 0),
        "pack_library": (1, 0),
        "call_service": (3, 2),
        "import_order": (1, 1),
        "remind": (1, 0),
        "rebuild_index": (1, 0),
        "greet": (1, 0),
        "nothing": (500, 0),
    }
    assert table["import_order"][2] == "dead: ValueError: order 17: no price"
    assert re.fullmatch(r"[\d,]+ lines, [\d,]+ functions", table["inspect_module"][2])
    assert re.fullmatch(r"[\d,]+ jobs/s", table["nothing"][2])
    for line in (
        "call_service failed, attempt 2: the line is busy",
        "call_service got through",
        "greet: a program in Go says hello",
        "An audit of Redis: every job is done, or in exactly one place",
    ):
        assert line in tour.output


@pytest.mark.parametrize(
    ("number", "columns"), [(signal.SIGINT, 80), (signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
async def test_it_can_be_stopped(tmp_path: Path, number: signal.Signals, columns: int) -> None:
    tour = Demo(tmp_path, columns=columns)
    running = asyncio.create_task(tour.run())
    # It goes on for more than a second.
    await until(lambda: "attempt 2" in tour.output)
    tour.process.send_signal(number)
    await running
    assert tour.code == 130
    await tour.has_left_nothing()
    assert "stopping: running jobs have a second to finish" in tour.output
    assert "Traceback" not in tour.output
    assert "Now try" not in tour.output


async def test_what_it_says_to_try_next_exists() -> None:
    targets = (ROOT / "Makefile").read_text()
    tried: list[str] = []
    for line in demo.NEXT.splitlines():
        match line.partition("#")[0].split():
            case ["make", target]:
                assert re.search(rf"^{target}:", targets, re.MULTILINE)
            case ["asyncwork", *words]:
                command = [word for word in words if not word.startswith("-")][:1]
                flags = {word for word in words if word.startswith("--")}
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "asyncwork", *command, "--help"), stdout=PIPE, cwd=ROOT
                )
                told, _ = await process.communicate()
                assert process.returncode == 0
                assert all(flag in told.decode() for flag in flags)
            case ["python", "-m", module]:
                assert (ROOT / f"{module.replace('.', '/')}.py").exists()
            case _:
                continue
        tried.append(line)
    assert len(tried) == 5
