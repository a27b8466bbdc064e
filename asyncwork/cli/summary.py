"""Short texts for the log: the jobs of a pool, and durations."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..options import JobOptions

if TYPE_CHECKING:
    from ..worker_pool import WorkerPool

_DEFAULTS = JobOptions()


def jobs(pool: WorkerPool[Any]) -> str:
    """Return the names of a pool's jobs, each with the options that differ from the defaults."""
    return ", ".join(name + _changed_options(options) for name, options in pool.job_options.items())


def _changed_options(options: JobOptions) -> str:
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    changed = [
        f"{name}={getattr(value, '__name__', value)}"
        for name, value in values.items()
        if value != getattr(_DEFAULTS, name)
    ]
    return f" ({', '.join(changed)})" if changed else ""


def duration(seconds: float) -> str:
    """Return a duration as text, such as ``3.2 s``, ``4 min 5 s`` or ``2 h``."""
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
