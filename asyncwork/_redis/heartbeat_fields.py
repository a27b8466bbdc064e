"""A heartbeat as fields of its hash: gocraft/work's, and asyncwork's own, which Go ignores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from .._json import codec
from ..errors import ArgumentEncodingError, PayloadError
from ..models.periodic import PeriodicState
from ..models.pools import Heartbeat, IgnoredArgument, PoolRequest
from .pool_requests import BEATS, FIELDS, decode

# An integer that surely fits 64 bits.
_INTEGER = re.compile(rb"-?[0-9]{1,18}")
# Epoch seconds of a request.
_TIME = re.compile(r"[0-9]{1,11}\.[0-9]{6}")


def write(heartbeat: Heartbeat) -> dict[str, bytes | int | str]:
    """Return a heartbeat as fields, but for those that pools write at other times."""
    ignored: dict[str, bytes] = {}
    if heartbeat.ignored:
        rows = [[each.job_name, each.argument, each.count] for each in heartbeat.ignored]
        ignored["ignored"] = codec.encode_args({"rows": rows})
    return {
        "heartbeat_at": heartbeat.heartbeat_at,
        "started_at": heartbeat.started_at,
        "job_names": ",".join(heartbeat.job_names),
        "concurrency": heartbeat.concurrency,
        "worker_ids": ",".join(heartbeat.worker_ids),
        "host": heartbeat.host,
        "pid": heartbeat.pid,
        "runner": heartbeat.runner,
        "state": heartbeat.state,
        **({"takes_requests": 1} if heartbeat.takes_requests else {}),
        **({"version_label": heartbeat.version_label} if heartbeat.version_label else {}),
        "periodic": b"[%b]" % b",".join(map(_write_periodic, heartbeat.periodic)),
        **({"followed": ",".join(map(_write_time, heartbeat.followed))} if heartbeat.followed else {}),
        **({} if heartbeat.streams is None else {"streams": ",".join(heartbeat.streams)}),
        **ignored,
    }


def read(pool_id: str, fields: Mapping[bytes, bytes]) -> Heartbeat:
    """Return the heartbeat in these fields; missing and malformed ones become 0 or empty."""
    followed = _text(fields.get(b"followed")).split(",")
    return Heartbeat(
        pool_id=pool_id,
        heartbeat_at=_integer(fields.get(b"heartbeat_at")),
        started_at=_integer(fields.get(b"started_at")),
        job_names=_split(fields.get(b"job_names")),
        concurrency=_integer(fields.get(b"concurrency")),
        worker_ids=_split(fields.get(b"worker_ids")),
        host=_text(fields.get(b"host")),
        pid=_integer(fields.get(b"pid")),
        runner=_text(fields.get(b"runner")),
        state=_text(fields.get(b"state")),
        periodic=_read_periodic(fields.get(b"periodic")),
        ignored=_read_ignored(fields.get(b"ignored")),
        takes_requests=fields.get(b"takes_requests") == b"1",
        looks_ahead=b"looks_ahead" in fields,
        version_label=_text(fields.get(b"version_label")),
        streams=_split(fields[b"streams"]) if b"streams" in fields else None,
        followed=tuple(map(float, filter(_TIME.fullmatch, followed))),
        requests=tuple(
            each for each in _read_requests(fields) if each.unreadable or _write_time(each.at) not in followed
        ),
    )


def _read_requests(fields: Mapping[bytes, bytes]) -> Iterator[PoolRequest]:
    for field in FIELDS:
        if (raw := fields.get(field.encode())) is not None:
            since = _integer(fields.get(b"beats")) - _integer(fields.get(f"{field}{BEATS}".encode()))
            yield replace(decode(raw, field), heartbeats=max(0, since))


def _write_time(seconds: float) -> str:
    """Return a time as it is in requests."""
    return f"{seconds:.6f}"


def _write_periodic(state: PeriodicState) -> bytes:
    texts = (codec.encode_string(text) for text in (state.name, state.spec, state.key))
    upcoming = b"null" if state.next is None else b"%d" % state.next
    return b'{"name":%b,"spec":%b,"key":%b,"args":%b,"next":%b}' % (*texts, state.args, upcoming)


def _read_periodic(raw: bytes | None) -> tuple[PeriodicState, ...]:
    try:
        items = codec.decode(raw or b"[]")
        return tuple(_state(item) for item in items) if isinstance(items, list) else ()
    except (PayloadError, ArgumentEncodingError, KeyError, TypeError):
        return ()


def _read_ignored(raw: bytes | None) -> tuple[IgnoredArgument, ...]:
    try:
        rows = codec.decode(raw or b'{"rows":[]}')["rows"]
        return tuple(
            IgnoredArgument(name, argument, count) for name, argument, count in rows if _is_row(name, argument, count)
        )
    except (PayloadError, KeyError, TypeError, ValueError):
        return ()


def _is_row(name: object, argument: object, count: object) -> bool:
    return type(name) is str and type(argument) is str and type(count) is int and 0 < count < 2**53


def _state(item: Any) -> PeriodicState:
    name, spec, key, upcoming = item["name"], item["spec"], item["key"], item["next"]
    if not (isinstance(name, str) and isinstance(spec, str) and isinstance(key, str)):
        raise TypeError("not a periodic job")
    valid = type(upcoming) is int and _INTEGER.fullmatch(b"%d" % upcoming)
    return PeriodicState(name, spec, key, codec.encode_args(item["args"]), upcoming if valid else None)


def _integer(raw: bytes | None) -> int:
    return int(raw) if raw and _INTEGER.fullmatch(raw) else 0


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")


def _split(raw: bytes | None) -> tuple[str, ...]:
    return tuple(sorted(filter(None, _text(raw).split(","))))


def is_of_go(heartbeat: Heartbeat) -> bool:
    """Return whether a pool of gocraft/work has written a heartbeat. It does not write which program runs it."""
    return bool(heartbeat.heartbeat_at and not heartbeat.runner)
