"""Addresses that servers listen on."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

# Seconds between two log lines about connections that cannot be accepted.
_LOG_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Host and port that a server listens on."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Parse ``HOST:PORT``; an IPv6 host needs brackets.

        :raises UsageError: when the text has another form.
        """
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        bare = host[1:-1] if bracketed else host
        if not colon or not bare or (":" in bare) != bracketed:
            raise UsageError(
                f"{text!r} is not HOST:PORT; write 127.0.0.1:5040, [::1]:5040, or 0.0.0.0:5040 for all addresses"
            )
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise UsageError(f"port must be a number from 0 to 65535, not {port!r}")
        return cls(bare, int(port))

    def resolve(self) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
        """Return the family and the address of its socket.

        :raises OSError: when the host is unknown.
        """
        candidates = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # localhost has two addresses, and every client tries the IPv4 one.
        family, *_, address = min(candidates, key=lambda each: each[0] != socket.AF_INET)
        return family, address

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def open_listener(family: socket.AddressFamily, address: tuple[Any, ...], backlog: int) -> socket.socket:
    """Return a listening socket. Clients can connect at once.

    :raises OSError: when it cannot be bound; ``errno.EADDRINUSE`` when another program uses the address.
    """
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener


def throttle_accept_errors(loop: asyncio.AbstractEventLoop, logger: logging.Logger) -> None:
    """Log one line a minute instead of one each second while connections cannot be accepted for lack of file
    descriptors.
    """
    last = -_LOG_INTERVAL

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal last
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        now = loop.time()
        if now - last >= _LOG_INTERVAL:
            logger.error("failed to accept connections: %s", context.get("exception"))
        last = now

    loop.set_exception_handler(handle)
