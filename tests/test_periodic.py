"""Periodic jobs: gocraft/work's bytes, each instance once, however many pools and however late."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from asyncwork import ArgumentEncodingError, Client, HandlerError, Job, ScheduleError, Task, UsageError, WorkerPool
from asyncwork._jobs import time_zones
from asyncwork._jobs.location import JobSet
from asyncwork._jobs.payload import write_payload
from asyncwork._jobs.periodic_job import PeriodicJob, firing_of
from asyncwork._json.codec import encode_args
from asyncwork._redis.client import RedisClient
from asyncwork._redis.namespace import Namespace
from asyncwork._redis.periodic import PeriodicInstances
from asyncwork._redis.pool_registry import PoolRegistry
from asyncwork._worker.services.periodic_enqueuer import PeriodicEnqueuer
from asyncwork._worker.services.requeuer import Requeuer
from asyncwork.models.periodic import PeriodicState
from asyncwork.models.pools import Heartbeat
from asyncwork.schedule import Schedule

from .conftest import Bench, until


class Slow(RedisClient):
    """Sees Redis's clock as it was some seconds ago."""

    def __init__(self, bench: Bench, behind: float) -> None:
        super().__init__(bench.url, namespace=bench.namespace)
        self._bench = bench
        self._behind = behind

    def client(self) -> Any:
        return self._bench.redis_client.client()

    async def now(self) -> float:
        return await super().now() - self._behind


def enqueuer(bench: Bench, *specs: str, behind: float = 0.0) -> PeriodicEnqueuer:
    jobs = [PeriodicJob("foo", Schedule.parse(spec)) for spec in specs]
    return PeriodicEnqueuer(Namespace(Slow(bench, behind), bench.keys), jobs, period=120.0, horizon=240.0)


def test_the_payload_is_gocraft_works() -> None:
    job = PeriodicJob("foo", Schedule.parse("0 * * * * *"))
    assert job.instance(1467334860) == (
        b'{"name":"foo","id":"periodic:foo:0 * * * * *:1467334860","t":1467334860,"args":null}'
    )


async def test_the_horizon_is_filled_to_just_before_its_end(bench: Bench) -> None:
    service = enqueuer(bench, "0 * * * * *", "30 * * * * *")
    assert await service.run_once() == 2.0
    now = int(await bench.redis_client.now())
    members = await bench.job_set("scheduled")
    # One less if it was filled in the very second of a firing.
    assert len(members) in (7, 8)
    for payload, score in members:
        job = json.loads(payload)
        assert job["t"] == score
        assert job["id"] == f"periodic:foo:{'0' if score % 60 == 0 else '30'} * * * * *:{int(score)}"
        assert now - 1 < score < now + 241
    # gocraft/work's own: its pools would take it that their periodic jobs were planned, too.
    assert not await bench.redis.exists(f"{bench.keys.prefix}last_periodic_enqueue")


async def test_again_and_from_another_pool_adds_nothing(bench: Bench) -> None:
    await enqueuer(bench, "0 * * * * *").run_once()
    before = await bench.job_set("scheduled")
    await asyncio.gather(*(enqueuer(bench, "0 * * * * *").run_once() for _ in range(5)))
    assert len(await bench.job_set("scheduled")) - len(before) in (0, 1)


async def test_an_instance_that_ran_is_not_added_again_by_a_late_pool(bench: Bench) -> None:
    await enqueuer(bench, "* * * * * *").run_once()
    await bench.redis.delete(bench.keys.scheduled)
    await enqueuer(bench, "* * * * * *", behind=100).run_once()
    assert len(await bench.job_set("scheduled")) <= 2


async def test_what_was_due_while_no_pool_ran_is_planned_only_if_it_was_then(bench: Bench) -> None:
    await enqueuer(bench, "* * * * * *", behind=300).run_once()
    planned = [score for _, score in await bench.job_set("scheduled")]
    now = int(await bench.redis_client.now())
    await enqueuer(bench, "* * * * * *").run_once()
    found = [score for _, score in await bench.job_set("scheduled")]
    # The plan of a pool that ended five minutes ago reached to a minute ago.
    assert found[: len(planned)] == planned
    assert planned[-1] < now - 50
    assert now < found[len(planned)] <= now + 30


async def test_it_fires_each_second_once_over_several_pools(bench: Bench) -> None:
    fired: Counter[str] = Counter()
    pools = [bench.pool() for _ in range(3)]

    async def tick(job: Job) -> None:
        fired[job.id] += 1

    for pool in pools:
        pool.job("tick")(tick)
        pool.periodically("* * * * * *", "tick")
        await pool.start()
    await until(lambda: len(fired) == 3)
    for pool in pools:
        await pool.stop()
    assert set(fired.values()) == {1}
    assert all(job_id.startswith("periodic:tick:* * * * * *:") for job_id in fired)


async def test_a_periodic_job_may_have_arguments(bench: Bench) -> None:
    got: list[int] = []
    pool = bench.pool()

    @pool.job
    async def tick(n: int) -> None:
        got.append(n)

    for n in (1, 2):
        pool.periodically("* * * * * *", "tick", {"n": n})
    async with pool.running():
        await until(lambda: set(got) == {1, 2})


@pytest.mark.parametrize(
    ("job_id", "expected"),
    [
        ("periodic:foo:0 * * * * *:1467334860", ("foo:0 * * * * *", 1467334860)),
        ("periodic:a:b:* * * * * *:0123456789ab:7", ("a:b:* * * * * *:0123456789ab", 7)),
        ("periodic:line\nbreak:@hourly:7", ("line\nbreak:@hourly", 7)),
        ("0123456789abcdef01234567", None),
        ("periodic:7", None),
        ("periodic::7", None),
        ("periodic:foo:", None),
        ("periodic:foo:-7", None),
        ("periodic:foo:1234567890123", None),
        ("periodic:foo:\u0661", None),
        ("not periodic:foo:7", None),
    ],
)
def test_the_id_contains_the_key_and_the_time_of_the_instance(job_id: str, expected: tuple[str, int] | None) -> None:
    assert firing_of(job_id) == expected


def test_the_id_of_an_instance_can_be_parsed() -> None:
    for args in (b"null", b'{"n":1}'):
        job = PeriodicJob("a:b", Schedule.parse("TZ=UTC 0 * * * * *"), args)
        assert firing_of(Job.decode(job.instance(60)).id) == (job.key, 60)


async def put(bench: Bench, job_set: str, name: str, job_id: str, score: float = 1) -> None:
    await bench.redis.zadd(getattr(bench.keys, job_set), {write_payload(name, job_id, 1, b"null"): score})


async def test_the_last_firing_is_recorded_by_the_pool_that_moves_it(bench: Bench) -> None:
    instances = PeriodicInstances(bench.in_redis)
    requeuers = [Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0) for _ in range(3)]
    await bench.redis.sadd(bench.keys.known_jobs, "foo", "bar")
    assert await instances.last_fired() == {}
    for at in (300, 100, 200):
        await put(bench, "scheduled", "foo", f"periodic:foo:@hourly:{at}", at)
    await put(bench, "scheduled", "bar", "periodic:bar:@daily:50")
    await put(bench, "scheduled", "foo", "0123456789abcdef01234567")
    await put(bench, "scheduled", "foo", "periodic:foo:ahead of its time:99999999999")
    await put(bench, "scheduled", "unknown", "periodic:unknown:@hourly:100")
    await put(bench, "scheduled", "foo", "periodic:foo:not due:100", 99_999_999_999)
    await asyncio.gather(*(each.run_once() for each in requeuers))
    assert await instances.last_fired() == {"foo:@hourly": 300, "bar:@daily": 50}
    await put(bench, "scheduled", "foo", "periodic:foo:@hourly:250")
    await requeuers[0].run_once()
    assert (await instances.last_fired())["foo:@hourly"] == 300
    await put(bench, "scheduled", "foo", "periodic:foo:@hourly:400")
    await requeuers[0].run_once()
    assert (await instances.last_fired())["foo:@hourly"] == 400
    await put(bench, "retry", "foo", "periodic:foo:@hourly:500")
    await Requeuer(bench.in_redis, JobSet.RETRY, 1.0).run_once()
    assert (await instances.last_fired())["foo:@hourly"] == 400
    assert len(await bench.waiting("foo")) == 8


async def test_an_instance_that_could_not_be_moved_has_not_fired(bench: Bench) -> None:
    instances = PeriodicInstances(bench.in_redis)
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.set(bench.keys.queue("foo"), "no list")
    await put(bench, "scheduled", "foo", "periodic:foo:@hourly:100")
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    assert await instances.last_fired() == {}
    await bench.redis.delete(bench.keys.queue("foo"))


@pytest.mark.parametrize("junk", ["hash", "string"])
async def test_junk_among_the_firings_keeps_no_job_from_its_queue(bench: Bench, junk: str) -> None:
    instances = PeriodicInstances(bench.in_redis)
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    if junk == "string":
        await bench.redis.set(bench.keys.periodic_fired, "x")
    else:
        fields = {"foo:@hourly": "soon", "a": "-1", "b": "9" * 30, "c": "", b"\xff": "7"}
        await bench.redis.hset(bench.keys.periodic_fired, mapping=fields)
    assert await instances.last_fired() == ({} if junk == "string" else {"\ufffd": 7})
    await put(bench, "scheduled", "foo", "periodic:foo:@hourly:100")
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    assert len(await bench.waiting("foo")) == 1
    assert await instances.last_fired() == ({} if junk == "string" else {"\ufffd": 7, "foo:@hourly": 100})


async def test_a_pool_records_when_it_fires(bench: Bench) -> None:
    instances = PeriodicInstances(bench.in_redis)
    pool = bench.pool()

    @pool.job
    async def tick(job: Job) -> None:
        ids.append(job.id)

    ids: list[str] = []
    pool.periodically("* * * * * *", "tick")
    async with pool.running():
        await until(lambda: len(ids) == 2)
        fired = (await instances.last_fired())["tick:* * * * * *"]
    assert f"periodic:tick:* * * * * *:{fired}" in ids or fired > int(ids[-1].rpartition(":")[2])


async def test_what_cannot_be_is_refused_at_registration(bench: Bench) -> None:
    pool = bench.pool()
    for spec, message in [("nonsense", "."), ("0 0 0 31 2 *", "never"), ("* * * * * 7", "."), ("", ".")]:
        with pytest.raises(ScheduleError, match=message):
            pool.periodically(spec, "foo")
    with pytest.raises(UsageError, match="comma"):
        pool.periodically("* * * * * *", "a,b")
    with pytest.raises(ArgumentEncodingError, match="x"):
        pool.periodically("* * * * * *", "foo", {"x": {1}})
    assert pool.periodic_jobs == []


async def test_a_name_without_a_handler_is_refused_when_the_pool_starts(bench: Bench) -> None:
    pool = bench.pool()
    pool.periodically("@hourly", "rebiuld")
    pool.job("rebuild")(lambda: None)
    with pytest.raises(HandlerError, match=r"'rebiuld' has no handler in this pool, .* Did you mean 'rebuild'\?"):
        await pool.start()
    assert pool.id is None
    with pytest.raises(HandlerError, match="elsewhere=True"):
        async with pool.running():
            pass
    # A handler may come after its schedule.
    pool.job("rebiuld")(lambda: None)
    pool.periodically("@hourly", "of another program", elsewhere=True)
    async with pool.running():
        assert pool.id is not None


async def test_a_task_can_be_periodic_and_its_arguments_are_checked(bench: Bench) -> None:
    got: list[set[int]] = []
    pool = bench.pool()

    @pool.job("tick")
    async def handler(ids: set[int], note: str = "") -> None:
        got.append(ids)

    with pytest.raises(UsageError, match="argument 'ids' is missing"):
        pool.periodically("* * * * * *", handler)
    with pytest.raises(UsageError, match=r"takes no argument 'idz'; it takes ids, note\. Did you mean 'ids'\?"):
        pool.periodically("* * * * * *", handler, {"ids": {1}, "idz": 1})
    with pytest.raises(UsageError, match="the names of arguments must be text, not 1"):
        pool.periodically("* * * * * *", handler, {1: 2})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match=r"tick: argument 'ids' has the wrong type at .*: wanted int, found str 'x'"):
        pool.periodically("* * * * * *", handler, {"ids": ["x"]})
    pool.periodically("* * * * * *", handler, {"ids": {2, 1}})
    assert pool.periodic_jobs == [("* * * * * *", "tick")]
    async with pool.running():
        await until(lambda: got)
    assert got[0] == {1, 2}


async def test_a_decorated_function_is_a_job_and_runs_by_the_schedule(bench: Bench) -> None:
    got: list[set[int]] = []
    pool = bench.pool()

    @pool.periodic("* * * * * *", tz="Europe/Berlin", args={"ids": {2, 1}})
    async def tick(ids: set[int]) -> None:
        got.append(ids)

    assert isinstance(tick, Task)
    assert (tick.name, pool.job_names) == ("tick", ["tick"])
    assert pool.periodic_jobs == [("TZ=Europe/Berlin * * * * * *", "tick")]
    async with pool.running():
        await until(lambda: got)
    assert got[0] == {1, 2}


async def test_a_schedule_and_a_job_decorate_in_either_order(bench: Bench) -> None:
    ran: list[str] = []
    pool = bench.pool()

    @pool.periodic("* * * * * *")
    @pool.job("outside", max_fails=1)
    async def schedule_outside() -> None:
        ran.append("outside")

    @pool.job("inside", max_fails=2)
    @pool.periodic("* * * * * *")
    @pool.periodic("@hourly", args={"n": 1})
    async def schedule_inside(n: int = 0) -> None:
        ran.append("inside")

    assert (schedule_outside.name, schedule_inside.name) == ("outside", "inside")
    assert pool.job_names == ["inside", "outside"]
    assert [each.max_fails for each in pool.job_options.values()] == [2, 1]
    assert pool.periodic_jobs == [("* * * * * *", "outside"), ("@hourly", "inside"), ("* * * * * *", "inside")]
    async with pool.running():
        await until(lambda: set(ran) == {"inside", "outside"})


def test_a_job_that_was_named_once_is_another_job_the_second_time() -> None:
    pool = WorkerPool()

    @pool.job("first")
    @pool.periodic("@hourly")
    async def either() -> None: ...

    second = pool.job("second")(either)
    assert pool.job_names == ["first", "second"]
    assert second.name == "second"
    assert pool.periodic_jobs == [("@hourly", "first")]


def test_a_job_of_the_same_name_does_not_lose_its_schedule() -> None:
    pool = WorkerPool()
    pool.periodically("@daily", "tick")

    @pool.job("tock")
    @pool.periodic("@hourly")
    async def tick() -> None: ...

    assert pool.periodic_jobs == [("@daily", "tick"), ("@hourly", "tock")]
    pool.job("tick")(lambda: None)
    assert pool.job_names == ["tick", "tock"]


async def test_a_refused_decoration_leaves_the_pool_as_it_was(bench: Bench) -> None:
    pool = bench.pool()

    async def tick(ids: set[int]) -> None: ...

    with pytest.raises(UsageError, match="tick: argument 'ids' is missing"):
        pool.periodic("@hourly")(tick)
    with pytest.raises(UsageError, match=r"takes no argument 'idz'; it takes ids\. Did you mean 'ids'\?"):
        pool.periodic("@hourly", args={"ids": [1], "idz": 1})(tick)
    with pytest.raises(UsageError, match="must be given by name, in a dict"):
        pool.periodic("@hourly", args=[1])(tick)  # type: ignore[arg-type]
    assert (pool.job_names, pool.periodic_jobs) == ([], [])
    scheduled = pool.periodic("@hourly", args={"ids": [1]})(tick)
    pool.job("taken")(lambda: None)
    with pytest.raises(HandlerError, match="'taken' has a handler already"):
        pool.job("taken")(scheduled)
    assert (pool.job_names, pool.periodic_jobs) == (["taken", "tick"], [("@hourly", "tick")])
    pool.job("tick", max_fails=1)(scheduled)
    assert pool.job_options["tick"].max_fails == 1
    async with pool.running():
        with pytest.raises(UsageError, match="add a periodic job before it starts"):
            pool.periodic("@hourly")(scheduled)


async def test_a_task_of_another_pool_needs_a_handler_in_this_one(bench: Bench) -> None:
    other, pool = bench.pool(), bench.pool()
    task = other.job("elsewhere")(lambda: None)
    assert pool.periodic("@hourly")(task) is task
    with pytest.raises(HandlerError, match="'elsewhere' has no handler in this pool"):
        await pool.start()


BERLIN = "such as 'Europe/Berlin'"
BAD_ZONES: list[tuple[str, Any, str]] = [
    ("@hourly", "Europe/Berln", r"\(case counts\), not 'Europe/Berln'\. Did you mean 'Europe/Berlin'\?$"),
    ("@hourly", "europe/berlin", r"\. Did you mean 'Europe/Berlin'\?$"),
    ("@hourly", "", BERLIN),
    ("@hourly", "UTC 0", BERLIN),
    ("@hourly", "../UTC", BERLIN),
    ("@hourly", 1, f"{BERLIN}, not 1"),
    ("TZ=UTC @hourly", "Europe/Berlin", "names the time zone 'UTC', and tz is 'Europe/Berlin'; give the zone once"),
    ("  CRON_TZ=UTC @hourly", "UTC", "give the zone once, as tz='UTC'"),
    ("", "UTC", "it has 0 fields"),
]


@pytest.mark.parametrize(("spec", "tz", "message"), BAD_ZONES)
def test_a_wrong_zone_is_refused_in_one_line(spec: str, tz: Any, message: str) -> None:
    pool = WorkerPool()
    with pytest.raises(ScheduleError, match=message) as raised:
        pool.periodic(spec, tz=tz)
    with pytest.raises(ScheduleError, match=message):
        pool.periodically(spec, "foo", tz=tz)
    assert "\n" not in str(raised.value)
    assert pool.periodic_jobs == []


def test_a_host_without_zone_files_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_zones, "available_timezones", set)
    with pytest.raises(ScheduleError, match="install the package tzdata"):
        Schedule.parse("@hourly", "Europe/Berln")


@pytest.mark.parametrize("tz", ["UTC", "Local", "Europe/Berlin"])
def test_a_zone_means_the_same_in_front_of_the_spec(tz: str) -> None:
    one, other = Schedule.parse("0 0 3 * * *", tz), Schedule.parse(f"TZ={tz} 0 0 3 * * *")
    assert one == other
    assert one.next(1_700_000_000) == other.next(1_700_000_000)
    pool = WorkerPool()
    pool.periodically("0 0 3 * * *", "foo", tz=tz)
    assert pool.periodic_jobs == [(f"TZ={tz} 0 0 3 * * *", "foo")]


# A schedule that was changed


async def heartbeat(bench: Bench, pool_id: str, *jobs: PeriodicJob, started_at: int = 1, runner: str = "ours") -> None:
    periodic = tuple(PeriodicState(each.name, each.schedule.spec, each.key, each.args) for each in jobs)
    beat = Heartbeat(pool_id, 5, started_at, (), 1, (), "host", 1, runner=runner, periodic=periodic)
    await PoolRegistry(bench.in_redis).write_heartbeat(beat)


async def forget(bench: Bench, *pool_ids: str) -> None:
    for pool_id in pool_ids:
        await PoolRegistry(bench.in_redis).forget_pool(pool_id)


def minutely(spec: str = "0 * * * * *", args: bytes = b"null", name: str = "foo") -> PeriodicJob:
    return PeriodicJob(name, Schedule.parse(spec), args)


OLD, NEW, OTHER = minutely(), minutely("0 */1 * * * *"), minutely(name="bar")
WITH_ARGS = minutely(args=b'{"n":1}')


@pytest.mark.parametrize(
    ("planned", "pools", "runs"),
    [
        (OLD, [[NEW]], False),
        (OLD, [[NEW], [OTHER]], False),
        # A pool that has it still, or both.
        (OLD, [[NEW], [OLD]], True),
        (OLD, [[NEW, OLD]], True),
        # Nothing takes its place.
        (OLD, [], True),
        (OLD, [[OTHER]], True),
        (OLD, [[minutely("0 */1 * * * *", b'{"n":1}')]], True),
        (WITH_ARGS, [[minutely("0 */1 * * * *", b'{"n":1}')]], False),
        (WITH_ARGS, [[minutely("0 */1 * * * *", b'{"n":2}')]], True),
    ],
)
async def test_an_instance_planned_by_a_changed_schedule_does_not_run_beside_the_new_one(
    bench: Bench, planned: PeriodicJob, pools: list[list[PeriodicJob]], runs: bool
) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.zadd(bench.keys.scheduled, {planned.instance(300): 300})
    for number, jobs in enumerate(pools):
        await heartbeat(bench, f"pool{number}", *jobs)
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    assert len(await bench.waiting("foo")) == runs
    assert await bench.job_set("scheduled") == []
    await forget(bench, *(f"pool{number}" for number in range(len(pools))))


async def test_a_go_pool_may_have_planned_an_instance_without_arguments(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.zadd(bench.keys.scheduled, {each.instance(300): 300 for each in (OLD, WITH_ARGS)})
    await heartbeat(bench, "go", runner="")
    await heartbeat(bench, "ours", NEW, minutely("0 */1 * * * *", b'{"n":1}'))
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    (job,) = await bench.waiting("foo")
    assert json.loads(job)["args"] is None
    await forget(bench, "go", "ours")


async def test_an_instance_due_before_the_new_schedule_began_runs(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.zadd(bench.keys.scheduled, {OLD.instance(at): at for at in (240, 300)})
    await heartbeat(bench, "ours", NEW, started_at=240)
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    (job,) = await bench.waiting("foo")
    assert json.loads(job)["id"] == f"periodic:{OLD.key}:240"
    await forget(bench, "ours")


async def test_an_instance_that_has_run_and_was_put_off_is_kept(bench: Bench) -> None:
    await bench.redis.sadd(bench.keys.known_jobs, "foo")
    await bench.redis.zadd(bench.keys.scheduled, {OLD.instance(300): 310})
    await heartbeat(bench, "ours", NEW)
    await Requeuer(bench.in_redis, JobSet.SCHEDULED, 1.0).run_once()
    assert len(await bench.waiting("foo")) == 1
    await forget(bench, "ours")


async def test_a_respelled_schedule_fires_once(bench: Bench) -> None:
    fired: Counter[int] = Counter()
    # Both mean the same seconds.
    for spec in ("* * * * * *", "*/1 * * * * *"):
        pool = bench.pool()

        @pool.job
        async def tick(job: Job) -> None:
            fired[int(job.id.rpartition(":")[2])] += 1

        pool.periodically(spec, "tick")
        already = len(fired)
        async with pool.running():
            await until(lambda already=already: len(fired) >= already + 3)
    assert set(fired.values()) == {1}


@pytest.mark.parametrize("name", ["report", "a:report"])
@pytest.mark.parametrize("args", [None, {"n": 1}])
async def test_the_spec_of_a_periodic_job_stays_when_no_pool_plans_it(
    bench: Bench, name: str, args: dict[str, int] | None
) -> None:
    schedule = Schedule.parse("* * * * * *", tz="Europe/Berlin")
    job = PeriodicJob(name, schedule, encode_args(args))
    await bench.redis.hset(bench.keys.periodic_fired, job.key, 100)
    async with Client(bench.url, namespace=bench.namespace) as client:
        (state,) = await client.periodic_jobs()
    assert (state.name, state.spec, state.key, state.last) == (name, schedule.spec, job.key, 100)
