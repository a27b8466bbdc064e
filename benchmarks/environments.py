"""Builds the virtual environment, Go program or Node modules of each side, once, in ``build/peers``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Side

ROOT = Path(__file__).parent.parent
_MADE = ROOT / "build" / "peers"
_GO = Path(__file__).parent / "sides" / "gocraft"
_NODE = Path(__file__).parent / "sides" / "bullmq" / "main.js"
# Seconds that a build may take.
_TIMEOUT = 600

_VERSIONS = (
    "import sys, importlib.metadata as m; print(', '.join(f'{name} {m.version(name)}' for name in sys.argv[1:]))"
)


# Runs the benchmark's own code with the asyncwork of another checkout, which may have a package `benchmarks` too.
_ELSEWHERE = """
import runpy, sys
base, root = sys.argv.pop(1), sys.argv.pop(1)
sys.path.insert(0, root)
import benchmarks
sys.path[0] = base
runpy.run_module("benchmarks.sides", run_name="__main__", alter_sys=True)
"""
# A free-threaded build has a `t` behind its version.
_NAME = "import sys, sysconfig as s; print(sys.version.split()[0] + 't' * bool(s.get_config_var('Py_GIL_DISABLED')))"
_LOCATE = "import pathlib, asyncwork; print(pathlib.Path(asyncwork.__file__).resolve().parent.parent)"


class MissingError(Exception):
    """A side cannot be built on this machine. The message is one line."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program of a side.

    :ivar command: the command line; the program reads its order from standard input.
    :ivar versions: the versions of its packages, as text.
    """

    command: tuple[str, ...]
    versions: str


def make(side: Side) -> Program:
    """Return the program of a side; build it first if necessary.

    :raises MissingError: when it cannot be built.
    """
    if side.module == "gocraft":
        return _go_program()
    if side.module == "bullmq":
        return _node_program(side)
    if not side.requirements:
        return Program((sys.executable, "-m", f"{__package__}.sides", side.module), "")
    python = _environment(_MADE / side.module, sys.executable, sys.version, side.requirements)
    packages = [re.sub(r"\[.*", "", each) for each in side.requirements]
    versions = _output([str(python), "-c", _VERSIONS, *packages]).strip()
    return Program((str(python), "-m", f"{__package__}.sides", side.module), versions)


def make_elsewhere(side: Side, checkout: Path) -> Program:
    """Return the program of a side with the asyncwork of another checkout, run by the interpreter of its ``.venv``.

    :raises MissingError: when the checkout has no environment, or its interpreter imports another asyncwork.
    """
    checkout = checkout.resolve()
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise MissingError(f"{checkout} has no .venv: run `make .venv/.ready` there")
    found = _output([str(python), "-c", _LOCATE], checkout).strip()
    if found != str(checkout):
        raise MissingError(f"{python} imports the asyncwork of {found}, not of {checkout}")
    return Program((str(python), "-P", "-c", _ELSEWHERE, str(checkout), str(ROOT), side.module), "")


def make_with(side: Side, python: str) -> Program:
    """Return the program of a side that runs in asyncwork's environment, with another Python; create an environment.

    :param python: the interpreter, as a path or a name on the ``PATH``.
    :raises MissingError: when it cannot be used.
    """
    if (path := shutil.which(python)) is None:
        raise MissingError(f"there is no program {python}")
    name = _output([path, "-c", _NAME]).strip()
    made = _environment(_MADE.with_name("pythons") / name, path, name, [f"{ROOT}[uvloop]"])
    return Program((str(made), "-m", f"{__package__}.sides", side.module), name)


def commit_of(checkout: Path) -> str:
    """Return the short name of a checkout's commit, and whether there are changes; empty without Git."""
    try:
        return _output(["git", "describe", "--always", "--dirty", "--exclude=*"], checkout).strip()
    except (MissingError, OSError):
        return ""


def _environment(directory: Path, base: str, version: str, requirements: Sequence[str]) -> Path:
    """Return the interpreter of an environment; create it first if necessary.

    :param base: the interpreter from which it is created, and its version.
    """
    python, mark = directory / "bin" / "python", directory / ".ready"
    wanted = json.dumps([version, *requirements])
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        _output([base, "-m", "venv", str(directory)])
        _output([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
        mark.write_text(wanted)
    return python


def _go_program() -> Program:
    go = shutil.which("go")
    if go is None:
        raise MissingError("Go is not installed")
    binary = _MADE / "gocraft" / "gocraft"
    binary.parent.mkdir(parents=True, exist_ok=True)
    # Fast if nothing has changed.
    _output([go, "build", "-o", str(binary), "."], _GO)
    version = _output([go, "list", "-m", "-f", "{{.Version}}", "github.com/gocraft/work"], _GO).strip()
    compiler = _output([go, "env", "GOVERSION"], _GO).strip().removeprefix("go")
    return Program((str(binary),), f"gocraft/work {version}, Go {compiler}")


def _node_program(side: Side) -> Program:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MissingError("Node.js with npm is not installed")
    directory = _MADE / side.module
    mark, wanted = directory / ".ready", json.dumps(side.requirements)
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        (directory / "package.json").write_text("{}")
        _output([npm, "install", "--no-audit", "--no-fund", *side.requirements], directory)
        mark.write_text(wanted)
    packages = [directory / "node_modules" / each / "package.json" for each in side.requirements]
    versions = [f"{path.parent.name} {json.loads(path.read_text())['version']}" for path in packages]
    engine = _output([node, "--version"]).strip().removeprefix("v")
    return Program((node, str(_NODE), str(directory)), f"{', '.join(versions)}, Node.js {engine}")


def _output(command: list[str], directory: Path = ROOT) -> str:
    """Return the output of a command.

    :raises MissingError: when it fails; the message contains the last line of its output.
    """
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise MissingError(f"{Path(command[0]).name} {command[1]} did not end within {_TIMEOUT} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise MissingError(f"{' '.join([Path(command[0]).name, *command[1:4]])}: {lines[-1].strip()}")
    return done.stdout
