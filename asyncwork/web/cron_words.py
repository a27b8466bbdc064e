"""Cron specs in plain words."""

from __future__ import annotations

import re
from functools import lru_cache

from cron_descriptor import ExpressionDescriptor, Options

from ..schedule import MAX_SPEC_LENGTH

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)
_NAMED = {
    "@yearly": "Every year on January 1 at 00:00",
    "@annually": "Every year on January 1 at 00:00",
    "@monthly": "Every month on day 1 at 00:00",
    "@weekly": "Every week on Sunday at 00:00",
    "@daily": "Every day at 00:00",
    "@midnight": "Every day at 00:00",
    "@hourly": "Every hour",
}
_PART = re.compile(r"([0-9]++(?:\.[0-9]++)?)(h|ms|us|ns|m|s)")
_UNITS = {"h": "hour", "m": "minute", "s": "second", "ms": "millisecond", "us": "microsecond", "ns": "nanosecond"}


def in_words(spec: str) -> str:
    """Return when a spec fires, such as ``At 02:30, Monday through Friday, time of Europe/Berlin``; empty when unclear,
    or longer than a schedule's may be.

    Six fields with seconds first, five with minutes first, ``@hourly`` and the like, ``@every 1h30m``; a zone may
    stand in front.
    """
    # What a heartbeat holds anybody may have written who can write to Redis.
    return _in_words(spec.strip()) if len(spec) <= MAX_SPEC_LENGTH else ""


@lru_cache(maxsize=1_000)
def _in_words(spec: str) -> str:
    if match := _ZONE.fullmatch(spec):
        words = _without_zone(match[2])
        return f"{words}, time of {match[1]}" if words else ""
    return _without_zone(spec)


def _without_zone(spec: str) -> str:
    if spec.startswith("@every "):
        return _every(spec.removeprefix("@every ").strip())
    return _NAMED.get(spec) or _described(spec)


def _every(duration: str) -> str:
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return ""
    parts = [(number, unit) for number, unit in parts if float(number)]
    if not parts:
        return ""
    if len(parts) == 1 and parts[0][0] == "1":
        return f"Every {_UNITS[parts[0][1]]}"
    return "Every " + " ".join(f"{number} {_UNITS[unit]}{'' if number == '1' else 's'}" for number, unit in parts)


def _described(spec: str) -> str:
    fields = spec.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        return ""
    # Each of these says the same as its longer form, which cron-descriptor spells out.
    fields[3:] = ["*" if field in ("?", "*/1") else field for field in fields[3:]]
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        words = ExpressionDescriptor(" ".join(fields), options).get_description()
    except Exception:  # Whatever it cannot read is shown as it is written.
        return ""
    return f"Every day at {words[3:]}" if re.fullmatch(r"At \d\d:\d\d(:\d\d)?", words) else words
