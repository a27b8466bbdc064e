"""The package as a whole: its public names, its layers, its sizes, its scripts, what its wheel holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import asyncwork
from asyncwork._redis import scripts

from . import architecture
from .architecture import ROOT

PACKAGE = ROOT / "asyncwork"

PUBLIC = {
    "ArgumentEncodingError", "AsyncworkError", "Backoff", "Batch",
    "BatchEndedError", "BatchFailures", "BatchPage", "BatchResult", "BatchState", "BatchStatus",
    "CallNext", "CancelResult", "Client", "Deletion", "Diagnosis",
    "Deployment", "Discard", "EmbeddedRedisError", "EnqueueManyError", "EnqueuedJob", "Enqueuer", "ErrorKind",
    "ErrorKinds", "FairQueue", "Partition", "QueueFull", "SearchResult", "Tenant",
    "HandlerError", "Heartbeat", "IgnoredArgument", "Job", "ArgumentMismatchError", "JobCounts", "JobLogFilter",
    "JobOptions", "JobQuery", "LostMembers",
    "JobRecord", "Observation", "ActionResult", "Overview", "Page", "PayloadError",
    "PeriodicRun", "PeriodicState", "Tuning", "PoolCounts", "PoolEndedError", "PoolHealth", "PoolOptions", "Problem",
    "QueueInfo",
    "RedisUnavailable", "Repairs", "Retry", "ScheduleError", "ServerInfo", "Sizes", "Snooze", "Task", "UniqueKey",
    "UsageError", "WorkerPool", "error_kind", "Clock", "Extra", "HandlerDecision", "JobDecorator", "Named", "NoContext",
    "OverruledVariable", "Redact", "BoundTask", "EnqueueOptions", "JobCall", "SyncBatch", "SyncBoundTask", "SyncTask",
    "CrashedError", "UnknownJobError", "Resources", "JobCancelled", "JobExpired", "JobFailed", "JobState", "JobStatus",
    "JobAttempt", "NoResultError", "ResultLost", "ResultTimeout", "as_completed", "gather",
    "JobTimeoutError",
    "Progress", "StreamItem", "JobEndedError", "StreamLost", "StreamTimeout",
    "FinishedPage", "PoolRequest", "RunTimes", "Rate", "RateLimited", "Limit", "LimitInfo", "Cost",
    "EventTimeout", "JobStep", "StepError", "Superseded",
    "Unique", "Until", "Conflict", "Debounce", "Throttle", "UniqueConflictError", "UniqueHolder",
    "Flow", "FlowHandle", "FlowNode", "FlowNodes", "FlowRepair", "FlowStatus",
    "Node", "NodeGroup", "NodeState", "Nodes", "SyncFlow",
    "JobFlow",
    "When",
}  # fmt: skip


# Aliases, whose docstring is that of what they stand for.
ALIASES = {"Backoff", "CallNext", "Clock", "Conflict", "Cost", "Extra", "Partition", "Redact", "Resources", "Until"}


def test_the_public_names() -> None:
    assert set(asyncwork.__all__) == PUBLIC
    assert all(getattr(asyncwork, name).__doc__ for name in PUBLIC - ALIASES)
    assert set(dir(asyncwork)) >= PUBLIC
    with pytest.raises(AttributeError, match="module 'asyncwork' has no attribute 'Pool'"):
        asyncwork.Pool  # type: ignore[attr-defined]  # noqa: B018


def test_each_row_imports_only_from_below() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_each_module_is_in_a_row() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    # The package itself, and its command, which is that of asyncwork.cli.
    listed = {module for row in architecture.rows() for module in row.modules} | {"__init__", "__main__"}
    assert found == listed


def test_only_one_package_may_import_redis() -> None:
    (contract,) = (each for each in architecture.contracts() if "redis" in each.get("forbidden_modules", ()))
    modules = {f"asyncwork.{module}" for row in architecture.rows() for module in row.modules}
    assert set(contract["source_modules"]) == modules - {"asyncwork._redis"}


def test_the_architecture_picture_shows_the_contract() -> None:
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.draw(), "run `make architecture`"


def test_the_map_shows_the_contract() -> None:
    described = [module for part in architecture.PARTS for module in part.modules]
    assert sorted(described) == sorted(module for row in architecture.rows() for module in row.modules)
    text = architecture.CONTRIBUTING.read_text(encoding="utf-8")
    assert architecture.replace_map(text) == text, "run `make architecture`"


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/life-of-a-job.md"])
def test_a_document_names_what_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:asyncwork|tests|docs|examples|benchmarks)/[\w./-]*)`", text)
    # The answers of "Find your way", and the modules in the life of a job, are below the package.
    paths += [f"asyncwork/{path}" for path in re.findall(r"\b(_\w+/[\w./]*\w)", text)]
    missing = [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    names = {path.name for path in PACKAGE.rglob("*") if path.suffix in {".py", ".lua"}}
    missing += (
        set(re.findall(r"\b\w+\.(?:py|lua)\b", text)) - names - {path.name for path in (ROOT / "tests").iterdir()}
    )
    assert not [name for name in missing if "NAME" not in name]


def test_each_service_is_named_by_its_tests() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    services = [
        node.name
        for path, _, tree in modules()
        if "/services/" in path
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(getattr(each, "name", "") == "run_once" for each in node.body)
    ]
    assert not [name for name in services if name not in tests]


MAX_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 350, 50, 10
# The sentence in a module's docstring that allows more lines, and the one that allows more arguments.
WHY_LONG = re.compile(r"\bone file\b[^.]*\bbecause\b", re.IGNORECASE)
WHY_MANY = re.compile(r"\bmore than ten (?:arguments|fields)\b[^.]*\bbecause\b")


def modules() -> Iterator[tuple[str, str, ast.Module]]:
    """Yield the path, the text and the syntax tree of each module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield str(path.relative_to(ROOT)), text, parse(text)


def parse(text: str) -> ast.Module:
    """Return a syntax tree; again if another thread has parsed meanwhile, which CPython 3.11 takes for an error."""
    while True:
        try:
            return ast.parse(text)
        except SystemError:
            continue


def constructor_arguments(node: ast.ClassDef) -> int:
    """Return how many arguments a class defines for its constructor, by ``__init__`` or as fields."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            arguments = each.args
            return len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
    makers = " ".join(map(ast.unparse, [*node.decorator_list, *node.bases]))
    if not re.search(r"\b(dataclass|NamedTuple)\b", makers):
        return 0
    fields = [ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign)]
    return sum(not re.search(r": ClassVar\b|\bfield\(.*\binit=False\b", field) for field in fields)


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has, without its docstring: a description of many arguments is not too much."""
    first = node.body[0]
    text = ast.get_docstring(node) and (first.end_lineno or 0) - first.lineno + 1
    return (node.end_lineno or 0) - node.lineno + 1 - (text or 0)


def test_no_module_is_long_without_a_reason() -> None:
    lengths = {
        path: len(text.splitlines())
        for path, text, tree in modules()
        if not WHY_LONG.search(ast.get_docstring(tree) or "")
    }
    assert not {path: length for path, length in lengths.items() if length > MAX_LINES}


def test_no_function_is_long() -> None:
    lengths = {
        f"{path}:{node.lineno} {node.name}": function_lines(node)
        for path, _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {function: length for function, length in lengths.items() if length > MAX_FUNCTION_LINES}


def test_no_constructor_takes_many_arguments_without_a_reason() -> None:
    counts = {
        f"{path}:{node.lineno} {node.name}": constructor_arguments(node)
        for path, _, tree in modules()
        if not WHY_MANY.search(ast.get_docstring(tree) or "")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert not {name: count for name, count in counts.items() if count > MAX_ARGUMENTS}


# Classes that may share a name: the blocking enqueuer is imported as `asyncwork.sync.Enqueuer`, and the result of an
# action on a batch is known by its name in the description of the web API.
NAMED_TWICE = {"Enqueuer", "BatchResult"}


def test_a_class_has_a_name_of_its_own() -> None:
    found = [
        node.name
        for _, _, tree in modules()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert {name for name in found if found.count(name) > 1} == NAMED_TWICE


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_opens_with_its_contract(name: str) -> None:
    text = (ROOT / "asyncwork/_redis/lua" / f"{name}.lua").read_text()
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("--"))
    assert text.startswith("-- ")
    for part in ("KEYS ", "ARGV ", "Returns "):
        assert f"\n-- {part}" in f"\n{comment}", part


def test_the_fragment_for_fair_queues_names_scripts_that_have_variants() -> None:
    text = (ROOT / "asyncwork/_redis/lua/fair_list.lua").read_text()
    named = set(re.findall(r"script_name == '(\w+)'", text))
    for listed in re.findall(r"^local (?:ENQUEUES|RETURNS) = \{(.+)\}$", text, re.MULTILINE):
        named |= set(re.findall(r"(\w+) = true", listed))
    assert len(named) == 8
    assert named <= set(scripts.VARIANTS)


@pytest.mark.parametrize("name", scripts.names())
def test_a_script_makes_no_key_and_rewrites_no_job(name: str) -> None:
    text = re.sub(r"--.*", "", scripts.source(name))
    assert "cjson.encode" not in text
    assert "ARGV[1] .." not in text
    assert '":' not in text.replace("redis.call('", "")


def test_only_the_scripts_that_are_called_are_there() -> None:
    called = set()
    for path in (ROOT / "asyncwork").rglob("*.py"):
        called |= set(
            re.findall(r'(?:scripts\.(?:call|head)\(|run_script\([^"]*|self\._script\()"(\w+)"', path.read_text())
        )
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


def test_the_readmes_application_is_one() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), scope)
    pool = scope["pool"]
    assert isinstance(pool, asyncwork.WorkerPool)
    assert pool.job_names == ["export", "resize", "send_email"]
    assert pool.periodic_jobs == [("TZ=Europe/Berlin 0 0 3 * * *", "export")]
