"""Pure decisions: the outcome of an attempt, and the order of queues."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from asyncwork import Discard, Job, JobOptions, RateLimited, Retry, Snooze, UnknownJobError, UsageError
from asyncwork._redis.keys import Keys
from asyncwork._redis.queue import Queue
from asyncwork._worker import backoff, outcome
from asyncwork._worker.priority_sampler import sample

NOW = 1_000_000.7
YEAR_3000 = 32_503_680_000


def job(fails: int = 0) -> Job:
    fields = {"name": "wat", "id": "1", "t": 1, "args": None, **({"fails": fails} if fails else {})}
    return Job.decode(json.dumps(fields).encode())


OPTIONS = JobOptions(max_fails=3, backoff=lambda job: 10 * job.fails)
NO_DEAD = JobOptions(max_fails=1, skip_dead=True)
OUTCOMES: list[tuple[int, JobOptions | None, BaseException | None, outcome.Outcome]] = [
    (0, OPTIONS, None, outcome.Done()),
    (2, OPTIONS, None, outcome.Done()),
    (0, OPTIONS, ValueError(), outcome.RetryAt(1_000_010)),
    (1, OPTIONS, ValueError(), outcome.RetryAt(1_000_020)),
    (2, OPTIONS, ValueError(), outcome.Dead(1_000_000)),
    (7, OPTIONS, ValueError(), outcome.Dead(1_000_000)),
    (0, OPTIONS, Retry(after=0.5), outcome.RetryAt(1_000_001)),
    (0, OPTIONS, Retry(after=0), outcome.RetryAt(1_000_000)),
    (0, OPTIONS, Retry(), outcome.RetryAt(1_000_010)),
    (2, OPTIONS, Retry(after=5), outcome.Dead(1_000_000)),
    (2, OPTIONS, Snooze(60), outcome.RunAt(1_000_060)),
    (2, OPTIONS, RateLimited(60), outcome.Rest(60)),
    (2, OPTIONS, RateLimited(0.2), outcome.Rest(1)),
    (2, OPTIONS, RateLimited(timedelta(minutes=1.01)), outcome.Rest(61)),
    (0, OPTIONS, Discard("no use"), outcome.Drop("no use")),
    (0, NO_DEAD, ValueError(), outcome.Drop("failed 1 times, and its options say not to keep it as dead", failed=True)),
    (0, None, UnknownJobError("wat"), outcome.Dead(1_000_000)),
]


@pytest.mark.parametrize(("fails", "options", "error", "expected"), OUTCOMES)
def test_the_fate_of_a_job(
    fails: int, options: JobOptions | None, error: BaseException | None, expected: outcome.Outcome
) -> None:
    one = job(fails)
    assert outcome.decide(one, options, error, NOW) == expected
    counted = error is not None and not isinstance(error, (Snooze, RateLimited, Discard))
    assert one.fails == fails + counted


@pytest.mark.parametrize("fails", [-1, -1000, -(2**63)])
def test_less_than_no_failures_are_none(fails: int) -> None:
    one = Job.decode(b'{"name":"wat","id":"1","t":1,"args":null,"fails":%d}' % fails)
    assert isinstance(decided := outcome.decide(one, JobOptions(), ValueError(), NOW), outcome.RetryAt)
    assert int(NOW) + 16 <= decided.at < int(NOW) + 16 + 60
    assert one.fails == 1


def test_no_backoff_is_longer_than_a_score_can_be() -> None:
    assert backoff.default_backoff(2**63) == 10**14


@pytest.mark.parametrize("fails", [1, 2, 5])
def test_the_default_backoff_is_gocraft_works(fails: int) -> None:
    assert backoff.default_backoff(fails, lambda n: 0) == fails**4 + 15
    assert backoff.default_backoff(fails, lambda n: n - 1) == fails**4 + 15 + 29 * (fails + 1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "x", True, 1e300, 10**400, 1.8e12])
def test_fates_with_bad_seconds_are_refused(seconds: Any) -> None:
    with pytest.raises(UsageError, match="Snooze"):
        Snooze(seconds)
    with pytest.raises(UsageError, match="Retry"):
        Retry(after=seconds)


def test_priorities_weigh_the_order() -> None:
    queues = [Queue.of(Keys("x"), str(priority), "pool", priority) for priority in (5, 2, 1)]
    rand = random.Random(7)
    first: Counter[int] = Counter()
    last: Counter[int] = Counter()
    total = 20_000
    for _ in range(total):
        order = sample(queues, rand.random)
        assert sorted(queue.priority for queue in order) == [1, 2, 5]
        first[order[0].priority] += 1
        last[order[-1].priority] += 1
    for priority in (5, 2, 1):
        assert first[priority] / total == pytest.approx(priority / 8, abs=0.02)
    assert last[1] / total > 0.5


class Refuses(Exception):
    def __str__(self) -> str:
        return "%s" % None.status_code  # type: ignore[attr-defined]  # noqa: UP031


BEYOND = "(its seconds must be zero or more, and end before the year 3000)"
NO_STATUS = "'NoneType' object has no attribute 'status_code'"


class Silent(Exception):
    def __str__(self) -> str:
        raise SystemExit(Silent())


class Bare(Snooze):
    def __init__(self) -> None: ...


class BareDiscard(Discard):
    def __init__(self) -> None: ...


def late(error: Any, **attributes: object) -> Any:
    vars(error).update(attributes)
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Refuses(), f"Refuses: <str() failed: AttributeError: {NO_STATUS}>"),
        (Silent(), "Silent: <str() failed: SystemExit>"),
        (ValueError(Silent()), "ValueError: <str() failed: SystemExit>"),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError(), "ValueError"),
        (Bare(), f"Bare {BEYOND}"),
        (Snooze(32_503_000_000), f"Snooze: snoozed for 3.2503e+10 s {BEYOND}"),
        (late(Snooze(5), seconds=-1), f"Snooze: snoozed for 5 s {BEYOND}"),
    ],
)  # fmt: skip
def test_the_text_says_what_can_be_said(error: BaseException, text: str) -> None:
    one = job()
    assert outcome.decide(one, OPTIONS, error, NOW) == outcome.RetryAt(1_000_010)
    assert one.err == text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (late(Retry(after=5), after=float("nan")), outcome.RetryAt(1_000_010)),
        (late(Retry(after=5), after="7"), outcome.RetryAt(1_000_010)),
        (late(Retry(after=5), after=7), outcome.RetryAt(1_000_007)),
        (Retry(after=YEAR_3000 - 1_000_001), outcome.RetryAt(YEAR_3000 - 1)),
        (Retry(after=YEAR_3000 - 1_000_000), outcome.RetryAt(1_000_010)),
        (Snooze(YEAR_3000 - 1_000_001), outcome.RunAt(YEAR_3000 - 1)),
        (late(Snooze(5), seconds=7), outcome.RunAt(1_000_007)),
        (late(Discard("x"), reason=Silent()), outcome.Drop("<str() failed: SystemExit>")),
        (BareDiscard(), outcome.Drop("no reason given")),
    ],
)
def test_attributes_that_were_set_later(error: BaseException, expected: outcome.Outcome) -> None:
    assert outcome.decide(job(), OPTIONS, error, NOW) == expected


def test_a_traceback_that_cannot_be_formatted_shows_its_frames() -> None:
    one = job()
    try:
        raise SyntaxError("bad", ("file.py", "seven", "three", "x =", "1", "2"))  # type: ignore[arg-type]
    except SyntaxError as error:
        outcome.decide(one, OPTIONS, error, NOW)
    assert "in test_a_traceback_that_cannot_be_formatted" in one.traceback
    assert one.err.startswith("SyntaxError: bad")
