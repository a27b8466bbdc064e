"""The enqueuers: by name or by task, in an event loop or without one, and with gocraft/work's verbs."""

from datetime import UTC, datetime, timedelta
from typing import assert_type

from asyncwork import Debounce, EnqueuedJob, EnqueueOptions, Enqueuer, JobCall, Throttle, Unique, WorkerPool, sync
from asyncwork.gocraft import GocraftEnqueuer

pool = WorkerPool()


@pool.job
async def greet(name: str) -> None: ...


async def accepted() -> None:
    async with Enqueuer(namespace="my_app") as enqueuer:
        assert_type(await enqueuer.enqueue("greet", {"name": "Ada"}, delay=timedelta(minutes=1)), EnqueuedJob)
        await enqueuer.enqueue(greet, {"name": "Ada"}, at=datetime.now(UTC), unique={"name": "Ada"})
        until_done = Unique(by=("name",), until="done", conflict="after")
        assert_type((await enqueuer.enqueue("greet", {"name": "Ada"}, unique=until_done)).replaced, bool)
        await enqueuer.enqueue(
            greet, {"name": "Ada"}, debounce=Debounce(timedelta(seconds=5), by=["name"], max_wait=60)
        )
        await enqueuer.enqueue(greet, {"name": "Ada"}, throttle=Throttle(per=60, trailing=True))
        assert_type(await enqueuer.enqueue_call(greet.call("Ada")), EnqueuedJob)
        await enqueuer.enqueue_many([("greet", {"name": "Ada"}), (greet, None), greet.options(front=True).call("Ada")])
        go = GocraftEnqueuer(enqueuer)
        assert_type(await go.enqueue(greet, {"name": "Ada"}), EnqueuedJob)
        assert_type(await go.enqueue_in("greet", 60, {"name": "Ada"}), EnqueuedJob)
        assert_type(await go.enqueue_unique("greet"), EnqueuedJob | None)
        assert_type(await go.enqueue_unique_in(greet, 60), EnqueuedJob | None)
        assert_type(await go.enqueue_unique_by_key("greet", {"name": "Ada"}, {"n": 1}), EnqueuedJob | None)
        assert_type(await go.enqueue_unique_in_by_key("greet", 60, None, {"n": 1}), EnqueuedJob | None)
    assert_type(JobCall("greet", {"name": "Ada"}, EnqueueOptions(delay=5)), JobCall)


def accepted_without_a_loop() -> None:
    with sync.Enqueuer(namespace="my_app") as enqueuer:
        assert_type(enqueuer.enqueue(greet, {"name": "Ada"}, id="x"), EnqueuedJob)
        assert_type(enqueuer.enqueue_call(greet.call("Ada")), EnqueuedJob)
        assert_type(enqueuer.enqueue_many([("greet", None), greet.call("Ada")]), list[EnqueuedJob])


async def refused() -> None:
    enqueuer = Enqueuer("redis://localhost", "my_app")  # E: Too many positional || Expected 1 positional
    await enqueuer.enqueue(5)  # E: "int" || "Literal[5]"
    await enqueuer.enqueue("greet", ["Ada"])  # E: list[str]
    await enqueuer.enqueue("greet", {}, 5)  # E: Too many positional || Expected 2 positional
    await enqueuer.enqueue("greet", at="tomorrow")  # E: "at"
    await enqueuer.enqueue("greet", unique="a")  # E: "unique"
    await enqueuer.enqueue("greet", debounce=5)  # E: "debounce"
    await enqueuer.enqueue("greet", unique=Unique(until="end"))  # E: "until"
    await enqueuer.enqueue("greet", unique=Unique(conflict="skip"))  # E: "conflict"
    await enqueuer.enqueue("greet", priority=5)  # E: "priority"
    await enqueuer.enqueue_call("greet")  # E: "JobCall[Any]"
    await enqueuer.enqueue_many([greet])  # E: "Task || "Task
    EnqueueOptions(delay="soon")  # E: "delay"


async def refused_verbs() -> None:
    go = GocraftEnqueuer(Enqueuer())
    GocraftEnqueuer(sync.Enqueuer())  # E: Enqueuer"
    await go.enqueue_in("greet", timedelta(minutes=1))  # E: "timedelta"
    await go.enqueue_unique_by_key("greet", {})  # E: "key_map"
    await go.enqueue_unique_in("greet", "60")  # E: "float"


def refused_without_a_loop(enqueuer: sync.Enqueuer) -> None:
    enqueuer.enqueue("greet", front=1)  # E: "front"
    enqueuer.enqueue("greet", delay="soon")  # E: "delay"
    enqueuer.enqueue_many(["greet"])  # E: "str" || list[str]
    sync.Enqueuer("redis://localhost", "my_app")  # E: Too many positional || Expected 1 positional
