"""Short runs of the chaos with fixed seeds, and whether its account would notice what it is there to notice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .chaos import faults, trial
from .chaos.account import report, settle
from .chaos.app import DOOMED, DOOMED_FAILS
from .chaos.changing import ADDED_KEY, BEATING_KEY, Rest
from .chaos.evidence import Evidence
from .chaos.flows import PlannedFlow
from .chaos.plans import REACH, WITHIN
from .chaos.producers import PoolMetrics
from .chaos.pulse import Life, Pulse, Silence
from .chaos.record import CANCELLED, DONE, FAILED, LIMITED, ON_DEAD, ON_FAILURE, SNOOZED, Hold, HookCall, Opening, Run
from .chaos.world import KILLED, OPTIONS, PRODUCER, QUIET, RESIZED, TOLD_TO_STOP, TOLD_TO_STOP_HOLDING_ON, Fault
from .flow_model import ModelNode


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_whatever_strikes(tmp_path: Path, seed: int) -> None:
    evidence = await trial.run(tmp_path, seed=seed, seconds=5, pace=0.5, workers=3, producers=2)
    account = settle(evidence)
    # That every kind of job and of fault was there is part of the account.
    assert not account.wrong, report(evidence, account)


def test_a_seed_tells_what_strikes_and_when() -> None:
    first, again, other = (faults.plan(seed, 600, 0.5) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_every_fault_strikes_in_however_short_a_run() -> None:
    for seed in range(20):
        appointments = faults.plan(seed, 1, 1.0)
        assert {appointment.kind for appointment in appointments} == set(faults.FAULTS)
        assert all(0 <= appointment.at < 1 for appointment in appointments)


# What the account must notice


NOTHING_LEFT: dict[str, list[bytes]] = {"retry": [], "scheduled": [], "dead": [], "quarantine": []}


def a_run(job_id: str = "1", **fields: Any) -> Run:
    given = {"pid": 9, "name": "quick", "number": 1, "slot": "", "fails": 0, "began": 5.0, "ended": 6.0}
    return Run(**{**given, "job_id": job_id, "outcome": DONE, **fields})


def calls_for(runs: Sequence[Run]) -> list[HookCall]:
    """The calls of hooks for the attempts of a process that nothing has struck."""
    return [
        HookCall(run.pid, hook, run.job_id, run.fails + 1)
        for run in runs
        if run.outcome == FAILED
        for hook in ((ON_FAILURE, ON_DEAD) if run.name in DOOMED and run.fails + 1 == DOOMED_FAILS else (ON_FAILURE,))
    ]


def settled(**changes: Any) -> list[str]:
    """What the account says is wrong, of a run in which one job ran well, with these changes."""
    ledger = PoolMetrics(confirmed={"1": "quick"}, sent={1: "quick"})
    usual = Evidence(ledger, [a_run()], [], NOTHING_LEFT, poison=0, audit=[], surprises=[])
    changes.setdefault("hook_calls", calls_for(changes.get("runs", ())))
    return settle(dataclasses.replace(usual, **changes)).wrong


def test_a_run_in_which_nothing_went_wrong() -> None:
    assert settled() == []


@pytest.mark.parametrize("run", [a_run("2"), a_run(ended=None, outcome=""), a_run(outcome=FAILED)])
def test_a_job_that_did_not_come_to_its_end_is_noticed(run: Run) -> None:
    assert settled(runs=[run]) == ["quick 1 was confirmed, has not come to its end, and is nowhere"]


def test_a_job_that_is_where_it_belongs_is_not_lost() -> None:
    locations = {**NOTHING_LEFT, "retry": [b'{"id":"1"}']}
    assert settled(runs=[], locations=locations) == []


def test_more_starts_than_a_rate_allows_are_noticed() -> None:
    runs = [a_run(str(n), name="rated") for n in range(300)]
    assert "300 jobs with a rate of 20 per 1 s began in 0.0 s" in settled(runs=[a_run(), *runs])
    assert not [line for line in settled(runs=[a_run(), *runs[:3]]) if "with a rate" in line]


def test_an_attempt_that_was_made_twice_is_noticed() -> None:
    (line,) = settled(runs=[a_run(), a_run(began=7.0)])
    assert line.startswith("quick 1 ran twice, and nothing explains it")
    assert settled(runs=[a_run(outcome=SNOOZED), a_run(began=7.0)]) == []
    assert settled(runs=[a_run(outcome=LIMITED), a_run(began=7.0)]) == []
    assert settled(runs=[a_run(outcome=FAILED), a_run(fails=1, began=7.0)]) == []


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        (Fault(KILLED, 9, 6.1, 6.1), True),
        (Fault(KILLED, 8, 6.1, 6.1), False),
        (Fault(KILLED, 9, 7.5, 7.5), False),
        (Fault(KILLED, 9, 3.0, 3.0), False),
        (Fault(TOLD_TO_STOP, 9, 5.5, 6.1), False),
        (Fault("worker stopped and continued", 9, 5.5, 6.5), False),
        (Fault("connections silent", 9, 5.5, 6.0 + OPTIONS.dead_after), False),
        (Fault("Redis restarted", None, 5.5, 6.0 + OPTIONS.dead_after), False),
    ],
)
def test_what_explains_without_a_silence_that_an_attempt_was_made_twice(fault: Fault, explains: bool) -> None:
    assert (settled(runs=[a_run(), a_run(began=7.0)], faults=[fault]) == []) is explains


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        (Fault("worker stopped and continued", 9, 5.5, 6.5), True),
        (Fault("connections mute", 9, 5.5, 5.5), True),
        (Fault("connections mute", 8, 5.5, 5.5), False),
        (Fault("connections mute", PRODUCER, 5.5, 5.5), False),
        # It came when the silence was over, or before it.
        (Fault("connections mute", 9, 8.5, 8.5), False),
        (Fault("connections mute", 9, 4.0, 4.0), False),
        (Fault("Redis full", None, 5.5, 6.0), True),
        # What keeps nobody from beating, and what keeps everybody.
        (Fault("clock of a worker jumped", 9, 5.5, 6.5), False),
        (Fault("scripts flushed", None, 5.5, 5.5), False),
        (Fault("Redis restarted", None, 5.5, 7.0), False),
    ],
)
def test_a_silence_explains_it_if_something_has_caused_it(fault: Fault, explains: bool) -> None:
    runs, silence = [a_run(), a_run(began=7.5)], Silence(9, 5.4, 5.4 + OPTIONS.dead_after)
    assert (settled(runs=runs, faults=[fault], silences=[silence]) == []) is explains


def test_a_process_that_did_not_run_is_one_that_was_struck() -> None:
    runs, silence = [a_run(), a_run(began=7.5)], Silence(9, 5.4, 5.4 + OPTIONS.dead_after)
    assert settled(runs=runs, silences=[silence])
    assert settled(runs=runs, silences=[silence], holds=[Hold(8, 5.6, 6.6)])
    assert settled(runs=runs, silences=[silence], holds=[Hold(9, 5.6, 6.6)]) == []


def test_no_job_is_lost_before_a_silence_was_long_enough() -> None:
    hold, began = Hold(9, 5.6, 9.0), 5.4
    short = Silence(9, began, began + OPTIONS.dead_after / 2)
    assert settled(runs=[a_run(), a_run(began=9.0)], silences=[short], holds=[hold])
    long = Silence(9, began, began + 2 * OPTIONS.dead_after)
    assert settled(runs=[a_run(), a_run(began=9.0)], silences=[long], holds=[hold]) == []
    assert settled(runs=[a_run(), a_run(began=6.5)], silences=[long], holds=[hold])


def test_what_struck_everybody_adds_to_a_silence_but_does_not_count_itself() -> None:
    runs, restarted = [a_run(), a_run(began=12.0)], Fault("Redis restarted", None, 6.5, 9.5)
    struck = Fault("connections silent", 9, 5.5, 6.4)
    assert settled(runs=runs, faults=[struck, restarted], silences=[Silence(9, 5.4, 10.5)]) == []
    assert settled(runs=runs, faults=[struck, restarted], silences=[Silence(9, 5.4, 9.6)])


def test_an_attempt_of_whose_end_redis_was_told_long_ago_cannot_be_lost() -> None:
    runs, killed = [a_run(), a_run(began=99.0)], Fault(KILLED, 9, 90.0, 90.0)
    assert settled(runs=runs, faults=[killed])
    # Unless it could not be told.
    assert settled(runs=runs, faults=[killed, Fault("Redis read-only", None, 6.5, 89.0)]) == []
    assert settled(runs=[a_run(ended=None, outcome=""), a_run(began=99.0)], faults=[killed]) == []


def test_a_stop_gives_back_what_was_cut_off_and_settles_what_has_ended() -> None:
    told = Fault(TOLD_TO_STOP_HOLDING_ON, 9, 5.5, 6.5)
    assert settled(runs=[a_run(outcome=CANCELLED), a_run(began=7.0)], faults=[told]) == []
    assert settled(runs=[a_run(ended=None, outcome=""), a_run(began=7.0)], faults=[told]) == []
    assert settled(runs=[a_run(), a_run(began=7.0)], faults=[told])
    mute = Fault("connections mute", 9, 5.0, 5.0)
    assert settled(runs=[a_run(), a_run(began=7.0)], faults=[told, mute]) == []


def test_a_process_that_was_beginning_a_job_when_it_was_held_may_run_it_after_another() -> None:
    before, again = a_run(pid=8, began=7.5), a_run(began=8.02)
    given = {"silences": [Silence(9, 5.0, 8.1)], "holds": [Hold(9, 5.1, 8.01)]}
    assert settled(runs=[before, again], **given) == []
    # It does other things first, it was not held, or not for long enough to lose the job before the other began it.
    other = a_run("2", began=8.015, ended=8.016, number=1)
    assert len(settled(runs=[before, other, again], **given)) == 1
    cut_off = Fault("connections silent", 9, 5.1, 8.01)
    assert settled(runs=[before, again], silences=given["silences"], faults=[cut_off])
    assert settled(runs=[dataclasses.replace(before, began=6.0), again], **given)
    # It ran again before the other began the job.
    assert settled(runs=[before, again], **{**given, "holds": [Hold(9, 5.1, 7.4)]})


def test_a_heartbeat_that_does_not_come_is_a_silence() -> None:
    pulse = Pulse()
    for at, beats in enumerate(
        [{7: b"1", 8: b"1"}, {7: b"2", 8: b"1"}, {7: b"3", 8: b"1"}, {7: b"4"}, {7: b"5", 8: b"1"}]
    ):
        pulse.saw(beats, float(at), at + 0.1)
    assert pulse.lives == {7: Life(0.1, 4.1), 8: Life(0.1, 4.1)}
    # Of the process 8 the first beat came before 0, and the next after it was gone.
    assert [each for each in pulse.silences if each.pid == 8] == [Silence(8, 0.0, 4.1)]
    pulse.silences.clear()
    pulse.end(9.0)
    assert pulse.silences == [Silence(7, 3.0, 9.0), Silence(8, 3.0, 9.0)]


def test_what_nobody_enqueued_is_noticed() -> None:
    other = a_run("2", number=2)
    assert settled(runs=[a_run(), other]) == ["quick 2 ran, and nobody has enqueued it"]
    assert settled(runs=[a_run(), other], ledger=PoolMetrics({"1": "quick"}, {1: "quick", 2: "quick"})) == []


def test_an_accepted_slot_of_which_nothing_newer_ran_is_noticed() -> None:
    entries = Counter({("keyed", "a"): 2})
    ledger = PoolMetrics(sent={3: "keyed", 4: "keyed"}, keyed={"a": (4, 5.5)}, entries=entries)
    older = a_run(name="keyed", number=3, slot="a")
    for ran in (older, dataclasses.replace(older, began=5.7)):
        (line,) = settled(ledger=ledger, runs=[ran])
        assert line.startswith("keyed a: number 4 was accepted")
    assert settled(ledger=ledger, runs=[older, a_run("2", name="keyed", number=4, slot="a")]) == []
    # One without an answer may have come later than the newest.
    late = dataclasses.replace(ledger, doubtful={3})
    assert settled(ledger=late, runs=[dataclasses.replace(older, began=5.7)]) == []
    dead = b'{"name":"keyed","id":"2","fails":1,"err":"CrashedError","args":{"number":4,"slot":"a"}}'
    lines = settled(ledger=ledger, runs=[older], locations={**NOTHING_LEFT, "dead": [dead]})
    assert [line.split()[:4] for line in lines] == [["keyed", "2", "is", "dead"]]


@pytest.mark.parametrize("name", ["keyed", "unique"])
def test_a_job_that_runs_beside_the_one_that_took_its_place_is_noticed(name: str) -> None:
    runs = [a_run(str(number), name=name, number=number, slot="a") for number in (3, 4)]
    ledger = PoolMetrics(sent={3: name, 4: name}, entries=Counter({(name, "a"): 1}))
    assert settled(ledger=ledger, runs=runs) == [f"{name} a: 1 were put on the queue at most, and 2 ran"]
    assert settled(ledger=dataclasses.replace(ledger, entries=Counter({(name, "a"): 2})), runs=runs) == []


def test_what_was_not_there_is_noticed() -> None:
    hooks = {"kinds": frozenset({"quick", "doomed", "sharing"})}
    no_hooks = ["no on_failure hook was called", "no on_dead hook was called"]
    assert settled(**hooks) == ["no doomed ran", "no sharing ran", *no_hooks, "no resources were opened"]
    kinds = {"kinds": frozenset({"quick", "raising exit", "keyed"}), "fault_kinds": frozenset({KILLED})}
    missing = ["no keyed ran", "no raising exit ran", f"there was no {KILLED!r}"]
    assert settled(**kinds) == [*missing, "no job took the place of another by its key"]
    ledger = PoolMetrics({"1": "quick"}, {1: "quick", 2: "keyed", 3: "raising"}, replacing={2})
    runs = [a_run(), a_run("2", name="keyed", number=2), a_run("3", name="raising", number=3, kind="exit")]
    assert settled(**kinds, ledger=ledger, runs=runs, faults=[Fault(KILLED, 8, 1.0, 1.0)]) == []


def test_two_exclusive_jobs_at_once_are_noticed() -> None:
    before = a_run("1", name="exclusive", number=1, slot="a drop", began=1.0, ended=2.0)
    beside = a_run("2", name="exclusive", number=2, slot="a drop", began=1.5, ended=3.0)
    entries = Counter({("exclusive", "a drop"): 2})
    ledger = PoolMetrics({"1": "exclusive", "2": "exclusive"}, {1: "exclusive", 2: "exclusive"}, entries=entries)
    (line,) = settled(ledger=ledger, runs=[before, beside])
    assert line.startswith("exclusive 1 and 2 of a drop ran at once")
    assert settled(ledger=ledger, runs=[before, replace(beside, began=2.0)]) == []


def test_a_hostile_job_that_is_not_among_the_failed_is_noticed() -> None:
    ledger = PoolMetrics({"1": "raising"}, {1: "raising"})
    run = a_run(name="raising", kind="exit", outcome=FAILED)
    told, untold = (b'{"name":"raising","id":"1","fails":2%b}' % err for err in (b',"err":"SystemExit: 3"', b""))
    assert settled(ledger=ledger, runs=[run], locations={**NOTHING_LEFT, "dead": [told]}) == []
    (line,) = settled(ledger=ledger, runs=[run], locations={**NOTHING_LEFT, "dead": [untold]})
    assert line == "raising 1 is dead after 2 failures: "
    assert settled(ledger=ledger, runs=[dataclasses.replace(run, outcome=DONE)]) == [
        "raising 1 is neither dead nor to be tried again"
    ]


def test_a_hook_that_is_not_called_is_noticed() -> None:
    ledger = PoolMetrics({"1": "doomed"}, {1: "doomed"})
    runs = [a_run(name="doomed", fails=fails, outcome=FAILED, began=5.0 + fails) for fails in (0, 1)]
    dead = {**NOTHING_LEFT, "dead": [b'{"name":"doomed","id":"1","fails":2,"err":"ValueError: never"}']}
    given = {"ledger": ledger, "runs": runs, "locations": dead}
    first, second, died = calls = calls_for(runs)
    assert settled(**given) == []
    assert settled(**given, hook_calls=[second, died]) == ["on_failure was not called for attempt 1 of doomed 1"]
    assert settled(**given, hook_calls=[first, second]) == ["on_dead was not called for attempt 2 of doomed 1"]
    # A process that ended takes the calls that it owes with it.
    assert settled(**given, hook_calls=[], faults=[Fault(KILLED, 9, 8.0, 8.0)]) == []
    twice = "on_dead was called 2 times for attempt 2 of 1, which failed 1 times in process 9"
    assert settled(**given, hook_calls=[*calls, died]) == [twice]


def test_a_hook_that_is_called_without_a_reason_is_noticed() -> None:
    call = HookCall(9, ON_FAILURE, "1", 1)
    line = "on_failure was called 1 times for attempt 1 of 1, which failed 0 times in process 9"
    assert settled(hook_calls=[call]) == [line]
    cancelled = [a_run(outcome=CANCELLED), a_run(fails=1, began=7.0)]
    assert settled(runs=cancelled, hook_calls=[call]) == []
    # The attempts at which a process died were cut off.
    assert settled(hook_calls=[dataclasses.replace(call, crashed=True)]) == []


def test_resources_that_are_not_open_while_a_job_runs_are_noticed() -> None:
    assert settled(openings=[Opening(9, 4.0, 7.0)]) == []
    closed = "quick 1 began in process 9 while its resources were closed"
    for opening in (Opening(9, 5.5, 7.0), Opening(9, 4.0, 4.5), Opening(8, 4.0, 7.0)):
        assert settled(openings=[opening]) == [closed]
    assert settled(openings=[Opening(9, 3.0, 4.0), Opening(9, 4.5, 7.0)]) == ["process 9 opened its resources 2 times"]


def test_resources_that_are_left_open_are_noticed() -> None:
    left = {"openings": [Opening(9, 4.0)]}
    assert settled(**left) == ["process 9 ended without being killed, and has not closed its resources"]
    assert settled(**left, faults=[Fault(KILLED, 8, 7.0, 7.0)]) != []
    assert settled(**left, faults=[Fault(KILLED, 9, 7.0, 7.0)]) == []


def test_half_a_character_in_an_id_is_read_as_others_read_it() -> None:
    ledger = PoolMetrics({"\ufffd-1": "quick"}, {1: "quick"})
    assert settled(ledger=ledger, runs=[], locations={**NOTHING_LEFT, "retry": [b'{"id":"\\ud83d-1"}']}) == []


def test_more_than_the_cap_at_once_is_noticed() -> None:
    ledger = PoolMetrics(sent=dict.fromkeys(range(1, 4), "capped"))
    runs = [a_run(str(number), name="capped", number=number, pid=number) for number in range(1, 4)]
    assert settled(ledger=ledger, runs=runs) == ["3 capped jobs ran at once, and 2 may"]
    lost = Fault("worker stopped and continued", 3, 5.1, 5.2)
    assert settled(ledger=ledger, runs=runs, faults=[lost]) == []
    # What struck everybody is no reason.
    assert settled(ledger=ledger, runs=runs, faults=[Fault("Redis full", None, 5.1, 5.2)])


def ticks(*seconds: int) -> list[Run]:
    return [a_run(f"periodic:tick:* * * * * *:{at}", name="tick", number=0, began=at) for at in seconds]


def test_an_instance_that_never_fired_is_noticed() -> None:
    runs, line = ticks(100, 101, 103), "instances of the periodic job that never ran: [102]"
    assert settled(ledger=PoolMetrics(), runs=runs) == [line]
    # It was planned, late as it was.
    assert settled(ledger=PoolMetrics(), runs=runs, plans=[(101, 90.0), (131, 101.9)]) == [line]
    payload = b'{"name":"tick","id":"periodic:tick:* * * * * *:102","t":102,"args":null}'
    for where in ("scheduled", "queue tick", "retry"):
        assert settled(ledger=PoolMetrics(), runs=runs, locations={**NOTHING_LEFT, where: [payload]}) == []


def test_an_instance_that_no_pool_has_planned_is_noticed_if_one_could() -> None:
    line = "instances of the periodic job that no pool has planned, although one could: [102, 103]"
    given: dict[str, Any] = {"ledger": PoolMetrics(), "runs": ticks(100, 101, 104, 105)}
    given |= {"plans": [(101, 90.0), (133, 103.2)], "epoch": 80.0}
    began = 101.0 - 80.0 - WITHIN
    assert settled(**given, lives={9: Life(began, 50.0)}) == [line]
    # It had a plan that reached so far, unless its time was over before.
    ended = 23.5 - REACH + WITHIN
    assert settled(**given, lives={9: Life(ended - 10.0, ended)}) == [line]
    assert settled(**given, lives={9: Life(ended - 10.0, ended - 2.0)}) == []
    # None was at work, one had just begun, was told to stop, was silent, or something kept it from Redis.
    life = {9: Life(began, 23.5)}
    assert settled(**given) == settled(**given, lives={9: Life(began + 2.5, 50.0)}) == []
    assert settled(**given, lives=life, faults=[Fault(KILLED, 9, began + WITHIN - 1.0, 23.0)]) == []
    assert settled(**given, lives=life, silences=[Silence(9, began + 2.0, began + 5.0)]) == []
    assert settled(**given, lives=life, faults=[Fault("Redis paused", None, began + 1.0, began + 3.0)]) == []
    assert settled(**given, lives=life, faults=[Fault("Redis paused", 8, began + 1.0, began + 3.0)]) == [line]
    # Where it did not run for a moment, it had as much less time.
    assert settled(
        **given, lives=life, holds=[Hold(9, began + 1.0, began + 1.3), Hold(9, began + 2.0, began + 2.4)]
    ) == [line]
    assert (
        settled(**given, lives=life, holds=[Hold(9, began + 1.0, began + 2.5), Hold(9, began + 3.0, began + 4.5)]) == []
    )


def test_what_died_for_no_good_reason_is_noticed() -> None:
    def dead(err: str, name: str = "quick") -> dict[str, list[bytes]]:
        payload = f'{{"name":"{name}","id":"1","fails":2,"err":"{err}","args":null}}'.encode()
        return {**NOTHING_LEFT, "dead": [payload]}

    assert settled(locations=dead("ValueError: never", "doomed")) == []
    assert settled(locations=dead("ValueError: never")) == ["quick 1 is dead after 2 failures: ValueError: never"]
    crashed = dead("CrashedError: it was running")
    runs = [a_run(began=at, ended=None, outcome="", pid=int(at)) for at in (1.0, 4.0, 8.0)]
    kills = [Fault(KILLED, int(run.began), run.began + 1, run.began + 1) for run in runs]
    assert settled(locations=crashed, runs=runs, faults=kills) == []
    assert settled(locations=crashed, runs=runs[:2], faults=kills[:2]) == [
        "quick 1 is dead after 2 failures: CrashedError: it was running"
    ]
    # It can have been about to begin in a process that was killed when nobody ran it.
    assert settled(locations=crashed, runs=runs[:2], faults=[*kills[:2], Fault(KILLED, 7, 9.0, 9.0)]) == []
    assert settled(locations=crashed, runs=runs[:2], faults=[*kills[:2], Fault(KILLED, 7, 0.5, 0.5)])


def test_what_is_left_out_of_place_is_noticed() -> None:
    assert settled(poison=1) == ["1 payloads were no jobs, 0 are in quarantine"]
    assert settled(audit=["a lock"], surprises=["a defect"]) == ["a defect", "a lock"]
    ledger = PoolMetrics({"1": "doomed"}, {1: "doomed"})
    assert settled(ledger=ledger, runs=[a_run(name="doomed")]) == ["doomed 1 is neither dead nor to be tried again"]


def test_a_job_that_begins_in_a_quiet_pool_is_noticed() -> None:
    asked = Fault(QUIET, 9, 2.0, 5.5)
    assert settled(faults=[asked]) == ["quick 1 began 3.00 s after its pool, in 9, was asked to be quiet"]
    # Of another process, at once after the request, after it was asked to run again, or it could not read the request.
    for pid, began, ended in ((8, 2.0, 5.5), (9, 4.5, 5.5), (9, 2.0, 4.9)):
        assert settled(faults=[Fault(QUIET, pid, began, ended)]) == []
    assert settled(faults=[asked, Fault("connections silent", 9, 1.0, 4.0)]) == []
    # Another request is no reason.
    assert settled(faults=[asked, Fault(RESIZED, 9, 1.0, 5.5, size=9)])


def test_a_job_that_begins_beyond_the_size_of_its_pool_is_noticed() -> None:
    ledger = PoolMetrics(sent=dict.fromkeys(range(1, 4), "quick"))
    runs = [a_run(str(number), number=number, began=5.0 + number / 10) for number in (1, 2, 3)]
    asked = Fault(RESIZED, 9, 2.0, 5.5, size=2)
    line = "quick 3 began beside 2 others, and its pool, in 9, was asked to run 2 at once"
    assert settled(ledger=ledger, runs=runs, faults=[asked]) == [line]
    assert settled(ledger=ledger, runs=runs, faults=[dataclasses.replace(asked, size=3)]) == []
    assert settled(ledger=ledger, runs=runs, faults=[dataclasses.replace(asked, began=4.8)]) == []


def test_chunks_that_begin_beyond_the_size_of_their_pool_are_noticed() -> None:
    ledger = PoolMetrics(sent={**dict.fromkeys(range(1, 12), "chunked"), 12: "quick"})
    runs = [
        a_run(str(number), name=ledger.sent[number], number=number, began=5.0 + number / 100) for number in ledger.sent
    ]
    line = "chunked 11 began beside 10 others, and its pool, in 9, was asked to run 2 at once"
    # Chunks take none of the workers by which the other job runs.
    assert settled(ledger=ledger, runs=runs, faults=[Fault(RESIZED, 9, 2.0, 5.5, size=2)]) == [line]
    assert settled(ledger=ledger, runs=runs, faults=[Fault(RESIZED, 9, 2.0, 5.5, size=3)]) == []


@pytest.mark.parametrize(
    ("job_id", "period", "wrong"),
    [
        (f"periodic:{BEATING_KEY}:101", 0, True),
        (f"periodic:{BEATING_KEY}:101", 2, True),
        (f"periodic:{BEATING_KEY}:102", 2, False),
        (f"periodic:{BEATING_KEY}:100", 0, False),
        (f"periodic:{BEATING_KEY}:105", 0, False),
        (f"periodic:{ADDED_KEY}:101", 0, False),
    ],
)
def test_an_instance_of_a_periodic_job_at_rest_is_noticed(job_id: str, period: int, wrong: bool) -> None:
    rest = Rest("paused", BEATING_KEY, 100.5, 104.5, period)
    found = settled(ledger=PoolMetrics(), runs=[a_run(job_id, name="beating")], rests=[rest])
    assert found == ([f"{job_id} ran although its job was paused from 100.500 to 104.500"] if wrong else [])


# Flows: the first node, one after it, one for its failure, and one for however both end.
PLANNED = PlannedFlow(
    "w" + "0" * 23,
    continues=False,
    nodes={
        0: ModelNode(frozenset(), state="enqueued"),
        1: ModelNode(frozenset({0})),
        2: ModelNode(frozenset({0}), "failure"),
        3: ModelNode(frozenset({1, 2}), "done"),
    },
    numbers=[1, 2, 3, 4],
)
WELL = {0: "done", 1: "done", 2: "skipped", 3: "done"}


def flow_run(states: dict[int, str], nodes: Sequence[int], **changes: Any) -> list[str]:
    """What the account says of a flow whose nodes have ended so, and of which some have run."""
    runs = [a_run(), *(a_run(f"{PLANNED.flow_id}-{number}") for number in nodes)]
    ledger = PoolMetrics(confirmed={"1": "quick"}, sent={1: "quick"}, flows=[PLANNED])
    return settled(ledger=ledger, runs=runs, flows={PLANNED.flow_id: states}, **changes)


def test_nodes_that_ran_as_those_before_them_said() -> None:
    assert flow_run(WELL, [0, 1, 3]) == []
    # What has become of those that ran is no matter of the flow.
    assert flow_run({0: "failed", 1: "cancelled", 2: "done", 3: "done"}, [0, 2, 3]) == []


@pytest.mark.parametrize(
    ("states", "ran", "problem"),
    [
        ({**WELL, 2: "done"}, [0, 1, 2, 3], "node {}-2 (failure of {{0: 'done'}}) is done, and should be skipped"),
        ({**WELL, 1: "cancelled"}, [0, 3], "node {}-1 (success of {{0: 'done'}}) is cancelled, and should be enqueued"),
        (WELL, [0, 3], "node {}-1 is done, and has never come to its end"),
        (WELL, [0, 1, 2, 3], "node {}-2 is skipped, and ran"),
        ({0: "done"}, [0], "flow {} of 4 nodes is {{0: 'done'}}"),
        (
            {**WELL, 3: "waiting"},
            [0, 1],
            "node {}-3 (done of {{1: 'done', 2: 'skipped'}}) is waiting, and should be enqueued",
        ),
    ],
)
def test_nodes_are_noticed_that_ran_otherwise(states: dict[int, str], ran: list[int], problem: str) -> None:
    assert problem.format(PLANNED.flow_id) in flow_run(states, ran)
