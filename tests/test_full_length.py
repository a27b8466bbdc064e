"""Scenarios at full length, with the default periods and real processes.

Each scenario has a Redis of its own, and all run at the same time, so that together they take as long as the
longest.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from asyncwork.embedded import EmbeddedRedis

from .child import Child, running
from .conftest import UNSYNCED, Bench, open_bench, until

ROLES = ("dispatcher", "heartbeater", "retry requeuer", "scheduled requeuer", "reaper")
# Seconds.
OUTAGE = 60
STALL = 30

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("full length")]


@dataclass
class Scene:
    """Two processes on a Redis of their own; the second comes when the first has the jobs."""

    server: EmbeddedRedis
    bench: Bench
    first: Child
    second: Child

    async def begun(self, *jobs: str) -> None:
        """Wait until these jobs run in the first process, then have the second start."""
        await until(lambda: set(jobs) <= set(self.first.events("start")))
        self.second = Child(self.bench.url, self.bench.namespace, self.first._log)
        # A pool that is registered may still be starting, and a Redis that fails then ends it.
        await until(lambda: self.second.events("ready", by_itself=True))

    async def goes_on(self) -> None:
        """Have more jobs run, by whichever process."""
        await self.bench.enqueuer.enqueue_many([("other", {"n": n}) for n in range(20)])
        others = {f"other-{n}" for n in range(20)}
        await until(lambda: others <= set(self.first.events("end")))

    async def is_back(self) -> None:
        """Wait until both processes have told that Redis is back, each role of theirs."""
        for child in (self.first, self.second):
            await until(lambda child=child: all(f"{role}: Redis is back" in child.errors for role in ROLES))

    async def nothing_runs(self) -> bool:
        return not await self.bench.redis.keys(f"{self.bench.keys.jobs}*:inprogress")


@dataclass(frozen=True)
class Outcome:
    """What was seen."""

    started: Counter[str]
    ended: Counter[str]
    first_errors: str
    second_errors: str
    retries: list[bytes]


async def play(directory: Path, act: Callable[[Scene], Awaitable[None]], *jobs: tuple[str, float]) -> Outcome:
    """Have these jobs run, ``(name, seconds)`` each, and something happen meanwhile; audited at the end."""
    directory.mkdir()
    with EmbeddedRedis(directory / "redis", settings=UNSYNCED) as server:
        async with open_bench(server.url) as bench:
            for name, seconds in jobs:
                await bench.enqueuer.enqueue(name, {"n": 1, "seconds": seconds})
            first = Child(server.url, bench.namespace, directory / "log")
            scene = Scene(server, bench, first, first)
            with running(first):
                await scene.begun(*(f"{name}-1" for name, _ in jobs))
                with running(scene.second):
                    await act(scene)
                    await scene.goes_on()
                    await until(scene.nothing_runs)
                    assert scene.first.end() == 0
                    assert scene.second.end() == 0
                    retries = [raw for raw, _ in await bench.job_set("retry")]
    return Outcome(first.events("start"), first.events("end"), first.errors, scene.second.errors, retries)


async def blackholed(scene: Scene) -> None:
    os.kill(scene.server.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(OUTAGE)
    finally:
        os.kill(scene.server.pid, signal.SIGCONT)
    await scene.is_back()


async def restarted(scene: Scene) -> None:
    await asyncio.to_thread(scene.server.stop)
    await asyncio.sleep(OUTAGE)
    await asyncio.to_thread(scene.server.start)
    # Its connections are gone.
    await scene.bench.enqueuer.close()
    await scene.bench.redis.connection_pool.disconnect()
    await scene.is_back()


async def blocked(scene: Scene) -> None:
    await until(lambda: scene.first.events("end")["blocks-1"])


async def suspended(scene: Scene) -> None:
    scene.first.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(STALL)
    finally:
        scene.first.signal(signal.SIGCONT)
    await until(lambda: scene.first.events("end", by_itself=True)["held-1"])
    await until(lambda: "was considered dead" in scene.first.errors)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """What comes of each scenario, when it has come."""
    directory = tmp_path_factory.mktemp("scenes")
    with ThreadPoolExecutor() as threads:
        scenes = {
            "blackholed": play(directory / "blackholed", blackholed, ("held", 12.0)),
            "restarted": play(directory / "restarted", restarted, ("held", 12.0)),
            "blocked": play(directory / "blocked", blocked, ("blocks", STALL)),
            "suspended": play(directory / "suspended", suspended, ("held", 40.0), ("fails", 40.0)),
        }
        yield {name: threads.submit(asyncio.run, scene) for name, scene in scenes.items()}


@pytest.mark.parametrize("how", ["blackholed", "restarted"])
def test_what_ends_while_redis_is_away_for_a_minute_is_told_afterwards(
    outcomes: dict[str, Future[Outcome]], how: str
) -> None:
    seen = outcomes[how].result()
    assert seen.started == seen.ended
    assert set(seen.started.values()) == {1}
    for errors in (seen.first_errors, seen.second_errors):
        assert "of dead pool" not in errors
        assert "was considered dead" not in errors
        for role in ROLES:
            assert errors.count(f"{role}: Redis failed") == 1, role
            assert errors.count(f"{role}: Redis is back") == 1, role


def test_a_handler_that_blocks_for_half_a_minute_is_named_and_its_pool_lives(
    outcomes: dict[str, Future[Outcome]],
) -> None:
    seen = outcomes["blocked"].result()
    assert seen.started == seen.ended
    assert set(seen.started.values()) == {1}
    assert seen.first_errors.count("event loop blocked") == 1
    assert "s by job blocks " in seen.first_errors
    assert 'time.sleep(job.arg("seconds", float))' in seen.first_errors
    assert "of dead pool" not in seen.second_errors


def test_a_process_that_was_stopped_for_half_a_minute_goes_on_and_settles_nothing_that_is_not_its(
    outcomes: dict[str, Future[Outcome]],
) -> None:
    seen = outcomes["suspended"].result()
    assert seen.started["held-1"] == seen.ended["held-1"] == 2
    assert seen.started["fails-1"] == seen.ended["fails-1"] == 2
    assert all(seen.ended[f"other-{n}"] == 1 for n in range(20))
    assert seen.first_errors.count("was considered dead") == 1
    assert seen.second_errors.count("requeued 2 jobs of dead pool") == 1
    # Failed twice, once in each process; told once.
    (retry,) = seen.retries
    assert json.loads(retry)["fails"] == 1
