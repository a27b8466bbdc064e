"""Charts as text: what became of the jobs of a queue in the last hour, and how long its attempts took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .._jobs.printable import plural
from ..models.queues import JobCounts, RunTimes
from .table import Column, Row, table
from .times import duration

_HEIGHTS = "▁▂▃▄▅▆▇█"
# Cells of the longest bar of a histogram.
_LONGEST = 30
_SHARES = (50, 95, 99)


def hour_lines(minutes: Sequence[JobCounts], *, blocks: bool) -> Iterator[str]:
    """Yield the counts of the last hour.

    :param minutes: of each minute, the oldest first.
    :param blocks: whether a line of block characters shows the minutes.
    """
    ended = [each.processed for each in minutes]
    sums = {"failed": "failed", "expired": "expired", "cancelled": "cancelled"}
    counted = [(sum(getattr(each, name) for each in minutes), word) for name, word in sums.items()]
    texts = [f"{count:,} {word}" for count, word in counted if count or word == "failed"]
    yield f"last hour: {plural(sum(ended), 'attempt')}, {', '.join(texts)}, at most {max(ended):,} per minute"
    if blocks and any(ended):
        yield f"  {sparkline(ended)}"


def sparkline(values: Sequence[int]) -> str:
    """Return a line of block characters, one for each number, whose heights are relative to the largest; a space stands
    for 0.
    """
    peak = max(values, default=0)
    return "".join(_HEIGHTS[-(-len(_HEIGHTS) * value // peak) - 1] if value > 0 else " " for value in values)


def run_time_lines(run_times: RunTimes, days: int, *, blocks: bool) -> Iterator[str]:
    """Yield the histogram of the last days."""
    title = f"run times of {plural(days, 'day')}"
    if not run_times.total:
        yield f"{title}: no attempts"
        return
    estimates = (f"p{share} about {_time(run_times.quantile(share / 100))}" for share in _SHARES)
    yield f"{title}: {plural(run_times.total, 'attempt')}, {', '.join(estimates)}"
    used = [at for at, count in enumerate(run_times.counts) if count]
    peak, char = max(run_times.counts), "█" if blocks else "#"
    columns = [Column("  FROM", right=True), Column("TO", right=True), Column("ATTEMPTS", right=True), Column("")]
    rows = []
    for at in range(used[0], used[-1] + 1):
        count = run_times.counts[at]
        start = _time(run_times.bounds[at - 1]) if at else "0"
        stop = _time(run_times.bounds[at]) if at < len(run_times.bounds) else "more"
        # A bar has at least one cell, so that every count above zero can be seen.
        rows.append(Row([start, stop, f"{count:,}", char * max(count > 0, round(count / peak * _LONGEST))]))
    yield from table(columns, rows, None)


def chart_json(minutes: Sequence[JobCounts], run_times: RunTimes, days: int) -> dict[str, Any]:
    """Return what the charts show as the fields of a JSON object."""
    quantiles = {f"p{share}": run_times.quantile(share / 100) for share in _SHARES}
    names = ("at", "processed", "failed", "expired", "cancelled")
    return {
        "minutes": [{name: getattr(each, name) for name in names} for each in minutes],
        "run_times": {"days": days, "bounds": run_times.bounds, "counts": run_times.counts, **quantiles},
    }


def _time(seconds: float) -> str:
    return f"{seconds * 1_000:.3g} ms" if seconds < 0.9995 else duration(seconds)
