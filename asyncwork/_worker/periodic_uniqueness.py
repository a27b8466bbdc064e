"""The keys that instances of periodic jobs hold, which they take when they are due."""

from __future__ import annotations

from collections.abc import Mapping

from .._jobs.hold import digest_of, mark_of
from .._jobs.rule_arguments import values_of
from ..errors import UsageError
from ..job import Job
from ..options import JobOptions
from ..unique import Unique


class PeriodicUniqueness:
    """Says which key an instance of a periodic job is to hold, by the options of its type.

    Nothing is kept out when instances are planned. An instance that is due while another job holds its key is dropped.

    :param options: by job name.
    """

    def __init__(self, options: Mapping[str, JobOptions]) -> None:
        self._rules = {
            name: rule
            for name, each in options.items()
            if isinstance(rule := each.rule, Unique) and rule.until != "start"
        }

    def mark(self, job: Job) -> str:
        """Return what the payload of an instance is to say of its key; empty if it holds none."""
        if (rule := self._rules.get(job.name)) is None or job._hold is not None:
            return ""
        try:
            return mark_of(rule.until, digest_of(values_of(rule, job.name, job.given_args)))
        except UsageError:
            # A schedule of another program has no such argument.
            return ""


NOTHING_UNIQUE = PeriodicUniqueness({})
