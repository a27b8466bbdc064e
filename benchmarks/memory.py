"""How much memory this process takes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident() -> int:
    """Return the resident bytes now; where the system does not tell, the most so far."""
    return _field("VmRSS") or peak()


def peak() -> int:
    """Return the resident bytes at most since the process began."""
    if found := _field("VmHWM"):
        return found
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _field(name: str) -> int:
    if not _STATUS.exists():
        return 0
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[name].removesuffix("kB")) * 1024
