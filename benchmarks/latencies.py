"""Percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles


def percentile(values: Sequence[float], place: int) -> float:
    """Return the value that a share of the values, in percent, does not exceed."""
    return quantiles(values, n=100, method="inclusive")[place - 1]
