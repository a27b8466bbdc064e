"""Each side's client and web UI shows and changes what the other side's programs wrote."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from asyncwork import Client
from asyncwork.gocraft import GocraftClient

from ..conftest import until
from ..web_app import serving
from .golang import Mixed

ARGS = {"address": "<é>", "n": 1234567890123456789, "list": []}
# As Go shows them: a number of that size is a float there.
ARGS_IN_GO = ARGS | {"n": 1234567890123456800}
WRITTEN_BY_GO = rb'{"address":"\u003c%b\u003e","list":[],"n":1234567890123456800}' % "é".encode()


@pytest.fixture
async def ours(mixed: Mixed) -> AsyncIterator[Client]:
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        yield client


async def test_gos_client_shows_a_python_pool_and_its_busy_workers(mixed: Mixed) -> None:
    busy = await mixed.bench.enqueuer.enqueue("wat", ARGS)
    bare = await mixed.bench.enqueuer.enqueue("wat")
    job = {"until": f"{mixed.bench.namespace}:go-on", "checkin": "row 5 of 9"}
    async with mixed.python("wat", "taw", job=job, concurrency=3).running() as pool:

        async def observed() -> bool:
            found = [each for each in await mixed.client("observations") if each["is_busy"]]
            return len(found) == 2 and all(each["checkin"] for each in found)

        await until(observed)
        (heartbeat,) = await mixed.client("heartbeats")
        assert heartbeat["worker_pool_id"] == pool.id
        assert heartbeat["job_names"] == ["taw", "wat"]
        assert (heartbeat["concurrency"], heartbeat["pid"]) == (3, os.getpid())
        assert heartbeat["host"] == socket.gethostname()
        assert 0 <= time.time() - heartbeat["heartbeat_at"] < 5
        assert 0 <= heartbeat["heartbeat_at"] - heartbeat["started_at"] < 15
        assert len(heartbeat["worker_ids"]) == 3
        observations = await mixed.client("observations")
        assert [each["worker_id"] for each in observations] == heartbeat["worker_ids"]
        found = {each["job_id"]: each for each in observations if each["is_busy"]}
        assert set(found) == {busy.id, bare.id}
        assert found[busy.id]["args_json"] == '{"address":"<é>","n":1234567890123456789,"list":[]}'
        # Go's own observer writes nothing for no arguments.
        assert found[bare.id]["args_json"] == ""
        for each in found.values():
            assert (each["job_name"], each["checkin"]) == ("wat", "row 5 of 9")
            assert 0 <= each["checkin_at"] - each["started_at"] < 5
        await mixed.bench.redis.set(f"{mixed.bench.namespace}:go-on", 1)
        await mixed.drain(pool)
    assert await mixed.client("heartbeats") == []
    await mixed.bench.redis.delete(f"{mixed.bench.namespace}:go-on")


async def test_our_client_shows_a_go_pool_and_its_busy_workers(mixed: Mixed, ours: Client) -> None:
    busy = await mixed.enqueue("wat", ARGS)
    bare = await mixed.enqueue("wat")
    wat = {"until": f"{mixed.bench.namespace}:go-on", "checkin": "row 5 of 9", "max_concurrency": 7}
    async with mixed.pool(3, jobs={"wat": wat, "taw": {}}) as pool:

        async def observed() -> bool:
            found = await ours.observations()
            return len(found) == 2 and all(each.checkin for each in found)

        await until(observed)
        (heartbeat,) = await ours.heartbeats()
        assert (heartbeat.pool_id, heartbeat.pid) == (pool.id, pool.process.pid)
        assert (heartbeat.job_names, heartbeat.concurrency) == (("taw", "wat"), 3)
        assert (heartbeat.host, heartbeat.runner, heartbeat.state) == (socket.gethostname(), "", "")
        assert 0 <= time.time() - heartbeat.heartbeat_at < 7
        assert len(heartbeat.worker_ids) == 3
        found = {each.job_id: each for each in await ours.observations()}
        assert set(found) == {busy["id"], bare["id"]}
        # Go's observer writes what its handler has: floats, and everything escaped for HTML.
        assert found[busy["id"]].args == WRITTEN_BY_GO
        assert found[bare["id"]].args == b""
        assert {each.pool_id for each in found.values()} == {pool.id}
        assert {each.checkin for each in found.values()} == {"row 5 of 9"}
        assert {job.id for job in (await ours.jobs("busy")).jobs} == set(found)
        queues = {each.name: each for each in await ours.queues()}
        assert (queues["wat"].running, queues["wat"].max_concurrency, queues["wat"].pools) == (2, 7, 1)
        assert (queues["taw"].running, queues["taw"].max_concurrency, queues["taw"].pools) == (0, 0, 1)
        await mixed.bench.redis.set(f"{mixed.bench.namespace}:go-on", 1)
        await mixed.until_ran(2)
    assert await ours.heartbeats() == []
    await mixed.bench.redis.delete(f"{mixed.bench.namespace}:go-on")


async def one_of_each(mixed: Mixed, runner: str, args: dict[str, Any] = ARGS) -> dict[str, tuple[int, str]]:
    """Have a job in a queue and on each shelf; return when and which, by place."""
    bench = mixed.bench
    run = mixed.run_go if runner == "go" else mixed.run_python
    found = {}
    for location, options in (("dead", {"max_fails": 1}), ("retry", {"max_fails": 2})):
        backoff = 3600 if runner == "go" else lambda job: 3600
        job = await bench.enqueuer.enqueue("wat", args)
        await run("wat", fails=-1, error="sorry <kid>", backoff=backoff, **options)
        ((_, at),) = await bench.job_set(location)
        found[location] = (int(at), job.id)
    scheduled = await bench.enqueuer.enqueue("wat", args, delay=3600, unique=True)
    assert not scheduled.duplicate
    found["scheduled"] = (scheduled.run_at, scheduled.id)
    queued = await bench.enqueuer.enqueue("wat", args)
    found["queue"] = (queued.enqueued_at, queued.id)
    return found


async def test_gos_client_shows_and_steers_what_python_wrote(mixed: Mixed) -> None:
    found = await one_of_each(mixed, "python")
    (queue,) = await mixed.client("queues")
    assert (queue["job_name"], queue["count"]) == ("wat", 1)
    assert 0 <= queue["latency"] < 5
    times = {"retry": "retry_at", "scheduled": "run_at", "dead": "died_at"}
    for location, field in times.items():
        page = await mixed.client(location, 1)
        (job,) = page["jobs"]
        at, job_id = found[location]
        assert (page["count"], job[field], job["id"], job["name"], job["args"]) == (1, at, job_id, "wat", ARGS_IN_GO)
        if location != "scheduled":
            assert (job["fails"], job["err"]) == (1, "ValueError: sorry <kid>")
        assert (await mixed.client(location, 2))["jobs"] == []
        with pytest.raises(LookupError, match="nothing deleted"):
            await mixed.client(f"delete-{location}", at, "another")
    at, job_id = found["dead"]
    with pytest.raises(LookupError, match="nothing retried"):
        await mixed.client("retry-dead", at, "another")
    await mixed.client("retry-dead", at, job_id)
    assert (await mixed.client("queues"))[0]["count"] == 2
    await mixed.client("delete-retry", *found["retry"])
    # Go frees the key that it makes of the arguments: not this one, for the number is another to it.
    await mixed.client("delete-scheduled", *found["scheduled"])
    assert await mixed.bench.redis.delete(*await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")) == 1
    for job_set in times:
        assert await mixed.bench.job_set(job_set) == []
    await mixed.run_go("wat")
    assert {each.id for each in (await mixed.events("start"))[2:]} == {found["dead"][1], found["queue"][1]}


async def test_deleting_a_scheduled_job_frees_its_key_on_the_other_side(mixed: Mixed, ours: Client) -> None:
    args = {"n": 7, "text": "<é>"}
    here = await mixed.bench.enqueuer.enqueue("wat", args, delay=3600, unique=True)
    assert not here.duplicate
    assert await mixed.enqueue("wat", args, how="unique_in", seconds=3600) is None
    await mixed.client("delete-scheduled", here.run_at, here.id)
    there = await mixed.enqueue("wat", args, how="unique_in", seconds=3600)
    assert (await mixed.bench.enqueuer.enqueue("wat", args, unique=True)).duplicate
    assert await GocraftClient(ours).delete_scheduled_job(there["run_at"], there["id"])
    assert not (await mixed.bench.enqueuer.enqueue("wat", args, unique=True)).duplicate
    await mixed.run_go("wat")
    assert not await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")


async def test_our_client_shows_and_steers_what_go_wrote(mixed: Mixed, ours: Client) -> None:
    found = await one_of_each(mixed, "go")
    ((queue,), sizes) = (await ours.queues(), (await ours.overview()).sizes)
    assert (queue.name, queue.count) == ("wat", 1)
    assert (sizes.queued, sizes.busy, sizes.retry, sizes.scheduled, sizes.dead) == (1, 0, 1, 1, 1)
    for location, page in {
        "retry": await ours.jobs("retry"),
        "scheduled": await ours.jobs("scheduled"),
        "dead": await ours.jobs("dead"),
    }.items():
        (job,) = page.jobs
        assert (page.total, job.at, job.id, job.name) == (1, *found[location], "wat")
        if location != "scheduled":
            assert (job.fails, job.err, job.traceback) == (1, "sorry <kid>", "")
            assert job.args == WRITTEN_BY_GO
    assert await GocraftClient(ours).retry_dead_job(*found["dead"])
    assert not await GocraftClient(ours).retry_dead_job(*found["dead"])
    assert await GocraftClient(ours).run_retry_job(*found["retry"])
    assert await GocraftClient(ours).run_scheduled_job(*found["scheduled"])
    await mixed.run_go("wat")
    starts = (await mixed.events("start"))[2:]
    assert {(each.id, each.fails) for each in starts} == {
        (found["dead"][1], 0), (found["retry"][1], 1), (found["scheduled"][1], 0), (found["queue"][1], 0),
    }  # fmt: skip
    # By its payload the job knew which key it held; Go makes it of the arguments, whose number is another to it.
    assert await mixed.bench.redis.delete(*await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")) == 1


async def test_all_dead_jobs_are_deleted_from_either_side(mixed: Mixed, ours: Client) -> None:
    for _ in range(3):
        await mixed.enqueue("wat")
    await mixed.run_go("wat", fails=-1, max_fails=1)
    assert await GocraftClient(ours).delete_all_dead_jobs() == 3
    await mixed.bench.enqueuer.enqueue("wat")
    await mixed.run_python("wat", fails=-1, max_fails=1)
    ((_, at),) = await mixed.bench.job_set("dead")
    assert (await ours.jobs("dead")).total == 1
    await mixed.client("delete-dead", int(at), (await ours.jobs("dead")).jobs[0].id)
    assert (await ours.jobs("dead")).total == 0
    await mixed.bench.enqueuer.enqueue("wat")
    await mixed.run_python("wat", fails=-1, max_fails=1)
    await mixed.client("delete-all-dead")
    assert (await ours.jobs("dead")).total == 0


PATHS = ["/queues", "/worker_pools", "/busy_workers", "/retry_jobs", "/scheduled_jobs", "/dead_jobs"]


async def answers(client: httpx.AsyncClient) -> dict[str, Any]:
    found = {}
    for path in [*PATHS, "/retry_jobs?page=2", "/dead_jobs?page=1"]:
        response = await client.get(path)
        assert response.status_code == 200
        found[path] = response.json()
    for job in found["/scheduled_jobs"]["jobs"]:
        # Of a later version than this one; ours writes and shows it.
        job.pop("unique_key", None)
    return found


async def test_both_web_uis_answer_the_same_of_a_mixed_fleet(mixed: Mixed) -> None:
    await one_of_each(mixed, "go", {"text": "<é>", "n": 2**53, "list": [], "none": None})
    await mixed.bench.redis.set(mixed.bench.keys.paused("wat"), 1)
    go_on = f"{mixed.bench.namespace}:go-on"
    for name in ("ours", "theirs"):
        await mixed.bench.enqueuer.enqueue(name, {"n": 1, "s": "é"})
        await mixed.bench.enqueuer.enqueue(name)
    python = mixed.python("ours", "wat", job={"until": go_on, "checkin": "halfway"}, concurrency=2)
    pools = mixed.pool(2, jobs={"theirs": {"until": go_on, "checkin": "halfway"}, "wat": {}})
    async with (
        pools,
        python.running(),
        mixed.webui() as url,
        serving(mixed.bench) as (_, here),
        httpx.AsyncClient(base_url=url) as there,
    ):

        async def busy() -> bool:
            found = (await there.get("/busy_workers")).json() or ()
            return len(found) == 4 and all(each["checkin"] for each in found)

        await until(busy)
        # A second may pass, or a heart may beat, between the two.
        for attempt in range(5):
            told, expected = await answers(here), await answers(there)
            if told == expected or attempt == 4:
                break
        assert told == expected
        assert {each["job_name"] for each in expected["/busy_workers"]} == {"ours", "theirs"}
        assert len(expected["/worker_pools"]) == 2
        assert expected["/dead_jobs"]["count"] == expected["/retry_jobs"]["count"] == 1
        await mixed.bench.redis.set(go_on, 1)
        await mixed.until_ran(6)
    await mixed.bench.redis.delete(go_on, mixed.bench.keys.paused("wat"))
    await mixed.bench.redis.delete(*await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*"))


async def test_both_web_uis_act_alike(mixed: Mixed) -> None:
    async with mixed.webui() as url, serving(mixed.bench) as (_, here), httpx.AsyncClient(base_url=url) as there:
        for client in (here, there):
            for _ in range(4):
                await mixed.bench.enqueuer.enqueue("wat", {"n": 1})
            await mixed.run_python("wat", fails=-1, max_fails=1)
            jobs = (await client.get("/dead_jobs")).json()["jobs"]
            assert len(jobs) == 4
            one, other = [f"{job['died_at']}/{job['id']}" for job in jobs[:2]]
            said = []
            for path in (
                f"/retry_dead_job/{one}",
                f"/retry_dead_job/{one}",
                f"/delete_dead_job/{other}",
                f"/delete_dead_job/{other}",
                "/retry_all_dead_jobs",
                "/delete_all_dead_jobs",
            ):
                response = await client.post(path)
                said.append((response.status_code, *response.json()))
            ok, no = (200, "status"), (500, "error")
            assert said == [ok, no, ok, no, ok, ok]
            # Of which Go makes an answer that is no JSON, for the quotes in its message.
            assert (await client.post("/delete_dead_job/999999999999999999999/x")).status_code == 500
            waiting = [job for job in jobs if job["id"] != jobs[1]["id"]]
            assert len(await mixed.bench.waiting("wat")) == len(waiting)
            await mixed.run_go("wat")
            assert {each.id for each in (await mixed.events("start"))[-3:]} == {job["id"] for job in waiting}
