"""A small Go program with gocraft/work (``gowork/``), and readers of what a mixed fleet did."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import pytest

from asyncwork import Job, WorkerPool
from asyncwork._worker.services.reaper import Reaper

from ..conftest import LIMIT, Bench, until
from ..tuned import tuned

SOURCE = Path(__file__).with_name("gowork")

# Quick where Go pools do not mind. They beat every 5 s only, so no sooner than after 10 s may one be taken for dead.
MIXED = tuned(heartbeat=0.5, dead_after=10.0, reap=0.2, observe=0.05, reconcile=0.5, revive=0.1)

Args = Mapping[str, Any] | None


def missing(reason: str) -> NoReturn:
    """Skip a test for want of something that this machine lacks; in CI it fails instead."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and this is CI")
    pytest.skip(reason)


def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Go program, built once for all workers of the session."""
    go = shutil.which("go")
    if go is None:
        missing("there is no Go on this machine to build gocraft/work with")
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    binary = directory / "gowork"
    with (directory / "gowork.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            fetched = subprocess.run([go, "mod", "download"], cwd=SOURCE, capture_output=True, text=True)
            if fetched.returncode:
                missing(f"gocraft/work could not be fetched: {fetched.stderr.strip()}")
            built = subprocess.run([go, "build", "-o", binary, "."], cwd=SOURCE, capture_output=True, text=True)
            assert built.returncode == 0, built.stderr
    return binary


class Streamed:
    """The Go program answering line by line, for tests that ask it much."""

    def __init__(self, binary: Path, verb: str) -> None:
        self._process = subprocess.Popen([binary, verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line: str) -> str:
        """Return the answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def ask(self, question: object) -> Any:
        """Return the answer to a line of JSON, which is JSON too."""
        return json.loads(self.say(json.dumps(question)))

    def __enter__(self) -> Streamed:
        return self

    def __exit__(self, *error: object) -> None:
        # Closes its input, which ends it, and waits.
        self._process.communicate()


class Program:
    """The Go program, running."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.output = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode()

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until its output matches."""
        async with asyncio.timeout(LIMIT):
            while True:
                ended = self._reading.done()
                if match := re.search(pattern, self.output):
                    return match
                assert not ended, f"{pattern!r} is not in what it said:\n{self.output}"
                await asyncio.sleep(0.005)

    async def ends(self, limit: float = LIMIT) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        async with asyncio.timeout(limit):
            await self._reading
            return await self.process.wait()


class GoPool(Program):
    """A Go worker pool.

    :ivar id: its id in Redis.
    """

    id = ""

    async def drain(self) -> None:
        """Have it run what is there and end."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"drain\n")
        assert await self.ends() == 0, self.output

    async def stop(self) -> None:
        """Have it end."""
        self.process.terminate()
        assert await self.ends() == 0, self.output

    async def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        await self.ends()


@dataclass(frozen=True)
class Event:
    """A start or an end of a job, in the order in which Redis learned of them."""

    event: str
    by: str
    pid: int
    name: str
    id: str
    args: dict[str, Any] | None
    fails: int
    at: float


class Mixed:
    """A namespace with programs of both languages.

    :ivar bench: it and all that is Python's.
    :ivar record: the Redis list in which jobs leave their starts and ends.
    """

    def __init__(self, bench: Bench, binary: Path) -> None:
        self.bench = bench
        self.record = f"{bench.namespace}:record"
        self._binary = binary

    def _command(self, *arguments: str) -> list[str]:
        return [str(self._binary), "-redis", self.bench.url, "-namespace", self.bench.namespace, *arguments]

    async def _run(self, *arguments: str, given: str = "") -> str:
        process = await asyncio.create_subprocess_exec(*self._command(*arguments), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        async with asyncio.timeout(LIMIT):
            output, errors = await process.communicate(given.encode())
        assert process.returncode == 0, errors.decode()
        return output.decode()

    # What a Go program does

    async def enqueue(self, name: str, args: Args = None, *, how: str = "enqueue", seconds: int = 0) -> Any:
        """Enqueue by Go; return the job as the library does, ``None`` for a duplicate."""
        (answer,) = await self.enqueue_all([{"how": how, "name": name, "args": args, "in": seconds}])
        return answer

    async def enqueue_all(self, orders: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Enqueue by one Go program, in order."""
        output = await self._run("enqueue", given="".join(f"{json.dumps(order)}\n" for order in orders))
        return [json.loads(line) for line in output.split("\n") if line]

    async def client(self, *arguments: object) -> Any:
        """Return what Go's client answers.

        :raises LookupError: when it returns an error.
        """
        output = await self._run("client", *map(str, arguments))
        # Before it may be what the library logs.
        answer = json.loads(output.rstrip("\n").rpartition("\n")[2])
        if "error" in answer:
            raise LookupError(answer["error"])
        return answer["answer"]

    @asynccontextmanager
    async def _program(self, kind: type[Program], *arguments: str) -> AsyncIterator[Any]:
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments), stdin=PIPE, stdout=PIPE, stderr=STDOUT, limit=1 << 24
        )
        program = kind(process)
        try:
            yield program
        finally:
            if process.returncode is None:
                process.kill()
            await program.ends()
            assert process.stdin is not None
            process.stdin.close()

    @asynccontextmanager
    async def pool(self, concurrency: int = 4, *, jobs: Mapping[str, Any], **spec: Any) -> AsyncIterator[GoPool]:
        """A Go pool that has started; stopped at the end unless it has ended before.

        :param jobs: what becomes of the jobs of each name, and its options; see ``gowork/work.go``.
        """
        whole = {"concurrency": concurrency, "jobs": jobs, "record": self.record, "attentive": True, **spec}
        async with self._program(GoPool, "work", json.dumps(whole)) as pool:
            pool.id = (await pool.says(r"ready (\w+)"))[1]
            yield pool
            if pool.process.returncode is None:
                await pool.stop()

    async def run_go(self, *names: str, **behaviour: Any) -> None:
        """Run what waits in some queues by a Go pool."""
        async with self.pool(jobs=dict.fromkeys(names, behaviour), drain=True) as pool:
            assert await pool.ends() == 0

    @asynccontextmanager
    async def webui(self) -> AsyncIterator[str]:
        """Go's web UI; yields its URL."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        async with self._program(Program, "webui", address) as program:
            await program.says("ready")
            yield f"http://{address}"
            program.process.send_signal(signal.SIGTERM)
            await program.ends()

    # What a Python program does

    def python(self, *names: str, job: Mapping[str, Any] | None = None, **options: Any) -> WorkerPool[Any]:
        """A Python pool whose jobs leave their starts and ends in the record.

        :param job: the options of each job, and the behaviour that Go's have too: ``fails``, ``error``, ``until``,
            ``sleep`` (milliseconds) and ``checkin``.
        """
        how = dict(job or {})
        behaviour = {key: how.pop(key, None) for key in ("fails", "error", "until", "sleep", "checkin")}
        pool = self.bench.pool(**{**MIXED, **options})

        async def run(job: Job) -> None:
            await self.tell("start", job)
            if behaviour["checkin"]:
                job.checkin(behaviour["checkin"])
            if behaviour["until"]:
                await until(lambda: self.bench.redis.exists(behaviour["until"]))
            await asyncio.sleep((behaviour["sleep"] or 0) / 1000)
            await self.tell("end", job)
            fails = behaviour["fails"] or 0
            if fails < 0 or job.fails < fails:
                raise ValueError(behaviour["error"] or f"failure {job.fails + 1}")

        for name in names:
            pool.job(name, **how)(run)
        return pool

    async def tell(self, what: str, job: Job) -> None:
        """Record a start or an end."""
        seconds, micros = await self.bench.redis.time()
        told = {"event": what, "by": "python", "pid": os.getpid(), "name": job.name, "id": job.id}
        told |= {"args": job.given_args, "fails": job.fails, "at": seconds + micros / 1e6}
        await self.bench.redis.rpush(self.record, json.dumps(told))

    async def run_python(self, *names: str, **job: Any) -> None:
        """Run what waits in some queues by a Python pool."""
        async with self.python(*names, job=job).running() as pool:
            await self.drain(pool)

    async def drain(self, pool: WorkerPool[Any]) -> None:
        """Wait until a Python pool has run what there is, also what it has been sent and not yet read."""
        assert pool.id is not None
        await pool.drain()
        while await self.held_by(pool.id):
            await pool.drain()

    # What became of it

    async def events(self, what: str = "") -> list[Event]:
        """What was recorded, all or ``start`` or ``end`` only."""
        told = [Event(**json.loads(raw)) for raw in await self.bench.redis.lrange(self.record, 0, -1)]
        return [each for each in told if each.event == (what or each.event)]

    async def ran(self, by: str = "") -> list[str]:
        """The ids of the jobs that ran to their end, as often as they did, sorted."""
        return sorted(each.id for each in await self.events("end") if each.by == (by or each.by))

    async def held_by(self, *pool_ids: str) -> list[str]:
        """The ids of the jobs that Redis holds as in progress for some pools."""
        found = []
        for pool_id in pool_ids:
            async for key in self.bench.redis.scan_iter(f"{self.bench.namespace}:jobs:*:{pool_id}:inprogress"):
                found += [json.loads(raw)["id"] for raw in await self.bench.redis.lrange(key, 0, -1)]
        return found

    async def until_ran(self, count: int, limit: float = LIMIT) -> None:
        """Wait until so many runs have ended and none is under way."""

        async def enough() -> bool:
            starts, ends = await self.events("start"), await self.events("end")
            return len(starts) == len(ends) >= count

        await until(enough, limit)

    async def at_once(self, name: str) -> int:
        """How many jobs of a name ran at the same time, at most."""
        steps = [1 if each.event == "start" else -1 for each in await self.events() if each.name == name]
        return max(accumulate(steps), default=0)

    async def settled(self) -> None:
        """Assert that Go pools that stopped have left nothing but shares of 0, and have ours sweep those."""
        redis, keys = self.bench.redis, self.bench.keys
        for name in sorted(raw.decode() for raw in await redis.smembers(keys.known_jobs)):
            assert set((await redis.hgetall(keys.lock_info(name))).values()) <= {b"0"}
        await self.sweep()

    async def sweep(self) -> None:
        """Have a Python reaper go over the namespace as it would in half a minute; nobody may be running."""
        now = 0.0
        reaper = Reaper(
            self.bench.in_redis, "f" * 24, period=10, dead_after=10, orphans_period=1, monotonic=lambda: now
        )
        for _ in range(4):
            await reaper.run_once()
            now += 10
