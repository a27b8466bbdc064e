"""Invalid bytes, and keys of a wrong type, in each place of a namespace: the pool quarantines them or leaves them, logs
them from time to time, and runs everything else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from asyncwork import Client, Job, WorkerPool
from asyncwork._redis.commands import fingerprint
from asyncwork.gocraft import GocraftClient

from .conftest import Bench, until
from .tuned import tuned
from .web_app import serving

DEAD = "d" * 24

# Quick, so that what is said at each pass is said often.
OFTEN = tuned(
    heartbeat=0.1, dead_after=0.4, reap=0.05, orphans=0.1, observe=0.05, poll=0.1, requeue=0.1, periodic=0.1,
    horizon=5.0, reconcile=0.1, revive=0.1, count=0.1,
)  # fmt: skip

# What lies in a place of jobs, and is none.
NO_JOBS = (
    b"{no JSON",
    b"[1,2]",
    b"7",
    b'{"name":5}',
    b'{"name":"wat","id":"1","t":1,"args":[]}',
    b"\x00\xff\xfe\x80",
    b"",
    b"\xff\x00garbage" * 120_000,
    b"[" * 100_000,
    b'{"name":"wat","id":"2","t":1,"args":' + b'{"a":' * 100_000,
    *(
        b'{"name":"wat","id":"\\ud800","t":1,"args":null,"%b":%b%b}' % (field, sign, b"9" * 400)
        for field in (b"t", b"fails", b"failed_at")
        for sign in (b"", b"-")
    ),
)
# What can be read, but not run: nobody has a handler for it.
STRAYS = (
    b'{"name":"\\ud800","id":"3","t":1,"args":null}',
    b'{"name":"","id":"4","t":1,"args":null}',
    b'{"name":"a:lock","id":"5","t":1,"args":null}',
)
# What runs, although hardly anything in it can be written as UTF-8, or followed by a reader that recurses.
ODDITIES = (
    b'{"name":"wat","id":"\\ud800","t":1,"args":{"\\ud800":"\\udfff"},"other":"\\ud800"}',
    b'{"name":"wat","id":"\\udc80","t":1,"args":null,"unique":true,"unique_key":"NAMESPACE:unique:wat:\\ud800"}',
    b'{"name":"wat","id":"periodic:\\ud800:5","t":1,"args":null}',
    b'{"name":"fails","id":"\\ud83d","t":1,"args":{"a":"\\ud83d"},"err":"\\ud83d","traceback":"\\ud83d"}',
    b'{"name":"wat","id":"6","t":1,"args":{"a":' + b"[" * 1010 + b"]" * 1010 + b"}}",
    b'{"name":"fails","id":"7","t":1,"args":{"a":' + b"[" * 1010 + b"]" * 1010 + b"}}",
)
# What can be no number, name or id.
BYTES = (b"", b"\xff\xfe", b"soon", b"9" * 400, b"nan", b"-1", b"1.5", b"x" * 1_000_000)

Dose = Callable[[Bench, str], Awaitable[object]]


def job(name: str, job_id: str, **more: Any) -> bytes:
    return json.dumps({"name": name, "id": job_id, "t": 1, "args": None, **more}).encode()


class Patient:
    """A pool, and what shows that all of it works."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ran: Counter[str] = Counter()
        self._rounds = 0

    def pool(self) -> WorkerPool[Any]:
        pool = self.bench.pool(**OFTEN, concurrency=8)
        for name in ("good", "wat", "capped"):
            pool.job(name, max_concurrency=3 if name == "capped" else 0)(self._runs)

        @pool.job(backoff=lambda job: 0)
        async def fails() -> None:
            raise ValueError("sorry")

        pool.periodically("* * * * * *", "good", {"each": "second"})
        return pool

    async def _runs(self, job: Job) -> None:
        self.ran[job.id] += 1

    async def works(self) -> None:
        """Have a job come in by each way, and all of them run: also that which a dead pool left."""
        keys, redis = self.bench.keys, self.bench.redis
        self._rounds += 1
        expected = [f"{way} {self._rounds}" for way in ("queue", "capped", "scheduled", "retry", "dead pool")]
        queue, capped, scheduled, retry, left = expected
        pool_id = f"{self._rounds}" * 24
        async with redis.pipeline(transaction=False) as pipe:
            pipe.lpush(keys.queue("good"), job("good", queue))
            pipe.lpush(keys.queue("capped"), job("capped", capped))
            pipe.zadd(keys.scheduled, {job("good", scheduled): 1})
            pipe.zadd(keys.retry, {job("good", retry): 1})
            pipe.lpush(keys.in_progress("good", pool_id), job("good", left))
            pipe.sadd(keys.worker_pools, pool_id)
            pipe.hset(keys.heartbeat(pool_id), mapping={"heartbeat_at": 1, "job_names": "good"})
            # What is poisoned altogether takes nothing.
            refused = [type(answer) for answer in await pipe.execute(raise_on_error=False)][:4]
        for way, answer in zip(expected[:4], refused, strict=True):
            if answer is not int:
                expected.remove(way)
        await until(lambda: all(self.ran[each] for each in expected))
        assert all(self.ran[each] == 1 for each in expected)

    async def can_be_looked_at(self) -> None:
        """Look at everything, as people do."""
        bench = self.bench
        async with Client(bench.url, namespace=bench.namespace) as client:
            await client.overview()
            names = [each.name for each in await client.queues()]
            for location in ("retry", "scheduled", "dead", "quarantine", *(f"queue:{name}" for name in names if name)):
                page = await client.jobs(location, per_page=200)
                for record in page.jobs:
                    again = await client.job(location, record.ref)
                    assert again is None or again.text == record.text
            await client.find("good", seconds=5)
            await client.jobs("busy")
            await client.observations()
            await client.periodic_jobs()
            await client.minutes()
            await client.recent()
            await client.error_kinds("dead")
        async with serving(bench) as (_, browser):
            for path in ("/", "/busy", "/queues", "/retries", "/scheduled", "/dead", "/quarantine", "/periodic"):
                answer = await browser.get(path, headers={"accept": "text/html"})
                assert answer.status_code == 200, path
        await bench.audit(running=True)


async def survives(bench: Bench, caplog: pytest.LogCaptureFixture, dose: Dose) -> None:
    """Have a pool run when the dose comes, and another start on it."""
    patient = Patient(bench)
    async with patient.pool().running() as pool:
        await until(lambda: bench.blocked(pool))
        assert pool.id is not None
        await dose(bench, pool.id)
        await patient.works()
        await patient.can_be_looked_at()
    async with patient.pool().running() as pool:
        assert pool.id is not None
        await dose(bench, pool.id)
        await patient.works()
        await until(lambda: nothing_is_left_of_the_dead(bench, pool.id))
    for text, times in Counter(record.getMessage() for record in caplog.records).items():
        text.encode()
        assert times <= 6, text
    assert "defect" not in caplog.text
    assert not [record for record in caplog.records if "could not deregister" in record.getMessage()]


PLACES = ("queue", "retry", "scheduled", "dead", "own list", "dead pool's list", "quarantine")


async def nothing_is_left_of_the_dead(bench: Bench, alive: str | None) -> bool:
    """Tell whether no other pool is registered, has anything in progress, or a share of a lock."""
    lists = await bench.redis.keys(f"{bench.keys.jobs}*:inprogress")
    pools = await bench.redis.smembers(bench.keys.worker_pools)
    shares: set[bytes] = set()
    for key in await bench.redis.keys(f"{bench.keys.jobs}*:lock_info"):
        try:
            shares |= set(await bench.redis.hkeys(key))
        except ResponseError:
            return False
    return all((alive or "").encode() in each for each in (*lists, *pools, *shares))


def into(location: str) -> Dose:
    """Everything that is no job, or cannot be run, into a place of jobs."""

    async def dose(bench: Bench, pool_id: str) -> None:
        oddities = [each.replace(b"NAMESPACE", bench.namespace.encode()) for each in ODDITIES]
        everything = [*NO_JOBS, *STRAYS, *oddities]
        if location in ("retry", "scheduled", "dead"):
            scores = {each: float(number) for number, each in enumerate(everything)}
            # Due at no time, and since always.
            scores |= {job("wat", f"{location} {score}"): score for score in (float("inf"), float("-inf"), 1e300)}
            await bench.redis.zadd(getattr(bench.keys, location), scores)
        else:
            await bench.redis.lpush(list_of(bench, location, pool_id), *everything)

    return dose


def list_of(bench: Bench, location: str, pool_id: str) -> str:
    keys = bench.keys
    return {
        "queue": keys.queue("wat"),
        "own list": keys.in_progress("wat", pool_id),
        "dead pool's list": keys.in_progress("wat", DEAD),
        "quarantine": keys.quarantine,
    }[location]


@pytest.mark.parametrize("location", PLACES)
async def test_what_is_no_job(bench: Bench, caplog: pytest.LogCaptureFixture, location: str) -> None:
    await survives(bench, caplog, into(location))
    async with Client(bench.url, namespace=bench.namespace) as client:
        await GocraftClient(client).retry_all_dead_jobs()
        aside = await client.jobs("quarantine", newest_first=True, per_page=200)
    # Pools take nothing from the dead jobs.
    assert bool(aside.jobs) is (location != "dead")
    for each in ("retry", "scheduled", "dead"):
        await bench.redis.delete(getattr(bench.keys, each))
    for each in ("wat", "fails", "", "a:lock", "\ufffd"):
        await bench.redis.delete(bench.keys.queue(each))


async def members_of_sets(bench: Bench, pool_id: str) -> None:
    ids = [each[:10_000] for each in (*BYTES, b"a:b", b"*", b"a\r\nb")]
    await bench.redis.sadd(bench.keys.known_jobs, *ids)
    await bench.redis.sadd(bench.keys.worker_pools, *ids)
    for each in ids:
        key = bench.keys.worker_pools.encode() + b":" + each
        await bench.redis.hset(key, mapping={"heartbeat_at": b"1", "job_names": b"good,\xff"})
        await bench.redis.lpush(
            bench.keys.jobs.encode() + b"good:" + each + b":inprogress", job("good", f"{pool_id} {each!r}")
        )


async def heartbeats(bench: Bench, pool_id: str) -> None:
    for number, value in enumerate(BYTES):
        dead = f"{number:024d}"
        await bench.redis.sadd(bench.keys.worker_pools, dead)
        fields = ("heartbeat_at", "started_at", "job_names", "concurrency", "worker_ids", "host", "pid", "runner",
                  "state", "periodic", "counted")  # fmt: skip
        await bench.redis.hset(bench.keys.heartbeat(dead), mapping=dict.fromkeys(fields, value))
        await bench.redis.lpush(bench.keys.in_progress("wat", dead), job("wat", f"{pool_id} {dead}"))


async def locks(bench: Bench, pool_id: str) -> None:
    for name in ("good", "capped"):
        info = {value[:10_000] or b"empty": value for value in BYTES}
        info |= {DEAD.encode(): b"nan", pool_id.encode(): b"inf"}
        await bench.redis.hset(bench.keys.lock_info(name), mapping=info)
    await bench.redis.set(bench.keys.lock("good"), "nan")
    await bench.redis.set(bench.keys.lock("capped"), 7)


async def a_lock_that_is_no_number(bench: Bench, pool_id: str) -> None:
    await bench.redis.set(bench.keys.lock("good"), "inf")
    await bench.redis.set(bench.keys.lock("capped"), "nan")


async def a_lock_below_zero(bench: Bench, pool_id: str) -> None:
    await bench.redis.set(bench.keys.lock("good"), -5)
    await bench.redis.set(bench.keys.lock("capped"), -5)


async def observations(bench: Bench, pool_id: str) -> None:
    worker = (await bench.redis.hget(bench.keys.heartbeat(pool_id), "worker_ids")).decode().split(",")[0]
    fields = ("job_name", "job_id", "started_at", "args", "checkin", "checkin_at")
    for value in BYTES:
        await bench.redis.hset(bench.keys.observation(worker), mapping=dict.fromkeys(fields, value))
        async with Client(bench.url, namespace=bench.namespace) as client:
            await client.jobs("busy")


async def periodic(bench: Bench, pool_id: str) -> None:
    own = "good:* * * * * *:" + hashlib.sha256(b'{"each":"second"}').hexdigest()[:12]
    for value in BYTES:
        for key in (bench.keys.periodic, bench.keys.periodic_fired):
            await bench.redis.hset(key, mapping={value: value, own: value})
    await bench.redis.hset(bench.keys.periodic, own, "9" * 12)


async def crashes(bench: Bench, pool_id: str) -> None:
    payloads = [job("wat", f"crashed {number} for {pool_id}") for number in range(len(BYTES))]
    counted = {fingerprint(payload): value for payload, value in zip(payloads, BYTES, strict=True)}
    more = {bench.keys.suspect_field(DEAD).encode(): b"\xff", bench.keys.recorded_field(DEAD).encode(): b"nan"}
    await bench.redis.hset(bench.keys.crashes, mapping=counted | more)
    await bench.redis.lpush(bench.keys.in_progress("wat", DEAD), *payloads)


async def stats(bench: Bench, pool_id: str) -> None:
    now = int(time.time())
    for name in ("", "good"):
        await bench.redis.set(bench.keys.minutes(now // 3600, name), b"\xff" * 1000)
        await bench.redis.set(bench.keys.days(time.strftime("%Y-%m", time.gmtime(now)), name), b"x")


async def unique_keys(bench: Bench, pool_id: str) -> None:
    for number, value in enumerate([*NO_JOBS, *BYTES]):
        args = {"n": f"{pool_id} {number}"}
        assert not (await bench.enqueuer.enqueue("wat", args, delay=1, unique=args)).duplicate
        await bench.redis.set(bench.keys.unique_for("wat", args), value)


async def unique_keys_of_a_wrong_type(bench: Bench, pool_id: str) -> None:
    args = {"n": pool_id}
    for key in (bench.keys.unique_for("wat", {**args, "by": "key"}), bench.keys.unique_for("wat", args)):
        await bench.redis.rpush(key, "no string")
    # The first one must not have started before the second comes.
    assert not (await bench.enqueuer.enqueue("wat", args, delay=2, unique=True)).duplicate
    assert (await bench.enqueuer.enqueue("wat", args, delay=2, unique=True)).duplicate
    assert not (await bench.enqueuer.enqueue("wat", args, unique={**args, "by": "key"})).duplicate


DOSES: list[Dose] = [
    members_of_sets, heartbeats, locks, a_lock_that_is_no_number, a_lock_below_zero, observations, periodic, crashes,
    stats, unique_keys, unique_keys_of_a_wrong_type,
]  # fmt: skip


@pytest.mark.parametrize("dose", DOSES, ids=lambda dose: dose.__name__)
async def test_bytes_that_nobody_meant(bench: Bench, caplog: pytest.LogCaptureFixture, dose: Dose) -> None:
    await survives(bench, caplog, dose)


async def test_a_job_in_whose_place_its_unique_key_put_no_job(bench: Bench) -> None:
    pool, seen = bench.pool(), asyncio.Event()

    @pool.job("wat")
    async def fails_once_seen() -> None:
        await seen.wait()
        raise ValueError("sorry")

    job = await bench.enqueuer.enqueue("wat", {"n": 1}, unique={"n": 1})
    assert not job.duplicate
    await bench.redis.set(bench.keys.unique_for("wat", {"n": 1}), b"[1]")
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(client.observations)
        assert [each.args for each in await client.observations()] == [b'{"n":1}']
        seen.set()
        await until(lambda: bench.redis.zcard(bench.keys.retry))
    ((raw, _),) = await bench.job_set("retry")
    retried = json.loads(raw)
    assert (retried["id"], retried["args"], retried["err"]) == (job.id, {"n": 1}, "ValueError: sorry")


def key_of(bench: Bench, what: str, pool_id: str) -> str:
    keys, now = bench.keys, time.time()
    return {
        "queue": keys.queue("wat"),
        "own list": keys.in_progress("wat", pool_id),
        "dead pool's list": keys.in_progress("good", DEAD),
        "dead pool's heartbeat": keys.heartbeat(DEAD),
        "own heartbeat": keys.heartbeat(pool_id),
        "lock": keys.lock("capped"),
        "lock_info": keys.lock_info("capped"),
        "max_concurrency": keys.max_concurrency("capped"),
        "observation": keys.observation("nobody"),
        "minutes": keys.minutes(int(now) // 3600, "good"),
        "days": keys.days(time.strftime("%Y-%m", time.gmtime(now)), ""),
    }.get(what) or getattr(keys, what)


LISTS = ("queue", "own list", "dead pool's list", "quarantine")
SETS = ("retry", "scheduled", "dead", "worker_pools", "known_jobs")
HASHES = ("dead pool's heartbeat", "own heartbeat", "lock_info", "observation", "periodic", "periodic_fired", "crashes")
STRINGS = ("lock", "max_concurrency", "minutes", "days")


@pytest.mark.parametrize("what", [*LISTS, *SETS, *HASHES, *STRINGS])
async def test_a_key_of_a_wrong_type(bench: Bench, caplog: pytest.LogCaptureFixture, what: str) -> None:
    async def dose(bench: Bench, pool_id: str) -> None:
        key = key_of(bench, what, pool_id)
        await bench.redis.delete(key)
        if what in STRINGS:
            await bench.redis.rpush(key, "no string")
        else:
            await bench.redis.set(key, "a string")
        # There is something to do that concerns it.
        async with bench.redis.pipeline(transaction=False) as pipe:
            pipe.sadd(bench.keys.worker_pools, DEAD)
            for name in ("wat", "capped", "fails"):
                pipe.lpush(bench.keys.queue(name), job(name, f"{name} {pool_id}"), b"no job")
            pipe.zadd(bench.keys.retry, {f"no job {pool_id}": 5, job("wat", f"retried {pool_id}"): 6})
            await pipe.execute(raise_on_error=False)

    await survives(bench, caplog, dose)
    # What a place of jobs holds is nobody's to delete: it is told, and stays.
    told = "\n".join(await bench.audit())
    assert (key_of(bench, what, "") in told) is (what in ("queue", "quarantine", "retry", "scheduled", "dead"))
    for left in ("queue", "quarantine", "retry", "scheduled", "dead", "observation"):
        await bench.redis.delete(key_of(bench, left, ""))
