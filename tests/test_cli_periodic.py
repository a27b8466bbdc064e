"""``asyncwork periodic``: shows periodic jobs, and changes them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asyncwork import Client, PeriodicState, WorkerPool

from .conftest import Bench
from .terminals import terminal
from .test_cli import NO_REDIS, run
from .test_cli_queues import on
from .test_cli_top import complete

pytestmark = pytest.mark.processes

KEY = "clean:0 0 4 1 1 *"


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


@pytest.fixture
async def pool(bench: Bench) -> AsyncIterator[WorkerPool[Any]]:
    """A running pool with one periodic job, which does not fire while a test runs."""
    pool = bench.pool()

    @pool.job
    async def clean(days: int = 1) -> None: ...

    pool.periodically("0 0 4 1 1 *", "clean")
    async with pool.running():
        yield pool


async def only(client: Client, key: str = KEY) -> PeriodicState:
    (found,) = [each for each in await client.periodic_jobs() if each.key == key]
    return found


async def did(bench: Bench, *words: str) -> str:
    code, out, err = await run("periodic", *words, *on(bench))
    assert (code, err) == (0, "")
    return out


async def document(bench: Bench, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await did(bench, *words, "--json"))
    assert (found.pop("namespace"), found.pop("redis")) == (bench.namespace, bench.url)
    return found


async def test_periodic_jobs_are_listed(bench: Bench, pool: WorkerPool[Any], client: Client) -> None:
    title, row = (await did(bench)).splitlines()
    assert title.split() == ["NAME", "SPEC", "NEXT", "LAST", "STATE", "KEY"]
    assert re.fullmatch(r"clean +0 0 4 1 1 \* +in .* +- +- +clean:0 0 4 1 1 \*", row)
    await client.pause_periodic(KEY)
    await client.edit_periodic(KEY, spec="@weekly", arguments={"days": 2**70})
    assert re.search(r"clean +@weekly +- +- +paused, edited +clean:0 0 4", await did(bench, "ls"))
    (job,) = (await document(bench))["periodic"]
    assert job.pop("changed_at") <= time.time() + 1
    assert job == {
        "name": "clean",
        "key": KEY,
        "spec": "@weekly",
        "tz": "",
        "next": None,
        "last": None,
        "paused": True,
        "added": False,
        "edited": True,
        "served": True,
        "code_spec": "0 0 4 1 1 *",
        "changed_by": "",
        "args": {"days": 2**70},
        "code_args": None,
    }
    await client.unpause_periodic(KEY)


async def test_a_namespace_without_periodic_jobs(bench: Bench) -> None:
    assert await did(bench) == "no periodic jobs: no pool has one, and none was added\n"
    assert await document(bench, "ls") == {"periodic": []}
    code, _, err = await run("periodic", "pause", "clean", *on(bench))
    assert code == 1
    assert "there is no periodic job 'clean' in this namespace" in err


async def test_all_that_is_known_is_shown(bench: Bench, pool: WorkerPool[Any], client: Client) -> None:
    await client.edit_periodic(KEY, spec="0 30 2 * * *", tz="Europe/Berlin", who="ada")
    out = await did(bench, "show", "clean")
    for line in (
        "clean",
        f"  key         {KEY}",
        "  spec        TZ=Europe/Berlin 0 30 2 * * *",
        "  code's spec 0 0 4 1 1 *",
        "  state       edited",
        "  it fires at:",
    ):
        assert line in out.splitlines()
    assert re.search(r"  changed     .* ago by ada$", out, re.MULTILINE)
    assert len(re.findall(r"^    \d{4}-.* UTC, in ", out, re.MULTILINE)) == 3
    await client.pause_periodic(KEY)
    assert "  it does not fire: it is paused" in (await did(bench, "show", KEY)).splitlines()


async def test_one_is_paused_run_and_unpaused(bench: Bench, pool: WorkerPool[Any], client: Client) -> None:
    assert await did(bench, "pause", "clean") == f"periodic job {KEY} is paused\n"
    job = await only(client)
    assert job.paused
    assert re.fullmatch(r"\S+@\S+", job.changed_by)
    out = await did(bench, "run", KEY)
    found = re.fullmatch(rf"periodic job {re.escape(KEY)} is enqueued as job ([0-9a-f]{{24}})\n", out)
    assert found is not None
    (recorded,) = (await document(bench, "history", "clean"))["runs"]
    assert (recorded["job_id"], recorded["manual"], recorded["who"]) == (found[1], True, job.changed_by)
    title, row = (await did(bench, "history", "clean", "--limit", "1")).splitlines()
    assert title.split() == ["TIME", "AGO", "BY", "STATE", "JOB"]
    assert row.endswith(found[1])
    assert await did(bench, "unpause", "clean") == f"periodic job {KEY} is not paused\n"
    assert not (await only(client)).paused
    await pool.drain()


async def test_one_without_runs(bench: Bench, pool: WorkerPool[Any]) -> None:
    assert await did(bench, "history", "clean") == "it has not run yet\n"
    assert await document(bench, "history", "clean") == {"key": KEY, "runs": []}


async def test_one_is_added_edited_and_removed(bench: Bench, client: Client) -> None:
    out = await did(bench, "add", "0 30 2 * * *", "other", '{"days": 7}', "--tz", "Europe/Berlin")
    (job,) = await client.periodic_jobs()
    assert out.startswith(f"periodic job {job.key} is added\nit does not fire: no running pool has a handler for other")
    assert (job.spec, json.loads(job.args), job.added) == ("TZ=Europe/Berlin 0 30 2 * * *", {"days": 7}, True)
    await did(bench, "edit", "other", "--spec", "@monthly", "--tz", "", "--args", '{"days": 8}')
    edited = await only(client, job.key)
    assert (edited.spec, json.loads(edited.args)) == ("@monthly", {"days": 8})
    code, _, err = await run(
        "periodic", "add", "0 30 2 * * *", "other", '{"days": 7}', "--tz=Europe/Berlin", *on(bench)
    )
    assert code == 2
    assert "was added before" in err
    assert await did(bench, "rm", job.key, "--yes") == f"periodic job {job.key} is removed\n"
    assert await client.periodic_jobs() == []


async def test_an_edit_says_when_the_job_fires(bench: Bench, pool: WorkerPool[Any], client: Client) -> None:
    out = await did(bench, "edit", "clean", "--spec", "@every 90s")
    first, second, *times = out.splitlines()
    assert first == f"periodic job {KEY} is changed"
    assert second == "it fires at, if the pools' hosts have the time zone of this one:"
    assert len(times) == 3
    assert await did(bench, "reset", "clean", "--yes") == f"periodic job {KEY} is what the code says\n"
    assert not (await only(client)).edited


@pytest.mark.parametrize("verb", ["reset", "rm"])
async def test_nothing_is_destroyed_without_a_terminal_to_ask_on(bench: Bench, client: Client, verb: str) -> None:
    key = await client.add_periodic("@daily", "clean")
    before = await only(client, key)
    code, out, err = await run("periodic", verb, "clean", *on(bench))
    assert (code, out) == (2, "")
    assert "There is no terminal to ask on: add --yes if you are sure" in err
    assert await only(client, key) == before
    await client.remove_periodic(key)


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("n\n", False)])
async def test_a_question_is_asked_on_a_terminal(bench: Bench, client: Client, answer: str, removed: bool) -> None:
    key = await client.add_periodic("@daily", "clean")
    async with terminal("periodic", "rm", "clean", *on(bench)) as shown:
        await shown.says(r"Remove 1 periodic job\? \[y/N\] ")
        assert f"  periodic job {key}: @daily (added, no pool)" in shown.plain
        shown.type(answer)
        assert await shown.ends() == (0 if removed else 1)
    assert len(await client.periodic_jobs()) == (0 if removed else 1)
    if not removed:
        await client.remove_periodic(key)


async def test_a_name_of_several_is_ambiguous(bench: Bench, client: Client) -> None:
    keys = [await client.add_periodic(spec, "clean") for spec in ("@daily", "0 0 5 * * *")]
    code, _, err = await run("periodic", "pause", "clean", *on(bench))
    assert code == 2
    assert "2 periodic jobs have the name 'clean': give the key of one, " in err
    assert "'clean:0 0 5 * * *'" in err
    await did(bench, "pause", *keys)
    assert all(each.paused for each in await client.periodic_jobs())
    code, _, err = await run("periodic", "pause", keys[0], "clear", *on(bench))
    assert (code, "did you mean 'clean'?" in err) == (1, True)
    await did(bench, "rm", *keys, "--yes")


async def test_what_the_code_registers_is_not_removed(bench: Bench, pool: WorkerPool[Any]) -> None:
    code, _, err = await run("periodic", "rm", "clean", "--yes", *on(bench))
    assert code == 2
    assert "pause it instead" in err


BAD_USAGE: list[tuple[tuple[str, ...], str]] = [
    (("ls", "clean"), "ls shows all periodic jobs, and takes no KEY: use show"),
    (("pause",), "pause needs the key of a periodic job, as `asyncwork periodic` shows it"),
    (("add", "@daily"), "add needs a schedule and a name"),
    (("add", "@daily", "a", "{}", "b"), "add needs a schedule and a name"),
    (("add", "* *", "clean"), "cron spec '* *': it has 2 fields"),
    (("add", "@daily", "clean", "[1]"), "the arguments must be a JSON object"),
    (("edit", "a", "b"), "edit takes one KEY"),
    (("history", "a", "--limit", "101"), "--limit: it must be a whole number from 1 to 100, not 101"),
    (("pause", "a", "--spec", "@daily"), "--spec is for edit"),
    (("run", "a", "--tz", "UTC"), "--tz is for add and edit"),
    (("pause", "a", "--json"), "--json is for ls, show and history"),
    (("resize", "a"), "invalid choice: 'resize'"),
]


@pytest.mark.parametrize(("words", "message"), BAD_USAGE)
async def test_bad_usage(bench: Bench, words: tuple[str, ...], message: str) -> None:
    code, out, err = await run("periodic", *words, *on(bench))
    assert (code, out) == (2, "")
    assert message in err


async def test_an_edit_of_nothing(bench: Bench, pool: WorkerPool[Any]) -> None:
    code, _, err = await run("periodic", "edit", "clean", *on(bench))
    assert code == 2
    assert "edit needs --spec, --tz or --args" in err


async def test_redis_is_away() -> None:
    code, out, err = await run("periodic", "--redis", NO_REDIS)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1


async def test_names_are_completed(bench: Bench, client: Client) -> None:
    keys = [await client.add_periodic(spec, name) for spec, name in (("@daily", "clean"), ("@daily", "a;b"))]
    assert await asyncio.to_thread(complete, "asyncwork periodic pause ", bench) == ["clean"]
    assert "history" in await asyncio.to_thread(complete, "asyncwork periodic h", bench)
    for key in keys:
        await client.remove_periodic(key)
