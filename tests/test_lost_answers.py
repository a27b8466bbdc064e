"""Connections that break between a command and its reply: nothing is lost, and results are sent until Redis confirms.

Reconciler finds the jobs of a lost reply.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from asyncwork import WorkerPool
from asyncwork._redis import scripts
from asyncwork._redis.client import run_script
from asyncwork._redis.protocol import pack
from asyncwork._redis.queue import Queue
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import WorkQueue
from asyncwork._worker.blocking_pops import BlockingPops

from .conftest import Bench, until
from .proxy import open_proxy
from .tuned import QUICK, tuned


def once(condition: Callable[[bytes], bool], times: int = 1) -> Callable[[bytes], bool]:
    """True for the first requests for which the condition is."""
    left = times

    def check(request: bytes) -> bool:
        nonlocal left
        if left and condition(request):
            left -= 1
            return True
        return False

    return check


def calls(script: str) -> Callable[[bytes], bool]:
    digest = scripts.digest(script)
    # A connection that is opened asks for all scripts by their digests, too.
    return lambda request: b"EVALSHA" in request and digest in request


async def count(ran: Counter[str], name: str) -> None:
    ran[name] += 1


# No check of the jobs comes by itself: a loss that is noticed has one made.
ON_LOSS = tuned(QUICK, reconcile=3600.0)


class Asker:
    """Asks one thing after the other, perhaps on another connection each time, as a pipeline does."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_replies(self, answers: list[Any]) -> None:
        self.heard.extend(answers)

    def on_error(self, error: Exception) -> None:
        self.heard.append(error)


@pytest.mark.parametrize("timeout", [0.05, 60.0])
async def test_who_was_answered_hears_nothing_more_of_that_connection(bench: Bench, timeout: float) -> None:
    asker = Asker()
    connection = await bench.redis_client.open(with_scripts=False)
    connection.send([b"*2\r\n" + pack(b"CLIENT", b"ID")], 1, asker, timeout)
    await until(lambda: asker.heard)
    (client_id,) = asker.heard
    if timeout < 1:
        # By then it would be late, were it not there.
        await asyncio.sleep(2 * timeout)
    await bench.redis.client_kill_filter(_id=str(client_id))
    await until(lambda: connection.closed)
    await connection.close()
    assert asker.heard == [client_id]


async def test_more_answers_than_were_asked_for_end_the_connection(bench: Bench) -> None:
    asker = Asker()
    connection = await bench.redis_client.open(with_scripts=False)
    connection.send([b"*1\r\n" + pack(b"PING")] * 2, 1, asker)
    await until(lambda: asker.heard or connection.closed)
    await until(lambda: connection.closed)
    await connection.close()
    assert "has sent more replies than were requested" in str(connection.error)


async def test_a_fetch_without_an_answer_is_found_and_its_jobs_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ran: Counter[int] = Counter()
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **ON_LOSS)

        @pool.job
        async def wat(n: int) -> None:
            ran[n] += 1

        await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(30)])
        proxy.lose_answer = once(calls("fetch"))
        async with pool.running():
            await until(lambda: len(ran) == 30)
            await pool.drain()
        assert proxy.lost == 1
    assert set(ran.values()) == {1}
    assert "the replies that carried them were lost" in caplog.text


async def test_a_fetch_that_is_answered_late_runs_what_is_still_its_own(bench: Bench) -> None:
    here: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    # An answer is late after 0.1 s, but nobody takes the pool for dead.
    times = tuned(QUICK, heartbeat=0.1, dead_after=0.2, reap=60.0, pipelines=1)
    other = WorkerPool(bench.url, namespace=bench.namespace, **times)

    @other.job
    async def lost() -> None:
        elsewhere["lost"] += 1

    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **times)
        for name in ("kept", "lost"):
            pool.job(name)(partial(count, here, name))
            await bench.enqueuer.enqueue(name)
        proxy.keep_answer = once(calls("fetch"))
        async with pool.running():
            pool_id = pool.id
            assert pool_id is not None
            await until(lambda: bench.redis.llen(bench.keys.in_progress("kept", pool_id)))
            await Recovery(bench.in_redis).reap(pool_id, ["lost"], None)
            async with other.running():
                await until(lambda: elsewhere["lost"])
                await asyncio.sleep(0.1)
                proxy.let_go()
                await until(lambda: here["kept"])
                await pool.drain()
    assert here == {"kept": 1}
    assert elsewhere == {"lost": 1}


async def test_a_fetch_that_is_answered_after_its_job_was_taken_up_runs_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ran: Counter[str] = Counter()
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **tuned(QUICK, reconcile=0.1, dead_after=60.0))
        pool.job("wat")(partial(count, ran, "wat"))
        await bench.enqueuer.enqueue("wat")
        proxy.keep_answer = once(calls("fetch"))
        async with pool.running():
            # Given back, and taken anew over another connection.
            await until(lambda: ran["wat"])
            assert "the replies that carried them were lost" in caplog.text
            proxy.let_go()
            await pool.drain()
    assert ran == {"wat": 1}


async def test_a_job_that_is_put_back_twice_for_a_lost_answer_runs_once(bench: Bench) -> None:
    ran: Counter[str] = Counter()
    async with open_proxy(bench.url) as proxy:
        times = tuned(QUICK, reconcile=0.1, reply_timeout=0.5, dead_after=60.0)
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **times)
        put_back = list[bytes]()

        def is_first(request: bytes) -> bool:
            if calls("requeue_front")(request):
                put_back.append(request)
            return len(put_back) == 1 and put_back[0] is request

        @pool.job
        async def wat() -> None:
            ran["wat"] += 1
            await until(lambda: len(put_back) == 2)
            await asyncio.sleep(0.1)

        await bench.enqueuer.enqueue("wat")
        proxy.lose_answer = once(calls("fetch"))
        # It is put back, and taken anew over the other connection, before this one is given up and says it again.
        proxy.keep_answer = is_first
        async with pool.running():
            await until(lambda: ran["wat"])
            await pool.drain()
    assert ran == {"wat": 1}


async def test_the_reply_to_a_pop_has_the_time_of_every_reply_beyond_its_block(bench: Bench) -> None:
    work_queue = WorkQueue(bench.redis_client, bench.keys, "a" * 24)
    pops = BlockingPops(
        work_queue,
        lambda *popped: None,
        lambda *ended: None,
        lambda *opening: None,
        block=500.0,
        timeout=1000.0,
        most=1,
    )
    pops.start(work_queue.queue("wat", 1))
    await until(lambda: pops._blocked)
    (pop,) = pops._blocked.values()
    assert pop.blocking.connection._replies._deadline - pop.requested_at >= 1500.0
    await pops.close()


async def test_ending_all_pops_leaves_those_alone_that_are_started_meanwhile(bench: Bench) -> None:
    work_queue = WorkQueue(bench.redis_client, bench.keys, "a" * 24)
    ended: list[Queue] = []

    def begin_anew(queue: Queue, error: BaseException | None) -> None:
        assert error is None
        ended.append(queue)
        pops.start(queue)

    pops = BlockingPops(
        work_queue, lambda *popped: None, begin_anew, lambda *opening: None, block=500.0, timeout=1000.0, most=3
    )
    queues = [work_queue.queue(name, 1) for name in ("one", "two", "three")]
    for queue in queues:
        pops.start(queue)
    await until(lambda: len(pops._blocked) == 3)
    before = list(pops._blocked.values())
    await pops.end_all()
    assert Counter(ended) == Counter(queues)
    # Over the same connections: none had to be closed.
    assert {each.blocking for each in pops._blocked.values()} == {each.blocking for each in before}
    pops._on_ended = lambda queue, error: None
    await pops.close()
    assert not pops.connections


async def test_a_pop_without_an_answer_is_found_and_its_job_runs(bench: Bench) -> None:
    ran: Counter[int] = Counter()
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **ON_LOSS)

        @pool.job
        async def wat(n: int) -> None:
            ran[n] += 1

        # The answer is lost that comes when there is a job: the proxy holds it back until then.
        proxy.lose_answer = once(lambda request: b"BRPOPLPUSH" in request)
        async with pool.running():
            await until(lambda: bench.blocked(pool))
            await bench.enqueuer.enqueue("wat", {"n": 1})
            await until(lambda: proxy.lost)
            await bench.enqueuer.enqueue("wat", {"n": 2})
            await until(lambda: len(ran) == 2)
            await pool.drain()
    assert set(ran.values()) == {1}


@pytest.mark.parametrize(
    "script", ["ack", "admit", "admit_popped", "move", "requeue_front", "free_unique", "quarantine"]
)
@pytest.mark.parametrize("lose", ["answer", "request"])
async def test_what_was_not_answered_is_told_again(bench: Bench, script: str, lose: str) -> None:
    ran: Counter[str] = Counter()
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK)

        @pool.job
        async def fine(n: int) -> None:
            ran[f"fine {n}"] += 1

        @pool.job(backoff=lambda job: 1000)
        async def fails(n: int) -> None:
            ran[f"fails {n}"] += 1
            raise ValueError("sorry")

        @pool.job
        async def paused() -> None:
            ran["paused"] += 1

        if lose == "answer":
            proxy.lose_answer = once(calls(script), 2)
        else:
            proxy.lose_request = once(calls(script), 2)
        async with pool.running():
            await until(lambda: bench.blocked(pool) == 3)
            await bench.redis.set(bench.keys.paused("paused"), 1)
            await bench.enqueuer.enqueue("paused")
            await bench.enqueuer.enqueue("fine", {"n": 0}, unique=True)
            for n in range(1, 10):
                await bench.enqueuer.enqueue("fine", {"n": n})
                await bench.enqueuer.enqueue("fails", {"n": n})
            await bench.redis.lpush(bench.keys.queue("fine"), "poison 1", "poison 2")
            await until(lambda: len(ran) == 19)
            await bench.redis.delete(bench.keys.paused("paused"))
            await until(lambda: len(ran) == 20)
            await pool.drain()
        if script != "requeue_front":
            assert proxy.lost
    assert set(ran.values()) == {1}
    assert len(await bench.job_set("retry")) == 9
    assert len(await bench.redis.lrange(bench.keys.quarantine, 0, -1)) == 2


async def test_a_newer_job_whose_answer_is_lost_runs_alone(bench: Bench) -> None:
    """The first call has put it in the place of the one that was popped; the next must not have that one run."""
    ran: list[int] = []
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **QUICK)

        @pool.job
        async def wat(v: int) -> None:
            ran.append(v)

        assert not (await bench.enqueuer.enqueue("wat", {"v": 1}, unique={"key": 1})).duplicate
        assert (await bench.enqueuer.enqueue("wat", {"v": 2}, unique={"key": 1})).duplicate
        proxy.lose_answer = once(calls("free_unique"))
        async with pool.running():
            await until(lambda: ran)
            await pool.drain()
        assert proxy.lost == 1
    assert ran == [2]


async def test_a_newer_job_whose_answer_is_late_runs_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[int] = []
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **tuned(QUICK, reconcile=0.1, dead_after=60.0))

        @pool.job
        async def wat(v: int) -> None:
            ran.append(v)

        assert not (await bench.enqueuer.enqueue("wat", {"v": 1}, unique={"key": 1})).duplicate
        assert (await bench.enqueuer.enqueue("wat", {"v": 2}, unique={"key": 1})).duplicate
        proxy.keep_answer = once(calls("free_unique"))
        async with pool.running():
            # Given back, as nobody here knows of it, and taken anew over another connection.
            await until(lambda: ran)
            assert "the replies that carried them were lost" in caplog.text
            proxy.let_go()
            await pool.drain()
    assert ran == [2]


async def test_a_newer_job_that_is_released_because_its_answer_is_late_is_found(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    # An answer is late after 0.1 s, but nobody takes the pool for dead.
    times = tuned(ON_LOSS, heartbeat=0.1, dead_after=0.2, reap=60.0)
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **times)

        @pool.job
        async def wat(v: int) -> None:
            ran.append(v)

        assert not (await bench.enqueuer.enqueue("wat", {"v": 1}, unique={"key": 1})).duplicate
        assert (await bench.enqueuer.enqueue("wat", {"v": 2}, unique={"key": 1})).duplicate
        proxy.keep_answer = once(calls("free_unique"))
        async with pool.running():
            await until(lambda: not_held(bench))
            await asyncio.sleep(0.2)
            proxy.let_go()
            await until(lambda: ran)
            await pool.drain()
        assert "not run here" in caplog.text
        assert "the replies that carried them were lost" in caplog.text
    assert ran == [2]


@pytest.mark.parametrize("taken", [False, True])
async def test_a_unique_job_whose_answer_is_late_runs_if_it_is_still_here(bench: Bench, taken: bool) -> None:
    ran: Counter[str] = Counter()
    # An answer is late after 0.1 s, but nobody takes the pool for dead.
    times = tuned(QUICK, heartbeat=0.1, dead_after=0.2, reap=60.0)
    async with open_proxy(bench.url) as proxy:
        pool = WorkerPool(proxy.url, namespace=bench.namespace, **times)
        pool.job("wat")(partial(count, ran, "wat"))
        await bench.enqueuer.enqueue("wat", unique=True)
        proxy.keep_answer = once(calls("free_unique"))
        async with pool.running():
            # Redis has said that it may begin.
            await until(lambda: not_held(bench))
            if taken:
                assert pool.id is not None
                await reap_into("elsewhere", bench, pool.id)
            await asyncio.sleep(0.2)
            proxy.let_go()
            await pool.drain()
    assert ran == ({} if taken else {"wat": 1})
    assert len(await bench.waiting("elsewhere")) == taken


async def reap_into(queue: str, bench: Bench, pool_id: str) -> None:
    """Take a pool's jobs of the queue "wat" away, as a reaper does, and put them where that pool takes none."""
    keys = [bench.keys.in_progress("wat", pool_id), bench.keys.lock("wat"), bench.keys.lock_info("wat")]
    keys += [bench.keys.queue(queue), bench.keys.heartbeat(pool_id)]
    assert await run_script(bench.redis_client.client(), "reap", keys, [pool_id, 9, "*"]) == [1, 0]


async def not_held(bench: Bench) -> bool:
    """Whether no unique key is held."""
    return not await bench.redis.keys(f"{bench.keys.unique}*")


async def test_scripts_that_redis_forgot_are_told_again(bench: Bench) -> None:
    ran: list[int] = []
    pool = bench.pool(concurrency=2)

    @pool.job
    async def wat(n: int) -> None:
        ran.append(n)
        await asyncio.sleep(0.001)

    async with pool.running():
        for n in range(50):
            await bench.enqueuer.enqueue("wat", {"n": n})
            if n % 10 == 0:
                await bench.redis.script_flush()
        await until(lambda: len(ran) == 50)
        await pool.drain()
    assert sorted(ran) == list(range(50))


async def test_an_ack_that_redis_refuses_is_told_until_it_is_taken(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        ran.append(1)
        raise ValueError("sorry")

    await bench.redis.set(bench.keys.retry, "no sorted set")
    await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await until(lambda: "queue wat: Redis failed" in caplog.text)
        assert await bench.redis.llen(bench.keys.in_progress("wat", pool.id or "")) == 1
        await bench.redis.delete(bench.keys.retry)
        await pool.drain()
    assert len(ran) == 1
    assert len(await bench.job_set("retry")) == 1
    assert caplog.text.count("queue wat: Redis failed") == 1


async def test_a_queue_that_is_no_list_keeps_no_other_from_being_worked(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool(concurrency=2, **tuned(poll=0.1))

    async def handler() -> None:
        ran.append("x")

    for name in ("broken", "fine"):
        pool.job(name)(handler)
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    async with pool.running():
        for _ in range(10):
            await bench.enqueuer.enqueue("fine")
        await until(lambda: len(ran) == 10)
        await bench.redis.delete(bench.keys.queue("broken"))
        await bench.enqueuer.enqueue("broken")
        await until(lambda: len(ran) == 11)
