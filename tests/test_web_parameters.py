"""Invalid parameters: every response is a page, an error that says why, or 404."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from asyncwork.web import actions, app, health, metrics

from .architecture import ROOT
from .conftest import Bench
from .payloads import failed, payload, put
from .web_app import serving

ZEROS = "0" * 20
NUMBERS = (
    "nan",
    "-nan",
    "+nan",
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "-1e999",
    "1e-400",
    "-0.0",
    "-1",
    "9" * 30,
    "9" * 5_000,
)
# Each kind of value, as the bytes of a query.
VALUES: dict[str, tuple[bytes, ...]] = {
    "ref": (
        *(f"{number}~{ZEROS}~0".encode() for number in (*NUMBERS, "", "1_0", "0x1", "infinity", "e", "1.5")),
        *(f"1.0~{ZEROS}~{rank}".encode() for rank in ("-1", "9" * 15, "9" * 16, "nan", "")),
        *(f"~{ZEROS}~{rank}".encode() for rank in ("0", "9" * 15)),
        f"{'１'}~{ZEROS}~１".encode(),
    ),
    "cursor": tuple(
        f"{prefix}{number}~{rank}".encode()
        for prefix, number, rank in itertools.product(
            ("", "1500000000|", "9" * 16 + "|", "dead|", "queue:wat|"),
            ("nan", "-nan", "inf", "1e999", ""),
            ("0", "9" * 15),
        )
    ),
    "location": (b"dead", b"queue:wat", b"queue:", b"queue:\x00", b"busy", b"periodic", b"queue:" + b"x" * 3_000),
    "undo": (b"0" * 24, b"0" * 23, b"*" * 24, b"0" * 23 + b"\x00"),
    "text": (b"\\ud83d", b'"', b"\\"),
}
ANY = (
    *(
        b"",
        b"\x00",
        b"a\x00b",
        b"\xff\xfe",
        b"\xed\xa0\xbd",
        b"\r\nx: y",
        b"%",
        b"\xf0\x9f\x98\x80",
        b"<b>",
        b"x" * 4_000,
    ),
    *(number.encode() for number in NUMBERS),
)
# So that one parameter is wrong and the others are right.
RIGHT = {
    "path": b"/dead",
    "location": b"dead",
    "ref": f"1.0~{ZEROS}~0".encode(),
    "text": b"wat",
    "queue": b"wat",
    "name": b"wat",
}
RIGHT |= {"key": b"wat:@daily", "spec": b"@daily", "tz": b"UTC", "args": b"{}"}
LISTED = ("page", "per_page", "order", "cursor", "seen", "kinds", "kinds_seen", "name", "error", "text")
# What each page keeps in its links, or shows of an action that has ended.
KEPT = (
    "order",
    "seen",
    "counted",
    "location",
    "ref",
    "id",
    "queue",
    "action",
    "key",
    "done",
    "n",
    "undo",
    "job",
    "back",
)
# What each address reads. One that reads nothing is given something all the same.
READ: dict[str, tuple[str, ...]] = {
    "/": ("as", *KEPT),
    "/busy": ("done", "n"),
    "/queues": ("done", "n"),
    "/retries": LISTED,
    "/scheduled": LISTED,
    "/dead": LISTED,
    "/finished": ("page", "per_page"),
    "/quarantine": LISTED,
    "/queue": ("name", "text", "cursor", "page", "per_page", "seen"),
    "/deleted": ("done", "n", "undo"),
    "/unique": ("name",),
    "/find": ("text", "all", "cursor", "seen", "per_page"),
    "/job": ("location", "ref", "id"),
    "/batches": ("page", "per_page"),
    "/batch": ("id", "page"),
    "/batch/nodes": ("id", "group", "fold", "state", "page"),
    "/periodic": ("done", "n"),
    "/periodic/job": ("key", "spec", "tz", "args"),
    "/periodic/new": ("name", "spec", "tz", "args"),
    "/confirm": (
        "location",
        "action",
        "queue",
        "pool",
        "id",
        "key",
        "cursor",
        "counted",
        "seen",
        "name",
        "error",
        "text",
    ),
    "/live/poll": ("path", *LISTED),
    "/healthz": (),
    "/metrics": (),
    "/api/overview": (),
    "/api/queues": (),
    "/api/tenants": ("queue",),
    "/api/limits": (),
    "/api/pools": (),
    "/api/deployments": (),
    "/api/busy": (),
    "/api/jobs": ("location", "page", "per_page", "order", "cursor", "name", "error", "text"),
    "/api/job": ("location", "ref"),
    "/api/finished": ("page", "per_page", "name"),
    "/api/errors": ("location", "cursor", "name", "error", "text"),
    "/api/find": ("text", "cursor", "per_page"),
    "/api/batches": ("page", "per_page"),
    "/api/batch": ("id", "page", "per_page"),
    "/api/batch/nodes": ("id", "group", "state", "page", "per_page"),
    "/api/periodic": (),
    "/api/periodic/runs": ("key", "count"),
    "/api/periodic/preview": ("spec", "tz"),
    "/api/history": ("queue", "by", "count"),
    "/api/run_times": ("queue", "days"),
    "/api/deletions": (),
    "/api/unique": ("queue", "count"),
    "/api/problems": (),
    "/api/openapi.json": (),
    "/worker_pools": (),
    "/busy_workers": (),
    "/retry_jobs": ("page",),
    "/scheduled_jobs": ("page",),
    "/dead_jobs": ("page",),
}
# The addresses of which a part is read.
IN_PATH = {"/jobs/{job_id:path}", "/api/jobs/{job_id:path}", "/api/jobs/{job_id}/stream", "/static/{name}"}
# Streams for ever; `/live/poll` reads the same.
STREAMS = {"/live"}


async def fill(bench: Bench) -> None:
    await put(bench, "dead", failed(), failed("other"))
    await put(bench, "retry", failed())
    await put(bench, "scheduled", payload(), at=4_000_000_000)
    await put(bench, "queue:wat", payload())


def addresses() -> set[str]:
    """Return the addresses that answer to GET."""
    found = [health.route(), metrics.route(), *app._ROUTES]
    return {route.path for route in found if route.methods is not None and "GET" in route.methods}


def test_every_address_is_tried() -> None:
    assert READ.keys() | IN_PATH | STREAMS == addresses()


def test_every_documented_parameter_is_tried() -> None:
    description = json.loads((ROOT / "asyncwork/web/openapi.json").read_text(encoding="utf-8"))
    shared = description["components"]["parameters"]

    def resolved(parameter: dict[str, str]) -> dict[str, str]:
        return shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter

    documented = {
        path: {each["name"] for each in map(resolved, methods["get"].get("parameters", ())) if each["in"] == "query"}
        for path, methods in description["paths"].items()
        if "get" in methods and path in READ
    }
    assert "cursor" in documented["/api/errors"]
    assert not {path: names - {*READ[path]} for path, names in documented.items() if names - {*READ[path]}}


@pytest.mark.parametrize("path", READ)
async def test_no_parameter_breaks_a_page(bench: Bench, path: str) -> None:
    await fill(bench)
    async with serving(bench) as (_, web):
        for name in READ[path] or ("unread",):
            for number, value in enumerate((*VALUES.get(name, ()), *ANY)):
                query = "&".join(f"{each}={quote(text)}" for each, text in {**RIGHT, name: value}.items())
                accept = "text/html" if number % 2 else "*/*"
                response = await web.get(f"{path}?{query}", headers={"accept": accept})
                # gocraft/work answers to nonsense with 500, which workwebui's users expect.
                nonsense = 500 if path.endswith("_jobs") and "must be" in response.text else 400
                assert response.status_code in (200, nonsense, 404), (query, response.text)


@pytest.mark.parametrize("path", sorted(IN_PATH))
async def test_no_part_of_a_path_breaks_a_page(bench: Bench, path: str) -> None:
    await fill(bench)
    start, end = re.split(r"\{.*\}", path)
    async with serving(bench) as (_, web):
        for number, value in enumerate(ANY):
            accept = "text/html" if number % 2 else "*/*"
            response = await web.get(f"{start}{quote(value, safe='')}{end}", headers={"accept": accept})
            assert response.status_code in (200, 400, 404), (value, response.text)
            # No job has such an id, and no file such a name.
            assert end != "/stream" or response.status_code == 404


HOSTILE: tuple[Any, ...] = (
    *("\x00", "\udcff", "\ud83d", "half \ud83d", "x" * 100_000, "nan", "", "9" * 30, "{}", "*"),
    *(-1, 10**30, 1.5, -0.0, True, False, None, [], ["\ud800", "a"], [[]], {}, {"a": 1}),
)
BODIES: dict[str, dict[str, Any]] = {
    "/api/jobs/retry": {"location": "dead", "refs": [f"1.0~{ZEROS}~0"]},
    "/api/jobs/delete": {
        "location": "dead",
        "all": True,
        "name": "nobody",
        "text": "nothing",
        "error": "",
        "cursor": "",
    },
    "/api/jobs/count": {"location": "dead", "all": True, "name": "nobody", "text": "nothing", "cursor": ""},
    "/api/jobs/cancel": {
        "location": "retry",
        "all": True,
        "name": "nobody",
        "text": "nothing",
        "cursor": "",
        "reason": "",
    },
    "/api/jobs/restore": {"undo": "0" * 24},
    "/api/jobs/signal": {"id": "a" * 24, "event": "approved", "value": "5"},
    "/api/queues/pause": {"queue": "nobody"},
    "/api/queues/unpause": {"queue": "nobody"},
    "/api/queues/cap": {"queue": "nobody", "cap": 0},
    "/api/queues/rate": {"queue": "nobody", "rate": "100/60", "burst": 20},
    "/api/tenants/pause": {"queue": "nobody", "partition": "nothing"},
    "/api/tenants/unpause": {"queue": "nobody", "partition": "nothing"},
    "/api/limits/set": {"limit": "nothing", "rate": "none", "concurrency": 3},
    "/api/tenants/set": {"queue": "nobody", "partition": "nothing", "concurrency": 3, "weight": 2, "rate": "10/1"},
    "/api/queues/max-waiting": {"queue": "nobody", "max_waiting": 0},
    "/api/queues/empty": {"queue": "nobody"},
    "/api/queues/forget": {"queue": "nobody"},
    "/api/pools/quiet": {"pool": "nobody"},
    "/api/pools/unquiet": {"pool": "nobody"},
    "/api/pools/resize": {"pool": "nobody", "concurrency": 3},
    "/api/pools/stop": {"pool": "nobody"},
    "/api/unique/free": {"queue": "nobody", "id": "nothing"},
    "/api/batches/cancel": {"id": "0" * 24},
    "/api/batches/retry": {"id": "0" * 24},
    "/api/periodic/pause": {"key": "nobody"},
    "/api/periodic/unpause": {"key": "nobody"},
    "/api/periodic/run": {"key": "nobody"},
    "/api/periodic/add": {"spec": "@daily", "name": "nobody", "args": "{}", "tz": "UTC"},
    "/api/periodic/edit": {"key": "nobody", "spec": "@daily", "args": "{}", "tz": "UTC"},
    "/api/periodic/reset": {"key": "nobody"},
    "/api/periodic/remove": {"key": "nobody"},
}


def test_every_action_has_a_body() -> None:
    assert set(BODIES) == {route.path for route in actions.routes}


@pytest.mark.parametrize("path", BODIES)
async def test_no_parameter_breaks_an_action(bench: Bench, path: str) -> None:
    await fill(bench)
    async with serving(bench) as (_, web):
        for name in (*BODIES[path], "extra"):
            special = [each.decode("utf-8", "surrogateescape") for each in VALUES.get(name.rstrip("s"), ())]
            for value in (*HOSTILE, *special):
                content = json.dumps({**BODIES[path], name: value})
                headers = {"content-type": "application/json"}
                response = await web.post(path, content=content, headers=headers)
                assert response.status_code in (200, 400), (name, value, response.text)
        for raw in ANY:
            form = b"location=dead&all=1&" + b"&".join(name.encode() + b"=" + raw for name in BODIES[path])
            headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}
            response = await web.post(path, content=form, headers=headers)
            assert response.status_code in (303, 400, 404, 200), (raw, response.text)
    keys = [key async for key in bench.redis.scan_iter(f"{bench.namespace}*")]
    await bench.redis.delete(*keys)


@pytest.mark.parametrize("verb", ["delete_dead_job", "retry_dead_job"])
async def test_no_path_breaks_gocrafts_actions(bench: Bench, verb: str) -> None:
    await fill(bench)
    async with serving(bench) as (_, web):
        for died_at in ("1500000200", "nan", "-1", "1" * 5_000, "9223372036854775807", "1.5", "%00", "%EF%BC%91"):
            for job_id in ("x", "%00", "%FF", "a%2Fb", "x" * 5_000):
                response = await web.post(f"/{verb}/{died_at}/{job_id}")
                assert response.status_code in (404, 500), response.text
                assert response.status_code == 404 or "details" not in response.json()["error"], (died_at, job_id)


HEARTBEATS: tuple[dict[str, Any], ...] = (
    {
        "periodic": json.dumps(
            [{"name": "a", "spec": "TZ=UTC " * 3_000 + "@hourly", "key": "k", "args": None, "next": 1}]
        )
    },
    {"periodic": json.dumps([{"name": "a", "spec": "@every " + "1" * 20_000, "key": "k", "args": None, "next": 1}])},
    {"periodic": json.dumps([{"name": "\ud83d", "spec": "\ud83d", "key": "\udcff", "args": {"a": 1}, "next": 10**17}])},
    {"periodic": json.dumps([{"name": "", "spec": "", "key": "", "args": {"a": "\ud83d"}, "next": -(10**17)}])},
    {"periodic": json.dumps([{"name": "a", "spec": "*", "key": "k", "args": [1], "next": None}])},
    {"periodic": "[[]]"},
    {"periodic": "[" * 100_000},
    {"heartbeat_at": "9" * 18, "started_at": "-" + "9" * 18, "concurrency": "9" * 18, "pid": "9" * 18},
    {"heartbeat_at": "nan", "started_at": "1e9", "concurrency": "x", "pid": b"\xff"},
    {
        "host": b"\xff\x00<b>",
        "runner": "x" * 10_000,
        "state": b"\xed\xa0\xbd",
        "job_names": b"\xff,\x00,,a",
        "worker_ids": b"\xff",
    },
)


@pytest.mark.parametrize("fields", HEARTBEATS)
async def test_no_heartbeat_breaks_a_page(bench: Bench, fields: dict[str, Any]) -> None:
    pool = "b" * 24
    seconds, _ = await bench.redis.time()
    await bench.redis.sadd(bench.keys.worker_pools, pool)
    given = {"heartbeat_at": seconds, "job_names": "wat", "host": "here", "pid": 1, **fields}
    await bench.redis.hset(bench.keys.heartbeat(pool), mapping=given)
    async with serving(bench) as (_, web):
        for path in (
            "/",
            "/busy",
            "/queues",
            "/periodic",
            "/api/pools",
            "/api/periodic",
            "/api/overview",
            "/worker_pools",
        ):
            response = await web.get(path, headers={"accept": "text/html"})
            assert response.status_code == 200, (path, response.text)
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat(pool))
