"""The types of the public API: whether each can be imported, and what type checkers say about its use."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asyncwork import (
    Batch,
    BoundTask,
    EnqueueOptions,
    Enqueuer,
    Flow,
    FlowHandle,
    JobDecorator,
    JobFlow,
    JobOptions,
    PoolOptions,
    SyncBatch,
    SyncBoundTask,
    SyncFlow,
    SyncTask,
    Task,
    WorkerPool,
    sync,
)
from asyncwork._jobs.enqueue_options import OptionsDict
from asyncwork._redis.base_batch import BaseBatch
from asyncwork.flow import BaseFlow
from asyncwork.testing import Jobs, SyncJobs

from .architecture import ROOT

MODULES = (
    "asyncwork",
    *(f"asyncwork.{name}" for name in ("embedded", "gocraft", "logging", "otel", "sync", "testing", "web")),
)
CASES = ROOT / "tests" / "typing"

# Every type in a public signature can be imported

# Pools make these, so their constructors are not public.
MADE_BY_A_POOL = (
    BaseBatch,
    Batch,
    SyncBatch,
    BaseFlow,
    Flow,
    SyncFlow,
    FlowHandle,
    JobFlow,
    BoundTask,
    SyncBoundTask,
    SyncTask,
    Task,
    JobDecorator,
)
# For type checkers alone, in the overloads of `@pool.job`.
INTERNAL = {"Unannotated"}


class Annotation(typing.NamedTuple):
    """An annotation as it is written in a public function or class."""

    where: str
    text: str
    scope: Mapping[str, Any]

    @property
    def names(self) -> set[str]:
        """The names in it that asyncwork defines."""
        found = {each.id for each in ast.walk(ast.parse(self.text, mode="eval")) if isinstance(each, ast.Name)}
        return {name for name in found - INTERNAL if not self._is_foreign(name)}

    def _is_foreign(self, name: str) -> bool:
        if any(hasattr(module, name) for module in (builtins, typing, collections.abc)):
            return True
        value = self.scope.get(name)
        if isinstance(value, (typing.TypeVar, typing.ParamSpec, ModuleType)):
            return True
        return inspect.isclass(value) and value.__module__.partition(".")[0] != "asyncwork"


def public_names(module: ModuleType) -> list[str]:
    """Return the public names of a module: those that it lists, or else those that it defines."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    values = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return [name for name, value in values.items() if getattr(value, "__module__", "") == module.__name__]


def annotations_of(value: Any) -> Iterator[Annotation]:
    """Yield the annotations of a function, or of a class with the bases that asyncwork defines."""
    if inspect.isfunction(value):
        functions: list[Any] = [*typing.get_overloads(value), value]
        for each in functions:
            for name, annotation in inspect.get_annotations(each).items():
                yield Annotation(
                    f"{value.__module__}.{value.__qualname__}({name})", text_of(annotation), value.__globals__
                )
    elif inspect.isclass(value):
        for base in value.__mro__:
            if base.__module__.partition(".")[0] == "asyncwork":
                yield from annotations_of_class(base)


def annotations_of_class(cls: type) -> Iterator[Annotation]:
    for name, annotation in inspect.get_annotations(cls).items():
        if not name.startswith("_"):
            where, scope = f"{cls.__module__}.{cls.__qualname__}.{name}", vars(sys.modules[cls.__module__])
            yield Annotation(where, text_of(annotation), scope)
    for name, member in vars(cls).items():
        is_public = not name.startswith("_") or name == "__call__"
        if is_public or (name == "__init__" and cls not in MADE_BY_A_POOL):
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function):
                yield from annotations_of(inspect.unwrap(function))


def text_of(annotation: object) -> str:
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def test_every_type_in_a_public_signature_can_be_imported() -> None:
    modules = [importlib.import_module(name) for name in MODULES]
    found = [
        (annotation.where, name)
        for module in modules
        for public in public_names(module)
        for annotation in annotations_of(getattr(module, public))
        for name in annotation.names
    ]
    # The walk has been through methods, properties, overloads, class methods, fields, base classes and functions.
    names = {name for _, name in found}
    assert {"Page", "Enqueuer", "JobDecorator", "Job", "JobRecord", "Heartbeat", "PoolCounts", "Redact"} <= names
    assert len(found) > 150
    importable = {name for module in modules for name in public_names(module)}
    assert not [each for each in found if each[1] not in importable]


# What type checkers accept and refuse

CHECKERS = ("mypy", "pyright")


def expected(checker: str) -> dict[tuple[str, int], str]:
    """Return a part of the message that each marked line should have, by file and line.

    A marked line ends with ``# E: PART``, or with ``# E: PART || PART`` if mypy and pyright have no words in common.
    """
    marked = {}
    for path in sorted(CASES.glob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := re.search(r"# E: (.*)", line):
                parts = found[1].split(" || ")
                marked[path.name, number] = parts[CHECKERS.index(checker) % len(parts)]
    return marked


def run_mypy(directory: Path) -> Iterator[tuple[str, int, str]]:
    """Yield the file, line and text of each message of mypy."""
    command = ["mypy", "--strict", "--config-file", "", "--no-incremental", "cases"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    for path, number, text in re.findall(r"^cases/(.*?):(\d+): (?:error|note): (.*)$", done.stdout, re.MULTILINE):
        yield path, int(number), text


def run_pyright(directory: Path) -> Iterator[tuple[str, int, str]]:
    """Yield the file, line and text of each error of pyright."""
    # All rules but those about functions without annotations, which some cases have on purpose.
    off = dict.fromkeys(
        ("reportUnknownParameterType", "reportMissingParameterType", "reportUnknownVariableType"), False
    )
    config = {"include": ["cases"], "typeCheckingMode": "strict", **off}
    (directory / "pyrightconfig.json").write_text(json.dumps(config))
    # pyright asks the `python` on the PATH for the installed packages.
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    command = [sys.executable, "-m", "pyright", "--outputjson"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        yield Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"]


@pytest.mark.processes
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_accept_what_works_and_refuse_what_does_not(checker: str, tmp_path: Path) -> None:
    shutil.copytree(CASES, tmp_path / "cases", ignore=shutil.ignore_patterns("__pycache__"))
    found: dict[tuple[str, int], list[str]] = {}
    for path, number, text in (run_mypy if checker == "mypy" else run_pyright)(tmp_path):
        found.setdefault((path, number), []).append(text)
    wanted = expected(checker)
    assert {where: texts for where, texts in found.items() if where not in wanted} == {}
    missed = {
        where: (part, found.get(where))
        for where, part in wanted.items()
        if not any(part.lower() in text.lower() for text in found.get(where, ()))
    }
    assert missed == {}


# The options that stand in several signatures

_PARAM = re.compile(r":param (\w+): (.*?)(?=\n:|\Z)", re.DOTALL)


def options_of(function: Callable[..., Any], *others: str) -> dict[str, tuple[object, object]]:
    """Return the annotation and the default of each option by its name, without those that are named."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: (each.annotation, each.default) for each in parameters if each.name not in ("self", *others)}


def descriptions(text: str | None) -> dict[str, str]:
    """Return the description of each parameter in a docstring."""
    return {name: " ".join(body.split()) for name, body in _PARAM.findall(inspect.cleandoc(text or ""))}


def assert_described_alike(brief: Mapping[str, str], full: Mapping[str, str], options: Collection[str]) -> None:
    """Assert that two docstrings describe these options, in this order. One may say more, but begins as the other."""
    for described in (brief, full):
        assert [name for name in described if name in options] == list(options)
    starts = {name: brief[name].removesuffix(".") for name in options}
    assert {name: full[name][: len(start)] for name, start in starts.items()} == starts


def test_the_options_of_an_enqueue_are_the_same_everywhere() -> None:
    options = options_of(EnqueueOptions)
    names = ["delay", "at", "unique", "id", "front", "timeout", "expires", "debounce", "throttle", "max_waiting"]
    assert list(options) == [*names, "partition", "cost"]
    for function in (Enqueuer.enqueue, sync.Enqueuer.enqueue):
        assert options_of(function, "name", "args") == options, function
    assert options_of(Task.options) == options
    annotations = {name: text_of(annotation) for name, annotation in inspect.get_annotations(OptionsDict).items()}
    assert annotations == {name: annotation for name, (annotation, _) in options.items()}
    assert options_of(Enqueuer.enqueue) == options_of(sync.Enqueuer.enqueue)


def test_the_options_of_an_enqueue_are_described_in_the_same_words() -> None:
    brief, full = descriptions(EnqueueOptions.__doc__), descriptions(Enqueuer.enqueue.__doc__)
    assert_described_alike(brief, full, options_of(EnqueueOptions))
    for other in (Task.options, sync.Enqueuer.enqueue):
        assert "enqueue`" in (other.__doc__ or "")


def test_the_options_of_a_job_type_are_the_same_everywhere() -> None:
    with_options = typing.get_overloads(WorkerPool.job)[-1]
    assert options_of(with_options, "name") == options_of(JobOptions)
    brief, full = descriptions(WorkerPool.job.__doc__), descriptions(JobOptions.__doc__)
    assert_described_alike(brief, full, options_of(JobOptions))


def test_a_function_is_decorated_alike_with_options_and_without() -> None:
    *without_options, _ = map(inspect.signature, typing.get_overloads(WorkerPool.job))
    with_options = [*map(inspect.signature, typing.get_overloads(JobDecorator.__call__))]
    # Those of handlers of chunks, which an option makes.
    of_chunks = [each for each in with_options if "list[Job]" in str(each)]
    assert len(of_chunks) == 2
    assert [each for each in with_options if each not in of_chunks] == without_options


def test_the_options_of_a_pool_are_the_same_everywhere() -> None:
    implementation = options_of(WorkerPool.__init__)
    shared = options_of(WorkerPool.__init__, "context", "resources")
    assert implementation.keys() == descriptions(WorkerPool.__doc__).keys()
    assert shared.keys() - {"clock", "tracing"} == options_of(PoolOptions).keys()
    overloads = typing.get_overloads(WorkerPool.__init__)
    assert len(overloads) == 3
    for overload in overloads:
        assert options_of(overload, "context", "resources") == shared
        assert [name for name in implementation if name in options_of(overload)] == list(options_of(overload))
    for name in ("heartbeat", "dead_after", "extra"):
        assert shared[name][1] == options_of(PoolOptions)[name][1]


def test_the_options_of_a_schedule_and_of_a_drain_are_the_same_twice() -> None:
    by_decorator, by_call = options_of(WorkerPool.periodic), options_of(WorkerPool.periodically)
    assert by_decorator.items() <= by_call.items()
    assert list(by_decorator) == ["spec", "args", "tz"]
    assert options_of(Jobs.drain) == options_of(SyncJobs.drain)
