"""Draws the drains as an SVG bar chart for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from statistics import median

from .orders import Case
from .results import Results, peers_of
from .rounds import CONCURRENCIES

_WIDTH, _LEFT, _RIGHT = 760, 130, 90
_TOP, _BAR, _GAP = 64, 13, 14

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.note, .figure { fill: #59636e; font-size: 12px }
.ours text { font-weight: 600 }
.few { fill: #a3acb8 } .many { fill: #7b8694 }
.ours .few, .key .few { fill: #6cb6ff } .ours .many, .key .many { fill: #0969da }
.spread { stroke: #1f2328; stroke-opacity: .55 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note, .figure { fill: #9198a1 }
  .few { fill: #6e7681 } .many { fill: #545d68 }
  .ours .few, .key .few { fill: #79c0ff } .ours .many, .key .many { fill: #388bfd }
  .spread { stroke: #e6edf3 }
}
"""


def picture(results: Results) -> str:
    """Return the chart: for each side one bar per number of workers, with the fastest side on top."""
    sides = _sides(results)
    most = max((max(rates) for bars in sides.values() for rates in bars.values()), default=1.0)
    height = _TOP + sum(_height(bars) for bars in sides.values()) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title">',
        f"<style>{_STYLE}</style>",
        '<text id="title" class="title" x="16" y="26">No-op jobs per second, one worker process</text>',
        *_key(),
    ]
    top = _TOP
    for side, bars in sides.items():
        lines += _group(side, bars, top, most)
        top += _height(bars)
    return "\n".join([*lines, "</svg>\n"])


def _sides(results: Results) -> dict[str, dict[int, Sequence[float]]]:
    """Return the rates of each side, by number of workers."""
    found: dict[str, dict[int, Sequence[float]]] = {}
    ours = [case for case in (Case("asyncwork", number) for number in CONCURRENCIES) if case in results.drains]
    for case in [*ours, *peers_of(results.drains)]:
        found.setdefault(case.side, {})[case.concurrency] = [run.rate for run in results.drains[case]]
    return dict(sorted(found.items(), key=lambda item: -max(median(rates) for rates in item[1].values())))


def _height(bars: dict[int, Sequence[float]]) -> int:
    return len(bars) * _BAR + _GAP


def _key() -> Iterator[str]:
    few, many = CONCURRENCIES
    yield '<g class="key"><rect class="few" x="16" y="38" width="10" height="10"/>'
    yield f'<text class="note" x="31" y="47">{few} workers</text>'
    yield '<rect class="many" x="111" y="38" width="10" height="10"/>'
    yield f'<text class="note" x="126" y="47">{many} workers; thin lines: least to most of all rounds</text></g>'


def _group(side: str, bars: dict[int, Sequence[float]], top: int, most: float) -> Iterator[str]:
    """Draw the bars of a side."""
    middle = top + len(bars) * _BAR / 2 + 4
    yield f'<g class="{"ours" if side == "asyncwork" else "theirs"}">'
    yield f'<text x="{_LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(side)}</text>'
    for row, (workers, rates) in enumerate(bars.items()):
        yield from _bar("many" if workers == CONCURRENCIES[-1] else "few", rates, top + row * _BAR, most)
    yield "</g>"


def _bar(kind: str, rates: Sequence[float], top: int, most: float) -> Iterator[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    middle = top + (_BAR - 1) / 2
    low, high = (_LEFT + scale * rate for rate in (min(rates), max(rates)))
    width = max(1.0, scale * median(rates))
    yield f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR - 1}"/>'
    if high - low >= 1:
        yield f'<path class="spread" d="M{low:.1f} {middle}H{high:.1f}"/>'
    at = max(_LEFT + width, high) + 6
    yield f'<text class="figure" x="{at:.1f}" y="{top + _BAR - 2}">{median(rates):,.0f}</text>'
