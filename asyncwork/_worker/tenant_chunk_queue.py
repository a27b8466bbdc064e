"""The jobs of one type that wait in memory until the chunks of their tenants begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from .._redis.commands import Collecting
from .._redis.fair_queues import tenant_of
from .._redis.work_queue import HeldJob
from .chunk_queue import ChunkQueue


class TenantChunkQueue(ChunkQueue):
    """Collects the chunks of several tenants at once, each of jobs of one tenant.

    A call is free for each chunk that is collected, so that no tenant whose jobs come one by one keeps others waiting.
    If as many are collected as there are calls, the pool takes only jobs that complete these.

    :param free_calls: returns how many calls are free.
    :param on_collected: called when jobs were collected.
    """

    def __init__(
        self,
        size: int,
        wait: float,
        free_calls: Callable[[], int],
        begin: Callable[[list[HeldJob]], None],
        watch: Callable[[], None],
        on_collected: Callable[[], None],
    ) -> None:
        super().__init__(size, wait, lambda: free_calls() > 0, begin, watch)
        self._free_calls = free_calls
        self._on_collected = on_collected
        # By tenant, when its chunk begins at the latest, by the event loop's clock.
        self._due_at: dict[str, float] = {}
        self._next_at = 0.0

    def _by_tenant(self) -> dict[str, list[HeldJob]]:
        # Not kept, because jobs may have been taken away.
        found: dict[str, list[HeldJob]] = {}
        for job in self.jobs:
            found.setdefault(tenant_of(job[1]), []).append(job)
        return found

    def collecting(self) -> Collecting:
        """Return whose jobs may be taken now."""
        chunks = self._by_tenant()
        rooms = {tenant: self._size - len(jobs) for tenant, jobs in chunks.items() if len(jobs) < self._size}
        return Collecting(rooms, self._size if len(chunks) < self._free_calls() else 0)

    def room(self, free_calls: int) -> int:
        """Return how many jobs that have not begun the pool may hold."""
        if free_calls <= 0:
            return 0
        collecting = self.collecting()
        more = self._size if collecting.others else min(self._size, sum(collecting.rooms.values()))
        return len(self.jobs) + more

    def add(self, jobs: Collection[HeldJob]) -> None:
        """Collect jobs for the chunks of their tenants."""
        if not self.jobs:
            # The jobs before these may have been taken away.
            self._due_at.clear()
        self.jobs.extend(jobs)
        self.added += len(jobs)
        self.begin_some()
        self._on_collected()

    def begin_some(self) -> None:
        """Begin the chunks that are full or due, if calls are free for them; wait for more jobs for the others."""
        self._begin_until(self._loop.time())

    def _begin_until(self, now: float) -> None:
        while (chunk := self._next_chunk(now)) is not None:
            self._begin(chunk)
        if not self.jobs:
            self._due_at.clear()
            self._stop_timer()
            return
        self._watch()
        self._plan(min((at for at in self._due_at.values() if at > now), default=None))

    def _next_chunk(self, now: float) -> list[HeldJob] | None:
        """Take out the jobs of the chunk that is to begin; the one that has waited longest first."""
        chunks = self._by_tenant()
        self._due_at = {tenant: self._due_at.get(tenant, now + self._seconds) for tenant in chunks}
        if not self._may_begin():
            return None
        for tenant in sorted(chunks, key=self._due_at.__getitem__):
            if len(chunks[tenant]) >= self._size or self._due_at[tenant] <= now:
                chunk = chunks[tenant][: self._size]
                del self._due_at[tenant]
                self._take_out(tenant, len(chunk))
                return chunk
        return None

    def _take_out(self, tenant: str, count: int) -> None:
        """Remove the first jobs of a tenant."""
        kept: deque[HeldJob] = deque()
        for job in self.jobs:
            if count and tenant_of(job[1]) == tenant:
                count -= 1
            else:
                kept.append(job)
        self.jobs.clear()
        self.jobs.extend(kept)

    def _plan(self, at: float | None) -> None:
        """Have the chunks that are due at a time begin then. Those that are due already begin when a call is free."""
        if self._timer is not None and at == self._next_at:
            return
        self._stop_timer()
        if at is not None:
            self._next_at = at
            self._timer = self._loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        # The loop may call a little early.
        self._begin_until(max(self._next_at, self._loop.time()))
