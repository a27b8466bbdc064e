"""Makes what each side runs in: a virtual environment of its own, or a Go program. Made once, into ``build/peers``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Side

ROOT = Path(__file__).parent.parent
_MADE = ROOT / "build" / "peers"
_GO = Path(__file__).parent / "sides" / "gocraft"
# Seconds that making one may take.
_PATIENCE = 600

_VERSIONS = (
    "import sys, importlib.metadata as m; print(', '.join(f'{name} {m.version(name)}' for name in sys.argv[1:]))"
)


class MissingError(Exception):
    """A side cannot be had here; the message says why, in a line."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs a side.

    :ivar command: the command line; the order follows on standard input.
    :ivar versions: of what it is made of, in words.
    """

    command: tuple[str, ...]
    versions: str


def make(side: Side) -> Program:
    """Return what runs a side; makes it first if it is not there.

    :raises MissingError: when it cannot be made.
    """
    if side.module == "gocraft":
        return _go_program()
    if not side.requirements:
        return Program((sys.executable, "-m", f"{__package__}.sides", side.module), "")
    python = _environment(side)
    packages = [re.sub(r"\[.*", "", each) for each in side.requirements]
    versions = _output([str(python), "-c", _VERSIONS, *packages]).strip()
    return Program((str(python), "-m", f"{__package__}.sides", side.module), versions)


def _environment(side: Side) -> Path:
    """Return the interpreter of a side's environment."""
    directory = _MADE / side.module
    python, mark = directory / "bin" / "python", directory / ".ready"
    wanted = json.dumps([sys.version, *side.requirements])
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        _output([sys.executable, "-m", "venv", str(directory)])
        _output([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *side.requirements])
        mark.write_text(wanted)
    return python


def _go_program() -> Program:
    go = shutil.which("go")
    if go is None:
        raise MissingError("there is no Go on this machine")
    binary = _MADE / "gocraft" / "gocraft"
    binary.parent.mkdir(parents=True, exist_ok=True)
    # Quick when nothing has changed.
    _output([go, "build", "-o", str(binary), "."], _GO)
    version = _output([go, "list", "-m", "-f", "{{.Version}}", "github.com/gocraft/work"], _GO).strip()
    compiler = _output([go, "env", "GOVERSION"], _GO).strip().removeprefix("go")
    return Program((str(binary),), f"gocraft/work {version}, Go {compiler}")


def _output(command: list[str], directory: Path = ROOT) -> str:
    """Return what a command writes.

    :raises MissingError: when it fails, with the last line that it wrote.
    """
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        raise MissingError(f"{Path(command[0]).name} {command[1]} did not end within {_PATIENCE} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise MissingError(f"{' '.join([Path(command[0]).name, *command[1:4]])}: {lines[-1].strip()}")
    return done.stdout
