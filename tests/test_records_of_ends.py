"""However a job ends whose results are kept, its record says so, its stream ends, and those who wait are woken."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from asyncwork import CancelResult, Client, Job, JobCancelled, JobState, gather
from asyncwork._redis import scripts
from asyncwork._redis.cancels import CancelMark, Cancels

from .conftest import LIMIT, Bench, until

# Scripts that remove a payload for good and write no record, and why they need none.
WITHOUT_RECORDS = {
    "ack_members": "members of batches whose type keeps nothing",
    "settle_parent": "an entry of a batch, which is not a job",
    "advance_flow": "an entry of a flow, which is not a job",
    "ack": "only jobs whose type keeps no results are acknowledged by it",
    "end_holders": "likewise",
    "change_periodic": "an instance of a periodic job that is not planned any more has not been enqueued yet",
    "drop_planned": "likewise",
    "set_tenant": "it takes away the rest of a tenant, which is not a job",
}
_REMOVES = re.compile(r"redis\.p?call\('(?:lrem|zrem|ltrim|lpop|rpop|zpopmin|zremrangeby\w+)'")
_PUTS = re.compile(r"redis\.p?call\('(?:lpush|rpush|zadd|lmove|rpoplpush)'")
_ENDS = re.compile(r"(?<!function )\b(?:write_end|end_record|free_deleted)\(")


async def stream_end(bench: Bench, job_id: str) -> list[bytes]:
    entries = await bench.redis.xrange(bench.keys.stream(job_id))
    return [fields[b"end"] for _, fields in entries if b"end" in fields]


@pytest.mark.parametrize("runs", [False, True], ids=["before it starts", "while it runs"])
async def test_a_cancelled_job_has_a_record_and_an_end_of_its_stream(bench: Bench, runs: bool) -> None:
    pool, began = bench.pool(), Counter[str]()

    @pool.job(result=60, stream=60)
    async def lasts(job: Job) -> None:
        began[job.id] += 1
        await asyncio.sleep(LIMIT)

    async with Client(bench.url, namespace=bench.namespace) as client:
        job = await lasts.enqueue()
        if not runs:
            # A cancel that did not find the job in time: the pool meets its mark.
            await bench.redis.hset(bench.keys.cancels, job.id, b'{"reason":"chaos"}')
        async with pool.running():
            waiting = asyncio.create_task(job.result(LIMIT))
            if runs:
                await until(lambda: began[job.id])
                assert await client.cancel(job.id, reason="chaos") is CancelResult.ASKED
            with pytest.raises(JobCancelled, match="chaos"):
                await waiting
        status = await client.status(job.id)
    assert (status.state, status.error) == (JobState.CANCELLED, "cancelled: chaos")
    assert began[job.id] == runs
    assert await stream_end(bench, job.id) == [b"cancelled"]
    assert not await bench.redis.exists(bench.keys.cancels)


@pytest.mark.parametrize("keeps", [False, True], ids=["plain", "with a result"])
async def test_the_mark_of_a_job_that_ends_before_its_pool_has_read_it_is_removed(bench: Bench, keeps: bool) -> None:
    # The pool reads no marks while this runs.
    pool, began, may_end = bench.pool(heartbeat=1000.0, dead_after=2000.0), asyncio.Event(), asyncio.Event()

    @pool.job(result=60 if keeps else None)
    async def wat(job: Job, other: dict[str, str]) -> None:
        began.set()
        await may_end.wait()

    async with pool.running():
        job = await wat.enqueue({"id": "other"})
        await began.wait()
        mark = CancelMark("chaos", "", int(time.time()))
        await Cancels(bench.in_redis).mark([job.id, "other"], mark)
        may_end.set()
        await until(lambda: _idle(bench))
    # An argument is no id of a job.
    assert await bench.redis.hkeys(bench.keys.cancels) == [b"other"]
    await bench.redis.delete(bench.keys.cancels)


async def _idle(bench: Bench) -> bool:
    return not await bench.redis.keys(f"{bench.keys.jobs}*:inprogress")


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long)])
async def test_a_wait_that_races_the_end_misses_nothing(
    bench: Bench, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only messages, and what is read at the beginning of a wait, end one: no later reading makes up for a lost message.
    monkeypatch.setattr("asyncwork._redis.job_waits._READ_AGAIN", 10 * LIMIT)
    pool = bench.pool(concurrency=10)

    @pool.job(result=600)
    async def number(n: int) -> int:
        return n

    async with pool.running():
        assert await number.call(-1) == -1
        for first in range(0, count, 50):
            jobs = await number.enqueue_many([number.call(n) for n in range(first, first + 50)])
            # So that some waits begin before their jobs end, some after, and some at that moment.
            await asyncio.sleep(0.0005 * (first // 50 % 8))
            assert await gather(*jobs, timeout=LIMIT) == list(range(first, first + 50))


def test_each_script_that_removes_a_payload_for_good_writes_a_record() -> None:
    found = {}
    folder = Path(scripts.__file__).parent / "lua"
    for name in (*scripts.names(), "take_limited"):
        text = re.sub(r"--.*", "", (folder / f"{name}.lua").read_text())
        if _REMOVES.search(text):
            found[name] = bool(_ENDS.search(text))
    assert _ENDS.search((folder / "free_deleted.lua").read_text())
    # A job that is only moved is put elsewhere by the same script. Those that keep deleted jobs for a while end them.
    moving = {name for name in found if not found[name] and _PUTS.search((folder / f"{name}.lua").read_text())}
    ending = {name for name, ends in found.items() if ends}
    assert found.keys() - moving - ending == WITHOUT_RECORDS.keys()
    # `rest_queue` and `defer` move a job, and write its attempt.
    assert ending == {
        *("defer", "delete_from_set", "delete_from_list", "drop_cancelled", "end_holder", "finish", "finish_steps"),
        *("free_unique", "move", "quarantine", "rest_queue"),
    }
    assert moving == {
        *("admit", "claim", "debounce", "enqueue_holder", "fetch", "take_limited", "requeue", "requeue_front"),
        *("restore_to_set", "restore_to_list", "signal", "throttle"),
    }


@pytest.mark.parametrize("name", ["drop_cancelled", "end_holder", "finish", "finish_steps", "move", "quarantine"])
def test_each_script_that_ends_a_job_of_a_pool_ends_its_stream(name: str) -> None:
    text = (Path(scripts.__file__).parent / "lua" / f"{name}.lua").read_text()
    assert "write_end(" in re.sub(r"--.*", "", text)
