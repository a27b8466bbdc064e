"""One run, from the first process to the account."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from asyncwork.store.connection import Connector
from asyncwork.store.snapshot import take_snapshot
from asyncwork.testing import audit

from ..conftest import until
from . import record
from .account import Evidence
from .faults import Appointment, plan, strike
from .world import NAMESPACE, World, open_world

# Seconds that everything may take to come to rest once it is healed.
_PATIENCE = 60.0
# What a worker never says in its log unless something is wrong with asyncwork.
_DEFECT = re.compile(r"ended by a defect|never retrieved|CRITICAL|was never awaited|Task was destroyed")


async def run(directory: Path, *, seed: int, seconds: float, pace: float, workers: int, producers: int) -> Evidence:
    """Have faults strike for some seconds, let everything come to rest, and tell what there is to be known.

    :param seed: decides which faults strike when, and what the producers enqueue.
    :param pace: seconds between two faults, on average.
    """
    async with open_world(directory, random.Random(seed), workers=workers, producers=producers) as world:
        async with asyncio.TaskGroup() as processes:
            for worker in world.workers:
                processes.create_task(worker.run())
            await until(world.has_pools)
            await _strike_all(world, plan(seed, seconds, pace), seconds)
            surprises = await _come_to_rest(world)
            for worker in world.workers:
                worker.stop()
        return await _collect(world, surprises)


async def _strike_all(world: World, appointments: Sequence[Appointment], seconds: float) -> None:
    """Keep all appointments while the producers enqueue; return when everything is healed."""

    async def keep(appointment: Appointment) -> None:
        await asyncio.sleep(appointment.at)
        await strike(world, appointment)

    async with asyncio.TaskGroup() as striking:
        enqueueing = [striking.create_task(producer.run()) for producer in world.producers]
        for appointment in appointments:
            striking.create_task(keep(appointment))
        await asyncio.sleep(seconds)
        for producer in world.producers:
            producer.stopping = True
        await asyncio.wait(enqueueing)


async def _come_to_rest(world: World) -> list[str]:
    try:
        await until(world.calm, _PATIENCE)
    except TimeoutError:
        return [f"not everything is done {_PATIENCE:g} s after everything was healed"]
    return []


async def _collect(world: World, surprises: list[str]) -> Evidence:
    connector = Connector(world.server.url, namespace=NAMESPACE)
    try:
        found = await take_snapshot(connector, world.keys)
    finally:
        await connector.close()
    for worker in world.workers:
        surprises += worker.surprises
        if defects := [line for line in worker.log.read_text().splitlines() if _DEFECT.search(line)]:
            surprises.append(f"{worker.log}: {defects[0]}")
    (world.directory / "faults.json").write_text(json.dumps([asdict(fault) for fault in world.faults], indent=1))
    surprises += [f"a unique key is left: {key}" for key in found.unique_keys]
    queues = {f"queue {name}": state.waiting for name, state in found.queues.items()}
    return Evidence(
        ledger=world.ledger,
        runs=record.read(world.directory),
        faults=world.faults,
        places={"retry": [], "scheduled": [], "dead": [], **found.shelves, **queues, "quarantine": found.quarantine},
        poison=world.poison,
        audit=await audit(world.server.url, NAMESPACE),
        surprises=surprises,
    )
