"""The histogram of run times as SVG, without scripts or inline styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..models.queues import RunTimes
from .formatting import compact, milliseconds, percent, plural

_HEIGHT = 88
# The fewest buckets that are drawn, so that bars keep a shape.
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class HistogramChart:
    """How many attempts took how long.

    :ivar readout: the estimated quantiles.
    :ivar summary: a description for screen readers.
    :ivar peak: the largest count, formatted.
    :ivar hits: an overlay whose columns show the counts of the bucket under the pointer.
    :ivar labels: the times that the axis shows, from its start to its end.
    """

    title: str
    readout: str
    summary: str
    peak: str
    svg: Markup
    hits: Markup
    labels: list[str]


def histogram(run_times: RunTimes, days: int) -> HistogramChart | None:
    """Return the histogram of the last days; ``None`` if nothing ran."""
    counts, bounds, total = run_times.counts, run_times.bounds, run_times.total
    if not total:
        return None
    first = next(at for at, count in enumerate(counts) if count)
    stop = len(counts) - next(at for at, count in enumerate(reversed(counts)) if count)
    stop = min(len(counts), max(stop, first + _FEWEST))
    first = max(0, min(first, stop - _FEWEST))
    drawn = counts[first:stop]
    title = f"Run times of {plural(days, 'day')}"
    estimates = ((share, milliseconds(run_times.quantile(share / 100) * 1000)) for share in (50, 95, 99))
    readout = ", ".join(f"p{share} about {text}" for share, text in estimates)
    columns = [
        Markup('<i title="%s"></i>') % f"{_range(bounds, at)}: {plural(count, 'attempt')}, {percent(count, total)}"
        for at, count in enumerate(drawn, first)
    ]
    return HistogramChart(
        title=title,
        readout=readout,
        summary=f"{title}: {plural(total, 'attempt')}; {readout}.",
        peak=compact(max(drawn)),
        svg=_bars(drawn),
        hits=Markup('<div class="hits">%s</div>') % Markup("").join(columns),
        labels=[_bound(bounds, each) for each in (first, (first + stop) // 2, stop)],
    )


def _bars(counts: Sequence[int]) -> Markup:
    peak = max(counts)
    # A bar is at least one unit high, so that every count above zero can be seen.
    heights = [max(1, round(count / peak * (_HEIGHT - 1))) if count else 0 for count in counts]
    bars = (f"M{x} {_HEIGHT}V{_HEIGHT - height}" for x, height in enumerate(heights) if height)
    return Markup(
        '<svg class="processed" viewBox="-.5 0 %d %d" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="%s"/></svg>'
    ) % (len(counts), _HEIGHT, "".join(bars))


def _bound(bounds: Sequence[float], at: int) -> str:
    """Return where a bucket starts, as text."""
    if at > len(bounds):
        return "more"
    return milliseconds(bounds[at - 1] * 1000) if at else "0"


def _range(bounds: Sequence[float], at: int) -> str:
    if at >= len(bounds):
        return f"{_bound(bounds, at)} or more"
    return f"{_bound(bounds, at)} to {milliseconds(bounds[at] * 1000)}"
