"""Long work cut into batches, so that no single command keeps Redis busy for long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in their order, ``size`` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
