"""Fair queues, whose tenants take turns: which there are, their options, and the state of their tenants.

``TenantState`` has more than ten fields, because each is one column of what is shown of a tenant.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .._jobs.location import JobSet, queue_name
from .._json import codec
from ..errors import PayloadError
from ..job import Job
from .client import run_script
from .errors import ErrorReply, is_wrong_type
from .key_scan import scan_keys
from .namespace import Namespace
from .protocol import decode
from .slices import slices

# Seconds for which the names of the fair queues are remembered. A job that is put into the plain list of a new one
# meanwhile gets to its tenant all the same.
_REMEMBERED = 1.0
# Fields of each tenant in the reply of `read_tenants`.
_FIELDS = 12
# Tenants that are read in one step.
_SLICE = 500
# An id in a payload, maybe of an argument.
_ID = re.compile(rb'"id"\s*:\s*"((?:[^"\\]|\\.)*)"')
# Members that one step of a scan returns.
_STEP = 1000
# The last field of a new job, as scripts look for it, and the most bytes that it has.
_PARTITION = re.compile(rb',"partition":"([^"\\]*)"}\Z')
_LONGEST_END = 220


class FairOptions(NamedTuple):
    """The options of a fair queue, as a pool declares them.

    :ivar concurrency: how many jobs of each tenant may run at once; 0 for any number.
    :ivar most: how many jobs of each tenant may wait; 0 for any number.
    :ivar ordered: whether the jobs of each tenant run one after the other.
    :ivar rate: how many jobs of each tenant may start within a time, as ``COUNT/SECONDS/BURST``; empty for any number.
    """

    concurrency: int
    most: int
    ordered: bool
    rate: str = ""

    @property
    def text(self) -> str:
        """How it is written to Redis."""
        return f"{self.concurrency} {self.most} {self.ordered:d} {self.rate}".rstrip()


class TenantState(NamedTuple):
    """A tenant of a fair queue.

    :ivar limit: how many of its jobs may run at once; 0 for any number.
    :ivar turn: ``None`` if it has none, because nothing waits or it is held.
    :ivar held: whether jobs wait, and may not start.
    :ivar retry_of: the id of the job whose retry it waits for; empty if there is none.
    :ivar oldest: when its next job was enqueued, epoch seconds; 0 if none waits.
    :ivar rate: how many of its jobs may start within a time, as ``COUNT/SECONDS/BURST``; empty for any number.
    :ivar opens_in: seconds until its next token comes, or its rest ends; ``None`` if it waits for neither.
    :ivar rests: whether it rests, because a job of it was rate limited.
    """

    name: str
    waiting: int
    running: int
    limit: int
    weight: float
    paused: bool
    turn: float | None
    held: bool
    retry_of: str
    oldest: int
    rate: str
    opens_in: float | None
    rests: bool


class FairState(NamedTuple):
    """A fair queue, with tenants of it.

    :ivar counted: how many jobs of named tenants are counted as waiting; ``None`` if they are not counted, because no
        enqueue limits them.
    """

    options: FairOptions
    tenants: list[TenantState]
    counted: int | None = None


class FairQueues:
    """The fair queues of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._names: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    async def names(self) -> frozenset[str]:
        """Return the names of the fair queues, as of the last second; none when their key holds another type."""
        now = time.monotonic()
        if now - self._read_at > _REMEMBERED:
            try:
                self._names = frozenset(map(decode, await self._redis.client().smembers(self._keys.fair_queues)))
            except ErrorReply as error:
                if not is_wrong_type(error):
                    raise
                self._names = frozenset()
            self._read_at = now
        return self._names

    async def keys_of(self, names: Iterable[str]) -> list[tuple[str, ...]]:
        """Return the keys of those of these queues that are fair, for the scripts that move their jobs."""
        fair = await self.names()
        return [self._keys.tenants.of(name) for name in names if name in fair] if fair else []

    async def keys_at(self, location: str, payloads: Sequence[bytes]) -> list[tuple[str, ...]]:
        """Return the keys of those fair queues whose jobs may be among these payloads of a location."""
        if name := queue_name(location):
            return await self.keys_of([name])
        return await self.keys_of(sorted({tenanted_name(payload) for payload in payloads} - {""}))

    async def declare(self, options: Mapping[str, FairOptions]) -> None:
        """Write the options of fair queues, and apply them to the tenants that there are."""
        for name, each in options.items():
            client = self._redis.client()
            await client.sadd(self._keys.fair_queues, name)
            await client.set(self._keys.tenants.options(name), each.text)
            await self.review(name)

    async def restore(self, options: Mapping[str, FairOptions]) -> None:
        """Write the options of fair queues that Redis does not know any more."""
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for name, each in options.items():
                pipe.sadd(self._keys.fair_queues, name)
                pipe.set(self._keys.tenants.options(name), each.text, nx=True)
            for reply in await pipe.execute(raise_on_error=False):
                # A key of another type is for the doctor.
                if isinstance(reply, Exception) and not is_wrong_type(reply):
                    raise reply

    async def review(self, name: str, gone: Sequence[tuple[str, str]] = (), tenants: Iterable[str] = ()) -> int:
        """Compute what is derived of a fair queue; return how many tenants it was wrong for.

        :param gone: tenants, each with the id of the job whose retry it waits for, and which is gone.
        :param tenants: others that may have jobs.
        """
        return await self._review(name, gone, tenants, corrects=True)

    async def wrong(self, name: str) -> int:
        """Return for how many tenants of a fair queue what is derived is wrong."""
        return await self._review(name, (), await self.listed(name), corrects=False)

    async def _review(
        self, name: str, gone: Sequence[tuple[str, str]], tenants: Iterable[str], *, corrects: bool
    ) -> int:
        keys = [self._keys.worker_pools, self._keys.lock_info(name)]
        args = [int(corrects), len(gone), *(part for each in gone for part in each), *tenants]
        return int(
            await run_script(self._redis.client(), "review_tenants", keys, args, fair=[self._keys.tenants.of(name)])
        )

    async def listed(self, name: str) -> set[str]:
        """Search the whole key space, in steps, for the lists of a fair queue's tenants; return their names."""
        start = self._keys.tenants.lists(name)
        return {key.removeprefix(start) async for key in scan_keys(self._redis, start)}

    async def orders(self, name: str) -> dict[str, str]:
        """Return, by tenant, the id of the job whose retry it waits for."""
        try:
            found = await self._redis.client().hgetall(self._keys.tenants.order(name))
        except ErrorReply as error:
            if not is_wrong_type(error):
                raise
            return {}
        return {decode(tenant): decode(job_id) for tenant, job_id in found.items()}

    async def delayed(self, job_ids: Collection[str]) -> set[str]:
        """Return which of these jobs are in the retry or scheduled set. An id counts even as an argument there."""
        wanted, found = frozenset(job_ids), set[str]()
        for job_set in (JobSet.RETRY, JobSet.SCHEDULED):
            async for member, _ in self._redis.client().zscan_iter(getattr(self._keys, job_set.value), count=_STEP):
                # By each id that it may have, because both sets may be large, and many tenants may wait.
                found |= wanted.intersection(map(_unescaped, _ID.findall(member)))
        return found

    async def forget(self, name: str) -> bool:
        """Make a fair queue a plain one, unless jobs of it wait or run; return whether it is one now."""
        keys = [self._keys.fair_queues]
        return bool(
            await run_script(self._redis.client(), "forget_tenants", keys, [name], fair=[self._keys.tenants.of(name)])
        )

    async def set_tenant(
        self, name: str, tenant: str, *, limit: str = "", weight: str = "", paused: str = "", rate: str = ""
    ) -> bool:
        """Change settings of a tenant, those that are not empty; return whether the queue is fair.

        :param limit: ``-`` for that of the queue.
        :param paused: ``0`` also ends its rest.
        :param rate: ``-`` for that of the queue, ``none`` for any number of jobs.
        """
        args = [tenant, limit, weight, paused, rate]
        reply = await run_script(self._redis.client(), "set_tenant", [], args, fair=[self._keys.tenants.of(name)])
        return bool(reply != 0)

    async def read(self, name: str, *, waiting: bool = False) -> FairState | None:
        """Return the state of a fair queue, with the tenants that have jobs or settings of their own; ``None`` if it is
        not fair.

        :param waiting: whether only the tenants whose jobs wait are wanted.
        """
        fair = [self._keys.tenants.of(name)]
        reply = await run_script(self._redis.client(), "list_tenants", [], [int(waiting)], fair=fair)
        text, names, counted = reply
        if not text:
            return None
        number = int(counted) if re.fullmatch(rb"-?\d{1,18}", counted) else None
        return FairState(_options(text), await self.tenants(name, names), number)

    async def tenants(self, name: str, tenants: Sequence[bytes]) -> list[TenantState]:
        """Return the states of tenants of a fair queue."""
        found: list[TenantState] = []
        for some in slices(tenants, _SLICE):
            reply = await run_script(self._redis.client(), "read_tenants", [], some, fair=[self._keys.tenants.of(name)])
            rows = slices(reply, _FIELDS)
            found += (_tenant(each, fields) for each, fields in zip(some, rows, strict=True))
        return found


def tenant_of(payload: bytes) -> str:
    """Return the tenant of a waiting job; empty for none, and for what is not a job."""
    if (last := _PARTITION.search(payload, max(0, len(payload) - _LONGEST_END))) is not None:
        # A new job, which need not be decoded.
        return decode(last[1])
    job = _tenanted_job(payload)
    return "" if job is None else job.partition


def tenanted_name(payload: bytes) -> str:
    """Return the name of a job that belongs to a tenant; empty for another one."""
    job = _tenanted_job(payload)
    return "" if job is None else job.name


def _tenanted_job(payload: bytes) -> Job | None:
    # Most payloads need not be decoded.
    if b'"partition"' not in payload:
        return None
    try:
        return Job.decode(payload)
    except PayloadError:
        return None


def _unescaped(raw: bytes) -> str:
    """Return the text of a JSON string without its quotes."""
    if b"\\" not in raw:
        return decode(raw)
    try:
        return str(codec.decode(b'"%b"' % raw))
    except PayloadError:
        return ""


def _options(text: bytes) -> FairOptions:
    found = re.fullmatch(rb"(\d{1,10}) (\d{1,10}) ([01])(?: (\d+/[\d.]+/\d+))?", text)
    if found is None:
        return FairOptions(0, 0, ordered=False)
    return FairOptions(int(found[1]), int(found[2]), found[3] == b"1", decode(found[4] or b""))


def _tenant(name: bytes, fields: Sequence[Any]) -> TenantState:
    waiting, running, limit, weight, paused, turn, held, retry_of, oldest, rate, opens_us, rests = fields
    return TenantState(
        decode(name),
        waiting,
        running,
        limit,
        float(weight),
        paused == 1,
        float(turn) if turn else None,
        held == 1,
        decode(retry_of),
        int(oldest) if oldest else 0,
        decode(rate),
        opens_us / 1_000_000 if opens_us >= 0 else None,
        rests == 1,
    )
