"""Settings of redis-py that every connection has, for asyncio and blocking ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Seconds.
CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 10.0

SETTINGS: Mapping[str, Any] = {
    "protocol": 2,
    "decode_responses": False,
    # So that a name that another program wrote, in bytes that are not UTF-8, leads to the same keys.
    "encoding_errors": "surrogateescape",
    "socket_connect_timeout": CONNECT_TIMEOUT,
    "health_check_interval": 0,
    # Saves two commands whenever a connection is made.
    "driver_info": None,
}
