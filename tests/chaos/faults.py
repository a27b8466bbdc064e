"""The faults: each breaks a part of the world and repairs it afterwards. It waits until that part is there."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..conftest import until
from ..proxy import Proxy, never
from . import requests
from .world import ASKED_TO_STOP, KILLED, OPTIONS, QUIET, RESIZED, TOLD_TO_STOP, TOLD_TO_STOP_HOLDING_ON, Worker, World

Strike: TypeAlias = Callable[[World, random.Random], Awaitable[None]]

# For how long something may last, in parts of the time after which a silent pool is taken for dead.
_SPANS = (0.3, 0.7, 1.5, 2.5)
# Seconds: to end what would never come, however busy the machine is.
_LONG = 120.0
# Seconds between two looks for what is to be struck.
_LOOK = 0.05


@dataclass(frozen=True, slots=True)
class Appointment:
    """A fault that is to strike.

    :ivar at: seconds after the start.
    :ivar kind: one of :data:`FAULTS`.
    :ivar seed: decides what it strikes, and how.
    """

    at: float
    kind: str
    seed: int


def plan(seed: int, seconds: float, pace: float) -> list[Appointment]:
    """Return the faults of a run, each kind at least once: the same ones for the same arguments.

    :param pace: seconds between two faults, on average.
    """
    rng, at, found = random.Random(seed), 0.0, []
    kinds, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
    while (at := at + rng.expovariate(1 / pace)) < seconds:
        (kind,) = rng.choices(kinds, weights)
        found.append(Appointment(at, kind, rng.randrange(2**32)))
    missing = sorted(set(kinds) - {appointment.kind for appointment in found})
    found += [Appointment(rng.random() * seconds, kind, rng.randrange(2**32)) for kind in missing]
    return sorted(found, key=lambda appointment: appointment.at)


async def strike(world: World, appointment: Appointment) -> None:
    """Have a fault strike; return when it is healed."""
    _, act = FAULTS[appointment.kind]
    await act(world, random.Random(appointment.seed))


# Processes


async def _kill(world: World, rng: random.Random) -> None:
    """SIGKILL."""
    worker = rng.choice(world.workers)
    async with worker.struck:
        pid = await worker.present()
        pool_id = await world.pool_of(pid)
        with world.fault(KILLED, pid) as fault:
            worker.send(signal.SIGKILL)
    if pool_id is not None and await world.reaped(pool_id):
        fault.cleared = time.monotonic()


async def _terminate(world: World, rng: random.Random) -> None:
    """SIGTERM: what is not done within the grace period is cut off."""
    worker = rng.choice(world.workers)
    async with worker.struck:
        await _tell_to_stop(world, worker, await worker.present(), TOLD_TO_STOP)


async def _tell_to_stop(world: World, worker: Worker, pid: int, kind: str) -> None:
    with world.fault(kind, pid):
        worker.send(signal.SIGTERM)
        await until(lambda: worker.pid != pid, limit=_LONG)


async def _stop_what_holds_on(world: World, rng: random.Random) -> None:
    """SIGTERM while a job runs that swallows its cancellation when the grace period ends."""
    while True:
        number = world.ledger.number("holding_on")
        job_id = f"holding-on-{number}"
        async with world.busy:
            await world.push({"name": "holding_on", "id": job_id, "args": {"number": number, "seconds": 20.0}})
        worker, pid = await world.holding(job_id)
        async with worker.struck:
            # Otherwise another fault has ended the process.
            if worker.pid != pid:
                continue
            await _tell_to_stop(world, worker, pid, TOLD_TO_STOP_HOLDING_ON)
        if world.swallowed(job_id):
            return


async def _stop_and_continue(world: World, rng: random.Random) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    worker = rng.choice(world.workers)
    async with worker.struck:
        with world.fault("worker stopped and continued", await worker.present()):
            worker.send(signal.SIGSTOP)
            await asyncio.sleep(rng.choice(_SPANS) * OPTIONS.dead_after)
            worker.send(signal.SIGCONT)


async def _jump(world: World, rng: random.Random) -> None:
    """Have the clock of a process jump by an hour, and back after a while."""
    worker = rng.choice(world.workers)
    async with worker.struck:
        # Before it is at work it does not know what to make of that signal.
        while await world.pool_of(pid := await worker.present()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        with world.fault("clock of a worker jumped", pid):
            worker.send(signal.SIGUSR1)
            await asyncio.sleep(rng.choice(_SPANS) * OPTIONS.dead_after)
            worker.send(signal.SIGUSR1)


# Connections


async def _some_proxy(world: World, rng: random.Random) -> Proxy:
    """Return a proxy that connections lead through."""
    proxy = rng.choice(world.proxies)
    await until(lambda: proxy.connected, limit=_LONG)
    return proxy


def _break(where: str, attribute: str) -> Strike:
    """Return what breaks some connections at some place of an exchange, by an attribute of the proxy."""

    async def strikes(world: World, rng: random.Random) -> None:
        proxy = await _some_proxy(world, rng)
        lost = proxy.lost
        with world.fault_of(proxy, f"connections broke {where}"):
            setattr(proxy, attribute, lambda request: rng.random() < 0.3)
            await asyncio.sleep(rng.uniform(0.2, 1.0))
            await until(lambda: proxy.lost > lost, limit=_LONG)
            setattr(proxy, attribute, never)

    return strikes


async def _cut(world: World, rng: random.Random) -> None:
    """Break all connections at once."""
    proxy = await _some_proxy(world, rng)
    with world.fault_of(proxy, "all connections broke"):
        await proxy.cut()


async def _half_close(world: World, rng: random.Random) -> None:
    """Have connections end in one direction only."""
    proxy = await _some_proxy(world, rng)
    with world.fault_of(proxy, "connections half closed"):
        proxy.half_close()


async def _mute(world: World, rng: random.Random) -> None:
    """Have connections pass nothing any more, without either end being told."""
    proxy = await _some_proxy(world, rng)
    with world.fault_of(proxy, "connections mute"):
        proxy.mute()


async def _delay(world: World, rng: random.Random) -> None:
    """Have everything take its time."""
    proxy = await _some_proxy(world, rng)
    with world.fault_of(proxy, "connections slow"):
        proxy.delay = rng.uniform(0.02, 0.3)
        await asyncio.sleep(rng.uniform(0.5, 3.0))
        proxy.delay = 0.0


async def _withhold(world: World, rng: random.Random) -> None:
    """Have nothing pass, and nobody be told."""
    proxy = await _some_proxy(world, rng)
    with world.fault_of(proxy, "connections silent"):
        proxy.withhold()
        await asyncio.sleep(rng.choice(_SPANS) * OPTIONS.dead_after)
        await proxy.release()


# Redis


async def _restart(world: World, rng: random.Random) -> None:
    """End Redis, by a signal that it heeds or by one that it cannot, and start it again."""
    async with world.busy:
        with world.fault("Redis restarted"):
            if rng.random() < 0.5:
                os.kill(world.server.pid, signal.SIGKILL)
            await asyncio.to_thread(world.server.stop)
            await asyncio.sleep(rng.uniform(0.1, 3.0))
            await asyncio.to_thread(world.server.start)


async def _fill(world: World, rng: random.Random) -> None:
    """Let Redis have no memory left."""
    async with world.busy:
        with world.fault("Redis full"):
            await world.redis.config_set("maxmemory", 1)
            await asyncio.sleep(rng.uniform(0.3, 2.0))
            await world.redis.config_set("maxmemory", 0)


async def _make_read_only(world: World, rng: random.Random) -> None:
    """Make Redis the replica of nobody."""
    async with world.busy:
        with world.fault("Redis read-only"):
            await world.redis.execute_command("REPLICAOF", "127.0.0.1", 1)
            await asyncio.sleep(rng.uniform(0.3, 2.0))
            await world.redis.execute_command("REPLICAOF", "NO", "ONE")


async def _forget_scripts(world: World, rng: random.Random) -> None:
    """Have Redis forget all scripts."""
    async with world.busy:
        with world.fault("scripts flushed"):
            await world.redis.script_flush()


async def _pause(world: World, rng: random.Random) -> None:
    """Have Redis answer nobody."""
    async with world.busy:
        with world.fault("Redis paused"):
            seconds = rng.uniform(0.3, 3.0)
            await world.redis.client_pause(int(1000 * seconds))
            await asyncio.sleep(seconds)


async def _keep_busy(world: World, rng: random.Random) -> None:
    """Have Redis do something else, and say so."""
    async with world.busy, Redis.from_url(world.server.url, protocol=2, socket_timeout=None) as redis:
        with world.fault("Redis busy"):
            await world.redis.config_set("lua-time-limit", 50)
            busy = asyncio.ensure_future(redis.eval("while true do end", 0))
            await asyncio.sleep(rng.uniform(0.3, 3.0))
            # On a busy machine it may not have begun, or a kill may have had no answer.
            while not busy.done():
                with suppress(RedisError):
                    await world.redis.script_kill()
                await asyncio.wait([busy], timeout=_LOOK)
            with suppress(RedisError):
                await busy


async def _poison(world: World, rng: random.Random) -> None:
    """Push what is no job."""
    async with world.busy:
        with world.fault("poison pushed"):
            payload = rng.choice((b"no job", b"\xff\x00", b'{"name":"quick"', b'{"name":"quick","args":[]}', b"[]"))
            await world.redis.lpush(world.keys.queue("quick"), payload)
            world.poison += 1


async def _push_surrogates(world: World, rng: random.Random) -> None:
    """Push jobs whose ids, which JSON can hold and UTF-8 cannot, hold half of a character."""
    async with world.busy:
        with world.fault("lone surrogates pushed"):
            for unique_key in (None, f"{world.keys.unique}quick:\ud83d"):
                number = world.ledger.number("quick")
                unique = {} if unique_key is None else {"unique": True, "unique_key": unique_key}
                await world.push({"name": "quick", "id": f"\ud83d-{number}", "args": {"number": number}, **unique})
            number = world.ledger.number("quick")
            planned = {"name": "quick", "id": f"periodic:\ud800:{number}", "args": {"number": number}}
            await world.push(planned, at=time.time() + 1)


# By kind: how often beside the others, and what it does.
FAULTS: dict[str, tuple[int, Strike]] = {
    KILLED: (5, _kill),
    TOLD_TO_STOP: (2, _terminate),
    TOLD_TO_STOP_HOLDING_ON: (1, _stop_what_holds_on),
    ASKED_TO_STOP: (1, requests.stop),
    QUIET: (2, requests.quiet),
    RESIZED: (3, requests.resize),
    "worker stopped and continued": (3, _stop_and_continue),
    "clock of a worker jumped": (1, _jump),
    "connections broke before the request": (2, _break("before the request", "lose_request")),
    "connections broke after the request": (3, _break("after the request", "lose_answer")),
    "connections broke inside the answer": (2, _break("inside the answer", "tear_answer")),
    "all connections broke": (2, _cut),
    "connections half closed": (1, _half_close),
    "connections mute": (2, _mute),
    "connections slow": (1, _delay),
    "connections silent": (2, _withhold),
    "Redis restarted": (2, _restart),
    "Redis full": (1, _fill),
    "Redis read-only": (1, _make_read_only),
    "scripts flushed": (1, _forget_scripts),
    "Redis paused": (1, _pause),
    "Redis busy": (1, _keep_busy),
    "poison pushed": (1, _poison),
    "lone surrogates pushed": (1, _push_surrogates),
}
