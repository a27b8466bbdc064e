"""Read durations as Go's ``time.ParseDuration`` does, such as ``1h30m``."""

from __future__ import annotations

import re
from fractions import Fraction
from types import MappingProxyType
from typing import Final

UNITS: Final = MappingProxyType(
    {
        "h": Fraction(3_600),
        "m": Fraction(60),
        "s": Fraction(1),
        "ms": Fraction(1, 10**3),
        "us": Fraction(1, 10**6),
        "ns": Fraction(1, 10**9),
    }
)
"""Each unit in seconds."""

_PART: Final = re.compile(r"([0-9]++\.?[0-9]*+|\.[0-9]++)([a-z]++)", re.ASCII)


def split_duration(text: str) -> list[tuple[str, str]] | None:
    """Return the numbers of a duration with their units, or ``None`` when it is malformed."""
    text = text.removeprefix("+")
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return parts if all(unit in UNITS for _, unit in parts) else None


def parse_duration(text: str) -> Fraction | None:
    """Return the seconds of a duration, or ``None`` when it is malformed."""
    parts = split_duration(text)
    return None if parts is None else sum((Fraction(number) * UNITS[unit] for number, unit in parts), Fraction(0))
