"""Tests of an application: the fixture `jobs`, and the audit."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from asyncwork import WorkerPool
from asyncwork.testing import JobRun, Jobs, ListedJob, OutcomeName, audit, open_jobs

pool = WorkerPool()


@pool.job
async def greet(name: str) -> None: ...


async def accepted(jobs: Jobs) -> None:
    await greet.enqueue("Ada")
    assert_type(jobs.enqueued(), list[ListedJob])
    assert_type(jobs.enqueued(greet), list[ListedJob])
    assert_type(jobs.assert_enqueued(greet, name="Ada"), ListedJob)
    assert_type(jobs.assert_enqueued(greet, "Ada"), ListedJob)
    assert_type(jobs.assert_enqueued(greet), ListedJob)
    jobs.assert_not_enqueued(greet, "Bob")
    jobs.assert_not_enqueued("greet", name="Bob")
    ran = await jobs.drain(raise_first=True, timeout=5)
    assert_type(ran, list[JobRun])
    assert_type(ran[0].outcome, OutcomeName)
    with jobs.eager(raise_errors=False) as runs:
        assert_type(runs, list[JobRun])
    async with jobs.eager(resources=5) as runs:
        assert_type(runs, list[JobRun])
    assert_type(await jobs.drain(greet), list[JobRun])
    jobs.release()
    jobs.clock.move(timedelta(hours=1))
    jobs.clock.move(hours=1)
    jobs.clock.move_to(datetime(2030, 1, 1, tzinfo=UTC))
    assert_type(await audit(jobs.url, jobs.namespace), list[str])


def accepted_without_a_loop() -> None:
    with open_jobs(pool, "redis://localhost") as jobs:
        assert_type(jobs.sync.drain(timeout=5), list[JobRun])


async def refused(jobs: Jobs) -> None:
    jobs.enqueued(5)  # E: "str
    jobs.assert_enqueued(name="Ada")  # E: No overload
    jobs.assert_enqueued(greet, 5)  # E: No overload || Literal[5]
    jobs.assert_enqueued("greet", "Ada")  # E: No overload || Literal['greet']
    await jobs.drain(timeout="5 s")  # E: "float
    jobs.clock.move("1 h")  # E: timedelta"
    jobs.clock.move_to(timedelta(hours=1))  # E: "datetime
    open_jobs(greet, "redis://localhost")  # E: "WorkerPool[Any]"
    JobRun("greet", "x", {}, "finished")  # E: Literal[
