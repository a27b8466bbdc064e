"""Short runs of the chaos with fixed seeds, and whether its account would notice what it is there to notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from .chaos import faults, trial
from .chaos.account import Evidence, report, settle
from .chaos.producers import Ledger
from .chaos.record import DONE, FAILED, SNOOZED, Run
from .chaos.world import PERIODS, Fault


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_whatever_strikes(tmp_path: Path, seed: int) -> None:
    evidence = await trial.run(tmp_path, seed=seed, seconds=10, pace=0.4, workers=3, producers=2)
    account = settle(evidence)
    assert not account.wrong, report(evidence, account)
    assert len(evidence.ledger.confirmed) > 50
    assert len({fault.kind for fault in evidence.faults}) > 8


def test_a_seed_tells_what_strikes_and_when() -> None:
    first, again, other = (faults.plan(seed, 600, 0.5) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert {appointment.kind for appointment in first} == set(faults.FAULTS)


# What the account must notice


def a_run(job_id: str = "1", **fields: Any) -> Run:
    given = {"pid": 9, "name": "quick", "number": 1, "slot": "", "fails": 0, "began": 5.0, "ended": 6.0}
    return Run(**{**given, "job_id": job_id, "outcome": DONE, **fields})


def settled(**changes: Any) -> list[str]:
    """What the account says is wrong, of a run in which one job ran well, with these changes."""
    ledger = Ledger(confirmed={"1": "quick"}, sent={1: "quick"})
    places: dict[str, list[bytes]] = {"retry": [], "scheduled": [], "dead": [], "quarantine": []}
    usual = Evidence(ledger, [a_run()], [], places, poison=0, audit=[], surprises=[])
    return settle(dataclasses.replace(usual, **changes)).wrong


def test_a_run_in_which_nothing_went_wrong() -> None:
    assert settled() == []


@pytest.mark.parametrize("run", [a_run("2"), a_run(ended=None, outcome=""), a_run(outcome=FAILED)])
def test_a_job_that_did_not_come_to_its_end_is_noticed(run: Run) -> None:
    assert settled(runs=[run]) == ["quick 1 was confirmed, has not come to its end, and is nowhere"]


def test_a_job_that_is_where_it_belongs_is_not_lost() -> None:
    places = {"retry": [b'{"id":"1"}'], "scheduled": [], "dead": [], "quarantine": []}
    assert settled(runs=[], places=places) == []


def test_an_attempt_that_was_made_twice_is_noticed() -> None:
    (line,) = settled(runs=[a_run(), a_run(began=7.0)])
    assert line.startswith("quick 1 ran twice, and nothing explains it")
    assert settled(runs=[a_run(outcome=SNOOZED), a_run(began=7.0)]) == []
    assert settled(runs=[a_run(outcome=FAILED), a_run(fails=1, began=7.0)]) == []


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        (Fault("worker killed", 9, 6.1, 6.1), True),
        (Fault("worker killed", 8, 6.1, 6.1), False),
        (Fault("worker killed", 9, 7.5, 7.5), False),
        (Fault("worker killed", 9, 3.0, 3.0), False),
        (Fault("worker told to stop", 9, 5.5, 6.1), True),
        (Fault("worker stopped and continued", 9, 5.5, 5.5 + PERIODS.dead_after), True),
        (Fault("worker stopped and continued", 9, 5.5, 6.5), False),
        (Fault("connections silent", 9, 5.5, 6.0 + PERIODS.dead_after), True),
        (Fault("connections broke after the request", 9, 5.5, 6.5), False),
        (Fault("Redis restarted", None, 5.5, 6.0 + PERIODS.dead_after), False),
    ],
)
def test_what_explains_that_an_attempt_was_made_twice(fault: Fault, explains: bool) -> None:
    assert (settled(runs=[a_run(), a_run(began=7.0)], faults=[fault]) == []) is explains


def test_a_process_that_was_about_to_begin_a_job_when_it_was_stopped_may_run_it_after_another() -> None:
    runs = [a_run(pid=8), a_run(began=7.6)]
    stopped = Fault("worker stopped and continued", 9, 7.5 - PERIODS.dead_after - 1, 7.5)
    assert settled(runs=runs, faults=[stopped]) == []
    assert settled(runs=[a_run(pid=8), a_run(began=9.0)], faults=[stopped])
    assert settled(runs=runs, faults=[dataclasses.replace(stopped, began=7.0)])


def test_a_process_that_is_struck_again_before_it_could_beat_is_one_that_was_struck_for_long() -> None:
    half = PERIODS.dead_after / 2
    first, again = Fault("connections silent", 9, 5.5, 5.5 + half), Fault("connections slow", 9, 6.9, 6.9 + half)
    runs = [a_run(), a_run(began=7.0)]
    assert settled(runs=runs, faults=[first, again]) == []
    assert settled(runs=runs, faults=[first])
    assert settled(runs=runs, faults=[again])


def test_what_nobody_enqueued_is_noticed() -> None:
    other = a_run("2", number=2)
    assert settled(runs=[a_run(), other]) == ["quick 2 ran, and nobody has enqueued it"]
    assert settled(runs=[a_run(), other], ledger=Ledger({"1": "quick"}, {1: "quick", 2: "quick"})) == []


def test_an_accepted_slot_of_which_nothing_newer_ran_is_noticed() -> None:
    ledger = Ledger(sent={3: "keyed", 4: "keyed"}, keyed={"a": (4, 5.5)})
    older = a_run(name="keyed", number=3, slot="a")
    (line,) = settled(ledger=ledger, runs=[older])
    assert line.startswith("keyed a: number 4 was accepted")
    assert settled(ledger=ledger, runs=[older, a_run("2", name="keyed", number=4, slot="a")]) == []


def test_more_than_the_cap_at_once_is_noticed() -> None:
    ledger = Ledger(sent=dict.fromkeys(range(1, 4), "capped"))
    runs = [a_run(str(number), name="capped", number=number, pid=number) for number in range(1, 4)]
    assert settled(ledger=ledger, runs=runs) == ["3 capped jobs ran at once, and 2 may"]
    lost = Fault("worker stopped and continued", 3, 5.1, 5.2)
    assert settled(ledger=ledger, runs=runs, faults=[lost]) == []


def test_an_instance_that_never_fired_is_noticed() -> None:
    runs = [a_run(f"periodic:tick:* * * * * *:{at}", name="tick", number=0, began=at) for at in (100, 101, 103)]
    assert settled(ledger=Ledger(), runs=runs) == ["instances of the periodic job that never ran: [102]"]


def test_what_died_for_no_good_reason_is_noticed() -> None:
    def dead(err: str, name: str = "quick") -> dict[str, list[bytes]]:
        payload = f'{{"name":"{name}","id":"1","fails":2,"err":"{err}"}}'.encode()
        return {"retry": [], "scheduled": [], "dead": [payload], "quarantine": []}

    assert settled(places=dead("ValueError: never", "doomed")) == []
    assert settled(places=dead("ValueError: never")) == ["quick 1 is dead after 2 failures: ValueError: never"]
    crashed = dead("CrashedError: it was running")
    runs = [a_run(began=at, ended=None, outcome="", pid=int(at)) for at in (1.0, 4.0, 8.0)]
    kills = [Fault("worker killed", int(run.began), run.began + 1, run.began + 1) for run in runs]
    assert settled(places=crashed, runs=runs, faults=kills) == []
    assert settled(places=crashed, runs=runs[:2], faults=kills[:2]) == [
        "quick 1 is dead after 2 failures: CrashedError: it was running"
    ]


def test_what_is_left_out_of_place_is_noticed() -> None:
    assert settled(poison=1) == ["1 payloads were no jobs, 0 are in quarantine"]
    assert settled(audit=["a lock"], surprises=["a defect"]) == ["a defect", "a lock"]
    ledger = Ledger({"1": "doomed"}, {1: "doomed"})
    assert settled(ledger=ledger, runs=[a_run(name="doomed")]) == ["doomed 1 is neither dead nor to be tried again"]
