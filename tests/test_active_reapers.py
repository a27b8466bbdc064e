"""Active reapers: few pools watch all others, and there are always some."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from asyncwork._redis.active_reapers import MOST, ActiveReapers
from asyncwork._redis.errors import ErrorReply
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._redis.recovery import Recovery
from asyncwork._worker.services.reaper import Reaper
from asyncwork.models.pools import Heartbeat

from .conftest import Bench, until
from .tuned import QUICK


def pool_id(number: int) -> str:
    return f"{number:024x}"


class Fleet:
    """Reapers of some pools, each with a heartbeat, and a monotonic clock that is moved by hand."""

    def __init__(self, bench: Bench, pools: int) -> None:
        self._bench = bench
        self._registry = PoolRegistry(bench.in_redis)
        self._beats = 0
        self.now = 1000.0
        self.reapers = {pool_id(number): self.make(pool_id(number)) for number in range(pools)}

    def make(self, own: str, dead_after: float = 10.0) -> Reaper:
        return Reaper(
            self._bench.in_redis,
            own,
            period=1.0,
            dead_after=dead_after,
            orphans_period=60.0,
            monotonic=lambda: self.now,
        )

    async def beat(self) -> None:
        """Write the heartbeats of all pools that have a reaper."""
        self._beats += 1
        for own in self.reapers:
            heartbeat = Heartbeat(own, self._beats, 1, ("wat",), 1, (), "host", 1)
            await self._registry.write_heartbeat(heartbeat, again=self._beats > 1)

    async def run_passes(self, seconds: int = 1) -> None:
        """Run a pass of each reaper in each second."""
        for _ in range(seconds):
            for reaper in self.reapers.values():
                await reaper.run_once()
            self.now += 1

    async def forget(self) -> None:
        """Delete what the pools have left."""
        for own in self.reapers:
            await self._registry.forget_pool(own)


async def active(bench: Bench) -> set[str]:
    """Return the ids of the pools that are active, or were."""
    return {each.decode() for each in await bench.redis.hkeys(bench.keys.reapers)}


async def calls(bench: Bench) -> dict[str, int]:
    """Return how often Redis ran each command."""
    stats = await bench.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


async def test_the_reads_of_a_fleet_grow_with_the_pools_not_with_their_square(bench: Bench) -> None:
    most = {}
    for pools in (10, 20, 40):
        fleet = Fleet(bench, pools)
        await fleet.beat()
        await fleet.run_passes(1)
        assert len(await active(bench)) == MOST
        await bench.redis.config_resetstat()
        await fleet.run_passes(1)
        found = await calls(bench)
        assert found["hmget"] == MOST * pools
        assert found["smembers"] == 2 * MOST
        # A pool that is not active asks only whether it is.
        assert found["evalsha"] == found["hgetall"] == found["time"] == pools
        most[pools] = sum(found.values())
        await fleet.forget()
    assert most[40] - most[20] == 2 * (most[20] - most[10])
    assert not await bench.redis.exists(bench.keys.reapers)


async def test_a_living_pool_is_left_alone_and_a_dead_one_is_reaped(bench: Bench) -> None:
    fleet = Fleet(bench, 6)
    await fleet.beat()
    await bench.redis.sadd(bench.keys.worker_pools, "of Go")
    for beat in range(8):
        # gocraft/work writes nothing else, every five seconds.
        await bench.redis.hset(bench.keys.heartbeat("of Go"), mapping={"heartbeat_at": beat, "job_names": "wat"})
        await fleet.beat()
        await fleet.run_passes(5)
    assert await bench.redis.scard(bench.keys.worker_pools) == 7
    await bench.redis.lpush(bench.keys.in_progress("wat", "of Go"), b'{"name":"wat","id":"1","t":1,"args":null}')
    [dead, *_] = fleet.reapers.keys() - await active(bench)
    del fleet.reapers[dead]
    for _ in range(6):
        await fleet.beat()
        await fleet.run_passes(2)
    assert {each.decode() for each in await bench.redis.smembers(bench.keys.worker_pools)} == {*fleet.reapers}
    assert len(await bench.waiting("wat")) == 1
    await fleet.forget()


async def test_when_all_active_ones_die_the_last_pool_reaps_them(bench: Bench) -> None:
    fleet = Fleet(bench, 20)
    await fleet.beat()
    await fleet.run_passes(1)
    [last, *_] = fleet.reapers.keys() - await active(bench)
    fleet.reapers = {last: fleet.reapers[last]}
    await fleet.run_passes(1)
    assert last not in await active(bench)

    async def is_active() -> bool:
        await fleet.reapers[last].run_once()
        return last in await active(bench)

    await until(is_active)
    assert await bench.redis.scard(bench.keys.worker_pools) == 20
    for _ in range(6):
        await fleet.beat()
        await fleet.run_passes(2)
    assert await bench.redis.smembers(bench.keys.worker_pools) == {last.encode()}
    assert await active(bench) == {last}
    await fleet.forget()


async def test_a_living_pool_is_left_alone_though_redis_loses_its_data(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = Fleet(bench, 5)
    for _ in range(8):
        await fleet.beat()
        await fleet.run_passes(3)
        await bench.redis.delete(bench.keys.reapers, bench.keys.worker_pools, *map(bench.keys.heartbeat, fleet.reapers))
        await fleet.run_passes(1)
    await fleet.beat()
    assert await bench.redis.scard(bench.keys.worker_pools) == 5
    assert "dead pool" not in caplog.text
    await fleet.forget()


async def test_a_pool_that_is_not_active_remembers_how_long_a_heartbeat_has_not_changed(bench: Bench) -> None:
    fleet = Fleet(bench, 1)
    [own] = fleet.reapers
    await bench.redis.sadd(bench.keys.worker_pools, "dead")
    await fleet.beat()
    await fleet.run_passes(8)
    places = [ActiveReapers(bench.in_redis, f"other {n}", period=1.0, dead_after=1.0) for n in range(MOST)]
    for each in places:
        assert await each.join()
    # The time until it is active again counts as little as if it had been stopped.
    await fleet.run_passes(5)
    assert own not in await active(bench)
    assert await bench.redis.sismember(bench.keys.worker_pools, "dead")
    await places[0].leave()
    await fleet.run_passes(1)
    assert await bench.redis.sismember(bench.keys.worker_pools, "dead")
    await fleet.run_passes(2)
    assert not await bench.redis.sismember(bench.keys.worker_pools, "dead")
    await fleet.forget()
    await bench.redis.delete(bench.keys.reapers)


async def test_slow_reapers_do_not_keep_a_quick_one_from_being_active(bench: Bench) -> None:
    slow = [ActiveReapers(bench.in_redis, f"slow {n}", period=1.0, dead_after=300.0) for n in range(MOST)]
    quick = [ActiveReapers(bench.in_redis, f"quick {n}", period=1.0, dead_after=10.0) for n in range(MOST + 1)]
    assert [await each.join() for each in slow] == [True] * MOST
    assert [await each.join() for each in quick] == [True] * MOST + [False]
    # By now enough are active that are quicker.
    assert [await each.join() for each in slow] == [False] * MOST
    assert await active(bench) == {f"quick {n}" for n in range(MOST)}
    await quick[0].leave()
    assert await quick[-1].join()
    await bench.redis.delete(bench.keys.reapers)


@pytest.mark.parametrize(
    "entry",
    ["9999999999.000000 2.500 11.000", "1.000000 2.500 11.000", "", "now 2.500 11.000", "1.000000 2.500"],
)
async def test_a_time_that_cannot_be_takes_no_place(bench: Bench, entry: str) -> None:
    mine = ActiveReapers(bench.in_redis, "mine", period=1.0, dead_after=10.0)
    await bench.redis.hset(bench.keys.reapers, mapping={f"{n}": entry for n in range(MOST)})
    assert await mine.join()
    assert await active(bench) == {"mine"}
    await bench.redis.delete(bench.keys.reapers)


async def test_a_key_of_another_type_is_replaced(bench: Bench) -> None:
    await bench.redis.set(bench.keys.reapers, "text")
    assert await ActiveReapers(bench.in_redis, "mine", period=1.0, dead_after=10.0).join()
    assert await active(bench) == {"mine"}
    await bench.redis.delete(bench.keys.reapers)


async def test_the_key_expires_when_no_pool_runs(bench: Bench) -> None:
    assert await ActiveReapers(bench.in_redis, "mine", period=1.0, dead_after=10.0).join()
    assert 0 < await bench.redis.ttl(bench.keys.reapers) <= 3
    # So does that of a pool that reaps hardly ever.
    assert await ActiveReapers(bench.in_redis, "mine", period=1e9, dead_after=1e9).join()
    assert 0 < await bench.redis.ttl(bench.keys.reapers) <= 86_400
    await bench.redis.delete(bench.keys.reapers)


async def test_a_reaper_that_redis_refuses_leaves_its_place_to_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(bench, MOST + 1)
    await fleet.beat()
    await fleet.run_passes(1)
    refused, *_, last = fleet.reapers
    assert await active(bench) == fleet.reapers.keys() - {last}

    async def refuse(self: Recovery, own: str) -> None:
        raise ErrorReply("NOPERM this user has no permissions")

    with monkeypatch.context() as patched:
        patched.setattr(Recovery, "check_writable", refuse)
        with pytest.raises(ErrorReply, match="NOPERM"):
            await fleet.reapers[refused].run_once()
    await fleet.reapers[last].run_once()
    assert await active(bench) == fleet.reapers.keys() - {refused}
    await fleet.forget()


async def test_a_reaper_stays_active_while_a_pass_takes_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    own, searching, go_on = pool_id(1), asyncio.Event(), asyncio.Event()
    reaper = Reaper(bench.in_redis, own, period=0.02, dead_after=10.0, orphans_period=60.0)

    async def search(self: Recovery) -> dict[str, set[str]]:
        searching.set()
        await go_on.wait()
        return {}

    monkeypatch.setattr(Recovery, "in_progress_lists", search)
    run = asyncio.create_task(reaper.run_once())
    await searching.wait()
    seen = set[bytes]()

    async def has_joined_again() -> bool:
        seen.add(await bench.redis.hget(bench.keys.reapers, own))
        return len(seen) == 3

    await until(has_joined_again)
    go_on.set()
    await run
    await ActiveReapers(bench.in_redis, own, period=1.0, dead_after=10.0).leave()


async def test_of_running_pools_few_are_active_and_others_follow(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        stops = {}
        for _ in range(MOST + 2):
            pool = bench.pool(**QUICK)
            pool.job("wat")(nothing)
            stop = await stack.enter_async_context(AsyncExitStack())
            await stop.enter_async_context(pool.running())
            stops[pool.id or ""] = stop

        async def enough_are_active() -> bool:
            found = await active(bench)
            return len(found) == MOST and found <= stops.keys()

        await until(enough_are_active)
        stopped = min(await active(bench))
        await stops.pop(stopped).aclose()
        await until(enough_are_active)
    assert await active(bench) == set()
    assert "of dead pool" not in caplog.text


async def nothing() -> None: ...
