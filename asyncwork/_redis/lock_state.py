"""The state of a queue's lock, which must agree with the pools' shares of it and with what they have in progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .protocol import decode, read_count


@dataclass(frozen=True, slots=True)
class LockState:
    """A queue's lock and the pools' shares of it.

    :ivar lock: ``None`` when it is not a number, 0 when it is missing.
    :ivar shares: by pool id; ``None`` for a share that is not a number.
    :ivar in_progress: number of jobs in progress by pool id; empty when that was not read.
    """

    lock: int | None
    shares: Mapping[str, int | None]
    in_progress: Mapping[str, int]

    @classmethod
    def parse(cls, lock: Any, shares: Mapping[bytes, Any], in_progress: Mapping[str, int]) -> LockState:
        """Return the state that Redis's replies describe."""
        return cls(read_count(lock), {decode(raw): read_count(share) for raw, share in shares.items()}, in_progress)

    @property
    def held(self) -> int:
        """The sum of the shares that are numbers."""
        return sum(share or 0 for share in self.shares.values())

    @property
    def excess(self) -> int | None:
        """By how much the lock exceeds the sum of the shares; ``None`` when it is not a number."""
        return None if self.lock is None else self.lock - self.held

    @property
    def holders(self) -> set[str]:
        """The pools that have jobs in progress or a share, even a share of 0."""
        return {*self.shares, *(pool_id for pool_id, length in self.in_progress.items() if length)}

    def mismatches(self) -> Iterator[tuple[str, int, int | None]]:
        """Yield each pool whose share differs from its number of jobs in progress: its id, that number, its share."""
        for pool_id, length in self.in_progress.items():
            share = self.shares.get(pool_id, 0)
            if share != length:
                yield pool_id, length, share
