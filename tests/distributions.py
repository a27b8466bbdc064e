"""Build the wheel and the sdist, install each in new environments, and run the smoke test there.

``python -m tests.distributions`` takes each Python of the versions that are supported and on the PATH;
``python -m tests.distributions PYTHON…`` takes the given ones. Each gets the newest and the lowest versions of the
packages that pyproject.toml allows.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = ("highest", "lowest-direct")


def run(*command: str | Path) -> None:
    # What PYTHONPATH adds would hide what is not installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env=environment, cwd=ROOT)


def pythons() -> list[str]:
    """Return a working Python of each supported version that the PATH has."""
    found = [path for version in VERSIONS if (path := shutil.which(f"python{version}"))]
    # A shim of a version manager may lead to nothing.
    return [path for path in found if subprocess.run([path, "--version"], capture_output=True).returncode == 0]


def main() -> None:
    uv = (sys.executable, "-m", "uv", "--quiet")
    with tempfile.TemporaryDirectory(prefix="asyncwork-dist-") as directory:
        scratch = Path(directory)
        run(sys.executable, "-m", "build", "--outdir", scratch, ROOT)
        shutil.copy(ROOT / "tests" / "smoke.py", scratch)
        wheel, sdist = next(scratch.glob("*.whl")), next(scratch.glob("*.tar.gz"))
        for number, (python, file, resolution) in enumerate(
            itertools.product(sys.argv[1:] or pythons(), (wheel, sdist), RESOLUTIONS)
        ):
            print(f"--- {python}: {file.name}, {resolution}", flush=True)
            environment = scratch / str(number)
            run(*uv, "venv", "--no-project", "--python", python, environment)
            target = ("--python", environment / "bin" / "python")
            run(*uv, "pip", "install", *target, "--resolution", resolution, f"{file}[embedded,uvloop,web]")
            run(environment / "bin" / "python", "-W", "error", scratch / "smoke.py")


if __name__ == "__main__":
    main()
