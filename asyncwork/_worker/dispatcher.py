"""Brings jobs to the workers and their fates back to Redis, in batches.

Each lane is a connection on which one exchange is under way at a time: it settles everything that finished and fetches
for the workers that are free, in one round trip. So the batch grows with the load by itself, without timers. When there
is nothing to fetch, the free workers are parked: blocking pops wait in Redis for them, each on behalf of one worker, so
that never more jobs are taken than there are free workers.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from .._redis.errors import ErrorReply
from .._redis.keys import Queue
from .._redis.work_queue import Admit, Batch, Claim, ClaimsEnd, GiveBack, Order, Popped, Verdict, WorkQueue
from .blocking_pops import BlockingPops
from .lease import Lease
from .pending_results import PendingResults
from .pipeline import Pipeline
from .priority_sampler import QueueSampler, sample
from .ready_queue import ReadyQueue
from .services.outage import Outage

logger = logging.getLogger("asyncwork")

# Seconds for which jobs may begin after they were claimed, while no heartbeat can be written.
_CLAIM_HOLDS = 1.0
# Seconds until queues that cannot be waited on are looked at again, at first; doubled while nothing comes.
_FIRST_POLL = 0.01


class Dispatcher:
    """The hot path of one pool.

    :param lease: for how long jobs that were taken may begin.
    :param running: returns the jobs that the workers run, with their queues.
    :param concurrency: how many workers there are.
    :param exchanges: how many batches may be under way at once.
    :param max_parked: how many connections may wait in Redis at once.
    :param block: how long such a wait may last in Redis, seconds; then it is begun anew.
    :param trusted: how long after a job was asked for it may start when it comes, seconds. Later, this pool may have
        been taken for dead, and the job be another's: Redis is asked again.
    :param poll: the longest time between two looks at queues that cannot be waited on, seconds.
    :param timeout: how long an answer of Redis may take until its connection is given up, seconds.
    :param suspicious: called when an answer was lost, so that a job may be in progress in Redis that nobody here runs.
    """

    def __init__(
        self,
        work_queue: WorkQueue,
        queues: Sequence[Queue],
        lease: Lease,
        running: Callable[[], Iterable[tuple[Queue, bytes]]],
        *,
        concurrency: int,
        exchanges: int = 2,
        max_parked: int = 32,
        block: float = 4.0,
        trusted: float = 8.0,
        poll: float = 1.0,
        timeout: float = 10.0,
        suspicious: Callable[[], None] = lambda: None,
    ) -> None:
        self.queues = list(queues)
        self.turns = ReadyQueue()
        self.lease = lease
        # Of jobs on their way to a worker, how many times each was running when its process died, where it ever was.
        self.crashes: dict[bytes, int] = {}
        self._loop = asyncio.get_running_loop()
        self._running = running
        # Jobs that may not begin before they are claimed.
        self._held_back: list[tuple[Queue, bytes]] = []
        # While the jobs are being claimed, what the lease gave for that.
        self._claim_begun: tuple[float, float, int] | None = None
        # What Redis was asked to put back on its queue, or may put back, and has not answered yet.
        self._returning: Counter[bytes] = Counter()
        self._work_queue = work_queue
        self._parking = BlockingPops(
            work_queue, self._arrived, self._comes_late, block=block, timeout=timeout, most=max_parked
        )
        self._outage = Outage("dispatcher")
        self._refused = Outage("dispatcher")
        self._concurrency = concurrency
        self._share = -(-concurrency // exchanges)
        self._exchanges = exchanges
        self._longest_poll = poll
        self._trusted = trusted
        self._doubted_at = -math.inf
        self._timeout = timeout
        self._suspicious = suspicious
        # Workers that neither run a job nor are promised to a fetch or a parked connection.
        self._free = concurrency
        # Those that are promised to a fetch.
        self._asked = 0
        self._outbox = PendingResults(self.put, suspicious, most=concurrency)
        # Whether to fetch for every free worker; if not, they are parked.
        self._hungry = bool(self.queues)
        self._quiet = False
        self._closing = False
        self._closed: set[Queue] = set()
        self._unreadable: set[Queue] = set()
        self._stirred = asyncio.Event()
        # How many lanes wait for that; the rest look by themselves when their batch is answered.
        self._idle_lanes = 0
        self._calm = asyncio.Event()
        self._poll_delay = _FIRST_POLL
        self._poll_timer: asyncio.TimerHandle | None = None
        self._lanes: list[asyncio.Task[None]] = []

    # What workers call

    def ack(self, queue: Queue, payload: bytes) -> None:
        """Have a finished job taken off; its worker is free."""
        self._outbox.acks[queue].append(payload)
        self._free += 1
        if self._idle_lanes:
            self._stirred.set()

    def settle(self, order: Order) -> None:
        """Have something else done to a job; its worker is free."""
        self._free += 1
        self.put(order)

    def leave(self) -> None:
        """Leave a job in progress in Redis, to be put back with all others when the pool departs."""
        self._free += 1

    def hold_back(self, queue: Queue, payload: bytes) -> None:
        """Have a job, and all others that no worker has begun, begin only once they are claimed."""
        self._held_back += [(queue, payload), *self.turns.jobs]
        self.turns.jobs.clear()
        self._stirred.set()

    def let_go(self, payload: bytes) -> None:
        """Leave a job alone that may be another pool's. If it is ours, the reconciler finds it. Its worker is free."""
        self.crashes.pop(payload, None)
        self._free += 1
        self._suspicious()
        self._stirred.set()
        if self.calm:
            self._calm.set()

    def put(self, order: Order) -> None:
        """Have something done to jobs that no worker holds."""
        self._outbox.orders.append(order)
        self._stirred.set()

    def take_up(self, queue: Queue, payloads: Sequence[bytes]) -> None:
        """Give back jobs in progress of which nobody here knows. Should an answer bring them yet, Redis is asked."""
        self._doubted_at = self._loop.time()
        self._returning.update(payloads)
        self.put(GiveBack(queue, payloads, answered=lambda _: self._returned(payloads)))

    def _returned(self, payloads: Iterable[bytes]) -> None:
        """Take note that jobs are back on their queue, which an answer may bring yet that was asked for before."""
        self._no_longer_returning(payloads)
        self._doubted_at = self._loop.time()

    def _no_longer_returning(self, payloads: Iterable[bytes]) -> None:
        self._returning.subtract(payloads)
        self._returning = +self._returning

    def _not_returning(self, jobs: Iterable[tuple[Queue, bytes]]) -> list[tuple[Queue, bytes]]:
        """Return those of the jobs that are not about to be put back, which may be done more than once: when the answer
        is lost, Redis is asked again. This pool can have taken them meanwhile.
        """
        return [job for job in jobs if not self._returning[job[1]]]

    async def confirm(self, order: Order) -> Any:
        """Have something done to a job; return Redis's answer when it is."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        order.answered = partial(_resolve, answer)
        self.put(order)
        return await answer

    async def confirm_in_time(self, order: Order) -> tuple[Any, bool]:
        """Have something done to a job; return Redis's answer, and whether it came in time.

        After a late one, the job may be another pool's.
        """
        asked_at = self._loop.time()
        answer = await self.confirm(order)
        return answer, not self._comes_late(asked_at)

    # What the pool calls

    @property
    def calm(self) -> bool:
        """Whether nothing is running, and nothing is to be told to Redis."""
        idle = self._free + len(self._parking) == self._concurrency
        return idle and not (self.turns.jobs or self._held_back or self._outbox)

    @property
    def running(self) -> int:
        """How many jobs this pool holds: running, about to run, or on their way from Redis."""
        return self._concurrency - self._free - len(self._parking)

    @property
    def parked(self) -> int:
        """On how many queues free workers wait in Redis."""
        return len(self._parking)

    def start(self) -> None:
        """Open the lanes and begin to fetch."""
        self._lanes = [self._open_lane() for _ in range(self._exchanges)]

    def limit_parked(self, most: int, reason: str) -> None:
        """Have blocking pops take no more than so many connections, for a reason that is logged."""
        self._parking.limit(most, reason)

    def give_room(self, refusal: BaseException) -> None:
        """Have blocking pops give up half of their connections, for Redis has refused one."""
        self._parking.give_room(refusal)

    @property
    def lanes(self) -> Sequence[asyncio.Task[None]]:
        """The tasks that must not end while the pool runs."""
        return self._lanes

    def take_no_more(self) -> None:
        """Fetch nothing more from now on; workers that are parked may still be brought jobs, which are given back."""
        self._quiet = True
        if self._poll_timer is not None:
            self._poll_timer.cancel()
            self._poll_timer = None

    async def quiet(self) -> None:
        """Take nothing new; what runs goes on."""
        self.take_no_more()
        await self._parking.unpark()

    async def until_calm(self) -> None:
        """Wait until nothing is running and everything is told to Redis."""
        while not self.calm:
            self._calm.clear()
            self._stirred.set()
            await self._calm.wait()

    async def drained(self) -> None:
        """Wait until the queues are empty, those that are paused aside, and everything is settled.

        :raises RedisError, OSError: when Redis refuses or cannot be reached.
        """
        while True:
            await self.until_calm()
            if not await self._work_queue.unfinished(self.queues):
                if self.calm:
                    return
            elif self._free or len(self._parking):
                self._hungry = True
                self._stirred.set()
                await asyncio.sleep(_FIRST_POLL)

    async def close(self) -> None:
        """End the lanes, having told Redis what it can be told. What no worker has begun stays in progress there."""
        self._closing = True
        self._outbox.refusals.hurry()
        self._stirred.set()
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=self._timeout)
        if self.untold() and all(lane.done() for lane in self._lanes):
            # They were cancelled, with whatever else the event loop had; one more tells what is left.
            self._lanes = [self._open_lane()]
            await asyncio.wait(self._lanes, timeout=self._timeout)
        await self.abort()

    async def settle_elsewhere(self) -> None:
        """Tell Redis over a pooled connection what the lanes could not tell: one of theirs may be silent. For when they
        have ended.

        :raises RedisError, OSError: when that connection does not answer either.
        """
        outbox = self._outbox
        outbox.refusals.hurry()
        if not outbox.untold():
            return
        batch = Batch(outbox.acks, outbox.orders)
        outbox.send(batch)
        try:
            answers = await self._work_queue.settle(batch)
        except BaseException:
            outbox.take_back(batch)
            raise
        to_acks, to_orders, _ = batch.split(answers)
        outbox.answered(batch, to_acks, to_orders)

    async def abort(self) -> None:
        """End the lanes and waits now. Idempotent."""
        for lane in self._lanes:
            lane.cancel()
        if self._lanes:
            await asyncio.wait(self._lanes)
        await self._parking.close()

    def untold(self) -> int:
        """Return how many fates could not be told to Redis."""
        return self._outbox.untold()

    def held(self) -> Counter[bytes]:
        """Return the payloads that are on their way between Redis and the workers, by how often."""
        held = self._outbox.held()
        held.update(payload for _, payload in [*self.turns.jobs, *self._held_back])
        return held

    # Lanes

    def _open_lane(self) -> asyncio.Task[None]:
        sweep = QueueSampler(self.queues)
        lane = Pipeline(self._work_queue, self, sweep, self._outage, self._refused, self._timeout)
        return asyncio.create_task(lane.run(), name="asyncwork lane")

    async def wait_for_batch(self, sweep: QueueSampler) -> Batch | None:
        """Return the next batch as soon as there is one, the free workers being parked; ``None`` when there will be
        none any more.
        """
        while True:
            while self._is_overdue():
                await self._parking.unpark()
            if (batch := self.next_batch(sweep)) is not None:
                return batch
            if self._closing:
                return None
            self._park()
            self._stirred.clear()
            self._idle_lanes += 1
            try:
                await self._stirred.wait()
            finally:
                self._idle_lanes -= 1

    def next_batch(self, sweep: QueueSampler) -> Batch | None:
        """Return what is to be told to Redis and fetched now, if there is anything."""
        if self._claim_begun is not None:
            return None
        if self.lease.in_doubt and (claims := self._claim()) is not None:
            return claims
        wanted = self._wanted()
        outbox = self._outbox
        if not (outbox.acks or outbox.orders or wanted) or self._is_overdue():
            return None
        batch = Batch(outbox.acks, outbox.orders, self._among(sweep) if wanted else [], wanted, self._loop.time())
        outbox.send(batch)
        self._free -= wanted
        self._asked += wanted
        return batch

    def _claim(self) -> Batch | None:
        """Return what claims the jobs that this pool holds, before anything else is done to them and before it takes
        others; ``None`` when it holds none.
        """
        begun, by_queue = self.lease.begin_claim(), defaultdict[Queue, list[bytes]](list)
        for queue, payload in [*self._outbox.jobs(), *self._held_back, *self.turns.jobs, *self._running()]:
            by_queue[queue].append(payload)
        if not by_queue:
            if self.lease.reaped and self.queues:
                self.put(ClaimsEnd(self.queues[0], []))
            self.lease.claimed(begun, _CLAIM_HOLDS)
            return None
        self._claim_begun = begun
        claims: list[Order] = [Claim(queue, payloads) for queue, payloads in by_queue.items()]
        return Batch({}, [*claims, ClaimsEnd(self.queues[0], [])], claims=True)

    def _claimed(self, claims: Sequence[Order], answers: Sequence[Any]) -> ErrorReply | None:
        """Have those jobs begin that are still this pool's, and drop the others; return a refusal, if there was one."""
        for answer in answers:
            if isinstance(answer, ErrorReply):
                return answer
        lost: Counter[tuple[Queue, bytes]] = Counter()
        for claim, places in zip(claims[:-1], answers[:-1], strict=True):
            lost.update((claim.queue, claim.payloads[place - 1]) for place in places)
        kept, dropped = [], 0
        for job in [*self._held_back, *self.turns.jobs]:
            if lost[job]:
                lost[job] -= 1
                dropped += 1
                self.crashes.pop(job[1], None)
            else:
                kept.append(job)
        self._held_back = []
        self.turns.jobs.clear()
        self._free += dropped
        if dropped:
            logger.warning("dropped %d jobs that had not begun: another pool has taken them meanwhile", dropped)
        assert self._claim_begun is not None
        self.lease.claimed(self._claim_begun, _CLAIM_HOLDS)
        if kept:
            self._hand_over(kept)
        return None

    def _claim_ended(self) -> None:
        self._claim_begun = None
        if self.calm:
            self._calm.set()
        self._stirred.set()

    def _is_overdue(self) -> bool:
        """Whether jobs wait in batches, and all free workers are parked."""
        return self._hungry and len(self._parking) > 0 and not (self._free or self._asked or self._quiet)

    def _wanted(self) -> int:
        if self._quiet or not self._free:
            return 0
        if self._hungry or (self._outbox.acks and len(self._parking) < len(self.queues)):
            return min(self._free, self._share)
        return 0

    def _among(self, sweep: QueueSampler) -> list[Queue]:
        """The queues to fetch from, in the order in which to look at them."""
        if self._hungry and not (len(self._parking) or self._outbox.refusals):
            return sweep.step()
        return sweep.all_at_once(self._unparked())

    def _unparked(self) -> Iterator[Queue]:
        """The queues that nobody is parked on, and of which not too much is refused."""
        refusals = self._outbox.refusals
        return (queue for queue in self.queues if queue not in self._parking and not refusals.abound(queue))

    def answered(self, batch: Batch, answers: list[Any], sweep: QueueSampler) -> ErrorReply | None:
        """Take in the answers to a batch; return a refusal, if there was one, having taken back what it was for."""
        if batch.claims:
            refusal = self._claimed(batch.orders, answers)
            self._claim_ended()
            return refusal
        self._asked -= batch.wanted
        to_acks, to_orders, to_fetch = batch.split(answers)
        refusal = self._outbox.answered(batch, to_acks, to_orders)
        if isinstance(to_fetch, ErrorReply):
            self._free += batch.wanted
            refusal = to_fetch
        elif batch.wanted:
            self._fetched(batch, to_fetch, sweep)
        if self.calm:
            self._calm.set()
        return refusal

    def _fetched(self, batch: Batch, answer: Any, sweep: QueueSampler) -> None:
        among, wanted = batch.among, batch.wanted
        jobs, closed, unreadable, crashes = self._work_queue.fetched(answer, among)
        self.crashes.update(crashes)
        if unreadable or self._unreadable:
            self._cannot_read(unreadable, jobs)
        enough, last = len(jobs) == wanted, jobs[-1][0] if jobs else None
        if self._returning:
            jobs = self._not_returning(jobs)
        self._free += wanted - len(jobs)
        if jobs and self._comes_late(batch.asked_at):
            for queue, payload in jobs:
                self._ask_about(queue, payload)
        elif jobs:
            self._hand_over(jobs)
        if enough and last is not None:
            sweep.enough(1 + among.index(last))
        elif (in_vain := sweep.too_few(closed)) is not None:
            self._hungry = False
            self._closed = in_vain

    def lost(self, batch: Batch, sweep: QueueSampler) -> None:
        """Take a batch back of which Redis may have done something or nothing: everything is to be told again, and a
        fetch may have taken what nobody knows of.
        """
        if batch.claims:
            self._claim_ended()
            return
        self._outbox.take_back(batch)
        self._asked -= batch.wanted
        self._free += batch.wanted
        sweep.begin_anew()
        self._suspicious()
        if self.calm:
            self._calm.set()

    def _comes_late(self, asked_at: float) -> bool:
        """Tell whether a job that was asked for then, by the loop's clock, may be another's by now."""
        return asked_at <= self._doubted_at or self._loop.time() - asked_at > self._trusted

    def _hand_over(self, jobs: Sequence[tuple[Queue, bytes]]) -> None:
        self._poll_delay = _FIRST_POLL
        self.turns.hand_over(jobs)

    def _cannot_read(self, unreadable: Iterable[Queue], jobs: Iterable[tuple[Queue, bytes]]) -> None:
        """Tell of queues that are no lists, once until they are read again."""
        self._unreadable.difference_update(queue for queue, _ in jobs)
        for queue in unreadable:
            if queue not in self._unreadable:
                self._unreadable.add(queue)
                logger.error("queue %s: nothing can be taken from it: its key holds something else", queue.name)
                self._suspicious()

    # BlockingPops

    def _park(self) -> None:
        """Have the free workers wait in Redis, as far as there are queues that can be waited on."""
        if self._quiet or self._hungry or self._closing:
            return
        in_doubt = self._claim_begun is not None or self.lease.in_doubt
        if self._free and len(self._parking) < len(self.queues) and not in_doubt:
            for queue in self._parkable():
                self._free -= 1
                self._parking.park(queue)
        if len(self._parking) < len(self.queues) and (self._free or len(self._parking)) and self._poll_timer is None:
            self._poll_timer = self._loop.call_later(self._poll_delay, self._poll)
            self._poll_delay = min(self._poll_delay * 2, self._longest_poll)

    def _parkable(self) -> Iterator[Queue]:
        room = min(self._free, self._parking.room)
        for queue in sample(self._unparked()):
            if room <= 0:
                return
            if queue not in self._closed:
                room -= 1
                yield queue

    def _poll(self) -> None:
        self._poll_timer = None
        self._hungry = not self._quiet
        self._stirred.set()

    def _arrived(self, queue: Queue, popped: Popped | None, trouble: BaseException | None) -> None:
        """A wait has ended. Its worker is now the job's, or free again."""
        if popped is None:
            self._free += 1
            if trouble is not None:
                # Looked at again by the next poll, which knows how to wait for Redis.
                self._closed.add(queue)
                self._suspicious()
        elif not self._not_returning([(queue, popped.payload)]):
            self._free += 1
        elif self._quiet:
            self.settle(GiveBack(queue, [popped.payload]))
        elif popped.admitted:
            self._start(queue, popped.payload, popped.waiting)
        else:
            self._ask_about(queue, popped.payload)
        self._stirred.set()

    def _ask_about(self, queue: Queue, payload: bytes) -> None:
        """Ask whether a job that Redis brought may start."""
        self._returning[payload] += 1
        self.put(Admit(queue, [payload], answered=partial(self._admitted, queue, payload)))

    def _start(self, queue: Queue, payload: bytes, waiting: int) -> None:
        self._hand_over([(queue, payload)])
        # More of them: from now on in batches.
        self._hungry = self._hungry or (waiting > 0 and not self._quiet)

    def _admitted(self, queue: Queue, payload: bytes, answer: Sequence[int]) -> None:
        verdict, waiting, crashes = Verdict(answer[0]), answer[1], answer[2]
        self._no_longer_returning([payload])
        if verdict is Verdict.ADMITTED:
            if crashes:
                self.crashes[payload] = crashes
            self._start(queue, payload, waiting)
        else:
            self._free += 1
            if verdict is Verdict.GIVEN_BACK:
                self._doubted_at = self._loop.time()
                self._closed.add(queue)
        self._stirred.set()


def _resolve(answer: asyncio.Future[Any], payload: Any) -> None:
    if not answer.done():
        answer.set_result(payload)
