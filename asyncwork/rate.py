"""The rate of a queue: how many of its jobs start within a time, over all pools."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta

from ._jobs.printable import shown
from ._jobs.times import seconds_of
from .errors import UsageError

# The Lua scripts compute with these in whole numbers, which are exact below 2**53.
_MOST_UNITS = 2**52
_MOST_COUNT = 10**9
_LONGEST_PERIOD = 366 * 86_400
# Microseconds of tokens that are kept by default. Pools that fetch several times within this time reach a high rate.
_DEFAULT_BURST = 100_000

_TEXT = re.compile(r"(\d{1,10})/(\d{1,8}(?:\.\d{1,6})?)(?:/(\d{1,16}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs of a queue may start within a time, over all pools.

    In no span of ``t`` seconds do more than ``burst + count / per * t`` jobs start, by Redis's clock. Each job that is
    taken from the queue takes a token. There are ``burst`` tokens at most, and new ones come evenly: one every
    ``per / count`` seconds.

    :param count: how many jobs start in ``per`` seconds, from 1 to 1,000,000,000.
    :param per: seconds, or a ``timedelta``, from a microsecond to 366 days; rounded to microseconds.
    :param burst: how many jobs may start at once after a time without jobs. By default as many as come in a tenth of a
        second, at least 1. With 1, starts are spread evenly, and no ``per`` seconds see more than ``count`` of them
        (a start exactly at the end of the span not counted).
    :raises UsageError: when a value is out of its range, or ``burst`` and ``per`` are both so large that the tokens
        could not be counted exactly.
    """

    count: int
    per: float | timedelta = 1.0
    burst: int | None = None

    def __post_init__(self) -> None:
        if type(self.count) is int and self.count == 0:
            raise UsageError("count must be 1 or more: to start no jobs, pause the queue instead: client.pause(name)")
        if type(self.count) is not int or not 1 <= self.count <= _MOST_COUNT:
            raise UsageError(f"count must be a whole number from 1 to {_MOST_COUNT}, not {shown(self.count)}")
        seconds = seconds_of(self.per, "per")
        micros = round(seconds * 1_000_000)
        if not 1 <= micros <= _LONGEST_PERIOD * 1_000_000:
            hint = ": leave the rate out for any number of jobs" if not micros else ""
            raise UsageError(f"per must be from 0.000001 seconds to 366 days, not {shown(self.per)}{hint}")
        object.__setattr__(self, "per", micros / 1_000_000)
        if self.burst is None:
            object.__setattr__(self, "burst", -(-self.count * _DEFAULT_BURST // micros))
        elif type(self.burst) is int and self.burst == 0:
            raise UsageError(
                "burst must be 1 or more, or no job could ever start: to start none, pause the queue instead: "
                "client.pause(name)"
            )
        elif type(self.burst) is not int or self.burst < 1:
            raise UsageError(f"burst must be a whole number of 1 or more, not {shown(self.burst)}")
        if self.tokens * self.token_cost > _MOST_UNITS:
            most = _MOST_UNITS // self.token_cost
            raise UsageError(
                f"burst must be at most {most} with {self.count} jobs per {self.seconds:g} s, because more cannot be "
                f"counted exactly, not {shown(self.burst)}"
            )

    @property
    def seconds(self) -> float:
        """The time of ``count`` jobs, seconds."""
        assert isinstance(self.per, float)
        return self.per

    @property
    def tokens(self) -> int:
        """The most tokens that there are at once."""
        assert self.burst is not None
        return self.burst

    @property
    def _micros(self) -> int:
        return round(self.seconds * 1_000_000)

    @property
    def units_per_microsecond(self) -> int:
        """How many units come each microsecond. A token is a whole number of units, see :attr:`token_cost`."""
        return self.count // math.gcd(self.count, self._micros)

    @property
    def token_cost(self) -> int:
        """How many units a token is."""
        return self._micros // math.gcd(self.count, self._micros)

    @property
    def label(self) -> str:
        """The rate in words, such as ``100 per 60 s``."""
        return f"{self.count:,} per {f'{self.seconds:.6f}'.rstrip('0').rstrip('.')} s"

    def __str__(self) -> str:
        """Return ``COUNT/SECONDS/BURST``, as it is in Redis."""
        return f"{self.count}/{f'{self.seconds:.6f}'.rstrip('0').rstrip('.')}/{self.tokens}"

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Return the rate of a text ``COUNT/SECONDS`` or ``COUNT/SECONDS/BURST``.

        :raises UsageError: when the text is not a rate.
        """
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise UsageError(f"a rate must be COUNT/SECONDS or COUNT/SECONDS/BURST, such as 100/60, not {shown(text)}")
        return cls(int(found[1]), float(found[2]), None if found[3] is None else int(found[3]))


def check_rate(rate: object) -> None:
    """Check that a value is a rate, or ``None`` for none.

    :raises UsageError: when it is not.
    """
    if rate is not None and not isinstance(rate, Rate):
        raise UsageError(f"rate must be a Rate, such as Rate(100, per=60), or None, not {shown(rate)}")
