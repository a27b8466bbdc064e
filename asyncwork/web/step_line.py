"""The time line of a job's steps: what became of each, and when it ran beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .._jobs.printable import LATEST_DATE
from ..models.job_steps import JobStep
from .formatting import duration, milliseconds

# Widths in hundredths of the line: the least of a bar, and what is left to the right for waits that are not over.
_LEAST, _OPEN = 1.0, 12.0
_WAITS, _MOVES = "waits", "moves"


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step, sleep, event or cursor as the page shows it.

    :ivar text: what became of it, up to ``at``.
    :ivar at: the time of that, epoch seconds; 0 if there is none.
    :ivar after: how long that took; empty if it says nothing.
    :ivar kind: its CSS class.
    :ivar bar: when it ran or waited, within the time of all of them.
    """

    step: JobStep
    text: str
    at: float
    after: str
    kind: str
    bar: Markup

    @property
    def waits(self) -> bool:
        """Whether the job waits for it now."""
        return self.step.state == _WAITS


@dataclass(frozen=True, slots=True)
class StepLine:
    """The steps of a job, in the order in which they began.

    :ivar start: when the first of them began, epoch seconds.
    :ivar end: when the last of them ended, epoch seconds; 0 while one waits or goes on.
    """

    rows: Sequence[StepRow]
    start: float
    end: float


def step_line(steps: Sequence[JobStep]) -> StepLine:
    """Return the time line. It does not depend on the present, so that it changes only when a step does."""
    times = [at for each in steps for at in (each.started_at, each.ended_at) if 0 < at < LATEST_DATE]
    start, end = min(times, default=0.0), max(times, default=0.0)
    is_open = any(each.state in (_WAITS, _MOVES) for each in steps)
    width = 100.0 - (_OPEN if is_open else 0.0)
    scale = width / (end - start) if end > start else 0.0
    rows = [StepRow(each, *_words(each), _bar(each, start, end, scale)) for each in steps]
    return StepLine(rows, start, 0.0 if is_open else end)


def _words(step: JobStep) -> tuple[str, float, str, str]:
    """Return what became of a step, the time of that, how long it took, and its CSS class."""
    seconds = min(max(0.0, step.ended_at - step.started_at), LATEST_DATE) if step.started_at else 0.0
    match step.kind, step.state:
        case _, "unreadable":
            return "what is recorded cannot be read", 0.0, "", "bad"
        case "step", "done":
            return "done", step.ended_at, f"took {milliseconds(1_000 * seconds)}", "past"
        case "sleep", "waits":
            return "sleeps, and wakes", step.until, "", "next"
        case "sleep", _:
            return "slept, and woke", step.ended_at, f"after {duration(seconds)}", "past"
        case "event", "waits":
            return "waits for the event, and gives up", step.until, "", "next"
        case "event", "late":
            return "gave up waiting for the event", step.until, "", "bad"
        case "event", "early":
            return "the event has come before it was asked for", step.ended_at, "", "past"
        case "event", _:
            return "the event came", step.ended_at, f"after {duration(seconds)}" if step.started_at else "", "past"
        case "cursor", "moves":
            return "cursor, was here", step.ended_at, "", "next"
        case "cursor", _:
            return "cursor, after the last row", step.ended_at, "", "past"
    return step.kind, step.ended_at, "", "past"


def _bar(step: JobStep, start: float, end: float, scale: float) -> Markup:
    began = min(max(start, step.started_at or step.ended_at), end)
    ended = min(max(began, step.ended_at), end)
    left = min(100 - _LEAST, scale * (began - start))
    goes_on = step.state in (_WAITS, _MOVES)
    width = 100 - left if goes_on else min(100 - left, max(_LEAST, scale * (ended - began)))
    return Markup(
        '<svg class="span" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="%s %s" x="%.2f" width="%.2f" height="6"/></svg>'
    ) % (step.kind, step.state, left, width)
