"""docket. ``minimum_check_interval`` is 10 ms, because with its default of 250 ms a worker whose slots are taken is
mostly idle. The states of its jobs are kept for a second.
"""

# No `from __future__ import annotations`: docket reads the annotation of a parameter that has a limit.
import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

from docket import ConcurrencyLimit, Docket, RateLimit, Worker

from ..orders import RATE, WIDE, Case, Order
from ..recording import Record

# Connections beside one for each job that runs. By default, redis-py opens 100 at most.
_MORE = 50
_CHECK = timedelta(milliseconds=10)
_KEPT = timedelta(seconds=1)
_SECOND = timedelta(seconds=1)


class _Sender:
    def __init__(self, docket: Docket, *, unique: bool) -> None:
        self._docket = docket
        self._unique = unique

    async def one(self, name: str, args: dict[str, Any]) -> None:
        await self._docket.add(name, key=self._key(name, args))(**args)

    async def many(self, jobs: list[tuple[str, dict[str, Any]]]) -> None:
        await self._docket.add_many(self._docket.call(name, key=self._key(name, args))(**args) for name, args in jobs)

    def _key(self, name: str, args: dict[str, Any]) -> str | None:
        """Return the key that no other job with the same arguments may have until this one has ended."""
        return f"{name}:{args['index']}" if self._unique else None


def _handler(case: Case, record: Record) -> Callable[..., Any]:
    limits = {
        "concurrency": ConcurrencyLimit(max_concurrent=case.concurrency),
        "concurrency-wide": ConcurrencyLimit(max_concurrent=WIDE),
        "rate": RateLimit(RATE, per=_SECOND),
        "fair-concurrency": ConcurrencyLimit("tenant", case.concurrency),
    }
    if (limit := limits.get(case.limit)) is not None:

        async def limited(index: int, tenant: int = 0, sent: int = 0, limited_by: Any = limit) -> None:
            record(index, sent)

        return limited
    if case.limit == "fair-rate":

        async def rated(index: int, tenant: Annotated[int, RateLimit(RATE, per=_SECOND)], sent: int = 0) -> None:
            record(index, sent)

        return rated

    async def handle(index: int, sent: int = 0) -> None:
        if case.sleep:
            await asyncio.sleep(case.sleep)
        record(index, sent)

    return handle


@asynccontextmanager
async def _docket(order: Order, record: Record) -> AsyncIterator[Docket]:
    url = f"{order.url}?max_connections={order.case.concurrency + _MORE}"
    async with Docket(name="bench", url=url, execution_ttl=_KEPT) as docket:
        docket.register(_handler(order.case, record), names=order.case.all_names())
        yield docket


@asynccontextmanager
async def sending(order: Order) -> AsyncIterator[_Sender]:
    """Open a docket."""
    async with _docket(order, lambda index, sent: None) as docket:
        yield _Sender(docket, unique=order.case.limit == "unique")


@asynccontextmanager
async def running(order: Order, record: Record) -> AsyncIterator[None]:
    """Run its worker."""
    logging.getLogger("docket").setLevel(logging.WARNING)
    async with (
        _docket(order, record) as docket,
        Worker(docket, concurrency=order.case.concurrency, minimum_check_interval=_CHECK) as worker,
    ):
        task = asyncio.create_task(worker.run_forever())
        yield
        task.cancel()
        await asyncio.wait([task])
