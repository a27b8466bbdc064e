"""What a pool knows of one job name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .._jobs.calling import Call
from ..options import JobOptions
from .metrics import QueueMetrics
from .result_keeper import ResultKeeper


@dataclass(frozen=True, slots=True)
class JobType:
    """How to run the jobs of one name, and where to count them.

    :ivar call: runs a job with all middleware around its handler.
    :ivar keeper: makes the records of its jobs; ``None`` if it keeps no results.
    :ivar ignored: by argument name, the number of jobs that had an argument which the handler does not take.
    """

    call: Call
    options: JobOptions
    keeper: ResultKeeper | None = None
    metrics: QueueMetrics = field(default_factory=QueueMetrics)
    ignored: Mapping[str, int] = field(default_factory=dict)
