"""Values of classes come back equal or are refused when they are enqueued, and both sides check constraints."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import annotated_types
import attrs
import msgspec
import pydantic
import pytest

from asyncwork import ArgumentEncodingError, HandlerError, WorkerPool
from asyncwork._jobs.argument_types import conversion
from asyncwork._jobs.mismatch import Mismatch
from asyncwork._json.codec import decode, encode_args


class Base(pydantic.BaseModel):
    b: int = 0


class Sub(Base):
    c: int = 1


class Holder(pydantic.BaseModel):
    base: Base


class Excluding(pydantic.BaseModel):
    b: int = pydantic.Field(default=0, exclude=True)


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    x: Any = None


class Hidden(pydantic.BaseModel):
    a: int
    _more: int = pydantic.PrivateAttr(0)


class Renamed(pydantic.BaseModel):
    a: int = pydantic.Field(validation_alias="z")


class At(pydantic.BaseModel):
    at: datetime


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr | None


class Secrets(pydantic.BaseModel):
    inner: list[Secret]


class Revealing(pydantic.BaseModel):
    password: pydantic.SecretStr

    @pydantic.field_serializer("password", when_used="json")
    def reveal(self, value: pydantic.SecretStr) -> str:
        return value.get_secret_value()


class RevealingType(pydantic.BaseModel):
    password: Annotated[pydantic.SecretStr, pydantic.PlainSerializer(lambda value: value.get_secret_value())]


class Struct(msgspec.Struct):
    x: Any = None
    next: Struct | None = None


class SubStruct(Struct):
    y: int = 0


@dataclass
class Adding:
    a: int
    k: InitVar[int] = 3

    def __post_init__(self, k: int) -> None:
        self.a += k


@dataclass
class Computed:
    a: int
    b: int = field(init=False, default=0)


@dataclass(eq=False)
class ByIdentity:
    day: date
    inner: ByIdentity | None = None


@dataclass
class Items:
    numbers: Sequence[int] = ()
    x: Any = None


def _increased(value: int) -> int:
    return value + 1


@attrs.define
class Converting:
    a: int = attrs.field(converter=_increased)


class Pair(NamedTuple):
    x: int = 0


class Wrapping(TypedDict):
    v: Adding


@dataclass
class Limited:
    n: Annotated[int, pydantic.Field(gt=0)]


def changed(value: Any, **attributes: Any) -> Any:
    for name, each in attributes.items():
        setattr(value, name, each)
    return value


def bound(annotation: Any, value: Any) -> Any:
    """Return an argument as its job brings it to the handler."""

    async def handler(v: Any) -> None: ...

    handler.__annotations__["v"] = annotation
    task = WorkerPool().job(handler)
    written = decode(encode_args(task.bind_values({"v": value})))["v"]
    convert = conversion(annotation).convert
    return written if convert is None else convert(written)


ANOTHER = "this int would arrive as another int"
REFUSED: list[tuple[Any, Any, str]] = [
    (Holder, Holder(base=Sub(b=99)), r'args\["v"\]\["base"\]: Holder would not .* because Sub would arrive as Base'),
    (Excluding, Excluding(b=9), rf'args\["v"\]\["b"\]: Excluding would not come back equal, because {ANOTHER}'),
    (Loose, Loose(x=date(2026, 1, 31)), r'args\["v"\]\["x"\]: .*date would arrive as str'),
    (Loose, Loose(y=date(2026, 1, 31)), r'args\["v"\]\["y"\]: .*date would arrive as str'),  # type: ignore[call-arg]
    (Loose, Loose(x={1: 2}), r'args\["v"\]\["x"\]: .*this dict would arrive as another dict'),
    (Hidden, changed(Hidden(a=1), _more=3), rf'args\["v"\]\["_more"\]: .*{ANOTHER}'),
    (Renamed, Renamed(z=1), "Renamed cannot be read back from its own JSON: Field required"),  # type: ignore[call-arg]
    (Struct, Struct(x=date(2026, 1, 31)), r'args\["v"\]\["x"\]: .*date would arrive as str'),
    (Struct, Struct(next=SubStruct()), r'args\["v"\]\["next"\]: .*SubStruct would arrive as Struct'),
    (Adding, Adding(1), rf'args\["v"\]\["a"\]: Adding would not come back equal, because {ANOTHER}'),
    (list[Adding], [Adding(1)], r'args\["v"\]\[0\]\["a"\]'),
    (dict[str, Adding] | None, {"k": Adding(1)}, r'args\["v"\]\["k"\]\["a"\]'),
    (Wrapping, {"v": Adding(1)}, r'args\["v"\]\["v"\]\["a"\]'),
    (Computed, changed(Computed(1), b=5), r'args\["v"\]\["b"\]'),
    (Converting, Converting(1), r'args\["v"\]\["a"\]'),
    (Items, Items([1], Pair()), r'args\["v"\]\["x"\]: .*Pair would arrive as list'),
    (Items, Items([1], date(2026, 1, 31)), r'args\["v"\]\["x"\]: a date is not JSON'),
    (Annotated[int, pydantic.Field(gt=0)], -1, "int has a constraint that this value violates: .*greater than 0"),
    (pydantic.PositiveInt | None, -3, "greater than 0"),
    (list[pydantic.PositiveInt], [1, -2], r'args\["v"\]\[1\]: .*greater than 0'),
    (Annotated[list[Adding], annotated_types.MinLen(1)], [], "at least 1 item"),
    (Annotated[date, annotated_types.Gt(date(2020, 1, 1))], date(2019, 1, 1), "greater than 2020"),
    (Annotated[str, pydantic.AfterValidator(str.upper)], "b", "this str would arrive as another str"),
    (Limited, Limited(-1), r'args\["v"\]\["n"\]: .*greater than 0'),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED)
def test_a_value_that_would_not_come_back_equal_is_refused(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(ArgumentEncodingError, match=message):
        bound(annotation, value)


REPEATED = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
KEPT: list[tuple[Any, Any]] = [
    (Holder, Holder(base=Base(b=1))),
    (Excluding, Excluding()),
    (Loose, Loose(x=[1], y="z")),  # type: ignore[call-arg]
    (Hidden, Hidden(a=1)),
    (Revealing, Revealing(password=pydantic.SecretStr("x"))),
    (RevealingType, RevealingType(password=pydantic.SecretStr("x"))),
    (Struct, Struct(x=1, next=Struct())),
    (Computed, Computed(1)),
    (Items, Items([1], {"a": [None]})),
    (pydantic.PositiveInt, 3),
    (pydantic.PositiveInt | None, None),
    (Annotated[int | None, pydantic.Field(gt=0)], None),
    (Annotated[str, pydantic.Field(pattern="^a", description="x")], "ab"),
    (Annotated[date, annotated_types.Gt(date(2020, 1, 1))], date(2029, 1, 1)),
    (Annotated[int, "not a constraint"], -1),
    (Limited, Limited(1)),
]


@pytest.mark.parametrize(("annotation", "value"), KEPT)
def test_other_values_come_back_equal(annotation: Any, value: Any) -> None:
    assert bound(annotation, value) == value


def test_a_class_without_equality_is_compared_by_its_fields() -> None:
    arrived = bound(ByIdentity, ByIdentity(date(2026, 1, 31), ByIdentity(date(2026, 2, 1))))
    assert dataclasses.asdict(arrived) == {"day": date(2026, 1, 31), "inner": {"day": date(2026, 2, 1), "inner": None}}


def test_a_tuple_arrives_as_a_list_and_a_repeated_hour_with_its_offset() -> None:
    assert bound(Items, Items((1, 2))) == Items([1, 2])
    arrived = bound(At, At(at=REPEATED)).at
    assert (arrived.replace(tzinfo=None, fold=1), arrived.utcoffset()) == (
        REPEATED.replace(tzinfo=None),
        REPEATED.utcoffset(),
    )


@pytest.mark.parametrize("model", [Secret, Secrets])
def test_a_model_with_a_secret_is_refused_at_registration(model: type) -> None:
    message = r"Secret\.password is a SecretStr, which pydantic writes as '\*+': take str .* or add a field_serializer"
    with pytest.raises(HandlerError, match=message):
        conversion(model)


def test_a_constraint_is_checked_when_a_job_runs() -> None:
    convert = conversion(Annotated[int, pydantic.Field(gt=0)]).convert
    assert convert is not None
    assert convert(3) == 3
    with pytest.raises(Mismatch) as caught:
        convert(-1)
    assert (caught.value.wanted, caught.value.found) == ("int", -1)
    assert "greater than 0" in caught.value.reason


def test_a_constraint_that_does_not_fit_its_type_is_refused_at_registration() -> None:
    with pytest.raises(HandlerError, match="pydantic cannot apply the constraints of int"):
        conversion(Annotated[int, pydantic.Field(gt="x")])
