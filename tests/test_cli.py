"""The command line, run as processes of its own against the session's Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shlex
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from asyncwork import Client, WorkerPool
from asyncwork._version import version
from asyncwork.cli import main, summary, times
from asyncwork.cli.parser import parse
from asyncwork.embedded import EmbeddedRedis, find_redis_server
from asyncwork.testing import audit

from .conftest import LIMIT, Bench, until
from .forked import ForkedProcess, can_fork, fork, readable
from .proxy import open_proxy

APPS = Path(__file__).parent / "apps"
NO_REDIS = "redis://me:secret@127.0.0.1:1/0"

pytestmark = pytest.mark.processes


@pytest.fixture(scope="session", autouse=True)
def signals_as_usual() -> Iterator[None]:
    """Handle signals that the parent of the test run ignores, as nohup does, because programs would inherit that."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if before[signal.SIGINT] is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Program:
    """A command that runs."""

    def __init__(
        self,
        process: asyncio.subprocess.Process | ForkedProcess,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self.process = process
        self.out = self.err = ""
        self._more = asyncio.Event()
        assert stdout is not None
        assert stderr is not None
        self._reading = [
            asyncio.create_task(self._read("out", stdout)),
            asyncio.create_task(self._read("err", stderr)),
        ]

    async def _read(self, which: str, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            setattr(self, which, getattr(self, which) + line.decode())
            self._more.set()
        self._more.set()

    async def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until standard error matches so many times; return the last match."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                while True:
                    self._more.clear()
                    ended = all(task.done() for task in self._reading)
                    found = list(re.finditer(pattern, self.err, re.MULTILINE))
                    if len(found) >= times:
                        return found[-1]
                    if ended:
                        break
                    await self._more.wait()
        raise AssertionError(f"{pattern!r} is not in what it said:\n{self.err}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    async def ends(self) -> int:
        """Wait for its end; return the exit code."""
        async with asyncio.timeout(LIMIT):
            await asyncio.wait(self._reading)
            return await (self.process.ended() if isinstance(self.process, ForkedProcess) else self.process.wait())

    @property
    def records(self) -> list[dict[str, Any]]:
        """What it logged as JSON; every line must be an object."""
        return [json.loads(line) for line in self.err.splitlines()]


@asynccontextmanager
async def program(
    *arguments: str,
    cwd: Path = APPS,
    prefix: tuple[str, ...] = (),
    python: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> AsyncIterator[Program]:
    """Start a command; it is killed on exit if it has not ended.

    :param prefix: a command that executes the one that its arguments are.
    :param python: options of the interpreter.
    """
    usual = {name: value for name, value in os.environ.items() if not name.startswith("ASYNCWORK_")}
    server = {name: value for name, value in os.environ.items() if name == "ASYNCWORK_REDIS_SERVER"}
    environment = {**usual, **server, **(env or {})}
    if prefix or python or not can_fork(environment):
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *(sys.executable, *python, "-m", "asyncwork", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=cwd,
            env=environment,
        )
        running = Program(process, process.stdout, process.stderr)
    else:
        async with readable() as (stdout, out), readable() as (stderr, err):
            forked = fork("asyncwork", *arguments, cwd=cwd, env=environment, stdout=out, stderr=err)
        running = Program(forked, stdout, stderr)
    try:
        yield running
    finally:
        if running.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                running.process.kill()
        await running.ends()


async def run(*arguments: str, **options: Any) -> tuple[int, str, str]:
    """Run a command to its end; return the exit code, standard output and standard error."""
    async with program(*arguments, **options) as running:
        code = await running.ends()
        return code, running.out, running.err


def at(bench: Bench, app: str = "shop:pool") -> tuple[str, ...]:
    """The arguments that run an app on a bench."""
    return ("run", app, "--redis", bench.url, "--namespace", bench.namespace)


READY = r"running up to \d+ jobs at once on Redis [\d.]+, until "


# What main() is called with, to its exit code, standard output and standard error.
Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Runs commands in this process, which is quicker, for those that end before they touch Redis or signals."""
    monkeypatch.chdir(APPS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith("ASYNCWORK_")]:
        monkeypatch.delenv(name)
    root, before = logging.getLogger(), {**sys.modules}
    handlers, level = root.handlers[:], root.level
    # A process that is about to exit ignores it, and programs would inherit that.
    sigusr2 = signal.getsignal(signal.SIGUSR2)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code: Any = main(arguments)
        except SystemExit as error:
            code = error.code
        said = capsys.readouterr()
        return code, said.out, said.err

    yield call
    signal.signal(signal.SIGUSR2, sigusr2)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


def check_bad_usage(here: Here, line: str, message: str) -> None:
    """Check that a command line is refused with a message, and nothing else."""
    code, out, err = here(*shlex.split(line))
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


# Usage


async def test_help_has_examples_and_the_exit_codes() -> None:
    code, out, err = await run("--help")
    assert (code, err) == (0, "")
    assert "asyncwork run app:pool" in out
    code, out, err = await run("run", "--help")
    assert (code, err) == (0, "")
    for text in ("examples:", "exit codes:", "signals:", "ASYNCWORK_REDIS", "--embedded [DIR]"):
        assert text in out
    code, out, err = await run("cancel", "--help")
    assert (code, err) == (0, "")
    for text in ("examples:", "exit codes:", "--reason TEXT"):
        assert text in out
    code, out, err = await run("job", "--help")
    assert (code, err) == (0, "")
    for text in ("examples:", "exit codes:", "--follow", "--json"):
        assert text in out
    code, out, err = await run("enqueue", "--help")
    assert (code, err) == (0, "")
    for text in (
        "examples:",
        "exit codes:",
        "--delay SECONDS",
        "--at TIME",
        "--front",
        "--unique-by NAMES",
        "--id ID",
        "--wait [SECONDS]",
    ):
        assert text in out


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (("--help",), {"asyncio", "orjson", "redis", "asyncwork.enqueuer", "asyncwork.worker_pool"}),
        (("run", "--help"), {"asyncio", "orjson", "redis", "asyncwork.enqueuer", "asyncwork.worker_pool"}),
        (("run", "empty:none"), {"croniter", "asyncwork.client", "asyncwork.embedded", "asyncwork.web"}),
        (("enqueue", "wat", "[]"), {"croniter", "asyncwork.worker_pool", "asyncwork.embedded", "asyncwork.web"}),
    ],
)
async def test_a_command_imports_only_what_it_needs(arguments: tuple[str, ...], absent: set[str]) -> None:
    _, _, err = await run(*arguments, python=("-X", "importtime"))
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", err, re.MULTILINE))
    assert "asyncwork.cli.parser" in imported
    assert imported & absent == set()


async def test_no_command_shows_the_help() -> None:
    code, out, err = await run()
    assert (code, out) == (2, "")
    assert "asyncwork run app:pool" in err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("enqueue mail --delay 5 {}", {"job": "mail", "arguments": "{}", "delay": "5"}),
        ("enqueue --delay 5 mail --at 7 {}", {"job": "mail", "arguments": "{}", "delay": "5", "at": "7"}),
        ("enqueue mail --front {}", {"job": "mail", "arguments": "{}", "front": True}),
        ("enqueue mail --front -- {}", {"job": "mail", "arguments": "{}", "front": True}),
        ("enqueue mail --wait {}", {"job": "mail", "arguments": "{}", "wait": ""}),
        ("enqueue mail --wait 3 {}", {"job": "mail", "arguments": "{}", "wait": "3"}),
        ("enqueue mail {} --wait", {"job": "mail", "arguments": "{}", "wait": ""}),
        ("enqueue mail --wait", {"job": "mail", "arguments": None, "wait": ""}),
        ("enqueue mail", {"job": "mail", "arguments": None, "wait": None}),
        ("pools stop --who ops all", {"action": "stop", "pool": "all", "who": "ops"}),
        ("queues pause --yes mail -n ns sms", {"verb": "pause", "names": ["mail", "sms"], "yes": True}),
        ("queues", {"verb": "ls", "names": []}),
        ("queues --json ls", {"verb": "ls", "names": [], "json": True}),
        ("deletions restore --json token", {"verb": "restore", "tokens": ["token"]}),
        ("jobs ls --all dead", {"verb": "ls", "location": "dead"}),
        ("init", {"directory": "."}),
        ("run --grace 5 app:pool", {"app": "app:pool"}),
        ("run --embedded app:pool", {"app": "app:pool", "embedded": ""}),
        ("completion --words jobs --limit x", {"words": ["jobs", "--limit", "x"]}),
    ],
)
def test_arguments_may_be_behind_options(line: str, expected: dict[str, object]) -> None:
    options = vars(parse(shlex.split(line)))
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("enqueue mail --delay 5 {} {}", "unrecognized arguments: {}"),
        ("enqueue mail --nope {}", "unrecognized arguments: --nope"),
        ("enqueue --delay 5", "the following arguments are required: NAME"),
        ("queues --json walk", "invalid choice: 'walk'"),
    ],
)
def test_other_arguments_are_refused(here: Here, line: str, message: str) -> None:
    check_bad_usage(here, line, message)


async def test_version() -> None:
    code, out, _ = await run("--version")
    assert (code, out) == (0, f"asyncwork {version()}\n")
    assert re.fullmatch(r"asyncwork \d+\.\d+.*\n", out)


async def test_the_script_is_the_same_as_the_module() -> None:
    script = Path(sys.executable).with_name("asyncwork")
    process = await asyncio.create_subprocess_exec(script, "--version", stdout=PIPE)
    out, _ = await process.communicate()
    assert (process.returncode, out.decode()) == (0, f"asyncwork {version()}\n")


BAD_USAGE: list[tuple[str, str]] = [
    ("run", "asyncwork run: error: APP is missing"),
    ("run shop", "asyncwork run: 'shop' does not name a pool: write module:attribute, such as app:pool"),
    ("run shop:", "'shop:' does not name a pool"),
    ("run :pool", "':pool' does not name a pool"),
    ("run shop:pool --concurrency 0", "--concurrency: concurrency must be a whole number of 1 or more, not 0"),
    ("run shop:pool --concurrency ten", "--concurrency: a whole number is needed, not 'ten'"),
    ("run shop:pool --grace -1", "--grace: it must be zero or more seconds, not -1.0"),
    ("run shop:pool --grace nan", "--grace: it must be zero or more seconds, not nan"),
    ("run shop:pool --grace soon", "--grace: a number of seconds is needed, not 'soon'"),
    ("run shop:pool --redis localhost:6379", "--redis: not a Redis URL: 'localhost:6379'; write redis://"),
    ("run shop:pool --redis redis://h/x --embedded", "--embedded starts its own Redis, so --redis has no effect"),
    (
        "run shop:pool --log-level loud",
        "--log-level: the log level must be one of debug, info, warning, error, critical",
    ),
    ("run shop:pool --log-format xml", "argument --log-format: invalid choice: 'xml'"),
    ("run shop:pool --conc 5", "unrecognized arguments: --conc 5"),
    ("walk shop:pool", "invalid choice: 'walk'"),
    ("enqueue", "the following arguments are required: NAME"),
    ("cancel", "the following arguments are required: ID"),
    ("job", "the following arguments are required: ID"),
    ("job ''", "asyncwork job: a job's id must be text that is not empty, not ''"),
    ("job 1 --redis http://x", "--redis: not a Redis URL: 'http://x'"),
    (
        "cancel a,b",
        "asyncwork cancel: the id of a job is 1 to 64 ASCII letters, digits, '_' and '-', or that of an instance of a",
    ),
    ("enqueue a,b", "asyncwork enqueue: a job's name must not have a comma: 'a,b'"),
    ("enqueue wat --redis http://x", "--redis: not a Redis URL: 'http://x'"),
    ("enqueue wat --delay -1", "--delay: it must be zero or more seconds, not -1.0"),
    ("enqueue wat --delay soon", "--delay: a number of seconds is needed, not 'soon'"),
    ("enqueue wat --delay 1e12", "--delay: it must be in seconds, and 1000000000000.0 of them are more than 1000"),
    ("enqueue wat --delay 32503679999", "the delay must be in seconds and end before the year 3000: 32503679999.0 are"),
    (
        "enqueue wat --delay 1 --at 1",
        "--delay, --at exclude each other: write --delay or --at for a job that runs later",
    ),
    ("enqueue wat --delay 0 --front", "--delay, --front exclude each other: write --delay or --at for a job that runs"),
    ("enqueue wat --at 1 --front", "later, or --front for one that runs before those in its queue"),
    ("enqueue wat --unique --unique-by {}", "write --unique to compare all arguments, or --unique-by to compare only"),
    ("enqueue wat --unique-by {user", "--unique-by: the key is not JSON: Expecting property name"),
    ("enqueue wat --unique-by user", "argument 'user' of this wat job is missing; it has none"),
    ("enqueue wat --unique-by user,", "--unique-by must be the names of arguments with commas between them"),
    ("enqueue wat --unique-by {} --until done", "--until and --conflict need the names of arguments"),
    ("enqueue wat --until done", "--until needs --unique or --unique-by"),
    ("enqueue wat --unique --conflict after", "needs until='done' or until='success'"),
    ("enqueue wat --unique --until end", "argument --until: invalid choice: 'end'"),
    ("enqueue wat --unique --debounce 5", "--unique and --debounce exclude each other"),
    ("enqueue wat --debounce 0", "must be more than 0 seconds"),
    ("enqueue wat --debounce 5 --delay 5", "says when the job starts"),
    ("enqueue wat --max-wait 5", "--max-wait needs --debounce"),
    ("enqueue wat --trailing", "--trailing needs --throttle"),
    ("enqueue wat --by user", "--by needs --debounce or --throttle"),
    ("unique free wat", "free needs the name and the id of a job"),
    ("unique ls wat x", "ls takes one name of jobs at most"),
    ("unique free wat x --json", "--json is for ls"),
    ("enqueue wat --unique-by [7]", """--unique-by: the key must be a JSON object, such as '{"user": 7}', not [7]"""),
    ("enqueue wat --id a,b", "--id: id must be 1 to 64 ASCII letters, digits, '_' and '-', not 'a,b'"),
    ("enqueue wat --id ''", "--id: id must be 1 to 64 ASCII letters, digits, '_' and '-', not ''"),
    (f"enqueue wat --id {'0' * 24}-1", "--id: id must not begin with 24 hex digits and '-', which marks the jobs of a"),
    ("enqueue wat --timeout -1", "--timeout: it must be zero or more seconds, not -1.0"),
    ("enqueue wat --wait soon", "--wait: a number of seconds is needed, not 'soon'"),
    ("enqueue wat --at tomorrow", "--at: 'tomorrow' is not a time: write 2030-01-01T09:00:00+01:00"),
    ("enqueue wat --at 2030-01-01T09:00:00", "has no UTC offset: add it, as in 2030-01-01T09:"),
    ("enqueue wat --at nan", "--at: a time must be zero or more epoch seconds (from 1970 on), not nan"),
    (
        "enqueue wat --at 2000000000000000",
        "--at: a time must be epoch seconds before the year 3000, and 2000000000000000.0",
    ),
    ("""enqueue wat '{"a": 1 "b": 2}'""", "the arguments are not JSON: Expecting ',' delimiter: line 1 column 9"),
    ("enqueue wat '{}}'", "the arguments are not JSON: Extra data: line 1 column 3 (char 2)\n    {}}\n      ^\n"),
    ("""enqueue wat '{"a": 1e999}'""", "too large for a double"),
    ("""enqueue wat '{"a": NaN}'""", "the arguments are not JSON: it holds NaN"),
    ("enqueue wat ''", "the arguments are not JSON: Expecting value: line 1 column 1"),
    ("enqueue wat '[1]'", "the arguments must be a JSON object with the names of the handler's parameters"),
    ("doctor --redis http://x", "asyncwork doctor: --redis: not a Redis URL: 'http://x'"),
    ("doctor now", "unrecognized arguments: now"),
    ("enqueue wat null", "the arguments must be a JSON object"),
]


@pytest.mark.parametrize(("line", "message"), BAD_USAGE, ids=[line for line, _ in BAD_USAGE])
def test_bad_usage(here: Here, line: str, message: str) -> None:
    check_bad_usage(here, line, message)


async def test_bad_usage_is_the_exit_code_of_the_process() -> None:
    assert (await run("run"))[0] == 2
    assert (await run("run", "shop:nothing"))[0] == 2
    assert (await run("enqueue", "wat", "[]"))[0] == 2


def test_the_place_that_is_not_json_is_shown(here: Here) -> None:
    wrong = '{\n"a": "%s", "b": 1 "c": 2}' % ("x" * 200)
    code, _, err = here("enqueue", "wat", wrong)
    assert code == 2
    *_, line, sign = err.splitlines()
    assert len(line) < 80
    assert line[sign.index("^") :].startswith('"c": 2}')


def test_arguments_that_are_not_utf_8_are_refused(here: Here) -> None:
    code, _, err = here("enqueue", "wat", os.fsdecode(b'{"a": "\xff"}'))
    assert code == 2
    assert "the arguments are not UTF-8: byte 7 is 0xff" in err


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ASYNCWORK_REDIS", "localhost:6379", "ASYNCWORK_REDIS: not a Redis URL"),
        ("ASYNCWORK_CONCURRENCY", "0", "ASYNCWORK_CONCURRENCY: concurrency must be a whole number of 1 or more"),
        ("ASYNCWORK_GRACE", "soon", "ASYNCWORK_GRACE: a number of seconds is needed, not 'soon'"),
        (
            "ASYNCWORK_VERSION_LABEL",
            " v1",
            "ASYNCWORK_VERSION_LABEL: a version label must be text of 1 to 64 printable",
        ),
        ("ASYNCWORK_LOG_LEVEL", "loud", "ASYNCWORK_LOG_LEVEL: the log level must be one of debug"),
        ("ASYNCWORK_LOOP", "trio", "ASYNCWORK_LOOP: the event loop must be one of auto, asyncio, uvloop, not 'trio'"),
        ("ASYNCWORK_LOG_FORMAT", "xml", "ASYNCWORK_LOG_FORMAT: the log format must be one of text, json, not 'xml'"),
    ],
)
def test_a_bad_value_in_the_environment_names_the_variable(
    here: Here, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    code, _, err = here("run", "shop:pool")
    assert code == 2
    assert message in err


# The app


NO_APP: list[tuple[str, str]] = [
    ("shop:bool", "module 'shop' has no attribute 'bool'. It has this pool: shop:pool\n"),
    ("json:pool", "module 'json' has no attribute 'pool'. Module json has no pool: create one with `pool = WorkerP"),
    ("shop:factory.outer.pool", "shop:factory (a type) has no attribute 'outer'. It has this pool: shop:pool\n"),
    ("shop:log", "shop:log is a Logger, not a WorkerPool. It has this pool: shop:pool\n"),
    ("shop:note", "shop:note is a Task, not a WorkerPool. It has this pool: shop:pool\n"),
    ("shop:broken", "shop:broken is a bool, not a WorkerPool"),
    ("shop:make_nothing", "shop:make_nothing() returned None, not a WorkerPool"),
    ("shop:clock", "shop:clock() returned a float, not a WorkerPool"),
    ("shop:make_with", "shop:make_with needs arguments (settings), but a function that returns a pool is called with"),
    ("shopp:pool", "there is no module 'shopp' (No module named 'shopp'). The first directory searched was "),
    ("nowhere.app:pool", "there is no module 'nowhere.app' (No module named 'nowhere')"),
    ("shop.app:pool", "there is no module 'shop.app' (No module named 'shop.app'; 'shop' is not a package)"),
    ("shop.py:pool", "'shop.py' is a path: write the name of the module instead, such as shop\n"),
    ("./apps/shop.py:pool", "'./apps/shop.py' is a path: write the name of the module instead, such as apps.shop\n"),
    (".shop:pool", "'.shop' is a path: write the name of the module instead, such as shop\n"),
]


@pytest.mark.parametrize(("app", "message"), NO_APP, ids=[app for app, _ in NO_APP])
def test_an_app_that_is_missing_is_one_line(here: Here, app: str, message: str) -> None:
    code, out, err = here("run", app)
    assert (code, out) == (2, "")
    assert err.startswith(f"asyncwork run: {message}")
    assert err.count("\n") == 1


async def test_all_pools_of_a_module_are_listed() -> None:
    code, _, err = await run("run", "empty:pool")
    assert code == 2
    assert "module 'empty' has no attribute 'pool'. It has these pools: empty:first, empty:second" in err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import app.no_such_thing", "ModuleNotFoundError: No module named 'app.no_such_thing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(4)", "SystemExit: 4"),
        ("from asyncwork import WorkerPool\nWorkerPool(concurrency=0)", "UsageError: concurrency must be a whole num"),
    ],
)
async def test_an_app_that_fails_is_reported_with_its_traceback(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "app.py").write_text(source)
    code, out, err = await run("run", "app:pool", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert f"asyncwork run: module 'app' cannot be imported: {message}" in err
    first, second = err.splitlines()[:2]
    assert first == "Traceback (most recent call last):" or "SyntaxError" in message
    # Nothing of how it was imported stands before it.
    assert str(tmp_path / "app.py") in (first + second)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("make_trouble", "LookupError: no settings"),
        ("leave", "SystemExit: 4"),
        ("make_badly", "UsageError: concurrency must be a whole number of 1 or more, not 0"),
        ("make_trouble_later", "LookupError: no settings yet"),
        ("leave_later", "SystemExit: 5"),
        ("interrupt_later", "KeyboardInterrupt"),
        ("cancel_later", "CancelledError"),
        ("cancel_itself", "CancelledError"),
    ],
)
async def test_a_factory_that_fails_is_reported_with_its_traceback(name: str, message: str) -> None:
    code, _, err = await run("run", f"shop:{name}")
    assert code == 1
    assert err.endswith(f"asyncwork run: shop:{name}() did not return a pool: {message}\n")
    trace = err[err.index("Traceback") :].splitlines()
    # Nothing of how it was called stands before it.
    assert re.fullmatch(rf'  File ".*shop\.py", line \d+, in {name}', trace[1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fail_as_a_group", "BaseExceptionGroup: two at once (2 sub-exceptions)"),
        ("make_coroutine_that_fails", "LookupError: no settings yet"),
    ],
)
async def test_a_factory_that_fails_otherwise_is_reported_too(name: str, message: str) -> None:
    code, _, err = await run("run", f"shop:{name}")
    assert code == 1
    assert err.endswith(f"asyncwork run: shop:{name}() did not return a pool: {message}\n")


async def test_a_coroutine_that_a_plain_factory_returns_is_awaited(bench: Bench) -> None:
    code, _, err = await run(*at(bench, "shop:make_coroutine"), "--burst", env={"PYTHONWARNINGS": "error"})
    assert code == 0, err
    assert "starting shop:make_coroutine in process" in err
    assert "never awaited" not in err


async def test_a_factory_must_not_start_its_pool(bench: Bench) -> None:
    env = {"ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace}
    code, _, err = await run("run", "shop:make_running", env=env)
    assert code == 2
    assert err.splitlines()[-1] == (
        "asyncwork run: shop:make_running() returned a pool that runs: return it without starting it, because the "
        "command does"
    )


async def test_a_factory_may_stop_the_loop(bench: Bench) -> None:
    code, _, err = await run(*at(bench, "shop:stop_the_loop_first"), "--burst")
    assert code == 0, err
    assert "event loop was stopped before the pool ran (KeyboardInterrupt); going on" in err
    assert "a job" not in err


async def test_an_async_factory_of_something_else_is_one_line(bench: Bench) -> None:
    code, _, err = await run(*at(bench, "shop:make_nothing_later"))
    assert code == 2
    message = "asyncwork run: shop:make_nothing_later() returned None, not a WorkerPool. It has this pool: shop:pool"
    assert err.splitlines()[1:] == [message]


async def test_an_async_factory_runs_in_the_loop_of_its_pool(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("""
import asyncio
from asyncwork import WorkerPool

async def make_pool():
    loop = await asyncio.sleep(0.01, asyncio.get_running_loop())
    pool = WorkerPool(namespace="as-made")

    @pool.job
    async def note(text):
        print("noted", text, asyncio.get_running_loop() is loop, pool.options.concurrency)

    return pool
""")
    await bench.enqueuer.enqueue("note", {"text": "hello"})
    code, out, err = await run(*at(bench, "app:make_pool"), "--burst", "--concurrency", "7", cwd=tmp_path)
    assert code == 0, err
    assert out == "noted hello True 7\n"
    assert "starting app:make_pool in process" in err


async def test_an_async_factory_gets_an_embedded_redis_and_warnings(tmp_path: Path) -> None:
    env = {"ASYNCWORK_NAMESPACE": "another"}
    code, _, err = await run("run", "shop:make_pool_later", "--burst", "--embedded", str(tmp_path / "data"), env=env)
    assert code == 0, err
    assert "environment variable ASYNCWORK_NAMESPACE=another is ignored: the pool was made with as-made" in err
    assert "started a Redis server" in err


async def test_a_signal_while_an_async_factory_runs(tmp_path: Path) -> None:
    async with program("run", "shop:make_pool_never") as running:
        await running.says("making no pool")
        running.send(signal.SIGTSTP)
        await running.says("SIGTSTP: quiet")
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: stopping before the pool has started")
        assert await running.ends() == 0
    assert "Traceback" not in running.err
    assert "never awaited" not in running.err


@pytest.mark.parametrize("app", ["shop:make_pool", "shop:make_pool_later", "shop:factory.inner.pool"])
async def test_a_pool_may_be_nested_or_made_by_a_function(bench: Bench, app: str) -> None:
    await bench.enqueuer.enqueue("note", {"text": "hello"})
    code, _, err = await run(*at(bench, app), "--burst")
    assert code == 0
    assert "noted hello" in err
    assert f"starting {app} in process" in err


async def test_the_script_too_finds_the_app_in_the_current_directory(bench: Bench) -> None:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("asyncwork"), *at(bench), "--burst", cwd=APPS, stderr=PIPE
    )
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()


async def test_a_failure_is_a_json_line_too(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("1 / 0")
    async with program("run", "app:pool", "--log-format", "json", cwd=tmp_path) as running:
        assert await running.ends() == 2
    (record,) = running.records
    assert record["level"] == "CRITICAL"
    assert record["message"] == "module 'app' cannot be imported: ZeroDivisionError: division by zero"
    assert record["exception"].endswith("ZeroDivisionError: division by zero\n")


async def test_an_app_that_sets_up_logging_does_not_silence_us(bench: Bench) -> None:
    code, _, err = await run(*at(bench, "empty:first"), "--burst")
    assert code == 0
    assert "the pool has no jobs: does the app import the modules that define its handlers?" in err
    assert "stopped after" in err


# What it logs, and where values come from


async def test_it_logs_what_it_runs_and_where(bench: Bench) -> None:
    async with program(*at(bench), "--burst") as running:
        assert await running.ends() == 0
    for line in (
        f"starting shop:pool in process {running.process.pid}, asyncwork {version()}",
        f"Redis at {bench.url}, namespace '{bench.namespace}'",
        "jobs: block, break_the_pool, cancel_the_pool, fail (priority=10, max_fails=1), hold, hold in thread, ",
        "periodic: note at '0 0 0 1 1 *'",
        "periodic: of another program at '@yearly'",
        "running up to 3 jobs at once on Redis ",
        "the queues are empty",
    ):
        assert line in running.err
    assert re.search(r"running up to .* on Redis [\d.]+, until the queues are empty$", running.err, re.MULTILINE)
    assert re.search(r"stopped after [\d.]+ s; jobs done: 0, failed attempts: 0$", running.err, re.MULTILINE)


MADE = "redis://made:***@127.0.0.1:1/0, namespace 'as-made'"
IGNORED = "environment variable {} is ignored: the pool was made with "
SOURCES: list[tuple[str, list[str], dict[str, str], str, str]] = [
    # (app, options, environment, where it goes, which variable is ignored)
    ("shop:pool", [], {}, MADE, ""),
    ("shop:pool", [], {"ASYNCWORK_REDIS": NO_REDIS}, MADE, "ASYNCWORK_REDIS=redis://me:***@127.0.0.1:1/0"),
    ("shop:pool", [], {"ASYNCWORK_REDIS": "", "ASYNCWORK_NAMESPACE": ""}, MADE, ""),
    ("shop:pool", [], {"ASYNCWORK_NAMESPACE": "env"}, MADE, "ASYNCWORK_NAMESPACE=env"),
    ("shop:pool", [], {"ASYNCWORK_NAMESPACE": "as-made"}, MADE, ""),
    ("shop:pool", ["--redis", NO_REDIS], {"ASYNCWORK_REDIS": "redis://h:1"}, MADE.replace("made:", "me:"), ""),
    ("shop:pool", ["--namespace", "flag"], {"ASYNCWORK_NAMESPACE": "env"}, MADE.replace("as-made", "flag"), ""),
    ("shop:pool", ["-n", ""], {"ASYNCWORK_NAMESPACE": "env"}, MADE.replace("as-made", ""), ""),
    ("empty:first", [], {"ASYNCWORK_REDIS": NO_REDIS}, "redis://me:***@127.0.0.1:1/0, namespace 'work'", ""),
    (
        *("empty:first", [], {"ASYNCWORK_REDIS": NO_REDIS, "ASYNCWORK_NAMESPACE": "env"}),
        *("redis://me:***@127.0.0.1:1/0, namespace 'env'", ""),
    ),
]


@pytest.mark.parametrize(("app", "options", "environment", "line", "ignored"), SOURCES)
async def test_an_option_counts_more_than_the_code_and_that_more_than_the_environment(
    app: str, options: list[str], environment: dict[str, str], line: str, ignored: str
) -> None:
    code, _, err = await run("run", app, *options, env=environment)
    assert code == 3
    assert f"Redis at {line}" in err
    assert "secret" not in err
    assert "with@" not in err
    if ignored:
        assert IGNORED.format(ignored) in err
    else:
        assert "is ignored" not in err


@pytest.mark.parametrize(
    ("options", "environment", "concurrency", "grace"),
    [
        ([], {}, 3, "7 s"),
        ([], {"ASYNCWORK_CONCURRENCY": "5", "ASYNCWORK_GRACE": "90"}, 3, "7 s"),
        (["--concurrency", "4", "--grace", "0.5"], {"ASYNCWORK_CONCURRENCY": "5"}, 4, "0.5 s"),
    ],
)
async def test_concurrency_and_grace(
    bench: Bench, options: list[str], environment: dict[str, str], concurrency: int, grace: str
) -> None:
    async with program(*at(bench), *options, env=environment) as running:
        await running.says(rf"running up to {concurrency} jobs at once on Redis [\d.]+, until SIGINT or SIGTERM")
        running.send(signal.SIGTERM)
        await running.says(f"running jobs have {grace} to finish")
        assert await running.ends() == 0


@pytest.mark.parametrize(
    ("options", "environment", "label"),
    [
        ([], "", ""),
        ([], "v1.4.2", "v1.4.2"),
        (["--version-label", "v1.5"], "v1.4.2", "v1.5"),
        (["--version-label", "v1.5", "--processes", "1"], "v1.4.2", "v1.5"),
    ],
)
async def test_the_version_label(bench: Bench, options: list[str], environment: str, label: str) -> None:
    async with program(*at(bench), *options, env={"ASYNCWORK_VERSION_LABEL": environment}) as running:
        await running.says("running up to 3 jobs at once")
        async with Client(bench.url, namespace=bench.namespace) as client:
            [heartbeat] = await client.heartbeats()
            assert heartbeat.version_label == label
            assert [each.version_label for each in await client.deployments()] == ([label] if label else [])
        running.send(signal.SIGTERM)
        assert await running.ends() == 0


async def test_the_log_level(bench: Bench) -> None:
    await bench.enqueuer.enqueue("note", {"text": "hello"})
    code, out, err = await run(*at(bench), "--burst", "--log-level", "Warning")
    assert (code, out, err) == (0, "", "")
    code, out, err = await run(*at(bench), "--burst", env={"ASYNCWORK_LOG_LEVEL": "warning"})
    assert (code, out, err) == (0, "", "")
    code, out, err = await run(*at(bench), "--burst", "--log-level", "debug", env={"ASYNCWORK_LOG_LEVEL": "warning"})
    assert code == 0
    assert "DEBUG" in err


async def test_the_log_format_is_an_option_or_in_the_environment(bench: Bench) -> None:
    async with program(*at(bench), "--burst", env={"ASYNCWORK_LOG_FORMAT": "json"}) as running:
        assert await running.ends() == 0
    assert "the queues are empty" in [record["message"] for record in running.records]
    for options, environment in ((("--log-format", "text"), "json"), ((), "")):
        code, _, err = await run(*at(bench), "--burst", *options, env={"ASYNCWORK_LOG_FORMAT": environment})
        assert code == 0
        assert "INFO  asyncwork.cli  the queues are empty\n" in err


LOGGING_APP = """
import logging
{set_up}
logging.getLogger("app").info("imported")
from asyncwork import WorkerPool
pool = WorkerPool()

@pool.job
async def note(text: str) -> None:
    logging.getLogger("app").info("noted %s", text)
"""
LOGGINGS = {
    "basicConfig": 'logging.basicConfig(format="APP %(levelname)s %(message)s", level="INFO")',
    "basicConfig without a level": 'logging.basicConfig(format="APP %(levelname)s %(message)s")',
    "basicConfig of warnings": 'logging.basicConfig(format="APP %(levelname)s %(message)s", level="WARNING")',
    "handler": """
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("APP %(levelname)s %(message)s"))
logging.getLogger().addHandler(handler)
""",
    "dictConfig": """
import logging.config
logging.config.dictConfig({
    "version": 1, "formatters": {"app": {"format": "APP %(levelname)s %(message)s"}},
    "handlers": {"app": {"class": "logging.StreamHandler", "formatter": "app"}},
    "root": {"handlers": ["app"], "level": "INFO"},
})
""",
    "log lines alone": 'logging.warning("a first line")',
    "handler beside": """
import sys
class Beside(logging.Handler):
    def emit(self, record):
        print("BESIDE", record.getMessage(), record.job_name)
logging.getLogger().addHandler(Beside())
""",
}


async def log_of(bench: Bench, tmp_path: Path, set_up: str, *options: str, **env: str) -> tuple[str, str]:
    """Run a job of an app that sets up logging in one of the ways; return standard output and standard error."""
    (tmp_path / "app.py").write_text(LOGGING_APP.format(set_up=LOGGINGS[set_up]))
    await bench.enqueuer.enqueue("note", {"text": "hello"})
    code, out, err = await run(*at(bench, "app:pool"), "--burst", *options, cwd=tmp_path, env=env)
    assert code == 0
    return out, err


@pytest.mark.parametrize("set_up", ["basicConfig", "basicConfig without a level", "handler", "dictConfig"])
async def test_an_app_that_sets_up_the_root_logger_keeps_it(bench: Bench, tmp_path: Path, set_up: str) -> None:
    _, err = await log_of(bench, tmp_path, set_up, ASYNCWORK_LOG_FORMAT="json")
    lines = err.splitlines()
    checked = [line for line in lines if "imported" not in line or set_up != "handler"]
    assert [line for line in checked if not line.startswith(("APP INFO ", "{"))] == []
    for text in ("imported", "noted hello", "the queues are empty"):
        assert f"APP INFO {text}" in lines
    assert [line for line in lines if line.startswith("{") and "noted" in line] == []


async def test_the_level_that_an_app_sets_counts_more_than_the_environment(bench: Bench, tmp_path: Path) -> None:
    _, err = await log_of(bench, tmp_path, "basicConfig of warnings", ASYNCWORK_LOG_LEVEL="debug")
    assert "APP" not in err
    _, err = await log_of(bench, tmp_path, "basicConfig of warnings", "--log-level", "info")
    assert "APP INFO noted hello" in err


async def test_options_count_more_than_how_an_app_sets_up_logging(bench: Bench, tmp_path: Path) -> None:
    _, err = await log_of(bench, tmp_path, "basicConfig", "--log-format", "json")
    (noted,) = [json.loads(line) for line in err.splitlines() if "noted" in line]
    assert (noted["message"], noted["job_name"]) == ("noted hello", "note")
    out, err = await log_of(bench, tmp_path, "handler beside", "--log-format", "json")
    assert "BESIDE noted hello note\n" in out
    assert [json.loads(line)["message"] for line in err.splitlines() if "noted" in line] == ["noted hello"]


async def test_an_app_that_only_logs_or_listens_leaves_the_root_logger_to_us(bench: Bench, tmp_path: Path) -> None:
    _, err = await log_of(bench, tmp_path, "log lines alone")
    assert "WARN  root  a first line" in err
    assert "INFO  app  noted hello  job=note" in err
    out, err = await log_of(bench, tmp_path, "handler beside")
    assert "INFO  app  noted hello  job=note" in err
    assert "BESIDE noted hello note\n" in out


# Without standard streams


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_it_works_without_standard_streams(bench: Bench, tmp_path: Path, closed: str, loop: str) -> None:
    await bench.enqueuer.enqueue("log_variously")
    await bench.enqueuer.enqueue("tell_streams", {"file": str(tmp_path / "streams")})
    prefix = ("sh", "-c", f'exec "$@" {closed}', "sh")
    async with program(*at(bench), "--burst", prefix=prefix, env={"ASYNCWORK_LOOP": loop}) as running:
        assert await running.ends() == 0
    assert await bench.waiting("log_variously") == []
    assert not await bench.redis.exists(bench.keys.dead, bench.keys.retry)
    # Standard input is led there anyway.
    others = closed.count(">")
    assert (tmp_path / "streams").read_text() == f"on the null device: {1 + others}, exit code of a child: 0"
    assert ("queues are empty" in running.err) is ("2>" not in closed)


@pytest.mark.parametrize("command", [("enqueue", "note"), ("doctor",), ("--version",)])
async def test_other_commands_work_without_standard_streams(bench: Bench, command: tuple[str, ...]) -> None:
    prefix = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    location = () if command == ("--version",) else ("--redis", bench.url, "--namespace", bench.namespace)
    code, _, _ = await run(*command, *location, prefix=prefix)
    assert code <= (1 if command[0] == "doctor" else 0)
    await bench.redis.delete(bench.keys.queue("note"))


# No Redis


async def test_a_redis_that_is_not_there() -> None:
    code, out, err = await run("run", "shop:pool", "--redis", NO_REDIS)
    assert (code, out) == (3, "")
    assert "asyncwork run: Redis at redis://me:***@127.0.0.1:1/0 cannot be reached: " in err
    assert "Traceback" not in err
    assert "secret" not in err
    code, out, err = await run("enqueue", "wat", "--redis", NO_REDIS)
    assert (code, out) == (3, "")
    assert "could not be enqueued: Redis at redis://me:***@127.0.0.1:1/0: " in err
    assert err.count("\n") == 1
    assert "secret" not in err


async def test_a_redis_that_is_not_there_is_a_json_line_too() -> None:
    async with program("run", "shop:pool", "--redis", NO_REDIS, "--log-format", "json") as running:
        assert await running.ends() == 3
    assert running.records[-1]["level"] == "CRITICAL"
    assert "cannot be reached" in running.records[-1]["message"]


async def test_a_wrong_password(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, port=0, appendonly=False) as server:
        url = re.sub(r":[^:@]+@", ":wrong-one@", server.url)
        code, out, err = await run("run", "shop:pool", "--redis", url)
        assert (code, out) == (3, "")
        assert "refuses the user or password" in err
        assert "Traceback" not in err
        assert "wrong-one" not in err
        code, _, err = await run("enqueue", "wat", "--redis", url)
        assert code == 3
        assert "Traceback" not in err
        assert "wrong-one" not in err


@asynccontextmanager
async def fake_redis(version: str | None) -> AsyncIterator[str]:
    """A server that says it is of a version, or never says anything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                if version is not None:
                    answer = f"# Server\r\nredis_version:{version}\r\n".encode()
                    writer.write(b"$%d\r\n%b\r\n" % (len(answer), answer) if words[0] == b"INFO" else b"+OK\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


async def test_a_redis_that_is_too_old() -> None:
    async with fake_redis("6.0.16") as url:
        code, _, err = await run("run", "shop:pool", "--redis", url)
    assert code == 3
    assert "is version 6.0.16; asyncwork needs 6.2 or newer" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_wait_for_a_redis_that_does_not_answer(number: int) -> None:
    async with fake_redis(None) as url, program("run", "shop:pool", "--redis", url) as running:
        await running.says("periodic: of another program")
        started = time.monotonic()
        running.send(number)
        await running.says(f"{signal.Signals(number).name}: stopping before the pool has started")
        assert await running.ends() == 0
        assert time.monotonic() - started < 4


# Resources


RESOURCES_APP = """
import asyncio, sys, time
from contextlib import asynccontextmanager, contextmanager
from asyncwork import RedisUnavailable, UsageError, WorkerPool

def say(text):
    print(text, file=sys.stderr, flush=True)

{resources}

pool = WorkerPool(resources=resources)

@pool.job
async def wat():
    say(f"ran with {{pool.resources}}")
"""

RESOURCES = {
    "good": """
@asynccontextmanager
async def resources():
    say("opening")
    yield "a database"
    say("closing")
""",
    "fail": """
def connect():
    raise ConnectionError("no database")

@asynccontextmanager
async def resources():
    await asyncio.sleep(0)
    connect()
    yield
""",
    "fail as we do": """
@asynccontextmanager
async def resources():
    raise RedisUnavailable("no cache")
    yield
""",
    "leave": """
@asynccontextmanager
async def resources():
    sys.exit(5)
    yield
""",
    "none": """
@contextmanager
def resources():
    yield
""",
    "slow": """
@asynccontextmanager
async def resources():
    say("opening")
    await asyncio.sleep(1000)
    yield
""",
    "slow in a thread": """
@asynccontextmanager
async def resources():
    say("opening")
    await asyncio.to_thread(time.sleep, 1000)
    yield
""",
    "fail to close": """
@asynccontextmanager
async def resources():
    yield
    raise ConnectionError("already gone")
""",
    "slow to close": """
@asynccontextmanager
async def resources():
    yield
    say("closing")
    await asyncio.sleep(1000)
""",
}


@asynccontextmanager
async def with_resources(bench: Bench, tmp_path: Path, name: str, *options: str) -> AsyncIterator[Program]:
    """Run an app with these resources, and a job for it."""
    (tmp_path / "app.py").write_text(RESOURCES_APP.format(resources=RESOURCES[name]))
    await bench.enqueuer.enqueue("wat")
    async with program(*at(bench, "app:pool"), *options, cwd=tmp_path) as running:
        yield running


async def test_resources_are_open_while_jobs_run(bench: Bench, tmp_path: Path) -> None:
    async with with_resources(bench, tmp_path, "good", "--burst") as running:
        assert await running.ends() == 0
    opened, ran, closed = (running.err.index(text) for text in ("\nopening\n", "ran with a database", "\nclosing\n"))
    assert opened < running.err.index("running up to") and opened < ran < closed  # noqa: PT018
    assert closed < running.err.index("stopped after")


@pytest.mark.parametrize(
    ("name", "message", "function"),
    [
        ("fail", "ConnectionError: no database", "resources"),
        ("fail as we do", "RedisUnavailable: no cache", "resources"),
        ("leave", "SystemExit: 5", "resources"),
    ],
)
async def test_resources_that_cannot_be_opened_are_reported_with_the_traceback(
    bench: Bench, tmp_path: Path, name: str, message: str, function: str
) -> None:
    async with with_resources(bench, tmp_path, name) as running:
        assert await running.ends() == 1
    assert running.err.endswith(f"asyncwork run: the resources of app:pool cannot be opened: {message}\n")
    assert running.err.count("Traceback") == 1
    trace = running.err[running.err.index("Traceback") :].splitlines()
    assert re.fullmatch(rf'  File ".*app\.py", line \d+, in {function}', trace[1])
    assert len(await bench.waiting("wat")) == 1
    assert not await bench.redis.exists(bench.keys.worker_pools)


async def test_resources_that_cannot_be_opened_are_a_json_line_too(bench: Bench, tmp_path: Path) -> None:
    async with with_resources(bench, tmp_path, "fail", "--log-format", "json") as running:
        assert await running.ends() == 1
    last = running.records[-1]
    assert last["message"] == "the resources of app:pool cannot be opened: ConnectionError: no database"
    assert "in connect" in last["exception"]


async def test_resources_that_are_none_are_one_line(bench: Bench, tmp_path: Path) -> None:
    async with with_resources(bench, tmp_path, "none") as running:
        assert await running.ends() == 2
    assert "asyncwork run: resources resources must return an async context manager, as a function d" in running.err
    assert "Traceback" not in running.err


@pytest.mark.parametrize("name", ["slow", "slow in a thread"])
async def test_a_signal_while_resources_are_opened(bench: Bench, tmp_path: Path, name: str) -> None:
    async with with_resources(bench, tmp_path, name) as running:
        await running.says("^opening$")
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: stopping before the pool has started")
        assert await running.ends() == 0
    assert "Traceback" not in running.err
    assert len(await bench.waiting("wat")) == 1


async def test_resources_that_cannot_be_closed_are_no_success(bench: Bench, tmp_path: Path) -> None:
    async with with_resources(bench, tmp_path, "fail to close", "--burst") as running:
        assert await running.ends() == 1
    assert "did not stop cleanly: the resources could not be closed: ConnectionError: already gone" in running.err
    assert 'raise ConnectionError("already gone")' in running.err
    assert "jobs done: 1" in running.err
    assert await bench.waiting("wat") == []


async def test_a_second_signal_cuts_off_closing(bench: Bench, tmp_path: Path) -> None:
    async with with_resources(bench, tmp_path, "slow to close") as running:
        await running.says("ran with None")
        running.send(signal.SIGTERM)
        await running.says("^closing$")
        running.send(signal.SIGTERM)
        assert await running.ends() == 1
    assert "the resources could not be closed: CancelledError" in running.err
    assert "jobs done: 1" in running.err


# Signals


async def test_a_stop_that_was_not_clean_is_no_success(bench: Bench) -> None:
    async with open_proxy(bench.url) as proxy:
        at_proxy = ("run", "shop:pool", "--redis", proxy.url, "--namespace", bench.namespace)
        async with program(*at_proxy, env={"ASYNCWORK_GRACE": "0.5"}) as running:
            await running.says(READY)
            proxy.lose_request = lambda _: True
            running.send(signal.SIGTERM)
            assert await running.ends() == 1
    assert "did not stop cleanly: could not deregister from Redis (" in running.err
    async with bench.pool().running():
        await until(lambda: alone(bench))


async def alone(bench: Bench) -> bool:
    return bool(await bench.redis.scard(bench.keys.worker_pools) == 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_lets_running_jobs_finish_and_fetches_no_more(bench: Bench, tmp_path: Path, number: int) -> None:
    release = tmp_path / "release"
    async with program(*at(bench), "--concurrency", "1") as running:
        await bench.enqueuer.enqueue("hold", {"release": str(release)})
        await running.says("holding")
        running.send(number)
        await running.says(
            f"WARN .*{signal.Signals(number).name}: stopping: no more jobs are fetched, running jobs have 7 s to "
            "finish; a second signal cancels them"
        )
        await bench.enqueuer.enqueue("note", {"text": "too late"})
        release.touch()
        assert await running.ends() == 0
    assert "released" in running.err
    assert "noted" not in running.err
    assert running.err.rstrip().splitlines()[-1].split("  ")[-1].startswith("stopped after")
    assert len(await bench.waiting("note")) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)],
)
async def test_a_second_signal_cancels_running_jobs(bench: Bench, first: int, second: int) -> None:
    job = await bench.enqueuer.enqueue("hold", {"release": "/nowhere/at/all"})
    async with program(*at(bench), "--grace", "1000") as running:
        await running.says("holding")
        running.send(first)
        await running.says("have 16 min 40 s to finish; a second signal cancels them")
        running.send(second)
        await running.says(f"{signal.Signals(second).name}: cancelling running jobs, which return to the front")
        assert await running.ends() == 0
    (payload,) = await bench.waiting("hold")
    assert json.loads(payload)["id"] == job.id
    assert "fails" not in json.loads(payload)


async def test_a_terminal_that_hangs_up_twice_at_once_cancels_nothing(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    await bench.enqueuer.enqueue("hold", {"release": str(release)})
    async with program(*at(bench)) as running:
        await running.says("holding")
        running.send(signal.SIGHUP)
        await running.says("SIGHUP: stopping")
        for _ in range(3):
            running.send(signal.SIGHUP)
        running.send(signal.SIGTSTP)
        await running.says("SIGTSTP: already stopping")
        release.touch()
        assert await running.ends() == 0
    assert "released" in running.err
    assert "cancel" not in running.err.split("cancels them")[1]


async def test_after_the_grace_period_running_jobs_are_cancelled(bench: Bench) -> None:
    await bench.enqueuer.enqueue("hold", {"release": "/nowhere/at/all"})
    async with program(*at(bench), "--grace", "0.1") as running:
        await running.says("holding")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0
    assert len(await bench.waiting("hold")) == 1


async def test_sigtstp_makes_it_quiet(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    await bench.enqueuer.enqueue("hold", {"release": str(release)})
    async with program(*at(bench)) as running:
        await running.says("holding")
        running.send(signal.SIGTSTP)
        await running.says("SIGTSTP: quiet: no more jobs are fetched, running jobs go on; SIGTERM ends the process")
        running.send(signal.SIGTSTP)
        await running.says("SIGTSTP: already quiet")
        await bench.enqueuer.enqueue("note", {"text": "too late"})
        release.touch()
        await running.says("released")
        # It had more than one free worker: it would have taken this long before.
        assert "noted" not in running.err
        assert len(await bench.waiting("note")) == 1
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: stopping")
        assert await running.ends() == 0
    assert "noted" not in running.err


async def test_ignored_signals_stay_ignored(bench: Bench) -> None:
    ignoring = ("sh", "-c", 'trap "" HUP INT; exec "$@"', "sh")
    async with program(*at(bench), prefix=ignoring) as running:
        await running.says(READY)
        running.send(signal.SIGHUP)
        running.send(signal.SIGINT)
        await bench.enqueuer.enqueue("note", {"text": "still here"})
        await running.says("noted still here")
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: stopping: no more jobs")
        assert await running.ends() == 0
    assert "SIGHUP" not in running.err
    assert "SIGINT:" not in running.err


async def test_it_names_only_the_signals_that_it_handles(bench: Bench) -> None:
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
    async with program(*at(bench), prefix=ignoring) as running:
        await running.says(READY + "SIGTERM$")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_a_process_that_a_job_forks_has_the_usual_signal_handlers(bench: Bench, loop: str) -> None:
    for name in ("terminate", "terminate_in_thread", "use_a_pool", "tell_handlers"):
        await bench.enqueuer.enqueue(name)
    async with program(*at(bench, "forks:pool"), env={"ASYNCWORK_LOOP": loop}) as running:
        await running.says("ended by -15", times=6)
        await running.says(r"computed \[1, 2\]", times=2)
        logged = await running.says("handlers: (.*?)  job=")
        usual = ", ".join(f"{name} as usual" for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP"))
        assert logged[1] == f"{usual}, wakeup -1, mask set(), grandchild 0"
        await running.says(r"mask: set\(\), ours: 1")
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: stopping")
        assert await running.ends() == 0


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_a_third_signal_exits_even_when_the_loop_is_blocked(bench: Bench, loop: str) -> None:
    await bench.enqueuer.enqueue("block")
    async with program(*at(bench), "--log-format", "json", env={"ASYNCWORK_LOOP": loop}) as running:
        await running.says("blocking")
        running.send(signal.SIGINT)
        # That nothing happens is what is waited for; the second signal says so only after a second, by the clock of the
        # other process.
        await asyncio.sleep(3)
        running.send(signal.SIGINT)
        await running.says("SIGINT: a job blocks the event loop, which cannot stop; a third signal exits at once")
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: exiting at once; another pool, or the next start, requeues running jobs")
        assert await running.ends() == 1
    assert {record["logger"] for record in running.records} <= {"asyncwork.cli", "asyncwork", "shop"}
    # As after any other crash: the next pool finds it.
    other = bench.pool()
    ran = []

    @other.job("block")
    async def block() -> None:
        ran.append(1)

    async def is_alone() -> bool:
        return bool(await bench.redis.scard(bench.keys.worker_pools) == 1)

    async with other.running():
        await until(lambda: ran)
        await until(is_alone)


@pytest.mark.parametrize(
    ("name", "loop"),
    [
        ("hold in thread", "asyncio"),
        ("hold in thread", "auto"),
        ("hold_in_executor", "asyncio"),
        ("hold_in_executor", "auto"),
        ("ignore_cancellation", ""),
    ],
)
async def test_a_job_that_does_not_end_does_not_keep_the_process(bench: Bench, name: str, loop: str) -> None:
    await bench.enqueuer.enqueue(name)
    async with program(*at(bench), "--grace", "0", env={"ASYNCWORK_LOOP": loop}) as running:
        await running.says("holding")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0
    assert "stopped after" in running.err
    if name == "ignore_cancellation":
        assert "exiting although a cancelled task has not ended: <WorkerTask" in running.err
    else:
        found = re.search(r"exiting although thread .* has not ended[.] Its stack:\n((?: {4}.*\n)+)", running.err)
        assert found is not None
        assert "shop.py" in found[1]
    assert len(await bench.waiting(name)) == 1


# Bursts


async def test_a_burst_ends_when_the_queues_are_empty(bench: Bench) -> None:
    await bench.enqueuer.enqueue_many(("note", {"text": f"<{n}>"}) for n in range(200))
    await bench.enqueuer.enqueue("fail")
    await bench.enqueuer.enqueue("note", {"text": "<overdue>"}, at=1_000_000_000)
    await bench.enqueuer.enqueue("note", {"text": "<later>"}, delay=1000)
    code, _, err = await run(*at(bench), "--burst")
    assert code == 0
    assert sorted(re.findall(r"noted <(\w+)>", err)) == sorted([*map(str, range(200)), "overdue"])
    assert "the queues are empty" in err
    assert "; jobs done: 201, failed attempts: 1" in err
    assert len(await bench.job_set("dead")) == 1
    assert len(await bench.job_set("scheduled")) == 1


async def test_a_signal_ends_a_burst(bench: Bench, tmp_path: Path) -> None:
    release = tmp_path / "release"
    await bench.enqueuer.enqueue("hold", {"release": str(release)})
    async with program(*at(bench), "--burst") as running:
        await running.says("holding")
        running.send(signal.SIGTERM)
        await running.says("SIGTERM: stopping")
        release.touch()
        assert await running.ends() == 0
    assert "released" in running.err


async def test_jobs_of_a_program_that_has_none_of_our_code(bench: Bench) -> None:
    head = '{"name":"note","id":"0123456789abcdef%s","t":1700000000,"args":{"text":"%s"}}'
    await bench.redis.lpush(f"{bench.namespace}:jobs:note", head % ("01234567", "from afar"))
    await bench.redis.lpush(f"{bench.namespace}:jobs:note", head % ("01234568", "Gr\\u00fc\\u00dfe"))
    await bench.redis.sadd(f"{bench.namespace}:known_jobs", "note")
    code, _, err = await run(*at(bench), "--burst")
    assert code == 0
    assert "noted from afar  job=note id=0123456789abcdef01234567" in err
    assert "noted Grüße  job=note id=0123456789abcdef01234568" in err
    assert await bench.waiting("note") == []


# Defects


async def test_a_defect_of_the_pool_is_exit_code_1(bench: Bench) -> None:
    await bench.enqueuer.enqueue("break_the_pool")
    code, _, err = await run(*at(bench))
    assert code == 1
    assert "ZeroDivisionError: the clock is broken" in err
    assert err.count("Traceback") >= 1
    assert "failed: ZeroDivisionError: the clock is broken" in err.splitlines()[-1]
    assert len(await bench.waiting("break_the_pool")) == 1


async def test_a_pool_that_ends_without_a_signal_is_exit_code_1(bench: Bench) -> None:
    await bench.enqueuer.enqueue("cancel_the_pool")
    code, _, err = await run(*at(bench))
    assert code == 1
    assert "failed: the pool ended without a signal" in err.splitlines()[-1]
    assert len(await bench.waiting("cancel_the_pool")) == 1


# An embedded Redis


async def test_embedded_runs_on_a_redis_of_its_own_and_keeps_the_data(tmp_path: Path) -> None:
    directory = tmp_path / "its own"
    command = ("run", "shop:pool", "--embedded", str(directory))
    async with program(*command) as running:
        pid = int((await running.says(r"started a Redis server, process (\d+), which keeps its data in"))[1])
        url = (await running.says("Redis at (unix://.*), namespace"))[1]
        await running.says(READY)
        code, _, err = await run("enqueue", "note", '{"text": "hello"}', "--redis", url, "--namespace", "as-made")
        assert (code, err) == (0, "")
        await running.says("noted hello")
        running.send(signal.SIGTSTP)
        await running.says("quiet")
        await run("enqueue", "note", '{"text": "kept"}', "--redis", url, "--namespace", "as-made")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0
    assert "noted kept" not in running.err
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    async with program(*command) as running:
        await running.says("noted kept")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0
    async with EmbeddedRedis(directory) as server:
        assert await audit(server.url, "as-made") == []


@pytest.mark.parametrize("order", [("--embedded", "shop:pool"), ("shop:pool", "--embedded")])
async def test_embedded_needs_no_directory(tmp_path: Path, order: tuple[str, str]) -> None:
    code, _, err = await run(
        *("run", *order, "--burst"),
        cwd=tmp_path,
        env={"PYTHONPATH": str(APPS), "ASYNCWORK_REDIS": "redis://elsewhere"},
    )
    assert code == 0
    assert f"which keeps its data in {tmp_path / '.asyncwork'}" in err
    assert (tmp_path / ".asyncwork" / "redis.conf").exists()
    assert "elsewhere" not in err


async def test_embedded_in_a_directory_that_is_in_use(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, appendonly=False):
        code, _, err = await run("run", "shop:pool", "--embedded", str(tmp_path))
    assert code == 3
    assert f"asyncwork run: {tmp_path} is in use by an EmbeddedRedis of process {os.getpid()}" in err
    assert "Traceback" not in err


async def test_embedded_without_a_redis_server(tmp_path: Path) -> None:
    env = {"ASYNCWORK_REDIS_SERVER": "/no/such/server"}
    code, _, err = await run("run", "shop:pool", "--embedded", str(tmp_path), env=env)
    assert code == 3
    assert "asyncwork run: ASYNCWORK_REDIS_SERVER is '/no/such/server', which is not a program" in err
    assert "Traceback" not in err


async def test_a_signal_while_the_redis_starts(tmp_path: Path) -> None:
    server = tmp_path / "slow"
    server.write_text(f'#!/bin/sh\nsleep 1000 &\necho "$!" > {tmp_path}/pid\nexec {find_redis_server()} --port 0\n')
    server.chmod(0o700)
    async with program(
        *("run", "shop:pool", "--embedded", str(tmp_path / "data")), env={"ASYNCWORK_REDIS_SERVER": str(server)}
    ) as running:
        await until((tmp_path / "pid").exists)
        running.send(signal.SIGINT)
        await running.says("SIGINT: stopping before the pool has started")
        assert await running.ends() == 0
    assert "running up to" not in running.err


# The loop


LOOPS: list[tuple[tuple[str, ...], str, str]] = [
    ((), "", "uvloop"),
    ((), "auto", "uvloop"),
    ((), "asyncio", "asyncio.unix_events"),
    (("--loop", "asyncio"), "uvloop", "asyncio.unix_events"),
    (("--loop", "uvloop"), "asyncio", "uvloop"),
    (("--loop", "asyncio", "--processes", "2"), "uvloop", "asyncio.unix_events"),
    (("--processes", "2"), "", "uvloop"),
]


@pytest.mark.parametrize(("options", "variable", "module"), LOOPS)
async def test_the_event_loop_is_chosen_and_named(
    bench: Bench, options: tuple[str, ...], variable: str, module: str
) -> None:
    pytest.importorskip("uvloop")
    await bench.enqueuer.enqueue("tell_loop")
    code, _, err = await run(*at(bench), "--burst", *options, env={"ASYNCWORK_LOOP": variable})
    assert code == 0
    assert f"the loop is of {module}" in err
    assert re.search(
        rf"starting shop:pool in process \d+, asyncwork \S+, on {module.partition('.')[0]}( |$)", err, re.MULTILINE
    )


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
async def test_an_event_loop_that_is_not_installed_is_a_usage_error(
    bench: Bench, tmp_path: Path, options: tuple[str, ...]
) -> None:
    # An entry of None keeps the module from being found, in children too.
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["uvloop"] = None\n')
    hidden = {"PYTHONPATH": str(tmp_path)}
    await bench.enqueuer.enqueue("tell_loop")
    code, _, err = await run(*at(bench), "--burst", "--loop", "uvloop", *options, env=hidden)
    assert code == 2
    assert "--loop: uvloop is not installed: pip install 'asyncwork[uvloop]', or use auto or asyncio" in err
    code, _, err = await run(*at(bench), "--burst", *options, env=hidden)
    assert code == 0
    assert "the loop is of asyncio.unix_events" in err


@pytest.mark.parametrize("loop", ["asyncio", "auto"])
async def test_nothing_is_left_unclosed(bench: Bench, loop: str) -> None:
    await bench.enqueuer.enqueue("note", {"text": "hello"})
    async with program(*at(bench), "--burst", python=("-X", "dev"), env={"ASYNCWORK_LOOP": loop}) as running:
        assert await running.ends() == 0
    assert "noted hello" in running.err
    assert "Warning" not in running.err
    assert "Exception ignored" not in running.err


# Log lines


async def test_every_line_of_a_job_names_it_in_text(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("log_variously")
    async with program(*at(bench), "--burst") as running:
        assert await running.ends() == 0
    label = f"  job=log_variously id={job.id}"
    lines = running.err.splitlines()
    assert [
        line for line in lines if not re.match(r"    |\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Z]{4,5} +[\w.]+  ", line)
    ] == []
    for text in (
        f"WARN  shop  two{label}\n    lines\n",
        f"INFO  shop  lone surrogate \\ud800{label}\n",
        f"INFO  shop  beyond 64 bits{label} rows={2**70} table='my orders'\n",
        f"INFO  shop  escape \\x1b[31m{label} rows=5\n",
        "INFO  shop  'badly formatted: %d' cannot be formatted with ('text',): ",
        f"INFO  another  of another logger{label}\n",
        f"ERROR shop  caught{label}\n    Traceback (most recent call last):\n",
        "    KeyError: 'missing'\n",
        f"INFO  shop  in a thread{label}\n",
    ):
        assert text in running.err
    assert "job=" not in running.err.split("stopped after")[1]
    assert running.out == "printed\n"


async def test_every_line_of_a_job_names_it_in_json(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("log_variously")
    failed = await bench.enqueuer.enqueue("fail", {"text": "one\ntwo"})
    before = datetime.now(UTC)
    async with program(*at(bench), "--burst", "--log-format", "json", env={"PYTHONIOENCODING": "ascii"}) as running:
        assert await running.ends() == 0
    records = running.records
    for record in records:
        assert {"ts", "level", "logger", "message"} <= set(record)
        assert before.replace(microsecond=0) <= datetime.fromisoformat(record["ts"]) <= datetime.now(UTC)
        assert record["ts"].endswith("Z")
    by_logger = [record for record in records if record["logger"] in ("shop", "another")]
    assert len(by_logger) == 8
    assert {(record["job_name"], record["job_id"]) for record in by_logger} == {("log_variously", job.id)}
    messages = {record["message"]: record for record in by_logger}
    assert messages["two\nlines"]["level"] == "WARNING"
    assert "lone surrogate \\ud800" in messages
    assert messages["beyond 64 bits"]["rows"] == str(2**70)
    assert messages["beyond 64 bits"]["table"] == "my orders"
    assert messages["escape \x1b[31m"]["rows"] == 5
    assert messages["caught"]["exception"].endswith("KeyError: 'missing'")
    (death,) = [record for record in records if record["logger"] == "asyncwork.job"]
    assert (death["level"], death["job_name"], death["job_id"]) == ("ERROR", "fail", failed.id)
    assert "ValueError: one\ntwo" in death["exception"]
    assert "job_id" not in records[0]


async def test_warnings_are_logged(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("warn")
    async with program(*at(bench), "--burst", "--log-format", "json", env={"PYTHONWARNINGS": "default"}) as running:
        assert await running.ends() == 0
    (record,) = [record for record in running.records if record["logger"] == "py.warnings"]
    assert "DeprecationWarning: that is old" in record["message"]
    assert record["job_id"] == job.id


async def test_what_is_printed_is_seen_at_once(bench: Bench) -> None:
    async with program(*at(bench)) as running:
        await bench.enqueuer.enqueue("log_variously")
        await until(lambda: running.out == "printed\n")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (3.25, "3.2 s"),
        (25, "25 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (90_061, "1 d 1 h 1 min 1 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert times.duration(seconds) == text


def test_job_options_are_shown_where_they_differ() -> None:
    pool = WorkerPool("redis://localhost")

    def slowly(job: object) -> float:
        return 5

    pool.job("a", skip_dead=True, backoff=slowly)(lambda: None)
    pool.job("b")(lambda: None)
    assert summary.jobs(pool) == "a (skip_dead=True, backoff=slowly), b"


# Enqueueing


async def enqueue(bench: Bench, *arguments: str, **environment: str) -> str:
    """Enqueue by the command line; return what it prints."""
    code, out, err = await run(
        *("enqueue", *arguments),
        env={"ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace, **environment},
    )
    assert code == 0
    assert err in ("", NO_POOL.format(bench.namespace))
    assert out.count("\n") == 1
    return out


NO_POOL = "asyncwork enqueue: no pool is running in namespace '{}': start one with `asyncwork run APP`\n"


async def test_enqueue_then_run(bench: Bench) -> None:
    out = await enqueue(bench, "note", '{"text": "hello"}')
    found = re.fullmatch(r"([0-9a-f]{24}) note waits for a pool that handles it\n", out)
    assert found is not None
    code, _, err = await run(*at(bench), "--burst")
    assert code == 0
    assert f"noted hello  job=note id={found[1]}" in err


async def test_enqueue_reports_whether_a_pool_handles_the_name(bench: Bench) -> None:
    pool = bench.pool()
    pool.job("welcome")(lambda: None)
    await pool.start()
    location = ("--redis", bench.url, "-n", bench.namespace)
    code, out, err = await run("enqueue", "welcome", *location)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"[0-9a-f]{24} welcome runs as soon as a worker is free\n", out)
    await pool.quiet()
    async with Client(bench.url, namespace=bench.namespace) as client:

        async def is_quiet() -> bool:
            return [each.state for each in await client.heartbeats()] == ["quiet"]

        await until(is_quiet)
    code, out, err = await run("enqueue", "welcome", *location)
    assert code == 0
    assert re.fullmatch(r"[0-9a-f]{24} welcome waits for a pool that fetches it\n", out)
    assert err == "asyncwork enqueue: each pool that handles 'welcome' is quiet, so no job is fetched\n"
    code, out, err = await run("enqueue", "welcom", *location)
    assert code == 0
    assert re.fullmatch(r"[0-9a-f]{24} welcom waits for a pool that handles it\n", out)
    assert err == "asyncwork enqueue: no running pool handles 'welcom'. Did you mean 'welcome'?\n"
    await pool.stop()
    assert len(await bench.waiting("welcom")) == 1
    # A pool that ended without unregistering is not running either.
    await bench.redis.sadd(bench.keys.worker_pools, "gone")
    await bench.redis.hset(bench.keys.heartbeat("gone"), mapping={"heartbeat_at": 1, "job_names": "welcom"})
    code, out, err = await run("enqueue", "welcom", *location)
    assert (code, err) == (0, NO_POOL.format(bench.namespace))
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat("gone"))


async def test_enqueue_by_a_user_that_may_not_read(bench: Bench) -> None:
    user = f"writer-{bench.namespace}"
    allowed = ("+@connection", "+lpush", "+sadd", "+multi", "+exec", "+evalsha", "+eval", "+script|load")
    await bench.redis.execute_command("ACL", "SETUSER", user, "on", ">any", "~*", *allowed)
    url = bench.url.replace("unix://", f"unix://{user}:any@")
    code, out, err = await run("enqueue", "wat", "--redis", url, "-n", bench.namespace)
    assert (code, err) == (0, "")
    assert out.endswith(" wat runs as soon as a worker is free\n")
    await bench.redis.execute_command("ACL", "DELUSER", user)


async def test_a_periodic_job_without_a_handler_is_bad_usage(bench: Bench, tmp_path: Path) -> None:
    source = "from asyncwork import WorkerPool\npool = WorkerPool()\npool.periodically('@hourly', 'rebuild')\n"
    (tmp_path / "late.py").write_text(source)
    code, _, err = await run(*at(bench, "late:pool"), cwd=tmp_path)
    assert code == 2
    assert "asyncwork run: the periodic job 'rebuild' has no handler in this pool, which handles nothing" in err
    assert "Traceback" not in err


async def test_run_takes_the_short_option_for_the_namespace(bench: Bench) -> None:
    code, _, err = await run("run", "shop:pool", "--burst", "--redis", bench.url, "-n", bench.namespace)
    assert code == 0
    assert f"namespace '{bench.namespace}'" in err


async def test_cancel(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat")
    location = ("--redis", bench.url, "-n", bench.namespace)
    code, out, err = await run("cancel", job.id, "--reason", "no need", *location)
    assert (code, out, err) == (0, f"job {job.id} is cancelled: it was waiting, and is deleted\n", "")
    assert not await bench.waiting("wat")
    code, out, err = await run("cancel", job.id, *location)
    assert (code, err) == (1, "")
    assert out == f"job {job.id} is gone: it has ended, or never was in this namespace\n"
    await bench.redis.lpush(
        bench.keys.in_progress("wat", "p"), json.dumps({"name": "wat", "id": "1", "t": 1, "args": None})
    )
    await bench.redis.hset(bench.keys.lock_info("wat"), "p", 1)
    code, out, err = await run("cancel", "1", *location)
    assert (code, out, err) == (0, "job 1 is asked to end: it runs, or will not start\n", "")
    await bench.redis.delete(bench.keys.in_progress("wat", "p"), bench.keys.lock_info("wat"), bench.keys.cancels)


async def test_enqueue_without_arguments(bench: Bench) -> None:
    await enqueue(bench, "wat")
    (payload,) = await bench.waiting("wat")
    assert json.loads(payload)["args"] is None


async def test_enqueue_keeps_every_value_exact(bench: Bench) -> None:
    text = (
        '{"big":123456789012345678901234567890,"float":0.1,"whole":1.0,"tiny":5e-324,"text":"Grüße \\"x\\"","no":null}'
    )
    await enqueue(bench, "wat", text)
    (payload,) = await bench.waiting("wat")
    assert b'"args":' + text.encode() in payload


async def test_enqueue_with_a_delay(bench: Bench) -> None:
    before = int(time.time())
    out = await enqueue(bench, "wat", "{}", "--delay", "300.2", TZ="Europe/Berlin")
    ((payload, score),) = await bench.job_set("scheduled")
    assert before + 301 <= score <= time.time() + 301
    found = re.fullmatch(
        r"([0-9a-f]{24}) wat is due at (\S+[+]0[12]:00), in 5 min 1 s, and waits for a pool that handles it\n", out
    )
    assert found is not None
    assert json.loads(payload)["id"] == found[1]
    assert datetime.fromisoformat(found[2]).timestamp() == score


@pytest.mark.parametrize(
    "when", ["2033-05-18T05:33:20+02:00", "2033-05-18T03:33:20Z", "2033-05-18 03:33:19.5+00:00", "2000000000"]
)
async def test_enqueue_at(bench: Bench, when: str) -> None:
    out = await enqueue(bench, "wat", "--at", when, TZ="UTC")
    ((_, score),) = await bench.job_set("scheduled")
    assert score == 2_000_000_000
    assert " wat is due at 2033-05-18T03:33:20+00:00, in " in out


@pytest.mark.parametrize("when", [("--at", "2001-01-01T00:00:00Z"), ("--delay", "0")])
@pytest.mark.parametrize("unique", [(), ("--unique",)])
async def test_a_time_that_is_past_is_now(bench: Bench, when: tuple[str, str], unique: tuple[str]) -> None:
    assert " note waits for a pool " in await enqueue(bench, "note", '{"text": "now"}', *when, *unique)
    code, _, err = await run(*at(bench), "--burst")
    assert code == 0
    assert "noted now" in err


async def test_enqueue_unique(bench: Bench) -> None:
    assert "waits for a pool" in await enqueue(bench, "wat", '{"a": 1}', "--unique", "--id", "first")
    out = await enqueue(bench, "wat", '{"a": 1}', "--unique")
    assert out == "duplicate: first wat with these arguments is already waiting; nothing was enqueued\n"
    assert out == await enqueue(bench, "wat", '{"a": 1}', "--unique", "--delay", "5")
    assert len(await bench.waiting("wat")) == 1


async def test_enqueue_a_duplicate_of_gocraft_works_job(bench: Bench) -> None:
    await bench.redis.set(f"{bench.namespace}:unique:wat:", 1, ex=60)
    out = await enqueue(bench, "wat", "--unique")
    assert out == "duplicate: a job wat with these arguments is already waiting; nothing was enqueued\n"
    await bench.redis.delete(f"{bench.namespace}:unique:wat:")


async def test_enqueue_unique_by_a_key(bench: Bench) -> None:
    by_user = ("--unique-by", '{"user": 123456789012345678901234567890}')
    out = await enqueue(bench, "note", '{"text": "older"}', *by_user, "--id", "first")
    assert out == "first note waits for a pool that handles it\n"
    out = await enqueue(bench, "note", '{"text": "newer"}', *by_user)
    assert out == "duplicate: first note with this key is already waiting, and will run with the new arguments\n"
    out = await enqueue(bench, "note", '{"text": "another"}', "--unique-by", '{"user": 123456789012345678901234567891}')
    assert out.endswith(" note waits for a pool that handles it\n")
    code, _, err = await run(*at(bench), "--burst")
    assert code == 0
    assert sorted(re.findall(r"noted (\w+)", err)) == ["another", "newer"]


async def test_enqueue_at_the_front_with_an_id(bench: Bench) -> None:
    await enqueue(bench, "wat", '{"n": 2}')
    out = await enqueue(bench, "wat", '{"n": 1}', "--front", "--id", "order-7")
    assert out == "order-7 wat is at the front of its queue, and waits for a pool that handles it\n"
    assert [json.loads(payload)["args"] for payload in await bench.waiting("wat")] == [{"n": 1}, {"n": 2}]
    await bench.redis.delete(bench.keys.queue("wat"))
    pool = bench.pool()
    pool.job("wat")(lambda: None)
    await pool.start()
    out = await enqueue(bench, "wat", "--front", "--id", "order-8")
    assert out == "order-8 wat is at the front of its queue, and runs as soon as a worker is free\n"
    await pool.stop()


async def test_enqueue_unique_at_a_time(bench: Bench) -> None:
    await enqueue(bench, "wat", "--unique", "--at", "2000000000")
    ((payload, score),) = await bench.job_set("scheduled")
    assert json.loads(payload)["unique"] is True
    assert score == 2_000_000_000


async def test_enqueue_takes_options_before_the_environment(bench: Bench) -> None:
    code, _, err = await run(
        *("enqueue", "wat", "--redis", bench.url, "--namespace", bench.namespace),
        env={"ASYNCWORK_REDIS": NO_REDIS, "ASYNCWORK_NAMESPACE": "elsewhere"},
    )
    assert (code, err) == (0, NO_POOL.format(bench.namespace))
    assert len(await bench.waiting("wat")) == 1


async def test_the_default_namespace_is_work(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, appendonly=False) as server:
        code, _, _ = await run("enqueue", "wat", env={"ASYNCWORK_REDIS": server.url})
        assert code == 0
        async with Redis.from_url(server.url) as redis:
            assert await redis.llen("work:jobs:wat") == 1


FULL_DISK = ("sh", "-c", 'exec "$@" > /dev/full', "sh")
NOT_PRINTED = "standard output cannot be written: [Errno 28] No space left on device"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_job_is_enqueued_although_standard_output_is_full(bench: Bench) -> None:
    arguments = ("enqueue", "wat", "--unique", "--redis", bench.url, "--namespace", bench.namespace)
    code, _, err = await run(*arguments, prefix=FULL_DISK)
    (payload,) = await bench.redis.lrange(bench.keys.queue("wat"), 0, -1)
    job_id = json.loads(payload)["id"]
    assert (code, err) == (4, f"asyncwork enqueue: job {job_id} wat is enqueued, but {NOT_PRINTED}\n")
    code, _, err = await run(*arguments, prefix=FULL_DISK)
    assert code == 4
    assert err == (
        f"asyncwork enqueue: duplicate: {job_id} wat with these arguments is already waiting; nothing was enqueued, "
        f"but {NOT_PRINTED}\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("option", [(), ("--json",)])
async def test_the_doctor_has_examined_although_standard_output_is_full(bench: Bench, option: tuple[str, ...]) -> None:
    arguments = ("doctor", "--redis", bench.url, "--namespace", bench.namespace, *option)
    code, _, err = await run(*arguments, prefix=FULL_DISK)
    assert (code, err) == (4, f"asyncwork doctor: namespace {bench.namespace} was examined, but {NOT_PRINTED}\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_the_web_ui_runs_although_standard_output_is_full(bench: Bench) -> None:
    arguments = ("web", "--redis", bench.url, "--namespace", bench.namespace, "--listen", "127.0.0.1:0")
    async with program(*arguments, prefix=FULL_DISK) as running:
        await running.says(rf"http://127\.0\.0\.1:\d+/ shows namespace .*, but {re.escape(NOT_PRINTED)}")
        running.send(signal.SIGTERM)
        assert await running.ends() == 0
    assert "Traceback" not in running.err


async def test_a_reader_that_has_gone_away_is_no_traceback(bench: Bench) -> None:
    closed = ("sh", "-c", 'exec 3>&1; { "$@"; echo $? >&3; } | true', "sh")
    arguments = ("enqueue", "wat", "--redis", bench.url, "--namespace", bench.namespace)
    _, out, err = await run(*arguments, prefix=closed)
    assert out == "4\n"
    assert err.endswith("is enqueued, but standard output cannot be written: [Errno 32] Broken pipe\n")
    assert err.count("\n") == 1


async def test_redis_refuses(bench: Bench) -> None:
    await bench.redis.set(bench.keys.queue("wat"), "no list")
    code, out, err = await run("enqueue", "wat", "--redis", bench.url, "--namespace", bench.namespace)
    assert (code, out) == (3, "")
    assert "WRONGTYPE" in err
    assert "Traceback" not in err
    await bench.redis.delete(bench.keys.queue("wat"))
