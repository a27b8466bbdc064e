"""The status of one job: where it is, why it does not run yet, and how the terminal shows it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from asyncwork import (
    Client,
    Job,
    JobAttempt,
    JobCounts,
    JobRecord,
    JobState,
    JobStatus,
    Progress,
    UsageError,
    WorkerPool,
)
from asyncwork._redis.cancels import CancelMark, Cancels
from asyncwork._redis.metrics import MetricsStore

from .conftest import Bench, until
from .payloads import payload
from .test_cli import program, run
from .web_app import serving

HERE = re.escape(f"the pool on {socket.gethostname()}, process {os.getpid()}, holds")


@pytest.fixture
async def client(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


def hide_card(record: JobRecord) -> JobRecord:
    return replace(record, args=b'{"card":"[redacted]"}') if b"card" in record.args else record


@pytest.fixture
async def redacting(bench: Bench) -> Any:
    async with Client(bench.url, namespace=bench.namespace, redact=hide_card) as client:
        yield client


class Gate:
    """A pool whose jobs wait until they may end."""

    def __init__(self, bench: Bench, *, concurrency: int = 1, **options: Any) -> None:
        self.pool: WorkerPool[Any] = bench.pool(concurrency=concurrency)
        self.may_end = asyncio.Event()
        self.fails = False

        @self.pool.job(**options)
        async def wat(job: Job, card: str = "", n: int = 0) -> int:
            job.progress(3, 10, f"pages of {card}")
            await self.may_end.wait()
            if self.fails:
                raise ValueError(f"no {card}")
            return n

        self.wat = wat


async def wait_for(read: Callable[[], Awaitable[Any]], condition: Callable[[Any], object]) -> Any:
    """Read until the condition holds; return what was read."""
    found: list[Any] = []

    async def holds() -> bool:
        found[:] = [await read()]
        return bool(condition(found[0]))

    await until(holds)
    return found[0]


async def in_state(client: Client, job_id: str, state: JobState) -> JobStatus:
    status = await wait_for(lambda: client.status(job_id), lambda status: status.state is state)
    assert isinstance(status, JobStatus)
    return status


# Status


async def test_the_place_of_a_job_counts_and_not_what_a_worker_was_last_seen_to_run(
    bench: Bench, client: Client
) -> None:
    gate = Gate(bench, max_fails=2, backoff=lambda job: 1000, result=60)
    gate.fails = True
    job = await gate.wat.enqueue("visa")
    async with gate.pool.running():
        status = await wait_for(lambda: client.status(job.id), lambda status: status.worker_id)
        worker, fields = bench.keys.observation(status.worker_id), {"job_name": "wat", "job_id": job.id, "args": "null"}
        gate.may_end.set()
        await until(lambda: bench.job_set("retry"))
        # As it is until the observer's next pass.
        await bench.redis.hset(worker, mapping=fields)
        status = await client.status(job.id)
        assert (status.state, status.worker_id, status.attempts) == (JobState.RETRY, "", 1)
        gate.fails = False
        for job_id, state in ((job.id, JobState.DELETED), ("elsewhere", JobState.UNKNOWN)):
            await client.delete_matching("retry")
            await bench.redis.hset(worker, mapping={**fields, "job_id": job_id})
            assert (await client.status(job_id)).state is state


async def test_a_job_is_shown_in_the_pool_that_has_died_with_it(bench: Bench, client: Client) -> None:
    redis, keys, pool_id, worker_id = bench.redis, bench.keys, "d" * 24, "e" * 24
    last, job_id = int(time.time()) - 60, "order-7"
    await redis.sadd(keys.worker_pools, pool_id)
    await redis.sadd(keys.known_jobs, "wat")
    heartbeat = {"heartbeat_at": last, "started_at": last, "job_names": "wat", "worker_ids": worker_id, "host": "far"}
    await redis.hset(keys.heartbeat(pool_id), mapping=heartbeat)
    await redis.hset(keys.observation(worker_id), mapping={"job_name": "wat", "job_id": job_id, "started_at": last})
    await redis.lpush(keys.in_progress("wat", pool_id), payload("wat", id=job_id))
    await redis.set(keys.lock("wat"), 1)
    await redis.hset(keys.lock_info("wat"), pool_id, 1)
    status = await client.status(job_id)
    assert (status.state, status.worker_id, status.started_at) == (JobState.RUNNING, worker_id, last)
    assert status.pool_dead_since == last
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(last))
    shown = (await run("job", job_id, *where(bench)))[1]
    assert re.search(f"running, in a pool that is considered dead: no heartbeat since {since}.*requeue", shown)
    async with serving(bench) as (_, web):
        html = (await web.get(f"/jobs/{job_id}", headers={"accept": "text/html"})).text
        assert "Its pool is considered dead" in html
        assert "far<small" in html
        assert (await web.get(f"/api/jobs/{job_id}")).json()["pool_dead_since"] == status.pool_dead_since
    # It was never heard of.
    await redis.delete(keys.heartbeat(pool_id), keys.observation(worker_id))
    assert (await client.status(job_id)).pool_dead_since == 0
    assert "no heartbeat; another" in (await run("job", job_id, *where(bench)))[1]
    # Another pool requeues its jobs.
    gate = Gate(bench)
    async with gate.pool.running():
        status = await wait_for(lambda: client.status(job_id), lambda status: status.worker_id not in ("", worker_id))
        assert (status.state, status.pool_dead_since) == (JobState.RUNNING, None)
        gate.may_end.set()


async def test_a_waiting_job_has_its_location_and_arguments(bench: Bench, client: Client) -> None:
    queued = await bench.enqueuer.enqueue("wat", {"n": 1})
    scheduled = await bench.enqueuer.enqueue("wat", delay=60)
    status = await client.status(queued.id)
    assert (status.state, status.location, status.args) == (JobState.QUEUED, "queue:wat", '{"n":1}')
    assert (status.attempts, status.error, status.progress) == (0, "", None)
    status = await client.status(scheduled.id)
    assert (status.state, status.location, status.args) == (JobState.SCHEDULED, "scheduled", "null")


async def test_a_job_keeps_its_error_while_it_waits_for_its_retry_and_runs_again(bench: Bench, client: Client) -> None:
    gate = Gate(bench, max_fails=2, backoff=lambda job: 1000)
    job = await gate.wat.enqueue("visa")
    async with gate.pool.running():
        status = await wait_for(lambda: client.status(job.id), lambda status: status.progress)
        assert status.state is JobState.RUNNING
        assert (status.progress, status.args) == (Progress(3, 10, "pages of visa"), '{"card":"visa"}')
        assert (status.location, status.error, status.attempts) == ("", "", 1)
        gate.fails = True
        gate.may_end.set()
        status = await in_state(client, job.id, JobState.RETRY)
        assert (status.location, status.error, status.attempts) == ("retry", "ValueError: no visa", 1)
        assert not status.requeued
        gate.may_end.clear()
        await client.retry_matching("retry")
        status = await wait_for(lambda: client.status(job.id), lambda status: status.progress)
        assert (status.state, status.attempts, status.error) == (JobState.RUNNING, 2, "ValueError: no visa")
        assert status.traceback
        assert status.requeued
        assert re.search(r"^requeued +2", (await run("job", job.id, *where(bench)))[1], re.MULTILINE)
        gate.may_end.set()
        status = await in_state(client, job.id, JobState.DEAD)
    assert (status.location, status.error, status.attempts) == ("dead", "ValueError: no visa", 2)
    assert status.args == '{"card":"visa"}'


@pytest.mark.parametrize(
    ("state", "attempts", "requeued"),
    [
        (JobState.QUEUED, 0, False),
        (JobState.QUEUED, 1, True),
        (JobState.EXPIRED, 1, True),
        (JobState.RETRY, 1, False),
        (JobState.RETRY, 2, True),
        (JobState.RUNNING, 1, False),
        (JobState.RUNNING, 2, True),
        (JobState.DONE, 1, False),
        (JobState.DEAD, 2, True),
    ],
)
def test_a_job_that_was_tried_before_was_requeued(state: JobState, attempts: int, requeued: bool) -> None:
    assert JobStatus("1", state, enqueued_at=100, attempts=attempts).requeued is requeued
    before = JobAttempt(started_at=90.0, ended_at=95.0, outcome="snoozed")
    assert JobStatus("1", state, enqueued_at=100, attempts=attempts, history=(before,)).requeued


@pytest.mark.parametrize("options", [{}, {"result": 60}])
async def test_the_status_hides_what_is_redacted(
    bench: Bench, client: Client, redacting: Client, options: dict[str, Any]
) -> None:
    gate = Gate(bench, max_fails=1, **options)
    job = await gate.wat.enqueue("visa")
    hidden = '{"card":"[redacted]"}'
    assert (await redacting.status(job.id)).args == hidden
    async with gate.pool.running():
        status = await wait_for(lambda: redacting.status(job.id), lambda status: status.progress)
        assert (status.args, status.progress) == (hidden, Progress(3, 10, "pages of [redacted]"))
        gate.fails = True
        gate.may_end.set()
        await in_state(client, job.id, JobState.DEAD)
    status = await redacting.status(job.id)
    assert (status.args, status.error, status.location) == (hidden, "ValueError: no [redacted]", "dead")
    assert "visa" not in status.traceback
    assert (await client.status(job.id)).args == '{"card":"visa"}'


async def test_a_dead_job_with_a_record_is_found_among_many(bench: Bench, client: Client) -> None:
    gate = Gate(bench, max_fails=1, result=60)
    gate.fails = True
    gate.may_end.set()
    async with gate.pool.running():
        job = await gate.wat.enqueue("visa")
        await in_state(client, job.id, JobState.DEAD)
    others = {
        json.dumps({"name": "wat", "id": f"other-{n}", "t": 1, "args": None, "fails": 1}): time.time() + n - 1000
        for n in range(3000)
    }
    await bench.redis.zadd(bench.keys.dead, others)
    status = await client.status(job.id)
    assert (status.state, status.location, status.args) == (JobState.DEAD, "dead", '{"card":"visa"}')
    await bench.redis.delete(bench.keys.dead)
    status = await client.status(job.id)
    assert (status.state, status.location, status.args, status.error) == (JobState.DEAD, "", "", "ValueError: no visa")


# Why it waits


async def test_jobs_that_do_not_wait_have_no_reason(bench: Bench, client: Client) -> None:
    gate = Gate(bench, result=60)
    assert await client.waiting_reason("unknown") == ""
    job = await gate.wat.enqueue()
    async with gate.pool.running():
        await in_state(client, job.id, JobState.RUNNING)
        assert await client.waiting_reason(job.id) == ""
        gate.may_end.set()
        await in_state(client, job.id, JobState.DONE)
    assert await client.waiting_reason(job.id) == ""
    await bench.redis.zadd(bench.keys.dead, {json.dumps({"name": "wat", "id": "dead-1", "t": 1, "args": None}): 5})
    assert await client.waiting_reason("dead-1") == ""
    for wrong in ("", 5):
        with pytest.raises(UsageError, match="a job's id must be text"):
            await client.waiting_reason(wrong)  # type: ignore[arg-type]


async def test_a_job_waits_because_no_pool_serves_its_name_or_its_queue_is_paused(bench: Bench, client: Client) -> None:
    gate = Gate(bench)
    jobs = [await bench.enqueuer.enqueue("wat") for _ in range(3)]
    nobody = "no pool that is alive serves wat"
    assert await client.waiting_reason(jobs[0].id) == nobody
    assert await client.waiting_reason(jobs[1].id) == f"{nobody}; 1 job is before it in its queue"
    assert await client.waiting_reason(jobs[2].id) == f"{nobody}; 2 jobs are before it in its queue"
    await client.pause("wat")
    assert await client.waiting_reason(jobs[0].id) == f"the queue wat is paused; {nobody}"
    async with gate.pool.running():
        assert await client.waiting_reason(jobs[0].id) == "the queue wat is paused"
        await gate.pool.quiet()
        await wait_for(client.heartbeats, lambda found: found[0].state == "quiet")
        assert await client.waiting_reason(jobs[0].id) == (
            "the queue wat is paused; the pool that serves wat is quiet, so no job is fetched"
        )


async def test_a_job_waits_because_its_pool_is_dead(bench: Bench, client: Client) -> None:
    job = await bench.enqueuer.enqueue("wat")
    fields = {"worker_pool_id": "p", "started_at": 1, "job_names": "wat", "concurrency": 5, "heartbeat_at": 1}
    await bench.redis.hset(bench.keys.heartbeat("p"), mapping={**fields, "worker_ids": "", "host": "h", "pid": 7})
    await bench.redis.sadd(bench.keys.worker_pools, "p")
    assert await client.waiting_reason(job.id) == "no pool that is alive serves wat"
    await bench.redis.hset(bench.keys.heartbeat("p"), "heartbeat_at", int(time.time()))
    next_one = "it is the next in its queue, and a pool is about to fetch it"
    # A pool of gocraft/work, whose heartbeat has no state.
    assert await client.waiting_reason(job.id) == next_one
    await bench.redis.delete(bench.keys.heartbeat("p"), bench.keys.worker_pools)


async def test_a_job_waits_because_its_limit_is_reached(bench: Bench, client: Client) -> None:
    gate = Gate(bench, concurrency=5, max_concurrency=2)
    jobs = [await gate.wat.enqueue(n=n) for n in range(4)]
    async with gate.pool.running():
        for job in jobs[:2]:
            await in_state(client, job.id, JobState.RUNNING)
        reason = await client.waiting_reason(jobs[2].id)
        assert re.fullmatch(rf"the concurrency limit of 2 of wat is reached \({HERE} 2\)", reason)
        reason = await client.waiting_reason(jobs[3].id)
        assert re.fullmatch(
            rf"the concurrency limit of 2 of wat is reached \({HERE} 2\); 1 job is before it in its queue, "
            r"and none of its jobs has ended in the last 5 minutes",
            reason,
        )
        gate.may_end.set()
        await gate.pool.drain()


async def test_the_reason_names_slots_of_pools_that_are_gone(bench: Bench, client: Client) -> None:
    job = await bench.enqueuer.enqueue("wat")
    await bench.redis.set(bench.keys.max_concurrency("wat"), 9)
    await bench.redis.set(bench.keys.lock("wat"), 9)
    await bench.redis.hset(bench.keys.lock_info("wat"), mapping={f"p{n}": 1 for n in range(8)})
    reason = await client.waiting_reason(job.id)
    held = ", ".join(f"pool p{n}, which is gone, holds 1" for n in (7, 6, 5, 4, 3))
    assert reason == (
        "no pool that is alive serves wat; the concurrency limit of 9 of wat is reached "
        f"({held}, 3 more pools hold the others, 1 held by no pool, which `asyncwork doctor --repair` frees)"
    )
    await bench.redis.delete(bench.keys.lock("wat"), bench.keys.lock_info("wat"), bench.keys.max_concurrency("wat"))


async def test_a_job_waits_because_all_workers_are_busy(bench: Bench, client: Client) -> None:
    one, two = Gate(bench), Gate(bench, concurrency=2)
    first = await one.wat.enqueue()
    async with one.pool.running():
        await in_state(client, first.id, JobState.RUNNING)
        waits = await one.wat.enqueue()
        busy = await wait_for(lambda: client.waiting_reason(waits.id), lambda text: "busy" in text)
        assert busy == "the only worker of the pool that serves wat is busy"
        async with two.pool.running():
            for _ in range(2):
                await one.wat.enqueue()
            # The pool that has started runs the first two of those that wait.
            await in_state(client, waits.id, JobState.RUNNING)
            last = (await client.jobs("queue:wat")).jobs[-1].id
            busy = await wait_for(lambda: client.waiting_reason(last), lambda text: "busy" in text)
            assert busy == "all 3 workers of the 2 pools that serve wat are busy"
            one.may_end.set()
            two.may_end.set()
            await two.pool.drain()


async def test_a_job_waits_for_those_before_it(bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(bench)
    async with gate.pool.running():
        gate.may_end.set()
        for _ in range(60):
            await gate.wat.enqueue()
        await gate.pool.drain()
        await wait_for(client.recent, lambda counts: counts["wat"].processed == 60)
        gate.may_end.clear()
        running = await gate.wat.enqueue()
        await in_state(client, running.id, JobState.RUNNING)
        jobs = [await gate.wat.enqueue() for _ in range(61)]
        await wait_for(lambda: client.waiting_reason(jobs[0].id), lambda text: "busy" in text)
        busy = "the only worker of the pool that serves wat is busy"
        assert await client.waiting_reason(jobs[2].id) == (
            f"{busy}; 2 jobs are before it in its queue, less than a minute if they take as long as those of the last "
            "5 minutes"
        )

        async def long_ones(reader: object, queues: Sequence[str], count: int) -> dict[str, list[JobCounts]]:
            return {"wat": [JobCounts(processed=10, run_ms=60_000)]}

        monkeypatch.setattr(MetricsStore, "minutes_of", long_ones)
        reason = await client.waiting_reason(jobs[60].id)
        assert "60 jobs are before it in its queue, about 6 minutes if they take as long as" in reason
        gate.may_end.set()
        await gate.pool.drain()


async def test_a_job_waits_for_its_time(bench: Bench, client: Client, redacting: Client) -> None:
    scheduled = await bench.enqueuer.enqueue("wat", at=4_000_000_000)
    nobody = "no pool that is alive serves wat"
    assert await client.waiting_reason(scheduled.id) == f"it is scheduled for 2096-10-02 07:06:40 UTC; {nobody}"
    payload = {"name": "wat", "id": "r-1", "t": 1, "args": {"card": "visa"}, "fails": 2, "err": "no visa\nat all"}
    await bench.redis.zadd(bench.keys.retry, {json.dumps({**payload, "failed_at": 1}): 4_000_000_000})
    retry = "it waits for its retry at 2096-10-02 07:06:40 UTC, because attempt 2 has failed"
    assert await client.waiting_reason("r-1") == f"{retry}: no visa\\nat all; {nobody}"
    assert await redacting.waiting_reason("r-1") == f"{retry}: no [redacted]\\nat all; {nobody}"
    await bench.redis.delete(bench.keys.retry)
    await bench.redis.zadd(bench.keys.retry, {json.dumps({**payload, "err": "x" * 300, "failed_at": 1}): 5})
    assert await client.waiting_reason("r-1") == (
        f"it was due at 1970-01-01 00:00:05 UTC, and waits for a pool to move it to its queue; {nobody}"
    )
    await bench.redis.delete(bench.keys.retry)
    await bench.redis.zadd(bench.keys.retry, {json.dumps({**payload, "err": "x" * 300, "failed_at": 1}): 4e9})
    assert f": {'x' * 200}…; {nobody}" in await client.waiting_reason("r-1")


async def test_a_job_waits_because_it_is_marked_as_cancelled(bench: Bench, client: Client) -> None:
    job = await bench.enqueuer.enqueue("wat", delay=60)
    await Cancels(bench.in_redis).mark([job.id], CancelMark.new("the user\nleft", "ann"))
    assert await client.waiting_reason(job.id) == "it is cancelled by ann: the user\\nleft, and will not start"
    await client.cancel(job.id)


# In the terminal


def where(bench: Bench) -> tuple[str, ...]:
    return ("--redis", bench.url, "-n", bench.namespace)


def facts(out: str) -> dict[str, str]:
    """The lines of the command by their labels."""
    return {line[:12].rstrip(): line[12:] for line in out.splitlines() if line}


async def test_the_terminal_shows_a_waiting_job(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat", {"n": 1, "text": "ä\x1b[31m"})
    code, out, err = await run("job", job.id, *where(bench))
    assert (code, err) == (0, "")
    shown = facts(out)
    assert shown.pop("enqueued").endswith(" ago")
    hint = f"$ asyncwork cancel {job.id} -n {bench.namespace} --redis '{bench.url}'"
    assert out.splitlines()[-1] == hint
    assert {label: shown[label] for label in ("job", "state", "waits", "location", "arguments")} == {
        "job": f"wat {job.id}",
        "state": "queued",
        "waits": "no pool that is alive serves wat",
        "location": "queue:wat",
        "arguments": '{"n":1,"text":"ä\\u001b[31m"}',
    }
    code, out, err = await run("job", job.id, "--json", *where(bench))
    assert (code, err) == (0, "")
    status = json.loads(out)
    assert (status["id"], status["state"], status["location"]) == (job.id, "queued", "queue:wat")
    assert status["args"] == {"n": 1, "text": "ä\x1b[31m"}
    assert status["waiting_reason"] == "no pool that is alive serves wat"
    assert "result" not in status


async def test_the_json_of_a_hostile_job_is_json_in_one_line(bench: Bench) -> None:
    args = '{"n":\n' + "1" * 400 + ', "x": 1.10, "text": "\x7f\\n\U0001f600"\r\n}'
    payload = f'{{"name":"wat","id":"h-1","t":1,"args":{args},"fails":1,"err":"a\x7fb","failed_at":1}}'
    await bench.redis.zadd(bench.keys.retry, {payload: 4e9})
    code, out, err = await run("job", "h-1", "--json", *where(bench), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (code, err, out.count("\n")) == (0, "", 1)
    status = json.loads(out, parse_float=str)
    assert status["args"] == {"n": int("1" * 400), "x": "1.10", "text": "\x7f\n\U0001f600"}
    assert status["error"] == "a\x7fb"
    await bench.redis.delete(bench.keys.retry)


async def test_the_terminal_shows_a_running_job_a_result_and_an_error(bench: Bench, client: Client) -> None:
    gate = Gate(bench, result=60, max_fails=1)
    job = await gate.wat.enqueue("visa", n=7)
    async with gate.pool.running():
        await wait_for(lambda: client.status(job.id), lambda status: status.progress)
        code, out, _ = await run("job", job.id, *where(bench))
        shown = facts(out)
        assert code == 0
        assert (shown["state"], shown["progress"], shown["attempts"]) == ("running", "3/10 pages of visa", "1")
        assert shown["worker"]
        assert "waits" not in shown
        assert "$ asyncwork cancel" in out
        gate.may_end.set()
        await in_state(client, job.id, JobState.DONE)
        code, out, _ = await run("job", job.id, *where(bench))
        shown = facts(out)
        assert (code, shown["state"], shown["result"]) == (0, "done", "7")
        assert shown["ended"].endswith(" ago")
        assert "$ asyncwork cancel" not in out
        gate.fails = True
        dead = await gate.wat.enqueue("visa")
        await in_state(client, dead.id, JobState.DEAD)
    code, out, _ = await run("job", dead.id, *where(bench))
    shown = facts(out)
    assert (code, shown["state"], shown["error"], shown["location"]) == (0, "dead", "ValueError: no visa", "dead")
    assert "traceback\n            " in out
    assert "$ asyncwork cancel" not in out
    code, out, _ = await run("job", job.id, "--json", *where(bench))
    assert json.loads(out)["result"] == 7


async def test_the_terminal_shows_a_node_that_waits_in_its_flow(bench: Bench) -> None:
    flow = bench.enqueuer.flow()
    node = flow.add("wat", after=flow.add("wat"))
    unknown = f"job {node.id} is unknown: it has ended and is not kept, or never was in this namespace\n"
    assert await run("job", node.id, *where(bench)) == (1, unknown, "")
    handle = await flow.start()
    code, out, _ = await run("job", node.id, *where(bench))
    reason = f"it waits for 1 node of flow {flow.id} that has not ended"
    assert (code, facts(out)) == (0, {"state": "waiting in its flow", "waits": reason})
    code, out, _ = await run("job", node.id, "--json", *where(bench))
    assert (code, json.loads(out)["waiting_reason"]) == (0, reason)
    code, _, err = await run("cancel", node.id, *where(bench))
    assert (code, f"node {node.id} waits for others of its flow" in err) == (2, True)
    await handle.cancel()
    assert await run("job", node.id, *where(bench)) == (1, unknown, "")


async def test_an_unknown_job(bench: Bench) -> None:
    text = "job nobody is unknown: it has ended and is not kept, or never was in this namespace\n"
    for more in ((), ("--follow",)):
        assert await run("job", "nobody", *more, *where(bench)) == (1, text, "")
    code, out, _ = await run("job", "nobody", "--json", *where(bench))
    assert (code, json.loads(out)["state"]) == (1, "unknown")
    code, _, err = await run("job", "", *where(bench))
    assert code == 2
    assert "asyncwork job: a job's id must be text that is not empty, not ''" in err
    code, _, err = await run("job", "a", "--redis", "redis://127.0.0.1:1")
    assert code == 3
    assert "asyncwork job: " in err


@pytest.mark.parametrize("kept", [{"result": 60}, {}])
async def test_the_terminal_follows_a_job_to_its_end(bench: Bench, client: Client, kept: dict[str, Any]) -> None:
    gate = Gate(bench, **kept)
    job = await gate.wat.options(delay=1000).enqueue(n=7)
    async with program("job", job.id, "--follow", *where(bench)) as following:
        await until(lambda: "scheduled" in following.out)
        await client.retry_matching("scheduled")
        await until(lambda: re.search(r"^[\d:]{8}  state: queued$", following.out, re.MULTILINE))
        async with gate.pool.running():
            await until(lambda: re.search(r"^[\d:]{8}  progress: 3/10 pages of $", following.out, re.MULTILINE))
            gate.may_end.set()
            assert await following.ends() == 0
    assert following.err == ""
    last = following.out.splitlines()
    if kept:
        assert re.search(r"^[\d:]{8}  state: done$", following.out, re.MULTILINE)
        assert re.fullmatch(r"[\d:]{8}  result: 7", last[-1])
    else:
        assert re.fullmatch(r"[\d:]{8}  state: unknown: it has ended and is not kept, .*", last[-1])
    assert following.out.count("state") == 4


async def test_ctrl_c_ends_following(bench: Bench) -> None:
    job = await bench.enqueuer.enqueue("wat")
    async with program("job", job.id, "--follow", "--json", *where(bench)) as following:
        await until(lambda: "queued" in following.out)
        following.send(signal.SIGINT)
        assert await following.ends() == 130
    assert following.err == ""
    assert json.loads(following.out)["state"] == "queued"
