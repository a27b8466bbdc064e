"""The client shows the jobs, queues and pools of a namespace, and changes them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from asyncwork import Client, Job, JobQuery, RedisUnavailable, UsageError, error_kind
from asyncwork._json import members
from asyncwork._redis import deletions
from asyncwork._redis.delayed import DelayedJobs
from asyncwork.gocraft import GocraftClient, GocraftEnqueuer
from asyncwork.models.job_record import JobRecord, SearchResult

from .conftest import LIMIT, Bench, until
from .payloads import failed, payload, put

POOL = "a" * 24


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def ids(jobs: list[JobRecord]) -> list[str]:
    return [job.id for job in jobs]


def id_of(raw: bytes) -> str:
    found: str = json.loads(raw)["id"]
    return found


# Pools, workers and queues


async def test_pools_and_their_busy_workers(bench: Bench, client: Client) -> None:
    going, go_on = asyncio.Event(), asyncio.Event()
    pool = bench.pool(concurrency=3)

    @pool.job
    async def wat(job: Job) -> None:
        job.checkin("halfway")
        going.set()
        await go_on.wait()

    async with pool.running():
        await bench.enqueuer.enqueue("wat", {"n": 2**60 + 1})
        await going.wait()
        await until(client.observations)
        (heartbeat,) = await client.heartbeats()
        assert (heartbeat.pool_id, heartbeat.concurrency, heartbeat.job_names) == (pool.id, 3, ("wat",))
        assert len(heartbeat.worker_ids) == 3
        assert abs(heartbeat.heartbeat_at - time.time()) < 5
        (observed,) = await client.observations()
        assert (observed.job_name, observed.args, observed.pool_id) == ("wat", b'{"n":1152921504606846977}', pool.id)
        assert (observed.checkin, observed.worker_id in heartbeat.worker_ids) == ("halfway", True)
        (job,) = (await client.jobs("busy")).jobs
        assert (job.location, job.name, job.id, job.checkin) == ("busy", "wat", observed.job_id, "halfway")
        (queue,) = await client.queues()
        assert (queue.name, queue.count, queue.running, queue.pools) == ("wat", 0, 1, 1)
        assert (await client.find(observed.job_id, seconds=LIMIT)).jobs == [job]
        go_on.set()
        await pool.drain()


async def test_queues(bench: Bench, client: Client) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "zaz", "foo", "empty")
    now = int(time.time())
    await bench.redis.lpush(bench.keys.queue("foo"), payload("foo")[:-1] + b"}", payload("foo"))
    await bench.redis.rpush(bench.keys.queue("foo"), json.dumps({"name": "foo", "id": "1", "t": now - 425}))
    await bench.redis.lpush(bench.keys.queue("zaz"), b"not json")
    await bench.redis.set(bench.keys.max_concurrency("zaz"), 7)
    await client.pause("zaz")
    empty, foo, zaz = await client.queues()
    assert (empty.name, empty.count, empty.latency, empty.paused, empty.pools) == ("empty", 0, 0, False, 0)
    assert (foo.name, foo.count) == ("foo", 3)
    assert 425 <= foo.latency <= 427
    assert (zaz.name, zaz.count, zaz.latency, zaz.paused, zaz.max_concurrency) == ("zaz", 1, 0, True, 7)
    await client.unpause("zaz")
    await client.set_max_concurrency("zaz", 0)
    assert not (await client.queues())[2].paused
    assert (await client.queues())[2].max_concurrency == 0
    sizes = (await client.overview()).sizes
    assert (sizes.queued, sizes.dead, sizes.busy) == (4, 0, 0)


async def test_keys_of_a_wrong_type_hide_nothing_else(bench: Bench, client: Client) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "foo", "bar")
    await put(bench, "queue:foo", payload("foo"))
    await bench.redis.set(bench.keys.queue("bar"), "no list")
    await bench.redis.set(bench.keys.dead, "no sorted set")
    assert [(each.name, each.count) for each in await client.queues()] == [("bar", 0), ("foo", 1)]
    assert (await client.jobs("dead")).jobs == []
    assert (await client.jobs("queue:bar")).total == 0
    assert (await client.overview()).sizes.dead == 0
    assert (await client.overview()).problems
    await bench.redis.delete(bench.keys.queue("bar"), bench.keys.dead)


async def test_a_name_that_is_no_utf8_has_a_queue_like_others(bench: Bench, client: Client) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, b"caf\xe9")
    await bench.redis.lpush(bench.keys.jobs.encode() + b"caf\xe9", payload("x"))
    (queue,) = await client.queues()
    assert queue.count == 1
    assert (await client.empty(queue.name)).done == 1


# Jobs in their places


@pytest.mark.parametrize("location", ["retry", "scheduled", "dead"])
async def test_pages_of_a_sorted_set(bench: Bench, client: Client, location: str) -> None:
    payloads = [payload(args={"n": 10**20 + n}) for n in range(45)]
    await put(bench, location, *payloads)
    page = await client.jobs(location)
    assert (len(page.jobs), page.total, page.page, page.per_page) == (20, 45, 1, 20)
    first = page.jobs[0]
    assert (first.id, first.at, first.name, first.args) == (
        id_of(payloads[0]), 1_500_000_200.0, "wat", b'{"n": 100000000000000000000}',
    )  # fmt: skip
    assert ids((await client.jobs(location, 3)).jobs) == [id_of(each) for each in payloads[40:]]
    assert ids((await client.jobs(location, 1, newest_first=True)).jobs) == [id_of(each) for each in payloads[:24:-1]]
    assert (await client.jobs(location, 9)).jobs == []
    for each in (*page.jobs, *(await client.jobs(location, 2, newest_first=True)).jobs):
        assert await client.job(location, each.ref) == dataclasses.replace(each)


async def test_pages_of_a_queue_begin_with_what_runs_next(bench: Bench, client: Client) -> None:
    payloads = [payload() for _ in range(45)]
    await put(bench, "queue:wat", *payloads)
    page = await client.jobs("queue:wat")
    assert ids(page.jobs) == [id_of(each) for each in payloads[:20]]
    assert ids((await client.jobs("queue:wat", 3)).jobs) == [id_of(each) for each in payloads[40:]]
    # Others come and go; the handle still finds it.
    await put(bench, "queue:wat", payload(), payload())
    await bench.redis.rpop(bench.keys.queue("wat"))
    assert (await client.job("queue:wat", page.jobs[0].ref)) is None
    found = await client.job("queue:wat", page.jobs[7].ref)
    assert found is not None
    assert found.id == page.jobs[7].id


async def test_bytes_that_are_no_job_are_shown_and_block_nothing(bench: Bench, client: Client) -> None:
    poison = [
        b"not json",
        b"[]",
        b'{"name":1}',
        b"\xff\xfe",
        b'{"name":"","id":"","t":1,"args":null}',
        b'{"name":"x","id":"1","t":1.5,"args":null}',
    ]
    await put(bench, "dead", *poison, failed())
    await put(bench, "queue:wat", *poison)
    page = await client.jobs("dead")
    assert [bool(job.reason) for job in page.jobs] == [True] * 4 + [False, True, False]
    assert page.jobs[0].text == "not json"
    assert "json" in page.jobs[0].reason.lower()
    assert page.jobs[3].text == "\\xff\\xfe"
    assert len((await client.search("dead", JobQuery(text="ohno"))).jobs) == 1
    assert len((await client.search("queue:wat", JobQuery(text="JSON"))).jobs) >= 1
    assert (await client.error_kinds("dead", seconds=LIMIT)).total == 7
    assert (await GocraftClient(client).retry_all_dead_jobs()) == 1
    assert (await client.jobs("dead")).total == 6
    with pytest.raises(UsageError, match="not a job cannot be put on a queue"):
        await client.retry("dead", [page.jobs[0].ref])
    outcome = await client.delete("dead", [job.ref for job in page.jobs])
    assert outcome.done == 6
    assert (await client.delete("queue:wat", [job.ref for job in (await client.jobs("queue:wat")).jobs])).done == 7


async def test_the_quarantine(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    await put(bench, "queue:wat", b"first", b"second \xff")
    async with pool.running():
        await until(lambda: bench.redis.exists(bench.keys.quarantine))
        await until(lambda: _length(client))
    newest, oldest = (await client.jobs("quarantine", newest_first=True)).jobs
    assert (oldest.name, oldest.text, oldest.size) == ("wat", "first", 5)
    assert (newest.text, newest.size) == ("second ÿ", 8)
    assert "JSON" in oldest.reason
    assert oldest.at
    outcome = await client.delete("quarantine", [oldest.ref])
    assert outcome.done == 1
    assert (await client.jobs("quarantine")).total == 1
    assert await client.restore(outcome.undo) == 1
    assert (await client.jobs("quarantine")).total == 2
    await bench.redis.lpush(bench.keys.quarantine, b"junk", b'{"at":"x"}')
    page = await client.jobs("quarantine", newest_first=True)
    assert [job.reason for job in page.jobs[:2]] == ["not an entry that asyncwork wrote"] * 2
    assert (await client.delete_matching("quarantine")).done == 4


async def _length(client: Client) -> bool:
    return (await client.jobs("quarantine")).total == 2


# Searching


async def found_all(client: Client, location: str, query: JobQuery, **options: Any) -> list[JobRecord]:
    jobs: list[JobRecord] = []
    cursor = ""
    while True:
        found = await client.search(location, query, cursor=cursor, **options)
        jobs += found.jobs
        cursor = found.cursor
        if not cursor:
            return jobs


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("seconds", [0, 10])
@pytest.mark.parametrize("same_time", [True, False])
async def test_a_search_meets_everything_once(
    bench: Bench, client: Client, newest_first: bool, seconds: int, same_time: bool
) -> None:
    payloads = [payload("foo" if n % 3 else "bar") for n in range(700)]
    await bench.redis.zadd(bench.keys.dead, {each: 7 if same_time else n // 10 for n, each in enumerate(payloads)})
    query = JobQuery(name="bar")
    jobs = await found_all(client, "dead", query, newest_first=newest_first, seconds=seconds, limit=50)
    assert sorted(ids(jobs)) == sorted(id_of(each) for n, each in enumerate(payloads) if n % 3 == 0)
    assert [job.at for job in jobs] == sorted((job.at or 0 for job in jobs), reverse=newest_first)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (JobQuery(text="C0FFEE"), 1),
        (JobQuery(text="c0ffee"), 1),
        (JobQuery(text="<b>é"), 1),
        (JobQuery(text='say "hi"'), 1),
        (JobQuery(text="boom"), 2),
        (JobQuery(name="foo"), 2),
        (JobQuery(name="fo"), 0),
        (JobQuery(error=error_kind("ValueError: boom 18 at 0xdeadbeef")), 2),
        (JobQuery(error=""), 2),
        (JobQuery(name="foo", error="", text="c0ff"), 1),
        (JobQuery(text="failed_at"), 0),
        (JobQuery(id="id-1"), 1),
        (JobQuery(id="id-"), 0),
        (JobQuery(name="foo", id="id-1"), 0),
        (JobQuery(args={"html": "<b>é"}), 1),
        (JobQuery(args={"id": ["C0FFEE"]}), 1),
        (JobQuery(args={"n": 1}), 1),
        (JobQuery(args={"n": 1.0, "text": 'say "hi"'}), 1),
        (JobQuery(args={"n": True}), 0),
        (JobQuery(args={"n": "1"}), 0),
        (JobQuery(args={"missing": None}), 0),
        (JobQuery(args={"n": 1}, text="say"), 1),
        (JobQuery(args={"n": 2}, text="say"), 0),
        (JobQuery(), 4),
    ],
)
async def test_a_query(bench: Bench, client: Client, query: JobQuery, count: int) -> None:
    await put(
        bench,
        "retry",
        payload("foo", args={"id": ["C0FFEE"]}),
        payload("foo", args={"html": "<b>é"}),
        failed(err="ValueError: boom 17 at 0x7f00"),
        failed(id="id-1", err="ValueError: boom 18 at 0xdeadbeef", args={"text": 'say "hi"', "n": 1}),
    )
    assert len((await client.search("retry", query, seconds=LIMIT)).jobs) == count
    assert (await client.count("retry", query)).done == count


async def test_find_searches_all_locations(bench: Bench, client: Client) -> None:
    locations = ["retry", "scheduled", "dead", "queue:foo", "queue:b/a|r"]
    for number, location in enumerate(locations):
        await put(bench, location, payload(args={"needle": number}), payload())
    found = await client.find("needle", seconds=LIMIT)
    assert sorted(job.location for job in found.jobs) == sorted(locations)
    assert (found.cursor, found.looked, found.total) == ("", 10, 10)
    jobs, cursor = [], ""
    while True:
        part = await client.find("needle", cursor=cursor, limit=1, seconds=0)
        jobs += part.jobs
        cursor = part.cursor
        if not cursor:
            break
    assert sorted(ids(jobs)) == sorted(ids(found.jobs))
    (job,) = (await client.find(found.jobs[0].id, seconds=LIMIT)).jobs
    assert job == found.jobs[0]
    with pytest.raises(UsageError, match="not a cursor"):
        await client.find("x", cursor="nowhere|1")


@pytest.mark.parametrize("cursor", ["x", "~", "1~", "nan~1", "1.5~99999999999999999999", "~3"])
async def test_an_invalid_cursor(client: Client, cursor: str) -> None:
    with pytest.raises(UsageError, match="not a cursor"):
        await client.search("dead", JobQuery(), cursor=cursor)


@pytest.mark.parametrize("handle", ["", "x", "1~zz~1", f"1e~{'a' * 20}~1", f"1.5~{'a' * 20}~1~2"])
async def test_an_invalid_job_ref(client: Client, handle: str) -> None:
    with pytest.raises(UsageError, match="not a job ref"):
        await client.job("dead", handle)


@pytest.mark.parametrize("location", ["", "alive", "queue:", 1])
async def test_an_invalid_location(client: Client, location: Any) -> None:
    with pytest.raises(UsageError, match="a location is retry, scheduled, dead, quarantine or queue:NAME"):
        await client.jobs(location)


async def test_errors_by_kind(bench: Bench, client: Client) -> None:
    errors = [f"ValueError: bad row {n}" for n in range(30)] + ["KeyError: 'a'", "KeyError: 'b'", ""]
    await put(bench, "dead", *(failed(f"job{n % 2}", err=err) for n, err in enumerate(errors)))
    value, key, none = (await client.error_kinds("dead", seconds=LIMIT)).kinds
    assert (value.kind, value.count, value.names) == ("ValueError: bad row …", 30, {"job0": 15, "job1": 15})
    assert (value.newest, value.example) == (1_500_000_229.0, "ValueError: bad row 29")
    assert (key.kind, key.count) == ("KeyError: …", 2)
    assert (none.kind, none.count) == ("", 1)
    part = await client.error_kinds("dead", seconds=0)
    assert (part.cursor, part.looked, part.total) == ("", 33, 33)


# Actions


async def test_what_was_dead_is_retried_as_if_it_had_never_failed(bench: Bench, client: Client) -> None:
    args = '{"big":123456789012345678901234567890,"f":1.50,"s":"\\ud800 <","e":[]}'
    raws = [
        f'{{"name":"wat","id":"{n}","t":1,"args":{args},"fails":3,"err":"a \\"b\\"","failed_at":5{more}}}'.encode()
        for n, more in enumerate(("", ',"traceback":"x\\ny"', ',"other":{"a": 1}'))
    ]
    await put(bench, "dead", *raws)
    page = await client.jobs("dead")
    outcome = await client.retry("dead", [job.ref for job in page.jobs] + [page.jobs[0].ref])
    assert outcome.done == 3
    waiting = await bench.waiting("wat")
    now = int(time.time())
    for n, raw in enumerate(waiting):
        rest = raw.decode()
        t = json.loads(rest)["t"]
        assert abs(t - now) < 5
        more = ',"other":{"a": 1}' if n == 2 else ""
        assert rest == f'{{"name":"wat","id":"{n}","t":{t},"args":{args}{more}}}'
    assert [each.name for each in await client.queues()] == ["wat"]
    assert (await client.retry("dead", [page.jobs[0].ref])).done == 0


async def test_a_retry_is_run_now_with_its_failures_counted(bench: Bench, client: Client) -> None:
    await put(bench, "retry", failed())
    (job,) = (await client.jobs("retry")).jobs
    assert (await client.retry("retry", [job.ref])).done == 1
    (raw,) = await bench.waiting("wat")
    assert json.loads(raw)["fails"] == 3


async def test_what_was_written_with_a_fraction_is_found_by_the_whole_second(bench: Bench, client: Client) -> None:
    fraction, whole = [failed() for _ in range(2)]
    await bench.redis.zadd(bench.keys.dead, {fraction: 777.25, whole: 778})
    assert not await GocraftClient(client).delete_dead_job(777, id_of(whole))
    assert not await GocraftClient(client).delete_dead_job(776, id_of(fraction))
    assert await GocraftClient(client).retry_dead_job(777, id_of(fraction))
    assert await GocraftClient(client).delete_dead_job(778, id_of(whole))


async def test_the_methods_of_gocraft(bench: Bench, client: Client) -> None:
    go = GocraftClient(client)
    same = [failed() for _ in range(300)]
    await bench.redis.zadd(bench.keys.dead, dict.fromkeys(same, 12345))
    await put(bench, "retry", failed(), failed())
    await put(bench, "scheduled", payload(), payload())
    assert await go.retry_dead_job(12345, id_of(same[123]))
    assert not await go.retry_dead_job(12345, id_of(same[123]))
    assert not await go.retry_dead_job(12346, id_of(same[1]))
    assert await go.delete_dead_job(12345, id_of(same[299]))
    assert not await go.delete_dead_job(12345, "nobody")
    for location, run, delete in (
        ("retry", go.run_retry_job, go.delete_retry_job),
        ("scheduled", go.run_scheduled_job, go.delete_scheduled_job),
    ):
        one, two = (await client.jobs(location)).jobs
        assert await run(int(one.at or 0), one.id)
        assert await delete(int(two.at or 0), two.id)
        assert not await delete(int(two.at or 0), two.id)
    assert len(await bench.waiting("wat")) == 3
    assert await go.retry_all_dead_jobs() == 298
    assert len(await bench.waiting("wat")) == 301
    await put(bench, "dead", failed(), failed())
    assert await go.delete_all_dead_jobs() == 2
    assert (await client.jobs("dead")).total == 0


@pytest.mark.parametrize("seconds", [0, None])
async def test_all_that_match_are_retried_and_the_others_stay(
    bench: Bench, client: Client, seconds: float | None
) -> None:
    raws = [failed("foo" if n % 3 else "bar", err=f"boom {n}") for n in range(1000)]
    await bench.redis.zadd(bench.keys.dead, {each: n // 300 for n, each in enumerate(raws)})
    query, done, looked, cursor = JobQuery(name="foo", error="boom …"), 0, 0, ""
    while True:
        outcome = await client.retry_matching("dead", query, cursor=cursor, seconds=seconds)
        done, looked, cursor = done + outcome.done, looked + outcome.looked, outcome.cursor
        if not cursor:
            break
    assert (done, looked) == (666, 1000)
    assert len(await bench.waiting("foo")) == 666
    assert (await client.jobs("dead")).total == 334


async def test_what_fails_again_meanwhile_is_not_retried_again(bench: Bench, client: Client) -> None:
    await put(bench, "retry", *(failed() for _ in range(300)))
    outcome = await client.retry_matching("retry", seconds=0)
    assert 0 < outcome.done < 300
    later = int(time.time()) + 2
    again = payload(fails=4, err="again", failed_at=later)
    await bench.redis.zadd(bench.keys.retry, {again: later + 600})
    assert (await client.retry_matching("retry", cursor=outcome.cursor)).done == 300 - outcome.done
    assert [raw for raw, _ in await bench.job_set("retry")] == [again]


def died(t: int, at: int) -> bytes:
    """A dead job that was put on its queue at ``t``."""
    return members.splice(failed(), {"t": b"%d" % t, "failed_at": b"%d" % at})


async def now_of(bench: Bench) -> int:
    seconds, _ = await bench.redis.time()
    return int(seconds)


@pytest.mark.parametrize("skew", [0, -3600, 3600])
async def test_what_dies_again_meanwhile_is_retried_once(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    """Each job dies again at once, by a worker whose clock may be wrong, and goes back to where it is met again."""
    now = await now_of(bench)
    jobs = [died(now, now + skew) for _ in range(1000)]
    await bench.redis.zadd(bench.keys.dead, dict.fromkeys(jobs, now + skew))
    move = DelayedJobs.requeue

    async def dies_again(self: DelayedJobs, job_set: Any, moves: Any, *rest: Any, **options: Any) -> Any:
        done = await move(self, job_set, moves, *rest, **options)
        at = await now_of(bench) + skew
        fields = {"fails": b"4", "err": b'"ohno"', "failed_at": b"%d" % at}
        await bench.redis.zadd(bench.keys.dead, {members.splice(raw, fields): at for _, _, raw in moves})
        return done

    monkeypatch.setattr(DelayedJobs, "requeue", dies_again)
    assert await GocraftClient(client).retry_all_dead_jobs() == 1000
    assert len(await bench.waiting("wat")) == 1000
    assert len({json.loads(raw)["id"] for raw in await bench.waiting("wat")}) == 1000
    # What dies is not in its queue any more.
    await bench.redis.delete(bench.keys.queue("wat"))


async def test_a_sweep_in_steps_retries_nothing_again_in_the_same_second(bench: Bench, client: Client) -> None:
    now = await now_of(bench)
    await bench.redis.zadd(bench.keys.dead, {died(now - 60, now - 60): now - 60 for _ in range(300)})
    outcome = await client.retry_matching("dead", seconds=0)
    assert 0 < outcome.done < 300
    began = int(outcome.cursor.partition("+")[0])
    again = died(began, began)
    await bench.redis.zadd(bench.keys.dead, {again: began})
    assert (await client.retry_matching("dead", cursor=outcome.cursor)).done == 300 - outcome.done
    assert [raw for raw, _ in await bench.job_set("dead")] == [again]


async def test_a_job_that_cannot_be_moved_does_not_stop_the_others(bench: Bench, client: Client) -> None:
    await put(bench, "dead", *(failed("stuck" if n % 2 else "wat") for n in range(300)))
    await bench.redis.set(bench.keys.queue("stuck"), "no list")
    assert await GocraftClient(client).retry_all_dead_jobs() == 150
    assert (await client.jobs("dead")).total == 150
    await bench.redis.delete(bench.keys.queue("stuck"))


@pytest.mark.parametrize("location", ["retry", "scheduled", "dead", "queue:wat"])
async def test_a_deletion_is_undone(bench: Bench, client: Client, location: str) -> None:
    payloads = [payload(args={"n": n}) for n in range(10)]
    await put(bench, location, *payloads)
    before = (await client.jobs(location)).jobs
    outcome = await client.delete(location, [job.ref for job in before[:4]])
    assert outcome.done == 4
    assert ids((await client.jobs(location)).jobs) == ids(before[4:])
    assert await client.restore(outcome.undo) == 4
    assert ids((await client.jobs(location)).jobs) == ids(before)
    assert await client.restore(outcome.undo) == 0
    gone = await client.delete_matching(location, JobQuery(text="n"))
    assert gone.done == 10
    assert await client.restore(gone.undo) == 10
    assert ids((await client.jobs(location)).jobs) == ids(before)
    with pytest.raises(UsageError, match="not an undo token"):
        await client.restore("../x")


async def test_a_deleted_job_frees_its_unique_key(bench: Bench, client: Client) -> None:
    enqueuer = bench.enqueuer
    assert not (await enqueuer.enqueue("now", {"a": "<"}, unique=True)).duplicate
    assert not (await enqueuer.enqueue("later", {"a": 1}, delay=100, unique=True)).duplicate
    assert not (await enqueuer.enqueue("keyed", {"a": 1}, unique={"k": 1})).duplicate
    (now,) = (await client.jobs("queue:now")).jobs
    (keyed,) = (await client.jobs("queue:keyed")).jobs
    (later,) = (await client.jobs("scheduled")).jobs
    await client.delete("queue:now", [now.ref])
    outcome = await client.delete("queue:keyed", [keyed.ref])
    assert await GocraftClient(client).delete_scheduled_job(int(later.at or 0), later.id)
    assert await bench.redis.keys(f"{bench.keys.unique}*") == []
    assert await client.restore(outcome.undo) == 1
    assert (await enqueuer.enqueue("keyed", {"a": 2}, unique={"k": 1})).duplicate
    assert not (await enqueuer.enqueue("now", {"a": "<"}, unique=True)).duplicate
    # One that has been started has let go of its key; a newer one holds it.
    await put(bench, "retry", failed("now", args={"a": "<"}, unique=True))
    (retry,) = (await client.jobs("retry")).jobs
    await client.delete("retry", [retry.ref])
    assert (await enqueuer.enqueue("now", {"a": "<"}, unique=True)).duplicate


@pytest.mark.parametrize(
    "way", ["delete", "delete_matching", "delete_scheduled_job", "delete in a queue", "empty_queue"]
)
async def test_a_deleted_job_does_not_free_the_key_of_another(bench: Bench, client: Client, way: str) -> None:
    """A job that was put off has let go of its key; what was enqueued meanwhile holds it."""
    enqueuer, args, at = bench.enqueuer, {"a": 1}, 2_000_000_000
    snoozed = await enqueuer.enqueue("wat", args, unique=True)
    assert not snoozed.duplicate
    await bench.redis.delete(bench.keys.unique_for("wat", args))
    if not way.endswith("queue"):
        (raw,) = await bench.waiting("wat")
        await bench.redis.delete(bench.keys.queue("wat"))
        await put(bench, "scheduled", raw, at=at)
    holder = await enqueuer.enqueue("wat", args, delay=100, unique=True)
    assert not holder.duplicate
    jobs = [*(await client.jobs("scheduled")).jobs, *(await client.jobs("queue:wat")).jobs]
    (handle,) = [each.ref for each in jobs if each.id == snoozed.id]
    match way:
        case "delete":
            assert (await client.delete("scheduled", [handle])).done == 1
        case "delete_matching":
            assert (await client.delete_matching("scheduled", JobQuery(text=snoozed.id))).done == 1
        case "delete_scheduled_job":
            assert await GocraftClient(client).delete_scheduled_job(at, snoozed.id)
        case "delete in a queue":
            assert (await client.delete("queue:wat", [handle])).done == 1
        case _:
            assert (await client.empty("wat")).done == 1
    assert (await enqueuer.enqueue("wat", args, unique=True)).duplicate
    assert await GocraftClient(client).delete_scheduled_job(holder.run_at, holder.id)
    assert not (await enqueuer.enqueue("wat", args, unique=True)).duplicate


async def test_a_restored_job_has_its_key_again_unless_another_took_it(bench: Bench, client: Client) -> None:
    enqueuer = bench.enqueuer
    for n in (1, 2):
        assert not (await enqueuer.enqueue("wat", {"n": n}, unique=True)).duplicate
    outcome = await client.empty("wat")
    taken = await enqueuer.enqueue("wat", {"n": 1}, delay=100, unique=True)
    assert not taken.duplicate
    assert await client.restore(outcome.undo) == 2
    assert (await enqueuer.enqueue("wat", {"n": 2}, unique=True)).duplicate
    # Each frees its own.
    await client.empty("wat")
    assert (await enqueuer.enqueue("wat", {"n": 1}, unique=True)).duplicate
    assert not (await enqueuer.enqueue("wat", {"n": 2}, unique=True)).duplicate


async def test_what_a_go_pool_killed_frees_its_key_when_all_dead_are_deleted(bench: Bench, client: Client) -> None:
    for n in range(250):
        assert not (await bench.enqueuer.enqueue("wat", {"n": n}, delay=100, unique=True)).duplicate
    # It never began, and did not fail.
    for raw, _ in await bench.job_set("scheduled"):
        await put(bench, "dead", raw[:-1] + b',"err":"unknown job when requeueing","failed_at":1}')
    await bench.redis.delete(bench.keys.scheduled)
    assert await GocraftClient(client).delete_all_dead_jobs() == 250
    assert await bench.redis.keys(f"{bench.keys.unique}*") == []
    assert await GocraftClient(client).delete_all_dead_jobs() == 0


async def test_a_queue_is_emptied_and_filled_again(bench: Bench, client: Client) -> None:
    for n in range(600):
        await bench.enqueuer.enqueue("wat", {"n": n}, unique=True)
    before = await bench.waiting("wat")
    outcome = await client.empty("wat")
    assert outcome.done == 600
    assert await bench.redis.keys(f"{bench.keys.unique}*") == []
    assert await bench.waiting("wat") == []
    newer = await bench.enqueuer.enqueue("wat")
    assert await client.restore(outcome.undo) == 600
    waiting = await bench.waiting("wat")
    assert waiting[:-1] == before
    assert id_of(waiting[-1]) == newer.id
    assert (await bench.enqueuer.enqueue("wat", {"n": 5}, unique=True)).duplicate
    nothing = await client.empty("nobody")
    assert (nothing.done, nothing.undo) == (0, "")
    ttl = await bench.redis.ttl(bench.keys.deleted_from(outcome.undo))
    assert 500 < ttl <= 600


async def test_jobs_that_come_while_a_queue_is_emptied_stay(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "_SLICE", 10)
    delete, newer = deletions.Deletions._delete, list[str]()

    async def enqueue_and_delete(self: Any, *args: Any) -> int:
        newer.append((await bench.enqueuer.enqueue("wat")).id)
        return await delete(self, *args)

    monkeypatch.setattr(deletions.Deletions, "_delete", enqueue_and_delete)
    older = [await bench.enqueuer.enqueue("wat") for _ in range(35)]
    outcome = await client.empty("wat")
    assert outcome.done == len(older)
    assert [id_of(raw) for raw in await bench.waiting("wat")] == newer
    assert len(newer) == 4
    assert await client.restore(outcome.undo) == len(older)
    assert [id_of(raw) for raw in await bench.waiting("wat")] == [*(each.id for each in older), *newer]


async def test_a_name_is_forgotten_only_when_nothing_needs_it(bench: Bench, client: Client) -> None:
    pool = bench.pool()

    @pool.job("here")
    async def here() -> None: ...

    await put(bench, "queue:wat", payload())
    await client.pause("wat")
    with pytest.raises(UsageError, match="jobs of that name wait or run"):
        await client.forget("wat")
    async with pool.running():
        with pytest.raises(UsageError, match="has a handler for it"):
            await client.forget("here")
    await client.empty("wat")
    await client.forget("wat")
    await client.forget("here")
    assert await client.queues() == []
    assert not await bench.redis.exists(bench.keys.paused("wat"), bench.keys.max_concurrency("here"))


async def test_a_task_is_accepted_in_place_of_its_name(bench: Bench, client: Client) -> None:
    pool = bench.pool()
    task = pool.job("wat")(lambda: None)
    await put(bench, "queue:wat", payload("wat"))
    await put(bench, "retry", payload("wat"), payload("foo"))
    assert [job.name for job in (await client.jobs(f"queue:{task.name}")).jobs] == ["wat"]
    assert JobQuery(name=task) == JobQuery(name="wat")
    assert [job.name for job in (await client.search("retry", JobQuery(name=task), seconds=LIMIT)).jobs] == ["wat"]
    assert await client.minutes(2, queue=task) == await client.minutes(2, queue="wat")
    assert await client.days(2, queue=task) == await client.days(2, queue="wat")
    await client.pause(task)
    await client.set_max_concurrency(task, 7)
    (queue,) = [each for each in await client.queues() if each.name == "wat"]
    assert (queue.paused, queue.max_concurrency) == (True, 7)
    await client.unpause(task)
    (queue,) = [each for each in await client.queues() if each.name == "wat"]
    assert not queue.paused
    assert (await client.empty(task)).done == 1
    await client.forget(task)
    assert "wat" not in [each.name for each in await client.queues()]
    enqueued = await GocraftEnqueuer(bench.enqueuer).enqueue(task)
    assert enqueued.name == "wat"


@pytest.mark.parametrize("name", [None, 5, b"wat", object])
async def test_what_has_no_name_is_refused(client: Client, name: Any) -> None:
    message = "a job or queue is given by its name or its task, not by"
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.pause(name),
        lambda: client.unpause(name),
        lambda: client.set_max_concurrency(name, 1),
        lambda: client.empty(name),
        lambda: client.forget(name),
        lambda: client.minutes(queue=name),
        lambda: client.days(queue=name),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=message):
            await call()
    if name is not None:
        with pytest.raises(UsageError, match=message):
            JobQuery(name=name)


async def test_a_pause_by_the_client_holds_at_once(bench: Bench, client: Client) -> None:
    pool, ran = bench.pool(), []

    @pool.job
    async def wat(n: int) -> None:
        ran.append(n)

    async with pool.running():
        await wat.enqueue(1)
        await until(lambda: ran)
        await client.pause("wat")
        await wat.enqueue(2)
        with pytest.raises(TimeoutError):
            await until(lambda: len(ran) > 1, limit=0.3)
        await client.unpause("wat")
        await until(lambda: ran == [1, 2])


async def test_each_of_several_equal_payloads_is_one(bench: Bench, client: Client) -> None:
    raw = payload()
    await put(bench, "queue:wat", raw, payload(), raw, raw)
    handles = [job.ref for job in (await client.jobs("queue:wat")).jobs]
    assert (await client.delete("queue:wat", [handles[0], handles[2], handles[2]])).done == 2
    assert len(await bench.waiting("wat")) == 2
    assert (await bench.waiting("wat")).count(raw) == 1


# What must not be seen


async def test_what_is_redacted_is_neither_shown_nor_found(bench: Bench) -> None:
    def redact(record: JobRecord) -> JobRecord:
        if record.name == "broken":
            raise RuntimeError("no")
        return dataclasses.replace(record, args=b'{"card":"hidden"}', err=record.err.replace("4111", "…"))

    await put(bench, "dead", failed(err="card 4111", args={"card": "4111"}), failed("broken", err="4111"), b"4111")
    await bench.enqueuer.enqueue("wat", {"card": "4111"}, unique=True)
    async with Client(bench.url, namespace=bench.namespace, redact=redact) as client:
        page = await client.jobs("dead")
        waiting = await client.jobs("queue:wat")
        assert (await client.find("4111")).jobs == []
        assert (await client.count("dead", JobQuery(text="4111"))).done == 0
        kinds = await client.error_kinds("dead")
        assert (await client.search("dead", JobQuery(error=""))).jobs
    shown = repr([dataclasses.asdict(job) for job in (*page.jobs, *waiting.jobs)]) + repr(kinds)
    assert "4111" not in shown
    assert page.jobs[0].args == b'{"card":"hidden"}'
    assert (page.jobs[1].name, page.jobs[1].args, page.jobs[1].err) == ("broken", b"null", "")


async def test_redis_away(free_tcp_port: int) -> None:
    async with Client(f"redis://:secret@127.0.0.1:{free_tcp_port}/0") as client:
        with pytest.raises(RedisUnavailable, match=r"redis://:\*\*\*@127.0.0.1") as caught:
            await client.queues()
    assert "secret" not in str(caught.value)


async def test_a_search_of_large_payloads_reads_few_at_a_time(bench: Bench, client: Client) -> None:
    await put(bench, "dead", *(failed(args={"blob": "x" * 1_000_000}) for _ in range(12)))
    found: SearchResult = await client.search("dead", JobQuery(text="nowhere"), seconds=10)
    assert (found.looked, found.jobs) == (12, [])


async def test_problems(bench: Bench, client: Client) -> None:
    await put(bench, "queue:nobody", payload())
    await bench.redis.lpush(bench.keys.quarantine, b"junk")
    now = int(time.time())
    for pool_id, ago in ((POOL, 100), ("b" * 24, -100)):
        await bench.redis.sadd(bench.keys.worker_pools, pool_id)
        fields = {"heartbeat_at": now - ago, "job_names": "wat", "host": "here", "pid": 1}
        await bench.redis.hset(bench.keys.heartbeat(pool_id), mapping=fields)
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.set(bench.keys.lock("wat"), 2)
    await bench.redis.hset(bench.keys.lock_info("wat"), "c" * 24, 2)
    kinds = {each.kind: each for each in (await client.overview()).problems}
    assert set(kinds) == {"no_workers", "quarantine", "stale_pool", "clock_skew", "orphans"}
    assert kinds["stale_pool"].subject == POOL
    assert kinds["no_workers"].subject == "nobody"
    assert all(each.text and each.remedy for each in kinds.values())
    # A pool whose clock is behind, but whose heartbeat goes, lives.
    await bench.redis.hset(bench.keys.heartbeat(POOL), "heartbeat_at", now - 99)
    kinds = {each.kind: each for each in (await client.overview()).problems if each.subject == POOL}
    assert set(kinds) == {"clock_skew"}
    await bench.redis.delete(bench.keys.lock("wat"), bench.keys.lock_info("wat"), bench.keys.worker_pools)


async def test_a_task_stands_for_its_queue(bench: Bench, client: Client) -> None:
    @bench.pool().job
    async def wat(n: int) -> None: ...

    await bench.enqueuer.enqueue("wat", {"n": 1})
    (job,) = (await client.jobs(wat)).jobs
    assert job == (await client.jobs("queue:wat")).jobs[0] == await client.job(wat, job.ref)
    assert (await client.count(wat, JobQuery())).done == 1
    assert [each.id for each in (await client.search(wat, JobQuery())).jobs] == [job.id]
    assert (await client.error_kinds(wat)).looked == 1
    with pytest.raises(UsageError, match="a location is"):
        await client.jobs("wat")
    assert (await client.delete(wat, [job.ref])).done == 1
    await bench.enqueuer.enqueue("wat", {"n": 2})
    assert (await client.delete_matching(wat)).done == 1
