"""The placement of a new job that is not just the next of its queue."""

from __future__ import annotations

from typing import NamedTuple

from .._jobs.hold import mark_of
from ..unique import Debounce, Throttle, Unique


class Placement(NamedTuple):
    """Where a job goes that is not just the next of its queue.

    :ivar run_at: when it is due, epoch seconds; ``None`` for a job that may run at once.
    :ivar unique_key: the key that keeps it unique; empty for a job that is not unique.
    :ivar by_key: whether it is unique by a mapping, so that a duplicate is to run in place of the waiting job.
    :ivar front: whether it goes to the front of its queue.
    :ivar own_id: whether the caller has chosen its id, so that another job may be equal to it.
    :ivar rule: what keeps it from being enqueued too often, other than a unique key; ``None`` for nothing.
    :ivar digest: of the values by which that rule distinguishes jobs.
    :ivar conflicts: whether a duplicate by its unique key is an error.
    :ivar tenant: whose turn it takes in a fair queue; ``None`` for a job that goes to the plain list.
    """

    run_at: int | None
    unique_key: str
    by_key: bool
    front: bool
    own_id: bool = False
    rule: Unique | Debounce | Throttle | None = None
    digest: str = ""
    conflicts: bool = False
    tenant: str | None = None

    @property
    def is_next(self) -> bool:
        """Whether it is just the next of its tenant."""
        return self.tenant is not None and self == NEXT._replace(tenant=self.tenant)

    @property
    def hold(self) -> str:
        """The mark in the payload for the key that the job holds until it has ended; empty if it holds none."""
        return mark_of(self.rule.until, self.digest) if isinstance(self.rule, Unique) else ""


NEXT = Placement(run_at=None, unique_key="", by_key=False, front=False)
