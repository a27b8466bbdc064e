"""Limits that several job types and other code share: exact over all pools, whatever crashes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asyncwork import Client, Job, Limit, LimitInfo, Rate, RateLimited, RedisUnavailable, UsageError, WorkerPool
from asyncwork import limit as limit_module
from asyncwork._redis.limits import LimitSlots
from asyncwork._worker.services import gone_owners
from asyncwork.cli import main

from . import child
from .child import Child
from .conftest import Bench, until
from .tuned import QUICK, tuned
from .web_app import serving

# A token that no test waits for.
ONCE = Rate(1, per=86_400, burst=10)


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def add_jobs(pool: WorkerPool[Any], limit: Limit, cost: Any = 1) -> tuple[list[str], asyncio.Event, list[int]]:
    """Add two job types that share a limit; return what has started, what lets jobs end, and how many run."""
    ran, hold, running = list[str](), asyncio.Event(), [0]

    async def run(name: str) -> None:
        ran.append(name)
        running[0] += 1
        await hold.wait()
        running[0] -= 1

    @pool.job(limits=[limit], cost=cost)
    async def one(n: int = 0, tokens: int = 1) -> None:
        await run("one")

    @pool.job(limits=[limit])
    async def two() -> None:
        await run("two")

    return ran, hold, running


async def info(client: Client) -> LimitInfo:
    (found,) = await client.limits()
    return found


async def test_job_types_share_tokens_and_a_job_takes_what_it_costs(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    ran, hold, _ = add_jobs(pool, pool.limit("llm", rate=ONCE), cost=lambda args: args["tokens"])
    hold.set()
    async with pool.running():
        await bench.enqueuer.enqueue("two")
        await until(lambda: ran == ["two"])
        await bench.enqueuer.enqueue("one", cost=6)
        await until(lambda: ran == ["two", "one"])
        # All or nothing: 3 are left.
        await bench.enqueuer.enqueue("one", cost=4)
        await bench.enqueuer.enqueue_many([("two", None)] * 5)
        await until(lambda: ran.count("two") == 4)
        assert ran.count("one") == 1
        assert await info(client) == LimitInfo("llm", str(ONCE), 0, False, 0, 0, 0, ("one", "two"))
        await client.set_limit("llm", rate=Rate(1000, burst=1000))
        await until(lambda: (ran.count("one"), ran.count("two")) == (2, 6))


async def test_job_types_and_slots_share_places(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    ran, hold, running = add_jobs(pool, pool.limit("llm", concurrency=3))
    async with pool.running():
        async with client.limit("llm").slot():
            await bench.enqueuer.enqueue_many([(name, None) for name in ("one", "two")] * 4)
            await until(lambda: running[0] == 2)
            with pytest.raises(RateLimited):
                async with client.limit("llm").slot(wait=0.1):
                    pass
            assert running[0] == 2
            found = await info(client)
            assert (found.concurrency, found.running, found.slots, found.rate) == (3, 2, 1, "")
        await until(lambda: running[0] == 3)
        hold.set()
        await until(lambda: len(ran) == 8)


async def test_what_a_crashed_pool_ran_is_free_again_and_no_limit_is_exceeded(bench: Bench, tmp_path: Path) -> None:
    log, total = tmp_path / "log", 60
    children = [
        Child(bench.url, bench.namespace, log, concurrency=6, heartbeat=0.5, dead_after=2, has_limit=1)
        for _ in range(3)
    ]
    most = 0
    with child.running(*children):
        jobs = [(f"shared_{name}", {"n": n, "seconds": 0.05}) for n in range(total // 2) for name in "ab"]
        await bench.enqueuer.enqueue_many(jobs)
        await until(lambda: children[0].events("end").total() > 10)
        children[0].kill()
        locks = [bench.keys.lock("shared_a"), bench.keys.lock("shared_b")]

        async def all_ended() -> bool:
            nonlocal most
            most = max(most, sum(int(each or 0) for each in await bench.redis.mget(*locks)))
            return len(children[1].events("end")) == total

        await until(all_ended)

        async def is_reaped() -> bool:
            return int(await bench.redis.scard(bench.keys.worker_pools)) == 2

        await until(is_reaped)
        assert [each.end() for each in children[1:]] == [0, 0]
    assert 0 < most <= child.CAP
    # The audit of this test compares the locks, from which it is known what is in use.


async def test_a_slot_waits_for_tokens_and_no_longer_than_it_may(client: Client) -> None:
    await client.set_limit("llm", rate=Rate(10, per=1, burst=4))
    limit = client.limit("llm")
    began = asyncio.get_running_loop().time()
    async with limit.slot(4), limit.slot(2, wait=20):
        pass
    assert asyncio.get_running_loop().time() - began > 0.15
    limit = client.limit("rare")
    await client.set_limit("rare", rate=Rate(1, per=1000, burst=4))
    async with limit.slot(2, wait=0):
        pass
    with pytest.raises(RateLimited) as raised:
        async with limit.slot(4, wait=5):
            pass
    assert 900 < raised.value.retry_after <= 4000


async def test_a_slot_is_renewed_and_free_after_a_crash(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.set_limit("llm", concurrency=1)
    monkeypatch.setattr(limit_module, "_RENEWED_EVERY", 0.02)
    key = bench.keys.slots("llm")
    async with client.limit("llm").slot():
        ((slot, until_then),) = await bench.redis.zrange(key, 0, -1, withscores=True)
        assert 20 < until_then - (await bench.redis.time())[0] <= limit_module.LEASE
        # As if it had not been renewed: it is, although the lease has ended.
        await bench.redis.zadd(key, {slot: 1})

        async def is_renewed() -> bool:
            return float(await bench.redis.zscore(key, slot) or 0) > 1

        await until(is_renewed)
    assert await bench.redis.exists(key) == 0
    # Left behind by a process that has died, some time ago.
    await bench.redis.zadd(key, {"gone": 1})
    async with client.limit("llm").slot():
        assert (await info(client)).slots == 1


async def test_a_slot_is_free_when_its_block_is_cancelled_again_and_again(bench: Bench, client: Client) -> None:
    await client.set_limit("llm", concurrency=1)
    inside = asyncio.Event()
    with anyio.CancelScope() as scope:
        async with client.limit("llm").slot():
            inside.set()
            scope.cancel()
            await anyio.sleep_forever()
    assert inside.is_set()
    async with client.limit("llm").slot():
        pass


async def test_no_renewal_takes_a_slot_again_that_was_given_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.set_limit("llm", concurrency=1)
    monkeypatch.setattr(limit_module, "_RENEWED_EVERY", 0.001)
    renewing, renew = asyncio.Event(), LimitSlots.renew

    async def renew_slowly(self: LimitSlots, *args: Any) -> None:
        renewing.set()
        await asyncio.sleep(0.05)
        await renew(self, *args)

    monkeypatch.setattr(LimitSlots, "renew", renew_slowly)
    async with client.limit("llm").slot():
        await renewing.wait()
    assert (await info(client)).slots == 0


async def test_the_newest_code_decides_about_a_limit_that_only_slots_have(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = bench.pool(), bench.pool()
    old, new = before.limit("llm", concurrency=1), after.limit("llm", concurrency=2)
    old._made_at -= 60
    async with before.enqueuer, after.enqueuer:
        async with old.slot():
            assert (await info(client)).concurrency == 1
            async with new.slot():
                pass
        assert (await info(client)).concurrency == 2
        assert "limit llm changed to none 2, that of this process; another one had announced none 1" in caplog.text
        # A process with older code changes nothing, whenever it takes its first slot.
        async with old.slot(), old.slot():
            assert (await info(client)).concurrency == 2
    latest = bench.pool()
    latest.limit("llm", concurrency=3)
    async with latest.running(), after.enqueuer, new.slot():
        # Before anyone has taken a slot of it.
        assert (await info(client)).concurrency == 3


async def test_a_slot_of_the_limit_of_a_pool_needs_no_running_pool(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    limit = pool.limit("llm", concurrency=1)
    async with pool.enqueuer, limit.slot():
        assert (await info(client)).concurrency == 1
        with pytest.raises(RateLimited):
            async with client.limit("llm").slot():
                pass


async def test_a_job_that_costs_more_than_the_burst_starts_when_all_tokens_are_there_and_owes_the_others(
    bench: Bench, client: Client
) -> None:
    pool, starts = bench.pool(), list[tuple[int, float]]()
    llm = pool.limit("llm", rate=Rate(100, burst=50))

    @pool.job(limits=[llm], cost=lambda args: args["tokens"])
    async def ask(tokens: int) -> None:
        starts.append((tokens, asyncio.get_running_loop().time()))

    async with pool.enqueuer:
        await ask.enqueue_many([ask.call(tokens) for tokens in (30, 40, 5, 5)])
        # By a person who does not know what the jobs cost.
        await client.set_limit("llm", rate=Rate(100, burst=10))
        async with pool.running():
            await until(lambda: len(starts) == 4)
            async with client.limit("llm").slot(20, wait=20):
                assert (await info(client)).tokens == 0
            # More than come in an hour are a mistake.
            await bench.enqueuer.enqueue("ask", {"tokens": 1}, cost=10**9)
            await until(lambda: len(starts) == 5)
            assert 3590 < await bench.redis.pttl(bench.keys.limit("llm")) / 1000 < 3602
    assert [tokens for tokens, _ in starts] == [30, 40, 5, 5, 1]
    began = [at - starts[0][1] for _, at in starts]
    # The others have come again, and all of the burst; then 30 more, and what the next one costs.
    assert began[1] >= 0.29
    assert began[2] >= began[1] + 0.34
    assert await bench.redis.exists(bench.keys.quarantine) == 0


async def test_the_task_computes_the_cost_and_refuses_what_could_never_start(bench: Bench) -> None:
    pool = bench.pool()
    llm = pool.limit("llm", rate=Rate(100, burst=5))

    @pool.job(limits=[llm], cost=lambda args: args["tokens"])
    async def ask(tokens: Any) -> None: ...

    async with pool.enqueuer:
        await ask.enqueue(tokens=3)
        await ask.options(cost=2).enqueue(tokens=3)
        await bench.enqueuer.enqueue(ask, {"tokens": 4})
        assert [each[-10:] for each in await bench.waiting("ask")] == [b',"cost":%d}' % n for n in (3, 2, 4)]
        for tokens, message in {
            6: "cost must be at most 5, the burst of limit 'llm', not 6",
            0: "cost must be a whole number from 1",
            1.5: "cost must be a whole number from 1 to 1000000000, not float 1.5",
        }.items():
            with pytest.raises(UsageError, match=message):
                await ask.enqueue(tokens=tokens)
        with pytest.raises(UsageError, match="cost could not be found: KeyError"):
            await bench.enqueuer.enqueue(ask, {})


async def test_a_retry_costs_as_much(bench: Bench, client: Client) -> None:
    pool, fails = bench.pool(), list[int]()

    @pool.job(limits=[pool.limit("llm", rate=ONCE)], backoff=lambda job: 0, max_fails=2)
    async def ask(job: Job) -> None:
        fails.append(job.fails)
        if not job.fails:
            raise ValueError('"cost":7')

    async with pool.running():
        await bench.enqueuer.enqueue("ask", {"cost": 9}, cost=3)
        await until(lambda: fails == [0, 1])
        assert (await info(client)).tokens == 4
        await bench.enqueuer.enqueue("ask", {"cost": 9})
        await until(lambda: len(fails) == 3)
        assert (await info(client)).tokens == 3


async def test_numbers_change_at_run_time_until_they_are_reset(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    ran, hold, _ = add_jobs(pool, pool.limit("llm", rate=ONCE, concurrency=9))
    hold.set()
    async with pool.running():
        await client.set_limit("llm", rate=Rate(1, per=1000), concurrency=2)
        found = await info(client)
        assert (found.rate, found.concurrency, found.is_set) == ("1/1000/1", 2, True)
        await bench.enqueuer.enqueue_many([("two", None)] * 3)
        await until(lambda: len(ran) == 1)
        await client.set_limit("llm")
        await until(lambda: len(ran) == 3)
        await client.reset_limit("llm")
        found = await info(client)
        assert (found.rate, found.concurrency, found.is_set) == (str(ONCE), 9, False)


async def test_two_pools_with_different_numbers_are_warned(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    first, second = bench.pool(), bench.pool()
    add_jobs(first, first.limit("llm", rate=ONCE))
    add_jobs(second, second.limit("llm", concurrency=3))
    caplog.set_level(logging.WARNING, "asyncwork")
    async with first.running(), second.running():
        await until(lambda: "this one has 1/86400/10 0 in its code" in caplog.text)
    assert "limit llm changed to none 3, that of this process; another one had announced 1/86400/10 0" in caplog.text


async def test_limits_that_no_pool_has_any_more_are_withdrawn(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gone_owners, "_GONE_FOR", 0.1)
    before = bench.pool(**tuned(QUICK))
    add_jobs(before, before.limit("llm", rate=Rate(1, per=86_400)))
    async with before.running():
        pass
    pool, ran = bench.pool(), list[int]()

    @pool.job
    async def two() -> None:
        ran.append(1)

    async with pool.running():
        await bench.enqueuer.enqueue_many([("two", None)] * 2)
        await until(lambda: len(ran) == 2)
        assert (await info(client)).jobs == ("one",)


async def test_lost_limits_are_announced_again(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    add_jobs(pool, pool.limit("llm", rate=ONCE))
    async with pool.running():
        await bench.redis.delete(bench.keys.limits)

        async def is_back() -> bool:
            return [each.jobs for each in await client.limits()] == [("one", "two")]

        await until(is_back)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": "llm"}, "limits must be a list of what pool.limit returns, not 'llm'"),
        ({"limits": [1]}, "limits must be a list"),
        ({"cost": 2}, "pass limits="),
        ({"cost": len}, "pass limits="),
        ({"cost": 0}, "cost must be a whole number from 1"),
        ({"cost": True}, "cost must be a whole number from 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    pool = WorkerPool()
    with pytest.raises(UsageError, match=message):
        pool.job("wat", **options)


def test_bad_limits() -> None:
    pool = WorkerPool()
    llm = pool.limit("llm", rate=Rate(10))
    assert pool.limit("llm", rate=Rate(10)) is llm
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": ""}, "the name of a limit must be"),
        ({"name": "a b"}, "the name of a limit must be"),
        ({"name": "x"}, "limit 'x' needs a rate or a concurrency"),
        ({"name": "llm", "rate": Rate(3)}, "has the numbers '10/1/1 0' in this pool already"),
        ({"name": "x", "rate": 3}, "rate must be a Rate"),
        ({"name": "x", "concurrency": -1}, "concurrency must be a whole number from 0"),
    ]
    for given, message in wrong:
        with pytest.raises(UsageError, match=message):
            pool.limit(**given)
    with pytest.raises(UsageError, match=r"limits has limit .* twice"):
        pool.job("wat", limits=[llm, llm])
    with pytest.raises(UsageError, match="at most 3 limits, not 4"):
        pool.job("wat", limits=[pool.limit(f"x{n}", concurrency=1) for n in range(4)])
    with pytest.raises(UsageError, match="cost must be at most 1, the burst of limit 'llm', not 2"):
        pool.job("wat", limits=[llm], cost=2)


async def test_a_slot_needs_redis() -> None:
    async with Client("redis://127.0.0.1:1/0") as client:
        with pytest.raises(RedisUnavailable):
            async with client.limit("llm").slot():
                pass


async def test_bad_slots(client: Client) -> None:
    limit = client.limit("llm")
    with pytest.raises(UsageError, match="limit 'llm' has no numbers"):
        async with limit.slot():
            pass
    limit = Limit("llm", lambda: None, Rate(10, burst=2))
    with pytest.raises(UsageError, match="cost must be at most 2, the burst of limit 'llm', not 3"):
        async with limit.slot(3):
            pass
    bad: list[dict[str, Any]] = [{"cost": 0}, {"wait": -1}]
    for values in bad:
        with pytest.raises(UsageError):
            async with limit.slot(**values):
                pass


async def test_a_name_that_is_forgotten_has_no_limits(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    add_jobs(pool, pool.limit("llm", rate=ONCE))
    async with pool.running():
        pass
    await client.forget("one")
    assert (await info(client)).jobs == ("two",)


async def test_why_a_job_waits(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    ran, hold, _ = add_jobs(pool, pool.limit("llm", rate=Rate(1, per=86_400), concurrency=1))
    async with pool.running():
        await bench.enqueuer.enqueue("two")
        await until(lambda: ran == ["two"])
        job = await bench.enqueuer.enqueue("one")
        assert "limit llm has no token left (1 per 86400 s)" in await client.waiting_reason(job.id)
        await client.set_limit("llm", concurrency=1)
        assert "limit llm is reached: 1 of 1 are in use" in await client.waiting_reason(job.id)
        await client.set_limit("llm", rate=Rate(1, per=86_400, burst=3))
        await until(lambda: ran == ["two", "one"])
        job = await bench.enqueuer.enqueue("one", {"n": 1}, cost=3)
        reason = "it costs 3, and limit llm has 1 token left (1 per 86400 s)"
        assert reason in await client.waiting_reason(job.id)
        await client.set_limit("llm")
        hold.set()
        await until(lambda: len(ran) == 3)


async def test_what_is_no_limit_in_redis_blocks_nothing(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    ran, hold, _ = add_jobs(pool, pool.limit("llm", rate=ONCE, concurrency=3))
    hold.set()
    async with pool.running():
        await bench.redis.hset(bench.keys.limits, "set:llm", "rubbish")
        await bench.redis.set(bench.keys.slots("llm"), "x")
        await bench.enqueuer.enqueue("two")
        await until(lambda: ran == ["two"])
        assert (await info(client)).rate == str(ONCE)


async def test_the_doctor_finds_and_removes_what_is_no_limit(bench: Bench, client: Client) -> None:
    fields = {"set:llm": "many", "code:llm": "1/0/1 5", "job:wat": "pool", "llm": "none 5", "set:ok": "10/1/1 3"}
    await bench.redis.hset(bench.keys.limits, mapping=fields)
    found = await client.diagnose(0)
    problems = [each for each in found.problems if each.kind == "bad_limit"]
    assert [each.subject for each in problems] == ["code:llm", "job:wat", "llm", "set:llm"]
    assert problems[-1].text == "the field set:llm of the shared limits cannot be read ('many'), so it has no effect"
    # It was set meanwhile.
    await client.set_limit("llm", concurrency=5)
    assert "removed fields of shared limits that cannot be read: 3" in [line async for line in client.repair(found)]
    assert [each.name for each in await client.limits()] == ["llm", "ok"]
    assert not (await client.diagnose(0)).repairs.limits


async def test_the_pages_show_and_change_limits(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    add_jobs(pool, pool.limit("llm", rate=ONCE, concurrency=9))
    async with pool.running(), serving(bench) as (_, web):
        (found,) = (await web.get("/api/limits")).json()["limits"]
        assert found == {
            "name": "llm",
            "rate": "1/86400/10",
            "concurrency": 9,
            "is_set": False,
            "tokens": 10,
            "running": 0,
            "slots": 0,
            "jobs": ["one", "two"],
        }
        change = {"limit": "llm", "rate": "5/60/3", "concurrency": 2}
        assert (await web.post("/api/limits/set", json=change)).json()["done"] == 1
        page = (await web.get("/queues", headers={"accept": "text/html"})).text
        assert "Shared limits" in page
        assert "5/60/3" in page
        assert "set at run time" in page
        queue = (await web.get("/queue?name=one", headers={"accept": "text/html"})).text
        assert "0 of 2 in use, 3 tokens left" in queue
        await web.post("/api/limits/set", json={"limit": "llm", "rate": "code"})
        assert (await info(client)).concurrency == 9
        refused = await web.post("/api/limits/set", json={"limit": "a b", "rate": "none"})
        assert "the name of a limit must be" in refused.text


async def test_the_terminal_shows_and_changes_limits(
    bench: Bench, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(line: str) -> str:
        words = [*line.split(), "--redis", bench.url, "--namespace", bench.namespace]
        code = await asyncio.to_thread(main, words)
        printed = capsys.readouterr()
        return f"{code} {printed.out}{printed.err}"

    assert "no job types share a limit" in await run("limits")
    line = "limit llm is 100 per 60 s and 50 at once over all pools, until it is reset"
    assert line in await run("limits set llm --rate 100/60 --concurrency 50")
    assert "100/60/1" in await run("limits ls")
    assert '"concurrency":50' in (await run("limits ls --json")).replace(" ", "")
    assert "0 limit llm is no longer set, and there are no numbers of code" in await run("limits reset llm")
    assert await client.limits() == []
    assert "1 asyncwork limits: there is no limit 'llm' in this namespace" in await run("limits reset llm")
    pool = bench.pool()
    limit = pool.limit("llm", concurrency=1)
    async with pool.enqueuer, limit.slot():
        assert "0 limit llm has the numbers of the code" in await run("limits reset llm")
    for line, message in {
        "limits set llm": "set needs --rate, --concurrency, or both",
        "limits set": "set needs the name of one limit",
        "limits ls llm": "ls takes no name",
        "limits reset llm --rate 3/1": "--rate and --concurrency are for set",
        "limits set llm --rate fast": "a rate must be COUNT/SECONDS",
    }.items():
        assert message in await run(line)
