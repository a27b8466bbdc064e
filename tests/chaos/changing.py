"""A program that changes periodic jobs at run time while things go wrong, and knows what must not fire meanwhile."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from asyncwork import Client, RedisUnavailable, UsageError

from .record import Run

T = TypeVar("T")

# A periodic job of the code, and the name of one that is added; each fires each second.
BEATING, ADDED = "beating", "added"
EACH_SECOND, EACH_OTHER = "* * * * * *", "*/2 * * * * *"
BEATING_KEY, ADDED_KEY = f"{BEATING}:{EACH_SECOND}", f"{ADDED}:{EACH_SECOND}"
# Seconds between two tries of what must come through in the end, and of what lasts.
_AGAIN, _SHORTEST, _LONGEST = 0.2, 2.5, 5.0

_INSTANCE = re.compile(r"periodic:(.+):(\d+)")


@dataclass(frozen=True, slots=True)
class Rest:
    """A time in which a periodic job fires less than each second. Times are epoch seconds.

    :ivar began: when Redis had confirmed the change.
    :ivar ended: before the change was undone.
    :ivar period: the seconds whose multiples fire; 0 if none does.
    """

    what: str
    key: str
    began: float
    ended: float
    period: int = 0


def fired_at_rest(runs: Sequence[Run], rests: Sequence[Rest]) -> Iterator[str]:
    """Yield a line for each instance that ran although its periodic job was paused, removed, or edited."""
    instances = {run.job_id: (found[1], int(found[2])) for run in runs if (found := _INSTANCE.fullmatch(run.job_id))}
    for job_id, (key, at) in instances.items():
        for rest in rests:
            is_over = rest.key != key or not rest.began < at < rest.ended
            if not is_over and (not rest.period or at % rest.period):
                yield f"{job_id} ran although its job was {rest.what} from {rest.began:.3f} to {rest.ended:.3f}"


class Changer:
    """Pauses, edits, adds and removes periodic jobs until it is told to stop, and has done each once.

    :ivar rests: what must not have fired.
    """

    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client, self._rng = client, rng
        self.stopping = False
        self.rests: list[Rest] = []

    async def run(self) -> None:
        """Change periodic jobs, and leave them as the code says."""
        acts = [self._pause, self._edit, self._add, self._run_now]
        once = self._rng.sample(acts, len(acts))
        while once or not self.stopping:
            await (once.pop() if once else self._rng.choice(acts))()
            await asyncio.sleep(self._rng.random())

    async def _pause(self) -> None:
        await self._persist(lambda: self._client.pause_periodic(BEATING_KEY, who="chaos"))
        await self._rest("paused", BEATING_KEY, lambda: self._client.unpause_periodic(BEATING_KEY))

    async def _edit(self) -> None:
        arguments = {"number": self._rng.randrange(9)}
        await self._persist(lambda: self._client.edit_periodic(BEATING_KEY, spec=EACH_OTHER, arguments=arguments))
        await self._rest("edited", BEATING_KEY, lambda: self._client.reset_periodic(BEATING_KEY), period=2)

    async def _add(self) -> None:
        async def added() -> bool:
            # A call whose answer was lost may have added it.
            with suppress(UsageError):
                await self._client.add_periodic(EACH_SECOND, ADDED)
            return True

        async def removed() -> bool:
            with suppress(UsageError):
                await self._client.remove_periodic(ADDED_KEY)
            return True

        await self._persist(added)
        began = time.monotonic()
        # Pools fire it, which are other processes.
        while time.monotonic() - began < _LONGEST or not await self._persist(self._has_fired):  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN)
        await self._persist(removed)
        await self._rest("removed", ADDED_KEY, self._nothing)

    async def _has_fired(self) -> bool:
        return bool(await self._client.periodic_runs(ADDED_KEY, 1))

    async def _run_now(self) -> None:
        await self._persist(lambda: self._client.run_periodic(BEATING_KEY, who="chaos"))

    async def _nothing(self) -> None:
        """Leave it as it is."""

    async def _rest(self, what: str, key: str, undo: Callable[[], Awaitable[object]], period: int = 0) -> None:
        began = time.time()
        await asyncio.sleep(self._rng.uniform(_SHORTEST, _LONGEST))
        self.rests.append(Rest(what, key, began, time.time(), period))
        await self._persist(undo)

    async def _persist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do something until Redis has answered; return its answer."""
        while True:
            try:
                return await act()
            except RedisUnavailable:
                await asyncio.sleep(_AGAIN)
