"""One run, from the first process to the account."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from asyncwork import Client, Enqueuer
from asyncwork._doctor.contents import read_contents
from asyncwork._redis.client import RedisClient
from asyncwork._redis.namespace import Namespace
from asyncwork.testing import audit

from ..conftest import until
from . import record
from .app import KINDS, MUSTERED
from .evidence import Evidence
from .faults import FAULTS, Appointment, plan, strike
from .world import NAMESPACE, World, open_world

# Seconds that everything may take to come to rest once it is healed, however busy the machine is.
_PATIENCE = 120.0
# What a worker never says in its log unless something is wrong with asyncwork.
_DEFECT = re.compile(r"ended the pool|never retrieved|CRITICAL|was never awaited|Task was destroyed")


async def run(directory: Path, *, seed: int, seconds: float, pace: float, workers: int, producers: int) -> Evidence:
    """Have faults strike for some seconds, let everything come to rest, and tell what there is to be known.

    :param seed: decides which faults strike when, and what the producers enqueue.
    :param pace: seconds between two faults, on average.
    """
    async with open_world(directory, random.Random(seed), workers=workers, producers=producers) as world:
        async with asyncio.TaskGroup() as processes:
            watching = [processes.create_task(watch()) for watch in (world.watch_itself, world.watch_heartbeats)]
            for worker in world.workers:
                processes.create_task(worker.run())
            await until(world.has_pools, _PATIENCE)
            await _strike_all(world, plan(seed, seconds, pace), seconds)
            with suppress(TimeoutError):  # the account tells what never ran
                await until(lambda: any(run.name == "tick" for run in record.read(directory).runs), _PATIENCE)
            surprises = await _come_to_rest(world) or await _muster(world)
            await world.steerer.finish()
            for worker in world.workers:
                worker.stop()
            for watch in watching:
                watch.cancel()
        return await _collect(world, surprises)


async def _strike_all(world: World, appointments: Sequence[Appointment], seconds: float) -> None:
    """Keep all appointments while the producers enqueue; return when everything is healed, and each kind of job was
    accepted.
    """

    async def keep(appointment: Appointment) -> None:
        await asyncio.sleep(appointment.at)
        await strike(world, appointment)

    async with asyncio.TaskGroup() as striking:
        for producer in world.producers:
            striking.create_task(producer.run())
        striking.create_task(world.steerer.run())
        striking.create_task(world.changer.run())
        # While there are faults there is what they strike: some wait for a request.
        await asyncio.gather(asyncio.sleep(seconds), *map(keep, appointments))
        for producer in world.producers:
            producer.stopping = True
        world.steerer.stopping = world.changer.stopping = True


async def _come_to_rest(world: World) -> list[str]:
    try:
        await until(world.calm, _PATIENCE)
    except TimeoutError:
        return [f"not everything is done {_PATIENCE:g} s after everything was healed"]
    return []


async def _muster(world: World) -> list[str]:
    """Have every worker of every pool run a job at the same time: none was ended by a job that it ran."""
    slots = await world.slots()
    async with Enqueuer(world.server.url, namespace=NAMESPACE) as enqueuer:
        jobs = await enqueuer.enqueue_many(("mustering", {"of": slots}) for _ in range(slots))
    world.ledger.confirmed |= {job.id: job.name for job in jobs}
    try:
        await until(world.calm, _PATIENCE)
    except TimeoutError:
        present = len(os.listdir(world.directory / MUSTERED))
        return [f"{present} of {slots} workers run a job {_PATIENCE:g} s after there was one for each"]
    return []


async def _flows(world: World) -> dict[str, dict[int, str]]:
    """Return how each node of each flow has ended."""
    found: dict[str, dict[int, str]] = {}
    async with Client(world.server.url, namespace=NAMESPACE) as client:
        for planned in world.ledger.flows:
            status = await client.flow(planned.flow_id)
            groups = () if status is None else status.groups
            pages = [await client.flow_nodes(planned.flow_id, each.first) for each in groups]
            found[planned.flow_id] = {node.number: node.state.value for page in pages for node in page.nodes}
    return found


async def _collect(world: World, surprises: list[str]) -> Evidence:
    await world.steerer.look(world.redis, world.keys)
    redis_client = RedisClient(world.server.url, namespace=NAMESPACE)
    try:
        found = await read_contents(Namespace(redis_client, world.keys))
    finally:
        await redis_client.close()
    for worker in world.workers:
        surprises += worker.surprises
        if defects := [line for line in worker.log.read_text().splitlines() if _DEFECT.search(line)]:
            surprises.append(f"{worker.log}: {defects[0]}")
    (world.directory / "faults.json").write_text(json.dumps([asdict(fault) for fault in world.faults], indent=1))
    recorded = record.read(world.directory)
    surprises += [f"a unique key is left: {key}" for key in found.unique_keys]
    surprises += [f"not met, although jobs went on: {each}" for each in world.steerer.missed]
    queues = {
        f"queue {name}": [*state.waiting, *(each for some in state.tenants.values() for each in some)]
        for name, state in found.queues.items()
    }
    return Evidence(
        ledger=world.ledger,
        runs=recorded.runs,
        holds=recorded.holds,
        hook_calls=recorded.hook_calls,
        openings=recorded.openings,
        silences=world.pulse.silences,
        lives=world.pulse.lives,
        plans=world.plans,
        epoch=time.time() - time.monotonic(),
        faults=world.faults,
        kinds=KINDS,
        fault_kinds=frozenset(FAULTS),
        steered=world.steerer.jobs,
        rests=world.changer.rests,
        locations={
            "retry": [],
            "scheduled": [],
            "dead": [],
            **found.job_sets,
            **queues,
            "quarantine": found.quarantine,
        },
        poison=world.poison,
        audit=await audit(world.server.url, NAMESPACE),
        flows=await _flows(world),
        surprises=surprises,
    )
