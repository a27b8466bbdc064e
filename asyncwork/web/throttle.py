"""Rate limits for password attempts and for the log lines of rejected requests."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

# Wrong passwords from one address, and from all addresses together, before further attempts are delayed.
_FREE_FAILURES = 5
_FREE_FAILURES_OVERALL = 100
# After that, seconds between two attempts from one address, and from all unknown clients together.
_INTERVAL = 1.0
_INTERVAL_OVERALL = 0.1
# Maximum delay of an attempt, seconds.
_MAX_DELAY = 5.0
# Seconds after the last wrong password until the failures are forgotten.
_FORGET_AFTER = 600.0
# Maximum number of addresses whose failures are kept.
_MAX_ADDRESSES = 10_000
# Lifetime of the token of a client that gave the right password, seconds.
TOKEN_LIFETIME = 12 * 3_600

# Maximum number of rejections that are logged per interval, and its length in seconds.
_MAX_LINES = 20
_LOG_INTERVAL = 60.0

Monotonic = Callable[[], float]


@dataclass(slots=True)
class _Attempts:
    """Password attempts from one address, or from all of them.

    :ivar failures: the number of recent failures.
    :ivar last_failure: when the last one happened.
    :ivar next_attempt_at: when the last of the waiting attempts is made.
    """

    failures: int = 0
    last_failure: float = -math.inf
    next_attempt_at: float = -math.inf

    def record_failure(self, now: float) -> None:
        if now - self.last_failure > _FORGET_AFTER:
            self.failures = 0
        self.failures += 1
        self.last_failure = now

    def delay(self, now: float, free_failures: int, interval: float) -> float:
        """Return the delay of an attempt in seconds; infinity when too many are waiting already."""
        if self.failures < free_failures or now - self.last_failure > _FORGET_AFTER:
            return 0.0
        at = max(now, self.next_attempt_at) + interval
        if at - now > _MAX_DELAY:
            return math.inf
        self.next_attempt_at = at
        return at - now


class PasswordThrottle:
    """Delays password attempts after too many wrong ones.

    The delay comes before the check, so it does not reveal whether the password is right. A client that gave the right
    password gets a token and is not delayed any more. An attacker therefore slows down only new clients, mostly those
    at its own address.
    """

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._by_address: dict[str, _Attempts] = {}
        self._overall = _Attempts()

    def delay(self, address: str) -> float:
        """Return the delay of an attempt from an address in seconds; infinity to reject it for now."""
        now = self._clock()
        attempts = self._by_address.get(_network(address))
        delay = 0.0 if attempts is None else attempts.delay(now, _FREE_FAILURES, _INTERVAL)
        if delay == math.inf:
            return delay
        # Attempts from elsewhere must not lock out a user at an address without failures.
        return max(delay, min(_MAX_DELAY, self._overall.delay(now, _FREE_FAILURES_OVERALL, _INTERVAL_OVERALL)))

    def record_failure(self, address: str) -> None:
        """Record a wrong password from an address."""
        now, network = self._clock(), _network(address)
        attempts = self._by_address.pop(network, None) or _Attempts()
        while len(self._by_address) >= _MAX_ADDRESSES:
            self._by_address.pop(next(iter(self._by_address)))
        self._by_address[network] = attempts
        attempts.record_failure(now)
        self._overall.record_failure(now)

    def issue_token(self) -> str:
        """Return a token for a client that gave the right password."""
        expires = str(int(self._clock()) + TOKEN_LIFETIME)
        return f"{expires}.{self._sign(expires)}"

    def is_valid_token(self, token: str) -> bool:
        """Return whether this process issued the token and it has not expired."""
        expires, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._sign(expires).encode()):
            return False
        return int(expires) > self._clock()

    def _sign(self, expires: str) -> str:
        return hashlib.blake2b(expires.encode("utf-8", "replace"), key=self._key, digest_size=20).hexdigest()


def _network(address: str) -> str:
    """Return the key under which an address is counted. For IPv6 it is the /64 network, which one customer has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class LogLimit:
    """Limits the log lines per minute, so that clients cannot fill the log."""

    def __init__(self, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._interval_start = -math.inf
        self._lines = 0

    def acquire(self) -> tuple[bool, int]:
        """Return whether a line may be logged, and how many lines were suppressed since the last report of them."""
        now, suppressed = self._clock(), 0
        if now - self._interval_start > _LOG_INTERVAL:
            suppressed = max(0, self._lines - _MAX_LINES)
            self._interval_start, self._lines = now, 0
        self._lines += 1
        return self._lines <= _MAX_LINES, suppressed
