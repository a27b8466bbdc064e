"""Ids of jobs, pools and workers: 12 random bytes as 24 lower-case hex digits, as gocraft/work makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator

# How many are drawn at once where many are needed: to ask the system for each is a tenth of what a job costs in bulk.
_DRAWN_AT_ONCE = 256


def make_identifier() -> str:
    """Return a new id of 24 hex digits."""
    return os.urandom(12).hex()


def make_identifiers() -> Iterator[str]:
    """Yield new ids without end. For use within one call: a process that is forked meanwhile would yield the same."""
    while True:
        drawn = os.urandom(12 * _DRAWN_AT_ONCE).hex()
        for start in range(0, len(drawn), 24):
            yield drawn[start : start + 24]
