"""A program that is killed while it deletes all jobs of a location loses none, and no end of a member of a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from asyncwork import Client, Unique
from asyncwork._jobs.membership import is_settlement
from asyncwork._redis import deletions
from asyncwork.gocraft import GocraftClient

from .batch_apps import flow_app
from .conftest import Bench, until
from .test_flow_races import is_idle


class Killed(BaseException):
    """Raised in place of a kill, which no code of the process survives."""


@contextmanager
def killed_at(nth: int) -> Iterator[list[int]]:
    """Have this program be killed before it sends its nth request to Redis, from 0; yield the numbers of those sent."""
    sent, send = list[int](), AbstractConnection.send_packed_command

    async def send_or_die(self: Any, *args: Any, **options: Any) -> None:
        if len(sent) == nth:
            raise Killed
        sent.append(len(sent))
        await send(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", send_or_die)
        with suppress(Killed):
            yield sent


async def kill_everywhere(
    bench: Bench, prepare: Callable[[], Awaitable[None]], act: Callable[[Client], Awaitable[object]], check: Any
) -> None:
    """Kill a program before each of the requests of an action, and once not; check each time what it has left."""
    for nth in range(1000):
        await prepare()
        over = False
        async with Client(bench.url, namespace=bench.namespace) as client:
            await client.queues()
            with killed_at(nth):
                await act(client)
                over = True
        await check()
        if over:
            assert nth > 5
            return
    raise AssertionError("it does not come to its end")


@pytest.mark.parametrize("partition", ["", "text"])
async def test_a_queue_that_is_being_emptied_loses_no_callback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, partition: str
) -> None:
    monkeypatch.setattr(deletions, "_SLICE", 3)
    pool = bench.pool()

    @pool.job(partition=partition or None)
    async def work(text: str) -> None: ...

    batch_ids = list[str]()

    async def prepare() -> None:
        async with pool.batch(on_done=("note", {})) as batch:
            await batch.add_many(work, [{"text": f"tenant {number % 2}"} for number in range(7)])
            await batch.add(work.options(unique=Unique(until="done")).call("held"))
        await work.options(unique=True).enqueue("unique")
        batch_ids.append(batch.id)

    async def check() -> None:
        async with Client(bench.url, namespace=bench.namespace) as client:
            status = await client.batch(batch_ids[-1])
            assert status is not None
            waiting = (await client.jobs("queue:work")).jobs
            of_batch = [each for each in waiting if each.id.startswith(batch_ids[-1])]
            # Each has ended, or waits, and nothing is anywhere else.
            assert (status.left, status.cancelled) == (len(of_batch), 8 - len(of_batch))
            for keys, text in ((bench.keys.holds, b"held"), (bench.keys.unique, b"unique")):
                waits = [each for each in waiting if text in each.args]
                assert len(await bench.redis.keys(keys + "*")) == len(waits)
            await client.empty("work")
            status = await client.batch(batch_ids[-1])
            assert status is not None
            assert (status.ended, status.cancelled) == (True, 8)
            assert [each.name for each in (await client.jobs("scheduled")).jobs] == ["note"]
            await client.delete_matching("scheduled")
            assert await bench.redis.keys(bench.keys.holds + "*") == []
            assert await bench.redis.keys(bench.keys.unique + "*") == []

    if partition:
        async with pool.running():
            # It has declared the queue.
            pass
    await kill_everywhere(bench, prepare, lambda client: client.empty("work"), check)
    await pool.enqueuer.close()


async def test_entries_that_settle_are_not_lost_while_all_dead_jobs_are_deleted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Go pool, which does not know their names, has killed them."""
    monkeypatch.setattr(deletions, "_SLICE", 2)
    app = flow_app(bench)
    flow_ids = list[str]()

    async def prepare() -> None:
        flow_ids.clear()
        for _ in range(3):
            flow = app.pool.flow()
            flow.add_many((app.work.call("second") for _ in range(1100)), after=flow.add(app.work.call("first")))
            await flow.start()
            flow_ids.append(flow.id)
        async with Client(bench.url, namespace=bench.namespace) as client:
            # The ends of the nodes are followed by more than one step, and no pool runs that takes the next ones.
            await client.delete("queue:work", [each.ref for each in (await client.jobs("queue:work")).jobs])
        await bench.redis.zunionstore(bench.keys.dead, [bench.keys.dead, bench.keys.scheduled])
        await bench.redis.delete(bench.keys.scheduled)
        await bench.redis.zadd(bench.keys.dead, {b"no job 1": 1, b"no job 2": 2, b"no job 3": 2**40})

    async def check() -> None:
        found = [raw for job_set in ("dead", "scheduled") for raw, _ in await bench.job_set(job_set)]
        assert {raw for raw in found if is_settlement(raw)} == {raw async for raw in settlements()}
        async with Client(bench.url, namespace=bench.namespace) as client:
            await GocraftClient(client).delete_all_dead_jobs()
        assert await bench.job_set("dead") == []
        left = [raw for raw, _ in await bench.job_set("scheduled")]
        assert sorted(left) == sorted([raw async for raw in settlements()])
        async with app.pool.running():
            await until(lambda: is_idle(bench))

    async def settlements() -> AsyncIterator[bytes]:
        for flow_id in flow_ids:
            yield await bench.redis.hget(bench.keys.batch(flow_id)[4], "settle")

    await kill_everywhere(bench, prepare, lambda client: GocraftClient(client).delete_all_dead_jobs(), check)
    assert app.ran == []
