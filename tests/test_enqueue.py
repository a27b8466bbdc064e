"""The enqueuer: the bytes and keys it writes, uniqueness, and the values it refuses."""

from __future__ import annotations

import asyncio
import json
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncwork import (
    ArgumentEncodingError,
    Client,
    EnqueuedJob,
    EnqueueManyError,
    Enqueuer,
    RedisUnavailable,
    UsageError,
)
from asyncwork._jobs.payload import encode_job
from asyncwork._redis.urls import mask

from .conftest import Bench, open_bench, until


async def test_the_payload_has_gocraft_works_fields_in_its_order(bench: Bench) -> None:
    before = int(time.time())
    job = await bench.enqueuer.enqueue("wat", {"a": 1, "b": "cool"})
    (payload,) = await bench.waiting("wat")
    assert payload == b'{"name":"wat","id":"%s","t":%d,"args":{"a":1,"b":"cool"}}' % (job.id.encode(), job.enqueued_at)
    assert len(job.id) == 24
    assert set(job.id) <= set("0123456789abcdef")
    assert before <= job.enqueued_at == job.run_at <= time.time()
    assert await bench.redis.smembers(bench.keys.known_jobs) == {b"wat"}


async def test_no_args_are_null(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat")
    (payload,) = await bench.waiting("wat")
    assert payload.endswith(b',"args":null}')


async def test_known_jobs_is_written_once_in_a_while_only(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat")
    await bench.redis.delete(bench.keys.known_jobs)
    await bench.enqueuer.enqueue("wat")
    assert not await bench.redis.exists(bench.keys.known_jobs)


async def test_jobs_wait_first_in_first_out(bench: Bench) -> None:
    jobs = [await bench.enqueuer.enqueue("wat", {"i": i}) for i in range(3)]
    assert [json.loads(each)["id"] for each in await bench.waiting("wat")] == [job.id for job in jobs]


async def test_enqueue_in_puts_it_among_the_scheduled(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat", {"a": 1}, delay=300)
    ((payload, score),) = await bench.job_set("scheduled")
    assert json.loads(payload) == {"name": "wat", "id": job.id, "t": job.enqueued_at, "args": {"a": 1}}
    assert score == job.run_at == job.enqueued_at + 300
    assert await bench.redis.sismember(bench.keys.known_jobs, "wat")


async def test_a_fraction_of_a_second_is_rounded_up(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat", delay=0.2)
    assert job.run_at == job.enqueued_at + 1


async def test_enqueue_at_takes_aware_datetimes_and_epoch_seconds(bench: Bench) -> None:
    when = datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
    assert (await bench.enqueuer.enqueue("wat", at=when)).run_at == 2_000_000_000
    assert (await bench.enqueuer.enqueue("wat", at=2_000_000_000.5)).run_at == 2_000_000_001
    past = await bench.enqueuer.enqueue("wat", at=datetime.now(UTC) - timedelta(days=1))
    assert past.run_at < time.time()


async def test_unique_is_once_by_name_and_args(bench: Bench) -> None:
    first = await bench.enqueuer.enqueue("wat", {"a": 1, "b": "cool"}, unique=True)
    assert not first.duplicate
    assert first.unique
    assert (await bench.enqueuer.enqueue("wat", {"b": "cool", "a": 1}, unique=True)).duplicate
    assert not (await bench.enqueuer.enqueue("wat", {"a": 1, "b": "coolio"}, unique=True)).duplicate
    assert not (await bench.enqueuer.enqueue("wat", unique=True)).duplicate
    assert (await bench.enqueuer.enqueue("wat", unique=True)).duplicate
    assert not (await bench.enqueuer.enqueue("taw", unique=True)).duplicate
    assert len(await bench.waiting("wat")) == 3


async def test_the_unique_payload_names_its_key(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat", {"a": "<b>"}, unique=True)
    assert not job.duplicate
    key = f'{bench.namespace}:unique:wat:{{"a":"\\u003cb\\u003e"}}\n'
    (payload,) = await bench.waiting("wat")
    assert payload == b'{"name":"wat","id":"%s","t":%d,"args":{"a":"<b>"},"unique":true,"unique_key":%s}' % (
        job.id.encode(),
        job.enqueued_at,
        json.dumps(key).encode(),
    )
    # The value names the waiting job, which owns the key.
    assert await bench.redis.get(key) == f"waiting:{job.id}".encode()
    assert 86_000 < await bench.redis.ttl(key) <= 86_400


@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize("seconds", [0, 100])
async def test_a_duplicate_does_not_renew_the_key(bench: Bench, seconds: int, by_key: bool) -> None:
    """Because of that, a key whose job is gone expires, however many duplicates come."""

    async def enqueue() -> EnqueuedJob:
        if seconds:
            if by_key:
                return await bench.enqueuer.enqueue("wat", {"a": 2}, delay=seconds, unique={"a": 1})
            return await bench.enqueuer.enqueue("wat", {"a": 1}, delay=seconds, unique=True)
        if by_key:
            return await bench.enqueuer.enqueue("wat", {"a": 2}, unique={"a": 1})
        return await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)

    assert not (await enqueue()).duplicate
    key = f'{bench.namespace}:unique:wat:{{"a":1}}\n'
    await bench.redis.expire(key, 100)
    assert (await enqueue()).duplicate
    assert 0 < await bench.redis.ttl(key) <= 100
    # A key without an expiry gets one of a day.
    await bench.redis.persist(key)
    assert (await enqueue()).duplicate
    assert 86_000 < await bench.redis.ttl(key) <= 86_400


async def test_no_args_at_all_end_the_key_at_the_colon(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", unique=True)
    await bench.enqueuer.enqueue("wat", {}, unique=True)
    assert await bench.redis.exists(f"{bench.namespace}:unique:wat:")
    assert await bench.redis.exists(f"{bench.namespace}:unique:wat:{{}}\n")


async def test_unique_in_is_scheduled_and_shares_the_key_with_unique(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat", {"a": 1}, delay=300, unique=True)
    assert not job.duplicate
    ((payload, score),) = await bench.job_set("scheduled")
    assert json.loads(payload)["unique"] is True
    assert score == job.run_at == job.enqueued_at + 300
    assert (await bench.enqueuer.enqueue("wat", {"a": 1}, delay=10, unique=True)).duplicate
    assert (await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)).duplicate


async def test_by_key_the_newest_args_are_kept_in_the_key(bench: Bench) -> None:
    first = await bench.enqueuer.enqueue("wat", {"v": 1}, unique={"id": 7})
    assert not first.duplicate
    assert (await bench.enqueuer.enqueue("wat", {"v": 2}, unique={"id": 7})).duplicate
    assert not (await bench.enqueuer.enqueue("wat", {"v": 1}, unique={"id": 8})).duplicate
    (waiting, _) = await bench.waiting("wat")
    assert json.loads(waiting)["args"] == {"v": 1}
    newest = json.loads(await bench.redis.get(f'{bench.namespace}:unique:wat:{{"id":7}}\n') or "")
    assert newest["args"] == {"v": 2}
    assert newest["id"] != first.id
    assert newest["waiting"] == first.id
    assert (await bench.enqueuer.enqueue("wat", {"v": 3}, unique={"id": 7})).duplicate
    newest = json.loads(await bench.redis.get(f'{bench.namespace}:unique:wat:{{"id":7}}\n') or "")
    assert (newest["args"], newest["waiting"]) == ({"v": 3}, first.id)


async def test_in_by_key(bench: Bench) -> None:
    assert not (await bench.enqueuer.enqueue("wat", {"v": 1}, delay=60, unique={"id": 7})).duplicate
    assert (await bench.enqueuer.enqueue("wat", {"v": 2}, delay=60, unique={"id": 7})).duplicate
    assert len(await bench.job_set("scheduled")) == 1


async def test_a_key_that_could_not_be_followed_by_its_job_is_not_left(bench: Bench) -> None:
    await bench.redis.set(bench.keys.queue("wat"), "no list")
    with pytest.raises(RedisUnavailable, match="WRONGTYPE"):
        await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)
    await bench.redis.delete(bench.keys.queue("wat"))
    assert not (await bench.enqueuer.enqueue("wat", {"a": 1}, unique=True)).duplicate


async def test_many_jobs_are_written_in_order_in_a_few_round_trips(bench: Bench) -> None:
    await bench.enqueuer.enqueue("warm up")
    commands = (await bench.redis.info("stats"))["total_commands_processed"]
    jobs = await bench.enqueuer.enqueue_many((f"wat{i % 3}", {"i": i}) for i in range(5000))
    assert (await bench.redis.info("stats"))["total_commands_processed"] - commands < 30
    assert [job.name for job in jobs[:4]] == ["wat0", "wat1", "wat2", "wat0"]
    for n in range(3):
        assert [json.loads(each)["args"]["i"] for each in await bench.waiting(f"wat{n}")] == list(range(n, 5000, 3))


async def test_many_jobs_have_the_bytes_of_single_ones(bench: Bench) -> None:
    @bench.pool().job
    async def called(text: str) -> None: ...

    names = ["wat", "größe", 'a "b" \\ %b', '":null}\r\n$5', "called"]
    given: list[dict[str, Any] | None] = [None, {}, {"n": 1.5, "text": "ü\ud800\n"}, {"big": 2**70, "list": [{}, None]}]
    plain = [(name, args) for name in names for args in given]
    jobs = await bench.enqueuer.enqueue_many([*plain, called.call("x"), called.options(delay=300).call("y")])
    for name in names:
        mine = [job for job in jobs if job.name == name and job.run_at == job.enqueued_at]
        alone = [encode_job(name, job.args, job.enqueued_at, job_id=job.id)[1] for job in mine]
        assert await bench.waiting(name) == alone
    ((payload, score),) = await bench.job_set("scheduled")
    later = jobs[-1]
    assert payload == encode_job("called", {"text": "y"}, later.enqueued_at, job_id=later.id)[1]
    assert score == later.run_at == later.enqueued_at + 300


async def test_many_large_jobs_are_written_in_commands_of_a_megabyte(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat")
    before = (await bench.redis.info("commandstats"))["cmdstat_lpush"]["calls"]
    sizes = [400_000, 400_000, 400_000, 1_500_000, 100]
    jobs = await bench.enqueuer.enqueue_many([("wat", {"text": "x" * size}) for size in sizes])
    # Two of 400 kB, one, the largest, and the last.
    assert (await bench.redis.info("commandstats"))["cmdstat_lpush"]["calls"] - before == 4
    assert [json.loads(each)["id"] for each in await bench.waiting("wat")][1:] == [job.id for job in jobs]


async def test_enqueue_many_writes_nothing_when_one_job_is_not_valid(bench: Bench) -> None:
    with pytest.raises(ArgumentEncodingError, match=r"job 1: .*when"):
        await bench.enqueuer.enqueue_many([("wat", {"a": 1}), ("wat", {"when": datetime.now(UTC)})])
    with pytest.raises(UsageError, match=r"job 2: .*comma"):
        await bench.enqueuer.enqueue_many([("wat", None), ("wat", None), ("a,b", None)])
    assert await bench.waiting("wat") == []


async def test_enqueue_many_reports_the_jobs_that_redis_refused(bench: Bench) -> None:
    await bench.redis.set(bench.keys.queue("broken"), "no list")
    with pytest.raises(
        EnqueueManyError, match=r"2 jobs were written, 0 may have been, 1 were not: .*WRONGTYPE"
    ) as caught:
        await bench.enqueuer.enqueue_many([("wat", {"i": 0}), ("broken", None), ("wat", {"i": 1})])
    assert [job.args for job in caught.value.written] == [{"i": 0}, {"i": 1}]
    assert [job.name for job in caught.value.unwritten] == ["broken"]
    assert len(await bench.waiting("wat")) == 2
    await bench.redis.delete(bench.keys.queue("broken"))


async def test_enqueue_many_reports_all_jobs_as_unwritten_when_it_cannot_connect() -> None:
    async with Enqueuer("redis://127.0.0.1:1/0") as enqueuer:
        with pytest.raises(EnqueueManyError, match="0 jobs were written") as caught:
            await enqueuer.enqueue_many([("wat", None)] * 1500)
    assert caught.value.uncertain == []
    assert len(caught.value.unwritten) == 1500


BAD_ARGUMENTS: list[tuple[Any, str]] = [
    ({"user": {"when": datetime.now(UTC)}}, r'args\["user"\]\["when"\].*datetime'),
    ({"items": [1, {2}]}, r'args\["items"\]\[1\].*set'),
    ({"data": b"bytes"}, r'args\["data"\].*bytes'),
    ({"x": math.nan}, r'args\["x"\].*NaN|nan'),
    ({"x": [math.inf]}, r'args\["x"\]\[0\]'),
    ({"x": {1: 2}}, r'args\["x"\].*key'),
]


@pytest.mark.parametrize(("args", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
async def test_arguments_that_json_cannot_hold_are_refused_by_key(bench: Bench, args: Any, message: str) -> None:
    with pytest.raises(ArgumentEncodingError, match=message):
        await bench.enqueuer.enqueue("wat", args)
    with pytest.raises(ArgumentEncodingError, match=message):
        await bench.enqueuer.enqueue("wat", args, unique=True)
    assert not await bench.redis.keys(f"{bench.namespace}:*")


BAD_NAMES: list[tuple[Any, str]] = [
    ("", "empty"),
    ("a,b", "comma"),
    (5, "text, not int"),
    (None, "text, not NoneType"),
    (b"wat", "text, not bytes"),
    ("wat:lock", "names another key"),
    ("wat:x:inprogress", "names another key"),
    ("\ud800", "UTF-8"),
]


@pytest.mark.parametrize(("name", "message"), BAD_NAMES)
async def test_a_bad_name_is_refused_everywhere(bench: Bench, name: Any, message: str) -> None:
    calls = [
        bench.enqueuer.enqueue(name),
        bench.enqueuer.enqueue(name, delay=1),
        bench.enqueuer.enqueue(name, at=1),
        bench.enqueuer.enqueue(name, unique=True),
        bench.enqueuer.enqueue(name, delay=1, unique=True),
        bench.enqueuer.enqueue(name, None, unique={}),
        bench.enqueuer.enqueue(name, None, delay=1, unique={}),
        bench.enqueuer.enqueue_many([(name, None)]),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=message):
            await call
    assert not await bench.redis.keys(f"{bench.namespace}:*")


@pytest.mark.parametrize("seconds", [-1, -0.5, math.nan, math.inf, "5", True])
async def test_a_bad_delay_is_refused(bench: Bench, seconds: Any) -> None:
    for unique in (False, True):
        with pytest.raises(UsageError, match="the delay must be"):
            await bench.enqueuer.enqueue("wat", delay=seconds, unique=unique)


@pytest.mark.parametrize("when", [math.nan, -1, "tomorrow", True])
async def test_a_bad_time_is_refused(bench: Bench, when: Any) -> None:
    with pytest.raises(UsageError, match="a time must be"):
        await bench.enqueuer.enqueue("wat", at=when)


@pytest.mark.parametrize("when", [1.79e12, 32_503_680_001, 1e300, 10**400])
async def test_a_time_in_milliseconds_is_refused(bench: Bench, when: float) -> None:
    with pytest.raises(
        UsageError, match=r"a time must be epoch seconds before the year 3000, .* are these milliseconds"
    ):
        await bench.enqueuer.enqueue("wat", at=when)
    with pytest.raises(
        UsageError, match=r"the delay must be in seconds(, .* more than 1000 years| and end before the year 3000)"
    ):
        await bench.enqueuer.enqueue("wat", delay=when)
    assert await bench.job_set("scheduled") == []


async def test_the_latest_time(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", at=datetime(3000, 1, 1, tzinfo=UTC))
    ((_, score),) = await bench.job_set("scheduled")
    assert score == 32_503_680_000
    with pytest.raises(UsageError, match=r"a time must be before the year 3000, not 3000-01-01T00:00:01\+00:00"):
        await bench.enqueuer.enqueue("wat", at=datetime(3000, 1, 1, 0, 0, 1, tzinfo=UTC))
    bench.enqueuer._clock = lambda: 1000.0
    await bench.enqueuer.enqueue("wat", {"n": 1}, delay=32_503_679_000)
    with pytest.raises(UsageError, match="the delay must be in seconds and end before the year 3000: 32503679001 are"):
        await bench.enqueuer.enqueue("wat", delay=32_503_679_001)
    assert [score for _, score in await bench.job_set("scheduled")] == [32_503_680_000] * 2


async def test_a_later_time_of_another_program_does_no_harm(bench: Bench) -> None:
    late, due = (encode_job("wat", args, 1000)[1] for args in (None, {"n": 1}))
    await bench.redis.zadd(bench.keys.scheduled, {late: 4e12, due: 1000})
    async with Client(bench.url, namespace=bench.namespace) as client:
        page = await client.jobs("scheduled")
    assert [job.at for job in page.jobs] == [1000, 4e12]
    pool = bench.pool()
    ran: list[int] = []
    pool.job("wat")(lambda n: ran.append(n))
    async with pool.running():
        await until(lambda: ran == [1])
    assert await bench.job_set("scheduled") == [(late, 4e12)]


async def test_a_naive_datetime_is_refused(bench: Bench) -> None:
    with pytest.raises(UsageError, match="no time zone: pass datetime"):
        await bench.enqueuer.enqueue("wat", at=datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("args", [[1], "text", 5])
async def test_args_that_are_no_mapping_are_refused(bench: Bench, args: Any) -> None:
    with pytest.raises(UsageError, match="args must be a mapping"):
        await bench.enqueuer.enqueue("wat", args)


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "", "redis:6379", 5])
def test_a_url_of_another_form_is_refused(url: Any) -> None:
    with pytest.raises(UsageError, match="not a Redis URL"):
        Enqueuer(url)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://me:p@ss@host:1/0", "redis://me:***@host:1/0"),
        ("redis://:pa/ss@host", "redis://:***@host"),
        ("redis:secret@host", "redis:***@host"),
        ("unix:///a/b?password=secret&db=0", "unix:///a/b?password=***&db=0"),
        ("redis://host:1/0", "redis://host:1/0"),
        ("localhost:6379", "localhost:6379"),
    ],
)
def test_the_password_is_masked(url: str, masked: str) -> None:
    assert mask(url) == masked


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_REDIS", "")
    assert Enqueuer().masked_url == Enqueuer("redis://localhost:6379/0").masked_url


async def test_the_error_for_an_unreachable_redis_hides_the_password() -> None:
    async with Enqueuer("redis://me:secret@127.0.0.1:1/0") as enqueuer:
        with pytest.raises(RedisUnavailable, match=r"redis://me:\*\*\*@127.0.0.1:1/0") as caught:
            await enqueuer.enqueue("wat")
    assert "secret" not in str(caught.value)


def test_an_enqueuer_outlives_its_event_loop(redis_url: str) -> None:
    enqueuer = Enqueuer(redis_url, namespace="loops")

    async def enqueue() -> int:
        await enqueuer.enqueue("wat")
        await enqueuer.close()
        async with open_bench(redis_url, "loops") as bench:
            return len(await bench.waiting("wat"))

    assert asyncio.run(enqueue()) == 1
    assert asyncio.run(enqueue()) == 2


@pytest.mark.parametrize(
    ("namespace", "prefix"), [("", ""), ("work", "work:"), ("work:", "work:"), ("work::", "work::")]
)
def test_the_prefix_is_the_namespace_and_one_colon(namespace: str, prefix: str) -> None:
    from asyncwork._redis.keys import Keys

    assert Keys(namespace).queue("foo") == f"{prefix}jobs:foo"
