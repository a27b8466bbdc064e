"""Opens the jobs of one test: redirects its pool, and checks at the end what is left."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._jobs.printable import shown
from .._redis.fair_queues import FairQueues
from .._worker.job_type import fair_options
from ..errors import UsageError
from ..worker_pool import WorkerPool
from .jobs import Jobs


@contextmanager
def open_jobs(pool: WorkerPool[Any], url: str) -> Iterator[Jobs]:
    """Redirect a pool to a new namespace during a ``with`` block. The fixture ``jobs`` does this for each test.

    :param url: the URL of a Redis for tests.
    :raises UsageError: when the pool is running, or is not a pool.
    :raises AssertionError: at the end, when the audit finds something, or the pool is still running.
    :raises RedisUnavailable: at the end, when Redis refuses or cannot be reached.
    """
    __tracebackhide__ = True
    if not isinstance(pool, WorkerPool):
        raise UsageError(f"the pool under test must be a WorkerPool, not {type(pool).__name__}: {shown(pool)}")
    if pool._is_running:
        raise UsageError(
            "the pool is running already, so it cannot be redirected to the Redis for tests: let the fixture that "
            "starts it take the fixture `jobs`"
        )
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    if "cluster" in url.partition(":")[0]:
        namespace = f"{{{namespace}}}"
    jobs = Jobs(pool, url, namespace)
    try:
        if fair := fair_options(pool.job_options):
            jobs._background.run(FairQueues(jobs._in_redis).declare(fair))
        with jobs._opened():
            yield jobs
        violations = jobs._background.run(jobs._finish())
    finally:
        jobs._background.close()
    if pool._is_running:
        raise AssertionError("the pool is still running at the end of the test: stop it before")
    if violations:
        raise AssertionError("\n".join(["after the test, the audit of its jobs found:", *violations]))
