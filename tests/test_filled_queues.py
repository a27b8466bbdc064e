"""Which of many queues a fetch names: only those that hold jobs."""

from __future__ import annotations

import pytest

from asyncwork import Rate
from asyncwork._redis.commands import Fetch
from asyncwork._redis.keys import Keys
from asyncwork._redis.queue import Queue
from asyncwork._redis.work_queue import Fetched
from asyncwork._worker.filled_queues import FilledQueues
from asyncwork._worker.poll_times import PollTimes

from .conftest import Bench, until


def test_queues_that_fetches_under_way_have_named_are_named_again_afterwards() -> None:
    keys = Keys("work")
    queues = [Queue.of(keys, f"job{number}", "a" * 24) for number in range(100)]
    filled = FilledQueues()
    filled.add(queues)
    everything = Fetch(queues, 1, 0.0)
    filled.on_fetch(everything)
    # Again and again, until its reply comes.
    for _ in range(3):
        assert filled.choose(5, [], set()) == []
    filled.on_failed(everything)
    assert len(filled.choose(5, [], set())) == 4
    filled.on_fetch(everything)
    filled.on_fetched(everything, Fetched([], [], []))
    assert filled.choose(5, [], set()) == []
    filled.add(queues[:1])
    assert filled.choose(5, [], set()) == queues[:1]


@pytest.mark.parametrize("rated", ["", "other", "limited"])
@pytest.mark.parametrize("limit", [1, 3])
async def test_a_queue_that_reached_its_limit_with_a_fetch_is_read_beside_its_acknowledgements(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limit: int, rated: str
) -> None:
    # Only the poll at the start.
    monkeypatch.setattr(PollTimes, "plan", lambda self, now, *, open_left, closed: None)
    pool, ran = bench.pool(concurrency=8), list[int]()

    async def limited(number: int) -> None:
        ran.append(number)

    rates = {rated: Rate(1000, burst=100)}
    pool.job("limited", max_concurrency=limit, rate=rates.get("limited"))(limited)
    pool.job("other", rate=rates.get("other"))(limited)
    for number in range(100):
        pool.job(f"other{number}")(limited)
    await bench.enqueuer.enqueue_many([("limited", {"number": number}) for number in range(50)])
    await bench.enqueuer.enqueue("other", {"number": 50})
    async with pool.running():
        await until(lambda: len(ran) == 51)
