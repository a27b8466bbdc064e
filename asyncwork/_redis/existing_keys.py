"""Leaves out those of many names that have no keys, with few commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .protocol import value_of
from .slices import slices

T = TypeVar("T")

# Names whose keys can as well be read without asking.
_FEW = 64
# Names that one command asks about.
_SECTION = 256


async def maybe_existing(client: Any, names: Sequence[T], *keys: Callable[[T], str | bytes]) -> list[T]:
    """Return those of many names that have one of the keys at least, in their order; all of a few names.

    :param keys: each returns a key of a name.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    if len(names) <= _FEW:
        return list(names)
    sections = list(slices(names, _SECTION))
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
