"""The requests of operators to pools: to be quiet, to run again, to stop, and to run another number of jobs at once.

A request is a field of the pool's heartbeat. So it ends with that, and no other pool reads it. The requests for a state
and for a concurrency are in fields of their own, because both hold.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum
from typing import NamedTuple

from .._jobs.printable import shown
from .._json import codec
from ..errors import PayloadError
from ..models.pools import PoolRequest
from ..options import MOST_WORKERS
from .client import run_script
from .namespace import Namespace

RUNNING, QUIET, STOPPING = "running", "quiet", "stopping"
# The fields of the heartbeat; the script that returns them to the pool names them too. Each has a second field, which
# says how many heartbeats the pool had written when the request was made.
FIELDS = _STATE, _CONCURRENCY = "requested", "requested_concurrency"
BEATS = "_beats"
# How a request to stop begins.
_STOP = b'{"state":"stopping",'
# Epoch seconds beyond which a time is none.
_LATEST = 1e11


class RequestReply(IntEnum):
    """The result of a request."""

    NO_POOL = 0
    WRITTEN = 1
    NOT_TAKEN = 2
    STOPPING = 3


class WrittenRequests(NamedTuple):
    """The last requests to a pool, as they are in Redis; ``None`` where there is none.

    :ivar state: for a state.
    :ivar concurrency: for a concurrency.
    """

    state: bytes | None = None
    concurrency: bytes | None = None

    def decode(self) -> list[PoolRequest]:
        """Return the requests, also those that cannot be read."""
        return [decode(raw, field) for field, raw in zip(FIELDS, self, strict=True) if raw is not None]


def encode(request: PoolRequest) -> bytes:
    """Return a request as JSON, with the time: a repeated request differs from the first."""
    wanted = b'"state":"%b"' % request.state.encode() if request.state else b'"concurrency":%d' % request.concurrency
    return b'{%b,"by":%b,"at":%.6f}' % (wanted, codec.encode_string(request.who), time.time())


def decode(raw: bytes, field: str) -> PoolRequest:
    """Return the request that one of :data:`FIELDS` holds. One that cannot be read has that as ``unreadable``."""
    try:
        fields = codec.decode(raw)
    except PayloadError:
        fields = None
    found = fields if isinstance(fields, Mapping) else {}
    who, at = found.get("by"), found.get("at")
    request = PoolRequest(
        who=who if isinstance(who, str) else "",
        at=at if type(at) is float and 0 < at < _LATEST else 0.0,
    )
    state, concurrency = found.get("state"), found.get("concurrency")
    if field == _STATE and state in (RUNNING, QUIET, STOPPING):
        return replace(request, state=state)
    if field == _CONCURRENCY and type(concurrency) is int and 1 <= concurrency <= MOST_WORKERS:
        return replace(request, concurrency=concurrency)
    return replace(request, unreadable=shown(raw))


class PoolRequests:
    """The requests to the pools of one namespace. Every method raises RedisError or OSError when Redis refuses or
    cannot be reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def write(self, pool_id: str, request: PoolRequest) -> RequestReply:
        """Write a request to a pool; return what became of that."""
        keys, field = [self._keys.heartbeat(pool_id)], _STATE if request.state else _CONCURRENCY
        args = [encode(request), field, _STOP]
        return RequestReply(await run_script(self._redis.client(), "request_state", keys, args))

    async def read(self, pool_id: str) -> WrittenRequests:
        """Return the last requests to a pool."""
        return WrittenRequests(*await self._redis.client().hmget(self._keys.heartbeat(pool_id), list(FIELDS)))
