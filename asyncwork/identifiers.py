"""Ids of jobs, pools and workers: 12 random bytes as 24 lower-case hex digits, as gocraft/work makes them."""

from __future__ import annotations

import os


def make_identifier() -> str:
    """Return a new id of 24 hex digits."""
    return os.urandom(12).hex()
