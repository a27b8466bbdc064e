"""The Lua scripts: read from their files, called by their SHA-1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from .protocol import pack, script_call

_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
# Included by other scripts, not called themselves.
_FRAGMENTS = frozenset(
    {
        "add_attempt",
        "add_run",
        "allow_when_oom",
        "batch_of",
        "crashes_of",
        "delete_if_wrong_type",
        "end_record",
        "end_stream",
        "free_hold",
        "max_concurrency",
        "max_waiting",
        "rate",
        "record_duplicate",
        "reopen_record",
        "settle_calls",
        "settle_member",
        "restore_holders",
        "sum_shares",
        "sync_share",
        "take_hold",
        "trim_attempts",
        "unique_owner",
        "write_end",
    }
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
    """Return the packed command that loads a script into Redis."""
    return b"*3\r\n" + pack(b"SCRIPT", b"LOAD", source(name).encode())


@cache
def head(name: str, keys: int, *, with_source: bool = False) -> bytes:
    """Return the packed start of a call: the command name, the script, and the number of keys.

    :param with_source: whether to send the script itself, to a Redis that does not have it.
    """
    if with_source:
        return pack(b"EVAL", source(name).encode(), b"%d" % keys)
    return pack(b"EVALSHA", digest(name), b"%d" % keys)


def call(name: str, keys: int, packed_keys: bytes, args: Sequence[bytes], *, with_source: bool = False) -> bytes:
    """Return a whole call of a script, whose keys are packed already."""
    return script_call(head(name, keys, with_source=with_source), keys, packed_keys, args)
