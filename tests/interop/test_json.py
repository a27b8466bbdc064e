"""Values between Go and Python: which arrive as they were sent, which Go changes, and the keys made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncwork import Client, Enqueuer
from asyncwork._json import go, members
from asyncwork._redis.keys import Keys
from asyncwork.errors import PayloadError
from asyncwork.job import Job

from ..conftest import until
from .golang import Mixed, Streamed


def nested(depth: int) -> object:
    value: object = "deep"
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


STRESS: dict[str, Any] = {
    "empty": [[], {}, [[]], {"a": []}, ""],
    "nulls": {"a": None, "b": [None, None]},
    "ints": [0, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 100000000000000, 1759000000123456],
    "ids": [1234567890123456789, 2**63 - 1, -(2**63), 2**64],
    "floats": [0.30000000000000004, 0.12345678901234568, 1e21, 1e20, 5e-324, 1.7976931348623157e308, 1e-7, 1.5],
    "html": '<a href="x">&\'/\\</a>',
    "text": "Zoë 日本 😀 \u2028\u2029 \x7f\x85",
    "control": "\0\1\b\t\n\v\f\r\x1f",
    "keys": {"b": 1, "a": 2, "é": 3, "": 4, "<": 5},
    "big": "x" * 1_000_000,
    "deep": nested(499),
}
LONE = {"high": "\ud800", "low": "a\udc00b", "twice": "\ud83d😀"}
LONE_IN_GO = {"high": "\ufffd", "low": "a\ufffdb", "twice": "\ufffd😀"}


def changed(value: Any, number: Callable[[Any], Any], empty_list: Any) -> Any:
    """Return a value with its numbers and empty lists changed."""
    if isinstance(value, dict):
        # What is deep has none, and is too deep to look for any.
        return {key: each if key == "deep" else changed(each, number, empty_list) for key, each in value.items()}
    if isinstance(value, list):
        return [changed(each, number, empty_list) for each in value] or empty_list
    return number(value) if type(value) in (int, float) else value


# What a Go handler finds: all numbers are float64.
in_go: Callable[[Any], Any] = partial(changed, number=float, empty_list=[])
# What Lua's cjson leaves: 14 digits, and no empty lists.
after_lua: Callable[[Any], Any] = partial(changed, number=lambda value: float(f"{value:.14g}"), empty_list={})


def test_what_go_and_lua_do_to_numbers() -> None:
    assert in_go(STRESS)["ints"][4] == 2**53 != STRESS["ints"][4]
    assert after_lua(STRESS)["ints"][7] == 1759000000123500
    assert after_lua(STRESS)["empty"] == [{}, {}, [{}], {"a": {}}, ""]
    assert after_lua(STRESS)["floats"][0] == 0.3


async def args_seen(mixed: Mixed) -> list[Any]:
    """The arguments of the jobs that started, the longest first: at one moment any of several may be the first."""
    seen = [each.args for each in await mixed.events("start")]
    return sorted(seen, key=lambda args: -len(args or {}))


async def test_what_go_enqueues_arrives_here_as_it_was_sent(mixed: Mixed) -> None:
    await mixed.enqueue("wat", STRESS)
    await mixed.enqueue("wat", STRESS, how="in")
    await mixed.enqueue("wat", LONE)
    async with mixed.python("wat").running():
        await mixed.until_ran(3)
    assert await args_seen(mixed) == [STRESS, STRESS, LONE_IN_GO]


async def test_what_python_enqueues_is_seen_by_go_with_numbers_as_floats(mixed: Mixed) -> None:
    enqueuer = mixed.bench.enqueuer
    await enqueuer.enqueue("wat", STRESS)
    await enqueuer.enqueue("wat", LONE)
    await mixed.run_go("wat")
    assert in_go(await args_seen(mixed)) == [in_go(STRESS), LONE_IN_GO]


async def test_no_arguments_and_empty_ones_are_told_apart(mixed: Mixed) -> None:
    enqueuer = mixed.bench.enqueuer
    both: tuple[None, dict[str, Any]] = (None, {})
    for args in both:
        await enqueuer.enqueue("wat", args, unique=True)
        assert await mixed.enqueue("wat", args, how="unique") is None
    await mixed.run_go("wat")
    for args in both:
        await mixed.enqueue("wat", args, how="unique")
        assert (await enqueuer.enqueue("wat", args, unique=True)).duplicate
    await mixed.run_python("wat")
    assert sorted(map(str, await args_seen(mixed))) == ["None", "None", "{}", "{}"]


async def test_a_go_pool_that_fails_a_job_writes_its_numbers_as_floats(mixed: Mixed) -> None:
    await mixed.bench.enqueuer.enqueue("wat", STRESS)
    await mixed.run_go("wat", fails=1, backoff=3600)
    ((payload, _),) = await mixed.bench.job_set("retry")
    # Go writes a float without a fraction as an integer: here it is one again, but not the one that was sent.
    written = json.loads(payload)["args"]
    assert in_go(written) == in_go(STRESS)
    assert written["ids"] == [1234567890123456800, 9223372036854776000, -9223372036854776000, 18446744073709552000]
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        await client.retry_matching("retry")
    await mixed.run_python("wat")
    assert (await mixed.events("start"))[1].args == written


async def test_a_python_pool_keeps_the_bytes_of_what_go_sent(mixed: Mixed) -> None:
    await mixed.enqueue("wat", STRESS)
    (sent,) = await mixed.bench.waiting("wat")
    args = sent[sent.index(b'"args":') : -1]
    await mixed.run_python("wat", fails=1, backoff=lambda job: 3600)
    ((payload, score),) = await mixed.bench.job_set("retry")
    assert args in payload
    await mixed.bench.redis.zadd(mixed.bench.keys.retry, {payload: score - 3600})
    await mixed.run_python("wat", fails=2, max_fails=2)
    ((payload, _),) = await mixed.bench.job_set("dead")
    assert args in payload


async def test_a_job_that_a_go_pool_requeues_is_what_lua_leaves_of_it(mixed: Mixed) -> None:
    # Only Go's requeuer runs: its pool serves the name, and leaves the queue alone.
    await mixed.bench.redis.set(mixed.bench.keys.paused("wat"), 1)
    await mixed.bench.enqueuer.enqueue("wat", STRESS, delay=1)
    await mixed.enqueue("wat", STRESS, how="in")
    async with mixed.pool(jobs={"wat": {}}):

        async def moved() -> bool:
            return len(await mixed.bench.waiting("wat")) == 2

        await until(moved)
    await mixed.bench.redis.delete(mixed.bench.keys.paused("wat"))
    await mixed.run_python("wat")
    assert [each.args for each in await mixed.events("start")] == [after_lua(STRESS)] * 2


async def test_a_job_that_a_python_pool_requeues_is_as_it_was_sent(mixed: Mixed) -> None:
    await mixed.bench.redis.set(mixed.bench.keys.paused("wat"), 1)
    await mixed.bench.enqueuer.enqueue("wat", STRESS | LONE, delay=1)
    await mixed.enqueue("wat", STRESS, how="in")
    async with mixed.python("wat").running() as pool:

        async def moved() -> bool:
            return len(await mixed.bench.waiting("wat")) == 2

        await until(moved)
        await mixed.bench.redis.delete(mixed.bench.keys.paused("wat"))
        await mixed.drain(pool)
    assert await args_seen(mixed) == [STRESS | LONE, STRESS]


async def test_the_dead_that_gos_client_retries_are_what_lua_leaves_of_them(mixed: Mixed) -> None:
    await mixed.bench.enqueuer.enqueue("wat", STRESS)
    await mixed.run_python("wat", fails=1, max_fails=1)
    await mixed.client("retry-all-dead")
    await mixed.run_python("wat")
    assert [each.args for each in await mixed.events("start")] == [STRESS, after_lua(STRESS)]


# Keys


Encode = Callable[[object], bytes]


@pytest.fixture(scope="module")
def go_json(gowork: Path) -> Iterator[Encode]:
    """Go's ``json.Encoder``."""
    with Streamed(gowork, "encode") as encoder:
        yield lambda value: bytes.fromhex(encoder.say(json.dumps(value)))


def respelled(written: bytes) -> bytes:
    """Spell backspace and form feed as Go did before 1.22."""
    return re.sub(rb"\\.", lambda match: {rb"\b": rb"\u0008", rb"\f": rb"\u000c"}.get(match[0], match[0]), written)


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@given(value=any_value)
@settings(max_examples=1000, deadline=None)
def test_every_value_is_written_as_go_writes_it(go_json: Encode, value: object) -> None:
    assert go.encode(value) + b"\n" == respelled(go_json(value))


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70))
@settings(max_examples=1000, deadline=None)
def test_every_number_is_written_as_go_writes_it(go_json: Encode, value: float) -> None:
    assert go.encode(value) + b"\n" == go_json(value)


@given(value=any_text)
@settings(max_examples=1000, deadline=None)
def test_every_text_is_written_as_go_writes_it(go_json: Encode, value: str) -> None:
    assert go.encode({value: value}) + b"\n" == respelled(go_json({value: value}))


VECTORS: list[tuple[dict[str, Any] | None, str]] = [
    (None, ""),
    ({}, "{}\n"),
    (
        {"b": 1, "a": "x", "B": True, "é": None, "_": 1, "aa": 2, "a0": 3},
        '{"B":true,"_":1,"a":"x","a0":3,"aa":2,"b":1,"é":null}\n',
    ),
    ({"k": '<a href="x">&\'/\\</a>'}, r'{"k":"\u003ca href=\"x\"\u003e\u0026' + "'/\\\\" + r'\u003c/a\u003e"}' + "\n"),
    ({"k": "\u2028\u2029\x85\x7f"}, '{"k":"\\u2028\\u2029\x85\x7f"}\n'),
    ({"k": "\0\1\b\t\n\v\f\r\x1f"}, r'{"k":"\u0000\u0001\u0008\t\n\u000b\u000c\r\u001f"}' + "\n"),
    (
        {"k": [1.0, -0.0, 1e-6, 9.99e-7, 1e20, 1e21, 5e-324]},
        '{"k":[1,-0,0.000001,9.99e-7,100000000000000000000,1e+21,5e-324]}\n',
    ),
    ({"k": [2**53 + 1, 2**63 - 1, 2**64]}, '{"k":[9007199254740993,9223372036854775807,18446744073709551616]}\n'),
    ({"z": {"y": [{"b": 1, "a": []}, {}]}, "a": [[]]}, '{"a":[[]],"z":{"y":[{"a":[],"b":1},{}]}}\n'),
    ({"k": "\ud800", "\udc00": 1}, '{"k":"\ufffd","\ufffd":1}\n'),
]


@pytest.mark.parametrize(("args", "text"), VECTORS)
async def test_unique_keys_are_gos_byte_for_byte(
    mixed: Mixed, go_json: Encode, args: dict[str, Any] | None, text: str
) -> None:
    redis, prefix = mixed.bench.redis, f"{mixed.bench.namespace}:unique:wat:"
    theirs = text
    if go_json("\b") != b'"\\u0008"\n':
        # Built with Go 1.22 or later: a job with one of these characters is unique on each side for itself.
        theirs = text.replace(r"\u0008", r"\b").replace(r"\u000c", r"\f")
    await mixed.enqueue("wat", args, how="unique")
    assert await redis.keys(f"{mixed.bench.namespace}:unique:*") == [(prefix + theirs).encode()]
    assert await redis.delete(prefix + theirs) == 1
    await mixed.bench.enqueuer.enqueue("wat", args, unique=True)
    assert await redis.keys(f"{mixed.bench.namespace}:unique:*") == [(prefix + text).encode()]
    if theirs == text:
        assert await mixed.enqueue("wat", args, how="unique") is None
        assert await mixed.enqueue("wat", args, how="unique_in") is None
    await redis.delete(prefix + text)


async def test_keys_with_a_backspace_are_freed_here_and_by_a_go_of_the_same_spelling(
    mixed: Mixed, go_json: Encode
) -> None:
    redis, args = mixed.bench.redis, {"k": "\b\f"}
    await mixed.enqueue("wat", args, how="unique")
    await mixed.run_python("wat")
    assert not await redis.keys(f"{mixed.bench.namespace}:unique:*")
    await mixed.bench.enqueuer.enqueue("wat", args, unique=True)
    await mixed.run_go("wat")
    left = await redis.keys(f"{mixed.bench.namespace}:unique:*")
    assert len(left) == (go_json("\b") != b'"\\u0008"\n')
    await redis.delete("nothing", *left)


@pytest.mark.parametrize("namespace", ["", "{}", "{}:", "{}::", "{}:a"])
async def test_namespaces_are_gos(mixed: Mixed, namespace: str) -> None:
    bench = mixed.bench
    name = f"only-{bench.namespace}"
    bench.namespace = namespace.format(bench.namespace)
    async with Enqueuer(bench.url, namespace=bench.namespace) as enqueuer:
        await enqueuer.enqueue(name, {"a": 1}, unique=True)
        await mixed.enqueue(name, {"a": 1})
        assert await mixed.enqueue(name, {"a": 1}, how="unique") is None
    keys = Keys(bench.namespace)
    assert await bench.redis.llen(keys.queue(name)) == 2
    await mixed.run_go(name)
    assert len(await mixed.ran()) == 2
    await bench.redis.srem(keys.known_jobs, name)
    await bench.redis.delete(*await bench.redis.keys(f"*{name}*"), mixed.record)


# Payloads

SAMPLES = [
    "null", "true", "false", "0", "1", "-1", "1000.0", "1e3", "1.5", '"1000"', '""', '"wat"', "[]", "[1]", "{}",
    '{"a":1}', str(2**63 - 1), str(-(2**63)), '"\\ud800"', "absent",
]  # fmt: skip
# Not `unique_key`, which this version of gocraft/work does not read.
FIELDS = ["name", "id", "t", "args", "unique", "fails", "err", "failed_at", "traceback", "more"]
# How else a name may be spelled for the same field; the last two are a long s and a Kelvin sign.
SPELLINGS = [*FIELDS, "Name", "ID", "iD", "T", "Args", "ARGS", "Unique", "Fails", "Err", "Failed_At", "FailedAt",
             "Traceback", "arg\u017f", "\u212a"]  # fmt: skip
GOOD = {"name": '"wat"', "id": '"1"', "t": "1", "args": '{"a":1}', "unique": "true", "fails": "2", "failed_at": "3"}


@pytest.fixture(scope="module")
def go_reads(gowork: Path) -> Iterator[Streamed]:
    """How gocraft/work reads a payload."""
    with Streamed(gowork, "decode") as decoder:
        yield decoder


def read_here(payload: str) -> dict[str, Any] | None:
    try:
        job = Job.decode(payload.encode())
    except PayloadError:
        return None
    # As Go writes a job: what is empty is left out.
    always = {"id": job.id, "t": job.enqueued_at, "args": job.given_args}
    rest = {"name": job.name, "unique": job.unique, "fails": job.fails, "err": job.err, "failed_at": job.failed_at}
    return always | {key: value for key, value in rest.items() if value}


@given(wrong=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(SAMPLES), max_size=3))
@settings(max_examples=1000, deadline=None)
def test_payloads_are_read_or_refused_as_go_does(go_reads: Streamed, wrong: dict[str, str]) -> None:
    members = {name: value for name, value in {**GOOD, **wrong}.items() if value != "absent"}
    payload = "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
    theirs = json.loads(go_reads.say(payload)).get("job")
    ours = read_here(payload)
    assert (ours is None) == (theirs is None)
    assert ours is None or go.encode(ours) == go.encode(theirs)


RIGHT = {
    "name": ['"wat"', "null"],
    "id": ['"1"', '"2"', "null"],
    "t": ["1", "2", "null"],
    "args": ['{"a":1}', '{"a":2,"b":[]}', "{}", "null"],
    "unique": ["true", "false", "null"],
    "fails": ["2", "3", "null"],
    "err": ['"x"', "null"],
    "failed_at": ["3", "null"],
}


@given(
    members=st.lists(
        st.sampled_from(SPELLINGS).flatmap(
            lambda name: st.tuples(st.just(name), st.sampled_from(RIGHT.get(members.field_name(name), ["1"])))
        ),
        max_size=8,
        unique_by=lambda member: member[0],
    )
)
@settings(max_examples=1000, deadline=None)
def test_names_are_read_in_upper_and_lower_case_as_go_does(go_reads: Streamed, members: list[tuple[str, str]]) -> None:
    payload = "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"
    theirs = json.loads(go_reads.say(payload))["job"]
    ours = read_here(payload)
    assert go.encode(ours) == go.encode(theirs)
    # What a failure writes is read as it was meant, too.
    job = Job.decode(payload.encode())
    job.failed("again", 5)
    again = read_here(job.payload().decode())
    assert again is not None
    assert (again["fails"], again["err"], again["args"]) == (job.fails, "again", job.given_args)
    assert go.encode(again) == go.encode(json.loads(go_reads.say(job.payload().decode()))["job"])
