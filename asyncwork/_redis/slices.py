"""Slices of long sequences, for work that is done a slice at a time, so that no command keeps Redis busy for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in their order, ``size`` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
