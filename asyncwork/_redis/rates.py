"""The rates of queues: those of the code and those that were set at run time, with the tokens that are left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ..errors import UsageError
from ..rate import Rate
from .errors import ErrorReply, is_wrong_type
from .namespace import Namespace
from .protocol import decode, encode, value_of
from .slices import slices
from .wake_channel import wake_pools

_CODE, _SET = "code:", "set:"
# In place of a rate that was set: any number of jobs may start, whatever the code says.
NONE = "none"
# Keys read by one pipeline.
_SLICE = 500


@dataclass(frozen=True, slots=True)
class QueueRate:
    """The rate of a queue, as the texts that are in Redis.

    :ivar code: the rate that was announced by the pool that started last; empty if no pool has one.
    :ivar owner: the id of that pool.
    :ivar was_set: the rate that was set at run time, or ``none``; empty if none was.
    """

    code: str = ""
    owner: str = ""
    was_set: str = ""

    @property
    def invalid(self) -> tuple[str, ...]:
        """The texts that are not rates. They have no effect."""
        texts = (self.code, "" if self.was_set == NONE else self.was_set)
        return tuple(text for text in texts if text and _parse(text) is None)

    @property
    def rate(self) -> Rate | None:
        """The rate that holds; ``None`` if any number of jobs may start."""
        if self.was_set == NONE:
            return None
        return _parse(self.was_set) or _parse(self.code)

    @property
    def is_set(self) -> bool:
        """Whether what holds was set at run time."""
        return self.was_set == NONE or _parse(self.was_set) is not None


def _parse(text: str) -> Rate | None:
    if text.count("/") == 2:
        with suppress(UsageError):
            return Rate.parse(text)
    return None


def parse_rates(fields: Mapping[bytes, bytes]) -> dict[str, QueueRate]:
    """Return the rates by job name, of the fields of their hash."""
    codes: dict[str, tuple[str, str]] = {}
    were_set: dict[str, str] = {}
    for field, value in fields.items():
        name, text = decode(field), decode(value)
        if name.startswith(_CODE):
            code, _, owner = text.partition(" ")
            codes[name.removeprefix(_CODE)] = code, owner
        elif name.startswith(_SET):
            were_set[name.removeprefix(_SET)] = text
    return {name: QueueRate(*codes.get(name, ("", "")), were_set.get(name, "")) for name in {**codes, **were_set}}


def tokens_left(rate: Rate, state: bytes | None, now: float) -> int:
    """Return how many tokens of a rate are left.

    :param state: as `rate.lua` has written it; ``None`` if no tokens are taken.
    :param now: Redis's clock, epoch seconds.
    """
    full = rate.tokens * rate.token_cost
    if state is None:
        return rate.tokens
    try:
        debt, at, cost = map(int, state.removesuffix(b" owes").split(b" "))
    except ValueError:
        return 0
    if cost <= 0:
        return 0
    if cost != rate.token_cost:
        debt = -(-debt * rate.token_cost // cost)
    elapsed = max(0, round(now * 1_000_000) - at)
    if not state.endswith(b" owes"):
        debt = min(full, debt)
    debt = max(0, debt - elapsed * rate.units_per_microsecond)
    return max(0, full - debt) // rate.token_cost


class Rates:
    """The rates of one namespace. Every method raises RedisError or OSError when Redis refuses or cannot be reached."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def read(self) -> dict[str, QueueRate]:
        """Return the rates by job name; none when their key holds another type."""
        try:
            found = await self._redis.client().hgetall(self._keys.rates)
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return {}
        return parse_rates(found)

    async def announce(self, rates: Mapping[str, Rate], pool_id: str) -> None:
        """Write the rates of a pool's code, by job name. The pool that does so last decides."""
        if rates:
            fields = {encode(_CODE + name): encode(f"{rate} {pool_id}") for name, rate in rates.items()}
            await self._write(fields)

    async def withdraw(self, names: Iterable[str]) -> None:
        """Forget the rates of the code of these job names."""
        fields = [encode(_CODE + name) for name in names]
        if fields:
            await self._redis.client().hdel(self._keys.rates, *fields)

    async def set_rate(self, name: str, rate: Rate | None) -> None:
        """Set the rate of a queue, whatever the code says; ``None`` for any number of jobs."""
        await self._write({encode(_SET + name): encode(NONE if rate is None else str(rate))})
        await wake_pools(self._namespace)

    async def reset_rate(self, name: str) -> None:
        """Return to the rate of the code."""
        try:
            await self._redis.client().hdel(self._keys.rates, encode(_SET + name))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
        await wake_pools(self._namespace)

    async def states(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return what is written about the tokens of these job names; empty where there is nothing that can be read."""
        found: dict[str, bytes] = {}
        for some in slices(names, _SLICE):
            async with self._redis.client().pipeline(transaction=False) as pipe:
                for name in some:
                    pipe.get(self._keys.rate(name))
                replies = await pipe.execute(raise_on_error=False)
            found |= {
                name: b"" if is_wrong_type(reply) else value_of(reply) or b""
                for name, reply in zip(some, replies, strict=True)
            }
        return found

    async def remove_invalid(self, names: Iterable[str]) -> int:
        """Remove the rates of these job names that cannot be read; return how many there were."""
        known, fields = await self.read(), list[bytes]()
        for name in names:
            found = known.get(name, QueueRate())
            if found.code in found.invalid:
                fields.append(encode(_CODE + name))
            if found.was_set in found.invalid:
                fields.append(encode(_SET + name))
        return int(await self._redis.client().hdel(self._keys.rates, *fields)) if fields else 0

    async def _write(self, fields: Mapping[bytes, bytes]) -> None:
        client = self._redis.client()
        try:
            await client.hset(self._keys.rates, mapping=dict(fields))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            # The pools that are alive write their rates again.
            await client.delete(self._keys.rates)
            await client.hset(self._keys.rates, mapping=dict(fields))
