"""What must agree of a queue at every moment: its lock, the pools' shares of it, and what they have in progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holdings:
    """A queue's lock and those who hold it, all of one moment.

    :ivar lock: ``None`` when it is no number, 0 when it is missing.
    :ivar shares: by pool id; ``None`` for what is no number.
    :ivar lengths: by pool id, how many jobs are in progress.
    """

    lock: int | None
    shares: Mapping[str, int | None]
    lengths: Mapping[str, int]

    @property
    def held(self) -> int:
        """How much of the lock the pools hold together."""
        return sum(share or 0 for share in self.shares.values())

    @property
    def excess(self) -> int | None:
        """By how much the lock is more than what the pools hold; ``None`` when it is no number."""
        return None if self.lock is None else self.lock - self.held

    def strays(self) -> Iterator[tuple[str, int, int | None]]:
        """Yield the pools whose share is not the number of their jobs in progress: id, number, share."""
        for pool_id, length in self.lengths.items():
            share = self.shares.get(pool_id, 0)
            if share != length:
                yield pool_id, length, share
