"""The options of job types and of pools."""

from __future__ import annotations

from .job import CHUNK_WAIT, MOST_IN_CHUNK, Backoff, Extra, JobOptions, Partition, job_options_of
from .pool import MOST_WORKERS, PoolOptions, Tuning, check_version_label, check_workers, read_concurrency, read_grace

__all__ = [
    "CHUNK_WAIT",
    "MOST_IN_CHUNK",
    "MOST_WORKERS",
    "Backoff",
    "Extra",
    "JobOptions",
    "Partition",
    "PoolOptions",
    "Tuning",
    "check_version_label",
    "check_workers",
    "job_options_of",
    "read_concurrency",
    "read_grace",
]
