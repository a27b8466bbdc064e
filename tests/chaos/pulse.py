"""The heartbeats of the worker processes, as they are in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Seconds. No shorter silence explains anything.
_SHORTEST = 1.0


@dataclass(slots=True)
class Silence:
    """A time in which no heartbeat of a process came to Redis. As it is seen from outside, it was at most that long.

    :ivar began: when the heartbeat before it had not come yet, seconds of the monotonic clock.
    :ivar ended: when the next one had come, or when nobody looked any more.
    """

    pid: int
    began: float
    ended: float


@dataclass(slots=True)
class Life:
    """The time from the first to the last look at which a process had a heartbeat, seconds of the monotonic clock."""

    began: float
    ended: float


class Pulse:
    """Finds the silences.

    :ivar silences: those that were found.
    :ivar lives: by pid, the processes that were seen.
    """

    def __init__(self) -> None:
        self.silences: list[Silence] = []
        self.lives: dict[int, Life] = {}
        # By pid: the beat that was seen last, ``None`` when it is gone, and when it had not come yet.
        self._last: dict[int, tuple[bytes | None, float]] = {}
        self._looked_at = 0.0

    def saw(self, beats: Mapping[int, bytes], asked: float, answered: float) -> None:
        """Take in a look at all heartbeats.

        :param beats: what changes with each beat, by pid.
        :param asked: when Redis was asked, seconds of the monotonic clock.
        :param answered: when its answer was there.
        """
        for pid in self._last.keys() - beats.keys():
            # It was considered dead, or has left. Whatever comes next is a beat.
            self._last[pid] = None, self._last[pid][1]
        for pid, beat in beats.items():
            self.lives.setdefault(pid, Life(answered, answered)).ended = answered
            if pid not in self._last:
                self._last[pid] = beat, asked
                continue
            before, since = self._last[pid]
            if beat != before:
                self._note(pid, since, answered)
                self._last[pid] = beat, self._looked_at
        self._looked_at = asked

    def end(self, at: float) -> None:
        """Take in that nobody looks any more."""
        for pid, (_, since) in self._last.items():
            self._note(pid, since, at)
        self._last = {}

    def _note(self, pid: int, since: float, until: float) -> None:
        if until - since >= _SHORTEST:
            self.silences.append(Silence(pid, since, until))
