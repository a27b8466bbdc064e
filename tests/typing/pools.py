"""Pools: their context class, middlewares and periodic jobs."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import assert_type
from zoneinfo import ZoneInfo

from asyncwork import CallNext, EnqueuedJob, Job, NoContext, WorkerPool


class Context:
    async def measure(self, job: Job, call_next: CallNext) -> object:
        return await call_next()


class OtherContext:
    async def measure(self, job: Job, call_next: CallNext) -> object:
        return await call_next()


pool = WorkerPool(context=Context)
plain = WorkerPool()
of_context: WorkerPool[Context] = pool
of_none: WorkerPool[NoContext] = plain
of_other: WorkerPool[OtherContext] = pool  # E: OtherContext

WorkerPool(context=Context())  # E: overload || "context"
WorkerPool(context="Context")  # E: overload || "context"
WorkerPool(concurrency="10")  # E: overload || "concurrency"
WorkerPool(extra="warn")  # E: overload || "extra"


@pool.middleware
async def log(job: Job, call_next: CallNext) -> object:
    return await call_next()


@pool.middleware
async def with_context(ctx: Context, job: Job, call_next: CallNext) -> object:
    return await call_next()


@plain.middleware
async def otherwise_annotated(job: Job, call_next: Callable[[], Awaitable[object]]) -> None:
    await call_next()


@pool.middleware
async def unannotated(job, call_next):  # type: ignore[no-untyped-def]
    return await call_next()


pool.middleware(Context.measure)

pool.middleware(OtherContext.measure)  # E: "middleware"


@pool.middleware  # E: "middleware"
async def of_another_context(ctx: OtherContext, job: Job, call_next: CallNext) -> object:
    return await call_next()


@pool.middleware  # E: "middleware"
def not_async(job: Job, call_next: CallNext) -> object:
    return None


@pool.middleware  # E: "middleware"
async def without_job(call_next: CallNext) -> object:
    return await call_next()


@pool.middleware  # E: "middleware"
async def swapped(call_next: CallNext, job: Job) -> object:
    return await call_next()


@pool.middleware  # E: "middleware"
async def passes_job(job: Job, call_next: Callable[[Job], Awaitable[object]]) -> object:
    return await call_next(job)


@pool.job
async def clean(days: int = 30) -> None: ...


pool.periodically("@daily", clean)
pool.periodically("@daily", clean, {"days": 3})
pool.periodically("@daily", "clean", {"days": 3}, elsewhere=True)
pool.periodically("@daily", 5)  # E: "int" || "Literal[5]"
pool.periodically("@daily", clean, [3])  # E: list[int]
pool.periodically(timedelta(days=1), clean)  # E: "timedelta"


@pool.periodic("0 0 3 * * *", tz="Europe/Berlin", args={"n": 1})
@pool.periodic("@hourly", tz=ZoneInfo("UTC"))
def nightly(ctx: Context, n: int = 0) -> bool:
    return True


@pool.job("nightly_mail")
@pool.periodic("@daily", args={"address": "a"})
async def send_nightly(job: Job, address: str, subject: str = "x") -> None: ...


async def scheduled() -> None:
    job: EnqueuedJob = await nightly.enqueue(3)
    job = await send_nightly.enqueue("a", subject="b")
    print(job.id)
    await nightly.enqueue("many")  # E: "int"
    await send_nightly.enqueue(5)  # E: "str"


pool.periodic("@hourly", tz=1)  # E: "str
pool.periodic(timedelta(hours=1))  # E: "str"
pool.periodic("@hourly", args=[3])  # E: list[int]
pool.periodic("@hourly")(5)  # E: overload


@pool.on_failure
async def note(job: Job, error: BaseException) -> None: ...


@pool.on_dead
def alert(job: Job, error: Exception) -> bool:
    return True


async def hooks_remain_functions(job: Job) -> None:
    await note(job, ValueError())
    assert_type(alert(job, ValueError()), bool)
    job.log.info("n is %d", 5, extra={"n": 5})


@pool.on_failure  # E: "H" || "on_failure"
def takes_too_little(job: Job) -> None: ...


@pool.on_dead  # E: "H" || "on_dead"
async def takes_a_context(ctx: Context, job: Job, error: Exception) -> None: ...


pool.on_dead(5)  # E: "H" || "on_dead"
