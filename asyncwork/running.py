"""Which job the code that runs now belongs to, for the log: each record made meanwhile carries its name and id."""

from __future__ import annotations

import logging
from contextvars import ContextVar

from .job import Job

current_job: ContextVar[Job | None] = ContextVar("asyncwork_job", default=None)


class JobFilter(logging.Filter):
    """Adds ``job_name`` and ``job_id`` to every log record; both are empty outside of jobs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the two fields where they are not given; lets every record through."""
        if not hasattr(record, "job_id"):
            job = current_job.get()
            record.job_name = "" if job is None else job.name
            record.job_id = "" if job is None else job.id
        return True
