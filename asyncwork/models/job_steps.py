"""The steps of a job, as they are recorded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JobStep:
    """A step, a sleep, an event or a cursor of a job.

    :ivar name: its name.
    :ivar kind: ``step``, ``sleep``, ``event`` or ``cursor``.
    :ivar state: ``done``; ``waits``, for a sleep or an event that is not over; ``late``, for an event that has not come
        in time; ``early``, for one that has come before the job has asked for it; or ``moves``, for a cursor that has
        rows left.
    :ivar started_at: when it began, epoch seconds; 0 for an event that has come before it was asked for.
    :ivar ended_at: when it was done, when the event came, or when the cursor's position was last recorded, epoch
        seconds; 0 while it waits.
    :ivar until: until when a sleep or an event waits, epoch seconds, or 0.
    :ivar value: what the step returned, what the event has brought, or the position of the cursor, as JSON; empty if
        there is nothing, or if values are hidden.
    """

    name: str
    kind: str
    state: str
    started_at: float = 0.0
    ended_at: float = 0.0
    until: int = 0
    value: str = field(default="", repr=False)
