"""The histogram of run times as SVG, without scripts or inline styles."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce

from markupsafe import Markup

from ..models.pools import Deployment
from ..models.queues import RunTimes
from .formatting import compact, milliseconds, month_day, number, percent, plain_text, plural

_HEIGHT = 88
# The fewest buckets that are drawn, so that bars keep a shape.
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class Period:
    """The run times of the days before or since a deployment, as text.

    :ivar p50: the estimated median.
    :ivar p95: the estimated 95th percentile.
    """

    title: str
    attempts: str
    p50: str
    p95: str


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
    periods: list[Period]


def histogram(days: Sequence[tuple[str, RunTimes]], deployments: Sequence[Deployment] = ()) -> HistogramChart | None:
    """Return the histogram of the last days; ``None`` if nothing ran.

    :param days: the date (UTC) and the run times of each day, the oldest first.
    :param deployments: the newest first. The days before and since the newest are compared.
    """
    run_times = _sum(days)
    counts, bounds, total = run_times.counts, run_times.bounds, run_times.total
    if not total:
        return None
    first = next(at for at, count in enumerate(counts) if count)
    stop = len(counts) - next(at for at, count in enumerate(reversed(counts)) if count)
    stop = min(len(counts), max(stop, first + _FEWEST))
    first = max(0, min(first, stop - _FEWEST))
    drawn = counts[first:stop]
    title = f"Run times of {plural(len(days), 'day')}"
    readout = ", ".join(f"p{share} about {_quantile(run_times, share)}" for share in (50, 95, 99))
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
        periods=_periods(days, deployments[0]) if deployments else [],
    )


def _periods(days: Sequence[tuple[str, RunTimes]], deployment: Deployment) -> list[Period]:
    """Return the run times before, on and after the day of a deployment; nothing unless there are days before it."""
    began = f"{datetime.fromtimestamp(deployment.started_at, UTC):%Y-%m-%d}"
    if not days or not days[0][0] < began <= days[-1][0]:
        return []
    label, day = plain_text(deployment.version_label, 64), month_day(deployment.started_at)
    parts = [
        (f"Before {label}", [each for each in days if each[0] < began]),
        (f"{day}, when {label} began", [each for each in days if each[0] == began]),
        (f"Since then, {label}", [each for each in days if each[0] > began]),
    ]
    return [_period(title, _sum(some)) for title, some in parts if some]


def _period(title: str, run_times: RunTimes) -> Period:
    if not run_times.total:
        return Period(title, "0", "–", "–")
    return Period(title, number(run_times.total), _quantile(run_times, 50), _quantile(run_times, 95))


def _sum(days: Sequence[tuple[str, RunTimes]]) -> RunTimes:
    return reduce(operator.add, [run_times for _, run_times in days])


def _quantile(run_times: RunTimes, share: int) -> str:
    return milliseconds(run_times.quantile(share / 100) * 1000)


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
