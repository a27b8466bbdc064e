"""The messages of a child to its parent: JSON objects, one in a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# The report that a child sends once a second. It has at least `pid`, `pool_id`, `state` (starting, running, quiet or
# stopping), `jobs` (attempts that have ended) and `memory` (bytes). If the parent serves the health of its children,
# there is `process` too: the report for that.
ProcessReport = dict[str, Any]

# The states in which a child has started to serve.
SERVING = ("running", "quiet")

# The environment variables by which the parent passes to a child its number and the descriptors of the link and of the
# pipe for stacks; and the URL of a Redis that the parent has started.
CHILD = "ASYNCWORK_CHILD"
CHILD_REDIS = "ASYNCWORK_CHILD_REDIS"


@dataclass(frozen=True, slots=True)
class PoolAddress:
    """Where a child's pool is registered. It contains the password of Redis, so it is in no report.

    :ivar heartbeat: seconds between two heartbeats.
    """

    pool_id: str
    url: str
    namespace: str
    heartbeat: float


def encode(kind: str, fields: Mapping[str, Any]) -> bytes:
    """Return the line of a message."""
    return json.dumps({"kind": kind, "fields": fields}, default=str).encode() + b"\n"


def encode_address(address: PoolAddress) -> bytes:
    """Return the line of the message that says where a child's pool is registered."""
    return encode("pool", asdict(address))


def decode(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return the kind and the fields of a message; an empty kind for a line that is not a message.

    A child that dies may have written half a line.
    """
    try:
        message = json.loads(line)
        kind, fields = message["kind"], message["fields"]
    except (ValueError, TypeError, KeyError):
        return "", {}
    return (kind, fields) if isinstance(kind, str) and isinstance(fields, dict) else ("", {})


def report_interval(heartbeat: float) -> float:
    """Return the seconds between two reports of a child.

    :param heartbeat: seconds between two heartbeats of its pool.
    """
    return min(1.0, heartbeat / 2)
