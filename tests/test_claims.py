"""A pool that may have been considered dead starts no job that another pool may have, in any order of heartbeats,
claims, losses and reapers, without Redis."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import sampled_from

from asyncwork._redis.commands import CommandBatch
from asyncwork._redis.errors import ErrorReply
from asyncwork._redis.keys import Keys
from asyncwork._redis.queue import Queue
from asyncwork._redis.work_queue import HeldJob
from asyncwork._worker import lease as lease_module
from asyncwork._worker.claims import Claims
from asyncwork._worker.lease import Lease

DEAD_AFTER = 10.0
QUEUES = [Queue.of(Keys("ns"), name, "pool") for name in ("a", "b")]


class OnePool(RuleBasedStateMachine):
    """One pool, a Redis that holds its jobs, and another pool that may requeue them.

    :ivar mine: what Redis holds as in progress for the pool.
    :ivar elsewhere: what was requeued, and no pool has taken since.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        self.patched = patch.object(lease_module, "time", clock)
        self.patched.start()
        self.lease = Lease(DEAD_AFTER * 0.8, lambda: self.now)
        self.claims = Claims(self.lease, QUEUES)
        self.ready: list[HeldJob] = []
        self.mine: set[bytes] = set()
        self.elsewhere: set[bytes] = set()
        self.taken: set[bytes] = set()
        self.jobs = 0
        # The reaper's evidence: when there was last something new to see of the pool.
        self.seen_at = self.now
        self.registered = True
        self.flagged = False
        self.beat: tuple[float, bool | None] | None = None
        self.claim: tuple[CommandBatch, list[object] | None] | None = None

    def teardown(self) -> None:
        self.patched.stop()

    @initialize()
    def begin(self) -> None:
        self.fetch(QUEUES[0])

    @rule(seconds=sampled_from([0.1, 0.6, 3.0, 9.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(queue=sampled_from(QUEUES))
    def fetch(self, queue: Queue) -> None:
        if not (self.claims.in_progress or self.lease.in_doubt or self.lease.reaped):
            self.jobs += 1
            payload = b"%d" % self.jobs
            self.mine.add(payload)
            self.ready.append((queue, payload, 0))

    # Redis, and the other pool

    @precondition(lambda self: self.now - self.seen_at >= DEAD_AFTER)
    @rule()
    def reap(self) -> None:
        self.elsewhere |= self.mine
        self.mine.clear()
        self.registered, self.flagged, self.seen_at = False, False, self.now

    @precondition(lambda self: self.elsewhere)
    @rule()
    def another_pool_takes_one(self) -> None:
        self.taken.add(self.elsewhere.pop())

    # The heartbeat's thread

    @precondition(lambda self: self.beat is None)
    @rule()
    def send_heartbeat(self) -> None:
        self.beat = self.now, None

    @precondition(lambda self: self.beat is not None and self.beat[1] is None)
    @rule()
    def write_heartbeat(self) -> None:
        assert self.beat is not None
        self.beat = self.beat[0], not self.registered
        self.flagged = self.flagged or not self.registered
        self.registered, self.seen_at = True, self.now

    @precondition(lambda self: self.beat is None)
    @rule()
    def heartbeat(self) -> None:
        self.send_heartbeat()
        self.write_heartbeat()
        self.end_heartbeat()

    @precondition(lambda self: self.beat is not None)
    @rule()
    def end_heartbeat(self) -> None:
        assert self.beat is not None
        (sent_at, reaped), self.beat = self.beat, None
        if reaped is not None:
            self.lease.renew(sent_at, self.now - sent_at, reaped=reaped)

    # The event loop

    @precondition(lambda self: self.claim is None)
    @rule()
    def begin_claim(self) -> None:
        if self.lease.in_doubt:
            held = [job[:2] for job in (*self.claims.held_back, *self.ready)]
            batch = self.claims.begin(held)
            if batch is not None and batch.claims:
                self.claim = batch, None
            elif batch is not None:
                self.flagged = False

    @precondition(lambda self: self.claim is not None and self.claim[1] is None)
    @rule()
    def execute_claim(self) -> None:
        assert self.claim is not None
        batch = self.claim[0]
        replies: list[object] = []
        may_take_back = self.flagged or not self.registered
        for command in batch.commands[:-1]:
            missing = []
            for position, payload in enumerate(command.payloads, start=1):
                if payload in self.mine:
                    continue
                if may_take_back and payload in self.elsewhere:
                    self.elsewhere.remove(payload)
                    self.mine.add(payload)
                else:
                    missing.append(position)
            replies.append(missing)
        if self.registered:
            self.seen_at = self.now
        self.flagged = False
        self.claim = batch, [*replies, 1]

    @precondition(lambda self: self.claim is not None)
    @rule()
    def lose_claim(self) -> None:
        self.claims.end()
        self.claim = None

    @precondition(lambda self: self.claim is not None and self.claim[1] is not None)
    @rule(refused=sampled_from([False, False, True]))
    def read_claim(self, refused: bool) -> None:
        assert self.claim is not None
        batch, replies = self.claim
        assert replies is not None
        if refused:
            replies = [ErrorReply("READONLY"), *replies[1:]]
        result = self.claims.on_replies(batch.commands, replies, self.ready)
        if isinstance(result, ErrorReply):
            assert refused
        else:
            self.ready = list(result[0])
        self.claims.end()
        self.claim = None

    @precondition(lambda self: self.ready)
    @rule()
    def start_a_job(self) -> None:
        job = self.ready.pop(0)
        if self.now > self.lease.expires or self.lease.reaped:
            self.claims.held_back += [job, *self.ready]
            self.ready = []
        else:
            assert job[1] in self.mine, f"job {job[1]!r} starts in two pools"
            self.mine.remove(job[1])

    @invariant()
    def no_job_is_forgotten(self) -> None:
        """What Redis holds for the pool, the pool has too."""
        assert self.mine <= {payload for _, payload, _ in (*self.claims.held_back, *self.ready)}


OnePool.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestOnePool = OnePool.TestCase


# Orders that need so many steps that hypothesis does not find them each time.


@pytest.fixture
def pool() -> Iterator[OnePool]:
    pool = OnePool()
    pool.begin()
    yield pool
    pool.no_job_is_forgotten()
    pool.teardown()


def test_a_claim_holds_off_a_reaper_that_is_about_to_act(pool: OnePool) -> None:
    pool.wait(9.5)
    pool.begin_claim()
    pool.execute_claim()
    pool.wait(0.6)
    assert pool.now - pool.seen_at < DEAD_AFTER
    pool.read_claim(refused=False)
    pool.start_a_job()
    assert not pool.mine


def test_a_heartbeat_after_a_reaper_lets_no_job_start_unclaimed(pool: OnePool) -> None:
    pool.wait(12)
    pool.reap()
    pool.heartbeat()
    pool.start_a_job()
    assert pool.claims.held_back
    assert pool.lease.in_doubt
    pool.begin_claim()
    pool.execute_claim()
    pool.read_claim(refused=False)
    pool.start_a_job()
    assert not (pool.mine)
    assert not (pool.elsewhere)
    assert not pool.ready


def test_a_claim_from_before_a_reaper_is_not_one_from_after_it(pool: OnePool) -> None:
    pool.wait(9)
    pool.begin_claim()
    pool.execute_claim()
    pool.wait(12)
    pool.reap()
    pool.heartbeat()
    pool.read_claim(refused=False)
    assert pool.lease.reaped
    assert pool.lease.in_doubt
    pool.start_a_job()
    assert pool.claims.held_back


def test_a_job_that_came_after_the_claim_was_sent_waits_for_the_next(pool: OnePool) -> None:
    pool.wait(9)
    pool.begin_claim()
    pool.execute_claim()
    late: HeldJob = (QUEUES[1], b"late", 0)
    pool.mine.add(b"late")
    pool.ready.append(late)
    pool.read_claim(refused=False)
    assert [payload for _, payload, _ in pool.ready] == [b"1"]
    assert pool.claims.held_back == [late]


def test_a_claim_without_jobs_is_sent_too_because_the_next_job_relies_on_it(pool: OnePool) -> None:
    pool.start_a_job()
    pool.wait(9.5)
    pool.begin_claim()
    assert pool.lease.in_doubt
    pool.execute_claim()
    assert pool.seen_at == pool.now
    pool.read_claim(refused=False)
    assert not pool.lease.in_doubt


def test_a_claim_counts_from_when_it_was_sent_because_its_reply_may_be_late(pool: OnePool) -> None:
    pool.wait(9)
    pool.begin_claim()
    pool.execute_claim()
    pool.wait(12)
    pool.reap()
    pool.read_claim(refused=False)
    pool.start_a_job()
    assert pool.claims.held_back
    pool.another_pool_takes_one()
    pool.begin_claim()
    pool.execute_claim()
    pool.read_claim(refused=False)
    assert not pool.ready


def test_a_claim_does_not_shorten_what_a_heartbeat_has_extended(pool: OnePool) -> None:
    pool.wait(9)
    pool.begin_claim()
    pool.heartbeat()
    pool.execute_claim()
    pool.read_claim(refused=False)
    pool.wait(3)
    assert not pool.lease.in_doubt
    pool.start_a_job()
    assert not pool.mine


# The lease by each of its clocks: that of the heartbeats may be set, and the monotonic one cannot.

SECONDS = 8.0


class Clocks:
    """The clocks of one lease."""

    def __init__(self) -> None:
        self.epoch, self.monotonic = 1_000_000.0, 50.0

    def advance(self, seconds: float) -> None:
        self.epoch += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks()
    with patch.object(lease_module, "time", SimpleNamespace(monotonic=lambda: clocks.monotonic)):
        yield clocks


def seconds_left(lease: Lease, clocks: Clocks) -> tuple[float, float]:
    """For how many seconds a lease will not be in doubt, by the clock of the heartbeats and by the monotonic one."""
    found: list[float] = []
    for name in ("epoch", "monotonic"):
        now, tenths = getattr(clocks, name), 0
        while not lease.in_doubt and tenths < 1000:
            tenths += 1
            setattr(clocks, name, now + tenths / 10)
        setattr(clocks, name, now)
        found.append((tenths - 1) / 10)
    return found[0], found[1]


def test_a_lease_is_in_doubt_when_either_clock_says_so(clocks: Clocks) -> None:
    lease = Lease(SECONDS, lambda: clocks.epoch)
    assert seconds_left(lease, clocks) == (SECONDS, SECONDS)
    clocks.epoch -= 60.0
    assert seconds_left(lease, clocks) == (SECONDS + 60.0, SECONDS)


def test_a_heartbeat_extends_the_lease_from_when_it_was_sent(clocks: Clocks) -> None:
    lease = Lease(SECONDS, lambda: clocks.epoch)
    clocks.advance(3.0)
    sent_at = clocks.epoch
    clocks.advance(2.0)
    lease.renew(sent_at, 2.0, reaped=False)
    assert seconds_left(lease, clocks) == (SECONDS - 2.0, SECONDS - 2.0)


@pytest.mark.parametrize(("late", "left"), [(0.0, 5.0), (2.0, 3.0), (4.5, 0.5)])
def test_a_claim_extends_the_lease_from_when_it_was_sent(clocks: Clocks, late: float, left: float) -> None:
    lease = Lease(SECONDS, lambda: clocks.epoch)
    clocks.advance(SECONDS + 1.0)
    begun = lease.begin_claim()
    clocks.advance(late)
    lease.claimed(begun, 5.0)
    assert seconds_left(lease, clocks) == (left, left)


def test_a_claim_does_not_shorten_the_lease(clocks: Clocks) -> None:
    lease = Lease(SECONDS, lambda: clocks.epoch)
    lease.claimed(lease.begin_claim(), 1.0)
    assert seconds_left(lease, clocks) == (SECONDS, SECONDS)
