"""Decides what a pool requests from Redis, and for how many workers.

Pure and synchronous: it does no I/O and reads no clock. The dispatcher reports every event to it, and carries out what
it returns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set

from .._redis.commands import Fetch
from .._redis.queue import Queue
from .._redis.queue_poll import QueuePoll
from .._redis.work_queue import Fetched, HeldJob, Popped, Verdict
from .fetch_steps import NOTHING, UNBLOCK, NextStep, WaitPlan
from .look_ahead import Announcement, LookAhead
from .open_queues import OpenQueues
from .pending_requeues import PendingRequeues
from .queue_poller import FEW_QUEUES


class FetchState:
    """The state of all fetches and blocking pops of one pool.

    Each worker is always counted once: as free, as requested (a fetch may bring it a job), as blocked (a blocking pop
    waits on its behalf), or as running (it has a job, or a job is on the way to it). A pool that looks ahead has some
    more slots for jobs, which are counted as if they were workers. So a pool never takes more jobs than it has both.

    The number of free workers is negative after :meth:`resize` while more jobs run than the pool has workers now. So
    the counts always sum to the number of workers and slots, and a job that ends needs no check whether its worker is
    still wanted.

    :param queues: all queues of the pool.
    :param concurrency: number of workers.
    :param pipelines: by how many fetches at once the workers get their jobs.
    :param stale_after: a reply that is older than this, in seconds, is revalidated with Redis before its jobs run,
        because the pool may have been considered dead meanwhile.
    :param max_blocked: the most queues on which pops may block at once.
    :param longest_poll: the longest time between two polls of queues from which nothing may be taken, seconds.
    :param crowded: the queues from which nothing is taken because Redis rejects too many results of their jobs; a live
        set.
    :param look_ahead: whether to take more jobs than there are free workers, if they are short.
    :param few: with more queues than this, fetches name only those that a poll has found to be filled.
    :ivar in_order: whether there is one fetch at a time, so that jobs begin in the order of their queue. Two may
        overtake.
    :ivar ahead: the number of slots beyond the workers.
    :ivar surplus_workers: whether the pool has more workers than its concurrency, which was reduced. They would begin
        what is taken ahead.
    :ivar quiet: whether nothing more is to be taken; see :meth:`stop`.
    :ivar open: which queues to fetch from and to block on.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        *,
        concurrency: int,
        pipelines: int,
        max_blocked: int,
        stale_after: float,
        longest_poll: float,
        crowded: Set[Queue],
        look_ahead: bool = False,
        few: int = FEW_QUEUES,
    ) -> None:
        self.queues = queues
        self.concurrency = concurrency
        self.in_order = concurrency == 1
        self.look_ahead = LookAhead(concurrency, enabled=look_ahead)
        self.pending_requeues = PendingRequeues(stale_after)
        self.free = concurrency
        self.ahead = 0
        self.surplus_workers = False
        self.requested = 0
        self.running = 0
        self.blocked: set[Queue] = set()
        self.open = OpenQueues(queues, crowded, longest_poll=longest_poll, many=len(queues) > few)
        self.quiet = False
        self.max_blocked = max_blocked
        # Whether a pop that was sent before may take a job which is not to run here.
        self._may_refuse = False
        self._pipelines = pipelines
        self._fetch_limit = -(-concurrency // pipelines)
        # Number of jobs that fetches have brought.
        self._fetched = 0

    def check(self) -> bool:
        """Return whether each worker and each slot is counted once."""
        counted = self.free + self.requested + len(self.blocked) + self.running
        return counted == self.concurrency + self.ahead

    @property
    def backlog(self) -> bool:
        """Whether jobs are thought to wait. Then they are fetched for all free workers; otherwise pops block."""
        return self.open.backlog

    @property
    def busy(self) -> int:
        """Number of workers that have a job or may be about to get one."""
        return self.requested + self.running

    @property
    def overcommitted(self) -> bool:
        """Whether there are more jobs here than workers, so that some may have to wait."""
        return self.running > self.concurrency

    @property
    def workers_needed(self) -> int:
        """The concurrency, and the jobs that run beyond it, or may do so, since it was reduced."""
        return self.concurrency - min(0, self.free)

    def job_done(self) -> None:
        """Count a worker as free: its job has ended, or is not run here."""
        self.running -= 1
        self.free += 1

    def resize(self, concurrency: int) -> list[Queue]:
        """Change the number of workers. Jobs that run or are requested already run all the same.

        :returns: queues whose pops are to end, because they wait on behalf of more workers than there are.
        """
        self.free += concurrency - self.concurrency - self.ahead
        self.concurrency = self.look_ahead.concurrency = concurrency
        self.in_order = concurrency == 1
        self.ahead = 0
        self._set_fetch_limit()
        self._may_refuse = self._may_refuse or self.free < 0
        return sorted(self.blocked, key=lambda queue: queue.priority)[: max(0, -self.free)]

    def _set_fetch_limit(self) -> None:
        self._fetch_limit = -(-(self.concurrency + self.ahead) // self._pipelines)

    # Looking ahead

    def _adapt(self, now: float) -> None:
        """Have as many slots as the look-ahead wants while jobs wait, else none. A slot in use goes later."""
        if now >= self.look_ahead.due:
            self.look_ahead.measure(now, self._fetched - self.running)
        wants_more = self.backlog and not (self.surplus_workers or self.quiet)
        more = (self.look_ahead.size if wants_more else 0) - self.ahead
        if more < 0:
            more = max(more, min(0, -self.free))
        elif self.free < 0:
            more = 0  # since the pool was reduced, it has more jobs than it should
        if more:
            self.ahead += more
            self.free += more
            self._set_fetch_limit()

    def next_announcement(self, now: float) -> Announcement | None:
        """Return what is to be written to the heartbeat about looking ahead."""
        if self.quiet and self.ahead:
            # There are no fetches any more that would do it.
            self._adapt(now)
        return self.look_ahead.next_announcement(now, self.ahead)

    # Fetches

    def next_fetch(self, now: float, *, acked: Collection[Queue] = ()) -> Fetch | None:
        """Return a fetch for the free workers, if jobs may wait for them.

        :param now: the event loop's clock, seconds.
        :param acked: queues whose acknowledgements are about to be sent: a fetch beside them costs no round trip.
        """
        self._adapt(now)
        if self.quiet or self.free <= 0 or (self.in_order and (self.requested or self.pending_requeues)):
            return None
        limit = min(self.free, self._fetch_limit)
        blocked, looks_ahead = self.blocked, self.look_ahead.announced
        fetch = self.open.next_fetch(limit, now, acked=acked, blocked=blocked, looks_ahead=looks_ahead)
        if fetch is None:
            return None
        limited = self.open.limited.to_ask
        if limited and not limited.isdisjoint(fetch.queues):
            # Jobs that are taken ahead may go back, and do not return their token.
            fetch.limited, fetch.at_once = limited, max(0, min(limit, self.free - self.ahead))
        if self.open.collecting is not None:
            fetch.collecting = self.open.collecting()
        self.free -= fetch.limit
        self.requested += fetch.limit
        assert self.check()
        return fetch

    def on_fetched(self, fetch: Fetch, fetched: Fetched, now: float) -> tuple[NextStep, list[HeldJob]]:
        """Count what a fetch has brought; return its jobs and whether they run, are revalidated or are requeued."""
        jobs, limit = fetched.jobs, fetch.limit
        self.open.on_fetched(fetch, fetched)
        if fetched.paused:
            self.look_ahead.on_paused(now)
        if fetched.opens and any(not seconds for _, seconds in fetched.opens):
            self.look_ahead.yield_to_limited(now)
        self.requested -= limit
        self.running += len(jobs)
        self._fetched += len(jobs)
        self.free += limit - len(jobs)
        if self.pending_requeues:
            for job in jobs:
                if job[1] in self.pending_requeues:
                    self._postpone(job)
            jobs = [job for job in jobs if job[1] not in self.pending_requeues]
        assert self.check()
        if jobs and self.quiet:
            # The fetch may have been sent long after it was made, when Redis was back.
            return NextStep.REQUEUE, jobs
        if jobs and self.pending_requeues.is_stale(fetch.requested_at, now):
            self.pending_requeues.add(payload for _, payload, _ in jobs)
            return NextStep.REVALIDATE, jobs
        if jobs:
            self.open.polls.on_jobs()
        return NextStep.RUN, jobs

    def on_failed(self, fetch: Fetch) -> None:
        """Count the workers of a rejected or lost fetch as free."""
        self.open.on_failed(fetch)
        self.requested -= fetch.limit
        self.free += fetch.limit

    # Polls

    def next_poll(self, now: float) -> QueuePoll | None:
        """Return a poll for filled queues, if one is due."""
        return None if self.quiet else self.open.next_poll(now, has_room=self.free > 0)

    # Waiting for jobs

    def plan_wait(self, now: float) -> WaitPlan:
        """Return what to do while there is no batch to send."""
        if self.backlog:
            must_unblock = bool(self.blocked) and not (self.free > 0 or self.requested or self.quiet)
            return UNBLOCK if must_unblock else NOTHING
        if self.quiet or len(self.blocked) == len(self.queues) or (self.in_order and self.pending_requeues):
            return NOTHING
        if self.ahead:
            # No pop waits on behalf of a slot.
            self._adapt(now)
        return WaitPlan(self._queues_to_block_on(), self._next_poll_at(now))

    def _queues_to_block_on(self) -> list[Queue]:
        """Return the queues on which pops are to block, one for each free worker; those of high priority first."""
        room = min(self.free, self.max_blocked - len(self.blocked))
        chosen = self.open.to_block_on(room, self.blocked, self.concurrency)
        self.blocked.update(chosen)
        self.free -= len(chosen)
        assert self.check()
        return chosen

    def _next_poll_at(self, now: float) -> float | None:
        """Return when to poll the queues on which no pop blocks; each time later while nothing is found."""
        if len(self.blocked) == len(self.queues) or not (self.free > 0 or self.blocked):
            return None
        return self.open.next_poll_at(now, self.blocked)

    def rest(self, queue: Queue, seconds: float, now: float) -> None:
        """Take nothing from a queue for some time."""
        self.open.limited.rest(queue, seconds, now)

    def set_rated(self, queues: Collection[Queue]) -> list[Queue]:
        """Have the jobs of these queues take a token, and no others; return those whose pops take none and must end."""
        known = self.open.limited.rated
        self.open.set_rated(queues)
        return [queue for queue in queues if queue in self.blocked and queue not in known]

    def stop(self) -> None:
        """Take nothing more. A job that a pop takes nevertheless is to be requeued."""
        self.quiet = self._may_refuse = True

    def resume(self) -> None:
        """End being quiet."""
        self.quiet, self.open.polls.next_at = False, None
        self.open.search()

    def poll(self, now: float) -> None:
        """Have the queues polled on which no pop blocks."""
        self.open.poll(now)

    # Blocking pops

    def on_popped(self, queue: Queue, popped: Popped, requested_at: float, now: float) -> NextStep:
        """Count the job that a blocking pop has taken; return what to do with it.

        :param requested_at: when the pop was sent, by the event loop's clock, seconds.
        """
        self.blocked.discard(queue)
        self.running += 1
        self._fetched += 1
        if popped.opens_in is not None:
            self.open.note_opening(queue, popped.opens_in, now)
        if not popped.has_tokens and queue in self.open.limited.rated:
            # The pop was sent before this pool knew of the rate, or Redis was not certain about its job.
            self.open.on_opened(queue)
            return NextStep.REQUEUE
        if popped.payload in self.pending_requeues:
            self._postpone((queue, popped.payload, 0))
            return NextStep.POSTPONE
        if self._may_refuse:
            if self.quiet or self.free < 0:
                return NextStep.REQUEUE
            # Those that still wait do so on behalf of workers that there are.
            self._may_refuse = False
        if popped.admitted and not self.pending_requeues.is_stale(requested_at, now):
            self.open.on_admitted(queue, popped.waiting)
            return NextStep.RUN
        self.pending_requeues.add([popped.payload])
        return NextStep.REVALIDATE

    def on_pop_ended(self, queue: Queue, *, failed: bool) -> None:
        """Count the worker of a pop that took no job as free. If it failed, nothing may be taken from its queue now."""
        self.blocked.discard(queue)
        self.free += 1
        if failed:
            # The next poll finds out whether Redis is back, or the queue open.
            self.open.closed.add(queue)

    def on_revalidated(self, queue: Queue, payload: bytes, verdict: Verdict, waiting: int, now: float) -> NextStep:
        """Count a job as running, or its worker as free, as Redis has decided.

        :param waiting: number of jobs left in the queue.
        """
        self.pending_requeues.remove([payload])
        if verdict is Verdict.ADMITTED:
            if self.pending_requeues.drop_postponed(payload):
                # The same job: Redis has admitted what the other reply has brought.
                self.job_done()
            if self.quiet:
                return NextStep.REQUEUE
            self.open.on_admitted(queue, waiting)
            return NextStep.RUN
        self.job_done()
        if verdict is Verdict.REQUEUED:
            self.pending_requeues.distrust(now)
            self.open.closed.add(queue)
        return NextStep.IGNORE

    # Jobs that are requeued

    def _postpone(self, job: HeldJob) -> None:
        if not self.pending_requeues.postpone(job):
            self.job_done()

    def on_requeueing(self, payloads: Collection[bytes], now: float) -> None:
        """Postpone these jobs if a reply under way brings them, because Redis is asked to requeue them."""
        self.pending_requeues.distrust(now)
        self.pending_requeues.add(payloads)

    def on_requeued(self, payloads: Collection[bytes], now: float) -> None:
        """Revalidate these jobs if the reply to an earlier request brings them, because they are in their queue."""
        self.pending_requeues.remove(payloads)
        self.pending_requeues.distrust(now)
