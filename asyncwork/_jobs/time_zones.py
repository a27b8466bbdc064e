"""Find the UTC offsets of the host and of time zones, and the moments at which they change."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from .cron_spec import BadSpec, is_zone_name
from .names import suggestion
from .printable import shown

_DAY: Final = 86_400

OffsetAt = Callable[[int], int]
"""Maps an epoch second to the UTC offset in force then, in seconds."""


def find_zone(zone: str | None) -> OffsetAt:
    """Return the UTC offsets of a time zone; ``None`` and ``Local`` mean that of the host.

    :raises BadSpec: when the host does not know the zone.
    """
    if zone is None or zone == "Local":
        return _host_offset
    # Hosts without zone files know UTC, too.
    if zone == "UTC":
        return _utc_offset
    try:
        if not is_zone_name(zone):
            raise ZoneInfoNotFoundError(zone)
        return partial(_zone_offset, ZoneInfo(zone))
    # A directory of zones, such as America, is an OSError; a file that is not a zone a ValueError.
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise BadSpec(
            f"there is no time zone {shown(zone)} on this host; it must be a name such as Europe/Berlin "
            "(case counts), followed by a blank. A host without zone files needs the package tzdata"
        ) from None


def check_zone(zone: object) -> str:
    """Return the name of a time zone that the host knows, given by its name or as a :class:`~zoneinfo.ZoneInfo`.

    :raises BadSpec: when it is not; the message says which name would be right.
    """
    if isinstance(zone, ZoneInfo):
        zone = zone.key  # None for one that was read from a file
    if not isinstance(zone, str):
        raise BadSpec(f"tz must be a time zone or its name, such as 'Europe/Berlin', not {shown(zone)}")
    # Formatting a member of a string enum gives its name, so take its text.
    zone = str.__str__(zone)
    try:
        find_zone(zone)
    except BadSpec:
        names = available_timezones()
        hint = suggestion(zone, names) if names else ". This host has no zone files: install the package tzdata"
        raise BadSpec(
            "tz must be the name of a time zone that this host knows, such as 'Europe/Berlin' (case counts), "
            f"not {shown(zone)}{hint}"
        ) from None
    return zone


def find_change(offset_at: OffsetAt, first: int, last: int) -> int | None:
    """Return the first second in ``first < t <= last`` whose UTC offset differs from that of ``first``."""
    offset = offset_at(first)
    # No zone has changed its offset twice within six days since 1970.
    for same in range(first, last, _DAY):
        other = min(same + _DAY, last)
        if offset_at(other) != offset:
            return _bisect(offset_at, same, other)
    return None


def _bisect(offset_at: OffsetAt, same: int, other: int) -> int:
    offset = offset_at(same)
    while other - same > 1:
        middle = (same + other) // 2
        if offset_at(middle) == offset:
            same = middle
        else:
            other = middle
    return other


def _host_offset(second: int) -> int:
    return time.localtime(second).tm_gmtoff


def _utc_offset(second: int) -> int:
    return 0


def _zone_offset(zone: ZoneInfo, second: int) -> int:
    wall = datetime.fromtimestamp(second, zone)
    return int(wall.replace(tzinfo=UTC).timestamp()) - second
