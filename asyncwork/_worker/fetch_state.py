"""Decides what a pool requests from Redis, and for how many workers.

Pure and synchronous: it does no I/O and reads no clock. The dispatcher reports every event to it, and carries out what
it returns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set

from .._redis.commands import Fetch
from .._redis.keys import Queue
from .._redis.work_queue import Fetched, HeldJob, Popped, Verdict
from .fetch_steps import NOTHING, UNBLOCK, NextStep, WaitPlan
from .look_ahead import Announcement, LookAhead
from .priority_sampler import QueueSampler, sample
from .requeueing import Requeueing

# Seconds until queues on which no pop blocks are polled again, at first; doubled while nothing is found.
FIRST_POLL_DELAY = 0.01


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
    :param longest_poll: the longest time between two polls of queues on which no pop blocks, seconds.
    :param crowded: the queues from which nothing is taken because Redis rejects too many results of their jobs; a live
        set.
    :param look_ahead: whether to take more jobs than there are free workers, if they are short.
    :ivar ahead: the number of slots beyond the workers.
    :ivar backlog: whether jobs are thought to wait. Then they are fetched for all free workers; otherwise pops block.
    :ivar quiet: whether nothing more is to be taken; see :meth:`stop`.
    :ivar next_poll_at: when :meth:`poll` is due, by the event loop's clock, seconds; ``None`` when it is not.
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
    ) -> None:
        self.queues = queues
        self.concurrency = concurrency
        self.look_ahead = LookAhead(concurrency, enabled=look_ahead)
        self.requeueing = Requeueing(stale_after)
        self.free = concurrency
        self.ahead = 0
        self.requested = 0
        self.running = 0
        self.blocked: set[Queue] = set()
        self.backlog = bool(queues)
        self.quiet = False
        self.max_blocked = max_blocked
        self.next_poll_at: float | None = None
        # Whether a pop that was sent before may take a job which is not to run here.
        self._may_refuse = False
        self._pipelines = pipelines
        self._fetch_limit = -(-concurrency // pipelines)
        self._longest_poll = longest_poll
        self._crowded = crowded
        # Queues from which nothing may be taken now: paused, at their concurrency limit, or unreadable.
        self._closed: set[Queue] = set()
        # One sampler for each fetch in flight that goes through the queues step by step.
        self._samplers: dict[Fetch, QueueSampler] = {}
        self._idle_samplers: list[QueueSampler] = []
        # Number of jobs that fetches have brought.
        self._fetched = 0
        self._poll_delay = FIRST_POLL_DELAY

    def check(self) -> bool:
        """Return whether each worker and each slot is counted once."""
        counted = self.free + self.requested + len(self.blocked) + self.running
        return counted == self.concurrency + self.ahead

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
        more = (self.look_ahead.size if self.backlog else 0) - self.ahead
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
        return self.look_ahead.next_announcement(now, self.ahead)

    # Fetches

    def next_fetch(self, now: float, *, has_acks: bool) -> Fetch | None:
        """Return a fetch for the free workers, if jobs may wait for them.

        :param now: the event loop's clock, seconds.
        :param has_acks: whether acknowledgements are about to be sent: a fetch beside them costs no round trip.
        """
        self._adapt(now)
        if self.quiet or self.free <= 0:
            return None
        if not (self.backlog or (has_acks and len(self.blocked) < len(self.queues))):
            return None
        limit = min(self.free, self._fetch_limit)
        if self.backlog and not (self.blocked or self._crowded):
            sampler = self._idle_samplers.pop() if self._idle_samplers else QueueSampler(self.queues)
            fetch = Fetch(sampler.step(), limit, now, self.look_ahead.announced)
            self._samplers[fetch] = sampler
        else:
            fetch = Fetch(self._sample(self._open_queues()), limit, now, self.look_ahead.announced)
        self.free -= fetch.limit
        self.requested += fetch.limit
        assert self.check()
        return fetch

    def on_fetched(self, fetch: Fetch, fetched: Fetched, now: float) -> tuple[NextStep, list[HeldJob]]:
        """Count what a fetch has brought; return its jobs and whether they run, are revalidated or are requeued."""
        jobs, limit = fetched.jobs, fetch.limit
        if (sampler := self._samplers.pop(fetch, None)) is not None:
            self._idle_samplers.append(sampler)
        if len(jobs) == limit:
            if sampler is not None:
                sampler.enough(1 + fetch.queues.index(jobs[-1][0]))
        else:
            closed = set(fetched.closed) if sampler is None else sampler.too_few(fetched.closed)
            if closed is not None:
                self.backlog, self._closed = False, closed
        if fetched.paused:
            self.look_ahead.on_paused(now)
        self.requested -= limit
        self.running += len(jobs)
        self._fetched += len(jobs)
        self.free += limit - len(jobs)
        if self.requeueing:
            for job in jobs:
                if job[1] in self.requeueing:
                    self._postpone(job)
            jobs = [job for job in jobs if job[1] not in self.requeueing]
        assert self.check()
        if jobs and self.quiet:
            # The fetch may have been sent long after it was made, when Redis was back.
            return NextStep.REQUEUE, jobs
        if jobs and self.requeueing.is_stale(fetch.requested_at, now):
            self.requeueing.add(payload for _, payload, _ in jobs)
            return NextStep.REVALIDATE, jobs
        if jobs:
            self._poll_delay = FIRST_POLL_DELAY
        return NextStep.RUN, jobs

    def on_failed(self, fetch: Fetch) -> None:
        """Count the workers of a rejected or lost fetch as free."""
        if (sampler := self._samplers.pop(fetch, None)) is not None:
            sampler.begin_anew()
            self._idle_samplers.append(sampler)
        self.requested -= fetch.limit
        self.free += fetch.limit

    def _open_queues(self) -> list[Queue]:
        blocked, crowded = self.blocked, self._crowded
        return [queue for queue in self.queues if queue not in blocked and queue not in crowded]

    @staticmethod
    def _sample(queues: list[Queue]) -> list[Queue]:
        return sample(queues) if len(queues) > 1 else queues

    # Waiting for jobs

    def plan_wait(self, now: float) -> WaitPlan:
        """Return what to do while there is no batch to send.

        :param now: the event loop's clock, seconds.
        """
        if self.backlog:
            must_unblock = bool(self.blocked) and not (self.free > 0 or self.requested or self.quiet)
            return UNBLOCK if must_unblock else NOTHING
        if self.quiet or len(self.blocked) == len(self.queues):
            return NOTHING
        if self.ahead:
            # No pop waits on behalf of a slot.
            self._adapt(now)
        return WaitPlan(self._queues_to_block_on(), self._next_poll_at(now))

    def _queues_to_block_on(self) -> list[Queue]:
        """Return the queues on which pops are to block, one for each free worker; those of high priority first."""
        room = min(self.free, self.max_blocked - len(self.blocked))
        if room <= 0:
            return []
        candidates = [queue for queue in self._sample(self._open_queues()) if queue not in self._closed]
        chosen = candidates[:room]
        self.blocked.update(chosen)
        self.free -= len(chosen)
        assert self.check()
        return chosen

    def _next_poll_at(self, now: float) -> float | None:
        """Return when to poll the queues on which no pop blocks; each time later while nothing is found."""
        if (
            self.next_poll_at is not None
            or len(self.blocked) == len(self.queues)
            or not (self.free > 0 or self.blocked)
        ):
            return None
        self.next_poll_at = now + self._poll_delay
        self._poll_delay = min(self._poll_delay * 2, self._longest_poll)
        return self.next_poll_at

    def stop(self) -> None:
        """Take nothing more. A job that a pop takes nevertheless is to be requeued."""
        self.quiet = self._may_refuse = True

    def resume(self) -> None:
        """End being quiet."""
        self.quiet, self.backlog, self.next_poll_at = False, True, None

    def poll(self) -> None:
        """Have the next fetch read all queues on which no pop blocks."""
        self.next_poll_at = None
        self.backlog = not self.quiet

    # Blocking pops

    def on_popped(self, queue: Queue, popped: Popped, requested_at: float, now: float) -> NextStep:
        """Count the job that a blocking pop has taken; return what to do with it.

        :param requested_at: when the pop was sent, by the event loop's clock, seconds.
        """
        self.blocked.discard(queue)
        self.running += 1
        self._fetched += 1
        if popped.payload in self.requeueing:
            self._postpone((queue, popped.payload, 0))
            return NextStep.POSTPONE
        if self._may_refuse:
            if self.quiet or self.free < 0:
                return NextStep.REQUEUE
            # Those that still wait do so on behalf of workers that there are.
            self._may_refuse = False
        if popped.admitted and not self.requeueing.is_stale(requested_at, now):
            self._on_admitted(popped.waiting)
            return NextStep.RUN
        self.requeueing.add([popped.payload])
        return NextStep.REVALIDATE

    def on_pop_ended(self, queue: Queue, *, failed: bool) -> None:
        """Count the worker of a pop that took no job as free, as far as is known."""
        self.blocked.discard(queue)
        self.free += 1
        if failed:
            # The next poll finds out whether Redis is back.
            self._closed.add(queue)

    def on_revalidated(self, queue: Queue, payload: bytes, verdict: Verdict, waiting: int, now: float) -> NextStep:
        """Count a job as running, or its worker as free, as Redis has decided.

        :param waiting: number of jobs left in the queue.
        """
        self.requeueing.remove([payload])
        if verdict is Verdict.ADMITTED:
            if self.requeueing.drop_postponed(payload):
                # The same job: Redis has admitted what the other reply has brought.
                self.job_done()
            if self.quiet:
                return NextStep.REQUEUE
            self._on_admitted(waiting)
            return NextStep.RUN
        self.job_done()
        if verdict is Verdict.REQUEUED:
            self.requeueing.distrust(now)
            self._closed.add(queue)
        return NextStep.IGNORE

    def _on_admitted(self, waiting: int) -> None:
        self._poll_delay = FIRST_POLL_DELAY
        # From now on in batches.
        self.backlog = self.backlog or (waiting > 0 and not self.quiet)

    # Jobs that are requeued

    def _postpone(self, job: HeldJob) -> None:
        if not self.requeueing.postpone(job):
            self.job_done()

    def on_requeueing(self, payloads: Collection[bytes], now: float) -> None:
        """Postpone these jobs if a reply under way brings them, because Redis is asked to requeue them."""
        self.requeueing.distrust(now)
        self.requeueing.add(payloads)

    def on_requeued(self, payloads: Collection[bytes], now: float) -> None:
        """Revalidate these jobs if the reply to an earlier request brings them, because they are in their queue."""
        self.requeueing.remove(payloads)
        self.requeueing.distrust(now)
