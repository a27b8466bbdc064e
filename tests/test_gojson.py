"""JSON as Go writes it. Go's own encoder wrote the expected bytes, in the spelling of Go before 1.22."""

from __future__ import annotations

import enum
import json
import uuid
from collections import OrderedDict, namedtuple
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwork._json.go import encode
from asyncwork.errors import ArgumentEncodingError

Point = namedtuple("Point", "x y")


class Colour(enum.StrEnum):
    RED = "red<"


class Size(enum.IntEnum):
    BIG = 3


class Loud(str):
    def __str__(self) -> str:
        return "LOUD"


class Rounded(float):
    def __repr__(self) -> str:
        return "about one"


class Plain(enum.Enum):
    ONE = "one"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"b": 1, "a": "x", "B": True, "é": None, "_": 1, "aa": 2, "a0": 3},
            '{"B":true,"_":1,"a":"x","a0":3,"aa":2,"b":1,"é":null}',
        ),
        ({}, "{}"),
        ([], "[]"),
        ({"": ""}, '{"":""}'),
        (None, "null"),
        (
            {
                "z": {"y": [{"b": 1, "a": []}, {}], "x": {"d": None, "c": False}},
                "a": [[[]], [1, "2", 3.5, True]],
            },
            '{"a":[[[]],[1,"2",3.5,true]],"z":{"x":{"c":false,"d":null},"y":[{"a":[],"b":1},{}]}}',
        ),
        (
            {"to": "Zoë <z@example.com>", "n": -17, "tags": ["a&b", "日本", "😀"], "nil": None},
            r'{"n":-17,"nil":null,"tags":["a\u0026b","日本","😀"],"to":"Zoë \u003cz@example.com\u003e"}',
        ),
        (
            {"a": 2**64, "b": -(2**63) - 1, "c": 2**53 + 1, "d": 123456789012345678901234567890},
            '{"a":18446744073709551616,"b":-9223372036854775809,"c":9007199254740993,"d":123456789012345678901234567890}',
        ),
    ],
)
def test_a_value_is_written_as_go_writes_it(value: object, expected: str) -> None:
    assert encode(value) == expected.encode()


def test_keys_are_sorted_by_their_utf8_bytes() -> None:
    keys = ["\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "\U00010000", "\ue000", "\U0010ffff"]
    keys += ["", "A", "a", " ", "-", "ab", "a b"]
    value = {key: number for number, key in enumerate(keys, 1)}
    expected = (
        '{"":9," ":12,"-":13,"A":10,"a":11,"a b":15,"ab":14,"\x7f":1,"\x80":2,'
        '"\u07ff":3,"\u0800":4,"\ue000":7,"\uffff":5,"\U00010000":6,"\U0010ffff":8}'
    )
    assert encode(value) == expected.encode()
    assert encode([value]) == f"[{expected}]".encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<a href="x">&\'/\\</a>', r'"\u003ca href=\"x\"\u003e\u0026' + r"'/\\\u003c/a\u003e" + '"'),
        ("\0\1\b\t\n\v\f\r\x1f", r'"\u0000\u0001\u0008\t\n\u000b\u000c\r\u001f"'),
        (
            " \x7f\x85\u2027\u2028\u2029\u202a\ufeff\ufffd",
            '" \x7f\x85\u2027\\u2028\\u2029\u202a\ufeff\ufffd"',
        ),
        (r"\b \f \u0008 \<" + "\\\b", r'"\\b \\f \\u0008 \\\u003c\\\u0008"'),
    ],
)
def test_strings_are_escaped_as_go_escapes_them(text: str, expected: str) -> None:
    assert encode(text) == expected.encode()
    assert encode({"k": text}) == f'{{"k":{expected}}}'.encode()
    assert encode({text: []}) == f"{{{expected}:[]}}".encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("\ud800", '"\ufffd"'),
        ("a\udc00b", '"a\ufffdb"'),
        ("\ud800\ud800", '"\ufffd\ufffd"'),
        ("\ud83d\ud83d\ude00", '"\ufffd😀"'),
        (dict.fromkeys(["\ud800", "\ud801"], 2), '{"\ufffd":2}'),
        (dict(zip("\ufffd\ud800\ue000", (1, 2, 3), strict=True)), '{"\ue000":3,"\ufffd":2}'),
    ],
)
def test_a_lone_surrogate_becomes_what_go_decodes_it_to(value: object, expected: str) -> None:
    assert encode(value) == expected.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.0, "-1"),
        (100.0, "100"),
        (0.1, "0.1"),
        (-0.1, "-0.1"),
        (0.30000000000000004, "0.30000000000000004"),
        (1234567.891, "1234567.891"),
        (0.0001, "0.0001"),
        (0.00012, "0.00012"),
        (0.000123456789, "0.000123456789"),
        (1e-5, "0.00001"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (9.99e-7, "9.99e-7"),
        (-9.99e-7, "-9.99e-7"),
        (1e-7, "1e-7"),
        (1e-9, "1e-9"),
        (1.25e-10, "1.25e-10"),
        (1e-100, "1e-100"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
        (5e-324, "5e-324"),
        (1e15, "1000000000000000"),
        (123456789012345.6, "123456789012345.6"),
        (1e16, "10000000000000000"),
        (1.2345678901234567e16, "12345678901234568"),
        (9007199254740993.0, "9007199254740992"),
        (9223372036854775808.0, "9223372036854776000"),
        (1e20, "100000000000000000000"),
        (-1e20, "-100000000000000000000"),
        (1.2345678901234567e20, "123456789012345670000"),
        (999999999999999900000.0, "999999999999999900000"),
        (1e21, "1e+21"),
        (-1e21, "-1e+21"),
        (1.5e21, "1.5e+21"),
        (1e100, "1e+100"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)
def test_floats_are_laid_out_as_go_lays_them_out(value: float, expected: str) -> None:
    assert encode(value) == expected.encode()
    assert encode({"k": value}) == f'{{"k":{expected}}}'.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, r'"red\u003c"'),
        (Size.BIG, "3"),
        (Loud("quiet"), '"quiet"'),
        (Rounded(1.0), "1"),
        ((1, (2,)), "[1,[2]]"),
        (Point(1, 2), "[1,2]"),
        (OrderedDict(b=1, a=2), '{"a":2,"b":1}'),
        ({Colour.RED: {Loud("key"): 1}}, r'{"red\u003c":{"key":1}}'),
        (10**400, "1" + "0" * 400),
    ],
)
def test_subclasses_are_written_as_what_they_hold(value: object, expected: str) -> None:
    assert encode(value) == expected.encode()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": float("nan")}, 'args["a"]: nan is not JSON'),
        ({"a": [0, float("-inf")]}, 'args["a"][1]: -inf is not JSON'),
        ({"user": {"when": datetime.now(UTC)}}, 'args["user"]["when"]: a value of type datetime is not JSON'),
        ({"items": [0, 0, 0, b"x"]}, 'args["items"][3]: a value of type bytes is not JSON'),
        ({'say "hi"': {1}}, r'args["say \"hi\""]: a value of type set is not JSON'),
        ({"a": Decimal(1)}, 'args["a"]: a value of type Decimal is not JSON'),
        ({"a": uuid.uuid4()}, 'args["a"]: a value of type UUID is not JSON'),
        ({"a": Plain.ONE}, 'args["a"]: a value of type Plain is not JSON'),
        ({"a": MappingProxyType({})}, 'args["a"]: a value of type mappingproxy is not JSON'),
        ({"a": {1: 2}}, 'args["a"]: the key 1 is of type int; JSON has only strings'),
        ({None: 2}, "args: the key None is of type NoneType; JSON has only strings"),
        ({"a": 10**5000}, 'args["a"]: an integer of so many digits is not converted to text'),
        (object(), "args: a value of type object is not JSON"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_key(value: object, message: str) -> None:
    with pytest.raises(ArgumentEncodingError) as caught:
        encode(value)
    assert str(caught.value) == message


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, object] = {"twice": [[], []]}
    value["list"] = [1, {"back": value}]
    with pytest.raises(ArgumentEncodingError, match=r'^args\["list"\]\[1\]\["back"\]: it contains itself$'):
        encode(value)


def test_a_value_may_occur_more_than_once() -> None:
    shared = [1]
    assert encode({"a": shared, "b": [shared, shared]}) == b'{"a":[1],"b":[[1],[1]]}'


def nested(depth: int) -> object:
    value: object = "<"
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


def test_nesting_goes_as_deep_as_go_decodes_and_no_deeper() -> None:
    assert encode(nested(10_000)) == b'{"a":[' * 5_000 + rb'"\u003c"' + b"]}" * 5_000
    with pytest.raises(ArgumentEncodingError, match=r'^args\["a"\]\[0\].*…: it is nested more than 10000 levels deep$'):
        encode(nested(10_002))


# A float beyond 2**53 may be written in digits that are another integer; as a float it is the same.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_what_is_written_is_json_of_the_same_value(value: object) -> None:
    assert json.loads(encode(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_so_that_it_reads_back_the_same(value: float) -> None:
    assert repr(float(encode(value))) == repr(value)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_the_fast_way_writes_what_the_long_way_does(flat: dict[str, object]) -> None:
    assert b"[" + encode(flat) + b"]" == encode([flat])


@given(st.text())
def test_nothing_that_html_could_misread_is_left(text: str) -> None:
    written = encode({text: text}).decode()
    assert not set(written) & set("<>&\u2028\u2029")


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_insertion_does_not_matter(value: dict[str, int]) -> None:
    assert encode(value) == encode(dict(reversed(value.items())))
    assert list(json.loads(encode(value))) == sorted(value, key=str.encode)
