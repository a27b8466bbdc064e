"""The names of the keys of fair queues."""

from __future__ import annotations

from collections.abc import Callable

# How the keys begin after the prefix of the namespace, and the types of their values.
FAIR_KINDS = (
    ("tenants:options:", "string"),
    ("tenants:ring:", "zset"),
    ("tenants:running:", "hash"),
    ("tenants:held:", "set"),
    ("tenants:order:", "hash"),
    ("tenants:settings:", "hash"),
    ("tenants:bell:", "list"),
    ("tenants:opens:", "zset"),
    ("tenants:rests:", "zset"),
    ("tenants:waiting:", "string"),
    ("tenants:tokens:", "string"),
    ("tenants:list:", "list"),
)


class FairKeys:
    """The keys of the fair queues of one namespace.

    :param prefix: of every key of the namespace.
    :param queue: returns the key of a queue.
    """

    def __init__(self, prefix: str, queue: Callable[[str], str]) -> None:
        self._start = f"{prefix}tenants:"
        self._queue = queue

    def options(self, name: str) -> str:
        """The options that the pools have declared for a fair queue, as a text."""
        return f"{self._start}options:{name}"

    def ring(self, name: str) -> str:
        """The sorted set of the tenants with jobs that may start, by turn."""
        return f"{self._start}ring:{name}"

    def running(self, name: str) -> str:
        """The hash of how many jobs of each tenant run."""
        return f"{self._start}running:{name}"

    def held(self, name: str) -> str:
        """The set of the tenants whose jobs wait, and may not start."""
        return f"{self._start}held:{name}"

    def order(self, name: str) -> str:
        """The hash of the jobs whose retries are waited for, by tenant of ordered jobs."""
        return f"{self._start}order:{name}"

    def settings(self, name: str) -> str:
        """The hash of what was set for single tenants."""
        return f"{self._start}settings:{name}"

    def bell(self, name: str) -> str:
        """The list on which idle pools block."""
        return f"{self._start}bell:{name}"

    def opens(self, name: str) -> str:
        """The sorted set of the tenants that wait for a token or rest, by the time at which they may go on."""
        return f"{self._start}opens:{name}"

    def rests(self, name: str) -> str:
        """The sorted set of the tenants that rest, by the end of that."""
        return f"{self._start}rests:{name}"

    def waiting(self, name: str) -> str:
        """How many jobs of named tenants wait, as long as that is limited."""
        return f"{self._start}waiting:{name}"

    def tokens(self, name: str) -> str:
        """How the keys begin that hold the taken tokens of a tenant each."""
        return f"{self._start}tokens:{len(name.encode(errors='surrogateescape'))}:{name}:"

    def list(self, name: str, tenant: str) -> str:
        """The waiting jobs of a tenant. Those of the tenant without a name are in the queue itself."""
        return self.lists(name) + tenant if tenant else self._queue(name)

    def lists(self, name: str) -> str:
        """How the keys of tenants' lists begin. By the length of the queue's name, each belongs to one queue only."""
        return f"{self._start}list:{len(name.encode(errors='surrogateescape'))}:{name}:"

    def of(self, name: str) -> tuple[str, ...]:
        """The keys of a fair queue, in the order in which scripts get them."""
        states = (self.options, self.ring, self.running, self.held, self.order, self.settings, self.bell)
        waits = (self.opens, self.rests, self.waiting, self.tokens)
        return (self._queue(name), *(make(name) for make in (*states, *waits, self.lists)))

    def read_list(self, key: str) -> tuple[str, str] | None:
        """Return the queue and the tenant of a key that :meth:`list` has made; ``None`` for another key."""
        start = f"{self._start}list:"
        size, _, rest = key.removeprefix(start).partition(":")
        if not key.startswith(start) or not (size.isascii() and size.isdigit() and len(size) < 10):
            return None
        raw, end = rest.encode(errors="surrogateescape"), int(size)
        if raw[end : end + 1] != b":":
            return None
        name, tenant = raw[:end], raw[end + 1 :]
        return name.decode(errors="surrogateescape"), tenant.decode(errors="surrogateescape")
