"""Jobs run: the cases of gocraft/work's own worker tests, and those in which asyncwork does more."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest

from asyncwork import Client, Discard, EnqueuedJob, Job, Retry, Snooze
from asyncwork._redis.commands import CommandBatch, FreeUniqueKey
from asyncwork._redis.recovery import Recovery
from asyncwork._redis.work_queue import WorkQueue
from asyncwork.gocraft import GocraftClient
from asyncwork.logging import JobLogFilter
from asyncwork.models.pools import IgnoredArgument
from asyncwork.options import Extra

from .conftest import LIMIT, Bench, until
from .tuned import QUICK, tuned


@dataclass
class Context:
    customer_id: int | None = None
    seen: str = ""


async def test_three_handlers_get_their_jobs(bench: Bench) -> None:
    got: dict[str, float] = {}
    pool = bench.pool()
    for name in ("job1", "job2", "job3"):

        async def handler(job: Job) -> None:
            got[job.name] = job.arg("a", float)

        pool.job(name)(handler)
    for number in (1, 2, 3):
        await bench.enqueuer.enqueue(f"job{number}", {"a": number})
    async with pool.running():
        await pool.drain()
    assert got == {"job1": 1.0, "job2": 2.0, "job3": 3.0}
    assert await bench.waiting("job1") == []
    assert await bench.redis.smembers(bench.keys.known_jobs) == {b"job1", b"job2", b"job3"}


async def test_a_job_that_another_program_pushed_by_hand_runs(bench: Bench) -> None:
    got: list[tuple[str, Any]] = []
    pool = bench.pool()

    @pool.job
    async def wat(job: Job) -> None:
        got.append((job.id, job.args))

    async with pool.running():
        payload = '{"name":"wat","id":"0123456789abcdef01234567","t":1425263409,"args":{"a":"é","n":[1,2.5,null]}}'
        await bench.redis.lpush(f"{bench.namespace}:jobs:wat", payload)
        await bench.redis.sadd(f"{bench.namespace}:known_jobs", "wat")
        await until(lambda: got)
    assert got == [("0123456789abcdef01234567", {"a": "é", "n": [1, 2.5, None]})]


async def test_what_a_running_job_leaves_in_redis(bench: Bench) -> None:
    started, finish = asyncio.Event(), asyncio.Event()
    pool = bench.pool()

    @pool.job
    async def wat(job: Job) -> None:
        started.set()
        await finish.wait()

    job = await bench.enqueuer.enqueue("wat", {"a": 1})
    (payload,) = await bench.waiting("wat")
    async with pool.running():
        await started.wait()
        assert pool.id is not None
        assert await bench.redis.lrange(bench.keys.in_progress("wat", pool.id), 0, -1) == [payload]
        assert await bench.redis.get(bench.keys.lock("wat")) == b"1"
        assert await bench.redis.hgetall(bench.keys.lock_info("wat")) == {pool.id.encode(): b"1"}
        assert await bench.redis.get(bench.keys.max_concurrency("wat")) == b"0"
        assert await bench.audit(running=True) == []
        heartbeat = await bench.redis.hgetall(bench.keys.heartbeat(pool.id))
        assert heartbeat[b"job_names"] == b"wat"
        assert heartbeat[b"concurrency"] == b"10"
        assert abs(int(heartbeat[b"heartbeat_at"]) - time.time()) < 5
        assert len(heartbeat[b"worker_ids"].split(b",")) == 10
        keys: list[bytes] = []

        async def observed() -> bool:
            keys[:] = await bench.redis.keys(f"{bench.namespace}:worker:*")
            return bool(keys)

        await until(observed)
        observation = await bench.redis.hgetall(keys[0])
        assert observation[b"job_name"] == b"wat"
        assert observation[b"job_id"] == job.id.encode()
        assert observation[b"args"] == b'{"a":1}'
        assert b"checkin" not in observation
        assert await bench.redis.ttl(keys[0]) > 86_000
        finish.set()
        await pool.drain()

        async def unobserved() -> bool:
            return not await bench.redis.keys(f"{bench.namespace}:worker:*")

        await until(unobserved)
        assert await bench.redis.get(bench.keys.lock("wat")) == b"0"
    assert not await bench.redis.exists(bench.keys.lock_info("wat"))


async def test_check_ins_are_shown_and_do_not_outlive_their_job(bench: Bench) -> None:
    step = asyncio.Semaphore(0)
    pool = bench.pool(concurrency=1)

    @pool.job
    async def wat(job: Job, first: bool) -> None:
        if first:
            job.checkin("halfway")
        await step.acquire()

    async def observation() -> dict[bytes, bytes]:
        keys = await bench.redis.keys(f"{bench.namespace}:worker:*")
        return await bench.redis.hgetall(keys[0]) if keys else {}

    await wat.enqueue(first=True)
    second = await wat.enqueue(first=False)
    async with pool.running():

        async def checked_in() -> bool:
            return (await observation()).get(b"checkin") == b"halfway"

        await until(checked_in)
        assert int((await observation())[b"checkin_at"]) > 0
        step.release()

        async def on_to_the_second() -> bool:
            return (await observation()).get(b"job_id") == second.id.encode()

        await until(on_to_the_second)
        assert b"checkin" not in await observation()
        step.release()
        await pool.drain()


async def test_a_failure_is_retried_with_its_error_kept(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(max_fails=3)
    async def wat(job: Job) -> None:
        raise ValueError("sorry kid <b>")

    job = await bench.enqueuer.enqueue("wat", {"a": 1})
    async with pool.running():
        await pool.drain()
    ((payload, score),) = await bench.job_set("retry")
    kept = json.loads(payload)
    assert kept["id"] == job.id
    assert kept["args"] == {"a": 1}
    assert kept["fails"] == 1
    assert kept["err"] == "ValueError: sorry kid <b>"
    assert abs(kept["failed_at"] - time.time()) < 5
    assert 'raise ValueError("sorry kid <b>")' in kept["traceback"]
    assert "asyncwork/_worker" not in kept["traceback"]
    assert list(kept) == ["name", "id", "t", "args", "fails", "err", "failed_at", "traceback"]
    # 1^4 + 15 + rand(0..29) x 2
    assert 16 <= score - kept["failed_at"] <= 16 + 58
    assert await bench.job_set("dead") == []


async def test_a_backoff_of_ones_own_gets_the_job_with_its_failure_counted(bench: Bench) -> None:
    fails: list[tuple[int, str]] = []
    pool = bench.pool()

    def backoff(job: Job) -> int:
        fails.append((job.fails, job.err))
        return 5

    @pool.job(backoff=backoff)
    async def wat() -> None:
        raise ValueError("sorry kid")

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    ((payload, score),) = await bench.job_set("retry")
    assert score - json.loads(payload)["failed_at"] == 5
    assert fails == [(1, "ValueError: sorry kid")]


@pytest.mark.parametrize("bad", [-1, float("nan"), "soon", None, 32_503_000_000, ZeroDivisionError])
async def test_a_backoff_that_fails_is_replaced_by_the_default(
    bench: Bench, caplog: pytest.LogCaptureFixture, bad: Any
) -> None:
    pool = bench.pool()

    def backoff(job: Job) -> Any:
        if bad is ZeroDivisionError:
            raise bad
        return bad

    @pool.job(backoff=backoff)
    async def wat() -> None:
        raise ValueError

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    ((payload, score),) = await bench.job_set("retry")
    assert score - json.loads(payload)["failed_at"] >= 16
    assert "backoff of wat failed" in caplog.text


async def test_the_last_failure_kills_and_skip_dead_drops(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(max_fails=1)
    async def dies() -> None:
        raise ValueError("sorry kid")

    @pool.job(max_fails=1, skip_dead=True)
    async def vanishes() -> None:
        raise ValueError("sorry kid")

    job = await dies.enqueue()
    await vanishes.enqueue()
    async with pool.running():
        await pool.drain()
    ((payload, score),) = await bench.job_set("dead")
    kept = json.loads(payload)
    assert (kept["id"], kept["fails"], kept["err"]) == (job.id, 1, "ValueError: sorry kid")
    assert score == kept["failed_at"]
    assert await bench.job_set("retry") == []


async def test_a_job_fails_max_fails_times_in_all(bench: Bench) -> None:
    attempts: list[int] = []
    pool = bench.pool()

    @pool.job(max_fails=3, backoff=lambda job: 0)
    async def wat(job: Job) -> None:
        attempts.append(job.fails)
        raise ValueError("again")

    await wat.enqueue()
    async with pool.running():

        async def dead() -> bool:
            return bool(await bench.job_set("dead"))

        await until(dead)
    assert attempts == [0, 1, 2]
    ((payload, _),) = await bench.job_set("dead")
    assert json.loads(payload)["fails"] == 3


async def test_a_stray_job_goes_to_the_dead_at_once(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    payload = '{"name":"taw","id":"0123456789abcdef01234567","t":1425263409,"args":null}'
    await bench.redis.lpush(bench.keys.queue("wat"), payload)
    async with pool.running():
        await pool.drain()
    ((kept, _),) = await bench.job_set("dead")
    assert json.loads(kept)["err"] == "stray job: no handler"


async def test_the_handlers_verdict_counts(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pool = bench.pool()

    @pool.job
    async def retried() -> None:
        raise Retry("not yet", after=100)

    @pool.job(max_fails=1)
    async def retried_too_often() -> None:
        raise Retry(after=100)

    @pool.job
    async def discarded() -> None:
        raise Discard("no such customer")

    @pool.job
    async def snoozed() -> None:
        raise Snooze(200)

    for task in (retried, retried_too_often, discarded, snoozed):
        await task.enqueue()
    (as_snoozed,) = await bench.waiting("snoozed")
    before = int(time.time())
    async with pool.running():
        await pool.drain()
    ((payload, score),) = await bench.job_set("retry")
    assert json.loads(payload)["err"] == "Retry: not yet"
    assert score == json.loads(payload)["failed_at"] + 100
    ((payload, _),) = await bench.job_set("dead")
    assert json.loads(payload)["name"] == "retried_too_often"
    ((payload, score),) = await bench.job_set("scheduled")
    assert payload == as_snoozed
    assert before + 200 <= score <= time.time() + 200
    assert "dropped: no such customer" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("by itself"), TimeoutError()])
async def test_what_else_a_handler_may_raise_is_a_failure(bench: Bench, error: BaseException) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        raise error

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    ((payload, _),) = await bench.job_set("retry")
    assert json.loads(payload)["err"].startswith(type(error).__name__)


async def test_a_unique_job_frees_its_key_when_it_starts(bench: Bench) -> None:
    again: list[EnqueuedJob] = []
    pool = bench.pool(concurrency=1)

    @pool.job
    async def wat(job: Job, n: int) -> None:
        if not again:
            again.append(await wat.options(unique=True).enqueue(n=n))
            again.append(await wat.options(unique=True).enqueue(n=n))

    assert not (await wat.options(unique=True).enqueue(n=1)).duplicate
    assert (await wat.options(unique=True).enqueue(n=1)).duplicate
    async with pool.running():
        await pool.drain()
    assert [job.duplicate for job in again] == [False, True]
    assert not await bench.redis.keys(f"{bench.namespace}:unique:*")


async def test_a_failed_unique_job_does_not_free_the_key_of_the_next(bench: Bench) -> None:
    pool = bench.pool()
    fail = True

    @pool.job(backoff=lambda job: 0)
    async def wat(job: Job) -> None:
        if fail and not job.fails:
            # The next one waits elsewhere, and holds the key while this one is tried again.
            await bench.enqueuer.enqueue("wat", delay=1000, unique=True)
            raise ValueError("again")
        done.set()

    done = asyncio.Event()
    await wat.options(unique=True).enqueue()
    async with pool.running():
        await done.wait()
        await pool.drain()
    assert await bench.redis.exists(f"{bench.namespace}:unique:wat:")
    assert (await bench.enqueuer.enqueue("wat", unique=True)).duplicate


@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize("again", ["snoozed", "cut off", "reaped", "dead"])
async def test_a_job_that_starts_again_does_not_free_the_key_of_the_next(
    bench: Bench, again: str, by_key: bool
) -> None:
    pool = bench.pool(grace=0.01)
    key = bench.keys.unique_for("wat", {"v": 7})
    starts: list[str] = []
    held: list[bytes] = []

    async def enqueue(seconds: float = 0) -> EnqueuedJob:
        if by_key:
            return await bench.enqueuer.enqueue("wat", {"v": 7}, delay=seconds, unique={"v": 7})
        return await bench.enqueuer.enqueue("wat", {"v": 7}, delay=seconds, unique=True)

    @pool.job(max_fails=1)
    async def wat(job: Job, v: int) -> None:
        starts.append(job.id)
        if len(starts) > 1:
            return
        # The next one waits elsewhere, and holds the key.
        assert await enqueue(1000)
        held.append(await bench.redis.get(key))
        if again == "snoozed":
            raise Snooze(0)
        if again == "dead":
            raise ValueError("again")
        await asyncio.sleep(LIMIT)

    first = await enqueue()
    assert first is not None
    async with pool.running():
        await until(lambda: held)
        if again == "reaped":
            assert pool.id is not None
            await Recovery(bench.in_redis).reap(pool.id, ["wat"], None)
            await until(lambda: len(starts) == 2)
    if again == "dead":
        async with Client(bench.url, namespace=bench.namespace) as client:
            assert await GocraftClient(client).retry_all_dead_jobs() == 1
    async with pool.running():
        await until(lambda: len(starts) == 2)
    assert starts == [first.id] * 2
    assert [await bench.redis.get(key)] == held
    assert (await enqueue()).duplicate


async def test_by_key_the_newest_arguments_run_once(bench: Bench) -> None:
    got: list[tuple[str, int]] = []
    pool = bench.pool()

    @pool.job
    async def wat(job: Job, v: int) -> None:
        got.append((job.id, v))
        raise ValueError("so that it is kept")

    first = await wat.options(unique={"id": 7}).enqueue(v=1)
    assert not first.duplicate
    for v in (2, 3):
        assert (await wat.options(unique={"id": 7}).enqueue(v=v)).duplicate
    async with pool.running():
        await pool.drain()
    ((job_id, v),) = got
    assert v == 3
    assert job_id != first.id
    ((payload, _),) = await bench.job_set("retry")
    assert json.loads(payload)["args"] == {"v": 3}


async def test_a_duplicate_without_a_key_map_takes_nothing_from_the_newest(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(v: int) -> None:
        got.append(v)

    await wat.options(unique={"v": 7}).enqueue(v=1)
    assert (await wat.options(unique={"v": 7}).enqueue(v=2)).duplicate
    assert (await wat.options(unique=True).enqueue(v=7)).duplicate
    async with pool.running():
        await pool.drain()
    assert got == [2]


async def test_by_key_the_newest_arguments_may_hold_what_lua_cannot_read(bench: Bench) -> None:
    got: list[str] = []
    pool = bench.pool()

    @pool.job
    async def wat(v: str) -> None:
        got.append(v)

    await wat.options(unique={"id": 7}).enqueue(v="old")
    assert (await wat.options(unique={"id": 7}).enqueue(v="\ud83d")).duplicate
    async with pool.running():
        await pool.drain()
    assert got == ["\ud83d"]


@pytest.mark.parametrize("of_go", [False, True])
async def test_by_key_after_a_job_that_is_unique_by_the_same_arguments(bench: Bench, of_go: bool) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(v: int) -> None:
        got.append(v)

    if of_go:
        payload = {"name": "wat", "id": "1", "t": 1, "args": {"v": 7}, "unique": True}
        await bench.redis.lpush(bench.keys.queue("wat"), json.dumps(payload))
        # The key does not tell which job waits.
        await bench.redis.set(bench.keys.unique_for("wat", {"v": 7}), 1)
    else:
        await wat.options(unique=True).enqueue(v=7)
    for v in (8, 9):
        assert (await wat.options(unique={"v": 7}).enqueue(v=v)).duplicate
    async with pool.running():
        await pool.drain()
    assert got == [9]
    assert not await bench.redis.keys(f"{bench.namespace}:unique:*")


async def test_who_lost_a_job_leaves_its_unique_key_to_who_has_it(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(v: int) -> None:
        got.append(v)

    await wat.options(unique={"id": 7}).enqueue(v=1)
    await wat.options(unique={"id": 7}).enqueue(v=2)
    (payload,) = await bench.waiting("wat")
    job = Job.decode(payload)
    work_queue = WorkQueue(bench.redis_client, bench.keys, "reaped")
    command = FreeUniqueKey(work_queue.queue("wat", 1), [payload], keys=bench.keys.unique_of(job), job_id=job.id)
    connection = await work_queue.open(LIMIT)
    assert await connection.request(work_queue.encode.batch(CommandBatch(commands=[command])), 1) == [[0]]
    await connection.close()
    async with pool.running():
        await pool.drain()
    assert got == [2]


@pytest.mark.parametrize("held", [b"garbage", b"[1]", b'"text"', b"{", b'{"name":7}', b"waiting:", b'{,"waiting":""}'])
async def test_garbage_in_a_unique_key_is_passed_over(bench: Bench, held: bytes) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(v: int) -> None:
        got.append(v)

    await wat.options(unique={"id": 7}).enqueue(v=1)
    await bench.redis.set(f'{bench.namespace}:unique:wat:{{"id":7}}\n', held)
    async with pool.running():
        await pool.drain()
    assert got == [1]


async def test_a_key_of_another_namespace_in_a_payload_is_not_deleted(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat(job: Job) -> None: ...

    await bench.redis.set(f"{bench.namespace}:precious", "1")
    await bench.redis.set(f'{bench.namespace}:unique:wat:{{"a":1}}\n', "1")
    payload = {"name": "wat", "id": "1", "t": 1, "args": {"a": 1}, "unique": True}
    payload["unique_key"] = f"{bench.namespace}:precious"
    await bench.redis.lpush(bench.keys.queue("wat"), json.dumps(payload))
    async with pool.running():
        await pool.drain()
    assert await bench.redis.exists(f"{bench.namespace}:precious")
    assert not await bench.redis.keys(f"{bench.namespace}:unique:*")


POISON = [
    (b"not json", "JSON"),
    (b"", ""),
    (b"\xff\xfe", ""),
    (b"[1,2]", "object"),
    (b"17", "object"),
    (b'{"name":"wat","id":"1","t":"1000","args":null}', '"t" must be int'),
    (b'{"name":"wat","id":"1","t":1000.0,"args":null}', '"t" must be int'),
    (b'{"name":"wat","id":"1","t":1,"args":[1]}', '"args" must be an object or null'),
    (b'{"name":"wat","id":"1","t":1,"args":null,"unique":1}', '"unique" must be bool'),
    (b'{"name":"wat","id":"1","t":1,"args":null,"fails":"2"}', '"fails" must be int'),
    (b'{"name":7,"id":"1","t":1,"args":null}', '"name" must be str'),
]


@pytest.mark.parametrize(("poison", "reason"), POISON)
async def test_a_payload_that_is_no_job_is_set_aside_and_blocks_nothing(
    bench: Bench, poison: bytes, reason: str
) -> None:
    got: list[int] = []
    pool = bench.pool(concurrency=1)

    @pool.job
    async def wat(n: int) -> None:
        got.append(n)

    await bench.redis.lpush(bench.keys.queue("wat"), poison)
    await wat.enqueue(n=1)
    async with pool.running():
        await pool.drain()
    assert got == [1]
    (record,) = await bench.redis.lrange(bench.keys.quarantine, 0, -1)
    kept = json.loads(record)
    assert reason in kept["reason"]
    assert kept["from"] == "wat"
    assert kept["payload"].encode("latin-1" if kept.get("latin1") else "utf-8") == poison


async def test_what_go_takes_as_empty_is_taken(bench: Bench) -> None:
    got: list[tuple[str, int, Any]] = []
    pool = bench.pool()

    @pool.job
    async def wat(job: Job) -> None:
        got.append((job.id, job.enqueued_at, job.args))

    await bench.redis.lpush(bench.keys.queue("wat"), '{"name":"wat"}', '{ "args":null, "name":"wat", "t":null }')
    async with pool.running():
        await pool.drain()
    assert got == [("", 0, {}), ("", 0, {})]


async def test_values_survive_every_move(bench: Bench) -> None:
    args = (
        '{"empty":[],"o":{},"big":1759000000123456,"huge":123456789012345678901234567890,'
        '"f":0.1234567890123456789,"e":1E+2,"s":"\\u003cb\\u003e \\ud83d\\ude00","dup":1.0}'
    )
    payload = f'{{"name":"wat","id":"1","t":1,"args":{args}}}'
    seen: list[Any] = []
    pool = bench.pool()

    @pool.job(backoff=lambda job: 0)
    async def wat(job: Job) -> None:
        seen.append(job.args)
        if job.fails < 2:
            raise ValueError("again")
        raise Snooze(1000)

    await bench.redis.zadd(bench.keys.scheduled, {payload: 1})
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    async with pool.running():

        async def snoozed() -> bool:
            return len(seen) == 3 and bool(await bench.job_set("scheduled"))

        await until(snoozed)
    ((kept, _),) = await bench.job_set("scheduled")
    assert f'"args":{args}'.encode() in kept
    assert seen[0]["huge"] == 123456789012345678901234567890
    assert seen[0] == seen[1] == seen[2]


async def test_a_paused_queue_rests_until_it_is_not(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(n: int) -> None:
        got.append(n)

    @pool.job
    async def other(n: int) -> None:
        got.append(n)

    for value in ("1", "0", ""):
        await bench.redis.set(bench.keys.paused("wat"), value)
        await wat.enqueue(n=1)
        async with pool.running():
            await pool.drain()
            await other.enqueue(n=2)
            await until(lambda: got)
            assert got == [2]
            assert len(await bench.waiting("wat")) == 1
            await bench.redis.delete(bench.keys.paused("wat"))
            await until(lambda: len(got) == 2)
        got.clear()


async def test_a_pause_holds_for_a_pool_that_waits_on_the_queue(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(n: int) -> None:
        got.append(n)

    async with pool.running():
        await until(lambda: bench.blocked(pool))
        await bench.redis.set(bench.keys.paused("wat"), "1")
        for n in range(5):
            await wat.enqueue(n=n)

        async def given_back() -> bool:
            return len(await bench.waiting("wat")) == 5 and not await bench.redis.exists(
                bench.keys.in_progress("wat", pool.id or "")
            )

        await until(given_back)
        assert got == []
        # Two pops may each have taken one, and given it back in the other order.
        assert sorted(json.loads(each)["args"]["n"] for each in await bench.waiting("wat")) == [0, 1, 2, 3, 4]
        await bench.redis.delete(bench.keys.paused("wat"))
        await until(lambda: len(got) == 5)


@pytest.mark.parametrize("cap", [1, 3])
async def test_a_cap_holds_over_all_pools(bench: Bench, cap: int) -> None:
    running = most = done = 0
    pools = [bench.pool(concurrency=10) for _ in range(3)]

    async def wat() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1
        done += 1

    for pool in pools:
        pool.job(max_concurrency=cap)(wat)
        await pool.start()
    assert await bench.redis.get(bench.keys.max_concurrency("wat")) == str(cap).encode()
    await bench.enqueuer.enqueue_many([("wat", None)] * 60)
    locks: list[int] = []

    async def finished() -> bool:
        locks.append(int(await bench.redis.get(bench.keys.lock("wat")) or 0))
        return done == 60

    await until(finished)
    for pool in pools:
        await pool.stop()
    assert most == cap
    # What a pool popped counts until it is admitted or given back.
    assert max(locks) <= cap + len(pools)


async def test_a_lock_that_is_wrong_keeps_no_queue_closed(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool()

    @pool.job(max_concurrency=1)
    async def wat() -> None:
        ran.append("x")

    # As many as were running when somebody deleted the shares.
    await bench.redis.set(bench.keys.lock("wat"), 5)
    await wat.enqueue()
    async with pool.running():
        await until(lambda: ran)
        await pool.drain()


async def test_never_more_jobs_are_taken_than_there_are_workers(bench: Bench) -> None:
    finish = asyncio.Event()
    pool = bench.pool(concurrency=3)

    async def wat() -> None:
        await finish.wait()

    for n in range(5):
        pool.job(f"wat{n}")(wat)
    async with pool.running():
        await until(lambda: bench.blocked(pool))
        async with bench.redis.pipeline(transaction=True) as pipe:
            for n in range(5):
                pipe.lpush(bench.keys.queue(f"wat{n}"), *(f'{{"name":"wat{n}","id":"{n}-{i}"}}' for i in range(4)))
            await pipe.execute()

        async def held() -> int:
            lists = await bench.redis.keys(f"{bench.namespace}:jobs:*:inprogress")
            return sum([await bench.redis.llen(each) for each in lists])

        async def full() -> bool:
            return await held() == 3

        await until(full)
        for _ in range(50):
            assert await held() == 3
        finish.set()
        await pool.drain()


async def test_a_high_priority_queue_tends_to_come_first(bench: Bench) -> None:
    order: list[str] = []
    pool = bench.pool(concurrency=1, **tuned(QUICK, pipelines=1))

    async def handler(job: Job) -> None:
        order.append(job.name)

    pool.job("low", priority=1)(handler)
    pool.job("high", priority=1000)(handler)
    await bench.enqueuer.enqueue_many([("low", None), ("high", None)] * 100)
    async with pool.running():
        await pool.drain()
    assert order[:100].count("high") > 85


async def test_plain_functions_run_in_threads_and_see_their_job(bench: Bench) -> None:
    threads: list[int] = []
    pool = bench.pool(concurrency=4)
    together = threading.Barrier(4)

    @pool.job
    def wat(job: Job, n: int) -> None:
        job.checkin(n)
        together.wait(LIMIT)
        threads.append(threading.get_ident())

    await wat.enqueue_many([wat.call(n=n) for n in range(4)])
    async with pool.running():
        await pool.drain()
    assert len(set(threads)) == 4
    assert threading.get_ident() not in threads


async def test_context_variables_do_not_leak_from_job_to_job(bench: Bench) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[str] = []
    pool = bench.pool(concurrency=1)

    @pool.job
    async def wat(name: str) -> None:
        seen.append(tenant.get())
        tenant.set(name)
        await asyncio.sleep(0)
        seen.append(tenant.get())
        assert await asyncio.create_task(inner()) == name

    async def inner() -> str:
        return tenant.get()

    for name in ("a", "b"):
        await wat.enqueue(name=name)
    async with pool.running():
        await pool.drain()
    assert seen == ["nobody", "a", "nobody", "b"]


async def test_every_line_that_a_handler_logs_carries_its_job(bench: Bench) -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep = Keep()
    keep.addFilter(JobLogFilter())
    logger = logging.getLogger("somebody.elses")
    logger.addHandler(keep)
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        await asyncio.sleep(0.001)
        logger.warning("from the handler")

    @pool.job
    def threaded() -> None:
        logger.warning("from a thread")

    jobs = {"wat": await wat.enqueue(), "threaded": await threaded.enqueue()}
    async with pool.running():
        await pool.drain()
    logger.warning("outside")
    logger.removeHandler(keep)
    labels = {record.getMessage(): (record.job_name, record.job_id) for record in records}  # type: ignore[attr-defined]
    assert labels == {
        "from the handler": ("wat", jobs["wat"].id),
        "from a thread": ("threaded", jobs["threaded"].id),
        "outside": ("", ""),
    }


async def test_a_fresh_context_for_every_job_goes_through_the_middleware(bench: Bench) -> None:
    trail: list[str] = []
    pool = bench.pool_of(Context)

    @pool.middleware
    async def outer(job: Job, call_next: Any) -> None:
        trail.append("outer in")
        await call_next()
        trail.append("outer out")

    @pool.middleware
    async def find_customer(ctx: Context, job: Job, call_next: Any) -> object:
        assert ctx.customer_id is None
        ctx.customer_id = job.arg("customer_id", int)
        return await call_next()

    @pool.job
    async def wat(ctx: Context, customer_id: int) -> None:
        trail.append(f"handler {ctx.customer_id}")

    await wat.enqueue(customer_id=1)
    async with pool.running():
        await pool.drain()
        await wat.enqueue(customer_id=2)
        await pool.drain()
    assert trail == ["outer in", "handler 1", "outer out", "outer in", "handler 2", "outer out"]


async def test_an_error_in_a_middleware_fails_the_job(bench: Bench) -> None:
    ran: list[int] = []
    pool = bench.pool()

    @pool.middleware
    async def broken(job: Job, call_next: Any) -> None:
        raise LookupError("no such tenant")

    @pool.job
    async def wat() -> None:
        ran.append(1)

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    assert ran == []
    ((payload, _),) = await bench.job_set("retry")
    assert json.loads(payload)["err"] == "LookupError: no such tenant"


async def test_an_error_of_the_handler_can_be_seen_and_swallowed_by_a_middleware(bench: Bench) -> None:
    seen: list[str] = []
    pool = bench.pool()

    @pool.middleware
    async def forgiving(job: Job, call_next: Any) -> None:
        try:
            await call_next()
        except ValueError as error:
            seen.append(str(error))

    @pool.job
    async def wat() -> None:
        raise ValueError("sorry")

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    assert seen == ["sorry"]
    assert await bench.job_set("retry") == []


@pytest.mark.parametrize(
    ("args", "err"),
    [
        ({"address": 5}, "argument 'address' has the wrong type: wanted str, found int 5"),
        ({}, "argument 'address' is missing: wanted str"),
        ({"address": "a", "copies": 1.5}, "argument 'copies' has the wrong type: wanted int, found float 1.5"),
        ({"address": "a", "copies": None}, "argument 'copies' has the wrong type: wanted int, found null"),
    ],
)
async def test_arguments_that_do_not_fit_fail_the_job_and_not_the_pool(
    bench: Bench, args: dict[str, Any], err: str
) -> None:
    pool = bench.pool()

    @pool.job
    async def wat(address: str, copies: int = 1) -> None: ...

    await bench.enqueuer.enqueue("wat", args)
    async with pool.running():
        await pool.drain()
    # Another attempt would have the same arguments.
    ((payload, _),) = await bench.job_set("dead")
    assert json.loads(payload)["err"] == f"ArgumentMismatchError: {err}"
    assert await bench.job_set("retry") == []


async def test_arguments_that_a_handler_itself_looks_at_are_tried_again(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat(job: Job) -> None:
        job.arg("address", str)

    await bench.enqueuer.enqueue("wat", {"address": 5})
    async with pool.running():
        await pool.drain()
    ((payload, _),) = await bench.job_set("retry")
    assert json.loads(payload)["fails"] == 1


UNKNOWN = "argument 'subjet' of wat is unknown; it takes address, subject. Did you mean 'subject'?"


async def test_an_unknown_argument_is_logged_once_and_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    pool, client = bench.pool(), Client(bench.url, namespace=bench.namespace)
    seen: list[str] = []

    @pool.job
    async def wat(address: str, subject: str = "hello") -> None:
        seen.append(subject)

    @pool.job
    async def bare() -> None: ...

    await bench.enqueuer.enqueue_many([("wat", {"address": "a", "subjet": "hi"})] * 3)
    await bench.enqueuer.enqueue("bare", {"x" * 1000: 1})
    async with client, pool.running():
        await pool.drain()
        assert pool.counts.ignored == 4

        async def told() -> bool:
            (heartbeat,) = await client.heartbeats()
            return len(heartbeat.ignored) == 2

        await until(told)
        (heartbeat,) = await client.heartbeats()
        found = await client.diagnose(0)
    assert seen == ["hello"] * 3
    assert IgnoredArgument("wat", "subjet", 3) in heartbeat.ignored
    assert IgnoredArgument("bare", "x" * 100 + "…", 1) in heartbeat.ignored
    assert [fault for fault in found.problems if fault.kind == "ignored_arguments"] == []
    assert [note.text for note in found.notes if note.kind == "ignored_arguments"][1] == (
        "jobs 'wat' have arguments that their handler does not take, and run without them: 'subjet' (3 times)"
    )
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    line = f"ignored an argument (logged once for each name): {UNKNOWN}"
    assert [each for each in warnings if "subjet" in each] == [line]
    assert any("of bare is unknown; it takes no arguments" in each for each in warnings)


@pytest.mark.parametrize(("of_pool", "of_job"), [("forbid", None), ("ignore", "forbid"), ("forbid", "ignore")])
async def test_an_unknown_argument_can_be_forbidden(bench: Bench, of_pool: Extra, of_job: Extra | None) -> None:
    pool = bench.pool(extra=of_pool)

    @pool.job(extra=of_job)
    async def wat(address: str, subject: str = "hello") -> None: ...

    await bench.enqueuer.enqueue("wat", {"address": "a", "subjet": "hi"})
    async with pool.running():
        await pool.drain()
    dead = [json.loads(payload)["err"] for payload, _ in await bench.job_set("dead")]
    assert dead == ([] if of_job == "ignore" else [f"ArgumentMismatchError: {UNKNOWN}"])


async def test_an_outsider_cannot_fill_the_memory_with_names(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    await bench.enqueuer.enqueue("wat", {f"a{number}": 1 for number in range(500)})
    async with pool.running():
        await pool.drain()
        assert pool.counts.ignored == 500
        serving = pool._launcher
        assert serving is not None
        assert len(serving._ignored()) == 101


async def test_arguments_that_the_handler_does_not_take_are_for_others(bench: Bench) -> None:
    seen: list[Any] = []
    pool = bench.pool()

    @pool.middleware
    async def find_customer(job: Job, call_next: Any) -> None:
        seen.append(job.arg("customer_id", int))
        await call_next()

    @pool.job
    async def one(address: str) -> None:
        seen.append(address)

    @pool.job
    async def none() -> None:
        seen.append("none")

    @pool.job
    async def rest(**others: Any) -> None:
        seen.append(others)

    for name in ("one", "none", "rest"):
        await bench.enqueuer.enqueue(name, {"address": "a", "customer_id": 7})
        async with pool.running():
            await pool.drain()
    assert seen == [7, "a", 7, "none", 7, {"address": "a", "customer_id": 7}]


async def test_an_endless_error_text_is_cut(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        raise ValueError("x" * 1_000_000)

    await wat.enqueue()
    async with pool.running():
        await pool.drain()
    ((payload, _),) = await bench.job_set("retry")
    assert len(payload) < 10_000


async def test_a_pool_without_handlers_starts_and_stops(bench: Bench) -> None:
    pool = bench.pool()
    async with pool.running():
        await pool.drain()


async def test_starting_and_stopping_again_and_again(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(n: int) -> None:
        got.append(n)

    await pool.stop()
    for n in range(3):
        await pool.start()
        await pool.start()
        await wat.enqueue(n=n)
        await until(lambda n=n: n in got)
        await pool.stop()
        await pool.stop()
        assert pool.id is None


async def test_a_pool_is_not_drained_while_a_parked_connection_is_being_sent_a_job(bench: Bench) -> None:
    """It is off its queue and not here yet: the queues are empty, and every worker looks idle."""
    ran: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(text: str) -> None:
        ran.append(len(text))

    async with pool.running():
        await until(lambda: bench.blocked(pool))
        await wat.enqueue("x" * 20_000_000)
        await pool.drain()
        assert ran
    await bench.redis.delete(bench.keys.queue("wat"))


async def test_a_payload_with_capitalised_names_runs_fails_and_is_shown(bench: Bench) -> None:
    pool, client = bench.pool(), Client(bench.url, namespace=bench.namespace)
    seen: list[Any] = []

    @pool.job(backoff=lambda job: 0.0)
    async def wat(job: Job, a: int) -> None:
        seen.append((job.id, a, job.fails, job.enqueued_at))
        if job.fails < 2:
            raise ValueError("not yet")

    payload = b'{"Name":"wat","ID":"5","T":17,"Args":{"a":123456789012345678901},"Fails":0}'
    await bench.redis.zadd(bench.keys.dead, {payload: 20})
    async with client, pool.running():
        ((record),) = (await client.jobs("dead")).jobs
        assert (record.name, record.id, record.args) == ("wat", "5", b'{"a":123456789012345678901}')
        assert await GocraftClient(client).retry_dead_job(20, "5")
        await until(lambda: len(seen) == 3)
        await pool.drain()
    assert [(each[0], each[1], each[2]) for each in seen] == [("5", 123456789012345678901, n) for n in range(3)]
    assert seen[0][3] > 17
