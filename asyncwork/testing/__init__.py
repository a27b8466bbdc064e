"""For tests of programs that use asyncwork: the audit, and what the pytest plugin's fixture ``jobs`` is made of."""

from .eager_block import EagerBlock
from .invariants import audit
from .job_maker import make_job
from .jobs import Jobs
from .moving_clock import MovingClock
from .opening import open_jobs
from .records import JobRun, ListedJob, OutcomeName
from .sync_jobs import SyncJobs

__all__ = [
    "EagerBlock",
    "JobRun",
    "Jobs",
    "ListedJob",
    "MovingClock",
    "OutcomeName",
    "SyncJobs",
    "audit",
    "make_job",
    "open_jobs",
]
