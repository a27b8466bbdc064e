"""Reads and changes the tenants of fair queues, for the client."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

from .._jobs.location import check_location, queue_location
from .._jobs.names import Named, name_of
from .._jobs.option_checks import check_maximum
from .._jobs.printable import shown
from .._jobs.tenants import tenant_text
from .._redis.fair_queues import FairQueues, TenantState
from .._redis.namespace import Namespace
from ..errors import UsageError
from ..models.queues import FairQueue, Tenant
from ..rate import Rate
from .job_records import JobReaders

# The least and the greatest weight of a tenant.
_LIGHTEST, _HEAVIEST = 0.01, 100
# How a tenant with a confidential name is shown.
_KEYED = re.compile(r"tenant:[0-9a-f]{12}")


class Tenants:
    """The tenants of the fair queues of a namespace.

    With a redaction, each is shown, and may be given, by a digest of its name, which is a value of the jobs' arguments.
    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError for a queue that
    is not fair.
    """

    def __init__(self, namespace: Namespace, readers: JobReaders) -> None:
        self._redis = namespace.redis
        self._queues = FairQueues(namespace)
        self._readers = readers

    async def read(self, queue: str | Named) -> FairQueue:
        """Return a fair queue with its tenants."""
        name, now = _checked(queue), await self._redis.now()
        state = await self._queues.read(name)
        if state is None:
            raise _not_fair(name)
        key = await self._key()
        tenants = [_shown(each, key, now) for each in state.tenants]
        tenants.sort(key=lambda each: (-each.latency, -each.waiting, -each.running, each.name))
        options = state.options
        return FairQueue(name, options.concurrency, options.most, options.ordered, tenants, options.rate)

    async def change(
        self,
        queue: str | Named,
        partition: str | int,
        *,
        concurrency: int | Literal["default"] | None = None,
        weight: float | None = None,
        paused: bool | None = None,
        rate: Rate | Literal["default", "none"] | None = None,
    ) -> None:
        """Change what is not ``None`` of a tenant.

        :raises UsageError: also when a value is not valid.
        """
        name, tenant = _checked(queue), tenant_text(partition, "partition")
        if concurrency is not None and concurrency != "default":
            check_maximum(concurrency, "concurrency")
        if weight is not None and (
            isinstance(weight, bool) or not isinstance(weight, (int, float)) or not _LIGHTEST <= weight <= _HEAVIEST
        ):
            raise UsageError(f"weight must be a number from {_LIGHTEST} to {_HEAVIEST}, not {shown(weight)}")
        if rate not in (None, "default", "none") and not isinstance(rate, Rate):
            raise UsageError(f'rate must be a Rate, such as Rate(10, per=1), "none" or "default", not {shown(rate)}')
        limit = "" if concurrency is None else "-" if concurrency == "default" else str(concurrency)
        changed = await self._queues.set_tenant(
            name,
            await self._name_of(name, tenant),
            limit=limit,
            weight="" if weight is None else f"{weight:g}",
            paused="" if paused is None else str(int(paused)),
            rate="" if rate is None else "-" if rate == "default" else str(rate),
        )
        if not changed:
            raise _not_fair(name)

    async def _key(self) -> bytes:
        """Return the key of the digests by which tenants are shown; empty if they are shown by their names."""
        return await self._readers.digest_key.read() if self._readers.redaction else b""

    async def _name_of(self, queue: str, tenant: str) -> str:
        """Return the name of a tenant that may be given by its digest."""
        key = await self._key()
        if not key or not _KEYED.fullmatch(tenant):
            return tenant
        state = await self._queues.read(queue)
        names = [each.name for each in (state.tenants if state else []) if _keyed(each.name, key) == tenant]
        if not names:
            raise UsageError(f"queue {shown(queue)} has no tenant {tenant} now: read its tenants again")
        return names[0]


def _checked(queue: str | Named) -> str:
    name = name_of(queue)
    check_location(queue_location(name))
    return name


def _not_fair(name: str) -> UsageError:
    return UsageError(
        f"queue {shown(name)} has no tenants: start a pool that registers its jobs with partition=…, or check the name"
    )


def _keyed(name: str, key: bytes) -> str:
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), key=key, digest_size=6)
    return f"tenant:{digest.hexdigest()}" if name else ""


def _shown(state: TenantState, key: bytes, now: float) -> Tenant:
    return Tenant(
        _keyed(state.name, key) if key else state.name,
        state.waiting,
        state.running,
        max(0, int(now) - state.oldest) if state.oldest else 0,
        state.limit,
        state.weight,
        state.paused,
        state.held,
        state.retry_of,
        state.rate,
        state.opens_in,
        state.rests,
    )
