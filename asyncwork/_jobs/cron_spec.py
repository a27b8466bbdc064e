"""Split a cron spec into its time zone and its period or fields, with the grammar of robfig/cron v3."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from .go_duration import UNITS, parse_duration
from .printable import shown

# Specs are part of job ids. The longest useful one, written in full, has half of this.
MAX_SPEC_LENGTH: Final = 1_000
# Go spells its longest duration with a quarter of this.
_MAX_DURATION_LENGTH: Final = 100
# Seconds in 64 bits of nanoseconds, Go's longest duration: 292 years.
_MAX_PERIOD: Final = 2**63 // 10**9

DESCRIPTORS: Final = MappingProxyType(
    {
        "@yearly": "0 0 0 1 1 *",
        "@annually": "0 0 0 1 1 *",
        "@monthly": "0 0 0 1 * *",
        "@weekly": "0 0 0 * * 0",
        "@daily": "0 0 0 * * *",
        "@midnight": "0 0 0 * * *",
        "@hourly": "0 0 * * * *",
    }
)
"""Names that stand for six fields."""
EVERY: Final = "@every "
"""Precedes a period instead of fields."""

_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", re.ASCII)


class BadSpec(Exception):
    """Why a cron spec is refused."""


def check_characters(spec: str) -> None:
    """Raise :class:`BadSpec` for a spec that is too long or holds anything but printable ASCII."""
    if len(spec) > MAX_SPEC_LENGTH:
        raise BadSpec(f"it has {len(spec)} characters; {MAX_SPEC_LENGTH} are the most")
    for position, character in enumerate(spec):
        if not (" " <= character <= "~" or character == "\t"):
            raise BadSpec(
                f"character {position + 1} is {character!a}; "
                "it must be ASCII: letters, digits, punctuation, blanks and tabs"
            )


def split_zone(spec: str) -> tuple[str | None, str]:
    """Return the time zone in front of a spec, ``None`` without one, and the rest."""
    if not spec.startswith(("TZ=", "CRON_TZ=")):
        return None, spec
    assignment, _, rest = spec.partition(" ")
    return assignment.partition("=")[2], rest.strip()


def with_zone(spec: str, zone: str) -> str:
    """Return a spec with a time zone in front of it.

    :raises BadSpec: when the spec has one already.
    """
    own, rest = split_zone(spec.lstrip())
    if own is not None:
        raise BadSpec(
            f"it names the time zone {shown(own)}, and tz is {shown(zone)}; give the zone once, as tz={shown(zone)}"
        )
    return f"TZ={zone} {rest}"


def is_zone_name(zone: str) -> bool:
    """Return whether a text has the form of a time zone's name, such as ``Europe/Berlin``."""
    return _ZONE_NAME.fullmatch(zone) is not None


def split_fields(spec: str) -> list[str]:
    """Return the six fields of a spec without a zone. A descriptor stands for its fields.

    :raises BadSpec: when the descriptor is unknown, or the fields are neither five nor six.
    """
    if spec.startswith("@"):
        if spec not in DESCRIPTORS:
            raise BadSpec(f"{shown(spec)} must be {', '.join(DESCRIPTORS)} or '@every' and a duration")
        spec = DESCRIPTORS[spec]
    fields = spec.split()
    if len(fields) not in (5, 6):
        raise BadSpec(
            f"it has {len(fields)} fields; it must have 6 (second, minute, hour, day of month, month, "
            "day of week), or 5 without the second"
        )
    return fields if len(fields) == 6 else ["0", *fields]


def parse_period(duration: str) -> int:
    """Return the whole seconds of a Go duration.

    :raises BadSpec: when it is malformed, or not whole seconds from 1 second to 292 years.
    """
    if len(duration) > _MAX_DURATION_LENGTH:
        raise BadSpec(f"its duration has {len(duration)} characters; {_MAX_DURATION_LENGTH} are the most")
    seconds = parse_duration(duration)
    if seconds is None:
        raise BadSpec(
            f"the duration {shown(duration)} must be numbers with units, such as 90s or 1h30m "
            f"(units: {', '.join(UNITS)})"
        )
    if seconds.denominator != 1 or not 1 <= seconds <= _MAX_PERIOD:
        raise BadSpec(f"the duration {shown(duration)} must be whole seconds, 1 to {_MAX_PERIOD}")
    return int(seconds)
