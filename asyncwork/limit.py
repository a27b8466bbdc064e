"""Limits that several job types and other code share: how much may start within a time, and how much runs at once."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ._jobs.option_checks import check_maximum, check_whole
from ._jobs.printable import shown
from ._jobs.times import seconds_of
from .decisions import RateLimited
from .errors import RedisUnavailable, UsageError
from .rate import Rate, check_rate

if TYPE_CHECKING:
    import asyncio

logger: logging.Logger = logging.getLogger("asyncwork")

# How many tokens a job takes of each of its limits: a number, or a function of the arguments as they are stored.
Cost: TypeAlias = int | Callable[[Mapping[str, Any]], int]

# The most limits that one job type may have, and the most tokens that one job or slot may take.
MOST_LIMITS = 3
MOST_COST = 10**9
# Seconds for which a slot is kept without being renewed, and between two renewals.
LEASE = 30
_RENEWED_EVERY = 8.0
# The longest time in seconds that giving a slot back may hold up a task that is cancelled.
_LONGEST_RELEASE = 5.0
# Seconds between two attempts to take a slot while none is free.
_BUSY_PAUSE = 0.05

_NAME = re.compile(r"[A-Za-z0-9_.:/@+-]{1,100}")


class SlotSource(Protocol):
    """Takes slots of limits in Redis."""

    async def take(self, limit: Limit, slot: str, cost: int) -> tuple[str, int]:
        """Take a slot; return what came of it, and a number, as ``take_slot`` does.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """

    async def renew(self, limit: Limit, slot: str) -> None:
        """Renew the lease of a slot.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """

    async def release(self, limit: Limit, slot: str) -> None:
        """Give a slot back.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """


def check_limit_name(name: object) -> str:
    """Return the name of a limit.

    :raises UsageError: when none can have that name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            "the name of a limit must be 1 to 100 ASCII letters, digits and _ . : / @ + -, such as 'openai', not "
            f"{shown(name)}"
        )
    return name


def check_numbers(rate: object, concurrency: object) -> None:
    """Check the numbers of a limit.

    :raises UsageError: when one is not valid.
    """
    check_rate(rate)
    check_maximum(concurrency, "concurrency")


class Limit:
    """A limit that job types and other code share, over all processes of a namespace.

    :meth:`WorkerPool.limit` makes one with numbers, and :meth:`Client.limit` one that other programs have given some.

    :ivar name: by which all processes know it.
    :ivar rate: how many tokens come, in the code of this process; ``None`` for no rate.
    :ivar concurrency: how many jobs and slots there may be at once, in the code of this process; 0 for any number.
    """

    def __init__(self, name: str, source: Callable[[], Any], rate: Rate | None = None, concurrency: int = 0) -> None:
        check_numbers(rate, concurrency)
        self.name: str = check_limit_name(name)
        self.rate: Rate | None = rate
        self.concurrency: int = concurrency
        self._source: Callable[[], SlotSource] = source
        self._made_at = time.monotonic()

    @property
    def numbers(self) -> str:
        """The limit as it is in Redis; empty if this process has no numbers for it."""
        if self.rate is None and not self.concurrency:
            return ""
        return f"{'none' if self.rate is None else self.rate} {self.concurrency}"

    @property
    def age(self) -> float:
        """Seconds since it was made. If two processes have different numbers, those that were made last are in
        force."""
        return time.monotonic() - self._made_at

    @asynccontextmanager
    async def slot(self, cost: int = 1, *, wait: float | timedelta = 0.0) -> AsyncIterator[None]:
        """Take tokens, and hold a slot for as long as the block lasts.

        Use it in code that is not a job, or around one call of many in a job whose type does not have the limit. It is
        renewed while the block runs. If its process dies, it is free again after 30 s. Callers that wait have no order.

        :param cost: how many tokens it takes. They stay taken.
        :param wait: how long to wait for them and for a slot, seconds or a ``timedelta``.
        :raises RateLimited: when there are none within that time. Its ``retry_after`` says when there may be. A job
            that does not catch it goes back to its queue, which rests for so long.
        :raises UsageError: when no process has given the limit any numbers, or it costs more than the burst in the code
            of this one.
        :raises RedisUnavailable: when Redis refuses or cannot be reached. When that happens later, the block goes on.
        """
        check_whole(cost, "cost", 1, MOST_COST)
        check_burst([self], cost, "cost")
        import asyncio

        source, slot = self._source(), secrets.token_hex(12)
        await self._take(source, slot, cost, seconds_of(wait, "wait"))
        ended = asyncio.Event()
        renewing = asyncio.create_task(self._renew(source, slot, ended), name=f"asyncwork renews a slot of {self.name}")
        try:
            yield
        finally:
            ended.set()
            await self._release(source, slot, renewing)

    async def _release(self, source: SlotSource, slot: str, renewing: asyncio.Task[None] | None = None) -> None:
        """Give a slot back, even while the task is cancelled again and again, as anyio does.

        :param renewing: what ends as soon as no renewal is under way, which would take the slot again.
        """
        import anyio

        with anyio.move_on_after(_LONGEST_RELEASE, shield=True) as scope:
            try:
                if renewing is not None:
                    await renewing
                await source.release(self, slot)
            except RedisUnavailable as error:
                logger.warning("a slot of limit %s is free in %d s, because Redis fails: %s", self.name, LEASE, error)
        if scope.cancelled_caught:
            text = "a slot of limit %s is free in %d s, because Redis fails: no reply in %g s"
            logger.warning(text, self.name, LEASE, _LONGEST_RELEASE)

    async def _take(self, source: SlotSource, slot: str, cost: int, wait: float) -> None:
        import asyncio

        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        while True:
            try:
                what, number = await source.take(self, slot, cost)
            except asyncio.CancelledError:
                # The reply is lost, and Redis may have given the slot.
                await self._release(source, slot)
                raise
            if what == "taken":
                return
            if what == "unknown":
                raise UsageError(
                    f"limit {self.name!r} has no numbers: pass them to pool.limit, or set them with client.set_limit"
                )
            pause = number / 1_000_000 if what == "wait" else _BUSY_PAUSE
            left = until - loop.time()
            if (what == "wait" and pause > left) or left <= 0:
                raise RateLimited(pause if what == "wait" else 1.0)
            await asyncio.sleep(min(pause, left))

    async def _renew(self, source: SlotSource, slot: str, ended: asyncio.Event) -> None:
        import asyncio

        failing = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RENEWED_EVERY):
                    await ended.wait()
                return
            try:
                await source.renew(self, slot)
                failing = False
            except RedisUnavailable as error:
                if not failing:
                    failing = True
                    logger.warning("cannot renew a slot of limit %s: %s", self.name, error)

    def __repr__(self) -> str:
        return f"<Limit {self.name}>"


def check_limits(limits: Any, cost: object) -> tuple[Limit, ...]:
    """Return the limits of a job type.

    :raises UsageError: when one is not a limit, there are more than three, or the cost is not valid.
    """
    is_list = isinstance(limits, Sequence) and not isinstance(limits, str)
    if not is_list or not all(isinstance(each, Limit) for each in limits):
        raise UsageError(f"limits must be a list of what pool.limit returns, not {shown(limits)}")
    found: tuple[Limit, ...] = tuple(limits)
    if len(found) > MOST_LIMITS:
        raise UsageError(f"a job type has at most {MOST_LIMITS} limits, not {len(found)}")
    names = [each.name for each in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"limits has limit {min(twice)!r} twice: name each once")
    if not callable(cost):
        check_whole(cost, "cost", 1, MOST_COST)
        assert isinstance(cost, int)
        if not found and cost != 1:
            raise UsageError("cost is how many tokens of its limits a job takes: pass limits=[…] with it")
        check_burst(found, cost, "cost")
    elif not found:
        raise UsageError("cost is how many tokens of its limits a job takes: pass limits=[…] with it")
    return found


def check_burst(limits: Sequence[Limit], cost: int, what: str) -> None:
    """Check that there can be so many tokens at once, by the numbers of the code.

    :raises UsageError: when there cannot.
    """
    for each in limits:
        if each.rate is not None and cost > each.rate.tokens:
            raise UsageError(
                f"{what} must be at most {each.rate.tokens}, the burst of limit {each.name!r}, not {cost}: pass a "
                f"larger burst, as in Rate(…, burst={cost})"
            )


def cost_for(name: str, limits: Sequence[Limit], cost: Cost, args: Mapping[str, Any] | None) -> int | None:
    """Return what a new job costs; ``None`` for what its type says.

    :param name: the job's name, for messages.
    :param args: as they are stored.
    :raises UsageError: when the function that returns it fails or returns no such number, or it exceeds a burst.
    """
    if not callable(cost):
        return None
    try:
        value = cost(args or {})
    except Exception as error:
        raise UsageError(f"{name}: its cost could not be found: {type(error).__name__}: {error}") from error
    if type(value) is not int or not 1 <= value <= MOST_COST:
        kind = "" if type(value) is int else f"{type(value).__name__} "
        raise UsageError(f"{name}: its cost must be a whole number from 1 to {MOST_COST}, not {kind}{shown(value)}")
    check_burst(limits, value, f"{name}: its cost")
    return value
