"""The Lua scripts: read from their files, sent by their SHA-1."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from .protocol import pack

_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
# Shared by others, not called by itself.
_FRAGMENTS = frozenset(
    {"allow_when_oom", "delete_if_wrong_type", "record_duplicate", "sum_shares", "sync_share", "unique_owner"}
)


@cache
def names() -> tuple[str, ...]:
    """Return the names of all scripts that can be called."""
    found = (entry.name.removesuffix(".lua") for entry in (files(__package__) / "lua").iterdir())
    return tuple(sorted(name for name in found if name not in _FRAGMENTS))


@cache
def source(name: str) -> str:
    """Return the text of a script, with what it includes in place."""
    text = (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda match: source(match[1]).rstrip("\n"), text)


@cache
def digest(name: str) -> bytes:
    """Return the SHA-1 by which Redis knows a script, 40 hex digits."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest().encode()


def load_command(name: str) -> bytes:
    """Return the packed command that tells Redis a script."""
    return b"*3\r\n" + pack(b"SCRIPT", b"LOAD", source(name).encode())


@cache
def _head(name: str, keys: int, with_text: bool) -> bytes:
    if with_text:
        return pack(b"EVAL", source(name).encode(), b"%d" % keys)
    return pack(b"EVALSHA", digest(name), b"%d" % keys)


def call(name: str, keys: int, packed_keys: bytes, args: int, packed_args: bytes, *, with_text: bool = False) -> bytes:
    """Return a packed call of a script, its keys and arguments packed already.

    :param with_text: whether to tell Redis its text, for a Redis that does not know it.
    """
    return b"*%d\r\n%b%b%b" % (3 + keys + args, _head(name, keys, with_text), packed_keys, packed_args)
