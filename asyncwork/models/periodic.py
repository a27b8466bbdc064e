"""Periodic jobs: what enqueues them, how they were changed at run time, and their last runs.

``PeriodicState`` has more than ten arguments, because it shows what the code says of a job and what was changed in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .job_status import JobState


@dataclass(frozen=True, slots=True)
class PeriodicState:
    """A periodic job, which a schedule enqueues.

    :ivar spec: the schedule as it was written, in force now.
    :ivar key: identifies it among the periodic jobs of the namespace. It stays when the job is edited.
    :ivar args: its arguments as JSON, in force now; ``null`` also when they are unknown, because no pool has the job.
    :ivar next: when it fires next, epoch seconds; ``None`` when it is paused, or no running pool plans it.
    :ivar last: when it last fired, epoch seconds; ``None`` when no firing is recorded.
    :ivar paused: whether it was paused, and fires no more until it is unpaused.
    :ivar added: whether it was added at run time, not by code.
    :ivar edited: whether it was edited at run time, so that something else is in force than the code says.
    :ivar code_spec: the schedule that the code says, if it was edited; otherwise empty.
    :ivar code_args: the arguments that the code says, as JSON, if it was edited; ``None`` otherwise, and when they are
        unknown, because no pool has the job.
    :ivar tz: the time zone that the schedule names; empty for that of each host.
    :ivar changed_by: the user who changed it last; empty if that was not given, or it was not changed.
    :ivar changed_at: when it was changed last, epoch seconds; ``None`` if it was not changed.
    :ivar served: whether a registered pool has a handler for its jobs. An added job without one is not planned.
    """

    name: str
    spec: str
    key: str
    args: bytes = field(default=b"null", repr=False)
    next: int | None = None
    last: int | None = None
    paused: bool = False
    added: bool = False
    edited: bool = False
    code_spec: str = ""
    code_args: bytes | None = field(default=None, repr=False)
    tz: str = ""
    changed_by: str = ""
    changed_at: int | None = None
    served: bool = True


@dataclass(frozen=True, slots=True)
class PeriodicRun:
    """One run of a periodic job: an instance of its schedule, or one that was enqueued beside it.

    :ivar at: the time of the instance, or when it was enqueued beside the schedule, epoch seconds.
    :ivar job_id: the id of the job.
    :ivar manual: whether it was enqueued by :meth:`Client.run_periodic`, not by the schedule.
    :ivar who: the user who has enqueued it; empty if that was not given, or the schedule has.
    :ivar state: where the job is, or how it has ended; ``None`` when that is unknown, as it is after the end of jobs
        whose records are not kept.
    """

    at: int
    job_id: str
    manual: bool = False
    who: str = ""
    state: JobState | None = None
