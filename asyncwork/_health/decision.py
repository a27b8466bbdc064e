"""Decides whether a pool is live and ready. Pure."""

from __future__ import annotations

from ..models.pools import PoolHealth

STARTING, RUNNING, QUIET, STOPPING, STOPPED = "starting", "running", "quiet", "stopping", "stopped"
STATES = (STARTING, RUNNING, QUIET, STOPPING, STOPPED)

BLOCKED = "the event loop is blocked: no job makes progress, and the log shows where"
REDIS_AWAY = "Redis does not answer"
_REASONS = {
    STARTING: "the pool is starting",
    QUIET: "the pool is quiet: it fetches no jobs",
    STOPPING: "the pool is stopping",
    STOPPED: "the pool does not run",
}


def decide(
    state: str, since: float, *, now: float, blocked: float, blocked_limit: float, silence: float, silence_limit: float
) -> PoolHealth:
    """Return the health of a pool.

    :param state: of :data:`STATES`.
    :param since: since when the pool has been in this state, epoch seconds.
    :param now: epoch seconds.
    :param blocked: for how long the event loop has been blocked, seconds, or 0.
    :param blocked_limit: how long it may be blocked, seconds.
    :param silence: how long ago Redis last answered, seconds.
    :param silence_limit: how long that may be, seconds.
    """
    if blocked > blocked_limit:
        return _unready(state, BLOCKED, now - blocked, live=False)
    if state in _REASONS:
        return _unready(state, _REASONS[state], since)
    if silence > silence_limit:
        return _unready(state, REDIS_AWAY, now - silence)
    return PoolHealth(live=True, ready=True, state=state)


def _unready(state: str, reason: str, since: float, *, live: bool = True) -> PoolHealth:
    return PoolHealth(live=live, ready=False, state=state, reason=reason, since=round(since, 3))
