"""Ids of jobs, pools and workers: 12 random bytes as 24 lower-case hex digits, as gocraft/work makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain

# Ids drawn at once in bulk. One system call for each would be a tenth of the cost of enqueueing a job in bulk.
_DRAWN_AT_ONCE = 256


def make_identifier() -> str:
    """Return a new id of 24 hex digits."""
    return os.urandom(12).hex()


def make_flow_id() -> str:
    """Return a new id of a flow: ``w`` and 23 hex digits, so that it differs from those of batches and of jobs."""
    return f"w{make_identifier()[1:]}"


def make_identifiers() -> Iterator[str]:
    """Return new ids without end.

    Use it within one call only, because a process forked meanwhile would yield the same ids.
    """
    return chain.from_iterable(_draws())


def _draws() -> Iterator[list[str]]:
    while True:
        drawn = os.urandom(12 * _DRAWN_AT_ONCE).hex()
        yield [drawn[start : start + 24] for start in range(0, len(drawn), 24)]
