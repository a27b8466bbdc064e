"""The keys of a namespace, as far as the doctor checks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .._redis.key_scan import scan_namespace
from .._redis.namespace import Namespace
from .._redis.protocol import decode
from .commands import STEP, send


@dataclass(slots=True)
class NamespaceKeys:
    """The result of a scan of the key space.

    :ivar queues: job names that occur in keys.
    :ivar holders: by queue, the pools that have an in-progress list of it.
    :ivar unique_keys: the keys that keep jobs unique; ``None`` when there are more than were asked for.
    :ivar records: the records of jobs; ``None`` when there are more than were asked for.
    :ivar streams: the streams of jobs; likewise.
    :ivar steps: what is recorded of the steps of jobs; likewise.
    :ivar holds: the keys that jobs hold until they have ended, up to the number that was asked for.
    :ivar rates: the job names for which it is written how many tokens of their rate are taken.
    :ivar wrong_types: by key of a wrong type, the type of its value and the type that it must have.
    """

    queues: set[str] = field(default_factory=set)
    holders: dict[str, set[str]] = field(default_factory=dict)
    unique_keys: list[str] | None = field(default_factory=list)
    records: list[str] | None = field(default_factory=list)
    streams: list[str] | None = field(default_factory=list)
    steps: list[str] | None = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    rates: list[str] = field(default_factory=list)
    wrong_types: dict[str, tuple[str, str]] = field(default_factory=dict)


async def read_keys(namespace: Namespace, most: int) -> NamespaceKeys:
    """Scan the key space in steps for the keys of a namespace, without those of namespaces nested in it.

    :param most: how many unique keys, records, streams and steps to gather at most, of each.
    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    keys, found = namespace.keys, NamespaceKeys()
    starts = keys.unique, keys.job_record(""), keys.stream(""), keys.steps(""), keys.holds
    gathered: dict[str, list[str]] = {start: [] for start in starts}
    typed: list[str] = []
    async for key in scan_namespace(namespace):
        if keys.kind(key):
            typed.append(key)
            if len(typed) >= STEP:
                found.wrong_types |= await wrong_types(namespace, typed)
                typed = []
        if start := next((each for each in gathered if key.startswith(each)), ""):
            if len(gathered[start]) <= most:
                gathered[start].append(key)
        elif key.startswith(keys.rate("")):
            found.rates.append(key.removeprefix(keys.rate("")))
        elif (part := keys.read_queue_key(key)) is not None and part.name:
            found.queues.add(part.name)
            if part.role == "inprogress":
                found.holders.setdefault(part.name, set()).add(part.pool_id)
    found.wrong_types |= await wrong_types(namespace, typed)
    found.holds = gathered.pop(keys.holds)
    found.unique_keys, found.records, found.streams, found.steps = (
        each if len(each) <= most else None for each in gathered.values()
    )
    return found


async def wrong_types(namespace: Namespace, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the keys of a wrong type among ``names``: the type of its value and the type that it must have.

    :raises RedisError, OSError: when Redis refuses or cannot be reached.
    """
    replies = await send(namespace.redis, [("TYPE", key) for key in names])
    kinds = (
        (key, decode(reply) if isinstance(reply, bytes) else str(reply), namespace.keys.kind(key))
        for key, reply in zip(names, replies, strict=True)
    )
    return {key: (kind, wanted) for key, kind, wanted in kinds if kind not in (wanted, "none")}
