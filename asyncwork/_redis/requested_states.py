"""The states that operators request of pools: to be quiet, to run again, to stop.

A request is a field of the pool's heartbeat. So it ends with that, and no other pool reads it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from .._json import codec
from ..errors import PayloadError
from .client import run_script
from .namespace import Namespace

RUNNING, QUIET, STOPPING = "running", "quiet", "stopping"
# The field of the heartbeat; the script that writes it and the one that reads it name it too.
_FIELD = "requested"
# How a request to stop begins.
_STOP = b'{"state":"stopping",'


class RequestReply(IntEnum):
    """What became of a request."""

    NO_POOL = 0
    WRITTEN = 1
    NOT_TAKEN = 2
    STOPPING = 3


@dataclass(frozen=True, slots=True)
class StateRequest:
    """A request that a pool be in another state.

    :ivar state: ``running``, ``quiet`` or ``stopping``.
    :ivar who: the user who has requested it; empty if that was not given.
    """

    state: str
    who: str = ""

    def encode(self) -> bytes:
        """Return the request as JSON, with the time: a repeated request differs from the first."""
        return b'{"state":"%b","by":%b,"at":%.6f}' % (
            self.state.encode(),
            codec.encode_string(self.who),
            time.time(),
        )

    @classmethod
    def decode(cls, raw: bytes) -> StateRequest | None:
        """Return a request; ``None`` when it cannot be read."""
        try:
            fields = codec.decode(raw)
        except PayloadError:
            return None
        found = fields if isinstance(fields, Mapping) else {}
        state, who = found.get("state"), found.get("by")
        return cls(state, who if isinstance(who, str) else "") if state in (RUNNING, QUIET, STOPPING) else None


class RequestedStates:
    """The requests of one namespace. Every method raises RedisError or OSError when Redis refuses or cannot be
    reached.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys

    async def write(self, pool_id: str, request: StateRequest) -> RequestReply:
        """Request a state of a pool; return what became of that."""
        keys = [self._keys.heartbeat(pool_id)]
        return RequestReply(await run_script(self._redis.client(), "request_state", keys, [request.encode(), _STOP]))

    async def read(self, pool_id: str) -> bytes | None:
        """Return the last request to a pool, as it is in Redis; ``None`` when there is none."""
        raw: bytes | None = await self._redis.client().hget(self._keys.heartbeat(pool_id), _FIELD)
        return raw
