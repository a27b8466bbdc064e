"""The client, its results, and the errors."""

from dataclasses import replace
from typing import assert_type
from zoneinfo import ZoneInfo

from asyncwork import (
    ActionResult,
    Client,
    Deletion,
    EnqueuedJob,
    EnqueueManyError,
    JobCounts,
    JobQuery,
    JobRecord,
    Overview,
    Page,
    PeriodicRun,
    PeriodicState,
    RedisUnavailable,
    SearchResult,
    WorkerPool,
)
from asyncwork.gocraft import GocraftClient


def hide(record: JobRecord) -> JobRecord:
    return replace(record, args=b"null")


pool = WorkerPool()


@pool.job
async def greet(name: str) -> None: ...


async def accepted() -> None:
    async with Client(namespace="my_app", redact=hide) as client:
        page = await client.jobs("dead", 2, newest_first=True)
        assert_type(page, Page)
        assert_type(await client.retry("dead", [job.ref for job in page.jobs]), ActionResult)
        matched = await client.delete_matching("dead", JobQuery(name="a"), who="ada")
        assert_type(matched, ActionResult)
        assert_type(await client.restore(matched.undo), int)
        assert_type(await client.search("dead", JobQuery(text="x")), SearchResult)
        assert_type(await client.overview(), Overview)
        assert_type(await client.minutes(5, queue="a"), list[JobCounts])
        assert_type(await client.deletions(), list[Deletion])
        async for line in client.repair(await client.diagnose(0)):
            assert_type(line, str)
        key = await client.add_periodic("@daily", greet, {"name": "Ada"}, tz="Europe/Berlin", who="ada")
        assert_type(key, str)
        await client.edit_periodic(key, tz=None)
        await client.edit_periodic(key, spec="@hourly", arguments={}, tz=ZoneInfo("UTC"))
        assert_type(await client.run_periodic(key), str)
        assert_type(await client.periodic_runs(key, 5), list[PeriodicRun])
        assert_type(await client.periodic_jobs(), list[PeriodicState])
        await client.pause(greet)
        assert_type(await client.jobs(greet), Page)
        await client.set_max_concurrency(greet, 5)
        assert_type(await client.empty(greet, who="ada"), ActionResult)
        await client.forget("greet")
        await client.minutes(queue=greet)
        assert_type(await client.count("dead", JobQuery(name=greet)), ActionResult)
        assert_type(await GocraftClient(client).dead_jobs(2), Page)
        assert_type(await GocraftClient(client).retry_dead_job(5, "x"), bool)


async def refused() -> None:
    client = Client("redis://localhost", "my_app")  # E: Too many positional || Expected 1 positional
    await client.jobs(5)  # E: "str
    await client.retry("dead", JobQuery())  # E: "JobQuery"
    await client.retry_matching("dead", "a")  # E: "JobQuery"
    await client.pause(5)  # E: "str | Named"
    await client.edit_periodic("a", tz=5)  # E: "str | ZoneInfo
    await client.add_periodic("@daily", "a", [1])  # E: "Mapping[str, Any]
    await client.set_max_concurrency("a", "b")  # E: "int"
    Client(redact=lambda record: record.args)  # E: "bytes"


def errors(error: EnqueueManyError) -> None:
    assert_type(error.unwritten, list[EnqueuedJob])
    raise_for(error)
    raise_for(5)  # E: "RedisUnavailable"


def raise_for(error: RedisUnavailable) -> None: ...
