"""A process that is killed between any two commands to Redis loses nothing.

A pool lives in a process of its own and does everything that a pool can do, through a proxy that lets its commands
through one at a time. It is killed before and after each: the first ``ack``, the second, and so on, likewise for each
script and verb, as many as there were when no process was killed. Then another pool reaps it and runs what is left.
Every job must have ended, or be where it belongs; no job with a recorded result may run again; the audit must find
nothing.

Thinned out are commands that change no key, and heartbeats: several of a kind in a row on one connection, such as the
scripts that it loads when it is opened, are one; and of each such kind only the first few are tried. Each run of the
tests tries the first of a kind, and the long tests try the rest.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from asyncwork import Client, EnqueueOptions, Job, JobCall, Unique
from asyncwork._doctor.contents import read_contents
from asyncwork._jobs.hold import digest_of, mark_of
from asyncwork._jobs.periodic_job import PeriodicJob
from asyncwork._redis import scripts
from asyncwork._redis.commands import fingerprint
from asyncwork.schedule import Schedule

from .conftest import LIMIT, Bench, open_bench, until
from .doomed import CHUNKED, LIMITED, POPS, RATED, RATED_CHUNKS, STEPPED, Diary, live, make_pool
from .once import once
from .stepping import HARMLESS, Moment, Point, Stepper, stepping

# Scripts that no pool calls: they are an enqueuer's or a client's, which tests/test_killed_deletions.py kills.
_OF_OTHERS = {
    *(
        "add_nodes",
        "create_unique_flow",
        "cancel_batch",
        "change_periodic",
        "close_batch",
        "count_members",
        "debounce",
        "delete_from_list",
        "delete_members_from_set",
        "delete_members_from_list",
        "end_lost",
        "expire_steps",
        "enqueue_holder",
        "enqueue_limited",
        "enqueue_unique",
        "enqueue_unique_at",
        "forget_job",
        "free_holds",
        "free_unclaimed",
        "mark_cancelled",
        "request_state",
        "retry_nodes",
        "repair_flow",
        "take_slot",
        "signal",
        "reserve_members",
        "settle_members",
    ),
    # Those of fair queues, which have their own test.
    *("enqueue_fair", "forget_tenants", "list_tenants", "open_tenants", "read_tenants"),
    "review_tenants",
    "set_tenant",
    *("read_lock", "rebuild_lock", "renew_heartbeat", "restore_to_set", "restore_to_list", "run_periodic"),
    *("throttle", "watch_jobs", "watch_batches"),
}
_VERBS = {
    *("BRPOPLPUSH", "CLIENT ID", "CLIENT UNBLOCK", "DEL", "EXISTS", "HDEL", "HGET", "HGETALL", "HKEYS", "HMGET"),
    "MGET",
    *(
        "HSET",
        "HSETNX",
        "INFO",
        "LRANGE",
        "PERSIST",
        "PING",
        "PUBLISH",
        "SCAN",
        "SCRIPT EXISTS",
        "SET",
        "SMEMBERS",
        "SMISMEMBER",
        "SREM",
        "SUBSCRIBE",
    ),
    *("TIME", "ZADD", "ZCARD", "ZRANGE", "ZRANGEBYSCORE", "ZREMRANGEBYRANK"),
}
# Those that end one job.
_OF_ONE = ("move", "drop_cancelled", "finish_steps")
KINDS = sorted({*scripts.names()} - _OF_OTHERS | _VERBS)
# Commands that background services send again and again, even if there is nothing to do, and how many are tried.
_IDLE, _IDLE_TRIED = HARMLESS | {"write_heartbeat"}, 3
# Processes that are killed at a time. They mostly wait.
_AT_ONCE = 12
# Seconds for what takes one. On an overloaded machine, a pool that counts as dead after 0.2 s claims its jobs again and
# again.
_TIMEOUT = 3 * LIMIT

POOL, WORKER = "d" * 24, "e" * 24

# Enqueued in one call.
TASKS = {
    "is plain": EnqueueOptions(),
    "is at the front": EnqueueOptions(front=True),
    "has its own id": EnqueueOptions(id="order-7"),
    "checks in": EnqueueOptions(delay=0),
    **{does: EnqueueOptions() for does in ("fails", "snoozes", "discards")},
}
# Those whose results are kept.
SINGLE = {"is single 0", "is single 1", "is orphaned", "is late", "is single member", "is kept", "holds and is kept"}
# Where they end; all others run to their end and are gone.
LOCATIONS = {
    "fails": "retry",
    "dies": "dead",
    "member dies": "dead",
    "snoozes": "scheduled",
    "happens yearly": "scheduled",
}

_processes = multiprocessing.get_context("forkserver")
# So that a new process has everything at hand; pytest too, because it imports what was the main program.
_processes.set_forkserver_preload(["pytest", "tests.doomed", "tests.stepping", "croniter"])


def payload(does: str, name: str = "task", **fields: Any) -> bytes:
    return json.dumps({"name": name, "id": does, "t": 1, "args": {"does": does}, **fields}).encode()


class Scenario:
    """The work that there is for a pool.

    :ivar offered: what may run.
    :ivar accepted: what must come to its end.
    :ivar fair: whether each job that is enqueued belongs to a tenant, and the tenants take turns.
    """

    def __init__(self, bench: Bench, diary: Diary, *, fair: bool = False) -> None:
        self.fair = fair
        self._bench = bench
        self._diary = diary
        self.offered: set[str] = set()
        self.accepted: set[str] = set()
        self._planned = b""
        self._unreadable = ""

    async def offer(self, does: str, name: str = "task", *, tenant: str = "") -> None:
        self.offered.add(does)
        await self._bench.enqueuer.enqueue(name, {"does": does}, partition=(tenant or does) if self.fair else None)
        self.accepted.add(does)

    async def plant(self) -> None:
        """Leave jobs everywhere before the process starts."""
        enqueuer, redis, keys = self._bench.enqueuer, self._bench.redis, self._bench.keys
        # Otherwise the first process would load some of the scripts in another way.
        await (await self._bench.redis_client.open()).close()
        await enqueuer.enqueue_many(JobCall("task", {"does": does}, options) for does, options in TASKS.items())
        for n in range(2):
            await self.offer(f"is single {n}", "single")
        for n in range(4):
            await self.offer(f"is chunked {n}", CHUNKED)
        for does in ("is rated", "rests"):
            await self.offer(does, RATED)
        await self.offer("takes steps", STEPPED)
        await self.offer("is limited", LIMITED)
        for n in range(2 * self.fair):
            await self.offer(f"waits for a token {n}", RATED, tenant="slow")
            await self.offer(f"is rated and chunked {n}", RATED_CHUNKS, tenant="same")
        await enqueuer.enqueue("task", {"does": "is unique"}, unique=True, front=True)
        await enqueuer.enqueue("task", {"does": "is older"}, unique={"key": 1})
        await enqueuer.enqueue("task", {"does": "is newer"}, unique={"key": 1})
        await redis.zadd(keys.scheduled, {payload("is due"): 1})
        await redis.zadd(keys.retry, {payload("is retried", fails=1, err="sorry", failed_at=1): 1})
        killed = payload("is rescued", fails=1, err="unknown job when requeueing", failed_at=1)
        await redis.zadd(keys.dead, {killed: time.time(), payload("is too old"): 1})
        await enqueuer.enqueue("task", {"does": "holds a key"}, unique=Unique(until="done"))
        await enqueuer.enqueue("single", {"does": "holds and is kept"}, unique=Unique(until="done"))
        # Its death frees a key.
        digest = digest_of({"of": "dies"})
        held = payload("dies", fails=1, err="sorry", failed_at=1, hold=mark_of("done", digest))
        await redis.hset(keys.hold("task", digest), mapping={"id": "dies", "since": 1, "until": "done"})
        await redis.lpush(keys.queue("task"), held)
        await redis.lpush(keys.queue("task"), payload("is suspected"), b"{no job}")
        await redis.hset(keys.crashes, fingerprint(payload("is suspected")), 2)
        await redis.lpush(keys.queue("task"), payload("is-cancelled"))
        await redis.hset(keys.cancels, "is-cancelled", b"{}")
        await self._plant_batch()
        await self._plant_flows()
        await self._plant_dead_pool()
        planted = {"is unique", "is newer", "is due", "is retried", "is rescued", "dies", "is suspected", "is orphaned"}
        planted |= {"holds a key", "holds and is kept"}
        self.offered |= planted | TASKS.keys()
        self.accepted |= planted | TASKS.keys()

    async def _plant_batch(self) -> None:
        """Leave a batch whose members end in every way."""
        enqueuer, redis, keys = self._bench.enqueuer, self._bench.redis, self._bench.keys
        async with enqueuer.batch(on_done=("task", {"does": "is called"})) as batch:
            await batch.add("task", {"does": "is member"})
            await batch.add("single", {"does": "is single member"})
            await batch.add("task", {"does": "member discards"})
            await batch.add("task", {"does": "member is cancelled"})
            await batch.add(JobCall("task", {"does": "member is replaced"}, EnqueueOptions(unique=True)))
            await batch.add(JobCall("task", {"does": "is holding member"}, EnqueueOptions(unique=Unique(until="done"))))
            async with batch.add_batch() as inner:
                await inner.add("task", {"does": "is inner member"})
        await redis.hset(keys.cancels, f"{batch.id}-3", b"{}")
        # As a program of gocraft/work does with EnqueueUniqueByKey.
        unique = keys.unique_for("task", {"does": "member is replaced"})
        await redis.set(unique, payload("replaces a member"), ex=1000)
        # One that has failed before, and one that is not a job: both are counted among the members.
        died = payload("member dies", fails=1, err="sorry", failed_at=1).replace(b'"member dies", "t"', b'"ID", "t"')
        unreadable = b'{"name":"task","id":"%b-8",' % batch.id.encode()
        await redis.lpush(keys.queue("task"), died.replace(b"ID", f"{batch.id}-7".encode()), unreadable)
        await redis.hincrby(keys.batch(batch.id)[0], "total", 2)
        await redis.hincrby(keys.batch(batch.id)[0], "left", 2)
        self._unreadable = unreadable.decode()
        planted = {
            "is member",
            "is single member",
            "member discards",
            "is holding member",
            "is inner member",
            "replaces a member",
            "member dies",
            "is called",
        }
        self.offered |= planted
        self.accepted |= planted

    async def _plant_flows(self) -> None:
        """Leave a flow whose nodes take results, and one with a step that was not taken yet."""
        enqueuer, redis, keys = self._bench.enqueuer, self._bench.redis, self._bench.keys
        flow = enqueuer.flow()
        results = [flow.add(name, {"does": does}).result for name, does in (("task", "is root"), ("single", "is kept"))]
        next_node = flow.add("task", {"does": "takes results", "of": results})
        flow.add("task", {"does": "is skipped"}, after=next_node, when="failure")
        flow.add("task", {"does": "is last node"}, after=next_node, when="done")
        await flow.start()
        flow = enqueuer.flow()
        flow.add("task", {"does": "is released"}, after=flow.add("task", {"does": "has ended"}))
        await flow.start()
        # The root has ended, and that is not counted yet in what follows.
        batch, ended, _, _, nodes = keys.batch(flow.id)
        (root,) = [each for each in await redis.lrange(keys.queue("task"), 0, -1) if f"{flow.id}-0".encode() in each]
        await redis.lrem(keys.queue("task"), 1, root)
        await redis.setbit(ended, 0, 1)
        await redis.hincrby(batch, "left", -1)
        await redis.hset(batch, "rest", "0 1")
        await redis.hset(nodes, "rest:0", "change 0 1 left done 0")
        await redis.zadd(keys.scheduled, {await redis.hget(nodes, "settle"): 1})
        planted = {"is root", "is kept", "takes results", "is last node", "is released"}
        self.offered |= planted
        self.accepted |= planted

    async def _plant_dead_pool(self) -> None:
        redis, keys = self._bench.redis, self._bench.keys
        await redis.sadd(keys.worker_pools, POOL)
        fields = {"heartbeat_at": 1, "job_names": "single", "worker_ids": WORKER}
        await redis.hset(keys.heartbeat(POOL), mapping=fields)
        await redis.hset(keys.observation(WORKER), "job_name", "single")
        await redis.lpush(keys.in_progress("single", POOL), payload("is orphaned", "single"))
        await redis.set(keys.lock("single"), 1)
        await redis.hset(keys.lock_info("single"), POOL, 1)

    async def play(self, stepper: Stepper, process: BaseProcess) -> None:
        """Have the process do everything, then have it stop.

        Redis is spoken to only while the process is held still, and so never when this is cancelled.
        """
        redis, keys = self._bench.redis, self._bench.keys
        await until(self._ended, _TIMEOUT)
        async with stepper.still():
            await self._request("quiet", 6)
        await stepper.until_done(lambda kind, sent, _: kind == "write_heartbeat" and b"quiet" in sent)
        async with stepper.still():
            await self._request("running", POPS)
            await self._plan_by_another_schedule()
        await stepper.until_done(lambda kind, _, __: kind == "drop_planned")
        async with stepper.still(pops=POPS):
            await redis.set(keys.paused("held"), 1)
            await self.offer("is held", "held")
            await self.offer("is popped")
            await self.offer("is popped with a token", LIMITED)
        if not self.fair:
            await stepper.until_done(lambda kind, _, answer: kind == "admit" and answer[0] == 0)
        async with stepper.still():
            await redis.delete(keys.paused("held"))
        await until(self._ended, _TIMEOUT)
        async with stepper.still(pops=POPS):
            await self.offer("lasts")
        await until(lambda: self._diary.read("began")["lasts"], _TIMEOUT)
        async with stepper.still():
            await self._doubt_pool()
        await stepper.until_done(lambda kind, _, __: kind in ("claim", "fair:claim"))
        async with stepper.still(pops=POPS):
            process.terminate()
            # It may have been killed just before.
            await until(lambda: stepper.killed or self._diary.read("stopping"), _TIMEOUT)
            await self.offer("is late", "single")
        await asyncio.Future()

    def _ended(self) -> bool:
        """Whether the process has run all jobs that it accepted.

        If it was considered dead, the first job of the rated queue may have gone back to it when it already rested.
        """
        return self.accepted - {"is rated"} <= self._diary.read("ended").keys()

    async def _request(self, state: str, concurrency: int) -> None:
        """Ask the process to be in a state and to run so many jobs at once; it reads both at once."""
        async with Client(self._bench.url, namespace=self._bench.namespace) as client:
            for each in await client.heartbeats():
                if each.takes_requests:
                    await client.resize_pool(each.pool_id, concurrency)
                    await (client.quiet_pool if state == "quiet" else client.unquiet_pool)(each.pool_id)

    async def _plan_by_another_schedule(self) -> None:
        """Leave an instance that a schedule has planned which was changed when the process started."""
        redis, keys = self._bench.redis, self._bench.keys
        started = [
            int(await redis.hget(keys.heartbeat(each.decode()), "started_at") or 0)
            for each in await redis.smembers(keys.worker_pools)
        ]
        at, args = max(started) + 1, b'{"does":"happens yearly"}'
        # The process drops it. A pool that starts later runs it: for that one, it was due before.
        self.offered.add("happens yearly")
        self._planned = PeriodicJob("task", Schedule.parse("0 0 1 1 1 *"), args).instance(at)
        await redis.zadd(keys.scheduled, {self._planned: at})

    async def _doubt_pool(self) -> None:
        """Leave the process as one against which a crash was counted, and that lives: it claims what it runs."""
        redis, keys = self._bench.redis, self._bench.keys
        for pool_id in await redis.smembers(keys.worker_pools):
            await redis.sadd(keys.crashes_of(pool_id.decode()), "0" * 40)

    async def rescue(self) -> None:
        """Have another pool take up what is left."""
        redis, keys = self._bench.redis, self._bench.keys
        await redis.delete(keys.paused("held"), keys.paused(RATED))
        pool = make_pool(self._bench.url, self._bench.namespace, self._diary, doomed=False, fair=self.fair)

        async def due_is_gone() -> bool:
            return await redis.zscore(keys.scheduled, self._planned) is None

        async def alone() -> bool:
            return {each.decode() for each in await redis.smembers(keys.worker_pools)} == {pool.id}

        async def old_is_gone() -> bool:
            return await redis.zscore(keys.dead, payload("is too old")) is None

        async with pool.running():
            await until(alone, _TIMEOUT)
            if self.fair:
                # Only the tenant of the rate limited job rests.
                async with Client(self._bench.url, namespace=self._bench.namespace) as client:
                    await client.unpause_partition(RATED, "rests")
            await until(old_is_gone, _TIMEOUT)
            await until(due_is_gone, _TIMEOUT)
            # It may have to be woken first.
            await until(lambda: "takes steps" in self._diary.read("ended"), _TIMEOUT)
            await until(lambda: self.accepted <= self._diary.read("ended").keys(), _TIMEOUT)
            await pool.drain()

    def _check_steps(self, recorded: Counter[str], *, killed: bool) -> None:
        """Check that no step ran again that was recorded, and no row that was done before the job slept.

        :param recorded: of the steps that were recorded before the process was killed, how often each had run.
        """
        steps, rows = self._diary.read("step"), self._diary.read("row")
        assert steps.keys() == {"first", "second"}
        assert {step: steps[step] for step in recorded} == recorded
        assert max(steps.values()) <= 1 + killed
        assert rows.keys() == {"1", "2", "3"}
        # The last one is never done, and the next attempt begins with it.
        assert (rows["1"], rows["2"]) == (1, 1) or killed
        assert rows["3"] >= 2

    async def check(self, settled: Counter[str], recorded: Counter[str], *, killed: bool) -> None:
        """Check that nothing is lost, and that nothing ran that should not have.

        :param recorded: see :meth:`_check_steps`.
        :param settled: of what was settled before the process was killed, how often it had begun.
        :param killed: whether it was killed. The calls of hooks that it owed are lost then.
        """
        failures, deaths = self._diary.read("failure"), self._diary.read("death")
        if killed:
            assert failures <= Counter({"fails": 2, "dies": 2, "member dies": 2})
            assert deaths <= Counter({"dies": 2, "member dies": 2})
        else:
            assert failures == Counter({"fails": 1, "dies": 1, "member dies": 1})
            assert deaths == Counter({"dies": 1, "member dies": 1})
        began, ended = self._diary.read("began"), self._diary.read("ended")
        assert began.keys() <= self.offered
        assert self.accepted <= ended.keys()
        # One runs once more, after it has slept.
        assert max(count - (job == "takes steps") for job, count in began.items()) <= 2
        self._check_steps(recorded, killed=killed)
        assert {job: began[job] for job in settled} == settled
        found = await read_contents(self._bench.in_redis)
        locations = [(does_of(each), job_set) for job_set, payloads in found.job_sets.items() for each in payloads]
        assert sorted(locations) == sorted(LOCATIONS.items())
        assert not any(state.waiting for state in found.queues.values())
        quarantined = sorted(json.loads(record)["payload"] for record in found.quarantine)
        assert quarantined == sorted(["{no job}", self._unreadable])
        assert all(each.status.ended for each in found.batches.values())
        assert sorted(each.status.failed for each in found.batches.values()) == [0, 0, 0, 3]
        assert found.unique_keys == {}
        redis, keys = self._bench.redis, self._bench.keys
        records = [each async for each in redis.scan_iter(keys.job_record("*"))]
        assert {await redis.hget(each, "state") for each in records} == {b"done"}
        assert len(records) == len(self.offered & SINGLE)
        for record in records:
            *emitted, (_, end) = await redis.xrange(record.replace(b":job:", b":stream:"))
            assert end == {b"end": b"done"}
            attempts = [int(fields[b"attempt"]) for _, fields in emitted]
            assert attempts == sorted(set(attempts))
            assert attempts
        assert await self._bench.audit() == []


def does_of(payload: bytes) -> str:
    return str(Job.decode(payload).args["does"])


def settled_by(stepper: Stepper) -> Iterable[str]:
    """Return the jobs whose end Redis has recorded."""
    for kind, command, answer in stepper.done:
        if kind.startswith(scripts.FAIR):
            # The last argument of a variant is the number of its fair queues.
            kind, command = kind.removeprefix(scripts.FAIR), command[:-1]
        # Behind the name, the script, the number of keys, the keys, and the pool's id.
        first = 4 + int(command[2]) if kind in ("ack", "finish", *_OF_ONE) else 0
        if kind == "ack" and answer:
            yield from map(does_of, command[first:])
        elif kind == "finish" and answer:
            yield from map(does_of, ended_by(command, first))
        elif kind in _OF_ONE and answer:
            yield does_of(command[first])


def recorded_by(stepper: Stepper) -> Iterable[str]:
    """Return the steps that Redis has recorded."""
    for kind, command, answer in stepper.done:
        # Behind the name, the script, the number of keys, the keys, and the payload.
        if kind == "record_step" and answer and (step := command[6].decode()).startswith("step:"):
            yield step.removeprefix("step:")


def ended_by(command: Sequence[bytes], at: int) -> Iterable[bytes]:
    """Yield the payloads in a call of `finish`, which begin at some argument."""
    while at < len(command):
        yield command[at]
        at += 5 + int(command[at + 2].split()[3])


async def end_of(process: BaseProcess) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(process.sentinel)


async def run(server_url: str, file: Path, point: Point | None = None, *, fair: bool = False) -> Stepper:
    """Let a process live until it is killed or has stopped, and see what is left."""
    diary = Diary(file)
    async with open_bench(server_url, delete=True) as bench, stepping(server_url, point) as stepper:
        scenario = Scenario(bench, diary, fair=fair)
        await scenario.plant()
        process = _processes.Process(target=live, args=(stepper.url, bench.namespace, file, fair), daemon=True)
        stepper.kill = process.kill
        process.start()
        playing, ending = asyncio.create_task(scenario.play(stepper, process)), asyncio.create_task(end_of(process))
        try:
            over, _ = await asyncio.wait([playing, ending], timeout=_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            stuck = [] if over else [*playing.get_stack(), *(scenario.accepted - diary.read("ended").keys())]
        finally:
            process.kill()
            process.join()
            async with stepper.still():
                ending.cancel()
                playing.cancel()
        # Both are over before the sentinel is closed, whose number the next process may get.
        error, _ = await asyncio.gather(playing, ending, return_exceptions=True)
        if isinstance(error, Exception):
            raise error
        assert stuck == []
        assert process.exitcode == (-signal.SIGKILL if stepper.killed else 0)
        process.close()
        await stepper.stop()
        began, steps = diary.read("began"), diary.read("step")
        await scenario.rescue()
        settled = Counter({job: began[job] for job in settled_by(stepper)})
        recorded = Counter({step: steps[step] for step in recorded_by(stepper)})
        await scenario.check(settled, recorded, killed=stepper.killed)
    return stepper


@pytest.fixture(scope="session")
def counted(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How many commands of each kind there are when no process is killed."""
    return Counter(
        once(
            tmp_path_factory,
            "commands",
            lambda: asyncio.run(run(redis_url, tmp_path_factory.mktemp("diary") / "diary")).seen,
        )
    )


def test_every_kind_of_command_is_tried(counted: Counter[str]) -> None:
    assert sorted(counted) == KINDS


def later_points(kind: str, counted: Counter[str]) -> list[Point]:
    """Return where a process is killed in the long tests: at each of a kind but the first."""
    tried = min(counted[kind], _IDLE_TRIED) if kind in _IDLE else counted[kind]
    return [Point(kind, nth, moment) for nth in range(2, tried + 1) for moment in Moment]


async def kill_at(points: list[Point], redis_url: str, directory: Path, *, fair: bool = False) -> set[Point]:
    """Try all points; return those at which a process was killed."""
    at_once = asyncio.Semaphore(_AT_ONCE)
    reached: set[Point] = set()

    async def try_at(point: Point) -> None:
        async with at_once:
            try:
                stepper = await run(redis_url, directory / str(point), point, fair=fair)
            except Exception as error:
                error.add_note(f"killed at: {point}")
                raise
        if stepper.killed:
            reached.add(point)

    # All of them, also when one has failed.
    errors = await asyncio.gather(*map(try_at, points), return_exceptions=True)
    if failures := [each for each in errors if each is not None]:
        raise BaseExceptionGroup("killed at these points", failures)
    return reached


@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_is_killed_loses_nothing(redis_url: str, tmp_path: Path, kind: str) -> None:
    points = [Point(kind, 1, moment) for moment in Moment]
    assert await kill_at(points, redis_url, tmp_path) == {*points}


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_a_process_that_is_killed_anywhere_loses_nothing(
    redis_url: str, counted: Counter[str], tmp_path: Path, kind: str
) -> None:
    # There may be none, because how often a pool asks depends on how busy the machine is.
    await kill_at(later_points(kind, counted), redis_url, tmp_path)
