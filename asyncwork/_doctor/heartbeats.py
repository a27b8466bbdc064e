"""The history of heartbeats: how they change from reading to reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.pools import Heartbeat

# Seconds. gocraft/work considers a pool dead after that long without a heartbeat.
_STALE = 10
# Seconds between two heartbeats, at most.
_INTERVAL = 5
# Seconds by which a clock may differ from Redis's before their times cannot be compared any more.
MAX_SKEW = 5


@dataclass(frozen=True, slots=True)
class _Change:
    """The last change of a pool's heartbeat.

    :ivar seen_at: when the current heartbeat was first seen, by Redis's clock.
    :ivar ahead: by how many seconds the heartbeat was ahead of Redis's clock then; ``None`` until it was seen to
        change.
    """

    heartbeat_at: int
    seen_at: float
    ahead: float | None = None


class HeartbeatHistory:
    """Tracks heartbeats over several readings: a pool whose heartbeat changes is alive, whatever its clock says."""

    def __init__(self) -> None:
        self._changes: dict[str, _Change] = {}

    def record(self, heartbeats: Sequence[Heartbeat], now: float) -> None:
        """Add a reading; ``now`` is Redis's clock, epoch seconds."""
        before, self._changes = self._changes, {}
        for each in heartbeats:
            change = before.get(each.pool_id)
            # A change that was seen later than now: Redis's clock was ahead then.
            if change is None or change.seen_at > now:
                change = _Change(each.heartbeat_at, now)
            elif change.heartbeat_at != each.heartbeat_at:
                change = _Change(each.heartbeat_at, now, each.heartbeat_at - now)
            self._changes[each.pool_id] = change

    def is_stale(self, heartbeat: Heartbeat, now: float) -> bool:
        """Return whether a pool sends no heartbeats: its heartbeat has not changed for long, or is old and has not
        been seen to change lately.
        """
        change = self._changes.get(heartbeat.pool_id)
        if change is not None and now - change.seen_at > _STALE:
            return True
        changes = change is not None and change.ahead is not None
        return now - heartbeat.heartbeat_at > _STALE and not changes

    def silence(self, heartbeat: Heartbeat, now: float) -> float:
        """Return for how many seconds a pool has sent no heartbeat, as far as that is known."""
        change = self._changes.get(heartbeat.pool_id)
        return max(now - heartbeat.heartbeat_at, 0.0 if change is None else now - change.seen_at)

    def skew(self, heartbeat: Heartbeat, now: float) -> float:
        """Return by how many seconds a pool's clock is ahead of Redis's, negative when behind; 0 when that is little
        or not known.
        """
        change = self._changes.get(heartbeat.pool_id)
        ahead = heartbeat.heartbeat_at - now
        if ahead <= 0:
            # A heartbeat in the past says nothing about the clock unless it was seen to arrive.
            ahead = change.ahead if change is not None and change.ahead is not None else 0.0
        return ahead if ahead > MAX_SKEW or ahead < -MAX_SKEW - _INTERVAL else 0.0
