"""The commands for development, ``asyncwork init``, ``dev`` and ``check``, each as a new user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from asyncwork.cli.dev import changes as module
from asyncwork.cli.dev.changes import Changes
from asyncwork.cli.dev.record import DIRECTORY, DevFile, DevRecord, find_record

from .conftest import LIMIT, Bench, until
from .test_cli import Here, Program, here, program, run, signals_as_usual

__all__ = ["here", "signals_as_usual"]  # fixtures

pytestmark = pytest.mark.processes

RECORD = DevRecord("unix:///nowhere?db=0", "shop", 1)
APP = """
from asyncwork import WorkerPool

pool = WorkerPool(namespace="{namespace}")


@pool.job
async def {job}(name: str) -> None:
    print("hello", name)
"""


async def shows(running: Program, pattern: str, times: int = 1) -> re.Match[str]:
    """Wait until standard output matches so many times; return the last match."""

    def found() -> list[re.Match[str]]:
        return list(re.finditer(pattern, running.out, re.MULTILINE))

    with suppress(TimeoutError):
        await until(lambda: len(found()) >= times or running.process.returncode is not None)
    assert len(found()) >= times, running.out + running.err
    return found()[-1]


@asynccontextmanager
async def developing(project: Path, *more: str, env: dict[str, str] | None = None) -> AsyncIterator[Program]:
    """Start a development server, and wait until its pool and its web UI run."""
    async with program("dev", "app:pool", "--port", "0", *more, cwd=project, env=env) as running:
        await shows(running, "^web .* shows namespace")
        await shows(running, "^pool .* running up to")
        yield running


def write(project: Path, job: str = "greet", namespace: str = "shop") -> None:
    (project / "app.py").write_text(APP.format(job=job, namespace=namespace))


async def test_a_new_user_sees_the_first_job_in_the_browser(tmp_path: Path) -> None:
    code, out, _ = await run("init", cwd=tmp_path)
    assert (code, "asyncwork dev app:pool" in out) == (0, True)
    async with developing(tmp_path) as running, httpx.AsyncClient(timeout=LIMIT) as browser:
        code, out, err = await run("enqueue", "greet", '{"name": "world"}', cwd=tmp_path)
        assert (code, err.count("\n")) == (0, 1), err
        assert "using `asyncwork dev` of this directory" in err
        assert "namespace 'my_app'" in err
        await shows(running, f"^pool .*hello world .*{out.split()[0]}")
        page = (await shows(running, r"^web .*(http://\S+)"))[1]
        assert "greet" in (await browser.get(page)).text
        running.send(signal.SIGINT)
        assert await running.ends() == 0, running.err
    assert running.out.endswith("dev   | stopped\n")
    assert (tmp_path / DIRECTORY / "dev.json").read_text() == ""
    assert find_record(tmp_path) is None


async def test_a_change_restarts_the_pool_and_an_error_does_not(tmp_path: Path) -> None:
    write(tmp_path)
    async with developing(tmp_path) as running:
        (tmp_path / "app.py").write_text("pool = (")
        await shows(running, "^error .*'\\(' was never closed")
        await shows(running, "^error .* goes on")
        await run("enqueue", "greet", '{"name": "first"}', cwd=tmp_path)
        await shows(running, "^pool .*hello first")
        assert "SIGTERM: stopping" not in running.out
        write(tmp_path, job="welcome")
        await shows(running, "^pool .* running up to", times=2)
        await run("enqueue", "welcome", '{"name": "second"}', cwd=tmp_path)
        await shows(running, "^pool .*hello second")
        assert running.out.count(" shows namespace ") == 1


async def test_another_namespace_in_the_code_is_that_of_the_page_and_of_other_commands(tmp_path: Path) -> None:
    write(tmp_path)
    async with developing(tmp_path) as running:
        write(tmp_path, namespace="market")
        await shows(running, "^web .* shows namespace 'market'")
        await shows(running, "^pool .* running up to", times=2)
        found = find_record(tmp_path)
        assert found is not None
        assert found.namespace == "market"


async def test_the_data_survive_a_restart_of_everything(tmp_path: Path) -> None:
    write(tmp_path)
    async with developing(tmp_path) as running:
        await run("enqueue", "greet", '{"name": "later"}', "--delay", "3600", "--id", "one", cwd=tmp_path)
        running.send(signal.SIGTERM)
        assert await running.ends() == 0
    async with developing(tmp_path):
        code, out, _ = await run("job", "one", "--json", cwd=tmp_path)
        assert (code, json.loads(out)["state"]) == (0, "scheduled")


async def test_a_crashed_pool_is_started_again_by_a_change(tmp_path: Path) -> None:
    write(tmp_path)
    async with developing(tmp_path) as running:
        os.kill(int((await shows(running, r"^pool .* in process (\d+)"))[1]), signal.SIGKILL)
        await shows(running, "^dev .*pool ended with exit code -9")
        write(tmp_path, job="welcome")
        await shows(running, "^pool .* running up to", times=2)


FORKS = """
import os, subprocess, sys
from asyncwork import WorkerPool

pool = WorkerPool(namespace="shop")
# It holds the standard output and error open for longer than this test takes.
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("started", "a") as file:
    file.write(f"{child.pid} ")


@pool.job
async def leave() -> None:
    os._exit(7)
"""


@pytest.mark.parametrize("deep", ["", "a/" * 60], ids=["", "where its socket moves"])
async def test_a_redis_that_dies_is_started_again(tmp_path: Path, deep: str) -> None:
    project = tmp_path / deep
    project.mkdir(parents=True, exist_ok=True)
    write(project)
    async with developing(project) as running:
        os.kill(int((await shows(running, r"^redis .*\(process (\d+)\) keeps"))[1]), signal.SIGKILL)
        await shows(running, r"^redis .* died, and was started again \(process \d+\)$")
        if deep:
            await shows(running, "^pool .* running up to", times=2)
        code, _, err = await run("enqueue", "greet", '{"name": "again"}', cwd=project)
        assert code == 0, err
        await shows(running, "^pool .*hello again")


async def test_programs_that_the_app_has_started_do_not_hide_its_end(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FORKS)
    try:
        async with developing(tmp_path) as running:
            await run("enqueue", "leave", cwd=tmp_path)
            await shows(running, "^dev .*pool ended with exit code 7")
            running.send(signal.SIGINT)
            assert await running.ends() == 0
    finally:
        for pid in (tmp_path / "started").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


async def test_a_slow_import_is_reported(tmp_path: Path) -> None:
    write(tmp_path)
    app = tmp_path / "app.py"
    app.write_text(f"import time\ntime.sleep(1.5)\n{app.read_text()}")
    async with developing(tmp_path) as running:
        assert running.out.startswith("dev   | importing app:pool\n")


async def test_the_processes_of_a_killed_server_end(tmp_path: Path) -> None:
    write(tmp_path)
    async with developing(tmp_path) as running:
        pool = int((await shows(running, r"^pool .* in process (\d+)"))[1])
        running.send(signal.SIGKILL)
        # The end of the output is that of every process that writes to it.
        await running.ends()
        await until(lambda: not is_running(pool))
    assert find_record(tmp_path) is None
    # What it has left is no obstacle.
    async with developing(tmp_path):
        pass


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nothing has waited for yet has ended too.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_a_taken_port(tmp_path: Path) -> None:
    write(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with program("dev", "app:pool", "--port", str(port), cwd=tmp_path) as running:
            await shows(running, f"^web .*port {port} is taken by another program")
            shown = await shows(running, r"^web .*http://127.0.0.1:(\d+)/ shows namespace")
            assert int(shown[1]) != port


async def test_a_second_server_in_the_same_directory_is_refused(tmp_path: Path, bench: Bench) -> None:
    write(tmp_path)
    async with developing(tmp_path) as running:
        for more in ((), ("--redis", bench.url)):
            code, _, err = await run("dev", "app:pool", *more, cwd=tmp_path)
            assert code == 1
            assert f"runs in {tmp_path} already, process {running.process.pid}" in err


async def test_a_directory_that_other_commands_would_not_use_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / DIRECTORY).symlink_to("elsewhere")
    code, _, err = await run("dev", "app:pool", cwd=tmp_path)
    assert (code, "is a symbolic link" in err) == (1, True), err


async def test_options_and_variables_win(tmp_path: Path, bench: Bench) -> None:
    write(tmp_path)
    async with developing(tmp_path):
        arguments = ("enqueue", "greet", '{"name": "x"}', "--namespace", bench.namespace)
        for more, env in ((("--redis", bench.url), {}), ((), {"ASYNCWORK_REDIS": bench.url})):
            _, _, err = await run(*arguments, *more, cwd=tmp_path, env=env)
            assert "asyncwork dev" not in err
        assert len(await bench.waiting("greet")) == 2


async def test_with_a_redis_that_runs_already(tmp_path: Path, bench: Bench) -> None:
    write(tmp_path)
    options = ("--redis", bench.url, "--namespace", bench.namespace, "--loop", "asyncio")
    async with developing(tmp_path, *options, env={"ASYNCWORK_LOOP": "auto"}) as running:
        await shows(running, "^pool .* starting app:pool in process .* on asyncio$")
        await run("enqueue", "greet", '{"name": "world"}', cwd=tmp_path)
        await shows(running, "^pool .*hello world")
        assert not (tmp_path / DIRECTORY / "redis.conf").exists()
        running.send(signal.SIGINT)
        assert await running.ends() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("app:nothing",), "has no attribute 'nothing'"),
        (("app:pool", "--port", "x"), "--port: the number of a port is needed"),
        (("app:pool", "--port", "70000"), "from 0 to 65535"),
        (("app:pool", "--grace", "-1"), "--grace"),
        (("app:pool", "--loop", "trio"), "argument --loop: invalid choice: 'trio'"),
        (("app:pool", "--watch", "nowhere"), "there is no directory 'nowhere'"),
        (("app:pool", "--redis", "http://x"), "--redis"),
        (("app:pool", "--namespace", "\udced"), "--namespace: namespace must be text that UTF-8 can hold"),
    ],
)
async def test_usage_errors(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    write(tmp_path)
    code, _, err = await run("dev", *arguments, cwd=tmp_path)
    assert (code, message in err) == (2, True), err


# The file by which other commands find the server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / DIRECTORY
    path.mkdir(mode=0o700)
    return path


def test_the_file_is_valid_while_the_server_lives(tmp_path: Path, directory: Path) -> None:
    assert find_record(tmp_path) is None
    file = DevFile(directory)
    assert find_record(tmp_path) is None
    file.write(RECORD)
    assert find_record(tmp_path) == RECORD
    assert (directory / "dev.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(BlockingIOError):
        DevFile(directory)
    file.close()
    assert find_record(tmp_path) is None


def test_a_stale_file_is_not_used(tmp_path: Path, directory: Path) -> None:
    (directory / "dev.json").write_text(json.dumps({"url": "redis://x", "namespace": "y", "pid": os.getpid()}))
    (directory / "dev.json").chmod(0o600)
    assert find_record(tmp_path) is None


@pytest.mark.parametrize("of", ["file", "directory"])
def test_a_file_that_others_can_write_to_is_not_used(tmp_path: Path, directory: Path, of: str) -> None:
    file = DevFile(directory)
    file.write(RECORD)
    (directory if of == "directory" else directory / "dev.json").chmod(0o722)
    assert find_record(tmp_path) is None
    file.close()


@pytest.mark.parametrize("of", ["file", "directory"])
def test_a_file_of_another_user_is_not_used(
    tmp_path: Path, directory: Path, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    file = DevFile(directory)
    file.write(RECORD)
    os.chown(directory if of == "directory" else directory / "dev.json", 12_345, -1)
    assert find_record(tmp_path) is None
    file.close()


def test_links_are_not_followed(tmp_path: Path, directory: Path) -> None:
    file = DevFile(directory)
    file.write(RECORD)
    linked, project = tmp_path / "linked", tmp_path / "project"
    linked.mkdir()
    (linked / DIRECTORY).symlink_to(directory)
    (project / DIRECTORY).mkdir(parents=True, mode=0o700)
    (project / DIRECTORY / "dev.json").symlink_to(directory / "dev.json")
    assert find_record(linked) is None
    assert find_record(project) is None
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        DevFile(project / DIRECTORY)
    file.close()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1, "namespace": "x", "pid": 1}', "{", "\xff"])
def test_a_file_with_other_content_is_not_used(tmp_path: Path, directory: Path, text: str) -> None:
    file = DevFile(directory)
    (directory / "dev.json").write_text(text, encoding="latin-1")
    assert find_record(tmp_path) is None
    file.close()


# Changes


@pytest.mark.parametrize("by", ["events", "times"])
async def test_changes_of_python_files_and_of_all_files_in_other_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "events":
        # What finds the changes is not the clock.
        monkeypatch.setattr(module, "_INTERVAL", 0.05)
        monkeypatch.setattr(module, "_UNREPORTED", 10 * LIMIT)
    else:
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    project, templates = tmp_path / "project", tmp_path / "templates"
    for each in (project / "package", project / ".venv", project / "env", templates):
        each.mkdir(parents=True)
    (project / "env" / "pyvenv.cfg").touch()
    changes = Changes(project, [templates], unexpected)
    ignored = [project / "notes.txt", project / ".venv" / "a.py", project / "env" / "b.py"]
    for path in ignored:
        path.touch()
    seen = [project / "package" / "c.py", templates / "d.html"]
    for path in seen:
        path.touch()
    async with asyncio.timeout(LIMIT):
        assert await changes.wait() == [str(path) for path in seen]
        waiting = asyncio.create_task(changes.wait())
        while not waiting.done():
            # Whenever the watch begins, there are changes after that, and no others until they have settled.
            await asyncio.wait([waiting], timeout=1)
            ignored[1].write_text("changed")
            seen[0].write_text(f"{time.monotonic_ns()}")
        assert await waiting == [str(seen[0])]
        seen[0].unlink()
        assert await changes.wait() == [str(seen[0])]


def unexpected(text: str) -> None:
    raise AssertionError(text)


async def test_files_are_read_when_watchfiles_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*directories: object, **_: object) -> AsyncIterator[object]:
        if directories:
            raise OSError(28, "No space left on device")
        yield None

    monkeypatch.setattr("watchfiles.awatch", fails)
    reported: list[str] = []
    changes = Changes(tmp_path, [], reported.append)
    async with asyncio.timeout(LIMIT):
        waiting = asyncio.create_task(changes.wait())
        await until(lambda: bool(reported))
        (tmp_path / "a.py").touch()
        assert await waiting == [str(tmp_path / "a.py")]
    assert reported == [
        "watchfiles failed ([Errno 28] No space left on device): reading the times of all files instead"
    ]


# init and check


def test_init_overwrites_nothing(here: Here, tmp_path: Path) -> None:
    code, out, _ = here("init", str(tmp_path / "new"))
    assert (code, f"cd {tmp_path / 'new'} && asyncwork dev app:pool" in out) == (0, True)
    (tmp_path / "new" / "app.py").write_text("mine")
    code, _, err = here("init", str(tmp_path / "new"))
    assert (code, "exists, and is not overwritten" in err) == (1, True)
    assert (tmp_path / "new" / "app.py").read_text() == "mine"
    code, _, err = here("init", str(tmp_path / "app.py"))
    assert (code, "is a file: name its directory" in err) == (2, True)
    code, _, err = here("init", str(tmp_path / "new" / "app.py" / "more"))
    assert (code, "cannot be written" in err) == (1, True)


async def test_check_lists_what_init_has_written(tmp_path: Path) -> None:
    await run("init", cwd=tmp_path)
    code, out, err = await run("check", "app:pool", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "job       greet(name: str, times: int = ...)  max_fails=3\n" in out
    assert "periodic  tick at 'TZ=UTC 0 * * * * *' (UTC)\n" in out
    assert out.endswith("2 jobs, 1 periodic, 0 warnings\n")


CHECKED = """
from asyncwork import WorkerPool
print("imported")
async def make():
    pool = WorkerPool("redis://127.0.0.1:1/0", namespace="shop")
    @pool.job(max_concurrency=2)
    async def export(rows, user: int = 0): ...
    pool.periodically("0 0 3 * * *", export.call(rows=1) and "export", {"rows": 1})
    return pool
broken = WorkerPool()
broken.periodically("@hourly", "missing")
empty = WorkerPool()
"""


async def test_check_warns_without_redis_and_prints_json_alone(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CHECKED)
    code, out, err = await run("check", "app:make", "--json", cwd=tmp_path)
    report = json.loads(out)
    assert (code, err, report["error"]) == (0, "imported\n", None)
    assert report["jobs"] == [
        {"name": "export", "options": {"max_concurrency": 2}, "arguments": {"rows": "any", "user": "int, optional"}}
    ]
    assert [len(each["next"]) for each in report["periodic"]] == [3]
    warnings = "\n".join(report["warnings"])
    for warning in ("no type is checked of rows", "max_concurrency is set without a timeout", "time zone of each host"):
        assert warning in warnings
    _, out, _ = await run("check", "app:empty", cwd=tmp_path)
    assert "warning   the pool has no jobs" in out


STARTS = """
import os, threading
from asyncwork import WorkerPool
os.system("echo from another program")
threading.Thread(target=threading.Event().wait, name="forever").start()
pool = WorkerPool(namespace="shop")
"""


async def test_check_ends_and_prints_json_alone_whatever_the_app_starts(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(STARTS)
    code, out, err = await run("check", "app:pool", "--json", cwd=tmp_path)
    assert (code, json.loads(out)["namespace"]) == (0, "shop")
    assert err.startswith("from another program\n")
    assert "thread forever has not ended" in err


async def test_check_fails_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(CHECKED)
    code, _, err = await run("check", "app:broken", cwd=tmp_path)
    assert (code, "the periodic job 'missing' has no handler" in err) == (1, True), err
    (tmp_path / "app.py").write_text("1 / 0")
    code, out, _ = await run("check", "app:pool", "--json", cwd=tmp_path)
    report = json.loads(out)
    assert (code, "ZeroDivisionError" in report["error"], "app.py" in report["traceback"]) == (1, True, True)
