"""What a pool is, in a few lines for the log."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..options import JobOptions
from ..worker_pool import WorkerPool

_DEFAULTS = JobOptions()


def jobs(pool: WorkerPool[Any]) -> str:
    """Return the names of a pool's jobs, with what is not as usual about each."""
    return ", ".join(name + _unusual(options) for name, options in pool.job_options.items())


def _unusual(options: JobOptions) -> str:
    set_up = {each.name: getattr(options, each.name) for each in fields(options)}
    shown = [
        f"{name}={getattr(value, '__name__', value)}"
        for name, value in set_up.items()
        if value != getattr(_DEFAULTS, name)
    ]
    return f" ({', '.join(shown)})" if shown else ""


def duration(seconds: float) -> str:
    """Say how long something took, or is to take: ``3.2 s``, ``4 min 5 s``, ``2 h``."""
    if seconds < 60:
        return f"{round(seconds, 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
