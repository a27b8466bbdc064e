"""JSON APIs of the web UI: gocraft/work's, and the one below /api/ with its OpenAPI description."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from asyncwork import Job, UsageError
from asyncwork.client import Client
from asyncwork.models.job_record import JobRecord
from asyncwork.web import actions, api, create_app, gocraft_api, health, metrics
from asyncwork.web.responses import encode_json

from .conftest import LIMIT, Bench, until
from .payloads import failed, payload, put
from .web_app import calling, dump, serving


@pytest.fixture
async def web(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(bench) as (_, client):
        yield client


async def get(web: httpx.AsyncClient, path: str, **params: Any) -> Any:
    """Return the body of a successful response, checked against the OpenAPI description."""
    response = await web.get(path, params=params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    return fitting(response, "get", path)


async def post(web: httpx.AsyncClient, path: str, given: Any = None) -> Any:
    response = await web.post(path) if given is None else await web.post(path, json=given)
    assert response.status_code == 200, response.text
    return fitting(response, "post", path)


async def error(web: httpx.AsyncClient, method: str, path: str, status: int, **options: Any) -> str:
    """Return the text of an error response."""
    response = await web.request(method, path, **options)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    (text,) = response.json().values()
    assert response.json() == {"error": text}
    return str(text)


async def ids(bench: Bench, job_set: str) -> list[str]:
    return [json.loads(raw)["id"] for raw, _ in await bench.job_set(job_set)]


# gocraft/work's API, as its own tests have it


async def test_queues(bench: Bench, web: httpx.AsyncClient) -> None:
    pool = bench.pool()
    for name in ("wat", "foo", "zaz"):
        pool.job(name)(lambda: None)
        await bench.enqueuer.enqueue(name)
    async with pool.running():
        await pool.drain()
    for name in ("wat", "wat", "wat", "foo", "foo", "zaz"):
        await bench.enqueuer.enqueue(name)
    queues = await get(web, "/queues")
    assert [(each["job_name"], each["count"]) for each in queues] == [("foo", 2), ("wat", 3), ("zaz", 1)]
    assert list(queues[0]) == ["job_name", "count", "latency"]
    assert queues[0]["latency"] in (0, 1)


async def test_queues_of_an_empty_namespace(web: httpx.AsyncClient) -> None:
    assert await get(web, "/queues") == []
    assert await get(web, "/worker_pools") == []
    assert await get(web, "/busy_workers") == []
    assert await get(web, "/dead_jobs") == {"count": 0, "jobs": []}


async def test_queues_for_a_browser_are_a_page(web: httpx.AsyncClient) -> None:
    response = await web.get("/queues", headers={"accept": "text/html,*/*;q=0.8"})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["vary"] == "Accept"
    for accept in ("*/*", "application/json", "", "text/plain"):
        response = await web.get("/queues", headers={"accept": accept})
        assert response.json() == []
        assert response.headers["vary"] == "Accept"


async def test_worker_pools(bench: Bench, web: httpx.AsyncClient) -> None:
    first, second = bench.pool(concurrency=10), bench.pool(concurrency=11)
    for name in ("wat", "bob"):
        first.job(name)(lambda: None)
    for name in ("foo", "bar"):
        second.job(name)(lambda: None)
    async with first.running(), second.running():
        pools = await get(web, "/worker_pools")
        assert [each["worker_pool_id"] for each in pools] == sorted(filter(None, (first.id, second.id)))
        (found,) = [each for each in pools if each["worker_pool_id"] == first.id]
        assert list(found) == [
            *("worker_pool_id", "started_at", "heartbeat_at", "job_names", "concurrency", "host", "pid", "worker_ids")
        ]
        assert (found["job_names"], found["concurrency"], len(found["worker_ids"])) == (["bob", "wat"], 10, 10)
        assert abs(found["started_at"] - time.time()) < 5


async def test_busy_workers(bench: Bench, web: httpx.AsyncClient) -> None:
    go_on = asyncio.Event()
    pool = bench.pool(concurrency=3)

    @pool.job
    async def wat(job: Job, n: int) -> None:
        job.checkin("halfway")
        await go_on.wait()

    async with pool.running():
        assert await get(web, "/busy_workers") == []
        enqueued = await bench.enqueuer.enqueue("wat", {"n": 2**70})

        async def observed() -> Any:
            return [each for each in await get(web, "/busy_workers") if each["checkin"]]

        await until(observed)
        (worker,) = await get(web, "/busy_workers")
        assert list(worker) == [
            *("worker_id", "is_busy", "job_name", "job_id", "started_at", "args_json", "checkin", "checkin_at")
        ]
        assert (worker["is_busy"], worker["job_name"], worker["job_id"]) == (True, "wat", enqueued.id)
        assert (worker["args_json"], worker["checkin"]) == ('{"n":1180591620717411303424}', "halfway")
        (ours,) = (await get(web, "/api/busy"))["workers"]
        assert (ours["args"], ours["worker_id"], ours["pool_id"]) == ({"n": 2**70}, worker["worker_id"], pool.id)
        (found,) = (await get(web, "/api/find", text=enqueued.id))["jobs"]
        assert (found["location"], found["ref"], found["checkin"]) == ("busy", "", "halfway")
        go_on.set()
        await pool.drain()


async def test_retry_jobs(bench: Bench, web: httpx.AsyncClient) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None:
        raise ValueError("ohno")

    enqueued = await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()
    found = await get(web, "/retry_jobs")
    assert found["count"] == 1
    (job,) = found["jobs"]
    assert list(job) == ["retry_at", "name", "id", "t", "args", "fails", "err", "failed_at"]
    assert job["retry_at"] > time.time()
    assert (job["name"], job["id"], job["args"], job["fails"]) == ("wat", enqueued.id, None, 1)
    assert job["err"] == "ValueError: ohno"


async def test_scheduled_jobs(bench: Bench, web: httpx.AsyncClient) -> None:
    enqueued = await bench.enqueuer.enqueue("watter", {"a": 1}, delay=100)
    await bench.enqueuer.enqueue("watter", {"a": 1}, delay=200, unique=True)
    found = await get(web, "/scheduled_jobs")
    first, second = found["jobs"]
    assert found["count"] == 2
    assert list(first) == ["run_at", "name", "id", "t", "args"]
    assert (first["run_at"], first["name"], first["args"]) == (enqueued.run_at, "watter", {"a": 1})
    assert list(second) == ["run_at", "name", "id", "t", "args", "unique", "unique_key"]
    assert second["unique"] is True


async def test_dead_jobs_one_by_one(bench: Bench, web: httpx.AsyncClient) -> None:
    await die(bench)
    found = await get(web, "/dead_jobs")
    assert found["count"] == 2
    first, second = found["jobs"]
    assert (first["name"], first["fails"], first["died_at"] > 0) == ("wat", 1, True)
    assert await post(web, f"/delete_dead_job/{first['died_at']}/{first['id']}") == {"status": "ok"}
    assert await post(web, f"/retry_dead_job/{second['died_at']}/{second['id']}") == {"status": "ok"}
    assert await get(web, "/dead_jobs") == {"count": 0, "jobs": []}
    (queue,) = await get(web, "/queues")
    assert (queue["job_name"], queue["count"]) == ("wat", 1)
    again = f"dead_job/{first['died_at']}/{first['id']}"
    assert await error(web, "POST", f"/delete_{again}", 500) == "nothing deleted"
    assert await error(web, "POST", f"/retry_{again}", 500) == "nothing retried"


async def test_dead_jobs_all_at_once(bench: Bench, web: httpx.AsyncClient) -> None:
    await die(bench)
    assert await post(web, "/retry_all_dead_jobs") == {"status": "ok"}
    assert (await get(web, "/dead_jobs"))["count"] == 0
    assert (await get(web, "/queues"))[0]["count"] == 2
    await die(bench, enqueue=0)
    assert (await get(web, "/dead_jobs"))["count"] == 2
    assert await post(web, "/delete_all_dead_jobs") == {"status": "ok"}
    assert await get(web, "/dead_jobs") == {"count": 0, "jobs": []}
    # As Go has it: there is nothing to be told when there was nothing.
    assert await post(web, "/delete_all_dead_jobs") == {"status": "ok"}
    assert await post(web, "/retry_all_dead_jobs") == {"status": "ok"}


async def die(bench: Bench, enqueue: int = 2) -> None:
    """Run jobs until they are dead."""
    pool = bench.pool()

    @pool.job(max_fails=1)
    async def wat() -> None:
        raise ValueError("ohno")

    for _ in range(enqueue):
        await bench.enqueuer.enqueue("wat")
    async with pool.running():
        await pool.drain()


# What its tests leave open


async def test_values_are_exact(bench: Bench, web: httpx.AsyncClient) -> None:
    args = '{"big":123456789012345678901234567890,"whole":1.0,"tiny":5e-324,"text":"Grüße <b> \\u00e9","none":null}'
    raw = f'{{"name":"wat","id":"1","t":7,"args":{args}}}'.encode()
    await put(bench, "scheduled", raw)
    assert args in (await web.get("/scheduled_jobs")).text
    assert args in (await web.get("/api/jobs", params={"location": "scheduled"})).text


async def test_texts_that_utf8_cannot_hold_are_escaped(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", rb'{"name":"w\ud800t","id":"1","t":7,"args":{"a":"\udfff"},"fails":1,"err":"x\ud83d"}')
    (job,) = (await get(web, "/dead_jobs"))["jobs"]
    assert (job["name"], job["args"], job["err"]) == ("w\ufffdt", {"a": "\udfff"}, "x\ud83d")
    (kind,) = (await get(web, "/api/errors", location="dead"))["kinds"]
    assert (kind["kind"], kind["names"]) == ("x\ud83d", [{"name": "w\ufffdt", "count": 1}])


async def test_bytes_that_are_no_job_hide_no_others(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", b"\xff{", payload())
    bad, good = (await get(web, "/dead_jobs"))["jobs"]
    assert bad["err"]
    assert bad == {"died_at": 1_500_000_200, "name": "", "id": "", "t": 0, "args": None, "err": bad["err"]}
    assert good["name"] == "wat"


async def test_times_are_whole_numbers_whatever_the_score(bench: Bench, web: httpx.AsyncClient) -> None:
    await bench.redis.zadd(bench.keys.retry, {payload(): "-inf", payload(): 5.9, payload(): "inf"})
    assert [job["retry_at"] for job in (await get(web, "/retry_jobs"))["jobs"]] == [-(2**63), 5, 2**63 - 1024]
    times = [job["at"] for job in (await get(web, "/api/jobs", location="retry"))["jobs"]]
    assert times == [-(2.0**63), 5.9, 2.0**63 - 1024]


async def test_pages_of_twenty(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(payload() for _ in range(45)))
    expected = await ids(bench, "dead")
    for page, start in (("", 0), ("0", 0), ("1", 0), ("2", 20), ("3", 40), ("4", 60), (str(2**64 - 1), 900)):
        found = await get(web, "/dead_jobs", page=page)
        assert found["count"] == 45
        assert [job["id"] for job in found["jobs"]] == expected[start : start + 20]
    for page in ("x", "-1", "1.0", "+1", str(2**64), "9" * 5000, "١"):
        for path in ("/dead_jobs", "/retry_jobs", "/scheduled_jobs"):
            assert "page must be a whole number" in await error(web, "GET", path, 500, params={"page": page})


async def test_a_job_whose_id_has_slashes(bench: Bench, web: httpx.AsyncClient) -> None:
    for job_id in ("a/b c/ü?", "", "../x"):
        await put(bench, "dead", json.dumps({"name": "wat", "id": job_id, "t": 1, "args": None}).encode(), at=17)
        await post_path(web, f"/delete_dead_job/17/{quote(job_id, safe='/' if job_id != '../x' else '')}")
        assert await ids(bench, "dead") == []


@pytest.mark.parametrize("verb", ["delete", "retry"])
async def test_a_dead_job_with_a_fraction_in_its_score(bench: Bench, web: httpx.AsyncClient, verb: str) -> None:
    await put(bench, "dead", b'{"name":"wat","id":"1","t":1,"args":null}', at=17.5)
    (job,) = (await get(web, "/dead_jobs"))["jobs"]
    assert job["died_at"] == 17
    await post_path(web, f"/{verb}_dead_job/{job['died_at']}/{job['id']}")
    assert await ids(bench, "dead") == []


async def post_path(web: httpx.AsyncClient, path: str) -> None:
    response = await web.post(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


async def test_a_time_of_death_that_is_none(web: httpx.AsyncClient) -> None:
    for died_at in ("x", "-5", " 1"):
        await error(web, "POST", f"/delete_dead_job/{died_at}/1", 404)
    for died_at in ("1x", "1.5", "9" * 19, "1" * 400):
        text = await error(web, "POST", f"/retry_dead_job/{died_at}/1", 500)
        assert "died_at must be whole epoch seconds as in /dead_jobs" in text
    assert await error(web, "POST", f"/retry_dead_job/{2**62}/1", 500)


async def test_methods_and_paths_that_are_not_there(web: httpx.AsyncClient) -> None:
    response = await web.head("/live?path=/")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    for path in ("/queues", "/api/overview", "/api/openapi.json"):
        response = await web.head(path)
        assert (response.status_code, response.content, int(response.headers["content-length"]) > 0) == (200, b"", True)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            response = await web.request(method, path)
            assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    for route in (*actions.routes, *gocraft_api.routes):
        if "POST" in (route.methods or ()):
            for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS"):
                response = await web.request(method, route.path.replace("{died_at}", "1"))
                assert (response.status_code, response.headers["allow"]) == (405, "POST")
    for path in ("/nowhere", "/api/nowhere", "/queues/", "/work.js"):
        assert await error(web, "GET", path, 404) == "there is no such page or API path"
        await error(web, "POST", path, 404)
    response = await web.get("/nowhere", headers={"accept": "text/html"})
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")


# Ours, for looking

DESCRIPTION = json.loads(api._DESCRIPTION)
SCHEMAS = {"components": DESCRIPTION["components"]}


def fitting(response: httpx.Response, method: str, path: str) -> Any:
    """Return the body of a response after checking it against the OpenAPI description of its path."""
    value = response.json()
    for verb in ("delete", "retry"):
        if path.startswith(f"/{verb}_dead_job/"):
            path = f"/{verb}_dead_job/{{died_at}}/{{job_id}}"
    if method == "get" and path.startswith("/api/jobs/"):
        path = "/api/jobs/{job_id}"
    schema = DESCRIPTION["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, **SCHEMAS}).validate(value)
    return value


def test_every_route_is_described_and_nothing_else() -> None:
    routes = [*gocraft_api.routes, *api.routes, *actions.routes, health.route(), metrics.route()]
    there = {(route.path.replace(":path", ""), method) for route in routes for method in route.methods or ()}
    described = {(path, method.upper()) for path, verbs in DESCRIPTION["paths"].items() for method in verbs}
    assert {each for each in there if each[1] != "HEAD"} == described
    assert DESCRIPTION["openapi"].startswith("3.1")
    assert all(isinstance(route, Route) for route in routes)


def test_the_description_refers_only_to_what_it_has() -> None:
    text = api._DESCRIPTION.decode()
    for kind, entries in DESCRIPTION["components"].items():
        for name in entries if kind != "securitySchemes" else ():
            assert f'"#/components/{kind}/{name}"' in text
    for schema in DESCRIPTION["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    assert DESCRIPTION["servers"] == [{"url": ".."}]


async def test_the_description_is_served(web: httpx.AsyncClient) -> None:
    assert await get(web, "/api/openapi.json") == DESCRIPTION


async def test_overview(bench: Bench, web: httpx.AsyncClient) -> None:
    await die(bench)
    await put(bench, "queue:foo", payload("foo"))
    found = await get(web, "/api/overview")
    assert (found["namespace"], found["title"], found["read_only"]) == (bench.namespace, bench.namespace, False)
    assert (found["sizes"]["dead"], found["sizes"]["queued"]) == (2, 1)
    assert (found["recent"]["processed"], found["recent"]["dead"]) == (2, 2)
    assert "no_workers" in {each["kind"] for each in found["problems"]}
    assert found["problems"] == (await get(web, "/api/problems"))["problems"]
    assert found["server"]["version"]


async def test_queues_with_what_steers_them(bench: Bench, web: httpx.AsyncClient) -> None:
    await die(bench)
    await post(web, "/api/queues/pause", {"queue": "wat"})
    await post(web, "/api/queues/cap", {"queue": "wat", "cap": 3})
    (queue,) = (await get(web, "/api/queues"))["queues"]
    assert (queue["name"], queue["paused"], queue["max_concurrency"]) == ("wat", True, 3)
    assert queue["recent"]["failed"] == 2


async def test_pools_and_what_they_enqueue(bench: Bench, web: httpx.AsyncClient) -> None:
    pool = bench.pool()
    pool.job("wat")(lambda: None)
    pool.periodically("0 0 4 1 1 *", "wat")
    async with pool.running():
        (found,) = (await get(web, "/api/pools"))["pools"]
        assert (found["pool_id"], found["job_names"], found["state"]) == (pool.id, ["wat"], "running")
        (periodic,) = (await get(web, "/api/periodic"))["periodic"]
        assert (periodic["name"], periodic["spec"], periodic["args"]) == ("wat", "0 0 4 1 1 *", None)
        assert periodic["next"] > time.time()


async def test_jobs_of_a_location(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(failed(args={"n": n}) for n in range(250)))
    expected = await ids(bench, "dead")
    for given, first, count, page, per_page in (
        ({}, 0, 20, 1, 20),
        ({"page": "3"}, 40, 20, 3, 20),
        ({"page": "-7", "per_page": "0"}, 0, 1, 1, 1),
        ({"per_page": "5000"}, 0, 200, 1, 200),
        ({"per_page": "9" * 5000, "page": " 2 "}, 200, 50, 2, 200),
        ({"page": "9" * 30}, 250, 0, 10**9, 20),
    ):
        found = await get(web, "/api/jobs", location="dead", **given)
        assert [job["id"] for job in found["jobs"]] == expected[first : first + count]
        assert (found["total"], found["page"], found["per_page"]) == (250, page, per_page)
    newest = await get(web, "/api/jobs", location="dead", order="newest")
    assert [job["id"] for job in newest["jobs"]] == expected[::-1][:20]
    assert (newest["jobs"][0]["at"], newest["jobs"][0]["args"]) == (1_500_000_449, {"n": 249})


async def test_jobs_that_match(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", failed("a", "bad 5"), failed("b", "bad 6"), payload("a"), failed("a", "worse"))
    a5, b6, plain, worse = await ids(bench, "dead")
    for given, expected in (
        ({"name": "a"}, [a5, plain, worse]),
        ({"error": "bad …"}, [a5, b6]),
        ({"error": "bad …", "name": "a"}, [a5]),
        ({"error": ""}, [plain]),
        ({"text": "WORSE"}, [worse]),
        ({"name": "", "text": "bad"}, [a5, b6]),
        ({"name": "a", "order": "newest"}, [worse, plain, a5]),
    ):
        found = await get(web, "/api/jobs", location="dead", **given)
        assert [job["id"] for job in found["jobs"]] == expected
        assert (found["cursor"], found["total"]) == ("", 4)
    found = await get(web, "/api/jobs", location="dead", name="a", per_page=2)
    assert [job["id"] for job in found["jobs"]] == [a5, plain]
    found = await get(web, "/api/jobs", location="dead", name="a", cursor=found["cursor"])
    assert [job["id"] for job in found["jobs"]] == [worse]


async def test_one_job_again(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "queue:a b", payload("a b"))
    (job,) = (await get(web, "/api/jobs", location="queue:a b"))["jobs"]
    where = {"location": job["location"], "ref": job["ref"]}
    assert await get(web, "/api/job", **where) == job
    await bench.redis.delete(bench.keys.queue("a b"))
    assert "not there any more" in await error(web, "GET", "/api/job", 404, params=where)


async def test_a_queue_whose_name_is_not_utf8(bench: Bench, web: httpx.AsyncClient) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, b"caf\xe9")
    await bench.redis.lpush(bench.keys.jobs.encode() + b"caf\xe9", payload())
    (queue,) = (await get(web, "/api/queues"))["queues"]
    assert queue["name"] == "caf\udce9"
    response = await web.get("/api/jobs?location=queue:caf%E9")
    (job,) = fitting(response, "get", "/api/jobs")["jobs"]
    body = json.dumps({"location": job["location"], "refs": [job["ref"]]})
    response = await web.post("/api/jobs/delete", content=body, headers={"content-type": "application/json"})
    assert response.json()["done"] == 1
    response = await web.post("/api/queues/empty?queue=caf%E9")
    assert response.json()["done"] == 0


async def test_kinds_of_errors(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "retry", failed("a", "no row 5"), failed("b", "no row 6"), failed("b", "timeout"))
    found = await get(web, "/api/errors", location="retry")
    first, second = found["kinds"]
    assert (first["kind"], first["count"], first["newest"]) == ("no row …", 2, 1_500_000_201)
    assert first["names"] == [{"name": "a", "count": 1}, {"name": "b", "count": 1}]
    assert (second["kind"], found["cursor"], found["total"]) == ("timeout", "", 3)


async def test_find(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", payload(args={"to": "ada@example.com"}))
    await put(bench, "queue:wat", payload(args={"to": "bob@example.com"}))
    found = await get(web, "/api/find", text="ada@")
    assert [(job["location"], job["args"]) for job in found["jobs"]] == [("dead", {"to": "ada@example.com"})]

    async def both_found() -> bool:
        # A busy machine finds fewer in the time that a request may take.
        return len((await get(web, "/api/find", text="example"))["jobs"]) == 2

    await until(both_found)
    assert await error(web, "GET", "/api/find", 400) == "text is required"


async def test_history(bench: Bench, web: httpx.AsyncClient) -> None:
    await die(bench)
    found = await get(web, "/api/run_times", queue="wat", days="0")
    assert (found["queue"], found["days"], len(found["counts"]), len(found["bounds"])) == ("wat", 1, 26, 25)
    assert found["p50"] <= found["p95"] <= found["p99"]
    found = await get(web, "/api/history")
    assert (found["by"], len(found["counts"]), sum(each["processed"] for each in found["counts"])) == ("minute", 60, 2)
    found = await get(web, "/api/history", by="day", count="0", queue="wat")
    assert (len(found["counts"]), found["counts"][0]["dead"]) == (1, 2)
    assert len((await get(web, "/api/history", count=10**9))["counts"]) == 1440
    assert len((await get(web, "/api/history", count=10**9, by="day"))["counts"]) == 400


NONSENSE = [
    ("/api/jobs", "location is required"),
    ("/api/jobs?location=", "location is required"),
    ("/api/jobs?location=nowhere", "a location is"),
    ("/api/jobs?location=dead&page=x", "page must be a whole number, not 'x'"),
    ("/api/jobs?location=dead&page=1.5", "page must be a whole number"),
    ("/api/jobs?location=dead&per_page=%D9%A1", "per_page must be a whole number"),
    ("/api/jobs?location=dead&order=up", "order must be one of oldest, newest, not 'up'"),
    ("/api/jobs?location=dead&cursor=%FF", ""),
    ("/api/job?location=dead", "ref is required"),
    ("/api/job?location=dead&ref=x", "not a job ref"),
    ("/api/errors", "location is required"),
    ("/api/errors?location=dead&cursor=x", ""),
    ("/api/find?text=x&cursor=x", ""),
    ("/api/run_times", "queue is required"),
    ("/api/history?by=year", "by must be one of minute, day"),
    ("/api/history?count=many", "count must be a whole number"),
]


@pytest.mark.parametrize(("path", "text"), NONSENSE, ids=[path for path, _ in NONSENSE])
async def test_invalid_parameters_are_rejected(web: httpx.AsyncClient, path: str, text: str) -> None:
    assert text in await error(web, "GET", path, 400)


async def test_what_may_not_be_seen_is_not_there(bench: Bench) -> None:
    def redact(record: JobRecord) -> JobRecord:
        return dataclasses.replace(record, args=b"[hidden")

    await put(bench, "dead", payload(args={"secret": "xyzzy"}))
    async with serving(bench, redact=redact) as (_, web):
        for path in ("/dead_jobs", "/api/jobs?location=dead"):
            (job,) = (await web.get(path)).json()["jobs"]
            assert job["args"] == "[hidden"
        assert (await web.get("/api/find?text=xyzzy")).json()["jobs"] == []


# Ours, for acting


async def refs(web: httpx.AsyncClient, location: str) -> list[str]:
    return [job["ref"] for job in (await get(web, "/api/jobs", location=location, per_page=200))["jobs"]]


async def test_retry_some(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(failed() for _ in range(4)))
    first, second, *_ = await refs(web, "dead")
    others = (await ids(bench, "dead"))[2:]
    outcome = await post(web, "/api/jobs/retry", {"location": "dead", "refs": [first, second]})
    assert (outcome["done"], outcome["looked"], outcome["cursor"]) == (2, 2, "")
    assert await ids(bench, "dead") == others
    assert len(await bench.waiting("wat")) == 2
    assert (await post(web, "/api/jobs/retry", {"location": "dead", "ref": first}))["done"] == 0


async def test_delete_some_and_bring_them_back(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(failed() for _ in range(3)))
    before = await dump(bench)
    outcome = await post(web, "/api/jobs/delete", {"location": "dead", "refs": await refs(web, "dead")})
    assert outcome["done"] == 3
    assert await ids(bench, "dead") == []
    assert (await post(web, "/api/jobs/restore", {"undo": outcome["undo"]}))["done"] == 3
    assert (await dump(bench)).items() >= before.items()
    assert (await post(web, "/api/jobs/restore", {"undo": outcome["undo"]}))["done"] == 0


async def test_all_that_match(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", failed("a", "bad 5"), failed("b", "bad 6"), failed("a", "worse"), payload("a"))
    given = {"location": "dead", "all": True, "name": "a", "error": "bad …", "text": None}
    assert (await post(web, "/api/jobs/count", given))["done"] == 1
    assert (await post(web, "/api/jobs/retry", given))["done"] == 1
    assert len(await ids(bench, "dead")) == 3
    assert (await post(web, "/api/jobs/delete", {"location": "dead", "all": True, "error": ""}))["done"] == 1
    assert (await post(web, "/api/jobs/delete", {"location": "dead", "all": 1}))["done"] == 2


async def test_a_great_deal_is_done_in_slices(bench: Bench, web: httpx.AsyncClient) -> None:
    everything = [failed("ab"[n % 2], f"bad {n}") for n in range(20_000)]
    await put(bench, "dead", *everything)
    for path, left in (("count", 20_000), ("retry", 10_000), ("delete", 0)):
        given = {"location": "dead", "all": True, "cursor": ""} | ({"name": "a"} if path == "retry" else {})
        done, slices = 0, 0
        while not slices or given["cursor"]:
            began = time.monotonic()
            outcome = await post(web, f"/api/jobs/{path}", given)
            assert time.monotonic() - began < LIMIT / 4
            given["cursor"], done, slices = outcome["cursor"], done + outcome["done"], slices + 1
        assert (await get(web, "/api/overview"))["sizes"]["dead"] == left
        assert done == (20_000 if path == "count" else 10_000)
    await bench.redis.delete(bench.keys.queue("a"))


async def test_queues_are_steered(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "queue:wat", payload(), payload())

    async def queue() -> Any:
        (found,) = (await get(web, "/api/queues"))["queues"]
        return found

    assert (await post(web, "/api/queues/pause", {"queue": "wat"}))["done"] == 1
    assert (await queue())["paused"]
    assert (await post(web, "/api/queues/unpause", {"queue": "wat"}))["done"] == 1
    assert not (await queue())["paused"]
    assert (await post(web, "/api/queues/cap", {"queue": "wat", "cap": 7}))["done"] == 1
    assert (await queue())["max_concurrency"] == 7
    await post(web, "/api/queues/cap", {"queue": "wat", "cap": "0"})
    assert (await queue())["max_concurrency"] == 0
    assert (await post(web, "/api/queues/max-waiting", {"queue": "wat", "max_waiting": 7}))["done"] == 1
    assert (await queue())["max_waiting"] == 7
    await post(web, "/api/queues/max-waiting", {"queue": "wat", "max_waiting": None})
    assert (await queue())["max_waiting"] == 0
    assert (await post(web, "/api/queues/rate", {"queue": "wat", "rate": "100/60"}))["done"] == 1
    found = await queue()
    assert (found["rate"], found["rate_set"], found["tokens"], found["rests_for"]) == ("100/60/1", True, 1, 0)
    await post(web, "/api/queues/rate", {"queue": "wat", "rate": "none"})
    assert ((await queue())["rate"], (await queue())["rate_set"]) == ("", True)
    await post(web, "/api/queues/rate", {"queue": "wat", "rate": "code"})
    assert not (await queue())["rate_set"]
    options = {"json": {"queue": "wat"}}
    assert "cannot be forgotten" in await error(web, "POST", "/api/queues/forget", 400, **options)
    outcome = await post(web, "/api/queues/empty", {"queue": "wat"})
    assert outcome["done"] == 2
    assert (await queue())["count"] == 0
    assert (await post(web, "/api/jobs/restore", {"undo": outcome["undo"]}))["done"] == 2
    await post(web, "/api/queues/empty", {"queue": "wat"})
    assert (await post(web, "/api/queues/forget", {"queue": "wat"}))["done"] == 1
    assert (await get(web, "/api/queues"))["queues"] == []


BAD_ACTS: list[tuple[str, Any, str]] = [
    ("/api/jobs/retry", {}, "location is required"),
    ("/api/jobs/retry", {"location": "dead"}, "no jobs selected"),
    ("/api/jobs/retry", {"location": "dead", "refs": []}, "no jobs selected"),
    ("/api/jobs/retry", {"location": "dead", "all": False}, "no jobs selected"),
    ("/api/jobs/retry", {"location": "dead", "all": "perhaps"}, "all must be 1 or 0, not 'perhaps'"),
    ("/api/jobs/retry", {"location": "dead", "refs": ["~~"]}, "not a job ref"),
    ("/api/jobs/retry", {"location": "dead", "refs": [{"a": 1}]}, "'refs' must be a text or a list of texts"),
    ("/api/jobs/retry", {"location": "queue:wat", "all": True}, "jobs can be enqueued from"),
    ("/api/jobs/delete", {"location": "dead", "refs": ["x"], "all": True}, "give refs or all, not both"),
    ("/api/jobs/delete", {"location": "busy", "all": True}, "a location is"),
    ("/api/jobs/delete", {"location": "dead", "all": True, "cursor": "x"}, ""),
    ("/api/jobs/count", {"location": "dead", "refs": ["x"]}, "it counts all matching jobs"),
    ("/api/jobs/restore", {}, "undo is required"),
    ("/api/jobs/restore", {"undo": "*"}, "undo"),
    ("/api/queues/pause", {}, "queue is required"),
    ("/api/queues/pause", {"queue": ""}, "queue is required"),
    ("/api/queues/cap", {"queue": "wat"}, "cap is required"),
    ("/api/queues/cap", {"queue": "wat", "cap": -1}, "cap must be the maximum number of running jobs"),
    ("/api/queues/cap", {"queue": "wat", "cap": 1.5}, "cap must be a whole number"),
    ("/api/queues/cap", {"queue": "wat", "cap": "x"}, "cap must be a whole number"),
    ("/api/queues/cap", {"queue": "wat", "cap": 2**31}, "at most 2147483647"),
    ("/api/limits/set", {"limit": "llm", "rate": "none", "concurrency": -1}, "the maximum number of jobs and slots"),
    ("/api/limits/set", {"limit": "llm", "rate": "none", "concurrency": 2**31}, "at most 2147483647"),
    ("/api/queues/max-waiting", {"queue": "wat", "max_waiting": 2**31}, "at most 2147483647"),
    ("/api/tenants/set", {"queue": "wat", "partition": "a", "concurrency": 10**30}, "at most 2147483647"),
    ("/api/queues/max-waiting", {}, "queue is required"),
    (
        "/api/queues/max-waiting",
        {"queue": "wat", "max_waiting": -1},
        "max_waiting must be the maximum number of waiting",
    ),
    ("/api/queues/max-waiting", {"queue": "wat", "max_waiting": "x"}, "max_waiting must be a whole number"),
    ("/api/queues/rate", {"queue": "wat"}, "rate is required"),
    ("/api/queues/rate", {"queue": "wat", "rate": "fast"}, "a rate must be COUNT/SECONDS"),
    ("/api/queues/rate", {"queue": "wat", "rate": "0/60"}, "pause the queue instead"),
    ("/api/queues/pause", [], "the body must be a JSON object"),
    ("/api/queues/pause", "wat", "the body must be a JSON object"),
]


@pytest.mark.parametrize(("path", "given", "text"), BAD_ACTS)
async def test_invalid_actions_are_rejected(
    bench: Bench, web: httpx.AsyncClient, path: str, given: Any, text: str
) -> None:
    await put(bench, "dead", failed())
    before = await dump(bench)
    assert text in await error(web, "POST", path, 400, json=given)
    assert await dump(bench) == before


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"queue": "wat"', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"queue": "wat"}', "text/plain", 415),
        (b'{"queue": "wat"}', "", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
        (b'{"queue": "' + b"x" * 1_000_000 + b'"}', "application/json", 413),
    ],
    ids=["cut off", "deep", "not utf-8", "text", "nothing", "multipart", "large"],
)
async def test_bodies_that_are_not_taken(web: httpx.AsyncClient, content: bytes, kind: str, status: int) -> None:
    assert await error(web, "POST", "/api/queues/pause", status, content=content, headers={"content-type": kind})


async def test_a_body_without_an_end_is_not_read_to_its_end(bench: Bench) -> None:
    taken = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 100_000

    app = create_app(bench.url, namespace=bench.namespace, hosts=["*"])
    feed = parts()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(feed), "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST"}
    scope |= {"path": "/api/queues/pause", "raw_path": b"/api/queues/pause", "query_string": b"", "root_path": ""}
    scope |= {"headers": [(b"content-type", b"application/json")], "scheme": "http", "client": ("127.0.0.1", 1)}
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert (sent[0]["status"], taken) == (413, 11)


# Forms


async def form(web: httpx.AsyncClient, path: str, fields: Any, **options: Any) -> httpx.Response:
    headers = {"accept": "text/html", **options.pop("headers", {})}
    return await web.post(path, data=fields, headers=headers, follow_redirects=False, **options)


async def test_a_form_leads_back_with_what_was_done(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(failed() for _ in range(3)))
    first, *_ = await refs(web, "dead")
    back = "/dead?name=a%20b&done=x&n=9&undo=y&page=2"
    response = await form(web, "/api/jobs/retry", {"location": "dead", "ref": [first], "back": back})
    assert response.status_code == 303
    assert response.headers["location"] == "/dead?name=a%20b&page=2&done=retry&n=1"
    response = await form(web, "/api/jobs/delete", {"location": "dead", "all": "1", "ref": [first], "back": "/dead"})
    location = httpx.URL(response.headers["location"])
    assert (location.params["done"], location.params["n"], len(location.params["undo"])) == ("delete", "2", 24)
    response = await form(web, "/api/jobs/restore", {"undo": location.params["undo"]})
    assert response.headers["location"] == "/?done=restore&n=2"
    response = await form(web, "/api/queues/pause?queue=caf%E9", {"back": "/queues"})
    assert response.headers["location"] == "/queues?done=pause&n=1"
    assert await bench.redis.get(bench.keys.queue("").encode() + b"caf\xe9:paused")
    response = await form(web, "/api/queues/pause?queue=wat", {"back": "/queues"})
    assert response.headers["location"] == "/queues?done=pause&n=1"


@pytest.mark.parametrize(
    "back",
    [
        *("", "dead", "//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:alert(1)"),
        *("/a\r\nX: y", "/a\x00", "/é", "/../x", "/a/%2e%2E/x", "/%2e/", "/a\\..\\b", "\t//evil.example", "/\udcff"),
    ],
)
async def test_a_form_leads_nowhere_else(web: httpx.AsyncClient, back: str) -> None:
    content = f"queue=wat&back={quote(back.encode('utf-8', 'surrogateescape'), safe='')}"
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    response = await web.post("/api/queues/unpause", content=content, headers=headers)
    assert (response.status_code, response.headers["location"]) == (303, "/?done=unpause&n=1")


async def test_an_invalid_form_gets_an_error_page(web: httpx.AsyncClient) -> None:
    response = await form(web, "/api/queues/cap", {"queue": "wat", "cap": "<b>"})
    assert (response.status_code, response.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert "&lt;b&gt;" in response.text
    assert "<b>" not in response.text


async def test_a_program_may_send_a_form_too(web: httpx.AsyncClient) -> None:
    response = await form(web, "/api/queues/pause", {"queue": "wat"}, headers={"accept": "application/json"})
    assert response.json()["done"] == 1


# Redis away


async def test_redis_is_away() -> None:
    app = create_app("redis://me:secret@127.0.0.1:1/0", hosts=["test"])
    async with calling(app) as web:
        paths = [route.path for route in (*api.routes, *gocraft_api.routes) if "GET" in (route.methods or ())]
        for path in set(paths) - {"/api/openapi.json"}:
            if path == "/api/periodic/preview":
                continue  # It reads nothing.
            given = {
                "location": "dead",
                "text": "x",
                "ref": f"1~{'0' * 20}~0",
                "key": "k",
                "queue": "q",
                "id": "w" + "0" * 23,
                "group": "0",
            }
            text = await error(web, "GET", re.sub(r"\{.*?\}", "n", path), 503, params=given)
            assert "redis://" in text
            assert "secret" not in text
        await error(web, "POST", "/api/queues/pause", 503, json={"queue": "wat"})
        await error(web, "POST", "/delete_all_dead_jobs", 503)
        for response in (
            await web.get("/dead", headers={"accept": "text/html"}),
            await form(web, "/api/queues/pause", {"queue": "wat"}),
        ):
            assert (response.status_code, response.headers["content-type"]) == (503, "text/html; charset=utf-8")
            assert "secret" not in response.text


async def test_an_unexpected_error_is_logged_and_not_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: Client) -> Any:
        raise ZeroDivisionError("a secret of the program")

    monkeypatch.setattr(Client, "queues", fail)
    monkeypatch.setattr(Client, "overview", fail)
    async with serving(bench) as (_, web):
        for accept in ("*/*", "text/html"):
            response = await web.get("/queues", headers={"accept": accept})
            assert response.status_code == 500
            assert "secret" not in response.text
            assert response.headers["x-frame-options"] == "DENY"
    assert "ZeroDivisionError: a secret of the program" in caplog.text


# The client


async def test_the_clients_owner_closes_it(bench: Bench) -> None:
    async with Client(bench.url, namespace=bench.namespace) as client:
        app = create_app(client=client, title="Shop", hosts=["test"])
        assert (app.state.context.client, app.state.context.title) == (client, "Shop")
        async with app.router.lifespan_context(app), calling(app) as web:
            assert (await get(web, "/api/overview"))["title"] == "Shop"
        assert (await client.overview()).server.version
        with pytest.raises(UsageError, match="pass url and redact to the client"):
            create_app(bench.url, client=client)


async def test_its_own_client_is_closed_at_the_end(bench: Bench) -> None:
    async with serving(bench) as (app, web):
        assert await get(web, "/queues") == []
        assert isinstance(app, Starlette)
        redis_client = app.state.context.client._redis
        assert redis_client._clients.get()
    assert not redis_client._clients.get()


def test_a_url_that_is_none() -> None:
    with pytest.raises(UsageError, match="not a Redis URL"):
        create_app("localhost")


def test_what_a_redacted_text_may_hold_breaks_nothing() -> None:
    assert encode_json({"a": b'{"b":\xff', "c": float("inf")}) == b'{"a":"{\\"b\\":\\\\xff","c":null}'
    assert json.loads(encode_json({"\udcff": ("\udcff", b"1")})) == {"\\udcff": ["\udcff", 1]}
    with pytest.raises(TypeError):
        encode_json({"a": object()})
