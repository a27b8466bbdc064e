"""Marks of deployments in charts, as SVG without scripts or inline styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..models.pools import Deployment
from .formatting import month_day, plain_text, time_of_day

# Characters of a label that a chart shows.
_SHOWN = 18
# The width of one of them on a phone, percent of the chart's width.
_CHARACTER = 2.0


@dataclass(frozen=True, slots=True)
class DeploymentMarks:
    """The deployments that began within a chart.

    :ivar svg: an overlay with a line for each, and the labels that have room; empty if there are none.
    :ivar sentences: each deployment as a sentence, for screen readers, the oldest first.
    :ivar columns: what to say of a column of the chart, by the column's number.
    """

    svg: Markup
    sentences: Sequence[str]
    columns: Mapping[int, str]


def deployment_marks(deployments: Sequence[Deployment], start: int, step: int, count: int) -> DeploymentMarks:
    """Return the marks of a chart.

    :param deployments: the newest first.
    :param start: the beginning of the chart, epoch seconds.
    :param step: the seconds of a column.
    :param count: the number of columns.
    """
    within = [each for each in deployments if start <= each.started_at < start + step * count]
    if not within:
        return DeploymentMarks(Markup(), [], {})
    columns: dict[int, str] = {}
    for each in within:
        at = int((each.started_at - start) // step)
        columns[at] = f"{columns[at]}, {_began(each)}" if at in columns else _began(each)
    lines = [_line(each, 100 * (each.started_at - start) / (step * count)) for each in within]
    svg = Markup('<svg class="deployments" aria-hidden="true">%s%s</svg>') % (
        Markup("").join(lines),
        Markup("").join(_labels(within, start, step * count)),
    )
    return DeploymentMarks(svg, [f"{_began(each)}." for each in reversed(within)], columns)


def _began(deployment: Deployment) -> str:
    at = deployment.started_at
    return f"Version {plain_text(deployment.version_label, 64)} began on {month_day(at)} at {time_of_day(at)}"


def _line(deployment: Deployment, x: float) -> Markup:
    return Markup('<line x1="%.2f%%" x2="%.2f%%" y1="20" y2="100%%"><title>%s</title></line>') % (
        x,
        x,
        _began(deployment),
    )


def _labels(deployments: Sequence[Deployment], start: int, seconds: int) -> list[Markup]:
    """Return the labels that do not overlap those of newer deployments."""
    labels: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for each in deployments:
        text, x = plain_text(each.version_label, _SHOWN), 100 * (each.started_at - start) / seconds
        width = _CHARACTER * (len(text) + 1)
        left, right, anchor, shift = (x - width, x, "end", -4) if x > 50 else (x, x + width, "start", 4)
        if all(right <= other_left or left >= other_right for other_left, other_right in taken):
            taken.append((left, right))
            labels.append(
                Markup('<text x="%.2f%%" y="33" dx="%d" text-anchor="%s">%s</text>') % (x, shift, anchor, text)
            )
    return labels
