"""Ask a starting server whether it is ready."""

from __future__ import annotations

import contextlib
import socket

_TIMEOUT = 0.25  # seconds; the server may be busy reading its data


def ping(unix_socket: str, password: str | None) -> bytes:
    """Return the line that a server replies to PING, or nothing when it does not reply."""
    requests = ["PING"] if password is None else [f"AUTH {password}", "PING"]
    replies = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.settimeout(_TIMEOUT)
        connection.connect(unix_socket)
        connection.sendall("".join(f"{request}\r\n" for request in requests).encode())
        while replies.count(b"\n") < len(requests):
            received = connection.recv(1024)
            if not received:
                return b""
            replies += received
        return replies.splitlines()[-1]
    return b""
