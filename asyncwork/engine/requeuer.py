"""Brings jobs whose time has come from a shelf (retry or scheduled) to their queues."""

from __future__ import annotations

import hashlib
import logging
import math
from typing import TypeAlias

from ..job import Job, with_time
from ..store.floor import Shelf
from ..store.upkeep import Due, Requeued, Upkeep
from .periodic_enqueuer import firing_of
from .worker import quarantine_record, why_unreadable

logger = logging.getLogger("asyncwork")

# Jobs moved by one call of a script; keeps every call far below 10 ms.
_BATCH = 100
# Seconds after a due time at which to look: late enough for Redis's clock to have reached it.
_AFTER = 0.002
# Seconds for which a name that was known is not looked up again.
_KNOWN_FOR = 60.0

# Member, name of its queue or ``None`` for the quarantine, what to push there.
Move: TypeAlias = tuple[bytes, str | None, bytes]
# By member: the key of the periodic job that it is an instance of, and the instance's epoch second.
Firings: TypeAlias = dict[bytes, tuple[str, int]]


class Requeuer:
    """Empties one shelf of what is due, whoever serves it, and leaves jobs whose name nobody knows."""

    def __init__(self, upkeep: Upkeep, shelf: Shelf, period: float) -> None:
        self.name = f"{shelf.value} requeuer"
        self._upkeep = upkeep
        self._shelf = shelf
        self._period = period
        self._known: dict[str, float] = {}
        # Why something had to stay at the last pass, and members that were told to be no jobs then.
        self._refusal = ""
        self._told: set[bytes] = set()

    async def once(self) -> float:
        """Move everything that is due. The next pass is when the next job is due, or at the next full second.

        Due times are whole seconds, so a job that somebody puts there meanwhile cannot be due before that.
        """
        skip, refusal, told = 0, "", set[bytes]()
        while True:
            due = await self._upkeep.due(self._shelf, skip, _BATCH)
            if due.payloads:
                moves, firings = await self._moves(due, told)
                done = await self._upkeep.requeue(self._shelf, moves, firings) if moves else Requeued(0, "")
                skip += len(due.payloads) - done.moved
                refusal = refusal or done.refusal
            if len(due.payloads) < _BATCH:
                break
        if refusal and not self._refusal:
            logger.warning("%s: jobs that are due stay there: %s", self.name, refusal)
        self._refusal, self._told = refusal, told
        return self._until_next(due)

    def _until_next(self, due: Due) -> float:
        full_second = math.floor(due.now) + 1
        at = full_second if due.next is None else min(full_second, due.next)
        return min(max(at - due.now, 0.0) + _AFTER, self._period)

    async def _moves(self, due: Due, told: set[bytes]) -> tuple[list[Move], Firings]:
        now = int(due.now)
        read: list[Move] = []
        firings: Firings = {}
        for member in due.payloads:
            try:
                job = Job.decode(member)
                move = member, job.name, with_time(member, now)
                # What comes from the retry shelf has fired long ago.
                if self._shelf is Shelf.SCHEDULED and (firing := firing_of(job.id)) and firing[1] <= now:
                    firings[member] = firing
                read.append(move)
            except Exception as error:  # one that cannot be read must not keep the others here
                reason = why_unreadable(error)
                told.add(digest := hashlib.sha1(member, usedforsecurity=False).digest())
                if digest not in self._told:
                    logger.error("%s: setting aside a payload of %d bytes: %s", self._shelf.value, len(member), reason)
                read.append((member, None, quarantine_record(self._shelf.value, member, reason, now)))
        known = await self._known_of({name for _, name, _ in read if name is not None}, due.now)
        return [move for move in read if move[1] is None or move[1] in known], firings

    async def _known_of(self, names: set[str], now: float) -> set[str]:
        news = sorted(name for name in names if self._known.get(name, 0.0) < now)
        for name in await self._upkeep.known(news):
            self._known[name] = now + _KNOWN_FOR
        return {name for name in names if self._known.get(name, 0.0) >= now}
