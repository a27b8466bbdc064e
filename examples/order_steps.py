"""Orders that are charged, approved by a person, shipped and confirmed, as durable steps: nothing is done twice.

    asyncwork run examples.order_steps:pool
    asyncwork enqueue fulfil '{"order": 7, "address": "a@example.com"}' -n my_app
    asyncwork job ID -n my_app                                # waits for the event 'approved'
    asyncwork jobs signal ID approved '{"by": "ada", "yes": true}' -n my_app

Stop the pool at any moment, or have a step fail: the next attempt goes on where the last one was.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from asyncwork import EventTimeout, Job, WorkerPool

pool = WorkerPool(namespace=os.environ.get("ASYNCWORK_NAMESPACE", "my_app"))

# Seconds until the customer is asked how it was.
ASK_AFTER = timedelta(seconds=float(os.environ.get("ASK_AFTER", "10")))

# A payment service, with the payments that it has taken by idempotency key. It charges once for each.
payments: dict[str, int] = {}


@dataclass
class Receipt:
    """The answer of the payment service."""

    number: int
    cents: int


@dataclass
class Approval:
    """The value of the event ``approved``."""

    by: str
    yes: bool


async def charge(order: int, *, idempotency_key: str) -> Receipt:
    await asyncio.sleep(0.1)
    number = payments.setdefault(idempotency_key, len(payments) + 1)
    print(f"charged order {order}: receipt {number}")
    return Receipt(number, 100 * order)


async def refund(receipt: Receipt) -> None:
    print(f"refunded receipt {receipt.number}")


def ship(order: int) -> str:
    print(f"shipped order {order}")
    return f"parcel-{order}"


async def email(address: str, text: str) -> None:
    print(f"to {address}: {text}")


@pool.job(max_fails=10)
async def fulfil(job: Job, order: int, address: str) -> None:
    # If the process dies after the charge and before its record, the service sees the same key again.
    receipt = await job.step("charge", charge, order, idempotency_key=job.key("charge"))
    if not await is_approved(job):
        await job.step("refund", refund, receipt)
        await job.step("decline", email, address, "your order was declined")
        return
    parcel, _ = await asyncio.gather(
        job.step("ship", ship, order), job.step("confirm", email, address, f"thank you for {receipt.cents / 100:.2f}")
    )
    await job.sleep("until it has arrived", ASK_AFTER)
    await job.step("ask", email, address, f"has {parcel} arrived?")


async def is_approved(job: Job) -> bool:
    try:
        approval = await job.event("approved", Approval, timeout=timedelta(days=3))
    except EventTimeout:
        return False
    print(f"approved by {approval.by}" if approval.yes else f"declined by {approval.by}")
    return approval.yes
