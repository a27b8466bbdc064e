"""The doctor finds flows that are stuck, and has them go on. The audit finds the same."""

from __future__ import annotations

import pytest

from asyncwork import Client, Flow, FlowStatus, NodeState
from asyncwork._doctor import batch_reader, flow_reader
from asyncwork._doctor.flow_reader import read_flows
from asyncwork._doctor.flow_rules import flow_findings
from asyncwork._jobs.membership import SETTLE_NAME
from asyncwork._jobs.payload import encode_job
from asyncwork._redis.batch_store import BatchStore, Bits
from asyncwork._redis.client import run_script
from asyncwork._redis.flow_store import FlowStore
from asyncwork._redis.member_calls import shared_keys

from .batch_apps import FlowApp, flow_app
from .conftest import Bench, until
from .test_flow_model import set_bounds, unset_bounds

FLOW_KINDS = {"flow_counts", "stuck_nodes", "halted_flow", "lost_nodes"}


async def findings(client: Client) -> list[tuple[str, str]]:
    """What the doctor says of flows, and of members of batches."""
    problems = (await client.diagnose(0)).problems
    return [(each.kind, each.text) for each in problems if each.kind in FLOW_KINDS or "member" in each.kind]


async def repair(client: Client) -> list[str]:
    found = await client.diagnose(0)
    return [line async for line in client.repair(found)]


async def ended(bench: Bench, client: Client, flow_id: str) -> dict[NodeState, int]:
    """The states of the nodes of a flow, once it has ended."""
    await until(lambda: FlowStore(bench.in_redis).has_ended(flow_id))
    status = await client.flow(flow_id)
    assert status is not None
    return states_of(status)


def states_of(status: FlowStatus) -> dict[NodeState, int]:
    found: dict[NodeState, int] = {}
    for each in status.groups:
        for state, count in each.states:
            found[state] = found.get(state, 0) + count
    return found


def fan(app: FlowApp, flow: Flow) -> None:
    """A node, three after it, and one after those."""
    root = flow.add(app.work.call("root"))
    middle = flow.add_many((app.work.call(f"middle{number}") for number in range(3)), after=root)
    flow.add(app.work.call("last"), after=middle)


async def test_flows_that_go_on_are_healthy(bench: Bench) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    root = flow.add(app.work.call("root", how="wait"))
    flow.add_many((app.work.call() for _ in range(1200)), after=root)
    await flow.start()
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert await findings(client) == []
        async with app.pool.running():
            await until(lambda: "root" in app.ran)
            assert await findings(client) == []
            app.go_on.set()
            await until(lambda: len(app.ran) > 10)
            assert await findings(client) == []
            assert await ended(bench, client, flow.id) == {NodeState.DONE: 1201}
            assert await findings(client) == []


async def test_what_changes_all_the_time_is_read_in_bounded_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow whose nodes end one after the other is never the same twice."""
    app = flow_app(bench)
    flow = app.pool.flow()
    fan(app, flow)
    await flow.start()
    # What would be wrong with one that stands still.
    await bench.redis.hset(bench.keys.batch(flow.id)[4], "set:1", WRONG["left"])
    reads = 0

    async def bits_of_one_that_changes(store: BatchStore, batch_id: str) -> Bits:
        nonlocal reads
        reads += 1
        found = await bits(store, batch_id)
        await bench.redis.hincrby(bench.keys.batch(batch_id)[0], "next", 1)
        return found

    bits = BatchStore.bits
    with monkeypatch.context() as patch:
        patch.setattr(BatchStore, "bits", bits_of_one_that_changes)
        for module in (batch_reader, flow_reader):
            patch.setattr(module, "READ_AGAIN_FOR", 0.05)
        (batch,) = await batch_reader.read_batches(bench.in_redis, [flow.id])
        assert (batch.status.left, reads > 1) == (5, True)
        (reading,) = (await read_flows(bench.in_redis, [flow.id])).values()
        assert not reading.is_consistent
        assert not flow_findings({flow.id: reading})
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert [kind for kind, _ in await findings(client)] == ["flow_counts"]
        await repair(client)
        async with app.pool.running():
            assert await ended(bench, client, flow.id) == {NodeState.DONE: 5}


async def test_the_entries_of_flows_need_no_handler(bench: Bench) -> None:
    app = flow_app(bench)
    flow_id = "w" + "0" * 23
    _, entry = encode_job(SETTLE_NAME, {"flow": flow_id}, 1, job_id=f"{flow_id}-settle")
    await bench.redis.zadd(bench.keys.scheduled, {entry: 2_000_000_000})
    async with Client(bench.url, namespace=bench.namespace) as client:
        assert [each.kind for each in (await client.diagnose(0)).problems].count("no_workers") == 1
        async with app.pool.running():
            assert "no_workers" not in [each.kind for each in (await client.diagnose(0)).problems]
    await bench.redis.zrem(bench.keys.scheduled, entry)


# What a set says of the nodes before it: too many that have not ended, one that has failed, and one that was skipped.
WRONG = {"left": b"3 success waiting 2 0 0", "bad": b"3 success cancelled 1 1 0", "skipped": b"3 success waiting 1 0 1"}


@pytest.mark.parametrize("wrong", WRONG)
async def test_counts_that_do_not_follow_from_the_nodes_before_are_corrected(bench: Bench, wrong: str) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    fan(app, flow)
    await flow.start()
    nodes = bench.keys.batch(flow.id)[4]
    right = await bench.redis.hget(nodes, "set:1")
    assert right == b"3 success waiting 1 0 0"
    await bench.redis.hset(nodes, "set:1", WRONG[wrong])
    (violation, *_) = await bench.audit()
    assert f"flow {flow.id}: the nodes from 1 are" in violation
    async with Client(bench.url, namespace=bench.namespace) as client:
        ((kind, text), *_) = await findings(client)
        assert kind == "flow_counts"
        assert text == f"1 group of nodes count others before them as ended, or not, that are not so ({flow.id})"
        assert f"had flow {flow.id} go on: corrected" in (await repair(client))[0]
        assert await findings(client) == []
        assert await bench.redis.hget(nodes, "set:1") == right
        async with app.pool.running():
            assert await ended(bench, client, flow.id) == {NodeState.DONE: 5}


async def test_counts_are_corrected_although_the_nodes_before_have_ended(bench: Bench) -> None:
    """The nodes run then, because nothing else would have them run."""
    app = flow_app(bench)
    flow = app.pool.flow()
    fan(app, flow)
    await flow.start()
    await bench.redis.hset(bench.keys.batch(flow.id)[4], "set:1", "3 success waiting 2 0 0")
    async with app.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        await until(lambda: bench.redis.exists(bench.keys.batch(flow.id)[1]))
        assert {kind for kind, _ in await findings(client)} == {"flow_counts", "stuck_nodes"}
        assert f"had flow {flow.id} go on" in (await repair(client))[0]
        assert await ended(bench, client, flow.id) == {NodeState.DONE: 5}
        assert app.counts() == {"root": 1, "middle0": 1, "middle1": 1, "middle2": 1, "last": 1}
        assert await findings(client) == []


@pytest.mark.parametrize("state", ["waiting", "released", "cancelled", "skipped"])
async def test_nodes_go_on_whose_turn_has_come(bench: Bench, state: str) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    fan(app, flow)
    await flow.start()
    nodes = bench.keys.batch(flow.id)[4]
    # The step is lost that would act on what was decided.
    await bench.redis.hset(nodes, "set:1", f"3 success {state} 0 0 0")
    bits = bench.keys.batch(flow.id)[1]
    await bench.redis.setbit(bits, 0, 1)
    await bench.redis.hincrby(bench.keys.batch(flow.id)[0], "left", -1)
    await bench.redis.delete(bench.keys.queue("work"))
    assert f"flow {flow.id}: nodes [1, 2, 3] wait for no others" in await bench.audit()
    async with Client(bench.url, namespace=bench.namespace) as client:
        ((kind, text),) = await findings(client)
        assert kind == "stuck_nodes"
        assert text.startswith(f"3 nodes of flow {flow.id} still wait, although enough of those before them have ended")
        assert (await repair(client))[0].startswith(f"had flow {flow.id} go on")
        assert await findings(client) == []
        async with app.pool.running():
            expected = {
                "cancelled": {NodeState.DONE: 1, NodeState.CANCELLED: 4},
                "skipped": {NodeState.DONE: 1, NodeState.SKIPPED: 4},
            }.get(state, {NodeState.DONE: 5})
            assert await ended(bench, client, flow.id) == expected
            assert max(app.counts().values(), default=1) == 1


async def test_steps_are_gone_on_with_whose_entry_is_gone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    set_bounds(monkeypatch, 2, 64)
    try:
        app = flow_app(bench)
        flow = app.pool.flow()
        fan(app, flow)
        await flow.start()
        keys = bench.keys.batch(flow.id)
        async with Client(bench.url, namespace=bench.namespace) as client:
            await client.delete("queue:work", [each.ref for each in (await client.jobs("queue:work")).jobs])
            assert await bench.redis.hget(keys[0], "rest") is not None
            entry = await bench.redis.hget(keys[4], "settle")
            assert await findings(client) == []
            assert await bench.redis.zrem(bench.keys.scheduled, entry) == 1
            await bench.redis.hdel(keys[4], "settle")
            assert f"flow {flow.id}: 2 steps are left that no pool takes" in await bench.audit()
            ((kind, text),) = await findings(client)
            assert kind == "halted_flow"
            assert text.startswith(f"flow {flow.id} has 2 steps left that no pool takes")
            assert (await repair(client))[0].startswith(f"had flow {flow.id} go on")
            async with app.pool.running():
                assert await ended(bench, client, flow.id) == {NodeState.CANCELLED: 5}
            assert await findings(client) == []
    finally:
        unset_bounds()


@pytest.mark.parametrize("is_missing", [False, True])
async def test_nodes_fail_whose_jobs_are_lost(bench: Bench, is_missing: bool) -> None:
    app = flow_app(bench)
    flow = app.pool.flow()
    fan(app, flow)
    await flow.start()
    nodes = bench.keys.batch(flow.id)[4]
    if is_missing:
        await bench.redis.hdel(nodes, "job:2")
    else:
        await bench.redis.hset(nodes, "job:2", "no job")
    assert f"flow {flow.id}: nodes [2] wait without a job that can run" in await bench.audit()
    async with Client(bench.url, namespace=bench.namespace) as client:
        # It is no lost member: counting it as failed now would count it twice.
        ((kind, text),) = await findings(client)
        assert kind == "lost_nodes"
        assert text == f"flow {flow.id} has 1 node whose job is gone, or cannot be read, node 2 first"
        await repair(client)
        assert not await bench.redis.hexists(nodes, "job:2")
        async with app.pool.running():
            assert await ended(bench, client, flow.id) == {
                NodeState.DONE: 3,
                NodeState.FAILED: 1,
                NodeState.CANCELLED: 1,
            }
        assert await findings(client) == []


async def test_what_is_right_is_left_alone(bench: Bench) -> None:
    """The repair of a flow that has gone on meanwhile does nothing."""
    app = flow_app(bench)
    flow = app.pool.flow()
    fan(app, flow)
    await flow.start()
    before = await bench.redis.hgetall(bench.keys.batch(flow.id)[4])
    store = FlowStore(bench.in_redis)
    (reading,) = (await read_flows(bench.in_redis, [flow.id])).values()
    assert not flow_findings({flow.id: reading})
    assert await store.repair(flow.id, [(1, b"3 success waiting 2 0 0", reading.sets[0].after)], [], []) == 0
    assert await store.repair("w" + "0" * 23, [], [(1, 1)], []) == 0
    # Counted anew, they are as they were. They wait, and are no longer stuck.
    assert await store.repair(flow.id, [(1, reading.sets[0].text, reading.sets[0].after)], [(1, 1)], []) == 2
    assert await bench.redis.hgetall(bench.keys.batch(flow.id)[4]) == before
    await bench.redis.set(bench.keys.batch("w" + "1" * 23)[0], "no hash")
    keys = [*shared_keys(bench.keys), *bench.keys.batch("w" + "1" * 23)]
    assert await run_script(bench.redis_client.client(), "repair_flow", keys, ["", 0, 0]) == 0
    await bench.redis.delete(bench.keys.batch("w" + "1" * 23)[0])
    async with app.pool.running(), Client(bench.url, namespace=bench.namespace) as client:
        assert await ended(bench, client, flow.id) == {NodeState.DONE: 5}
