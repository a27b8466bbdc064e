"""`asyncwork stats`, once and again and again, and `asyncwork top` on a pseudo terminal."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from asyncwork import Client
from asyncwork.cli.dev.record import DIRECTORY, DevFile, DevRecord
from asyncwork.cli.progress_bar import ProgressBar, progress
from asyncwork.cli.screen import Screen, keys_in
from asyncwork.cli.table import Column, Row, table
from asyncwork.cli.terminal import cells, fit
from asyncwork.embedded import EmbeddedRedis

from .conftest import LIMIT, Bench, until
from .terminals import terminal
from .test_cli import NO_REDIS, Here, check_bad_usage, here, program, run
from .test_cli_queues import on

__all__ = ["here"]

pytestmark = pytest.mark.processes

QUIT = "q"
UP, DOWN, RIGHT, LEFT, ESCAPE, ENTER = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b", "\r"


@pytest.fixture
async def busy(bench: Bench) -> AsyncIterator[Bench]:
    """A namespace with a pool that runs a job, and queues with jobs that no pool runs."""
    pool = bench.pool(concurrency=3, version_label="v1.4.2")

    @pool.job(max_concurrency=2)
    async def hang(n: int) -> None:
        await asyncio.Event().wait()

    @pool.job(max_fails=1)
    async def fail() -> None:
        raise ValueError("no customer")

    async with pool.running():
        for count, name in enumerate(["one", "two", "three\x1b[31m"], 1):
            for number in range(count):
                await bench.enqueuer.enqueue(name, {"n": number})
        await bench.enqueuer.enqueue("hang", {"n": 1}, id="hangs")
        await bench.enqueuer.enqueue("fail")
        await bench.enqueuer.enqueue("one", delay=3600)
        async with Client(bench.url, namespace=bench.namespace) as client:

            async def ready() -> bool:
                sizes, busy = (await client.overview()).sizes, await client.observations()
                return (sizes.dead, len(busy)) == (1, 1) and (await client.recent())["fail"].failed == 1

            await until(ready)
        yield bench
        async with Client(bench.url, namespace=bench.namespace) as client:
            await client.cancel("hangs")


# stats


async def test_stats(busy: Bench) -> None:
    code, out, err = await run("stats", *on(busy))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"namespace {busy.namespace} of {busy.url}, Redis ")
    assert lines[1] == "1 pool with 3 workers, 1 busy, 6 queued, 0 retry, 1 scheduled, 1 dead"
    assert "\x1b" not in out
    for pattern in (
        r"^QUEUE +WAITING +LATENCY +RUNNING +RATE/MIN +FAILED +LIMIT +POOLS +STATE$",
        r"^fail +0 +- +0 +\d\.\d +1 +- +1$",
        r"^hang +0 +- +1 +0 +0 +2 +1$",
        r"^three\\x1b\[31m +3 +\d.* +0 +0 +0 +- +0 +no pool$",
        r"^POOL +HOST +PID +STATE +BUSY +UP +RUNNER +VERSION$",
        r"^[0-9a-f]{24} +\S+ +\d+ +running +1/3 +\d.* +asyncwork \S+ +v1\.4\.2$",
        r"^problem: no running pool has a handler for one, so its jobs do not run \(1 waiting\)$",
    ):
        assert re.search(pattern, out, re.MULTILINE), pattern


async def test_stats_shows_ten_problems(bench: Bench) -> None:
    for number in range(12):
        await bench.enqueuer.enqueue(f"name-{number}")
    async with bench.pool().running():
        _, out, _ = await run("stats", *on(bench))
        _, document, _ = await run("stats", "--json", *on(bench))
    assert out.count("\nproblem: ") == 10
    assert out.splitlines()[-1] == "2 more problems: `asyncwork doctor` shows all"
    assert len(json.loads(document)["problems"]) == 12


async def test_stats_as_json(busy: Bench) -> None:
    code, out, err = await run("stats", "--json", *on(busy))
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document.keys() == {"namespace", "redis", "at", "sizes", "queues", "pools", "problems", "server"}
    assert document["sizes"] == {"queued": 6, "busy": 1, "retry": 0, "scheduled": 1, "dead": 1, "quarantine": 0}
    queues = {queue["name"]: queue for queue in document["queues"]}
    assert queues.keys() == {"one", "two", "three\x1b[31m", "hang", "fail"}
    assert (queues["hang"]["running"], queues["hang"]["max_concurrency"], queues["fail"]["failed"]) == (1, 2, 1)
    (pool,) = document["pools"]
    assert (pool["busy"], pool["concurrency"], pool["state"], pool["pid"]) == (1, 3, "running", os.getpid())
    assert {each["kind"] for each in document["problems"]} == {"no_workers"}


async def test_an_empty_namespace(bench: Bench) -> None:
    code, out, _ = await run("stats", *on(bench))
    assert code == 0
    assert out.splitlines()[1:] == [
        "0 pools with 0 workers, 0 busy, 0 queued, 0 retry, 0 scheduled, 0 dead",
        "",
        "no queues: no job was enqueued, and no pool has started",
    ]


async def test_stats_again_and_again(busy: Bench) -> None:
    async with program("stats", "--watch", "0.1", "--json", *on(busy)) as running:
        await until(lambda: running.out.count("\n") >= 3)
        running.send(signal.SIGINT)
        assert await running.ends() == 130
    assert running.err == ""
    assert all(json.loads(line)["namespace"] == busy.namespace for line in running.out.splitlines())
    async with terminal("stats", "--watch", "0.1", *on(busy)) as shown:
        await until(lambda: shown.text.count("\x1b[H\x1b[2J") >= 3)
        shown.type("\x03")
        assert await shown.ends() == 130
    assert "Traceback" not in shown.text


BAD_USAGE = [
    ("stats now", "unrecognized arguments: now"),
    ("stats --watch soon", "--watch: a number of seconds is needed, not 'soon'"),
    ("stats --watch 0", "--watch: it must be from 0.1 to 86400 seconds, not 0"),
    ("stats --redis http://x", "--redis: not a Redis URL"),
    ("top --interval nan", "--interval: it must be zero or more seconds, not nan"),
    ("top", "asyncwork top: top needs a terminal; `asyncwork stats` prints the same once"),
    ("completion", "asyncwork completion: name a shell: bash, zsh, fish"),
    ("completion tcsh", "argument SHELL: invalid choice: 'tcsh'"),
]


@pytest.mark.parametrize(("line", "message"), BAD_USAGE, ids=[line for line, _ in BAD_USAGE])
def test_bad_usage(here: Here, line: str, message: str) -> None:
    check_bad_usage(here, line, message)


# top


async def test_top_refuses_a_terminal_without_a_cursor(bench: Bench) -> None:
    async with terminal("top", *on(bench), env={"TERM": "dumb"}) as shown:
        assert await shown.ends() == 2
    assert (
        "top needs a terminal with a cursor, and TERM is 'dumb'; `asyncwork stats` prints the same once" in shown.text
    )


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (30, 8)])
async def test_top_fits_into_the_terminal(busy: Bench, columns: int, lines: int) -> None:
    async with terminal("top", *on(busy), columns=columns, lines=lines) as shown:
        await shown.says("^namespace ", last=True)
        await shown.says("^q quit", last=True)
        assert len(shown.screen) == lines
        assert max(map(cells, shown.screen)) <= columns
        shown.type(QUIT)
        assert await shown.ends() == 0
    assert shown.is_restored()
    assert "\x1b[31m " not in shown.text


async def test_top_sorts_and_shows_details(busy: Bench) -> None:
    async with terminal("top", *on(busy), columns=100) as shown:
        await shown.says(r"^QUEUE +WAITINGv .*\nthree.*\ntwo.*\none", last=True)
        shown.type(LEFT)
        await shown.says(r"^QUEUE\^ +WAITING .*\nfail.*\nhang.*\none", last=True)
        shown.type("r")
        await shown.says(r"^QUEUEv +WAITING .*\ntwo.*\nthree", last=True)
        shown.type(RIGHT)
        shown.type(RIGHT)
        shown.type(RIGHT)
        await shown.says(r"RUNNINGv .*\nhang ", last=True)
        # The row that was chosen first stays so, wherever it is.
        assert re.search(r"\x1b\[7mthree", shown.text.rpartition("\x1b[H")[2])
        shown.type(UP * 9)
        await shown.says(r"RUNNINGv", last=True)
        shown.type(ENTER)
        await shown.says(r"^RUNNING\nhangs +\d", last=True)
        await shown.says(r"^last 10 minutes: 0 processed, 0 failed$", last=True)
        assert re.search(r"^[0-9a-f]{24} .* running +1/3", "\n".join(shown.screen), re.MULTILINE)
        shown.type(ESCAPE)
        await shown.says(r"^q quit  arrows", last=True)
        shown.type(QUIT)
        assert await shown.ends() == 0
    assert shown.is_restored()


async def test_top_says_why_a_payload_is_no_job(bench: Bench) -> None:
    await bench.enqueuer.enqueue("one", {"n": 1})
    await bench.redis.rpush(bench.keys.queue("one"), b"{")
    async with terminal("top", *on(bench), columns=100) as shown:
        await shown.says(r"^one", last=True)
        shown.type(ENTER)
        await shown.says("^-  -  not JSON", last=True)
        shown.type(QUIT)
        assert await shown.ends() == 0


async def test_top_shows_the_last_hour_of_a_queue_in_blocks(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    async with terminal("top", *on(bench), columns=100) as shown:
        await shown.says(r"^wat ", last=True)
        shown.type(ENTER)
        await shown.says(r"^last 10 minutes: 1 processed, 0 failed, .*\nper minute, for an hour: +█ *$", last=True)
        shown.type(QUIT)
        assert await shown.ends() == 0


async def test_top_pauses_the_chosen_queue(busy: Bench) -> None:
    async with Client(busy.url, namespace=busy.namespace) as client:

        async def paused() -> list[str]:
            return [queue.name for queue in await client.queues() if queue.paused]

        async with terminal("top", *on(busy), columns=100) as shown:
            await shown.says(r"^QUEUE +WAITINGv .*\nthree.*\ntwo", last=True)
            shown.type(DOWN)
            shown.type("p")
            await shown.says(r"^queue two is paused$", last=True)
            await shown.says(r"^two .* paused *$", last=True)
            assert await paused() == ["two"]
            shown.type(ENTER)
            await shown.says(r"^WAITING\n", last=True)
            shown.type("p")
            await shown.says(r"^queue two is not paused$", last=True)
            assert await paused() == []
            shown.type(QUIT)
            assert await shown.ends() == 0


async def test_top_draws_anew_when_the_size_changes(busy: Bench) -> None:
    async with terminal("top", *on(busy), "--interval", "3600") as shown:
        await shown.says("^q quit", last=True)
        shown.resize(100, 10)
        shown.process.send_signal(signal.SIGWINCH)
        await until(lambda: len(shown.screen) == 10)
        shown.type(QUIT)
        assert await shown.ends() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131), (signal.SIGINT, 130)]
)
async def test_a_signal_ends_top_and_restores_the_terminal(busy: Bench, number: int, code: int) -> None:
    async with terminal("top", *on(busy)) as shown:
        await shown.says("^q quit", last=True)
        assert not shown.is_restored()
        shown.process.send_signal(number)
        assert await shown.ends() == code
    assert shown.is_restored()
    assert "Traceback" not in shown.text


async def test_ctrl_c_ends_top(busy: Bench) -> None:
    async with terminal("top", *on(busy)) as shown:
        await shown.says("^q quit", last=True)
        shown.type("\x03")
        assert await shown.ends() == 130
    assert shown.is_restored()


async def test_ctrl_z_suspends_top(busy: Bench) -> None:
    async with terminal("top", *on(busy)) as shown:
        await shown.says("^q quit", last=True)
        shown.process.send_signal(signal.SIGTSTP)
        await until(shown.is_restored)
        shown.process.send_signal(signal.SIGCONT)
        await until(lambda: shown.text.count("\x1b[?1049h") == 2)
        await shown.says("^q quit", last=True)
        shown.type(QUIT)
        assert await shown.ends() == 0
    assert shown.is_restored()


async def test_top_without_redis() -> None:
    async with terminal("top", "--redis", NO_REDIS) as shown:
        assert await shown.ends() == 3
    # It has never left the first screen.
    assert "\x1b[?1049h" not in shown.text
    assert "secret" not in shown.text


async def test_top_goes_on_while_redis_is_away(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, appendonly=False) as server:
        async with terminal("top", "--redis", server.url, "--interval", "0.1", columns=200) as shown:
            await shown.says("^q quit", last=True)
            server.stop()
            await shown.says(r"^not read since \d\d:\d\d:\d\d UTC: ", last=True)
            assert any(line.startswith("namespace work of ") for line in shown.screen)
            shown.type("p")
            shown.type(QUIT)
            assert await shown.ends() == 0
        assert shown.is_restored()


async def test_stats_goes_on_while_redis_is_away(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, appendonly=False) as server:
        async with program("stats", "--watch", "0.1", "--json", "--redis", server.url) as running:
            await until(lambda: running.out)
            server.stop()
            await running.says(r"^asyncwork stats: not read since .* UTC: Redis at ")
            before = running.out
            server.start()
            await until(lambda: running.out != before)
            running.send(signal.SIGINT)
            assert await running.ends() == 130
        assert running.err.count("not read since") == 1


# completion


def complete(line: str, bench: Bench | None = None, env: dict[str, str] | None = None) -> list[str]:
    """The words that complete a command line, of which the last word may be empty."""
    words = line.split(" ")
    more = {"ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace} if bench else {}
    command = (sys.executable, "-m", "asyncwork", "completion", "--words", *words)
    done = subprocess.run(
        command, env={**os.environ, **more, **(env or {})}, capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("asyncwork st", ["stats"]),
        ("asyncwork ", None),
        ("asyncwork jobs r", ["retry", "rm"]),
        ("asyncwork jobs ls d", ["dead"]),
        ("asyncwork jobs -n x ls s", ["scheduled"]),
        ("asyncwork jobs ls dead --nam", ["--name", "--namespace"]),
        ("asyncwork jobs ls dead --wo", []),
        ("asyncwork --", ["--help", "--version"]),
        ("asyncwork completion --", ["--help"]),
        ("asyncwork completion --w", []),
        ("asyncwork stats --color ", ["auto", "always", "never"]),
        ("asyncwork run --log-format j", ["json"]),
        ("asyncwork stats --watch 2 --j", ["--json"]),
        ("asyncwork completion ", ["bash", "zsh", "fish"]),
        ("asyncwork nothing x", []),
        ("asyncwork", []),
        ("asyncwork run ", []),
        ("asyncwork --v", ["--version"]),
    ],
)
def test_completions(line: str, expected: list[str] | None) -> None:
    found = complete(line, env={"ASYNCWORK_REDIS": NO_REDIS})
    if expected is None:
        assert {"run", "enqueue", "job", "cancel", "web", "doctor", "stats", "top", "queues", "jobs"} <= {*found}
    else:
        assert found == expected


async def test_names_of_queues_are_completed(bench: Bench) -> None:
    # A shell would run what is in the last two.
    for name in ("export", "export-big", "send", "$(touch x)", "a;b"):
        await bench.enqueuer.enqueue(name)

    async def completions(line: str) -> list[str]:
        return await asyncio.to_thread(complete, line, bench)

    assert await completions("asyncwork queues pause ") == ["export", "export-big", "send"]
    assert await completions("asyncwork queues pause export s") == ["send"]
    assert await completions("asyncwork enqueue ex") == ["export", "export-big"]
    assert await completions("asyncwork jobs ls queue:s") == ["queue:send"]
    assert await completions("asyncwork jobs ls dead --name s") == ["send"]
    assert await completions("asyncwork queues -n elsewhere pause ") == []
    assert await completions(f"asyncwork queues --redis={NO_REDIS} pause ") == []


async def test_names_of_queues_of_the_development_server_are_completed(bench: Bench, tmp_path: Path) -> None:
    await bench.enqueuer.enqueue("export")
    (tmp_path / DIRECTORY).mkdir(mode=0o700)
    file = DevFile(tmp_path / DIRECTORY)
    file.write(DevRecord(bench.url, bench.namespace, 1))
    code, out, _ = await run("completion", "--words", "asyncwork", "queues", "pause", "", cwd=tmp_path)
    file.close()
    assert (code, out) == (0, "export\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_the_script_of_a_shell(shell: str) -> None:
    code, out, err = await run("completion", shell)
    assert (code, err) == (0, "")
    assert "completion --words" in out


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash on this machine")
async def test_bash_completes(bench: Bench, tmp_path: Path) -> None:
    await bench.enqueuer.enqueue("export")
    (tmp_path / "asyncwork").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m asyncwork "$@"\n')
    (tmp_path / "asyncwork").chmod(0o755)
    script = r"""
        source <(asyncwork completion bash)
        for COMP_LINE in 'asyncwork que' 'asyncwork jobs ls queue:e' 'asyncwork jobs ls dead --na' \
            'asyncwork deletions '; do
            COMP_POINT=${#COMP_LINE}
            _asyncwork
            echo "${COMPREPLY[@]}"
        done
    """
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", script),
        env={**os.environ, "PATH": path, "ASYNCWORK_REDIS": bench.url, "ASYNCWORK_NAMESPACE": bench.namespace},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    # What follows the colon alone, because bash replaces no more.
    assert out.decode().splitlines() == ["queues", "export", "--name --namespace", "ls restore"]


# Progress


class _FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_progress_bar_is_removed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = _FakeTerminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    async with progress("counting") as bar:
        bar.done, bar.total = 50, 200
        await until(lambda: "\rcounting [######                  ] 50/200, " in stderr.getvalue())
    assert stderr.getvalue().endswith("\r\x1b[K")
    # What is done at once shows none.
    stderr.truncate(0)
    async with progress("counting"):
        pass
    assert stderr.getvalue() == ""


async def test_no_progress_bar_without_a_terminal(bench: Bench) -> None:
    code, _, err = await run("jobs", "ls", "dead", "--text", "x", *on(bench))
    assert (code, err) == (0, "")


def test_a_progress_bar() -> None:
    bar = ProgressBar("counting")
    assert bar.line() == "counting, 0 s"
    bar.done = 50
    assert bar.line() == "counting 50, 0 s"
    bar.total = 200
    assert bar.line() == "counting [######                  ] 50/200, 0 s"
    bar.done = 1_000
    assert bar.line() == "counting [########################] 1,000/200, 0 s"


# Texts


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("plain", None, "plain"),
        ("plain", 5, "plain"),
        ("plain", 4, "pla…"),
        ("plain", 1, "…"),
        ("plain", 0, ""),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("a\x1b[2J", None, r"a\x1b[2J"),
        ("a\nb", None, r"a\nb"),
        ("\udcff", None, r"\xff"),
    ],
)
def test_a_text_is_cut_to_cells(
    text: str, width: int | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        assert fit(text, width).replace("~", "…") == expected


def test_a_table_shrinks_what_may_be_cut() -> None:
    columns = [Column("NAME", shrinks=True), Column("N", right=True)]
    rows = [Row(["x" * 40, "1"]), Row(["y", "100"])]
    for width in (16, 20, 45):
        lines = table(columns, rows, width)
        assert max(map(len, lines)) <= width
        assert [line[-1] for line in lines] == ["N", "1", "0"]
    assert table(columns, rows, None)[1] == f"{'x' * 40}    1"


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"\x1b[A", ["up"]),
        (b"\x1bOB", ["down"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[A\x1b[B\r", ["up", "down", "enter"]),
        (b"\x1b[5~q", ["\x1b[5~", "q"]),
        (b"\xff", ["\xff"]),
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    assert keys_in(data) == keys


async def test_a_key_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    keys: list[str] = []
    with open(reading) as stdin, open(writing, "wb", buffering=0) as terminal_end:
        monkeypatch.setattr(sys, "stdin", stdin)
        screen = Screen(keys.append, lambda: None, lambda number: None)
        for part in (b"\x1b", b"[", b"Bp\x1bO", b"A"):
            terminal_end.write(part)
            screen._read()
        assert keys == ["down", "p", "up"]
        # If nothing follows, it was the key.
        terminal_end.write(b"\x1b")
        screen._read()
        assert len(keys) == 3
        await until(lambda: keys[3:] == ["escape"])
