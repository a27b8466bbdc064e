"""Brings jobs from Redis to the workers, and their results back, in batches.

Each pipeline is a connection on which one batch is in flight at a time: it sends every result there is and fetches jobs
for the free workers, in one round trip. So batches grow with the load by themselves, without timers. When no jobs wait,
blocking pops wait in Redis on behalf of free workers.

The fetcher takes the jobs; the dispatcher makes batches of what is to be sent, and processes the replies.

One file for batches, results and the ways to end, because a batch may be sent only when all of these allow it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from .._jobs.hold import Hold
from .._redis.commands import ClearReaped, Command, CommandBatch, MemberAck
from .._redis.errors import ErrorReply
from .._redis.job_end import JobEnd
from .._redis.queue import Queue
from .._redis.work_queue import HeldJob, WorkQueue
from .claims import Claims
from .dispatch_limits import DispatchLimits
from .fetcher import Fetcher
from .lease import Lease
from .pending_results import OnReply, PendingResults
from .pipeline import Pipeline
from .poll_times import FIRST_POLL_DELAY
from .ready_queue import ReadyQueue
from .services.outage import Outage


class Dispatcher:
    """The hot path of one pool.

    :param lease: how long jobs that were fetched may start.
    :param running: returns the jobs that the workers run.
    :param possible_loss: set when a reply was lost, so that Redis may hold jobs as in progress that no worker has.
    :param ready: takes the jobs, for the workers; ``None`` for one that has them run as soon as a worker is free.
    :ivar fetcher: takes the jobs.
    :ivar ready: jobs for the workers.
    :ivar waits_for_rests: whether :meth:`drain` waits until queues do not rest any more.
    :ivar closing: whether the pipelines end as soon as they have nothing to send.
    :ivar jobs_first: whether a pipeline has replies whose jobs are about to run, and sends its next batch afterwards.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        queues: Sequence[Queue],
        lease: Lease,
        limits: DispatchLimits,
        *,
        running: Callable[[], Iterable[tuple[Queue, bytes]]],
        possible_loss: asyncio.Event,
        ready: ReadyQueue | None = None,
    ) -> None:
        self.queues = list(queues)
        self.lease = lease
        self.closing = False
        self.jobs_first = False
        self.waits_for_rests = True
        self._work_queue = work_queue
        self._limits = limits
        self._running = running
        self._possible_loss = possible_loss
        self._loop = asyncio.get_running_loop()
        self._results = PendingResults(self.wake_idle, possible_loss.set, limits.concurrency)
        self._claims = Claims(lease, self.queues)
        self.fetcher = Fetcher(
            work_queue,
            self.queues,
            limits,
            self._results,
            ready or ReadyQueue(),
            wake=self.wake_idle,
            start_waiting=self._start_waiting,
            possible_loss=possible_loss,
        )
        self.ready, self._state = self.fetcher.ready, self.fetcher.state
        self._outage = Outage("dispatcher")
        self._refused = Outage("dispatcher")
        # Wake the pipelines that have no batch; the others look for one themselves when they have their replies.
        self._idle_pipelines: deque[Callable[[], None]] = deque()
        self._became_idle = asyncio.Event()
        self._pipelines: list[asyncio.Task[None]] = []

    # For workers: record what became of a job. Each counts its worker as free.

    def ack(self, queue: Queue, payload: bytes) -> None:
        """Have a job that succeeded removed."""
        self._results.acks[queue].append(payload)
        self._state.job_done()
        if self._idle_pipelines:
            self.wake_idle()

    def end(self, queue: Queue, end: JobEnd) -> None:
        """Have a job that has ended removed, and its record written."""
        self._results.ends[queue].append(end)
        self._state.job_done()
        if self._idle_pipelines:
            self.wake_idle()

    def ack_member(self, queue: Queue, ack: MemberAck) -> None:
        """Have a member of a batch that has ended removed."""
        self._results.members[queue].append(ack)
        self._state.job_done()
        if self._idle_pipelines:
            self.wake_idle()

    def end_holder(self, queue: Queue, payload: bytes, hold: Hold) -> None:
        """Have a job that has ended removed, and the key freed that it holds."""
        self._state.job_done()
        self._results.end_holder(queue, payload, hold)

    def finish(self, command: Command) -> None:
        """Have a command end a job in another way."""
        self._state.job_done()
        self._results.add(command)

    def leave(self) -> None:
        """Leave a job in progress in Redis; it is requeued with all others when the pool is deregistered."""
        self._state.job_done()

    def release(self) -> None:
        """Do nothing more to a job that may be another pool's. If it is this pool's, the reconciler finds it."""
        self._state.job_done()
        self._possible_loss.set()
        self.wake_idle()
        self._note_idle()

    def hold_back(self, job: HeldJob) -> None:
        """Have a job, and all others that no worker has started, start only after they are claimed.

        Another pool may have them by now, even if the heartbeat's thread has just renewed the lease.
        """
        self._claims.held_back += [job, *self.ready.jobs]
        self.ready.jobs.clear()
        self.wake_idle()

    # For workers and services: commands about jobs that keep their worker, or have none

    def submit(self, command: Command, on_reply: OnReply | None = None) -> None:
        """Have a command sent with the next batch."""
        self._results.add(command, on_reply)

    async def request(self, command: Command) -> Any:
        """Send a command with the next batch; return the reply."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._results.add(command, partial(_resolve, reply))
        return await reply

    async def request_in_time(self, command: Command) -> tuple[Any, bool]:
        """Send a command with the next batch; return the reply, and whether it came in time.

        After a late reply, the job may be another pool's.
        """
        requested_at = self._loop.time()
        reply = await self.request(command)
        return reply, not self._state.pending_requeues.is_stale(requested_at, self._loop.time())

    # For the launcher

    @property
    def idle(self) -> bool:
        """Whether no job runs, and Redis has every result."""
        return not (self._state.busy or self.ready.jobs or self._claims.held_back or self._results)

    @property
    def busy(self) -> int:
        """Number of jobs that this pool holds or is about to get."""
        return self._state.busy

    @property
    def blocked(self) -> int:
        """Number of queues on which a blocking pop waits."""
        return len(self._state.blocked)

    @property
    def concurrency(self) -> int:
        """How many jobs this pool runs at once."""
        return self._state.concurrency

    @property
    def workers_needed(self) -> int:
        """The number of workers that have a job, or may get one."""
        return self._state.workers_needed

    def note_workers(self, count: int) -> None:
        """Take note of how many workers there are, which may be more than the concurrency after a resize."""
        self._state.surplus_workers = count > self._state.concurrency

    def resize(self, concurrency: int) -> None:
        """Take jobs for another number of workers, which must be there."""
        self._results.rejected.most = concurrency
        self.fetcher.resize(concurrency)

    @property
    def pipelines(self) -> Sequence[asyncio.Task[None]]:
        """The tasks that must not end while the pool runs."""
        return self._pipelines

    def on_due(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever a batch has scheduled jobs that are due now."""
        self._results.on_due = wake

    def start(self) -> None:
        """Open the pipelines and begin to fetch."""
        self._state.open.fair = any(queue.fair for queue in self.queues)
        self._pipelines = [self._open_pipeline() for _ in range(self._limits.pipelines)]

    async def quiet(self) -> None:
        """Take nothing new; what runs goes on."""
        self.fetcher.stop()
        await self.fetcher.end_pops()

    async def until_idle(self) -> None:
        """Wait until no job runs, and Redis has every result."""
        while not self.idle:
            self._became_idle.clear()
            self.wake_idle()
            await self._became_idle.wait()

    async def drain(self) -> None:
        """Wait until the queues are empty, except paused ones, and Redis has every result. Rests are waited for.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        while True:
            await self.until_idle()
            if not await self._work_queue.unfinished(self.queues, resting=self.waits_for_rests):
                if self.idle:
                    return
            elif self._state.free > 0 or self._state.blocked:
                self._state.open.search()
                self.wake_idle()
                await asyncio.sleep(FIRST_POLL_DELAY)

    async def close(self) -> None:
        """End the pipelines after they have sent what they can. Jobs that did not start stay in progress in Redis."""
        self.closing = True
        self._results.rejected.send_all()
        while self._idle_pipelines:
            self.wake_idle()
        if self._pipelines:
            await asyncio.wait(self._pipelines, timeout=self._limits.reply_timeout)
        if self.unacknowledged() and all(pipeline.done() for pipeline in self._pipelines):
            # They were cancelled, as all tasks of the event loop were; another one sends the rest.
            self._pipelines = [self._open_pipeline()]
            await asyncio.wait(self._pipelines, timeout=self._limits.reply_timeout)
        await self.abort()

    async def send_pooled(self) -> None:
        """Send the results that the pipelines could not, over a pooled connection, because theirs may hang. To be
        called after they have ended.

        :raises RedisError, OSError: when that connection has no replies either.
        """
        results = self._results
        results.rejected.send_all()
        if not results.unacknowledged():
            return
        batch = results.take()
        try:
            replies = await self._work_queue.send_pooled(batch)
        except BaseException:
            results.on_lost(batch)
            raise
        results.on_replies(batch, replies)

    async def abort(self) -> None:
        """End the pipelines and blocking pops now. Idempotent."""
        for pipeline in self._pipelines:
            pipeline.cancel()
        if self._pipelines:
            await asyncio.wait(self._pipelines)
        await self.fetcher.close()

    def unacknowledged(self) -> int:
        """Return the number of results that could not be written to Redis."""
        return self._results.unacknowledged()

    def unconfirmed(self) -> int:
        """Return the number of results that Redis has not confirmed. May be called from any thread."""
        return self._results.unconfirmed()

    @property
    def reconnects(self) -> int:
        """How often a pipeline was connected again."""
        return self._work_queue.reconnects

    def held(self) -> Counter[bytes]:
        """Return the payloads that are on their way between Redis and the workers, with how often."""
        held = self._results.payloads()
        postponed = self._state.pending_requeues.postponed
        jobs = (*self.ready.jobs, *self._claims.held_back, *postponed, *self.fetcher.to_requeue)
        held.update(payload for _, payload, _ in jobs)
        held.update(payload for command in self.fetcher.rests for payload in command.payloads)
        return held

    def _note_idle(self) -> None:
        if not self._became_idle.is_set() and self.idle:
            self._became_idle.set()

    # For the pipelines

    def reduce_connections(self, error: BaseException) -> None:
        """See :meth:`Fetcher.reduce_connections`."""
        self.fetcher.reduce_connections(error)

    def _open_pipeline(self) -> asyncio.Task[None]:
        pipeline = Pipeline(self._work_queue, self, self._outage, self._refused, self._limits.reply_timeout)
        return asyncio.create_task(pipeline.run(), name="asyncwork pipeline")

    async def wait_for_batch(self) -> CommandBatch | None:
        """Return the next batch as soon as there is one, while pops block for the free workers; ``None`` when there
        will be no more.
        """
        while (batch := self.next_batch()) is None and not self.closing:
            woken = asyncio.Event()
            self.add_idle(woken.set)
            try:
                await woken.wait()
            except BaseException:
                if woken.is_set():
                    self.wake_idle()
                raise
        return batch

    def add_idle(self, wakeup: Callable[[], None]) -> None:
        """Call ``wakeup`` once when there may be a batch, for one idle pipeline at a time. Meanwhile, pops block for
        the free workers.
        """
        self._idle_pipelines.append(wakeup)
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Block on queues, unless jobs that this pool holds must be claimed first: a pop would take them again."""
        if self._claims.in_progress or self.closing:
            return
        if self._claims.held_back or (len(self._state.blocked) < len(self.queues) and self.lease.in_doubt):
            self.wake_idle()
        else:
            self.fetcher.start_waiting()

    def wake_idle(self) -> None:
        """Wake one idle pipeline."""
        if self._idle_pipelines:
            self._loop.call_soon(self._idle_pipelines.popleft())

    def next_batch(self) -> CommandBatch | None:
        """Return the next batch if there is something to send or to fetch."""
        state, results, claims = self._state, self._results, self._claims
        if claims.in_progress:
            return None
        all_blocked = len(state.blocked) == len(self.queues)
        if all_blocked and not (state.running or results.unsent or self.lease.reaped):
            return None
        # Jobs may be held back although a heartbeat has renewed the lease meanwhile.
        if (self.lease.in_doubt or claims.held_back) and (batch := claims.begin(self._held_jobs())) is not None:
            return batch
        now = self._loop.time()
        fetch, poll = state.next_fetch(now, acked=results.acked), state.next_poll(now)
        if fetch is None and poll is None and not results.unsent:
            return None
        if state.free > 0 and state.backlog:
            # Another pipeline fetches for the other workers.
            self.wake_idle()
        return results.take(fetch, poll)

    def on_replies(self, batch: CommandBatch, replies: list[Any]) -> ErrorReply | None:
        """Process the replies to a batch; return an error reply, if there was one, after which the same is sent again
        later.
        """
        if batch.claims:
            return self._on_claimed(batch, replies)
        error = self._results.on_replies(batch, replies)
        if batch.poll is not None:
            end = len(replies) - (batch.fetch is not None)
            error = self.fetcher.on_polled(batch.poll, replies[end - len(batch.poll) : end]) or error
        if batch.fetch is not None:
            reply = replies[-1]
            if isinstance(reply, ErrorReply):
                self.fetcher.on_failed(batch.fetch)
                error = reply
            else:
                self.fetcher.on_fetched(batch.fetch, reply)
        self._note_idle()
        return error

    def on_lost(self, batch: CommandBatch) -> None:
        """Have a batch that Redis may have executed sent again."""
        if batch.claims:
            self._end_claim()
            return
        self._results.on_lost(batch)
        if batch.poll is not None:
            self._state.open.on_poll_failed()
        if batch.fetch is not None:
            self.fetcher.on_failed(batch.fetch)
        self._possible_loss.set()
        self._note_idle()

    def _held_jobs(self) -> Iterator[tuple[Queue, bytes]]:
        yield from self._results.jobs()
        yield from (job[:2] for job in (*self._claims.held_back, *self.ready.jobs))
        yield from self._running()

    def _on_claimed(self, batch: CommandBatch, replies: list[Any]) -> ErrorReply | None:
        result = self._claims.on_replies(batch.commands, replies, self.ready.jobs)
        if not isinstance(result, ErrorReply):
            kept, dropped = result
            if not self.lease.is_alone and self.lease.all_claimed:
                self._results.add(ClearReaped(self.queues[0], []))
            # The claim may have made another heartbeat.
            self._state.look_ahead.revoke()
            for _ in range(dropped):
                self._state.job_done()
            self.ready.jobs.clear()
            if kept:
                self.fetcher.run(kept)
        self._end_claim()
        return result if isinstance(result, ErrorReply) else None

    def _end_claim(self) -> None:
        self._claims.end()
        self._note_idle()
        self.wake_idle()


def _resolve(future: asyncio.Future[Any], reply: Any) -> None:
    if not future.done():
        future.set_result(reply)
