"""The pure part of the hot path: in whatever order events come, each worker is counted once and no job is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from asyncwork._redis.commands import Fetch
from asyncwork._redis.keys import Keys
from asyncwork._redis.queue import Queue
from asyncwork._redis.queue_poll import QueuePoll
from asyncwork._redis.work_queue import Fetched, HeldJob, Popped, Verdict
from asyncwork._worker.fetch_state import FetchState
from asyncwork._worker.fetch_steps import NextStep, WaitPlan
from asyncwork._worker.look_ahead import Announcement

# Seconds.
STALE_AFTER = 8.0
LONGEST_POLL = 1.0

picks = st.integers(0, 50)
# With few queues, several things happen to the same one.
queue_priorities = st.sampled_from([0, 1, 1, 2, 2, 3, 9]).flatmap(
    lambda count: st.lists(st.integers(1, 100), min_size=count, max_size=count)
)


class FetchStateMachine(RuleBasedStateMachine):
    """A pool of some workers, and a Redis in which jobs wait. Each job is one payload that exists once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.made = 0
        # Redis
        self.waiting: dict[Queue, list[bytes]] = {}
        self.paused: set[Queue] = set()
        # Taken in Redis by a request whose reply was lost.
        self.unknown: list[tuple[Queue, bytes]] = []
        # The pool
        self.fetches: list[Fetch] = []
        self.poll: QueuePoll | None = None
        # When each pop was sent, and whether its job takes a token.
        self.pops: dict[Queue, tuple[float, bool]] = {}
        self.running: list[tuple[Queue, bytes]] = []
        self.revalidated: list[tuple[Queue, bytes]] = []
        self.postponed: list[tuple[Queue, bytes]] = []
        # What Redis was asked to requeue, what it has requeued, and what it has decided on, before the reply is read.
        self.requeued: list[tuple[Queue, bytes]] = []
        self.done: list[tuple[Queue, bytes]] = []
        self.verdicts: list[tuple[Queue, bytes, Verdict]] = []
        self.crowded: set[Queue] = set()
        # The queues that have a rate, with their tokens. They come when time passes.
        self.tokens: dict[Queue, int] = {}
        # Pops that are to end, and how many workers were free after the last step.
        self.surplus: set[Queue] = set()
        self.free = 0

    @initialize(
        priorities=queue_priorities,
        concurrency=st.integers(1, 12),
        pipelines=st.integers(1, 3),
        stops=st.booleans(),
        few=st.sampled_from([0, 64]),
        idle=st.booleans(),
    )
    def begin(self, priorities: list[int], concurrency: int, pipelines: int, stops: bool, few: int, idle: bool) -> None:
        self.stops = stops
        keys = Keys("test")
        self.queues = [Queue.of(keys, f"job{n}", "pool", priority) for n, priority in enumerate(priorities)]
        self.waiting = {queue: [] for queue in self.queues}
        self.state = FetchState(
            self.queues,
            concurrency=concurrency,
            pipelines=pipelines,
            max_blocked=5,
            stale_after=STALE_AFTER,
            longest_poll=LONGEST_POLL,
            crowded=self.crowded,
            look_ahead=True,
            few=few,
        )
        # Else it would measure the rate, which is 0 here.
        self.state.look_ahead.due = float("inf")
        self.free = concurrency
        # Random steps seldom lead there, and much happens only there.
        for _ in range(9 if idle else 0):
            self.fetch(0)
            while self.fetches:
                self.fetch_replies(0)
            self.make_poll()
            if self.poll:
                self.poll_replies()
            self.plan_wait()

    # What others do

    @precondition(lambda self: self.queues)
    @rule(pick=picks, count=st.integers(1, 5))
    def enqueue(self, pick: int, count: int) -> None:
        for _ in range(count):
            self.made += 1
            self.waiting[self.queues[pick % len(self.queues)]].append(b"%d" % self.made)

    @precondition(lambda self: self.queues)
    @rule(pick=picks)
    def pause_or_unpause(self, pick: int) -> None:
        self.paused ^= {self.queues[pick % len(self.queues)]}

    @precondition(lambda self: self.queues)
    @rule(pick=picks)
    def crowd_or_not(self, pick: int) -> None:
        queue = self.queues[pick % len(self.queues)]
        self.crowded.symmetric_difference_update({queue})

    @rule(seconds=st.sampled_from([0.001, 0.5, 3.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        if self.state.open.polls.next_at is not None and self.state.open.polls.next_at <= self.now:
            self.state.poll(self.now)
        for queue in self.tokens:
            self.tokens[queue] = min(3, self.tokens[queue] + int(seconds * 2))
        opening = self.state.open.limited.next_opening()
        if opening is not None and opening <= self.now:
            self.state.open.on_opening(self.now)

    @precondition(lambda self: self.queues)
    @rule(pick=picks, tokens=st.integers(0, 3))
    def set_rate_or_not(self, pick: int, tokens: int) -> None:
        queue = self.queues[pick % len(self.queues)]
        if self.tokens.pop(queue, None) is None:
            self.tokens[queue] = tokens
        self.surplus.update(self.state.set_rated(list(self.tokens)))
        assert self.surplus <= self.pops.keys()
        # No pop goes on that takes no token.
        assert self.surplus >= {each for each, (_, limited) in self.pops.items() if each in self.tokens and not limited}

    @precondition(lambda self: self.queues)
    @rule(pick=picks)
    def rest(self, pick: int) -> None:
        self.state.rest(self.queues[pick % len(self.queues)], 2.0, self.now)

    # Fetches

    @rule(acked=st.integers(0, 9))
    def fetch(self, acked: int) -> None:
        used = self.state.busy + len(self.state.blocked)
        fetch = self.state.next_fetch(self.now, acked=self.queues[:acked])
        if fetch is None:
            assert self.state.busy + len(self.state.blocked) == used
            return
        assert not self.state.quiet
        assert 0 < fetch.limit <= self.state.concurrency + self.state.ahead - used
        assert len(set(fetch.queues)) == len(fetch.queues)
        assert fetch.at_once <= fetch.limit
        limited = self.tokens.keys() | self.state.open.limited.resting
        assert bool(fetch.limited) == any(queue in limited for queue in fetch.queues)
        self.fetches.append(fetch)

    @precondition(lambda self: self.fetches)
    @rule(pick=picks)
    def fetch_replies(self, pick: int) -> None:
        fetch = self.fetches.pop(pick % len(self.fetches))
        jobs = self.take(fetch)
        read = fetch.queues
        if len(jobs) == fetch.limit:
            read = read[: 1 + read.index(jobs[-1][0])]
        closed = [queue for queue in read if queue in self.paused]
        opens = self.openings(fetch, read, jobs)
        step, kept = self.state.on_fetched(fetch, Fetched(jobs, closed, [], opens=opens), self.now)
        postponed = [job[:2] for job in jobs if job not in kept]
        self.check_postponed(postponed)
        if kept and self.state.quiet:
            assert step is NextStep.REQUEUE
            for queue, payload, _ in kept:
                self.state.job_done()
                self.waiting[queue].append(payload)
            return
        if kept and self.now - fetch.requested_at > STALE_AFTER:
            assert step is NextStep.REVALIDATE
        (self.revalidated if step is NextStep.REVALIDATE else self.running).extend(job[:2] for job in kept)

    def check_postponed(self, jobs: list[tuple[Queue, bytes]]) -> None:
        """Jobs are postponed only while a reply that may be about an earlier requeue is under way."""
        doubtful = {job[:2] for job in (*self.requeued, *self.done, *self.verdicts, *self.revalidated)}
        assert doubtful.issuperset(jobs)
        self.postponed += [job for job in jobs if job not in self.postponed]

    def revalidate_postponed(self) -> None:
        for job in self.state.pending_requeues.take_postponed():
            self.postponed.remove(job[:2])
            self.revalidated.append(job[:2])

    def take(self, fetch: Fetch) -> list[HeldJob]:
        jobs: list[HeldJob] = []
        for queue in fetch.queues:
            while queue not in self.paused and self.waiting[queue] and len(jobs) < fetch.limit:
                if queue in fetch.limited and queue in self.tokens:
                    if not self.tokens[queue] or len(jobs) >= fetch.at_once:
                        break
                    self.tokens[queue] -= 1
                jobs.append((queue, self.waiting[queue].pop(0), 0))
        return jobs

    def openings(self, fetch: Fetch, read: Sequence[Queue], jobs: list[HeldJob]) -> list[tuple[Queue, float]]:
        """When the queues may be read again that have no token, or of which jobs with a token were left."""
        return [
            (queue, 0.0 if self.tokens[queue] else 0.5)
            for queue in read
            if queue in fetch.limited and queue in self.tokens and queue not in self.paused
            if not self.tokens[queue] or (self.waiting[queue] and len(jobs) >= fetch.at_once)
        ]

    @precondition(lambda self: self.fetches)
    @rule(pick=picks, taken=st.booleans())
    def fetch_fails(self, pick: int, taken: bool) -> None:
        fetch = self.fetches.pop(pick % len(self.fetches))
        if taken:
            self.unknown += [job[:2] for job in self.take(fetch)]
        self.state.on_failed(fetch)

    # Polls

    @rule()
    def make_poll(self) -> None:
        poll = self.state.next_poll(self.now)
        if poll is None:
            return
        assert self.poll is None
        assert not self.state.quiet
        self.poll = poll
        polled = [queue for section in poll.sections for queue in section.queues]
        assert len(set(polled)) == len(polled) == len(poll) or not poll.lists

    @precondition(lambda self: self.poll)
    @rule()
    def poll_replies(self) -> None:
        poll, self.poll = self.poll, None
        assert poll is not None
        filled = [[min(1, len(self.waiting[queue])) for queue in section.queues] for section in poll.sections]
        replies = [each for some in filled for each in some] if poll.lists else list(map(sum, filled))
        assert len(replies) == len(poll) == len(poll.commands())
        self.state.open.on_polled(poll, replies)

    @precondition(lambda self: self.poll)
    @rule()
    def poll_fails(self) -> None:
        self.poll = None
        self.state.open.on_poll_failed()

    # Waiting

    @rule()
    def plan_wait(self) -> None:
        plan = self.state.plan_wait(self.now)
        if plan.block_on:
            assert not self.state.quiet
            assert len(self.pops) + len(plan.block_on) <= self.state.max_blocked
        for queue in plan.block_on:
            assert queue not in self.pops
            assert queue not in self.state.open.limited.opens_at
            self.pops[queue] = self.now, queue in self.state.open.limited.rated
        if plan.poll_at is not None:
            assert self.now < plan.poll_at <= self.now + LONGEST_POLL
        if plan.unblock:
            for queue in list(self.pops):
                self.pop_ends(queue)

    def pop_ends(self, queue: Queue, *, failed: bool = False) -> None:
        del self.pops[queue]
        self.surplus.discard(queue)
        self.state.on_pop_ended(queue, failed=failed)

    @precondition(lambda self: self.pops)
    @rule(pick=picks, failed=st.booleans())
    def pop_ends_without_a_job(self, pick: int, failed: bool) -> None:
        self.pop_ends(list(self.pops)[pick % len(self.pops)], failed=failed)

    @precondition(lambda self: any(self.waiting[queue] for queue in self.pops))
    @rule(pick=picks, admitted=st.booleans(), certain=st.sampled_from([True, True, True, False]))
    def pop_takes_a_job(self, pick: int, admitted: bool, certain: bool) -> None:
        filled = [queue for queue in self.pops if self.waiting[queue]]
        queue = filled[pick % len(filled)]
        requested_at, limited = self.pops.pop(queue)
        self.surplus.discard(queue)
        rated = limited and certain and queue in self.tokens
        if rated and not self.tokens[queue]:
            # The script behind the pop has put the job back.
            self.state.open.note_opening(queue, 0.5, self.now)
            self.state.on_pop_ended(queue, failed=False)
            assert queue in self.state.open.limited.opens_at
            return
        payload, has_tokens, opens_in = self.waiting[queue].pop(0), limited and certain, None
        if rated:
            self.tokens[queue] -= 1
            opens_in = None if self.tokens[queue] else 0.5
        admitted = admitted and (certain or not limited)
        waiting = 0 if opens_in else len(self.waiting[queue])
        popped = Popped(payload, admitted, waiting, has_tokens, opens_in)
        step = self.state.on_popped(queue, popped, requested_at, self.now)
        # None begins without its token.
        assert step is NextStep.REQUEUE or has_tokens or queue not in self.tokens
        match step:
            case NextStep.RUN:
                assert admitted
                assert not self.state.quiet
                assert self.state.free >= 0
                assert self.now - requested_at <= STALE_AFTER
                self.running.append((queue, payload))
            case NextStep.REVALIDATE:
                assert not self.state.quiet
                assert self.state.free >= 0
                self.revalidated.append((queue, payload))
            case NextStep.REQUEUE:
                assert self.state.quiet or self.state.free < 0 or (queue in self.tokens and not has_tokens)
                self.state.job_done()
                self.waiting[queue].append(payload)
            case NextStep.POSTPONE:
                self.check_postponed([(queue, payload)])

    @precondition(lambda self: self.revalidated)
    @rule(pick=picks, verdict=st.sampled_from(Verdict))
    def redis_revalidates(self, pick: int, verdict: Verdict) -> None:
        queue, payload = self.revalidated.pop(pick % len(self.revalidated))
        self.verdicts.append((queue, payload, verdict))
        if verdict is Verdict.REQUEUED:
            self.waiting[queue].insert(0, payload)

    @precondition(lambda self: self.verdicts)
    @rule(pick=picks)
    def revalidation_replies(self, pick: int) -> None:
        queue, payload, verdict = self.verdicts.pop(pick % len(self.verdicts))
        step = self.state.on_revalidated(queue, payload, verdict, len(self.waiting[queue]), self.now)
        admitted = NextStep.REQUEUE if self.state.quiet else NextStep.RUN
        assert step is (admitted if verdict is Verdict.ADMITTED else NextStep.IGNORE)
        if step is NextStep.REQUEUE:
            self.state.job_done()
            self.waiting[queue].append(payload)
        if verdict is Verdict.ADMITTED:
            if step is NextStep.RUN:
                self.running.append((queue, payload))
            # Redis has admitted what the other reply has brought.
            self.postponed = [job for job in self.postponed if job[1] != payload]
        self.revalidate_postponed()

    # Jobs

    @precondition(lambda self: self.running)
    @rule(pick=picks)
    def job_ends(self, pick: int) -> None:
        self.running.pop(pick % len(self.running))
        self.state.job_done()

    @precondition(lambda self: self.unknown)
    @rule(pick=picks)
    def reconciler_requeues(self, pick: int) -> None:
        job = self.unknown.pop(pick % len(self.unknown))
        self.state.on_requeueing([job[1]], self.now)
        self.requeued.append(job)

    @precondition(lambda self: self.requeued)
    @rule(pick=picks)
    def redis_requeues(self, pick: int) -> None:
        queue, payload = self.requeued.pop(pick % len(self.requeued))
        self.waiting[queue].insert(0, payload)
        self.done.append((queue, payload))

    @precondition(lambda self: self.done)
    @rule(pick=picks)
    def requeue_replies(self, pick: int) -> None:
        _, payload = self.done.pop(pick % len(self.done))
        self.state.on_requeued([payload], self.now)
        self.revalidate_postponed()

    # Limits

    @rule(most=st.integers(1, 5))
    def limit_blocked(self, most: int) -> None:
        self.state.max_blocked = min(self.state.max_blocked, most)

    @precondition(lambda self: self.stops)
    @rule()
    def quiet(self) -> None:
        self.state.stop()

    @precondition(lambda self: self.state.quiet)
    @rule()
    def resume(self) -> None:
        self.state.resume()
        searches = self.state.backlog or self.poll or self.state.open.poll_wanted
        assert searches or self.state.free == 0 or not self.queues

    @rule(concurrency=st.integers(1, 15))
    def resize(self, concurrency: int) -> None:
        """At any time: while pops block, quiet, with replies under way or lost."""
        self.surplus.update(self.state.resize(concurrency))
        assert self.surplus <= self.pops.keys()
        assert self.state.concurrency == concurrency
        # The other workers run jobs, or may get some by a fetch.
        assert len(self.surplus) >= min(len(self.pops), -self.state.free)
        self.free = self.state.free

    @rule(picked=st.lists(st.tuples(picks, picks), min_size=5, max_size=20))
    def much_happens(self, picked: list[tuple[int, int]]) -> None:
        """Several things that can happen now, one after the other. Single rules seldom get far: most do nothing yet."""
        for what, pick in picked:
            possible = self.possible()
            possible[what % len(possible)](pick)
            self.each_worker_is_counted_once()

    def possible(self) -> list[Callable[[int], None]]:
        """Return what can happen now."""
        each: list[tuple[object, Callable[[int], None]]] = [
            (True, lambda pick: self.fetch(pick % 3)),
            (True, lambda _: self.plan_wait()),
            (self.queues, lambda pick: self.enqueue(pick, 1)),
            (self.fetches, self.fetch_replies),
            (self.fetches, lambda pick: self.fetch_fails(pick, True)),
            (self.pops, lambda pick: self.pop_ends_without_a_job(pick, bool(pick % 2))),
            (any(self.waiting[queue] for queue in self.pops), lambda pick: self.pop_takes_a_job(pick, True, True)),
            (self.revalidated, lambda pick: self.redis_revalidates(pick, list(Verdict)[pick % len(Verdict)])),
            (self.verdicts, self.revalidation_replies),
            (self.running, self.job_ends),
            (self.unknown, self.reconciler_requeues),
            (self.requeued, self.redis_requeues),
            (self.done, self.requeue_replies),
            (self.stops, lambda _: self.resume() if self.state.quiet else self.quiet()),
        ]
        return [act for can, act in each if can]

    @rule(size=st.integers(0, 20))
    def look_ahead(self, size: int) -> None:
        self.state.look_ahead.announced = True
        self.state.look_ahead.wanted = size

    # What always holds

    @invariant()
    def each_worker_is_counted_once(self) -> None:
        state = self.state
        assert state.check()
        assert min(state.requested, state.running) >= 0
        # After a resize, jobs may run beyond the new size, but no more are taken before there are fewer.
        assert state.free >= min(0, self.free)
        self.free = state.free
        # Slots that are in use may be more than are wanted now.
        assert state.ahead <= 20
        assert state.workers_needed == max(state.concurrency, state.busy + len(state.blocked) - state.ahead)
        # No pop waits on behalf of a slot.
        assert len(state.blocked) <= state.concurrency or self.surplus
        assert state.blocked == self.pops.keys()
        assert state.requested == sum(fetch.limit for fetch in self.fetches)
        assert state.running == sum(
            len(jobs) for jobs in (self.running, self.revalidated, self.verdicts, self.postponed)
        )
        assert sorted(job[1] for job in state.pending_requeues.postponed) == sorted(
            payload for _, payload in self.postponed
        )
        assert state.busy == state.requested + state.running

    def teardown(self) -> None:
        """Every job that waits is taken in the end."""
        if not hasattr(self, "state") or self.state.quiet:
            return
        self.paused.clear()
        self.crowded.clear()
        for queue in list(self.surplus):
            self.pop_ends(queue)
        for _ in range(400):
            for fetch in list(self.fetches):
                self.fetch_replies(self.fetches.index(fetch))
            for queue in [queue for queue in self.pops if self.waiting[queue]]:
                if queue in self.pops and self.waiting[queue]:
                    self.pop_takes_a_job(0, True, True)
            while self.revalidated or self.verdicts:
                while self.revalidated:
                    self.redis_revalidates(0, Verdict.ADMITTED)
                self.revalidation_replies(0)
            while self.running:
                self.job_ends(0)
            while self.unknown:
                self.reconciler_requeues(0)
            while self.requeued:
                self.redis_requeues(0)
            while self.done:
                self.requeue_replies(0)
            if not any((*self.waiting.values(), self.postponed, self.revalidated)):
                return
            self.make_poll()
            if self.poll:
                self.poll_replies()
            self.fetch(0)
            self.plan_wait()
            self.time_passes(0.5)
            self.each_worker_is_counted_once()
        raise AssertionError(f"jobs were forgotten: {self.waiting}")


def test_every_order_of_replies_losses_pops_and_stops() -> None:
    run_state_machine_as_test(
        FetchStateMachine, settings=settings(max_examples=150, stateful_step_count=60, deadline=None)
    )


def make_state(queues: int = 2, concurrency: int = 4, pipelines: int = 1) -> FetchState:
    keys = Keys("test")
    return FetchState(
        [Queue.of(keys, f"job{n}", "pool", 1) for n in range(queues)],
        concurrency=concurrency,
        pipelines=pipelines,
        max_blocked=queues,
        stale_after=STALE_AFTER,
        longest_poll=LONGEST_POLL,
        crowded=set(),
    )


def make_blocked_state() -> FetchState:
    """A state in which a fetch has found nothing, and pops block on all queues."""
    state = make_state()
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert set(state.plan_wait(0.0).block_on) == set(state.queues)
    return state


def find(state: FetchState, now: float) -> None:
    """Poll; the poll finds that jobs wait."""
    state.poll(now)
    poll = state.next_poll(now)
    if poll is not None:
        state.open.on_polled(poll, [1] * len(poll))


def fetch_again(state: FetchState, payload: bytes, requested_at: float, now: float) -> NextStep:
    """Return what becomes of a job that a fetch brings."""
    find(state, requested_at)
    fetch = state.next_fetch(requested_at)
    assert fetch is not None
    step, jobs = state.on_fetched(fetch, Fetched([(state.queues[0], payload, 0)], [], []), now)
    return step if jobs else NextStep.IGNORE


def test_a_job_that_redis_has_requeued_runs_when_it_comes_again() -> None:
    state = make_blocked_state()
    queue = state.queues[0]
    assert state.on_popped(queue, Popped(b"1", False, 0), 0.0, 1.0) is NextStep.REVALIDATE
    assert state.on_revalidated(queue, b"1", Verdict.REQUEUED, 1, 1.0) is NextStep.IGNORE
    assert fetch_again(state, b"1", 2.0, 2.0) is NextStep.RUN


def test_a_job_that_is_being_requeued_is_postponed_until_redis_has_replied() -> None:
    state = make_blocked_state()
    queue = state.queues[0]
    state.on_requeueing([b"1", b"2"], 1.0)
    assert state.on_popped(queue, Popped(b"1", True, 0), 2.0, 2.0) is NextStep.POSTPONE
    assert fetch_again(state, b"2", 2.0, 2.0) is NextStep.IGNORE
    assert state.running == 2
    assert state.pending_requeues.take_postponed() == []
    state.on_requeued([b"1"], 3.0)
    assert state.pending_requeues.take_postponed() == [(queue, b"1", 0)]
    assert list(state.pending_requeues.postponed) == [(queue, b"2", 0)]
    assert state.on_revalidated(queue, b"1", Verdict.ADMITTED, 0, 3.0) is NextStep.RUN


def test_a_job_that_is_taken_again_before_the_reply_that_it_was_requeued_is_not_forgotten() -> None:
    state = make_blocked_state()
    queue = state.queues[0]
    assert state.on_popped(queue, Popped(b"1", False, 0), 0.0, 1.0) is NextStep.REVALIDATE
    # The other pipeline's fetch takes what Redis has requeued because of the limit, and its reply is read first.
    assert fetch_again(state, b"1", 1.0, 1.1) is NextStep.IGNORE
    assert state.on_revalidated(queue, b"1", Verdict.REQUEUED, 1, 1.2) is NextStep.IGNORE
    assert state.pending_requeues.take_postponed() == [(queue, b"1", 0)]
    assert state.on_revalidated(queue, b"1", Verdict.ADMITTED, 0, 1.3) is NextStep.RUN


def test_a_job_that_two_replies_have_brought_runs_once() -> None:
    state = make_blocked_state()
    queue = state.queues[0]
    assert state.on_popped(queue, Popped(b"1", False, 0), 0.0, 1.0) is NextStep.REVALIDATE
    for now in (1.1, 1.2):
        assert fetch_again(state, b"1", 1.0, now) is NextStep.IGNORE
    assert state.running == 2
    # Redis has decided on the job after it was taken again.
    assert state.on_revalidated(queue, b"1", Verdict.ADMITTED, 0, 1.3) is NextStep.RUN
    assert state.pending_requeues.take_postponed() == []
    assert state.running == 1


def test_a_reply_from_before_a_requeue_is_revalidated() -> None:
    state = make_blocked_state()
    state.on_requeueing([b"1"], 1.0)
    state.on_requeued([b"1"], 3.0)
    assert fetch_again(state, b"1", 2.0, 3.0) is NextStep.REVALIDATE
    assert state.on_revalidated(state.queues[0], b"1", Verdict.GONE, 0, 3.0) is NextStep.IGNORE
    assert fetch_again(state, b"1", 3.5, 3.5) is NextStep.RUN


def test_a_reply_from_before_a_popped_job_was_requeued_is_revalidated() -> None:
    state = make_blocked_state()
    queue = state.queues[0]
    assert state.on_popped(queue, Popped(b"1", False, 0), 0.0, 1.0) is NextStep.REVALIDATE
    find(state, 2.0)
    fetch = state.next_fetch(2.0)
    assert fetch is not None
    assert state.on_revalidated(queue, b"1", Verdict.REQUEUED, 1, 3.0) is NextStep.IGNORE
    step, jobs = state.on_fetched(fetch, Fetched([(queue, b"1", 0)], [], []), 4.0)
    assert (step, len(jobs)) == (NextStep.REVALIDATE, 1)


def test_a_reply_that_is_older_than_the_lease_is_revalidated() -> None:
    state = make_blocked_state()
    assert state.on_popped(state.queues[0], Popped(b"1", True, 0), 0.0, STALE_AFTER + 1) is NextStep.REVALIDATE
    assert fetch_again(state, b"2", 20.0, 20.0 + STALE_AFTER + 1) is NextStep.REVALIDATE
    assert fetch_again(state, b"3", 40.0, 40.0 + STALE_AFTER - 1) is NextStep.RUN


@pytest.mark.parametrize(
    ("requested_at", "now", "stale"),
    [
        (3.0, 3.0 + STALE_AFTER, False),
        (3.0, 3.1 + STALE_AFTER, True),
        # Sent before Redis has replied that it has requeued a job, at that moment, or after it.
        (1.9, 2.1, True),
        (2.0, 2.1, True),
        (2.1, 2.1, False),
    ],
)
def test_which_replies_are_stale(requested_at: float, now: float, stale: bool) -> None:
    state = make_state()
    state.on_requeueing([b"1"], 1.0)
    state.on_requeued([b"1"], 2.0)
    assert state.pending_requeues.is_stale(requested_at, now) is stale


def test_jobs_behind_a_popped_one_are_fetched_in_batches() -> None:
    state = make_blocked_state()
    assert state.next_fetch(1.0) is None
    assert state.on_popped(state.queues[0], Popped(b"1", True, 5), 0.0, 1.0) is NextStep.RUN
    fetch = state.next_fetch(1.0)
    assert fetch is not None
    assert fetch.queues == [state.queues[0]]


def test_no_pop_blocks_on_a_queue_whose_pop_has_failed_until_it_was_polled() -> None:
    state = make_blocked_state()
    queue = state.queues[0]
    state.on_pop_ended(queue, failed=True)
    plan = state.plan_wait(1.0)
    assert plan.block_on == []
    assert plan.poll_at is not None
    state.poll(plan.poll_at)
    fetch = state.next_fetch(plan.poll_at)
    assert fetch is not None
    assert fetch.queues == [queue]
    state.on_fetched(fetch, Fetched([], [], []), plan.poll_at)
    assert state.plan_wait(plan.poll_at).block_on == [queue]


def test_a_poll_that_finds_nothing_has_nothing_fetched() -> None:
    state = make_state(concurrency=1)
    fetch_nothing(state, 0.0)
    now, delays = 0.0, []
    # One worker is blocked on one of two queues; the other queue is polled.
    for _ in range(10):
        poll_at = state.plan_wait(now).poll_at
        assert poll_at is not None
        assert state.plan_wait(now).poll_at is None
        delays.append(poll_at - now)
        now = poll_at
        state.poll(now)
        poll = state.next_poll(now)
        assert poll is not None
        assert state.next_poll(now) is None
        assert state.plan_wait(now).poll_at is None
        state.open.on_polled(poll, [0])
        assert state.next_fetch(now) is None
        assert state.next_poll(now) is None
    assert delays == pytest.approx([0.01, 0.02, *[0.04] * 8])
    assert len(state.blocked) == 1
    find(state, now)
    assert state.plan_wait(now).unblock


def fetch_nothing(state: FetchState, now: float, closed: Sequence[Queue] = ()) -> None:
    """Have a fetch find nothing."""
    fetch = state.next_fetch(now)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], list(closed), []), now)


def test_closed_queues_are_not_polled_but_fetched_from_less_and_less_often() -> None:
    state = make_state(queues=3)
    # So that there is a queue to poll, and a worker to fetch for.
    state.max_blocked = 1
    paused = state.queues[1]
    fetch_nothing(state, 0.0, [paused])
    now, fetched_at = 0.0, []
    while now < 10:
        plan = state.plan_wait(now)
        assert paused not in plan.block_on
        assert plan.poll_at is not None
        now = plan.poll_at
        state.poll(now)
        if (poll := state.next_poll(now)) is not None:
            assert paused not in poll.sections[0].queues
            state.open.on_polled(poll, [0])
        if state.backlog:
            fetched_at.append(now)
            fetch_nothing(state, now, [paused])
    delays = [later - earlier for earlier, later in pairwise([0.0, *fetched_at])]
    assert delays[0] == pytest.approx(0.01)
    assert all(delay <= later + 1e-9 for delay, later in pairwise(delays))
    assert 6 <= len(delays) <= 20
    assert delays[-1] == pytest.approx(LONGEST_POLL, abs=0.05)


def fetch_full(state: FetchState, acked: Sequence[Queue] = ()) -> int:
    """Have a fetch bring as many jobs as it asks for; return how many. 0 if there is none."""
    if (fetch := state.next_fetch(0.0, acked=acked)) is None:
        return 0
    jobs = [(state.queues[0], b"%d" % number, 0) for number in range(fetch.limit)]
    state.on_fetched(fetch, Fetched(jobs, [], []), 0.0)
    return len(jobs)


def make_closed_state() -> FetchState:
    """A state of two pipelines, in which the only queue is at its limit."""
    state = make_state(queues=1, concurrency=8, pipelines=2)
    fetch_nothing(state, 0.0, state.queues)
    assert state.next_fetch(0.0) is None
    return state


def test_a_fetch_beside_acknowledgements_that_brings_all_it_asks_for_is_followed_by_another() -> None:
    state = make_closed_state()
    assert fetch_full(state, acked=state.queues) == 4
    assert fetch_full(state) == 4
    assert state.free == 0


def test_fetches_are_seldom_followed_by_another_while_that_brings_nothing() -> None:
    state, followed = make_closed_state(), list[int]()
    for number in range(210):
        assert fetch_full(state, acked=state.queues) == 4
        if (fetch := state.next_fetch(0.0)) is not None:
            followed.append(number)
            state.on_fetched(fetch, Fetched([], list(state.queues), []), 0.0)
        for _ in range(4):
            state.job_done()
    assert followed == [0, 101, 202]


def test_blocked_workers_are_unblocked_when_jobs_wait_and_no_worker_is_free() -> None:
    state = make_state(queues=2, concurrency=1)
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert len(state.plan_wait(0.0).block_on) == 1
    find(state, 1.0)
    assert state.next_fetch(0.1) is None
    assert state.plan_wait(0.1).unblock


def test_nothing_is_unblocked_while_a_fetch_may_bring_the_jobs() -> None:
    state = make_state(queues=1, concurrency=2)
    state.max_blocked = 1
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert len(state.plan_wait(0.0).block_on) == 1
    find(state, 1.0)
    # A free worker is left that can fetch the jobs, then it has requested them, then it runs one.
    assert state.plan_wait(0.1) == WaitPlan()
    fetch = state.next_fetch(0.1)
    assert fetch is not None
    assert (state.free, state.requested, len(state.blocked)) == (0, 1, 1)
    assert state.plan_wait(0.1) == WaitPlan()
    state.on_fetched(fetch, Fetched([(state.queues[0], b"1", 0)], [], []), 0.2)
    assert state.plan_wait(0.2) == WaitPlan(unblock=True)
    # A stop ends the pops by itself.
    state.stop()
    assert state.plan_wait(0.2) == WaitPlan()


def test_nothing_is_unblocked_when_nothing_blocks() -> None:
    state = make_state(concurrency=1)
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([(state.queues[0], b"1", 0)], [], []), 0.0)
    assert state.backlog
    assert (state.free, state.requested, state.running) == (0, 0, 1)
    assert state.plan_wait(0.1) == WaitPlan()


def test_nothing_is_taken_after_the_pool_was_quieted() -> None:
    state = make_blocked_state()
    state.stop()
    assert state.on_popped(state.queues[0], Popped(b"1", True, 3), 0.0, 1.0) is NextStep.REQUEUE
    state.job_done()
    find(state, 1.0)
    assert state.next_fetch(1.0, acked=state.queues) is None
    assert state.plan_wait(1.0) == WaitPlan()


def test_jobs_of_a_fetch_that_was_made_before_the_pool_was_quieted_are_requeued() -> None:
    state = make_state(queues=1, concurrency=2)
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.stop()
    jobs = [(state.queues[0], payload, 0) for payload in (b"1", b"2")]
    assert state.on_fetched(fetch, Fetched(jobs, [], []), 0.1) == (NextStep.REQUEUE, jobs)


def test_jobs_are_taken_again_after_the_pool_resumed() -> None:
    state = make_state(concurrency=1)
    state.stop()
    # A poll was planned, whose timer has been cancelled.
    state.open.polls.next_at = 5.0
    state.resume()
    fetch = state.next_fetch(1.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 1.0)
    # All queues are blocked on or polled.
    plan = state.plan_wait(1.0)
    assert len(plan.block_on) == 1
    assert plan.poll_at is not None


def test_a_pool_that_grows_takes_more_jobs_at_once() -> None:
    state = make_state(concurrency=1)
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    assert state.next_fetch(0.0) is None
    assert state.resize(4) == []
    second = state.next_fetch(0.0)
    assert second is not None
    assert (fetch.limit, second.limit) == (1, 3)
    assert state.check()


def test_a_pool_that_grows_blocks_on_more_queues() -> None:
    state = make_state(queues=3, concurrency=1)
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert len(state.plan_wait(0.0).block_on) == 1
    assert state.resize(3) == []
    assert len(state.plan_wait(0.0).block_on) == 2


def test_jobs_beyond_the_new_size_run_and_no_more_are_taken_before_they_end() -> None:
    state = make_state(concurrency=4)
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([(state.queues[0], b"%d" % n, 0) for n in range(4)], [], []), 0.0)
    assert state.resize(2) == []
    assert (state.free, state.workers_needed) == (-2, 4)
    # Nor does a pop block on behalf of a worker that is not there any more.
    state.open.backlog = False
    plan = state.plan_wait(0.0)
    assert (list(plan.block_on), plan.poll_at, plan.unblock) == ([], None, False)
    find(state, 1.0)
    assert state.plan_wait(0.0) == WaitPlan()
    for left in (3, 2):
        state.job_done()
        assert state.next_fetch(0.0, acked=state.queues) is None
        assert state.workers_needed == left
    state.job_done()
    fetch = state.next_fetch(0.0, acked=state.queues)
    assert fetch is not None
    assert fetch.limit == 1


def test_pops_of_low_priority_end_first_when_a_pool_shrinks() -> None:
    keys = Keys("test")
    queues = [Queue.of(keys, f"job{priority}", "pool", priority) for priority in (3, 1, 2)]
    state = FetchState(
        queues,
        concurrency=3,
        pipelines=1,
        max_blocked=3,
        stale_after=STALE_AFTER,
        longest_poll=LONGEST_POLL,
        crowded=set(),
    )
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert len(state.plan_wait(0.0).block_on) == 3
    assert [each.priority for each in state.resize(1)] == [1, 2]
    # One takes a job before it has ended, and it is one too many.
    assert state.on_popped(queues[1], Popped(b"1", True, 0), 0.0, 0.0) is NextStep.REQUEUE
    state.job_done()
    state.on_pop_ended(queues[2], failed=False)
    assert state.free == 0
    assert state.on_popped(queues[0], Popped(b"2", True, 0), 0.0, 0.0) is NextStep.RUN


def test_a_pool_that_has_shrunk_and_grown_again_keeps_what_its_pops_take() -> None:
    state = make_blocked_state()
    state.resize(1)
    state.resize(2)
    assert state.on_popped(state.queues[0], Popped(b"1", True, 0), 0.0, 0.0) is NextStep.RUN


def test_each_fetch_asks_whether_the_pool_may_still_look_ahead() -> None:
    state = make_state(concurrency=1)
    state.look_ahead.announced, state.look_ahead.wanted = True, 8
    crowded = {state.queues[0]}
    state.open._crowded = crowded
    fetch = state.next_fetch(0.0, acked=[])
    assert fetch is not None
    assert fetch.limit == 9
    assert fetch.looks_ahead
    state.on_fetched(fetch, Fetched([], [], [], paused=True), 0.0)
    assert state.look_ahead.size == 0


def test_a_pool_does_not_look_ahead_while_it_has_surplus_workers() -> None:
    state = make_state(queues=1, concurrency=6)
    state.look_ahead.announced, state.look_ahead.wanted = True, 5
    state.resize(2)
    state.surplus_workers = True
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    assert fetch.limit == 2
    state.on_fetched(fetch, Fetched([(state.queues[0], b"1", 0), (state.queues[0], b"2", 0)], [], []), 0.0)
    assert state.next_fetch(0.0) is None
    state.surplus_workers = False
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    assert fetch.limit == 5


def test_a_pool_that_was_reduced_does_not_look_ahead_before_enough_jobs_have_ended() -> None:
    state = make_state(queues=1, concurrency=6)
    fetch = state.next_fetch(0.0, acked=[])
    assert fetch is not None
    state.on_fetched(fetch, Fetched([(state.queues[0], b"%d" % n, 0) for n in range(6)], [], []), 0.0)
    state.look_ahead.announced, state.look_ahead.wanted = True, 5
    state.resize(2)
    for _ in range(4):
        assert state.next_fetch(0.0, acked=state.queues) is None
        state.job_done()
    fetch = state.next_fetch(0.0, acked=state.queues)
    assert fetch is not None
    assert fetch.limit == 5


def test_a_quiet_pool_takes_back_that_it_looks_ahead() -> None:
    state = make_state(queues=1, concurrency=1)
    state.look_ahead.announced, state.look_ahead.wanted, state.look_ahead._wanted_at = True, 8, 0.0
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    assert state.ahead == 8
    state.stop()
    # A long job runs.
    state.on_fetched(fetch, Fetched([(state.queues[0], b"1", 0)], [], []), 0.0)
    assert state.next_announcement(0.5) is None
    assert state.next_announcement(2.0) is Announcement.END
    assert state.check()


def test_one_worker_takes_jobs_by_one_fetch_at_a_time_and_not_while_some_go_back() -> None:
    state = make_state(queues=1, concurrency=1)
    state._pipelines = 2
    state.look_ahead.announced, state.look_ahead.wanted = True, 7
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    assert fetch.limit == 4
    assert state.free == 4
    assert state.next_fetch(0.0) is None
    state.on_fetched(fetch, Fetched([(state.queues[0], b"%d" % n, 0) for n in range(4)], [], []), 0.0)
    for _ in range(3):
        state.job_done()
    state.on_requeueing([b"3", b"2", b"1"], 0.1)
    assert state.next_fetch(0.1) is None
    state.on_requeued([b"3", b"2", b"1"], 0.2)
    assert state.next_fetch(0.2) is not None


def test_one_worker_blocks_on_no_queue_while_jobs_go_back_to_it() -> None:
    state = make_state(queues=1, concurrency=1)
    fetch_nothing(state, 0.0)
    state.on_requeueing([b"1"], 0.1)
    assert state.plan_wait(0.1) == WaitPlan()
    state.on_requeued([b"1"], 0.2)
    assert state.plan_wait(0.2).block_on
