"""What became of jobs and is to be told to Redis: kept until Redis has taken it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.keys import Queue
from .._redis.work_queue import Batch, Order
from .refusals import Refusals


class PendingResults:
    """The acks and orders of one pool.

    :param put: has an order told, again if it was refused.
    :param suspicious: called when what Redis holds may differ from what is held here.
    :param most: from how many refused orders on a queue is to be left alone.
    :ivar acks: the payloads of jobs that ended well, by queue, that are to go out with the next batch.
    :ivar orders: what else is.
    :ivar refusals: the orders that are told again later.
    """

    def __init__(self, put: Callable[[Order], None], suspicious: Callable[[], None], most: int) -> None:
        self.acks: defaultdict[Queue, list[bytes]] = defaultdict(list)
        self.orders: list[Order] = []
        self.refusals = Refusals(put, most)
        self._under_way: set[Batch] = set()
        self._suspicious = suspicious

    def __bool__(self) -> bool:
        """Whether there is anything that Redis has not taken yet."""
        return bool(self.acks or self.orders or self._under_way or self.refusals)

    def send(self, batch: Batch) -> None:
        """Note that a batch goes out with everything that is to be told now."""
        self.acks, self.orders = defaultdict(list), []
        self._under_way.add(batch)

    def take_back(self, batch: Batch) -> None:
        """Have all that a batch tells told again: there was no answer."""
        self._under_way.discard(batch)
        for queue, payloads in batch.acks.items():
            self.acks[queue] += payloads
        self.orders += batch.orders

    def answered(self, batch: Batch, to_acks: list[Any], to_orders: list[Any]) -> ErrorReply | None:
        """Take in the answers to a batch; return a refusal, if there was one, having taken back what it was for."""
        self._under_way.discard(batch)
        refusal: ErrorReply | None = None
        for (queue, payloads), answer in zip(batch.acks.items(), to_acks, strict=True):
            if isinstance(answer, ErrorReply):
                self.acks[queue] += payloads
                refusal = answer
                if is_wrong_type(answer):
                    self._suspicious()
        for order, answer in zip(batch.orders, to_orders, strict=True):
            if not isinstance(answer, ErrorReply):
                if self.refusals:
                    self.refusals.taken(order)
                order.answered(answer)
            elif is_wrong_type(answer):
                self.refusals.refused(order, answer)
                self._suspicious()
            else:
                self.orders.append(order)
                refusal = answer
        return refusal

    def untold(self) -> int:
        """Return how many fates wait to be told."""
        return sum(map(len, self.acks.values())) + len(self.orders) + len(self.refusals.waiting)

    def held(self) -> Counter[bytes]:
        """Return the payloads whose fates Redis does not know yet, as far as we know, by how often."""
        return Counter(payload for _, payload in self.jobs())

    def jobs(self) -> Iterator[tuple[Queue, bytes]]:
        """Yield the same with their queues."""
        told = [(batch.acks, batch.orders) for batch in self._under_way]
        for acks, orders in [*told, (self.acks, self.orders), ({}, self.refusals.waiting)]:
            for queue, payloads in acks.items():
                yield from ((queue, payload) for payload in payloads)
            for order in orders:
                yield from ((order.queue, payload) for payload in order.payloads)
