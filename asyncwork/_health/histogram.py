"""A histogram of durations, whose buckets end at powers of two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .report import HistogramReport

# The upper bounds of the buckets, seconds; the last bucket has none. Times are counted from a millisecond to 4.7 hours,
# waits from a second to 36 hours, because a payload has the second in which its job was enqueued.
BOUNDS = tuple(2**power / 1000 for power in range(25))
WAIT_BOUNDS = tuple(float(2**power) for power in range(18))
# Numbers of jobs.
CHUNK_BOUNDS = tuple(float(2**power) for power in range(15))


class Histogram:
    """Counts durations by their length."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[min(int(seconds * 1000).bit_length(), len(BOUNDS))] += 1
        self.sum += seconds

    def reading(self) -> tuple[Sequence[int], float]:
        """Return the counts and the sum."""
        return self.counts, self.sum


def quantile(counts: Sequence[int], share: float, bounds: Sequence[float] = BOUNDS) -> float:
    """Return an estimate of the time, in seconds, that a share of all durations did not exceed.

    Durations are taken to be spread evenly over their bucket; those of the last one count as its lower bound. Without
    durations, it is 0.

    :param counts: by bucket.
    :param share: from 0 to 1, such as 0.95.
    :param bounds: where the buckets end, seconds; the last one has no end.
    """
    rest = share * sum(counts)
    for at, count in enumerate(counts):
        if count and rest <= count:
            start = bounds[at - 1] if at else 0.0
            end = bounds[at] if at < len(bounds) else start
            return start + (end - start) * rest / count
        rest -= count
    return bounds[-1] if any(counts) else 0.0


def histogram_of(
    histograms: Iterable[tuple[Sequence[int], float]], bounds: Sequence[float] = BOUNDS
) -> HistogramReport:
    """Return the sum of some histograms, each given as counts and sum, as it is in reports."""
    counts, total = [0] * (len(bounds) + 1), 0.0
    for some, their_sum in histograms:
        for at, count in enumerate(some):
            counts[min(at, len(bounds))] += count
        total += their_sum
    return {"counts": counts, "sum": total}
