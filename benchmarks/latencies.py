"""Percentiles."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile, interpolated between values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]
