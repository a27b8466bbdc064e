"""Jobs pass between Go and Python pools in every way, and each runs as often as it should."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from asyncwork import Client, Job, NodeState
from asyncwork.gocraft import GocraftClient

from ..conftest import until
from .golang import Mixed

WAYS = ["enqueue", "in", "unique", "unique_in"]
ARGS = {"address": "a@example.com", "n": 7, "deep": [{"<é>": [1.5, None, True]}, {}]}


async def by_python(mixed: Mixed, how: str, seconds: int = 0) -> str | None:
    enqueuer = mixed.bench.enqueuer
    match how:
        case "enqueue":
            job = await enqueuer.enqueue("wat", ARGS)
        case "in":
            job = await enqueuer.enqueue("wat", ARGS, delay=seconds)
        case "unique":
            job = await enqueuer.enqueue("wat", ARGS, unique=True)
        case _:
            job = await enqueuer.enqueue("wat", ARGS, delay=seconds, unique=True)
    return None if job.duplicate else job.id


async def by_go(mixed: Mixed, how: str, seconds: int = 0) -> str | None:
    job = await mixed.enqueue("wat", ARGS, how=how, seconds=seconds)
    return None if job is None else str(job["id"])


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("runner", ["go", "python"])
async def test_what_one_enqueues_the_other_runs(mixed: Mixed, how: str, runner: str) -> None:
    ours, theirs = (by_python, by_go) if runner == "go" else (by_go, by_python)
    seconds, unique = (1 if how.endswith("in") else 0), how.startswith("unique")
    job_id = await ours(mixed, how, seconds)
    assert job_id is not None
    due = (await mixed.bench.job_set("scheduled"))[0][1] if seconds else 0
    if unique:
        # A duplicate for either of them, in whichever way.
        for way in ("unique", "unique_in"):
            assert await by_python(mixed, way) is None
            assert await by_go(mixed, way) is None

    async def run(count: int) -> None:
        if runner == "go":
            async with mixed.pool(jobs={"wat": {}}):
                await mixed.until_ran(count)
        else:
            async with mixed.python("wat").running():
                await mixed.until_ran(count)

    await run(1)
    (start,) = await mixed.events("start")
    assert (start.by, start.id, start.args, start.fails) == (runner, job_id, ARGS, 0)
    assert start.at >= due
    assert not await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")
    if unique:
        # The key is free again, for both.
        assert await theirs(mixed, how) is not None
        assert await ours(mixed, how) is None
        await run(2)
        assert not await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")


async def test_a_mixed_fleet_runs_each_job_once_and_each_failure_again(mixed: Mixed) -> None:
    names = ["a", "b", "c", "flaky"]
    paused = [mixed.bench.keys.paused(name) for name in names]
    # Until all run, because one may be done before another has started.
    await mixed.bench.redis.mset(dict.fromkeys(paused, 1))
    there = await mixed.enqueue_all([{"how": "enqueue", "name": names[n % 4], "args": {"n": n}} for n in range(200)])
    here = await mixed.bench.enqueuer.enqueue_many([(names[n % 4], {"n": n}) for n in range(200)])
    expected = Counter({job["id"]: 1 + (job["name"] == "flaky") for job in there})
    expected += Counter({job.id: 1 + (job.name == "flaky") for job in here})
    jobs = {name: {"sleep": 5, "fails": int(name == "flaky"), "backoff": 0} for name in names}
    pool = mixed.python("a", "b", "c", job={"sleep": 5})
    flaky = mixed.python("flaky", job={"sleep": 5, "fails": 1, "backoff": lambda job: 0})
    async with mixed.pool(jobs=jobs), pool.running(), flaky.running():
        await mixed.bench.redis.delete(*paused)
        await mixed.until_ran(expected.total())
    ends = await mixed.events("end")
    assert Counter(each.id for each in ends) == expected
    assert {each.by for each in ends if each.name != "flaky"} == {"go", "python"}
    assert sorted(each.fails for each in ends if each.name == "flaky") == [0] * 100 + [1] * 100


async def bring_forward(mixed: Mixed, job_set: str) -> None:
    """Have what is on a shelf be due."""
    seconds, _ = await mixed.bench.redis.time()
    for payload, _ in await mixed.bench.job_set(job_set):
        await mixed.bench.redis.zadd(getattr(mixed.bench.keys, job_set), {payload: seconds})


async def test_a_retry_goes_there_and_here_and_back(mixed: Mixed) -> None:
    job = await mixed.bench.enqueuer.enqueue("wat", ARGS)
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        for fails, by in enumerate(["python", "go", "python", "go"], 1):
            if by == "python":
                await mixed.run_python("wat", fails=9, max_fails=9, backoff=lambda job: 3600)
            else:
                await mixed.run_go("wat", fails=9, max_fails=9, backoff=3600)
            ((payload, score),) = await mixed.bench.job_set("retry")
            kept = json.loads(payload)
            assert (kept["id"], kept["args"], kept["fails"]) == (job.id, ARGS, fails)
            assert kept["err"] == (f"failure {fails}" if by == "go" else f"ValueError: failure {fails}")
            assert score == kept["failed_at"] + 3600
            # Ours is a field that a Go pool drops when it writes the job anew.
            assert ("traceback" in kept) == (by == "python")
            assert await GocraftClient(client).run_retry_job(int(score), job.id)
    await mixed.run_python("wat")
    starts = await mixed.events("start")
    assert [(each.by, each.fails) for each in starts] == [
        ("python", 0), ("go", 1), ("python", 2), ("go", 3), ("python", 4),
    ]  # fmt: skip
    assert all((each.id, each.args) == (job.id, ARGS) for each in starts)


async def test_a_member_that_fails_in_go_and_is_done_in_python_ends_its_batch(mixed: Mixed) -> None:
    async with mixed.bench.enqueuer.batch(on_success=("called", None)) as batch:
        await batch.add("wat", ARGS)
    await mixed.run_go("wat", fails=1, backoff=3600)
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        found = await client.batch(batch.id)
        assert found is not None
        assert (found.left, found.failed) == (1, 0)
        await bring_forward(mixed, "retry")
        pool = mixed.python("wat", "called")
        async with pool.running():
            await mixed.until_ran(3)
        found = await client.batch(batch.id)
        assert found is not None
        assert (found.done, found.ended) == (1, True)
    ends = await mixed.events("end")
    assert [(each.by, each.id) for each in ends] == [
        ("go", f"{batch.id}-0"), ("python", f"{batch.id}-0"), ("python", f"{batch.id}-success"),
    ]  # fmt: skip


async def test_a_node_that_fails_in_go_and_is_done_in_python_lets_those_after_it_run(mixed: Mixed) -> None:
    flow = mixed.bench.enqueuer.flow()
    node = flow.add("wat", ARGS)
    flow.add("called", after=node)
    flow.add("called", after=node, when="failure")
    await flow.start()
    await mixed.run_go("wat", fails=1, backoff=3600)
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        found = await client.flow(flow.id)
        assert found is not None
        assert [each.states for each in found.groups] == [
            ((NodeState.ENQUEUED, 1),), ((NodeState.WAITING, 1),), ((NodeState.WAITING, 1),)
        ]  # fmt: skip
        await bring_forward(mixed, "retry")
        pool = mixed.python("wat", "called")
        async with pool.running():
            await mixed.until_ran(3)
        found = await client.flow(flow.id)
        assert found is not None
        assert (found.batch.done, found.batch.ended) == (3, True)
        assert found.groups[2].states == ((NodeState.SKIPPED, 1),)
    ends = await mixed.events("end")
    assert [(each.by, each.id) for each in ends] == [
        ("go", f"{flow.id}-0"), ("python", f"{flow.id}-0"), ("python", f"{flow.id}-1"),
    ]  # fmt: skip


async def test_a_node_that_dies_in_go_and_is_done_in_python_lets_those_after_it_run(mixed: Mixed) -> None:
    """Go counts no nodes. So its flow waits, until the node is tried again."""
    flow = mixed.bench.enqueuer.flow()
    flow.add("called", after=flow.add("wat", ARGS))
    await flow.start()
    await mixed.run_go("wat", fails=1, max_fails=1)
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        assert [Job.decode(payload).id for payload, _ in await mixed.bench.job_set("dead")] == [f"{flow.id}-0"]
        assert (await client.retry_batch(flow.id)).done == 1
        pool = mixed.python("wat", "called")
        async with pool.running():
            await mixed.until_ran(3)
        found = await client.flow(flow.id)
        assert found is not None
        assert (found.batch.done, found.batch.ended) == (2, True)


@pytest.mark.parametrize("first", ["go", "python"])
async def test_a_retry_that_is_due_is_moved_by_the_other(mixed: Mixed, first: str) -> None:
    job = await mixed.bench.enqueuer.enqueue("wat", ARGS)
    if first == "go":
        await mixed.run_go("wat", fails=1, backoff=3600)
    else:
        await mixed.run_python("wat", fails=1, backoff=lambda job: 3600)
    await bring_forward(mixed, "retry")
    if first == "go":
        async with mixed.python("wat", job={"fails": 1}).running():
            await mixed.until_ran(2)
    else:
        async with mixed.pool(jobs={"wat": {"fails": 1}}):
            await mixed.until_ran(2)
    starts = await mixed.events("start")
    assert [(each.id, each.fails, each.by == first) for each in starts] == [(job.id, 0, True), (job.id, 1, False)]
    assert await mixed.bench.job_set("retry") == []


async def test_attempts_are_counted_over_both(mixed: Mixed) -> None:
    await mixed.enqueue("wat", ARGS)
    for by in ("go", "python", "go", "python"):
        if by == "go":
            await mixed.run_go("wat", fails=-1, backoff=3600)
        else:
            await mixed.run_python("wat", fails=-1, backoff=lambda job: 3600)
        assert bool(await mixed.bench.job_set("dead")) == (len(await mixed.events("end")) == 4)
        await bring_forward(mixed, "retry")
        if await mixed.bench.job_set("retry"):
            async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
                await client.retry_matching("retry")
    ((payload, _),) = await mixed.bench.job_set("dead")
    assert json.loads(payload)["fails"] == 4


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("killer", ["go", "python"])
async def test_the_dead_of_one_come_back_by_the_client_of_the_other(
    mixed: Mixed, killer: str, everything: bool
) -> None:
    job = await mixed.bench.enqueuer.enqueue("wat", ARGS)
    run = mixed.run_go if killer == "go" else mixed.run_python
    await run("wat", fails=-1, error="sorry kid", max_fails=1)
    ((payload, died_at),) = await mixed.bench.job_set("dead")
    kept = json.loads(payload)
    assert (kept["id"], kept["fails"]) == (job.id, 1)
    assert kept["err"].endswith("sorry kid")
    if killer == "go":
        async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
            if everything:
                assert await GocraftClient(client).retry_all_dead_jobs() == 1
            else:
                assert await GocraftClient(client).retry_dead_job(int(died_at), job.id)
        (payload,) = await mixed.bench.waiting("wat")
        assert list(json.loads(payload)) == ["name", "id", "t", "args"]
    elif everything:
        await mixed.client("retry-all-dead")
    else:
        await mixed.client("retry-dead", int(died_at), job.id)
    assert await mixed.bench.job_set("dead") == []
    run = mixed.run_python if killer == "go" else mixed.run_go
    await run("wat")
    starts = await mixed.events("start")
    assert [(each.by == killer, each.id, each.fails, each.args) for each in starts] == [
        (True, job.id, 0, ARGS), (False, job.id, 0, ARGS),
    ]  # fmt: skip


async def test_by_key_the_newest_arguments_run_here(mixed: Mixed) -> None:
    enqueuer = mixed.bench.enqueuer
    job = await enqueuer.enqueue("wat", {"n": 1}, unique={"customer": 7})
    assert not job.duplicate
    assert (await enqueuer.enqueue("wat", {"n": 2}, unique={"customer": 7})).duplicate
    # To Go, which has no key maps in this version, it is another key.
    other = await mixed.enqueue("wat", {"n": 1}, how="unique")
    await mixed.run_python("wat")
    runs = {each.id: each.args for each in await mixed.events("start")}
    assert len(runs) == 2
    assert runs.pop(other["id"]) == {"n": 1}
    assert list(runs.values()) == [{"n": 2}]
    assert not await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")


async def test_by_key_a_go_pool_runs_the_oldest_arguments_and_keeps_the_key(mixed: Mixed) -> None:
    """gocraft/work v0.5.1 knows no key maps: it frees the key of the arguments, which is not the one that is held."""
    enqueuer = mixed.bench.enqueuer
    assert not (await enqueuer.enqueue("wat", {"n": 1}, unique={"customer": 7})).duplicate
    assert (await enqueuer.enqueue("wat", {"n": 2}, unique={"customer": 7})).duplicate
    await mixed.run_go("wat")
    assert [each.args for each in await mixed.events("start")] == [{"n": 1}]
    (key,) = await mixed.bench.redis.keys(f"{mixed.bench.namespace}:unique:*")
    assert key.decode() == f'{mixed.bench.namespace}:unique:wat:{{"customer":7}}\n'
    # Until the key has expired, a day later, everything is a duplicate of a job that is done.
    assert (await enqueuer.enqueue("wat", {"n": 3}, unique={"customer": 7})).duplicate
    assert 86_000 < await mixed.bench.redis.ttl(key) <= 86_400
    mixed.bench.leftovers = [line for line in await mixed.bench.audit() if line.startswith("unique key")]
    assert len(mixed.bench.leftovers) == 1


async def test_the_cap_holds_over_the_fleet(mixed: Mixed) -> None:
    await mixed.enqueue_all([{"how": "enqueue", "name": "wat"}] * 60)
    # Neither can fill the cap alone, and together they have one worker too many.
    python = mixed.python("wat", job={"max_concurrency": 3, "sleep": 20}, concurrency=2)
    async with mixed.pool(2, jobs={"wat": {"max_concurrency": 3, "sleep": 20}}), python.running():
        await mixed.until_ran(60)
    assert len(set(await mixed.ran())) == len(await mixed.ran()) == 60
    assert await mixed.at_once("wat") == 3
    assert {each.by for each in await mixed.events()} == {"go", "python"}


@pytest.mark.parametrize("value", ["by our client", "1", "0", ""])
async def test_a_pause_holds_on_both_sides(mixed: Mixed, value: str) -> None:
    redis, paused = mixed.bench.redis, mixed.bench.keys.paused("wat")
    python = mixed.python("wat")
    client = Client(mixed.bench.url, namespace=mixed.bench.namespace)
    async with client, mixed.pool(jobs={"wat": {}}), python.running():
        await until(lambda: mixed.bench.blocked(python))
        # gocraft/work has no call for it: its programs set the key.
        await (redis.set(paused, value) if value in {"0", "1", ""} else client.pause("wat"))
        await mixed.enqueue_all([{"how": "enqueue", "name": "wat"}] * 3)
        await mixed.bench.enqueuer.enqueue_many([("wat", None)] * 3)

        # The pop that was under way when the pause began may take one, and puts it back.
        async def all_wait() -> bool:
            return len(await mixed.bench.waiting("wat")) == 6

        await until(all_wait)
        await asyncio.sleep(0.3)
        assert await all_wait()
        assert await mixed.events() == []
        await (redis.delete(paused) if value in {"0", "1", ""} else client.unpause("wat"))
        await mixed.until_ran(6)
    assert len(set(await mixed.ran())) == 6


async def test_what_a_go_pool_kills_for_its_name_comes_back_and_runs(mixed: Mixed) -> None:
    enqueuer = mixed.bench.enqueuer
    retried = await enqueuer.enqueue("ours", ARGS)
    await mixed.run_python("ours", fails=1, backoff=lambda job: 3600)
    await bring_forward(mixed, "retry")
    scheduled = await enqueuer.enqueue("ours", ARGS, delay=1)
    async with mixed.pool(jobs={"theirs": {}}):

        async def killed() -> bool:
            return len(await mixed.bench.job_set("dead")) == 2

        await until(killed)
        dead = [json.loads(payload) for payload, _ in await mixed.bench.job_set("dead")]
        assert {each["err"] for each in dead} == {"unknown job when requeueing"}
        async with mixed.python("ours").running():
            await mixed.until_ran(3)
    assert await mixed.bench.job_set("dead") == []
    runs = {(each.id, each.fails): each.args for each in (await mixed.events("start"))[1:]}
    # With the failures that they had.
    assert runs == {(retried.id, 1): ARGS, (scheduled.id, 0): ARGS}


async def test_a_dead_job_that_is_retried_is_not_replaced_by_the_next_of_its_key(mixed: Mixed) -> None:
    """It let go of its key when it first began; what the key holds by now is another job's, which runs for itself."""
    enqueuer = mixed.bench.enqueuer
    dead = await enqueuer.enqueue("wat", {"n": 1}, unique={"customer": 7})
    assert not dead.duplicate
    await mixed.run_python("wat", fails=-1, max_fails=1)
    next_one = await enqueuer.enqueue("wat", {"n": 2}, delay=3600, unique={"customer": 7})
    assert not next_one.duplicate
    await mixed.bench.redis.delete(mixed.record)
    async with Client(mixed.bench.url, namespace=mixed.bench.namespace) as client:
        assert await GocraftClient(client).retry_all_dead_jobs() == 1
        await mixed.run_python("wat")
        first = await mixed.ran()
        assert await GocraftClient(client).run_scheduled_job(next_one.run_at, next_one.id)
        await mixed.run_python("wat")
    assert first == [dead.id]
    assert sorted(await mixed.ran()) == sorted([dead.id, next_one.id])
