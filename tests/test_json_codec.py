"""The JSON codec: which bytes it reads and writes, and which it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import json
import math
import struct
import sys
import uuid
from collections import ChainMap, OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwork._json.codec import decode, decode_job, encode_args, encode_string
from asyncwork._json.members import field_name, fields, splice
from asyncwork.errors import ArgumentEncodingError, PayloadError

Point = namedtuple("Point", "x y")

ALLOWED = "pass strings, numbers, booleans, None, lists and dicts of them"
DEEP = 500
BEYOND_64_BITS = [2**64, -(2**63) - 1, 2**64 + 1, 10**25 + 1, -(10**300) - 7]


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Plain(enum.Enum):
    ONE = "one"


class Odd(int, enum.Enum):
    """Its value is not what it is equal to."""

    ONE = 1

    def __new__(cls, number: int) -> Odd:
        member = int.__new__(cls, number)
        member._value_ = "another"
        return member


class Text(str):
    pass


@dataclasses.dataclass
class Record:
    number: int = 1


class Model:
    def model_dump(self) -> None: ...


def short(value: object) -> str:
    """The name of a test case: some values are too long for one, and some cannot be shown at all."""
    return ascii(value[:40]) if isinstance(value, (str, bytes)) else type(value).__name__


def nested(depth: int, leaf: object) -> dict[str, object]:
    value: object = leaf
    for level in range(depth - 1):
        value = {"a": value} if level % 2 else [value]
    return {"a": value}


def nested_text(depth: int, leaf: bytes) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + leaf + b"]" * (depth - 1) + b"}"


# What JSON has, without the halves of a surrogate pair side by side: read again, they are one character.
texts = st.text() | st.text(st.characters(max_codepoint=0xD9FF)) | st.text(st.characters(min_codepoint=0xDC00))
integers = st.integers() | st.integers(-(10**40), 10**40) | st.sampled_from(BEYOND_64_BITS)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70).map(float)
json_values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
json_objects = st.dictionaries(texts, json_values, max_size=6)


def same(left: object, right: object) -> bool:
    """Equality that tells 1 from 1.0 and True, and 0.0 from -0.0."""
    return left == right and repr(left) == repr(right)


class TestEncodeArgs:
    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            (None, "null"),
            ({}, "{}"),
            ({"a": 1, "b": [True, None, "é<"]}, '{"a":1,"b":[true,null,"é<"]}'),
            ({"b": 1, "a": {"d": 1.0, "c": -0.0}}, '{"b":1,"a":{"d":1.0,"c":-0.0}}'),
            ({"a": (1, (2,)), "p": Point(1, 2)}, '{"a":[1,[2]],"p":[1,2]}'),
            ({"a": None, "b": 0.5, "c": [None, {"d": 2.5}]}, '{"a":null,"b":0.5,"c":[null,{"d":2.5}]}'),
            ({"a": 2**64, "b": -(2**63) - 1}, '{"a":18446744073709551616,"b":-9223372036854775809}'),
            ({"a": Colour.RED, "b": [Size.BIG], "c": Text("x")}, '{"a":"red","b":[3],"c":"x"}'),
            ({"a": [Odd.ONE]}, '{"a":[1]}'),
            ({Colour.RED: {Text("x"): 1}}, '{"red":{"x":1}}'),
            ({"a": OrderedDict(b=1, a=2), "d": defaultdict(int, x=1)}, '{"a":{"b":1,"a":2},"d":{"x":1}}'),
            ({"\ud800": ["a\udfff", "é"]}, '{"\\ud800":["a\\udfff","é"]}'),
            (MappingProxyType({"a": 1}), '{"a":1}'),
            (UserDict(a=[1]), '{"a":[1]}'),
            (ChainMap({"a": 1}), '{"a":1}'),
            (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        ],
    )
    def test_arguments_are_compact_json(self, args: Mapping[str, object] | None, expected: str) -> None:
        assert encode_args(args) == expected.encode()

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            (datetime.now(UTC), "a datetime is not JSON; pass value.isoformat(), with a time zone"),
            (date(2020, 1, 1), "a date is not JSON; pass value.isoformat()"),
            (timedelta(1), "a timedelta is not JSON; pass value.total_seconds()"),
            (uuid.uuid4(), "a UUID is not JSON; pass str(value)"),
            (Decimal(1), "a Decimal is not JSON; pass str(value)"),
            (Path("x"), f"a {type(Path('x')).__name__} is not JSON; pass str(value)"),
            (b"x", "a bytes is not JSON; pass base64.b64encode(value).decode()"),
            ({1}, "a set is not JSON; pass sorted(value)"),
            (Plain.ONE, "a Plain is not JSON; pass value.value"),
            (Record(), "a Record is not JSON; pass dataclasses.asdict(value)"),
            (Model(), "a Model is not JSON; pass value.model_dump(mode='json', by_alias=True)"),
            (MappingProxyType({}), "a mappingproxy is not JSON; pass dict(value)"),
            (range(3), "a range is not JSON; pass list(value)"),
            (object(), f"an object is not JSON; {ALLOWED}"),
            (orjson.Fragment(b"oops"), f"a Fragment is not JSON; {ALLOWED}"),
            (math.nan, "nan is not JSON; pass None or a string"),
            (-math.inf, "-inf is not JSON; pass None or a string"),
            ({1: 2}, "the key 1 is an int, and JSON has only strings"),
            ({None: 2}, "the key None is a NoneType, and JSON has only strings"),
            (10**5000, "an integer of thousands of digits cannot be read again; pass hex(value)"),
        ],
        ids=short,
    )
    def test_what_json_cannot_hold_is_refused_with_its_key(self, value: object, fault: str) -> None:
        refused: dict[str, dict[str, object]] = {
            'args["it"]': {"fine": 1, "it": value},
            'args["user"]["when"]': {"fine": None, "user": {"fine": [None], "when": value}},
            'args["items"][3]': {"items": (0, {}, [], value)},
            'args["a \\"b\\" é"][0][1]["c"]': {'a "b" é': [["\ud800", {"c": value}]]},
        }
        for path, args in refused.items():
            with pytest.raises(ArgumentEncodingError) as caught:
                encode_args(args)
            assert str(caught.value) == f"{path}: {fault}"

    @pytest.mark.parametrize(("args", "kind"), [([1], "a list"), ("text", "a str"), (5, "an int")])
    def test_what_is_no_mapping_is_refused(self, args: Any, kind: str) -> None:
        with pytest.raises(ArgumentEncodingError, match=f"^args: a mapping of names to values is needed, not {kind}$"):
            encode_args(args)

    def test_a_key_of_the_arguments_themselves_may_be_at_fault(self) -> None:
        with pytest.raises(ArgumentEncodingError, match=r"^args: the key 1 is an int, and JSON has only strings$"):
            encode_args({1: 2})  # type: ignore[dict-item]

    def test_arguments_that_contain_themselves_are_refused(self) -> None:
        args: dict[str, object] = {"twice": [[], []]}
        args["list"] = [1, {"back": args}]
        with pytest.raises(ArgumentEncodingError, match=r'^args\["list"\]\[1\]\["back"\]: it contains itself$'):
            encode_args(args)

    @pytest.mark.parametrize("leaf", [1, 2**70, "\ud800", Size.BIG, 0.5, None])
    def test_deep_nesting_is_carried(self, leaf: object) -> None:
        args = nested(DEEP, leaf)
        assert decode(encode_args(args)) == args

    @pytest.mark.parametrize("depth", [801, 50_000])
    def test_what_is_nested_too_deeply_is_refused(self, depth: int) -> None:
        with pytest.raises(ArgumentEncodingError, match=r'^args\["a"\].*…: it is nested more than 800 levels deep$'):
            encode_args(nested(depth, 1))

    def test_a_call_stack_that_is_nearly_used_up_is_no_crash(self) -> None:
        args = nested(DEEP, 1)

        def at_depth(calls: int) -> bytes:
            return at_depth(calls - 1) if calls else encode_args(args)

        used = len(inspect.stack(0))
        with contextlib.suppress(ArgumentEncodingError):  # Newer interpreters count such calls apart.
            assert decode(at_depth(sys.getrecursionlimit() - used - 100)) == args

    @given(json_objects)
    def test_what_is_written_decodes_to_the_same(self, args: dict[str, object]) -> None:
        encoded = encode_args(args)
        assert same(decode(encoded), args)
        assert same(decode_job(b'{"args":' + encoded + b"}"), {"args": args})
        assert same(json.loads(encoded), args)


class TestEncodeString:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("", '""'), ('a "b" \n é<', r'"a \"b\" \n é<"'), ("a\udcffé", '"a\\udcffé"'), (Text("x"), '"x"')],
    )
    def test_a_text_becomes_a_json_string(self, text: str, expected: str) -> None:
        assert encode_string(text) == expected.encode()

    @given(texts)
    def test_it_decodes_to_the_same(self, text: str) -> None:
        assert decode(encode_string(text)) == text


NOT_JSON = [
    b"",
    b" ",
    b"nul",
    b"[1",
    b"[1,]",
    b"1 2",
    b"01",
    b"1.",
    b".5",
    b"+1",
    b"'a'",
    b'"a',
    b'"\t"',
    b'"\\x"',
    b'"\\ud8"',
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"\x0b1",
    b"\xc2\xa01",
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b"1e400",
    b"[-1e400]",
    b"1" * 5000,
    b'{"a":1}\0',
    b'{"a":1,}',
    b"[" * 100_000,
]

# Each as Go decodes it, but for the lone surrogates, which Go replaces.
DECODED: list[tuple[bytes, object]] = [
    (b" \n\t\r1 ", 1),
    (b"null", None),
    (rb'"\ud83d\ude00\/\u0000"', "😀/\0"),
    (rb'"\ud800"', "\ud800"),
    (rb'{"\udc00a":["\ud800\ud800"]}', {"\udc00a": ["\ud800\ud800"]}),
    (b'"a\xffb"', "a\ufffdb"),
    (b'"\xe2\x82"', "\ufffd\ufffd"),
    (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
    (b'{"\xfe":"\xc3\xa9\xc3"}', {"\ufffd": "é\ufffd"}),
    (b'{"a":1,"a":2}', {"a": 2}),
    (b"1e-400", 0.0),
    (b"-0.0", -0.0),
    (b"1.0", 1.0),
    (b"1E5", 100000.0),
    (b"0.30000000000000004", 0.30000000000000004),
    (b"1e19", 1e19),
    (b"18446744073709551615", 2**64 - 1),
    (b"[18446744073709551616.0]", [2.0**64]),
    (b"[[{}],1" + b"0" * 400 + b"]", [[{}], 10**400]),
]


class TestDecode:
    @pytest.mark.parametrize(("raw", "expected"), DECODED)
    def test_json_is_decoded(self, raw: bytes, expected: object) -> None:
        assert same(decode(raw), expected)

    @pytest.mark.parametrize("raw", NOT_JSON, ids=short)
    def test_what_is_no_json_is_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            decode(raw)

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b'{"a":\n}', "not JSON: Expecting value: line 2 column 1 (char 6)"),
            (b'{"a":NaN}', "not JSON: it holds NaN"),
            (b'{"a":[-1e400]}', "not JSON: it holds -1e400, too large for a double"),
            (b"[" * 100_000, "nested deeper than the interpreter can follow"),
        ],
        ids=short,
    )
    def test_the_error_says_what_is_wrong_and_where(self, raw: bytes, message: str) -> None:
        with pytest.raises(PayloadError) as caught:
            decode(raw)
        assert str(caught.value) == message

    @pytest.mark.parametrize("number", BEYOND_64_BITS)
    def test_integers_of_any_size_are_exact(self, number: int) -> None:
        for value in (number, [number], {"a": {"b": [0.5, {"c": number}]}}):
            assert same(decode(json.dumps(value).encode()), value)

    @pytest.mark.parametrize("leaf", [b"1", b"18446744073709551617", rb'"\ud800"', b'"\xff"'])
    def test_deep_nesting_is_read(self, leaf: bytes) -> None:
        value = decode(nested_text(DEEP, leaf))["a"]
        for _ in range(DEEP - 1):
            (value,) = value
        assert value == decode(leaf)

    @given(st.integers(0, 2**64 - 1))
    def test_floats_keep_every_digit(self, bits: int) -> None:
        (number,) = struct.unpack("<d", struct.pack("<Q", bits))
        if math.isfinite(number):
            assert same(decode(f"[{number:.16e},{number!r}]".encode()), [number, number])


class TestDecodeJob:
    def test_a_job_is_decoded(self) -> None:
        raw = b'{"name":"job1","id":"0123456789abcdef01234567","t":1425263409,"args":{"i":123}}'
        assert decode_job(raw) == {
            "name": "job1",
            "id": "0123456789abcdef01234567",
            "t": 1425263409,
            "args": {"i": 123},
        }

    @pytest.mark.parametrize("args", [None, {}, {"a": None}, {"a": 0.5}, {"a": [1.5, {"b": 2}]}, [1], "x", 1.5])
    def test_arguments_of_any_kind_are_read(self, args: object) -> None:
        assert same(decode_job(json.dumps({"t": 1, "args": args}).encode()), {"t": 1, "args": args})

    def test_there_may_be_no_arguments(self) -> None:
        assert decode_job(b"{}") == {}

    @pytest.mark.parametrize("number", [*BEYOND_64_BITS, 2.0**64, 1e300])
    @pytest.mark.parametrize(
        "within",
        [
            lambda number: {"a": number},
            lambda number: {"a": 1, "b": {"c": ["x", {"d": number}]}},
            lambda number: {"a": 0.5, "b": [[number]]},
            lambda number: [number],
            lambda number: number,
        ],
    )
    def test_large_numbers_in_the_arguments_are_exact(self, number: float, within: Callable[[float], object]) -> None:
        job = {"name": "x", "args": within(number)}
        assert same(decode_job(json.dumps(job).encode()), job)

    @pytest.mark.parametrize("args", ['"\\ud800"', "1e300", str(2**70)])
    @pytest.mark.parametrize("name", ["t", "fails", "failed_at"])
    def test_its_numbers_have_64_bits(self, args: str, name: str) -> None:
        for number in (2**70, -(2**70)):
            with pytest.raises(PayloadError, match=f'"{name}" must be an integer of 64 bits'):
                decode_job(f'{{"{name}":{number},"args":[{args}]}}'.encode())
        raw = f'{{"{name}":{2**62},"args":[{args}],"other":{2**70}}}'.encode()
        assert decode_job(raw)[name] == 2**62

    def test_what_names_something_holds_no_lone_surrogate(self) -> None:
        raw = b'{"name":"\\ud800","id":"a\\udfff","unique_key":"\\ud83d","args":"\\ud800","err":"\\ud800"}'
        read = {"name": "\ufffd", "id": "a\ufffd", "unique_key": "\ufffd", "args": "\ud800", "err": "\ud800"}
        assert decode_job(raw) == read

    def test_lone_surrogates_and_stray_bytes_are_read(self) -> None:
        raw = b'{"args":{"a":"\\ud800","b":"\xff"}}'
        assert decode_job(raw) == {"args": {"a": "\ud800", "b": "\ufffd"}}

    @pytest.mark.parametrize("raw", NOT_JSON, ids=short)
    def test_what_is_no_json_is_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            decode_job(raw)

    @pytest.mark.parametrize(
        ("raw", "kind"), [(b"[]", "a list"), (b"null", "null"), (b'"x"', "a str"), (rb'"\ud800"', "a str")]
    )
    def test_what_is_no_object_is_refused(self, raw: bytes, kind: str) -> None:
        with pytest.raises(PayloadError, match=f"^not a JSON object but {kind}$"):
            decode_job(raw)


class TestFields:
    def test_values_keep_their_bytes(self) -> None:
        raw = (
            b' {"a" : 1.50 ,\n"b":[ 1 , {"x":"}"} ],"c":"\\u003c\\"",'
            b'"\\u0064":-0,"e":1E5,"f":12345678901234567890123,"g":{} , "h":"" }\t'
        )
        assert list(fields(raw).items()) == [
            ("a", b"1.50"),
            ("b", b'[ 1 , {"x":"}"} ]'),
            ("c", rb'"\u003c\""'),
            ("d", b"-0"),
            ("e", b"1E5"),
            ("f", b"12345678901234567890123"),
            ("g", b"{}"),
            ("h", b'""'),
        ]

    @pytest.mark.parametrize("raw", [b"{}", b" { } \n"])
    def test_an_empty_object_has_none(self, raw: bytes) -> None:
        assert fields(raw) == {}

    def test_the_last_of_a_name_counts(self) -> None:
        assert fields(b'{"a":1,"b":2,"a":3}') == {"a": b"3", "b": b"2"}

    def test_names_and_values_need_not_be_unicode(self) -> None:
        found = fields(b'{"\\ud800":"\\udfff","\xe9":"\xff\xc3\xa9"}')
        assert list(found.items()) == [("\ud800", rb'"\udfff"'), ("\ufffd", b'"\xff\xc3\xa9"')]

    def test_numbers_are_not_judged(self) -> None:
        huge = b"1" * 5000
        assert fields(b'{"a":1e400,"b":' + huge + b"}") == {"a": b"1e400", "b": huge}

    def test_long_strings_and_deep_values_are_kept(self) -> None:
        long, deep = b'"' + b"x\xc3\xa9" * 500_000 + b'"', b"[" * DEEP + b"]" * DEEP
        assert fields(b'{"long":' + long + b',"deep":' + deep + b"}") == {"long": long, "deep": deep}

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"[]", "not a JSON object: Expecting an opening brace: line 1 column 1 (char 0)"),
            (b"{1:2}", "not a JSON object: Expecting a name in double quotes: line 1 column 2 (char 1)"),
            (b'{"a" 1}', "not a JSON object: Expecting a colon: line 1 column 5 (char 4)"),
            (b'{"a":}', "not a JSON object: Expecting value: line 1 column 6 (char 5)"),
            (b'{"a":NaN}', "not a JSON object: it holds NaN"),
            (
                b'{"a":1 "b":2}',
                "not a JSON object: Expecting a comma or the closing brace: line 1 column 7 (char 6)",
            ),
            (
                b'{"a":' + b"[" * 100_000,
                "not a JSON object: Expecting a closing bracket: line 1 column 100006 (char 100005)",
            ),
        ],
        ids=short,
    )
    def test_what_is_no_object_is_refused(self, raw: bytes, message: str) -> None:
        with pytest.raises(PayloadError) as caught:
            fields(raw)
        assert str(caught.value) == message

    def test_values_that_recursion_cannot_follow_are_found(self) -> None:
        deep = b'[{"]":"\\"}"},' * 100_000 + b"0" + b"]" * 100_000
        assert fields(b'{"a":1,"deep": ' + deep + b',"b":[2]}') == {"a": b"1", "deep": deep, "b": b"[2]"}

    @pytest.mark.parametrize("end", [b'"', b'"]', b'"\\"' * 100_000, b"", b"]}"], ids=short)
    def test_a_value_that_recursion_cannot_follow_must_have_an_end(self, end: bytes) -> None:
        with pytest.raises(PayloadError):
            fields(b'{"a":' + b"[" * 100_000 + end)

    @pytest.mark.parametrize("raw", NOT_JSON, ids=short)
    def test_what_is_no_json_is_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            fields(raw)

    @pytest.mark.parametrize(
        "raw", [b'{"a":1', b'{"a":1}}', b'{"a"', b'{"a":', b"{", b'{"a":1,', b'{"a":1,}', b"{,}", b'{"a']
    )
    def test_what_ends_too_early_or_too_late_is_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            fields(raw)

    @given(json_objects, st.sampled_from([None, 0, 3]), st.booleans())
    def test_the_slices_are_the_values(self, value: dict[str, object], indent: int | None, ascii_: bool) -> None:
        # Those of a job are read in upper and lower case alike, which is another test's.
        value = {name: each for name, each in value.items() if field_name(name) == name}
        raw = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode("utf-8", "backslashreplace")
        sliced = fields(raw)
        assert list(sliced) == list(value)
        assert all(part in raw for part in sliced.values())
        assert same({name: decode(part) for name, part in sliced.items()}, value)


class TestSplice:
    JOB = b'{"name":"foo","id":"0123456789abcdef01234567","t":1425263409,"args":{"a":1.50}}'

    def test_a_failure_is_written_as_go_writes_it(self) -> None:
        changes = {"failed_at": b"1425263410", "err": rb'"boom \u003cb\u003e\n"', "fails": b"2"}
        assert splice(self.JOB, changes) == (
            b'{"name":"foo","id":"0123456789abcdef01234567","t":1425263409,"args":{"a":1.50},'
            b'"fails":2,"err":"boom \\u003cb\\u003e\\n","failed_at":1425263410}'
        )

    def test_the_order_of_go_comes_first_and_then_the_rest_in_theirs(self) -> None:
        raw = b'{"z":[ 1 ],"unique_key":"k","failed_at":3,"t":1, "y":1e2,"args":null,"id":"i","name":"n","unique":true}'
        assert splice(raw, {"x": b"0", "err": b'"e"', "fails": b"1"}) == (
            b'{"name":"n","id":"i","t":1,"args":null,"unique":true,"unique_key":"k","fails":1,'
            b'"err":"e","failed_at":3,"z":[ 1 ],"y":1e2,"x":0}'
        )

    def test_a_field_is_removed(self) -> None:
        raw = splice(self.JOB, {"fails": b"1", "trace": b'"x"'})
        assert splice(raw, {"fails": None, "trace": None, "never there": None}) == self.JOB

    def test_without_changes_a_payload_of_go_is_what_it_was(self) -> None:
        raw = (
            b'{"name":"foo","id":"0123456789abcdef01234567","t":1425263409,"args":{"a":1},"unique":true,'
            b'"unique_key":"work:unique:wat:{\\"a\\":1}\\n"}'
        )
        assert splice(raw, {}) == raw

    def test_everything_may_be_removed(self) -> None:
        assert splice(b'{"a":1}', {"a": None}) == b"{}"

    def test_names_that_are_not_unicode_stay_what_they_are(self) -> None:
        assert splice(b'{"\\ud800":"\xff"}', {"t": b"1"}) == b'{"t":1,"\\ud800":"\xff"}'

    def test_deep_values_are_carried(self) -> None:
        deep = nested_text(DEEP, b'"\xff"')
        assert splice(b'{"args":' + deep + b"}", {"t": b"1"}) == b'{"t":1,"args":' + deep + b"}"

    @pytest.mark.parametrize("raw", NOT_JSON, ids=short)
    def test_what_is_no_json_is_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            splice(raw, {})

    @given(
        st.dictionaries(st.sampled_from(["name", "t", "args", "err", "x", "y"]) | texts, json_values, max_size=6),
        st.dictionaries(
            st.sampled_from(["name", "t", "fails", "x", "z"]) | texts,
            st.none() | st.just(b"[ 1.50 ]"),
            max_size=4,
        ),
    )
    def test_only_what_is_changed_changes(self, job: dict[str, object], changes: dict[str, bytes | None]) -> None:
        raw = json.dumps(job, indent=1).encode()
        expected = {name: value for name, value in {**fields(raw), **changes}.items() if value is not None}
        written = splice(raw, changes)
        assert fields(written) == expected
        assert splice(written, {}) == written
