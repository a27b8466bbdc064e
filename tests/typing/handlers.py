"""Handlers: what `@pool.job` takes, and what the task then takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from asyncwork import EnqueuedJob, Job, Rate, Retry, Snooze, WorkerPool, gather


@dataclass
class Context:
    user: str = ""

    async def greet(self, name: str) -> None:
        """A method of the context class is a handler."""

    async def greet_job(self, job: Job, name: str) -> None:
        """The same, with the job."""


pool = WorkerPool(context=Context)
plain = WorkerPool()


@pool.job
async def with_both(ctx: Context, job: Job, address: str, subject: str = "x") -> int:
    return 1


@pool.job
async def with_context(ctx: Context, address: str) -> int:
    return 1


@pool.job
async def with_job(job: Job, address: str) -> int:
    return 1


@pool.job
def with_neither(address: str, *, width: int = 3) -> bool:
    return True


@pool.job("named", priority=2, max_fails=1, backoff=lambda job: 5.0 * job.fails)
async def named(ctx: Context, address: str) -> int:
    return 1


@plain.job()
async def of_plain(job: Job, address: str) -> int:
    return 1


@plain.job
def unannotated(address, subject="x"):  # type: ignore[no-untyped-def]
    return address


@pool.job
async def any_value(ctx: Context, value: Any, n: int = 1) -> None: ...


greet = pool.job(Context.greet)
greet_job = pool.job("greet_job")(Context.greet_job)


def is_job(job: EnqueuedJob) -> None: ...


async def results() -> None:
    job = await with_both.enqueue("a")
    assert_type(await job.result(timeout=30), int)
    assert_type(await with_both.call("a"), int)
    assert_type(await with_both.options(delay=5).call("a").result(timedelta(seconds=5)), int)
    assert_type(await (await with_neither.enqueue("a")).result(), bool)
    assert_type(with_neither.sync.result(job), bool)
    assert_type(with_both.sync.result(job, timeout=5), int)
    assert_type(await gather(job, job), list[int])
    assert_type(await (await pool.enqueuer.enqueue("x")).result(), Any)


async def accepted() -> None:
    is_job(await with_both.enqueue("a", subject="b"))
    is_job(await with_both.enqueue(address="a"))
    await with_context.enqueue("a")
    await with_job.enqueue(address="a")
    await with_neither.enqueue("a", width=4)
    await named.enqueue("a")
    await of_plain.enqueue("a")
    await unannotated.enqueue("a", subject="b")
    await unannotated.enqueue(address="a")
    await any_value.enqueue(5, n=2)
    await any_value.enqueue(value=[1, 2])
    await greet.enqueue("Ada")
    await greet_job.enqueue(name="Ada")
    is_job(with_both.sync.enqueue("a", subject="b"))
    is_job(with_both.options(delay=5).sync.enqueue("a"))
    is_job(await with_both.options(delay=timedelta(hours=1), unique=True).enqueue("a"))
    f = with_both.options(unique={"user": 1}, id="x", front=True).call("a")
    assert_type(await with_both.enqueue_many([with_both.call("a"), with_neither.call("b"), f]), list[EnqueuedJob])
    assert_type(with_both.sync.enqueue_many(with_both.call(each) for each in "ab"), list[EnqueuedJob])
    assert_type(await pool.enqueuer.enqueue_many([("x", {"n": 1}), (with_both, None), f]), list[EnqueuedJob])


async def called() -> None:
    assert_type(await with_both(Context(), Job(b"", {}), "a"), int)
    assert_type(with_neither("a", width=4), bool)
    assert_type(await with_job(Job(b"", {}), "a"), int)
    assert_type(Job(b"", {}).arg("x", str), str)
    assert_type(Job(b"", {}).arg("x", int, None), int | None)
    await greet(Context(), "Ada")


async def refused() -> None:
    await with_both.enqueue(5)  # E: "str"
    await with_both.enqueue()  # E: "address"
    await with_both.enqueue("a", sbject="b")  # E: "sbject"
    await with_both.enqueue("a", "b", "c")  # E: Too many || Expected 2 positional
    await with_both.enqueue(Context(), "a")  # E: "str"
    await with_context.enqueue(Context(), "a")  # E: Too many || Expected 1 positional
    await with_job.enqueue(Job(b"", {}))  # E: "str"
    await with_neither.enqueue("a", 4)  # E: Too many || Expected 1 positional
    await with_neither.enqueue("a", width="4")  # E: "int"
    await named.enqueue(5)  # E: "str"
    await of_plain.enqueue(5)  # E: "str"
    await greet.enqueue(5)  # E: "str"
    await greet_job.enqueue()  # E: "name"


async def refused_otherwise() -> None:
    with_both.sync.enqueue(5)  # E: "str"
    with_both.options(front=True).sync.enqueue(adress="a")  # E: "adress"
    await with_both.options(delay=5).enqueue(5)  # E: "str"
    with_both.call(5)  # E: "str"
    with_both.call("a", subjct="b")  # E: "subjct"
    with_both.options(delay="soon")  # E: "delay"
    with_both.options(at="2030-01-01")  # E: "at"
    with_both.options(unique="a")  # E: "unique"
    with_both.options(id=5)  # E: "id"
    with_both.options(front=1)  # E: "front"
    with_both.options(priority=5)  # E: "priority"
    with_both.options(5)  # E: Too many positional || Expected 0 positional
    await with_both.enqueue_many([("a", {})])  # E: "JobCall[Any]"
    await with_both.enqueue_many([await with_both.enqueue("a")])  # E: "JobCall[Any]"
    with_both.sync.enqueue_many(["a"])  # E: "JobCall[Any]"
    await with_both.options(delay=5).enqueue_many([with_both.call("a")])  # E: "enqueue_many"
    with_both.options(delay=5).sync.enqueue_many([with_both.call("a")])  # E: "enqueue_many"
    await pool.enqueuer.enqueue_many([("x", 5)])  # E: int] || "int"
    await pool.enqueuer.enqueue("x", [5])  # E: list[int]
    await pool.enqueuer.enqueue("x", {}, delay="soon")  # E: "delay"
    pool.sync_enqueuer.enqueue(5)  # E: "int" || "Literal[5]"


@pool.job(chunk=100, wait=timedelta(seconds=1), max_waiting=10_000)
async def with_chunk(ctx: Context, jobs: list[Job]) -> dict[str, Exception] | None:
    return None


@pool.job("sequence", chunk=100)
def with_sequence(jobs: Sequence[Job]) -> None: ...


async def chunks(jobs: list[Job]) -> None:
    # Each job may have any arguments.
    await with_chunk.enqueue(document=7)
    await with_chunk.options(max_waiting=5).enqueue(anything="x")
    await with_chunk.enqueue_many([with_sequence.call(n=1), with_both.call("a")])
    await with_chunk(Context(), jobs)
    with_sequence(jobs)
    with_chunk.options(max_waiting="5")  # E: "max_waiting"
    pool.job(
        "x", partition="document", partition_rate=Rate(10), partition_concurrency=2, partition_max=9, ordered=False
    )
    pool.job("x", partition=lambda args: args["document"])
    await with_chunk.options(partition="acme").enqueue(document=7)
    await with_chunk.options(partition=7).enqueue(document=7)
    with_chunk.options(partition=[7])  # E: "partition"
    pool.job("x", partition=7)  # E: overload || "partition"
    pool.job("x", partition="document", partition_rate="10/1")  # E: overload || "partition_rate"
    pool.job("x", partition="document", partition_concurrency="2")  # E: overload || "partition_concurrency"
    pool.job("x", chunk="100")  # E: overload || "chunk"
    pool.job("x", chunk=100, wait="1 s")  # E: overload || "wait"


async def refused_calls() -> None:
    await with_both("a")  # E: "Context" || "address"
    await with_both(Context(), "a")  # E: "Job" || "address"
    assert_type(with_neither("a"), str)  # E: "bool"
    with_neither(5)  # E: "str"
    await with_neither("a")  # E: "bool"


def refused_registration() -> None:
    pool.job(5)  # E: overload
    pool.job("x", priority="high")  # E: overload || "priority"
    pool.job("x", retries=3)  # E: overload
    pool.job("x")(5)  # E: overload
    pool.job("x", backoff=5)  # E: overload || "backoff"
    pool.job("x", extra="warn")  # E: overload || "extra"


def decisions() -> None:
    Retry(after=timedelta(minutes=1))
    Retry("busy", after=5)
    Snooze(timedelta(minutes=1))
    Retry(after="5 minutes")  # E: "after"
    Retry(5)  # E: "str"
    Snooze("5 minutes")  # E: timedelta"
