"""``asyncwork pools``: shows the worker pools, and asks them to be quiet, to run again or to stop."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import socket
import time

from .._jobs.printable import printable
from ..client import Client
from ..errors import UsageError
from ..models.pools import Heartbeat
from . import settings, streams
from .errors import FAILED
from .summary import duration
from .usage.pools import ALL, check

_OUTCOMES = {"quiet": "asked to be quiet", "unquiet": "asked to run again", "stop": "asked to stop"}


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
    return asyncio.run(_ask(client, options.action, options.pool, who))


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
    return (
        f"{printable(pool.pool_id)}  {printable(pool.state) or 'running'}  {pool.concurrency} workers  "
        f"{printable(pool.host)} process {pool.pid}  heartbeat {ago} ago  {runner}{version}"
    )


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
    }


async def _ask(client: Client, action: str, pool_id: str, who: str) -> int:
    async with client:
        ask = {"quiet": client.quiet_pool, "unquiet": client.unquiet_pool, "stop": client.stop_pool}[action]
        ids = [each.pool_id for each in await client.heartbeats()] if pool_id == ALL else [pool_id]
        lines, failed = [], False
        for each in ids:
            try:
                await ask(each, who=who)
            except UsageError as error:
                lines.append(f"not {_OUTCOMES[action]}: {error}")
                failed = True
            else:
                lines.append(f"pool {printable(each)} is {_OUTCOMES[action]}")
    streams.print_result("\n".join(lines) or "no pools", "the pools were asked")
    return FAILED if failed else 0


def _user() -> str:
    """Return the user and the host, as far as they are known."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
