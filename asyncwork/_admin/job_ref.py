"""References to jobs in Redis, by which a listed job is found again."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

from .._jobs.printable import shown
from ..errors import UsageError

_REF = re.compile(r"([-+.e\da-z]*)~([\da-f]{20})~(\d{1,15})", re.ASCII)


def ref_digest(raw: bytes, key: bytes) -> str:
    """Return the part of a job ref that identifies a payload.

    :param key: at most 64 bytes. Without it, the redacted part of a payload cannot be found by comparing digests of
        guesses.
    """
    return hashlib.blake2b(raw, key=key, digest_size=10).hexdigest()


def make_ref(raw: bytes, key: bytes, at: float | None = None, rank: int = 0) -> str:
    """Return the ref of a payload: its score, a digest of its bytes, and its approximate rank.

    :param key: the namespace's key for digests.
    :param at: its score in a sorted set; ``None`` in a list.
    :param rank: how many members or elements came before it; a hint only.
    """
    return f"{'' if at is None else repr(at)}~{ref_digest(raw, key)}~{rank}"


@dataclass(frozen=True, slots=True)
class JobRef:
    """The parts of a job ref."""

    at: float | None
    digest: str
    rank: int

    @classmethod
    def parse(cls, text: str) -> JobRef:
        """Parse a job ref.

        :raises UsageError: when the text is not a job ref.
        """
        match = _REF.fullmatch(text) if isinstance(text, str) else None
        try:
            at = float(match[1]) if match and match[1] else None
            # No score in Redis is NaN.
            if match and (at is None or not math.isnan(at)):
                return cls(at, match[2], int(match[3]))
        except ValueError:
            pass
        raise UsageError(f"not a job ref: {shown(text)}; pass the ref of a job record")
