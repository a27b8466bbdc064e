"""A real redis-server for the session, a fresh namespace for each test, and the audit after it."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import re
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from asyncwork import Enqueuer, WorkerPool
from asyncwork._redis.client import RedisClient
from asyncwork._redis.keys import Keys
from asyncwork._redis.namespace import Namespace
from asyncwork.embedded import EmbeddedRedis
from asyncwork.testing import audit
from asyncwork.testing.invariants import find_violations
from asyncwork.worker_pool import NoContext

from .tuned import QUICK

# A failed assertion there shows its values too.
pytest.register_assert_rewrite(
    *(f"tests.{name}" for name in ("browser", "child", "gated", "hostile", "journey", "nodes"))
)

C = TypeVar("C")

# httpx tries to import it at each request. Where it is not installed, the search takes a tenth of the time.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

# Seconds after which a test that waits for something has failed: far more than a busy machine needs, because it only
# guards against hanging.
LIMIT = 120.0

# The URLs that redis-py itself can read.
PLAIN = re.compile(r"(redis|rediss|unix)://")

# Settings of a Redis that is killed and comes back: its writes outlive its process, and a busy disk does not delay it.
UNSYNCED = {"appendfsync": "no"}

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Fixtures of the tests that start a redis-server or a Go program: the shared server, or a directory for its own.
OUTSIDE = {"redis_url", "tmp_path", "tmp_path_factory"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the unit tests, and run them last: short tests at the end keep all workers busy until then."""
    for item in items:
        taken = set(getattr(item, "fixturenames", ()))
        if not taken & OUTSIDE and not any(item.iter_markers("processes")):
            item.add_marker(pytest.mark.unit)
    items.sort(key=lambda item: any(item.iter_markers("unit")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection() -> None:
    """Look for no garbage while tests are collected: there is none, and it takes a fifth of the time otherwise."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt the thousands of collected tests from garbage collection, which takes a tenth of the time otherwise."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a redis-server of this test session's own."""
    directory: Path = tmp_path_factory.mktemp("redis")
    with EmbeddedRedis(directory, appendonly=False) as server:
        yield server.url


@dataclass
class Bench:
    """The bench of a test: a namespace, and the tools to work with it."""

    url: str
    namespace: str
    redis: Any  # a Redis client; redis-py's types leave open whether it answers in bytes, as this one does
    enqueuer: Enqueuer
    keys: Keys
    redis_client: RedisClient
    # Set by a test that leaves something behind on purpose; it says why by what it asserts about it.
    leftovers: list[str] = field(default_factory=list)

    @property
    def in_redis(self) -> Namespace:
        """The namespace, for the classes of ``asyncwork._redis``."""
        return Namespace(self.redis_client, self.keys)

    def pool(self, **options: Any) -> WorkerPool[NoContext]:
        """A pool on this namespace, with short periods unless others are given."""
        return self.pool_of(NoContext, **options)

    def pool_of(self, context: type[C], **options: Any) -> WorkerPool[C]:
        """A pool with a context class."""
        given = {**QUICK, "grace": 5.0, **options}
        return WorkerPool(self.url, namespace=self.namespace, context=context, **given)

    @staticmethod
    def blocked(pool: WorkerPool[Any]) -> int:
        """Number of queues on which a running pool blocks."""
        return pool._launcher._dispatcher.blocked if pool._launcher is not None else 0

    async def audit(self, *, running: bool = False) -> list[str]:
        return await audit(self.url, self.namespace, running=running)

    async def waiting(self, name: str) -> list[bytes]:
        """The payloads in a queue, the next to run first."""
        return list(reversed(await self.redis.lrange(self.keys.queue(name), 0, -1)))

    async def job_set(self, name: str) -> list[tuple[bytes, float]]:
        """The members of retry, scheduled or dead with their scores."""
        members: list[tuple[bytes, float]] = await self.redis.zrange(getattr(self.keys, name), 0, -1, withscores=True)
        return members

    async def delete_keys(self) -> None:
        """Delete what a test has left in Redis. Many tests read all keys, which would take longer and longer."""
        if keys := [key async for key in self.redis.scan_iter(f"{self.namespace}*", count=1000)]:
            await self.redis.unlink(*keys)


@asynccontextmanager
async def open_bench(url: str, namespace: str = "", *, delete: bool = False) -> AsyncIterator[Bench]:
    """A fresh namespace, audited at the end, and deleted then if its Redis goes on to be used."""
    namespace = namespace or f"test-{uuid.uuid4().hex[:12]}"
    redis_client = RedisClient(url, namespace=namespace)
    redis = Redis.from_url(url, protocol=2, socket_timeout=LIMIT) if PLAIN.match(url) else redis_client.client()
    bench = Bench(url, namespace, redis, Enqueuer(url, namespace=namespace), Keys(namespace), redis_client)
    try:
        yield bench
        # As `audit` does, but without a connection of its own, because this happens thousands of times.
        assert await find_violations(bench.in_redis) == bench.leftovers
    finally:
        if delete:
            await bench.delete_keys()
        await bench.enqueuer.close()
        await bench.redis_client.close()
        await redis.aclose()
        await redis.connection_pool.disconnect()


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    """A fresh namespace on the session's Redis, audited when the test has ended."""
    async with open_bench(redis_url, delete=True) as bench:
        yield bench


@pytest.fixture
def anyio_backend() -> str:
    """asyncwork runs on asyncio alone."""
    return "asyncio"


async def until(condition: Callable[[], Awaitable[object]] | Callable[[], object], limit: float = LIMIT) -> None:
    """Wait until a condition in Redis or in this process holds, looking often."""
    async with asyncio.timeout(limit):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.005)
