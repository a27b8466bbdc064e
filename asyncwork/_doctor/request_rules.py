"""Rules for requests to pools. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._jobs.printable import plural, printable, utc_time
from ..models.diagnosis import Problem
from ..models.pools import Heartbeat, PoolRequest

# Heartbeats within which a pool follows a request: the next one brings it, and the one after that says so.
_IN_TIME = 3
_WANTED = {"running": "to run again", "quiet": "to be quiet", "stopping": "to stop"}


def unfollowed_requests(heartbeats: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield the problem of each request that a pool has not followed, although it has written several heartbeats since.

    No clock is compared with another: the request says how many heartbeats the pool had written then.
    """
    for each in heartbeats:
        for request in each.requests:
            if request.heartbeats > _IN_TIME and not request.unreadable:
                yield Problem(
                    "unfollowed_request",
                    each.pool_id,
                    f"{_pool(each)} was asked{_by(request)} {_wanted(request)} at {utc_time(request.at)}, and has not "
                    f"done so for {plural(request.heartbeats, 'heartbeat')}",
                    "its event loop is probably blocked, and its log shows where; a signal to its process does not "
                    "wait for Redis",
                )


def unreadable_requests(heartbeats: Sequence[Heartbeat]) -> Iterator[Problem]:
    """Yield a note on each request that is none. The pool ignores it, and follows others."""
    for each in heartbeats:
        for request in each.requests:
            if request.unreadable:
                yield Problem(
                    "unreadable_request",
                    each.pool_id,
                    f"{_pool(each)} ignores a request that cannot be read: {printable(request.unreadable)}",
                    "make the request again (asyncwork pools), which replaces it",
                )


def _pool(heartbeat: Heartbeat) -> str:
    where = f"{heartbeat.host or 'an unknown host'}, process {heartbeat.pid}"
    return f"pool {printable(heartbeat.pool_id)} on {printable(where)}"


def _by(request: PoolRequest) -> str:
    return f" by {printable(request.who)}" if request.who else ""


def _wanted(request: PoolRequest) -> str:
    return _WANTED.get(request.state) or f"to run {plural(request.concurrency, 'job')} at once"
