"""Shared limits: their numbers, the job types that have them, and slots for other code."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from .._jobs.printable import printable
from .._json import codec
from ..errors import PayloadError, UsageError
from ..limit import LEASE, Limit
from ..models.limits import LimitInfo
from ..rate import Rate
from .base_client import translated_errors
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode, encode, value_of
from .rates import NONE, tokens_left
from .wake_channel import wake_pools

logger = logging.getLogger("asyncwork")

_CODE, _SET, _JOB = "code:", "set:", "job:"


@dataclass(frozen=True, slots=True)
class TypeLimits:
    """The shared limits of one job name, as a pool has announced them.

    :ivar owner: the id of the pool.
    :ivar cost: what a job costs that does not say it.
    :ivar limits: the names of its limits.
    """

    owner: str
    cost: int
    limits: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text that is in Redis, without the owner."""
        return " ".join([str(self.cost), *self.limits])


@dataclass(slots=True)
class LimitNumbers:
    """The numbers of a limit, as the texts that are in Redis; empty where there is nothing that can be read."""

    code: str = ""
    was_set: str = ""

    @property
    def text(self) -> str:
        """The numbers that are in force."""
        return self.was_set or self.code


@dataclass(frozen=True, slots=True)
class KnownLimits:
    """All that is known of the limits of a namespace.

    :ivar numbers: by limit.
    :ivar types: by job name.
    :ivar invalid: by field of their hash, the texts that say nothing of a limit. They have no effect.
    """

    numbers: Mapping[str, LimitNumbers]
    types: Mapping[str, TypeLimits]
    invalid: Mapping[str, str] = field(default_factory=dict)


def cost_of(payload: bytes) -> int | None:
    """Return how many tokens a job costs; ``None`` if it does not say it, or is not a job."""
    if b'"cost"' not in payload:
        return None
    try:
        fields = codec.decode(payload)
    except PayloadError:
        return None
    cost = fields.get("cost") if isinstance(fields, dict) else None
    return cost if type(cost) is int and cost >= 1 else None


def parse_numbers(text: str) -> tuple[Rate | None, int] | None:
    """Return the rate and the concurrency of a limit; ``None`` if the text is none."""
    rate, _, most = text.partition(" ")
    most = most.partition(" ")[0]
    if not (most.isdecimal() and most.isascii()):
        return None
    if rate == NONE:
        return None, int(most)
    if rate.count("/") != 2:
        return None
    with suppress(UsageError):
        return Rate.parse(rate), int(most)
    return None


def parse_limits(fields: Mapping[bytes, bytes]) -> KnownLimits:
    """Return the limits, of the fields of their hash."""
    numbers, types, invalid = dict[str, LimitNumbers](), dict[str, TypeLimits](), dict[str, str]()
    for raw, value in fields.items():
        name, text = decode(raw), decode(value)
        if name.startswith(_JOB):
            owner, _, rest = text.partition(" ")
            cost, *limits = rest.split(" ")
            if cost.isdecimal() and cost.isascii() and limits:
                types[name.removeprefix(_JOB)] = TypeLimits(owner, int(cost), tuple(limits))
            else:
                invalid[name] = text
        elif parse_numbers(text) is None or not name.startswith((_CODE, _SET)):
            invalid[name] = text
        elif name.startswith(_CODE):
            numbers.setdefault(name.removeprefix(_CODE), LimitNumbers()).code = " ".join(text.split(" ")[:2])
        else:
            numbers.setdefault(name.removeprefix(_SET), LimitNumbers()).was_set = text
    return KnownLimits(numbers, types, invalid)


class Limits:
    """The limits of one namespace. Each method raises RedisError or OSError when Redis refuses or cannot be reached."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def read(self) -> KnownLimits:
        """Return all limits; none when their key holds another type."""
        try:
            return parse_limits(await self._redis.client().hgetall(self._keys.limits))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return KnownLimits({}, {})

    async def announce(self, limits: Sequence[Limit], types: Mapping[str, TypeLimits], at: float) -> None:
        """Write the limits of a pool's code, and which job types have them. The pool that does so last decides.

        :param at: when the pool was started, by Redis's clock, epoch seconds.
        """
        fields = {_CODE + each.name: f"{each.numbers} {at:.6f}" for each in limits if each.numbers}
        fields |= {_JOB + name: f"{each.owner} {each.text}" for name, each in types.items()}
        if fields:
            await self._write(fields)

    async def withdraw(self, names: Iterable[str]) -> None:
        """Forget that the jobs of these names have limits."""
        fields = [encode(_JOB + name) for name in names]
        if fields:
            await self._redis.client().hdel(self._keys.limits, *fields)

    async def forget(self, name: str) -> None:
        """Forget that the jobs of a name have limits."""
        if name in (await self.read()).types:
            await self.withdraw([name])

    async def remove_invalid(self, fields: Iterable[str]) -> int:
        """Remove those of these fields that still cannot be read; return how many there were."""
        invalid = (await self.read()).invalid
        found = [encode(each) for each in fields if each in invalid]
        return int(await self._redis.client().hdel(self._keys.limits, *found)) if found else 0

    async def set_numbers(self, name: str, rate: Rate | None, concurrency: int) -> None:
        """Set the numbers of a limit, whatever the code says."""
        await self._write({_SET + name: f"{NONE if rate is None else rate} {concurrency}"})
        await wake_pools(self._namespace)

    async def reset(self, name: str) -> None:
        """Return to the numbers of the code."""
        try:
            await self._redis.client().hdel(self._keys.limits, encode(_SET + name))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
        await wake_pools(self._namespace)

    async def show(self) -> list[LimitInfo]:
        """Return all limits, with what is in use."""
        known = await self.read()
        return [await self._info(name, known) for name in sorted(known.numbers)]

    async def _info(self, name: str, known: KnownLimits) -> LimitInfo:
        numbers = known.numbers[name]
        rate, most = parse_numbers(numbers.text) or (None, 0)
        jobs = sorted(job for job, each in known.types.items() if name in each.limits)
        async with self._redis.client().pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.get(self._keys.limit(name))
            for job in jobs:
                pipe.get(self._keys.lock(job))
            now, state, *locks = await pipe.execute(raise_on_error=False)
        if isinstance(now, Exception):
            raise now
        seconds = int(now[0]) + int(now[1]) / 1_000_000
        slots = await self._slots(name, int(now[0]))
        state = b"" if isinstance(state, Exception) else value_of(state)
        tokens = 0 if rate is None else tokens_left(rate, state, seconds)
        running = sum(int(each) for each in locks if isinstance(each, bytes) and each.isdigit())
        text = "" if rate is None else str(rate)
        return LimitInfo(name, text, most, bool(numbers.was_set), tokens, running, slots, tuple(jobs))

    async def _slots(self, name: str, now: int) -> int:
        try:
            return int(await self._redis.client().zcount(self._keys.slots(name), now, "+inf"))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return 0

    async def _write(self, fields: Mapping[str, str]) -> None:
        client, encoded = self._redis.client(), {encode(field): encode(text) for field, text in fields.items()}
        try:
            await client.hset(self._keys.limits, mapping=encoded)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            # The pools that are alive write their limits again.
            await client.delete(self._keys.limits)
            await client.hset(self._keys.limits, mapping=encoded)


def warn_of_change(limit: Limit, before: str) -> None:
    """Log that a limit of this process has replaced another one of the same name.

    :param before: the numbers of the other one, as they were in Redis.
    """
    text = "limit %s changed to %s, that of this process; another one had announced %s"
    logger.warning(text, printable(limit.name), limit.numbers, printable(before))


class LimitSlots:
    """Takes slots of the limits of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def take(self, limit: Limit, slot: str, cost: int) -> tuple[str, int]:
        """Take a slot; return what came of it, and a number, as ``take_slot`` does.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        what, number, before = await self._call(limit, slot, cost)
        if before:
            warn_of_change(limit, decode(before))
        return decode(what), int(number)

    async def renew(self, limit: Limit, slot: str) -> None:
        """Renew the lease of a slot.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        await self._call(limit, slot, 1, renews=True)

    async def release(self, limit: Limit, slot: str) -> None:
        """Give a slot back.

        :raises RedisUnavailable: when Redis refuses or cannot be reached.
        """
        with translated_errors(self._redis.masked_url):
            await self._redis.client().zrem(self._keys.slots(limit.name), slot)

    async def _call(self, limit: Limit, slot: str, cost: int, *, renews: bool = False) -> tuple[bytes, int, bytes]:
        keys = [self._keys.limits, self._keys.slots(limit.name)]
        args = [limit.name, slot, cost, LEASE, limit.numbers, f"{limit.age:.6f}", int(renews)]
        with translated_errors(self._redis.masked_url):
            what, number, before = await run_script(self._redis.client(), "take_slot", keys, args)
        return what, number, before
