"""The Lua scripts: read from their files, called by their SHA-1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from .protocol import pack, script_call

_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
# The start of a packed call by the SHA-1.
_CALL = re.compile(rb"(\*\d+\r\n)" + re.escape(pack(b"EVALSHA")) + rb"\$40\r\n([0-9a-f]{40})\r\n")
# Included by other scripts, not called themselves.
_FRAGMENTS = frozenset(
    {
        "add_attempt",
        "add_run",
        "allow_when_oom",
        "batch_of",
        "count_duplicate",
        "count_nodes",
        "crashes_of",
        "delete_if_wrong_type",
        "end_record",
        "end_stream",
        "fair_list",
        "flow_nodes",
        "forget_steps",
        "free_deleted",
        "free_hold",
        "keep_steps",
        "max_concurrency",
        "max_waiting",
        "rate",
        "record_duplicate",
        "reopen_record",
        "settle_calls",
        "settle_member",
        "restore_holders",
        "shared_limits",
        "sum_shares",
        "sync_share",
        "tenant_chunks",
        "tenant_limits",
        "tenants",
        "take_hold",
        "take_limited",
        "trim_attempts",
        "unique_owner",
        "write_end",
    }
)
# The scripts that have a variant for fair queues, because they move jobs.
VARIANTS = (
    "ack",
    "ack_members",
    "admit",
    "claim",
    "defer",
    "delete_from_set",
    "delete_from_list",
    "delete_members_from_set",
    "delete_members_from_list",
    "drop_cancelled",
    "drop_cancelled_members",
    "end_holder",
    "end_holder_members",
    "end_holders",
    "enqueue_holder",
    "enqueue_unique",
    "fetch",
    "fetch_limited",
    "finish",
    "finish_members",
    "finish_steps",
    "finish_steps_members",
    "free_unique",
    "free_unique_member",
    "move",
    "move_members",
    "quarantine",
    "quarantine_members",
    "reap",
    "requeue",
    "requeue_front",
    "rest_queue",
    "restore_to_set",
    "restore_to_list",
    "retry_nodes",
    "signal",
    "throttle",
)
# How the name of a variant begins.
FAIR = "fair:"
# How the name of a variant begins by which a fetch takes jobs of one tenant for each chunk.
CHUNKS = "chunks:"
# The scripts that have such a variant.
CHUNK_VARIANTS = ("fetch", "fetch_limited")
# Number of the keys of each fair queue.
FAIR_KEYS = 13
# A variant is the script itself, with another `redis`. An error is returned, not raised, so that what was done before
# is counted all the same.
_VARIANT = """\
local script_name = '{name}'
{fragments}
local function script(redis)
{script}
end
local is_done, reply = pcall(script, fair_redis)
settle_tenants()
if is_done and string.sub(script_name, 1, 5) == 'fetch' and not reply.err then
  local found = openings()
  if #found > 0 then reply[5], reply[6] = reply[5] or {{}}, found end
end
if is_done or type(reply) == 'table' then return reply end
return redis.error_reply('ERR ' .. tostring(reply))
"""


@cache
def names() -> tuple[str, ...]:
    """Return the names of all scripts that can be called."""
    found = (entry.name.removesuffix(".lua") for entry in (files(__package__) / "lua").iterdir())
    return tuple(sorted(name for name in found if name not in _FRAGMENTS))


@cache
def source(name: str) -> str:
    """Return the text of a script, or of the variant of one, with what it includes in place."""
    kind, colon, own_name = name.rpartition(":")
    if colon:
        fragments = [source(each) for each in ("fair_list", *_of_variant(kind + colon, own_name))]
        return _VARIANT.format(name=own_name, fragments="\n".join(fragments), script=source(own_name))
    text = (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda match: source(match[1]).rstrip("\n"), text)


def _of_variant(kind: str, name: str) -> Sequence[str]:
    """Return the fragments that the variant of a script has beside the one of all."""
    chunks = ("tenant_chunks",) if kind == CHUNKS else ()
    return (*chunks, "tenant_limits") if name == "fetch_limited" else chunks


@cache
def digest(name: str) -> bytes:
    """Return the SHA-1 by which Redis knows a script, 40 hex digits."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest().encode()


def exists_command(names: Sequence[str]) -> bytes:
    """Return the packed command that asks which of the scripts Redis knows."""
    return b"*%d\r\n" % (2 + len(names)) + pack(b"SCRIPT", b"EXISTS", *map(digest, names))


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


def with_source(packed: bytes) -> bytes:
    """Return a packed command; if it calls a script, as one that sends the script itself, to a Redis that may flush its
    scripts at any moment.
    """
    found = _CALL.match(packed)
    if found is None:
        return packed
    return found[1] + pack(b"EVAL", source(_names_by_digest()[found[2]]).encode()) + packed[found.end() :]


@cache
def _names_by_digest() -> dict[bytes, str]:
    return {digest(name): name for name in (*names(), *variants())}


def variants() -> tuple[str, ...]:
    """Return the names of the variants for fair queues."""
    return (*(FAIR + name for name in VARIANTS), *(CHUNKS + name for name in CHUNK_VARIANTS))


def call(
    name: str,
    keys: int,
    packed_keys: bytes,
    args: Sequence[bytes],
    *,
    fair: bytes = b"",
    queues: int = 1,
    chunks: Sequence[bytes] | None = None,
    with_source: bool = False,
) -> bytes:
    """Return a whole call of a script, whose keys are packed already.

    :param fair: the packed keys of the fair queues whose jobs it moves; empty if there are none.
    :param queues: how many fair queues these are.
    :param chunks: the arguments of a fetch that takes jobs of one tenant for each chunk; ``None`` for another one.
    """
    if fair:
        if chunks is not None:
            name, args = CHUNKS + name, [*args, *chunks]
        elif name in VARIANTS:
            name = FAIR + name
        keys, packed_keys, args = keys + FAIR_KEYS * queues, packed_keys + fair, [*args, b"%d" % queues]
    return script_call(head(name, keys, with_source=with_source), keys, packed_keys, args)
