"""Which of many queues a fetch names."""

from __future__ import annotations

from asyncwork._redis.commands import Fetch
from asyncwork._redis.keys import Keys, Queue
from asyncwork._redis.work_queue import Fetched
from asyncwork._worker.filled_queues import FilledQueues


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
