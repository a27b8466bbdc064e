"""Arguments of annotated types between Go and Python."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncwork import WorkerPool
from asyncwork._jobs.payload import encode_job

from .golang import Mixed, Streamed


class Color(enum.Enum):
    RED = "red"


@dataclass
class Line:
    Price: Decimal
    Due: datetime | None = None


pool = WorkerPool()


@pool.job
async def wat(
    At: datetime,  # noqa: N803  # as Go writes the names of fields
    Day: date,  # noqa: N803
    Clock: time,  # noqa: N803
    Wait: timedelta,  # noqa: N803
    Id: UUID,  # noqa: N803
    Price: Decimal,  # noqa: N803
    Raw: bytes,  # noqa: N803
    Color: Color,  # noqa: N803
    Lines: list[Line],  # noqa: N803
) -> None: ...


ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def given_args(at: datetime) -> dict[str, Any]:
    return {
        "At": at,
        "Day": date(2026, 1, 31),
        "Clock": time(9, 30, 5),
        "Wait": timedelta(minutes=1, milliseconds=500),
        "Id": ID,
        "Price": Decimal("12.50"),
        "Raw": b"\xff\x00",
        "Color": Color.RED,
        "Lines": [Line(Decimal("1E+3")), Line(Decimal("-0.5"), at)],
    }


@pytest.fixture(scope="module")
def go_reads(gowork: Path) -> Iterator[Streamed]:
    """How a Go handler reads the arguments, and writes them again."""
    with Streamed(gowork, "annotated") as program:
        yield program


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones() | st.just(UTC)))  # noqa: DTZ001
@example(datetime(2026, 1, 31, 9, 30, 0, 500_000, tzinfo=UTC))
@settings(deadline=None, max_examples=300)
def test_go_reads_what_each_type_is_written_as(go_reads: Streamed, at: datetime) -> None:
    args = wat.call(**given_args(at)).args
    assert args is not None
    found = json.loads(go_reads.say(encode_job("wat", args, 1)[1].decode()))
    # Go spells each time as it is written here, and so has the same unique key.
    assert found.pop("args") == args
    seconds, micros = divmod((at.astimezone(UTC) - EPOCH) // timedelta(microseconds=1), 10**6)
    assert found == {
        "seconds": seconds,
        "micros": micros,
        "days": (date(2026, 1, 31) - EPOCH.date()).days,
        "clock": 9 * 3600 + 30 * 60 + 5,
        "wait": "1m0.5s",
        "price": "12.5000",
        "raw": "ff00",
    }


async def test_a_handler_takes_what_go_enqueues(mixed: Mixed) -> None:
    got: list[dict[str, Any]] = []
    ours = mixed.bench.pool()

    @ours.job("wat")
    async def take(At: datetime, Raw: bytes, Lines: list[Line], Wait: timedelta) -> None:  # noqa: N803
        got.append({"At": At, "Raw": Raw, "Lines": Lines, "Wait": Wait})

    at = datetime(2026, 1, 31, 9, 30, 0, 500_000, tzinfo=UTC)
    args = take.call(**{key: given_args(at)[key] for key in ("At", "Raw", "Lines", "Wait")}).args
    assert args is not None
    await mixed.enqueue("wat", args, how="unique")
    assert (await take.options(unique=True).enqueue(**{key: given_args(at)[key] for key in args})).duplicate
    async with ours.running():
        await ours.drain()
    assert got == [{key: given_args(at)[key] for key in args}]
