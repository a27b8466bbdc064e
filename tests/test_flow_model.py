"""Flows against a plain model: whatever happens to their nodes in whatever order, Redis holds what the model says.

Graphs are random, with nodes of all conditions, results that others take, and nodes that are added while others run.
Nodes are fetched, ended in every way, ended twice, returned by a reaper, lost, retried, deleted and cancelled, at
random, also while a large flow is still written. A step goes on with so few nodes here that there is nearly always a
rest.

The same steps are taken at every run. With ``ASYNCWORK_FLOW_SEEDS=2000`` in the environment there are more of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from asyncwork import BatchEndedError, Client, Flow, UniqueConflictError
from asyncwork._admin.batches import numbers_of
from asyncwork._doctor import flow_reader
from asyncwork._doctor.batch_reader import read_batches
from asyncwork._doctor.flow_reader import FlowReading, read_flows
from asyncwork._doctor.flow_rules import flow_findings
from asyncwork._jobs.flow_nodes import Node, Nodes
from asyncwork._jobs.job_flow import JobFlow
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.membership import Member, MemberState, member_id, member_in
from asyncwork._jobs.quarantine import write_entry
from asyncwork._pool.node_adder import NodeAdder
from asyncwork._redis import flow_writer, scripts
from asyncwork._redis.batch_store import BatchStore
from asyncwork._redis.commands import CommandBatch, DropCancelled, FinishJob, MemberAck, MoveToQuarantine, MoveToSet
from asyncwork._redis.job_end import JobEnd
from asyncwork._redis.located_payload import LocatedPayload
from asyncwork._redis.member_commands import EndMember
from asyncwork.job import Job

from .conftest import Bench
from .flow_model import BAD, ModelFlow, ModelNode, result_of
from .test_batch_model import POOLS, World

SEEDS = int(os.environ.get("ASYNCWORK_FLOW_SEEDS", "16"))
STEPS = 60
# After so many steps Redis is compared.
CHECKED_AFTER = 3
# Nodes that one script goes on with, and nodes of a block of edges.
MOST_STEPS, BLOCK = 3, 4
BOUNDS = "MOST_STEPS, BLOCK = "


def set_bounds(patch: pytest.MonkeyPatch, steps: int, block: int) -> None:
    """Have the scripts of flows go on with fewer nodes at once."""
    read = scripts.source.__wrapped__

    def source(name: str) -> str:
        return str(read(name)).replace(f"{BOUNDS}500, 64", f"{BOUNDS}{steps}, {block}")

    assert f"{BOUNDS}{steps}, {block}" in source("flow_nodes")
    patch.setattr(scripts, "source", source)
    unset_bounds()


def unset_bounds() -> None:
    """Have scripts read again when they are called next."""
    scripts.digest.cache_clear()
    scripts.head.cache_clear()
    scripts._names_by_digest.cache_clear()


@pytest.fixture
def small_bounds() -> Iterator[None]:
    """Scripts that go on with few nodes at once, and writers that write few at once."""
    with pytest.MonkeyPatch.context() as patch:
        set_bounds(patch, MOST_STEPS, BLOCK)
        patch.setattr(flow_writer, "MOST_MEMBERS", 4)
        patch.setattr(flow_reader, "_BLOCK", BLOCK)
        yield
    unset_bounds()


class FlowWorld(World):
    """A namespace with flows, what they should be, and random steps in it.

    :param drains: whether the rest of each step is gone on with before the next.
    :param simple: whether no node is retried, and no flow cancelled. Then it makes no difference when the rest is gone
        on with.
    """

    def __init__(self, bench: Bench, client: Client, seed: int, *, drains: bool, simple: bool) -> None:
        super().__init__(bench, client, seed)
        self.drains, self.simple = drains, simple
        self.flows: dict[str, ModelFlow] = {}
        self.batches: Any = self.flows
        self.store = BatchStore(bench.in_redis)
        self.groups: dict[str, list[Node[Any] | Nodes[Any]]] = {}
        self.is_starting = False
        # The ids of jobs that were somewhere.
        self.seen: set[str] = set()
        # By flow that was cancelled, those of them that were until then.
        self.cancelled_since: dict[str, set[str]] = {}
        self.steps: Any = (
            *(self.create,) * 2,
            *(self.add,) * 2,
            *(self.fetch,) * 6,
            *(self.end,) * 10,
            *(self.end_as_zombie, self.reap, self.requeue, self.requeue, self.requeue),
            *(self.delete_waiting, self.delete_scheduled, self.delete_dead, self.lose, self.advance),
        )
        if not simple:
            self.steps = (*self.steps, self.retry, self.retry, self.retry_one, self.retry_one, self.cancel)

    @property
    def is_exact(self) -> bool:
        """Whether Redis holds what the model says once the rest was gone on with."""
        return self.drains or self.simple

    async def step(self) -> None:
        await super().step()
        if self.drains:
            await self.drain()

    # The rest of steps

    async def advance_one(self, flow_id: str) -> bool:
        """Go on with the rest of a flow; return whether it has one."""
        batch, *_, nodes = self.bench.keys.batch(flow_id)
        if not await self.bench.redis.hexists(batch, "rest"):
            return False
        entry = await self.bench.redis.hget(nodes, "settle")
        assert await self.bench.redis.zscore(self.bench.keys.scheduled, entry) is not None, f"{flow_id} was left alone"
        await self.store._advance(JobSet.SCHEDULED, entry, flow_id)
        return True

    async def advance(self) -> None:
        if self.flows:
            await self.advance_one(self.random.choice(list(self.flows)))

    async def drain(self) -> None:
        for flow_id in self.flows:
            for _ in range(2000):
                if not await self.advance_one(flow_id):
                    break
            else:
                raise AssertionError(f"the rest of {flow_id} does not become less")

    # Steps

    async def create(self) -> None:
        """Start a flow, which is unique at times. Between two parts of a large one, other steps are taken."""
        if self.is_starting or len(self.flows) > 6:
            return
        unique = self.random.choice(["", "", "", "a", "b"])
        model = ModelFlow(continues=self.random.random() < 0.4, unique=unique, is_exact=self.is_exact)
        flow = self.bench.enqueuer.flow(on_failure="continue" if model.continues else "cancel", unique=unique)
        nodes, groups = self.plan(flow, model)
        holders = [each for each, other in self.flows.items() if other.unique == unique != "" and not other.has_ended]
        writer, steps = flow._start_steps()
        write_part = writer._write_part

        def written_part(plan: Any, new: Any, part: Any, *, is_open: bool) -> Any:
            yield from write_part(plan, new, part, is_open=is_open)
            if flow.id not in self.flows:
                self.flows[flow.id], self.groups[flow.id], model.open = model, groups, is_open
            sets = [range(each.first, each.stop) for each in part.sets]
            for number in range(part.span.first, part.span.stop):
                model.nodes[number] = nodes[number]
                nodes[number].is_linked = False
            for number in (number for each in sets for number in each):
                model.nodes[number].is_linked = True
            model.cascade()

        writer._write_part = written_part  # type: ignore[method-assign, assignment]
        self.is_starting = True
        refused: UniqueConflictError | None = None
        try:
            await self.run_with_others(steps)
        except UniqueConflictError as error:
            refused = error
        finally:
            self.is_starting = False
        if refused is not None:
            assert refused.holder_id in holders or not self.drains
            assert flow.id not in self.flows
            return
        assert all(self.flows[each].has_ended for each in holders) or not self.drains
        model.open = False
        model.cascade()

    async def run_with_others(self, steps: Any) -> None:
        producer = self.bench.enqueuer._producer
        try:
            request = next(steps)
            while True:
                request = steps.send(await producer._write(*request))
                if self.drains:
                    await self.drain()
                for _ in range(self.random.choice([0, 0, 1, 3])):
                    await self.step()
        except StopIteration:
            pass

    def plan(self, flow: Flow, model: ModelFlow) -> tuple[list[ModelNode], list[Node[Any] | Nodes[Any]]]:
        """Add a random graph to a flow; return its nodes, and those that were added together."""
        nodes: list[ModelNode] = []
        groups: list[Node[Any] | Nodes[Any]] = []
        for _ in range(self.random.choice([1, 2, 3, 5, 8])):
            options = self.edges(groups)
            add = self.add_one if self.random.random() < 0.5 else self.add_many
            found, before = add(flow, groups, model, options)
            groups.append(found)
            nodes += (ModelNode(each, options["when"]) for each in before)
        for node in nodes:
            if not node.before:
                node.state = "enqueued"
        return nodes, groups

    def edges(self, groups: list[Any]) -> dict[str, Any]:
        """Return what the next nodes are to follow, and when they run."""
        chosen = self.random.sample(groups, min(len(groups), self.random.choice([0, 1, 1, 1, 2, 3])))
        # Some of a group at times.
        after = [each[0] if isinstance(each, Nodes) and self.random.random() < 0.3 else each for each in chosen]
        when = self.random.choice(["success", "success", "success", "done", "failure"]) if after else "success"
        return {"after": after, "when": when}

    def add_one(
        self, flow: Any, groups: list[Any], model: ModelFlow, options: dict[str, Any]
    ) -> tuple[Node[Any], list[frozenset[int]]]:
        args, taken = self.args(groups, model)
        return flow.add("work", args, **options), [numbers(options["after"]) | taken]

    def add_many(
        self, flow: Any, groups: list[Any], model: ModelFlow, options: dict[str, Any]
    ) -> tuple[Nodes[Any], list[frozenset[int]]]:
        count, is_each = self.random.choice([1, 2, 3, 7, 12]), self.random.random() < 0.3
        given = [self.args(groups if is_each else [], model) for _ in range(count)]
        found = flow.add_many("work", [args for args, _ in given], **options)
        return found, [numbers(options["after"]) | taken for _, taken in given]

    def args(self, groups: list[Any], model: ModelFlow) -> tuple[dict[str, Any], frozenset[int]]:
        """Return arguments, with results of others at times, and the nodes whose results these are."""
        if not groups or self.random.random() < 0.6:
            return {"n": self.random.randrange(9)}, frozenset()
        chosen = self.random.choice(groups)
        taken = numbers([chosen])
        model.wanted |= taken
        return {"of": [chosen.results if isinstance(chosen, Nodes) else chosen.result]}, taken

    async def add(self) -> None:
        """Add nodes in one that runs."""
        held = [member_in(each) for each in self.held[self.random.choice(POOLS)]]
        running = [each for each in held if each is not None and not self.flows[each.batch_id].cancelled]
        if not running:
            return
        member = self.random.choice(running)
        model, groups = self.flows[member.batch_id], self.groups[member.batch_id]
        if len(model.nodes) > 60 or (self.is_exact and model.nodes[member.number].state != "enqueued"):
            # It is retried, and its flow may have ended.
            return
        # Those that were not written yet cannot be known.
        known = [each for each in groups if max(numbers([each])) in model.nodes]
        here = Node[Any](member.batch_id, member.number)
        options = self.edges([*known, here])
        run, source = self.bench.enqueuer._producer.run, self.bench.enqueuer._batch_source()
        flow = JobFlow(member, NodeAdder(source, run, member.batch_id, lambda: None).add)
        count = self.random.choice([1, 1, 2, 6])
        given = [self.args(known, model) if count == 1 else ({"n": 1}, frozenset[int]()) for _ in range(count)]
        try:
            found = await flow.add_many("work", [args for args, _ in given], **options)
        except BatchEndedError:
            assert not self.is_exact
            return
        groups.append(found)
        for number, (_, taken) in enumerate(given, found.first):
            node = ModelNode(numbers(options["after"]) | taken, options["when"])
            node.state = "waiting" if node.before else "enqueued"
            model.nodes[number] = node
            model.wanted.add(number)
        model.cascade()

    async def fetch(self) -> None:
        await super().fetch()
        self.seen.update(Job.decode(each).id for held in self.held.values() for each in held)

    async def send_end(self, pool: str, payloads: list[bytes], how: str) -> None:
        """End nodes, each with a result if it is done.

        One that has failed and is done after all is sent alone: what follows from it depends on the order.
        """
        groups: list[list[bytes]] = []
        was_alone = True
        for payload in payloads:
            member = member_in(payload)
            assert member is not None
            is_alone = self.flows[member.batch_id].nodes[member.number].state in BAD
            if is_alone or was_alone:
                groups.append([])
            groups[-1].append(payload)
            was_alone = is_alone
        for some in groups if self.drains else [payloads]:
            await self.send_ends(pool, some, how)
            if self.drains:
                await self.drain()

    async def send_ends(self, pool: str, payloads: list[bytes], how: str) -> None:
        queue, commands, acks = self.queues[pool], [], []
        for payload in payloads:
            job, member = Job.decode(payload), member_in(payload)
            assert member is not None
            end = JobEnd(payload, job.id, 60, [], b"done", b"work", 1)
            state, result = MemberState.FAILED, result_of(member.number)
            if how in ("done", "dropped"):
                ended = (MemberState.DONE, result) if how == "done" else (state, b"")
                acks.append(MemberAck(payload, member, *ended))
                continue
            by: Any
            if how == "dead":
                job.failed("no", 1)
                by = MoveToSet(queue, [payload], job_set=JobSet.DEAD, score=1, payload=job.payload())
            elif how == "quarantined":
                by = MoveToQuarantine(queue, [payload], entry=write_entry("work", payload, "x", 1.0))
            elif how == "cancelled":
                by, state = DropCancelled(queue, [payload], job.id), MemberState.CANCELLED
            else:
                by, state = FinishJob(queue, [payload], end), MemberState.DONE
            commands.append(EndMember(queue, [payload], by, member, state, result if state == "done" else b""))
        batch = CommandBatch(members={queue: acks} if acks else {}, commands=commands)
        await self.work_queues[pool].send_pooled(batch)

    async def requeue(self) -> None:
        """Do a pass of a requeuer, which also goes on with the rest."""
        while await self.requeuer.run_once() == 0:
            pass

    async def delete_scheduled(self) -> None:
        """Delete a node that was released, before it is on its queue."""
        found = [each for each in await self.bench.job_set("scheduled") if member_in(each[0]) is not None]
        if found and self.random.random() < 0.3:
            payload, score = self.random.choice(found)
            member = member_in(payload)
            assert member is not None
            assert await self.deletions.delete("scheduled", [LocatedPayload(payload, score, 0)]) == 1
            self.flows[member.batch_id].settle(member.number, "cancelled")

    async def retry(self) -> None:
        """Retry the dead nodes of a flow, which may have ended."""
        if self.flows:
            flow_id = self.random.choice(list(self.flows))
            model = self.flows[flow_id]
            dead = [member_in(raw) for raw, _ in await self.bench.job_set("dead")]
            await self.client.retry_batch(flow_id)
            for member in dead:
                if member is not None and member.batch_id == flow_id:
                    model.retry(member.number)

    async def retry_one(self) -> None:
        """Retry a dead node as a job like any other: it counts as failed until it is done."""
        dead = await self.bench.job_set("dead")
        if dead:
            payload, _ = self.random.choice(dead)
            page = await self.client.jobs("dead", per_page=200)
            record = next(each for each in page.jobs if each.id == Job.decode(payload).id)
            assert (await self.client.retry("dead", [record.ref])).done == 1

    async def cancel(self) -> None:
        """Cancel a flow: what waits is deleted."""
        if self.random.random() < 0.2 and self.flows:
            flow_id = self.random.choice(list(self.flows))
            model = self.flows[flow_id]
            raws = [raw for raw, _ in await self.bench.job_set("scheduled")]
            raws += await self.bench.redis.lrange(self.bench.keys.queue("work"), 0, -1)
            self.seen.update(await self.places())
            status = await self.client.cancel_batch(flow_id)
            if status is not None and status.cancellation:
                self.cancelled_since.setdefault(flow_id, set(self.seen))
            if model.ended:
                return
            model.cancelled = True
            for member in map(member_in, raws):
                if member is not None and member.batch_id == flow_id:
                    model.settle(member.number, "cancelled")
            if model.open and not model.counts()["left"]:
                model.open = False
                model.cascade()

    # Checks

    async def check(self) -> None:
        ids = list(self.flows)
        readings = {each.status.id: each for each in await read_batches(self.bench.in_redis, ids)}
        flows = await read_flows(self.bench.in_redis, ids)
        wrong = flow_findings(flows)
        assert not wrong, wrong
        places = await self.places()
        self.seen.update(places)
        for flow_id, before in self.cancelled_since.items():
            for number, node in self.flows[flow_id].nodes.items():
                late = node.before and places[job_id := member_id(flow_id, number)] and job_id not in before
                assert not late, f"node {number} of {flow_id} was released, although its flow was cancelled"
        for flow_id, model in self.flows.items():
            reading, flow, counts = readings[flow_id], flows[flow_id], model.counts()
            status = reading.status
            assert reading.bits == (status.total - status.left, status.failed, status.cancelled), flow_id
            for number in flow.waiting(is_open=True):
                assert not places[member_id(flow_id, number)], f"{flow_id}: {number} waits twice"
            if not self.is_exact or flow.rest:
                continue
            found = self.states(flow, reading.status.id, places)
            expected = model.members
            assert {each: expected[each] for each in found} == found, flow_id
            assert (status.total, status.left, status.failed, status.cancelled, status.ended) == (
                *(len(model.nodes), counts["left"], counts["failed"], counts["cancelled"], model.ended),
            ), flow_id
            for number, node in model.nodes.items():
                if node.state == "enqueued":
                    assert places[member_id(flow_id, number)] == 1, (flow_id, number)
        assert all(count == 1 for count in places.values())

    def states(self, flow: FlowReading, flow_id: str, places: Counter[str]) -> dict[int, str]:
        """Return the states of the nodes that can be told by Redis alone."""
        skipped = {number for each in flow.skips for number in range(each.first, each.stop)}
        waiting = flow.waiting(is_open=True)
        found = {}
        for number in self.flows[flow_id].nodes:
            if number in waiting:
                found[number] = "waiting"
            elif number not in flow.ended:
                found[number] = "enqueued"
            elif number in skipped:
                found[number] = "skipped"
            elif number not in flow.bad:
                found[number] = "done"
        return found

    async def places(self) -> Counter[str]:
        """Where each job is."""
        raws = [raw for name in ("scheduled", "dead", "retry") for raw, _ in await self.bench.job_set(name)]
        raws += await self.bench.redis.lrange(self.bench.keys.queue("work"), 0, -1)
        for pool in POOLS:
            raws += await self.bench.redis.lrange(self.bench.keys.in_progress("work", pool), 0, -1)
        return Counter(Job.decode(raw).id for raw in raws)

    async def finish(self) -> None:
        """End everything; each flow has ended then."""
        for _ in range(3000):
            await self.requeue()
            await self.fetch()
            await self.end()
            if self.drains:
                await self.drain()
            if not any(self.held.values()) and not await self.bench.waiting("work"):
                await self.requeue()
                await self.drain()
                if not await self.bench.waiting("work") and not await self.bench.job_set("scheduled"):
                    break
        else:
            raise AssertionError("the flows do not end")
        for pool in POOLS:
            await self.recovery.reap(pool, ["work"], None)
        await self.check()
        for flow_id, model in self.flows.items():
            await self.check_end(flow_id, model)
        assert await self.bench.redis.zcard(self.bench.keys.open_batches) == 0
        assert await self.bench.redis.hlen(self.bench.keys.unique_flows) == 0

    async def check_end(self, flow_id: str, model: ModelFlow) -> None:
        status = await self.client.flow(flow_id)
        assert status is not None
        assert status.batch.ended
        assert sum(each.count for each in status.groups) == status.batch.total
        for key in self.bench.keys.batch(flow_id):
            assert await self.bench.redis.ttl(key) != -1
        fields = await self.bench.redis.hgetall(self.bench.keys.batch(flow_id)[4])
        assert not [each for each in fields if each.startswith(b"rest:")]
        jobs = {int(each[4:]) for each in fields if each.startswith(b"job:")}
        bits = await self.store.bits(flow_id)
        cancelled = int.from_bytes(bits.cancelled).bit_count()
        assert len(jobs) <= cancelled, "jobs of nodes are kept that were scheduled or skipped"
        if not self.is_exact:
            await self.read_outcome(flow_id, model)
        model.check_outcome()
        if not self.is_exact:
            return
        assert jobs <= {number for number, each in model.nodes.items() if each.by_others}
        for group in status.groups:
            states = Counter(model.nodes[number].state for number in range(group.first, group.first + group.count))
            assert {state.value: count for state, count in group.states} == states
        for number, node in model.nodes.items():
            assert fields.get(b"result:%d" % number) == node.result, (flow_id, number)

    async def read_outcome(self, flow_id: str, model: ModelFlow) -> None:
        """Take from Redis how each node has ended."""
        (flow,) = (await read_flows(self.bench.in_redis, [flow_id])).values()
        failed = set(numbers_of((await self.store.bits(flow_id)).failed))
        skipped = {number for each in flow.skips for number in range(each.first, each.stop)}
        model.cancelled = flow.is_cancelled
        for number, node in model.nodes.items():
            assert number in flow.ended
            bad = "failed" if number in failed else "cancelled"
            node.state = "skipped" if number in skipped else bad if number in flow.bad else "done"
            node.releases = int(member_id(flow_id, number) in self.seen and bool(node.before))


def numbers(groups: list[Any]) -> frozenset[int]:
    return frozenset(number for each in groups for number in _numbers(each))


def _numbers(nodes: Any) -> range:
    if isinstance(nodes, Nodes):
        return range(nodes.first, nodes.first + len(nodes))
    return range(nodes.number, nodes.number + 1)


KINDS = {
    "drained": {"drains": True, "simple": False},
    "simple": {"drains": False, "simple": True},
    "behind": {"drains": False, "simple": False},
}


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("kind", KINDS)
async def test_flows_are_what_a_plain_model_says(bench: Bench, kind: str) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "work")
    async with Client(bench.url, namespace=bench.namespace) as client:
        for seed in range(SEEDS):
            world = FlowWorld(bench, client, seed, **KINDS[kind])
            try:
                for step in range(STEPS):
                    await world.step()
                    if step % CHECKED_AFTER == 0:
                        await world.check()
                await world.finish()
            except BaseException as error:
                error.add_note(f"with seed {seed}")
                raise
            assert await bench.audit() == []
            await bench.delete_keys()
            await bench.redis.sadd(bench.keys.known_jobs, "work")


async def test_a_flow_that_is_cancelled_releases_no_more(bench: Bench, small_bounds: None) -> None:
    """Not even nodes whose turn has come before, and which wait for others to be released first."""
    await bench.redis.sadd(bench.keys.known_jobs, "work")
    flow = bench.enqueuer.flow()
    flow.add_many("work", [{} for _ in range(9)], after=flow.add("work"))
    await flow.start()
    async with Client(bench.url, namespace=bench.namespace) as client:
        world = FlowWorld(bench, client, 0, drains=False, simple=True)
        await bench.redis.rpop(bench.keys.queue("work"))
        await world.store.settle([Member(flow.id, 0)], MemberState.DONE)
        released = await bench.job_set("scheduled")
        # And the entry by which the others are to be.
        assert 1 < len(released) < 9
        status = await client.cancel_batch(flow.id)
        assert status is not None
        assert 0 < status.left < 9
        world.flows[flow.id] = ModelFlow()
        await world.drain()
        assert await bench.job_set("scheduled") == []
        status = await client.cancel_batch(flow.id)
        assert status is not None
        assert (status.done, status.cancelled, status.ended) == (1, 9, True)
