"""The Redis permissions that docs/operations.md lists are enough, also for a user who may run no dangerous command."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from asyncwork import Client, Enqueuer
from asyncwork._redis import scripts
from asyncwork._redis.client import RedisClient
from asyncwork.embedded import EmbeddedRedis

from .conftest import Bench, open_bench
from .journey import journey

NAMESPACE = "my_app"
OPERATIONS = Path(__file__).parent.parent / "docs" / "operations.md"


def documented_rules() -> list[str]:
    """Return the rules of the user that docs/operations.md shows."""
    found = re.search(r"ACL SETUSER asyncwork ((?:.*\\\n)*.*)\n", OPERATIONS.read_text())
    assert found is not None
    return found[1].replace("\\\n", " ").split()


RULES = {
    "documented": documented_rules(),
    "nothing dangerous": ["on", ">secret", "~*", "&*", "+@all", "-@dangerous"],
}

# As Redis 7 and Redis 6 call what is dangerous, and what the docs say can be refused.
_OPTIONAL = {"info", "config", "config|get", "client", "client|id", "client|unblock"}


@asynccontextmanager
async def bench_of_user(directory: Path, rules: list[str]) -> AsyncIterator[Bench]:
    """A namespace on a Redis of its own, for a user with some rules; the test's own commands are not restricted."""
    async with EmbeddedRedis(directory, appendonly=False) as server, open_bench(server.url, NAMESPACE) as bench:
        await bench.redis.execute_command("ACL", "SETUSER", "asyncwork", "reset", *rules)
        (password,) = (rule[1:] for rule in rules if rule.startswith(">"))
        url = re.sub(r"//(:[^@]*@)?", f"//asyncwork:{password}@", server.url, count=1)
        redis_client = RedisClient(url, namespace=NAMESPACE)
        async with Enqueuer(url, namespace=NAMESPACE) as enqueuer:
            yield replace(bench, url=url, enqueuer=enqueuer, redis_client=redis_client)
        await redis_client.close()
        refused = await bench.redis.execute_command("ACL", "LOG")
        commands = {dict(zip(entry[::2], entry[1::2], strict=True))[b"object"].decode() for entry in refused}
        assert commands <= (_OPTIONAL if "-@dangerous" in rules else set())


@pytest.mark.parametrize("rules", RULES)
async def test_everything_goes_with_these_permissions(tmp_path: Path, rules: str) -> None:
    async with bench_of_user(tmp_path, RULES[rules]) as bench:
        await journey(bench)


async def test_who_may_not_ask_which_scripts_redis_knows_loads_them_all(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, appendonly=False) as server, open_bench(server.url, NAMESPACE) as bench:
        rules = ["on", ">secret", "~*", "&*", "+@all", "-script", "+script|load"]
        await bench.redis.execute_command("ACL", "SETUSER", "asyncwork", "reset", *rules)
        url = re.sub(r"//(:[^@]*@)?", "//asyncwork:secret@", server.url, count=1)
        redis_client = RedisClient(url, namespace=NAMESPACE)
        await (await redis_client.open()).close()
        await redis_client.close()
        assert all(await bench.redis.script_exists(*map(scripts.digest, scripts.names())))


async def test_what_redis_does_not_tell_is_said_and_not_held_against_it(tmp_path: Path) -> None:
    async with (
        bench_of_user(tmp_path, RULES["nothing dangerous"]) as bench,
        Client(bench.url, namespace=NAMESPACE) as client,
    ):
        diagnosis = await client.diagnose(0)
        assert re.match(r"[0-9]+\.[0-9]+\.[0-9]+", diagnosis.version)
        assert any("may not read" in note.text for note in diagnosis.notes)
        assert not diagnosis.problems
        assert (await client.overview()).server.version == ""
