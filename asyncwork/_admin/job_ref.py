"""References to jobs in Redis, by which a listed job is found again."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

from ..errors import UsageError

_HANDLE = re.compile(r"([-+.e\da-z]*)~([\da-f]{20})~(\d{1,15})", re.ASCII)


def handle_digest(raw: bytes, key: bytes) -> str:
    """Return the part of a handle that tells payloads apart.

    :param key: at most 64 bytes. Who does not have it cannot find out by trying what a hidden part of a payload is.
    """
    return hashlib.blake2b(raw, key=key, digest_size=10).hexdigest()


def make_handle(raw: bytes, key: bytes, at: float | None = None, rank: int = 0) -> str:
    """Return what finds a payload again: its score, a digest of its bytes, and about where it was.

    :param key: the namespace's key for digests.
    :param at: its score in a sorted set; ``None`` in a list.
    :param rank: how many members or elements came before it, a hint only.
    """
    return f"{'' if at is None else repr(at)}~{handle_digest(raw, key)}~{rank}"


@dataclass(frozen=True, slots=True)
class Handle:
    """A handle's parts."""

    at: float | None
    digest: str
    rank: int

    @classmethod
    def parse(cls, text: str) -> Handle:
        """Read a handle.

        :raises UsageError: when it is none.
        """
        match = _HANDLE.fullmatch(text) if isinstance(text, str) else None
        try:
            at = float(match[1]) if match and match[1] else None
            # No score in Redis is NaN.
            if match and (at is None or not math.isnan(at)):
                return cls(at, match[2], int(match[3]))
        except ValueError:
            pass
        raise UsageError(f"not a job's handle: {str(text)[:80]!r}; take it from what a look at the jobs returned")
