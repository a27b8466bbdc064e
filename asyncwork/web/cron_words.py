"""Describe cron specs in plain words."""

from __future__ import annotations

import re
from functools import lru_cache

from cron_descriptor import ExpressionDescriptor, Options

from .._jobs.cron_fields import CRON_FIELDS
from .._jobs.cron_spec import DESCRIPTORS, EVERY, MAX_SPEC_LENGTH, BadSpec, is_zone_name, split_fields, split_zone
from .._jobs.go_duration import split_duration

_DESCRIPTOR_WORDS = {
    DESCRIPTORS["@yearly"]: "Every year on January 1 at 00:00",
    DESCRIPTORS["@monthly"]: "Every month on day 1 at 00:00",
    DESCRIPTORS["@weekly"]: "Every week on Sunday at 00:00",
    DESCRIPTORS["@daily"]: "Every day at 00:00",
    DESCRIPTORS["@hourly"]: "Every hour",
}
_UNIT_WORDS = {
    "h": "hour",
    "m": "minute",
    "s": "second",
    "ms": "millisecond",
    "us": "microsecond",
    "ns": "nanosecond",
}


def in_words(spec: str) -> str:
    """Return when a spec fires, such as ``At 02:30, Monday through Friday, time of Europe/Berlin``.

    The text is empty when the spec cannot be read or is longer than a schedule's may be.
    """
    # A spec comes from a heartbeat, so anyone who can write to Redis may have written it.
    return _in_words(spec.strip()) if len(spec) <= MAX_SPEC_LENGTH else ""


@lru_cache(maxsize=1_000)
def _in_words(spec: str) -> str:
    zone, rest = split_zone(spec)
    if zone is None:
        return _without_zone(rest)
    words = _without_zone(rest)
    return f"{words}, time of {zone}" if words and is_zone_name(zone) else ""


def _without_zone(spec: str) -> str:
    if spec.startswith(EVERY):
        return _every(spec.removeprefix(EVERY).strip())
    if spec in DESCRIPTORS:
        return _DESCRIPTOR_WORDS[DESCRIPTORS[spec]]
    return _describe(spec)


def _every(duration: str) -> str:
    parts = [(number, unit) for number, unit in split_duration(duration) or () if float(number)]
    if not parts:
        return ""
    if len(parts) == 1 and parts[0][0] == "1":
        return f"Every {_UNIT_WORDS[parts[0][1]]}"
    return "Every " + " ".join(f"{number} {_UNIT_WORDS[unit]}{'' if number == '1' else 's'}" for number, unit in parts)


def _describe(spec: str) -> str:
    try:
        texts = split_fields(spec)
        # cron-descriptor would spell out ? and */1, which mean the same as a star.
        texts[3:] = [
            "*" if field.parse(text).starred else text for field, text in zip(CRON_FIELDS[3:], texts[3:], strict=True)
        ]
    except BadSpec:
        return ""
    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"
    try:
        words = ExpressionDescriptor(" ".join(texts), options).get_description()
    except Exception:  # A spec that it cannot read is shown as it is written.
        return ""
    return f"Every day at {words[3:]}" if re.fullmatch(r"At \d\d:\d\d(:\d\d)?", words) else words
