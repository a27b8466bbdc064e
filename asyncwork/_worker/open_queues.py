"""Decides which queues a fetch names, on which queues pops block, and when the others are polled.

A fetch of a pool with few queues names them in weighted order, step by step. With many, it names only those that a
poll has found to be filled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence, Set

from .._redis.commands import Collecting, Fetch
from .._redis.queue import Queue
from .._redis.queue_poll import QueuePoll
from .._redis.work_queue import Fetched
from .filled_queues import FilledQueues
from .further_fetches import FurtherFetches
from .limited_queues import LimitedQueues
from .poll_times import PollTimes
from .priority_sampler import QueueSampler, sample
from .queue_poller import QueuePoller


class OpenQueues:
    """The queues of one pool from which jobs may be taken, and whether some are thought to wait.

    It is pure and synchronous, as :class:`FetchState` is.

    :param queues: all queues of the pool.
    :param crowded: the queues from which nothing is taken because Redis rejects too many results of their jobs; a live
        set.
    :param longest_poll: the longest time between two polls of queues from which nothing may be taken, seconds.
    :param many: whether fetches name only queues that a poll has found to be filled.
    :ivar backlog: whether jobs are thought to wait. Then they are fetched for all free workers; otherwise pops block.
    :ivar closed: queues from which nothing may be taken now: paused, at their concurrency limit, or unreadable.
    :ivar fair: whether some of the queues may be fair.
    :ivar limited: which queues have a rate, and which of them wait for a token.
    :ivar poll_wanted: whether a poll is to be made with the next batch.
    :ivar polls: when :meth:`poll` is due.
    :ivar collecting: returns whose jobs a fetch takes, if those of the only queue run in chunks of one tenant each;
        ``None`` for other queues.
    """

    def __init__(self, queues: Sequence[Queue], crowded: Set[Queue], *, longest_poll: float, many: bool) -> None:
        self.queues = queues
        self.backlog = False
        self.closed: set[Queue] = set()
        self._crowded = crowded
        self.fair = True
        self.limited = LimitedQueues()
        # Live. Without limited queues it is always empty.
        self._waiting = self.limited.opens_at
        self._filled = FilledQueues()
        self._poller = QueuePoller(queues, self._filled if many else None)
        self.polls = PollTimes(self._poller.period, longest_poll)
        self._many = many
        # One sampler for each fetch in flight that goes through the queues step by step.
        self._samplers: dict[Fetch, QueueSampler] = {}
        self._idle_samplers: list[QueueSampler] = []
        self._further = FurtherFetches()
        # Draws the queues on which pops block, of many.
        self._draws = QueueSampler(queues)
        self.poll_wanted = False
        self.collecting: Callable[[], Collecting] | None = None
        self.search()

    def search(self) -> None:
        """Have all queues polled or fetched from as soon as may be."""
        if self._many:
            self.poll_wanted = True
            self._reopen()
        else:
            self.backlog = bool(self.queues)

    def _reopen(self) -> None:
        """Have closed queues fetched from."""
        if self._many:
            self._filled.add(self.closed)
            self.backlog = len(self._filled) > 0
        else:
            self.backlog = True

    def on_admitted(self, queue: Queue, waiting: int) -> None:
        """Take note of a job that a pop has taken.

        :param waiting: number of jobs left in the queue; from now on they are fetched in batches.
        """
        self.polls.on_jobs()
        if waiting > 0:
            self.backlog = True
            if self._many:
                self._filled.add([queue], deep=True)

    # Fetches

    def next_fetch(
        self, limit: int, now: float, *, acked: Collection[Queue], blocked: Set[Queue], looks_ahead: bool
    ) -> Fetch | None:
        """Return a fetch, if jobs may wait.

        :param limit: the most jobs that it takes.
        :param now: the event loop's clock, seconds.
        :param acked: queues whose acknowledgements are about to be sent: a fetch beside them costs no round trip, and
            may find a queue open again that was at its concurrency limit.
        :param blocked: queues on which pops block.
        :param looks_ahead: whether the pool may hold jobs that have not begun.
        """
        if self._many:
            opened = [queue for queue in acked if queue in self.closed] if self.closed else []
            queues = self._filled.choose(limit, opened, blocked | self._unavailable())
            if not queues:
                self.backlog = len(self._filled) > 0
                return None
            fetch = Fetch(queues, limit, now, looks_ahead, self.fair)
            self._filled.on_fetch(fetch)
            return fetch
        if self.backlog and not (blocked or self._crowded or self._waiting):
            sampler = self._idle_samplers.pop() if self._idle_samplers else QueueSampler(self.queues)
            fetch = Fetch(sampler.step(), limit, now, looks_ahead, self.fair)
            self._samplers[fetch] = sampler
            return fetch
        if self.backlog or ((acked or self._further.wanted) and len(blocked) < len(self.queues)):
            queues = self._available(blocked)
            if queues or not self._waiting:
                fetch = Fetch(queues, limit, now, looks_ahead, self.fair)
                if not (self.backlog or acked):
                    self._further.on_sent(fetch)
                return fetch
            # Only tokens, or the ends of rests, are waited for.
            self.backlog = False
        return None

    def on_fetched(self, fetch: Fetch, fetched: Fetched) -> None:
        """Take note of the reply to a fetch."""
        self._note_read(fetch, fetched)
        if fetched.opens and (left := self.limited.note(fetched.opens, fetch.requested_at)):
            self._add_filled(left)
        if self.limited.resting:
            self.limited.note_read(fetch.queues)
        if fetch.collecting is not None and fetched.jobs:
            # It takes the jobs of one tenant, and others may wait.
            self.search()

    def _note_read(self, fetch: Fetch, fetched: Fetched) -> None:
        if self._many:
            self.closed.difference_update(self._filled.on_fetched(fetch, fetched))
            self.closed.update(fetched.closed)
            self.backlog = len(self._filled) > 0
            return
        if (sampler := self._samplers.pop(fetch, None)) is not None:
            self._idle_samplers.append(sampler)
        else:
            self._further.on_fetched(fetch, fetched)
        if len(fetched.jobs) == fetch.limit:
            if sampler is not None:
                sampler.enough(1 + fetch.queues.index(fetched.jobs[-1][0]))
        else:
            closed = set(fetched.closed) if sampler is None else sampler.too_few(fetched.closed)
            if closed is not None:
                self.backlog, self.closed = False, closed

    def on_failed(self, fetch: Fetch) -> None:
        """Take note that a fetch was rejected or lost."""
        if self._many:
            self._filled.on_failed(fetch)
        elif (sampler := self._samplers.pop(fetch, None)) is not None:
            sampler.begin_anew()
            self._idle_samplers.append(sampler)

    def _unavailable(self) -> Set[Queue]:
        """Return the queues from which nothing may be taken now, but for closed ones."""
        return self._crowded | self._waiting.keys() if self._waiting else self._crowded

    def _available(self, blocked: Set[Queue]) -> list[Queue]:
        """Return the queues that a fetch may name, in weighted order."""
        excluded = self._unavailable()
        queues = [queue for queue in self.queues if queue not in blocked and queue not in excluded]
        return sample(queues) if len(queues) > 1 else queues

    # Queues with a rate

    def set_rated(self, queues: Iterable[Queue]) -> None:
        """Have the jobs of these queues take a token, and no others. Queues that wait for one are fetched from."""
        self.limited.set_rated(queues)
        self.reopen_limited()

    def reopen_limited(self) -> None:
        """Fetch from queues that wait for a token or for the end of a rest, which may come earlier now."""
        self._add_filled(self.limited.open_all())

    def on_opening(self, now: float) -> None:
        """Fetch from the queues whose next token has come, or whose rest has ended."""
        self._add_filled(self.limited.open_due(now))

    def note_opening(self, queue: Queue, seconds: float, now: float) -> None:
        """Take nothing from a queue for some time, as a pop of it has found."""
        self._add_filled(self.limited.note([(queue, seconds)], now))

    def on_opened(self, queue: Queue) -> None:
        """Fetch from a fair queue whose tenants may go on, or from one to which the job of a pop goes back."""
        self._add_filled([queue])

    def _add_filled(self, queues: Sequence[Queue]) -> None:
        if queues:
            self.backlog = True
            if self._many:
                self._filled.add(queues, deep=True)

    # Polls

    def next_poll(self, now: float, *, has_room: bool) -> QueuePoll | None:
        """Return a poll, if one is due: at a poll, and again and again while jobs of other queues wait.

        :param has_room: whether there are free workers.
        """
        beside_jobs = self._many and self.backlog and has_room and now >= self.polls.poll_again_at
        if self._poller.in_flight or not (self.poll_wanted or beside_jobs):
            return None
        self.poll_wanted = False
        self.polls.on_poll(now)
        return self._poller.next(self.closed | self._unavailable())

    def on_polled(self, poll: QueuePoll, replies: Sequence[int]) -> None:
        """Fetch from the queues that were found to be filled."""
        if self._poller.on_replies(poll, replies):
            self.backlog = True
        self.poll_wanted = self._poller.counted

    def on_poll_failed(self) -> None:
        """Have a rejected or lost poll made again."""
        self._poller.on_failed()
        self.poll_wanted = True

    # Waiting for jobs

    def to_block_on(self, room: int, blocked: Set[Queue], concurrency: int) -> list[Queue]:
        """Return the queues on which pops are to block now; those of high priority first.

        :param room: how many there may be.
        :param blocked: queues on which pops block already.
        :param concurrency: number of workers.
        """
        if self.collecting is not None and not self.collecting().others:
            return []
        if self._many:
            # The other workers stay free for what a poll finds.
            room = min(room, concurrency // 2 - len(blocked))
        if room <= 0:
            return []
        if self._many:
            unavailable = blocked | self._unavailable()
            candidates = [queue for queue in self._draws.draw(room) if queue not in unavailable]
        else:
            candidates = self._available(blocked)
        closed = self.closed
        return [queue for queue in candidates if queue not in closed][:room]

    def next_poll_at(self, now: float, blocked: Set[Queue]) -> float | None:
        """Return when to poll the queues on which no pop blocks; ``None`` if that was planned before."""
        if self._poller.in_flight:
            return None
        closed = self.closed | self._crowded
        unavailable = closed | self._waiting.keys() if self._waiting else closed
        open_left = len(blocked | unavailable if unavailable else blocked) < len(self.queues)
        return self.polls.plan(now, open_left=open_left, closed=bool(closed))

    def poll(self, now: float) -> None:
        """Have the queues polled, and sometimes closed queues fetched from."""
        closed_are_due = self.polls.due(now)
        if closed_are_due:
            self._reopen()
        self.poll_wanted = self._many or not closed_are_due
