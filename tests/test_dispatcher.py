"""What the dispatcher sends, holds and reports after each event. The replies are written here, in the form that the
scripts return; only the tests of blocking pops need Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from asyncwork._redis import scripts
from asyncwork._redis.client import RedisClient
from asyncwork._redis.commands import (
    AdmitPopped,
    BeginLookAhead,
    ClaimJobs,
    CommandBatch,
    Fetch,
    RequeueAndRest,
    RequeueFront,
)
from asyncwork._redis.errors import ErrorReply
from asyncwork._redis.keys import Keys
from asyncwork._redis.protocol import command, pack
from asyncwork._redis.queue import Queue
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.dispatch_limits import DispatchLimits
from asyncwork._worker.dispatcher import Dispatcher
from asyncwork._worker.lease import Lease

from .conftest import Bench, until

# Seconds.
LEASE = 8.0

# The reply to a fetch that found no jobs.
NO_JOBS: list[Any] = [[], [], [], 0]


class Rig:
    """A dispatcher of one queue without pipelines: the test takes its batches and gives it the replies."""

    def __init__(self, redis_client: RedisClient, *, concurrency: int = 10, pipelines: int = 2) -> None:
        self.now = 1_000_000.0
        self.running: list[tuple[Queue, bytes]] = []
        self.possible_loss = asyncio.Event()
        work_queue = WorkQueue(redis_client, Keys(redis_client.namespace), "a" * 24)
        self.queue = work_queue.queue("wat", 1)
        self.dispatcher = Dispatcher(
            work_queue,
            [self.queue],
            Lease(LEASE, lambda: self.now),
            DispatchLimits(concurrency=concurrency, pipelines=pipelines),
            running=lambda: self.running,
            possible_loss=self.possible_loss,
        )

    def batch(self) -> CommandBatch:
        """The next batch."""
        batch = self.dispatcher.next_batch()
        assert batch is not None
        return batch

    def reply(self, batch: CommandBatch, *replies: Any) -> None:
        assert self.dispatcher.on_replies(batch, list(replies)) is None

    def bring(self, batch: CommandBatch, *payloads: bytes) -> None:
        """Have a batch that only fetches bring these jobs."""
        self.reply(batch, [[1, len(payloads), *payloads], [], [], 0])

    def start(self) -> bytes:
        """Start the next job, as a worker does; return its payload."""
        return self.dispatcher.ready.jobs.popleft()[1]

    def ready(self) -> list[bytes]:
        return [payload for _, payload, _ in self.dispatcher.ready.jobs]


def make_rig(**limits: int) -> Rig:
    """A rig without Redis."""
    return Rig(RedisClient("redis://127.0.0.1:1", namespace="test"), **limits)


@pytest.fixture
async def rig() -> Rig:
    return make_rig()


@pytest.fixture
async def redis_rig(bench: Bench) -> AsyncIterator[Rig]:
    """A rig whose pops block in Redis until the test ends."""
    rig = Rig(bench.redis_client)
    yield rig
    await rig.dispatcher.quiet()
    await rig.dispatcher.abort()


def claimed(batch: CommandBatch) -> Counter[bytes]:
    """The payloads that a batch claims."""
    assert batch.claims
    return Counter(
        payload for command in batch.commands if isinstance(command, ClaimJobs) for payload in command.payloads
    )


async def hold_jobs_in_every_state() -> Rig:
    """A dispatcher with one job, named after its state, wherever a pool may hold one."""
    rig = make_rig(concurrency=15, pipelines=3)
    dispatcher, queue = rig.dispatcher, rig.queue
    first, second, third = rig.batch(), rig.batch(), rig.batch()
    rig.bring(first, b"sent", b"acked", b"moved", b"runs", b"held back")
    dispatcher.ack(queue, rig.start())
    assert rig.batch().acks == {queue: [b"sent"]}
    dispatcher.ack(queue, rig.start())
    dispatcher.finish(RequeueFront(queue, [rig.start()]))
    rig.running.append((queue, rig.start()))
    dispatcher.hold_back((queue, rig.start(), 0))
    rig.bring(second, b"ready")
    # Redis is asked to requeue a job that a reply under way brings as well.
    dispatcher.fetcher.requeue_unknown(queue, [b"postponed"])
    rig.bring(third, b"postponed")
    assert rig.ready() == [b"ready"]
    return rig


async def test_a_claim_names_every_job_that_the_pool_holds() -> None:
    rig = await hold_jobs_in_every_state()
    rig.now += LEASE + 1
    states = [b"sent", b"acked", b"moved", b"runs", b"held back", b"ready", b"postponed"]
    assert claimed(rig.batch()) == Counter(states)


async def test_the_reconciler_is_given_every_job_that_is_on_its_way() -> None:
    rig = await hold_jobs_in_every_state()
    # The reconciler asks the workers for those that run. The postponed job is also in a command.
    states = [b"sent", b"acked", b"moved", b"held back", b"ready", b"postponed", b"postponed"]
    assert rig.dispatcher.held() == Counter(states)


async def test_a_claim_has_the_jobs_start_that_are_still_the_pools(rig: Rig) -> None:
    dispatcher = rig.dispatcher
    rig.bring(rig.batch(), b"1", b"2", b"3")
    rig.now += LEASE + 1
    dispatcher.hold_back((rig.queue, rig.start(), 0))
    claim = rig.batch()
    assert claimed(claim) == Counter([b"1", b"2", b"3"])
    assert dispatcher.next_batch() is None
    rig.reply(claim, [2], 1)
    assert rig.ready() == [b"1", b"3"]
    assert dispatcher.busy == 2
    dispatcher.ack(rig.queue, rig.start())
    assert rig.batch().acks == {rig.queue: [b"1"]}


async def test_a_claim_that_was_lost_or_refused_is_sent_again(rig: Rig) -> None:
    rig.bring(rig.batch(), b"1")
    rig.now += LEASE + 1
    rig.dispatcher.on_lost(rig.batch())
    claim = rig.batch()
    error = ErrorReply("READONLY")
    assert rig.dispatcher.on_replies(claim, [error, 1]) is error
    assert claimed(rig.batch()) == Counter([b"1"])


async def test_a_lost_batch_has_the_reconciler_run_and_is_sent_again(rig: Rig) -> None:
    dispatcher, queue = rig.dispatcher, rig.queue
    rig.bring(rig.batch(), b"1", b"2")
    dispatcher.ack(queue, rig.start())
    command = RequeueFront(queue, [rig.start()])
    dispatcher.finish(command)
    batch = rig.batch()
    assert batch.fetch is not None
    assert not rig.possible_loss.is_set()
    dispatcher.on_lost(batch)
    assert rig.possible_loss.is_set()
    assert dispatcher.busy == 0
    again = rig.batch()
    assert (again.acks, again.commands) == ({queue: [b"1"]}, [command])


async def test_a_released_job_has_the_reconciler_run(rig: Rig) -> None:
    rig.bring(rig.batch(), b"1")
    rig.start()
    assert not rig.possible_loss.is_set()
    rig.dispatcher.release()
    assert rig.possible_loss.is_set()
    assert rig.dispatcher.busy == 0


async def test_a_pop_that_failed_has_the_reconciler_run(rig: Rig) -> None:
    """Nothing listens at the address of this Redis."""
    rig.reply(rig.batch(), NO_JOBS)
    rig.dispatcher.fetcher.start_waiting()
    assert rig.dispatcher.blocked == 1
    assert not rig.possible_loss.is_set()
    await until(lambda: not rig.dispatcher.blocked)
    assert rig.possible_loss.is_set()
    rig.dispatcher.fetcher.stop()


async def test_a_pop_that_found_no_job_has_no_reconciler_run(redis_rig: Rig) -> None:
    rig = redis_rig
    rig.reply(rig.batch(), NO_JOBS)
    rig.dispatcher.fetcher.start_waiting()
    await rig.dispatcher.quiet()
    assert not rig.dispatcher.blocked
    assert not rig.possible_loss.is_set()


async def test_no_pop_blocks_while_a_claim_is_in_progress(redis_rig: Rig) -> None:
    """Another pool may have requeued the jobs that are claimed, and a pop would take them a second time."""
    rig = redis_rig
    dispatcher, wakeups = rig.dispatcher, list[str]()
    rig.reply(rig.batch(), NO_JOBS)
    rig.now += LEASE + 1
    claim = rig.batch()
    assert claimed(claim) == Counter()
    # The other pipeline finds nothing to send, whether a heartbeat has renewed the lease meanwhile or not.
    for name in ("in doubt", "renewed"):
        assert dispatcher.next_batch() is None
        dispatcher.add_idle(partial(wakeups.append, name))
        await asyncio.sleep(0)
        assert not wakeups
        assert dispatcher.blocked == 0
        dispatcher.lease.renew(rig.now, 0.0, reaped=False)
    rig.reply(claim, [], 1)
    await asyncio.sleep(0)
    assert wakeups == ["in doubt"]
    dispatcher.add_idle(partial(wakeups.append, "claimed"))
    assert dispatcher.blocked == 1


async def test_another_pipeline_is_woken_to_send_a_claim_that_was_lost(rig: Rig) -> None:
    rig.now += LEASE + 1
    claim = rig.batch()
    wakeups: list[CommandBatch] = []
    rig.dispatcher.add_idle(lambda: wakeups.append(rig.batch()))
    rig.dispatcher.on_lost(claim)
    await asyncio.sleep(0)
    (again,) = wakeups
    assert again.claims


async def test_no_pop_blocks_before_jobs_are_claimed(rig: Rig) -> None:
    """The lease has ended, or jobs are held back: an idle pipeline is woken to send the claim."""
    dispatcher = rig.dispatcher
    first, second = rig.batch(), rig.batch()
    rig.bring(first, b"1")
    rig.reply(second, NO_JOBS)
    rig.now += LEASE + 1
    for _ in range(2):
        wakeups: list[str] = []
        dispatcher.add_idle(partial(wakeups.append, "idle"))
        await asyncio.sleep(0)
        assert wakeups
        assert dispatcher.blocked == 0
        # Renewed, but the worker was faster.
        dispatcher.lease.renew(rig.now, 0.0, reaped=False)
        if rig.ready():
            dispatcher.hold_back((rig.queue, rig.start(), 0))
    assert claimed(rig.batch()) == Counter([b"1"])


async def test_a_revalidated_job_that_was_taken_ahead_is_requeued_if_it_does_not_begin() -> None:
    rig = make_rig(concurrency=1, pipelines=1)
    dispatcher, queue = rig.dispatcher, rig.queue
    state = dispatcher.fetcher.state
    state.look_ahead.announced, state.look_ahead.wanted = True, 5
    state.look_ahead.due = float("inf")
    batch = rig.batch()
    assert state.ahead == 5
    payloads = [b"%d" % number for number in range(6)]
    # A reply to an earlier request is revalidated after this.
    dispatcher.fetcher.requeue_unknown(queue, [b"another"])
    rig.bring(batch, *payloads)
    rig.reply(rig.batch(), 1, *[[1, 0, 0]] * 6)
    assert rig.ready() == payloads
    await until(lambda: not rig.ready())
    (command,) = rig.batch().commands
    assert isinstance(command, RequeueFront)
    assert command.payloads == payloads[::-1]
    dispatcher.fetcher.stop()


async def test_a_job_keeps_its_number_of_crashes_when_it_is_revalidated(rig: Rig) -> None:
    dispatcher, queue = rig.dispatcher, rig.queue
    batch = rig.batch()
    # A reply to an earlier request is revalidated after this.
    dispatcher.fetcher.requeue_unknown(queue, [b"another"])
    rig.bring(batch, b"1", b"2")
    assert rig.ready() == []
    batch = rig.batch()
    assert [type(command) for command in batch.commands] == [RequeueFront, AdmitPopped, AdmitPopped]
    rig.reply(batch, 1, [1, 0, 2], [1, 0, 0], NO_JOBS)
    assert list(dispatcher.ready.jobs) == [(queue, b"1", 2), (queue, b"2", 0)]


async def test_a_job_keeps_its_number_of_crashes_when_it_is_claimed(rig: Rig) -> None:
    batch = rig.batch()
    # The second and the first payload of the reply were running when pools died: three times, and once.
    rig.reply(batch, [[1, 3, b"1", b"2", b"3"], [], [4, 3, 3, 1], 0])
    jobs = [(rig.queue, b"1", 1), (rig.queue, b"2", 3), (rig.queue, b"3", 0)]
    assert list(rig.dispatcher.ready.jobs) == jobs
    rig.dispatcher.hold_back(rig.dispatcher.ready.jobs.popleft())
    rig.reply(rig.batch(), [], 1)
    assert list(rig.dispatcher.ready.jobs) == jobs


async def test_the_second_pipeline_is_woken_to_fetch_for_the_workers_that_are_left(rig: Rig) -> None:
    woken: list[Fetch | None] = []
    rig.dispatcher.add_idle(lambda: woken.append(rig.batch().fetch))
    fetch = rig.batch().fetch
    assert fetch is not None
    assert fetch.limit == 5
    await asyncio.sleep(0)
    (other,) = woken
    assert other is not None
    assert other.limit == 5


async def test_no_pipeline_is_woken_when_a_fetch_is_for_all_workers() -> None:
    rig = make_rig(pipelines=1)
    wakeups: list[str] = []
    rig.dispatcher.add_idle(partial(wakeups.append, "idle"))
    fetch = rig.batch().fetch
    assert fetch is not None
    assert fetch.limit == 10
    await asyncio.sleep(0)
    assert not wakeups


async def test_one_pipeline_is_woken_for_an_acknowledgement_when_no_jobs_wait(rig: Rig) -> None:
    wakeups: list[str] = []
    first = rig.batch()
    for name in ("one", "other"):
        rig.dispatcher.add_idle(partial(wakeups.append, name))
    rig.bring(first, b"1")
    rig.dispatcher.ack(rig.queue, rig.start())
    await asyncio.sleep(0)
    assert rig.batch().acks == {rig.queue: [b"1"]}
    await asyncio.sleep(0)
    assert wakeups == ["one"]


# Looking ahead


def holding_ahead() -> tuple[Rig, CommandBatch]:
    """A pool with one worker that holds three jobs, one of which has begun, and its next fetch."""
    rig = make_rig(concurrency=1)
    look_ahead = rig.dispatcher.fetcher.state.look_ahead
    look_ahead.announced, look_ahead.wanted, look_ahead._wanted_at = True, 4, asyncio.get_running_loop().time()
    rig.bring(rig.batch(), b"1", b"2", b"3")
    assert rig.start() == b"1"
    return rig, rig.batch()


def requeued(rig: Rig) -> list[bytes]:
    """What the next batch requeues, the first to run last."""
    (command,) = rig.batch().commands
    assert isinstance(command, RequeueFront)
    return list(command.payloads)


async def test_a_stop_requeues_what_has_not_begun_in_the_order_of_all_fetches() -> None:
    rig, second = holding_ahead()
    rig.dispatcher.fetcher.stop()
    assert rig.ready() == []
    assert rig.dispatcher.next_batch() is None
    assert rig.dispatcher.held() == Counter([b"2", b"3"])
    rig.bring(second, b"4", b"5")
    assert requeued(rig) == [b"5", b"4", b"3", b"2"]
    assert rig.dispatcher.busy == 1


async def test_a_stop_requeues_in_the_order_of_redis_although_replies_overtake_each_other(bench: Bench) -> None:
    rig = Rig(bench.redis_client, concurrency=2)
    payloads = [b"%d" % number for number in range(8)]
    await bench.redis.lpush(rig.queue.queue, *payloads)
    look_ahead = rig.dispatcher.fetcher.state.look_ahead
    look_ahead.announced, look_ahead.wanted, look_ahead._wanted_at = True, 4, asyncio.get_running_loop().time()
    work_queue, batches = rig.dispatcher._work_queue, [rig.batch(), rig.batch()]
    replies = [await work_queue.send_pooled(batch) for batch in batches]
    rig.reply(batches[1], *replies[1])
    # One worker has begun a job; the other has not come to it yet.
    assert rig.start() == b"3"
    rig.dispatcher.fetcher.stop()
    rig.reply(batches[0], *replies[0])
    await work_queue.send_pooled(rig.batch())
    assert list(reversed(await bench.redis.lrange(rig.queue.queue, 0, -1))) == [p for p in payloads if p != b"3"]
    assert await bench.redis.lrange(rig.queue.in_progress, 0, -1) == [b"3"]
    rig.dispatcher.ack(rig.queue, b"3")
    await work_queue.send_pooled(rig.batch())
    await bench.redis.delete(rig.queue.queue, bench.keys.lock("wat"), bench.keys.lock_info("wat"))


async def test_a_stop_requeues_what_has_not_begun_when_a_fetch_is_lost() -> None:
    rig, second = holding_ahead()
    rig.dispatcher.fetcher.stop()
    rig.dispatcher.on_lost(second)
    assert requeued(rig) == [b"3", b"2"]
    assert rig.dispatcher.busy == 1


async def test_what_has_not_begun_is_requeued_when_the_pool_takes_jobs_again() -> None:
    rig, second = holding_ahead()
    rig.dispatcher.fetcher.stop()
    rig.dispatcher.fetcher.resume()
    assert requeued(rig) == [b"3", b"2"]
    assert rig.dispatcher.fetcher.to_requeue == []
    # It may run again: the fetch was sent before the stop.
    rig.bring(second, b"4")
    assert rig.dispatcher.fetcher.to_requeue == []


@pytest.mark.parametrize("lost", [False, True])
async def test_what_one_worker_does_not_begin_goes_back_with_what_a_fetch_under_way_brings(lost: bool) -> None:
    rig, second = holding_ahead()
    rig.dispatcher.fetcher._requeue_unbegun()
    # It may begin meanwhile.
    assert rig.ready() == [b"2", b"3"]
    assert rig.dispatcher.next_batch() is None
    if lost:
        rig.dispatcher.on_lost(second)
        assert requeued(rig) == [b"3", b"2"]
    else:
        rig.bring(second, b"4", b"5")
        assert requeued(rig) == [b"5", b"4", b"3", b"2"]
    assert rig.ready() == []
    assert rig.dispatcher.busy == 1


async def test_what_one_worker_begins_meanwhile_does_not_go_back() -> None:
    rig, second = holding_ahead()
    rig.dispatcher.fetcher._requeue_unbegun()
    for payload in (b"1", b"2"):
        rig.dispatcher.ack(rig.queue, payload)
        rig.start()
    rig.bring(second)
    assert rig.ready() == []
    assert rig.dispatcher.busy == 1
    assert rig.batch().commands == []


@pytest.mark.parametrize("lost", [False, True])
async def test_a_job_that_was_rate_limited_goes_back_in_front_of_what_a_fetch_under_way_brings(lost: bool) -> None:
    rig, second = holding_ahead()
    rig.dispatcher.fetcher.rest(RequeueAndRest(rig.queue, [b"1"], seconds=60.0))
    await asyncio.sleep(0)
    assert rig.ready() == []
    assert rig.dispatcher.next_batch() is None
    assert rig.dispatcher.held() == Counter([b"1", b"2", b"3"])
    if lost:
        rig.dispatcher.on_lost(second)
    else:
        rig.bring(second, b"4", b"5")
    first, last = rig.batch().commands
    assert list(first.payloads) == ([b"3", b"2"] if lost else [b"5", b"4", b"3", b"2"])
    assert isinstance(last, RequeueAndRest)
    assert rig.ready() == []
    assert rig.dispatcher.busy == 0


async def test_what_a_fetch_under_way_brings_of_the_only_queue_goes_back_behind_a_job_that_was_rate_limited() -> None:
    rig = make_rig(concurrency=4)
    first, second = rig.batch(), rig.batch()
    rig.bring(first, b"1", b"2")
    assert (rig.start(), rig.start()) == (b"1", b"2")
    rig.dispatcher.fetcher.rest(RequeueAndRest(rig.queue, [b"1"], seconds=60.0))
    await asyncio.sleep(0)
    assert rig.dispatcher.next_batch() is None
    rig.bring(second, b"3", b"4")
    assert rig.ready() == []
    requeueing, last = rig.batch().commands
    assert isinstance(requeueing, RequeueFront)
    assert list(requeueing.payloads) == [b"4", b"3"]
    assert isinstance(last, RequeueAndRest)
    assert rig.dispatcher.busy == 1


async def test_a_job_that_was_rate_limited_at_a_stop_goes_back_with_the_others_in_their_order() -> None:
    rig = make_rig(concurrency=3)
    first, second = rig.batch(), rig.batch()
    rig.bring(first, b"1", b"2")
    assert rig.start() == b"1"
    await rig.dispatcher.quiet()
    rig.dispatcher.fetcher.rest(RequeueAndRest(rig.queue, [b"1"], seconds=60.0))
    await asyncio.sleep(0)
    assert rig.dispatcher.next_batch() is None
    rig.bring(second, b"3")
    requeueing, last = rig.batch().commands
    assert list(requeueing.payloads) == [b"3", b"2"]
    assert isinstance(last, RequeueAndRest)
    assert rig.dispatcher.busy == 0


async def test_an_announcement_is_no_result_that_a_stop_could_lose(rig: Rig) -> None:
    rig.dispatcher.submit(BeginLookAhead(rig.queue, []))
    assert rig.dispatcher.unacknowledged() == rig.dispatcher.unconfirmed() == 0
    rig.dispatcher.submit(RequeueFront(rig.queue, [b"1"]))
    assert rig.dispatcher.unacknowledged() == rig.dispatcher.unconfirmed() == 1


@pytest.mark.parametrize("name", [*scripts.names(), *scripts.variants()])
def test_a_call_is_sent_with_its_script(name: str) -> None:
    # Redis may flush its scripts between their loading and a call.
    keys, args = pack(b"one", b"two"), [b"an", b"argument"]
    call = scripts.call(name, 2, keys, args)
    assert scripts.with_source(call) == scripts.call(name, 2, keys, args, with_source=True) != call
    assert scripts.with_source(command(b"LPUSH", b"list", call)) == command(b"LPUSH", b"list", call)
