"""Random flows with real pools, some of which are stopped: each node runs if and only if those before it say so."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from functools import partial
from typing import Any

import pytest

from asyncwork import Client, Job, NodeState, WorkerPool

from .chaos.flows import PlannedFlow, flow_problems, passing, plan_flow
from .chaos.record import DONE, FAILED, Run
from .conftest import Bench, until

SEEDS = int(os.environ.get("ASYNCWORK_FLOW_POOL_SEEDS", "3"))
FLOWS = 15


class Pools:
    """Pools that run the nodes of flows, and note that.

    :ivar runs: the attempts in which a handler has come to its end.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench = bench
        # Of its own: if flows were drawn from it too, what they are would depend on when jobs run.
        self.random = random.Random(seed)
        self.runs: list[Run] = []

    def make(self) -> WorkerPool[Any]:
        pool = self.bench.pool(concurrency=5)

        @pool.middleware
        async def record(job: Job, call_next: Any) -> object:
            run = Run(0, job.name, job.id, job.fails, 0.0)
            await asyncio.sleep(self.random.choice((0, 0.001, 0.02)))
            try:
                result = await call_next()
            except BaseException:
                run.outcome = FAILED
                self.runs.append(run)
                raise
            run.outcome = DONE
            self.runs.append(run)
            return result

        @pool.job(max_fails=1)
        async def doomed() -> None:
            raise ValueError("never")

        pool.job(max_fails=1)(passing)
        return pool


async def states_of(client: Client, flow_id: str) -> dict[int, str]:
    status = await client.flow(flow_id)
    assert status is not None
    found: dict[int, str] = {}
    for group in status.groups:
        page = await client.flow_nodes(flow_id, group.first)
        found |= {each.number: each.state.value for each in page.nodes}
    return found


async def has_ended(client: Client, planned: list[PlannedFlow]) -> bool:
    return all([await client._has_flow_ended(each.flow_id) for each in planned])


async def has_run_more(pools: Pools, count: int, client: Client, planned: list[PlannedFlow]) -> bool:
    return len(pools.runs) >= count or await has_ended(client, planned)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_flows_run_as_a_plain_model_says(bench: Bench, seed: int) -> None:
    rng, numbers = random.Random(seed), iter(range(1, 10_000))
    pools = Pools(bench, seed)
    planned: list[PlannedFlow] = []
    async with Client(bench.url, namespace=bench.namespace) as client:
        async with pools.make().running(), pools.make().running():
            for _ in range(FLOWS):
                continues = rng.random() < 0.4
                flow = bench.enqueuer.flow(on_failure="continue" if continues else "cancel")
                planned.append(plan_flow(flow, rng, lambda name: next(numbers), continues=continues))
                await flow.start()
            await until(lambda: has_ended(client, planned))
        states = {each.flow_id: await states_of(client, each.flow_id) for each in planned}
        assert list(flow_problems(planned, states, pools.runs)) == []
        # None was scheduled twice.
        assert set(Counter(each.job_id for each in pools.runs).values()) == {1}
        found = {state for each in states.values() for state in each.values()}
        assert {NodeState.DONE.value, NodeState.FAILED.value, NodeState.CANCELLED.value} <= found


async def test_random_flows_run_as_a_plain_model_says_although_pools_are_stopped(bench: Bench) -> None:
    """Nodes may run twice then, and are settled once."""
    rng, numbers = random.Random(7), iter(range(1, 10_000))
    pools = Pools(bench, 7)
    planned: list[PlannedFlow] = []
    async with Client(bench.url, namespace=bench.namespace) as client:
        for _ in range(2 * FLOWS):
            continues = rng.random() < 0.4
            flow = bench.enqueuer.flow(on_failure="continue" if continues else "cancel")
            planned.append(plan_flow(flow, rng, lambda name: next(numbers), continues=continues))
            await flow.start()
        while not await has_ended(client, planned):
            before = len(pools.runs)
            async with pools.make().running():
                await until(partial(has_run_more, pools, before + 10, client, planned))
        states = {each.flow_id: await states_of(client, each.flow_id) for each in planned}
        assert list(flow_problems(planned, states, pools.runs)) == []
