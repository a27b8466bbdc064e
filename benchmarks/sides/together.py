"""Enqueues many jobs with a library that has no bulk call, by concurrent calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# Number of concurrent calls. More were not faster, and each needs a connection.
_AT_ONCE = 20


async def together(
    one: Callable[[str, dict[str, Any]], Awaitable[object]], jobs: list[tuple[str, dict[str, Any]]]
) -> None:
    """Enqueue jobs by concurrent calls."""
    for first in range(0, len(jobs), _AT_ONCE):
        await asyncio.gather(*(one(name, args) for name, args in jobs[first : first + _AT_ONCE]))
