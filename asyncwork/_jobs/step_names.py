"""The names of steps, and the limits of what is kept of a job's steps."""

from __future__ import annotations

from ..errors import UsageError
from .printable import shown

# Characters of a name.
LONGEST_NAME = 200
# Steps, sleeps, events and cursors of a job.
MOST_STEPS = 1_000
# Bytes of the JSON of a result, an event or a position; and of all of a job together, which are read at once.
RESULT_LIMIT, TOTAL_LIMIT = 262_144, 16_777_216
# Events that a job has not waited for, and bytes of the JSON of their values: nothing else bounds what is sent to it.
MOST_EARLY, EARLY_LIMIT = 1_000, 4_194_304
# Seconds for which a job's steps are kept after the last change of them, or after the time until which it waits.
KEPT_FOR = 30 * 86_400


def check_name(name: object) -> str:
    """Return the name of a step.

    :raises UsageError: when it is not text of 1 to 200 printable characters.
    """
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a step's name must be text of 1 to {LONGEST_NAME} printable characters, not {shown(name)}")
    return str.__str__(name)
