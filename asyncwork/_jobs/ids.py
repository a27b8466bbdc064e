"""Ids of jobs, pools and workers: 12 random bytes as 24 lower-case hex digits, as gocraft/work makes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import chain

# Ids drawn at once in bulk. One system call for each would be a tenth of the cost of enqueueing a job in bulk.
_DRAWN_AT_ONCE = 256

# The ids that a job may be given, or be cancelled by. Other characters are kept for what asyncwork itself may add.
_GIVEN = re.compile("[A-Za-z0-9_-]{1,64}")
GIVEN_IDS = "1 to 64 ASCII letters, digits, '_' and '-'"
# The ids that are made here: of jobs, batches and flows.
_MADE = re.compile("[0-9a-fw][0-9a-f]{23}")


def may_be_given(job_id: str) -> bool:
    """Return whether a job may be given this id, which is one of :data:`GIVEN_IDS`."""
    return _GIVEN.fullmatch(job_id) is not None


def is_made(text: str) -> bool:
    """Return whether a text looks like an id that was made here."""
    return _MADE.fullmatch(text) is not None


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
