"""What a new user does: an empty virtual environment, an install of this checkout, and the first job in the browser.

Run as ``python -m tests.new_user``; it needs the package index. Prints how long each step took.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from threading import Thread
from typing import IO

ROOT = Path(__file__).parents[1]
# Seconds that each step may take.
LIMIT = 300


def main() -> int:
    """Do all steps; return the exit code."""
    began = time.monotonic()

    def done(step: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {step}", flush=True)

    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ASYNCWORK_", "PYTHON"))}
    with tempfile.TemporaryDirectory(prefix="new-user-") as home:
        project = Path(home) / "project"
        subprocess.run([sys.executable, "-m", "venv", f"{home}/venv"], check=True, timeout=LIMIT)
        command = f"{home}/venv/bin/asyncwork"
        pip = [f"{home}/venv/bin/pip", "install", "-q", "--disable-pip-version-check", f"{ROOT}[web,embedded]"]
        subprocess.run(pip, check=True, timeout=LIMIT)
        done("installed")
        subprocess.run([command, "init", str(project)], check=True, timeout=LIMIT, env=environment)
        server = subprocess.Popen(
            [command, "dev", "app:pool", "--port", "0"],
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert server.stdout is not None
            lines = Lines(server.stdout)
            page = lines.wait_for(r"web .*(http://\S+) shows namespace")[1]
            lines.wait_for("pool .* running up to")
            done("everything runs")
            enqueue = [command, "enqueue", "greet", '{"name": "world"}']
            ran = subprocess.run(enqueue, check=True, timeout=LIMIT, cwd=project, env=environment, capture_output=True)
            lines.wait_for("pool .*hello world .*" + ran.stdout.decode().split()[0])
            with urllib.request.urlopen(page, timeout=LIMIT) as response:
                assert "greet" in response.read().decode()
            done("the first job is on the page")
            server.send_signal(signal.SIGINT)
            assert server.wait(LIMIT) == 0
            done("stopped")
        finally:
            server.kill()
            server.wait()
    return 0


class Lines:
    """The lines that a program writes, which are read all the time so that it never waits."""

    def __init__(self, stream: IO[str]) -> None:
        self._seen: list[str] = []
        self._thread = Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._seen.append(line)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the first match in what was written."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            text = "".join(list(self._seen))
            if found := re.search(pattern, text):
                return found
            if not self._thread.is_alive():
                break
            time.sleep(0.05)
        raise AssertionError(f"{pattern!r} is not in:\n{''.join(self._seen)}")


if __name__ == "__main__":
    sys.exit(main())
