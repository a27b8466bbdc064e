"""Takes the measurements, each in processes of its own, on one Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from asyncwork.testing import audit

from .orders import NAMESPACE, Case, Drained, Waited

_ROOT = Path(__file__).parent.parent


class BenchmarkError(Exception):
    """A run went wrong, so that its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain: what the worker saw, and what it cost Redis.

    :ivar redis_cpu: seconds of CPU of the Redis process meanwhile.
    """

    jobs: int
    worker: Drained
    redis_cpu: float

    @property
    def rate(self) -> float:
        """Jobs per second."""
        return self.jobs / self.worker.seconds


class Bench:
    """Measures on a Redis that is used for nothing else: it is emptied before each run."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: Any = Redis.from_url(url, protocol=2, decode_responses=True)

    @property
    def redis_version(self) -> str:
        """The version of the server."""
        return str(self._redis.info("server")["redis_version"])

    def drain(self, case: Case, jobs: int) -> Drain:
        """Have jobs enqueued, then run by a fresh process.

        :raises BenchmarkError: when a job did not run exactly once, or something is left in Redis.
        """
        self._redis.flushall()
        with _Process("producer", self._order("fill", jobs)) as producer:
            producer.result()
        before = self._redis_cpu()
        module = "floor_worker" if case.side == "floor" else "worker"
        with _Process(module, self._order("drain", jobs, case)) as worker:
            drained = Drained(**worker.result())
        redis_cpu = self._redis_cpu() - before
        if drained.astray:
            raise BenchmarkError(f"{case}: {drained.astray} of {jobs} jobs did not run exactly once")
        self._check(case)
        return Drain(jobs, drained, redis_cpu)

    def enqueue(self, how: str, jobs: int) -> float:
        """Return the jobs per second that one process enqueues: ``trickle`` one at a time, ``fill`` in bulk.

        :raises BenchmarkError: when they are not all there.
        """
        self._redis.flushall()
        with _Process("producer", self._order(how, jobs)) as producer:
            rate = jobs / float(producer.result())
        waiting = sum(self._redis.llen(queue) for queue in self._redis.scan_iter(_type="list"))
        if waiting != jobs:
            raise BenchmarkError(f"{jobs} jobs were enqueued, and {waiting} wait in Redis")
        return rate

    def wait(self, case: Case, jobs: int) -> Waited:
        """Have an idle pool get one job after the other.

        :raises BenchmarkError: when something is left in Redis.
        """
        self._redis.flushall()
        with _Process("worker", self._order("wait", jobs, case)) as worker:
            worker.result()
            with _Process("producer", self._order("tick", jobs)) as producer:
                producer.result()
            waited = Waited(**worker.result())
        self._check(case)
        return waited

    def _order(self, what: str, jobs: int, case: Case | None = None) -> dict[str, Any]:
        return {"what": what, "url": self._url, "jobs": jobs, "case": case and asdict(case)}

    def _redis_cpu(self) -> float:
        info = self._redis.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def _check(self, case: Case) -> None:
        """Make sure that no job is left anywhere, and no lock."""
        left = [key for kind in ("list", "zset") for key in self._redis.scan_iter(_type=kind)]
        left += [key for key in self._redis.scan_iter("*:lock") if self._redis.get(key) != "0"]
        if case.side == "asyncwork":
            left += asyncio.run(audit(self._url, NAMESPACE))
        if left:
            raise BenchmarkError(f"{case}: left in Redis: {', '.join(left)}")


class _Process:
    """A module of this package in a process of its own, that was given an order."""

    def __init__(self, module: str, order: dict[str, Any]) -> None:
        self._module = module
        command = [sys.executable, "-m", f"{__package__}.{module}"]
        self._process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        """Return the next that it tells.

        :raises BenchmarkError: when it ends without.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"the {self._module} ended with exit code {self._process.wait()}; see above")
        return json.loads(line)

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()
