"""Discovery of a Redis that may move: which node is asked, how often, and what happens when no node knows."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from asyncwork._redis import discovery
from asyncwork._redis.discovery import SentinelDiscovery
from asyncwork._redis.urls import NodeAddress

ONE, OTHER, SILENCE = ("one", 1), ("other", 2), ("", 0)


class FakeSentinels(SentinelDiscovery):
    """Sentinels ``a``, ``b`` and ``c`` with given replies; without one, a sentinel is away."""

    def __init__(self, **replies: NodeAddress | None) -> None:
        super().__init__([(name, 0) for name in "abc"], {}, "jobs")
        self.replies = replies
        self.queried: list[str] = []

    async def _query_node(self, node: NodeAddress) -> NodeAddress:
        self.queried.append(node[0])
        await asyncio.sleep(0)
        reply = self.replies.get(node[0])
        if reply is SILENCE:
            await asyncio.sleep(60)
        if reply is None:
            raise OSError(f"{node[0]} is away")
        return reply


@pytest.fixture
def no_caching(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is old as soon as it is known."""
    monkeypatch.setattr(discovery, "MAX_AGE", -1.0)


async def test_the_node_that_knew_is_asked_first_until_its_address_was_wrong() -> None:
    sentinels = FakeSentinels(c=ONE)
    assert await sentinels.find() == ONE
    assert sentinels.queried == ["a", "b", "c"]
    assert await sentinels.find() == ONE
    assert sentinels.queried == ["a", "b", "c"]
    sentinels.invalidate()
    sentinels.replies = {"a": OTHER, "c": ONE}
    assert await sentinels.find() == OTHER
    assert sentinels.queried == ["a", "b", "c", "a"]


async def test_connections_made_at_once_share_one_query() -> None:
    sentinels = FakeSentinels(a=ONE)
    assert await asyncio.gather(*(sentinels.find() for _ in range(30))) == [ONE] * 30
    assert sentinels.queried == ["a"]


@pytest.mark.usefixtures("no_caching")
async def test_connections_stay_when_no_node_replies_and_no_new_one_is_made() -> None:
    sentinels = FakeSentinels(b=ONE)
    assert await sentinels.find() == ONE
    sentinels.replies = {}
    await sentinels.refresh()
    assert sentinels._address == ONE
    for _ in range(2):
        with pytest.raises(RedisConnectionError, match=r"master of service 'jobs' is \(b:0: b is away; a:0: a is away"):
            await sentinels.find()
    sentinels.replies = {"b": OTHER}
    assert await sentinels.find() == OTHER


async def test_a_sentinel_that_does_not_reply_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "QUERY_TIMEOUT", 0.05)
    sentinels = FakeSentinels(a=SILENCE, b=ONE)
    assert await sentinels.find() == ONE
    sentinels.invalidate()
    sentinels.replies = {"a": SILENCE}
    with pytest.raises(RedisConnectionError, match=r"a:0: no reply within 0.05 s"):
        await sentinels.find()


def test_one_event_loop_after_another() -> None:
    sentinels = FakeSentinels(a=ONE)
    assert asyncio.run(sentinels.find()) == ONE
    sentinels.invalidate()
    sentinels.replies = {"a": OTHER, "b": OTHER}
    assert asyncio.run(sentinels.find()) == OTHER
