"""Flows: each node runs once those before it have ended as it wants, whatever becomes of them, and every flow ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from asyncwork import (
    ArgumentEncodingError,
    BatchEndedError,
    BatchState,
    CancelResult,
    Client,
    Debounce,
    Flow,
    FlowHandle,
    FlowStatus,
    Job,
    JobQuery,
    Limit,
    NodeState,
    QueueFull,
    RedisUnavailable,
    ResultLost,
    ResultTimeout,
    Snooze,
    Unique,
    UniqueConflictError,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.membership import Member, MemberState, batch_of, is_flow, member_in, member_of
from asyncwork._jobs.node_results import RESULT_LIMIT
from asyncwork._redis import flow_writer
from asyncwork._redis.batch_store import BatchStore
from asyncwork._redis.delayed import Scored
from asyncwork._redis.flow_store import FlowStore
from asyncwork._worker.services.go_rescuer import GoRescuer
from asyncwork.testing import open_jobs

from .batch_apps import FlowApp, client_of, flow_app
from .conftest import Bench, until


@pytest.fixture
async def app(bench: Bench) -> AsyncIterator[FlowApp]:
    """A running pool."""
    app = flow_app(bench)
    async with app.pool.running():
        yield app


async def ended(flow: Flow) -> FlowStatus:
    """The flow, once it was started and has ended."""
    return await (await flow.start()).wait(30)


def states(status: FlowStatus) -> list[str]:
    """The states of the groups, such as ``done`` or ``2 done 1 failed``."""
    return [
        " ".join(f"{count} {state.value}" if group.count > 1 else state.value for state, count in group.states)
        for group in status.groups
    ]


# The order


async def test_a_node_runs_after_those_before_it(app: FlowApp) -> None:
    flow = app.pool.flow("archive", tags=["acme"])
    receipt = flow.add(app.work.call("receipt"), label="the receipt")
    mails = flow.add_many((app.work.call(f"mail {number}") for number in range(5)), after=receipt)
    backup = flow.add(app.work.call("backup"), after=receipt)
    flow.add(app.work.call("delete"), after=[mails, backup])
    status = await ended(flow)
    assert app.ran[0] == "receipt"
    assert sorted(app.ran[1:7]) == ["backup", *(f"mail {number}" for number in range(5))]
    assert app.ran[7:] == ["delete"]
    assert (status.batch.name, status.batch.tags, status.batch.is_flow) == ("archive", ("acme",), True)
    assert (status.batch.state, status.batch.total, status.batch.done) == (BatchState.SUCCEEDED, 8, 8)
    assert (status.on_failure, status.unique) == ("cancel", "")
    assert [(each.first, each.count, each.name, each.label, each.after) for each in status.groups] == [
        (0, 1, "work", "the receipt", ()),
        (1, 5, "work", "", (0,)),
        (6, 1, "work", "", (0,)),
        (7, 1, "work", "", (1, 6)),
    ]
    assert states(status) == ["done", "5 done", "done", "done"]
    assert 0 < await app.bench.redis.ttl(app.bench.keys.batch(flow.id)[4]) <= 86_400
    # The payloads are gone.
    assert not [each for each in await app.bench.redis.hkeys(app.bench.keys.batch(flow.id)[4]) if b"job:" in each]


async def test_a_chain_runs_one_job_after_another(app: FlowApp) -> None:
    chain = app.pool.chain(
        app.double.call(1), lambda previous: app.double.call(previous), ("double", {"number": 7}), name="steps"
    )
    status = await ended(chain)
    assert app.ran == ["1", "2", "7"]
    assert (status.batch.name, [each.after for each in status.groups]) == ("steps", [(), (0,), (1,)])


async def test_ids_of_nodes_say_of_which_flow_they_are(bench: Bench) -> None:
    flow = flow_app(bench).pool.flow()
    assert len(flow.id) == 24
    assert is_flow(flow.id)
    assert not is_flow("a" * 24)
    assert member_of(f"{flow.id}-12") == (flow.id, 12)
    assert batch_of(f"{flow.id}-12") == flow.id
    assert member_of(f"w{'w' * 23}-1") is None
    payload = f'{{"name":"work","id":"{flow.id}-3","t":1,"args":null}}'.encode()
    assert member_in(payload) == (flow.id, 3)
    assert member_in(payload.replace(b'"id"', b'"t":1,"id" ')) == (flow.id, 3)


async def test_many_nodes_after_one_and_one_after_many(bench: Bench) -> None:
    app = flow_app(bench, concurrency=50)
    flow = app.pool.flow()
    first = flow.add(app.work.call("first"))
    many = flow.add_many([app.work.call("many")] * 2500, after=first)
    more = flow.add_many([app.work.call("more")] * 700, after=many)
    flow.add(app.work.call("last"), after=more)
    # Written in parts: the sets are longer than these.
    async with app.pool.running():
        status = await ended(flow)
    assert app.counts() == {"first": 1, "many": 2500, "more": 700, "last": 1}
    assert (app.ran[0], app.ran[-1]) == ("first", "last")
    assert app.ran.index("more") == 2501
    assert states(status) == ["done", "2500 done", "700 done", "done"]
    assert not await bench.redis.hexists(bench.keys.batch(flow.id)[0], "rest")


async def test_nodes_that_are_added_one_by_one_are_counted_together(app: FlowApp) -> None:
    flow = app.pool.flow()
    first = flow.add(app.work.call("first"))
    rows = [flow.add(app.work.call(f"row {number}"), after=first) for number in range(100)]
    flow.add(app.work.call("last"), after=rows)
    await ended(flow)
    assert app.ran[-1] == "last"
    assert len(set(app.ran)) == 102
    sets = [each for each in await app.bench.redis.hkeys(app.bench.keys.batch(flow.id)[4]) if each.startswith(b"set:")]
    assert sorted(sets) == [b"set:1", b"set:101"]


async def test_code_without_an_event_loop_starts_flows(app: FlowApp) -> None:
    def start() -> tuple[str, str]:
        with sync.Enqueuer(app.bench.url, namespace=app.bench.namespace) as enqueuer:
            flow = enqueuer.flow("sync")
            flow.add("work", {"name": "b"}, after=flow.add("work", {"name": "a"}))
            with pytest.raises(UsageError, match="no node"):
                enqueuer.flow().start()
            chain = enqueuer.chain(app.double.call(1), lambda previous: app.double.call(previous), unique="x")
            chain_id = chain.start()
            with pytest.raises(UniqueConflictError):
                enqueuer.chain(app.double.call(1), unique="x").start()
            return flow.start(), chain_id

    for flow_id in await asyncio.to_thread(start):
        await until(partial(_has_ended, app.bench, flow_id))
    assert sorted(app.ran) == ["1", "2", "a", "b"]


async def _has_ended(bench: Bench, flow_id: str) -> bool:
    return bool(await bench.redis.hexists(bench.keys.batch(flow_id)[0], "ended_at"))


# Failures


async def test_nodes_after_a_failed_one_are_cancelled_at_once(bench: Bench) -> None:
    app = flow_app(bench)
    app.fail = {"bad"}
    flow = app.pool.flow()
    bad = flow.add(app.work.call("bad"))
    slow = flow.add(app.work.call("slow", how="wait"))
    both = flow.add(app.work.call("both"), after=[bad, slow])
    after = flow.add_many([app.work.call("after")] * 3, after=both)
    flow.add(app.work.call("cleanup"), after=after, when="done")
    flow.add(app.work.call("alert"), after=[bad, slow], when="failure")
    async with app.pool.running():
        handle = await flow.start()
        await until(lambda: _cancelled(handle, 4))
        # Not before the other one has ended.
        assert "alert" not in app.ran
        app.go_on.set()
        status = await handle.wait(30)
    assert app.counts() == {"bad": 1, "slow": 1, "cleanup": 1, "alert": 1}
    assert states(status) == ["failed", "done", "cancelled", "3 cancelled", "done", "done"]
    assert (status.batch.state, status.batch.failed, status.batch.cancelled) == (BatchState.FAILED, 1, 4)


async def _cancelled(handle: FlowHandle, count: int) -> bool:
    return (await handle.status()).batch.cancelled == count


async def test_nodes_for_failures_are_skipped_without_one(app: FlowApp) -> None:
    flow = app.pool.flow()
    good = flow.add(app.work.call("good"))
    alert = flow.add(app.work.call("alert"), after=good, when="failure")
    after = flow.add(app.work.call("after alert"), after=alert)
    flow.add(app.work.call("alert again"), after=alert, when="failure")
    flow.add(app.work.call("always"), after=after, when="done")
    status = await ended(flow)
    assert app.ran == ["good", "always"]
    assert states(status) == ["done", "skipped", "skipped", "skipped", "done"]
    assert (status.batch.state, status.batch.done) == (BatchState.SUCCEEDED, 5)


async def test_a_node_after_a_skipped_and_a_failed_one_is_cancelled(app: FlowApp) -> None:
    app.fail = {"bad"}
    flow = app.pool.flow()
    good, bad = flow.add(app.work.call("good")), flow.add(app.work.call("bad"))
    skipped = flow.add(app.work.call("alert"), after=good, when="failure")
    flow.add(app.work.call("both"), after=[skipped, bad])
    assert states(await ended(flow)) == ["done", "failed", "skipped", "cancelled"]


@pytest.mark.parametrize("how", ["dead", "discard"])
async def test_a_flow_may_go_on_after_failures(app: FlowApp, how: str) -> None:
    app.fail = {"bad"} if how == "dead" else set()
    flow = app.pool.flow(on_failure="continue")
    bad = flow.add(app.work.call("bad", how=how))
    flow.add(app.work.call("alert"), after=bad, when="failure")
    flow.add(app.work.call("last"), after=flow.add(app.work.call("next"), after=bad))
    status = await ended(flow)
    assert states(status) == ["failed", "done", "done", "done"]
    assert (status.on_failure, status.batch.state) == ("continue", BatchState.FAILED)


async def test_a_flow_succeeds_when_its_dead_nodes_are_retried_and_done(app: FlowApp) -> None:
    app.fail = {"bad 1", "bad 2"}
    flow = app.pool.flow()
    bad = flow.add_many([app.work.call(f"bad {number}") for number in range(3)])
    middle = flow.add_many([app.work.call("middle")] * 3, after=bad)
    flow.add(app.work.call("last"), after=middle)
    flow.add(app.work.call("alert"), after=bad, when="failure")
    handle = await flow.start()
    status = await handle.wait(30)
    assert states(status) == ["1 done 2 failed", "3 cancelled", "cancelled", "done"]
    app.fail = {"bad 1"}
    assert (await handle.retry()).done == 2
    status = await handle.wait(30)
    assert states(status) == ["2 done 1 failed", "3 cancelled", "cancelled", "done"]
    app.fail = set()
    assert (await handle.retry()).done == 1
    status = await handle.wait(30)
    assert states(status) == ["3 done", "3 done", "done", "done"]
    assert status.batch.state is BatchState.SUCCEEDED
    assert app.counts() == {"bad 0": 1, "bad 1": 3, "bad 2": 2, "middle": 3, "last": 1, "alert": 1}


async def test_a_dead_node_that_is_retried_alone_releases_those_after_it_too(app: FlowApp) -> None:
    app.fail = {"bad"}
    flow = app.pool.flow()
    flow.add(app.work.call("after"), after=flow.add(app.work.call("bad")))
    handle = await flow.start()
    assert states(await handle.wait(30)) == ["failed", "cancelled"]
    app.fail = set()
    assert (await client_of(app.bench, lambda client: client.retry_matching("dead", JobQuery()))).done == 1
    await until(lambda: "after" in app.ran)
    assert states(await handle.wait(30)) == ["done", "done"]


async def test_nodes_wait_again_while_one_before_them_is_retried(bench: Bench) -> None:
    app = flow_app(bench)
    app.fail = {"bad"}
    flow = app.pool.flow()
    bad = flow.add(app.work.call("bad"))
    flow.add(app.work.call("last"), after=flow.add(app.work.call("after"), after=bad))
    async with app.pool.running():
        handle = await flow.start()
        await handle.wait(30)
    await handle.retry()
    status = await handle.status()
    assert states(status) == ["enqueued", "waiting", "waiting"]
    assert (status.batch.ended, status.batch.left, status.batch.state) == (False, 3, BatchState.RUNNING)
    async with app.pool.running():
        assert states(await handle.wait(30)) == ["failed", "cancelled", "cancelled"]


# Results


async def test_results_are_arguments_of_nodes_after(bench: Bench) -> None:
    app = flow_app(bench)

    @app.pool.job
    async def day(number: int) -> datetime:
        return datetime(2026, 1, number, tzinfo=UTC)

    @app.pool.job
    async def take(one: datetime, several: list[datetime], within: dict[str, list[int]]) -> None:
        app.got += [one, several, within]

    async with app.pool.running():
        flow = app.pool.flow()
        one, several = flow.add(day.call(1)), flow.add_many([day.call(number) for number in (2, 3)])
        number = flow.add(app.double.call(21))
        flow.add(take.call(one.result, several.results, {"a": [1, number.result]}))
        status = await ended(flow)
    assert status.groups[3].after == (0, 1, 3)
    assert app.got == [
        datetime(2026, 1, 1, tzinfo=UTC),
        [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)],
        {"a": [1, 42]},
    ]


async def test_each_of_many_nodes_takes_the_result_of_its_own(app: FlowApp) -> None:
    flow = app.pool.flow()
    first = flow.add_many([app.double.call(number) for number in range(200)])
    second = flow.add_many([app.work.call(f"{number}", each.result) for number, each in enumerate(first)])
    flow.add(app.work.call("sum", second.results))
    status = await ended(flow)
    assert sorted(app.got[:-1]) == [2 * number for number in range(200)]
    assert app.got[-1] == [str(number) for number in range(200)]
    assert states(status) == ["200 done", "200 done", "done"]
    assert [each.after for each in status.groups] == [(), (0,), (200,)]


async def test_only_wanted_results_are_kept(app: FlowApp) -> None:
    flow = app.pool.flow()
    one = flow.add(app.double.call(1))
    flow.add(app.double.call(2))
    flow.add(app.double.call(one.result))
    await ended(flow)
    fields = await app.bench.redis.hkeys(app.bench.keys.batch(flow.id)[4])
    assert [each for each in fields if each.startswith(b"result:")] == [b"result:0"]


async def test_a_node_that_has_not_returned_gives_none(app: FlowApp) -> None:
    app.fail = {"bad"}
    flow = app.pool.flow()
    bad, skipped = flow.add(app.work.call("bad")), flow.add(app.work.call("good"))
    alert = flow.add(app.work.call("alert"), after=skipped, when="failure")
    flow.add(app.work.call("last", [bad.result, alert.result, skipped.result]), when="done")
    await ended(flow)
    assert app.got == [[None, None, "good"]]


async def test_a_result_that_cannot_be_kept_fails_the_job_that_takes_it(bench: Bench) -> None:
    app = flow_app(bench)

    @app.pool.job
    async def long() -> str:
        return "x" * RESULT_LIMIT

    @app.pool.job
    async def strange() -> Any:
        return object()

    async with app.pool.running():
        flow = app.pool.flow()
        nodes = [flow.add(each.call()) for each in (long, strange)]
        for each in nodes:
            flow.add(app.work.call("take", each.result))
        status = await ended(flow)
    assert app.ran == []
    assert states(status) == ["done", "done", "failed", "failed"]
    errors = sorted([json.loads(payload)["err"] for payload, _ in await bench.job_set("dead")])
    start = "ArgumentMismatchError: the result of node"
    size = f"it has {RESULT_LIMIT + 2} bytes as JSON, and at most {RESULT_LIMIT} are kept"
    assert errors[0] == f"{start} {flow.id}-0 cannot be taken: {size}"
    assert errors[1].startswith(f"{start} {flow.id}-1 cannot be taken: ArgumentEncodingError: value: ")


async def test_middlewares_do_not_hide_results(bench: Bench) -> None:
    app = flow_app(bench)

    @app.pool.middleware
    async def around(job: Job, call_next: Any) -> None:
        app.got.append(job.args.get("number"))
        await call_next()

    async with app.pool.running():
        flow = app.pool.flow()
        flow.add(app.double.call(flow.add(app.double.call(3)).result))
        await ended(flow)
    assert app.got == [3, 6]


async def test_payloads_keep_what_stands_for_results(app: FlowApp) -> None:
    flow = app.pool.flow()
    app.fail = {"bad"}
    flow.add(app.work.call("bad", flow.add(app.double.call(3)).result))
    await ended(flow)
    ((payload, _),) = await app.bench.job_set("dead")
    assert json.loads(payload)["args"] == {"name": "bad", "value": {"asyncwork:result": 0}}


# Nodes of all kinds


async def test_nodes_of_types_with_records_steps_limits_and_tenants(bench: Bench) -> None:
    app = flow_app(bench)
    limit: Limit = app.pool.limit("api", concurrency=1)

    @app.pool.job(result=60)
    async def kept(number: int) -> int:
        return number + 1

    @app.pool.job
    async def steps(job: Job, number: int) -> int:
        value: int = await job.step("add", _add_one, number)
        return value

    @app.pool.job(limits=[limit])
    async def limited(number: int) -> int:
        return number + 1

    @app.pool.job(partition="tenant")
    async def fair(tenant: str, number: int) -> int:
        return number + 1

    @app.pool.job(chunk=10, wait=0.05)
    async def chunked(jobs: list[Job]) -> dict[str, int]:
        return {each.id: each.args["number"] + 1 for each in jobs}

    @app.pool.job
    async def snoozed(job: Job, number: int) -> int:
        if number not in app.got:
            app.got.append(number)
            raise Snooze(1)
        return number + 1

    @app.pool.job
    def plain(number: int) -> int:
        return number + 1

    async with app.pool.running():
        flow = app.pool.flow()
        result = flow.add(kept.call(0)).result
        for task in (steps, limited, plain, snoozed, chunked, kept):
            args = {"number": result}
            result = flow.add(task, args).result if task is chunked else flow.add(task.call(**args)).result
        result = flow.add(fair.call("acme", result)).result
        flow.add(fair.call("acme", result))
        status = await ended(flow)
        assert status.batch.state is BatchState.SUCCEEDED
        found = await FlowStore(bench.in_redis)._fields(flow.id, ["result:7"])
    assert found == [b"8"]


async def _add_one(number: int) -> int:
    return number + 1


async def test_nodes_have_options(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    first = flow.add(app.work.call("first"))
    flow.add(app.work.options(delay=3600).call("delayed"), after=first)
    flow.add(app.work.options(at=4_000_000_000).call("late"), after=first)
    flow.add(app.work.options(at=1_000_000_000, timeout=7).call("past"), after=first)
    flow.add(app.work.options(delay=3600).call("root"))
    async with app.pool.running():
        await flow.start()
        await until(lambda: "past" in app.ran)
    now = (await bench.redis.time())[0]
    scheduled = {json.loads(payload)["args"]["name"]: score for payload, score in await bench.job_set("scheduled")}
    assert now + 3000 < scheduled.pop("delayed") <= now + 3600
    assert now + 3000 < scheduled.pop("root") <= now + 3600
    assert scheduled == {"late": 4_000_000_000}


# Nodes that add others


async def test_a_node_adds_nodes_while_it_runs(bench: Bench) -> None:
    app = flow_app(bench)

    @app.pool.job
    async def grow(job: Job, depth: int) -> int:
        app.ran.append(f"grow {depth}")
        if depth:
            deeper = await job.flow.add(grow.call(depth - 1), after=job, label="deeper")
            await job.flow.add_many([app.work.call("sum", [job.flow.result, deeper.result])] * 2, after=[job, deeper])
            await job.flow.add("work", {"name": "at once"})
        return depth

    async with app.pool.running():
        flow = app.pool.flow()
        flow.add(app.work.call("last"), after=flow.add(grow.call(2)))
        status = await ended(flow)
    assert app.counts() == {"grow 2": 1, "grow 1": 1, "grow 0": 1, "sum": 4, "at once": 2, "last": 1}
    assert sorted(app.got) == [[1, 0], [1, 0], [2, 1], [2, 1]]
    assert (status.batch.total, status.batch.state) == (10, BatchState.SUCCEEDED)
    assert [each.after for each in status.groups if each.label] == [(0,), (2,)]


async def test_only_a_node_that_runs_adds_nodes(bench: Bench) -> None:
    app = flow_app(bench)
    kept: list[Any] = []

    @app.pool.job
    async def remember(job: Job) -> None:
        kept.append(job)
        kept.append(job.flow)
        with pytest.raises(UsageError, match=r"flow .* has no node 999999999"):
            await job.flow.add(app.work.call(), after=type(first)(job.flow.id, 999_999_999))
        with pytest.raises(UsageError, match="when must be"):
            await job.flow.add(app.work.call(), after=job, when="never")  # type: ignore[call-overload]
        await client_of(bench, lambda client: client.cancel_batch(job.flow.id, seconds=0))
        with pytest.raises(BatchEndedError, match=r"nodes cannot be added to flow .*: it was cancelled"):
            await job.flow.add(app.work.call(), after=job)

    flow = app.pool.flow()
    first = flow.add(remember.call())
    async with app.pool.running():
        await ended(flow)
        job, job_flow = kept
        with pytest.raises(UsageError, match="no pool of this process runs it"):
            _ = job.flow
        with pytest.raises(BatchEndedError, match="nodes cannot be added to flow"):
            await job_flow.add(app.work.call())
    for payload in (
        b'{"name":"a","id":"b","t":1,"args":null}',
        b'{"name":"a","id":"%b-1","t":1,"args":null}' % (b"a" * 24),
    ):
        with pytest.raises(UsageError, match="is no node of a flow"):
            _ = Job.decode(payload).flow
    assert not app.ran


# Unique flows


async def test_a_unique_flow_is_started_once_until_it_has_ended(bench: Bench) -> None:
    app = flow_app(bench)
    async with app.pool.running():

        def make() -> Flow:
            flow = app.pool.flow("x", unique="account-42")
            flow.add(app.work.call("b"), after=flow.add(app.work.call("a", how="wait")))
            return flow

        first, second = make(), make()
        handle = await first.start()
        keys = set(await bench.redis.keys(f"{bench.keys.prefix}group:*"))
        with pytest.raises(UniqueConflictError, match=f"flow {first.id} is unique by 'account-42'") as caught:
            await second.start()
        assert caught.value.holder_id == first.id
        assert set(await bench.redis.keys(f"{bench.keys.prefix}group:*")) == keys
        assert (await handle.status()).unique == "account-42"
        app.go_on.set()
        await handle.wait(30)
        assert not await bench.redis.exists(bench.keys.unique_flows)
        await ended(second)
    assert app.ran == ["a", "b", "a", "b"]


async def test_a_unique_flow_that_is_retried_is_unique_again(app: FlowApp) -> None:
    def make() -> Flow:
        flow = app.pool.flow(unique="account-42")
        flow.add(app.work.call("b", how="wait"), after=flow.add(app.work.call("a")))
        return flow

    redis, texts = app.bench.redis, app.bench.keys.unique_flows
    app.fail = {"a"}
    first, second = make(), make()
    assert (await ended(first)).batch.state is BatchState.FAILED
    assert not await redis.exists(texts)
    app.fail = set()
    await client_of(app.bench, lambda client: client.retry_batch(first.id))
    with pytest.raises(UniqueConflictError) as caught:
        await second.start()
    assert caught.value.holder_id == first.id
    app.go_on.set()
    await until(lambda: _has_ended(app.bench, first.id))
    assert not await redis.exists(texts)

    # One that has the text by then keeps it.
    app.fail = {"a"}
    third = make()
    await ended(third)
    app.fail = set()
    app.go_on.clear()
    await second.start()
    await client_of(app.bench, lambda client: client.retry_batch(third.id))
    assert await redis.hget(texts, "account-42") == second.id.encode()
    app.go_on.set()
    await until(lambda: _has_ended(app.bench, third.id))
    await until(lambda: _has_ended(app.bench, second.id))
    assert not await redis.exists(texts)


async def test_a_flow_that_is_gone_keeps_no_other_from_starting(app: FlowApp) -> None:
    for gone in ("w" + "0" * 23, "x"):
        await app.bench.redis.hset(app.bench.keys.unique_flows, "text", gone)
        flow = app.pool.flow(unique="text")
        flow.add(app.work.call("a"))
        await ended(flow)
    assert app.ran == ["a", "a"]


# Cancelling


async def test_cancelling_a_flow_ends_what_runs_and_what_waits(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow(on_failure="continue")
    slow = flow.add(app.work.call("slow", how="wait"))
    after = flow.add_many([app.work.call("after")] * 1200, after=slow)
    flow.add(app.work.call("cleanup"), after=after, when="done")
    async with app.pool.running():
        handle = await flow.start()
        await until(lambda: app.ran)
        status = await handle.cancel("not needed", who="ada")
        assert status is not None
        found = await handle.wait(30)
    assert found.batch.state is BatchState.CANCELLED
    assert found.batch.cancellation == "cancelled by ada: not needed"
    assert states(found) == ["cancelled", "1200 cancelled", "cancelled"]
    assert app.ran == ["slow"]
    # Nothing is put back.
    assert (await handle.retry()).done == 0


async def test_a_node_that_waits_is_not_cancelled_alone(app: FlowApp) -> None:
    flow = app.pool.flow()
    first = flow.add(app.work.call("a", how="wait"))
    second = flow.add(app.work.call("b"), after=first)
    handle = await flow.start()
    await until(lambda: app.ran == ["a"])
    async with Client(app.bench.url, namespace=app.bench.namespace) as client:
        # As GONE, it would be taken for one that does not run.
        with pytest.raises(UsageError, match=rf"{second.id} waits for others .* client\.cancel_batch\('{flow.id}'\)"):
            await client.cancel(second.id)
        assert not await app.bench.redis.exists(app.bench.keys.cancels)
        assert await client.cancel(first.id) is CancelResult.ASKED
        assert (await handle.wait(30)).batch.cancelled == 2
        # Its payload is kept, but it has ended.
        assert await client.cancel(second.id) is CancelResult.GONE
    assert app.ran == ["a"]


async def test_a_deleted_node_cancels_those_after_it(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    flow.add(app.work.call("after"), after=flow.add(app.work.call("first")))
    handle = await flow.start()
    deleted = await client_of(bench, lambda client: client.delete_matching("queue:work"))
    assert states(await handle.wait(30)) == ["cancelled", "cancelled"]
    await client_of(bench, lambda client: client.restore(deleted.undo))
    async with app.pool.running():
        await until(lambda: len(app.ran) == 2)
        assert states(await handle.wait(30)) == ["done", "done"]


# Large flows


async def test_roots_may_end_before_the_rest_of_a_flow_is_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_writer, "MOST_MEMBERS", 3)
    app = flow_app(bench)
    app.fail = {"bad"}
    flow = app.pool.flow()
    good, bad = flow.add(app.work.call("good")), flow.add(app.work.call("bad"))
    alert = flow.add(app.work.call("no alert"), after=good, when="failure")
    after = flow.add_many([app.work.call("after good")] * 5, after=good)
    flow.add(app.work.call("after bad"), after=bad)
    flow.add(app.work.call("alert"), after=bad, when="failure")
    flow.add(app.work.call("after skipped"), after=alert)
    flow.add(app.work.call("last"), after=after)
    flow.add(app.work.call("takes", good.result), after=bad, when="done")
    writer, steps = flow._start_steps()
    async with app.pool.running():
        # Each part waits until nothing runs that the parts before it have enqueued.
        request = next(steps)
        try:
            while True:
                replies = await app.pool.enqueuer._producer._write(*request)
                await app.pool.drain()
                request = steps.send(replies)
        except StopIteration:
            pass
        assert writer.created
        await until(lambda: _has_ended(bench, flow.id))
        status = await client_of(bench, lambda client: client.flow(flow.id))
    assert states(status) == ["done", "failed", "skipped", "5 done", "cancelled", "done", "skipped", "done", "done"]
    assert app.got == ["good"]


async def test_a_flow_that_cannot_be_written_is_cancelled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_writer, "MOST_MEMBERS", 3)
    app = flow_app(bench)
    flow = app.pool.flow()
    first = flow.add(app.work.call("first"))
    flow.add_many([app.work.call("after")] * 9, after=first)
    producer = app.pool.enqueuer._producer
    write, written = producer._write, 0

    async def fail(names: Any, commands: Any) -> Any:
        nonlocal written
        written += 1
        if written == 3:
            raise ConnectionError("away")
        return await write(names, commands)

    monkeypatch.setattr(producer, "_write", fail)
    with pytest.raises(RedisUnavailable):
        await flow.start()
    async with app.pool.running():
        await until(lambda: _has_ended(bench, flow.id))
    status = await client_of(bench, lambda client: client.flow(flow.id))
    assert (status.batch.state, status.batch.cancelled, status.batch.total) == (BatchState.CANCELLED, 6, 6)
    assert app.ran == []


async def test_a_tenant_whose_list_is_full_refuses_the_flow(bench: Bench) -> None:
    pool = bench.pool()

    @pool.job(partition="tenant", partition_max=1)
    async def fair(tenant: str) -> None: ...

    # Its queue is fair from then on. While it runs, a pop may take the job.
    async with pool.running():
        await until(lambda: bench.redis.exists(bench.keys.fair_queues))
    await fair.enqueue("acme")
    flow = pool.flow()
    flow.add(fair.call("other"), after=flow.add(fair.call("acme")))
    with pytest.raises(QueueFull):
        await flow.start()
    async with pool.running():
        await until(lambda: _has_ended(bench, flow.id))
        await pool.drain()
    status = await client_of(bench, lambda client: client.flow(flow.id))
    assert states(status) == ["cancelled", "cancelled"]


async def test_the_rest_of_a_flow_is_gone_on_with_after_a_go_pool_has_killed_its_entry(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    flow.add_many([app.work.call("after")] * 600, after=flow.add(app.work.call("first")))
    await flow.start()
    await BatchStore(bench.in_redis).settle([Member(flow.id, 0)], MemberState.DONE)
    scheduled = [payload for payload, _ in await bench.job_set("scheduled")]
    (entry,) = [each for each in scheduled if b"asyncwork:settle" in each]
    assert len(scheduled) == 500
    killed = entry[:-1] + b',"fails":1,"err":"unknown job when requeueing","failed_at":7}'
    await bench.redis.zrem(bench.keys.scheduled, entry)
    await bench.redis.zadd(bench.keys.dead, {killed: (await bench.redis.time())[0]})
    await GoRescuer(bench.in_redis, 1.0).run_once()
    assert len(await bench.job_set("scheduled")) == 600
    assert await bench.job_set("dead") == []
    assert not await bench.redis.hexists(bench.keys.batch(flow.id)[0], "rest")
    await bench.delete_keys()
    await app.pool.enqueuer.close()


async def test_an_entry_whose_flow_is_gone_is_taken(bench: Bench) -> None:
    gone = "w" + "0" * 23
    entry = f'{{"name":"asyncwork:settle","id":"{gone}-settle","t":1,"args":{{"flow":"{gone}"}}}}'.encode()
    await bench.redis.zadd(bench.keys.scheduled, {entry: 1})
    store, job = BatchStore(bench.in_redis), Job.decode(entry)
    assert await store.settle_parents(JobSet.SCHEDULED, [(Scored(entry, 1.0), job)]) == ({entry}, False)
    assert await bench.job_set("scheduled") == []


# What is wrong


async def test_keys_of_a_wrong_type_keep_no_node_from_ending(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    flow.add(app.work.call("after"), after=flow.add(app.work.call("first")))
    handle = await flow.start()
    nodes = bench.keys.batch(flow.id)[4]
    await bench.redis.rename(nodes, f"{nodes}x")
    await bench.redis.set(nodes, "x")
    async with app.pool.running():
        await until(lambda: _left(handle, 1))
        status = await handle.status()
        assert status.groups == ()
        assert not await bench.redis.llen(bench.keys.queue("work"))
    await bench.delete_keys()


async def _left(handle: FlowHandle, count: int) -> bool:
    return (await handle.status()).batch.left == count


async def test_a_waiting_payload_that_is_gone_has_failed(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    lost = flow.add(app.work.call("lost"), after=flow.add(app.work.call("first")))
    flow.add(app.work.call("after"), after=lost)
    handle = await flow.start()
    await bench.redis.hdel(bench.keys.batch(flow.id)[4], "job:1")
    async with app.pool.running():
        assert states(await handle.wait(30)) == ["done", "failed", "cancelled"]


async def test_a_waiting_payload_that_is_no_job_is_quarantined(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    flow.add(app.work.call("after"), after=flow.add(app.work.call("bad"), after=flow.add(app.work.call("first"))))
    handle = await flow.start()
    nodes = bench.keys.batch(flow.id)[4]
    payload = await bench.redis.hget(nodes, "job:1")
    await bench.redis.hset(nodes, "job:1", payload.replace(b'"t":', b'"t":"x","u":'))
    async with app.pool.running():
        assert states(await handle.wait(30)) == ["done", "failed", "cancelled"]
        assert app.ran == ["first"]
    await bench.redis.delete(bench.keys.quarantine)


async def test_bad_input_is_refused_where_it_happens(bench: Bench) -> None:
    app = flow_app(bench)

    @app.pool.job(unique=True)
    async def unique_type(number: int = 0) -> None: ...

    pool, call = app.pool, app.work.call("a")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("on_failure must be 'cancel' or 'continue', not 'stop'", {"on_failure": "stop"}),
        ("unique, the text by which a flow is unique, must be a printable text", {"unique": 7}),
        ("the name of a flow must be a printable text of 0 to 200 characters", {"name": "x" * 201}),
        ("a tag of a flow must be a printable text", {"tags": [""]}),
        ("a flow has 20 tags at most", {"tags": ["x"] * 21}),
    ]
    for wrong, options in cases:
        with pytest.raises(UsageError, match=wrong):
            pool.flow(**options)
    flow, other = pool.flow(), pool.flow()
    node, foreign = flow.add(call), other.add(call)
    nodes: list[tuple[str, Any, dict[str, Any]]] = [
        (r"after must be what flow\.add", call, {"after": 7}),
        (r"after must be what flow\.add", call, {"after": "x"}),
        (r"after must be what flow\.add", call, {"after": [node, call]}),
        ("must not have None in it", call, {"after": [node, None]}),
        ("a key cannot be the result of a node", app.work.call("a", {node.result: 1}), {}),
        (f"after is of flow {other.id}: nodes follow those of their own flow, {flow.id}", call, {"after": foreign}),
        ("the result of a node is of flow", app.work.call("a", foreign.result), {}),
        ("when must be 'success', 'done' or 'failure', not 'x'", call, {"after": node, "when": "x"}),
        ("when='done' says how the nodes before it have to end: pass after", call, {"when": "done"}),
        ("the label of a node must be a printable text", call, {"label": "a\n"}),
        ("a node of a flow cannot be unique", app.work.options(unique=True).call(), {}),
        ("a node of a flow cannot be unique", app.work.options(unique={"a": 1}).call(), {}),
        ("a node of a flow cannot be unique", app.work.options(unique=Unique(until="done")).call(), {}),
        ("a node of a flow cannot be unique", app.work.options(debounce=Debounce(5)).call(), {}),
        ("a node of a flow cannot be unique", unique_type.call(), {}),
        ("a node of a flow cannot be unique", unique_type, {}),
        ("leave out front", app.work.options(front=True).call(), {}),
        ("the id of a member says", app.work.options(id="mine").call(), {}),
        ("its arguments already", call, {"args": {"name": "b"}}),
        ("must not have a comma", "a,b", {}),
        ("args must be a mapping", "work", {"args": [1]}),
        (r"args\[\"value\"\]: the keys 'asyncwork:result'", app.work.call("a", {"asyncwork:result": 1}), {}),
        (r"args\[\"value\"\]\[0\]: the keys", app.work.call("a", [{"asyncwork:results": [1, 2]}]), {}),
    ]
    for wrong, job, options in nodes:
        with pytest.raises(UsageError, match=wrong):
            flow.add(job, **options)
    # The message names the node in its group, however many the flow has.
    with pytest.raises(ArgumentEncodingError, match=r"^args\[\"value\"\]"):
        flow.add(app.work.call("a", object()))
    with pytest.raises(ArgumentEncodingError, match=r"^node 1: args\[\"value\"\]"):
        flow.add_many([call, app.work.call("a", object())])
    with pytest.raises(UsageError, match=r"node 1: a node must be a task\.call"):
        flow.add_many([call, 7])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no job to add"):
        flow.add_many([])
    with pytest.raises(UsageError, match="a list of jobs, not a single call"):
        flow.add_many(call)
    with pytest.raises(UsageError, match="a list of the arguments of each, not None"):
        flow.add_many("work")
    flow.add(unique_type.call.__self__.options(unique=False).call(), after=node)  # type: ignore[attr-defined]
    assert [len(flow._builder.plan.roots), len(flow._nodes.waiting.jobs)] == [2, 1]
    with pytest.raises(UsageError, match="a chain needs at least one job"):
        pool.chain()
    with pytest.raises(UsageError, match="the first job of a chain has no job before it"):
        pool.chain(lambda previous: call)
    with pytest.raises(UsageError, match=r"job 1 of a chain must be a task\.call"):
        pool.chain(call, lambda previous: 7)  # type: ignore[arg-type, return-value]
    with pytest.raises(UsageError, match="job 1 of a chain must be a function"):
        pool.chain(call, 7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no node: add one"):
        await pool.flow().start()
    assert await bench.redis.keys(f"{bench.keys.prefix}*") == []
    await flow.start()
    with pytest.raises(UsageError, match="has been started"):
        flow.add(call)
    with pytest.raises(UsageError, match="has been started"):
        await flow.start()
    with pytest.raises(UsageError, match="is a flow: add nodes"):
        pool.open_batch(flow.id)
    async with pool.running():
        await until(lambda: _has_ended(bench, flow.id))


async def test_a_result_outside_of_a_flow_is_no_argument(app: FlowApp) -> None:
    node = app.pool.flow().add(app.double.call(1))
    with pytest.raises(ArgumentEncodingError, match="number"):
        await app.double.enqueue(node.result)


async def test_a_result_is_no_value_before_its_node_has_returned(app: FlowApp) -> None:
    flow = app.pool.flow()
    node, nodes = flow.add(app.double.call(1)), flow.add_many([app.double.call(2)])
    for misuse in (str, bool, "{:>9}".format, lambda result: f"order {result}", "order %s".__mod__):
        for result in (node.result, nodes.results):
            with pytest.raises(UsageError, match=r"has no value yet: pass it whole"):
                misuse(result)
    assert repr(node.result) == f"<result of node 0 of flow {flow.id}>"


# Reading


async def test_the_client_shows_flows_and_their_nodes(bench: Bench) -> None:
    app = flow_app(bench)
    app.fail = {"row 3"}
    flow = app.pool.flow("rows")
    rows = flow.add_many([app.work.call(f"row {number}") for number in range(30)], label="rows")
    flow.add(app.work.call("last"), after=rows)
    async with app.pool.running():
        await ended(flow)
    async with Client(bench.url, namespace=bench.namespace) as client:
        page = await client.flow_nodes(flow.id, 0, 2, per_page=25)
        assert ([each.number for each in page.nodes], page.total, page.page, page.pages) == ([*range(25, 30)], 30, 2, 2)
        failed = await client.flow_nodes(flow.id, 0, state="failed")
        assert [(each.number, each.id, each.state) for each in failed.nodes] == [(3, f"{flow.id}-3", NodeState.FAILED)]
        assert (await client.flow_nodes(flow.id, 7)).nodes == ()
        assert [each.is_flow for each in (await client.batches()).batches] == [True]
        assert (await client.batch(flow.id)) == (await client.flow(flow.id)).batch  # type: ignore[union-attr]
        assert (await client.batch_failures(flow.id)).total == 1
        assert await client.flow("w" + "0" * 23) is None
        wrong: list[tuple[str, Any]] = [
            ("'w' and 23 hex digits", lambda: client.flow("a" * 24)),
            ("'w' and 23 hex digits", lambda: client.flow_nodes("x", 0)),
            ("first must be a whole number", lambda: client.flow_nodes(flow.id, -1)),
            ("state must be one of waiting, enqueued", lambda: client.flow_nodes(flow.id, 0, state="x")),
        ]
        for message, read in wrong:
            with pytest.raises(UsageError, match=message):
                await read()


async def test_a_handle_waits_and_draws(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    first = flow.add(app.work.call("first", how="wait"), label='the "first" #1')
    flow.add_many([app.work.call("after")] * 1200, after=first)
    flow.add(app.work.call("alert"), after=first, when="failure")
    async with app.pool.running():
        handle = await flow.start()
        with pytest.raises(ResultTimeout, match=r"has not ended within 0\.05 s"):
            await handle.wait(0.05)
        graph = await handle.graph()
        async with Client(bench.url, namespace=bench.namespace) as client:
            reason = await client.waiting_reason(f"{flow.id}-700", seconds=0)
            assert reason == f"it waits for 1 node of flow {flow.id} that has not ended"
            assert await client.waiting_reason(f"{flow.id}-7000", seconds=0) == ""
        app.go_on.set()
        await handle.wait(30)
    assert graph == (
        "flowchart TD\n"
        '    n0["the #34;first#34; #35;1<br/>enqueued"]:::enqueued\n'
        '    n1["work × 1,200<br/>1,200 waiting"]:::waiting\n'
        '    n1201["work<br/>waiting"]:::waiting\n'
        "    n0 --> n1\n"
        "    n0 -- failure --> n1201\n"
        "    classDef waiting fill:#eeeeee,stroke:#777777,color:#222222\n"
        "    classDef enqueued fill:#dbeafe,stroke:#1d4ed8,color:#172554\n"
    )
    assert repr(handle) == f"<FlowHandle {flow.id}>"
    await bench.delete_keys()
    with pytest.raises(ResultLost, match="is not kept any more"):
        await handle.status()


async def test_nodes_are_sequences(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    nodes = flow.add_many([app.work.call("x")] * 4)
    assert [each.number for each in nodes] == [0, 1, 2, 3]
    assert (nodes[-1].id, len(nodes), [each.number for each in nodes[1:3]]) == (f"{flow.id}-3", 4, [1, 2])
    with pytest.raises(IndexError):
        nodes[4]
    assert repr(nodes) == f"<4 Nodes from {flow.id}-0>"
    assert repr(nodes[0]) == f"<Node {flow.id}-0>"
    assert repr(nodes.results) == f"<results of 4 nodes from 0 of flow {flow.id}>"
    assert repr(flow) == f"<Flow {flow.id}>"


# Tests of applications


async def test_flows_and_batches_of_an_application_run_in_its_tests(redis_url: str) -> None:
    # Where the application would enqueue otherwise, there is no Redis.
    pool, got = WorkerPool("redis://127.0.0.1:1"), list[Any]()

    @pool.job
    async def double(number: int) -> int:
        return 2 * number

    @pool.job
    async def take(job: Job, value: Any) -> None:
        got.append(value)
        if job.batch_id is not None and is_flow(job.batch_id) and value == 2:
            await job.flow.add(take.call(7))

    with open_jobs(pool, redis_url) as jobs:
        flow = pool.flow()
        flow.add(take.call(flow.add(double.call(1)).result))
        handle = await flow.start()
        sync_flow = pool.sync_enqueuer.flow()
        sync_flow.add(take.call(3))
        await asyncio.to_thread(sync_flow.start)
        async with pool.batch(on_success=take.call("called")) as batch:
            await batch.add(take.call(4))
        await jobs.drain()
        assert (await handle.wait(10)).batch.state is BatchState.SUCCEEDED
    assert sorted(map(str, got)) == ["2", "3", "4", "7", "called"]
