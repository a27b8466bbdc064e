"""What asyncwork tells about jobs and pools: plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    """A job that was put into Redis.

    :ivar name: the job's name.
    :ivar id: its id, 24 hex digits.
    :ivar args: its arguments, or ``None`` when it was enqueued without.
    :ivar enqueued_at: when it was enqueued, epoch seconds.
    :ivar run_at: when it is due, epoch seconds; the same as ``enqueued_at`` when it may run at once.
    :ivar unique: whether it holds a unique key until a worker starts it.
    """

    name: str
    id: str
    args: Mapping[str, Any] | None = field(repr=False)
    enqueued_at: int
    run_at: int
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What a pool has done since it was started.

    :ivar done: how many jobs ended well.
    :ivar failed: how many attempts failed, of jobs that are tried again or are dead now.
    """

    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a worker pool writes about itself.

    Times are epoch seconds. ``job_names`` and ``worker_ids`` are sorted.
    """

    pool_id: str
    heartbeat_at: int
    started_at: int
    job_names: tuple[str, ...]
    concurrency: int
    worker_ids: tuple[str, ...]
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What one worker is doing now.

    :ivar started_at: when the job began here, epoch seconds.
    :ivar args: the job's arguments as JSON text, empty without any.
    :ivar checkin: the newest text that the handler gave to :meth:`Job.checkin`, or empty.
    :ivar checkin_at: when it did, epoch seconds, or 0.
    """

    worker_id: str
    job_name: str
    job_id: str
    started_at: int
    args: bytes = field(repr=False)
    checkin: str = ""
    checkin_at: int = 0
