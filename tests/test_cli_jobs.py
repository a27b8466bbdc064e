"""`asyncwork jobs`: lists the jobs of each location, and acts on those that match."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from asyncwork import ActionResult, Client, Job, JobQuery, JobState, RedisUnavailable
from asyncwork.cli.job_actions import ActionOnJobs
from asyncwork.cli.job_selection import Selection
from asyncwork.cli.parser import make_parser
from asyncwork.cli.session import Session

from .conftest import Bench, until
from .terminals import terminal
from .test_cli import Here, check_bad_usage, here, run
from .test_cli_queues import on

__all__ = ["here"]

pytestmark = pytest.mark.processes


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def payload(number: int, name: str = "wat", **more: Any) -> bytes:
    prefix = "job" if name == "wat" else name
    return json.dumps(
        {"name": name, "id": f"{prefix}-{number}", "t": int(time.time()), "args": {"n": number}, **more}
    ).encode()


async def put_dead(bench: Bench, count: int = 3, name: str = "wat") -> None:
    """Put dead jobs with errors of one kind; the last one has died last."""
    at = int(time.time()) - 3700
    members = {
        payload(n, name, fails=1, err=f"ValueError: no customer {n}", failed_at=at + n): at + n for n in range(count)
    }
    await bench.redis.zadd(bench.keys.dead, members)
    await bench.redis.sadd(bench.keys.known_jobs, name)


async def length(client: Client, location: str) -> int:
    return (await client.jobs(location)).total


async def listed(bench: Bench, *arguments: str) -> list[str]:
    """The ids of the jobs that `jobs ls --json` lists."""
    code, out, err = await run("jobs", "ls", *arguments, *on(bench), "--json")
    assert (code, err) == (0, "")
    return [job["id"] for job in json.loads(out)["jobs"]]


# Listing


async def test_jobs_are_listed(bench: Bench) -> None:
    await put_dead(bench)
    code, out, err = await run("jobs", "ls", "dead", *on(bench))
    assert (code, err) == (0, "")
    title, *rows = out.splitlines()
    assert title.split() == ["ID", "NAME", "DIED", "FAILS", "ERROR"]
    assert [row.split()[0] for row in rows] == ["job-2", "job-1", "job-0"]
    assert re.fullmatch(r"job-2 +wat +1 h \d+ min ago +1 +ValueError: no customer 2", rows[0])
    code, out, _ = await run("jobs", "ls", "dead", "--limit", "2", *on(bench))
    assert out.splitlines()[-1] == "2 of 3 jobs in dead; --all shows all"
    assert await listed(bench, "dead", "--all") == ["job-2", "job-1", "job-0"]


async def test_a_location_without_jobs(bench: Bench) -> None:
    for location in ("queue:wat", "retry", "scheduled", "dead", "quarantine", "busy", "finished"):
        code, out, err = await run("jobs", "ls", location, *on(bench))
        assert (code, out, err) == (0, f"no job in {location}\n", "")
    code, out, err = await run("jobs", "ls", "dead", "--name", "wat", *on(bench))
    assert (code, out, err) == (0, "no job in dead matches\n", "")
    code, out, err = await run("jobs", "show", "dead", *on(bench))
    assert (code, out, err) == (1, "", "asyncwork jobs: no job in dead matches\n")
    code, out, err = await run("jobs", "errors", "dead", *on(bench))
    assert (code, out, err) == (0, "no job in dead\n", "")


@pytest.mark.parametrize("score", ["inf", "-inf", "1e300"])
@pytest.mark.parametrize("location", ["retry", "scheduled", "dead"])
async def test_a_time_without_end_is_shown(bench: Bench, location: str, score: str) -> None:
    raw = payload(1, err="ValueError: no customer")
    await bench.redis.zadd(getattr(bench.keys, location), {raw: float(score)})
    on_location = [("jobs", verb, location, "--all") for verb in ("ls", "show")]
    for command in (*on_location, ("jobs", "errors", location), ("jobs", "find", "job-1"), ("job", "job-1")):
        code, out, err = await run(*command, *on(bench))
        assert (code, err) == (0, ""), command
        code, out, err = await run(*command, *on(bench), "--json")
        assert (code, err, "Infinity" in out) == (0, "", False), command
    # It is found by its exact score nevertheless.
    code, _, err = await run("jobs", "rm", location, "--all", "--yes", *on(bench))
    assert (code, err) == (0, "")
    assert await bench.redis.zcard(getattr(bench.keys, location)) == 0


async def test_a_quarantined_payload_with_a_time_that_is_no_number(bench: Bench) -> None:
    entry = {"at": "nan", "from": "queue:wat", "reason": "not JSON", "payload": "{"}
    await bench.redis.lpush(bench.keys.quarantine, json.dumps(entry))
    code, out, err = await run("jobs", "ls", "quarantine", "--json", *on(bench))
    assert (code, json.loads(out)["jobs"][0]["at"], err) == (0, 0, "")


async def test_each_location_is_listed_in_its_order(bench: Bench) -> None:
    for number in range(3):
        await bench.enqueuer.enqueue("wat", {"n": number}, id=f"job-{number}")
        await bench.enqueuer.enqueue("wat", {"n": number}, id=f"later-{number}", delay=3600 * (3 - number))
    assert await listed(bench, "queue:wat") == ["job-0", "job-1", "job-2"]
    assert await listed(bench, "scheduled") == ["later-2", "later-1", "later-0"]
    _, out, _ = await run("jobs", "ls", "scheduled", *on(bench))
    assert re.search(r"^later-2 +wat +in (1 h|5\d min( \d+ s)?) +0 +\{\"n\":2\}$", out, re.MULTILINE)


async def test_conditions(bench: Bench) -> None:
    await put_dead(bench)
    await put_dead(bench, 1, "other")
    everything = ["job-0", "job-1", "job-2", "other-0"]
    for conditions, expected in [
        (("--name", "other"), ["other-0"]),
        (("--name", "none"), []),
        (("--error", "ValueError: no customer 99"), everything),
        (("--error", "ValueError: no customer …"), everything),
        (("--error", "ValueError"), []),
        (("--text", "CUSTOMER 1"), ["job-1"]),
        (("--id", "job-2"), ["job-2"]),
        (("--arg", "n=1"), ["job-1"]),
        (("--arg", "n=1", "--arg", "n=2"), ["job-2"]),
        (("--arg", 'n="1"'), []),
        (("--arg", "n=x=y"), []),
        (("--name", "wat", "--arg", "n=0"), ["job-0"]),
    ]:
        assert sorted(await listed(bench, "dead", *conditions)) == expected, conditions


async def test_an_argument_that_is_text_needs_no_quotes(bench: Bench) -> None:
    await bench.enqueuer.enqueue("wat", {"city": "Zürich = 1", "on": True}, id="a")
    assert await listed(bench, "queue:wat", "--arg", "city=Zürich = 1") == ["a"]
    assert await listed(bench, "queue:wat", "--arg", "on=true") == ["a"]
    assert await listed(bench, "queue:wat", "--arg", "on=1") == []


async def test_a_job_is_shown_with_all_that_is_known(bench: Bench) -> None:
    more: dict[str, Any] = {"fails": 2, "err": "bad \x1b[31m", "failed_at": 1, "traceback": "line 1\n  line 2\x07"}
    await bench.redis.zadd(bench.keys.dead, {payload(7, **more): 1_500_000_000})
    code, out, err = await run("jobs", "show", "dead", "--id", "job-7", *on(bench))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["job         wat job-7", "location    dead"]
    assert 'arguments   {"n": 7}' in lines
    assert r"error       bad \x1b[31m" in lines
    assert lines[-3:] == ["traceback", " " * 12 + "line 1", " " * 12 + r"  line 2\x07"]
    assert re.search(r"^died +2017-07-14 02:40:00 UTC, \d+ d ", out, re.MULTILINE)


async def test_json_has_the_arguments_as_they_are(bench: Bench) -> None:
    raw = b'{"name":"wat","id":"a","t":1500000000,"args":{"big":123456789012345678901234567890,"f":1.10}}'
    await bench.redis.sadd(bench.keys.known_jobs, "wat")
    await bench.redis.lpush(bench.keys.queue("wat"), raw)
    _, out, _ = await run("jobs", "ls", "queue:wat", "--json", *on(bench))
    assert '"args": {"big":123456789012345678901234567890,"f":1.10}' in out
    document = json.loads(out)
    assert document.keys() == {"namespace", "redis", "location", "total", "jobs"}
    assert (document["location"], document["total"]) == ("queue:wat", 1)
    assert document["jobs"][0]["id"] == "a"


async def test_payloads_that_are_not_jobs(bench: Bench, client: Client) -> None:
    await bench.redis.zadd(bench.keys.dead, {b"\x1b[2J no job": 1_500_000_000})
    code, out, _ = await run("jobs", "ls", "dead", *on(bench))
    assert code == 0
    assert "\x1b" not in out
    code, out, _ = await run("jobs", "show", "dead", *on(bench))
    assert "not a job" in out
    assert r"payload     \x1b[2J no job" in out
    for retry in ("--all", "--limit=9"):
        code, out, err = await run("jobs", "retry", "dead", retry, *on(bench))
        assert (code, out) == (1, "")
        assert err.startswith("asyncwork jobs: no job ")
    code, out, _ = await run("jobs", "rm", "dead", "--text", "no job", "--yes", *on(bench))
    assert (code, out.splitlines()[0]) == (0, "1 job of dead deleted")


async def test_errors_by_kind(bench: Bench) -> None:
    await put_dead(bench)
    await put_dead(bench, 2, "other")
    code, out, err = await run("jobs", "errors", "dead", *on(bench))
    assert (code, err) == (0, "")
    title, row = out.splitlines()
    assert title.split() == ["JOBS", "LAST", "NAMES", "ERROR"]
    assert re.fullmatch(r" +5 +1 h \d+ min ago +\S+, \S+ +ValueError: no customer …", row)
    code, out, _ = await run("jobs", "errors", "dead", "--name", "other", "--json", *on(bench))
    (kind,) = json.loads(out)["errors"]
    assert (kind["kind"], kind["count"], kind["names"]) == ("ValueError: no customer …", 2, {"other": 2})


async def test_find_searches_all_locations(bench: Bench) -> None:
    await put_dead(bench)
    await bench.enqueuer.enqueue("wat", {"who": "customer 1"}, id="a")
    code, out, err = await run("jobs", "find", "customer 1", *on(bench))
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0].split() == ["LOCATION", "ID", "NAME", "TIME", "FAILS", "ERROR"]
    assert [row.split()[:2] for row in rows[1:3]] == [["dead", "job-1"], ["queue:wat", "a"]]
    assert rows[3] == "2 jobs found"
    code, out, _ = await run("jobs", "find", "customer 1", "--json", *on(bench))
    assert [job["location"] for job in json.loads(out)["jobs"]] == ["dead", "queue:wat"]
    code, out, err = await run("jobs", "find", "nothing like it", *on(bench))
    assert (code, out, err) == (1, "", "asyncwork jobs: no job in any location matches\n")


async def test_running_and_finished_jobs(bench: Bench, client: Client) -> None:
    pool, release = bench.pool(), asyncio.Event()

    @pool.job(history=True)
    async def wat(n: int) -> None:
        if n == 2:
            await release.wait()
        if n == 1:
            raise ValueError("no customer")

    @pool.job
    async def hang(n: int) -> None:
        await asyncio.Event().wait()

    async with pool.running():
        for number in (0, 2):
            await bench.enqueuer.enqueue("wat", {"n": number}, id=f"job-{number}")
        await bench.enqueuer.enqueue("hang", {"n": 3}, id="hangs")

        async def ready() -> bool:
            states = [(await client.status(each)).state for each in ("job-0", "job-2", "hangs")]
            seen = {each.job_id for each in await client.observations()}
            return states == [JobState.DONE, JobState.RUNNING, JobState.RUNNING] and seen == {"job-2", "hangs"}

        await until(ready)
        assert sorted(await listed(bench, "busy")) == ["hangs", "job-2"]
        assert await listed(bench, "busy", "--name", "hang") == ["hangs"]
        assert await listed(bench, "finished") == ["job-0"]
        assert await listed(bench, "finished", "--arg", "n=0", "--name", "wat") == ["job-0"]
        assert await listed(bench, "finished", "--arg", "n=1") == []
        code, out, _ = await run("jobs", "ls", "finished", *on(bench))
        assert re.search(r"^job-0 +wat +.+ ago +1 +done$", out, re.MULTILINE)
        code, out, _ = await run("jobs", "show", "finished", *on(bench))
        assert "state       done" in out.splitlines()
        code, out, err = await run("jobs", "cancel", "busy", "--name", "hang", "--reason", "no", "--yes", *on(bench))
        assert (code, out, err) == (0, "1 job of busy cancelled, or asked to end\n", "")

        async def cancelled() -> bool:
            return await listed(bench, "busy") == ["job-2"]

        await until(cancelled)
        release.set()


# Actions


async def test_dead_jobs_are_retried(bench: Bench, client: Client) -> None:
    await put_dead(bench)
    code, out, err = await run("jobs", "retry", "dead", "--arg", "n=1", *on(bench))
    assert (code, out, err) == (0, "1 job of dead on their queues\n", "")
    assert (await length(client, "dead"), await length(client, "queue:wat")) == (2, 1)
    code, out, _ = await run("jobs", "retry", "dead", "--all", *on(bench))
    assert (code, out) == (0, "2 jobs of dead on their queues\n")
    assert (await length(client, "dead"), await length(client, "queue:wat")) == (0, 3)
    code, out, err = await run("jobs", "retry", "dead", "--all", *on(bench))
    assert (code, out, err) == (1, "", "asyncwork jobs: no job in dead matches\n")


async def test_a_deletion_can_be_undone(bench: Bench, client: Client) -> None:
    await put_dead(bench)
    code, out, err = await run("jobs", "rm", "dead", "--name", "wat", "--yes", *on(bench))
    assert (code, err) == (0, "")
    line, undo = out.splitlines()
    assert line == "3 jobs of dead deleted"
    assert await length(client, "dead") == 0
    code, out, _ = await run(*shlex.split(undo.removeprefix("undo: asyncwork ")))
    assert (code, out) == (0, "3 jobs restored\n")
    assert await length(client, "dead") == 3


async def test_a_limit_acts_on_the_first(bench: Bench, client: Client) -> None:
    for number in range(4):
        await bench.enqueuer.enqueue("wat", {"n": number}, id=f"job-{number}")
    code, out, _ = await run("jobs", "rm", "queue:wat", "--limit", "2", "--yes", *on(bench))
    line, undo = out.splitlines()
    assert (code, line) == (0, "2 jobs of queue:wat deleted")
    assert await listed(bench, "queue:wat") == ["job-2", "job-3"]
    await run(*shlex.split(undo.removeprefix("undo: asyncwork ")))
    assert await length(client, "queue:wat") == 4
    code, out, _ = await run("jobs", "cancel", "queue:wat", "--arg", "n=3", "--limit", "5", "--yes", *on(bench))
    assert (code, out) == (0, "1 job of queue:wat cancelled, or asked to end\n")
    await client.empty("wat")
    await put_dead(bench)
    code, out, _ = await run("jobs", "retry", "dead", "--limit", "1", *on(bench))
    assert (code, out) == (0, "1 job of dead on their queues\n")
    # The last one that died is the first that `ls` shows.
    assert [json.loads(each)["id"] for each in await bench.waiting("wat")] == ["job-2"]


async def test_many_jobs(bench: Bench, client: Client) -> None:
    await put_dead(bench, 1500)
    async with terminal("jobs", "rm", "dead", "--text", "customer 1", *on(bench)) as shown:
        await shown.says(r"Delete \d+ jobs of dead\? It cannot be undone\. \[y/N\] ")
        shown.type("y\n")
        assert await shown.ends() == 0
    await shown.says(r"^\d+ jobs of dead deleted$")
    assert "undo:" not in shown.text
    code, out, _ = await run("jobs", "retry", "dead", "--all", *on(bench))
    left = 1500 - sum(str(n)[0] == "1" for n in range(1500))
    assert (code, out) == (0, f"{left} jobs of dead on their queues\n")


async def test_waiting_jobs_are_cancelled(bench: Bench, client: Client) -> None:
    for number in range(3):
        await bench.enqueuer.enqueue("wat", {"n": number}, delay=3600)
    code, out, err = await run("jobs", "cancel", "scheduled", "--all", "--yes", *on(bench))
    assert (code, out, err) == (0, "3 jobs of scheduled cancelled, or asked to end\n", "")
    assert await length(client, "scheduled") == 0


@pytest.mark.parametrize("verb", ["rm", "cancel"])
async def test_nothing_is_destroyed_without_a_terminal_to_ask_on(bench: Bench, client: Client, verb: str) -> None:
    await bench.enqueuer.enqueue("wat")
    code, out, err = await run("jobs", verb, "queue:wat", "--all", *on(bench))
    assert (code, out) == (2, "")
    assert "1 job of queue:wat? It can" in err
    assert "There is no terminal to ask on: add --yes if you are sure" in err
    assert await length(client, "queue:wat") == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("no\n", 1, 3), ("\x03", 130, 3)])
async def test_a_question_says_what_is_deleted(bench: Bench, client: Client, answer: str, code: int, left: int) -> None:
    await put_dead(bench)
    async with terminal(
        "jobs", "rm", "dead", "--name", "wat", "--error", "ValueError: no customer 7", *on(bench)
    ) as shown:
        await shown.says(r"3 jobs of dead with name wat, error ValueError: no customer …$")
        await shown.says(r"Delete 3 jobs of dead\? It can be undone for ten minutes\. \[y/N\] ")
        shown.type(answer)
        assert await shown.ends() == code
    assert await length(client, "dead") == left
    assert "Traceback" not in shown.text


# On a terminal


@pytest.mark.parametrize("columns", [40, 80, 120])
async def test_lines_fit_into_the_terminal(bench: Bench, columns: int) -> None:
    await put_dead(bench)
    more: dict[str, Any] = {"fails": 1, "err": f"ValueError: {'日本' * 100}\x1b[2J", "failed_at": 1}
    await bench.redis.zadd(bench.keys.dead, {payload(9, "n" * 120, **more): time.time()})
    await bench.enqueuer.enqueue("a" * 200, {"text": "x" * 1000})
    for command in (("jobs", "ls", "dead"), ("jobs", "errors", "dead"), ("queues",), ("stats",), ("jobs", "find", "x")):
        async with terminal(*command, *on(bench), columns=columns) as shown:
            assert await shown.ends() == 0
        wide = [line for line in shown.plain.splitlines() if len(line) + sum(char > "⺀" for char in line) > columns]
        assert not wide
        assert "\x1b[2J" not in shown.text


@pytest.mark.parametrize(
    ("options", "env", "colors"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),
        ((), {"TERM": "dumb"}, False),
        (("--color", "never"), {}, False),
        (("--color", "always"), {"NO_COLOR": "1"}, True),
    ],
)
async def test_colors(bench: Bench, options: tuple[str, ...], env: dict[str, str], colors: bool) -> None:
    await put_dead(bench)
    async with terminal("jobs", "ls", "dead", *options, *on(bench), env=env) as shown:
        assert await shown.ends() == 0
    assert ("\x1b[1m" in shown.text) is colors


async def test_colors_without_a_terminal(bench: Bench) -> None:
    await put_dead(bench)
    _, out, _ = await run("jobs", "ls", "dead", *on(bench))
    assert "\x1b" not in out
    _, out, _ = await run("jobs", "ls", "dead", "--color", "always", *on(bench))
    assert out.startswith("\x1b[1mID")


BAD_USAGE = [
    ("jobs", "the following arguments are required: VERB, LOCATION"),
    ("jobs ls", "the following arguments are required: LOCATION"),
    ("jobs jump dead", "argument VERB: invalid choice: 'jump'"),
    ("jobs ls graveyard", "ls takes retry, scheduled, dead, quarantine, busy, finished, queue:NAME, not 'graveyard'"),
    ("jobs ls queue:", "a location is retry, scheduled, dead, quarantine or queue:NAME, not 'queue:'"),
    ("jobs retry queue:wat --all", "retry takes retry, scheduled, dead, not 'queue:wat'"),
    ("jobs rm busy --all", "rm takes retry, scheduled, dead, quarantine, queue:NAME, not 'busy'"),
    ("jobs cancel dead --all", "cancel takes retry, scheduled, busy, queue:NAME, not 'dead'"),
    ("jobs errors finished", "errors takes retry, scheduled, dead, quarantine, queue:NAME, not 'finished'"),
    ("jobs rm dead", "say which jobs: by --name, --error, --text, --id, --arg, --limit or --all"),
    ("jobs retry dead", "say which jobs"),
    ("jobs cancel busy", "say which jobs"),
    ("jobs ls dead --limit 0", "--limit: the limit must be"),
    ("jobs ls dead --limit ten", "--limit: a whole number is needed, not 'ten'"),
    ("jobs ls dead --limit 5 --all", "--limit and --all exclude each other"),
    ("jobs ls dead --arg n", "--arg: KEY=VALUE is needed, such as user=7, not 'n'"),
    ("jobs ls dead --arg =n", "--arg: KEY=VALUE is needed"),
    ("jobs ls dead --yes", "--yes is for rm, cancel, retry"),
    ("jobs ls dead --reason x", "--reason is for cancel"),
    ("jobs rm dead --all --json", "--json is for ls, show, errors, find"),
    ("jobs find x --name wat", "find takes a text, and no other condition"),
    ("jobs ls dead --redis http://x", "--redis: not a Redis URL"),
]


@pytest.mark.parametrize(("line", "message"), BAD_USAGE, ids=[line for line, _ in BAD_USAGE])
def test_bad_usage(here: Here, line: str, message: str) -> None:
    check_bad_usage(here, line, message)


async def test_what_was_done_before_redis_went_away_is_reported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await put_dead(bench)
    session = Session(make_parser()[0].parse_args(["jobs", "retry", "dead", "--all", *on(bench)]))
    retry = session.client.retry_matching

    async def retry_once(location: str, query: JobQuery, *, cursor: str, seconds: float) -> ActionResult:
        if cursor:
            raise RedisUnavailable("gone")
        return replace(await retry(location, query, cursor=cursor), cursor="more")

    monkeypatch.setattr(session.client, "retry_matching", retry_once)
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    async with session.client:
        with pytest.raises(RedisUnavailable, match="gone"):
            await ActionOnJobs(session, Selection("dead", JobQuery(), None)).run("retry", "")
    assert stderr.getvalue() == "3 jobs of dead on their queues\n"


async def test_all_jobs_of_a_large_location_are_listed_once(bench: Bench) -> None:
    await put_dead(bench, 700)
    assert await listed(bench, "dead", "--all") == [f"job-{n}" for n in reversed(range(700))]
    for number in range(450):
        await bench.enqueuer.enqueue("many", {"n": number})
    _, out, _ = await run("jobs", "ls", "queue:many", "--all", "--json", *on(bench))
    assert [job["args"]["n"] for job in json.loads(out)["jobs"]] == [*range(450)]


# Events


async def test_an_event_is_sent_and_the_steps_are_shown(bench: Bench, client: Client) -> None:
    pool, got = bench.pool(), list[Any]()

    @pool.job
    async def order(job: Job) -> None:
        await job.step("charge", str, 7)
        got.append(await job.event("approved", timeout=3600))

    async with pool.running():
        job = await order.enqueue()
        await until(lambda: bench.redis.zcard(bench.keys.scheduled))
        code, out, err = await run("job", job.id, *on(bench))
        assert (code, err) == (0, "")
        assert re.search(r"^step +charge done in .*: \"7\"$", out, re.MULTILINE)
        assert re.search(r"^event +approved waits until ", out, re.MULTILINE)
        assert "waits for the event 'approved' until" in out
        code, out, err = await run("job", job.id, "--json", *on(bench))
        assert [each["name"] for each in json.loads(out)["steps"]] == ["charge", "approved"]
        code, out, err = await run("jobs", "signal", job.id, "approved", '{"by": "ada"}', *on(bench))
        assert (code, out, err) == (0, f"event approved was sent to job {job.id}\n", "")
        await until(lambda: got)
        await until(lambda: length_is_zero(bench))
    code, _, err = await run("jobs", "signal", job.id, "approved", *on(bench))
    assert code == 1
    assert "has ended, or there is none with this id" in err
    assert got == [{"by": "ada"}]


async def length_is_zero(bench: Bench) -> bool:
    return not await bench.redis.exists(*(bench.keys.steps(""), bench.keys.scheduled)) and not [
        each async for each in bench.redis.scan_iter(f"{bench.keys.steps('')}*")
    ]


async def test_an_event_that_the_job_has_already(bench: Bench, client: Client) -> None:
    job = await bench.enqueuer.enqueue("order")
    assert await client.signal(job.id, "approved")
    code, _, err = await run("jobs", "signal", job.id, "approved", "5", *on(bench))
    assert code == 1
    assert f"job {job.id} has event approved already, or goes on without it" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("jobs signal a", "EVENT is missing: the name of the event"),
        ("jobs signal a approved {", "the value must be JSON, such as 5"),
        ("jobs signal a approved 5 --all", "no conditions"),
        ("jobs ls dead approved", "ls takes a location only, not 'approved'"),
    ],
)
def test_bad_usage_of_events(line: str, message: str, here: Here) -> None:
    check_bad_usage(here, line, message)
