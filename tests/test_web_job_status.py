"""The page of a job by its id, its JSON, and cancelling in the web UI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from asyncwork import Job

from .conftest import LIMIT, Bench, until
from .test_web_api import get, post
from .web_app import payload, put, serving


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
    assert 'formaction="/api/jobs/cancel"' in waiting
    assert (await get(web, f"/api/jobs/{job_id}"))["waiting_reason"]
    async with pool.running():
        await asyncio.wait_for(begun.wait(), LIMIT)

        async def shows_progress() -> bool:
            return "3/10 halfway to nowhere" in await page(web, job_id)

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
    assert 'formaction="/api/jobs/cancel"' not in done
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


async def test_a_form_is_sent_back_to_its_page(bench: Bench, web: httpx.AsyncClient) -> None:
    job_id = (await bench.enqueuer.enqueue("wat", delay=60)).id
    response = await web.post("/api/jobs/cancel", data={"id": job_id, "back": f"/jobs/{job_id}"})
    assert (response.status_code, response.headers["location"]) == (303, f"/jobs/{job_id}?done=cancel&n=1")
    assert "1 job cancelled, or asked to end." in (await web.get(response.headers["location"])).text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "no jobs selected: give the id of a job, or several"),
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
        assert "/api/jobs/cancel" not in await page(web, job_id)
        response = await web.post("/api/jobs/cancel", json={"id": job_id})
        assert response.status_code == 403
    async with serving(bench, read_only=True) as (_, web):
        assert "/api/jobs/cancel" not in await page(web, job_id)
