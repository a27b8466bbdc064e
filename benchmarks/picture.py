"""Draw the speed of asyncwork and its peers as a bar chart, and write it into the documents.

``python -m benchmarks.picture`` makes ``docs/images/benchmark.svg`` and the figures in the documents, all of
``benchmarks/speed.json``, which ``make bench`` writes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from .catalogue import ASYNCWORK, PEERS
from .environments import ROOT
from .rounds import CONCURRENCIES
from .speed import RECORD, Speed, at_once, write_documents

PICTURE = ROOT / "docs" / "images" / "benchmark.svg"

# The picture has its own size, so that a page does not stretch it, and its text can be read at 400 px too.
_WIDTH, _LEFT, _RIGHT = 560, 124, 84
_TOP, _ROW, _BAR = 72, 30, 20

_STYLE = """
text { font: 15px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.note { fill: #59636e }
.bar { fill: #8c959f }
.ours text { font-weight: 600 } .ours .bar { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .bar { fill: #6e7681 }
  .ours .bar { fill: #4493f8 }
}
"""


def picture(speed: Speed, workers: int = CONCURRENCIES[0]) -> str:
    """Return the chart as SVG: one bar for each side, the quickest on top."""
    ranking = speed.ranking(workers)
    most = ranking[0][1] if ranking else 1.0
    height = _TOP + len(ranking) * _ROW + 6
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f"<style>{_STYLE}</style>",
        '<text id="title" class="title" x="8" y="24">No-op jobs per second</text>',
        f'<text class="note" x="8" y="48">one process with {workers} workers; more is better</text>',
    ]
    for row, (side, rate) in enumerate(ranking):
        label = side if (fewer := at_once(side)) >= workers else f"{side}, {fewer} worker{'s'[: fewer > 1]}"
        lines += _bar(label, rate, most, _TOP + row * _ROW)
    return "\n".join([*lines, "</svg>\n"])


def _bar(label: str, rate: float, most: float, top: int) -> Iterator[str]:
    width, base = max(2.0, (_WIDTH - _LEFT - _RIGHT) * rate / most), top + _BAR - 5
    yield f'<g class="{"ours" if label == ASYNCWORK.name else "theirs"}">'
    yield f'<text x="{_LEFT - 10}" y="{base}" text-anchor="end">{escape(label)}</text>'
    yield f'<rect class="bar" x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
    yield f'<text x="{_LEFT + width + 8:.1f}" y="{base}">{rate:,.0f}</text></g>'


def main() -> int:
    """Draw the picture and write the documents; return the exit code."""
    record = Path(sys.argv[1]) if sys.argv[1:] else RECORD
    speed = Speed.read(record)
    if missing := [side.name for side in (ASYNCWORK, *PEERS) if side.name not in speed.rates]:
        print(f"{record} has no figures of {', '.join(missing)}", file=sys.stderr)
    write_documents(speed)
    PICTURE.write_text(picture(speed), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
