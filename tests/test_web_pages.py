"""Pages of the web UI: they show everything from Redis as text, and never as HTML."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from markupsafe import escape
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from asyncwork import Job
from asyncwork._health.histogram import BOUNDS
from asyncwork._redis.client import RedisClient
from asyncwork._redis.keys import Keys
from asyncwork.client import Client
from asyncwork.models.job_record import JobRecord
from asyncwork.models.queues import JobCounts, RunTimes
from asyncwork.web import assets, charts, create_app, cron_words, formatting, histograms, json_tree, sse

from . import web_screens
from .conftest import LIMIT, Bench, open_bench
from .payloads import failed, payload, put
from .web_app import PLAIN_PAGES, calling, serving

HTML = {"accept": "text/html"}

# What somebody may have written anywhere.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "{{ 7 * 7 }}{% raw %}",
    "nul\x00 bell\x07 escape\x1b[31m",
    "right\u202eto\u2066left\u200f",
    "lone \ud800 surrogate",
    "a/b?c=d&e#f %2f",
    "x" * 1_000_000,
)


class Outline(HTMLParser):
    """Parser that collects the structure of a page and its mistakes."""

    VOID = frozenset({"meta", "link", "input", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.problems += [f"{tag} is left open" for tag in self._open]
        self.problems += [f"the id {each} is there twice" for each in set(self.ids) if self.ids.count(each) > 1]
        if self.tags.count("h1") != 1:
            self.problems.append(f"{self.tags.count('h1')} h1")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.problems += [f"{tag} has {name}" for name in given if name == "style" or name.startswith("on")]
        if tag in ("style", "iframe", "object", "base") or (tag == "script" and not given.get("src")):
            self.problems.append(f"there is a {tag}")
        if "id" in given:
            self.ids.append(str(given["id"]))
        self.links += [str(given[name]) for name in ("href", "src", "action", "formaction") if given.get(name)]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")


async def page(web: httpx.AsyncClient, path: str, status: int = 200) -> str:
    """Return the HTML of a page, checked for mistakes."""
    response = await web.get(path, headers=HTML)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    outline = Outline(response.text)
    assert not outline.problems
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in outline.links), outline.links
    return response.text


def words(html: str) -> str:
    """Return the text of a page's main part."""
    main = html[html.index("<main") : html.index("</main>")]
    return " ".join(re.sub(r"<[^>]+>", " ", main).split())


@pytest.fixture
async def web(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(bench) as (_, client):
        yield client


@asynccontextmanager
async def demo(url: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client for the pages of the demo namespace."""
    redis = Redis.from_url(url, protocol=2)
    app = create_app(url, namespace=web_screens.NAMESPACE, hosts=["*"], **options)
    try:
        async with web_screens.living(url), app.router.lifespan_context(app), calling(app) as client:
            yield client
    finally:
        await redis.delete(*[key async for key in redis.scan_iter(f"{web_screens.NAMESPACE}:*")])
        await redis.aclose()
        await redis.connection_pool.disconnect()


# Every page


@pytest.mark.parametrize("path", PLAIN_PAGES)
async def test_a_page_of_an_empty_namespace(web: httpx.AsyncClient, path: str) -> None:
    html = await page(web, path)
    assert html.startswith("<!doctype html>")
    assert 'aria-current="' in html or path == "/find"


async def test_the_pages_of_a_namespace_full_of_life(redis_url: str) -> None:
    async with demo(redis_url) as web:
        overview = words(await page(web, "/"))
        assert "3 pools on 3 hosts" in overview
        assert "no running pool has a handler for legacy_report, so its jobs do not run (5 waiting)" in overview
        assert "Queued 1,302" in overview
        assert "1 of 3 pools is a gocraft/work pool, so its jobs are not in these numbers" in overview
        busy = words(await page(web, "/busy"))
        assert "8 of 60 workers busy" in busy
        assert "row 412,000 of 1,204,455" in busy
        assert "worker-1" in busy
        assert "gocraft/work" in busy
        queues = words(await page(web, "/queues"))
        assert "15 queues" in queues
        assert "import_catalog paused" in queues
        assert "1 of 8" in queues
        queue = words(await page(web, "/queue?name=resize_image"))
        assert "38 waiting" in queue
        assert "1 of 2" in queue
        dead = words(await page(web, "/dead"))
        assert "Errors by kind" in dead
        assert "31 ConnectError: hooks.example.com:… refused the connection after … s webhook_delivery" in dead
        periodic = words(await page(web, "/periodic"))
        assert "At 02:30, Monday through Friday, time of Europe/Berlin" in periodic
        assert "no running pool has this schedule" in periodic
        minutes = words(await page(web, "/?as=minutes"))
        assert "Minute Processed Failed Retried Dead Waited Ran" in minutes
        assert "Last 30 days" in words(await page(web, "/?as=days"))


async def test_the_first_load_is_small(bench: Bench, web: httpx.AsyncClient) -> None:
    names = [f"a_queue_of_the_shop_{number}" for number in range(20)]
    minute, day = int(time.time()) // 60 * 60, int(time.time()) // 86_400
    slot = (1_234).to_bytes(4, "big") + (12).to_bytes(4, "big") + bytes(8) + (987_654).to_bytes(8, "big") * 2
    beat = {"heartbeat_at": int(time.time()), "job_names": ",".join(names), "concurrency": 9, "runner": "asyncwork"}
    await bench.redis.sadd(bench.keys.worker_pools, "pool")
    await bench.redis.hset(bench.keys.heartbeat("pool"), mapping=beat)
    for name in names:
        await put(bench, f"queue:{name}", payload(name))
    for hours in range(2):
        await bench.redis.set(bench.keys.minutes(minute // 3_600 - hours, ""), slot * 60)
    for days in range(31):
        month = time.strftime("%Y-%m", time.gmtime((day - days) * 86_400))
        await bench.redis.set(bench.keys.days(month, ""), slot * 31)
    html = await page(web, "/")
    assert html.count("1,234 processed") >= 60
    loaded = [(await web.get(link)).content for link in Outline(html).links if "/static/" in link]
    assert len(html.encode()) + sum(map(len, set(loaded))) < 60_000
    await bench.redis.delete(bench.keys.worker_pools, bench.keys.heartbeat("pool"))


async def test_arguments_that_handlers_do_not_take_are_shown_beside_their_pool(
    bench: Bench, web: httpx.AsyncClient
) -> None:
    rows = [["send", "subjet", 1234], ["send", "<b>", 1], ["send", 5, 1], ["send", "x", "y"]]
    told = [json.dumps({"rows": rows[:2]}), json.dumps({"rows": rows}), '{"rows":5}', "[", '{"rows":[1]}']
    told.append(json.dumps({"rows": [["send \ud800", "lone \ud800", 1]]}))
    for number, ignored in enumerate(told):
        beat = {"heartbeat_at": int(time.time()), "job_names": "send", "concurrency": 1, "ignored": ignored}
        await bench.redis.sadd(bench.keys.worker_pools, f"pool{number}")
        await bench.redis.hset(bench.keys.heartbeat(f"pool{number}"), mapping=beat)
    shown = words(await page(web, "/busy"))
    assert shown.count("2 unknown arguments ignored subjet of send (1,234) &lt;b&gt; of send (1)") == 2
    assert "lone" in shown
    assert (await web.get("/api/pools")).status_code == 200
    await bench.redis.delete(bench.keys.worker_pools, *[bench.keys.heartbeat(f"pool{n}") for n in range(len(told))])


async def test_below_a_prefix_every_link_begins_with_it(bench: Bench) -> None:
    mounted = create_app(bench.url, namespace=bench.namespace, hosts=["*"])
    app = Starlette(routes=[Mount("/op s/wörk", mounted)])
    prefix = quote("/op s/wörk")
    await put(bench, "dead", failed())
    await put(bench, "queue:wat", payload())
    async with mounted.router.lifespan_context(mounted), calling(app) as web:
        for path in (*PLAIN_PAGES, "/queue?name=wat", "/confirm?action=delete&location=dead"):
            response = await web.get(prefix + path, headers=HTML)
            assert response.status_code == 200
            outline = Outline(response.text)
            assert not outline.problems
            assert all(link.startswith((f"{prefix}/", "#")) for link in outline.links), outline.links
            assert all(
                back.startswith(f"{prefix}/") for back in re.findall('name="back" value="([^"]*)', response.text)
            )
        for link in Outline((await web.get(f"{prefix}/", headers=HTML)).text).links:
            if "/static/" in link:
                assert (await web.get(link)).status_code == 200


async def test_a_page_that_is_not_there(web: httpx.AsyncClient) -> None:
    assert "Not found" in await page(web, "/nothing", 404)
    assert "Invalid request" in await page(web, "/dead?page=x", 400)


async def test_without_redis(bench: Bench) -> None:
    app = create_app("redis://127.0.0.1:1/0", namespace=bench.namespace, hosts=["*"])
    async with calling(app) as web:
        for path in PLAIN_PAGES:
            html = await page(web, path, 503)
            assert "Redis is unavailable" in html
            assert "data-unavailable" in html


# Lists


async def test_a_list_in_pages(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(failed(f"job{number}") for number in range(60)))
    first = await page(web, "/dead")
    assert "1 of 3" in first
    assert first.index(">job59<") < first.index(">job40<")
    assert ">job30<" not in first
    last = words(await page(web, "/dead?page=3"))
    assert "3 of 3" in last
    assert "3 of 3" in words(await page(web, "/dead?page=99"))
    assert "job0" in last
    html = await page(web, "/dead?order=oldest&per_page=5")
    assert ">job0<" in html
    assert ">job5<" not in html
    assert "1 of 12" in html
    assert 'href="/dead?order=oldest&amp;page=2&amp;per_page=5"' in html or "order=oldest" in html


async def test_filters(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(
        bench,
        "dead",
        failed("mail", "mailbox 17 is full"),
        failed("mail", "mailbox 18 is full"),
        failed("mail", "no route"),
        failed("pay", "mailbox 19 is full", args={"order": "7-7"}),
        payload("pay"),
    )
    kind = quote("mailbox … is full")
    counts = {"name=mail": 3, f"error={kind}": 3, f"error={kind}&name=mail": 2, "text=7-7": 1, "error=": 1}
    for query, count in counts.items():
        html = await page(web, f"/dead?{query}")
        assert html.count('<td class="job">') == count, query
        assert "All matching" in html
        assert "remove this filter" in html
    html = await page(web, "/dead?name=mail")
    assert f'href="/dead?name=mail&amp;error={kind}"' in html
    assert "mail (3)" in html
    assert "Nothing found." in words(await page(web, "/dead?text=nowhere"))


async def test_a_search_that_timed_out_shows_its_progress(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(bench, "dead", *(failed(f"job{number % 2}") for number in range(3_000)))
    async with serving(bench) as (app, web):
        client = app.state.context.client
        search, kinds = client.search, client.error_kinds

        async def hasty(*given: Any, **options: Any) -> Any:
            return await search(*given, **{**options, "seconds": 0.0})

        async def hasty_kinds(*given: Any, **options: Any) -> Any:
            return await kinds(*given, **{**options, "seconds": 0.0})

        monkeypatch.setattr(client, "search", hasty)
        monkeypatch.setattr(client, "error_kinds", hasty_kinds)
        html = await page(web, "/dead?text=nowhere")
        looked = re.search(r"Nothing found so far. Checked ([\d,]+) of 3,000.", words(html))
        assert looked, words(html)
        more = re.search(r'class="more" href="([^"]+)"', html)
        assert more
        following = words(await page(web, more[1].replace("&amp;", "&")))
        further = re.search(r"Checked ([\d,]+) of 3,000", following) or re.search("Nothing found.", following)
        assert further
        html = await page(web, "/dead")
        assert "of 3,000 jobs. <a" in " ".join(html.split())
        assert "Check more" in html


async def payload_path(web: httpx.AsyncClient, path: str) -> str:
    """Return the path of the page with the payload of the first job in a list."""
    job = re.search(r'class="main" href="(/jobs/[^"]+)"', await page(web, path))
    assert job
    payload = re.search(r'href="(/job\?[^"]+)"', await page(web, job[1]))
    assert payload
    return payload[1].replace("&amp;", "&")


async def test_what_is_gone(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", failed("wat"))
    path = await payload_path(web, "/dead")
    assert "Died" in words(await page(web, path))
    await bench.redis.delete(bench.keys.dead)
    html = await page(web, path, 404)
    assert "Job not found" in html
    assert 'value="0000' in html
    assert "not a job ref" in await page(web, "/job?location=dead&ref=x", 400)


async def test_the_page_of_a_job(bench: Bench, web: httpx.AsyncClient) -> None:
    args = {"n": 12345678901234567890123456789, "deep": json.loads("[" * 300 + "]" * 300), "s": "one\ntwo"}
    raw = failed("wat", "first line\nsecond line", args=args, traceback="File x\n  y", unique=True, unique_key="k:1")
    await put(bench, "retry", raw.replace(b'"s"', b'"f": 1.50e+10, "f": 2.0, "s"'), at=time.time() + 90)
    html = await page(web, await payload_path(web, "/retries"))
    told = words(html)
    for text in ("12345678901234567890123456789", "1.50e+10", "2.0", "second line", "File x", "k:1", "until it starts"):
        assert text in told, text
    assert re.search(r"next try in 1 min", told)
    assert re.search("Failed 2 more times before.*Back in its queue.*Failed.*Next try", told, re.DOTALL)
    assert 'formaction="/api/jobs/retry?location=retry&amp;id=' in html


async def test_the_location_of_a_waiting_job(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "queue:wat", payload("wat", args={"a": 1}), payload("wat", args={"b": 2}))
    html = await page(web, "/queue?name=wat")
    assert html.index("&#34;a&#34;: 1") < html.index("&#34;b&#34;: 2")
    path = await payload_path(web, "/queue?name=wat")
    assert path.startswith("/job?location=queue%3Awat&")
    assert "Waiting in its queue" in await page(web, path)
    assert "There is no queue with this name" in await page(web, "/queue?name=nobody")


async def test_find(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", failed("pay", args={"needle": 1}))
    await put(bench, "scheduled", payload("pay", args={"needle": 2}))
    await put(bench, "queue:pay", payload("pay", args={"needle": 3}))
    told = words(await page(web, "/find?text=needle"))
    for text in ("dead", "scheduled", "queue pay"):
        assert text in told
    assert "A job that has ended is found here only while it is dead" in await page(web, "/find?text=nowhere")


async def test_the_confirmation_of_actions_on_many_jobs(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", *(failed("mail" if number % 3 else "pay") for number in range(30)))
    await put(bench, "queue:pay", payload("pay"))
    html = await page(web, "/confirm?action=delete&location=dead&name=mail")
    assert "20 jobs match" in words(html)
    assert 'action="/api/jobs/delete?location=dead&amp;all=1&amp;name=mail"' in html
    assert 'href="/dead?name=mail"' in html
    assert "Retry all dead jobs?" in await page(web, "/confirm?action=retry&location=dead")
    assert "Empty the queue pay?" in await page(web, "/confirm?action=empty&queue=pay")
    assert "Forget the queue pay?" in await page(web, "/confirm?action=forget&queue=pay")
    assert "disabled" in await page(web, "/confirm?action=delete&location=dead&name=nobody")
    await page(web, "/confirm?action=retry&location=quarantine", 400)
    await page(web, "/confirm?action=shutdown&location=dead", 400)


async def test_the_confirmation_continues_counting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(bench, "dead", *(failed("mail") for _ in range(3_000)))
    monkeypatch.setattr("asyncwork.web.job_pages._COUNT_TIMEOUT", 0.0)
    async with serving(bench) as (_, web):
        html, counted = await page(web, "/confirm?action=delete&location=dead&name=mail"), []
        while more := re.search(r'<a href="([^"]+)">Continue counting', html):
            assert "so far; checked" in words(html)
            counted.append(html)
            html = await page(web, more[1].replace("&amp;", "&"))
        assert counted
        assert "3,000 jobs match" in words(html)
        assert "More than 1,000 jobs: you cannot undo this" in words(html)


# Messages about finished actions, and controls by permission


async def test_the_message_about_a_finished_action(web: httpx.AsyncClient) -> None:
    assert "3 jobs deleted." in await page(web, "/dead?done=delete&n=3&undo=0123456789abcdef01234567")
    html = await page(web, "/dead?done=delete&n=3&undo=%22%3E%3Cscript%3E")
    assert "script&gt;" not in html
    assert 'name="undo"' not in html
    for query in ("done=%3Cscript%3E&n=3", "done=explode&n=1", "n=4"):
        assert 'class="flash"' not in await page(web, f"/dead?{query}")
    assert "0 jobs" in await page(web, "/dead?done=retry&n=x")
    assert "done=" not in await page(web, "/dead?done=pause&n=1")


async def test_nothing_to_click_where_nothing_may_be_done(bench: Bench) -> None:
    await put(bench, "dead", failed())
    await put(bench, "queue:wat", payload())
    paths = ("/", "/dead", "/queues", "/queue?name=wat", "/dead?name=wat")

    async def controls(**options: Any) -> set[tuple[str, str]]:
        async with serving(bench, **options) as (_, web):
            html = [await page(web, path) for path in paths]
            link = re.search(r'class="main" href="(/job[^"]+)"', html[1])
            assert link
            html.append(await page(web, link[1].replace("&amp;", "&")))
        return set(re.findall(r"/api/\w+/(\w+)\?|/confirm\?action=(\w+)", "".join(html)))

    assert await controls(read_only=True) == set()
    assert await controls(authorize=lambda _, action: action == "view") == set()
    assert {a or b for a, b in await controls(authorize=lambda _, action: action in ("view", "pause"))} == {"pause"}
    everything = {a or b for a, b in await controls()}
    assert everything == {"retry", "delete", "cancel", "pause", "cap", "rate", "empty"}


async def test_a_form_takes_each_maximum_that_the_api_takes(bench: Bench, web: httpx.AsyncClient) -> None:
    highest = 2**31 - 1
    pool = bench.pool()

    @pool.job(partition="text", max_waiting=highest)
    async def fair(text: str) -> None: ...

    async with Client(bench.url, namespace=bench.namespace) as client, pool.running():
        await client.pause("fair")
        await fair.enqueue("a")
        await client.set_limit("llm", concurrency=highest)
        await client.set_max_concurrency("fair", highest)
        await client.set_partition("fair", "a", concurrency=highest)
        html = [await page(web, path) for path in ("/queues", "/queue?name=fair")]
    inputs = re.findall(r'<input type="number" name="(concurrency|cap|max_waiting)" min="0" max="(\d+)"', "".join(html))
    assert {*inputs} == {(name, str(highest)) for name in ("concurrency", "cap", "max_waiting")}


# Text that anybody may have written


@pytest.mark.parametrize(
    "text", HOSTILE, ids=["script", "attribute", "template", "control", "bidi", "surrogate", "url", "long"]
)
async def test_hostile_text_is_shown_as_text(redis_url: str, text: str) -> None:
    async with open_bench(redis_url) as bench, serving(bench) as (_, web):
        await fill(bench, text)
        try:
            for path in (
                *PLAIN_PAGES,
                f"/queue?name={formatting.url_encode(text[:999])}",
                f"/find?text={formatting.url_encode(text[:200])}",
            ):
                html = await page(web, path)
                assert "<script>" not in html
                assert "<img src=x" not in html
                shown = html.replace(f'name="text" type="search" value="{escape(text)}"', "")
                assert not re.search("[\x00-\x08\x0b-\x1f\u200f\u202e\u2066\ud800-\udfff]", shown)
                assert len(html) < 200_000, path
            dead = await page(web, "/dead")
            assert ("{{ 7 * 7 }}{% raw %}" in dead) == ("{{" in text)
            if text == HOSTILE[4]:
                assert '<span class="esc">\\u202e</span>' in dead
            if text == HOSTILE[-1]:
                assert "1.0 MB" in dead
            for link in re.findall(r'class="main" href="(/job[^"]+)"', dead):
                html = await page(web, link.replace("&amp;", "&"))
                assert "<script>" not in html
                assert len(html) < 300_000
                for path in re.findall(r'href="(/job\?[^"]+)"', html):
                    html = await page(web, path.replace("&amp;", "&"))
                    assert "<script>" not in html
                    assert len(html) < 300_000
                assert ("Show all" in html) == (len(text) > 20_000)
            handle = re.search(r'name="ref" value="([^"]+)"', dead)
            assert handle
            response = await web.post("/api/jobs/delete?location=dead", data={"ref": handle[1], "back": "/dead"})
            assert response.status_code == 303
            assert "1 job deleted" in await page(web, response.headers["location"])
            for action in ("pause", "unpause", "empty", "forget") if len(text) < 20_000 else ():
                response = await web.post(
                    f"/api/queues/{action}?queue={formatting.url_encode(text)}", data={"back": "/queues"}
                )
                assert response.status_code in (303, 400), response.text
        finally:
            await bench.redis.delete(*[key async for key in bench.redis.scan_iter(f"{bench.namespace}:*")])


async def fill(bench: Bench, text: str, number: int = 0) -> None:
    """Write a text to every field that can hold one."""
    raw, keys, redis = text.encode("utf-8", "surrogatepass"), bench.keys, bench.redis
    await redis.sadd(keys.known_jobs, raw)
    await redis.lpush(keys.jobs.encode() + raw, payload(text, args={text: text}))
    dead = failed(text, text, args={text: [text]}, traceback=text, unique_key=text)
    nameless = json.dumps({"name": "x", "id": text, "t": 1, "args": None}).encode()
    await redis.zadd(keys.dead, {dead: 1.5e9 + number, nameless: 1.4e9})
    await redis.zadd(keys.retry, {failed(text, text): float("inf")})
    await redis.zadd(keys.scheduled, {payload(text): -5e20})
    entry = {"at": 1.5e9, "from": text, "reason": text, "payload": text}
    await redis.lpush(keys.quarantine, json.dumps(entry), raw)
    pool, worker = f"pool{number}", f"worker{number}"
    await redis.sadd(keys.worker_pools, pool)
    beat = {"heartbeat_at": int(time.time()), "concurrency": "2", "started_at": "x", "pid": "x", "worker_ids": worker}
    told = dict.fromkeys(("job_names", "host", "state", "runner"), raw)
    await redis.hset(keys.heartbeat(pool), mapping={**beat, **told})
    seen = {"job_name": raw, "job_id": raw, "args": json.dumps({text: text}), "checkin": raw, "started_at": "-7"}
    await redis.hset(keys.observation(worker), mapping=seen)
    await redis.hset(keys.periodic_fired, raw[:5_000] + b":" + raw[:5_000], 1_500_000_000)


async def test_a_name_of_bytes_that_are_no_text(bench: Bench, web: httpx.AsyncClient) -> None:
    name = b"caf\xe9\xff"
    await bench.redis.sadd(bench.keys.known_jobs, name)
    await bench.redis.lpush(bench.keys.jobs.encode() + name, b"\xff\xfe not json")
    html = await page(web, "/queues")
    assert 'href="/queue?name=caf%E9%FF"' in html
    html = await page(web, "/queue?name=caf%E9%FF")
    assert "1 waiting" in words(html)
    link = re.search(r'class="main" href="(/job[^"]+)"', html)
    assert link
    assert "Why this is not a job" in await page(web, link[1].replace("&amp;", "&"))
    response = await web.post("/api/queues/pause?queue=caf%E9%FF", data={"back": "/queues"})
    assert response.status_code == 303
    assert await bench.redis.exists(bench.keys.jobs.encode() + name + b":paused")
    await bench.redis.delete(bench.keys.jobs.encode() + name)


# How values are shown


def test_what_has_no_shape_is_spelled_out() -> None:
    assert formatting.visible("a<b>\u202e\x00\n") == 'a&lt;b&gt;<span class="esc">\\u202e\\u0000\\n</span>'
    assert formatting.visible("a\tb\nc\r", multiline=True) == 'a\tb\nc<span class="esc">\\r</span>'
    assert formatting.plain_text("a\U000e0001\ud800", 3) == "a\\U…"
    assert formatting.excerpt("é" * 900, 2) == 'éé<span class="cut">… 1.8 kB</span>'


@pytest.mark.parametrize(
    ("away", "told"),
    [
        (0, "now"),
        (-1, "1 s ago"),
        (59, "in 59 s"),
        (61, "in 1 min"),
        (-3_600, "1 h ago"),
        (-200_000, "2 d ago"),
        (9e8, "in 10,416 d"),
    ],
)
def test_moments(away: float, told: str) -> None:
    now = 1_700_000_000.4
    assert formatting.relative_time(now + away, now) == told
    assert 'datetime="' in formatting.time_tag(now + away, now)


def test_moments_beyond_the_calendar() -> None:
    assert formatting.time_tag(None, 1) == '<span class="none">–</span>'
    assert "inf s after 1970" in formatting.time_tag(float("inf"), 1)
    assert "s after 1970" in formatting.time_tag(10**30, 1)
    assert "0001-01-01" in formatting.time_tag(-62_135_596_800, 1)


def test_quantities() -> None:
    sizes = {0: "0 B", 999: "999 B", 1_000: "1.0 kB", 99_499: "99 kB", 999_999: "1.0 MB", 25_000_000: "25 MB"}
    assert {value: formatting.size(value) for value in sizes} == sizes
    shares = {0: "0 %", 0.5: "< 0.1 %", 4: "0.4 %", 120: "12 %", 1_000: "100 %"}
    assert {part: formatting.percent(part, 1_000) for part in shares} == shares
    assert formatting.percent(1, 0) == "0 %"
    spans = {0: "0 ms", 0.42: "0.4 ms", 120: "120 ms", 1_240: "1.2 s", 75_000: "1 min"}
    assert {ms: formatting.milliseconds(ms) for ms in spans} == spans
    assert [formatting.rate(value) for value in (0, 0.4, 3, 1_234.5)] == ["0", "0.4", "3", "1,234"]
    assert [formatting.compact(value) for value in (93_274, 2_633_350)] == ["93,274", "2.6 M"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("0 30 2 * * *", "Every day at 02:30"),
        ("30 2 * * *", "Every day at 02:30"),
        ("TZ=Europe/Berlin 0 30 2 * * 1-5", "At 02:30, Monday through Friday, time of Europe/Berlin"),
        ("CRON_TZ=UTC @hourly", "Every hour, time of UTC"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("0 0 0 ? * mon", "At 00:00, only on Monday"),
        ("0 0 12 1,15 */1 ?", "At 12:00, on day 1 and 15 of the month"),
        ("@every 1h30m", "Every 1 hour 30 minutes"),
        ("@every 1h", "Every hour"),
        ("@every 90s", "Every 90 seconds"),
        ("@monthly", "Every month on day 1 at 00:00"),
        ("@annually", "Every year on January 1 at 00:00"),
        ("@midnight", "Every day at 00:00"),
        ("@every +90s", "Every 90 seconds"),
        ("TZ=UTC\t0 30 2 * * *", ""),
        ("nonsense", ""),
        ("@every soon", ""),
        ("@every 0s", ""),
        # As a heartbeat may hold them.
        ("TZ=UTC TZ=UTC @hourly", ""),
        ("TZ=UTC " * 3_000 + "@hourly", ""),
        ("@every " + "1" * 20_000, ""),
        ("@every " + "1" * 900, ""),
        ("*," * 500_000 + "* * * * *", ""),
        ("a b c d e f", ""),
    ],
)
def test_specs_in_plain_words(spec: str, told: str) -> None:
    began = time.process_time()
    assert cron_words.in_words(spec) == told
    assert time.process_time() - began < 1


# Arguments


def test_values_read_as_they_were_written() -> None:
    html = json_tree.tree_html(
        b'{"a":12345678901234567890123,"b":1.50e+10,"a":-0,"e":{},"l":[],"t":true,"n":null,"":"\\u0041\\ud83d"}'
    )
    told = re.sub(r"<[^>]+>", " ", html)
    for text in ("12345678901234567890123", "1.50e+10", "-0", "{}", "[]", "true", "null", "A \\ud83d"):
        assert text in told, text
    assert html.count('<span class="key">a</span>') == 2


@pytest.mark.parametrize("depth", [30, 800, 5_000])
def test_deep_arguments(depth: int) -> None:
    html = json_tree.tree_html(b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    assert html.count("<ul") < 60
    assert Outline(f"<h1></h1>{html}").problems == []
    assert "<pre" not in html


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"***",
        b'{"a" "b"}',
        b'{"a":}',
        b"{",
        b"}",
        b"[1,2}",
        b'{"a":1',
        b'{"a":1}}',
        b",",
        b"{1:2}",
        b"\xff",
        b'["a":1]',
        b"1 2",
    ],
)
def test_what_is_no_json_is_shown_as_text(raw: bytes) -> None:
    html = json_tree.tree_html(raw)
    assert Outline(f"<h1></h1>{html}").problems == []
    if raw != b'["a":1]':
        assert html.startswith('<pre class="text">')


def test_huge_arguments_are_cut() -> None:
    for raw in (b"[" + b"1," * 100_000 + b"1]", b'{"a":"' + b"x" * 2_000_000 + b'"}', b"9" * 300_000):
        assert len(json_tree.tree_html(raw)) < 60_000
    wide = json_tree.tree_html(b'{"a":[' + b"1," * 4_000 + b"1]}")
    assert "and at least" in wide
    assert Outline(f"<h1></h1>{wide}").problems == []
    assert len(json_tree.line_html(b'{"a":"' + b"x" * 2_000_000 + b'"}')) < 400


# Charts


def test_a_chart() -> None:
    counts = [JobCounts(60 * n, n * 10, n, 0, 0, n * 100, n * 2_000) for n in range(60)]
    chart = charts.chart("minutes", counts)
    assert chart.summary == (
        "Last 60 minutes: 17,700 attempts, 10 % of them failed; at most 590, at 00:59; "
        "on average waited 200 ms and ran 10 ms."
    )
    assert [row.peak for row in chart.rows] == ["590", "59", "200 ms", "10 ms"]
    assert "style" not in "".join(row.svg for row in chart.rows)
    assert 'title="00:59: 590 processed, 10 % failed, waited 200 ms, ran 10 ms"' in chart.hits
    assert 'title="00:00: no attempts"' in chart.hits


def test_a_chart_tells_of_expired_and_cancelled_jobs_if_there_are_any() -> None:
    counts = [JobCounts(0, 9), JobCounts(60, 10, expired=1200, cancelled=2)]
    chart = charts.chart("minutes", counts)
    assert chart.summary.endswith("ran 0 ms, 1,200 expired, 2 cancelled.")
    assert 'title="00:01: 10 processed, 0 % failed, waited 0 ms, ran 0 ms, 1,200 expired, 2 cancelled"' in chart.hits
    assert 'title="00:00: 9 processed, 0 % failed, waited 0 ms, ran 0 ms"' in chart.hits


def test_an_empty_chart() -> None:
    assert charts.chart("days", [JobCounts(0)] * 30).summary == "Last 30 days: no attempts."
    assert charts.spark([JobCounts()] * 60) == ""
    assert charts.chart("days", []).marks == []


NO_RUN_TIMES = RunTimes(BOUNDS, (0,) * 26)


def test_a_histogram() -> None:
    counts = [0] * 26
    counts[7], counts[10] = 90, 10
    chart = histograms.histogram([*[("", NO_RUN_TIMES)] * 6, ("", RunTimes(BOUNDS, tuple(counts)))])
    assert chart is not None
    assert chart.title == "Run times of 7 days"
    assert chart.readout == "p50 about 100 ms, p95 about 768 ms, p99 about 973 ms"
    assert chart.summary == "Run times of 7 days: 100 attempts; p50 about 100 ms, p95 about 768 ms, p99 about 973 ms."
    assert chart.peak == "90"
    assert 'title="64 ms to 128 ms: 90 attempts, 90 %"' in chart.hits
    assert 'title="128 ms to 256 ms: 0 attempts, 0 %"' in chart.hits
    assert chart.labels == ["64 ms", "1.0 s", "16 s"]
    assert "style" not in chart.svg


@pytest.mark.parametrize(("bucket", "labels"), [(0, ["0", "8.0 ms", "128 ms"]), (25, ["2 min", "34 min", "more"])])
def test_a_histogram_has_its_bars_at_the_ends(bucket: int, labels: list[str]) -> None:
    counts = [0] * 26
    counts[bucket] = 1
    chart = histograms.histogram([("", RunTimes(BOUNDS, tuple(counts)))])
    assert chart is not None
    assert chart.labels == labels
    assert chart.hits.count("<i ") == 8
    assert histograms.histogram([("", NO_RUN_TIMES)]) is None


async def test_the_page_of_a_queue_shows_its_chunks_and_its_bound(bench: Bench, web: httpx.AsyncClient) -> None:
    pool = bench.pool()

    @pool.job(chunk=100, wait=0.25, max_waiting=2)
    async def wat(jobs: list[Job]) -> None: ...

    async with pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await client.pause("wat")
        await wat.enqueue()
        html = await page(web, "/queue?name=wat")
        assert "<span>1 of 2 waiting</span>" in html
        assert "<span>in chunks of 100, after 250 ms</span>" in html
        assert ">full</span>" not in html
        await wat.enqueue()
        for path in ("/queue?name=wat", "/queues"):
            assert ">full</span>" in await page(web, path)
        problems = [each for each in (await client.diagnose(0.1)).notes if each.kind == "full"]
        assert [each.text.partition(";")[0] for each in problems] == ["wat is full: 2 jobs wait, and at most 2 may"]
        sent = {"queue": "wat", "max_waiting": "", "back": "/queues"}
        response = await web.post("/api/queues/max-waiting", data=sent)
        assert response.status_code == 303
        await client.unpause("wat")
        await pool.drain()


async def test_the_page_of_a_queue_shows_its_run_times(bench: Bench, web: httpx.AsyncClient) -> None:
    pool = bench.pool()

    @pool.job
    async def wat() -> None: ...

    await wat.enqueue()
    assert "Run times" not in await page(web, "/queue?name=wat")
    async with pool.running():
        await pool.drain()
    html = await page(web, "/queue?name=wat")
    assert "Run times of 7 days" in html
    assert "1 attempt, 100 %" in html


# Colours


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_have_enough_contrast_in_both_themes() -> None:
    css = (Path(assets.__file__).parent / "static/app.css").read_text()
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\n *\}", css, re.DOTALL)
    )
    pairs = [(text, on) for text in ("text", "soft", "accent", "good", "bad", "warn") for on in ("bg", "panel", "sunk")]
    pairs += [("accent", "accent-bg"), ("good", "good-bg"), ("warn", "warn-bg"), ("bad", "bad-bg"), ("soft", "warn-bg")]
    pairs += [("on", "accent"), ("panel", "bad"), ("bg", "text"), ("text", "accent-bg")]
    for theme in (light, dark):
        for text, ground in pairs:
            low, high = sorted((_luminance(theme[text]), _luminance(theme[ground])))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


# Static files


async def test_static_files_are_kept_for_ever(web: httpx.AsyncClient) -> None:
    types = {"app.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
    for name, kind in types.items():
        response = await web.get(assets.path_of(name))
        assert response.status_code == 200
        assert response.headers["content-type"] == f"{kind}; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path in ("/static/app.css", "/static/app.000000000000.css", "/static/..%2fapp.css", "/static/base.html"):
        response = await web.get(path)
        assert response.status_code == 404
        assert response.headers["cache-control"] == "no-store"


# Live


class Stream:
    """Event stream of a page, read from an ASGI application without a server."""

    def __init__(self, app: Any, query: str) -> None:
        self.events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.status = 0
        self._app = app
        self._leave = asyncio.Event()
        self._scope = {
            "type": "http", "method": "GET", "path": "/live", "query_string": query.encode(), "http_version": "1.1",
            "headers": [(b"host", b"test")], "root_path": "", "scheme": "http", "server": ("test", 80),
        }  # fmt: skip

    async def __aenter__(self) -> Stream:
        self._task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave.set()
        async with asyncio.timeout(LIMIT):
            await self._task

    async def _receive(self) -> Any:
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        for event in message.get("body", b"").decode().split("\n\n"):
            if match := re.fullmatch(r"event: (\w+)\ndata: (.*)", event):
                self.events.put_nowait((match[1], json.loads(match[2])))

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(LIMIT):
            return await self.events.get()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_INTERVAL", 0.02)
    monkeypatch.setattr(sse, "_PAUSE_FACTOR", 0)


async def test_only_what_has_changed_is_sent(bench: Bench, quick: None) -> None:
    await put(bench, "dead", failed("first"))
    async with serving(bench) as (app, _), Stream(app, "path=%2Fdead") as stream:
        kind, told = await stream.next()
        assert kind == "sections"
        assert set(told["sections"]) == {"nav", "facts", "list"}
        await put(bench, "dead", failed("second"), at=1_600_000_000)
        _, told = await stream.next()
        assert set(told["sections"]) == {"nav", "facts", "list"}
        assert "second" in told["sections"]["list"]
        assert stream.events.empty()
    assert not sse._streams


@pytest.mark.parametrize("path", [each for each in PLAIN_PAGES if each != "/"])
async def test_what_has_not_changed_is_not_sent_again(bench: Bench, quick: None, path: str) -> None:
    await put(bench, "retry", failed())
    async with serving(bench) as (app, _), Stream(app, f"path={quote(path, safe='')}") as stream:
        await stream.next()
        await asyncio.sleep(0.3)
        assert stream.events.empty()


async def test_a_live_part_reads_as_on_the_page(redis_url: str) -> None:
    async with demo(redis_url) as web:
        for path in ("/", "/busy", "/queues", "/dead", "/dead?name=pay"):
            html = (await web.get(path, headers=HTML)).text
            assert len(re.findall(r'<section id="\w+"[^>]* data-live>', html)) >= 2, path


async def test_redis_goes_and_comes_back(bench: Bench, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(bench) as (app, _), Stream(app, "path=%2Fbusy") as stream:
        assert (await stream.next())[0] == "sections"
        await bench.redis.client_kill_filter(_type="normal", skipme=True)
        client = app.state.context.client
        whole = client._redis
        client._redis = RedisClient("redis://127.0.0.1:1")
        monkeypatch.setattr(client._status._registry, "_redis", client._redis)
        kind, told = await stream.next()
        while kind == "sections":
            kind, told = await stream.next()
        assert (kind, told) == ("unavailable", {"text": "Redis is unavailable."})
        client._status._registry._redis = client._redis = whole
        while kind != "sections":
            kind, told = await stream.next()
        assert "running" in told["sections"]


async def test_a_stream_has_an_end(bench: Bench, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_MAX_DURATION", 0.2)
    async with serving(bench) as (_, web):
        response = await web.get("/live?path=/periodic")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.text.startswith("retry: 2000\n\nevent: sections\n")
        assert response.text.endswith("event: reconnect\ndata: {}\n\n")
        assert (await web.get("/live?path=/nothing")).status_code == 404
        assert (await web.get("/live")).status_code == 404
        assert (await web.head("/live?path=/dead")).status_code == 200
        assert "event: end" in (await web.get("/live?path=/dead&page=x")).text
        monkeypatch.setattr(sse, "_MAX_STREAMS", 0)
        assert (await web.get("/live?path=/dead")).status_code == 503


async def test_a_polling_page_gets_changed_sections(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", failed("pay"))
    first = (await web.get("/live/poll?path=/dead")).json()
    assert first["kind"] == "sections"
    assert "pay" in first["sections"]["list"]
    assert first["pause"] >= 2
    again = (await web.get("/live/poll?path=/dead", headers={"if-none-match": first["tag"]})).json()
    assert (again["tag"], again["sections"]) == (first["tag"], {})
    await put(bench, "dead", failed("mail"))
    changed = (await web.get("/live/poll?path=/dead", headers={"if-none-match": first["tag"]})).json()
    assert "mail" in changed["sections"]["list"]
    # The browser compares them: which of two states is older, if the same process has read both.
    (server, at), (same, later) = first["read"].split(), changed["read"].split()
    assert server == same
    assert float(at) < float(later)
    assert f'data-read="{server} ' in (await web.get("/dead")).text
    assert (await web.get("/live/poll?path=/dead&page=x")).json()["kind"] == "end"
    assert (await web.get("/live/poll?path=/nothing")).status_code == 404


async def test_labels_tell_what_is_there(bench: Bench, web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    await put(bench, "retry", failed("pay"), at=now + 600)
    await put(bench, "retry", failed("pay"), at=now + 7_200)
    html = words(await page(web, "/retries"))
    assert "Last try" not in html
    assert re.search(r"Next try 2 ohno pay in (9|10) min", html)
    entry = {"at": now - 120, "from": "pay", "reason": "not JSON", "payload": "{{{"}
    await bench.redis.lpush(bench.keys.quarantine, json.dumps(entry))
    assert "Newest 1 not JSON pay 2 min ago" in words(await page(web, "/quarantine"))
    # What was counted of a part says so.
    await put(bench, "dead", *(failed(f"job{number % 8}", f"kind {chr(97 + number % 7)}") for number in range(2_500)))
    whole = words(await page(web, "/dead"))
    error_kinds = Client.error_kinds

    async def hasty(*given: Any, **options: Any) -> Any:
        return await error_kinds(*given, **{**options, "seconds": 0.0})

    monkeypatch.setattr(Client, "error_kinds", hasty)
    part = words(await page(web, "/dead"))
    assert "at least" in part
    assert "at least 2 other kinds" in part
    assert re.search(r"job0 \(at least \d+\)", part)
    if "Check more" not in whole:
        assert "at least" not in whole


async def test_the_deletions_of_the_last_minutes(bench: Bench) -> None:
    await put(bench, "dead", failed("pay"), failed("mail"), failed("fax"))
    await put(bench, "queue:print", payload("print"), payload("print"))
    as_form = {"content-type": "application/x-www-form-urlencoded", "accept": "text/html"}

    def redact(record: JobRecord) -> JobRecord:
        return dataclasses.replace(record, name="hidden" if record.name == "pay" else record.name, args=b"null")

    async with serving(bench, authorize=lambda *_: "ada", redact=redact) as (app, web):
        client = app.state.context.client
        for job in (await client.jobs("dead")).jobs[:2]:
            assert (await web.post("/api/jobs/delete", json={"location": "dead", "ref": job.ref})).json()["done"] == 1
        assert (await web.post("/api/queues/empty", json={"queue": "print"})).json()["done"] == 2
        found = (await web.get("/api/deletions")).json()["deletions"]
        assert [(each["location"], each["count"], each["who"]) for each in found] == [
            ("queue:print", 2, "ada"),
            ("dead", 1, "ada"),
            ("dead", 1, "ada"),
        ]
        assert [each["first"]["name"] for each in found] == ["print", "mail", "hidden"]
        assert all(590 < each["until"] - time.time() <= 600 for each in found)
        assert all(abs(each["at"] - time.time()) < 10 for each in found)
        html = await page(web, "/deleted")
        assert "2 jobs first print" in words(html)
        assert "pay" not in words(html)
        undo = found[0]["undo"]
        assert undo in html
        response = await web.post("/api/jobs/restore", content=f"undo={undo}&back=/deleted", headers=as_form)
        assert response.headers["location"] == "/deleted?done=restore&n=2"
        assert undo not in await page(web, "/deleted")
        assert len((await web.get("/api/deletions")).json()["deletions"]) == 2
        # Every page leads there.
        for path in ("/", "/busy", "/queues", "/dead", "/job?location=dead&ref=1~00000000000000000000~0"):
            assert 'href="/deleted"' in (await web.get(path, headers={"accept": "text/html"})).text
    # Who may only look is offered nothing, and can do nothing.
    for options in ({"read_only": True}, {"authorize": lambda _, action: action == "view"}):
        async with serving(bench, **options) as (_, web):
            html = await page(web, "/deleted")
            assert "mail" in html
            assert found[1]["undo"] not in re.findall(r'<button[^>]*value="(\w+)"', html)
            assert (await web.post("/api/jobs/restore", json={"undo": found[1]["undo"]})).status_code in (403, 405)
    # An entry that is none, and one whose jobs are gone, hide nothing.
    others = (b"{", b'{"undo":"%b","who":""}' % (b"0" * 24))
    await bench.redis.zadd(bench.keys.deletions, dict.fromkeys(others, time.time()))
    await bench.redis.delete(bench.keys.deleted_from(found[2]["undo"]))
    async with serving(bench) as (_, web):
        left = (await web.get("/api/deletions")).json()["deletions"]
        assert [each["undo"] for each in left] == [found[1]["undo"]]


async def test_the_page_of_a_rejected_request_does_not_show_the_redis_url(bench: Bench) -> None:
    def authorize(request: Request, action: str) -> bool:
        return action == "view" and "x-friend" in request.headers

    url = str(bench.url)
    async with serving(bench, authorize=authorize) as (app, web):
        told = app.state.context.client.masked_url[:40]
        assert url[:20] in told
        as_page = {"accept": "text/html", "content-type": "application/x-www-form-urlencoded"}
        for method, path in (("GET", "/dead"), ("POST", "/api/queues/pause"), ("POST", "/nowhere")):
            response = await web.request(
                method, path, headers=as_page, content="queue=wat" if method == "POST" else None
            )
            assert response.status_code in (403, 404)
            assert told not in response.text
            assert (f"Refused: <code>{method} {path}</code>" in response.text) is (response.status_code == 403)
        assert told in (await web.get("/dead", headers={**as_page, "x-friend": "1"})).text
        assert told in (await web.get("/nowhere", headers={**as_page, "x-friend": "1"})).text


def test_keys_of_a_demo_are_its_own() -> None:
    assert Keys(web_screens.NAMESPACE).dead == "shop:dead"
