"""Payloads, in gocraft/work's layout: written for new jobs, and changed without encoding them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from .._json import codec, members
from ..models.enqueued_job import EnqueuedJob
from .ids import make_identifier


def encode_job(
    name: str,
    args: Mapping[str, Any] | None,
    now: int,
    *,
    job_id: str = "",
    run_at: int | None = None,
    unique_key: str = "",
    timeout: float | None = None,
    expires: int | None = None,
    hold: str = "",
    tenant: str | int | None = None,
    cost: int | None = None,
) -> tuple[EnqueuedJob, bytes]:
    """Return a new job and its payload.

    :param now: epoch seconds.
    :param job_id: its id; empty for a new id.
    :param run_at: epoch seconds, for a scheduled job; ``None`` for ``now``.
    :param unique_key: the Redis key that keeps it unique; empty for a job that is not unique.
    :param timeout: its timeout, seconds; 0 for none, and ``None`` for that of its type.
    :param expires: until when it may start, epoch seconds; ``None`` for any time.
    :param hold: what it says of the key that it holds until it has ended; empty if it holds none.
    :param tenant: its tenant in a fair queue; ``None`` or empty for none. It comes last, where scripts look for it.
    :param cost: how many tokens of its limits it takes; ``None`` for what its type says. It comes last, too, but before
        the tenant.
    :raises ArgumentEncodingError: when JSON cannot hold the arguments; the message names the key.
    """
    job_id = job_id or make_identifier()
    job = EnqueuedJob(name, job_id, args, now, now if run_at is None else run_at, bool(unique_key or hold))
    payload = write_payload(name, job_id, now, codec.encode_args(args), unique_key, expires)
    if timeout is not None:
        payload = b'%b,"timeout":%b}' % (payload[:-1], repr(float(timeout)).removesuffix(".0").encode())
    if hold:
        payload = b'%b,"hold":%b}' % (payload[:-1], codec.encode_string(hold))
    if cost is not None:
        payload = b'%b,"cost":%d}' % (payload[:-1], cost)
    return job, with_tenant(payload, str(tenant)) if tenant else payload


def with_tenant(payload: bytes, tenant: str) -> bytes:
    """Return the payload of a new job that belongs to a tenant."""
    return b'%b,"partition":%b}' % (payload[:-1], codec.encode_string(tenant))


def write_payload(
    name: str, job_id: str, t: int, args: bytes, unique_key: str = "", expires: float | None = None
) -> bytes:
    """Return a job's payload in gocraft/work's field order, then ``expires`` if it has one.

    :param args: its arguments as JSON.
    """
    unique = b',"unique":true,"unique_key":%b' % codec.encode_string(unique_key) if unique_key else b""
    more = unique if expires is None else b'%b,"expires":%d' % (unique, expires)
    written_id = codec.encode_string(job_id)
    return b'{"name":%b,"id":%b,"t":%d,"args":%b%b}' % (_encode_name(name), written_id, t, args, more)


# The last fields of the payload of a job with a tenant or a cost.
_LAST = re.compile(rb'(?:,"cost":\d+)?(?:,"partition":"(?:[^"\\]|\\.)*")?}\Z')

_encode_name = lru_cache(maxsize=1024)(codec.encode_string)


# The start of a payload in gocraft/work's field order, up to the end of `t`.
_T = re.compile(rb'(\{"name":"[^"\\]*","id":"[^"\\]*","t":)\d+(?=,)')
# The end of a payload that has failed. The last brace is the payload's own, so these are not members of an argument.
_FAILURE = re.compile(
    rb',"fails":\d+,"err":"(?:[^"\\]|\\.)*","failed_at":\d+(?:,"traceback":"(?:[^"\\]|\\.)*")?\}', re.DOTALL
)


def with_time(payload: bytes, now: int) -> bytes:
    """Return a job's payload with another ``t`` (epoch seconds), which is when it was enqueued.

    Every other byte stays.
    """
    head = _T.match(payload)
    if head is None:
        return members.splice(payload, {"t": b"%d" % now})
    return b"%b%d%b" % (head[1], now, payload[head.end() :])


def with_trace(payload: bytes, traceparent: str) -> bytes:
    """Return the payload of a new job with the W3C ``traceparent`` of the span in which it is enqueued."""
    trace = b',"trace":%b' % codec.encode_string(traceparent)
    last = _LAST.search(payload)
    # The tenant and the cost stay last, where scripts look for them.
    at = last.start() if last else len(payload) - 1
    return payload[:at] + trace + payload[at:]


def with_expiry(payload: bytes, expires: int) -> bytes:
    """Return a job's payload that may start until a time, epoch seconds."""
    return members.splice(payload, {"expires": b"%d" % expires})


def with_hold(payload: bytes, hold: str) -> bytes:
    """Return a job's payload that says which key the job holds until it has ended."""
    return members.splice(payload, {"hold": codec.encode_string(hold)})


def without_failures(payload: bytes, now: int) -> bytes:
    """Return a job's payload without its failures, enqueued ``now`` (epoch seconds), which may start at any time."""
    start = payload.rfind(b',"fails":')
    if (
        b'"expires"' not in payload
        and start > 0
        and payload.count(b'"fails":') == 1
        and _FAILURE.fullmatch(payload, start)
        and _T.match(payload)
    ):
        return with_time(payload[:start] + b"}", now)
    gone = dict.fromkeys(("fails", "err", "failed_at", "traceback", "expires"))
    return members.splice(payload, {**gone, "t": b"%d" % now})
