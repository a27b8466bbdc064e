"""Enqueueing many jobs by a library that has no call for it: some at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# How many; more was not quicker, and opens as many connections.
_AT_ONCE = 20


async def together(
    one: Callable[[str, dict[str, Any]], Awaitable[object]], jobs: list[tuple[str, dict[str, Any]]]
) -> None:
    """Enqueue jobs, some at once."""
    for first in range(0, len(jobs), _AT_ONCE):
        await asyncio.gather(*(one(name, args) for name, args in jobs[first : first + _AT_ONCE]))
