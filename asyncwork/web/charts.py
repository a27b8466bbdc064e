"""Charts of what was counted, as SVG that needs neither scripts nor styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..models import JobCounts
from .formatting import brief, clock, day, milliseconds, number, percent, plural


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity over time, drawn by itself.

    :ivar kind: its class: ``processed``, ``failed``, ``wait`` or ``run``.
    :ivar peak: the largest value, in words.
    :ivar svg: the drawing.
    """

    kind: str
    title: str
    peak: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Chart:
    """Several quantities over the same time, one below the other.

    :ivar kind: ``minutes`` or ``days``.
    :ivar summary: all of it in one sentence, for those who do not see it.
    :ivar hits: lies over the rows, and tells of the span under the pointer.
    :ivar start: when the first span begins, epoch seconds.
    :ivar step: how long each is, seconds.
    :ivar counts: what is drawn, oldest first.
    """

    kind: str
    title: str
    summary: str
    rows: list[Row]
    hits: Markup
    start: int
    step: int
    counts: Sequence[JobCounts]

    @property
    def total(self) -> JobCounts:
        """What is drawn, in all."""
        return total(self.counts)

    @property
    def marks(self) -> list[int]:
        """The moments that the axis names."""
        return [self.start + self.step * (len(self.counts) * part // 4) for part in range(4)] if self.counts else []


_HEIGHTS = {"processed": 88, "failed": 32, "wait": 32, "run": 32}
_STEPS = {"minutes": 60, "days": 86_400}
_Value = Callable[[JobCounts], float]


def wait(counts: JobCounts) -> float:
    """Return how long a job waited on average, milliseconds."""
    return counts.wait_ms / counts.processed if counts.processed else 0.0


def run(counts: JobCounts) -> float:
    """Return how long an attempt ran on average, milliseconds."""
    return counts.run_ms / counts.processed if counts.processed else 0.0


_ROWS: tuple[tuple[str, str, _Value, Callable[[float], str]], ...] = (
    ("processed", "Processed", lambda counts: counts.processed, brief),
    ("failed", "Failed", lambda counts: counts.failed, number),
    ("wait", "Waited", wait, milliseconds),
    ("run", "Ran", run, milliseconds),
)


def chart(kind: str, counts: Sequence[JobCounts]) -> Chart:
    """Return the chart of what was counted in minutes or days that follow on each other, oldest first."""
    rows = [_row(name, title, [value(each) for each in counts], told) for name, title, value, told in _ROWS]
    start = counts[0].at if counts else 0
    title = f"Last {len(counts)} {kind}"
    return Chart(kind, title, _summary(title, counts), rows, _hits(kind, counts), start, _STEPS[kind], counts)


def spark(counts: Sequence[JobCounts]) -> Markup:
    """Return a small drawing of how many were processed, without words."""
    values = [each.processed for each in counts]
    return _bars("spark", values, 20) if any(values) else Markup()


def total(counts: Sequence[JobCounts]) -> JobCounts:
    """Return the sum of counts."""
    sums = [
        sum(getattr(each, name) for each in counts)
        for name in ("processed", "failed", "retried", "dead", "run_ms", "wait_ms")
    ]
    return JobCounts(counts[0].at if counts else 0, *sums)


def _row(kind: str, title: str, values: Sequence[float], told: Callable[[float], str]) -> Row:
    peak = max(values, default=0)
    return Row(kind, title, told(peak) if peak else "", _bars(kind, values, _HEIGHTS[kind]))


def _bars(kind: str, values: Sequence[float], height: int) -> Markup:
    peak = max(values, default=0) or 1
    # What is there at all must be seen: a bar is at least one high.
    tops = [height - max(1, round(value / peak * (height - 1))) if value > 0 else None for value in values]
    bars = [f"M{x} {height}V{top}" if top is not None else "" for x, top in enumerate(tops)]
    # The last is not over yet.
    return Markup(
        '<svg class="%s" viewBox="-.5 0 %d %d" preserveAspectRatio="none" aria-hidden="true">'
        '<path d="%s"/><path class="now" d="%s"/></svg>'
    ) % (kind, len(values) or 1, height, "".join(bars[:-1]), "".join(bars[-1:]))


def _hits(kind: str, counts: Sequence[JobCounts]) -> Markup:
    columns = (Markup('<i title="%s"></i>') % told(kind, each) for each in counts)
    return Markup('<div class="hits">%s</div>') % Markup("").join(columns)


def told(kind: str, counts: JobCounts) -> str:
    """Return what happened in one span of time."""
    when = clock(counts.at) if kind == "minutes" else day(counts.at)
    return f"{when}: {figures(counts)}"


def figures(counts: JobCounts) -> str:
    """Return counts in words."""
    if not counts.processed:
        return "nothing"
    return (
        f"{brief(counts.processed)} processed, {percent(counts.failed, counts.processed)} failed, "
        f"waited {milliseconds(wait(counts))}, ran {milliseconds(run(counts))}"
    )


def _summary(title: str, counts: Sequence[JobCounts]) -> str:
    whole = total(counts)
    if not whole.processed:
        return f"{title}: nothing was counted."
    peak = max(counts, key=lambda each: each.processed)
    when = clock(peak.at) if title.endswith("minutes") else day(peak.at)
    return (
        f"{title}: {plural(whole.processed, 'attempt')}, {percent(whole.failed, whole.processed)} of them failed; "
        f"at most {number(peak.processed)}, at {when}; on average waited {milliseconds(wait(whole))} and "
        f"ran {milliseconds(run(whole))}."
    )
