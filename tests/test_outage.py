"""Redis away and back: every service survives the outage, logs it once, and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from asyncwork import RedisUnavailable, WorkerPool
from asyncwork._jobs.error_text import describe_error
from asyncwork._redis.client import RedisClient
from asyncwork._worker.services.observer import Observer
from asyncwork._worker.services.service import ServiceLoop
from asyncwork.embedded import EmbeddedRedis

from .conftest import LIMIT, UNSYNCED, Bench, open_bench, until
from .gated import Gate
from .nodes import Node
from .tuned import QUICK, tuned

SERVICES = ("dispatcher", "heartbeater", "retry requeuer", "scheduled requeuer", "reaper")


async def test_a_pool_goes_on_when_redis_is_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with open_bench(server.url) as bench:
            ran: Counter[int] = Counter()
            pool = bench.pool()

            @pool.job
            async def wat(n: int) -> None:
                ran[n] += 1
                await asyncio.sleep(0.01)

            async with pool.running():
                await wat.enqueue_many([wat.call(n=n) for n in range(200)])
                await until(lambda: len(ran) > 20)
                await asyncio.to_thread(server.stop)
                before, cpu = len(ran), time.process_time()
                await asyncio.sleep(2)
                assert time.process_time() - cpu < 0.3
                await asyncio.to_thread(server.start)
                back = time.monotonic()
                await until(lambda: len(ran) > before + 10)
                assert time.monotonic() - back < LIMIT / 4
                await until(lambda: len(ran) == 200)
                await pool.drain()
                await until(lambda: all(f"{service}: Redis is back" in caplog.text for service in SERVICES))
            # Nothing that had finished before the outage ran again: its ack was sent afterwards.
            assert ran == Counter(range(200))
    for service in SERVICES:
        assert caplog.text.count(f"{service}: Redis failed") == 1, service
        assert caplog.text.count(f"{service}: Redis is back") == 1, service


async def test_an_idle_pool_goes_on_when_redis_is_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with open_bench(server.url) as bench:
            ran: list[int] = []
            pool = bench.pool()

            @pool.job
            async def wat() -> None:
                ran.append(1)

            def logged(text: str) -> int:
                return caplog.text.count(text)

            async with pool.running():
                await until(lambda: bench.blocked(pool))
                for round_ in range(1, 3):
                    await asyncio.to_thread(server.stop)
                    # Neither the blocking pops nor the enqueuer retry in a busy loop.
                    cpu = time.process_time()
                    with pytest.raises(RedisUnavailable, match="could not be enqueued"):
                        await wat.enqueue()
                    await asyncio.sleep(1)
                    assert time.process_time() - cpu < 0.2
                    await asyncio.to_thread(server.start)
                    await bench.enqueuer.close()
                    await wat.enqueue()
                    await until(lambda n=round_: len(ran) == n)
                    await until(lambda n=round_: all(logged(f"{service}: Redis is back") == n for service in SERVICES))
                    assert [logged(f"{service}: Redis failed") for service in SERVICES] == [round_] * len(SERVICES)
                await pool.drain()


@pytest.mark.parametrize("outage", ["away", "read-only"])
async def test_an_outage_longer_than_a_heartbeat_reaps_no_pool(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, outage: str
) -> None:
    # dead_after is longer than the longest wait between two tries to reach Redis, as it is by default.
    quick = tuned(heartbeat=0.2, dead_after=2.0, reap=0.05)
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with open_bench(server.url) as bench:
            ran: Counter[int] = Counter()
            finish = asyncio.Event()
            pools = [bench.pool(**quick) for _ in range(2)]

            async def wat(n: int) -> None:
                ran[n] += 1
                await finish.wait()

            for pool in pools:
                pool.job("wat")(wat)
                await pool.start()
            await bench.enqueuer.enqueue_many([("wat", {"n": n}) for n in range(20)])
            await until(lambda: len(ran) == 20)
            if outage == "away":
                await asyncio.to_thread(server.stop)
            else:
                # All can be read then: also that no heartbeat goes.
                await bench.redis.execute_command("REPLICAOF", "127.0.0.1", 1)
            # Longer than after which a pool would be considered dead.
            await asyncio.sleep(2.2)
            if outage == "away":
                await asyncio.to_thread(server.start)
            else:
                await bench.redis.execute_command("REPLICAOF", "NO", "ONE")
            await until(lambda: caplog.text.count("reaper: Redis is back") == 2)
            finish.set()
            for pool in pools:
                await pool.stop()
            assert ran == Counter(range(20))
    assert "of dead pool" not in caplog.text


async def test_a_master_that_is_made_a_replica_is_logged_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Node(tmp_path / "one", []) as one, Node(tmp_path / "other", ["repl-diskless-sync-delay 0"]) as other:
        async with open_bench(f"redis://{one.address}/0") as bench:
            pool = bench.pool(concurrency=3)
            gate = Gate(pool)
            async with pool.running():
                for n in range(10):
                    await bench.enqueuer.enqueue("wat", {"n": n})
                await until(lambda: len(gate.ran) == 3)
                # The other has the same, so that nothing is gone when this one follows it.
                other.ask("REPLICAOF", "127.0.0.1", one.port)
                await until(lambda: other.ask("ROLE")[3] == "connected")
                one.confirm()
                other.ask("REPLICAOF", "NO", "ONE")
                one.ask("REPLICAOF", "127.0.0.1", other.port)
                gate.open.set()
                await until(lambda: "dispatcher: Redis failed" in caplog.text)
                with pytest.raises(RedisUnavailable, match=r"could not be enqueued.*can't write against a read only"):
                    await bench.enqueuer.enqueue("wat", {"n": 10})
                one.ask("REPLICAOF", "NO", "ONE")
                await until(lambda: len(gate.ran) == 10)
                await pool.drain()
        assert gate.ran == Counter(range(10))


async def test_a_fetch_that_may_not_write_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Node(tmp_path / "redis", []) as redis:
        async with open_bench(f"redis://{redis.address}/0") as bench:
            # Without blocking pops, so that only fetches take jobs.
            pool = bench.pool(**tuned(QUICK, max_blocking_connections=0))
            gate = Gate(pool)
            gate.open.set()
            async with pool.running():
                redis.ask("CONFIG", "SET", "min-replicas-to-write", 1)
                await until(lambda: "dispatcher: Redis failed" in caplog.text)
                redis.ask("CONFIG", "SET", "min-replicas-to-write", 0)
                await bench.enqueuer.enqueue("wat", {"n": 1})
                await until(lambda: gate.ran[1])
                await pool.drain()


async def reaped(bench: Bench) -> bool:
    return bool(await bench.redis.scard(bench.keys.worker_pools) == 1)


async def test_a_pool_stops_in_time_when_redis_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seconds for each step of a stop.
    for limit in ("blocking_pops._UNBLOCK_TIMEOUT", "services.heartbeat_thread._STOP_LIMIT", "shutdown._STEP_LIMIT"):
        monkeypatch.setattr(f"asyncwork._worker.{limit}", 0.5)
    with EmbeddedRedis(tmp_path, settings=UNSYNCED) as server:
        async with open_bench(server.url) as bench:
            pool = bench.pool(grace=0.5)
            pool.job("wat")(lambda: None)
            await pool.start()
            await until(lambda: bench.blocked(pool))
            os.kill(server.pid, signal.SIGSTOP)
            began = time.monotonic()
            await pool.stop()
            assert time.monotonic() - began < LIMIT / 4
            os.kill(server.pid, signal.SIGCONT)
            # Its keys are left to another pool.
            async with bench.pool().running():
                await until(lambda: reaped(bench))


async def test_a_redis_that_is_not_there_fails_the_start() -> None:
    pool = WorkerPool("redis://user:secret@127.0.0.1:1/0")
    with pytest.raises(RedisUnavailable, match=r"redis://user:\*\*\*@127.0.0.1:1/0 cannot be reached") as caught:
        await pool.start()
    assert "secret" not in str(caught.value)
    assert pool.id is None


async def test_a_wrong_password_fails_the_start(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path, port=0, settings=UNSYNCED) as server:
        host = server.url.rpartition("@")[2]
        with pytest.raises(RedisUnavailable, match="refuses the user or password"):
            await WorkerPool(f"redis://:wrong@{host}").start()
        with pytest.raises(RedisUnavailable, match=r"refuses the user or password|refuses us"):
            await WorkerPool(f"redis://{host}").start()


async def test_a_redis_that_is_too_old_fails_the_start(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwork._redis.client.OLDEST_REDIS", (99, 0))
    with pytest.raises(RedisUnavailable, match=r"is version \d.*; asyncwork needs 6.2 or newer: its scripts use LMOVE"):
        await bench.pool().start()


class FailingService:
    """Meets something at its first passes that it was not prepared for."""

    name = "service"

    def __init__(self, failures: int, error: BaseException) -> None:
        self.passes = 0
        self._failures = failures
        self._error = error

    async def run_once(self) -> float:
        self.passes += 1
        if self.passes <= self._failures:
            raise self._error
        return 0.001


# Services read objects that handlers have made: these may exit, or raise an error that looks like a cancellation.
@pytest.mark.parametrize(
    "error", [KeyError("an error"), SystemExit("an error"), asyncio.CancelledError("an error"), KeyboardInterrupt()]
)
async def test_a_service_goes_on_after_an_unexpected_error_that_is_logged_once(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    service = FailingService(3, error)
    loop = ServiceLoop(service)
    running = asyncio.create_task(loop.run())
    await until(lambda: service.passes > 6)
    loop.stop()
    await running
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("ERROR", f"service: unexpected error ({describe_error(error)}); retrying"),
        ("WARNING", "service: recovered"),
    ]


async def test_an_unexpected_error_in_a_service_does_not_end_the_pool(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_once(self: Observer) -> float:
        raise KeyError("an error")

    monkeypatch.setattr(Observer, "run_once", run_once)
    ran: list[int] = []
    pool = bench.pool()

    @pool.job
    async def wat(n: int) -> None:
        ran.append(n)

    async with pool.running():
        await until(lambda: "observer: unexpected error" in caplog.text)
        await wat.enqueue(n=1)
        await pool.drain()
    assert ran == [1]
    assert caplog.text.count("observer: unexpected error") == 1


async def test_a_redis_that_does_not_reply_is_reported_as_such() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        redis_client = RedisClient(f"redis://127.0.0.1:{port}", timeout=0.1)
        with pytest.raises(RedisUnavailable, match=r"cannot be reached: Redis did not reply in time\. Is it running"):
            await redis_client.check()
        await redis_client.close()
