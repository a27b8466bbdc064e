"""A wrong argument of a public call gets a UsageError of one line, whatever its type and size."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from asyncwork import (
    ArgumentEncodingError,
    Client,
    EnqueueManyError,
    Enqueuer,
    JobOptions,
    JobQuery,
    PoolOptions,
    Retry,
    Snooze,
    Tuning,
    UsageError,
    WorkerPool,
    sync,
)
from asyncwork._jobs.printable import shown
from asyncwork.gocraft import GocraftClient
from asyncwork.schedule import Schedule

from .conftest import Bench

# More digits than Python converts to text.
HUGE: Any = 10**5000
FIVE: Any = 5
TEN_MEGABYTES = "x" * 10_000_000
EVERYTHING = JobQuery()


class Unprintable:
    def __repr__(self) -> NoReturn:
        raise RuntimeError("no repr")


# The value in a message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\nb", r"'a\nb'"),
        (None, "None"),
        (HUGE, "a value of type int"),
        ([HUGE], "a value of type list"),
        (Unprintable(), "a value of type Unprintable"),
        (TEN_MEGABYTES, f"'{'x' * 80}'…"),
        (TEN_MEGABYTES.encode(), f"b'{'x' * 80}'…"),
        ("x" * 80, f"'{'x' * 80}'"),
        (["x" * 500], f"['{'x' * 78}…"),
        (type("Lines", (), {"__repr__": lambda self: "a\nb"})(), r"a\nb"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_in_one_short_line(value: Any, expected: str) -> None:
    assert shown(value) == expected


# The client

# A call with a wrong argument, by the beginning of its message. All values that are not listed as right are wrong.
CALLS: list[tuple[str, tuple[type, ...], Callable[[Client, Any], Any]]] = [
    ("diagnosis must be what Client.diagnose has returned", (), lambda client, value: client.repair(value)),
    ("query must be a JobQuery(…)", (), lambda client, value: client.search("dead", value)),
    ("query must be a JobQuery(…)", (), lambda client, value: client.error_kinds("dead", value)),
    ("query must be a JobQuery(…)", (), lambda client, value: client.count("dead", value)),
    ("query must be a JobQuery(…)", (), lambda client, value: client.retry_matching("dead", value)),
    ("query must be a JobQuery(…)", (), lambda client, value: client.delete_matching("dead", value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.search("dead", EVERYTHING, cursor=value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.search("queue:n", EVERYTHING, cursor=value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.find("x", cursor=value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.error_kinds("dead", cursor=value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.count("dead", EVERYTHING, cursor=value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.retry_matching("dead", cursor=value)),
    ("cursor must be the cursor", (str,), lambda client, value: client.delete_matching("dead", cursor=value)),
    ("limit must be a whole number of 1", (int,), lambda client, value: client.search("dead", EVERYTHING, limit=value)),
    ("limit must be a whole number of 1 or more", (int,), lambda client, value: client.find("x", limit=value)),
    ("seconds must be", (), lambda client, value: client.search("dead", EVERYTHING, seconds=value)),
    ("seconds must be", (), lambda client, value: client.find("x", seconds=value)),
    ("seconds must be", (), lambda client, value: client.error_kinds("dead", seconds=value)),
    ("seconds must be", (type(None),), lambda client, value: client.count("dead", EVERYTHING, seconds=value)),
    ("seconds must be", (type(None),), lambda client, value: client.retry_matching("dead", seconds=value)),
    ("seconds must be", (type(None),), lambda client, value: client.delete_matching("dead", seconds=value)),
    ("seconds must be", (), lambda client, value: client.diagnose(value)),
    ("text must be text to search for", (str,), lambda client, value: client.find(value)),
    ("who must be the name of the user", (str,), lambda client, value: client.empty("n", who=value)),
    ("who must be the name of the user", (str,), lambda client, value: client.delete("dead", [], who=value)),
    ("who must be the name of the user", (str,), lambda client, value: client.delete_matching("dead", who=value)),
    ("refs must be a list of the refs", (tuple, list, dict), lambda client, value: client.retry("dead", value)),
    ("refs must be a list of the refs", (tuple, list, dict), lambda client, value: client.delete("dead", value)),
    ("not a job ref", (), lambda client, value: client.retry("dead", [value])),
    ("not a job ref", (), lambda client, value: client.delete("dead", [value])),
    ("not a job ref", (), lambda client, value: client.job("dead", value)),
    ("undo must be the undo of", (str,), lambda client, value: client.restore(value)),
    ("job_id must be the id of a job", (str,), lambda client, value: GocraftClient(client).retry_dead_job(1, value)),
    ("a location is", (), lambda client, value: client.jobs(value)),
    ("page must be a whole number", (), lambda client, value: client.jobs("dead", value)),
    ("a job or queue is given by its name", (str,), lambda client, value: client.pause(value)),
    ("max_concurrency must be", (), lambda client, value: client.set_max_concurrency("n", value)),
]
VALUES: list[Any] = [None, "x", "", b"x", (), [], {}, object(), Unprintable(), HUGE, True, 1 + 1j, TEN_MEGABYTES]


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with Client(bench.url, namespace=bench.namespace) as client:
        yield client


@pytest.mark.parametrize(("message", "right", "call"), CALLS)
async def test_the_client_refuses_an_argument_of_another_type(
    client: Client, message: str, right: tuple[type, ...], call: Callable[[Client, Any], Any]
) -> None:
    for value in VALUES:
        if isinstance(value, right):
            continue
        called = call(client, value)
        with pytest.raises(UsageError) as raised:
            await (anext(called) if inspect.isasyncgen(called) else called)
        assert str(raised.value).startswith(message)
        assert len(str(raised.value).splitlines()) == 1
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_search_for_no_jobs_is_refused(client: Client, limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit must be a whole number of 1 or more, not {limit}"):
        await client.find("x", limit=limit)


async def test_seconds_may_be_a_timedelta(client: Client) -> None:
    assert (await client.find("x", seconds=timedelta(seconds=1))).jobs == []
    assert (await client.retry_matching("dead", seconds=timedelta(seconds=1))).done == 0


async def test_what_a_refused_action_would_change_stays(bench: Bench, client: Client) -> None:
    await bench.enqueuer.enqueue("n")
    with pytest.raises(UsageError, match="who must be"):
        await client.empty("n", who=None)  # type: ignore[arg-type]
    assert await bench.redis.llen(bench.keys.queue("n")) == 1


# Objects and options


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Client(redact=FIVE), "redact must be a function that takes a JobRecord .*, not int: 5"),
        (lambda: Enqueuer(clock=FIVE), "clock must be a function that returns epoch seconds, not int: 5"),
        (lambda: sync.Enqueuer(clock=FIVE), "clock must be a function that returns epoch seconds, not int: 5"),
        (lambda: WorkerPool(clock=FIVE), "clock must be a function that returns epoch seconds, not int: 5"),
        (lambda: JobQuery(id=FIVE), "id must be the id of a job, not int: 5"),
        (lambda: JobQuery(args=FIVE), "args must be values of arguments by name, not int: 5"),
        (lambda: JobQuery(text=FIVE), "text must be text to search for, not int: 5"),
        (lambda: JobQuery(error=FIVE), "error must be the kind of an error, .*, not int: 5"),
        (lambda: JobQuery(name=HUGE), "not by a value of type int"),
        (lambda: JobOptions(max_fails=-HUGE), "max_fails must be a whole number of 1 or more, not a value of type int"),
        (lambda: JobOptions(skip_dead=HUGE), "skip_dead must be True or False, not a value of type int"),
        (lambda: JobOptions(backoff=HUGE), "backoff must be callable, .*, not a value of type int"),
        (lambda: JobOptions(extra=HUGE), "extra must be .*, not a value of type int"),
        (lambda: Tuning(pipelines=HUGE), "pipelines must be .* from 1 to 16, not a value of type int"),
        (lambda: Tuning(reap=HUGE), "Tuning.reap must be in seconds, and a value of type int of them"),
        (lambda: PoolOptions(namespace=HUGE), "namespace must be text, not a value of type int"),
        (lambda: PoolOptions(tuning=HUGE), "tuning must be .*, not a value of type int"),
        (lambda: WorkerPool(grace=HUGE), "grace must be in seconds, and a value of type int of them"),
        (lambda: WorkerPool(grace=-HUGE), "grace must be zero or more seconds, not a value of type int"),
        (lambda: WorkerPool(context=HUGE), "context must be .*, not a value of type int"),
        (lambda: WorkerPool(resources=HUGE), "resources must be .*, not a value of type int"),
        (lambda: WorkerPool(HUGE), "not a Redis URL: .*Exceeds the limit"),
        (lambda: WorkerPool(TEN_MEGABYTES), "not a Redis URL: 'x{80}'…"),
        (lambda: WorkerPool(namespace=HUGE), "namespace must be text, not a value of type int"),
        (lambda: WorkerPool().job(TEN_MEGABYTES + ","), "must not have a comma: 'x{80}'…"),
        (lambda: WorkerPool().periodically("@hourly", "n", HUGE), "in a dict, not as a value of type int"),
        (lambda: WorkerPool().periodically("@hourly", "n", tz=HUGE), "tz must be .*, not a value of type int"),
        (lambda: WorkerPool().middleware(HUGE), "not a middleware: a value of type int"),
        (lambda: WorkerPool().on_dead(HUGE), "not a hook: a value of type int"),
        (lambda: Schedule.parse(TEN_MEGABYTES), "cron spec 'x{80}'…"),
        (lambda: Schedule.parse("@hourly").next(HUGE), "a value of type int must be epoch seconds"),
        (lambda: Retry(after=HUGE), "must be in seconds, and a value of type int of them"),
        (lambda: Snooze(HUGE), "must be in seconds, and a value of type int of them"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        make()
    assert len(str(raised.value).splitlines()) == 1
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": TEN_MEGABYTES}, "id must be 1 to 64 ASCII letters, .*, not 'x{80}'…"),
        ({"id": HUGE}, "id must be .*, not a value of type int"),
        ({"delay": HUGE}, "the delay must be in seconds, and a value of type int"),
        ({"at": HUGE}, "a time must be epoch seconds .* a value of type int"),
        ({"unique": HUGE}, "unique must be True, .*, not int: a value of type int"),
        ({"front": HUGE}, "front must be True or False, not a value of type int"),
        ({"name": HUGE}, "a job's name must be text, not int: a value of type int"),
        ({"name": TEN_MEGABYTES + ":lock"}, "a job's name must not end in .*: 'x{80}'…"),
    ],
)
async def test_a_wrong_option_of_a_job_is_refused_in_one_line(bench: Bench, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        await bench.enqueuer.enqueue(**{"name": "n", **options})
    assert len(str(raised.value)) < 500


# Names of arguments


@pytest.mark.parametrize("key", [1, HUGE, None, ("a",)], ids=["small", "huge", "none", "tuple"])
def test_a_periodic_job_of_a_task_refuses_arguments_whose_names_are_no_text(key: Any) -> None:
    pool = WorkerPool()

    async def strict(x: int = 0) -> None: ...

    async def open_to_all(**rest: int) -> None: ...

    for function in (strict, open_to_all):
        with pytest.raises(UsageError, match="the names of arguments must be text, not ") as raised:
            pool.periodic("@hourly", args={key: 2})(function)
        assert len(str(raised.value)) < 200
    assert pool.job_names == []
    assert pool.periodic_jobs == []


def test_a_periodic_job_by_name_refuses_them_too() -> None:
    pool = WorkerPool()
    with pytest.raises(UsageError, match="the names of arguments must be text, not 1"):
        pool.periodically("@hourly", "n", {1: 2}, elsewhere=True)  # type: ignore[dict-item]
    assert pool.periodic_jobs == []


async def test_a_mapping_to_be_unique_by_is_named() -> None:
    async with Enqueuer("redis://127.0.0.1:1") as enqueuer:
        with pytest.raises(ArgumentEncodingError, match=r'^unique\["a"\]: a value of type set is not JSON'):
            await enqueuer.enqueue("wat", {"a": 1}, unique={"a": {1}})


async def test_a_bulk_enqueue_names_the_redis_that_it_could_not_reach() -> None:
    async with Enqueuer("redis://:secret@127.0.0.1:1") as enqueuer:
        with pytest.raises(EnqueueManyError, match=r"1 were not: Redis at redis://:\*+@127.0.0.1:1"):
            await enqueuer.enqueue_many([("wat", None)])
    blocking = sync.Enqueuer("redis://:secret@127.0.0.1:1")
    with pytest.raises(EnqueueManyError, match=r"1 were not: Redis at redis://:\*+@127.0.0.1:1"):
        blocking.enqueue_many([("wat", None)])
