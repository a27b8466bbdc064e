"""Finds which of many names have keys, with few commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .batches import batches
from .protocol import value_of

T = TypeVar("T")

# Names unclear about in one command.
_SECTION = 256


async def existing(client: Any, names: Sequence[T], *keys: Callable[[T], str | bytes]) -> list[T]:
    """Return those of the names that have one of the keys at least, in their order.

    :param keys: each returns a key of a name.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    sections = list(batches(names, _SECTION))
    counts = await _count(client, [[key(name) for name in section for key in keys] for section in sections])
    unclear = [name for section, count in zip(sections, counts, strict=True) if count for name in section]
    found = await _count(client, [[key(name) for key in keys] for name in unclear])
    return [name for name, count in zip(unclear, found, strict=True) if count]


async def _count(client: Any, groups: Sequence[Sequence[str | bytes]]) -> list[int]:
    """Return how many keys of each group exist."""
    if not groups:
        return []
    async with client.pipeline(transaction=False) as pipe:
        for group in groups:
            pipe.exists(*group)
        return list(map(value_of, await pipe.execute(raise_on_error=False)))
