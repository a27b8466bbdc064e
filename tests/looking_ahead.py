"""Has pools look ahead in tests, whatever the rate of their jobs."""

from __future__ import annotations

import pytest

from asyncwork._worker.look_ahead import LookAhead


def look_ahead(patch: pytest.MonkeyPatch, size: int) -> None:
    """Have each pool want to hold as many jobs as this beyond its workers, as soon as it has fetched any."""

    def measure(self: LookAhead, now: float, ended: int) -> None:
        if now >= self._not_before:
            self.wanted, self._wanted_at = size, now

    patch.setattr(LookAhead, "measure", measure)
