"""The page of a job by its id, its JSON, and cancelling in the web UI."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from asyncwork import Job, JobAttempt, JobState, JobStatus
from asyncwork.models.job_steps import JobStep
from asyncwork.web.job_status import _events
from asyncwork.web.step_line import step_line

from .conftest import LIMIT, Bench, until
from .payloads import failed, payload, put
from .test_web_api import get, post
from .tuned import QUICK, tuned
from .web_app import serving


@pytest.fixture
async def web(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(bench) as (_, client):
        yield client


async def page(web: httpx.AsyncClient, job_id: str, status: int = 200) -> str:
    response = await web.get(f"/jobs/{quote(job_id, safe='')}", headers={"accept": "text/html"})
    assert response.status_code == status, response.text
    return response.text


async def test_a_page_keeps_its_address_through_the_life_of_a_job(bench: Bench, web: httpx.AsyncClient) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    pool = bench.pool()

    @pool.job("wat", result=60)
    async def wat(job: Job, n: int) -> dict[str, str]:
        job.progress(3, 10, "halfway to nowhere")
        begun.set()
        await go_on.wait()
        return {"answer": "<b>forty-two</b>"}

    job_id = (await bench.enqueuer.enqueue("wat", {"n": 7})).id
    waiting = await page(web, job_id)
    assert '<span class="tag queued">queued</span>' in waiting
    assert "Why it does not run yet" in waiting
    assert f"/confirm?action=cancel&amp;id={job_id}" in waiting
    assert (await get(web, f"/api/jobs/{job_id}"))["waiting_reason"]
    async with pool.running():
        await asyncio.wait_for(begun.wait(), LIMIT)

        async def shows_progress() -> bool:
            return "<b>3 of 10</b> · 30 % · halfway to nowhere" in await page(web, job_id)

        await until(shows_progress)
        assert '<span class="tag running">running</span>' in await page(web, job_id)
        poll = await web.get("/live/poll", params={"path": f"/jobs/{job_id}"})
        assert "halfway to nowhere" in poll.json()["sections"]["known"]
        assert f'href="/jobs/{job_id}"' in (await web.get("/busy")).text
        go_on.set()
        await pool.drain()
    done = await page(web, job_id)
    assert '<span class="tag done">done</span>' in done
    assert "&lt;b&gt;forty-two" in done
    assert "action=cancel" not in done
    told = await get(web, f"/api/jobs/{job_id}")
    assert (told["state"], told["result"], told["waiting_reason"]) == ("done", {"answer": "<b>forty-two</b>"}, "")


async def test_no_result_is_shown_where_values_are_hidden(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job("wat", result=60)
    async def wat() -> str:
        return "secret"

    job_id = (await bench.enqueuer.enqueue("wat")).id
    async with pool.running():
        await pool.drain()
    async with serving(bench, redact=lambda record: record) as (_, web):
        assert "secret" not in await page(web, job_id)
        assert "result" not in await get(web, f"/api/jobs/{job_id}")


@pytest.mark.parametrize("job_id", ["nowhere", "a/b", "é <script>", "x" * 300])
async def test_nothing_is_known_of_a_job(web: httpx.AsyncClient, job_id: str) -> None:
    html = await page(web, job_id, 404)
    assert "Nothing is known of a job with this id" in html
    assert "<script>\n" not in html
    response = await web.get(f"/api/jobs/{quote(job_id, safe='')}")
    assert response.status_code == 404
    assert "nothing is known of a job with this id" in response.json()["error"]


async def test_no_id_is_no_page(web: httpx.AsyncClient) -> None:
    response = await web.get("/jobs/")
    assert response.status_code == 404
    assert "there is no such page" in response.json()["error"]


async def test_a_dead_job_can_be_retried_and_deleted_on_its_page(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", dead := payload(fails=3, err="ohno", failed_at=1_500_000_100))
    job_id = Job.decode(dead).id
    html = await page(web, job_id)
    assert "ohno" in html
    assert "/api/jobs/retry?location=dead" in html
    assert "/api/jobs/delete?location=dead" in html
    assert f'href="/jobs/{job_id}"' in (await web.get("/dead")).text


async def test_cancel(bench: Bench, web: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asyncwork.web")
    begun = asyncio.Event()
    pool = bench.pool()

    @pool.job("runs", result=60)
    async def runs() -> None:
        begun.set()
        await asyncio.Event().wait()

    running = (await bench.enqueuer.enqueue("runs")).id
    waiting = (await bench.enqueuer.enqueue("wat", delay=60)).id
    async with pool.running():
        await asyncio.wait_for(begun.wait(), LIMIT)
        given = {"id": [running, waiting, "nowhere"], "reason": "not needed"}
        told = await post(web, "/api/jobs/cancel", given)
        assert told == {"done": 2, "results": {running: "asked", waiting: "now", "nowhere": "gone"}}

        async def cancelled() -> bool:
            return '<span class="tag cancelled">cancelled</span>' in await page(web, running)

        await until(cancelled)
    line = f"cancel done=2 who=- client=127.0.0.1 jobs=3 ids='{running},{waiting},nowhere' reason='not needed'"
    assert line in [record.getMessage() for record in caplog.records]


async def test_a_node_that_waits_in_its_flow_keeps_no_other_job_from_being_cancelled(
    bench: Bench, web: httpx.AsyncClient
) -> None:
    flow = bench.enqueuer.flow()
    node = flow.add("wat", after=flow.add("wat", label="first"))
    handle = await flow.start()
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    response = await web.post("/api/jobs/cancel", json={"id": [node.id, job_id]})
    assert (response.status_code, f"node {node.id} waits for others" in response.json()["error"]) == (400, True)
    assert not [each for each in await bench.job_set("scheduled") if job_id.encode() in each[0]]
    assert (await handle.status()).batch.left == 2
    await handle.cancel()


async def test_a_form_is_sent_back_to_its_page(bench: Bench, web: httpx.AsyncClient) -> None:
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    response = await web.post("/api/jobs/cancel", data={"id": job_id, "back": f"/jobs/{job_id}"})
    assert (response.status_code, response.headers["location"]) == (303, f"/jobs/{job_id}?done=cancel&n=1&job={job_id}")
    assert "1 job cancelled, or asked to end." in (await web.get(response.headers["location"])).text


_GIVE = "give the id of a job, or several, or refs of a location, or all=1 for all matching jobs"
_ONE_OF = "give ids, or the refs of jobs of a location, or all=1 for all that match"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, f"no jobs selected: {_GIVE}"),
        ({"id": "n", "all": 1}, _ONE_OF),
        ({"id": "n", "ref": "r", "location": "retry"}, _ONE_OF),
        ({"ref": "r"}, "location is required"),
        (
            {"ref": "r", "location": "busy"},
            "running jobs have no refs: cancel them by their ids, or those that match",
        ),
        ({"all": 1}, "location is required"),
        ({"id": ["n"] + [f"n{number}" for number in range(100)]}, "too many ids: give at most 100"),
        ({"id": "a/b"}, "the id of a job is 1 to 64 ASCII letters, digits, '_' and '-', not 'a/b'"),
    ],
)
async def test_invalid_cancellations(web: httpx.AsyncClient, given: dict[str, object], text: str) -> None:
    response = await web.post("/api/jobs/cancel", json=given)
    assert (response.status_code, response.json()["error"].replace('"', "'")) == (400, text.replace('"', "'"))


async def test_a_user_who_may_not_cancel_sees_no_button(bench: Bench) -> None:
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    async with serving(bench, authorize=lambda request, action: action != "cancel") as (_, web):
        assert "action=cancel" not in await page(web, job_id)
        response = await web.post("/api/jobs/cancel", json={"id": job_id})
        assert response.status_code == 403
    async with serving(bench, read_only=True) as (_, web):
        assert "action=cancel" not in await page(web, job_id)


async def test_all_that_match_are_cancelled(bench: Bench, web: httpx.AsyncClient) -> None:
    for name in ("pay", "pay", "mail"):
        await bench.enqueuer.enqueue(name, delay=60)
    query = {"action": "cancel", "location": "scheduled", "name": "pay"}
    html = (await web.get("/confirm", params=query)).text
    assert "<b>2 jobs</b>" in html
    assert 'name="reason"' in html
    given: dict[str, object] = {"location": "scheduled", "name": "pay", "all": 1, "reason": "closed"}
    assert (await post(web, "/api/jobs/cancel", given))["done"] == 2
    assert (await get(web, "/api/jobs", location="scheduled"))["total"] == 1
    response = await web.post("/api/jobs/cancel", data={"location": "scheduled", "all": "1", "back": "/scheduled"})
    assert response.headers["location"] == "/scheduled?done=cancel&n=1"
    assert (await get(web, "/api/jobs", location="scheduled"))["total"] == 0


async def test_the_selected_jobs_are_cancelled(bench: Bench, web: httpx.AsyncClient) -> None:
    jobs = [await bench.enqueuer.enqueue("pay", delay=60) for _ in range(3)]
    records = (await get(web, "/api/jobs", location="scheduled"))["jobs"]
    refs = {record["id"]: record["ref"] for record in records}
    html = (await web.get("/scheduled")).text
    assert 'formaction="/api/jobs/cancel?location=scheduled"' in html
    assert "Unlike a deletion, you cannot undo this." in html
    given = {"location": "scheduled", "ref": [refs[jobs[0].id], refs[jobs[1].id]], "reason": "closed"}
    assert (await post(web, "/api/jobs/cancel", given))["done"] == 2
    form = {"location": "scheduled", "ref": refs[jobs[2].id], "reason": "", "back": "/scheduled"}
    assert (await web.post("/api/jobs/cancel", data=form)).headers["location"] == "/scheduled?done=cancel&n=1"
    assert (await get(web, "/api/jobs", location="scheduled"))["total"] == 0


async def test_the_end_of_a_running_job_that_was_asked_for(bench: Bench, web: httpx.AsyncClient) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    pool = bench.pool(**tuned(QUICK, overdue=0.05))

    @pool.job("stubborn", result=60)
    async def stubborn() -> None:
        begun.set()
        while not go_on.is_set():
            with suppress(asyncio.CancelledError):
                await go_on.wait()

    job_id = (await bench.enqueuer.enqueue("stubborn", timeout=60, expires=600)).id
    facts = await get(web, f"/api/jobs/{job_id}")
    assert (facts["timeout"], facts["overdue"], facts["cancellation"]) == (60, False, "")
    assert facts["expires"] > time.time()
    async with pool.running():
        await asyncio.wait_for(begun.wait(), LIMIT)
        await post(web, "/api/jobs/cancel", {"id": job_id, "reason": "<b>too slow</b>"})

        async def is_overdue() -> bool:
            return '<span class="tag bad">overdue</span>' in await page(web, job_id)

        await until(is_overdue)
        html = await page(web, job_id)
        assert "It was asked to end" in html
        assert "Cancelled: &lt;b&gt;too slow&lt;/b&gt;. It goes on all the same" in html
        assert "<dt>Timeout</dt><dd>1 min</dd>" in html
        assert "<dt>Expires</dt>" in html
        facts = await get(web, f"/api/jobs/{job_id}")
        assert (facts["overdue"], facts["cancellation"]) == (True, "cancelled: <b>too slow</b>")
        go_on.set()
        await pool.drain()
    html = await page(web, job_id)
    assert "It was asked to end" not in html
    assert (await get(web, f"/api/jobs/{job_id}"))["cancellation"] == ""


async def test_a_job_without_arguments(bench: Bench, web: httpx.AsyncClient) -> None:
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    assert "<h2>Arguments</h2><p>none</p>" in await page(web, job_id)


async def test_all_running_jobs_are_cancelled(bench: Bench, web: httpx.AsyncClient) -> None:
    begun = asyncio.Event()
    pool = bench.pool()

    @pool.job("runs", result=60)
    async def runs() -> None:
        begun.set()
        await asyncio.Event().wait()

    job_id = (await bench.enqueuer.enqueue("runs")).id
    async with pool.running():
        await asyncio.wait_for(begun.wait(), LIMIT)

        async def seen() -> bool:
            return "1 job</b>" in (await web.get("/confirm", params={"action": "cancel", "location": "busy"})).text

        await until(seen)
        assert "/confirm?action=cancel&amp;location=busy" in (await web.get("/busy")).text
        assert (await post(web, "/api/jobs/cancel", {"location": "busy", "all": 1}))["done"] == 1

        async def cancelled() -> bool:
            return "cancelled</span>" in await page(web, job_id)

        await until(cancelled)


async def test_the_lists_offer_to_cancel_what_has_not_ended(bench: Bench, web: httpx.AsyncClient) -> None:
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    queued = (await bench.enqueuer.enqueue("pay")).id
    await put(bench, "dead", failed("mail"))
    for path, each in (("/scheduled", job_id), ("/queue?name=pay", queued)):
        html = (await web.get(path)).text
        assert f"/confirm?action=cancel&amp;id={each}" in html
        assert f'href="/jobs/{each}"' in html
        assert "/confirm?action=cancel&amp;location=" in html
    assert "action=cancel" not in (await web.get("/dead")).text
    asked = (await web.get("/confirm", params={"action": "cancel", "id": job_id})).text
    assert f'action="/api/jobs/cancel?id={job_id}"' in asked
    assert 'name="reason"' in asked


@pytest.mark.parametrize("query", [{"id": "a/b"}, {"location": "dead"}, {"location": "quarantine"}])
async def test_what_cannot_be_cancelled_is_refused(web: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await web.get("/confirm", params={"action": "cancel", **query})).status_code == 400


async def test_a_search_for_an_id_leads_to_the_page_of_the_job(bench: Bench, web: httpx.AsyncClient) -> None:
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    response = await web.get("/find", params={"text": f" {job_id} "})
    assert (response.status_code, response.headers["location"]) == (303, f"/jobs/{job_id}")
    for query in ({"text": "0" * 24}, {"text": "wat"}, {"text": job_id, "all": "1"}):
        assert (await web.get("/find", params=query)).status_code == 200


async def test_the_message_about_a_retried_job_leads_to_its_page(bench: Bench, web: httpx.AsyncClient) -> None:
    await put(bench, "dead", dead := failed())
    job_id = Job.decode(dead).id
    (record,) = (await get(web, "/api/jobs", location="dead"))["jobs"]
    response = await web.post(
        f"/api/jobs/retry?location=dead&id={job_id}", data={"ref": record["ref"], "back": "/dead"}
    )
    assert response.headers["location"] == f"/dead?done=retry&n=1&job={job_id}"
    assert f'<a href="/jobs/{job_id}">Show the job</a>' in (await web.get(response.headers["location"])).text
    assert "Show the job" not in (await web.get("/dead?done=retry&n=1&job=//evil.example")).text


@pytest.fixture
async def streamed(bench: Bench) -> str:
    """Return the id of a job that has emitted 103 chunks."""
    pool = bench.pool()

    @pool.job("talk", stream=60)
    async def talk(job: Job) -> None:
        await job.emit("<b>first</b>")
        for number in range(102):
            await job.emit({"n": number})

    job_id = (await bench.enqueuer.enqueue("talk")).id
    async with pool.running():

        async def ended() -> bool:
            return bool(await bench.redis.xlen(bench.keys.stream(job_id)) == 104)

        await until(ended)
    return job_id


async def test_a_page_shows_the_end_of_a_stream(bench: Bench, web: httpx.AsyncClient, streamed: str) -> None:
    html = (await web.get(f"/jobs/{streamed}")).text
    assert "the last 100 chunks" in html
    assert html.count('<p class="args">{&#34;n&#34;:') == 100
    assert "first" not in html
    async with serving(bench, redact=lambda record: record) as (_, hidden):
        assert "the last 100 chunks" not in (await hidden.get(f"/jobs/{streamed}")).text
        assert (await hidden.get(f"/api/jobs/{streamed}/stream")).status_code == 403


async def test_a_stream_as_events(web: httpx.AsyncClient, streamed: str) -> None:
    response = await web.get(f"/api/jobs/{streamed}/stream")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.strip().split("\n\n")[1:]
    assert len(events) == 104
    assert events[0].endswith('event: chunk\ndata: {"attempt":1,"chunk":"<b>first</b>"}')
    assert events[-2].endswith('event: chunk\ndata: {"attempt":1,"chunk":{"n":101}}')
    assert events[-1].endswith('event: end\ndata: {"state":"done"}')
    after = events[-2].split("\n")[0].removeprefix("id: ")
    rest = await web.get(f"/api/jobs/{streamed}/stream", headers={"last-event-id": after})
    assert rest.text.strip().split("\n\n")[1:] == events[-1:]


async def test_a_stream_that_cannot_be_shown(web: httpx.AsyncClient, streamed: str) -> None:
    assert (await web.get("/api/jobs/nowhere/stream")).status_code == 404
    refused = await web.get(f"/api/jobs/{streamed}/stream", headers={"last-event-id": "x"})
    assert (refused.status_code, "Last-Event-ID" in refused.json()["error"]) == (400, True)


async def test_finished_jobs(bench: Bench, web: httpx.AsyncClient) -> None:
    assert 'href="/finished"' not in (await web.get("/")).text
    assert "No finished jobs." in (await web.get("/finished")).text
    pool = bench.pool()

    @pool.job("good", history=True, result=60)
    async def good() -> None: ...

    @pool.job("poor", history=True, max_fails=1)
    async def poor() -> None:
        raise ValueError("no")

    ids = [(await bench.enqueuer.enqueue(name)).id for name in ("good", "poor", "good")]
    async with pool.running():
        await pool.drain()
    assert 'href="/finished"' in (await web.get("/")).text
    html = (await web.get("/finished")).text
    assert all(f'href="/jobs/{job_id}"' in html for job_id in ids)
    assert html.count('<span class="tag done">done</span>') == 2
    assert html.count('<span class="tag dead">dead</span>') == 1
    second = (await web.get("/finished", params={"per_page": 2, "page": 2})).text
    assert second.count('<span class="tag') == 1
    assert (await web.get("/finished", params={"per_page": 2, "page": 9})).text.count("2 of 2") == 1
    found = await get(web, "/api/finished", per_page=2)
    assert (len(found["jobs"]), found["total"], found["pages"]) == (2, 3, 2)
    (only,) = (await get(web, "/api/finished", name="poor"))["jobs"]
    assert (only["id"], only["state"]) == (ids[1], "dead")


def test_a_retry_is_put_back_after_the_attempt_before() -> None:
    attempts = (JobAttempt(10, 11, "failed"), JobAttempt(30, 31, "done"))
    status = JobStatus("a", JobState.DONE, enqueued_at=20, ended_at=31, history=attempts)
    assert [text for _, text, *_ in _events(status)] == ["Attempt 1: failed", "Back in its queue", "Attempt 2: done"]
    status = JobStatus("a", JobState.DONE, enqueued_at=9, ended_at=31, history=(JobAttempt(0, 0, "crashed"), *attempts))
    assert [text for _, text, *_ in _events(status)][:2] == ["Enqueued", "Attempt 1: crashed"]


async def test_the_steps_of_a_job_are_shown_and_get_events(bench: Bench) -> None:
    pool, got = bench.pool(), list[Any]()

    @pool.job
    async def order(job: Job) -> None:
        await job.step("charge", str, "<b>")
        got.append(await job.event("appr/oved", timeout=3600))

    async with serving(bench) as (_, web), pool.running():
        job = await order.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        html = await page(web, job.id)
        assert "&lt;b&gt;" in html
        assert "waits for the event, and gives up" in html
        assert '<li class="past"><b>charge</b><svg class="span"' in html
        assert '<li class="next waits"><b>appr/oved</b>' in html
        path, any_event = (each.replace("&amp;", "&") for each in re.findall(r'action="(/api/jobs/signal\?.*?)"', html))
        status = (await web.get(f"/api/jobs/{job.id}")).json()
        assert [(each["name"], each["kind"], each["state"]) for each in status["steps"]] == [
            ("charge", "step", "done"),
            ("appr/oved", "event", "waits"),
        ]
        response = await web.post(path, data={"value": "{", "back": "/"})
        assert response.status_code == 400
        # The other form sends any event, also one that the job has not asked for yet.
        early = {"event": "la/ter", "value": "5", "back": f"/jobs/{job.id}"}
        response = await web.post(any_event, data=early)
        assert response.headers["location"].startswith(f"/jobs/{job.id}?done=signal&n=1")
        assert "the event has come before it was asked for" in await page(web, job.id)
        response = await web.post(path, data={"value": '{"by": "ada"}', "back": f"/jobs/{job.id}"})
        assert response.status_code == 303
        assert response.headers["location"].startswith(f"/jobs/{job.id}?done=signal&n=1")
        await until(lambda: got)
        told = (await web.post(path.partition("?")[0], json={"id": job.id, "event": "appr/oved"})).json()
        assert told["done"] == 0
    assert got == [{"by": "ada"}]


def rows_of(*steps: JobStep) -> list[tuple[str, str, str, float, float]]:
    """Return the text, the addition, the class, the left edge and the width of the rows of a time line."""
    rows = []
    for row in step_line(steps).rows:
        x, width = re.findall(r' (?:x|width)="([0-9.]+)"', row.bar)
        rows.append((row.text, row.after, row.kind, float(x), float(width)))
    return rows


def test_the_time_line_of_steps_shows_when_each_ran() -> None:
    assert rows_of(
        JobStep("a", "step", "done", 100, 150),
        JobStep("b", "sleep", "done", 150, 190, 190),
        JobStep("c", "event", "done", 150, 200, 900),
        JobStep("d", "cursor", "done", 175, 175),
        JobStep("e", "event", "late", 180, 200, 200),
        JobStep("f", "event", "early", 0, 120),
    ) == [
        ("done", "took 50 s", "past", 0, 50),
        ("slept, and woke", "after 40 s", "past", 50, 40),
        ("the event came", "after 50 s", "past", 50, 50),
        ("cursor, after the last row", "", "past", 75, 1),
        ("gave up waiting for the event", "", "bad", 80, 20),
        ("the event has come before it was asked for", "", "past", 20, 1),
    ]


def test_what_a_job_waits_for_is_open_in_the_time_line() -> None:
    steps = JobStep("a", "step", "done", 100, 188), JobStep("b", "event", "waits", 188, 0, 10**9)
    assert rows_of(*steps) == [
        ("done", "took 1 min", "past", 0, 88),
        ("waits for the event, and gives up", "", "next", 88, 12),
    ]
    line = step_line(steps)
    assert (line.start, line.end, [row.waits for row in line.rows]) == (100, 0, [False, True])
    assert rows_of(JobStep("b", "sleep", "waits", 5, 0, 9)) == [("sleeps, and wakes", "", "next", 0, 100)]
    assert rows_of(JobStep("c", "cursor", "moves", 5, 5)) == [("cursor, was here", "", "next", 0, 100)]


def test_a_time_line_of_nonsense_is_drawn() -> None:
    steps = [JobStep(f"s{n}", "step", "done", *times) for n, times in enumerate(((-1e308, 1e308), (5, 1e308), (9, 2)))]
    bars = [row[3:] for row in rows_of(*steps, JobStep("x", "step", "unreadable"))]
    assert all(0 <= x <= 99 and 1 <= width <= 100 - x for x, width in bars)
