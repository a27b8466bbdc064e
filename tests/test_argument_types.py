"""Arguments by annotation: what each type is in JSON, that it comes back, and what is refused."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, Self, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncwork import ArgumentEncodingError, ArgumentMismatchError, HandlerError, Job, UsageError, WorkerPool
from asyncwork._jobs.argument_types import conversion
from asyncwork._jobs.mismatch import Mismatch, NotWritable, wrong_type
from asyncwork._json.codec import decode, encode_args

from .conftest import Bench

T = TypeVar("T")
A = TypeVar("A")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Loose(enum.Enum):
    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls[str(value).upper()]


class Odd(enum.Enum):
    PAIR = (1, 2)


class Point(NamedTuple):
    x: Decimal
    label: str = "here"


@dataclass(frozen=True)
class Line:
    price: Decimal
    day: date = date(2026, 1, 31)


@dataclass(kw_only=True, slots=True)
class Order:
    id: UUID
    lines: list[Line]
    due: datetime | None = None
    color: Color = Color.RED
    total: int = field(init=False, default=0)


@dataclass
class Node:
    value: int
    next: Self | None = None
    others: dict[str, Node] = field(default_factory=dict)


@dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = field(default_factory=list)


@dataclass
class Crate(Box[date], Generic[A]):
    owner: A | None = None


class Note(TypedDict, Generic[T]):
    at: T


@attrs.define
class Person:
    name: str
    _born: date = date(2000, 1, 1)
    tags: set[str] = attrs.field(factory=set)
    age: int = attrs.field(default=0, validator=attrs.validators.ge(0))


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, ser_json_bytes="base64", val_json_bytes="base64")

    at: datetime
    raw: bytes = pydantic.Field(alias="rawBytes")
    wait: timedelta = timedelta(0)
    lines: list[Line] = []

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def year(self) -> int:
        return self.at.year


@pydantic.dataclasses.dataclass
class Checked:
    positive: Annotated[int, pydantic.Field(gt=0)]


class Generous(pydantic.BaseModel, Generic[T]):
    item: T


class Struct(msgspec.Struct, rename="camel"):
    first_at: datetime
    raw: bytes = b""
    by_id: dict[int, str] = {}


class Pair(msgspec.Struct, array_like=True):
    one: int
    two: str


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


@dataclass
class Circle:
    radius: float
    kind: Literal["circle"] = "circle"


@dataclass
class Square:
    radius: float
    kind: Literal["square"] = "square"


@dataclass
class Short:
    x: int


@dataclass
class Long:
    x: int
    y: int = 0


@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("number must be positive")


@dataclass
class Animal:
    name: str


@dataclass
class Bird(Animal):
    wings: int = 2


def written(annotation: Any, value: Any) -> Any:
    """Return what a value of an annotated argument is in JSON."""
    encode = conversion(annotation).encode
    encoded = value if encode is None else encode(value)
    return decode(encode_args({"a": encoded}))["a"]


def read(annotation: Any, value: Any, *, forbid_unknown: bool = False) -> Any:
    convert = conversion(annotation, forbid_unknown=forbid_unknown).convert
    return value if convert is None else convert(value)


def problem(annotation: Any, value: Any, *, forbid_unknown: bool = False) -> str:
    """Return the message about a JSON value that is not of the annotated type."""
    with pytest.raises(Mismatch) as caught:
        read(annotation, value, forbid_unknown=forbid_unknown)
    return wrong_type("a", caught.value)


BERLIN = ZoneInfo("Europe/Berlin")
ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
MOMENT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
# An annotation, a value of it, and the value in JSON.
WRITTEN: list[tuple[Any, Any, Any]] = [
    (datetime, MOMENT, "2026-01-31T09:30:00Z"),
    (datetime, MOMENT.astimezone(BERLIN), "2026-01-31T10:30:00+01:00"),
    (datetime, MOMENT.replace(microsecond=500_000), "2026-01-31T09:30:00.5Z"),
    (datetime, MOMENT.replace(year=1, microsecond=10), "0001-01-31T09:30:00.00001Z"),
    # Berlin's offset was 53 minutes and 28 seconds then.
    (datetime, datetime(1890, 1, 1, tzinfo=BERLIN), "1889-12-31T23:06:32Z"),
    (date, date(2026, 1, 31), "2026-01-31"),
    (time, time(9, 30), "09:30:00"),
    (time, time(9, 0, 0, 120), "09:00:00.00012"),
    (time, time(9, 30, tzinfo=UTC), "09:30:00Z"),
    (time, time(9, 30, 0, 1000, timezone(timedelta(hours=-5))), "09:30:00.001-05:00"),
    (timedelta, timedelta(minutes=1, seconds=30), 90),
    (timedelta, timedelta(seconds=-0.25), -0.25),
    (timedelta, timedelta(days=999999999), 86399999913600),
    (UUID, ID, str(ID)),
    (Decimal, Decimal("12.50"), "12.50"),
    (Decimal, Decimal("1E+3"), "1E+3"),
    (bytes, b"hello\xff", "aGVsbG//"),
    (bytes, bytearray(b"a"), "YQ=="),
    (bytes, b"", ""),
    (Path, Path("a/b"), "a/b"),
    (PurePosixPath, PurePosixPath("/x"), "/x"),
    (Color, Color.RED, "red"),
    (Level, Level.HIGH, 2),
    (Word, Word.YES, "yes"),
    (Rights, Rights.READ | Rights.WRITE, 3),
    (Loose, Loose.ONE, "one"),
    (Point, Point(Decimal("1.0")), ["1.0", "here"]),
    (Line, Line(Decimal(1)), {"price": "1", "day": "2026-01-31"}),
    (
        Order,
        Order(id=ID, lines=[Line(Decimal("2.5"))], due=MOMENT),
        {
            "id": str(ID),
            "lines": [{"price": "2.5", "day": "2026-01-31"}],
            "due": "2026-01-31T09:30:00Z",
            "color": "red",
        },
    ),
    (
        Node,
        Node(1, Node(2), {"x": Node(3)}),
        {
            "value": 1,
            "next": {"value": 2, "next": None, "others": {}},
            "others": {"x": {"value": 3, "next": None, "others": {}}},
        },
    ),
    (Box[date], Box(date(2026, 1, 1), [date(2026, 1, 2)]), {"item": "2026-01-01", "more": ["2026-01-02"]}),
    (Box[Box[UUID]], Box(Box(ID)), {"item": {"item": str(ID), "more": []}, "more": []}),
    (Box, Box(5), {"item": 5, "more": []}),
    (Crate[UUID], Crate(date(2026, 1, 1), [], ID), {"item": "2026-01-01", "more": [], "owner": str(ID)}),
    (Note[date], {"at": date(2026, 1, 1)}, {"at": "2026-01-01"}),
    (
        Person,
        Person("x", date(2001, 1, 1), {"b", "a"}),
        {"name": "x", "born": "2001-01-01", "tags": ["a", "b"], "age": 0},
    ),
    (
        Model,
        Model(at=MOMENT, rawBytes=b"\xff", wait=timedelta(days=1), lines=[Line(Decimal("1.5"))]),
        {
            "at": "2026-01-31T09:30:00Z",
            "rawBytes": "_w==",
            "wait": "P1D",
            "lines": [{"price": "1.5", "day": "2026-01-31"}],
        },
    ),
    (Checked, Checked(5), {"positive": 5}),
    (Generous[date], Generous[date](item=date(2026, 1, 1)), {"item": "2026-01-01"}),
    (
        Struct,
        Struct(MOMENT, b"\xff", {5: "x"}),
        {"firstAt": "2026-01-31T09:30:00Z", "raw": "/w==", "byId": {"5": "x"}},
    ),
    (Pair, Pair(1, "x"), [1, "x"]),
    (Cat, Cat("x"), {"type": "Cat", "name": "x"}),
    (list[Line], [Line(Decimal(1))], [{"price": "1", "day": "2026-01-31"}]),
    (dict[UUID, date], {ID: date(2026, 1, 1)}, {str(ID): "2026-01-01"}),
    (dict[Color, int], {Color.RED: 1}, {"red": 1}),
    (set[UUID], {ID}, [str(ID)]),
    (deque[date], deque([date(2026, 1, 1)]), ["2026-01-01"]),
    (tuple[date, ...], (date(2026, 1, 1),), ["2026-01-01"]),
    (tuple[date, int], (date(2026, 1, 1), 1), ["2026-01-01", 1]),
    (datetime | None, None, None),
    (date | datetime, MOMENT, "2026-01-31T09:30:00Z"),
    (datetime | date, date(2026, 1, 1), "2026-01-01"),
    (UUID | int, ID, str(ID)),
    (UUID | int, 5, 5),
    (list[UUID] | list[date], [date(2026, 1, 1)], ["2026-01-01"]),
    (list[int] | list[date], [5], [5]),
    (dict[str, UUID] | dict[str, date], {"a": date(2026, 1, 1)}, {"a": "2026-01-01"}),
    (Circle | Square, Square(1.0), {"radius": 1.0, "kind": "square"}),
    (Short | Long, Short(1), {"x": 1}),
    (Short | Long, Long(1), {"x": 1, "y": 0}),
    (Long | Short, Short(1), {"x": 1}),
    (Cat | Dog, Dog("x"), {"type": "Dog", "name": "x"}),
    (Animal | Bird, Bird("x"), {"name": "x", "wings": 2}),
    (Line | list[Line], Line(Decimal(1)), {"price": "1", "day": "2026-01-31"}),
    (Color | Level | None, Level.LOW, 1),
    (Annotated[datetime, "meta"], MOMENT, "2026-01-31T09:30:00Z"),
]


@pytest.mark.parametrize(("annotation", "value", "json_value"), WRITTEN)
def test_a_value_has_one_form_in_json_and_comes_back(annotation: Any, value: Any, json_value: Any) -> None:
    assert written(annotation, value) == json_value
    found = read(annotation, json_value)
    assert found == value
    assert type(found) is (bytes if type(value) is bytearray else type(value))
    # The JSON form is accepted in the place of the value, and stays as it is.
    assert written(annotation, json_value) == json_value


lines = st.builds(Line, st.decimals(allow_nan=False, allow_infinity=False), st.dates())
nodes: st.SearchStrategy[Node] = st.recursive(
    st.builds(Node, st.integers()),
    lambda inner: st.builds(Node, st.integers(), st.none() | inner, st.dictionaries(st.text(), inner, max_size=2)),
    max_leaves=5,
)
# In the first and last days, a moment may have no year in UTC.
inner_years = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones())  # noqa: DTZ001
ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (date, st.dates()),
    (time, st.times() | st.times(timezones=st.just(timezone(timedelta(hours=5, minutes=30))))),
    (
        timedelta,
        st.timedeltas(timedelta(days=-90_000), timedelta(days=90_000)) | st.integers(-9999999, 9999999).map(timedelta),
    ),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary()),
    (Path, st.text(st.characters(exclude_categories=())).map(Path)),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Rights, st.integers(0, 3).map(Rights)),
    (Point, st.builds(Point, st.decimals(allow_nan=False, allow_infinity=False), st.text())),
    (
        Order,
        st.builds(Order, id=st.uuids(), lines=st.lists(lines, max_size=3), due=st.none(), color=st.sampled_from(Color)),
    ),
    (Node, nodes),
    (Box[bytes], st.builds(Box, st.binary(), st.lists(st.binary(), max_size=3))),
    (Person, st.builds(Person, st.text(), st.dates(), st.sets(st.text(), max_size=3), st.integers(0))),
    (
        Model,
        st.builds(
            Model,
            at=st.datetimes(timezones=st.just(UTC)),
            rawBytes=st.binary(),
            wait=st.timedeltas(timedelta(-99), timedelta(99)),
        ),
    ),
    (
        Struct,
        st.builds(
            Struct,
            st.datetimes(timezones=st.just(UTC)),
            st.binary(),
            st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8")), max_size=3),
        ),
    ),
    (set[Decimal], st.sets(st.decimals(allow_nan=False, allow_infinity=False), max_size=4)),
    (dict[date, UUID], st.dictionaries(st.dates(), st.uuids(), max_size=4)),
    (date | UUID | int | None, st.dates() | st.uuids() | st.integers() | st.none()),
    (
        bytes | list[bytes] | dict[str, bytes],
        st.binary() | st.lists(st.binary()) | st.dictionaries(st.text(), st.binary()),
    ),
    (
        Short | Long | Point | Color,
        st.builds(Short, st.integers()) | st.builds(Long, st.integers(), st.integers()) | st.sampled_from(Color),
    ),
]


@pytest.mark.parametrize(("annotation", "values"), ROUND_TRIPS, ids=lambda each: str(each)[:40])
def test_every_value_comes_back(annotation: Any, values: st.SearchStrategy[Any]) -> None:
    @settings(deadline=None, max_examples=100)
    @given(values)
    def check(value: Any) -> None:
        found = read(annotation, written(annotation, value))
        assert found == value
        assert type(found) is type(value)

    check()


@settings(deadline=None)
@given(st.one_of(inner_years, st.datetimes(timezones=st.just(UTC))))
def test_every_moment_comes_back(value: datetime) -> None:
    text = written(datetime, value)
    found = read(datetime, text)
    assert found.timestamp() == value.timestamp()
    assert found.astimezone(UTC) == value.astimezone(UTC)
    offset = value.utcoffset()
    assert offset is not None
    assert found.utcoffset() == (offset if not offset.total_seconds() % 60 else timedelta(0))
    assert written(datetime, found) == text


@settings(deadline=None)
@given(st.timedeltas())
def test_a_duration_comes_back_or_is_refused(value: timedelta) -> None:
    try:
        seconds = written(timedelta, value)
    except NotWritable:
        assert value.microseconds
        assert abs(value) > timedelta(days=365 * 100)
    else:
        assert read(timedelta, seconds) == value


READ: list[tuple[Any, Any, Any]] = [
    # Go's time has nanoseconds.
    (datetime, "2026-01-31T09:30:00.123456789Z", MOMENT.replace(microsecond=123456)),
    (datetime, "2026-01-31T09:30:00-00:00", MOMENT),
    (UUID, str(ID).upper(), ID),
    (timedelta, 90.0, timedelta(seconds=90)),
    (Level, 2.0, Level.HIGH),
    (Line, {"price": "1"}, Line(Decimal(1))),
    (Line, {"price": "1", "colour": 1}, Line(Decimal(1))),
    (Point, ["1"], Point(Decimal(1))),
    (Loose, "One", Loose.ONE),
    (Rights, 3, Rights.READ | Rights.WRITE),
    (Short | Long, {"x": 1, "y": 2, "z": 3}, Long(1, 2)),
    (Person, {"name": "x"}, Person("x")),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), READ)
def test_what_other_programs_write_is_read(annotation: Any, value: Any, expected: Any) -> None:
    assert read(annotation, value) == expected


NOT_READ: list[tuple[Any, Any]] = [
    (datetime, text)
    for text in (
        "2026-01-31T09:30:00",
        "2026-01-31 09:30:00Z",
        "2026-01-31t09:30:00z",
        "2026-02-30T09:30:00Z",
        "2026-01-31",
        "2026-01-31T24:00:00Z",
        "2026-01-31T09:30:60Z",
        "20260131T093000Z",
        "2026-W05-6T09:30:00Z",
        "2026-01-31T09:30Z",
        "2026-01-31T09:30:00,5Z",
        "2026-01-31T09:30:00+0100",
        "2026-01-31T09:30:00+01:60",
        "2026-01-31T09:30:00+25:00",
        "2026-01-31T09:30:00Z\n",
        "２026-01-31T09:30:00Z",
        1769851800,
        None,
        True,
    )
] + [
    (date, "2026-1-31"),
    (date, "20260131"),
    (date, "2026-01-31T00:00:00Z"),
    (date, "2026-02-30"),
    (time, "09:30"),
    (time, "9:30:00"),
    (time, "24:00:00"),
    (timedelta, "90"),
    (timedelta, True),
    (timedelta, 1e300),
    (timedelta, 10**30),
    (UUID, f"{{{ID}}}"),
    (UUID, ID.hex),
    (UUID, f"urn:uuid:{ID}"),
    (Decimal, 12.5),
    (Decimal, 12),
    (Decimal, "NaN"),
    (Decimal, "1_000"),
    (Decimal, " 1"),
    (Decimal, "Infinity"),
    (Decimal, ""),
    (Decimal, "."),
    (Decimal, "1E+" + "9" * 30),
    (bytes, "YQ"),
    (bytes, "YQ==\n"),
    (bytes, "Y Q="),
    (bytes, "_w=="),
    (bytes, "é"),
    (bytes, [1]),
    (Path, 5),
    (Color, "green"),
    (Color, 1),
    (Color, []),
    (Level, True),
    (Level, "1"),
    (Level, 1.5),
    (Loose, "two"),
    (Rights, 8),
    (Rights, True),
    (Point, []),
    (Point, ["1", "x", "y"]),
    (Point, {"x": "1"}),
    (Line, []),
    (Line, None),
    (Line, {}),
    (Line, {"price": 1}),
    (Person, {"name": 1}),
    (Pair, [1]),
    (Checked, {"positive": 0}),
    (Model, {"at": "2026-01-31T09:30:00Z"}),
    (dict[UUID, int], {"x": 1}),
]


@pytest.mark.parametrize(("annotation", "value"), NOT_READ)
def test_another_form_is_not_read(annotation: Any, value: Any) -> None:
    assert problem(annotation, value).startswith("argument 'a' has the wrong type")


ORDER = {"id": str(ID), "lines": [{"price": "1"}, {"price": 5}]}
MESSAGES: list[tuple[Any, Any, str]] = [
    (
        datetime,
        "tomorrow",
        (
            "argument 'a' has the wrong type: wanted datetime as RFC 3339 text with an offset, such as "
            "'2026-01-31T09:30:00Z', found str 'tomorrow'"
        ),
    ),
    (
        datetime | None,
        5,
        "argument 'a' has the wrong type: wanted datetime.datetime | None, found int 5",
    ),
    (date | None, "x", "argument 'a' has the wrong type: wanted date as text, such as '2026-01-31', found str 'x'"),
    (
        Order,
        ORDER,
        (
            'argument \'a\' has the wrong type at args["a"]["lines"][1]["price"]: wanted Decimal as text, such as '
            "'12.50', found int 5"
        ),
    ),
    (
        list[Order | None],
        [ORDER],
        (
            'argument \'a\' has the wrong type at args["a"][0]["lines"][1]["price"]: wanted Decimal as text, such as '
            "'12.50', found int 5"
        ),
    ),
    (Line, {"day": "2026-01-31"}, "wanted Line, found dict {'day': '2026-01-31'}: 'price' is missing"),
    (Line, "x", "wanted Line as an object, found str 'x'"),
    (Positive, {"number": -1}, "wanted Positive, found dict {'number': -1}: number must be positive"),
    (Color, "green", "wanted Color, one of 'red', 'blue', found str 'green'"),
    (Point, [], "wanted Point as a list of x, label, found list []"),
    (
        Model,
        {"at": "2026-01-31T09:30:00Z", "rawBytes": "", "lines": [{"price": "x"}]},
        'at args["a"]["lines"][0]["price"]: wanted Model, found str \'x\': ',
    ),
    (Struct, {"firstAt": 5}, "wanted Struct, found dict {'firstAt': 5}: Expected `datetime`, got `int` at firstAt"),
    (dict[UUID, int], {"x": 1}, 'at args["a"]["x"]: wanted UUID as text, such as'),
    (set[int], ["x"], "at args[\"a\"][0]: wanted int, found str 'x'"),
    (Circle | Square, {"kind": "x", "radius": 1}, "at args[\"a\"][\"kind\"]: wanted Literal['circle'], found str 'x'"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), MESSAGES)
def test_a_mismatch_names_the_argument_the_path_and_what_was_found(annotation: Any, value: Any, message: str) -> None:
    assert message in problem(annotation, value)


def test_unknown_keys_of_a_class_are_refused_if_unknown_arguments_are() -> None:
    order = ORDER | {"lines": [{"price": "1", "dey": "2026-01-31"}]}
    assert read(Order, order).lines == [Line(Decimal(1))]
    message = problem(Order, order, forbid_unknown=True)
    assert 'at args["a"]["lines"][0]: wanted Line, found dict' in message
    assert message.endswith("it has no field 'dey', but price, day. Did you mean 'day'?")


NAIVE = datetime(2026, 1, 31, 9, 30)  # noqa: DTZ001
NOT_WRITTEN: list[tuple[Any, Any, str]] = [
    (datetime, NAIVE, r"a datetime without a time zone .* pass an aware one, such as datetime.now\(UTC\)"),
    (datetime | None, NAIVE, "a datetime without a time zone"),
    (datetime, date(2026, 1, 1), "a date has no time of day"),
    (datetime, datetime.min.replace(tzinfo=timezone(timedelta(seconds=1))), "outside of the years 1 to 9999"),
    (date, MOMENT, r"a datetime is more than a date; pass value.date\(\)"),
    (time, time(9, tzinfo=BERLIN), "a time in Europe/Berlin has no offset without a date"),
    (time, time(9, tzinfo=timezone(timedelta(seconds=1))), "must be whole minutes"),
    (timedelta, timedelta.max, "cannot hold .* pass whole seconds"),
    (Decimal, Decimal("nan"), "NaN is no number; pass None"),
    (Decimal, Decimal("-inf"), "-Infinity is no number"),
    (Animal, Bird("x"), r"Bird is a subclass of Animal, .* or with Animal \| Bird"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), NOT_WRITTEN)
def test_a_value_that_would_not_come_back_is_not_written(annotation: Any, value: Any, message: str) -> None:
    pool = WorkerPool()

    async def handler(a: Any) -> None: ...

    handler.__annotations__["a"] = list[annotation]
    task = pool.job(handler)
    with pytest.raises(ArgumentEncodingError, match=rf'^args\["a"\]\[1\]: .*{message}'):
        task.call(["2026-01-31", value])


def test_a_value_that_contains_itself_is_not_written() -> None:
    pool = WorkerPool()

    async def handler(node: Node) -> None: ...

    node = Node(1)
    node.next = node
    with pytest.raises(ArgumentEncodingError, match="it contains itself, or is nested too deep"):
        pool.job(handler).call(node)


AMBIGUOUS: list[tuple[Any, str]] = [
    (
        datetime | str,
        r"datetime.datetime \| str is ambiguous, because datetime and str cannot be distinguished in JSON: take",
    ),
    (str | UUID | None, "str and UUID cannot be distinguished"),
    (Path | str, "Path and str"),
    (Path | date, "Path and date"),
    (bytes | Decimal, "bytes and Decimal"),
    (timedelta | int, "timedelta and int"),
    (float | timedelta, "float and timedelta"),
    (Word | str, "Word and str"),
    (Level | int, "Level and int"),
    (Level | timedelta, "Level and timedelta"),
    (Color | Literal["red", "x"], "Color and Literal"),
    (Loose | date, "Loose and date"),
    (datetime | Any, "datetime and any value"),
    (list[datetime] | list[str], r"list\[datetime\] and list\[str\]"),
    (Point | list[int], r"Point and list\[int\]"),
    (Line | dict[str, int], r"Line and dict\[str, int\]"),
    (Line | dict, "Line and dict"),
    (dict[str, date] | dict[str, str], r"dict\[str, date\] and dict\[str, str\]"),
    (Rights | int, "Rights and int"),
]


def check_refused(annotation: Any, message: str) -> None:
    """Assert that a handler whose parameter has this annotation is refused, with a message."""

    async def handler(a: Any) -> None: ...

    handler.__annotations__["a"] = annotation
    with pytest.raises(HandlerError, match=f"parameter 'a' cannot be filled. {message}"):
        WorkerPool().job(handler)


@pytest.mark.parametrize(("annotation", "message"), AMBIGUOUS)
def test_a_union_that_json_cannot_tell_apart_is_refused_at_registration(annotation: Any, message: str) -> None:
    check_refused(annotation, f".*{message}")


def test_classes_with_the_same_fields_need_one_that_tells_them_apart() -> None:
    @dataclass
    class Other:
        name: str

    with pytest.raises(
        HandlerError, match=r"Animal and Other cannot .*: give each a field that distinguishes them, such"
    ):
        conversion(Animal | Other)
    assert conversion(Short | Positive | Box[int] | Animal).convert is not None


def test_a_union_that_json_can_tell_apart_is_accepted() -> None:
    for annotation in (Color | date, Color | UUID, Color | Literal["green"], date | time | datetime | UUID | Decimal):
        assert conversion(annotation).convert is not None


@dataclass
class WithInit:
    a: int
    b: InitVar[int]


@dataclass
class Abstract(ABC):
    a: int

    @abstractmethod
    def act(self) -> None: ...


@dataclass
class Unresolved:
    a: Nowhere  # type: ignore[name-defined]  # noqa: F821


class Empty(enum.Enum): ...


class Plain:
    def __init__(self, a: int) -> None: ...


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (WithInit, r"WithInit cannot be made of its fields a \(missing a required argument: 'b'\)"),
        (Abstract, "Abstract is abstract: take its subclasses"),
        (Unresolved, r"the annotations of Unresolved cannot be resolved \(name 'Nowhere' is not defined\)"),
        (Odd, r"JSON has no Odd.PAIR, whose value is \(1, 2\): give the members of Odd values that are str"),
        (Empty, "Empty has no members"),
        (Plain, "JSON has no Plain: take str, .* a dataclass"),
        (Box[complex], "JSON has no complex"),
        (set[Person], "set.*Person.* cannot be filled, because a Person cannot be in a set: take list.Person."),
        (frozenset[list[int]], r"frozenset\[list\[int\]\] cannot be filled, because a list\[int\] cannot be in a set"),
        ("Nowhere", "the annotation 'Nowhere' cannot be resolved: define or import what it names"),
        (list["Nowhere"], "the annotation 'Nowhere' cannot be resolved"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_a_class_that_cannot_be_made_is_refused_at_registration(annotation: Any, message: str) -> None:
    check_refused(annotation, message)


def test_a_class_within_a_function_may_refer_to_itself() -> None:
    @dataclass
    class Tree:
        leaf: date
        branches: list[Tree]

    tree = Tree(date(2026, 1, 1), [Tree(date(2026, 1, 2), [])])
    assert read(Tree, written(Tree, tree)) == tree


class Ship:
    async def __call__(self, at: datetime, lines: list["Line"]) -> None:  # noqa: UP037  # a text within an annotation
        raise AssertionError


def test_annotations_of_a_callable_object_are_resolved() -> None:
    task = WorkerPool().job("ship")(Ship())
    call = task.call(MOMENT, [Line(Decimal(1))])
    assert call.args == {"at": written(datetime, MOMENT), "lines": [written(Line, Line(Decimal(1)))]}


def test_a_struct_with_a_lone_surrogate_is_refused_for_good() -> None:
    job = Job(b"", {"name": "wat", "id": "1", "t": 1, "args": {"struct": {"firstAt": "\ud800"}}})
    with pytest.raises(ArgumentMismatchError, match="text that UTF-8 cannot hold, because of a lone surrogate"):
        job.arg("struct", Struct)


def test_job_arg_converts_to_these_types() -> None:
    args = {"at": "2026-01-31T09:30:00Z", "order": ORDER, "lines": [{"price": "1"}]}
    job = Job(b"", {"name": "wat", "id": "1", "t": 1, "args": args})
    assert job.arg("at", datetime) == MOMENT
    assert job.arg("lines", list[Line]) == [Line(Decimal(1))]
    with pytest.raises(ArgumentMismatchError, match=r'at args\["order"\]\["lines"\]\[1\]\["price"\]: wanted Decimal'):
        job.arg("order", Order)


async def test_arguments_arrive_as_they_were_enqueued(bench: Bench) -> None:
    got: list[Any] = []
    pool = bench.pool()

    @pool.job
    async def ship(order: Order, at: datetime, *, wait: timedelta = timedelta(0), **rest: Person) -> None:
        got.append((order, at, wait, rest))

    @pool.job
    def model(model: Model, struct: Struct) -> None:
        got.append((model, struct))

    order = Order(id=ID, lines=[Line(Decimal("2.50"))], due=MOMENT, color=Color.BLUE)
    await ship.enqueue(order, MOMENT, wait=timedelta(seconds=5), more=Person("x"))
    await ship.enqueue_many([ship.call(order, MOMENT)])
    assert not (await ship.options(unique=True).enqueue(order, MOMENT)).duplicate
    assert (await ship.options(unique=True).enqueue(order, MOMENT)).duplicate
    models = (Model(at=MOMENT, rawBytes=b"x"), Struct(MOMENT))
    await model.enqueue(*models)
    async with pool.running():
        await pool.drain()
    shipped = [each for each in got if len(each) == 4]
    assert (
        shipped
        == [(order, MOMENT, timedelta(seconds=5), {"more": Person("x")})] + [(order, MOMENT, timedelta(0), {})] * 2
    )
    assert [each for each in got if len(each) == 2] == [models]


async def test_an_argument_that_does_not_convert_makes_the_job_dead_at_once(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def ship(order: Order) -> None: ...

    @pool.job(extra="forbid")
    async def strict(line: Line) -> None: ...

    await bench.enqueuer.enqueue("ship", {"order": ORDER})
    await bench.enqueuer.enqueue("strict", {"line": {"price": "1", "prize": 1}})
    async with pool.running():
        await pool.drain()
    dead = {json.loads(payload)["name"]: json.loads(payload) for payload, _ in await bench.job_set("dead")}
    assert 'args["order"]["lines"][1]["price"]: wanted Decimal as text' in dead["ship"]["err"]
    assert "it has no field 'prize'" in dead["strict"]["err"]
    assert {each["fails"] for each in dead.values()} == {1}


def test_periodic_arguments_are_converted_and_checked() -> None:
    pool = WorkerPool()

    async def report(day: date, line: Line | None = None) -> None: ...

    task = pool.job(report)
    args = {"day": date(2026, 1, 31), "line": Line(Decimal(1))}
    assert task.bind_values(args) == {"day": "2026-01-31", "line": {"price": "1", "day": "2026-01-31"}}
    with pytest.raises(UsageError, match=r"report: argument 'day' has the wrong type: wanted date as text"):
        task.bind_values({"day": "today"})


REMEDIES: list[tuple[Any, Callable[[Any], Any], Any]] = [
    (datetime, lambda value: value.isoformat(), MOMENT),
    (date, lambda value: value.isoformat(), date(2026, 1, 1)),
    (time, lambda value: value.isoformat(), time(9)),
    (timedelta, lambda value: value.total_seconds(), timedelta(1)),
    (UUID, str, ID),
    (Decimal, str, Decimal("1.5")),
    (Path, str, Path("x")),
    (Color, lambda value: value.value, Color.RED),
    (Model, lambda value: value.model_dump(mode="json", by_alias=True), Model(at=MOMENT, rawBytes=b"x")),
    (Struct, lambda value: msgspec.to_builtins(value, str_keys=True), Struct(MOMENT)),
]


@pytest.mark.parametrize(("annotation", "write", "value"), REMEDIES)
def test_what_a_refusal_by_name_says_to_pass_is_what_the_handler_takes(
    annotation: Any, write: Callable[[Any], Any], value: Any
) -> None:
    with pytest.raises(ArgumentEncodingError, match="is not JSON; pass "):
        encode_args({"a": value})
    assert read(annotation, decode(encode_args({"a": write(value)}))["a"]) == value


LAZY = """
import sys
from dataclasses import dataclass
from datetime import datetime
from asyncwork import WorkerPool

@dataclass
class Order:
    at: datetime | None

pool = WorkerPool()

@pool.job
async def ship(order: Order, at: datetime): ...

ship.call(Order(None), "x")
print(sorted({"attr", "msgspec", "pydantic"} & sys.modules.keys()))
"""


def test_no_library_is_imported_for_classes_that_are_not_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
