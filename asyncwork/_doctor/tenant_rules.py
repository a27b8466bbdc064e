"""Rules for fair queues. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .._jobs.printable import plural, printable
from ..models.diagnosis import Problem
from .wording import REPAIR


def tenant_drift(wrong: Mapping[str, int]) -> Iterator[Problem]:
    """Yield the problems of fair queues for whose tenants Redis holds something that does not follow from their jobs.

    :param wrong: by queue, for how many tenants.
    """
    for name, count in wrong.items():
        yield Problem(
            "tenant_drift",
            name,
            f"the state of {plural(count, 'tenant')} of the fair queue {printable(name)} does not fit its jobs: some "
            "may wait although they could run, or more run than may",
            "a pool corrects it within a minute; otherwise let the doctor do it, which is safe while pools run",
            REPAIR,
        )
