"""The multiplexed connection of an enqueuer: shared by tasks, reopened after it broke, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncwork import EnqueueManyError, Enqueuer, RedisUnavailable
from asyncwork.embedded import EmbeddedRedis

from .conftest import LIMIT, UNSYNCED, Bench, open_bench
from .proxy import Proxy, open_proxy


@pytest.fixture
async def proxy(bench: Bench) -> AsyncIterator[Proxy]:
    """A proxy before the bench's Redis."""
    async with open_proxy(bench.url) as proxy:
        yield proxy


@pytest.fixture
async def enqueuer(bench: Bench, proxy: Proxy) -> AsyncIterator[Enqueuer]:
    """An enqueuer that reaches Redis through the proxy."""
    async with Enqueuer(proxy.url, namespace=bench.namespace) as enqueuer:
        yield enqueuer


async def numbers(bench: Bench, name: str = "wat") -> list[int]:
    """The numbers of the waiting jobs of :func:`numbered`."""
    return [json.loads(each)["args"]["n"] for each in await bench.waiting(name)]


def numbered(enqueuer: Enqueuer, *ns: int) -> list[asyncio.Task[Any]]:
    """Tasks that enqueue a job each, all at once."""
    return [asyncio.create_task(enqueuer.enqueue("wat", {"n": n})) for n in ns]


def once(text: bytes) -> Callable[[bytes], bool]:
    """A check that is true for the first request with a text in it."""
    seen = False

    def check(request: bytes) -> bool:
        nonlocal seen
        first, seen = not seen and text in request, seen or text in request
        return first

    return check


def every_fifth(text: bytes, first: int) -> Callable[[bytes], bool]:
    """A check that is true for every fifth request with a text in it, from the first of these numbers on."""
    requests = itertools.count()

    def check(request: bytes) -> bool:
        return text in request and next(requests) % 5 == first

    return check


async def withheld(proxy: Proxy, enqueuer: Enqueuer) -> tuple[asyncio.Task[Any], list[asyncio.Task[Any]]]:
    """A task whose command has been sent, job 1, and others whose commands are queued behind it, jobs 2 to 4."""
    await enqueuer.enqueue("wat", {"n": 0})
    proxy.delay, before = 0.1, proxy.arrived
    (first,) = numbered(enqueuer, 1)
    while proxy.arrived == before:  # noqa: ASYNC110  it is delayed twice before it is over
        await asyncio.sleep(0)
    others = numbered(enqueuer, 2, 3, 4)
    await asyncio.sleep(0)
    return first, others


async def test_a_job_costs_one_command_and_one_read(bench: Bench) -> None:
    async def told() -> tuple[int, int, int]:
        info = await bench.redis.info("stats")
        return info["total_commands_processed"], info["total_reads_processed"], info["total_connections_received"]

    async def cost(enqueue: Callable[[], Any]) -> tuple[int, ...]:
        before = await told()
        await enqueue()
        after = await told()
        # Less what asking costs.
        return tuple(new - old - own for new, old, own in zip(after, before, (1, 1, 0), strict=True))

    await bench.redis.ping()
    # The first brings along the name and the connection, with what that is greeted with.
    commands, reads, connections = await cost(lambda: bench.enqueuer.enqueue("wat"))
    assert commands - 2 == reads - 1 <= 2
    assert connections == 1
    assert await cost(lambda: bench.enqueuer.enqueue("wat")) == (1, 1, 0)
    assert await cost(lambda: bench.enqueuer.enqueue("wat", delay=10)) == (1, 1, 0)
    assert await cost(lambda: bench.enqueuer.enqueue("taw")) == (2, 1, 0)
    assert await cost(lambda: asyncio.gather(*numbered(bench.enqueuer, *range(100)))) == (2, 2, 0)


async def test_many_tasks_share_a_connection_and_each_gets_its_own_answer(bench: Bench) -> None:
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    before = (await bench.redis.info("stats"))["total_connections_received"]

    async def enqueue(n: int) -> object:
        if n % 5 == 0:
            return await bench.enqueuer.enqueue("broken", {"n": n})
        if n % 5 == 1:
            return await bench.enqueuer.enqueue("unique", {"n": n % 10}, unique=True)
        return await bench.enqueuer.enqueue("wat", {"n": n})

    answers = await asyncio.gather(*(enqueue(n) for n in range(500)), return_exceptions=True)
    assert (await bench.redis.info("stats"))["total_connections_received"] - before == 1
    assert [n for n, each in enumerate(answers) if isinstance(each, RedisUnavailable)] == list(range(0, 500, 5))
    assert [n for n, each in enumerate(answers) if getattr(each, "duplicate", False)] == list(range(11, 500, 5))
    assert await numbers(bench) == [n for n in range(500) if n % 5 > 1]
    await bench.redis.delete(bench.keys.queue("broken"))


async def test_a_cancelled_task_does_not_affect_the_others(bench: Bench, proxy: Proxy, enqueuer: Enqueuer) -> None:
    first, (second, third, fourth) = await withheld(proxy, enqueuer)
    first.cancel()
    third.cancel()
    assert [(await task).args for task in (second, fourth)] == [{"n": 2}, {"n": 4}]
    await asyncio.wait([first, third])
    assert first.cancelled()
    assert third.cancelled()
    # The first was on its way already.
    assert await numbers(bench) == [0, 1, 2, 4]


@pytest.mark.parametrize("lose", ["lose_answer", "tear_answer", "lose_request"])
async def test_a_broken_connection_fails_the_requests_that_were_sent(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer, lose: str
) -> None:
    setattr(proxy, lose, once(b'{"n":1}'))
    first, others = await withheld(proxy, enqueuer)
    with pytest.raises(RedisUnavailable, match="could not be enqueued"):
        await first
    await asyncio.gather(*others)
    assert proxy.lost == 1
    assert await numbers(bench) == ([0, 2, 3, 4] if lose == "lose_request" else [0, 1, 2, 3, 4])


async def test_after_a_break_the_rest_of_the_batch_of_many_is_uncertain(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer
) -> None:
    proxy.lose_answer = once(b'{"n":1500}')
    with pytest.raises(EnqueueManyError) as caught:
        await enqueuer.enqueue_many([("wat", {"n": n}) for n in range(3500)])
    told = [[job.args and job.args["n"] for job in jobs] for jobs in (caught.value.written, caught.value.uncertain)]
    assert told == [list(range(1000)), list(range(1000, 2000))]
    assert len(caught.value.unwritten) == 1500
    assert await numbers(bench) == list(range(2000))


async def test_many_that_were_queued_when_it_was_closed_are_unwritten(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer
) -> None:
    await enqueuer.enqueue("wat", {"n": 0})
    proxy.mute()
    many = [asyncio.create_task(enqueuer.enqueue_many([("wat", {"n": n})] * 3)) for n in (1, 2)]
    await asyncio.sleep(0)
    await enqueuer.close()
    sent, queued = await asyncio.gather(*many, return_exceptions=True)
    assert isinstance(sent, EnqueueManyError)
    assert isinstance(queued, EnqueueManyError)
    assert (len(sent.uncertain), len(sent.unwritten)) == (3, 0)
    assert (len(queued.uncertain), len(queued.unwritten)) == (0, 3)


async def test_it_reconnects_to_a_restarted_redis(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with Enqueuer(server.url, namespace="work") as enqueuer:
            await enqueuer.enqueue("wat")
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            await enqueuer.enqueue("wat")
            # Nobody had a chance to see that it was gone.
            server.stop()
            server.start()
            await enqueuer.enqueue("wat")
            await asyncio.to_thread(server.stop)
            with pytest.raises(RedisUnavailable, match="could not be enqueued"):
                await enqueuer.enqueue("wat")
            await asyncio.to_thread(server.start)
            await enqueuer.enqueue("wat")


async def test_a_silent_connection_times_out(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueuer._redis, "timeout", 1.0)
    await enqueuer.enqueue("wat", {"n": 0})
    proxy.mute()
    (first,) = numbered(enqueuer, 1)
    await asyncio.sleep(0.5)
    # These have gathered behind it, and have some patience left when it has none.
    others = numbered(enqueuer, 2, 3)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(RedisUnavailable, match="Redis did not reply in time"):
            await first
        await asyncio.gather(*others)
    assert await numbers(bench) == [0, 2, 3]


async def test_a_queued_request_times_out_like_a_sent_one(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueuer.enqueue("wat", {"n": 0})
    proxy.mute()
    (first,) = numbered(enqueuer, 1)
    await asyncio.sleep(0)
    monkeypatch.setattr(enqueuer._redis, "timeout", 0.1)
    with pytest.raises(RedisUnavailable, match="not sent in time"):
        await enqueuer.enqueue("wat", {"n": 2})
    await enqueuer.close()
    await asyncio.wait([first])
    assert isinstance(first.exception(), RedisUnavailable)
    assert await numbers(bench) == [0]


async def test_closing_fails_pending_requests_and_it_can_be_used_again(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer
) -> None:
    first, others = await withheld(proxy, enqueuer)
    await enqueuer.close()
    for task in (first, *others):
        with pytest.raises(RedisUnavailable, match="was closed"):
            await task
    proxy.delay = 0.0
    # Also while it is being opened.
    opening = numbered(enqueuer, 5)
    await asyncio.sleep(0)
    await enqueuer.close()
    with pytest.raises(RedisUnavailable, match="was closed"):
        await opening[0]
    await enqueuer.enqueue("wat", {"n": 6})
    # The command of job 1 was on its way, and may arrive later.
    assert 6 in await numbers(bench)


async def pushes(bench: Bench) -> int:
    """How many commands have added jobs to queues."""
    stats = await bench.redis.info("commandstats")
    return int(stats.get("cmdstat_lpush", {"calls": 0})["calls"])


async def test_jobs_that_are_enqueued_at_once_share_commands(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", {"n": 0})
    await bench.enqueuer.enqueue("taw", {"n": 0})
    before = await pushes(bench)
    # The first goes out at once, and a command takes 1000 of the others.
    await asyncio.gather(*numbered(bench.enqueuer, *range(1, 2502)))
    assert await pushes(bench) - before == 4
    assert await numbers(bench) == list(range(2502))
    # Also those of several queues, with one command for each.
    before = await pushes(bench)
    await asyncio.gather(*(bench.enqueuer.enqueue(("wat", "taw")[n % 2], {"n": n}) for n in range(2502, 2602)))
    assert await pushes(bench) - before == 3
    assert (await numbers(bench))[2502:] == list(range(2502, 2602, 2))
    assert (await numbers(bench, "taw"))[1:] == list(range(2503, 2602, 2))


async def test_large_jobs_share_less(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", {"n": 0})
    before = await pushes(bench)
    jobs = [bench.enqueuer.enqueue("wat", {"n": n, "text": "x" * 400_000}) for n in range(1, 8)]
    await asyncio.gather(*jobs)
    # The first, and twice three of 400 kB.
    assert await pushes(bench) - before == 3
    assert await numbers(bench) == list(range(8))


async def test_jobs_do_not_overtake_others_of_their_queue(bench: Bench, proxy: Proxy, enqueuer: Enqueuer) -> None:
    # Redis has the script from now on. Without it, a unique job is sent twice, and later jobs may overtake it.
    await enqueuer.enqueue("taw", unique=True)
    first, others = await withheld(proxy, enqueuer)
    many = asyncio.create_task(enqueuer.enqueue_many([("wat", {"n": n}) for n in (5, 6)]))
    await asyncio.sleep(0)
    unique = asyncio.create_task(enqueuer.enqueue("wat", {"n": 7}, unique=True))
    await asyncio.sleep(0)
    await asyncio.gather(first, *others, many, unique, *numbered(enqueuer, 8, 9))
    assert await numbers(bench) == list(range(10))


async def test_each_of_the_jobs_that_are_refused_together_has_its_own_error(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer
) -> None:
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    first, others = await withheld(proxy, enqueuer)
    refused = [asyncio.create_task(enqueuer.enqueue("broken", {"n": n})) for n in range(3)]
    await asyncio.sleep(0)
    refused[1].cancel()
    errors = await asyncio.gather(*refused, return_exceptions=True)
    await asyncio.gather(first, *others)
    assert [type(error) for error in errors] == [RedisUnavailable, asyncio.CancelledError, RedisUnavailable]
    ids = [str(error).split()[2] for error in errors[::2]]
    assert len(set(ids)) == 2
    assert await numbers(bench) == [0, 1, 2, 3, 4]
    await bench.redis.delete(bench.keys.queue("broken"))


async def test_a_command_of_cancelled_tasks_alone_is_not_sent(bench: Bench, proxy: Proxy, enqueuer: Enqueuer) -> None:
    first, others = await withheld(proxy, enqueuer)
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    await first
    await enqueuer.enqueue("wat", {"n": 5})
    assert await numbers(bench) == [0, 1, 5]


async def test_each_of_the_jobs_that_share_a_command_has_its_own_time_limit(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enqueuer.enqueue("wat", {"n": 0})
    proxy.keep_answer = once(b'{"n":1}')
    (first,) = numbered(enqueuer, 1)
    await asyncio.sleep(0)
    (patient,) = numbered(enqueuer, 2)
    await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr(enqueuer._redis, "timeout", 0.1)
        with pytest.raises(RedisUnavailable, match="not sent in time"):
            await enqueuer.enqueue("wat", {"n": 3})
    assert not patient.done()
    proxy.let_go()
    await asyncio.gather(first, patient)
    assert await numbers(bench) == [0, 1, 2]


async def test_in_outages_each_job_is_written_once_or_its_task_has_an_error(
    bench: Bench, proxy: Proxy, enqueuer: Enqueuer
) -> None:
    written, failed = set[int](), set[int]()

    async def enqueue(start: int) -> None:
        for n in range(start, start + 20):
            try:
                await enqueuer.enqueue("wat", {"n": n})
            except RedisUnavailable:
                failed.add(n)
            else:
                written.add(n)

    proxy.lose_request, proxy.lose_answer, proxy.tear_answer = (every_fifth(b"LPUSH", first) for first in (1, 2, 4))
    await asyncio.gather(*(enqueue(start) for start in range(0, 2000, 20)))
    assert proxy.lost > 3
    assert len(failed) + len(written) == 2000
    found = await numbers(bench)
    assert len(found) == len(set(found))
    # A job may have been written although its reply was lost.
    assert written <= set(found) <= written | failed


async def test_scripts_that_redis_has_flushed_are_sent_again(bench: Bench) -> None:
    for n in range(3):
        await bench.redis.script_flush()
        assert not (await bench.enqueuer.enqueue("wat", {"n": n}, unique=True)).duplicate
        assert (await bench.enqueuer.enqueue("wat", {"n": n}, unique=True)).duplicate
        assert not (await bench.enqueuer.enqueue("wat", {"n": -n - 1}, delay=10, unique=True)).duplicate
    assert await numbers(bench) == [0, 1, 2]


async def test_a_job_is_enqueued_although_its_name_cannot_be_registered(bench: Bench) -> None:
    await bench.redis.set(bench.keys.known_jobs, "no set")
    await bench.enqueuer.enqueue("wat", {"n": 0})
    await bench.redis.delete(bench.keys.known_jobs)
    # It is told as soon as it can be.
    await bench.enqueuer.enqueue("wat", {"n": 1})
    assert await bench.redis.smembers(bench.keys.known_jobs) == {b"wat"}
    assert await numbers(bench) == [0, 1]


def test_each_event_loop_has_its_own_connection(redis_url: str) -> None:
    enqueuer, lengths = Enqueuer(redis_url, namespace="from-loop-to-loop"), list[int]()

    async def enqueue() -> None:
        await asyncio.gather(*numbered(enqueuer, *range(100)))
        async with open_bench(redis_url, "from-loop-to-loop") as bench:
            lengths.append(len(await numbers(bench)))

    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one):
            runner.run(enqueue())
            runner.run(enqueuer.close())
    assert lengths == [100, 200, 300]
