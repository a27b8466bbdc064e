"""Periodic jobs that are paused, run, added, edited and removed at run time, whichever pools run meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from asyncwork import (
    ArgumentEncodingError,
    Client,
    Diagnosis,
    Job,
    Overview,
    PeriodicState,
    ScheduleError,
    UsageError,
    WorkerPool,
)
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.periodic_job import PeriodicJob, instance_parts
from asyncwork._json.codec import encode_args
from asyncwork._redis.client import run_script
from asyncwork._redis.delayed import DelayedJobs
from asyncwork._redis.periodic import PeriodicInstances
from asyncwork._redis.periodic_changes import PeriodicChange, PeriodicChanges
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._worker.services.periodic_enqueuer import PeriodicEnqueuer
from asyncwork._worker.services.requeuer import Requeuer
from asyncwork.models.job_status import JobState
from asyncwork.models.pools import Heartbeat
from asyncwork.schedule import Schedule

from .conftest import Bench, until

EACH_SECOND = "* * * * * *"
# Neither fires during a test.
YEARLY, DAY_OF_LEAP = "0 0 0 1 1 *", "0 0 0 29 2 *"


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def periodic(spec: str = EACH_SECOND, args: Mapping[str, Any] | None = None, name: str = "tick") -> PeriodicJob:
    return PeriodicJob(name, Schedule.parse(spec), encode_args(args))


TICK, WITH_ARGS = periodic(), periodic(args={"n": 1})


async def register(
    bench: Bench,
    *jobs: PeriodicJob,
    pool_id: str = "a" * 24,
    names: str = "tick",
    go: bool = False,
    next_at: int = 4_000_000_000,
) -> None:
    """Have a pool registered whose code has these periodic jobs."""
    states = tuple(PeriodicState(each.name, each.schedule.spec, each.key, each.args, next_at) for each in jobs)
    now = int(await bench.redis_client.now())
    runner = "" if go else "asyncwork"
    beat = Heartbeat(pool_id, now, 1, (names,), 1, (), "host", 1, runner=runner, periodic=states)
    await PoolRegistry(bench.in_redis).write_heartbeat(beat)


async def forget(bench: Bench, *pool_ids: str) -> None:
    for pool_id in pool_ids or ("a" * 24,):
        await PoolRegistry(bench.in_redis).forget_pool(pool_id)


def enqueuer(bench: Bench, *jobs: PeriodicJob, served: str = "tick") -> PeriodicEnqueuer:
    return PeriodicEnqueuer(bench.in_redis, jobs, [served], period=120.0, horizon=240.0)


async def planned(bench: Bench) -> list[dict[str, Any]]:
    return [json.loads(payload) for payload, _ in await bench.job_set("scheduled")]


async def requeue(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "tick")
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()


async def state_of(client: Client, key: str = TICK.key) -> PeriodicState:
    (found,) = [each for each in await client.periodic_jobs() if each.key == key]
    return found


class Pools:
    """Pools with a job ``tick``, which records the arguments and ids of its runs."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.ran: list[tuple[int | None, str]] = []

    def make(self, spec: str | None = EACH_SECOND, **options: Any) -> WorkerPool[Any]:
        pool = self._bench.pool(**options)

        @pool.job
        async def tick(job: Job, n: int | None = None) -> None:
            self.ran.append((n, job.id))

        if spec is not None:
            pool.periodically(spec, "tick")
        return pool

    async def next(self, since: int | None = None, n: int | None = None) -> None:
        """Wait for a run with an argument, after a number of runs."""
        start = len(self.ran) if since is None else since
        await until(lambda: any(each == n for each, _ in self.ran[start:]))


@pytest.fixture
def pools(bench: Bench) -> Pools:
    return Pools(bench)


def test_the_parts_of_a_payload_are_those_of_the_instances() -> None:
    for name, args in [("tick", None), ('a "b"\n\u20ac', {"n": [1, "\ud800", '"']}), ("a:b", {})]:
        job = periodic(name=name, args=args)
        head, middle, tail = instance_parts(job.name, job.key, job.args)
        assert head + b"7" + middle + b"7" + tail == job.instance(7)


@pytest.mark.parametrize(
    "change",
    [
        PeriodicChange(paused=True),
        PeriodicChange(name="a", schedule=Schedule.parse("@daily"), args=b"null", who="ada", at=7),
        PeriodicChange(paused=True, schedule=Schedule.parse("TZ=UTC @daily"), args=b'{"a":1.50}', who='"\n', at=7),
    ],
)
def test_a_change_is_read_as_it_was_written(change: PeriodicChange) -> None:
    assert PeriodicChange.decode(change.encode()) == change


# Pausing


async def test_a_paused_job_fires_no_more_in_any_pool_until_it_is_unpaused(
    bench: Bench, client: Client, pools: Pools
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(pools.make().running())
        await pools.next()
        await client.pause_periodic(TICK.key, who="ada")
        state = await state_of(client)
        assert (state.paused, state.changed_by, state.next) == (True, "ada", None)
        assert state.changed_at is not None
        # What had fired before is on its queue or done.
        await until(lambda: _is_idle(bench))
        ran = len(pools.ran)
        assert await bench.job_set("scheduled") == []
        await asyncio.sleep(2.2)
        assert len(pools.ran) == ran
        assert await bench.job_set("scheduled") == []
        unpaused_at = int(await bench.redis_client.now())
        await client.unpause_periodic(TICK.key)
        await pools.next(ran)
    ids = [job_id for _, job_id in pools.ran]
    assert len(ids) == len(set(ids))
    # What it has missed does not run.
    assert min(int(job_id.rpartition(":")[2]) for job_id in ids[ran:]) >= unpaused_at
    assert not await bench.redis.exists(bench.keys.periodic_changes)


async def _is_idle(bench: Bench) -> bool:
    keys = [key async for key in bench.redis.scan_iter(f"{bench.keys.prefix}jobs:tick*inprogress")]
    return not keys and not await bench.waiting("tick")


@pytest.mark.parametrize("job", [TICK, WITH_ARGS])
async def test_a_pause_deletes_what_is_planned_and_keeps_it_from_being_planned(
    bench: Bench, client: Client, job: PeriodicJob
) -> None:
    await register(bench, TICK, WITH_ARGS)
    service = enqueuer(bench, TICK, WITH_ARGS)
    await service.run_once()
    assert [each for each in await planned(bench) if _is_of(each, job)]
    await client.pause_periodic(job.key)
    assert not [each for each in await planned(bench) if _is_of(each, job)]
    # One pool has planned it before, the other has not.
    for each in (service, enqueuer(bench, TICK, WITH_ARGS)):
        await each.run_once()
    left = await planned(bench)
    assert not [each for each in left if _is_of(each, job)]
    assert len(left) >= 238
    await forget(bench)


def _is_of(instance: Mapping[str, Any], job: PeriodicJob) -> bool:
    return str(instance["id"]).rpartition(":")[0] == f"periodic:{job.key}"


async def test_a_pool_that_has_not_read_a_change_plans_nothing_by_what_it_knew(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    service = enqueuer(bench, TICK)
    assert await service.run_once() == 2.0
    await client.pause_periodic(TICK.key)
    now = int(await bench.redis_client.now())
    reply = await PeriodicInstances(bench.in_redis).plan(TICK.key, 240.0, [(now + 5, TICK.instance(now + 5))])
    assert (reply.added, reply.changed) == (0, True)
    assert await planned(bench) == []
    await forget(bench)


async def test_an_instance_that_is_due_while_its_job_is_paused_is_dropped(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await register(bench, TICK)
    await client.pause_periodic(TICK.key)
    # As one that a pool of gocraft/work has planned.
    await bench.redis.zadd(bench.keys.scheduled, {TICK.instance(300): 300, WITH_ARGS.instance(300): 300})
    caplog.set_level(logging.INFO, "asyncwork")
    await requeue(bench)
    (job,) = await bench.waiting("tick")
    assert json.loads(job)["args"] == {"n": 1}
    assert await bench.job_set("scheduled") == []
    assert "dropped the instance of periodic job tick at 300: it is paused" in caplog.messages
    assert [each.at for each in await client.periodic_runs(WITH_ARGS.key)] == [300]
    assert await client.periodic_runs(TICK.key) == []
    await forget(bench)


async def test_an_instance_that_has_run_and_was_put_off_runs_although_its_job_is_paused(
    bench: Bench, client: Client
) -> None:
    await register(bench, TICK)
    await client.pause_periodic(TICK.key)
    await bench.redis.zadd(bench.keys.scheduled, {TICK.instance(300): 310})
    await requeue(bench)
    assert len(await bench.waiting("tick")) == 1
    await forget(bench)


async def test_a_pause_deletes_what_is_overdue_as_well(bench: Bench, client: Client) -> None:
    """No pool has run for a while. When one starts after the job was unpaused, it must not run what was missed."""
    await register(bench, TICK)
    now = int(await bench.redis_client.now())
    instances = [(at, TICK.instance(at)) for at in range(now - 100, now)]
    await bench.redis.hset(bench.keys.periodic, TICK.key, now - 101)
    await PeriodicInstances(bench.in_redis).plan(TICK.key, 240.0, instances)
    assert len(await planned(bench)) == 100
    await client.pause_periodic(TICK.key)
    await client.unpause_periodic(TICK.key)
    assert await planned(bench) == []
    await forget(bench)


async def test_a_pool_that_stood_still_since_before_a_pause_plans_nothing_of_that_time(
    bench: Bench, client: Client
) -> None:
    await register(bench, TICK)
    now = int(await bench.redis_client.now())
    await bench.redis.hset(bench.keys.periodic, TICK.key, now - 50)
    await client.pause_periodic(TICK.key)
    await client.unpause_periodic(TICK.key)
    late = [(at, TICK.instance(at)) for at in range(now - 49, now + 10)]
    assert (await PeriodicInstances(bench.in_redis).plan(TICK.key, 240.0, late)).added <= 9
    assert min(each["t"] for each in await planned(bench)) > now
    await forget(bench)


async def test_a_pool_that_starts_finds_its_job_paused(bench: Bench, client: Client, pools: Pools) -> None:
    async with pools.make().running():
        await pools.next()
        await client.pause_periodic(TICK.key)
    ran = len(pools.ran)
    # Without a pool it is paused as well, and can be paused.
    assert (await state_of(client)).paused
    await client.unpause_periodic(TICK.key)
    await client.pause_periodic(TICK.key, who="ada")
    async with pools.make().running():
        await asyncio.sleep(2.0)
        assert len(pools.ran) == ran
        await client.unpause_periodic(TICK.key)
        await pools.next(ran)


# Running now


async def test_a_job_is_run_now_also_while_it_is_paused(bench: Bench, client: Client, pools: Pools) -> None:
    key = periodic(YEARLY).key
    async with pools.make(YEARLY).running():
        await client.pause_periodic(key)
        job_id = await client.run_periodic(key, who="ada")
        await until(lambda: pools.ran)
        (run,) = await client.periodic_runs(key)
    assert pools.ran == [(None, job_id)]
    assert (run.job_id, run.manual, run.who) == (job_id, True, "ada")
    assert (await state_of(client, key)).last is None
    # It is on its queue when no pool runs.
    job_id = await client.run_periodic(key)
    (payload,) = await bench.waiting("tick")
    assert json.loads(payload) == {"name": "tick", "id": job_id, "t": json.loads(payload)["t"], "args": None}
    assert [(each.job_id, each.who) for each in await client.periodic_runs(key, 1)] == [(job_id, "")]


async def test_arguments_that_no_pool_says_cannot_be_run(bench: Bench, client: Client) -> None:
    await register(bench, WITH_ARGS)
    job_id = await client.run_periodic(WITH_ARGS.key)
    assert json.loads((await bench.waiting("tick"))[0])["args"] == {"n": 1}
    await bench.redis.hset(bench.keys.periodic_fired, WITH_ARGS.key, 100)
    await forget(bench)
    with pytest.raises(UsageError, match="no pool has it, so its arguments are not known"):
        await client.run_periodic(WITH_ARGS.key)
    # They are known when they were edited.
    await client.edit_periodic(WITH_ARGS.key, arguments={"n": 2})
    assert await client.run_periodic(WITH_ARGS.key) != job_id
    assert json.loads((await bench.waiting("tick"))[1])["args"] == {"n": 2}


async def test_a_key_without_a_name_cannot_be_run(bench: Bench, client: Client) -> None:
    await bench.redis.hset(bench.keys.periodic_changes, "nonsense", PeriodicChange(paused=True).encode())
    with pytest.raises(UsageError, match="its key does not begin with the name of a job"):
        await client.run_periodic("nonsense")
    assert await bench.waiting("") == []


async def test_the_runs_are_those_that_were_put_on_the_queue(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    await bench.redis.zadd(bench.keys.scheduled, {TICK.instance(at): at for at in range(1000, 1150)})
    await requeue(bench)
    runs = await client.periodic_runs(TICK.key, 100)
    assert [each.at for each in runs] == list(range(1149, 1049, -1))
    assert {each.job_id for each in runs} <= {json.loads(each)["id"] for each in await bench.waiting("tick")}
    assert not any(each.manual or each.who or each.state for each in runs)
    assert len(await client.periodic_runs(TICK.key)) == 50
    assert 0 < await bench.redis.ttl(bench.keys.periodic_runs(TICK.key)) <= 400 * 86_400
    for count in (0, 101, True, 1.5):
        with pytest.raises(UsageError, match="count"):
            await client.periodic_runs(TICK.key, count)  # type: ignore[arg-type]
    await forget(bench)


async def test_a_run_says_how_its_job_has_ended(bench: Bench, client: Client) -> None:
    pool, go_on = bench.pool(), asyncio.Event()

    @pool.job("tick", result=60)
    async def tick() -> None:
        await go_on.wait()

    pool.periodically(YEARLY, "tick")
    key = periodic(YEARLY).key
    async with pool.running():
        await client.run_periodic(key)

        async def has(state: JobState) -> bool:
            return [each.state for each in await client.periodic_runs(key)] == [state]

        await until(lambda: has(JobState.RUNNING))
        go_on.set()
        await until(lambda: has(JobState.DONE))


# Adding


async def test_an_added_job_is_planned_by_the_pools_that_have_a_handler(
    bench: Bench, client: Client, pools: Pools
) -> None:
    key = await client.add_periodic(EACH_SECOND, "tick", {"n": 3}, tz="Europe/Berlin", who="ada")
    state = await state_of(client, key)
    assert (state.name, state.spec, state.tz) == ("tick", f"TZ=Europe/Berlin {EACH_SECOND}", "Europe/Berlin")
    assert (state.added, state.edited, state.served, state.next) == (True, False, False, None)
    assert (json.loads(state.args), state.changed_by) == ({"n": 3}, "ada")
    other = bench.pool()
    other.job("other")(lambda: None)
    async with other.running():
        assert not (await state_of(client, key)).served
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(pools.make(None).running())
            await pools.next(0, 3)
            state = await state_of(client, key)
            assert state.served
            assert state.next is not None
            with pytest.raises(UsageError, match="was added before: edit it"):
                await client.add_periodic(EACH_SECOND, "tick", {"n": 3}, tz="Europe/Berlin")
            await client.remove_periodic(key)
            await until(lambda: _is_idle(bench))
            ran = len(pools.ran)
            await asyncio.sleep(2.2)
            assert len(pools.ran) == ran
    ids = [job_id for _, job_id in pools.ran]
    assert len(ids) == len(set(ids))
    assert await client.periodic_jobs() == []
    assert not await bench.redis.exists(bench.keys.periodic_changes, bench.keys.scheduled)


async def test_an_added_job_outlives_the_pools(bench: Bench, client: Client, pools: Pools) -> None:
    async with pools.make(None).running():
        await client.add_periodic(EACH_SECOND, "tick", {"n": 1})
        await pools.next(0, 1)
    ran = len(pools.ran)
    async with pools.make(None).running():
        await pools.next(ran, 1)


async def test_an_instance_of_an_added_job_is_not_taken_for_one_of_an_old_schedule(
    bench: Bench, client: Client
) -> None:
    """Pools list only the jobs of their code, where one has the same name and arguments."""
    await register(bench, periodic(YEARLY))
    key = await client.add_periodic("@daily", "tick")
    await bench.redis.zadd(bench.keys.scheduled, {periodic("@daily").instance(300): 300, TICK.instance(300): 300})
    await requeue(bench)
    (job,) = await bench.waiting("tick")
    assert json.loads(job)["id"] == f"periodic:{key}:300"
    await forget(bench)


async def test_what_cannot_be_added_is_refused(bench: Bench, client: Client) -> None:
    await register(bench, WITH_ARGS)
    with pytest.raises(UsageError, match="is registered by the code of a pool: edit it"):
        await client.add_periodic(EACH_SECOND, "tick", {"n": 1})
    with pytest.raises(ScheduleError, match="never"):
        await client.add_periodic("0 0 0 31 2 *", "tick")
    with pytest.raises(ScheduleError, match="zone"):
        await client.add_periodic(EACH_SECOND, "tick", tz="Europe/Berln")
    with pytest.raises(UsageError, match="comma"):
        await client.add_periodic(EACH_SECOND, "a,b")
    with pytest.raises(ArgumentEncodingError, match="x"):
        await client.add_periodic(EACH_SECOND, "tick", {"x": {1}})
    with pytest.raises(UsageError, match="by name, in a dict"):
        await client.add_periodic(EACH_SECOND, "tick", [1])  # type: ignore[arg-type]
    assert not await bench.redis.exists(bench.keys.periodic_changes)
    await forget(bench)


# Editing


async def test_an_edited_job_fires_by_its_new_schedule_under_its_old_key(
    bench: Bench, client: Client, pools: Pools
) -> None:
    key = periodic(YEARLY).key
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(pools.make(YEARLY).running())
        await client.edit_periodic(key, spec=EACH_SECOND, arguments={"n": 1}, who="ada")
        await pools.next(0, 1)
        state = await state_of(client, key)
        assert (state.spec, state.args) == (EACH_SECOND, b'{"n":1}')
        assert (state.edited, state.code_spec, state.code_args) == (True, YEARLY, b"null")
        assert (state.changed_by, state.added) == ("ada", False)
        await client.edit_periodic(key, arguments={"n": 2})
        await pools.next(n=2)
        since = len(pools.ran)
        await pools.next(n=2)
        assert {n for n, _ in pools.ran[since:]} == {2}
        await client.reset_periodic(key)
        assert not (await state_of(client, key)).edited
        await until(lambda: _is_idle(bench))
        ran = len(pools.ran)
        await asyncio.sleep(2.2)
        assert len(pools.ran) == ran
    ids = [job_id for _, job_id in pools.ran]
    assert len(ids) == len(set(ids))
    assert {job_id.rpartition(":")[0] for job_id in ids} == {f"periodic:{key}"}


async def test_an_edit_deletes_what_is_planned_and_keeps_what_is_due(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    service = enqueuer(bench, TICK)
    await service.run_once()
    now = int(await bench.redis_client.now())
    due = [TICK.instance(at) for at in (now - 5, now - 4)]
    await bench.redis.zadd(bench.keys.scheduled, dict(zip(due, (now - 5, now - 4), strict=True)))
    await client.edit_periodic(TICK.key, arguments={"n": 1})
    later = int(await bench.redis_client.now())
    left = await planned(bench)
    assert {each["t"] for each in left} <= {now - 5, now - 4, *range(now, later + 1)}
    assert len(left) >= 2
    assert await service.run_once() == 2.0
    new = [each for each in await planned(bench) if each["args"] == {"n": 1}]
    assert len(new) in range(237, 242)
    assert all(_is_of(each, TICK) for each in new)
    times = [each["t"] for each in await planned(bench)]
    assert len(times) == len(set(times))
    await forget(bench)


async def test_an_edit_loses_no_instance_that_is_due_before_a_pool_reads_it(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    service = enqueuer(bench, TICK)
    await service.run_once()
    await client.edit_periodic(TICK.key, arguments={"n": 2})
    edited_at = int(await bench.redis.hget(bench.keys.periodic, TICK.key) or 0)

    async def is_later() -> bool:
        return await bench.redis_client.now() > edited_at + 2

    await until(is_later)
    await service.run_once()
    times = [each["t"] for each in await planned(bench) if each["args"] == {"n": 2}]
    assert times == list(range(edited_at + 1, times[-1] + 1))
    # What has run already is not planned again when the plan is lost.
    await bench.redis.delete(bench.keys.scheduled, bench.keys.periodic, bench.keys.periodic_changes)
    now = int(await bench.redis_client.now())
    await service.run_once()
    assert min(each["t"] for each in await planned(bench)) > now
    await forget(bench)


async def test_a_change_is_planned_although_redis_failed_when_it_was_read(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(bench, TICK)
    service = enqueuer(bench, TICK)
    await service.run_once()
    await client.edit_periodic(TICK.key, arguments={"n": 2})

    async def fail(*_: Any) -> None:
        raise ConnectionError("away")

    with monkeypatch.context() as patch:
        patch.setattr(PeriodicInstances, "plan", fail)
        with pytest.raises(ConnectionError):
            await service.run_once()
    assert await planned(bench) == []
    await service.run_once()
    assert {each["args"]["n"] for each in await planned(bench)} == {2}
    await forget(bench)


async def test_an_added_job_is_edited_and_keeps_its_key(bench: Bench, client: Client) -> None:
    await register(bench)
    key = await client.add_periodic(YEARLY, "tick", {"n": 1})
    await client.edit_periodic(key, spec=EACH_SECOND, arguments={})
    state = await state_of(client, key)
    assert (state.spec, state.args, state.added, state.edited) == (EACH_SECOND, b"{}", True, False)
    await enqueuer(bench).run_once()
    assert {each["id"].rpartition(":")[0] for each in await planned(bench)} == {f"periodic:{key}"}
    with pytest.raises(UsageError, match="was added at run time, not by code: edit or remove it"):
        await client.reset_periodic(key)
    await client.remove_periodic(key)
    assert await planned(bench) == []
    await forget(bench)


async def test_the_next_firing_is_never_past(bench: Bench, client: Client) -> None:
    await register(bench, TICK, next_at=1_000)
    now = await bench.redis_client.now()
    assert ((await state_of(client)).next or 0) > now
    await register(bench, TICK, next_at=int(now) + 500)
    assert (await state_of(client)).next == int(now) + 500
    await forget(bench)


async def test_an_added_job_that_the_code_has_got_since_is_edited(bench: Bench, client: Client) -> None:
    await register(bench)
    assert await client.add_periodic(EACH_SECOND, "tick") == TICK.key
    await client.edit_periodic(TICK.key, spec=DAY_OF_LEAP, arguments={"n": 1})
    await client.pause_periodic(TICK.key)
    await register(bench, TICK)
    # What the code says holds, and what is edited then holds instead.
    assert (await state_of(client)).spec == EACH_SECOND
    await client.edit_periodic(TICK.key, spec=YEARLY)
    await client.unpause_periodic(TICK.key)
    state = await state_of(client)
    assert (state.spec, state.args, state.added, state.edited) == (YEARLY, b"null", False, True)
    await enqueuer(bench, TICK).run_once()
    assert await planned(bench) == []
    await client.reset_periodic(TICK.key)
    assert (await state_of(client)).spec == EACH_SECOND
    await forget(bench)


async def test_no_arguments_are_those_of_code_without_arguments(bench: Bench, client: Client) -> None:
    await register(bench, TICK, WITH_ARGS)
    await client.edit_periodic(TICK.key, arguments={})
    assert not (await state_of(client)).edited
    await client.edit_periodic(WITH_ARGS.key, arguments={})
    assert (await state_of(client, WITH_ARGS.key)).args == b"{}"
    await forget(bench)


async def test_a_zone_stays_unless_another_is_named(bench: Bench, client: Client) -> None:
    job = periodic("TZ=Europe/Berlin 0 0 3 * * *")
    await register(bench, job)

    async def edited(**changes: Any) -> tuple[str, str]:
        await client.edit_periodic(job.key, **changes)
        state = await state_of(client, job.key)
        return state.spec, state.tz

    assert await edited(spec="0 0 4 * * *") == ("TZ=Europe/Berlin 0 0 4 * * *", "Europe/Berlin")
    assert await edited(tz="UTC") == ("TZ=UTC 0 0 4 * * *", "UTC")
    assert await edited(spec="TZ=Asia/Tokyo @daily") == ("TZ=Asia/Tokyo @daily", "Asia/Tokyo")
    assert await edited(tz=None) == ("@daily", "")
    assert await edited(spec="0 0 5 * * *", tz="Europe/Berlin") == ("TZ=Europe/Berlin 0 0 5 * * *", "Europe/Berlin")
    with pytest.raises(ScheduleError, match="give the zone once"):
        await client.edit_periodic(job.key, spec="TZ=UTC @daily", tz="UTC")
    assert (await state_of(client, job.key)).edited
    # What the code says is no edit.
    await client.edit_periodic(job.key, spec="0 0 3 * * *")
    assert not (await state_of(client, job.key)).edited
    assert not await bench.redis.exists(bench.keys.periodic_changes)
    with pytest.raises(UsageError, match="nothing is to be edited"):
        await client.edit_periodic(job.key)
    for wrong in ({"spec": 7}, {"spec": "nonsense"}):
        with pytest.raises(ScheduleError):
            await client.edit_periodic(job.key, **wrong)
    await forget(bench)


async def test_a_pause_and_an_edit_stay_beside_each_other(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    await client.pause_periodic(TICK.key)
    await client.edit_periodic(TICK.key, spec="@daily")
    assert (await state_of(client)).paused
    await client.unpause_periodic(TICK.key)
    assert (await state_of(client)).spec == "@daily"
    await client.pause_periodic(TICK.key)
    await client.reset_periodic(TICK.key)
    state = await state_of(client)
    assert (state.paused, state.edited, state.spec) == (True, False, EACH_SECOND)
    await forget(bench)


# Removing


async def test_only_what_no_code_has_can_be_removed(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    with pytest.raises(UsageError, match="is registered by the code of a pool: pause it instead"):
        await client.remove_periodic(TICK.key)
    await client.pause_periodic(TICK.key)
    await bench.redis.hset(bench.keys.periodic_fired, TICK.key, 7)
    await client.run_periodic(TICK.key)
    await forget(bench)
    await client.remove_periodic(TICK.key)
    assert await client.periodic_jobs() == []
    assert [key async for key in bench.redis.scan_iter(f"{bench.keys.prefix}periodic*")] == []


CALLS = [
    ("pause_periodic", {}),
    ("unpause_periodic", {}),
    ("run_periodic", {}),
    ("edit_periodic", {"spec": "@daily"}),
    ("reset_periodic", {}),
    ("remove_periodic", {}),
    ("periodic_runs", {}),
]


@pytest.mark.parametrize(("method", "values"), CALLS)
async def test_a_key_of_no_job_is_refused(client: Client, method: str, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="there is no periodic job 'tick:@daily'"):
        await getattr(client, method)("tick:@daily", **values)
    with pytest.raises(UsageError, match="key must be that of a periodic job, a text, not 7"):
        await getattr(client, method)(7, **values)
    if method != "periodic_runs":
        with pytest.raises(UsageError, match="who must be"):
            await getattr(client, method)("tick:@daily", **values, who=7)


@pytest.mark.parametrize("count", [1, 8])
async def test_changes_at_the_same_time_are_all_made(bench: Bench, client: Client, count: int) -> None:
    await register(bench, TICK)
    edits = [client.edit_periodic(TICK.key, arguments={"n": number}) for number in range(count)]
    await asyncio.gather(client.pause_periodic(TICK.key), *edits, client.edit_periodic(TICK.key, spec="@daily"))
    state = await state_of(client)
    assert (state.paused, state.spec) == (True, "@daily")
    assert json.loads(state.args)["n"] in range(count)
    await forget(bench)


# Malformed data


MALFORMED = [
    *(b"{}", b"7", b'{"paused":1}', b'{"paused":false,', b'{"paused":false,"spec":"nonsense"}'),
    *(b'{"paused":false,"args":[1]}', b'{"paused":false,"name":"a"}', b'{"paused":false,"name":"a,b","spec":"@daily"}'),
]


@pytest.mark.parametrize("raw", MALFORMED)
async def test_a_malformed_change_changes_nothing_and_is_logged_once(
    bench: Bench, client: Client, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await register(bench, TICK)
    await bench.redis.hset(bench.keys.periodic_changes, mapping={TICK.key: raw, b"\xff:@daily": raw})
    service = enqueuer(bench, TICK, WITH_ARGS)
    for _ in range(3):
        await service.run_once()
    assert len([each for each in await planned(bench) if _is_of(each, TICK)]) >= 238
    assert len([each for each in await planned(bench) if _is_of(each, WITH_ARGS)]) >= 238
    lines = [each for each in caplog.messages if "change of periodic job" in each]
    assert sorted(lines) == [
        "change of periodic job \\xff:@daily ignored: it cannot be read",
        f"change of periodic job {TICK.key} ignored: it cannot be read",
    ]
    await bench.redis.zadd(bench.keys.scheduled, {TICK.instance(300): 300})
    await requeue(bench)
    assert len(await bench.waiting("tick")) >= 1
    assert not (await state_of(client)).paused
    # Any change by the client replaces it.
    await client.unpause_periodic(TICK.key)
    assert TICK.key.encode() not in await bench.redis.hgetall(bench.keys.periodic_changes)
    await forget(bench)


async def test_a_key_that_is_no_text_is_malformed(bench: Bench, client: Client) -> None:
    change = PeriodicChange(name="tick", schedule=Schedule.parse(EACH_SECOND), args=b"null").encode()
    await bench.redis.hset(bench.keys.periodic_changes, b"\xff", change)
    await enqueuer(bench).run_once()
    assert await planned(bench) == []
    assert await client.periodic_jobs() == []
    assert kinds(await client.overview()) == ["malformed_changes"]


async def test_the_beginning_of_a_change_is_enough_to_pause(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    await bench.redis.hset(bench.keys.periodic_changes, TICK.key, b'{"paused":true,"spec":"nonsense"}')
    await enqueuer(bench, TICK).run_once()
    assert await planned(bench) == []
    assert (await state_of(client)).paused
    await client.unpause_periodic(TICK.key)
    assert not await bench.redis.exists(bench.keys.periodic_changes)
    await forget(bench)


async def test_changes_of_another_type_stop_nothing(
    bench: Bench, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await register(bench, TICK)
    await bench.redis.rpush(bench.keys.periodic_changes, "x")
    await bench.redis.rpush(bench.keys.periodic_runs(TICK.key), "x")
    service = enqueuer(bench, TICK)
    for _ in range(3):
        await service.run_once()
    assert len(await planned(bench)) >= 238
    (line,) = [each for each in caplog.messages if "changes of periodic jobs ignored" in each]
    assert "another type" in line
    await bench.redis.zadd(bench.keys.scheduled, {TICK.instance(300): 300})
    await requeue(bench)
    assert len(await bench.waiting("tick")) >= 1
    await client.run_periodic(TICK.key)
    assert await client.periodic_runs(TICK.key) == []
    assert (await state_of(client)).paused is False
    await bench.redis.delete(bench.keys.periodic_changes, bench.keys.periodic_runs(TICK.key))
    await forget(bench)


@pytest.mark.parametrize("runs", [b"-7", b"7.5", b"no json", b'{"at":"x"}', b'{"at":-1}', b"[]"])
async def test_malformed_runs_are_left_out(bench: Bench, client: Client, runs: bytes) -> None:
    await register(bench, TICK)
    await bench.redis.zadd(bench.keys.periodic_runs(TICK.key), {runs: 1, b"7": 2})
    (run,) = await client.periodic_runs(TICK.key)
    assert (run.at, run.job_id, run.manual) == (7, f"periodic:{TICK.key}:7", False)
    await forget(bench)


async def test_a_plan_far_ahead_is_deleted_in_steps(bench: Bench) -> None:
    now = int(await bench.redis_client.now())
    far = [(at, TICK.instance(at)) for at in range(now + 2, now + 9000, 7)]
    await PeriodicInstances(bench.in_redis).plan(TICK.key, 10_000.0, far)
    parts = instance_parts(TICK.name, TICK.key, TICK.args)
    changes = PeriodicChanges(bench.in_redis)
    raw = PeriodicChange(paused=True).encode()
    assert await changes.write(TICK.key, b"", raw, parts, overdue=True)
    assert await planned(bench) == []
    assert int(await bench.redis.hget(bench.keys.periodic, TICK.key)) <= math.ceil(await bench.redis_client.now())
    # A second call, whose first reply was lost, finds it written; another client's change is a conflict.
    assert await changes.write(TICK.key, b"", raw, parts, overdue=True)
    assert not await changes.write(TICK.key, b"", b"{}", parts, overdue=True)


async def test_what_a_client_has_begun_to_delete_when_it_dies_is_planned_again(bench: Bench) -> None:
    now = int(await bench.redis_client.now())
    far = [(at, TICK.instance(at)) for at in range(now + 10, now + 9000)]
    instances = PeriodicInstances(bench.in_redis)
    assert (await instances.plan(TICK.key, 10_000.0, far)).added == len(far)
    keys = [bench.keys.scheduled, bench.keys.periodic, bench.keys.periodic_changes]
    args = [TICK.key, b"", b"x", *instance_parts(TICK.name, TICK.key, TICK.args), 0, 2000]
    assert await run_script(bench.redis, "change_periodic", keys, args) == 0
    assert len(await planned(bench)) == len(far) - 2000
    assert not await bench.redis.exists(bench.keys.periodic_changes)
    assert (await instances.plan(TICK.key, 10_000.0, far)).added == 2000
    assert len(await planned(bench)) == len(far)


async def test_a_pause_comes_while_an_instance_is_moved(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    await bench.redis.zadd(bench.keys.scheduled, {TICK.instance(300): 300, TICK.instance(301): 301})
    delayed = DelayedJobs(bench.in_redis)
    due = await delayed.due(JobSet.SCHEDULED, 10)
    moves = [(each.payload, "tick", each.payload) for each in due.jobs]
    firings = {TICK.instance(at): (TICK.key, at) for at in (300, 301)}
    await client.pause_periodic(TICK.key)
    result = await delayed.requeue(JobSet.SCHEDULED, moves, firings)
    assert (result.moved, result.paused) == (0, [0, 1])
    # Neither another pool nor a call whose reply was lost does it again.
    assert await delayed.requeue(JobSet.SCHEDULED, moves, firings) == (0, "", [], [], {})
    assert await bench.waiting("tick") == []
    await forget(bench)


# Beside pools of gocraft/work, and the doctor


def kinds(found: Diagnosis | Overview) -> list[str]:
    return [each.kind for each in found.problems if "periodic" in each.kind or "changes" in each.kind]


async def test_the_doctor_says_that_a_go_pool_may_fire_what_is_paused(bench: Bench, client: Client) -> None:
    await register(bench, TICK, WITH_ARGS)
    for key in (TICK.key, WITH_ARGS.key):
        await client.pause_periodic(key)
    assert kinds(await client.overview()) == []
    await register(bench, pool_id="b" * 24, go=True)
    for found in (await client.overview(), await client.diagnose(0)):
        (problem,) = [each for each in found.problems if each.kind == "go_periodic"]
        assert problem.text.startswith("periodic job tick is paused or edited, and a pool of gocraft/work runs (host)")
    await client.unpause_periodic(TICK.key)
    assert kinds(await client.overview()) == []
    await forget(bench, "a" * 24, "b" * 24)


async def test_the_doctor_says_that_no_pool_plans_an_added_job(bench: Bench, client: Client) -> None:
    await register(bench, names="other")
    key = await client.add_periodic("@daily", "tick")
    for found in (await client.overview(), await client.diagnose(0)):
        (problem,) = [each for each in found.problems if each.kind == "unserved_periodic"]
        assert problem.subject == "tick"
    await client.pause_periodic(key)
    assert kinds(await client.overview()) == []
    await client.unpause_periodic(key)
    await register(bench, pool_id="b" * 24)
    assert kinds(await client.overview()) == []
    await forget(bench, "a" * 24, "b" * 24)
    await client.remove_periodic(key)


async def test_the_doctor_shows_malformed_and_unused_changes(bench: Bench, client: Client) -> None:
    await register(bench, TICK)
    await bench.redis.hset(bench.keys.periodic_changes, TICK.key, b"{}")
    for found in (await client.overview(), await client.diagnose(0)):
        (problem,) = [each for each in found.problems if each.kind == "malformed_changes"]
        assert "changes of periodic jobs cannot be read (tick)" in problem.text
    await client.pause_periodic(TICK.key)
    diagnosis = await client.diagnose(0)
    assert kinds(diagnosis) == []
    assert "unused_changes" not in [each.kind for each in diagnosis.notes]
    await register(bench)
    diagnosis = await client.diagnose(0)
    assert "unused_changes" in [each.kind for each in diagnosis.notes]
    await forget(bench)


async def test_what_was_changed_is_not_forgotten_when_no_pool_has_it(bench: Bench, client: Client) -> None:
    """An hour without a pool that has the job, and another pool that runs."""
    await bench.redis.hset(bench.keys.periodic_fired, mapping={TICK.key: 1, WITH_ARGS.key: 1, b"\xff": 1})
    await bench.redis.zadd(bench.keys.periodic_runs(WITH_ARGS.key), {b"1": 1})
    await client.pause_periodic(TICK.key)
    now = 0.0
    service = PeriodicEnqueuer(bench.in_redis, [], period=120.0, horizon=240.0, monotonic=lambda: now)
    for now in (0.0, 3601.0):  # noqa: B007
        await service.run_once()
    assert [each.key for each in await client.periodic_jobs()] == [TICK.key]
    assert not await bench.redis.exists(bench.keys.periodic_runs(WITH_ARGS.key))
    assert (await state_of(client)).paused
