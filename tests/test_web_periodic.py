"""The pages and the JSON API of periodic jobs: states, actions, forms and runs."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from asyncwork import Client, PeriodicState, WorkerPool
from asyncwork.web.periodic_input import preview

from .conftest import Bench
from .web_app import serving

HTML = {"accept": "text/html"}


@pytest.fixture
async def pool(bench: Bench) -> AsyncIterator[WorkerPool[Any]]:
    """A running pool with one periodic job, which does not fire while a test runs."""
    pool = bench.pool()

    @pool.job
    async def clean(days: int = 1) -> None: ...

    pool.periodically("0 0 4 1 1 *", "clean", {"days": 7})
    async with pool.running():
        yield pool


@pytest.fixture
async def web(bench: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(bench) as (_, web):
        yield web


async def jobs(bench: Bench) -> list[PeriodicState]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        return await client.periodic_jobs()


async def post(web: httpx.AsyncClient, action: str, **values: Any) -> dict[str, Any]:
    response = await web.post(f"/api/periodic/{action}", json=values)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def refused(web: httpx.AsyncClient, action: str, **values: Any) -> str:
    response = await web.post(f"/api/periodic/{action}", json=values)
    assert response.status_code == 400, response.text
    return str(response.json()["error"])


async def page(web: httpx.AsyncClient, path: str, **params: str) -> str:
    response = await web.get(path, params=params, headers=HTML)
    assert response.status_code == 200, response.text
    return response.text


async def test_each_action_of_the_api(bench: Bench, pool: WorkerPool[Any], web: httpx.AsyncClient) -> None:
    (job,) = await jobs(bench)
    assert (await post(web, "pause", key=job.key))["done"] == 1
    (job,) = await jobs(bench)
    assert (job.paused, job.next) == (True, None)
    await post(web, "unpause", key=job.key)
    await post(web, "edit", key=job.key, spec="0 0 5 1 1 *", args={"days": 8}, tz="Europe/Berlin")
    (job,) = await jobs(bench)
    assert (job.spec, job.args, job.edited) == ("TZ=Europe/Berlin 0 0 5 1 1 *", b'{"days":8}', True)
    # What is left out stays, and what is empty is removed.
    await post(web, "edit", key=job.key, args="")
    await post(web, "edit", key=job.key, tz="")
    (job,) = await jobs(bench)
    assert (job.spec, json.loads(job.args)) == ("0 0 5 1 1 *", {})
    await post(web, "reset", key=job.key)
    (job,) = await jobs(bench)
    assert (job.spec, job.args, job.edited) == ("0 0 4 1 1 *", b'{"days":7}', False)
    ran = await post(web, "run", key=job.key)
    assert ran["key"] == job.key
    (run,) = (await web.get("/api/periodic/runs", params={"key": job.key})).json()["runs"]
    assert (run["job_id"], run["manual"]) == (ran["job_id"], True)
    added = await post(web, "add", spec=" @yearly ", name="clean", args='{"days": 30}', tz="UTC")
    (mine,) = [each for each in await jobs(bench) if each.key == added["key"]]
    assert (mine.spec, mine.args, mine.added) == ("TZ=UTC @yearly", b'{"days":30}', True)
    await post(web, "remove", key=mine.key)
    assert [each.key for each in await jobs(bench)] == [job.key]
    await pool.drain()


async def test_what_the_api_refuses(bench: Bench, pool: WorkerPool[Any], web: httpx.AsyncClient) -> None:
    (job,) = await jobs(bench)
    assert "there is no periodic job 'nobody'" in await refused(web, "pause", key="nobody")
    assert "key is required" in await refused(web, "run")
    assert "pause it instead" in await refused(web, "remove", key=job.key)
    assert "cron spec" in await refused(web, "add", spec="* *", name="clean")
    assert "nothing is to be edited" in await refused(web, "edit", key=job.key)
    assert "args must be a JSON object" in await refused(web, "add", spec="@daily", name="clean", args="[1]")
    assert "args is not JSON" in await refused(web, "edit", key=job.key, args="{")
    assert [each.spec for each in await jobs(bench)] == ["0 0 4 1 1 *"]


async def test_the_preview(web: httpx.AsyncClient) -> None:
    found = (await web.get("/api/periodic/preview", params={"spec": "0 30 2 * * *", "tz": "Europe/Berlin"})).json()
    assert (found["spec"], len(found["next"])) == ("TZ=Europe/Berlin 0 30 2 * * *", 3)
    assert found["words"] == "Every day at 02:30, time of Europe/Berlin"
    assert time.time() < found["next"][0] < found["next"][1] < found["next"][2]
    response = await web.get("/api/periodic/preview", params={"spec": "0 0 0 31 2 *"})
    assert response.status_code == 400
    assert preview("@every 90s").next[1] - preview("@every 90s").next[0] == 90


async def test_the_list_shows_states_and_actions(bench: Bench, pool: WorkerPool[Any], web: httpx.AsyncClient) -> None:
    (job,) = await jobs(bench)
    text = await page(web, "/periodic")
    for shown in ("Run now clean", "Pause clean", "/periodic/new"):
        assert shown in text
    assert "Unpause" not in text
    await post(web, "pause", key=job.key)
    await post(web, "edit", key=job.key, spec="@weekly")
    await post(web, "add", spec="@daily", name="nobody_serves")
    overview = await page(web, "/")
    assert '<a href="/periodic">Periodic</a>: a periodic job nobody_serves was added' in overview
    text = await page(web, "/periodic")
    for shown in ("Unpause clean", ">paused<", ">edited<", ">added<", ">no pool<", "no running pool has a handler"):
        assert shown in text


async def test_the_page_of_a_periodic_job(bench: Bench, pool: WorkerPool[Any], web: httpx.AsyncClient) -> None:
    (job,) = await jobs(bench)
    text = await page(web, "/periodic/job", key=job.key)
    assert "It has not run yet" in text
    assert "Reset" not in text
    await post(web, "edit", key=job.key, spec="0 0 5 1 1 *", tz="Europe/Berlin")
    ran = await post(web, "run", key=job.key)
    text = await page(web, "/periodic/job", key=job.key)
    assert f"/jobs/{ran['job_id']}" in text
    assert "Reset…" in text
    assert "0 0 4 1 1 *" in text
    assert 'name="spec" value="0 0 5 1 1 *"' in text
    assert 'name="tz" value="Europe/Berlin"' in text
    asked = await page(web, "/confirm", action="reset_periodic", key=job.key)
    assert "Reset the periodic job clean, TZ=Europe/Berlin 0 0 5 1 1 *?" in asked
    response = await web.get("/periodic/job", params={"key": "nobody"}, headers=HTML)
    assert response.status_code == 404
    await pool.drain()


def hidden(text: str) -> dict[str, str]:
    """Return the fields of the form that saves what was checked."""
    form = re.search(r'<form method="post" action="([^"]*)" data-action data-leave>(.*?)</form>', text, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[2]))
    return {"": html.unescape(form[1]), **{name: html.unescape(value) for name, value in fields.items()}}


async def test_a_job_is_added_once_it_was_checked(bench: Bench, web: httpx.AsyncClient) -> None:
    text = await page(web, "/periodic/new")
    assert "It will fire" not in text
    given = {"name": "clean", "spec": "0 30 2 * * *", "tz": "Europe/Berlin", "args": '{"text": "a\\"<b>"}'}
    text = await page(web, "/periodic/new", **given)
    assert "It will fire: Every day at 02:30, time of Europe/Berlin" in text
    checked = re.search(r"<ol>(.*?)</ol>", text, re.DOTALL)
    assert checked is not None
    assert checked[1].count("<li>") == 3
    assert "No running pool has a handler for clean" in text
    assert await jobs(bench) == []
    fields = hidden(text)
    response = await web.post(fields.pop(""), data=fields, headers=HTML)
    assert (response.status_code, response.headers["location"]) == (303, "/periodic?done=add_periodic&n=1")
    (job,) = await jobs(bench)
    assert (job.name, job.spec, job.tz) == ("clean", "TZ=Europe/Berlin 0 30 2 * * *", "Europe/Berlin")
    assert json.loads(job.args) == {"text": 'a"<b>'}
    assert "Periodic job added." in await page(web, "/periodic?done=add_periodic&n=1")
    asked = await page(web, "/confirm", action="remove_periodic", key=job.key)
    assert "You cannot undo this" in asked
    await post(web, "remove", key=job.key)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"spec": "* *"}, "cron spec &#39;* *&#39;: it has 2 fields"),
        ({"spec": ""}, "cron spec"),
        ({"name": "a,b"}, "comma"),
        ({"tz": "Mars/Base"}, "Mars/Base"),
        ({"args": "[1]"}, "args must be a JSON object"),
        ({"args": "{"}, "args is not JSON"),
        ({"spec": "0 0 0 31 2 *"}, "cron spec"),
    ],
)
async def test_what_is_wrong_is_shown_before_it_is_saved(
    web: httpx.AsyncClient, wrong: dict[str, str], problem: str
) -> None:
    text = await page(web, "/periodic/new", **{"name": "clean", "spec": "@daily", **wrong})
    assert 'role="alert"' in text
    assert problem in text.partition('role="alert"')[2].partition("</p>")[0]
    assert "data-action" not in text.partition("<main")[2]


async def test_an_edit_sends_what_was_changed(bench: Bench, pool: WorkerPool[Any], web: httpx.AsyncClient) -> None:
    (job,) = await jobs(bench)
    given = {"key": job.key, "spec": "0 0 6 1 1 *", "tz": "", "args": job.args.decode()}
    fields = hidden(await page(web, "/periodic/job", **given))
    assert "args" not in fields
    response = await web.post(fields.pop(""), data=fields, headers=HTML)
    assert response.status_code == 303
    assert response.headers["location"].startswith("/periodic/job?key=")
    (job,) = await jobs(bench)
    assert (job.spec, job.args) == ("0 0 6 1 1 *", b'{"days":7}')
    fields = hidden(await page(web, "/periodic/job", **{**given, "args": ""}))
    assert fields["args"] == ""
    await web.post(fields.pop(""), data=fields, headers=HTML)
    (job,) = await jobs(bench)
    assert json.loads(job.args) == {}


async def test_long_arguments_stay(bench: Bench, web: httpx.AsyncClient) -> None:
    added = await post(web, "add", spec=" @yearly ", name="clean", args={"text": "x" * 5_000})
    text = await page(web, "/periodic/job", key=added["key"])
    assert "too long to be shown here" in text
    fields = hidden(await page(web, "/periodic/job", key=added["key"], spec="@monthly", tz="", args=""))
    assert "args" not in fields
    await web.post(fields.pop(""), data=fields, headers=HTML)
    (job,) = await jobs(bench)
    assert (job.spec, len(job.args)) == ("@monthly", 5_011)
    await post(web, "remove", key=job.key)


async def test_who_may_not_act_sees_no_controls(bench: Bench, pool: WorkerPool[Any]) -> None:
    (job,) = await jobs(bench)
    async with serving(bench, read_only=True) as (_, web):
        for text in (await page(web, "/periodic"), await page(web, "/periodic/job", key=job.key)):
            assert "/api/periodic/" not in text.partition("<main")[2]
            assert "/periodic/new" not in text
        assert "You cannot add a periodic job here" in await page(web, "/periodic/new")
        response = await web.post("/api/periodic/pause", json={"key": job.key})
        assert response.status_code == 405


async def test_redaction_holds_for_the_form(bench: Bench, pool: WorkerPool[Any]) -> None:
    def redact(record: Any) -> Any:
        return type(record)(**{**{name: getattr(record, name) for name in record.__slots__}, "args": b"null"})

    async with serving(bench, redact=redact) as (_, web):
        (shown,) = (await web.get("/api/periodic")).json()["periodic"]
        text = await page(web, "/periodic/job", key=shown["key"])
        assert "days&#34;" not in text
        fields = hidden(await page(web, "/periodic/job", key=shown["key"], spec="@yearly", tz="", args=""))
        response = await web.post(fields.pop(""), data=fields, headers=HTML)
        assert response.status_code == 303
    (job,) = await jobs(bench)
    assert (job.spec, job.args) == ("@yearly", b'{"days":7}')
