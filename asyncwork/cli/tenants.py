"""``asyncwork queues tenants`` and ``queues tenant``: show the tenants of a fair queue, and change one."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Literal, NamedTuple

from .._environment import number
from .._jobs.option_checks import check_maximum
from .._jobs.printable import plural, printable
from ..client import Client
from ..errors import UsageError
from ..models.queues import Tenant
from ..rate import Rate
from . import json_text, settings
from .session import Session
from .table import Column, Row, table
from .times import brief

_COLUMNS = (
    Column("TENANT", shrinks=True),
    Column("WAITING", right=True),
    Column("RUNNING", right=True),
    Column("LIMIT", right=True),
    Column("RATE", right=True),
    Column("WEIGHT", right=True),
    Column("LATENCY", right=True),
    Column("STATE", shrinks=True),
)


class TenantChange(NamedTuple):
    """The changes of a tenant that a command line gives; ``None`` leaves a value as it is."""

    concurrency: int | Literal["default"] | None
    weight: float | None
    paused: bool | None
    rate: Rate | Literal["default", "none"] | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be changed."""
        return self == (None, None, None, None)


def read_change(options: argparse.Namespace) -> TenantChange:
    """Return the changes of a command line.

    :raises UsageError: when an option is not valid.
    """
    limit = options.concurrency
    return TenantChange(
        None if limit is None else settings.read("--concurrency", limit, _limit),
        None if options.weight is None else settings.read("--weight", options.weight, _weight),
        True if options.pause else False if options.unpause else None,
        None if options.rate is None else settings.read("--rate", options.rate, _rate),
    )


def _rate(text: str) -> Rate | Literal["default", "none"]:
    match text:
        case "default" | "none":
            return text
    return Rate.parse(text)


def _limit(text: str) -> int | Literal["default"]:
    if text == "default":
        return "default"
    limit = number(text, int, "a whole number, or the word default")
    check_maximum(limit, "it")
    return limit


def _weight(text: str) -> float:
    return number(text, float, "a number from 0.01 to 100")


def names_of_tenant(names: list[str], change: TenantChange) -> tuple[list[str], str]:
    """Return the queue and the tenant of ``queues tenant``.

    :raises UsageError: when these are not two names, or nothing is to be changed.
    """
    if len(names) != 2:
        raise UsageError(
            "tenant needs the names of a queue and of a tenant: asyncwork queues tenant export acme --pause"
        )
    if change.is_empty:
        raise UsageError(
            "say what to change of the tenant: --pause, --unpause, --concurrency N, --rate RATE or --weight W"
        )
    return names[:1], names[1]


async def show_tenants(session: Session, client: Client, name: str, *, as_document: bool) -> list[str]:
    """Return the lines about a fair queue and its tenants."""
    queue = await client.tenants(name)
    if as_document:
        fields = asdict(queue)
        tenants = [json_text.object_text(each) for each in fields.pop("tenants")]
        return [json_text.document_text({**session.target, "queue": fields}, tenants=tenants)]
    limits = [
        "the jobs of each tenant run one after the other"
        if queue.ordered
        else f"at most {plural(queue.concurrency, 'job')} of each tenant at once"
        if queue.concurrency
        else "any number of jobs of each tenant at once"
    ]
    if queue.rate:
        limits.append(f"at most {queue.rate_label} of each start")
    if queue.max_waiting:
        limits.append(f"at most {queue.max_waiting:,} waiting")
    lines = [f"queue {printable(queue.name)}: {plural(len(queue.tenants), 'tenant')}; {', '.join(limits)}"]
    if queue.tenants:
        rows = [Row(_texts(each), "yellow" if each.paused else "") for each in queue.tenants]
        lines += table(_COLUMNS, rows, session.width, colors=session.colors)
    return lines


def _texts(tenant: Tenant) -> list[str]:
    return [
        tenant.name or "(none)",
        f"{tenant.waiting:,}",
        f"{tenant.running:,}",
        f"{tenant.concurrency:,}" if tenant.concurrency else "-",
        tenant.rate or "-",
        f"{tenant.weight:g}",
        brief(tenant.latency) if tenant.waiting else "-",
        state_of(tenant),
    ]


def state_of(tenant: Tenant) -> str:
    """Return why none of a tenant's waiting jobs may start, in a word or two; empty if one may."""
    if tenant.paused:
        return "paused"
    if tenant.retry_of:
        return "waits for a retry"
    if tenant.opens_in is not None:
        return "rests" if tenant.rests else "waits for a token"
    return "at its limit" if tenant.held else ""


async def change_tenant(client: Client, name: str, tenant: str, change: TenantChange) -> str:
    """Change a tenant; return the line that says so."""
    if (change.concurrency, change.weight, change.rate) != (None, None, None):
        await client.set_partition(name, tenant, concurrency=change.concurrency, weight=change.weight, rate=change.rate)
    if change.paused is not None:
        await (client.pause_partition if change.paused else client.unpause_partition)(name, tenant)
    queue = await client.tenants(name)
    ordered, done = ", but ordered jobs one after the other" if queue.ordered else "", list[str]()
    if change.concurrency is not None:
        done.append(
            "has the limit of the queue"
            if change.concurrency == "default"
            else f"runs at most {plural(change.concurrency, 'job')} at once, over all pools{ordered}"
            if change.concurrency
            else f"runs any number of jobs at once{ordered}"
        )
    if change.rate is not None:
        done.append(
            "has the rate of the queue"
            if change.rate == "default"
            else "starts any number of jobs"
            if change.rate == "none"
            else f"starts at most {change.rate.label}, over all pools"
        )
    if change.weight is not None:
        done.append(f"has weight {change.weight:g}")
    if change.paused is not None:
        done.append("is paused" if change.paused else "is not paused")
    # It may be misspelled.
    has_jobs = any(each.name == tenant and (each.waiting or each.running) for each in queue.tenants)
    nothing = "" if has_jobs else "; no job of it waits or runs"
    return f"tenant {printable(tenant) or '(none)'} of queue {printable(name)} {', '.join(done)}{nothing}"
