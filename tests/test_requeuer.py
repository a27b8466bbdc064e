"""Due jobs are requeued at their second, byte for byte, whichever pool handles them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from asyncwork._jobs.location import JobSet
from asyncwork._jobs.payload import with_time
from asyncwork._redis.delayed import DelayedJobs
from asyncwork._worker.services.requeuer import Requeuer
from asyncwork.job import Job

from .conftest import Bench, until


def requeuer(bench: Bench, job_set: JobSet = JobSet.RETRY) -> Requeuer:
    return Requeuer(bench.in_redis, job_set, period=1.0)


async def put(bench: Bench, job_set: str, payload: str | bytes, score: float) -> None:
    await bench.redis.zadd(getattr(bench.keys, job_set), {payload: score})


@pytest.mark.parametrize("job_set", list(JobSet)[:2])
async def test_due_jobs_move_and_others_stay(bench: Bench, job_set: JobSet) -> None:
    now = int(time.time())
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "foo")
    await put(bench, job_set.value, '{"name":"wat","id":"1","t":5,"args":null}', now - 10)
    await put(bench, job_set.value, '{"name":"foo","id":"2","t":5,"args":{"a":[]},"fails":2}', now - 9)
    await put(bench, job_set.value, '{"name":"wat","id":"3","t":5,"args":null}', now + 100)
    delay = await requeuer(bench, job_set).run_once()
    assert 0 < delay <= 1.01
    (wat,) = await bench.waiting("wat")
    (foo,) = await bench.waiting("foo")
    assert json.loads(wat)["id"] == "1"
    assert abs(json.loads(wat)["t"] - now) <= 1
    assert b'"args":{"a":[]},"fails":2}' in foo
    ((left, score),) = await bench.job_set(job_set.value)
    assert json.loads(left)["id"] == "3"
    assert score == now + 100


async def test_a_job_with_an_unregistered_name_stays_until_it_is_registered(bench: Bench) -> None:
    await put(bench, "retry", '{"name":"unknown","id":"1","t":5,"args":null}', 1)
    await put(bench, "retry", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    service = requeuer(bench)
    await service.run_once()
    assert len(await bench.waiting("wat")) == 1
    assert len(await bench.job_set("retry")) == 1
    assert await bench.job_set("dead") == []
    await bench.redis.sadd(bench.keys.known_jobs, "unknown")
    await service.run_once()
    assert len(await bench.waiting("unknown")) == 1


async def test_strangers_at_the_head_do_not_hide_those_behind(bench: Bench) -> None:
    strangers = {f'{{"name":"stranger{n}","id":"s{n}"}}': 1 for n in range(1200)}
    await bench.redis.zadd(bench.keys.retry, strangers)
    await put(bench, "retry", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await requeuer(bench).run_once()
    assert len(await bench.waiting("wat")) == 1
    assert len(await bench.job_set("retry")) == 1200


@pytest.mark.parametrize("poison", [b"not json", b"[]", b"\xff\x00", b'{"name":"wat","t":"x"}'])
async def test_a_payload_that_is_no_job_is_quarantined_and_blocks_nothing(bench: Bench, poison: bytes) -> None:
    await put(bench, "scheduled", poison, 1)
    await put(bench, "scheduled", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await requeuer(bench, JobSet.SCHEDULED).run_once()
    assert len(await bench.waiting("wat")) == 1
    (record,) = await bench.redis.lrange(bench.keys.quarantine, 0, -1)
    kept = json.loads(record)
    assert kept["from"] == "scheduled"
    assert kept["payload"].encode("latin-1" if kept.get("latin1") else "utf-8") == poison


async def test_many_move_in_steps(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.retry, {f'{{"name":"wat","id":"{n}","t":5,"args":null}}': 1 for n in range(5000)})
    await requeuer(bench).run_once()
    assert len(await bench.waiting("wat")) == 5000
    assert await bench.job_set("retry") == []


async def test_a_queue_that_is_no_list_leaves_its_jobs_where_they_are(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "broken")
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    await put(bench, "retry", '{"name":"broken","id":"1","t":5,"args":null}', 1)
    await put(bench, "retry", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await requeuer(bench).run_once()
    assert len(await bench.waiting("wat")) == 1
    assert len(await bench.job_set("retry")) == 1
    await bench.redis.delete(bench.keys.queue("broken"))


async def test_a_scheduled_job_runs_within_a_moment_of_its_second(bench: Bench) -> None:
    ran: list[float] = []
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        ran.append(time.time())

    async with pool.running():
        await until(lambda: bench.blocked(pool))
        job = await wat.options(delay=1).enqueue()
        await until(lambda: ran)
        await pool.drain()
    assert -0.001 <= ran[0] - job.run_at < 0.5


TIMES: list[tuple[bytes, bytes]] = [
    (b'{"name":"a","id":"1","t":5,"args":null}', b'{"name":"a","id":"1","t":99,"args":null}'),
    (b'{"name":"a","id":"1","t":5}', b'{"name":"a","id":"1","t":99,"args":null}'),
    (b'{"t":5,"name":"a","id":"1","args":{"t":5}}', b'{"name":"a","id":"1","t":99,"args":{"t":5}}'),
    (
        b'{"args":{"name":"a","id":"1","t":5,"x":1},"t":5,"name":"a"}',
        b'{"name":"a","t":99,"args":{"name":"a","id":"1","t":5,"x":1}}',
    ),
    (b'{"name":"\\u0061","id":"1","t":5,"args":{"x":1.0e2}}', b'{"name":"\\u0061","id":"1","t":99,"args":{"x":1.0e2}}'),
]


@pytest.mark.parametrize(("payload", "moved"), TIMES)
def test_only_the_time_of_a_payload_is_written_anew(payload: bytes, moved: Any) -> None:
    written = json.loads(with_time(payload, 99))
    assert written == {**json.loads(payload), "t": 99}
    assert written == {key: value for key, value in json.loads(moved).items() if key in written}


async def test_a_name_that_no_key_can_hold_is_read_as_go_reads_it(bench: Bench) -> None:
    await put(bench, "scheduled", rb'{"name":"a\ud800","id":"1","t":1,"args":null}', 1)
    await bench.redis.sadd(bench.keys.known_jobs, "a\ufffd")
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    assert len(await bench.waiting("a\ufffd")) == 1


async def test_20_000_jobs_that_are_due_at_once_move_in_steps_while_others_are_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, left, steps = Counter[int](), list[int](), list[int]()
    pool = bench.pool(concurrency=100)

    @pool.job
    async def wat(n: int) -> None:
        ran[n] += 1

    @pool.job
    async def other() -> None:
        left.append(await bench.redis.zcard(bench.keys.scheduled))
        if left[-1]:
            await other.enqueue()

    requeue = DelayedJobs.requeue

    async def noted(self: DelayedJobs, job_set: JobSet, moves: Any, firings: Any) -> Any:
        steps.append(len(moves))
        return await requeue(self, job_set, moves, firings)

    monkeypatch.setattr(DelayedJobs, "requeue", noted)
    jobs = [json.dumps({"name": "wat", "id": f"{n}", "t": 1, "args": {"n": n}}) for n in range(20_000)]
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.scheduled, dict.fromkeys(jobs, 1))
    await other.enqueue()
    async with pool.running():
        await until(lambda: len(ran) == 20_000)
        await pool.drain()
    assert set(ran.values()) == {1}
    assert max(steps) <= 500
    assert any(0 < each < 20_000 for each in left)


async def test_a_member_that_nothing_was_prepared_for_keeps_no_other_from_moving(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbles(payload: bytes, now: int) -> bytes:
        if b'"id":"1"' in payload:
            raise RecursionError("too deep")
        return with_time(payload, now)

    monkeypatch.setattr("asyncwork._worker.services.requeuer.with_time", stumbles)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    for n in (1, 2):
        await put(bench, "retry", f'{{"name":"wat","id":"{n}","t":5,"args":null}}', n)
    await requeuer(bench).run_once()
    assert [json.loads(each)["id"] for each in await bench.waiting("wat")] == ["2"]
    (record,) = await bench.redis.lrange(bench.keys.quarantine, 0, -1)
    assert json.loads(record)["reason"] == "RecursionError: too deep"


# Jobs that have to stay


def stranger(n: int, name: str = "stranger") -> str:
    return f'{{"name":"{name}","id":"s{n}","t":5,"args":null}}'


def wat(n: int) -> str:
    return f'{{"name":"wat","id":"w{n}","t":5,"args":null}}'


class Reads:
    """JobCounts the payloads that are read of a namespace's shelves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        decode = Job.decode

        def counted(raw: bytes) -> Job:
            self.count += 1
            return decode(raw)

        monkeypatch.setattr(Job, "decode", counted)

    def since(self) -> int:
        count, self.count = self.count, 0
        return count


SCORES: dict[str, Callable[[int], int]] = {
    "of one second": lambda n: 1,
    "spread": lambda n: n,
    "in clusters": lambda n: n // 1500,
}


@pytest.mark.parametrize("scores", SCORES)
async def test_a_pass_costs_no_more_for_all_that_have_to_stay(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, scores: str
) -> None:
    reads, service = Reads(monkeypatch), requeuer(bench)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.retry, {stranger(n): SCORES[scores](n) for n in range(10_000)})
    await service.run_once()
    assert reads.since() >= 10_000
    await service.run_once()
    assert reads.since() <= 200
    # A job that comes among them, or behind, is moved at once.
    now = int(time.time())
    await bench.redis.zadd(bench.keys.retry, {wat(1): 0, wat(2): SCORES[scores](5000) + 0.5, wat(3): now - 5})
    await service.run_once()
    assert len(await bench.waiting("wat")) == 3
    reads.since()
    await service.run_once()
    assert reads.since() <= 200
    assert len(await bench.job_set("retry")) == 10_000
    # When the name becomes known, all of them.
    await bench.redis.sadd(bench.keys.known_jobs, "stranger")
    await service.run_once()
    assert len(await bench.waiting("stranger")) == 10_000
    assert await bench.job_set("retry") == []


async def test_one_name_of_many_becomes_known(bench: Bench) -> None:
    service = requeuer(bench)
    await bench.redis.zadd(bench.keys.retry, {stranger(n, f"stranger{n}"): n for n in range(5000)})
    await service.run_once()
    await bench.redis.sadd(bench.keys.known_jobs, "stranger4321")
    await service.run_once()
    assert len(await bench.waiting("stranger4321")) == 1
    assert len(await bench.job_set("retry")) == 4999


async def test_one_that_comes_as_another_goes_is_found_in_time(bench: Bench) -> None:
    service = requeuer(bench)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.retry, {stranger(n): 1 for n in range(1000)})
    await service.run_once()
    await bench.redis.zrem(bench.keys.retry, stranger(500))
    await bench.redis.zadd(bench.keys.retry, {wat(1): 1})
    for _ in range(6):
        await service.run_once()
    assert len(await bench.waiting("wat")) == 1


async def test_the_jobs_of_a_broken_queue_stay_until_it_is_mended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reads, service = Reads(monkeypatch), requeuer(bench)
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "broken")
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    await bench.redis.zadd(bench.keys.retry, {stranger(n, "broken"): 1 for n in range(3000)})
    await service.run_once()
    reads.since()
    for _ in range(3):
        await service.run_once()
    assert reads.since() <= 600
    assert caplog.text.count("could not requeue due jobs of the retry set") == 1
    await bench.redis.delete(bench.keys.queue("broken"))
    await service.run_once()
    assert len(await bench.waiting("broken")) == 3000


async def test_a_quarantine_that_is_no_list_keeps_nothing_else(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    service = requeuer(bench)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.set(bench.keys.quarantine, "no list")
    await bench.redis.zadd(bench.keys.retry, {f"no job {n}": 1 for n in range(250)} | {wat(1): 2})
    for _ in range(3):
        await service.run_once()
    assert len(await bench.waiting("wat")) == 1
    assert caplog.text.count("quarantined a payload") == 250
    await bench.redis.delete(bench.keys.quarantine)
    for _ in range(4):
        await service.run_once()
    assert await bench.redis.llen(bench.keys.quarantine) == 250


async def test_a_job_due_by_a_clock_that_was_ahead_is_not_due(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    service, now = requeuer(bench), time.time()
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.retry, {stranger(n): 1 for n in range(300)})
    await service.run_once()
    # As if that pass had been an hour later.
    service._ranges[-1].highest = now + 3600
    await bench.redis.zadd(bench.keys.retry, {wat(1): now + 1800, wat(2): now - 10})
    await service.run_once()
    (moved,) = await bench.waiting("wat")
    assert b'"w2"' in moved
    await service.run_once()
    assert len(await bench.waiting("wat")) == 1


async def test_many_pools_move_each_job_once_and_pass_none_over(bench: Bench) -> None:
    services = [requeuer(bench) for _ in range(4)]
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    jobs = {stranger(n): n for n in range(0, 4000, 2)} | {wat(n): n for n in range(1, 4000, 2)}
    await bench.redis.zadd(bench.keys.retry, jobs)
    for _ in range(3):
        await asyncio.gather(*(service.run_once() for service in services))
    moved = [json.loads(raw)["id"] for raw in await bench.waiting("wat")]
    assert len(moved) == len(set(moved)) == 2000
    assert len(await bench.job_set("retry")) == 2000
