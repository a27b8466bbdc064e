"""Shows and changes shared limits, for the client."""

from __future__ import annotations

from .._redis.limits import Limits, LimitSlots
from ..limit import Limit, check_limit_name, check_numbers
from ..models.limits import LimitInfo
from ..rate import Rate
from .periodic_client import PeriodicClient
from .redaction import Redact


class LimitClient(PeriodicClient):
    """Shows and changes the limits that job types and other code share."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace, redact)
        self._limits = Limits(self._in_redis)

    def limit(self, name: str) -> Limit:
        """Return a limit that other programs have given numbers, for :meth:`Limit.slot`.

        :raises UsageError: when no limit can have that name.
        """
        slots = LimitSlots(self._in_redis)
        return Limit(name, lambda: slots)

    async def limits(self) -> list[LimitInfo]:
        """Return the shared limits, sorted by name, with what is in use of each."""
        with self._redis_errors():
            return await self._limits.show()

    async def set_limit(self, name: str, *, rate: Rate | None = None, concurrency: int = 0) -> None:
        """Set the rate and the concurrency of a limit, both of them. Running pools follow at once.

        They hold until :meth:`reset_limit`, whatever numbers code has. Without either, everything may start.

        :param rate: how many tokens come; ``None`` for no rate.
        :param concurrency: how many jobs and slots there may be at once; 0 for any number.
        :raises UsageError: when a value is not valid.
        """
        check_limit_name(name)
        check_numbers(rate, concurrency)
        with self._redis_errors():
            await self._limits.set_numbers(name, rate, concurrency)

    async def reset_limit(self, name: str) -> None:
        """Return to the numbers of the code.

        :raises UsageError: when no limit can have that name.
        """
        check_limit_name(name)
        with self._redis_errors():
            await self._limits.reset(name)
