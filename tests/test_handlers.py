"""Functions as handlers and middlewares, types of job arguments, and tasks that are called and bound."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import multiprocessing
import pickle
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    runtime_checkable,
)

import pytest

from asyncwork import ArgumentMismatchError, HandlerError, Job, JobOptions, Tuning, UsageError, WorkerPool
from asyncwork._jobs.argument_types import conversion
from asyncwork._jobs.mismatch import Mismatch
from asyncwork.testing import make_job

from .conftest import Bench


@dataclass
class Context:
    value: int = 0

    async def method(self, job: Job) -> None: ...

    async def by_name(self, n: int) -> None: ...

    async def around(self, job: Job, call_next: Any) -> None:
        self.value = 7
        await call_next()


def pool() -> WorkerPool[Context]:
    return WorkerPool(context=Context)


async def none() -> None: ...
async def job_only(job: Job) -> None: ...
async def context_only(ctx: Context) -> None: ...
async def both(ctx: Context, job: Job) -> None: ...
async def by_name(a: str, b: int = 1) -> None: ...
async def everything(ctx: Context, job: Job, a: str, *, b: int = 1, **rest: Any) -> None: ...
def plain(job: Job) -> None: ...
async def unannotated(a, b=1) -> None: ...  # type: ignore[no-untyped-def]
async def a_typed_dict(movie: Movie) -> None: ...
async def annotated_leading(ctx: Annotated[Context, "x"], job: Annotated[Job, "y"], a: int) -> None: ...


GOOD: list[Callable[..., Any]] = [
    none, job_only, context_only, both, by_name, everything, plain, Context.method, Context.by_name,
    unannotated, a_typed_dict, annotated_leading,
]  # fmt: skip


@pytest.mark.parametrize("function", GOOD, ids=lambda each: each.__qualname__)
def test_a_handler_of_any_form_is_accepted(function: Callable[..., Any]) -> None:
    task = pool().job("wat")(function)
    assert task.name == "wat"


async def positional_only(a: str, /) -> None: ...
async def variadic(*args: str) -> None: ...
async def unannotated_job(job) -> None: ...  # type: ignore[no-untyped-def]
async def unannotated_ctx(ctx) -> None: ...  # type: ignore[no-untyped-def]
async def job_later(a: str, job: Job) -> None: ...
async def wrong_order(job: Job, ctx: Context) -> None: ...
async def other_context(ctx: OtherContext) -> None: ...
async def a_pattern(text: re.Pattern) -> None: ...  # type: ignore[type-arg]
async def a_protocol(tool: Tool) -> None: ...
async def keyword_job(*, job: Job) -> None: ...
def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Gives:
    def __call__(self) -> Iterator[int]:
        yield 1


class Called:
    async def __call__(self, n: int) -> None: ...


@dataclass
class OtherContext:
    value: int


class Tool(Protocol):
    def cut(self) -> None: ...


BAD: list[tuple[Any, str]] = [
    (positional_only, "'a' cannot be filled: job arguments have names"),
    (variadic, "'args' cannot be filled: job arguments have names"),
    (unannotated_job, "'job' cannot be filled: annotate it with Job"),
    (unannotated_ctx, "'ctx' cannot be filled: annotate it with Context, the pool's context class"),
    (job_later, "'job' cannot be filled: the job comes first"),
    (wrong_order, "'ctx' cannot be filled: the context comes first, before the job"),
    (other_context, "'ctx' cannot be filled: annotate it with Context, the pool's context class, or give"),
    (a_pattern, "'text' cannot be filled. JSON has no Pattern: take str"),
    (print, r"cannot be filled|cannot be read"),
    (5, "must be a function"),
    (
        a_protocol,
        "'tool' cannot be filled. JSON has no Tool: take str.*take the pool's context, annotate it with Context",
    ),
    (keyword_job, "'job' cannot be filled: the job comes first"),
    (
        generator,
        "generator has `yield` in it, .* its body would never run: take the `yield` out, or iterate it in a handl",
    ),
    (async_generator, "async_generator has `yield` in it"),
    (functools.partial(async_generator), "has `yield` in it"),
    (Gives(), "has `yield` in it"),
    (Called, "Called is a class, whose instances can be called: register an instance, as in Called"),
    (Context, "Context is a class, and a job would only make an instance of it: register a function"),
]


@pytest.mark.parametrize(("function", "message"), BAD)
def test_a_handler_that_cannot_be_filled_is_refused(function: Any, message: str) -> None:
    with pytest.raises(HandlerError, match=message):
        pool().job("wat")(function)


@pytest.mark.parametrize("function", [lambda: None, Called(), functools.partial(none)])
def test_a_handler_without_a_name_is_refused_until_it_is_given_one(function: Any) -> None:
    with pytest.raises(HandlerError, match=r"has no name to call the job by: give one, as in pool\.job"):
        pool().job(function)
    pool().job("wat")(function)


def test_two_handlers_of_one_name_are_refused() -> None:
    one = pool()
    one.job(by_name)
    with pytest.raises(HandlerError, match=r"job 'by_name' has a handler already: .*another name"):
        one.job("by_name")(none)


@pytest.mark.parametrize("name", ["", "a,b", "x:lock"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a job's name must not"):
        pool().job(name)


async def mw(job: Job, call_next: Any) -> None: ...
async def mw_context(ctx: Context, job: Job, call_next: Any) -> None: ...
async def mw_unannotated(job, call_next) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize("function", [mw, mw_context, mw_unannotated, Context.around])
def test_a_middleware_of_any_form_is_accepted(function: Any) -> None:
    assert pool().middleware(function) is function


async def mw_one(job: Job) -> None: ...
async def mw_four(ctx: Context, job: Job, call_next: Any, more: int) -> None: ...
async def mw_swapped(job: Job, ctx: Context, call_next: Any) -> None: ...
async def mw_other(ctx: int, job: Job, call_next: Any) -> None: ...
async def mw_keyword(job: Job, *, call_next: Any) -> None: ...
def mw_plain(job: Job, call_next: Any) -> None: ...


@pytest.mark.parametrize("function", [mw_one, mw_four, mw_swapped, mw_other, mw_keyword, mw_plain, Context.method, 5])
def test_another_middleware_is_refused_with_the_forms(function: Any) -> None:
    with pytest.raises(HandlerError, match=r"a middleware is `async def` and takes \(job: Job, call_next\)"):
        pool().middleware(function)


async def test_methods_of_the_context_class_are_handlers_and_middlewares(bench: Bench) -> None:
    seen: list[int] = []

    class Own(Context):
        async def work(self, n: int) -> None:
            seen.append(self.value + n)

    own = bench.pool_of(Own)
    own.middleware(Own.around)
    task = own.job("work")(Own.work)
    await task.enqueue(n=1)
    async with own.running():
        await own.drain()
    assert seen == [8]


async def test_a_task_is_still_an_ordinary_function() -> None:
    one = pool()

    @one.job
    async def double(ctx: Context, n: int) -> int:
        """Doubles."""
        return n * 2 + ctx.value

    @one.job
    def triple(n: int) -> int:
        return n * 3

    assert await double(Context(1), 2) == 5
    assert triple(2) == 6
    assert double.__doc__ == "Doubles."
    assert double.__name__ == "double"
    assert repr(double) == "<Task double>"


def test_binding_is_by_name_without_defaults() -> None:
    task = pool().job(by_name)
    assert task.call("x").args == {"a": "x"}
    assert task.call("x", 2).args == {"a": "x", "b": 2}
    assert task.call(b=2, a="x").args == {"b": 2, "a": "x"}


BAD_CALLS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "argument 'a' is missing"),
    (("x", 1, 2), {}, "takes 2 arguments by position, 3 were given"),
    (("x",), {"a": "y"}, "'a' was given twice"),
    (("x",), {"c": 1}, "takes no argument 'c'; it takes a, b"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), BAD_CALLS)
def test_a_call_that_does_not_bind_is_refused(args: Any, kwargs: Any, message: str) -> None:
    task = pool().job(by_name)
    with pytest.raises(UsageError, match=message):
        task.call(*args, **kwargs)


async def test_a_lambda_and_a_partial_are_handlers(bench: Bench) -> None:
    got: list[Any] = []

    async def note(job: Job, what: str = "none") -> None:
        got.append((job.name, what))

    one = bench.pool()
    one.job("partial")(functools.partial(note, what="bound"))
    one.job("lambda")(lambda: note(Job(b"", {"name": "lambda", "id": "", "t": 0, "args": None})))
    await bench.enqueuer.enqueue("partial")
    await bench.enqueuer.enqueue("lambda")
    async with one.running():
        await one.drain()
    assert sorted(got) == [("lambda", "none"), ("partial", "bound")]


class CalledAsync:
    async def __call__(self, n: int) -> int:
        return n


LOOKS: list[tuple[Callable[..., Any], bool]] = [
    (by_name, True), (everything, True), (Context.method, True), (functools.partial(by_name, b=5), True),
    (CalledAsync(), True), (plain, False), (functools.partial(plain), False), (lambda: by_name("x"), False),
]  # fmt: skip


@pytest.mark.parametrize(("function", "is_async"), LOOKS)
def test_a_task_looks_async_where_its_function_is(function: Callable[..., Any], is_async: bool) -> None:
    task = pool().job("wat")(function)
    for each in (task, functools.partial(task, 1)):
        assert inspect.iscoroutinefunction(each) is is_async
    if sys.version_info < (3, 14):  # deprecated then, and the same as inspect's
        assert asyncio.iscoroutinefunction(task) is is_async
    assert inspect.signature(task) == inspect.signature(function)


shared = WorkerPool()


@shared.job
async def pickled(a: int) -> int:
    return a


@shared.job("another name")
def pickled_plain(a: int) -> int:
    return -a


renamed = shared.job("renamed")(none)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_task_is_pickled_by_its_name(protocol: int) -> None:
    for task in (pickled, pickled_plain):
        assert pickle.loads(pickle.dumps(task, protocol)) is task


def test_another_process_runs_a_task() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(pickled_plain, 5).result() == -5


def test_a_task_that_pickle_cannot_find_is_not_pickled() -> None:
    @shared.job("local")
    async def local() -> None: ...

    unpicklable: list[tuple[Any, str]] = [
        (
            local,
            r"task 'local' cannot be pickled: .*is_not_pickled.<locals>.local is not defined",
        ),
        (renamed, r"task 'renamed' cannot be pickled: .*test_handlers.none is a function"),
        (shared.job("partial")(functools.partial(none)), "task 'partial' cannot be pickled"),
    ]
    for task, message in unpicklable:
        with pytest.raises(pickle.PicklingError, match=message):
            pickle.dumps(task)
        assert copy.copy(task) is task
        assert copy.deepcopy({"task": task})["task"] is task


class Movie(TypedDict):
    name: str
    tags: NotRequired[set[str]]
    sequels: NotRequired[list[Movie]]


UserId = NewType("UserId", int)
T = TypeVar("T")
Number = TypeVar("Number", bound=int)


class Box(Generic[T]): ...


CONVERSIONS: list[tuple[Any, Any, Any]] = [
    (int, 5, 5), (int, 5.0, 5), (int, 5.5, Mismatch), (int, True, Mismatch), (int, "5", Mismatch),
    (int, None, Mismatch),
    (int, 9007199254740892.0, 9007199254740892), (int, 9007199254740994.0, Mismatch), (int, 10**30, 10**30),
    (int, float("inf"), Mismatch),
    (float, 1, 1.0), (float, 1.5, 1.5), (float, True, Mismatch), (float, 10**400, Mismatch),
    (str, "x", "x"), (str, 1, Mismatch), (bool, True, True), (bool, 1, Mismatch), (bool, 0.0, Mismatch),
    (None, None, None), (None, 0, Mismatch), (str | None, None, None), (str | None, "x", "x"),
    (str | None, 1, Mismatch),
    (float | int, 1, 1), (int | str, 1.0, 1), (list, [1], [1]), (list, {}, Mismatch), (list[int], [1, 2.0], [1, 2]),
    (list[int], ["x"], Mismatch), (dict, {"a": 1}, {"a": 1}), (dict[str, int], {"a": 1.0}, {"a": 1}),
    (dict[str, int], {"a": "x"}, Mismatch), (tuple[int, str], [1, "x"], (1, "x")), (tuple[int, str], [1], Mismatch),
    (tuple[int, ...], [1, 2], (1, 2)), (Literal["a", "b"], "a", "a"), (Literal["a", "b"], "c", Mismatch),
    (Literal[1], True, Mismatch), (Literal[1], 1.0, 1), (Movie, {"name": "x"}, {"name": "x"}), (Movie, [], Mismatch),
    (Movie, {}, Mismatch), (Movie, {"name": 1}, Mismatch), (Movie, {"name": "x", "more": 1}, {"name": "x", "more": 1}),
    (
        Movie,
        {"name": "x", "sequels": [{"name": "y", "tags": ["a"]}]},
        {"name": "x", "sequels": [{"name": "y", "tags": {"a"}}]},
    ),
    (UserId, 5.0, 5), (UserId, "x", Mismatch), (Number, "x", Mismatch), (Annotated[int, []], "x", Mismatch),
    (tuple, [1], (1,)), (tuple, 1, Mismatch), (tuple[()], [1], Mismatch), (Sequence[int], [1.0], [1]),
    (set, [1, 1], {1}), (set[int], [1.0, 2], {1, 2}), (set[int], ["x"], Mismatch), (set[int], {"a": 1}, Mismatch),
    (set[Any], [[1]], Mismatch), (frozenset[str], ["a"], frozenset("a")), (AbstractSet[str], ["a"], frozenset("a")),
    (deque[int], [1, 2.0], deque([1, 2])), (deque, 5, Mismatch), (list[set[int]], [[1]], [{1}]),
    (set[tuple[int, int]], [[1, 2]], {(1, 2)}), (dict[str, deque[int]], {"a": [1]}, {"a": deque([1])}),
    (Counter[str], {"a": 2.0}, Counter(a=2)), (Counter[str], ["a"], Mismatch), (Counter, {"a": "x"}, Mismatch),
    (OrderedDict[str, int], {"a": 1}, OrderedDict(a=1)), (dict[int, int], {"5": 1, "-3": 2}, {5: 1, -3: 2}),
    (dict[int, int], {"05": 1}, Mismatch), (dict[int, int], {"x": 1}, Mismatch),
    (dict[UserId, str], {"1": "x"}, {1: "x"}),
    (dict[Literal["a"], int], {"b": 1}, Mismatch), (set[int] | None, [1], {1}), (set[int] | None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "expected"), CONVERSIONS)
def test_arguments_are_converted_as_gocraft_work_converts_them(annotation: Any, value: Any, expected: Any) -> None:
    convert = conversion(annotation).convert
    assert convert is not None
    if expected is Mismatch:
        with pytest.raises(Mismatch):
            convert(value)
    else:
        converted = convert(value)
        assert converted == expected
        assert type(converted) is type(expected)


def test_recursive_types_are_accepted() -> None:
    movie = {"name": "x", "sequels": [{"name": 1}]}
    convert = conversion(Movie).convert
    assert convert is not None
    with pytest.raises(Mismatch):
        convert(movie)


NO_JSON: list[tuple[Any, str]] = [
    (defaultdict[str, int], "JSON has no collections.defaultdict"),
    (Box[int], "JSON has no .*Box"),
    (list[complex], "JSON has no complex"),
    (set[complex], "JSON has no complex"),
    (tuple[complex, ...], "JSON has no complex"),
    (dict[str, complex], "JSON has no complex"),
    (NewType("Wave", complex), "JSON has no complex"),
    (dict[float, int], r"dict\[float, int\] cannot be read from JSON, where keys are text: take str, int or"),
    (dict[bool, int], ".*cannot be read from JSON"),
    (dict[str | int, int], ".*cannot be read from JSON"),
    (dict[tuple[int, int], int], ".*cannot be read from JSON"),
    (Literal[b"x"], "JSON has no b'x'"),
    (Callable[[], None], "JSON has no"),
]


@pytest.mark.parametrize(("annotation", "message"), NO_JSON)
def test_a_type_that_json_cannot_hold_is_refused(annotation: Any, message: str) -> None:
    async def handler(first: int, second: Any) -> None: ...

    handler.__annotations__["second"] = annotation
    with pytest.raises(HandlerError, match=f"'second' cannot be filled. {message}"):
        pool().job("wat")(handler)


# An annotation, a value of it, and what is written.
WRITTEN: list[tuple[Any, Any, Any]] = [
    (set[int], {10, 9, 1}, [1, 9, 10]), (set[str], {"b", "a"}, ["a", "b"]), (set[Any], {1, "a"}, [1, "a"]),
    (frozenset[int], frozenset([2, 1]), [1, 2]), (deque[int], deque([2, 1]), [2, 1]),
    (set[frozenset[int]], {frozenset([2, 1]), frozenset([0])}, [[0], [1, 2]]),
    (Counter[str], Counter("aab"), {"a": 2, "b": 1}),
    (dict[int, int], {5: 1}, {"5": 1}), (dict[int, set[int]], {5: {1}}, {"5": [1]}), (list[set[int]], [{1}], [[1]]),
    (tuple[set[int], int], ({1}, 2), [[1], 2]), (set[int] | None, {1}, [1]), (set[int] | None, None, None),
    (Movie, {"name": "x", "tags": {"a"}}, {"name": "x", "tags": ["a"]}),
    (set[int], [3, 1], [3, 1]), (dict[int, int], {"5": 1}, {"5": 1}), (set[int], 5, 5),
    (dict[int, int], {True: 1}, {True: 1}),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "written"), WRITTEN)
def test_a_type_that_json_does_not_have_is_written_in_one_form(annotation: Any, value: Any, written: Any) -> None:
    encode = conversion(annotation).encode
    assert encode is not None
    assert encode(value) == written
    assert encode(encode(value)) == encode(value)


async def test_sets_and_the_like_arrive_as_they_were_enqueued(bench: Bench) -> None:
    got: list[Any] = []
    one = bench.pool()

    @one.job
    async def wat(
        ids: set[int], names: Counter[str], by_id: dict[int, str], last: deque[int], **rest: set[str]
    ) -> None:
        got.append((ids, names, by_id, last, rest))

    given = ({3, 1}, Counter("aab"), {5: "x"}, deque([2, 1]))
    await wat.enqueue(*given, more={"b", "a"})
    await wat.enqueue_many([wat.call(*given, more={"b", "a"})])
    assert not (await wat.options(unique=True).enqueue({1, 2}, Counter(), {}, deque())).duplicate
    assert (await wat.options(unique=True).enqueue({2, 1}, Counter(), {}, deque())).duplicate
    async with one.running():
        await one.drain()
    assert got == [(*given, {"more": {"b", "a"}})] * 2 + [({1, 2}, Counter(), {}, deque(), {})]


async def test_a_set_without_an_annotation_is_refused(bench: Bench) -> None:
    one = bench.pool()

    @one.job
    async def wat(ids: Any) -> None: ...

    with pytest.raises(UsageError, match=r"a set is not JSON; pass sorted\(value\)"):
        await wat.enqueue({1, 2})
    around: list[Any] = []
    around.append(around)

    @one.job
    async def deep(movie: Movie) -> None: ...

    with pytest.raises(UsageError, match="it contains itself"):
        await deep.enqueue({"name": "x", "sequels": around})


class Own(Context):
    def __iter__(self) -> Iterator[int]:
        return iter(())


@runtime_checkable
class Acts(Protocol):
    def method(self, job: Job) -> Any: ...


def test_structural_types_are_arguments_and_protocols_that_fit_are_the_context() -> None:
    async def tags(tags: Iterable[str]) -> None: ...
    async def bare(tags: Iterable) -> None: ...  # type: ignore[type-arg]
    async def acts(acting: Acts, n: int) -> None: ...

    own: WorkerPool[Own] = WorkerPool(context=Own)
    for function in (tags, bare):
        assert list(own.job(function.__name__)(function)._handler.parameters) == ["tags"]
    assert list(own.job("acts")(acts)._handler.parameters) == ["n"]


class Rest(TypedDict):
    n: int
    tags: NotRequired[set[str]]


async def test_keyword_arguments_are_checked_as_they_are_annotated(bench: Bench) -> None:
    got: list[Any] = []
    one = bench.pool()

    @one.job
    async def numbers(**rest: int) -> None:
        got.append(rest)

    @one.job
    async def unpacked(**rest: Unpack[Rest]) -> None:
        got.append(rest)

    await numbers.enqueue(a=1, self=2)
    await bench.enqueuer.enqueue("numbers", {"a": 1.0})
    await bench.enqueuer.enqueue("numbers", {"a": "x"})
    await unpacked.enqueue(n=1, tags={"b", "a"})
    with pytest.raises(UsageError, match="argument 'n' is missing"):
        await unpacked.enqueue()  # type: ignore[call-arg]
    async with one.running():
        await one.drain()
    assert sorted(got, key=str) == [{"a": 1, "self": 2}, {"a": 1}, {"n": 1, "tags": {"a", "b"}}]
    ((payload, _),) = await bench.job_set("dead")
    assert b"argument 'a' has the wrong type: wanted int, found str 'x'" in payload


async def test_an_argument_named_like_a_leading_parameter_is_refused(bench: Bench) -> None:
    got: list[Any] = []
    one = bench.pool()

    @one.job
    async def taken(job: Job, **rest: Any) -> None: ...

    @one.job
    async def free(job: Job, /, **rest: Any) -> None:
        got.append(rest)

    why = r"argument 'job' cannot be passed: the handler's own parameter has that name; put a `/` after it"
    with pytest.raises(UsageError, match=why):
        await taken.enqueue(job=1)  # type: ignore[arg-type]
    await bench.enqueuer.enqueue("taken", {"job": 1})
    await free.enqueue(job=1)
    async with one.running():
        await one.drain()
    assert got == [{"job": 1}]
    ((payload, _),) = await bench.job_set("dead")
    assert why.replace("\\", "").encode() in payload


async def test_a_handler_that_returns_a_generator_fails(bench: Bench) -> None:
    one = bench.pool()

    def wrapped(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    def wrapped_async(function: Any) -> Any:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return call

    makers = (wrapped(generator), wrapped_async(async_generator), lambda: async_generator(), lambda: generator())
    for number, maker in enumerate(makers):
        one.job(f"job{number}")(maker)
        await bench.enqueuer.enqueue(f"job{number}")
    async with one.running():
        await one.drain()
    failed = [payload for payload, _ in await bench.job_set("retry")]
    assert len(failed) == 4
    assert all(b"returned a generator" in payload for payload in failed)


def test_arg_names_the_key_the_wanted_and_the_found() -> None:
    job = Job(b"", {"name": "wat", "id": "1", "t": 1, "args": {"n": 1.5, "s": "x", "none": None, "i": 7}})
    assert job.arg("i") == 7
    assert job.arg("i", float) == 7.0
    assert job.arg("s", str) == "x"
    assert job.arg("missing", int, 3) == 3
    assert job.arg("missing", int, None) is None
    with pytest.raises(ArgumentMismatchError, match=r"argument 'n' has the wrong type: wanted int, found float 1.5"):
        job.arg("n", int)
    with pytest.raises(ArgumentMismatchError, match=r"argument 'none' has the wrong type: wanted str, found null"):
        job.arg("none", str)
    with pytest.raises(ArgumentMismatchError, match=r"argument 'missing' is missing: wanted bool"):
        job.arg("missing", bool)


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"priority": 0}, "priority must be a whole number from 1 to 100000, not 0"),
    ({"priority": 100_001}, "priority"),
    ({"priority": True}, "priority"),
    ({"max_fails": 0}, "max_fails must be a whole number of 1 or more"),
    ({"max_fails": 1.5}, "max_fails"),
    ({"max_concurrency": -1}, "max_concurrency"),
    ({"skip_dead": 1}, "skip_dead must be True or False"),
    ({"backoff": 5}, "backoff must be callable"),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_job_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        JobOptions(**options)


BAD_POOLS: list[tuple[dict[str, Any], str]] = [
    ({"concurrency": 0}, "concurrency must be a whole number of 1 or more"),
    ({"namespace": 5}, "namespace must be text"),
    ({"grace": -1}, "grace must be zero or more seconds"),
    ({"grace": float("nan")}, "grace"),
    ({"grace": timedelta(seconds=-1)}, "grace must be zero or more seconds"),
    ({"grace": "5"}, "grace must be seconds or a timedelta"),
    ({"heartbeat": 0}, "heartbeat must be more than 0 seconds"),
    ({"dead_after": timedelta()}, "dead_after must be more than 0 seconds"),
    ({"heartbeat": 6}, r"dead_after \(10.0 s\) must be at least twice heartbeat \(6 s\)"),
    ({"heartbeat": 1, "dead_after": timedelta(seconds=1.5)}, "at least twice heartbeat"),
    ({"context": Context()}, "context must be a class"),
    ({"tuning": 5}, r"tuning must be a Tuning\(…\), not 5"),
]


@pytest.mark.parametrize(("options", "message"), BAD_POOLS)
def test_bad_pool_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorkerPool(**options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reap": -1}, "Tuning.reap must be zero or more seconds"),
        ({"stall": 0}, "Tuning.stall must be more than 0 seconds"),
        ({"poll": float("inf")}, "Tuning.poll"),
        ({"horizon": 100}, r"Tuning.horizon \(100 s\) must be longer than Tuning.periodic \(120.0 s\)"),
        ({"pipelines": 0}, "Tuning.pipelines must be a whole number from 1 to 16"),
        ({"max_blocking_connections": -1}, "Tuning.max_blocking_connections must be a whole number of 0 or more"),
    ],
)
def test_bad_tuning_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tuning(**values)


def test_a_timedelta_is_taken_for_seconds() -> None:
    minute: Any = timedelta(minutes=1)
    pool = WorkerPool(grace=minute, heartbeat=minute, dead_after=2 * minute, tuning=Tuning(reap=minute))
    options = pool.options
    assert (options.grace, options.heartbeat, options.dead_after, options.tuning.reap) == (60, 60, 120, 60)
    pool.reconfigure(grace=timedelta(seconds=3), namespace="other")
    assert pool.options == replace(options, grace=3, namespace="other")


def test_no_password_is_in_what_options_print() -> None:
    pool = WorkerPool("redis://:secret@localhost")
    assert pool.options.url == "redis://:secret@localhost"
    assert "secret" not in repr(pool.options)


@pytest.mark.parametrize("by_name", [True, False])
def test_a_job_for_a_unit_test_is_what_a_worker_passes(by_name: bool) -> None:
    @pool().job
    async def take(job: Job, day: date) -> None: ...

    args = {"day": "2026-01-31" if by_name else date(2026, 1, 31)}
    job = make_job("take" if by_name else take, args, job_id="x", fails=2, err="no")
    assert (job.name, job.id, job.args, job.err) == ("take", "x", {"day": "2026-01-31"}, "no")
    assert job.fails == 2
    assert make_job("take").args == {}
    with pytest.raises(UsageError, match="takes no argument 'night'"):
        make_job(take, {"night": 1})
