"""Rules for the rates of queues, and for shared limits. Pure functions, which read nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .._jobs.printable import printable, shown
from .._redis.rates import QueueRate
from ..models.diagnosis import Problem
from .wording import REPAIR, listed

# Seconds by which a state may be ahead of Redis's clock, in case the clock was set back.
_FAR = 60.0
_STATE = re.compile(rb"\d{1,16} (\d{1,16}) [1-9]\d{0,15}")


@dataclass(frozen=True, slots=True)
class RatesReading:
    """The rates of a namespace.

    :ivar rates: by job name.
    :ivar limits: by field of the hash of shared limits, the texts that cannot be read.
    :ivar states: what is written about the tokens that are taken, by job name; empty for a key of another type.
    """

    rates: Mapping[str, QueueRate] = field(default_factory=dict)
    states: Mapping[str, bytes] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    def invalid_states(self, names: Collection[str], now: float) -> list[str]:
        """Return the job names of states that no script has written, that are far in the future, or that no queue has.

        :param names: the registered job names.
        :param now: Redis's clock, epoch seconds.
        """
        return sorted(
            name for name, state in self.states.items() if state and (name not in names or not is_state(state, now))
        )

    def invalid_rates(self) -> list[str]:
        """Return the job names whose rates cannot be read."""
        return sorted(name for name, each in self.rates.items() if each.invalid)


def is_state(state: bytes, now: float) -> bool:
    """Return whether a state is as scripts write it, and not far in the future."""
    found = _STATE.fullmatch(state)
    return found is not None and int(found[1]) <= (now + _FAR) * 1_000_000


def rate_problems(reading: RatesReading, states: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems of rates.

    :param states: the job names of invalid states.
    """
    for name in reading.invalid_rates():
        texts = ", ".join(map(shown, reading.rates[name].invalid))
        yield Problem(
            "bad_rate",
            name,
            f"the rate of {printable(name)} cannot be read ({texts}), so it has no effect",
            "let the doctor remove it, and set it again; pools announce the rate of their code again",
            REPAIR,
        )
    for each, text in sorted(reading.limits.items()):
        yield Problem(
            "bad_limit",
            each,
            f"the field {printable(each)} of the shared limits cannot be read ({shown(text)}), so it has no effect",
            "let the doctor remove it, and set the limit again; pools announce those of their code again",
            REPAIR,
        )
    if states:
        queues = "1 queue" if len(states) == 1 else f"{len(states)} queues"
        yield Problem(
            "bad_rate_state",
            "",
            f"the state of the rate of {queues} cannot be read, is far in the future, or is that of a queue that does "
            f"not exist ({listed(states)})",
            "let the doctor remove it; another program has written it, or Redis's clock was wrong",
            REPAIR,
        )
