"""Orders that Redis refuses because a key is of a wrong type: told again later, so that others need not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from .._redis.errors import ErrorReply
from .._redis.keys import Queue
from .._redis.work_queue import Order
from .services.outage import Outage


class Refusals:
    """The refused orders of one pool, by queue.

    :param again: called with an order when it is time to tell it again.
    :param most: from how many refused orders on a queue is to be left alone.
    """

    def __init__(self, again: Callable[[Order], None], most: int) -> None:
        self._again = again
        self._most = most
        self._orders: dict[Queue, set[Order]] = {}
        self._outages: dict[Queue, Outage] = {}
        self._timers: dict[Order, asyncio.TimerHandle] = {}

    def __bool__(self) -> bool:
        return bool(self._orders)

    @property
    def waiting(self) -> Collection[Order]:
        """The orders whose time has not come yet."""
        return self._timers.keys()

    def refused(self, order: Order, refusal: ErrorReply) -> None:
        """Have an order told again later; logs the first of a row of its queue."""
        self._orders.setdefault(order.queue, set()).add(order)
        outage = self._outages.setdefault(order.queue, Outage(f"queue {order.queue.name}"))
        delay = outage.failed(refusal)
        self._timers[order] = asyncio.get_running_loop().call_later(delay, self._tell_again, order)

    def _tell_again(self, order: Order) -> None:
        del self._timers[order]
        self._again(order)

    def taken(self, order: Order) -> None:
        """Note that Redis has taken an order, which it may have refused before."""
        orders = self._orders.get(order.queue, set())
        orders.discard(order)
        if not orders and self._orders.pop(order.queue, None) is not None:
            self._outages.pop(order.queue).over()

    def abound(self, queue: Queue) -> bool:
        """Tell whether so many orders of a queue are refused that no more of its jobs should be taken."""
        return len(self._orders.get(queue, ())) >= self._most

    def hurry(self) -> None:
        """Have all orders told again now."""
        for order, timer in list(self._timers.items()):
            timer.cancel()
            self._tell_again(order)
