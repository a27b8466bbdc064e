"""The house itself: its public names, its layers, its scripts, what its wheel holds."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import asyncwork
from asyncwork._redis import scripts

ROOT = Path(__file__).parents[1]

PUBLIC = {
    "ArgumentsError", "AsyncworkError", "Backoff", "CallNext", "Client", "Criteria", "Discard",
    "EmbeddedRedisError", "EnqueueManyError", "EnqueuedJob", "Enqueuer", "HandlerError", "Job", "JobArgumentError",
    "JobLogFilter", "JobOptions", "JobRecord", "PayloadError", "Periods", "PoolEndedError", "PoolOptions",
    "RedisUnusable", "Retry", "ScheduleError", "Snooze", "Task", "UsageError", "WorkerPool",
}  # fmt: skip


def test_the_public_names() -> None:
    assert set(asyncwork.__all__) == PUBLIC
    assert all(getattr(asyncwork, name).__doc__ for name in PUBLIC - {"Backoff", "CallNext"})
    assert set(dir(asyncwork)) >= PUBLIC
    with pytest.raises(AttributeError, match="module 'asyncwork' has no attribute 'Pool'"):
        asyncwork.Pool  # type: ignore[attr-defined]  # noqa: B018


def test_each_row_imports_only_from_below() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_opens_with_its_contract(name: str) -> None:
    text = (ROOT / "asyncwork/_redis/lua" / f"{name}.lua").read_text()
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("--"))
    assert text.startswith("-- ")
    for part in ("KEYS ", "ARGV ", "Returns "):
        assert f"\n-- {part}" in f"\n{comment}", part


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_makes_no_key_and_rewrites_no_job(name: str) -> None:
    text = re.sub(r"--.*", "", scripts.source(name))
    assert "cjson.encode" not in text
    assert "ARGV[1] .." not in text
    assert '":' not in text.replace("redis.call('", "")


def test_only_the_scripts_that_are_called_are_there() -> None:
    called = set()
    for path in (ROOT / "asyncwork").rglob("*.py"):
        called |= set(re.findall(r'(?:scripts\.(?:call|head)\(|run_script\([^"]*)"(\w+)"', path.read_text()))
    assert called == set(scripts.names())


def test_the_wheel_holds_the_scripts_and_the_types(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    ours = {
        str(path.relative_to(ROOT)) for path in (ROOT / "asyncwork").rglob("*") if path.suffix in {".py", ".lua", ".sh"}
    }
    assert {"asyncwork/py.typed", "asyncwork/_redis/lua/fetch.lua", *ours} <= held
    assert not any(name.startswith(("tests", "examples", "benchmarks")) for name in held)


TYPES = """
from asyncwork import EnqueuedJob, Job, WorkerPool

class Context:
    pass

pool = WorkerPool(context=Context)

@pool.job
async def send(ctx: Context, job: Job, address: str, subject: str = "x") -> int:
    return 1

@pool.job("resize", priority=2)
def resize(path: str) -> bool:
    return True

async def good() -> None:
    a: EnqueuedJob = await send.enqueue("a", subject="b")
    b: EnqueuedJob | None = await send.enqueue_unique_in(5, "a")
    c: bool = resize("x")
    d: int = await send(Context(), Job(b"", {}), "a")
    n: int = Job(b"", {}).arg("n", int)
    m: int | None = Job(b"", {}).arg("n", int, None)

async def bad() -> None:
    await send.enqueue(5)  # E
    await send.enqueue()  # E
    await send.enqueue("a", sbject="b")  # E
    await send.enqueue_in("soon", "a")  # E
    await resize.enqueue(path=5)  # E
    s: str = resize("x")  # E
    pool.job("x", priority="high")  # E
"""


def test_a_wrong_argument_is_a_type_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(TYPES)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--no-incremental", str(program)]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    found = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    assert found == {number for number, line in enumerate(TYPES.splitlines(), 1) if line.endswith("# E")}, output


def test_the_readmes_application_is_one() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), scope)
    pool = scope["pool"]
    assert isinstance(pool, asyncwork.WorkerPool)
    assert pool.job_names == ["export", "resize", "send_email"]
    assert pool.periodic_jobs == [("0 0 * * * *", "export")]
