"""Authentication and authorization of the web UI, and its audit log."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount, Route

from asyncwork import Client, Heartbeat, Overview, PeriodicState, UsageError
from asyncwork._health.exposition import CONTENT_TYPE
from asyncwork._redis import heartbeat_fields
from asyncwork._redis.fair_queues import FairOptions, FairQueues
from asyncwork.web import actions, api, assets, auth, create_app, gocraft_api, health, pages, sse
from asyncwork.web.audit_log import log_value
from asyncwork.web.auth import ACTIONS, AllowedHosts, Credentials, TrustedProxies, is_same_origin
from asyncwork.web.throttle import TOKEN_LIFETIME, LogLimit, PasswordThrottle

from .architecture import ROOT
from .conftest import Bench
from .payloads import failed, payload, put
from .web_app import calling, dump, serving

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

BOTH = {"ref": "{ref}", "location": "dead"}
# Every path with an action: its parameters, and the permission that it needs.
ACTIONS_BY_PATH: dict[str, tuple[dict[str, str], str]] = {
    "/api/jobs/retry": (BOTH, "retry"),
    "/api/jobs/delete": (BOTH, "delete"),
    "/api/jobs/cancel": ({"id": "{waiting}"}, "cancel"),
    "/api/jobs/restore": ({"undo": "0" * 24}, "restore"),
    "/api/jobs/signal": ({"id": "{waiting}", "event": "approved", "value": "5"}, "signal"),
    "/api/queues/pause": ({"queue": "wat"}, "pause"),
    "/api/queues/unpause": ({"queue": "paused"}, "unpause"),
    "/api/queues/cap": ({"queue": "wat", "cap": "3"}, "cap"),
    "/api/queues/max-waiting": ({"queue": "wat", "max_waiting": "3"}, "cap"),
    "/api/queues/rate": ({"queue": "wat", "rate": "100/60/20"}, "rate"),
    "/api/queues/empty": ({"queue": "wat"}, "empty"),
    "/api/queues/forget": ({"queue": "unused"}, "forget"),
    "/api/tenants/pause": ({"queue": "fair", "partition": "acme"}, "pause_tenant"),
    "/api/tenants/unpause": ({"queue": "fair", "partition": "paused"}, "unpause_tenant"),
    "/api/limits/set": ({"limit": "llm", "rate": "100/60/20", "concurrency": "3"}, "rate"),
    "/api/tenants/set": ({"queue": "fair", "partition": "acme", "weight": "3"}, "set_tenant"),
    "/api/pools/quiet": ({"pool": "{pool}"}, "quiet"),
    "/api/pools/unquiet": ({"pool": "{pool}"}, "unquiet"),
    "/api/pools/resize": ({"pool": "{pool}", "concurrency": "3"}, "resize"),
    "/api/pools/stop": ({"pool": "{pool}"}, "stop"),
    "/api/unique/free": ({"queue": "held", "id": "{holder}"}, "free"),
    "/api/batches/cancel": ({"id": "{batch}"}, "cancel_batch"),
    "/api/batches/retry": ({"id": "{batch}"}, "retry_batch"),
    "/api/periodic/pause": ({"key": "{periodic}"}, "pause_periodic"),
    "/api/periodic/unpause": ({"key": "{paused}"}, "unpause_periodic"),
    "/api/periodic/run": ({"key": "{periodic}"}, "run_periodic"),
    "/api/periodic/add": ({"spec": "@hourly", "name": "wat", "args": '{{"n": 1}}'}, "add_periodic"),
    "/api/periodic/edit": ({"key": "{periodic}", "spec": "@monthly"}, "edit_periodic"),
    "/api/periodic/reset": ({"key": "{registered}"}, "reset_periodic"),
    "/api/periodic/remove": ({"key": "{periodic}"}, "remove_periodic"),
    "/delete_dead_job/1500000200/{id}": ({}, "delete"),
    "/retry_dead_job/1500000200/{id}": ({}, "retry"),
    "/delete_all_dead_jobs": ({}, "delete"),
    "/retry_all_dead_jobs": ({}, "retry"),
}
READ_ONLY = "this web UI is read-only: actions are disabled"
# A POST that changes nothing.
COUNT = "/api/jobs/count"


def test_every_action_is_tested_here() -> None:
    posts = {route.path for route in (*actions.routes, *gocraft_api.routes) if "POST" in (route.methods or ())}
    tried = {path.replace("1500000200", "{died_at}").replace("{id}", "{job_id:path}") for path in ACTIONS_BY_PATH}
    assert posts == tried | {COUNT}
    others = [*pages.routes, *assets.routes, *api.routes]
    assert all(route.methods == {"GET", "HEAD"} for route in others if isinstance(route, Route))


@pytest.mark.parametrize(
    "text",
    [create_app.__doc__ or "", (ROOT / "docs" / "web.md").read_text(encoding="utf-8")],
    ids=["docstring", "document"],
)
def test_every_action_that_authorize_may_get_is_documented(text: str) -> None:
    described = text[text.index("authorize") :]
    assert not [action for action in ACTIONS if not re.search(rf"\b{action}\b", described)]


class Stock:
    """A namespace with a job in every location."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.values: dict[str, str] = {}

    async def fill(self) -> None:
        bench = self.bench
        await put(bench, "dead", raw := failed())
        self.values["id"] = re.findall('"id": "(.*?)"', raw.decode())[0]
        await put(bench, "retry", failed(err="timeout"))
        await put(bench, "scheduled", payload("later"), at=4_000_000_000)
        await put(bench, "queue:wat", raw := payload())
        self.values["waiting"] = re.findall('"id": "(.*?)"', raw.decode())[0]
        await bench.redis.sadd(bench.keys.known_jobs, "paused", "unused", "wat")
        await bench.redis.set(bench.keys.paused("paused"), "1")
        fair = FairQueues(bench.in_redis)
        await fair.declare({"fair": FairOptions(0, 0, ordered=False)})
        await fair.set_tenant("fair", "paused", paused="1")
        self.values["pool"] = pool_id = "b" * 24
        await bench.redis.hset(bench.keys.heartbeat(pool_id), mapping={"heartbeat_at": 1, "takes_requests": 1})
        async with Client(bench.url, namespace=bench.namespace) as client:
            self.values["periodic"] = await client.add_periodic("@daily", "wat")
            self.values["paused"] = await client.add_periodic("@monthly", "wat")
            await client.pause_periodic(self.values["paused"])
            self.values["registered"] = await client.add_periodic("@weekly", "wat")
        state = PeriodicState("wat", "@weekly", self.values["registered"])
        mapping = heartbeat_fields.write(Heartbeat(pool_id, 1, 1, (), 1, (), "here", 1, periodic=(state,)))
        await bench.redis.hset(bench.keys.heartbeat(pool_id), "periodic", mapping["periodic"])
        await bench.redis.sadd(bench.keys.worker_pools, pool_id)
        async with bench.enqueuer.batch() as batch:
            await batch.add("wat")
        self.values["batch"] = batch.id
        self.values["holder"] = "c" * 24
        held = {"id": self.values["holder"], "since": 1, "until": "done"}
        await bench.redis.hset(bench.keys.hold("held", "0" * 64), mapping=held)
        async with serving(bench) as (_, web):
            (job,) = (await web.get("/api/jobs?location=dead")).json()["jobs"]
        self.values["ref"] = job["ref"]

    async def send(self, web: httpx.AsyncClient, path: str, **options: Any) -> httpx.Response:
        """Send an action to the web UI, as JSON unless ``form`` is given."""
        given = {name: value.format(**self.values) for name, value in ACTIONS_BY_PATH[path][0].items()}
        options["data" if options.pop("form", False) else "json"] = given
        return await web.post(path.format(**self.values), **options)


@pytest.fixture
async def stock(bench: Bench) -> AsyncIterator[Stock]:
    stock = Stock(bench)
    await stock.fill()
    yield stock
    # Reviewed by what the tests assert; what Redis is left with is no job's loss.
    keys = [key async for key in bench.redis.scan_iter(f"{bench.namespace}*")]
    await bench.redis.delete(*keys)


OK = (200, 303)


def basic(text: str | bytes) -> dict[str, str]:
    raw = text.encode() if isinstance(text, str) else text
    return {"authorization": f"Basic {base64.b64encode(raw).decode()}"}


# Other origins

OWN: list[dict[str, str]] = [
    {},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"origin": "http://test"},
    {"origin": "https://TEST"},
    {"origin": "http://test:80"},
    {"origin": "https://tools.example:8443", "host": "tools.example:8443"},
    {"origin": "https://tools.example", "host": "tools.example:443"},
    # What the browser itself says counts: behind a proxy, the Host header may be another.
    {"origin": "https://tools.example", "sec-fetch-site": "same-origin"},
]
FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": ""},
    {"sec-fetch-site": "cross-site", "origin": "http://test"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "test"},
    {"origin": "http://evil.example"},
    {"origin": "http://test.evil.example"},
    {"origin": "http://test:8080"},
    {"origin": "http://test@evil.example"},
    {"origin": "http://[test"},
    {"origin": "file://"},
]


@pytest.mark.parametrize("path", ACTIONS_BY_PATH)
async def test_a_page_of_another_origin_cannot_do_actions(stock: Stock, path: str) -> None:
    async with serving(stock.bench) as (_, web):
        before = await dump(stock.bench)
        for headers in FOREIGN:
            for form in (False, True):
                response = await stock.send(web, path, headers=headers, form=form)
                assert response.status_code == 403, headers
        assert await dump(stock.bench) == before


@pytest.mark.parametrize("path", ACTIONS_BY_PATH)
async def test_its_own_pages_and_programs_can(stock: Stock, path: str) -> None:
    async with serving(stock.bench) as (_, web):
        for number, headers in enumerate(OWN):
            before = await dump(stock.bench)
            response = await stock.send(web, path, headers=headers, form=number % 2 == 1)
            again = (400, 500) if path in ("/api/periodic/add", "/api/periodic/remove") else (500,)
            assert response.status_code in (OK if not number else (*OK, *again)), (headers, response.text)
            if not number:
                assert await dump(stock.bench) != before or path in ("/api/jobs/restore", "/api/batches/retry")


async def test_another_origin_cannot_use_other_methods_either(stock: Stock) -> None:
    async with serving(stock.bench) as (_, web):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
            for path in ("/", "/nowhere", "/api/jobs/retry", COUNT):
                response = await web.request(method, path, headers={"origin": "http://evil.example"})
                assert response.status_code == 403
                assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("headers", OWN + FOREIGN)
def test_origins(headers: dict[str, str]) -> None:
    assert is_same_origin(Headers({"host": "test", **headers})) is (headers in OWN)


def test_one_foreign_origin_among_several_is_enough() -> None:
    raw = [(b"host", b"test"), (b"origin", b"http://test"), (b"origin", b"http://evil.example")]
    assert not is_same_origin(Headers(raw=raw))


# No GET changes anything

QUERIES = [
    *("", "?location=dead", "?location=queue:wat&name=wat", "?text=wat", "?name=wat&error=&page=2", "?path=/"),
    *("?done=retry&n=1&undo=x", "?action=delete&all=1", "?location=dead&action=retry&ref={ref}"),
    *("?location=dead&ref={ref}", "?queue=wat&cap=1&by=day"),
]


async def test_no_get_changes_anything(stock: Stock) -> None:
    async with serving(stock.bench) as (_, web):
        before = await dump(stock.bench)
        routes = (*pages.routes, *gocraft_api.routes, *api.routes, *actions.routes)
        for route in routes:
            assert isinstance(route, Route)
            for query in QUERIES:
                path = route.path.replace("{died_at}", "1500000200").replace("{job_id:path}", "{id}")
                # The stream of a job would not end.
                path = path.replace("{job_id}", "nowhere") + query
                for method, accept in (("GET", "text/html"), ("GET", "*/*"), ("HEAD", "*/*")):
                    response = await web.request(method, path.format(**stock.values), headers={"accept": accept})
                    assert response.status_code in (200, 303, 400, 404, 405), (path, response.text)
        assert await dump(stock.bench) == before


# Password


@pytest.mark.parametrize("path", ["/", "/queues", "/api/overview", "/static/x", "/nowhere", "/live", "/favicon.ico"])
async def test_nothing_is_served_without_the_password(bench: Bench, path: str) -> None:
    async with serving(bench, auth="ada:secret") as (_, web):
        for headers in ({}, basic("ada:wrong"), basic("eve:secret"), basic(""), {"authorization": "Bearer ada:secret"}):
            response = await web.get(path, headers={**headers, "accept": "text/html"})
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Basic realm="asyncwork", charset="UTF-8"'
            assert bench.namespace not in response.text
        assert (await web.get(path, headers=basic("ada:secret"))).status_code != 401


@pytest.mark.parametrize("path", ACTIONS_BY_PATH)
async def test_no_action_without_the_password(stock: Stock, path: str) -> None:
    async with serving(stock.bench, auth="ada:secret") as (_, web):
        before = await dump(stock.bench)
        for headers in ({}, basic("ada:wrong")):
            assert (await stock.send(web, path, headers=headers)).status_code == 401
        assert await dump(stock.bench) == before
        assert (await stock.send(web, path, headers=basic("ada:secret"))).status_code in OK


@pytest.mark.parametrize(
    ("auth", "header", "fits"),
    [
        ("ada:secret", "Basic YWRhOnNlY3JldA==", True),
        ("ada:secret", "basic  YWRhOnNlY3JldA==", True),
        ("ada:secret", "Basic YWRhOnNlY3JldA", False),
        ("ada:secret", "Basic YWRhOnNlY3JldA==x", False),
        ("ada:secret", "Basic *", False),
        ("ada:secret", "Basic é", False),
        ("ada:secret", "YWRhOnNlY3JldA==", False),
        ("ada:secret", "", False),
        ("ada:secret", basic("ada:secret ")["authorization"], False),
        ("ada:secret", basic("ada:secre")["authorization"], False),
        ("ada:secret", basic("ada:" + "x" * 10_000)["authorization"], False),
        ("ada:secret", basic(b"ada:\xff\xfe")["authorization"], False),
        ("ada:a:b", basic("ada:a:b")["authorization"], True),
        ("jörg:pässwörd", basic("jörg:pässwörd")["authorization"], True),
        ("jörg:pässwörd", basic("jörg:pässwörd".encode("latin-1"))["authorization"], False),
    ],
)
def test_passwords(auth: str, header: str, fits: bool) -> None:
    assert Credentials(auth).matches(header) is fits


@pytest.mark.parametrize("auth", ["", "ada", "ada:", ":secret", "ada:\udcff"])
def test_a_password_that_is_none(auth: str) -> None:
    with pytest.raises(UsageError, match="auth must be"):
        create_app("redis://localhost", auth=auth)


class ManualClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_repeated_failures_are_slowed() -> None:
    clock = ManualClock()
    throttle = PasswordThrottle(clock)
    for _ in range(5):
        assert throttle.delay("1.2.3.4") == 0
        throttle.record_failure("1.2.3.4")
    # One a second, and so many may wait; the others come again later.
    assert [throttle.delay("1.2.3.4") for _ in range(7)] == [1, 2, 3, 4, 5, math.inf, math.inf]
    assert throttle.delay("1.2.3.5") == 0
    clock.now += 3
    assert throttle.delay("1.2.3.4") == 3
    clock.now += 601
    assert throttle.delay("1.2.3.4") == 0


def test_failures_from_many_addresses_are_slowed_together_and_lock_nobody_out() -> None:
    clock = ManualClock()
    throttle = PasswordThrottle(clock)
    for number in range(100):
        throttle.record_failure(f"10.0.{number // 250}.{number % 250}")
    waits = [throttle.delay(f"11.0.0.{number}") for number in range(200)]
    assert waits[:2] == pytest.approx([0.1, 0.2])
    assert max(waits) == 5


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    throttle = PasswordThrottle(ManualClock())
    for number in range(5):
        throttle.record_failure(f"2001:db8::{number}")
    assert throttle.delay("2001:db8::ffff") == 1
    assert throttle.delay("2001:db8:0:1::1") == 0
    for _ in range(5):
        throttle.record_failure("::ffff:1.2.3.4")
    assert throttle.delay("1.2.3.4") == 1
    assert throttle.delay("no address") == 0


def test_addresses_are_not_remembered_without_end() -> None:
    throttle = PasswordThrottle(ManualClock())
    for number in range(10_050):
        throttle.record_failure(f"host-{number}")
    assert len(throttle._by_address) == 10_000


def test_a_token_is_of_this_process_and_expires() -> None:
    clock = ManualClock()
    throttle = PasswordThrottle(clock)
    token = throttle.issue_token()
    assert throttle.is_valid_token(token)
    for other in ("", ".", token[:-1], "9" + token, PasswordThrottle(clock).issue_token(), "\ud83d.x", "é.é"):
        assert not throttle.is_valid_token(other)
    clock.now += TOKEN_LIFETIME + 1
    assert not throttle.is_valid_token(token)


async def test_the_delay_does_not_reveal_the_password_and_known_clients_are_not_delayed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    right, wrong = basic("ada:secret"), basic("ada:wrong")
    async with serving(bench, auth="ada:secret") as (_, web):
        known = await web.get("/queues", headers=right)
        cookie = known.headers["set-cookie"]
        assert re.fullmatch(
            r"asyncwork_known=\d+\.[0-9a-f]{40}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict", cookie
        )
        assert "set-cookie" not in (await web.get("/queues", headers=right)).headers
        web.cookies.clear()
        assert "set-cookie" not in (await web.get(assets.path_of("app.css"), headers=right)).headers
        assert "set-cookie" not in (await web.get("/queues", headers=wrong)).headers
        for _ in range(4):
            assert (await web.get("/queues", headers=wrong)).status_code == 401
        monkeypatch.setattr("asyncwork.web.security.asyncio.sleep", note)
        assert (await web.get("/queues", headers=wrong)).status_code == 401
        web.cookies.clear()
        response = await web.get("/queues", headers=right)
        assert response.status_code == 200
        assert slept == pytest.approx([1, 2], abs=0.5)
        # The token is in the jar now.
        assert (await web.get("/queues", headers=right)).status_code == 200
        # It opens nothing by itself.
        assert (await web.get("/queues", headers=wrong)).status_code == 401
        assert (await web.get("/queues")).status_code == 401
        assert len(slept) == 2
        web.cookies.clear()
        statuses = [(await web.get("/queues", headers=wrong)).status_code for _ in range(6)]
        assert statuses[-1] == 429
        response = await web.get("/queues", headers=right)
        assert (response.status_code, response.headers["retry-after"]) == (429, "5")


async def test_rejections_do_not_fill_the_log(
    bench: Bench, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    monkeypatch.setattr("asyncwork.web.security.LogLimit", lambda: LogLimit(clock))
    async with serving(bench, auth="ada:secret", hosts=["test"]) as (_, web):
        for number in range(200):
            # After some wrong passwords, each takes a second.
            wrong_password = number in (0, 2, 4)
            await web.get("/", headers={"authorization": "Basic x"} if wrong_password else {"host": "evil.example"})
        assert len(log.records) == 20
        clock.now += 61
        await web.get("/", headers={"host": "evil.example"})
        assert log.records[20].getMessage() == "rejected 180 more requests that were not logged one by one"
        assert len(log.records) == 22


# Read-only


@pytest.mark.parametrize("path", ACTIONS_BY_PATH)
async def test_nothing_can_be_done_where_nothing_may_be_changed(stock: Stock, path: str) -> None:
    async with serving(stock.bench, read_only=True) as (_, web):
        before = await dump(stock.bench)
        for form in (False, True):
            response = await stock.send(web, path, form=form)
            assert (response.status_code, response.headers["allow"]) == (405, "")
        assert await dump(stock.bench) == before


async def test_what_can_be_seen_can_be_counted_there(stock: Stock) -> None:
    async with serving(stock.bench, read_only=True) as (_, web):
        response = await web.post(COUNT, json={"location": "dead", "all": True})
        assert response.json()["done"] == 1
        assert (await web.get("/api/overview")).json()["read_only"]


# authorize


class RecordingAuthorize:
    """An ``authorize`` function that allows given actions and records its calls."""

    def __init__(self, answer: Any, *actions: str) -> None:
        self.answer = answer
        self.actions = actions or ACTIONS
        self.calls: list[tuple[str, str]] = []

    def __call__(self, request: Request, action: str) -> Any:
        self.calls.append((action, request.url.path))
        return self.answer if action in self.actions else None


@pytest.mark.parametrize("path", ACTIONS_BY_PATH)
@pytest.mark.parametrize("later", [False, True])
async def test_permission_to_view_allows_no_action(stock: Stock, path: str, later: bool) -> None:
    recorder = RecordingAuthorize(True, "view")

    async def authorize_async(request: Request, action: str) -> Any:
        await asyncio.sleep(0)
        return recorder(request, action)

    async with serving(stock.bench, authorize=authorize_async if later else recorder) as (_, web):
        before = await dump(stock.bench)
        response = await stock.send(web, path)
        assert (response.status_code, response.json()) == (
            403,
            {"error": f"you do not have permission to {ACTIONS_BY_PATH[path][1]} here"},
        )
        assert [action for action, _ in recorder.calls] == [ACTIONS_BY_PATH[path][1]]
        assert await dump(stock.bench) == before


@pytest.mark.parametrize("path", ACTIONS_BY_PATH)
async def test_permission_for_one_action_allows_that_one(stock: Stock, path: str) -> None:
    async with serving(stock.bench, authorize=RecordingAuthorize("ada", ACTIONS_BY_PATH[path][1])) as (_, web):
        assert (await stock.send(web, path)).status_code in OK
        assert (await web.get("/api/overview")).status_code == 403
        assert (await web.post(COUNT, json={"location": "dead", "all": True})).status_code == 403


@pytest.mark.parametrize("answer", [False, None, "", 0, 1, "no"])
async def test_every_view_needs_permission_but_assets_do_not(bench: Bench, answer: Any) -> None:
    authorize = RecordingAuthorize(answer)
    async with serving(bench, authorize=authorize) as (_, web):
        for path in ("/", "/queues", "/dead", "/api/overview", "/dead_jobs", "/live?path=/", "/api/openapi.json"):
            if path.startswith("/live") and answer == "no":
                continue
            response = await web.get(path)
            assert (response.status_code == 403) is (answer != "no")
            assert (await web.head(path)).status_code == response.status_code
            assert authorize.calls[0] == ("view", path.partition("?")[0])
            authorize.calls.clear()
        await web.get(assets.path_of("app.css"))
        assert authorize.calls == []


async def test_authorize_is_called_once_per_request(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    authorize = RecordingAuthorize("ada")

    async def asked(web: httpx.AsyncClient, path: str) -> list[str]:
        authorize.calls.clear()
        assert (await web.get(path)).status_code == 200
        return [action for action, _ in authorize.calls]

    monkeypatch.setattr(sse, "_INTERVAL", 0.02)
    monkeypatch.setattr(sse, "_PAUSE_FACTOR", 0)
    monkeypatch.setattr(sse, "_MAX_DURATION", 0.3)
    async with serving(stock.bench, authorize=authorize) as (_, web):
        # What a page offers is asked about the first time that it is wanted, and not what it does not offer.
        assert await asked(web, "/") == ["view"]
        assert sorted(await asked(web, "/dead")) == ["cancel", "delete", "restore", "retry", "view"]
        for path in ("/dead", "/retries", "/live?path=/dead", "/live/poll?path=/dead", "/api/overview"):
            assert await asked(web, path) == ["view"], path
        # Another user is another one.
        web.headers["cookie"] = "session=other"
        assert sorted(await asked(web, "/dead")) == ["cancel", "delete", "restore", "retry", "view"]
        # What was said is not kept for long, and does not count for what is done.
        authorize.actions = ("view",)
        monkeypatch.setattr(auth, "_CACHED_FOR", 0.0)
        assert "/api/jobs/delete" not in (await web.get("/dead")).text
        assert (await stock.send(web, "/delete_all_dead_jobs")).status_code == 403


async def test_what_a_page_offers_does_not_count_for_what_is_done(stock: Stock) -> None:
    authorize = RecordingAuthorize(True)
    async with serving(stock.bench, authorize=authorize) as (_, web):
        assert "/api/jobs/delete" in (await web.get("/dead")).text
        authorize.actions = ("view",)
        assert (await stock.send(web, "/delete_all_dead_jobs")).status_code == 403


# Health checks


async def test_a_health_check_needs_no_permission_and_shows_nothing_else(bench: Bench) -> None:
    authorize = RecordingAuthorize(None)
    strict: dict[str, Any] = {"auth": "me:secret", "authorize": authorize, "hosts": ["tools.example"]}
    async with serving(bench, **strict) as (app, web):
        response = await web.get("/healthz")
        assert (response.status_code, response.json()) == (200, {"redis": True})
        assert (await web.head("/healthz")).status_code == 200
        assert authorize.calls == []
        for method, path in (
            ("POST", "/healthz"),
            ("GET", "/healthz/"),
            ("GET", "/healthz/../dead"),
            ("GET", "//healthz"),
        ):
            assert (await web.request(method, path)).status_code in (401, 403)
        mounted = Starlette(routes=[Mount("/work", app)])
        async with calling(mounted) as outside:
            assert (await outside.get("/work/healthz")).json() == {"redis": True}
    app = create_app("redis://127.0.0.1:1/0", **strict)
    async with calling(app) as web:
        response = await web.get("/healthz")
        assert (response.status_code, response.json()) == (503, {"redis": False})


async def test_metrics_need_permission_unless_they_are_open(bench: Bench) -> None:
    authorize = RecordingAuthorize(True)
    await put(bench, "queue:secret_queue", payload("secret_queue"))
    async with serving(bench, auth="me:secret") as (_, web):
        response = await web.get("/metrics")
        assert (response.status_code, "secret_queue" in response.text) == (401, False)
        response = await web.get("/metrics", auth=("me", "secret"))
        assert (response.status_code, response.headers["content-type"]) == (200, CONTENT_TYPE)
        assert 'asyncwork_namespace_queue_jobs{queue="secret_queue"} 1' in response.text
        assert response.headers["cache-control"] == "no-store"
    async with serving(bench, authorize=authorize) as (_, web):
        assert (await web.get("/metrics")).status_code == 200
        assert authorize.calls == [("view", "/metrics")]
    async with serving(bench, hosts=["tools.example"]) as (_, web):
        assert (await web.get("/metrics")).status_code == 403
    strict: dict[str, Any] = {"auth": "me:secret", "authorize": RecordingAuthorize(None), "hosts": ["tools.example"]}
    async with serving(bench, **strict, open_metrics=True) as (app, web):
        assert "secret_queue" in (await web.get("/metrics")).text
        assert (await web.head("/metrics")).status_code == 200
        for method, path in (("POST", "/metrics"), ("GET", "/metrics/"), ("GET", "/queues"), ("GET", "//metrics")):
            assert (await web.request(method, path)).status_code in (401, 403)
        mounted = Starlette(routes=[Mount("/jobs", app)])
        async with calling(mounted) as outside:
            assert (await outside.get("/jobs/metrics")).status_code == 200


async def test_metrics_are_read_at_most_once_a_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    overview = Client.overview

    async def counted(client: Client) -> Overview:
        asked.append(client)
        return await overview(client)

    monkeypatch.setattr(Client, "overview", counted)
    async with serving(bench) as (_, web):
        answers = await asyncio.gather(*(web.get("/metrics") for _ in range(20)))
    assert {each.status_code for each in answers} == {200}
    # More only if the requests took longer than a second.
    assert len(asked) < 20


async def test_metrics_say_that_redis_is_away() -> None:
    app = create_app("redis://me:secret@127.0.0.1:1/0", namespace="my_app", hosts=["*"])
    async with calling(app) as web:
        response = await web.get("/metrics")
        assert response.status_code == 200
        assert re.findall("^[^#].*", response.text, re.MULTILINE) == [
            'asyncwork_namespace_info{name="my_app"} 1',
            "asyncwork_namespace_redis_up 0",
        ]


async def test_a_health_check_pings_redis_at_most_once_a_second(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def ping(client: Client) -> None:
        asked.append(client)
        await asyncio.sleep(3_600)

    monkeypatch.setattr(Client, "ping", ping)
    monkeypatch.setattr(health, "_TIMEOUT", 0.05)
    async with serving(bench) as (_, web):
        answers = await asyncio.gather(*(web.get("/healthz") for _ in range(20)))
    assert [each.json() for each in answers] == [{"redis": False}] * 20
    assert len(asked) == 1


async def test_authorize_may_redirect(bench: Bench) -> None:
    def authorize(request: Request, action: str) -> Any:
        raise HTTPException(303, headers={"location": "/login"})

    async with serving(bench, authorize=authorize) as (_, web):
        response = await web.get("/", follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (303, "/login")


async def test_an_error_in_authorize_rejects_the_request(stock: Stock, caplog: pytest.LogCaptureFixture) -> None:
    def authorize(request: Request, action: str) -> Any:
        raise KeyError("no such session")

    async with serving(stock.bench, authorize=authorize) as (_, web):
        before = await dump(stock.bench)
        assert (await web.get("/")).status_code == 500
        assert (await stock.send(web, "/delete_all_dead_jobs")).status_code == 500
        assert await dump(stock.bench) == before
    assert "no such session" in caplog.text


async def test_read_only_counts_more_than_any_permission(stock: Stock) -> None:
    authorize = RecordingAuthorize(True)
    async with serving(stock.bench, authorize=authorize, read_only=True) as (_, web):
        assert (await stock.send(web, "/delete_all_dead_jobs")).status_code == 405
        assert authorize.calls == []


# Hosts


async def test_a_server_may_be_called_by_its_names_only(bench: Bench) -> None:
    async with serving(bench, hosts=["localhost", "::1", "Tools.example"]) as (_, web):
        for host in ("localhost", "LOCALHOST:5040", "[::1]", "[::1]:5040", "tools.example", "tools.example.:80"):
            assert (await web.get("/api/overview", headers={"host": host})).status_code == 200, host
        for host in ("evil.example", "localhost.evil.example", "127.0.0.2", "", "[::2]", "localhost@evil.example"):
            response = await web.get("/api/overview", headers={"host": host})
            assert (response.status_code, bench.namespace in response.text) == (403, False), host
            assert (await web.post("/delete_all_dead_jobs", headers={"host": host})).status_code == 403


async def test_the_refusal_of_a_name_says_what_to_do(bench: Bench) -> None:
    async with serving(bench, hosts=[]) as (_, web):
        response = await web.get("/", headers={"host": "Tools.Example:8080"})
        assert response.text == (
            "Host 'tools.example' is not allowed; add it with asyncwork web --allow-host tools.example, or with "
            "create_app(hosts=['tools.example']) in an application that mounts this one."
        )
        for host in ("<script>", "", "a b", "x" * 1_000):
            response = await web.get("/", headers={"host": host})
            assert (response.status_code, response.headers["content-type"]) == (403, "text/plain; charset=utf-8")
            assert "<script>" not in response.text or response.text == "'<script>' is not a valid host name."
            assert len(response.text) < 1_000


async def test_an_application_that_mounts_it_names_its_hosts(bench: Bench) -> None:
    """A page of another site must not read or delete anything by DNS rebinding."""
    app = create_app(bench.url, namespace=bench.namespace)
    outer = Starlette(routes=[Mount("/work", app)])
    await put(bench, "dead", failed())
    async with app.router.lifespan_context(app), calling(outer) as web:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            assert (await web.get("/work/dead_jobs", headers={"host": host})).json()["count"] == 1
        for host in ("evil.example", "evil.example:8000", "10.0.0.5", ""):
            headers = {"host": host, "origin": f"http://{host}"}
            for method, path in (("GET", "/"), ("GET", "/dead_jobs"), ("GET", "/live?path=/"), ("GET", "/static/x")):
                assert (await web.request(method, f"/work{path}", headers=headers)).status_code == 403
            assert (await web.post("/work/delete_all_dead_jobs", headers=headers)).status_code == 403
        assert len(await bench.job_set("dead")) == 1
        assert (await web.post("/work/delete_all_dead_jobs", headers={"host": "localhost"})).status_code == 200
    for options, status in (
        ({"hosts": ["tools.example"]}, 200),
        ({"hosts": ["other.example"]}, 403),
        ({"hosts": ["*"]}, 200),
        # `authorize` needs no host check, because browsers send credentials only to the name that they belong to.
        ({"authorize": lambda request, action: True}, 200),
        ({"authorize": lambda request, action: True, "hosts": ["other.example"]}, 403),
        ({"auth": "ada:secret"}, 401),
    ):
        app = create_app(bench.url, namespace=bench.namespace, **options)
        async with app.router.lifespan_context(app), calling(app) as web:
            assert (await web.get("/queues", headers={"host": "tools.example"})).status_code == status, options
    with pytest.raises(UsageError, match=r"hosts must be a list of names, such as \['tools.example'\]"):
        create_app(bench.url, hosts="tools.example")


# Behind a proxy


async def test_the_error_for_a_proxy_that_hides_the_host_says_what_to_do(bench: Bench) -> None:
    async with serving(bench) as (_, web):
        headers = {"host": "127.0.0.1:5040", "origin": "http://tools.example"}
        response = await web.post("/api/queues/pause", json={"queue": "wat"}, headers=headers)
        error = response.json()["error"]
        assert response.status_code == 403
        for text in (
            "comes from a page at 'http://tools.example', but is addressed to '127.0.0.1:5040'",
            "proxy_set_header Host $http_host;",
            "--trusted-proxy",
        ):
            assert text in error
        response = await web.post("/api/queues/pause", headers={"sec-fetch-site": "cross-site"})
        assert response.json() == {"error": "only pages of this server may do this"}


@pytest.mark.parametrize(
    ("addresses", "peer", "trusted"),
    [
        (["10.0.0.1"], "10.0.0.1", True),
        (["10.0.0.1"], "10.0.0.2", False),
        (["10.0.0.0/8", "::1"], "10.9.9.9", True),
        (["10.0.0.0/8"], "::ffff:10.9.9.9", True),
        (["::1"], "::1", True),
        (["127.0.0.0/8"], "", False),
        (["0.0.0.0/0"], "a socket", False),
    ],
)
def test_proxies(addresses: list[str], peer: str, trusted: bool) -> None:
    assert (peer in TrustedProxies(addresses)) is trusted


@pytest.mark.parametrize("address", ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_what_is_no_proxy(address: str) -> None:
    with pytest.raises(UsageError, match="is not a proxy's address"):
        TrustedProxies([address])


def test_what_a_trusted_proxy_says() -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    for forwarded, client in (
        ([], "10.0.0.1"),
        (["1.2.3.4"], "1.2.3.4"),
        # What stands further in front may be the client's invention.
        (["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4, 10.0.0.7"], "1.2.3.4"),
        (["10.0.0.8, 10.0.0.7"], "10.0.0.1"),
        ([" , "], "10.0.0.1"),
    ):
        headers = Headers(raw=[(b"x-forwarded-for", each.encode()) for each in forwarded])
        assert proxies.client(headers, "10.0.0.1") == client
    for forwarded, host in (([], None), (["a.example"], "a.example"), (["evil.example, a.example"], "a.example")):
        headers = Headers(raw=[(b"x-forwarded-host", each.encode()) for each in forwarded])
        assert TrustedProxies.host(headers) == host


def test_hosts() -> None:
    assert AllowedHosts(["[::1]"]).allows("[::1]:80")
    assert not AllowedHosts(["[::1]"]).allows("::2")
    assert not AllowedHosts([]).allows("")
    assert AllowedHosts(["*"]).allows("anything.example")


# Headers


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
async def test_the_headers_of_every_answer(bench: Bench, accept: str) -> None:
    async with serving(bench, auth="ada:secret") as (_, web):
        for method, path, headers in (
            *(("GET", path, basic("ada:secret")) for path in ("/", "/queues", "/nowhere", "/api/jobs", "/static/x")),
            ("GET", "/", {}),
            ("POST", "/api/jobs/retry", basic("ada:secret")),
            ("POST", "/api/jobs/retry", basic("ada:secret") | {"origin": "null"}),
            ("DELETE", "/", basic("ada:secret")),
        ):
            response = await web.request(method, path, headers={**headers, "accept": accept})
            assert HEADERS.items() <= dict(response.headers).items(), (method, path)
        response = await web.get(assets.path_of("app.css"), headers=basic("ada:secret"))
        assert "immutable" in response.headers["cache-control"]
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_state_of_a_mounting_application_is_not_changed(bench: Bench) -> None:
    app = create_app(bench.url, namespace=bench.namespace, auth="ada:secret")
    state = {"who": "the application around"}

    async def around(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": state}, receive, send)

    async with app.router.lifespan_context(app), calling(around, headers=basic("ada:secret")) as web:
        assert (await web.get("/queues")).status_code == 200
    assert state == {"who": "the application around"}


# The log


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "asyncwork.web")
    return caplog


async def test_every_action_is_logged(stock: Stock, log: pytest.LogCaptureFixture) -> None:
    async with serving(stock.bench, auth="ada:secret") as (_, web):
        for path in ACTIONS_BY_PATH:
            log.clear()
            response = await stock.send(web, path, headers=basic("ada:secret"))
            (record,) = log.records
            verb = ACTIONS_BY_PATH[path][1]
            done = response.json().get("done", "") if response.status_code == 200 else 0
            message = record.getMessage()
            assert (record.levelname, record.name) == ("INFO", "asyncwork.web")
            assert re.match(rf"{verb} done={done}\d* who=ada client=127\.0\.0\.1( |$)", message), message


async def test_the_log_has_the_parameters_of_actions(stock: Stock, log: pytest.LogCaptureFixture) -> None:
    bench = stock.bench
    async with serving(bench, authorize=lambda request, action: "eve") as (_, web):
        await put(bench, "dead", *(failed("a b", f"bad {n}") for n in range(9)))
        jobs = (await web.get("/api/jobs?location=dead&name=a%20b")).json()["jobs"]
        refs = [job["ref"] for job in jobs]
        for path, given, expected in (
            ("/api/jobs/retry", {"refs": refs[:2]}, f"jobs=2 refs='{refs[0]},{refs[1]}'"),
            ("/api/jobs/retry", {"refs": refs[2:]}, "jobs=7 refs='"),
            ("/api/jobs/delete", {"all": True, "name": "a b", "error": ""}, "all=1 name='a b' error=''"),
            ("/api/jobs/delete", {"all": True, "text": "\x1b[31m\nforged"}, r"all=1 text='\x1b[31m\nforged'"),
        ):
            log.clear()
            response = await web.post(path, json={"location": "dead", **given})
            verb, done = path.rpartition("/")[2], response.json()["done"]
            start = f"{verb} done={done} who=eve client=127.0.0.1 location=dead {expected}"
            assert log.records[-1].getMessage().startswith(start)


async def test_failed_actions_and_rejected_requests_are_logged(stock: Stock, log: pytest.LogCaptureFixture) -> None:
    async with serving(stock.bench) as (_, web):
        await web.post("/api/queues/forget", json={"queue": "wat"})
        (record,) = log.records
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith("forget failed who=- client=127.0.0.1 queue=wat error=\"'wat' cannot be")
        log.clear()
        await web.post("/delete_all_dead_jobs", headers={"origin": "http://evil.example"})
        (record,) = log.records
        assert record.getMessage() == (
            "rejected who=- client=127.0.0.1 method=POST path=/delete_all_dead_jobs reason='page of another origin'"
        )
    async with serving(stock.bench, auth="ada:secret", read_only=True) as (_, web):
        log.clear()
        await web.get("/queues")
        assert log.records == []
        await web.get("/%0Aforged", headers=basic("ada:wrong"))
        await web.post("/delete_all_dead_jobs", headers=basic("ada:secret"))
        assert [record.getMessage() for record in log.records] == [
            r"rejected who=- client=127.0.0.1 method=GET path='/\nforged' reason='wrong user name or password'",
            f"rejected who=ada client=127.0.0.1 method=POST path=/delete_all_dead_jobs reason='{READ_ONLY}'",
        ]
    assert "secret" not in log.text


async def test_views_are_not_logged(stock: Stock, log: pytest.LogCaptureFixture) -> None:
    async with serving(stock.bench) as (_, web):
        for path in ("/queues", "/api/overview", "/dead_jobs"):
            await web.get(path)
        await web.post(COUNT, json={"location": "dead", "all": True})
    assert [record for record in log.records if record.name == "asyncwork.web"] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("dead", "dead"),
        ("queue:a", "queue:a"),
        (5, "5"),
        ("", "''"),
        ("a b", "'a b'"),
        ("a=b", "'a=b'"),
        ("x\r\nwho=root", r"'x\r\nwho=root'"),
        ("\x1b\x85\u2028", r"'\x1b\x85\u2028'"),
        ("\udcff", r"'\udcff'"),
        ("x" * 300, ascii("x" * 200 + "…")),
    ],
)
def test_a_value_in_the_log_is_one_value(value: object, text: str) -> None:
    assert log_value(value) == text
