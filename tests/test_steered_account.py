"""Whether the account of a chaos run notices what is wrong with jobs whose results are kept."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from asyncwork import CancelResult

from .chaos.explanations import HELD
from .chaos.record import CANCELLED, DONE, Run
from .chaos.steered import answer
from .chaos.steering import HANGS, Cancel, SteeredJob
from .chaos.world import Fault
from .test_chaos import NOTHING_LEFT, settled


def a_run(**fields: Any) -> Run:
    given: dict[str, Any] = {"pid": 9, "name": "tracked", "job_id": "1", "number": 1, "fails": 0, "began": 5.0}
    return Run(**{**given, "ended": 6.0, "outcome": DONE, **fields})


def a_job(**fields: Any) -> SteeredJob:
    given: dict[str, Any] = {"job_id": "1", "name": "tracked", "number": 1, "outcome": answer(1), "state": "done"}
    return SteeredJob(**{**given, "result": answer(1), **fields})


def cancelled(result: CancelResult = CancelResult.ASKED, at: float = 7.0, tries: int = 1, **fields: Any) -> SteeredJob:
    found = a_job(cancels=[Cancel(result, 6.5, at, tries)], outcome="JobCancelled", state="cancelled", result=None)
    return dataclasses.replace(found, **fields)


def problems(job: SteeredJob, *runs: Run, **fields: Any) -> list[str]:
    found = settled(runs=list(runs), steered=[job], **fields)
    return [each for each in found if each.startswith(f"{job.name} {job.job_id}: ")]


def test_jobs_with_which_nothing_is_wrong() -> None:
    assert not problems(a_job(), a_run())
    assert not problems(cancelled(), a_run(outcome=CANCELLED))
    assert not problems(cancelled(CancelResult.NOW))
    assert not problems(a_job(cancels=[Cancel(CancelResult.GONE, 7, 8)]), a_run())
    assert not problems(a_job(expires=5.0), a_run())
    assert not problems(a_job(expires=1.0, state="expired", outcome="JobExpired", result=None))
    assert not problems(a_job(name="emitting", ends=(1, "done")), a_run(name="emitting"))
    assert not problems(a_job(name="waiting", signal="sent"), a_run(name="waiting"))
    assert not problems(a_job(name="waiting", signal="twice"), a_run(name="waiting"))
    assert not problems(cancelled(name="waiting", signal="ended"), a_run(name="waiting", outcome=CANCELLED))
    timed_out = a_job(name="timing_out", state="dead", outcome="JobFailed", result=None)
    assert not problems(timed_out, a_run(name="timing_out", outcome=CANCELLED))


@pytest.mark.parametrize(
    ("job", "run", "problem"),
    [
        (a_job(), None, "no attempt was"),
        (a_job(result="other"), a_run(), "'other' instead of"),
        (a_job(outcome="other"), a_run(), "got other, and it is done"),
        (a_job(outcome=HANGS), a_run(), "hangs"),
        (a_job(state="", outcome=HANGS), a_run(), "does not say how"),
        (a_job(outcome="JobCancelled"), a_run(), "got JobCancelled"),
        (a_job(state="cancelled", outcome="JobCancelled"), a_run(), "nobody has cancelled it"),
        (a_job(state="expired", outcome="JobExpired"), a_run(), "it may start at any time"),
        (a_job(state="dead", outcome="JobFailed"), a_run(), "it fails once at most"),
        (a_job(state="lost", outcome="ResultLost"), a_run(), "says that it is lost"),
        (a_job(cancels=[Cancel(CancelResult.NOW, 1, 2)]), a_run(), "3.00 s later it began in 9"),
        (a_job(cancels=[Cancel(CancelResult.NOW, 7, 8)]), a_run(), "cancelled before it began"),
        (cancelled(at=2.0), a_run(), "3.00 s later it began in 9"),
        (cancelled(CancelResult.GONE), a_run(), "a cancel that had not found it"),
        (a_job(expires=1.0), a_run(), "4.00 s after its time"),
        (a_job(name="emitting", ends=(0, "")), a_run(name="emitting"), "no end"),
        (a_job(name="emitting", ends=(2, "done")), a_run(name="emitting"), "2 ends"),
        (a_job(name="emitting", ends=(1, "dead")), a_run(name="emitting"), "ends with 'dead'"),
        (a_job(name="waiting"), a_run(name="waiting"), "its event was not sent"),
        (a_job(name="waiting", signal="refused"), a_run(name="waiting"), "its event was refused"),
        (a_job(name="waiting", signal="ended"), a_run(name="waiting"), "nothing else can have ended it"),
        (a_job(name="waiting", signal="ended"), a_run(name="waiting"), "it is done, and its event was refused"),
        (a_job(name="timing_out"), a_run(name="timing_out"), "takes longer than it may"),
    ],
)
def test_what_is_wrong_is_noticed(job: SteeredJob, run: Run | None, problem: str) -> None:
    found = problems(job, *([] if run is None else [run]))
    assert any(problem in each for each in found), found


def test_what_explains_it() -> None:
    held = [Fault(HELD, 9, 1.5, 5.0)]
    assert not problems(cancelled(at=2.0), a_run(), faults=held)
    assert not problems(a_job(expires=1.0), a_run(), faults=held)
    assert not problems(cancelled(CancelResult.GONE, tries=2), a_run(outcome=CANCELLED))
    waiting = NOTHING_LEFT | {"retry": [json.dumps({"id": "1", "name": "tracked"}).encode()]}
    assert not problems(a_job(state="", outcome=HANGS, result=None), locations=waiting)
