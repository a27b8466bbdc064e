"""A Redis Cluster: all keys of a namespace are in one slot, and the node that holds it is found."""

from __future__ import annotations

import ast
import asyncio
import itertools
import math
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from asyncwork import Client, EnqueueManyError, Enqueuer, RedisUnavailable, UsageError, WorkerPool, sync
from asyncwork._redis import scripts
from asyncwork._redis.client import RedisClient
from asyncwork._redis.work_queue import WorkQueue

from .conftest import LIMIT, Bench, open_bench, until
from .gated import PATIENT, all_run_once
from .journey import journey
from .nodes import Clustered, Node, clustered

# An argument of a command, as MONITOR writes it.
_ARGUMENT = re.compile(rb'"(?:[^"\\]|\\.)*"')


@asynccontextmanager
async def monitored(redis: Any) -> AsyncIterator[set[tuple[bytes, ...]]]:
    """The commands that Redis is given meanwhile, also by scripts."""
    found: set[tuple[bytes, ...]] = set()
    connection = redis.connection_pool.make_connection()

    async def listen() -> None:
        while True:
            line = await connection.read_response(disable_decoding=True, timeout=math.inf)
            found.add(tuple(ast.literal_eval(f"b{each.decode()}") for each in _ARGUMENT.findall(line)))

    await connection.connect()
    await connection.send_command("MONITOR")
    assert await connection.read_response() == b"OK"
    listening = asyncio.create_task(listen())
    try:
        yield found
        await redis.echo("the end")
        await until(lambda: listening.done() or (b"ECHO", b"the end") in found)
        assert not listening.done()
    finally:
        listening.cancel()
        await connection.disconnect()


async def keys_of(redis: Any, command: tuple[bytes, ...]) -> list[str]:
    """The keys of a command, as Redis sees them."""
    try:
        keys: list[str] = await redis.command_getkeys(*command)
    except ResponseError as error:
        if "has no key" not in str(error):
            raise
        return []
    return keys


async def test_every_key_of_a_namespace_with_braces_is_in_one_slot(redis_url: str) -> None:
    async with open_bench(redis_url, f"some{{{uuid.uuid4().hex}}}{{}}:") as bench:
        async with monitored(bench.redis) as commands:
            await journey(bench)
        called = {command[1] for command in commands if command[0].upper() == b"EVALSHA"}
        # One is always sent with its source.
        called |= {sha1(command[1]).hexdigest().encode() for command in commands if command[0].upper() == b"EVAL"}
        assert called >= {scripts.digest(name) for name in scripts.names()}
        # Of the variants, those that are met for sure. The tests of fault points have them all.
        moving = (
            "delete_from_list",
            "enqueue_unique",
            "fetch",
            "finish",
            "move",
            "requeue",
            "restore_to_set",
            "restore_to_list",
        )
        variants = {f"{scripts.FAIR}{name}" for name in moving}
        assert called >= {scripts.digest(name) for name in variants}
        keys = [key for command in commands if command[1:] for key in await keys_of(bench.redis, command)]
        assert len(keys) > 100
        assert {key_slot(key.encode()) for key in keys} == {key_slot(bench.keys.known_jobs.encode())}
        assert all(key.startswith(bench.namespace) for key in keys)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clustered]:
    """A cluster of three masters."""
    with clustered(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
async def bench(cluster: Clustered) -> AsyncIterator[Bench]:
    """A fresh namespace in the cluster."""
    async with open_bench(cluster.url, f"{{test-{uuid.uuid4().hex[:12]}}}") as bench:
        yield bench


async def test_all_that_can_happen_to_jobs_happens_in_a_cluster(bench: Bench) -> None:
    await journey(bench)


class Load:
    """Jobs that are enqueued one after the other while a pool runs them; what is refused is not accepted."""

    def __init__(self, bench: Bench) -> None:
        self.ran: Counter[int] = Counter()
        self.accepted: set[int] = set()
        self.refusals: list[RedisUnavailable] = []
        self._full = False
        self._bench = bench
        self.pool = bench.pool(**PATIENT)
        self.pool.job("wat")(self._run)

    async def _run(self, n: int) -> None:
        self.ran[n] += 1
        await asyncio.sleep(0.01)

    async def _feed(self) -> None:
        for n in itertools.count():
            if self._full:
                return
            try:
                await self._bench.enqueuer.enqueue("wat", {"n": n})
            except RedisUnavailable as error:
                self.refusals.append(error)
            else:
                self.accepted.add(n)
            await asyncio.sleep(0.002)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run, and at the end see that each job that was accepted ran, and ran once."""
        async with self.pool.running():
            feeding = asyncio.create_task(self._feed())
            await self.go_on()
            yield
            await self.go_on()
            self._full = True
            await feeding
            await self.pool.drain()
        assert self.ran == Counter(self.accepted)

    async def go_on(self) -> None:
        """Wait until jobs run that are accepted from now on."""
        before = max(self.accepted, default=0)
        await until(lambda: sum(n > before for n in self.ran) > 50)


def slot_of(bench: Bench) -> int:
    return key_slot(bench.keys.known_jobs.encode())


async def test_a_slot_that_is_moved_is_followed(bench: Bench, cluster: Clustered) -> None:
    slot = slot_of(bench)
    source = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    load = Load(bench)
    async with load.running():
        await asyncio.to_thread(cluster.migrate, slot, source, target)
        await load.go_on()
        await asyncio.to_thread(cluster.migrate, slot, target, source)


async def test_a_blocking_enqueuer_follows_a_slot(bench: Bench, cluster: Clustered) -> None:
    slot = slot_of(bench)
    source = cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    with sync.Enqueuer(cluster.url, namespace=bench.namespace) as enqueuer:
        for n, (giver, taker) in enumerate([(source, target), (target, source)], start=1):
            await asyncio.to_thread(enqueuer.enqueue, "wat", unique={"n": n})
            await asyncio.to_thread(cluster.migrate, slot, giver, taker)
            await asyncio.to_thread(enqueuer.enqueue, "wat")
    assert len(await bench.waiting("wat")) == 4
    lost = sync.Enqueuer(f"redis://{target.address}/0", namespace=bench.namespace)
    with lost, pytest.raises(RedisUnavailable, match=r"this is a node of a cluster \(MOVED .*redis\+cluster://"):
        await asyncio.to_thread(lost.enqueue, "wat")


async def test_a_replica_that_takes_over_is_found(tmp_path: Path) -> None:
    with clustered(tmp_path) as cluster:
        async with open_bench(cluster.url, "{work}") as bench:
            slot = slot_of(bench)
            master = cluster.owner(slot)
            replica = cluster.add_replica(master)
            load = Load(bench)
            # On purpose: nobody notices.
            async with load.running():
                await asyncio.to_thread(replica.ask, "CLUSTER", "FAILOVER")
                await until(lambda: replica.role() == "master")
            assert load.refusals == []
            # And by a crash.
            await until(lambda: master.role() == "slave" and master.ask("ROLE")[3] == "connected")

            async def fail(_: object) -> None:
                replica.kill()

            await all_run_once(bench, lambda: replica.confirm("{work}marker"), fail)
            assert master.role() == "master"


async def test_a_pop_is_unblocked_where_it_waits(bench: Bench, cluster: Clustered) -> None:
    owner = cluster.owner(slot_of(bench))
    other = next(node for node in cluster.nodes if node is not owner)
    work_queue = WorkQueue(bench.redis_client, bench.keys, "a" * 24)
    blocking = await work_queue.open_blocking_connection(5.0)
    commands = work_queue.encode.blocking_pop(work_queue.queue("wat", 1), 30.0)
    popping = asyncio.create_task(blocking.connection.request(commands, 2))
    await until(lambda: owner.ask("INFO", "clients")["blocked_clients"] == 1)
    # Redis is said to be elsewhere meanwhile.
    location = bench.redis_client._discovery
    assert location is not None
    location.set_address(("127.0.0.1", other.port))
    await work_queue.unblock([blocking])
    async with asyncio.timeout(LIMIT):
        assert work_queue.parse_popped(await popping) is None
    await blocking.connection.close()


@pytest.mark.parametrize("namespace", ["work", "{}", "{work", "}work{", "{}{work}", ""])
def test_a_namespace_whose_keys_a_cluster_would_scatter_is_refused(namespace: str) -> None:
    url = "redis+cluster://:secret@host:1/"
    makers: list[Callable[..., object]] = [Enqueuer, Client, WorkerPool, RedisClient]
    for make in makers:
        with pytest.raises(UsageError, match=re.escape("write namespace='{work}', not ")) as caught:
            make(url, namespace=namespace)
        assert "secret" not in str(caught.value)
        make(url, namespace="{work}")


async def test_a_plain_url_of_a_cluster_is_told_what_it_is(cluster: Clustered) -> None:
    owner = cluster.owner(key_slot(b"{work}:"))
    other = next(node for node in cluster.nodes if node is not owner)
    url, what = f"redis://{other.address}/0", r"this is a node of a cluster \(MOVED .*\): write redis\+cluster://"
    with pytest.raises(RedisUnavailable, match=what):
        await WorkerPool(url, namespace="{work}").start()
    async with Enqueuer(url, namespace="{work}") as enqueuer, Client(url, namespace="{work}") as client:
        with pytest.raises(RedisUnavailable, match=what):
            await enqueuer.enqueue("wat")
        with pytest.raises(RedisUnavailable, match=what):
            await enqueuer.enqueue("wat", unique=True)
        with pytest.raises(EnqueueManyError, match=f"0 may have been, 1 were not: .*{what}"):
            await enqueuer.enqueue_many([("wat", None)])
        with pytest.raises(RedisUnavailable, match=what):
            await client.queues()
    with pytest.raises(RedisUnavailable, match=r"would scatter the keys of namespace 'work': write redis\+cluster://"):
        await WorkerPool(f"redis://{cluster.owner(key_slot(b'work:known_jobs')).address}/0", namespace="work").start()


async def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    with Node(tmp_path / "redis", []) as redis:
        url = f"redis+cluster://user:secret@{redis.address},127.0.0.1:1/"
        slot = key_slot(b"{work}:")
        text = f"no node of the cluster knows where slot {slot} of namespace '{{work}}' is"
        with pytest.raises(RedisUnavailable, match=text) as caught:
            await WorkerPool(url, namespace="{work}").start()
        assert "127.0.0.1:1: Error 111" in str(caught.value)
        assert f"{redis.address}: " in str(caught.value)
        assert "secret" not in str(caught.value)
        with pytest.raises(RedisUnavailable, match="cluster support disabled"):
            await WorkerPool(f"redis+cluster://{redis.address}/", namespace="{work}").start()
