"""A payload in its location, as it is read for listings and searches."""

from __future__ import annotations

from typing import NamedTuple


class LocatedPayload(NamedTuple):
    """A payload in its location.

    :ivar at: the score; ``None`` in a list.
    :ivar rank: how many members have a lower score; in a list, how many elements were pushed later. In a fair queue, it
        is so high as if only those of its tenant that were pushed earlier came before it.
    """

    raw: bytes
    at: float | None
    rank: int
