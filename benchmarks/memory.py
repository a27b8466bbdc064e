"""Reads the memory use of a process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def resident() -> int:
    """Return the resident bytes of this process; its peak if the system does not report the current value."""
    return _field("VmRSS") or peak()


def peak() -> int:
    """Return the peak of this process's resident bytes."""
    if found := _field("VmHWM"):
        return found
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peak_of(pid: int) -> int:
    """Return the peak of another process's resident bytes; 0 if the system does not report it."""
    return _field("VmHWM", str(pid))


def _field(name: str, process: str = "self") -> int:
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[name].removesuffix("kB")) * 1024
