"""Rules for Redis itself: problems in what the server reports. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..models.diagnosis import Problem
from .heartbeats import MAX_SKEW

# Share of `maxmemory` and of `maxclients` above which they are nearly used up.
_NEARLY_FULL = 0.9


def server_problems(info: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems that the fields of INFO show."""
    policy = info.get("maxmemory_policy", "noeviction")
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    clients, max_clients = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    if policy != "noeviction":
        when = "when its memory is full" if limit else "if maxmemory is ever set"
        yield Problem(
            "eviction",
            "",
            f"Redis may evict jobs {when}: its maxmemory-policy is {policy}",
            "CONFIG SET maxmemory-policy noeviction, and set it in the configuration file",
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    if info.get("role") == "slave":
        yield Problem(
            "replica",
            "",
            "this Redis is a replica and refuses writes, so that no job can be enqueued or fetched here",
            f"use the address of its master, {info.get('master_host')}:{info.get('master_port')}, or make it a master",
            "redis-cli INFO replication",
        )
    if limit and used > _NEARLY_FULL * limit:
        yield Problem(
            "memory",
            "",
            f"Redis uses {100 * used // limit} % of its maxmemory; when it is full, no job can be enqueued",
            "raise maxmemory, or delete jobs that are no longer needed",
            "redis-cli INFO memory",
        )
    if max_clients and clients > _NEARLY_FULL * max_clients:
        yield Problem(
            "clients",
            "",
            f"{clients} of the {max_clients} connections that Redis allows are in use; when all are, no pool can start",
            "raise maxclients, or find the program that opens so many connections",
            "redis-cli CLIENT LIST",
        )
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Problem(
            "persistence",
            "",
            "Redis failed to write its data to disk the last time; if it stops now, jobs are lost",
            "check its log; the disk may be full",
            "redis-cli INFO persistence",
        )


def persistence(info: Mapping[str, Any], settings: Mapping[str, str] | None) -> str:
    """Return how the server persists its data, in words."""
    if info.get("aof_enabled"):
        return "append-only file"
    if not info or settings is None:
        return "unknown"
    return f"snapshots (save {settings['save']})" if settings.get("save") else "none"


def no_persistence(info: Mapping[str, Any], settings: Mapping[str, str] | None) -> Iterator[Problem]:
    """Yield the problem that Redis keeps its data in memory only."""
    if persistence(info, settings) == "none":
        yield Problem(
            "persistence",
            "",
            "Redis writes no data to disk, neither an append-only file nor snapshots; if it stops, all jobs are lost",
            "set appendonly yes, now and in the configuration file",
            "redis-cli CONFIG SET appendonly yes",
        )


def unknown_persistence(info: Mapping[str, Any], settings: Mapping[str, str] | None) -> Iterator[Problem]:
    """Yield a note when this user may not read whether Redis persists its data."""
    if persistence(info, settings) == "unknown":
        what = "snapshots of its data" if info else "its data"
        yield Problem(
            "persistence",
            "",
            f"this Redis user may not read whether Redis writes {what} to disk",
            "check the configuration of the server, or ask its provider",
        )


def own_clock(ahead: float) -> Iterator[Problem]:
    """Yield the problem that this machine's clock is ``ahead`` seconds ahead of Redis's."""
    if abs(ahead) > MAX_SKEW:
        yield clock_skew(
            "", f"this machine's clock is {skew(ahead)}", "; jobs that it enqueues for later run at the wrong time"
        )


def clock_skew(subject: str, text: str, effect: str = "") -> Problem:
    """Return the problem of a wrong clock."""
    return Problem(
        "clock_skew",
        subject,
        text + effect,
        "let both machines follow a time server (chrony, systemd-timesyncd)",
        "timedatectl set-ntp true",
    )


def skew(ahead: float) -> str:
    """Return in words how far a clock is ahead of Redis's, or behind."""
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} Redis's"
