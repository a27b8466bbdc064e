"""Accounts for the jobs whose results are kept: their records, those who wait, cancels, times to start and streams."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from asyncwork import CancelResult, JobState

from .evidence import Evidence
from .explanations import Explanations
from .record import DONE, Run
from .steered import TIMING_OUT, answer
from .steering import HANGS, STATES, SteeredJob
from .world import OPTIONS

# Seconds by which a worker's reading of Redis's clock may be late: the time that a reply may take.
_CLOCK_SLACK = OPTIONS.tuning.reply_timeout + 0.5
# Seconds between the moment when a worker knows that a job may begin, and its first line.
_BEGIN_SLACK = 0.5
# A record is written for as many crashes.
_CRASHES = 3


def steered_problems(evidence: Evidence, explanations: Explanations) -> Iterator[str]:
    """Yield a line for each promise that was not kept."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for run in evidence.runs:
        runs[run.job_id].append(run)
    later = {
        json.loads(payload)["id"] for place in ("retry", "scheduled") for payload in evidence.locations.get(place, ())
    }
    for job in evidence.steered:
        label = f"{job.name} {job.job_id}"
        # What failed where the clock is wrong is tried again when that says.
        found = [] if job.job_id in later and not job.state else [
            *_recorded(job, runs[job.job_id], explanations),
            *_waited(job),
            *_streamed(job),
            *_signalled(job),
        ]  # fmt: skip
        found += [*_cancelled(job, runs[job.job_id], explanations), *_in_time(job, runs[job.job_id], explanations)]
        yield from (f"{label}: {text}" for text in found)


def _recorded(job: SteeredJob, runs: Sequence[Run], explanations: Explanations) -> Iterator[str]:
    """The record says how the job has ended."""
    is_done = any(run.outcome == DONE for run in runs)
    match job.state:
        case JobState.DONE:
            if not is_done:
                yield "its record says that it is done, and no attempt was"
            if job.result != answer(job.number):
                yield f"its record has {job.result!r} instead of {answer(job.number)!r}"
        case JobState.CANCELLED:
            if not job.cancels:
                yield "its record says that it was cancelled, and nobody has cancelled it"
        case JobState.EXPIRED:
            if job.expires is None:
                yield "its record says that it has expired, and it may start at any time"
        case JobState.DEAD:
            if job.name not in TIMING_OUT and explanations.crashes(job.job_id) < _CRASHES:
                yield "its record says that it is dead, and it fails once at most"
        case "":
            yield "it has ended, and its record does not say how"
        case _:
            yield f"its record says that it is {job.state}"
    if job.name in TIMING_OUT and job.state == JobState.DONE:
        yield "it is done, although it takes longer than it may"


def _waited(job: SteeredJob) -> Iterator[str]:
    """The one who waits has got what the record says."""
    if job.outcome is None or job.outcome == HANGS:
        yield f"its waiter ({job.way}) hangs; its record says {job.state!r}"
    elif job.state == JobState.DONE:
        if job.outcome != answer(job.number):
            yield f"its waiter ({job.way}) got {job.outcome}, and it is done"
    elif job.state not in STATES.get(job.outcome, ()):
        yield f"its waiter ({job.way}) got {job.outcome}, and its record says {job.state!r}"


def _cancelled(job: SteeredJob, runs: Sequence[Run], explanations: Explanations) -> Iterator[str]:
    """Each answer to a cancel is true, and no attempt began after it."""
    for each in job.cancels:
        for run in runs:
            if run.began > each.at + _BEGIN_SLACK and not _is_late(run, each.at, explanations):
                yield f"it was cancelled ({each.result}), and {run.began - each.at:.2f} s later it began in {run.pid}"
        match each.result:
            case CancelResult.NOW:
                if job.state != JobState.CANCELLED:
                    yield f"it was cancelled before it began, and its record says {job.state!r}"
            case CancelResult.GONE:
                others = [other for other in job.cancels if other is not each]
                # One that was not answered may have cancelled it.
                if job.state == JobState.CANCELLED and not others and each.tries == 1:
                    yield "it was cancelled by a cancel that had not found it"


def _in_time(job: SteeredJob, runs: Sequence[Run], explanations: Explanations) -> Iterator[str]:
    """It did not start after its time."""
    if job.expires is None:
        return
    for run in runs:
        late = run.began - job.expires
        if late > _CLOCK_SLACK and not _is_late(run, job.expires, explanations):
            yield f"it began {late:.2f} s after its time in {run.pid}"


def _is_late(run: Run, at: float, explanations: Explanations) -> bool:
    """Tell whether a process that was about to begin an attempt was held until it did."""
    return explanations.is_held(run.pid, at, run.began)


def _streamed(job: SteeredJob) -> Iterator[str]:
    """The stream has one end, which says the same as the record."""
    count, state = job.ends
    if job.name != "emitting":
        return
    if count > 1:
        yield f"its stream has {count} ends"
    # One that was deleted before it began has a record, which its readers read.
    if count == 0 and job.state not in (JobState.CANCELLED, JobState.DELETED):
        yield f"its stream has no end, and its record says {job.state!r}"
    if count and state != job.state:
        yield f"its stream ends with {state!r}, and its record says {job.state!r}"


def _signalled(job: SteeredJob) -> Iterator[str]:
    """It has got its event, unless it was cancelled."""
    if job.name != "waiting":
        return
    if job.signal in ("", "refused"):
        yield f"its event was {job.signal or 'not sent'}"
    if job.signal == "ended" and not job.cancels and job.state != JobState.DEAD:
        yield "its event was refused, because it had ended, and nothing else can have ended it"
    if job.signal == "ended" and job.state == JobState.DONE:
        yield "it is done, and its event was refused"


def steered_lines(evidence: Evidence) -> Iterator[str]:
    """Yield how many there were, for people."""
    if evidence.steered:
        states = Counter(job.state or "none" for job in evidence.steered)
        answers = Counter(str(each.result) for job in evidence.steered for each in job.cancels)
        yield f"records: {', '.join(f'{count} {state}' for state, count in states.most_common())}"
        yield f"cancels: {', '.join(f'{count} {found}' for found, count in answers.most_common())}"
