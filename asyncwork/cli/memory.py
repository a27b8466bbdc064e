"""The memory that this process uses."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def memory() -> int:
    """Return how many bytes of memory this process uses."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        # The most that it has used. Linux counts in kilobytes, macOS in bytes.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
