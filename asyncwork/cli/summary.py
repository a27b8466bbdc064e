"""Short texts about the jobs of a pool, for the log."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..options import JobOptions

if TYPE_CHECKING:
    from ..worker_pool import WorkerPool

_DEFAULTS = JobOptions()
NO_JOBS = "the pool has no jobs: does the app import the modules that define its handlers?"


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
