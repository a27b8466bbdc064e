"""The doctor finds problems, repairs what can be repaired safely, and raises no false alarm."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from asyncwork import Client, EnqueuedJob, ResultLost, UsageError
from asyncwork._doctor.heartbeats import HeartbeatHistory
from asyncwork._doctor.overview import overview_problems
from asyncwork._doctor.readings import Reading
from asyncwork._doctor.wording import shell_word
from asyncwork._redis.active_reapers import MOST
from asyncwork._redis.keys import Keys
from asyncwork._redis.lock_state import LockState
from asyncwork._redis.metrics import MetricsStore
from asyncwork.cli import main
from asyncwork.cli.command_hints import CommandHints
from asyncwork.client import WATCHED_FOR
from asyncwork.embedded import EmbeddedRedis
from asyncwork.models.diagnosis import Diagnosis
from asyncwork.models.pools import Heartbeat
from asyncwork.models.queues import JobCounts, QueueInfo, Sizes

from .conftest import LIMIT, Bench, open_bench, until
from .test_cli import NO_REDIS, run
from .tuned import QUICK, tuned
from .web_app import serving

GONE, OTHER = "d" * 24, "e" * 24
# Seconds for which the doctor repeats its reading: enough for two.
BRIEFLY = 1.2


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with whose settings nothing is wrong: it keeps its data."""
    with EmbeddedRedis(tmp_path_factory.mktemp("durable")) as server:
        yield server.url


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def payload(name: str = "wat", job_id: str = "1", **fields: Any) -> bytes:
    return json.dumps({"name": name, "id": job_id, "t": int(time.time()), "args": {"a": 1}, **fields}).encode()


def kinds(found: Diagnosis) -> set[str]:
    return {each.kind for each in found.problems}


async def repair(client: Client, found: Diagnosis) -> list[str]:
    return [line async for line in client.repair(found)]


async def clean(bench: Bench) -> None:
    await bench.redis.delete(*await bench.redis.keys(f"{bench.namespace}:*"))


# Problems that are planted, found and repaired


async def jobs_of_a_pool_that_is_gone(bench: Bench) -> None:
    await bench.redis.lpush(bench.keys.in_progress("wat", GONE), payload(), payload(job_id="2"))
    await bench.redis.hset(bench.keys.lock_info("wat"), GONE, 2)
    await bench.redis.set(bench.keys.lock("wat"), 2)


async def jobs_of_a_pool_that_is_gone_of_a_name_that_is_not_known(bench: Bench) -> None:
    await jobs_of_a_pool_that_is_gone(bench)
    await bench.redis.delete(bench.keys.known_jobs)


async def a_share_of_a_pool_that_is_gone(bench: Bench) -> None:
    await bench.redis.hset(bench.keys.lock_info("wat"), GONE, 3)
    await bench.redis.set(bench.keys.lock("wat"), 3)


async def a_heartbeat_of_a_pool_that_is_not_registered(bench: Bench) -> None:
    await jobs_of_a_pool_that_is_gone(bench)
    await bench.redis.hset(bench.keys.heartbeat(GONE), "heartbeat_at", int(time.time()))


async def a_pool_without_a_heartbeat(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.worker_pools, GONE)


async def a_pool_with_jobs_without_a_heartbeat(bench: Bench) -> None:
    await a_pool_without_a_heartbeat(bench)
    await jobs_of_a_pool_that_is_gone(bench)


async def a_lock_that_is_too_high(bench: Bench) -> None:
    await bench.redis.set(bench.keys.lock("wat"), 7)


async def a_negative_lock(bench: Bench) -> None:
    await bench.redis.set(bench.keys.lock("wat"), -1)


async def a_lock_that_is_no_number(bench: Bench) -> None:
    await bench.redis.set(bench.keys.lock("wat"), "many")


async def a_lock_of_another_type(bench: Bench) -> None:
    await bench.redis.lpush(bench.keys.lock("wat"), "many")


async def a_unique_key_that_is_held_for_nothing(bench: Bench) -> None:
    await bench.redis.set(bench.keys.unique_for("wat", {"a": 1}), 1, ex=3600)


async def a_unique_key_that_never_ends(bench: Bench) -> None:
    await bench.redis.set(bench.keys.unique_for("wat", {"a": 1}), 1)


async def a_mark_of_a_job_that_does_not_exist(bench: Bench) -> None:
    await bench.redis.hset(bench.keys.cancels, "order-7", b'{"by":"","reason":"","at":1}')


async def a_queue_that_is_not_known(bench: Bench) -> None:
    await bench.redis.lpush(bench.keys.queue("w:a t"), payload("w:a t"))


Plant = Callable[[Bench], Awaitable[None]]

REPAIRED: list[tuple[Plant, str]] = [
    (jobs_of_a_pool_that_is_gone, "orphans"),
    (jobs_of_a_pool_that_is_gone_of_a_name_that_is_not_known, "orphans"),
    (a_share_of_a_pool_that_is_gone, "orphans"),
    (a_heartbeat_of_a_pool_that_is_not_registered, "orphans"),
    (a_pool_without_a_heartbeat, "no_heartbeat"),
    (a_pool_with_jobs_without_a_heartbeat, "no_heartbeat"),
    (a_lock_that_is_too_high, "lock_drift"),
    (a_negative_lock, "lock_drift"),
    (a_lock_that_is_no_number, "lock_drift"),
    (a_lock_of_another_type, "lock_drift"),
    (a_unique_key_that_is_held_for_nothing, "unclaimed_unique"),
    (a_unique_key_that_never_ends, "unclaimed_unique"),
    (a_mark_of_a_job_that_does_not_exist, "lost_cancels"),
    (a_queue_that_is_not_known, "unknown_queue"),
]


@pytest.mark.parametrize(("plant", "kind"), REPAIRED, ids=[plant.__name__ for plant, _ in REPAIRED])
async def test_a_problem_is_found_and_repaired(bench: Bench, client: Client, plant: Plant, kind: str) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await plant(bench)
    found = await client.diagnose(BRIEFLY)
    assert kinds(found) - {"no_workers"} == {kind}
    assert all(each.text and each.remedy and each.command for each in found.problems)
    assert await repair(client, found)
    again = await client.diagnose(BRIEFLY)
    # Of a name that was not known, the queue is seen by now.
    assert kinds(again) <= {"no_workers", "unknown_queue"} - {kind}
    assert not again.notes
    waiting = (await bench.waiting("wat")) + (await bench.waiting("w:a t"))
    assert len(waiting) == found.jobs
    assert await bench.audit() == []


async def quarantined(bench: Bench) -> None:
    for column in range(7):
        entry = {"at": 1, "from": "queue wat", "reason": f"not JSON: line 1 column {column}", "payload": "x"}
        await bench.redis.lpush(bench.keys.quarantine, json.dumps(entry))


async def a_name_with_a_comma(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "a,b")


async def a_pool_that_has_died(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.worker_pools, GONE)
    await bench.redis.hset(bench.keys.heartbeat(GONE), "heartbeat_at", int(time.time()) - 60)


async def a_pool_whose_clock_is_ahead(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.worker_pools, GONE)
    await bench.redis.hset(bench.keys.heartbeat(GONE), "heartbeat_at", int(time.time()) + 60)


async def a_job_that_waits_without_a_pool(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.lpush(bench.keys.queue("wat"), payload())


REPORTED: list[tuple[Plant, str, str]] = [
    (quarantined, "quarantine", "(7 from queue wat: not JSON: line … column …)"),
    (a_name_with_a_comma, "bad_name", "must not have a comma: 'a,b'"),
    (a_pool_that_has_died, "stale_pool", "has sent no heartbeat for 6"),
    (a_pool_whose_clock_is_ahead, "clock_skew", "s ahead of Redis's"),
    (a_job_that_waits_without_a_pool, "no_workers", "no pool is running, so no jobs do: 1 waiting (wat)"),
]


@pytest.mark.parametrize(("plant", "kind", "text"), REPORTED, ids=[plant.__name__ for plant, _, _ in REPORTED])
async def test_a_problem_is_found_and_left(bench: Bench, client: Client, plant: Plant, kind: str, text: str) -> None:
    await plant(bench)
    keys = await bench.redis.keys(f"{bench.namespace}:*")
    found = await client.diagnose(BRIEFLY)
    (fault,) = found.problems
    assert fault.kind == kind
    assert text in fault.text
    assert fault.remedy
    assert fault.command
    assert await repair(client, found) == []
    assert sorted(await bench.redis.keys(f"{bench.namespace}:*")) == sorted(keys)
    await clean(bench)


async def jobs_that_expired(bench: Bench, expired: int = 11) -> None:
    counts = JobCounts(processed=120, retried=20, expired=expired)
    await MetricsStore(bench.in_redis).add(GONE, 1, {"wat": counts, "other": JobCounts(processed=20, expired=9)})


@pytest.mark.parametrize(("expired", "expected"), [(11, 1), (10, 0)])
async def test_many_jobs_that_expire_are_a_problem(bench: Bench, client: Client, expired: int, expected: int) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "other")
    await jobs_that_expired(bench, expired)
    found = [each for each in (await client.diagnose(0)).problems if each.kind == "expiring"]
    assert len(found) == expected
    for each in found:
        assert each.text == (
            "11 of the 100 jobs of wat that ended in the last 10 minutes had expired before they could start, and were "
            "dropped"
        )
        assert each.remedy == "run more workers, give its jobs a higher priority, or give them longer with expires=…"
    await clean(bench)


SHOWN_AT_ONCE = [
    jobs_that_expired,
    a_share_of_a_pool_that_is_gone,
    a_pool_without_a_heartbeat,
    a_negative_lock,
    a_lock_that_is_no_number,
    a_job_that_waits_without_a_pool,
]


@pytest.mark.parametrize("plant", SHOWN_AT_ONCE, ids=[plant.__name__ for plant in SHOWN_AT_ONCE])
async def test_the_overview_words_a_problem_as_the_doctor_does(bench: Bench, client: Client, plant: Plant) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await plant(bench)
    overview, diagnosis = (await client.overview()).problems, await client.diagnose(0)
    assert overview
    assert set(overview) <= set(diagnosis.problems)
    await clean(bench)


def test_an_invalid_share_is_a_problem_although_the_jobs_in_progress_are_unknown() -> None:
    lock = LockState(1, {GONE: None, OTHER: 1}, {})
    beats = [Heartbeat(GONE, 1000, 1, (), 1, (), "here", 1), Heartbeat(OTHER, 1000, 1, (), 1, (), "here", 2)]
    queue = QueueInfo("wat", 0, 0, max_concurrency=1)
    history = HeartbeatHistory()
    history.record(beats, 1000)
    reading = Reading(1000, beats, {"wat": lock})
    (problem,) = overview_problems(reading, [queue], Sizes(), {}, history, Keys("work"), {})
    assert problem.kind == "lock_drift"
    assert problem.text.startswith(f"pool {GONE}'s share of the lock of wat is not a number: too few jobs run")


# By what is to be there; a string where that is another, otherwise a set.
WRONG = [
    *("known_jobs", "worker_pools", "retry", "scheduled", "dead", "quarantine", "periodic", "periodic_fired"),
    *("periodic_changes", "periodic_runs:wat:@daily"),
    *("crashes", "jobs:wat", "jobs:wat:max_concurrency", f"jobs:wat:{GONE}:inprogress", f"worker_pools:{GONE}"),
    *("worker:w1", "unique:wat:{}\n", "stats:day:2026-11:", "cancels", f"deleted:{GONE}", f"deleted:{GONE}:place"),
    *("deletions", "digest_key", f"crashes:{GONE}", "reapers"),
]


@pytest.mark.parametrize("name", WRONG)
async def test_a_key_of_a_wrong_type_is_reported_and_hides_no_other(bench: Bench, client: Client, name: str) -> None:
    key = f"{bench.namespace}:{name}"
    await bench.redis.sadd(bench.keys.worker_pools, GONE)
    await bench.redis.hset(bench.keys.heartbeat(GONE), "heartbeat_at", int(time.time()) - 60)
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "other")
    await bench.redis.lpush(bench.keys.queue("other"), payload("other"))
    await bench.redis.zadd(bench.keys.retry, {payload(job_id="2"): 1})
    string = bench.keys.kind(key) == "string"
    await bench.redis.delete(key)
    await (bench.redis.lpush(key, "x") if string else bench.redis.set(key, "x"))
    found = await client.diagnose(0)
    (fault,) = [each for each in found.problems if each.kind == "wrong_type"]
    assert fault.subject == key
    assert f"holds a {'list' if string else 'string'}, but must hold a {bench.keys.kind(key)}" in fault.text
    assert fault.command.startswith("redis-cli RENAME ")
    if name != "known_jobs":
        assert "no_workers" in kinds(found)
    await repair(client, found)
    async with serving(bench) as (_, web):
        for path in ("/", "/queues", "/retry_jobs", "/periodic", "/api/overview", "/worker_pools"):
            assert (await web.get(path, headers={"Accept": "text/html"})).status_code in (200, 404), path
    await clean(bench)


async def test_what_is_of_a_namespace_within_this_one_is_left_alone(bench: Bench, client: Client) -> None:
    async with (
        open_bench(bench.url, f"{bench.namespace}:jobs") as jobs,
        open_bench(bench.url, f"{bench.namespace}:unique") as unique,
    ):
        for inner in (jobs, unique):
            await inner.enqueuer.enqueue("wat")
            await inner.redis.zadd(inner.keys.retry, {payload(job_id="2"): 1})
            await inner.redis.set(inner.keys.unique_for("wat", {"a": 1}), 1, ex=3600)
        before = await bench.redis.keys(f"{bench.namespace}:*")
        found = await client.diagnose(0)
        assert (found.problems, found.jobs, found.queues) == ([], 0, 0)
        assert await repair(client, found) == []
        assert sorted(await bench.redis.keys(f"{bench.namespace}:*")) == sorted(before)
        for inner in (jobs, unique):
            assert len(await inner.waiting("wat")) == 1
    await clean(bench)


async def test_names_that_no_running_pool_has_a_handler_for(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job
    async def served() -> None: ...

    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.retry, {payload("wat"): 1e10, payload("never_known", "2"): 1e10})
    await bench.redis.zadd(bench.keys.scheduled, {payload("wat", "3"): 1e10, payload("served", "4"): 1e10})
    await bench.redis.lpush(bench.keys.queue("wat"), payload("wat", "5"))
    async with pool.running():
        found = await client.diagnose(BRIEFLY)
    assert [(each.kind, each.subject) for each in found.problems] == [
        ("no_workers", "never_known"),
        ("no_workers", "wat"),
    ]
    assert found.problems[1].text.endswith("so its jobs do not run (1 waiting, 1 retry, 1 scheduled)")
    await clean(bench)


async def test_what_is_on_purpose_is_a_note(bench: Bench, client: Client) -> None:
    pool, hold, begun = bench.pool(), asyncio.Event(), asyncio.Event()

    @pool.job(max_concurrency=1)
    async def capped() -> None:
        begun.set()
        await hold.wait()

    @pool.job
    async def paused() -> None: ...

    await client.pause("paused")
    async with pool.running():
        await bench.enqueuer.enqueue_many([("capped", None), ("capped", None), ("paused", None)])
        await begun.wait()
        found = await client.diagnose()
        assert found.problems == []
        assert [(each.kind, each.subject) for each in found.notes] == [("capped", "capped"), ("paused", "paused")]
        hold.set()
        await client.unpause("paused")
        await pool.drain()


async def test_empty_shares_that_go_leaves_are_a_note_and_tidied_up(bench: Bench, client: Client) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.hset(bench.keys.lock_info("wat"), GONE, 0)
    found = await client.diagnose(BRIEFLY)
    assert (found.problems, [each.kind for each in found.notes]) == ([], ["empty_shares"])
    await repair(client, found)
    assert await bench.redis.exists(bench.keys.lock_info("wat")) == 0


# Nothing of what lives is touched


async def test_no_false_alarm_while_pools_run_jobs(bench: Bench, client: Client) -> None:
    pools = [bench.pool(concurrency=5), bench.pool(concurrency=20)]
    for pool in pools:

        @pool.job
        async def quick(n: int) -> None: ...

        @pool.job(max_concurrency=2)
        async def capped(n: int) -> None:
            await asyncio.sleep(0.005)

        @pool.job(backoff=lambda job: 0, max_fails=2)
        async def fails(n: int) -> None:
            raise ValueError("no")

        @pool.job
        async def unique(n: int) -> None: ...

    async def load() -> None:
        for n in range(10**9):
            await bench.enqueuer.enqueue_many([(name, {"n": n}) for name in ("quick", "capped", "fails")])
            await bench.enqueuer.enqueue("unique", {"n": n % 5}, unique=True)
            await bench.enqueuer.enqueue("unique", {"n": n % 7 + 10}, delay=1, unique=True)

    async with pools[0].running(), pools[1].running():
        loading = asyncio.create_task(load())
        for _ in range(3):
            found = await client.diagnose()
            assert (found.problems, found.pools, found.queues) == ([], 2, 4)
            assert not found.repairs.gone
            assert not found.repairs.locks
        loading.cancel()
        await asyncio.wait([loading])
        await until(lambda: bench.redis.zcard(bench.keys.dead))
        await bench.redis.delete(bench.keys.dead)
        await pools[0].drain()
    await clean(bench)


async def test_locks_are_recomputed_while_jobs_run(bench: Bench, client: Client) -> None:
    # With a shorter one, its waits in Redis would end meanwhile, after each of which it puts its share right itself.
    pool = bench.pool(**tuned(QUICK, dead_after=60.0))
    hold, begun = asyncio.Event(), asyncio.Event()

    @pool.job
    async def wat() -> None:
        begun.set()
        await hold.wait()

    # Enough others are active, or this pool's first pass would repair the lock before the doctor reads it.
    active = f"{(await bench.redis.time())[0]}.0 3600.0 0.5"
    await bench.redis.hset(bench.keys.reapers, mapping={f"other{number}": active for number in range(MOST)})
    async with pool.running():
        await bench.enqueuer.enqueue("wat")
        await begun.wait()
        await bench.redis.set(bench.keys.lock("wat"), 99)
        await bench.redis.hset(bench.keys.lock_info("wat"), pool.id, 5)
        found = await client.diagnose(BRIEFLY)
        assert kinds(found) == {"lock_drift"}
        assert "is 99, but the pools' shares of it sum to 5" in found.problems[0].text
        assert f"pool {pool.id} runs 1 job of wat, but its share of the lock is 5" in found.problems[0].text
        assert await repair(client, found) == ["recomputed the lock of wat: it is 1"]
        assert await bench.redis.hgetall(bench.keys.lock_info("wat")) == {(pool.id or "").encode(): b"1"}
        assert (await client.diagnose(BRIEFLY)).problems == []
        hold.set()
        await pool.drain()
    await bench.redis.delete(bench.keys.reapers)


@pytest.mark.parametrize("names", [["wat"], []])
async def test_a_pool_that_beats_again_is_left_alone(bench: Bench, client: Client, names: list[str]) -> None:
    await a_pool_without_a_heartbeat(bench)
    for name in names:
        await bench.redis.lpush(bench.keys.in_progress(name, GONE), payload())
    found = await client.diagnose(BRIEFLY)
    assert "no_heartbeat" in kinds(found)
    await bench.redis.hset(bench.keys.heartbeat(GONE), "heartbeat_at", 1)
    await repair(client, found)
    assert await bench.redis.smembers(bench.keys.worker_pools) == {GONE.encode()}
    assert await bench.redis.llen(bench.keys.in_progress("wat", GONE)) == len(names)
    await clean(bench)


async def test_what_looks_wrong_for_a_moment_only_is_not_reported(bench: Bench, client: Client) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await a_lock_that_is_too_high(bench)

    async def calls() -> int:
        # None of a script, on a Redis on which nobody has called one yet.
        return int((await bench.redis.info("commandstats")).get("cmdstat_evalsha", {"calls": 0})["calls"])

    before = await calls()
    examining = asyncio.create_task(client.diagnose(10 * LIMIT))

    async def looked() -> bool:
        return await calls() > before

    await until(looked)
    await bench.redis.set(bench.keys.lock("wat"), 0)
    # It stops reading when nothing looks wrong any more.
    async with asyncio.timeout(LIMIT):
        assert (await examining).problems == []


def test_a_heartbeat_that_stands_is_stale_whatever_its_clock_says() -> None:
    ahead = Heartbeat(GONE, 5000, 0, (), 1, (), "here", 1)
    history = HeartbeatHistory()
    history.record([ahead], 1000)
    assert not history.is_stale(ahead, 1000)
    history.record([ahead], 1011)
    assert history.is_stale(ahead, 1011)
    assert history.silence(ahead, 1011) == 11


# Unique keys


@pytest.mark.parametrize("location", ["queue", "scheduled", "retry", "in progress"])
async def test_a_unique_key_whose_job_is_somewhere_is_left(bench: Bench, client: Client, location: str) -> None:
    key = bench.keys.unique_for("wat", {"a": 1})
    await bench.redis.set(key, 1, ex=3600)
    # gocraft/work of old did not write the key into the payload.
    job = payload(unique=True)
    if location == "queue":
        await bench.redis.lpush(bench.keys.queue("wat"), job)
    elif location == "in progress":
        await bench.redis.lpush(bench.keys.in_progress("wat", GONE), job)
    else:
        await bench.redis.zadd(getattr(bench.keys, location), {job: 1e10})
    found = await client.diagnose(BRIEFLY)
    assert "unclaimed_unique" not in kinds(found)
    await repair(client, found)
    assert await bench.redis.exists(key)
    await clean(bench)


async def test_a_unique_key_that_was_just_written_is_left(bench: Bench, client: Client) -> None:
    # Its job may be on its way.
    await bench.redis.set(bench.keys.unique_for("wat", {"a": 1}), 1, ex=86_400)
    assert (await client.diagnose(BRIEFLY)).problems == []
    await clean(bench)


@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize("other", [False, True])
async def test_a_unique_key_is_found_whose_job_is_gone_although_duplicates_come(
    bench: Bench, client: Client, by_key: bool, other: bool
) -> None:
    """It tells whose it is: neither how young it is, nor another job of the same arguments, hides that."""

    async def enqueue() -> EnqueuedJob:
        if by_key:
            return await bench.enqueuer.enqueue("wat", {"a": 1}, unique={"a": 1})
        return await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)

    assert not (await enqueue()).duplicate
    await bench.redis.delete(bench.keys.queue("wat"))
    if other:
        key = bench.keys.unique_for("wat", {"a": 1})
        await bench.redis.zadd(bench.keys.scheduled, {payload(job_id="2", unique=True, unique_key=key): 1e10})
    assert (await enqueue()).duplicate
    found = await client.diagnose(BRIEFLY)
    assert "unclaimed_unique" in kinds(found)
    assert (await enqueue()).duplicate
    assert "freed unique keys that were held for no job: 1" in await repair(client, found)
    assert not (await enqueue()).duplicate
    assert "unclaimed_unique" not in kinds(await client.diagnose(BRIEFLY))
    await clean(bench)


@pytest.mark.parametrize("location", ["queue", "retry", "scheduled", "in progress", "young"])
async def test_a_mark_of_a_job_that_may_exist_stays(bench: Bench, client: Client, location: str) -> None:
    ids = [f"order-{n}" for n in range(30)]
    keys, at = bench.keys, int(time.time()) if location == "young" else 1
    await bench.redis.hset(keys.cancels, mapping=dict.fromkeys(ids, b'{"at":%d}' % at))
    for job_id in ids if location != "young" else []:
        raw = payload(job_id=job_id)
        if location in ("retry", "scheduled"):
            await bench.redis.zadd(keys.location(location), {raw: 1e10})
        else:
            key = keys.queue("wat") if location == "queue" else keys.in_progress("wat", GONE)
            await bench.redis.lpush(key, raw)
    await bench.redis.sadd(keys.known_jobs, "wat")
    found = await client.diagnose(BRIEFLY)
    assert "lost_cancels" not in kinds(found)
    assert not found.repairs.cancels
    await clean(bench)
    await bench.redis.delete(keys.cancels, keys.retry, keys.queue("wat"), keys.in_progress("wat", GONE))


async def test_a_mark_that_is_written_anew_stays(bench: Bench, client: Client) -> None:
    await a_mark_of_a_job_that_does_not_exist(bench)
    found = await client.diagnose(BRIEFLY)
    assert kinds(found) == {"lost_cancels"}
    await bench.redis.hset(bench.keys.cancels, "order-7", b'{"at":2}')
    assert await repair(client, found) == ["removed the marks of cancelled jobs that do not exist: 0"]
    await bench.redis.delete(bench.keys.cancels)


async def test_a_unique_key_that_another_job_took_meanwhile_is_not_freed(bench: Bench, client: Client) -> None:
    assert not (await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)).duplicate
    await bench.redis.delete(bench.keys.queue("wat"))
    found = await client.diagnose(BRIEFLY)
    assert kinds(found) == {"unclaimed_unique"}
    await bench.redis.delete(bench.keys.unique_for("wat", {"a": 1}))
    assert not (await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)).duplicate
    assert await repair(client, found) == ["freed unique keys that were held for no job: 0"]


async def test_a_unique_key_that_is_written_anew_is_not_freed(bench: Bench, client: Client) -> None:
    await a_unique_key_that_is_held_for_nothing(bench)
    found = await client.diagnose(BRIEFLY)
    assert kinds(found) == {"unclaimed_unique"}
    # By a duplicate of gocraft/work's newer versions, or for another job.
    await bench.redis.set(bench.keys.unique_for("wat", {"a": 1}), 1, ex=86_400)
    assert await repair(client, found) == ["freed unique keys that were held for no job: 0"]
    await clean(bench)


@pytest.mark.parametrize("planted", ["jobs", "unique keys"])
async def test_a_note_says_that_too_much_is_not_read(
    bench: Bench, client: Client, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncwork._doctor.doctor.MOST_JOBS", 0)
    await a_unique_key_that_is_held_for_nothing(bench)
    if planted == "jobs":
        await bench.redis.zadd(bench.keys.retry, {payload(): 1e10})
    found = await client.diagnose(BRIEFLY)
    (note,) = found.notes
    assert f"too many {planted} to read" in note.text
    assert found.problems == []
    assert not found.repairs
    await clean(bench)


# Redis and clocks


async def examine(url: str) -> Diagnosis:
    async with open_bench(url) as bench, Client(url, namespace=bench.namespace) as client:
        return await client.diagnose(0)


async def test_settings_of_the_server(tmp_path: Path) -> None:
    settings = {"maxmemory-policy": "allkeys-lru", "maxclients": "11"}
    async with EmbeddedRedis(tmp_path, appendonly=False, settings=settings) as server, AsyncExitStack() as stack:
        found = await examine(server.url)
        assert kinds(found) == {"eviction", "persistence"}
        assert found.persistence == "none"
        redis = await stack.enter_async_context(Redis.from_url(server.url))
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("save", "3600 1")
        found = await examine(server.url)
        assert (found.problems, found.persistence) == ([], "snapshots (save 3600 1)")
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", int(used * 1.05))
        for _ in range(8):
            await (await stack.enter_async_context(Redis.from_url(server.url))).ping()
        assert kinds(await examine(server.url)) == {"memory", "clients"}


async def test_a_last_write_that_failed(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as redis:
        # A file cannot take the place of a directory.
        (tmp_path / "dump.rdb").mkdir()
        await redis.bgsave()

        async def failed() -> bool:
            return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] != "ok")

        await until(failed)
        assert kinds(await examine(server.url)) == {"persistence"}


async def test_a_replica(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as redis:
        await redis.replicaof("127.0.0.1", 1)
        (fault,) = (await examine(server.url)).problems
        assert fault.kind == "replica"
        assert "127.0.0.1:1" in fault.remedy


@pytest.mark.parametrize("refused", ["-config", "-info"])
async def test_a_server_that_does_not_tell_its_settings(tmp_path: Path, refused: str) -> None:
    async with EmbeddedRedis(tmp_path, appendonly=False, port=0) as server, Redis.from_url(server.url) as redis:
        commands = ["+@all", refused, "+info|server"]
        await redis.acl_setuser("doc", enabled=True, passwords=["+pw"], keys=["*"], commands=commands)
        found = await examine(f"redis://doc:pw@{server.url.rpartition('@')[2]}")
        assert [each.kind for each in found.notes] == ["persistence"]
        assert (found.problems, found.persistence) == ([], "unknown")


async def test_the_clock_of_this_machine(bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client._doctor, "_clock", lambda: time.time() - 100)
    (fault,) = (await client.diagnose(0)).problems
    assert fault.kind == "clock_skew"
    assert "this machine's clock is 100 s behind Redis's" in fault.text


# The command


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork.cli.doctor.WATCHED_FOR", BRIEFLY)


async def doctor(bench: Bench, *options: str) -> int:
    arguments = ["doctor", "--redis", bench.url, "-n", bench.namespace, *options]
    return await asyncio.to_thread(main, arguments)


async def test_all_is_well(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert await doctor(bench) == 0
    verdict, looked_at = capsys.readouterr().out.splitlines()
    assert verdict == "no problems"
    assert looked_at.startswith(f"namespace '{bench.namespace}' of {bench.url}: 0 pools, 0 queues, 0 unfinished jobs; ")
    assert looked_at.endswith("persistence: append-only file")


@pytest.mark.usefixtures("briefly")
async def test_problems_are_reported_and_repaired(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    await a_lock_that_is_too_high(bench)
    await quarantined(bench)
    assert await doctor(bench) == 1
    out = capsys.readouterr().out
    assert f"$ asyncwork doctor --repair -n {bench.namespace} --redis '{bench.url}'\n" in out
    assert f" LRANGE {bench.keys.quarantine} 0 9\n" in out
    assert "\n2 problems\n" in out
    assert out.index("the lock of wat") < out.index("7 payloads are not jobs")
    assert await doctor(bench, "--repair") == 1
    out = capsys.readouterr().out
    assert out.startswith("done   recomputed the lock of wat: it is 0\nwrong  7 payloads")
    assert "\n1 problem\n" in out
    await bench.redis.delete(bench.keys.quarantine)
    assert await doctor(bench, "--repair") == 0
    assert capsys.readouterr().out.startswith("done   nothing")


@pytest.mark.usefixtures("briefly")
async def test_json(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    await a_lock_that_is_too_high(bench)
    assert await doctor(bench, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["healthy"], told["namespace"], told["done"]) == (False, bench.namespace, [])
    (fault,) = told["problems"]
    assert set(fault) == {"kind", "subject", "text", "remedy", "command"}
    assert (fault["kind"], fault["subject"]) == ("lock_drift", "wat")
    assert await doctor(bench, "--json", "--repair") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["healthy"], told["done"]) == (True, ["recomputed the lock of wat: it is 0"])


@pytest.mark.usefixtures("briefly")
async def test_what_a_terminal_would_obey_is_escaped(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    name = b"a\x1b[31m\xff'"
    await bench.redis.lpush(bench.keys.jobs.encode() + name, payload())
    await doctor(bench)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"a\x1b[31m\xff'" in out
    await clean(bench)


async def test_without_a_redis() -> None:
    code, out, err = await run("doctor", "--redis", NO_REDIS)
    assert (code, out) == (3, "")
    assert err.startswith("asyncwork doctor: Redis at redis://me:***@127.0.0.1:1/0 cannot be reached")
    assert "embedded" not in err


async def test_help() -> None:
    code, out, err = await run("doctor", "--help")
    assert (code, err) == (0, "")
    for text in ("examples:", "exit codes:", "--repair", "ASYNCWORK_REDIS", f"for {WATCHED_FOR:g} seconds"):
        assert text in " ".join(out.split())


async def test_how_long_to_watch_must_be_a_time(client: Client) -> None:
    with pytest.raises(UsageError, match="seconds must be zero or more seconds"):
        await client.diagnose(-1)


@pytest.mark.parametrize(
    ("url", "command", "pasted"),
    [
        ("redis://localhost:6379/0", "redis-cli PING", "redis-cli PING"),
        ("redis://me:***@h:1/2", "redis-cli PING", "redis-cli -u 'redis://me:***@h:1/2' PING"),
        ("unix:///a b/r.sock?db=3", "redis-cli PING", "redis-cli -s '/a b/r.sock' -n 3 PING"),
        ("redis+sentinel://h/jobs", "redis-cli PING", "redis-cli PING"),
        ("redis://h", "asyncwork web", "asyncwork web -n my_app --redis redis://h"),
        ("redis://h/a\x1bb", "asyncwork web", r"asyncwork web -n my_app --redis $'redis://h/a\x1bb'"),
        ("redis://h", "asyncwork run app:pool", "asyncwork run app:pool"),
        ("redis://h", "timedatectl set-ntp true", "timedatectl set-ntp true"),
        ("redis://h", "", ""),
    ],
)
def test_a_command_is_completed(url: str, command: str, pasted: str) -> None:
    assert CommandHints(url, "my_app", given=True).complete(command) == pasted


def test_a_word_for_a_shell() -> None:
    assert shell_word("wat") == "wat"
    assert shell_word("it's") == """'it'"'"'s'"""
    assert shell_word("a\n\udcff'") == r"$'a\x0a\xff\x27'"


# Records of jobs whose results are kept


async def a_wait_for_a_job_that_does_not_exist(bench: Bench) -> None:
    await bench.redis.hset(bench.keys.job_record("order-7"), "wait:app:ended:x", "1")
    await bench.redis.expire(bench.keys.job_record("order-7"), 60)


async def test_a_wait_for_a_lost_job_is_found_and_ended(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job(result=60)
    async def wat() -> None: ...

    async with pool.running():
        await client.pause("wat")
        job = await wat.enqueue()
        waiting = asyncio.create_task(job.result(LIMIT))
        record = bench.keys.job_record(job.id)
        await until(lambda: bench.redis.exists(record))
        # Another pool runs it and writes no record.
        assert "lost_waits" not in kinds(await client.diagnose(BRIEFLY))
        assert await bench.redis.lpop(bench.keys.queue("wat"))
        found = await client.diagnose(BRIEFLY)
        (problem,) = [each for each in found.problems if each.kind == "lost_waits"]
        assert job.id in problem.text
        assert problem.remedy
        assert "ended the waits for jobs that do not exist: 1" in await repair(client, found)
        with pytest.raises(ResultLost, match=f"wat {job.id} is lost|job {job.id} is lost"):
            await waiting
        assert "ended the waits for jobs that do not exist: 0" in await repair(client, found)
        assert "lost_waits" not in kinds(await client.diagnose(BRIEFLY))
        await client.unpause("wat")


@pytest.mark.parametrize("location", ["queue", "retry", "scheduled", "dead", "in progress", "ended", "replaced"])
async def test_a_wait_for_a_job_that_may_end_stays(bench: Bench, client: Client, location: str) -> None:
    keys, raw = bench.keys, payload(job_id="order-7")
    await a_wait_for_a_job_that_does_not_exist(bench)
    await bench.redis.sadd(keys.known_jobs, "wat")
    match location:
        case "queue":
            await bench.redis.lpush(keys.queue("wat"), raw)
        case "in progress":
            await bench.redis.lpush(keys.in_progress("wat", GONE), raw)
        case "ended" | "replaced":
            field = "state" if location == "ended" else "alias"
            await bench.redis.hset(keys.job_record("order-7"), field, "done")
        case _:
            await bench.redis.zadd(keys.location(location), {raw: 1e10})
    found = await client.diagnose(BRIEFLY)
    assert "lost_waits" not in kinds(found)
    assert not found.repairs.awaited
    await bench.redis.delete(keys.queue("wat"), keys.in_progress("wat", GONE), keys.retry, keys.scheduled, keys.dead)


async def test_a_job_that_has_ended_meanwhile_is_not_lost(bench: Bench, client: Client) -> None:
    await a_wait_for_a_job_that_does_not_exist(bench)
    found = await client.diagnose(BRIEFLY)
    assert kinds(found) == {"lost_waits"}
    await bench.redis.hset(bench.keys.job_record("order-7"), "state", "done")
    assert await repair(client, found) == ["ended the waits for jobs that do not exist: 0"]
    assert await bench.redis.hget(bench.keys.job_record("order-7"), "state") == b"done"


@pytest.mark.parametrize("runner", ["", "asyncwork 1.0"])
async def test_a_pool_that_keeps_no_results_is_found(bench: Bench, client: Client, runner: str) -> None:
    keys, now = bench.keys, int(time.time())
    await bench.redis.hset(keys.results, "wat", 60)
    await bench.redis.sadd(keys.known_jobs, "wat", "other")
    await bench.redis.sadd(keys.worker_pools, GONE)
    heartbeat = {"heartbeat_at": now, "started_at": now, "job_names": "other,wat", "host": "gopher", "pid": 7}
    await bench.redis.hset(keys.heartbeat(GONE), mapping=heartbeat | ({"runner": runner} if runner else {}))
    found = [each for each in (await client.diagnose(0.0)).problems if each.kind == "unkept_results"]
    if runner:
        assert not found
    else:
        (problem,) = found
        assert problem.subject == "wat"
        assert "results of wat are kept, but a pool of gocraft/work serves it, too (gopher)" in problem.text
        assert problem.remedy
    await bench.redis.srem(keys.worker_pools, GONE)
    await bench.redis.delete(keys.heartbeat(GONE))


async def test_keys_that_should_expire_and_do_not_are_found(bench: Bench, client: Client) -> None:
    record, stream, other = bench.keys.job_record("1"), bench.keys.stream("1"), bench.keys.job_record("2")
    await bench.redis.hset(record, "state", "done")
    await bench.redis.xadd(stream, {"end": "done"})
    await bench.redis.hset(other, "state", "done")
    await bench.redis.expire(other, 60)
    # As after a crash, if a copy of the data that keeps no expiry was restored.
    await bench.redis.set(bench.keys.look_ahead_paused, GONE)
    found = await client.diagnose(BRIEFLY)
    assert kinds(found) == {"unexpiring"}
    unexpiring = [record, bench.keys.look_ahead_paused, stream]
    assert list(found.repairs.unexpiring) == unexpiring
    assert await repair(client, found) == ["had keys expire in a day that should expire: 3"]
    assert all([0 < await bench.redis.ttl(key) <= 86_400 for key in unexpiring])
    assert 0 < await bench.redis.ttl(other) <= 60
    assert not kinds(await client.diagnose(BRIEFLY))


async def test_a_request_that_a_pool_does_not_follow(bench: Bench, client: Client) -> None:
    """It is a problem after several heartbeats, on the page as well, and only while it has not been followed."""
    key = bench.keys.heartbeat(GONE)
    await bench.redis.sadd(bench.keys.worker_pools, GONE)
    fields = {"heartbeat_at": int(time.time()), "takes_requests": 1, "beats": 7, "host": "here", "pid": 3}
    await bench.redis.hset(key, mapping=fields)
    await client.quiet_pool(GONE, who="ann\n")
    await client.resize_pool(GONE, 12)
    await bench.redis.hset(key, "beats", 10)
    assert "unfollowed_request" not in kinds(await client.diagnose(0))
    await bench.redis.hset(key, "beats", 11)
    found = await client.diagnose(0)
    quiet, resize = (each for each in found.problems if each.kind == "unfollowed_request")
    pool = f"pool {GONE} on here, process 3 was asked"
    assert re.fullmatch(
        rf"{pool} by ann\\n to be quiet at 20\d\d-.* UTC, and has not done so for 4 heartbeats", quiet.text
    )
    assert re.fullmatch(
        rf"{pool} to run 12 jobs at once at 20\d\d-.* UTC, and has not done so for 4 heartbeats", resize.text
    )
    assert (quiet.subject, resize.subject) == (GONE, GONE)
    assert [each for each in (await client.overview()).problems if each.kind == quiet.kind] == [quiet, resize]
    await bench.redis.hset(
        key, "followed", ",".join(f"{each.at:.6f}" for each in (await client.heartbeats())[0].requests)
    )
    assert "unfollowed_request" not in kinds(await client.diagnose(0))
    await clean(bench)


async def test_a_request_that_cannot_be_read_is_a_note(bench: Bench, client: Client) -> None:
    key = bench.keys.heartbeat(GONE)
    await bench.redis.sadd(bench.keys.worker_pools, GONE)
    fields = {"heartbeat_at": int(time.time()), "takes_requests": 1, "beats": 7, "host": "here", "pid": 3}
    await bench.redis.hset(key, mapping={**fields, "requested": b"\xff\n", "requested_beats": 1})
    found = await client.diagnose(0)
    assert "unfollowed_request" not in kinds(found)
    (note,) = found.notes
    assert (note.kind, note.subject) == ("unreadable_request", GONE)
    assert note.text == rf"pool {GONE} on here, process 3 ignores a request that cannot be read: b'\xff\n'"
    await clean(bench)
