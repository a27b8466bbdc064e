"""Payloads of requeued jobs: only the fields that must change differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwork import Discard, Job, JobOptions, PayloadError, Retry, Snooze
from asyncwork._admin.query import error_kind
from asyncwork._jobs.payload import with_time, without_failures
from asyncwork._json import members
from asyncwork._worker import outcome

FAILURE = ("fails", "err", "failed_at", "traceback")

words = st.sampled_from(['"', "\\", ',"fails":1', '"failed_at":3}', "}", "é", "\ud800", "x", ',"err":"', "\n"])
texts = st.lists(words, max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(FAILURE), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def payloads(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    job: dict[str, Any] = {"name": "wat", "id": "1", "t": draw(st.integers(0, 10**10))}
    job["args"] = draw(st.none() | st.dictionaries(texts | st.sampled_from(FAILURE), values, max_size=3))
    if draw(st.booleans()):
        job |= {"fails": draw(st.integers(0, 99)), "err": draw(texts), "failed_at": 5}
    if draw(st.booleans()):
        job["traceback"] = draw(texts)
    if draw(st.booleans()):
        job["other"] = draw(values)
    if draw(st.booleans()):
        names = draw(st.permutations(list(job)))
        job = {name: job[name] for name in names}
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    return job, json.dumps(job, separators=separators).encode()


@given(payloads())
def test_without_failures_nothing_else_is_lost(case: tuple[dict[str, Any], bytes]) -> None:
    job, payload = case
    renewed = without_failures(payload, 77)
    expected = {name: value for name, value in job.items() if name not in FAILURE} | {"t": 77}
    assert json.loads(renewed) == expected
    assert members.fields(renewed)["args"] == members.fields(payload)["args"]


@given(payloads())
def test_with_time_only_the_time_changes(case: tuple[dict[str, Any], bytes]) -> None:
    job, payload = case
    renewed = with_time(payload, 77)
    assert json.loads(renewed) == job | {"t": 77}
    assert rest(renewed, "t") == rest(payload, "t")


@given(payloads(), st.sampled_from([ValueError("é"), Retry(after=3), Snooze(3), Discard("no use"), None]))
def test_an_outcome_changes_only_the_failure_fields(
    case: tuple[dict[str, Any], bytes], error: BaseException | None
) -> None:
    _, payload = case
    job = Job.decode(payload)
    fails = job.fails
    decision = outcome.decide(job, JobOptions(max_fails=50), error, 77.5)
    failed = isinstance(decision, (outcome.RetryAt, outcome.Dead))
    assert job.fails == fails + failed
    assert rest(job.payload(), *FAILURE) == rest(payload, *FAILURE)
    if failed:
        kept = Job.decode(job.payload())
        assert (kept.fails, kept.err, kept.failed_at) == (fails + 1, outcome.describe(error or Exception()), 77)
        assert isinstance(decision, outcome.Dead) == (kept.fails >= 50)


def rest(payload: bytes, *names: str) -> dict[str, bytes]:
    """Return the fields of a payload without those named, each value as its bytes."""
    return {name: value for name, value in members.fields(payload).items() if name not in names}


@pytest.mark.parametrize(
    ("err", "kind"),
    [
        ("", ""),
        ("ValueError: bad row 17", "ValueError: bad row …"),
        ("KeyError: 'customer_id'", "KeyError: …"),
        ('no such file "a/b.txt" (errno 2)\nmore\nlines', "no such file … (errno …)"),
        ("<Thing at 0x7f00aa> timed out after 1.5 s", "<Thing at …> timed out after … s"),
        ("job 5f2b9c0a1d3e4f5061728394 of 3fa85f64-5717-4562-b3fc-2c963f66afa6", "job … of …"),
        ("card_declined (request req_9f3c1b7a8842)", "card_declined (request req_…)"),
        ("x" * 1000, "x" * 160),
        ("  ohno  ", "ohno"),
    ],
)
def test_the_kind_of_an_error(err: str, kind: str) -> None:
    assert error_kind(err) == kind


@pytest.mark.parametrize("name", ["fails", "err", "failed_at", "unique", "unique_key", "traceback", "expires", "other"])
@pytest.mark.parametrize("value", ["1", '"x"', "true", "null", "[]", "1.5"])
@pytest.mark.parametrize("spell", [str, str.upper])
def test_a_further_field_is_checked_wherever_it_stands(name: str, value: str, spell: Any) -> None:
    types = {"fails": int, "failed_at": int, "err": str, "unique_key": str, "unique": bool}
    found = json.loads(value)
    fields = f'"name":"wat","id":"1","t":5,"args":{{}},"{spell(name)}":{value}'
    for payload in (f"{{{fields}}}", f'{{"expires":7,{fields}}}', f'{{{fields},"unknown":{{}}}}'):
        if name in types and found is not None and type(found) is not types[name]:
            with pytest.raises(PayloadError, match=f'"{name}" must be {types[name].__name__}'):
                Job.decode(payload.encode())
            continue
        job = Job.decode(payload.encode())
        assert (job.name, job.id, job.enqueued_at, job.args) == ("wat", "1", 5, {})
        if name in types:
            assert getattr(job, name) == (types[name]() if found is None else found)
