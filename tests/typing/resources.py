"""Resources of a pool, and contexts that take their value."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, assert_type

from asyncwork import NoContext, Resources, Tuning, WorkerPool


class Database: ...


@asynccontextmanager
async def alone() -> AsyncGenerator[Database, None]:
    yield Database()


@asynccontextmanager
async def with_pool(pool: WorkerPool[Any]) -> AsyncGenerator[Database, None]:
    yield Database()


@asynccontextmanager
async def another() -> AsyncGenerator[int, None]:
    yield 1


class Context:
    def __init__(self, db: Database) -> None: ...


class Plain: ...


def make(db: Database) -> Context:
    return Context(db)


def make_plain() -> Plain:
    return Plain()


by_class: WorkerPool[Context] = WorkerPool(context=Context, resources=alone)
by_function: WorkerPool[Context] = WorkerPool(context=make, resources=with_pool)
plain: WorkerPool[Plain] = WorkerPool(context=Plain, resources=alone)
plain_by_function: WorkerPool[Plain] = WorkerPool(context=make_plain)
without: WorkerPool[NoContext] = WorkerPool(resources=with_pool, grace=timedelta(minutes=1), tuning=Tuning(reap=2))
inferred = WorkerPool(context=make, resources=alone)
assert_type(inferred, WorkerPool[Context])
either: Resources[Database] = with_pool


@inferred.job
async def good(context: Context, n: int) -> None: ...


async def enqueue() -> None:
    await good.enqueue(1)
    await good.enqueue("a")  # E: "int"


WorkerPool(context=Context)  # E: "context"
WorkerPool(context=Context, resources=another)  # E: "context" || overload
WorkerPool(resources=Database)  # E: "resources"
WorkerPool(grace="5")  # E: overload || "grace"
of_another_class: WorkerPool[Plain] = WorkerPool(context=make, resources=alone)  # E: Plain
of_another_value: Resources[Database] = another  # E: Database
