"""``asyncwork pools``: shows the worker pools, and asks them to be quiet, to run again, to stop, or to run another
number of jobs at once.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import socket
import time
from dataclasses import asdict

from .._jobs.printable import plural, printable
from ..client import Client
from ..errors import UsageError
from ..models.pools import Heartbeat, PoolRequest
from . import settings, streams
from .errors import FAILED
from .times import duration
from .usage.pools import ALL, check

_OUTCOMES = {
    "quiet": "asked to be quiet",
    "unquiet": "asked to run again",
    "resize": "asked to run {} at once",
    "stop": "asked to stop",
}


def pools(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid.
    :raises RedisUnavailable: when Redis refuses, or cannot be reached.
    :raises OutputError: when standard output cannot be written.
    """
    check(options)
    url, namespace = settings.redis_options(options)
    client = Client(url, namespace=namespace)
    if options.action == "ls":
        return asyncio.run(_list(client, as_json=options.json))
    who = options.who if options.who is not None else _user()
    return asyncio.run(_ask(client, options.action, options.pool, who, options.number or 0))


async def _list(client: Client, *, as_json: bool) -> int:
    async with client:
        found = await client.heartbeats()
    if as_json:
        text = json.dumps([_fields(each) for each in found])
    else:
        now = time.time()
        text = "\n".join(_line(each, now) for each in found) or "no pools"
    streams.print_result(text, "the pools were read")
    return 0


def _line(pool: Heartbeat, now: float) -> str:
    ago = duration(max(0, round(now - pool.heartbeat_at)))
    runner = printable(pool.runner) if pool.runner else "gocraft/work, takes no requests"
    version = f"  {printable(pool.version_label)}" if pool.version_label else ""
    requests = "".join(f"\n    {_pending(each)}" for each in pool.requests)
    return (
        f"{printable(pool.pool_id)}  {printable(pool.state) or 'running'}  {pool.concurrency} workers  "
        f"{printable(pool.host)} process {pool.pid}  heartbeat {ago} ago  {runner}{version}{requests}"
    )


def _pending(request: PoolRequest) -> str:
    """Return a line on a request that the pool has not followed yet, or never will."""
    if request.unreadable:
        return f"ignores a request that cannot be read: {printable(request.unreadable)}"
    wanted = request.state or f"{plural(request.concurrency, 'job')} at once"
    by = f" by {printable(request.who)}" if request.who else ""
    return f"requested{by}: {wanted}, {plural(request.heartbeats, 'heartbeat')} ago"


def _fields(pool: Heartbeat) -> dict[str, object]:
    return {
        "pool_id": pool.pool_id,
        "state": pool.state,
        "concurrency": pool.concurrency,
        "host": pool.host,
        "pid": pool.pid,
        "runner": pool.runner,
        "version_label": pool.version_label,
        "started_at": pool.started_at,
        "heartbeat_at": pool.heartbeat_at,
        "takes_requests": pool.takes_requests,
        "looks_ahead": pool.looks_ahead,
        "requests": [asdict(each) for each in pool.requests],
    }


async def _ask(client: Client, action: str, pool_id: str, who: str, size: int) -> int:
    outcome = _OUTCOMES[action].format(plural(size, "job"))
    async with client:
        ids = [each.pool_id for each in await client.heartbeats()] if pool_id == ALL else [pool_id]
        lines, failed = [], False
        for each in ids:
            try:
                await _send(client, action, each, who, size)
            except UsageError as error:
                lines.append(f"not {outcome}: {error}")
                failed = True
            else:
                lines.append(f"pool {printable(each)} is {outcome}")
    streams.print_result("\n".join(lines) or "no pools", "the pools were asked")
    return FAILED if failed else 0


async def _send(client: Client, action: str, pool_id: str, who: str, size: int) -> None:
    match action:
        case "quiet":
            await client.quiet_pool(pool_id, who=who)
        case "unquiet":
            await client.unquiet_pool(pool_id, who=who)
        case "resize":
            await client.resize_pool(pool_id, size, who=who)
        case "stop":
            await client.stop_pool(pool_id, who=who)


def _user() -> str:
    """Return the user and the host, as far as they are known."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
