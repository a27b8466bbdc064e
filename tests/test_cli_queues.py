"""`asyncwork queues` and `asyncwork deletions`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, Job, RunTimes
from asyncwork.cli import queue_charts

from .conftest import Bench
from .terminals import terminal
from .test_cli import FULL_DISK, NO_REDIS, NOT_PRINTED, Here, check_bad_usage, here, run

__all__ = ["here"]

pytestmark = pytest.mark.processes


def on(bench: Bench) -> tuple[str, ...]:
    return ("--redis", bench.url, "--namespace", bench.namespace)


@pytest.fixture
async def client(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


async def put_three(bench: Bench) -> None:
    for number in range(3):
        await bench.enqueuer.enqueue("wat", {"n": number})


async def info(client: Client, name: str = "wat") -> Any:
    return next(queue for queue in await client.queues() if queue.name == name)


@pytest.mark.parametrize("verb", [(), ("ls",), ("ls", "wat")])
async def test_queues_are_listed(bench: Bench, verb: tuple[str, ...]) -> None:
    await put_three(bench)
    code, out, err = await run("queues", *verb, *on(bench))
    assert (code, err) == (0, "")
    title, row = out.splitlines()
    assert title.split() == ["QUEUE", "WAITING", "LATENCY", "RUNNING", "RATE/MIN", "FAILED", "LIMIT", "POOLS", "STATE"]
    assert re.fullmatch(r"wat +3 +\d.* +0 +0 +0 +- +0 +no pool", row)
    code, out, err = await run("queues", *verb, *on(bench), "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document.keys() == {"namespace", "redis", "queues"}
    assert document["namespace"] == bench.namespace
    (queue,) = document["queues"]
    assert queue.pop("latency") >= 0
    assert queue == {
        "name": "wat",
        "waiting": 3,
        "running": 0,
        "rate_per_minute": 0,
        "failed": 0,
        "max_concurrency": 0,
        "rate": "",
        "rate_set": False,
        "tokens": 0,
        "rests_for": 0,
        "paused": False,
        "pools": 0,
        "max_waiting": 0,
        "chunk": 0,
        "wait": 0,
        "fair": False,
        "tenants": 0,
        "tenants_held": 0,
        "duplicates_dropped": 0,
        "duplicates_replaced": 0,
    }


async def run_some(bench: Bench) -> None:
    """Run three jobs, one of which fails, and wait until their metrics are written."""
    pool = bench.pool()

    @pool.job(max_fails=1)
    async def wat(job: Job, n: int) -> None:
        if n == 2:
            raise ValueError("no")

    await put_three(bench)
    async with pool.running():
        await pool.drain()


async def test_a_queue_is_shown_with_charts(bench: Bench, client: Client) -> None:
    await run_some(bench)
    await bench.enqueuer.enqueue("other")
    code, out, err = await run("queues", "show", "wat", "other", *on(bench))
    assert (code, err) == (0, "")
    wat, other = out.split("QUEUE ")[1:]
    assert re.search(r"^last hour: 3 attempts, 1 failed, at most [1-3] per minute$", wat, re.MULTILINE)
    assert re.search(r"^run times of 7 days: 3 attempts, p50 about .*, p95 about .*, p99 about .*s$", wat, re.MULTILINE)
    assert re.search(r"^ +FROM +TO +ATTEMPTS$", wat, re.MULTILINE)
    assert re.search(r"^ +(0|\S+ m?s) +\S+ m?s +\d  #+$", wat, re.MULTILINE)
    assert "last hour: 0 attempts, 0 failed, at most 0 per minute\nrun times of 7 days: no attempts\n" in other
    assert out.isascii()


async def test_a_terminal_shows_the_last_hour_in_blocks(bench: Bench) -> None:
    await run_some(bench)
    async with terminal("queues", "show", "wat", *on(bench)) as shown:
        assert await shown.ends() == 0
    assert "█" in shown.text
    assert "#" not in shown.text
    async with terminal("queues", "show", "wat", *on(bench), env={"PYTHONIOENCODING": "ascii"}) as shown:
        assert await shown.ends() == 0
    assert "#" in shown.text
    assert shown.text.isascii()


async def test_charts_as_json(bench: Bench) -> None:
    await run_some(bench)
    code, out, err = await run("queues", "show", "wat", *on(bench), "--json")
    assert (code, err) == (0, "")
    (queue,) = json.loads(out)["queues"]
    assert queue["name"] == "wat"
    assert len(queue["minutes"]) == 60
    assert sum(each["processed"] for each in queue["minutes"]) == 3
    runs = queue["run_times"]
    assert (runs["days"], sum(runs["counts"]), len(runs["bounds"])) == (7, 3, 25)
    assert 0 <= runs["p50"] <= runs["p95"] <= runs["p99"]


def test_charts_of_known_numbers() -> None:
    assert queue_charts.sparkline([0, 1, 4, 5, 8, 80, 0]) == " ▁▁▁▁█ "
    assert queue_charts.sparkline([0, 1, 2, 4, 8]) == " ▁▂▄█"
    assert queue_charts.sparkline([]) == queue_charts.sparkline([0]).strip() == ""
    run_times = RunTimes((0.5, 1.0, 2.0), (0, 90, 1, 9))
    assert list(queue_charts.run_time_lines(run_times, 1, blocks=True)) == [
        "run times of 1 day: 100 attempts, p50 about 778 ms, p95 about 2 s, p99 about 2 s",
        "  FROM    TO  ATTEMPTS",
        "500 ms   1 s        90  ██████████████████████████████",
        "   1 s   2 s         1  █",
        "   2 s  more         9  ███",
    ]


async def test_a_namespace_without_queues(bench: Bench) -> None:
    code, out, err = await run("queues", *on(bench))
    assert (code, out, err) == (0, "no queues: no job was enqueued, and no pool has started\n", "")
    code, out, _ = await run("queues", *on(bench), "--json")
    assert (code, json.loads(out)["queues"]) == (0, [])


async def test_queues_are_paused_and_limited(bench: Bench, client: Client) -> None:
    await put_three(bench)
    await bench.enqueuer.enqueue("other")
    code, out, err = await run("queues", "pause", "wat", "other", *on(bench))
    assert (code, err) == (0, "")
    assert out == "queue wat is paused; 3 jobs waiting\nqueue other is paused; 1 job waiting\n"
    assert (await info(client)).paused
    assert (await info(client, "other")).paused
    code, out, _ = await run("queues", *on(bench))
    assert out.count(" paused\n") == 2
    code, out, _ = await run("queues", "unpause", "wat", *on(bench))
    assert (code, out) == (0, "queue wat is not paused; 3 jobs waiting\n")
    assert not (await info(client)).paused
    code, out, _ = await run("queues", "cap", "wat", "2", *on(bench))
    assert (code, out) == (0, "queue wat runs at most 2 jobs at once, over all pools\n")
    assert (await info(client)).max_concurrency == 2
    code, out, _ = await run("queues", "cap", "wat", "0", *on(bench))
    assert (code, out) == (0, "queue wat runs any number of jobs at once, over all pools\n")
    assert (await info(client)).max_concurrency == 0


async def test_a_queue_is_bounded(bench: Bench, client: Client) -> None:
    await put_three(bench)
    code, out, _ = await run("queues", "max-waiting", "wat", "3", *on(bench))
    assert (code, out) == (
        0,
        "queue wat takes at most 3 waiting jobs from enqueuers that have a limit; 3 jobs waiting\n",
    )
    assert (await info(client)).is_full
    code, out, _ = await run("queues", *on(bench))
    assert out.splitlines()[1].split()[0] == "wat"
    await bench.redis.hset(bench.keys.queue_options, "wat", b'{"chunk":100,"wait":0.5,"max_waiting":7}')
    code, out, _ = await run("queues", "show", "wat", *on(bench))
    assert "\nruns in chunks of up to 100 jobs, which wait 0.5 s at most\n3 of at most 3 jobs waiting\n" in out
    await bench.redis.delete(bench.keys.queue_options)
    code, out, _ = await run("queues", "ls", "--json", *on(bench))
    (queue,) = json.loads(out)["queues"]
    assert (queue["max_waiting"], queue["chunk"]) == (3, 0)
    code, out, _ = await run("queues", "max-waiting", "wat", "0", *on(bench))
    assert (code, out) == (0, "queue wat takes any number of waiting jobs; 3 jobs waiting\n")
    code, out, _ = await run("queues", "max-waiting", "wat", "default", *on(bench))
    assert (code, out) == (0, "queue wat takes as many jobs as its enqueuers say; 3 jobs waiting\n")
    for bad, problem in ((["wat"], "needs the name of a queue, and a number"), (["wat", "-1"], "max_waiting must be")):
        code, _, err = await run("queues", "max-waiting", *on(bench), "--", *bad)
        assert code == 2
        assert problem in err


async def test_a_rate_is_set_and_reset(bench: Bench, client: Client) -> None:
    await put_three(bench)
    code, out, err = await run("queues", "rate", "wat", "100/60", "--burst", "20", *on(bench))
    assert (code, err) == (0, "")
    assert out == "queue wat starts at most 100 per 60 s, and 20 at once, over all pools, until its rate is reset\n"
    assert ((await info(client)).rate, (await info(client)).tokens) == ("100/60/20", 20)
    code, out, _ = await run("queues", "cap", "wat", "2", *on(bench))
    code, out, _ = await run("queues", *on(bench))
    assert re.search(r"^wat +3 .* 2, 100 per 60 s +0 +no pool$", out, re.MULTILINE)
    code, out, _ = await run("queues", "rate", "wat", "5/0.5/7", *on(bench))
    assert (code, (await info(client)).rate) == (0, "5/0.5/7")
    code, out, _ = await run("queues", "rate", "wat", "none", *on(bench))
    assert out == "queue wat starts any number of jobs, whatever the code says, until its rate is reset\n"
    assert ((await info(client)).rate, (await info(client)).rate_set) == ("", True)
    code, out, _ = await run("queues", "rate", "wat", "code", *on(bench))
    assert (code, out) == (0, "queue wat has the rate of the code of its pools\n")
    assert not (await info(client)).rate_set


async def test_a_queue_that_rests_says_so(bench: Bench, client: Client) -> None:
    await put_three(bench)
    await bench.redis.set(bench.keys.paused("wat"), "rest", px=3_000_000)
    _, out, _ = await run("queues", *on(bench))
    assert re.search(r"^wat .* rests 50 min$", out, re.MULTILINE)
    assert not (await info(client)).paused
    await run("queues", "unpause", "wat", *on(bench))
    assert not (await info(client)).rests_for


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("rate", "wat"), "rate needs the name of a queue, and a rate: asyncwork queues rate export 100/60"),
        (("rate", "wat", "fast"), "a rate must be COUNT/SECONDS or COUNT/SECONDS/BURST, such as 100/60, not 'fast'"),
        (("rate", "wat", "0/60"), "pause the queue instead"),
        (("rate", "wat", "1/60", "--burst", "0"), "burst must be 1 or more"),
        (("rate", "wat", "1/60", "--burst", "x"), "--burst"),
        (("rate", "wat", "1/60/3", "--burst", "3"), "--burst is in the rate 1/60/3 already"),
        (("rate", "wat", "none", "--burst", "3"), "--burst needs a rate, such as 100/60, not none"),
        (("pause", "wat", "--burst", "3"), "--burst is for rate"),
    ],
)
async def test_a_rate_that_is_none(bench: Bench, client: Client, given: tuple[str, ...], message: str) -> None:
    await put_three(bench)
    code, out, err = await run("queues", *given, *on(bench))
    assert (code, out) == (2, "")
    assert message in err
    assert not (await info(client)).rate_set


async def test_emptying_can_be_undone(bench: Bench, client: Client) -> None:
    await put_three(bench)
    code, out, err = await run("queues", "empty", "wat", *on(bench), "--yes")
    assert (code, err) == (0, "")
    first, undo = out.splitlines()
    assert first == "queue wat is empty; 3 jobs deleted"
    assert (await info(client)).count == 0
    # The line that is printed works as it is.
    token = undo.removeprefix("undo: asyncwork deletions restore ").split()[0]
    code, out, err = await run("deletions", *on(bench))
    assert (code, err) == (0, "")
    title, row = out.splitlines()
    assert title.split() == ["TOKEN", "JOBS", "LOCATION", "DELETED", "LEFT", "BY", "FIRST"]
    assert re.fullmatch(rf"{token} +3 +queue:wat +.+ ago +\d.* +\S+@\S+ +wat", row)
    code, out, _ = await run("deletions", "ls", "--json", *on(bench))
    (deletion,) = json.loads(out)["deletions"]
    assert (deletion["undo"], deletion["count"], deletion["location"]) == (token, 3, "queue:wat")
    assert deletion["first"]["name"] == "wat"
    code, out, err = await run(*shlex.split(undo)[2:])
    assert (code, out, err) == (0, "3 jobs restored\n", "")
    assert (await info(client)).count == 3
    code, out, err = await run("deletions", "restore", token, *on(bench))
    assert (code, out) == (1, "")
    assert err == f"asyncwork deletions: nothing can be restored by {token}: it was restored, or is too late\n"
    code, out, _ = await run("deletions", *on(bench))
    assert (code, out) == (0, "no deletion can be undone\n")


async def test_a_queue_is_forgotten(bench: Bench, client: Client) -> None:
    await put_three(bench)
    code, out, err = await run("queues", "forget", "wat", *on(bench), "--yes")
    assert (code, out) == (2, "")
    assert "'wat' cannot be forgotten: jobs of that name wait or run" in err
    await client.empty("wat")
    code, out, err = await run("queues", "forget", "wat", *on(bench), "--yes")
    assert (code, out, err) == (0, "queue wat is forgotten\n", "")
    assert await client.queues() == []


@pytest.mark.parametrize("verb", ["ls", "pause", "unpause", "empty", "forget"])
async def test_a_queue_that_is_unknown_is_not_changed(bench: Bench, client: Client, verb: str) -> None:
    await put_three(bench)
    code, out, err = await run("queues", verb, "wta", *on(bench))
    assert (code, out) == (1, "")
    assert err == "asyncwork queues: there is no queue 'wta' in this namespace; did you mean wat?\n"
    assert not await bench.redis.exists(bench.keys.paused("wta"))


async def test_an_empty_queue_needs_no_question(bench: Bench, client: Client) -> None:
    await put_three(bench)
    await client.empty("wat")
    code, out, err = await run("queues", "empty", "wat", *on(bench))
    assert (code, out, err) == (1, "", "asyncwork queues: no job waits in wat\n")


@pytest.mark.parametrize("verb", ["empty", "forget"])
async def test_nothing_is_destroyed_without_a_terminal_to_ask_on(bench: Bench, client: Client, verb: str) -> None:
    await put_three(bench)
    code, out, err = await run("queues", verb, "wat", *on(bench))
    assert (code, out) == (2, "")
    assert "There is no terminal to ask on: add --yes if you are sure" in err
    assert (await info(client)).count == 3


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("YES\n", 0, 0), ("n\n", 1, 3), ("\n", 1, 3)])
async def test_a_question_is_asked_on_a_terminal(
    bench: Bench, client: Client, answer: str, code: int, left: int
) -> None:
    await put_three(bench)
    async with terminal("queues", "empty", "wat", *on(bench)) as shown:
        await shown.says(r"3 jobs waiting in queue wat\nDelete 3 jobs\? It can be undone for ten minutes\. \[y/N\] ")
        shown.type(answer)
        assert await shown.ends() == code
    assert (await info(client)).count == left
    assert ("nothing was changed" in shown.plain) is (code == 1)


async def test_ctrl_c_is_an_answer(bench: Bench, client: Client) -> None:
    await put_three(bench)
    async with terminal("queues", "empty", "wat", *on(bench)) as shown:
        await shown.says(r"\[y/N\] ")
        shown.type("\x03")
        assert await shown.ends() == 130
    assert "Traceback" not in shown.text
    assert (await info(client)).count == 3


BAD_USAGE = [
    ("queues jump", "argument VERB: invalid choice: 'jump'"),
    ("queues pause", "pause needs the name of a queue: asyncwork queues pause NAME"),
    ("queues empty --yes", "empty needs the name of a queue"),
    ("queues cap wat", "cap needs the name of a queue, and a number: asyncwork queues cap export 2"),
    ("queues cap wat many", "N: a whole number is needed, not 'many'"),
    ("queues cap wat -1", "N: max_concurrency must be"),
    ("queues pause wat --json", "--json is for ls"),
    ("queues --redis http://x", "--redis: not a Redis URL"),
    ("queues --color loud", "argument --color: invalid choice: 'loud'"),
    ("deletions undo", "argument VERB: invalid choice: 'undo'"),
    ("deletions restore", "restore needs the token of a deletion"),
    ("deletions restore x --json", "--json is for ls"),
    ("deletions ls x", "ls takes no token"),
]


@pytest.mark.parametrize(("line", "message"), BAD_USAGE, ids=[line for line, _ in BAD_USAGE])
def test_bad_usage(here: Here, line: str, message: str) -> None:
    check_bad_usage(here, line, message)


async def test_a_token_that_is_none(bench: Bench) -> None:
    code, out, err = await run("deletions", "restore", "x", *on(bench))
    assert (code, out) == (2, "")
    assert "not an undo token" in err


@pytest.mark.parametrize(
    "line", ["queues", "queues pause wat", "deletions", "stats", "jobs ls dead", "jobs rm dead --all"]
)
async def test_redis_is_away(line: str) -> None:
    code, out, err = await run(*line.split(), "--redis", NO_REDIS)
    assert (code, out) == (3, "")
    assert err.startswith(f"asyncwork {line.split()[0]}: ")
    assert err.count("\n") == 1
    assert "secret" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_queue_is_paused_although_standard_output_is_full(bench: Bench, client: Client) -> None:
    await put_three(bench)
    code, _, err = await run("queues", "pause", "wat", *on(bench), prefix=FULL_DISK)
    assert (code, err) == (4, f"asyncwork queues: queue wat is paused; 3 jobs waiting, but {NOT_PRINTED}\n")
    assert (await info(client)).paused


@pytest.mark.parametrize("command", [("queues",), ("deletions",), ("stats",), ("jobs", "ls", "queue:wat")])
async def test_a_reader_that_has_gone_away(bench: Bench, command: tuple[str, ...]) -> None:
    await put_three(bench)
    closed = ("sh", "-c", 'exec 3>&1; { "$@"; echo $? >&3; } | true', "sh")
    _, out, err = await run(*command, *on(bench), prefix=closed)
    assert out == "4\n"
    assert err.endswith("was read, but standard output cannot be written: [Errno 32] Broken pipe\n")
    assert err.count("\n") == 1
