"""What a pool knows of one job name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._jobs.calling import Call
from ..options import JobOptions
from .metrics import QueueMetrics


@dataclass(frozen=True, slots=True)
class JobType:
    """How to run the jobs of one name, and where to count them.

    :ivar call: runs a job with all middleware around its handler.
    :ivar ignored: by argument name, the number of jobs that had an argument which the handler does not take.
    """

    call: Call
    options: JobOptions
    metrics: QueueMetrics = field(default_factory=QueueMetrics)
    ignored: Mapping[str, int] = field(default_factory=dict)
