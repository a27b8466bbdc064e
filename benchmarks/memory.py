"""How much memory a process takes."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def resident() -> int:
    """Return the resident bytes of this process now; where the system does not tell, the most so far."""
    return _field("VmRSS") or peak()


def peak() -> int:
    """Return the resident bytes of this process at most since it began."""
    if found := _field("VmHWM"):
        return found
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def peak_of(pid: int) -> int:
    """Return the resident bytes that another process took at most; 0 where the system does not tell."""
    return _field("VmHWM", str(pid))


def _field(name: str, process: str = "self") -> int:
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines[name].removesuffix("kB")) * 1024
