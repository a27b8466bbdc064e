"""Charts of job metrics as SVG, without scripts or inline styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..models.pools import Deployment
from ..models.queues import JobCounts
from .deployment_marks import DeploymentMarks, deployment_marks
from .formatting import compact, milliseconds, month_day, number, percent, plural, time_of_day


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One quantity over time.

    :ivar kind: its CSS class: ``processed``, ``failed``, ``wait`` or ``run``.
    :ivar peak: the largest value, formatted.
    """

    kind: str
    title: str
    peak: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Chart:
    """Several quantities over the same period, one below the other.

    :ivar kind: ``minutes`` or ``days``.
    :ivar summary: a description of the whole chart for screen readers.
    :ivar hits: an overlay whose columns show the values of the interval under the pointer.
    :ivar deployments: the marks of versions that began within the period.
    :ivar start: the start of the first interval, epoch seconds.
    :ivar step: the length of an interval, seconds.
    :ivar counts: the metrics of each interval, oldest first.
    """

    kind: str
    title: str
    summary: str
    rows: list[ChartRow]
    hits: Markup
    deployments: DeploymentMarks
    start: int
    step: int
    counts: Sequence[JobCounts]

    @property
    def total(self) -> JobCounts:
        """The sum of all intervals."""
        return total(self.counts)

    @property
    def marks(self) -> list[int]:
        """The times that the axis shows, epoch seconds."""
        return [self.start + self.step * (len(self.counts) * part // 4) for part in range(4)] if self.counts else []


_HEIGHTS = {"processed": 88, "failed": 32, "wait": 32, "run": 32}
_STEPS = {"minutes": 60, "days": 86_400}
_Value = Callable[[JobCounts], float]


def average_wait(counts: JobCounts) -> float:
    """Return the average time that a job waited, milliseconds."""
    return counts.wait_ms / counts.processed if counts.processed else 0.0


def average_run(counts: JobCounts) -> float:
    """Return the average time that an attempt ran, milliseconds."""
    return counts.run_ms / counts.processed if counts.processed else 0.0


_ROWS: tuple[tuple[str, str, _Value, Callable[[float], str]], ...] = (
    ("processed", "Processed", lambda counts: counts.processed, compact),
    ("failed", "Failed", lambda counts: counts.failed, number),
    ("wait", "Waited", average_wait, milliseconds),
    ("run", "Ran", average_run, milliseconds),
)


def chart(kind: str, counts: Sequence[JobCounts], deployments: Sequence[Deployment] = ()) -> Chart:
    """Return the chart of consecutive minutes or days, oldest first.

    :param deployments: the newest first; those within the period are marked.
    """
    rows = [
        _row(name, title, [value(each) for each in counts], format_value) for name, title, value, format_value in _ROWS
    ]
    start = counts[0].at if counts else 0
    title = f"Last {len(counts)} {kind}"
    step = _STEPS[kind]
    marks = deployment_marks(deployments, start, step, len(counts))
    summary = " ".join([_summary(title, counts), *marks.sentences])
    return Chart(kind, title, summary, rows, _hits(kind, counts, marks), marks, start, step, counts)


def spark(counts: Sequence[JobCounts]) -> Markup:
    """Return a small chart of processed jobs, without text."""
    values = [each.processed for each in counts]
    return _bars("spark", values, 20) if any(values) else Markup()


def total(counts: Sequence[JobCounts]) -> JobCounts:
    """Return the sum of counts."""
    sums = [
        sum(getattr(each, name) for each in counts)
        for name in ("processed", "failed", "retried", "dead", "run_ms", "wait_ms", "expired", "cancelled")
    ]
    return JobCounts(counts[0].at if counts else 0, *sums)


def _row(kind: str, title: str, values: Sequence[float], format_value: Callable[[float], str]) -> ChartRow:
    peak = max(values, default=0)
    return ChartRow(kind, title, format_value(peak) if peak else "", _bars(kind, values, _HEIGHTS[kind]))


def _bars(kind: str, values: Sequence[float], height: int) -> Markup:
    peak = max(values, default=0) or 1
    # A bar is at least one unit high, so that every value above zero can be seen.
    tops = [height - max(1, round(value / peak * (height - 1))) if value > 0 else None for value in values]
    bars = [f"M{x} {height}V{top}" if top is not None else "" for x, top in enumerate(tops)]
    # The last interval is still running and is drawn in another colour.
    return Markup(
        '<svg class="%s" viewBox="-.5 0 %d %d" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="%s"/><path class="now" d="%s"/></svg>'
    ) % (kind, len(values) or 1, height, "".join(bars[:-1]), "".join(bars[-1:]))


def _hits(kind: str, counts: Sequence[JobCounts], marks: DeploymentMarks) -> Markup:
    texts = [_interval_text(kind, each) for each in counts]
    for at, began in marks.columns.items():
        texts[at] += f". {began}"
    columns = (Markup('<i title="%s"></i>') % text for text in texts)
    return Markup('<div class="hits">%s</div>') % Markup("").join(columns)


def _interval_text(kind: str, counts: JobCounts) -> str:
    when = time_of_day(counts.at) if kind == "minutes" else month_day(counts.at)
    return f"{when}: {summarize(counts)}"


def summarize(counts: JobCounts) -> str:
    """Return metrics as a short text."""
    if not counts.processed:
        return "no attempts"
    return (
        f"{compact(counts.processed)} processed, {percent(counts.failed, counts.processed)} failed, "
        f"waited {milliseconds(average_wait(counts))}, ran {milliseconds(average_run(counts))}{_dropped(counts)}"
    )


def _dropped(counts: JobCounts) -> str:
    """Return how many jobs expired or were cancelled, as the end of a text; empty if none were."""
    expired = f", {compact(counts.expired)} expired" if counts.expired else ""
    return f"{expired}, {compact(counts.cancelled)} cancelled" if counts.cancelled else expired


def _summary(title: str, counts: Sequence[JobCounts]) -> str:
    whole = total(counts)
    if not whole.processed:
        return f"{title}: no attempts."
    peak = max(counts, key=lambda each: each.processed)
    when = time_of_day(peak.at) if title.endswith("minutes") else month_day(peak.at)
    return (
        f"{title}: {plural(whole.processed, 'attempt')}, {percent(whole.failed, whole.processed)} of them failed; "
        f"at most {number(peak.processed)}, at {when}; on average waited {milliseconds(average_wait(whole))} and "
        f"ran {milliseconds(average_run(whole))}{_dropped(whole)}."
    )
