"""Type-checks a program whose wrong lines end with ``# E``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def check_errors(program: str, directory: Path) -> None:
    """Assert that mypy finds an error in each line that ends with ``# E``, and in no other."""
    path = directory / "program.py"
    path.write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--no-incremental", str(path)]
    output = subprocess.run(command, cwd=directory, capture_output=True, text=True).stdout
    found = {int(line.split(":")[1]) for line in output.splitlines() if ": error:" in line}
    assert found == {number for number, line in enumerate(program.splitlines(), 1) if line.endswith("# E")}, output
