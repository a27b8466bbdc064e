"""Jobs whose time has come: moved at their second, byte for byte, whoever serves them."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from asyncwork.engine.requeuer import Requeuer
from asyncwork.job import with_time
from asyncwork.store.floor import Shelf
from asyncwork.store.upkeep import Upkeep

from .conftest import Bench, until


def requeuer(bench: Bench, shelf: Shelf = Shelf.RETRY) -> Requeuer:
    return Requeuer(Upkeep(bench.connector, bench.keys), shelf, period=1.0)


async def put(bench: Bench, shelf: str, payload: str | bytes, score: float) -> None:
    await bench.redis.zadd(getattr(bench.keys, shelf), {payload: score})


@pytest.mark.parametrize("shelf", list(Shelf)[:2])
async def test_what_is_due_moves_and_what_is_not_stays(bench: Bench, shelf: Shelf) -> None:
    now = int(time.time())
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "foo")
    await put(bench, shelf.value, '{"name":"wat","id":"1","t":5,"args":null}', now - 10)
    await put(bench, shelf.value, '{"name":"foo","id":"2","t":5,"args":{"a":[]},"fails":2}', now - 9)
    await put(bench, shelf.value, '{"name":"wat","id":"3","t":5,"args":null}', now + 100)
    delay = await requeuer(bench, shelf).once()
    assert 0 < delay <= 1.01
    (wat,) = await bench.waiting("wat")
    (foo,) = await bench.waiting("foo")
    assert json.loads(wat)["id"] == "1"
    assert abs(json.loads(wat)["t"] - now) <= 1
    assert b'"args":{"a":[]},"fails":2}' in foo
    ((left, score),) = await bench.shelf(shelf.value)
    assert json.loads(left)["id"] == "3"
    assert score == now + 100


async def test_a_job_that_nobody_knows_stays_until_somebody_does(bench: Bench) -> None:
    await put(bench, "retry", '{"name":"unknown","id":"1","t":5,"args":null}', 1)
    await put(bench, "retry", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    role = requeuer(bench)
    await role.once()
    assert len(await bench.waiting("wat")) == 1
    assert len(await bench.shelf("retry")) == 1
    assert await bench.shelf("dead") == []
    await bench.redis.sadd(bench.keys.known_jobs, "unknown")
    await role.once()
    assert len(await bench.waiting("unknown")) == 1


async def test_strangers_at_the_head_do_not_hide_those_behind(bench: Bench) -> None:
    strangers = {f'{{"name":"stranger{n}","id":"s{n}"}}': 1 for n in range(1200)}
    await bench.redis.zadd(bench.keys.retry, strangers)
    await put(bench, "retry", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await requeuer(bench).once()
    assert len(await bench.waiting("wat")) == 1
    assert len(await bench.shelf("retry")) == 1200


@pytest.mark.parametrize("poison", [b"not json", b"[]", b"\xff\x00", b'{"name":"wat","t":"x"}'])
async def test_what_is_no_job_is_set_aside_and_blocks_nothing(bench: Bench, poison: bytes) -> None:
    await put(bench, "scheduled", poison, 1)
    await put(bench, "scheduled", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await requeuer(bench, Shelf.SCHEDULED).once()
    assert len(await bench.waiting("wat")) == 1
    (record,) = await bench.redis.lrange(bench.keys.quarantine, 0, -1)
    kept = json.loads(record)
    assert kept["from"] == "scheduled"
    assert kept["payload"].encode("latin-1" if kept.get("latin1") else "utf-8") == poison


async def test_many_move_in_steps(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.retry, {f'{{"name":"wat","id":"{n}","t":5,"args":null}}': 1 for n in range(5000)})
    await requeuer(bench).once()
    assert len(await bench.waiting("wat")) == 5000
    assert await bench.shelf("retry") == []


async def test_a_queue_that_is_no_list_leaves_its_jobs_where_they_are(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "wat", "broken")
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    await put(bench, "retry", '{"name":"broken","id":"1","t":5,"args":null}', 1)
    await put(bench, "retry", '{"name":"wat","id":"2","t":5,"args":null}', 2)
    await requeuer(bench).once()
    assert len(await bench.waiting("wat")) == 1
    assert len(await bench.shelf("retry")) == 1
    await bench.redis.delete(bench.keys.queue("broken"))


async def test_a_scheduled_job_runs_within_a_moment_of_its_second(bench: Bench) -> None:
    ran: list[float] = []
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        ran.append(time.time())

    async with pool.running():
        await until(lambda: bench.parked(pool))
        job = await wat.enqueue_in(1)
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
    await Requeuer(Upkeep(bench.connector, bench.keys), Shelf.SCHEDULED, 1.0).once()
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

    requeue = Upkeep.requeue

    async def noted(self: Upkeep, shelf: Shelf, moves: Any, firings: Any) -> Any:
        steps.append(len(moves))
        return await requeue(self, shelf, moves, firings)

    monkeypatch.setattr(Upkeep, "requeue", noted)
    jobs = [json.dumps({"name": "wat", "id": f"{n}", "t": 1, "args": {"n": n}}) for n in range(20_000)]
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.zadd(bench.keys.scheduled, dict.fromkeys(jobs, 1))
    await other.enqueue()
    async with pool.running():
        await until(lambda: len(ran) == 20_000, limit=60)
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

    monkeypatch.setattr("asyncwork.engine.requeuer.with_time", stumbles)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    for n in (1, 2):
        await put(bench, "retry", f'{{"name":"wat","id":"{n}","t":5,"args":null}}', n)
    await requeuer(bench).once()
    assert [json.loads(each)["id"] for each in await bench.waiting("wat")] == ["2"]
    (record,) = await bench.redis.lrange(bench.keys.quarantine, 0, -1)
    assert json.loads(record)["reason"] == "RecursionError: too deep"
