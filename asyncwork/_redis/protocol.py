"""RESP, Redis's protocol: commands as bytes, and the values in replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Decimal digits of a number that surely fits 64 bits.
_MOST_DIGITS = 18


def pack(*parts: bytes) -> bytes:
    """Return the parts as bulk strings: ``$length CRLF bytes CRLF`` each."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def command(*parts: bytes) -> bytes:
    """Return a whole command: an array of bulk strings."""
    return b"*%d\r\n%b" % (len(parts), pack(*parts))


def command_of_packed(parts: Sequence[bytes], packed: Sequence[bytes]) -> bytes:
    """Return a whole command that ends with parts which are packed already, each as :func:`pack` does."""
    return b"".join((b"*%d\r\n" % (len(parts) + len(packed)), pack(*parts), *packed))


def unpack(packed: bytes) -> bytes:
    """Return the part that :func:`pack` has packed alone."""
    return packed[packed.index(b"\n") + 1 : -2]


def script_call(head: bytes, keys: int, packed_keys: bytes, args: Sequence[bytes]) -> bytes:
    """Return a whole call of a script.

    :param head: the packed command name, script, and number of keys.
    :param keys: number of keys, which are packed already.
    """
    return b"*%d\r\n%b%b%b" % (3 + keys + len(args), head, packed_keys, pack(*args))


def encode(text: str) -> bytes:
    """Return text as bytes; the reverse of :func:`decode`."""
    return text.encode(errors="surrogateescape")


def decode(raw: bytes) -> str:
    """Return bytes as text from which :func:`encode` makes the same bytes, even if they are not UTF-8."""
    return raw.decode(errors="surrogateescape")


def read_count(reply: Any) -> int | None:
    """Return a count that Redis holds: 0 when it is missing, ``None`` when it is not a number of 64 bits."""
    if reply is None:
        return 0
    if isinstance(reply, bytes) and len(reply) > _MOST_DIGITS:
        return None
    try:
        return int(reply)
    except (TypeError, ValueError):
        return None


def value_of(reply: Any) -> Any:
    """Return a reply that is not an error.

    :raises RedisError: the reply, when it is an error.
    """
    if isinstance(reply, Exception):
        raise reply
    return reply
