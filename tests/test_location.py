"""How a Redis that may move is found: whom to ask, how often, and what holds when nobody can tell."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from asyncwork._redis import discovery
from asyncwork._redis.discovery import SentinelDiscovery
from asyncwork._redis.urls import Address

ONE, OTHER, SILENCE = ("one", 1), ("other", 2), ("", 0)


class Asked(SentinelDiscovery):
    """SentinelDiscovery ``a``, ``b`` and ``c`` that say what they are told to say, or nothing."""

    def __init__(self, **says: Address | None) -> None:
        super().__init__([(name, 0) for name in "abc"], {}, "jobs")
        self.says = says
        self.asked: list[str] = []

    async def _ask(self, node: Address) -> Address:
        self.asked.append(node[0])
        await asyncio.sleep(0)
        said = self.says.get(node[0])
        if said is SILENCE:
            await asyncio.sleep(60)
        if said is None:
            raise OSError(f"{node[0]} is away")
        return said


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told holds no longer than the moment."""
    monkeypatch.setattr(discovery, "_HOLDS", -1.0)


async def test_who_can_tell_is_asked_first_the_next_time() -> None:
    asked = Asked(c=ONE)
    assert await asked.find() == ONE
    assert asked.asked == ["a", "b", "c"]
    assert await asked.find() == ONE
    assert asked.asked == ["a", "b", "c"]
    # What it told did not hold: it is asked last.
    asked.forget()
    asked.says = {"a": OTHER, "c": ONE}
    assert await asked.find() == OTHER
    assert asked.asked == ["a", "b", "c", "a"]


async def test_many_at_once_ask_once() -> None:
    asked = Asked(a=ONE)
    assert await asyncio.gather(*(asked.find() for _ in range(30))) == [ONE] * 30
    assert asked.asked == ["a"]


@pytest.mark.usefixtures("at_once")
async def test_who_is_connected_stays_when_nobody_can_tell_and_nobody_else_connects() -> None:
    asked = Asked(b=ONE)
    assert await asked.find() == ONE
    asked.says = {}
    await asked.keep_up()
    assert asked._known == ONE
    for _ in range(2):
        with pytest.raises(RedisConnectionError, match=r"master of service 'jobs' is \(b:0: b is away; a:0: a is away"):
            await asked.find()
    asked.says = {"b": OTHER}
    assert await asked.find() == OTHER


async def test_a_sentinel_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_ASK_LIMIT", 0.05)
    asked = Asked(a=SILENCE, b=ONE)
    assert await asked.find() == ONE
    asked.forget()
    asked.says = {"a": SILENCE}
    with pytest.raises(RedisConnectionError, match=r"a:0: no answer within 0.05 s"):
        await asked.find()


def test_one_event_loop_after_another() -> None:
    asked = Asked(a=ONE)
    assert asyncio.run(asked.find()) == ONE
    asked.forget()
    asked.says = {"a": OTHER, "b": OTHER}
    assert asyncio.run(asked.find()) == OTHER
