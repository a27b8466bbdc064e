"""Signals that are meant for parents, or that come too early: none ends or suspends a process."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import fcntl
import os
import re
import signal
import termios
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from asyncwork._worker.worker_report import describe_workers
from asyncwork.cli import stacks
from asyncwork.cli.early_signals import early_signals_handled, end_start

from .conftest import LIMIT, Bench, until
from .test_cli import READY, Program, at, program, signals_as_usual
from .test_processes import ROOT, Fleet, fleet, stop

__all__ = ["signals_as_usual"]  # fixtures

pytestmark = pytest.mark.processes

# Sends signals to a process that imports a module, and SIGUSR2 when its interpreter ends.
CUSTOMIZED = """
import atexit, os, signal, sys


class Sender:
    def find_spec(self, name, path, target=None):
        if name == {module!r} and "ASYNCWORK_CHILD" not in os.environ:
            sys.meta_path.remove(self)
            for number in (signal.SIGUSR2, signal.SIGTSTP, signal.SIGTTIN):
                os.kill(os.getpid(), number)


sys.meta_path.insert(0, Sender())
atexit.register(os.kill, os.getpid(), signal.SIGUSR2)
"""


class Import:
    """The import of ``apps/fleet.py``, which waits for its version.

    :param path: the file of the version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = -1
        os.mkfifo(path)

    async def begins(self) -> None:
        """Wait until a process waits for its version."""

        def is_read() -> bool:
            try:
                self._writer = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # no process reads
                return False
            return True

        await until(is_read)

    def end(self) -> None:
        """Have the import go on."""
        os.close(self._writer)
        # A process that is started later has a version.
        self.path.rename(self.path.with_suffix(".first"))
        self.path.write_text("")


async def answers(running: Program, pid: int, number: int, pattern: str) -> None:
    """Send a signal to a process until it is answered in the log.

    Python calls a handler only at the next signal if the first has come just before a read that waits.
    """

    def times() -> int:
        return len(re.findall(pattern, running.err, re.MULTILINE))

    before = times()
    async with asyncio.timeout(LIMIT):
        while times() == before:
            os.kill(pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await until(lambda: times() > before)


@asynccontextmanager
async def single(bench: Bench, tmp_path: Path, **env: str) -> AsyncIterator[Fleet]:
    """Run the app in one process, without a parent."""
    environment = {"FLEET_EVENTS": str(tmp_path / "events"), "PYTHONPATH": str(ROOT), **env}
    async with program(*at(bench, "fleet:pool"), env=environment) as running:
        yield Fleet(running, tmp_path / "events")


async def test_a_process_without_a_parent(bench: Bench, tmp_path: Path) -> None:
    importing = Import(tmp_path / "version")
    async with single(bench, tmp_path, FLEET_VERSION=str(importing.path)) as running:
        await importing.begins()
        pid = running.program.process.pid
        ignored = "SIGUSR2: ignored: it replaces processes only with --processes"
        await answers(running.program, pid, signal.SIGUSR2, ignored)
        await answers(running.program, pid, signal.SIGTTIN, "SIGTTIN: the process is starting, and is here:")
        await running.program.says(r"fleet\.py\", line \d+, in <module>")
        await answers(running.program, pid, signal.SIGTSTP, "SIGTSTP: the process is starting, and will be quiet")
        importing.end()
        await running.program.says(READY)
        await running.program.says("SIGTSTP: quiet: no more jobs are fetched")
        await answers(running.program, pid, signal.SIGUSR2, ignored)
        running.program.send(signal.SIGTTIN)
        await running.program.says("SIGTTIN: 0 of 4 workers are busy")
        await bench.enqueuer.enqueue("note", {"text": "quiet"})
        await stop(running)
    assert await bench.waiting("note"), running.program.err
    await bench.redis.delete(bench.keys.queue("note"))


async def test_a_child(bench: Bench, tmp_path: Path) -> None:
    importing = Import(tmp_path / "version")
    env = {"FLEET_VERSION": str(importing.path)}
    async with fleet(bench, tmp_path, "--processes", "1", serves=False, env=env) as running:
        await importing.begins()
        parent = running.program.process.pid
        started = "SIGTTIN: the process is starting, and is here:"
        await answers(running.program, parent, signal.SIGTTIN, started)
        child = int((await running.program.says(r"SIGTTIN: child 1 \(process (\d+)\) is starting"))[1])
        ignored = rf"SIGUSR2: ignored: only the parent, process {parent}, .* child=1 pid={child}$"
        await answers(running.program, child, signal.SIGUSR2, ignored)
        importing.end()
        await running.program.says(READY)
        await answers(running.program, child, signal.SIGUSR2, ignored)
        await bench.enqueuer.enqueue("note", {"text": "x"})
        assert await running.did("note x") == [child]
        await stop(running)


@pytest.mark.parametrize("processes", [1, 2])
async def test_from_the_first_moment_to_the_last(bench: Bench, tmp_path: Path, processes: int) -> None:
    module = "asyncwork._processes.fleet" if processes > 1 else "asyncwork.worker_pool"
    (tmp_path / "sitecustomize.py").write_text(CUSTOMIZED.format(module=module))
    environment = {"FLEET_EVENTS": str(tmp_path / "events"), "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    number = ("--processes", str(processes)) if processes > 1 else ()
    async with program(*at(bench, "fleet:pool"), *number, env=environment) as running:
        why = "no child process has been started yet" if processes > 1 else "it replaces processes only with"
        await running.says(f"SIGUSR2: ignored: {why}")
        await running.says("SIGTSTP: the process is starting, and will be quiet")
        await running.says(
            f"SIGTTIN: {'no child process' if processes > 1 else 'the process is starting, and is here'}"
        )
        await running.says(READY, processes)
        await running.says(
            r"SIGTSTP: quiet: no more jobs are fetched.*SIGTERM ends the process$"
            if processes == 1
            else r"SIGTSTP: quiet: no more jobs are fetched.*child=\d",
            processes,
        )
        running.send(signal.SIGTERM)
        assert await running.ends() == 0, running.err


async def test_a_program_that_a_job_starts_has_the_usual_handler(bench: Bench, tmp_path: Path) -> None:
    async with single(bench, tmp_path) as running:
        await bench.enqueuer.enqueue("sends_to_itself", {"number": signal.SIGUSR2})
        await running.did(f"ended by {-signal.SIGUSR2}", 2)
        await stop(running)
    assert "SIGUSR2" not in running.program.err


async def test_the_handler_of_an_application_is_kept(bench: Bench, tmp_path: Path) -> None:
    async with single(bench, tmp_path, FLEET_OWN_SIGUSR2="1") as running:
        await running.program.says(READY)
        running.program.send(signal.SIGUSR2)
        await running.did("own SIGUSR2")
        await bench.enqueuer.enqueue("sends_to_itself", {"number": signal.SIGUSR2})
        await running.did("own SIGUSR2", 2)
        await stop(running)
    assert "SIGUSR2: ignored" not in running.program.err


async def test_a_process_that_ends_does_not_say_that_it_starts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGUSR2)}
    options = argparse.Namespace(processes=None, log_format=None)
    monkeypatch.delenv("ASYNCWORK_PROCESSES", raising=False)
    try:
        with early_signals_handled(options):
            assert not end_start()
            for number in before:
                signal.raise_signal(number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    said = capfd.readouterr().err
    for name in ("SIGTSTP", "SIGTTIN"):
        assert f"{name}: ignored: the process is about to exit" in said
    assert "SIGUSR2: ignored: it replaces processes only with --processes" in said
    assert "starting" not in said


async def test_one_signal_is_logged_once_in_however_many_pieces_its_stack_is_read() -> None:
    reading, writing = os.pipe()
    described: list[str] = []

    def describe() -> str:
        described.append("a worker")
        return "a worker"

    def is_read() -> bool:
        return not any(fcntl.ioctl(reading, termios.FIONREAD, bytes(4)))

    thread = threading.Thread(target=stacks._run, args=(reading, describe), daemon=True)
    thread.start()
    try:
        for signals in (1, 2):
            # As the signal handler does.
            faulthandler.dump_traceback(writing, all_threads=False)
            await until(lambda signals=signals: len(described) >= signals and is_read())
            for _ in range(2):
                os.write(writing, b'  File "/app.py", line 1 in <module>\n')
                await until(is_read)
    finally:
        os.close(writing)
    await asyncio.to_thread(thread.join, LIMIT)
    assert len(described) == 2


def test_a_pool_without_workers_is_said_to_start_or_to_have_ended() -> None:
    lines = describe_workers([], threading.get_ident()).splitlines()
    assert lines[:2] == ["the pool is starting, or has ended", "the event loop is here:"]
    assert any("test_processes_signals.py" in line for line in lines)
