"""Slows down those who try passwords, and the log lines that refused requests cause."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

# Wrong passwords from one address, and from all together, before tries have to wait.
_FREE = 5
_FREE_OVERALL = 100
# Seconds from one try to the next of an address, and of all unknown clients together, after that.
_PACE = 1.0
_PACE_OVERALL = 0.1
# Seconds that a try waits at most.
_LONGEST = 5.0
# Seconds after the last wrong password for which it is remembered.
_REMEMBERED = 600.0
# Addresses that are remembered.
_MOST_ADDRESSES = 10_000
# Seconds for which a client that gave the right password is known.
KNOWN_FOR = 12 * 3_600

# Refusals that are logged in a span of so many seconds.
_MOST_LINES = 20
_SPAN = 60.0

Monotonic = Callable[[], float]


@dataclass(slots=True)
class _Pace:
    """The tries of one address, or of all.

    :ivar failures: how many failed lately.
    :ivar last: when the last one did.
    :ivar turn: when the latest try that waits has its turn.
    """

    failures: int = 0
    last: float = -math.inf
    turn: float = -math.inf

    def failed(self, now: float) -> None:
        if now - self.last > _REMEMBERED:
            self.failures = 0
        self.failures += 1
        self.last = now

    def wait(self, now: float, free: int, pace: float) -> float:
        """Return how many seconds a try has to wait for its turn; infinity when too many wait before it."""
        if self.failures < free or now - self.last > _REMEMBERED:
            return 0.0
        turn = max(now, self.turn) + pace
        if turn - now > _LONGEST:
            return math.inf
        self.turn = turn
        return turn - now


class Throttle:
    """Decides how long a try of a password waits before it is judged, right or wrong.

    Whoever waits cannot tell from the delay what the answer will be. A client that has given the right password gets a
    token, and waits no more: so an attacker slows down only clients that are new, at its own address most of all.
    """

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._by_address: dict[str, _Pace] = {}
        self._overall = _Pace()

    def wait(self, address: str) -> float:
        """Return how many seconds a try from an address has to wait; infinity when it must come again later."""
        now = self._clock()
        pace = self._by_address.get(_network(address))
        wait = 0.0 if pace is None else pace.wait(now, _FREE, _PACE)
        if wait == math.inf:
            return wait
        # A right user at an address without failures must get in, however many others try.
        return max(wait, min(_LONGEST, self._overall.wait(now, _FREE_OVERALL, _PACE_OVERALL)))

    def failed(self, address: str) -> None:
        """Note a wrong password from an address."""
        now, network = self._clock(), _network(address)
        pace = self._by_address.pop(network, None) or _Pace()
        while len(self._by_address) >= _MOST_ADDRESSES:
            self._by_address.pop(next(iter(self._by_address)))
        self._by_address[network] = pace
        pace.failed(now)
        self._overall.failed(now)

    def token(self) -> str:
        """Return a token for a client that gave the right password."""
        expires = str(int(self._clock()) + KNOWN_FOR)
        return f"{expires}.{self._sign(expires)}"

    def knows(self, token: str) -> bool:
        """Tell whether a client has a token of this process that has not expired."""
        expires, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign(expires).encode()):
            return False
        return int(expires) > self._clock()

    def _sign(self, expires: str) -> str:
        return hashlib.blake2b(expires.encode("utf-8", "replace"), key=self._key, digest_size=20).hexdigest()


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6, the network that one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class LineLimit:
    """Lets through some log lines a minute, so that nobody can fill the log."""

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._began = -math.inf
        self._lines = 0

    def admit(self) -> tuple[bool, int]:
        """Tell whether a line may be written, and how many before it were not, which has not been told yet."""
        now, left_out = self._clock(), 0
        if now - self._began > _SPAN:
            left_out = max(0, self._lines - _MOST_LINES)
            self._began, self._lines = now, 0
        self._lines += 1
        return self._lines <= _MOST_LINES, left_out
