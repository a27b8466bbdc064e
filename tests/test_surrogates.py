"""Lone surrogates, which JSON can hold and UTF-8 cannot: whatever holds one runs, moves and is shown like any other."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from asyncwork import Client, Enqueuer, Job, JobQuery, UsageError, WorkerPool
from asyncwork._jobs.names import check_namespace
from asyncwork._jobs.payload import write_payload
from asyncwork.gocraft import GocraftClient

from .conftest import Bench, until
from .test_cli import program
from .web_app import PLAIN_PAGES, serving

LONE = "half \ud83d"
SHOWN = "half \ufffd"
PAGES = (*PLAIN_PAGES, "/queue?name=wat")


def unique_job(bench: Bench, **more: Any) -> bytes:
    """The payload of a unique job of whose texts each holds a lone surrogate."""
    key = bench.keys.unique + "wat:" + LONE
    fields = {"name": "wat", "id": LONE, "t": 1, "args": {LONE: [LONE]}, "unique": True, "unique_key": key}
    return json.dumps({**fields, **more}).encode()


async def hold(bench: Bench) -> bytes:
    """Write the unique key of :func:`unique_job`, as it is spelled in Redis: as Go spells it, too."""
    key = f"{bench.keys.unique}wat:{SHOWN}".encode()
    await bench.redis.set(key, 1)
    return key


async def test_a_running_job_is_shown(bench: Bench) -> None:
    pool, seen = bench.pool(), asyncio.Event()
    ran: list[Any] = []

    @pool.job
    async def wat(job: Job) -> None:
        job.checkin(LONE)
        ran.append((job.id, job.args))
        await seen.wait()

    key = await hold(bench)
    await bench.redis.lpush(bench.keys.queue("wat"), unique_job(bench))
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client, serving(bench) as (_, web):
        await until(client.observations)
        (observed,), (record,) = await client.observations(), (await client.jobs("busy")).jobs
        assert (observed.job_id, observed.checkin) == (record.id, record.checkin) == (SHOWN, SHOWN)
        assert json.loads(observed.args) == {LONE: [LONE]}
        for path in (*PAGES, "/busy_workers"):
            assert (await web.get(path, headers={"accept": "text/html"})).status_code == 200, path
        assert not await bench.redis.exists(key)
        seen.set()
        await pool.drain()
    assert ran == [(SHOWN, {LONE: [LONE]})]


async def test_a_checkin_is_a_plain_text(bench: Bench) -> None:
    class Odd(str):
        def isascii(self) -> bool:
            raise ZeroDivisionError

        def encode(self, *_: object, **__: object) -> bytes:
            raise ZeroDivisionError

        __slots__ = ()

    job = Job.decode(write_payload("wat", "1", 1, b"null"))
    job.checkin(Odd("row 5"))
    assert job.checked_in is not None
    assert type(job.checked_in[0]) is str


async def test_failures_are_retried_and_die(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    # A report of this test with what was logged could not be sent from one process to another.
    caplog.set_level(logging.CRITICAL, "asyncwork.job")
    pool = bench.pool()

    @pool.job(max_fails=2, backoff=lambda job: 0)
    async def wat() -> None:
        raise ValueError(LONE)

    await bench.redis.lpush(bench.keys.queue("wat"), unique_job(bench, traceback=LONE, err=LONE, other=LONE))
    async with pool.running():
        await until(lambda: bench.redis.zcard(bench.keys.dead))
    ((raw, _),) = await bench.job_set("dead")
    dead = json.loads(raw)
    assert (dead["fails"], dead["err"]) == (2, f"ValueError: {SHOWN}")
    assert dead["args"] == {LONE: [LONE]}
    assert (dead["id"], dead["other"]) == (LONE, LONE)


async def test_an_instance_of_a_periodic_job_is_put_on_its_queue(bench: Bench) -> None:
    pool = bench.pool()
    ran = []

    @pool.job
    async def wat(job: Job) -> None:
        ran.append(job.id)

    await bench.redis.zadd(bench.keys.scheduled, {rb'{"name":"wat","id":"periodic:\ud800:5","t":5,"args":null}': 5})
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client, serving(bench) as (_, web):
        await until(lambda: ran)
        (state,) = await client.periodic_jobs()
        assert (state.key, state.last) == ("\ufffd", 5)
        assert (await web.get("/periodic")).status_code == 200
    assert ran == ["periodic:\ufffd:5"]


ACTS: dict[str, Callable[[Client, str, str], Any]] = {
    "delete": lambda client, location, handle: client.delete(location, [handle]),
    "delete_matching": lambda client, location, handle: client.delete_matching(location, JobQuery(name="wat")),
    "delete_all": lambda client, location, handle: client.delete_matching(location),
    "empty_queue": lambda client, location, handle: client.empty("wat"),
}


@pytest.mark.parametrize(
    ("act", "location"),
    [
        (act, location)
        for act in ACTS
        for location in ("queue:wat", "scheduled")
        if act != "empty_queue" or ":" in location
    ],
)
async def test_deleting_frees_what_is_unique_and_can_be_undone(bench: Bench, act: str, location: str) -> None:
    key, raw = await hold(bench), unique_job(bench)
    async with Client(bench.url, namespace=bench.namespace) as client:
        if location == "scheduled":
            await bench.redis.zadd(bench.keys.scheduled, {raw: 2_000_000_000})
        else:
            await bench.redis.lpush(bench.keys.queue("wat"), raw)
        (record,) = (await client.jobs(location)).jobs
        assert (record.id, record.unique_key) == (SHOWN, key.decode())
        assert await client.job(location, record.ref) == record
        outcome = await ACTS[act](client, location, record.ref)
        assert (outcome.done, (await client.jobs(location)).total) == (1, 0)
        assert not await bench.redis.exists(key)
        assert await client.restore(outcome.undo) == 1
        assert await bench.redis.exists(key)
        assert (await client.jobs(location)).jobs == [record]
        assert (await client.delete(location, [record.ref])).done == 1


async def test_go_s_verbs_find_it_by_the_id_that_is_shown(bench: Bench) -> None:
    async with Client(bench.url, namespace=bench.namespace) as client:
        for job_id in (SHOWN, LONE):
            await bench.redis.zadd(bench.keys.scheduled, {unique_job(bench): 2_000_000_000})
            assert await GocraftClient(client).delete_scheduled_job(2_000_000_000, job_id)


async def test_pages_show_it_in_every_place(bench: Bench) -> None:
    def failed(location: str) -> bytes:
        return unique_job(bench, id=f"{LONE} {location}", fails=1, err=LONE, failed_at=1, traceback=LONE)

    for job_set in ("retry", "scheduled", "dead"):
        await bench.redis.zadd(getattr(bench.keys, job_set), {failed(job_set): 2_000_000_000})
    await bench.redis.lpush(bench.keys.queue("wat"), failed("queue"))
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    entry = {"at": 1, "from": LONE, "reason": LONE, "payload": LONE}
    entries = [json.dumps(entry), json.dumps({**entry, "at": 10**400}), json.dumps(LONE)]
    await bench.redis.lpush(bench.keys.quarantine, *entries)
    async with Client(bench.url, namespace=bench.namespace) as client, serving(bench) as (_, web):
        answers = [await web.get(path, headers={"accept": "text/html"}) for path in PAGES]
        for location in ("retry", "scheduled", "dead", "quarantine", "queue:wat"):
            for record in (await client.jobs(location)).jobs:
                where = {"location": location, "ref": record.ref}
                answers.append(await web.get("/job", params=where, headers={"accept": "text/html"}))
                answers.append(await web.get("/api/job", params=where))
        answers += [await web.get(path) for path in ("/retry_jobs", "/scheduled_jobs", "/dead_jobs")]
        answers.append(await web.get("/find", params={"text": "half"}, headers={"accept": "text/html"}))
        assert [answer.url for answer in answers if answer.status_code != 200] == []
        body, headers = json.dumps({"queue": LONE}), {"content-type": "application/json"}
        refused = await web.post("/api/queues/pause", content=body, headers=headers)
        assert refused.status_code == 400
    for left in (bench.keys.queue("wat"), bench.keys.quarantine, bench.keys.known_jobs):
        await bench.redis.delete(left)


async def test_what_is_no_job_is_set_aside(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    no_jobs = [rb'"\ud800"', rb'{"name":"wat","id":5,"err":"\ud800"}', rb'{"name":"wat","\ud800":1,"args":"\ud800"}']
    await bench.redis.lpush(bench.keys.queue("wat"), *no_jobs)
    await bench.redis.zadd(bench.keys.scheduled, dict.fromkeys(no_jobs, 1))
    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: _has(client, 6))
        assert {each.text.encode() for each in (await client.jobs("quarantine")).jobs} == set(no_jobs)


async def _has(client: Client, count: int) -> bool:
    return (await client.jobs("quarantine")).total == count


@pytest.mark.parametrize("namespace", ["\ud800", "a\udcff", "{work}\udfff"])
@pytest.mark.parametrize("make", [WorkerPool, Enqueuer, Client])
def test_a_namespace_that_utf8_cannot_hold_is_refused(make: Callable[..., object], namespace: str) -> None:
    with pytest.raises(UsageError, match="namespace must be text that UTF-8 can hold"):
        make("redis://localhost", namespace=namespace)
    with pytest.raises(UsageError, match="namespace must be text that UTF-8 can hold"):
        WorkerPool("redis://localhost").reconfigure(namespace=namespace)


def test_a_namespace_is_text() -> None:
    with pytest.raises(UsageError, match="namespace must be text, not 5"):
        check_namespace(5)
    assert check_namespace("crêpes 🥞") == "crêpes 🥞"


@pytest.mark.parametrize(
    "command", [("run", "shop:pool"), ("enqueue", "note"), ("doctor",), ("web", "--listen", "127.0.0.1:0")]
)
async def test_the_command_line_refuses_such_a_namespace(bench: Bench, command: tuple[str, ...]) -> None:
    async with program(*command, "--redis", bench.url, "--namespace", "a\udcff") as running:
        assert await running.ends() == 2
        assert r"namespace must be text that UTF-8 can hold, without lone surrogates: 'a\udcff'" in running.err


async def test_the_command_line_escapes_what_a_terminal_cannot_show(bench: Bench) -> None:
    location, env = ("--redis", bench.url, "--namespace", bench.namespace), {"PYTHONIOENCODING": "ascii:strict"}
    async with program("enqueue", "né", *location, env=env) as running:
        assert await running.ends() == 0
    assert r" n\xe9 waits" in running.out
    await bench.redis.delete(bench.keys.queue("né"))


NAMED: list[Callable[[Client], Any]] = [
    lambda client: client.pause(LONE),
    lambda client: client.unpause(LONE),
    lambda client: client.set_max_concurrency(LONE, 1),
    lambda client: client.empty(LONE),
    lambda client: client.forget(LONE),
    lambda client: client.jobs(f"queue:{LONE}"),
    lambda client: client.delete_matching(f"queue:{LONE}"),
    lambda client: client.minutes(queue=LONE),
    lambda client: client.days(queue=LONE),
]


@pytest.mark.parametrize("act", NAMED)
async def test_no_queue_has_such_a_name(bench: Bench, act: Callable[[Client], Any]) -> None:
    async with Client(bench.url, namespace=bench.namespace) as client:
        with pytest.raises(UsageError, match="must be text that UTF-8 can hold"):
            await act(client)
