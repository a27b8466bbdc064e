"""The input of a form or a request about a periodic job, checked before it is saved."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from .._admin.next_firings import next_firings
from .._jobs.printable import shown
from .._json import codec
from ..errors import PayloadError, UsageError
from ..schedule import Schedule
from . import cron_words
from .params import Params


@dataclass(frozen=True, slots=True)
class SchedulePreview:
    """When a schedule will fire.

    :ivar spec: the spec, with the time zone that was given beside it.
    :ivar words: the spec in words; empty if it cannot be described.
    :ivar next: the next firings, epoch seconds. Without a time zone, they are by the clock of this host.
    """

    spec: str
    words: str
    next: list[int]


def preview(spec: str, tz: str = "") -> SchedulePreview:
    """Return when a schedule will fire.

    :param tz: the name of its time zone; empty for that of each host, or the one that the spec names.
    :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
    """
    schedule = Schedule.parse(spec, tz or None)
    return SchedulePreview(schedule.spec, cron_words.in_words(schedule.spec), next_firings(schedule, time.time()))


def read_arguments(params: Params) -> dict[str, Any] | None:
    """Return the arguments of a job, which ``args`` has as JSON; ``None`` without it, or if it is empty.

    :raises UsageError: when it is no JSON object.
    """
    text = params.text("args")
    if not text.strip():
        return None
    try:
        args = codec.decode(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise UsageError("args must be JSON in UTF-8") from None
    except PayloadError as error:
        raise UsageError(f"args is {error}") from None
    if not isinstance(args, dict):
        raise UsageError(f"""args must be a JSON object with names, such as {{"days": 7}}, not {shown(text)}""")
    return args
