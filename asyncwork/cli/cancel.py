"""``asyncwork cancel``: cancels one job."""

from __future__ import annotations

import argparse
import asyncio

from ..client import Client
from ..models.actions import CancelResult
from . import settings, streams
from .errors import FAILED

_TEXTS = {
    CancelResult.NOW: "is cancelled: it was waiting, and is deleted",
    CancelResult.ASKED: "is asked to end: it runs, or will not start",
    CancelResult.GONE: "is gone: it has ended, or never was in this namespace",
}


def cancel(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when the id or an option is invalid.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    url, namespace = settings.redis_options(options)
    result = asyncio.run(_cancel(Client(url, namespace=namespace), options.id, options.reason))
    line = f"job {options.id} {_TEXTS[result]}"
    streams.print_result(line, line.partition(":")[0])
    return FAILED if result is CancelResult.GONE else 0


async def _cancel(client: Client, job_id: str, reason: str) -> CancelResult:
    async with client:
        return await client.cancel(job_id, reason)
