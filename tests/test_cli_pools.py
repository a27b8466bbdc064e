"""``asyncwork pools``: shows pools, and has them be quiet, run again and stop."""

from __future__ import annotations

import json
import signal

import pytest

from asyncwork import Client

from .conftest import Bench, until
from .test_cli import at, program, run


async def is_empty(bench: Bench) -> bool:
    return not await bench.waiting("note")


async def test_a_process_is_quiet_runs_again_and_stops(bench: Bench) -> None:
    location = ("--redis", bench.url, "--namespace", bench.namespace)
    labelled = program(*at(bench), "--version-label", "v1.4.2")
    async with labelled as running, Client(bench.url, namespace=bench.namespace) as client:
        await running.says("running up to")
        (pool,) = await client.heartbeats()
        code, out, err = await run("pools", *location)
        assert (code, err) == (0, "")
        assert out.endswith("  v1.4.2\n")
        assert out.startswith(f"{pool.pool_id}  running  {pool.concurrency} workers  {pool.host} process {pool.pid}  ")
        code, out, _ = await run("pools", "ls", "--json", *location)
        (shown,) = json.loads(out)
        assert (code, shown["pool_id"], shown["takes_requests"]) == (0, pool.pool_id, True)
        assert shown["requests"] == []
        assert shown["version_label"] == "v1.4.2"

        code, out, _ = await run("pools", "quiet", pool.pool_id, "--who", "ann", *location)
        assert (code, out) == (0, f"pool {pool.pool_id} is asked to be quiet\n")
        await running.says(f"pool {pool.pool_id} was asked by ann to change: quiet")
        await bench.enqueuer.enqueue("note", {"text": "hello"})
        code, out, _ = await run("pools", "unquiet", "all", *location)
        assert (code, out) == (0, f"pool {pool.pool_id} is asked to run again\n")
        await running.says("to change: running")
        await until(lambda: is_empty(bench))
        # A signal makes it quiet, an operator has it run again, and another signal makes it quiet again.
        running.send(signal.SIGTSTP)
        await running.says("SIGTSTP: quiet")
        await run("pools", "unquiet", pool.pool_id, *location)
        await running.says("to change: running", times=2)
        running.send(signal.SIGTSTP)
        await running.says("SIGTSTP: quiet", times=2)

        code, out, _ = await run("pools", "resize", pool.pool_id, "5", "--who", "ann", *location)
        assert (code, out) == (0, f"pool {pool.pool_id} is asked to run 5 jobs at once\n")
        await running.says(f"asked by ann to change: concurrency: 5 instead of {pool.concurrency}, running jobs go on")

        async def is_resized() -> bool:
            _, out, _ = await run("pools", "ls", *location)
            return "  quiet  5 workers  " in out

        await until(is_resized)

        code, out, _ = await run("pools", "stop", "all", *location)
        assert (code, out) == (0, f"pool {pool.pool_id} is asked to stop\n")
        await running.says(r"was asked by \S+@\S+ to change: stopping")
        assert await running.ends() == 0
    assert "stopped after" in running.err
    assert "jobs done: 1," in running.err
    code, out, _ = await run("pools", "ls", *location)
    assert (code, out) == (0, "no pools\n")


async def test_pools_that_take_no_requests(bench: Bench) -> None:
    location = ("--redis", bench.url, "--namespace", bench.namespace)
    code, out, _ = await run("pools", "stop", "gone", *location)
    assert code == 1
    assert out.startswith("not asked to stop: there is no pool 'gone'")
    await bench.redis.sadd(bench.keys.worker_pools, "go")
    await bench.redis.hset(bench.keys.heartbeat("go"), mapping={"heartbeat_at": 1, "job_names": "wat"})
    code, out, _ = await run("pools", "quiet", "all", *location)
    assert code == 1
    assert "pool 'go' takes no requests: it is one of gocraft/work" in out
    code, out, _ = await run("pools", "ls", *location)
    assert code == 0
    assert "gocraft/work, takes no requests" in out
    await bench.redis.delete(bench.keys.heartbeat("go"), bench.keys.worker_pools)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quiet",), "POOL is missing: the id of a pool, or all"),
        (("ls", "all"), "ls shows all pools, and takes no POOL"),
        (("stop", "all", "--json"), "--json is for ls alone"),
        (("kill", "all"), "invalid choice: 'kill'"),
        (("resize",), "POOL is missing: the id of a pool, or all"),
        (("resize", "all"), "NUMBER is missing: how many jobs the pool is to run at once"),
        (("resize", "all", "many"), "a whole number"),
        (("resize", "all", "0"), "concurrency must be a whole number from 1 to 10000, not 0"),
        (("resize", "all", "10001"), "concurrency must be a whole number from 1 to 10000, not 10001"),
        (("quiet", "all", "3"), "quiet takes no NUMBER: '3'"),
    ],
)
async def test_bad_usage(arguments: tuple[str, ...], message: str) -> None:
    code, _, err = await run("pools", *arguments)
    assert code == 2
    assert message in err


async def test_requests_that_a_pool_has_not_followed_are_shown(bench: Bench) -> None:
    location = ("--redis", bench.url, "--namespace", bench.namespace)
    await bench.redis.sadd(bench.keys.worker_pools, "one")
    key = bench.keys.heartbeat("one")
    await bench.redis.hset(key, mapping={"heartbeat_at": 1, "takes_requests": 1, "runner": "asyncwork", "beats": 3})
    await run("pools", "resize", "one", "12", "--who", "ann", *location)
    await bench.redis.hset(key, mapping={"beats": 5, "requested": "nonsense\n"})
    _, out, _ = await run("pools", "ls", *location)
    _, *lines = out.splitlines()
    assert lines == [
        "    ignores a request that cannot be read: b'nonsense\\n'",
        "    requested by ann: 12 jobs at once, 2 heartbeats ago",
    ]
    await bench.redis.delete(key, bench.keys.worker_pools)
