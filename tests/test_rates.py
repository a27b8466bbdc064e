"""Rates of queues: no window ever sees more starts than they allow, whatever pools, clocks and operators do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import re
import signal
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from asyncwork import Client, Job, JobStatus, Rate, RateLimited, UsageError, WorkerPool
from asyncwork._redis import queue_settings, scripts
from asyncwork._redis import rates as rates_in_redis
from asyncwork._redis.command_encoder import CommandEncoder
from asyncwork._redis.commands import CommandBatch, Fetch, RequeueAndRest
from asyncwork._redis.errors import ErrorReply, RedisError
from asyncwork._redis.keys import Keys
from asyncwork._redis.namespace import Namespace
from asyncwork._redis.queue import Queue
from asyncwork._redis.rates import QueueRate, tokens_left
from asyncwork._redis.work_queue import Fetched, NotOpen, Popped, Verdict, WorkQueue
from asyncwork._worker import limited_queues, poll_times, queue_poller
from asyncwork._worker.fetch_state import FetchState
from asyncwork._worker.fetch_steps import NextStep
from asyncwork._worker.services import gone_owners, rate_reader
from asyncwork._worker.services.rate_reader import RateReader

from . import child
from .child import Child
from .conftest import LIMIT, Bench, until
from .looking_ahead import look_ahead
from .tuned import QUICK, tuned

# A heartbeat so rare that only a message can make a pool comply in time.
RARELY = tuned(QUICK, heartbeat=4 * LIMIT, dead_after=9 * LIMIT)
# A token that no test waits for.
ONCE = Rate(1, per=timedelta(days=1))


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def counting(bench: Bench, rate: Rate | None, **options: Any) -> tuple[WorkerPool[Any], list[int]]:
    """A pool that records the numbers of the jobs that it has started."""
    pool, ran = bench.pool(**options), list[int]()

    @pool.job(rate=rate)
    async def wat(n: int) -> None:
        ran.append(n)

    return pool, ran


async def put(bench: Bench, numbers: Sequence[int], name: str = "wat") -> None:
    for n in numbers:
        await bench.enqueuer.enqueue(name, {"n": n})


# The class


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, r"pause the queue instead: client\.pause\(name\)"),
        ({"count": -1}, "count must be a whole number from 1"),
        ({"count": True}, "count must be a whole number"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"count": "100"}, "count must be a whole number from 1 to 1000000000, not '100'"),
        ({"count": 10**9 + 1}, "count must be a whole number"),
        ({"count": 1, "per": 0}, "per must be from 0.000001 seconds to 366 days, not 0: leave the rate out"),
        ({"count": 1, "per": -1}, "per must be zero or more seconds"),
        ({"count": 1, "per": float("nan")}, "per must be zero or more seconds"),
        ({"count": 1, "per": float("inf")}, "per must be zero or more seconds"),
        ({"count": 1, "per": "60"}, "per must be seconds or a timedelta, not str"),
        ({"count": 1, "per": 1e-7}, "per must be from 0.000001 seconds"),
        ({"count": 1, "per": timedelta(days=367)}, "per must be from 0.000001 seconds to 366 days"),
        ({"count": 1, "burst": 0}, "burst must be 1 or more, or no job could ever start.*pause the queue"),
        ({"count": 1, "burst": -1}, "burst must be a whole number of 1 or more"),
        ({"count": 1, "burst": 1.5}, "burst must be a whole number of 1 or more"),
        ({"count": 1, "burst": True}, "burst must be a whole number of 1 or more"),
        ({"count": 7, "per": 86_400, "burst": 10**9}, "burst must be at most 52124 with 7 jobs per 86400 s"),
    ],
)
def test_a_rate_that_cannot_be_says_why(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Rate(**values)


async def test_the_option_takes_only_a_rate(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r"rate must be a Rate, such as Rate\(100, per=60\), not '100/60'"):
        bench.pool().job(rate="100/60")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("rate", "text", "label"),
    [
        (Rate(100, per=60, burst=20), "100/60/20", "100 per 60 s"),
        (Rate(100, per=60), "100/60/1", "100 per 60 s"),
        (Rate(1000), "1000/1/100", "1,000 per 1 s"),
        (Rate(3, per=timedelta(milliseconds=2.5)), "3/0.0025/120", "3 per 0.0025 s"),
    ],
)
def test_a_rate_as_text(rate: Rate, text: str, label: str) -> None:
    assert (str(rate), rate.label, Rate.parse(text)) == (text, label, rate)


@pytest.mark.parametrize(
    "text", ["", "100", "100/60/20/1", "-1/60", "1e3/60", "100/6O", "1/0", "0/1", "１/1", " 1/1", 7]
)
def test_a_text_that_is_no_rate(text: Any) -> None:
    with pytest.raises(UsageError):
        Rate.parse(text)


# The arithmetic

TAKE = """-- include rate
local rate = read_rate(ARGV[4])
if not rate then return 'no rate' end
return {take_tokens(KEYS[1], rate, tonumber(ARGV[3]))}
"""

rates = st.builds(
    Rate,
    st.sampled_from([1, 2, 3, 7, 100, 1000, 999_983]),
    st.sampled_from([0.000001, 0.001, 0.7, 1.0, 60.0, 86_400.0]),
    st.sampled_from([1, 2, 5, 1000]),
)
# Microseconds between two calls.
pauses = st.one_of(st.integers(0, 100), st.integers(0, 10**6), st.integers(0, 10**11))
wishes = st.sampled_from([0, 1, 2, 3, 1000])


class Tokens:
    """The script with a clock that the test sets, and an exact model of what it must answer."""

    def __init__(self, bench: Bench) -> None:
        # Of the script itself, with another clock.
        source = scripts.source("rate").replace("redis.call('time')", "{ARGV[1], ARGV[2]}")
        # It would expire by Redis's clock, which is another one.
        source = source.replace(", 'PX', string.format('%.0f', kept)", "")
        assert "ARGV[1]" in source
        assert "'PX'" not in source
        self._source = TAKE.replace("-- include rate", source)
        self.bench = bench
        self.key = bench.keys.rate("wat")

    async def take(self, rate: Rate | str, now: int, n: int) -> list[int]:
        args = (now // 10**6, now % 10**6, n, str(rate))
        reply: list[int] = await self.bench.redis.eval(self._source, 1, self.key, *args)
        return reply


async def run_steps(bench: Bench, rate: Rate, steps: Sequence[tuple[int, int]]) -> None:
    tokens, now = Tokens(bench), 1_700_000_000_000_000
    await bench.redis.delete(tokens.key)
    speed = Fraction(rate.count) / Fraction(round(rate.seconds * 10**6))
    left = Fraction(rate.tokens)
    starts: list[tuple[int, int]] = []
    for pause, n in steps:
        now += pause
        left = min(Fraction(rate.tokens), left + pause * speed)
        taken = min(n, math.floor(left))
        left -= taken
        wait = 0 if left >= 1 else max(1, math.ceil((1 - left) / speed))
        assert await tokens.take(rate, now, n) == [taken, math.floor(left), wait]
        state = await bench.redis.get(tokens.key)
        assert tokens_left(rate, state, now / 10**6) in (math.floor(left), math.floor(left) + 1, math.floor(left) - 1)
        starts.append((now, taken))
    for first in range(len(starts)):
        total = 0
        for at, taken in starts[first:]:
            total += taken
            assert total <= rate.tokens + (at - starts[first][0]) * speed
    await bench.redis.delete(tokens.key)


async def test_tokens_are_counted_exactly(bench: Bench) -> None:
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(rate=rates, steps=st.lists(st.tuples(pauses, wishes), min_size=1, max_size=25))
    def check(rate: Rate, steps: list[tuple[int, int]]) -> None:
        examples.append((rate, steps))

    examples: list[tuple[Rate, list[tuple[int, int]]]] = []
    check()
    for rate, steps in examples:
        await run_steps(bench, rate, steps)


async def test_a_clock_that_jumps_costs_no_more_than_the_burst(bench: Bench) -> None:
    tokens, rate, now = Tokens(bench), Rate(10, per=1, burst=5), 1_700_000_000_000_000
    hour = 3_600_000_000
    assert await tokens.take(rate, now, 9) == [5, 0, 100_000]
    # Back: the tokens stay taken, and the next one comes in time.
    assert await tokens.take(rate, now - hour, 9) == [0, 0, 100_000]
    assert await tokens.take(rate, now - hour + 100_000, 9) == [1, 0, 100_000]
    # Forward: no more than the burst.
    assert await tokens.take(rate, now + hour, 9) == [5, 0, 100_000]


async def test_tokens_stay_taken_when_the_rate_changes(bench: Bench) -> None:
    tokens, now = Tokens(bench), 1_700_000_000_000_000
    assert await tokens.take(Rate(10, per=1, burst=5), now, 4) == [4, 1, 0]
    assert await tokens.take(Rate(7, per=3, burst=6), now, 9) == [2, 0, math.ceil(3_000_000 / 7)]
    assert await tokens.take(Rate(7, per=3, burst=2), now, 9) == [0, 0, math.ceil(3_000_000 / 7)]


@pytest.mark.parametrize("state", ["", "x", "1 2", "1 2 0", "-5 1 1", "1 1 1 1"])
async def test_a_state_that_cannot_be_read_costs_the_burst_and_blocks_nothing(bench: Bench, state: str) -> None:
    tokens, rate, now = Tokens(bench), Rate(10, per=1, burst=5), 1_700_000_000_000_000
    await bench.redis.set(tokens.key, state)
    assert await tokens.take(rate, now, 9) == [0, 0, 100_000]
    assert await tokens.take(rate, now + 200_000, 9) == [2, 0, 100_000]
    await bench.redis.delete(tokens.key)


async def test_a_state_of_another_type_is_replaced(bench: Bench) -> None:
    tokens, rate, now = Tokens(bench), Rate(10, per=1, burst=5), 1_700_000_000_000_000
    await bench.redis.rpush(tokens.key, "x")
    assert await tokens.take(rate, now, 9) == [0, 0, 100_000]
    assert await tokens.take(rate, now + 200_000, 9) == [2, 0, 100_000]
    await bench.redis.delete(tokens.key)


@pytest.mark.parametrize(
    "text", ["", "100", "100/60", "0/1/1", "1/0/1", "1/1/0", "1/1/99999999999999999", "1/x/1", "-1/1/1"]
)
async def test_what_is_no_rate_is_none_for_the_scripts_as_for_python(bench: Bench, text: str) -> None:
    assert await bench.redis.eval(Tokens(bench)._source, 1, "key", 1, 1, 1, text) == b"no rate"
    assert QueueRate(text).rate is None
    assert QueueRate(text).invalid == ((text,) if text else ())


@given(rates)
def test_what_is_set_holds_over_the_code(rate: Rate) -> None:
    assert QueueRate("5/1/1", "pool", str(rate)).rate == rate
    assert QueueRate("5/1/1", "pool", "none").rate is None
    assert QueueRate("5/1/1", "pool", "rubbish").rate == Rate(5, per=1, burst=1)


# Pools


@pytest.mark.parametrize("comes", ["at once", "now and then"])
async def test_many_pools_start_no_more_than_the_rate_allows_by_redis_clock(
    bench: Bench, tmp_path: Path, comes: str
) -> None:
    """One is killed and one is stopped meanwhile; what they had runs again, and takes tokens again.

    Fetches take jobs that come at once, and mostly pops those that come now and then.
    """
    rate, taken = child.RATE, list[tuple[float, int]]()
    queue = f'"{bench.keys.queue("rated")}'
    # While the processes start, there may be no command for long.
    monitoring = Redis.from_url(bench.url, protocol=2, socket_timeout=LIMIT)

    async def watch() -> None:
        async with monitoring.monitor() as monitor:
            watching.set()
            while True:
                line = await monitor.next_command()
                words = line["command"].split(" ")
                if words == ["ECHO", bench.namespace]:
                    return
                if line["client_type"] == "lua" and words[0].lower() == "lpush" and words[1].startswith(queue[1:]):
                    taken.append((line["time"], len(words) - 2))

    watching = asyncio.Event()
    watcher = asyncio.create_task(watch())
    await watching.wait()
    log, total = tmp_path / "log", 700 if comes == "at once" else 400
    children = [Child(bench.url, bench.namespace, log, concurrency=6, heartbeat=0.5, dead_after=2) for _ in range(4)]
    with child.running(*children):
        jobs = [("rated", {"n": n, "seconds": 0.02}) for n in range(total)]
        if comes == "at once":
            await bench.enqueuer.enqueue_many(jobs)
        enqueuing = asyncio.create_task(trickle(bench, jobs if comes == "now and then" else []))
        await until(lambda: children[0].events("end").total() > 100)
        children[0].kill()
        children[1].signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        children[1].signal(signal.SIGCONT)
        await enqueuing
        await until(lambda: len(children[2].events("end")) == total)
        assert [each.end() for each in children[1:]] == [0, 0, 0]
    # It may read more slowly than Redis writes.
    await bench.redis.echo(bench.namespace)
    await asyncio.wait_for(watcher, LIMIT)
    await monitoring.aclose()
    assert sum(count for _, count in taken) >= total
    # MONITOR's times are read a moment after those of the scripts.
    slack = 0.003
    for first, (begin, _) in enumerate(taken):
        started = 0
        for at, count in taken[first:]:
            started += count
            assert started <= rate.tokens + (at - begin + slack) * rate.count / rate.seconds
    # The rate is reached, too: with tokens for a tenth of a second in hand, the pools lose none.
    spans = [later - earlier for (earlier, _), (later, _) in pairwise(taken)]
    assert max(spans) < LIMIT


async def trickle(bench: Bench, jobs: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Enqueue jobs one by one, some of them before the token of the next one has come."""
    for number, (name, args) in enumerate(jobs):
        await bench.enqueuer.enqueue(name, args)
        await asyncio.sleep((0.001, 0.004, 0.03)[number % 3])


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[Fetch]:
    """The fetches that took tokens."""
    found: list[Fetch] = []
    encode = CommandEncoder._fetch_limited

    def note(self: CommandEncoder, fetch: Fetch) -> bytes:
        found.append(fetch)
        return encode(self, fetch)

    monkeypatch.setattr(CommandEncoder, "_fetch_limited", note)
    return found


async def test_a_pool_waits_for_a_token_without_polling(bench: Bench, client: Client, fetches: list[Fetch]) -> None:
    pool, ran = counting(bench, ONCE)
    async with pool.running():
        await put(bench, range(4))
        await until(lambda: len(ran) == 1 and pool_waits(pool))
        before = len(fetches)
        await asyncio.sleep(0.6)
        assert len(fetches) == before
        (queue,) = await client.queues()
        assert (queue.count, queue.tokens, queue.rate, queue.rate_set) == (3, 0, str(ONCE), False)
        (job, *_) = (await client.jobs("queue:wat")).jobs
        reason = "the rate of wat is used up (1 per 86400 s), and a token comes every 86400 s"
        assert await client.waiting_reason(job.id) == reason
    assert ran == [0]
    assert [Job.decode(each).args["n"] for each in await bench.waiting("wat")] == [1, 2, 3]


def pool_waits(pool: WorkerPool[Any]) -> bool:
    """Whether the pool waits for a token."""
    assert pool._launcher is not None
    return bool(pool._launcher._dispatcher.fetcher.state.open.limited.opens_at)


async def test_jobs_start_in_their_order_and_as_their_tokens_come(bench: Bench) -> None:
    # One worker, because of two fetches the later one may bring its jobs first.
    pool, ran = counting(bench, Rate(100, per=1, burst=3), concurrency=1)
    async with pool.running():
        began = time.monotonic()
        await put(bench, range(33))
        await until(lambda: len(ran) == 33)
        # 3 at once, and 30 more take 0.3 s.
        assert time.monotonic() - began > 0.29
    assert ran == list(range(33))


@pytest.mark.parametrize("queues", [3, 70])
async def test_plain_queues_of_the_same_pool_are_not_held_up(bench: Bench, queues: int) -> None:
    pool, ran = counting(bench, ONCE)
    done: list[str] = []
    for number in range(queues):

        @pool.job(f"plain{number}")
        async def plain(job: Job) -> None:
            done.append(job.name)

    await put(bench, range(5))
    async with pool.running():
        await until(lambda: len(ran) == 1)
        for number in range(queues):
            await bench.enqueuer.enqueue(f"plain{number}")
        await until(lambda: len(done) == queues)
        # Pops block on the plain queues, and on no other.
        if queues == 3:
            await until(lambda: bench.blocked(pool) == 3)
    assert ran == [0]


async def test_a_pool_of_many_queues_goes_on_when_the_token_comes(bench: Bench) -> None:
    pool, ran = counting(bench, Rate(20, per=1, burst=1))
    for number in range(70):
        pool.job(f"plain{number}")(lambda: None)
    await put(bench, range(8))
    async with pool.running():
        await until(lambda: len(ran) == 8)
    assert ran == list(range(8))


async def test_plain_queues_are_fetched_from_as_before(bench: Bench) -> None:
    queue = Queue.of(bench.keys, "wat", "pool")
    encoder = CommandEncoder(bench.keys, b"pool")
    (plain,) = encoder.batch(CommandBatch(fetch=Fetch([queue], 2, 0.0)))
    assert scripts.digest("fetch") in plain
    (limited,) = encoder.batch(CommandBatch(fetch=Fetch([queue], 2, 0.0, limited=frozenset([queue]), at_once=2)))
    assert scripts.digest("fetch_limited") in limited


async def test_a_pool_drains_as_the_tokens_come(bench: Bench) -> None:
    pool, ran = counting(bench, Rate(50, per=1, burst=1))
    await put(bench, range(10))
    async with pool.running():
        await pool.drain()
    assert ran == list(range(10))


async def test_a_pause_and_a_concurrency_limit_come_before_the_rate(bench: Bench, client: Client) -> None:
    """No token is taken for a job that is not."""
    pool, running = bench.pool(), list[int]()
    go = asyncio.Event()

    @pool.job(rate=Rate(3, per=timedelta(days=1), burst=3), max_concurrency=1)
    async def wat(n: int) -> None:
        running.append(n)
        await go.wait()

    await client.pause("wat")
    async with pool.running():
        await put(bench, range(5))
        await asyncio.sleep(0.2)
        assert not await bench.redis.exists(bench.keys.rate("wat"))
        await client.unpause("wat")
        await until(lambda: running == [0])
        await until(lambda: tokens_of(client, 2))
        await asyncio.sleep(0.1)
        assert await tokens_of(client, 2)
        go.set()
        await until(lambda: running == [0, 1, 2])
        await until(lambda: tokens_of(client, 0))


async def test_a_queue_at_its_concurrency_limit_is_closed_and_takes_no_tokens(bench: Bench) -> None:
    """The same as without a rate: one that has reached it with the jobs that were taken, and holds more, too."""
    work_queue = WorkQueue(bench.redis_client, bench.keys, "pool")
    queue = work_queue.queue("wat", 1)
    await bench.redis.set(bench.keys.max_concurrency("wat"), 2)
    await bench.redis.hset(bench.keys.rates, "code:wat", "9/86400/9 pool")
    await put(bench, range(5))
    found = []
    for _ in range(2):
        fetch = Fetch([queue], 4, 0.0, limited=frozenset([queue]), at_once=4)
        (reply,) = await work_queue.send_pooled(CommandBatch(fetch=fetch))
        found.append(work_queue.parse_fetched(reply, [queue]))
    assert [(len(each.jobs), each.closed, list(each.opens)) for each in found] == [(2, [queue], []), (0, [queue], [])]
    state = await bench.redis.get(bench.keys.rate("wat"))
    assert tokens_left(Rate(9, per=86_400, burst=9), state, time.time()) == 7
    await bench.delete_keys()


@pytest.mark.parametrize("limited", [False, True])
async def test_a_queue_that_reaches_its_limit_by_a_wrong_lock_stays_open(bench: Bench, limited: bool) -> None:
    work_queue = WorkQueue(bench.redis_client, bench.keys, "pool")
    queue = work_queue.queue("wat", 1)
    await bench.redis.set(bench.keys.max_concurrency("wat"), 6)
    # Four jobs of pools of which nothing else is known.
    await bench.redis.set(bench.keys.lock("wat"), 4)
    await bench.redis.hset(bench.keys.lock_info("wat"), "pool", "no number")
    await put(bench, range(5))
    fetch = Fetch([queue], 3, 0.0, limited=frozenset([queue] if limited else ()), at_once=3)
    (reply,) = await work_queue.send_pooled(CommandBatch(fetch=fetch))
    fetched = work_queue.parse_fetched(reply, [queue])
    assert (len(fetched.jobs), fetched.closed) == (2, [])
    assert int(await bench.redis.get(bench.keys.lock("wat"))) == 2
    await bench.delete_keys()


async def tokens_of(client: Client, tokens: int) -> bool:
    (queue,) = await client.queues()
    return queue.tokens == tokens


# Changes at run time


async def test_a_rate_is_set_and_reset_at_run_time(bench: Bench, client: Client) -> None:
    pool, ran = counting(bench, ONCE, **RARELY)
    async with pool.running():
        await put(bench, range(30))
        await until(lambda: len(ran) == 1 and pool_waits(pool))
        # 10 a second, of which one is taken.
        await client.set_rate("wat", Rate(10, per=1, burst=2))
        await until(lambda: len(ran) >= 3)
        (queue,) = await client.queues()
        assert (queue.rate, queue.rate_set) == ("10/1/2", True)
        assert len(ran) < 30
        await client.set_rate(wat_of(pool), None)
        await until(lambda: len(ran) == 30)
        (queue,) = await client.queues()
        assert (queue.rate, queue.rate_set, queue.tokens) == ("", True, 0)
        await client.reset_rate("wat")
        await put(bench, [30, 31])
        await until(lambda: rate_of(client, str(ONCE)))
        await until(lambda: known_rate(pool))
    assert ran[:3] == [0, 1, 2]
    assert sorted(ran[:30]) == list(range(30))


def wat_of(pool: WorkerPool[Any]) -> str:
    return next(iter(pool.job_options))


def known_rate(pool: WorkerPool[Any]) -> bool:
    assert pool._launcher is not None
    return bool(pool._launcher._dispatcher.fetcher.state.open.limited.rated)


def takes_tokens(pool: WorkerPool[Any]) -> bool:
    """Whether pops block, and their jobs take tokens."""
    assert pool._launcher is not None
    pops = pool._launcher._dispatcher.fetcher._pops._blocked.values()
    return bool(pops) and all(each.limited for each in pops)


async def rate_of(client: Client, rate: str) -> bool:
    (queue,) = await client.queues()
    return queue.rate == rate


async def test_a_pool_that_knows_no_rate_obeys_the_one_that_is_set(bench: Bench, client: Client) -> None:
    pool, ran = counting(bench, None, **RARELY)
    async with pool.running():
        await until(lambda: bench.blocked(pool) == 1)
        await client.set_rate("wat", ONCE)
        # No pop goes on that takes no token.
        await until(lambda: takes_tokens(pool))
        await put(bench, range(3))
        await until(lambda: len(ran) == 1 and pool_waits(pool))
    assert ran == [0]


async def test_a_change_is_learnt_without_a_message(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(namespace: Namespace) -> None:
        pass

    for module in (rates_in_redis, queue_settings, rate_reader):
        monkeypatch.setattr(module, "wake_pools", silent)
    pool, ran = counting(bench, ONCE)
    async with pool.running():
        await put(bench, range(3))
        await until(lambda: len(ran) == 1 and pool_waits(pool))
        await client.set_rate("wat", None)
        await until(lambda: len(ran) == 3)


async def test_bad_values_of_a_client(client: Client) -> None:
    with pytest.raises(UsageError, match=r"rate must be a Rate, such as Rate\(100, per=60\), or None, not '100/60'"):
        await client.set_rate("wat", "100/60")  # type: ignore[arg-type]
    for name in ("", "\ud800"):
        with pytest.raises(UsageError):
            await client.set_rate(name, None)
        with pytest.raises(UsageError):
            await client.reset_rate(name)


# Several pools with different code


async def test_the_newest_announcement_wins_and_is_logged(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncwork")
    older, _ = counting(bench, Rate(5, per=1))
    newer, _ = counting(bench, Rate(7, per=1))
    without, _ = counting(bench, None)
    async with older.running():
        assert await rate_of(client, "5/1/1")
        async with newer.running(), without.running():
            assert await rate_of(client, "7/1/1")
            assert known_rate(without)
            await until(lambda: any("7/1/1 now, which another pool" in each for each in caplog.messages))
    assert "rate of wat changed to 7/1/1, the rate of this pool; another pool had announced 5/1/1" in caplog.messages
    text = "rate of wat is 7/1/1 now, which another pool has announced; this pool has 5/1/1 in its code"
    assert caplog.messages.count(text) == 1


async def test_a_rate_whose_pool_is_gone_is_announced_by_another_or_withdrawn(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "asyncwork")
    monkeypatch.setattr(gone_owners, "_GONE_FOR", 0.3)
    older, _ = counting(bench, Rate(5, per=1))
    newer, _ = counting(bench, Rate(7, per=1))
    without, ran = counting(bench, None)
    async with without.running():
        async with older.running():
            async with newer.running():
                assert await rate_of(client, "7/1/1")
            await until(lambda: rate_of(client, "5/1/1"))
        await until(lambda: rate_of(client, ""))
        assert "rate of wat (5/1/1) withdrawn: no pool that is alive has it in its code" in caplog.messages
        await until(lambda: not known_rate(without))
        await put(bench, range(50))
        await until(lambda: len(ran) == 50)


async def test_a_rate_that_redis_has_lost_is_announced_again(bench: Bench, client: Client) -> None:
    pool, _ = counting(bench, ONCE)
    async with pool.running():
        await bench.redis.delete(bench.keys.rates)
        await until(lambda: rate_of(client, str(ONCE)))
        await bench.redis.delete(bench.keys.rates)
        await bench.redis.rpush(bench.keys.rates, "x")
        await until(lambda: rate_of(client, str(ONCE)))
    assert RateReader.name == "rate reader"


async def test_what_is_no_rate_in_redis_blocks_nothing_and_is_found(bench: Bench, client: Client) -> None:
    pool, ran = counting(bench, None)
    await bench.redis.hset(bench.keys.rates, "set:wat", "many")
    await bench.redis.hset(bench.keys.rates, "code:wat", "1/0/1 pool")
    await bench.redis.set(bench.keys.rate("gone"), "1 2 3")
    await bench.redis.set(bench.keys.rate("wat"), "many")
    async with pool.running():
        await put(bench, range(5))
        await until(lambda: len(ran) == 5)
        assert (await client.queues())[0].rate == ""
    found = await client.diagnose(0)
    kinds = {each.kind: each.text for each in found.problems if "rate" in each.kind}
    assert kinds["bad_rate"].startswith("the rate of wat cannot be read ('1/0/1', 'many')")
    assert "2 queues" in kinds["bad_rate_state"]
    assert "gone, wat" in kinds["bad_rate_state"]
    assert await bench.audit() == [
        "queue wat: the rate '1/0/1' cannot be read",
        "queue wat: the rate 'many' cannot be read",
        "queue wat: b'many' is no state of a rate, or far in the future",
    ]
    repaired = [line async for line in client.repair(found)]
    assert repaired == ["removed rates that cannot be read: 2", "removed what was written about tokens: gone, wat"]
    assert not [each for each in (await client.diagnose(0)).problems if "rate" in each.kind]


async def test_a_name_that_is_forgotten_has_no_rate(bench: Bench, client: Client) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await client.set_rate("wat", ONCE)
    await bench.redis.set(bench.keys.rate("wat"), "1 2 3")
    await client.forget("wat")
    assert not await bench.redis.exists(bench.keys.rates, bench.keys.rate("wat"))


# Looking ahead, and pops


def a_state(concurrency: int = 2) -> tuple[FetchState, Queue, Queue]:
    keys = Keys("test")
    plain, rated = (Queue.of(keys, name, "pool") for name in ("plain", "rated"))
    state = FetchState(
        [plain, rated],
        concurrency=concurrency,
        pipelines=1,
        max_blocked=5,
        stale_after=8.0,
        longest_poll=1.0,
        crowded=set(),
        look_ahead=True,
    )
    state.look_ahead.due = math.inf
    return state, plain, rated


def test_no_more_limited_jobs_are_taken_ahead_than_begin_at_once() -> None:
    state, plain, rated = a_state()
    state.set_rated([rated])
    state.look_ahead.wanted, state.look_ahead.announced = 6, True
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    assert (fetch.limit, fetch.at_once, fetch.limited) == (8, 2, {rated})
    # Jobs with a token were left, because plain ones were in front of them.
    fetched = Fetched([(plain, b"%d" % n, 0) for n in range(3)], [], [], opens=[(rated, 0.0)])
    assert state.on_fetched(fetch, fetched, 0.1)[0] is NextStep.RUN
    assert state.backlog
    for _ in range(3):
        state.job_done()
    # The pool does not look ahead until it has asked for them.
    again = state.next_fetch(0.1)
    assert again is not None
    assert (again.limit, again.at_once) == (2, 2)


def test_a_pop_that_took_no_token_is_requeued() -> None:
    state, _, rated = a_state()
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert rated in state.plan_wait(0.0).block_on
    assert state.set_rated([rated]) == [rated]
    assert state.on_popped(rated, Popped(b"1", True, 0), 0.0, 0.1) is NextStep.REQUEUE
    state.job_done()
    assert state.check()
    assert rated not in state.plan_wait(0.1).block_on


def test_a_late_reply_to_a_pop_that_took_a_token_is_revalidated() -> None:
    state, plain, rated = a_state()
    state.set_rated([rated])
    fetch = state.next_fetch(0.0)
    assert fetch is not None
    state.on_fetched(fetch, Fetched([], [], []), 0.0)
    assert {plain, rated} == {*state.plan_wait(0.0).block_on}
    # It is known by now that the pop takes a token.
    assert state.set_rated([rated]) == []
    popped = Popped(b"1", True, 0, has_tokens=True, opens_in=0.5)
    assert state.on_popped(rated, popped, 0.0, 20.0) is NextStep.REVALIDATE
    # The next token has not come.
    assert state.plan_wait(20.1).block_on == []
    state.open.on_opening(20.6)
    assert state.on_revalidated(rated, b"1", Verdict.ADMITTED, 0, 20.6) is NextStep.RUN


@pytest.fixture
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls of open queues come so late that no test sees one."""
    monkeypatch.setattr(poll_times, "FIRST_POLL_DELAY", 9 * LIMIT)
    monkeypatch.setattr(queue_poller, "_SHORTEST_PERIOD", 9 * LIMIT)


@pytest.mark.usefixtures("no_polls")
@pytest.mark.parametrize("how", ["here", "by another program", "of a tenant", "with a cost"])
async def test_a_job_of_an_idle_queue_starts_without_a_poll(bench: Bench, client: Client, how: str) -> None:
    pool, ran = bench.pool(concurrency=2, **tuned(QUICK, poll=9 * LIMIT)), list[int]()
    limit = pool.limit("service", rate=Rate(100, per=timedelta(days=1), burst=100))
    options: dict[str, Any] = {"rate": Rate(10, per=timedelta(days=1), burst=10)}
    if how == "of a tenant":
        options["partition"] = lambda args: "acme"
    if how == "with a cost":
        options = {"limits": [limit], "cost": 1}

    @pool.job(**options)
    async def wat(n: int) -> None:
        ran.append(n)

    async with pool.running():
        for n in range(3):
            await until(lambda: bench.blocked(pool) == 1 and takes_tokens(pool))
            if how == "by another program":
                payload = json.dumps({"name": "wat", "id": str(n), "t": 1, "args": {"n": n}})
                await bench.redis.lpush(bench.keys.queue("wat"), payload)
            else:
                await bench.enqueuer.enqueue("wat", {"n": n}, partition="acme" if how == "of a tenant" else None)
            await until(lambda n=n: ran == [*range(n + 1)])
    if how == "with a cost":
        (found,) = await client.limits()
        assert found.tokens == 97
    else:
        (queue,) = await client.queues()
        assert queue.tokens == 7


@pytest.mark.usefixtures("no_polls")
async def test_jobs_of_many_idle_pools_start_in_their_order_when_their_tokens_come(
    bench: Bench, fetches: list[Fetch]
) -> None:
    pools, ran = [bench.pool(concurrency=2) for _ in range(4)], list[int]()
    for pool in pools:

        @pool.job(rate=Rate(10, per=1, burst=1))
        async def wat(n: int) -> None:
            ran.append(n)

    async with contextlib.AsyncExitStack() as stack:
        for pool in pools:
            await stack.enter_async_context(pool.running())
        await until(lambda: all(takes_tokens(pool) for pool in pools))
        before, began = len(fetches), time.monotonic()
        # The pops of all pools find them, and there is no token for the second one.
        for n in range(6):
            await put(bench, [n])
        await until(lambda: len(ran) == 6)
        assert time.monotonic() - began > 0.49
        assert ran == [*range(6)]
        # A few of each pool for each token: none goes on to fetch before the next one comes.
        assert len(fetches) - before <= 200


async def test_a_pop_whose_job_is_not_certain_is_fetched_with_its_token(bench: Bench, client: Client) -> None:
    pool, ran = counting(bench, Rate(10, per=timedelta(days=1), burst=10))
    async with pool.running():
        for n in range(3):
            await until(lambda: takes_tokens(pool))
            # The pop cannot know how many jobs the pool runs.
            await bench.redis.delete(bench.keys.lock_info("wat"))
            await put(bench, [n])
            await until(lambda n=n: ran == [*range(n + 1)])
    (queue,) = await client.queues()
    assert queue.tokens == 7


async def test_a_running_job_is_not_taken_for_that_of_a_pop(bench: Bench) -> None:
    work_queue = WorkQueue(bench.redis_client, bench.keys, "a" * 24)
    queue = work_queue.queue("wat", 1)
    await bench.redis.hset(bench.keys.rates, "code:wat", f"{ONCE} pool")
    await put(bench, range(2))
    connection = await bench.redis_client.open()

    async def ask(commands: Sequence[bytes]) -> list[Any]:
        return await connection.request(list(commands), len(commands))

    pop = work_queue.encode.blocking_pop(queue, 1, limited=True)
    batch = CommandBatch(fetch=Fetch([queue], 1, 0.0, limited=frozenset([queue]), at_once=1))
    (fetched,) = await ask(work_queue.encode.batch(batch))
    assert len(work_queue.parse_fetched(fetched, [queue]).jobs) == 1
    # Its time was over, and its share says that one job runs; or was lost.
    assert await ask(pop[1:]) == [[]]
    await bench.redis.delete(bench.keys.lock_info("wat"))
    assert await ask(pop[1:]) == [[]]
    assert len(await bench.redis.lrange(queue.in_progress, 0, -1)) == 1
    await bench.redis.hset(bench.keys.lock_info("wat"), work_queue.pool_id, 1)
    # There is no token for the second one, which is at the front again.
    with pytest.raises(NotOpen) as found:
        work_queue.parse_popped(await ask(pop), limited=True)
    assert found.value.opens_in == pytest.approx(86_400, abs=LIMIT)
    assert len(await bench.waiting("wat")) == len(await bench.redis.lrange(queue.in_progress, 0, -1)) == 1
    await connection.close()
    await bench.delete_keys()


def test_a_reply_about_another_job_than_that_of_the_pop_is_refused() -> None:
    taken = [[1, 1, b"other"], [], [], 0, []]
    for popped in (None, b"job"):
        with pytest.raises(RedisError, match="has taken another job"):
            WorkQueue.parse_popped([popped, taken], limited=True)
    # The script was refused: the job goes back, and its fetch takes a token.
    assert WorkQueue.parse_popped([b"job", ErrorReply("BUSY")], limited=True) == Popped(b"job", False, 0)
    assert WorkQueue.parse_popped([None, ErrorReply("BUSY")], limited=True) is None


# RateLimited


async def test_a_rate_limited_job_has_its_queue_rest_in_all_pools(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "asyncwork")
    ran: list[tuple[int, float]] = []
    pools = [bench.pool(concurrency=1), bench.pool(concurrency=1)]
    for pool in pools:

        @pool.job(max_fails=1)
        async def wat(n: int) -> None:
            ran.append((n, time.time()))
            if len(ran) == 1:
                raise RateLimited(retry_after=1.5)

    await put(bench, range(4))
    async with pools[0].running():
        await until(lambda: len(ran) == 1)
        await until(lambda: rests(client))
        async with pools[1].running():
            (job, *_) = (await client.jobs("queue:wat")).jobs
            assert (job.args, job.fails) == (b'{"n":0}', 0)
            # A second may have passed on a busy machine.
            reason = await client.waiting_reason(job.id)
            assert re.match("the queue wat rests for (2 seconds|1 second), because a job was rate limited", reason)
            assert not (await client.queues())[0].paused
            (note,) = [each for each in (await client.diagnose(0)).notes if each.kind == "resting"]
            assert re.match("wat rests for [12] s, because a job was rate limited; waiting: 4", note.text)
            await until(lambda: len(ran) == 5)
    assert ran[1][0] == 0 or ran[2][0] == 0
    # Rounded up to whole seconds.
    assert ran[1][1] - ran[0][1] > 1.9
    assert any("rate limited: no pool takes jobs of this name for 2 s" in each for each in caplog.messages)
    (counts,) = [each for each in await client.minutes(2, queue="wat") if each.processed]
    assert (counts.processed, counts.failed) == (4, 0)


async def rests(client: Client) -> bool:
    return any(each.rests_for for each in await client.queues())


async def test_the_end_of_a_rest_is_waited_for_and_not_polled(bench: Bench, client: Client) -> None:
    pool, ran = counting(bench, Rate(1000))
    again: list[float] = []

    @pool.job
    async def limited() -> None:
        again.append(time.monotonic())
        if len(again) == 1:
            raise RateLimited(1)

    async with pool.running():
        await bench.enqueuer.enqueue("limited")
        await until(lambda: len(again) == 2)
        assert again[1] - again[0] >= 1.0
        await put(bench, range(3))
        await until(lambda: len(ran) == 3)


@pytest.mark.parametrize("rate", [None, Rate(1000)])
async def test_a_rest_that_was_ended_without_a_message_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, rate: Rate | None
) -> None:
    monkeypatch.setattr(limited_queues, "_LONGEST_WAIT", 0.2)
    pool, ran = bench.pool(**RARELY), list[int]()

    @pool.job(rate=rate)
    async def wat() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise RateLimited(timedelta(hours=1))

    async with pool.running():
        await bench.enqueuer.enqueue("wat")
        await until(lambda: bench.redis.delete(bench.keys.paused("wat")))
        await until(lambda: len(ran) == 2)


async def test_no_job_that_was_taken_ahead_begins_while_its_queue_rests(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, 50)
    pool, ran = bench.pool(concurrency=1), list[tuple[int, float]]()

    @pool.job
    async def wat(n: int) -> None:
        ran.append((n, time.monotonic()))
        if n == 1000 and ran[-2][0] != n:
            raise RateLimited(1)

    await bench.enqueuer.enqueue_many(("wat", {"n": n}) for n in range(2000))
    async with pool.running():
        await until(lambda: len(ran) == 2001)
    numbers = [n for n, _ in ran]
    assert numbers == [*range(1001), *range(1000, 2000)]
    assert ran[1001][1] - ran[1000][1] >= 1.0


async def test_a_chunk_that_was_rate_limited_keeps_its_order(bench: Bench) -> None:
    pool, calls = bench.pool(concurrency=1), list[list[object]]()

    @pool.job(chunk=4, wait=0.05)
    async def wat(jobs: list[Job]) -> None:
        calls.append([job.args["n"] for job in jobs])
        if len(calls) == 1:
            raise RateLimited(1)

    await put(bench, range(4))
    async with pool.running():
        await until(lambda: len(calls) == 2)
    assert calls == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_fetch_from_a_plain_queue_that_rests_learns_when_that_ends() -> None:
    state, plain, rated = a_state()
    state.rest(plain, 1.0, 0.0)
    assert state.open.limited.next_opening() == 1.0
    state.open.on_opening(1.0)
    fetch = state.next_fetch(1.0)
    assert fetch is not None
    assert fetch.limited == {plain}
    # The clocks differ a little, or another pool has prolonged the rest.
    state.on_fetched(fetch, Fetched([], [], [], opens=[(plain, 0.5)]), 1.0)
    assert state.open.limited.next_opening() == 1.5
    state.open.on_opening(1.5)
    again = state.next_fetch(1.5)
    assert again is not None
    assert again.limited == {plain}
    state.on_fetched(again, Fetched([(plain, b"1", 0)], [], []), 1.5)
    assert not state.open.limited.resting
    assert rated not in state.open.limited.to_ask


async def test_in_its_last_millisecond_a_rest_is_no_pause(bench: Bench) -> None:
    source = scripts.source("fetch_limited").replace("redis.call('pttl', paused)", "0")
    keys = ["crashes", "cancels", "ahead", "rates", "queue", "ours", "paused", "lock", "info", "most", "rate"]
    names = [bench.keys.prefix + key for key in keys]
    await bench.redis.set(names[6], "rest")
    assert await bench.redis.eval(source, len(names), *names, "pool", 1, 0, 1, "wat") == [[], [], [], 0, [1, 1000]]
    await bench.redis.delete(names[6])


async def test_unpausing_ends_a_rest_and_a_pause_outlasts_one(bench: Bench, client: Client) -> None:
    pool, ran = bench.pool(**RARELY), list[float]()

    @pool.job(rate=Rate(1000))
    async def wat() -> None:
        ran.append(time.monotonic())
        if len(ran) == 1:
            raise RateLimited(timedelta(hours=1))

    async with pool.running():
        await bench.enqueuer.enqueue("wat")
        await until(lambda: rests(client))
        await client.unpause("wat")
        await until(lambda: len(ran) == 2)
        await client.pause("wat")
        assert await bench.redis.ttl(bench.keys.paused("wat")) == -1
        await client.unpause("wat")


async def test_a_rest_is_written_once_and_never_shortens_a_pause(bench: Bench) -> None:
    pool = bench.pool()
    work_queue = WorkQueue(bench.redis_client, bench.keys, "pool")
    queue = work_queue.queue("wat", 1)
    paused = bench.keys.paused("wat")

    async def rest(seconds: float) -> int:
        (reply,) = await work_queue.send_pooled(
            CommandBatch(commands=[RequeueAndRest(queue, [payload], seconds=seconds)])
        )
        return int(reply)

    await put(bench, [1, 2])
    payload = (await bench.waiting("wat"))[0]
    await bench.redis.rpoplpush(queue.queue, queue.in_progress)
    assert await rest(100) == 1
    assert (await bench.waiting("wat"))[0] == payload
    assert 99_000 < await bench.redis.pttl(paused) <= 100_000
    # Sent again, it changes nothing.
    assert await rest(1000) == 0
    assert await bench.redis.pttl(paused) <= 100_000
    for value, seconds, expected in (("rest", 50, 100_000), ("rest", 200, 200_000), ("1", 100, -1)):
        if value == "1":
            await bench.redis.set(paused, 1)
        await bench.redis.rpoplpush(queue.queue, queue.in_progress)
        assert await rest(seconds) == 1
        left = await bench.redis.pttl(paused)
        assert expected - 5_000 < left <= expected
    assert pool.job_options == {}
    assert await bench.redis.llen(queue.queue) == 2
    await bench.redis.delete(bench.keys.lock("wat"), bench.keys.lock_info("wat"))


async def test_each_attempt_that_was_rate_limited_is_in_the_history(bench: Bench, client: Client) -> None:
    pool, ran = bench.pool(), list[int]()

    @pool.job(history=True)
    async def wat() -> str:
        ran.append(1)
        if len(ran) == 1:
            raise RateLimited(1)
        return "done"

    async with pool.running():
        job = await wat.enqueue()
        await until(lambda: len(ran) == 2)

        async def ended() -> JobStatus | None:
            status = await client.status(job.id)
            return status if status.state == "done" else None

        await until(ended)
        status = await client.status(job.id)
        assert [each.outcome for each in status.history] == ["rate limited", "done"]


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "5", True])
def test_a_time_that_is_none(seconds: Any) -> None:
    with pytest.raises(UsageError, match=r"RateLimited\(retry_after\)"):
        RateLimited(seconds)
