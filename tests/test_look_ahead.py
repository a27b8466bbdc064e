"""Short jobs are taken ahead of the free workers, and no job waits in one process while another could run it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest

from asyncwork import Client, UsageError, WorkerPool
from asyncwork._redis.commands import Fetch, fingerprint
from asyncwork._redis.queue import Queue
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import Popped
from asyncwork._worker.dispatcher import Dispatcher
from asyncwork._worker.fetch_state import FetchState
from asyncwork._worker.look_ahead import Announcement, LookAhead
from asyncwork._worker.pending_requeues import PendingRequeues
from asyncwork._worker.ready_queue import ReadyQueue
from asyncwork._worker.unbegun_jobs import UnbegunJobs

from .conftest import Bench, until
from .looking_ahead import look_ahead

# The size of the window


def measured(rate: float, *, concurrency: int = 10, seconds: float = 0.1, each: float = 0.005) -> LookAhead:
    """What a pool wants that runs so many jobs a second, measured after each of some periods."""
    window = LookAhead(concurrency, enabled=True)
    for step in range(1 + round(seconds / each)):
        window.measure(step * each, round(step * each * rate))
    return window


@pytest.mark.parametrize(
    ("rate", "concurrency", "wanted"),
    [
        # 3 ms of work.
        (10_000, 10, 30),
        (100_000, 10, 300),
        (100_000, 1, 300),
        (100_000, 100, 300),
        # More would make no batch cheaper.
        (400_000, 10, 512),
        # Jobs of 4 ms on busy workers, then of 10 ms.
        (2_500, 10, 7),
        (1_000, 10, 0),
        (10_000, 100, 0),
        (0, 10, 0),
    ],
)
def test_a_pool_wants_as_much_as_begins_within_3_ms(rate: float, concurrency: int, wanted: int) -> None:
    assert measured(rate, concurrency=concurrency).wanted == wanted


def test_the_window_grows_step_by_step_and_shrinks_at_once() -> None:
    window = LookAhead(10, enabled=True)
    sizes = []
    for step in range(6):
        window.measure(step * 0.005, step * 500)
        sizes.append(window.wanted)
    assert sizes == [0, 10, 30, 70, 150, 300]
    window.measure(0.030, 2_600)
    assert window.wanted == 60
    window.measure(0.035, 2_601)
    assert window.wanted == 0


def test_a_pool_that_was_not_busy_has_no_rate() -> None:
    window = measured(100_000)
    window.measure(0.2, 20_000)
    assert window.wanted == 0


def wants_again_at(window: LookAhead, now: float) -> float:
    """When a pool wants jobs again that runs many."""
    for step in range(2_000):
        window.measure(now + step * 0.005, round((now + step * 0.005) * 100_000))
        if window.wanted:
            return now + step * 0.005
    raise AssertionError("never")


def test_it_rests_after_jobs_did_not_begin_and_longer_when_that_happens_again() -> None:
    window, now, rests = measured(100_000), 0.1, []
    for _ in range(7):
        window.on_requeued(now)
        assert window.wanted == 0
        again = wants_again_at(window, now)
        rests.append(round(again - now, 1))
        now = again + 0.1
    assert rests == [0.2, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    now += 9
    window.on_requeued(now)
    assert wants_again_at(window, now) - now < 0.3


def test_a_rest_is_no_longer_when_more_jobs_of_the_same_time_did_not_begin() -> None:
    window = measured(100_000)
    for now in (0.1, 0.108, 0.116):
        window.on_requeued(now)
    assert wants_again_at(window, 0.116) < 0.4


def announced_window() -> LookAhead:
    """What a pool wants that runs many jobs, and has announced at 0.1 s that it looks ahead."""
    window = measured(100_000)
    assert window.next_announcement(0.1, 0) is Announcement.BEGIN
    window.on_begun(0.0, 0.1)
    return window


def test_nothing_is_taken_ahead_before_the_heartbeat_says_so() -> None:
    window = measured(100_000)
    assert window.size == 0
    assert window.next_announcement(0.1, 0) is Announcement.BEGIN
    # Once, until Redis has replied.
    assert window.next_announcement(0.1, 0) is None
    assert window.size == 0
    window.on_begun(0.0, 0.1)
    assert window.size == 300


def test_a_pool_is_refused_for_as_long_as_redis_says() -> None:
    window = measured(100_000)
    window.next_announcement(0.1, 0)
    window.on_begun(7.0, 0.1)
    assert window.size == 0
    for step in range(20, 2_000):
        window.measure(step * 0.005, step * 500)
        wanted = window.next_announcement(step * 0.005, 0) is not None
        assert wanted == (step * 0.005 > 7.1), step
        if wanted:
            break


def test_the_announcement_ends_some_time_after_the_last_job_was_taken_ahead() -> None:
    window = announced_window()
    window.measure(0.105, 10_000)
    assert window.size == 0
    assert window.next_announcement(1.0, 0) is None
    # Some have not begun.
    assert window.next_announcement(1.2, 3) is None
    assert window.next_announcement(1.2, 0) is Announcement.END
    assert window.next_announcement(1.2, 0) is None


def test_it_ends_when_a_pool_has_crashed() -> None:
    window = announced_window()
    window.on_paused(0.1)
    assert window.size == 0
    assert window.next_announcement(0.1, 0) is Announcement.END


def test_it_is_announced_again_when_the_heartbeat_may_be_another_one() -> None:
    window = announced_window()
    window.revoke()
    assert window.size == 0
    assert window.next_announcement(0.1, 0) is Announcement.BEGIN


def test_it_is_announced_again_when_the_reply_may_be_about_another_heartbeat() -> None:
    window = measured(100_000)
    window.next_announcement(0.1, 0)
    window.revoke()
    assert window.next_announcement(0.1, 0) is None
    window.on_begun(0.0, 0.1)
    assert window.size == 0
    assert window.next_announcement(0.1, 0) is Announcement.BEGIN
    window.on_begun(0.0, 0.1)
    assert window.size == 300


def test_it_is_announced_again_only_when_redis_has_confirmed_the_end() -> None:
    window = announced_window()
    window.on_paused(0.1)
    assert window.next_announcement(0.1, 0) is Announcement.END
    assert wants_again_at(window, 0.4) < 0.5
    # On another connection it could overtake the end.
    assert window.next_announcement(0.5, 0) is None
    window.on_ended()
    assert window.next_announcement(0.5, 0) is Announcement.BEGIN


def test_without_it_there_is_none() -> None:
    assert LookAhead(10, enabled=False).due == float("inf")
    with pytest.raises(UsageError, match="ahead must be True or False, not int: 3"):
        WorkerPool(ahead=3)  # type: ignore[call-overload]


# Jobs that do not begin


async def test_jobs_that_do_not_begin_are_requeued_soon() -> None:
    ready, requeued = ReadyQueue(), asyncio.Event()
    watch = UnbegunJobs(ready, requeued.set)
    ready.add([(None, b"1", 0)])  # type: ignore[list-item]
    watch.watch()
    await asyncio.wait_for(requeued.wait(), 5)


async def test_jobs_that_begin_too_slowly_are_requeued() -> None:
    ready, requeued, begun = ReadyQueue(), asyncio.Event(), 0
    watch = UnbegunJobs(ready, requeued.set)
    ready.add([(None, b"%d" % n, 0) for n in range(100_000)])  # type: ignore[misc]
    watch.watch()
    while not requeued.is_set():
        ready.jobs.popleft()
        begun += 1
        await asyncio.sleep(0)
    assert ready.jobs
    assert ready.begun == begun > 1


async def test_jobs_that_begin_are_not_requeued() -> None:
    loop, ready, requeued = asyncio.get_running_loop(), ReadyQueue(), asyncio.Event()
    watch = UnbegunJobs(ready, requeued.set)
    end = loop.time() + 0.1
    while loop.time() < end:
        ready.add([(None, b"1", 0)] * 5)  # type: ignore[list-item]
        watch.watch()
        ready.jobs.clear()
        await asyncio.sleep(0.001)
    assert not requeued.is_set()


# Pools


class Blocked:
    """Jobs of two names on a pool: one waits until it is let go, the others are quick."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.go = asyncio.Event()

    def register(self, pool: WorkerPool[Any], **options: Any) -> None:
        @pool.job(**options)
        async def wat(number: int) -> None:
            self.began.append(number)
            if number == 0:
                await self.go.wait()


def numbers(payloads: list[bytes]) -> list[int]:
    return [json.loads(payload)["args"]["number"] for payload in payloads]


async def in_progress(bench: Bench, pool: WorkerPool[Any]) -> list[int]:
    assert pool.id is not None
    return numbers(list(reversed(await bench.redis.lrange(bench.keys.in_progress("wat", pool.id), 0, -1))))


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[Fetch]:
    """The fetches of all pools."""
    made: list[Fetch] = []
    original = FetchState.next_fetch

    def next_fetch(self: FetchState, now: float, *, acked: Collection[Queue] = ()) -> Fetch | None:
        fetch = original(self, now, acked=acked)
        if fetch is not None:
            made.append(fetch)
        return fetch

    monkeypatch.setattr(FetchState, "next_fetch", next_fetch)
    return made


@pytest.mark.parametrize("ahead", [True, False])
async def test_short_jobs_are_taken_ahead(bench: Bench, fetches: list[Fetch], ahead: bool) -> None:
    pool = bench.pool(concurrency=2, ahead=ahead)
    ran = Counter[int]()

    @pool.job
    async def wat(number: int) -> None:
        ran[number] += 1

    for start in range(0, 10_000, 1_000):
        await bench.enqueuer.enqueue_many([("wat", {"number": n}) for n in range(start, start + 1_000)])
    async with pool.running():
        await pool.drain()
    assert ran == Counter(range(10_000))
    assert (max(fetch.limit for fetch in fetches) > 2) is ahead


@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_one_worker_begins_the_jobs_of_a_queue_in_their_order(bench: Bench, seconds: float) -> None:
    pool, ran = bench.pool(concurrency=1), list[int]()

    @pool.job
    async def wat(number: int) -> None:
        ran.append(number)
        if number % 100 == 50:
            # What was taken behind it goes back.
            await asyncio.sleep(seconds)

    for start in range(0, 10_000, 1_000):
        await bench.enqueuer.enqueue_many([("wat", {"number": n}) for n in range(start, start + 1_000)])
    async with pool.running():
        await until(lambda: len(ran) == 10_000)
    assert ran == list(range(10_000))


async def test_the_announcement_ends_while_a_long_job_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, pool, begun = Blocked(), bench.pool(concurrency=1), asyncio.Event()
    jobs.register(pool)
    original = LookAhead.on_begun

    def on_begun(self: LookAhead, paused: float, now: float) -> None:
        original(self, paused, now)
        assert self.announced
        begun.set()

    monkeypatch.setattr(LookAhead, "on_begun", on_begun)
    async with pool.running():
        await bench.enqueuer.enqueue("wat", {"number": 0})
        await until(lambda: jobs.began)
        fetcher = dispatcher_of(pool).fetcher
        # As if it had run many short ones until then.
        fetcher.state.look_ahead.wanted, fetcher.state.look_ahead._wanted_at = 8, asyncio.get_running_loop().time()
        fetcher._announcer.announce()
        await begun.wait()
        await until(lambda: is_not_announced(bench, pool))
        jobs.go.set()


async def test_the_announcement_of_a_quiet_pool_ends_while_a_long_job_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, 8)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool)
    await hold(bench, pool, jobs, 20)
    await until(lambda: 0 in jobs.began)
    await until(lambda: announced(bench, pool))
    monkeypatch.undo()
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert pool.id is not None
        await client.quiet_pool(pool.id)
        await until(lambda: is_not_announced(bench, pool))
        jobs.go.set()
        await client.unquiet_pool(pool.id)
    await until(lambda: len(jobs.began) == 21)
    await pool.stop()


async def is_not_announced(bench: Bench, pool: WorkerPool[Any]) -> bool:
    return not await announced(bench, pool)


@pytest.fixture
def never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have jobs wait in a pool for as long as they like."""
    monkeypatch.setattr(UnbegunJobs, "watch", lambda self: None)


async def hold(bench: Bench, pool: WorkerPool[Any], jobs: Blocked, count: int) -> None:
    """Start a pool with one worker, which runs job 0, while jobs 1 and so on are held behind it."""
    # The first job is there to have the pool announce that it looks ahead.
    await bench.enqueuer.enqueue("wat", {"number": -1})
    await pool.start()
    await until(lambda: jobs.began == [-1])
    await until(lambda: announced(bench, pool))
    await bench.enqueuer.enqueue_many([("wat", {"number": n}) for n in range(count)])


async def announced(bench: Bench, pool: WorkerPool[Any]) -> bool:
    assert pool.id is not None
    return bool(await bench.redis.hexists(bench.keys.heartbeat(pool.id), "looks_ahead"))


async def test_what_is_taken_behind_a_slow_job_runs_in_another_pool(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, 50)
    slow, other = Blocked(), Blocked()
    busy, idle = bench.pool(concurrency=1), bench.pool(concurrency=1)
    slow.register(busy)
    other.register(idle)
    await hold(bench, busy, slow, 30)
    await until(lambda: 0 in slow.began)
    async with idle.running():
        await until(lambda: len(slow.began) + len(other.began) == 31)
    assert slow.began == [-1, 0]
    assert other.began == list(range(1, 30))
    slow.go.set()
    await busy.stop()


@pytest.mark.usefixtures("never_late")
async def test_a_stop_requeues_what_has_not_begun_in_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    look_ahead(monkeypatch, 8)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool)
    await hold(bench, pool, jobs, 20)
    await until(lambda: in_progress_is(bench, pool, list(range(9))))
    stopping = asyncio.create_task(pool.stop())
    await until(lambda: in_progress_is(bench, pool, [0]))
    assert numbers(await bench.waiting("wat")) == list(range(1, 20))
    jobs.go.set()
    await stopping
    assert jobs.began == [-1, 0]


async def in_progress_is(bench: Bench, pool: WorkerPool[Any], expected: list[int]) -> bool:
    return await in_progress(bench, pool) == expected


@pytest.mark.usefixtures("never_late")
async def test_a_quiet_pool_requeues_what_has_not_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    look_ahead(monkeypatch, 8)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool)
    await hold(bench, pool, jobs, 20)
    await until(lambda: in_progress_is(bench, pool, list(range(9))))
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert pool.id is not None
        await client.quiet_pool(pool.id)
        await until(lambda: in_progress_is(bench, pool, [0]))
        assert numbers(await bench.waiting("wat")) == list(range(1, 20))
        jobs.go.set()
        await client.unquiet_pool(pool.id)
        await until(lambda: len(jobs.began) == 21)
    assert sorted(jobs.began) == list(range(-1, 20))
    await pool.stop()


@pytest.mark.usefixtures("never_late")
async def test_a_concurrency_limit_counts_what_has_not_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    look_ahead(monkeypatch, 50)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool, max_concurrency=5)
    await hold(bench, pool, jobs, 20)
    await until(lambda: in_progress_is(bench, pool, list(range(5))))
    jobs.go.set()
    await until(lambda: len(jobs.began) == 21)
    await pool.stop()


@pytest.mark.usefixtures("never_late")
@pytest.mark.parametrize("concurrency", [1, 30])
async def test_a_pool_that_is_resized_runs_what_it_has_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    look_ahead(monkeypatch, 8)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool)
    await hold(bench, pool, jobs, 20)
    await until(lambda: in_progress_is(bench, pool, list(range(9))))
    pool.resize(concurrency)
    jobs.go.set()
    await pool.drain()
    assert sorted(jobs.began) == list(range(-1, 20))
    await pool.stop()


# Jobs that come in another way than by a plain fetch


async def runs_elsewhere(bench: Bench, busy: WorkerPool[Any], slow: Blocked, expected: list[int]) -> None:
    """An idle pool runs jobs that another one holds behind slow ones."""
    idle, other = bench.pool(concurrency=1), Blocked()
    other.register(idle)
    async with idle.running():
        await until(lambda: set(expected) <= set(other.began))
    slow.go.set()
    await busy.stop()
    assert not set(expected) & set(slow.began)


async def test_jobs_that_redis_has_admitted_again_do_not_wait_behind_a_slow_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, 8)
    # As if each reply came while jobs are requeued.
    monkeypatch.setattr(PendingRequeues, "is_stale", lambda self, requested_at, now: True)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool)
    await hold(bench, pool, jobs, 9)
    await until(lambda: 0 in jobs.began)
    await runs_elsewhere(bench, pool, jobs, list(range(1, 9)))


async def held_behind_a_slow_job(bench: Bench, monkeypatch: pytest.MonkeyPatch, jobs: Blocked) -> WorkerPool[Any]:
    """A pool that holds 8 jobs which it did not check so far."""
    look_ahead(monkeypatch, 8)
    pool = bench.pool(concurrency=1)
    jobs.register(pool)
    with monkeypatch.context() as patch:
        patch.setattr(UnbegunJobs, "watch", lambda self: None)
        await hold(bench, pool, jobs, 9)
        await until(lambda: in_progress_is(bench, pool, list(range(9))))
        dispatcher = dispatcher_of(pool)
        await until(lambda: len(dispatcher.ready.jobs) == 8)
    return pool


def dispatcher_of(pool: WorkerPool[Any]) -> Dispatcher:
    assert pool._launcher is not None
    return pool._launcher._dispatcher


async def test_jobs_that_were_claimed_do_not_wait_behind_a_slow_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Blocked()
    pool = await held_behind_a_slow_job(bench, monkeypatch, jobs)
    dispatcher = dispatcher_of(pool)
    dispatcher.lease.renew(dispatcher.lease.now(), 0.0, reaped=True)
    dispatcher.wake_idle()
    await runs_elsewhere(bench, pool, jobs, list(range(1, 9)))


async def test_jobs_that_are_held_at_a_resize_do_not_wait_behind_a_slow_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Blocked()
    pool = await held_behind_a_slow_job(bench, monkeypatch, jobs)
    dispatcher_of(pool).resize(1)
    await runs_elsewhere(bench, pool, jobs, list(range(1, 9)))


async def test_a_job_that_a_pop_takes_does_not_wait_behind_a_slow_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, 0)
    jobs, pool = Blocked(), bench.pool(concurrency=1)
    jobs.register(pool)
    await pool.start()
    await bench.enqueuer.enqueue("wat", {"number": 0})
    await until(lambda: 0 in jobs.began)
    await bench.enqueuer.enqueue("wat", {"number": 1})
    # As if the job before it had been taken ahead, and so had the worker for which the pop was sent.
    fetcher, [queue] = dispatcher_of(pool).fetcher, dispatcher_of(pool).queues
    payload = await bench.redis.lmove(queue.queue, queue.in_progress, "RIGHT", "LEFT")
    fetcher.state.free -= 1
    fetcher.state.blocked.add(queue)
    fetcher._on_popped(queue, Popped(payload, True, 0), asyncio.get_running_loop().time())
    await runs_elsewhere(bench, pool, jobs, [1])


# Crashes


async def test_a_crash_of_a_pool_that_looked_ahead_is_counted_against_no_job(bench: Bench) -> None:
    recovery, keys, redis = Recovery(bench.in_redis), bench.keys, bench.redis
    payload = json.dumps({"name": "wat", "id": "1", "t": 1, "args": {"number": 1}}).encode()
    for pool_id, looks_ahead in (("a" * 24, True), ("b" * 24, False)):
        await redis.sadd(keys.worker_pools, pool_id)
        await redis.hset(keys.heartbeat(pool_id), mapping={"heartbeat_at": 1, "job_names": "wat"})
        if looks_ahead:
            await redis.hset(keys.heartbeat(pool_id), "looks_ahead", 1)
        await redis.sadd(keys.known_jobs, "wat")
        await redis.delete(keys.queue("wat"))
        await redis.lpush(keys.in_progress("wat", pool_id), payload)
        assert await recovery.recover(pool_id, ["wat"], b"1") == 1
        counted = await redis.hget(keys.crashes, fingerprint(payload))
        assert counted == (None if looks_ahead else b"1")
        assert await redis.get(keys.look_ahead_paused) == pool_id.encode()
        assert 290 <= await redis.ttl(keys.look_ahead_paused) <= 300


async def test_pools_look_ahead_after_one_without_jobs_was_killed(bench: Bench) -> None:
    keys, pool_id = bench.keys, "a" * 24
    await bench.redis.sadd(keys.worker_pools, pool_id)
    await bench.redis.hset(keys.heartbeat(pool_id), mapping={"heartbeat_at": 1, "job_names": "wat"})
    assert await Recovery(bench.in_redis).recover(pool_id, ["wat"], b"1") == 0
    assert not await bench.redis.exists(keys.look_ahead_paused)


async def test_no_pool_looks_ahead_after_a_crash(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fetches: list[Fetch]
) -> None:
    look_ahead(monkeypatch, 8)
    pool = bench.pool(concurrency=1)
    ran: list[int] = []

    @pool.job
    async def wat(number: int) -> None:
        ran.append(number)

    await bench.enqueuer.enqueue("wat", {"number": 0})
    async with pool.running():
        await until(lambda: announced(bench, pool))
        await bench.redis.set(bench.keys.look_ahead_paused, "c" * 24, ex=1_000)
        await bench.enqueuer.enqueue_many([("wat", {"number": n}) for n in range(1, 100)])

        await until(lambda: is_not_announced(bench, pool))
        await until(lambda: len(ran) == 100)
        fetches.clear()
        await bench.enqueuer.enqueue_many([("wat", {"number": n}) for n in range(100, 200)])
        await until(lambda: len(ran) == 200)
    assert all(fetch.limit == 1 for fetch in fetches)
    assert ran == list(range(200))


PROGRAM = """
import asyncio, os, sys
from asyncwork import Client, WorkerPool

pool = WorkerPool(sys.argv[1], namespace=sys.argv[2], concurrency=2, heartbeat=0.3, dead_after=0.9)

@pool.job(max_crashes=3)
async def wat(number: int) -> None:
    if number == 777:
        os._exit(9)
    os.write(1, b"%d\\n" % number)

async def main() -> None:
    async with pool.running(), Client(sys.argv[1], namespace=sys.argv[2]) as client:
        # Until the jobs of those that have died are here and have run.
        while len(await client.heartbeats()) > 1:
            await asyncio.sleep(0.05)
        await pool.drain()

asyncio.run(main())
"""


async def test_a_poison_pill_among_short_jobs_is_found_and_no_other_job_is_dead(bench: Bench) -> None:
    for start in range(0, 3_000, 1_000):
        await bench.enqueuer.enqueue_many([("wat", {"number": n}) for n in range(start, start + 1_000)])
    ran = Counter[int]()
    for attempt in range(12):
        args = [sys.executable, "-c", PROGRAM, bench.url, bench.namespace]
        done = await asyncio.to_thread(subprocess.run, args, stdout=subprocess.PIPE, check=False)
        ran.update(map(int, done.stdout.split()))
        if done.returncode == 0:
            break
        assert done.returncode == 9, attempt
        assert not await bench.redis.zcard(bench.keys.dead)
    else:
        raise AssertionError("the poison pill goes on")
    assert set(range(3_000)) - ran.keys() == {777}
    [(dead, _)] = await bench.job_set("dead")
    assert numbers([dead]) == [777]
    # Once more than without looking ahead; twice, if the pool that puts the job back looks ahead itself, and dies by it
    # before it has read that it must not. No later one does.
    assert attempt <= 5
