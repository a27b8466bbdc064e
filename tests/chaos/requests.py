"""Requests to pools while things go wrong: to be quiet, to run another number of jobs at once, to stop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

from asyncwork import RedisUnavailable, UsageError

from ..conftest import until
from .world import ASKED_TO_STOP, QUIET, RESIZED, Worker, World

# Seconds between two searches for a pool, and between two tries of a request.
_AGAIN = 0.1
# For how many seconds a pool is quiet, or a size is looked at.
_SPANS = (1.5, 2.5, 4.0)
_SIZES = (1, 2, 5, 20)
# Seconds: to end what would never come, however busy the machine is.
_LONG = 120.0


async def quiet(world: World, rng: random.Random) -> None:
    """Have a pool be quiet for a while, then run again."""
    worker = rng.choice(world.workers)
    async with worker.quieted:
        while True:
            pid, pool_id = await _present(world, worker)
            if await _ask(partial(world.client.quiet_pool, pool_id, who="chaos")):
                break
        with world.fault(QUIET, pid):
            await asyncio.sleep(rng.choice(_SPANS))
        # A pool that is considered dead loses what it was asked for, with its heartbeat.
        while worker.pid == pid and await world.state_of(pool_id) != "running":
            await _ask(partial(world.client.unquiet_pool, pool_id, who="chaos"))
            await asyncio.sleep(_AGAIN)


async def resize(world: World, rng: random.Random) -> None:
    """Have a pool run another number of jobs at once, until the next such request."""
    worker, size = rng.choice(world.workers), rng.choice(_SIZES)
    async with worker.resized:
        while True:
            pid, pool_id = await _present(world, worker)
            if await _ask(partial(world.client.resize_pool, pool_id, size, who="chaos")):
                break
        with world.fault(RESIZED, pid) as fault:
            fault.size = size
            await asyncio.sleep(rng.choice(_SPANS))


async def stop(world: World, rng: random.Random) -> None:
    """Have a pool stop, and so its process."""
    worker = rng.choice(world.workers)
    async with worker.struck:
        pid, pool_id = await _present(world, worker)
        with world.fault(ASKED_TO_STOP, pid):
            worker.expect_stop()
            while worker.pid == pid:
                await _ask(partial(world.client.stop_pool, pool_id, who="chaos"))
                await asyncio.sleep(_AGAIN)
        await until(lambda: worker.pid != pid, limit=_LONG)


async def _present(world: World, worker: Worker) -> tuple[int, str]:
    """Wait until a process has a pool; return both."""
    while True:
        pid = await worker.present()
        if (pool_id := await world.pool_of(pid)) is not None:
            return pid, pool_id
        await asyncio.sleep(_AGAIN)


async def _ask(request: Callable[[], Awaitable[None]]) -> bool:
    """Make a request until Redis has answered; tell whether there was such a pool, and it does not stop."""
    deadline = time.monotonic() + _LONG
    while time.monotonic() < deadline:
        try:
            await request()
        except RedisUnavailable:
            await asyncio.sleep(_AGAIN)
        except UsageError:
            await asyncio.sleep(_AGAIN)
            return False
        else:
            return True
    raise TimeoutError("Redis has not answered a request to a pool")
