"""For tests of programs that use asyncwork: the audit, and what the pytest plugin's fixture ``jobs`` is made of."""

from .invariants import audit
from .job_maker import make_job
from .jobs import Jobs, SyncJobs, open_jobs
from .moving_clock import MovingClock
from .records import JobRun, ListedJob, OutcomeName

__all__ = ["JobRun", "Jobs", "ListedJob", "MovingClock", "OutcomeName", "SyncJobs", "audit", "make_job", "open_jobs"]
