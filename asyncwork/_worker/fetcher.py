"""Takes jobs for the workers of one pool, by fetches and by blocking pops.

The fetcher does the I/O; :class:`FetchState` decides what to request.

One file for what is taken and what goes back, because a job that goes back must not overtake those that a fetch under
way brings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from .._redis.commands import AdmitPopped, Fetch, RequeueAndRest, RequeueFront
from .._redis.errors import ErrorReply, is_out_of_connections
from .._redis.fair_queues import tenant_of
from .._redis.queue import Queue
from .._redis.queue_poll import QueuePoll
from .._redis.work_queue import HeldJob, NotOpen, Popped, Verdict, WorkQueue
from .blocking_pops import BlockingPops
from .dispatch_limits import DispatchLimits
from .fetch_state import FetchState
from .fetch_steps import NextStep
from .look_ahead_announcer import LookAheadAnnouncer
from .opening_timer import OpeningTimer
from .pending_results import PendingResults
from .ready_queue import ReadyQueue
from .tenant_openings import TenantOpenings
from .unbegun_jobs import UnbegunJobs

logger = logging.getLogger("asyncwork")


class Fetcher:
    """Takes jobs as long as there are free workers.

    :param results: takes commands about jobs that may be another pool's.
    :param ready: takes the jobs, for the workers.
    :param wake: called when there may be a batch to send.
    :param start_waiting: called after a job was popped; calls :meth:`start_waiting` unless jobs must be claimed first.
    :param possible_loss: set when Redis may hold jobs as in progress that no worker has.
    :ivar state: the counts of the workers, and what to request next.
    :ivar ready: jobs for the workers.
    :ivar to_requeue: jobs that are requeued in their order when no fetch is under way, because the pool takes no more,
        or their queue is about to rest.
    :ivar rests: jobs that were rate limited, and go back after ``to_requeue``.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        queues: Sequence[Queue],
        limits: DispatchLimits,
        results: PendingResults,
        ready: ReadyQueue,
        *,
        wake: Callable[[], None],
        start_waiting: Callable[[], None],
        possible_loss: asyncio.Event,
    ) -> None:
        self.ready = ready
        self.to_requeue: list[HeldJob] = []
        self.rests: list[RequeueAndRest] = []
        self.state = FetchState(
            queues,
            concurrency=limits.concurrency,
            pipelines=limits.pipelines,
            max_blocked=limits.max_blocked,
            stale_after=limits.stale_after,
            longest_poll=limits.longest_poll,
            crowded=results.rejected.crowded,
            look_ahead=limits.look_ahead,
        )
        self._work_queue = work_queue
        self._results = results
        self._wake = wake
        self._start_waiting = start_waiting
        self._on_possible_loss = possible_loss.set
        self._loop = asyncio.get_running_loop()
        self._tenants = TenantOpenings(self.state.open, results, wake)
        on_pops = self._on_popped, self._on_pop_ended, self._tenants.note
        self._pops = BlockingPops(
            work_queue,
            *on_pops,
            block=limits.block,
            timeout=limits.reply_timeout,
            most=limits.max_blocked,
        )
        self._announcer = LookAheadAnnouncer(self.state, results)
        self._unbegun = UnbegunJobs(self.ready, self._requeue_unbegun)
        # Jobs did not begin in time, and go back when the fetch under way has brought those that come after them.
        self._late = False
        self._unreadable: set[Queue] = set()
        self._poll_timer: asyncio.TimerHandle | None = None
        self._openings = OpeningTimer(self.state.open, wake)
        self._unblocking: asyncio.Task[None] | None = None
        # End pops that wait on behalf of workers that the pool has no more.
        self._ending: set[asyncio.Task[None]] = set()

    def start_waiting(self) -> None:
        """Block on queues for the free workers, and poll the queues on which no pop blocks."""
        plan = self.state.plan_wait(self._loop.time())
        for queue in plan.block_on:
            self._pops.start(queue, limited=queue in self.state.open.limited.rated)
        if plan.poll_at is not None:
            self._poll_timer = self._loop.call_at(plan.poll_at, self._poll)
        if plan.unblock and (self._unblocking is None or self._unblocking.done()):
            # Only these: others may begin as soon as the first of them has ended.
            ending = self._pops.end_some(list(self.state.blocked))
            self._unblocking = asyncio.create_task(ending, name="asyncwork ends blocking pops")
            self._unblocking.add_done_callback(self._on_unblocked)

    def _on_unblocked(self, unblocking: asyncio.Task[None]) -> None:
        # Pops that began meanwhile may have to end as well.
        if not unblocking.cancelled():
            self._start_waiting()

    def _poll(self) -> None:
        self.state.poll(self._loop.time())
        self._wake()

    def stop(self) -> None:
        """Take nothing more. A blocking pop or a fetch under way may still take jobs, which are then requeued, as are
        those that were taken ahead and have not begun.
        """
        self.state.stop()
        self._tenants.stop()
        if self.state.overcommitted or self.ready.gathers:
            self.to_requeue += self.ready.jobs
            self.ready.jobs.clear()
            self._requeue_after_fetches()
        if self._poll_timer is not None:
            self._poll_timer.cancel()

    def resume(self) -> None:
        """Take jobs again after :meth:`stop`."""
        self._requeue_now()
        self.state.resume()
        self._tenants.resume()
        self._wake()

    def resize(self, concurrency: int) -> None:
        """Take jobs for another number of workers from now on."""
        self._end_pops_of(self.state.resize(concurrency))
        if self.state.overcommitted and self.ready.jobs:
            # The workers that the pool does not need any more would begin them.
            self._requeue_unbegun()
        self._wake()

    def keep_to_chunks(self) -> None:
        """End a pop, which may take a job of any tenant, if only those are wanted whose chunks the pool collects."""
        collecting = self.state.open.collecting
        if self.state.blocked and collecting is not None and not collecting().others:
            self._end_pops_of(list(self.state.blocked))

    def _end_pops_of(self, queues: Collection[Queue]) -> None:
        if queues:
            ending = asyncio.create_task(self._pops.end_some(queues), name="asyncwork ends surplus blocking pops")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def end_pops(self) -> None:
        """End all blocking pops."""
        await self._pops.end_all()

    async def close(self) -> None:
        """End all blocking pops, and close their connections."""
        self._unbegun.close()
        self._openings.close()
        self._tenants.stop()
        self._announcer.close()
        ending = [*self._ending, *([] if self._unblocking is None else [self._unblocking])]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        await self._pops.close()

    # Limits

    def limit_blocked(self, most: int, reason: str) -> None:
        """Have fewer connections block at once, so that other clients of Redis find room; at least one may block.

        :param most: number of connections; nothing changes if it is no lower than before.
        :param reason: is logged.
        """
        most, before = max(1, most), self.state.max_blocked
        if most < before:
            text = "blocking pops limited to %d of %d connections (%s): other idle queues are polled"
            logger.warning(text, most, before, reason)
            self.state.max_blocked = most
            self._pops.limit(most)

    def reduce_connections(self, error: BaseException) -> None:
        """Give up half of the connections for blocking pops, because Redis has refused a connection.

        :param error: how Redis has refused it; is logged.
        """
        if held := self._pops.connections:
            self.limit_blocked(held // 2, f"Redis refuses connections: {error}")

    # Fetches

    def on_fetched(self, fetch: Fetch, reply: Any) -> None:
        """Have the jobs run that a fetch has brought."""
        fetched = self._work_queue.parse_fetched(reply, fetch.queues)
        if fetched.unreadable or self._unreadable:
            self._note_unreadable(fetched.unreadable, fetched.jobs)
        step, jobs = self.state.on_fetched(fetch, fetched, self._loop.time())
        if step is NextStep.REVALIDATE:
            for queue, payload, _ in jobs:
                self._revalidate(queue, payload)
        elif step is NextStep.REQUEUE:
            self.to_requeue += jobs
        elif self.rests:
            self.run(self._keep_resting(jobs))
        elif jobs:
            self.run(jobs)
        self._requeue_after_fetches()
        self._announcer.announce()
        if fetched.opens:
            self._openings.plan()
        for queue, seconds in fetched.tenants:
            self._tenants.note(queue, seconds)

    def on_failed(self, fetch: Fetch) -> None:
        """Count the workers of a rejected or lost fetch as free."""
        self.state.on_failed(fetch)
        self._requeue_after_fetches()

    def run(self, jobs: Collection[HeldJob]) -> None:
        """Have jobs run, or requeued if they do not begin soon because there are more than workers."""
        self.ready.add(jobs)
        self._watch_unbegun()

    def on_polled(self, poll: QueuePoll, replies: Sequence[Any]) -> ErrorReply | None:
        """Take note of the queues that hold jobs; return an error reply, if there was one."""
        for reply in replies:
            if isinstance(reply, ErrorReply):
                self.state.open.on_poll_failed()
                return reply
        self.state.open.on_polled(poll, replies)
        return None

    # Queues with a rate

    def set_rated(self, names: Collection[str]) -> None:
        """Have the jobs of these names take a token, and no others, because rates have changed."""
        rated = [queue for queue in self.state.queues if queue.name in names]
        self._end_pops_of(self.state.set_rated(rated))
        self._wake()

    def reopen_limited(self) -> None:
        """Fetch from queues that wait for a token or for the end of a rest, because that may have changed."""
        self.state.open.reopen_limited()
        self._wake()

    def rest(self, command: RequeueAndRest) -> None:
        """Requeue a job that was running, in front of those that have not begun, and take nothing from its queue for
        some time, or of a fair queue, no jobs of its tenant.
        """
        if not command.queue.fair:
            self.state.rest(command.queue, command.seconds, self._loop.time())
            self._openings.plan()
        self.rests.append(command)
        self.state.pending_requeues.begin_rest(_resting(command.queue, command.payloads[0]))
        others = self._keep_resting(list(self.ready.jobs))
        if len(others) < len(self.ready.jobs):
            self.ready.jobs.clear()
            self.ready.jobs.extend(others)
        # After the other jobs of a chunk, which go back together.
        self._loop.call_soon(self._begin_to_rest)

    def _begin_to_rest(self) -> None:
        if self.state.in_order or self.state.quiet or len(self.state.queues) == 1:
            # A fetch under way may bring what comes after them, and there are no others before it has.
            self._requeue_after_fetches()
        else:
            self._requeue_now()
        self._wake()

    def _begin_rests(self) -> None:
        """Have queues rest, after the jobs that come after their rate limited ones were requeued."""
        rests, self.rests = self.rests, []
        # Each goes to the front, so that the first one gets there last.
        for command in reversed(rests):
            self.state.job_done()
            self.state.on_requeueing(command.payloads, self._loop.time())
            self._results.add(command, partial(self._on_rested, command))

    def _on_rested(self, command: RequeueAndRest, reply: Any) -> None:
        self.state.pending_requeues.on_rested(_resting(command.queue, command.payloads[0]), self._loop.time())
        self._on_requeued(command.payloads, reply)

    def _keep_resting(self, jobs: Sequence[HeldJob]) -> Sequence[HeldJob]:
        """Return the jobs whose queues, or tenants, are not about to rest. The others are requeued."""
        resting = {_resting(command.queue, command.payloads[0]) for command in self.rests}
        kept: list[HeldJob] = []
        for job in jobs:
            (self.to_requeue if _resting(job[0], job[1]) in resting else kept).append(job)
        return kept

    # Looking ahead

    def _watch_unbegun(self) -> None:
        if self.state.overcommitted and self.ready.jobs:
            self._unbegun.watch()

    def _requeue_unbegun(self) -> None:
        """Requeue the jobs that no worker has begun."""
        self.state.look_ahead.on_requeued(self._loop.time())
        self._late = self.state.in_order and self.state.requested > 0
        if not self._late:
            jobs = list(self.ready.jobs)
            self.ready.jobs.clear()
            self.requeue_unbegun(jobs)

    def _requeue_after_fetches(self) -> None:
        """Requeue what has not begun, at a stop or in time, unless a fetch under way may bring what comes after it."""
        if not (self.to_requeue or self.rests or self._late) or self.state.requested:
            return
        self._requeue_now()
        if self._late:
            self._late = False
            if self.state.overcommitted:
                self._requeue_unbegun()

    def _requeue_now(self) -> None:
        jobs, self.to_requeue = self.to_requeue, []
        self.requeue_unbegun(jobs)
        self._begin_rests()

    def requeue_unbegun(self, jobs: Sequence[HeldJob]) -> None:
        """Requeue jobs that have not begun at the front of their queues, in their order."""
        by_queue: dict[Queue, list[bytes]] = {}
        for queue, payload, _ in reversed(jobs):
            by_queue.setdefault(queue, []).append(payload)
            self.state.job_done()
        for queue, payloads in by_queue.items():
            self.requeue_unknown(queue, payloads)

    def _note_unreadable(self, unreadable: Iterable[Queue], jobs: Iterable[HeldJob]) -> None:
        """Log queues that are not lists, once until they are read again."""
        self._unreadable.difference_update(queue for queue, _, _ in jobs)
        for queue in unreadable:
            if queue not in self._unreadable:
                self._unreadable.add(queue)
                text = "cannot take jobs from queue %s: its key, or this pool's in-progress list, is not a list"
                logger.error(text, queue.name)
                self._on_possible_loss()

    # Blocking pops

    def _on_popped(self, queue: Queue, popped: Popped, requested_at: float) -> None:
        step = self.state.on_popped(queue, popped, requested_at, self._loop.time())
        if popped.opens_in is not None:
            self._openings.plan()
        if self.state.look_ahead.announced:
            self._announcer.announce()
        if step is NextStep.RUN:
            self.run([(queue, popped.payload, 0)])
            if not self.state.backlog:
                # After the worker has started the job, whose result may be sent by then, block on the queue again.
                self._loop.call_soon(self._start_waiting)
                return
        elif step is NextStep.REVALIDATE:
            self._revalidate(queue, popped.payload)
        elif step is NextStep.REQUEUE:
            self.state.job_done()
            self.requeue_unknown(queue, [popped.payload])
        self._wake()

    def _on_pop_ended(self, queue: Queue, error: BaseException | None) -> None:
        if isinstance(error, NotOpen) and error.opens_in is not None:
            self.state.open.note_opening(queue, error.opens_in, self._loop.time())
            self._openings.plan()
            error = None
        self.state.on_pop_ended(queue, failed=error is not None)
        if error is not None and not isinstance(error, NotOpen):
            if is_out_of_connections(error):
                self.reduce_connections(error)
            self._on_possible_loss()
        self._wake()

    # Jobs that may be another pool's

    def requeue_unknown(self, queue: Queue, payloads: Sequence[bytes]) -> None:
        """Requeue jobs in progress in Redis that no worker here has, even if a reply under way brings them."""
        self.state.on_requeueing(payloads, self._loop.time())
        self._results.add(RequeueFront(queue, payloads), partial(self._on_requeued, payloads))

    def _on_requeued(self, payloads: Sequence[bytes], _: Any) -> None:
        self.state.on_requeued(payloads, self._loop.time())
        self._revalidate_postponed()

    def _revalidate(self, queue: Queue, payload: bytes) -> None:
        """Ask Redis whether a job that it has returned may start."""
        on_reply = partial(self._on_revalidated, queue, payload, self._loop.time())
        self._results.add(AdmitPopped(queue, [payload]), on_reply)

    def _on_revalidated(self, queue: Queue, payload: bytes, requested_at: float, reply: Sequence[int]) -> None:
        verdict, waiting, crashes = Verdict(reply[0]), reply[1], reply[2]
        if verdict is Verdict.ADMITTED and self.state.pending_requeues.may_rest(_resting(queue, payload), requested_at):
            # Redis may have decided before it knew that this is to rest.
            self._revalidate(queue, payload)
            return
        step = self.state.on_revalidated(queue, payload, verdict, waiting, self._loop.time())
        if step is NextStep.RUN:
            self.run([(queue, payload, crashes)])
        elif step is NextStep.REQUEUE:
            self.requeue_unbegun([(queue, payload, crashes)])
        self._revalidate_postponed()
        self._wake()

    def _revalidate_postponed(self) -> None:
        for queue, payload, _ in self.state.pending_requeues.take_postponed():
            self._revalidate(queue, payload)


def _resting(queue: Queue, payload: bytes) -> tuple[Queue, str]:
    """Return what is to rest after a rate limited job: its queue, and in a fair queue, only its tenant."""
    return queue, tenant_of(payload) if queue.fair else ""
