"""What people and programs do to a flow or a batch at once: cancel it while it is written, and retry it twice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from asyncwork import (
    BatchEndedError,
    BatchState,
    BatchStatus,
    Client,
    Flow,
    Job,
    JobQuery,
    NodeState,
    RedisUnavailable,
    UniqueConflictError,
)
from asyncwork._admin.actions import JobActions
from asyncwork._admin.batches import BatchReader
from asyncwork._jobs.job_flow import JobFlow
from asyncwork._jobs.membership import Member
from asyncwork._pool.node_adder import NodeAdder
from asyncwork._redis import flow_writer, job_scan
from asyncwork.gocraft import GocraftClient
from asyncwork.sync import Enqueuer

from .batch_apps import FlowApp, flow_app
from .conftest import Bench, until
from .test_flow_doctor import findings
from .test_flows import ended, states

Write = Callable[..., Awaitable[Any]]


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def after_each_write(app: FlowApp, patch: pytest.MonkeyPatch, act: Callable[[int], Awaitable[object]]) -> None:
    """Have something done after each request of a producer, which is given its number, from 0."""
    write: Write = app.pool.enqueuer._producer._write
    count = 0

    async def written(names: list[str], commands: list[bytes]) -> Any:
        nonlocal count
        replies, number, count = await write(names, commands), count, count + 1
        await act(number)
        return replies

    patch.setattr(app.pool.enqueuer._producer, "_write", written)


def failing_flow(bench: Bench) -> tuple[FlowApp, Flow]:
    """A flow of two nodes, the first of which fails."""
    app = flow_app(bench)
    app.fail.add("first")
    flow = app.pool.flow()
    flow.add(app.work.call("second"), after=flow.add(app.work.call("first")))
    return app, flow


async def is_idle(bench: Bench) -> bool:
    running = await bench.redis.keys(bench.keys.in_progress("work", "*"))
    return not await bench.waiting("work") and not await bench.job_set("scheduled") and not running


async def check_cancelled(bench: Bench, client: Client, batch_id: str, done: int) -> None:
    """Check that a batch was cancelled, and what is left of it afterwards."""
    status = await client.batch(batch_id)
    assert status is not None
    assert (status.ended, status.left, status.failed) == (True, 0, 0)
    assert status.cancelled == status.total - done > 0
    assert await bench.redis.hlen(bench.keys.cancels) == 0
    assert await bench.redis.zcard(bench.keys.open_batches) == 0
    assert await bench.redis.hlen(bench.keys.unique_flows) == 0


@pytest.mark.parametrize("unique", ["", "text"])
async def test_no_node_starts_of_a_flow_that_is_cancelled_while_it_is_written(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, unique: str
) -> None:
    """Although the flow has ended by then with the nodes that were written before, and its mark went with them."""
    monkeypatch.setattr(flow_writer, "MOST_MEMBERS", 3)
    app = flow_app(bench)
    # More than there are.
    for at in range(20):
        app.ran.clear()
        flow = app.pool.flow(unique=unique)
        roots = flow.add_many(app.work.call(f"root{number}") for number in range(7))
        flow.add_many((app.work.call("later") for _ in range(4)), after=roots)
        found: list[BatchStatus | None] = []

        async def cancel(number: int, at: int = at, found: list[Any] = found, flow_id: str = flow.id) -> None:
            if number == at:
                found.append(await client.cancel_batch(flow_id, "not needed"))

        with monkeypatch.context() as patch:
            after_each_write(app, patch, cancel)
            await flow.start()
        if not found:
            assert at > 3
            await client.cancel_batch(flow.id)
            await app.pool.enqueuer.close()
            return
        async with app.pool.running():
            await until(lambda: is_idle(bench))
        if found[0] is None:
            # It was not there yet.
            assert len(app.ran) == 11
            continue
        assert app.ran == []
        await check_cancelled(bench, client, flow.id, 0)
    raise AssertionError("it does not come to its end")


async def test_no_member_starts_of_a_batch_that_is_cancelled_in_its_block(bench: Bench, client: Client) -> None:
    app = flow_app(bench)
    async with app.pool.running(), app.pool.batch() as batch:
        await batch.add(app.work.call("first"))
        await batch.flush()
        await until(lambda: app.ran == ["first"])
        await until(lambda: is_idle(bench))
        status = await client.cancel_batch(batch.id)
        assert status is not None
        assert status.ended
        for number in range(3):
            await batch.add_many(app.work.call(f"late{number}") for _ in range(10))
            with pytest.raises(BatchEndedError, match=f"jobs cannot be added to batch {batch.id}: it was cancelled"):
                await batch.flush()
            assert await findings(client) == []
        await until(lambda: is_idle(bench))
    assert app.ran == ["first"]
    await check_cancelled(bench, client, batch.id, 1)


@pytest.mark.parametrize("blocking", [False, True])
async def test_the_end_of_a_block_says_that_its_batch_was_cancelled_meanwhile(
    bench: Bench, client: Client, blocking: bool
) -> None:
    app = flow_app(bench)
    written: list[str] = []

    def write_and_block() -> None:
        with Enqueuer(bench.url, namespace=bench.namespace) as enqueuer, enqueuer.batch() as batch:
            written.append(batch.id)
            batch.add("work", {"name": "first"})
            batch.flush()
            anyio.from_thread.run(client.cancel_batch, batch.id)
            batch.add("work", {"name": "late"})

    async def write() -> None:
        async with app.pool.batch() as batch:
            written.append(batch.id)
            await batch.add(app.work.call("first"))
            await batch.flush()
            await client.cancel_batch(batch.id)
            await batch.add(app.work.call("late"))

    with pytest.raises(BatchEndedError, match="it was cancelled"):
        await (anyio.to_thread.run_sync(write_and_block) if blocking else write())
    async with app.pool.running():
        await until(lambda: is_idle(bench))
    assert app.ran == []
    await check_cancelled(bench, client, written[0], 0)


async def test_no_batch_becomes_a_member_of_one_that_was_cancelled_meanwhile(bench: Bench, client: Client) -> None:
    app = flow_app(bench)
    async with app.pool.batch() as outer:
        await outer.add(app.work.call("first"))
        await outer.flush()
        await client.cancel_batch(outer.id)
        inner = outer.add_batch()
        with pytest.raises(BatchEndedError, match="it was cancelled"):
            async with inner:
                raise AssertionError("the block of the inner batch begins")
    async with app.pool.running():
        await until(lambda: is_idle(bench))
    assert app.ran == []
    await check_cancelled(bench, client, outer.id, 0)
    status = await client.batch(inner.id)
    assert status is not None
    assert (status.ended, status.total) == (True, 0)


async def test_nodes_that_are_added_to_a_flow_that_is_cancelled_meanwhile_do_not_start(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that adds them goes on in a pool that has lost it, and its flow has ended."""
    app = flow_app(bench)
    flow = app.pool.flow(unique="text")
    flow.add(app.work.call("first"))
    await flow.start()
    enqueuer = app.pool.enqueuer
    adder = NodeAdder(enqueuer._batch_source(), enqueuer._producer.run, flow.id, lambda: None)
    running = JobFlow(Member(flow.id, 0), adder.add)

    async def cancel(number: int) -> None:
        # The first request reserves numbers.
        if number == 0:
            status = await client.cancel_batch(flow.id)
            assert status is not None
            assert status.ended

    with monkeypatch.context() as patch:
        after_each_write(app, patch, cancel)
        late = await running.add_many(app.work.call("late") for _ in range(3))
    with pytest.raises(BatchEndedError, match="it was cancelled"):
        await running.add(app.work.call("later"), after=late)
    async with app.pool.running():
        await until(lambda: is_idle(bench))
    assert app.ran == []
    await check_cancelled(bench, client, flow.id, 0)


async def test_members_that_come_after_the_end_of_a_batch_open_it_again(bench: Bench, client: Client) -> None:
    """As when the doctor has closed it, because its creator had taken more than an hour."""
    app = flow_app(bench)
    async with app.pool.batch() as batch:
        await batch.add(app.work.call("first"))
        await batch.flush()
        async with app.pool.running():
            await until(lambda: app.ran == ["first"])
            await until(lambda: is_idle(bench))
        await bench.redis.hset(bench.keys.batch(batch.id)[0], "created_at", 1)
        assert [line async for line in client.repair(await client.diagnose(0))]
        status = await client.batch(batch.id)
        assert status is not None
        assert status.ended
        await batch.add(app.work.call("second"))
        await batch.flush()
        status = await client.batch(batch.id)
        assert status is not None
        assert (status.ended, status.left) == (False, 1)
        for key in bench.keys.batch(batch.id)[:2]:
            assert await bench.redis.ttl(key) > 86_400
        assert await bench.redis.zcard(bench.keys.open_batches) == 1
    async with app.pool.running():
        await until(lambda: app.ran == ["first", "second"])
        await until(lambda: is_idle(bench))
    status = await client.batch(batch.id)
    assert status is not None
    assert (status.state, status.done) == (BatchState.SUCCEEDED, 2)


async def test_members_of_a_batch_that_is_gone_meanwhile_do_not_create_it(bench: Bench, client: Client) -> None:
    app = flow_app(bench)
    async with app.pool.batch() as batch:
        await batch.add(app.work.call("first"))
        await batch.flush()
        await bench.redis.delete(*bench.keys.batch(batch.id))
        await client.batches()
        await bench.redis.zrem(bench.keys.open_batches, batch.id)
        await batch.add(app.work.call("second"))
        with pytest.raises(BatchEndedError, match="not kept any more"):
            await batch.flush()
    assert not await bench.redis.exists(*bench.keys.batch(batch.id))
    async with app.pool.running():
        await until(lambda: sorted(app.ran) == ["first", "second"])


async def test_a_flow_that_ends_while_it_is_cancelled_can_be_retried(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, flow = failing_flow(bench)
    handle = await flow.start()
    read = BatchReader.read

    async def read_and_end(self: BatchReader, batch_id: str) -> BatchStatus | None:
        status = await read(self, batch_id)
        if not app.ran:
            async with app.pool.running():
                await handle.wait(30)
        return status

    with monkeypatch.context() as patch:
        patch.setattr(BatchReader, "read", read_and_end)
        status = await client.cancel_batch(flow.id)
    assert status is not None
    assert (status.state, status.cancellation) == (BatchState.FAILED, "")
    app.fail.clear()
    async with app.pool.running():
        await handle.retry()
        assert states(await handle.wait(30)) == ["done", "done"]
    assert await bench.redis.hlen(bench.keys.cancels) == 0


async def test_a_node_that_fails_again_is_not_taken_for_one_that_another_retries(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people retry a flow: the second one has found the node dead before the first had it run again."""
    app, flow = failing_flow(bench)
    requeue, retries = JobActions.requeue_members, list[int]()
    async with app.pool.running():
        handle = await flow.start()
        await handle.wait(30)

        async def requeue_late(self: JobActions, location: str, members: Any, flow_id: str = "") -> int:
            with monkeypatch.context() as patch:
                patch.setattr(JobActions, "requeue_members", requeue)
                retries.append((await client.retry_batch(flow.id)).done)
                await until(lambda: app.counts()["first"] == 2)
                await handle.wait(30)
                (raw, score), *others = await bench.job_set("dead")
                assert not others
                # It has died at another second than before.
                await bench.redis.zrem(bench.keys.dead, raw)
                await bench.redis.zadd(bench.keys.dead, {raw.replace(b'"failed_at":', b'"failed_at":1'): score})
            return await requeue(self, location, members, flow_id)

        monkeypatch.setattr(JobActions, "requeue_members", requeue_late)
        retries.append((await client.retry_batch(flow.id)).done)
        assert retries == [1, 0]
        status = await client.flow(flow.id)
        assert status is not None
        assert states(status) == ["failed", "cancelled"]
        assert status.batch.ended
        assert await findings(client) == []


async def test_a_client_that_dies_before_it_requeues_a_node_leaves_its_flow_as_it_was(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, flow = failing_flow(bench)
    async with app.pool.running():
        handle = await flow.start()
        await handle.wait(30)

        async def die(*args: object) -> int:
            raise ConnectionResetError

        with monkeypatch.context() as patch:
            patch.setattr(JobActions, "requeue_members", die)
            with pytest.raises(RedisUnavailable):
                await client.retry_batch(flow.id)
        assert states(await handle.status()) == ["failed", "cancelled"]
        assert await findings(client) == []
        app.fail.clear()
        await handle.retry()
        assert states(await handle.wait(30)) == ["done", "done"]


async def test_a_node_whose_queue_cannot_take_it_stays_failed(bench: Bench, client: Client) -> None:
    app = flow_app(bench)
    app.fail.update(("bad 1", "bad 2"))
    flow = app.pool.flow()
    flow.add(app.work.call("last"), after=flow.add_many(app.work.call(f"bad {number}") for number in (1, 2)))
    async with app.pool.running():
        handle = await flow.start()
        await handle.wait(30)
    queue = bench.keys.queue("work")
    await bench.redis.set(queue, "no list")
    assert (await handle.retry()).done == 0
    assert states(await handle.status()) == ["2 failed", "cancelled"]
    await bench.redis.delete(queue)
    app.fail.clear()
    async with app.pool.running():
        assert (await handle.retry()).done == 2
        status = await handle.wait(30)
    assert [each for group in status.groups for each in group.states] == [(NodeState.DONE, 2), (NodeState.DONE, 1)]


async def test_nodes_of_tenants_are_retried(bench: Bench) -> None:
    app = flow_app(bench)

    @app.pool.job(partition="tenant", max_fails=1)
    async def fair(tenant: str) -> None:
        app.ran.append(tenant)
        if tenant in app.fail:
            raise ValueError(tenant)

    app.fail.update("abc")
    flow = app.pool.flow()
    flow.add(app.work.call("last"), after=flow.add_many(fair.call(each) for each in "abc"))
    async with app.pool.running():
        handle = await flow.start()
        await handle.wait(30)
        app.fail.clear()
        assert (await handle.retry()).done == 3
        assert states(await handle.wait(30)) == ["3 done", "done"]


async def test_results_that_went_with_their_flow_are_not_taken_for_none(bench: Bench, client: Client) -> None:
    """A node is dead for longer than its flow is kept, and is retried then."""
    app = flow_app(bench)
    app.fail.add("second")
    flow = app.pool.flow()
    first = flow.add(app.work.call("first"))
    flow.add(app.work.call("second", {"of": [first.result]}))
    flow.add(app.work.call("second"), after=first)
    async with app.pool.running():
        await ended(flow)
        assert app.got == [{"of": ["first"]}]
        await bench.redis.delete(*bench.keys.batch(flow.id))
        app.fail.clear()
        await client.retry_batch(flow.id)
        await until(lambda: is_idle(bench))
        assert app.got == [{"of": ["first"]}]
        # The other one takes no result, and runs as an ordinary job.
        assert app.counts() == {"first": 1, "second": 3}
    ((raw, _),) = await bench.job_set("dead")
    assert f"flow {flow.id} is not kept any more" in Job.decode(raw).err


async def test_one_of_many_that_start_a_unique_flow_at_once_does(bench: Bench) -> None:
    app = flow_app(bench)
    flows = [app.pool.flow(unique="text") for _ in range(20)]
    for flow in flows:
        flow.add(app.work.call("first", how="wait"))
    found = await asyncio.gather(*(flow.start() for flow in flows), return_exceptions=True)
    refused = [each for each in found if isinstance(each, UniqueConflictError)]
    assert len(refused) == 19
    (started,) = (each for each in found if not isinstance(each, BaseException))
    assert {each.holder_id for each in refused} == {started.id}
    app.go_on.set()
    async with app.pool.running():
        await started.wait(30)


@pytest.mark.parametrize("act", ["delete", "cancel", "delete all", "delete all dead"])
async def test_entries_of_batches_and_flows_are_left_to_the_pools(bench: Bench, client: Client, act: str) -> None:
    """Without them, a flow would not go on, and a batch not end that another one is a member of."""
    app = flow_app(bench)
    flow = app.pool.flow()
    flow.add_many((app.work.call("second") for _ in range(1100)), after=flow.add(app.work.call("first")))
    await flow.start()
    async with app.pool.batch() as outer, outer.add_batch() as inner:
        await inner.add(app.work.call("inner"))
    # Their ends are followed by more than one step, and no pool runs that takes the next ones.
    await client.delete("queue:work", [each.ref for each in (await client.jobs("queue:work")).jobs])
    entries = (await client.jobs("scheduled")).jobs
    assert sorted(each.id for each in entries) == sorted([f"{flow.id}-settle", f"{outer.id}-0"])
    refs = [each.ref for each in entries]
    match act:
        case "delete":
            assert (await client.delete("scheduled", refs)).done == 0
        case "cancel":
            assert (await client.cancel_refs("scheduled", refs)).done == 0
        case "delete all":
            assert (await client.delete_matching("scheduled", JobQuery())).done == 0
        case _:
            # A Go pool has killed them.
            await bench.redis.rename(bench.keys.scheduled, bench.keys.dead)
            await bench.redis.zadd(bench.keys.dead, {b"no job": 1})
            assert await GocraftClient(client).delete_all_dead_jobs() == 1
    assert sorted(each.id for each in (await client.jobs("scheduled")).jobs) == sorted(each.id for each in entries)
    async with app.pool.running():
        await until(lambda: is_idle(bench))
    assert app.ran == []
    for batch_id in (flow.id, outer.id, inner.id):
        status = await client.batch(batch_id)
        assert status is not None
        assert (status.state, status.cancelled) == (BatchState.CANCELLED, status.total)


@pytest.mark.parametrize("is_flow", [False, True])
async def test_what_fails_again_while_others_are_retried_is_not_retried_again(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, is_flow: bool
) -> None:
    """A retry would last for ever if jobs failed as fast as they are retried."""
    monkeypatch.setattr(job_scan, "_FIRST_STEP", 5)
    monkeypatch.setattr(job_scan, "_MAX_STEP", 5)
    app = flow_app(bench)
    app.fail.add("bad")
    jobs = [app.work.call("bad")] * 20
    if is_flow:
        flow = app.pool.flow()
        flow.add_many(jobs)
        await flow.start()
        batch_id = flow.id
    else:
        async with app.pool.batch() as batch:
            await batch.add_many(jobs)
        batch_id = batch.id
    requeue, calls = JobActions.requeue_members, 0

    async def requeue_and_fail(self: JobActions, *args: Any) -> int:
        nonlocal calls
        calls, moved = calls + 1, await requeue(self, *args)
        assert calls < 10
        await until(lambda: all_are_dead(bench, 20))
        return moved

    async with app.pool.running():
        await until(lambda: all_are_dead(bench, 20))
        # They had failed a while ago.
        dead = {re.sub(rb'"failed_at":\d+', b'"failed_at":7', raw): 7 for raw, _ in await bench.job_set("dead")}
        await bench.redis.delete(bench.keys.dead)
        await bench.redis.zadd(bench.keys.dead, dead)
        monkeypatch.setattr(JobActions, "requeue_members", requeue_and_fail)
        assert (await client.retry_batch(batch_id)).done == 20
        await until(lambda: is_idle(bench))
    assert app.counts() == {"bad": 40}


async def all_are_dead(bench: Bench, count: int) -> bool:
    return len(await bench.job_set("dead")) == count and await is_idle(bench)
