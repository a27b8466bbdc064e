"""The histogram of run times as SVG, without scripts or inline styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from .._health.histogram import BOUNDS, quantile
from ..models.pools import Deployment
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


def histogram(
    days: Sequence[tuple[str, Sequence[int]]], deployments: Sequence[Deployment] = ()
) -> HistogramChart | None:
    """Return the histogram of the last days; ``None`` if nothing ran.

    :param days: the date (UTC) and the counts of each day, by bucket of :data:`asyncwork._health.histogram.BOUNDS`; the
        oldest first.
    :param deployments: the newest first. The days before and since the newest are compared.
    """
    counts = _sum([each for _, each in days])
    total = sum(counts)
    if not total:
        return None
    first = next(at for at, count in enumerate(counts) if count)
    stop = len(counts) - next(at for at, count in enumerate(reversed(counts)) if count)
    stop = min(len(counts), max(stop, first + _FEWEST))
    first = max(0, min(first, stop - _FEWEST))
    drawn = counts[first:stop]
    title = f"Run times of {plural(len(days), 'day')}"
    readout = ", ".join(f"p{share} about {_quantile(counts, share)}" for share in (50, 95, 99))
    columns = [
        Markup('<i title="%s"></i>') % f"{_range(at)}: {plural(count, 'attempt')}, {percent(count, total)}"
        for at, count in enumerate(drawn, first)
    ]
    return HistogramChart(
        title=title,
        readout=readout,
        summary=f"{title}: {plural(total, 'attempt')}; {readout}.",
        peak=compact(max(drawn)),
        svg=_bars(drawn),
        hits=Markup('<div class="hits">%s</div>') % Markup("").join(columns),
        labels=[_bound(first), _bound((first + stop) // 2), _bound(stop)],
        periods=_periods(days, deployments[0]) if deployments else [],
    )


def _periods(days: Sequence[tuple[str, Sequence[int]]], deployment: Deployment) -> list[Period]:
    """Return the run times before, on and after the day of a deployment; nothing unless there are days before it."""
    began = f"{datetime.fromtimestamp(deployment.started_at, UTC):%Y-%m-%d}"
    if not days or not days[0][0] < began <= days[-1][0]:
        return []
    label, day = plain_text(deployment.version_label, 64), month_day(deployment.started_at)
    parts = [
        (f"Before {label}", [each for date, each in days if date < began]),
        (f"{day}, when {label} began", [each for date, each in days if date == began]),
        (f"Since then, {label}", [each for date, each in days if date > began]),
    ]
    return [_period(title, _sum(counts)) for title, counts in parts if counts]


def _period(title: str, counts: Sequence[int]) -> Period:
    if not sum(counts):
        return Period(title, "0", "–", "–")
    return Period(title, number(sum(counts)), _quantile(counts, 50), _quantile(counts, 95))


def _sum(days: Sequence[Sequence[int]]) -> list[int]:
    return [sum(each) for each in zip(*days, strict=True)]


def _quantile(counts: Sequence[int], share: int) -> str:
    return milliseconds(quantile(counts, share / 100) * 1000)


def _bars(counts: Sequence[int]) -> Markup:
    peak = max(counts)
    # A bar is at least one unit high, so that every count above zero can be seen.
    heights = [max(1, round(count / peak * (_HEIGHT - 1))) if count else 0 for count in counts]
    bars = (f"M{x} {_HEIGHT}V{_HEIGHT - height}" for x, height in enumerate(heights) if height)
    return Markup(
        '<svg class="processed" viewBox="-.5 0 %d %d" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="%s"/></svg>'
    ) % (len(counts), _HEIGHT, "".join(bars))


def _bound(at: int) -> str:
    """Return where a bucket starts, as text."""
    if at > len(BOUNDS):
        return "more"
    return milliseconds(BOUNDS[at - 1] * 1000) if at else "0"


def _range(at: int) -> str:
    if at >= len(BOUNDS):
        return f"{_bound(at)} or more"
    return f"{_bound(at)} to {milliseconds(BOUNDS[at] * 1000)}"
