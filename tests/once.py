"""Computes once, for all processes of a test session, what takes long to compute."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from typing import Any

import pytest


def once(tmp_path_factory: pytest.TempPathFactory, name: str, find: Callable[[], Any]) -> Any:
    """Return what ``find`` returns, which JSON can hold. The first process of the session to ask calls it; the others
    wait, and read what it has found.
    """
    directory = tmp_path_factory.getbasetemp()
    if directory.name.startswith("popen-"):
        directory = directory.parent  # of all processes of pytest-xdist
    found = directory / f"{name}.json"
    with (directory / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            found.write_text(json.dumps(find()), encoding="utf-8")
    return json.loads(found.read_text(encoding="utf-8"))
