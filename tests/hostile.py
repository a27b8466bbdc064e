"""An app with jobs that do to their pool whatever user code can do, and plain ones beside them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path
from typing import Any

import anyio

from asyncwork import Discard, Job, Retry, Snooze, WorkerPool
from asyncwork._worker import hooks

from .tuned import QUICK

# Seconds after which what a job has left behind strikes: when it has ended, and others run.
LATER = 0.02


class Unprintable(Exception):
    """As often seen: the message is made of a response that never came."""

    response: Any = None

    def __str__(self) -> str:
        return "%s" % self.response.status_code  # noqa: UP031


class EvilText(str):
    """Text whose own methods cannot be called."""

    __slots__ = ()

    def _refuse(self, *_: object) -> Any:
        raise SystemExit("evil text")

    __len__ = __bool__ = __getitem__ = __format__ = __hash__ = __eq__ = __str__ = encode = _refuse  # type: ignore[assignment]


class BadRepr:
    def __repr__(self) -> str:
        raise asyncio.CancelledError("a repr that was cancelled")


def with_text(text: Any) -> Exception:
    """An error whose ``__str__`` returns that, or raises it."""

    class Texted(Exception):
        def __str__(self) -> str:
            if isinstance(text, BaseException):
                raise text
            return text  # type: ignore[no-any-return]

    return Texted()


class Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("a class without a name")


class NamelessError(Exception, metaclass=Nameless):
    pass


class Secretive(Exception):
    """Nothing can be read from it, not even what it is."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


class Traceless(Exception):
    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise SystemExit("no traceback")

    @property
    def with_traceback(self) -> Any:
        raise SystemExit("no traceback")

    def __getattr__(self, name: str) -> Any:
        raise SystemExit(f"no {name}")


class BareRetry(Retry):
    def __init__(self, customer: int) -> None:
        self.customer = customer


class BareSnooze(Snooze):
    def __init__(self, customer: int) -> None:
        self.customer = customer


class BareDiscard(Discard):
    def __init__(self, customer: int) -> None:
        self.customer = customer


def spoiled(error: Any, **attributes: object) -> Any:
    """An error some of whose attributes were set later."""
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


# Makes what a handler raises, in the event loop and in a thread.
RAISED: dict[str, Callable[[], BaseException]] = {
    "message_of_nothing": Unprintable,
    "text_none": lambda: with_text(None),
    "text_exits": lambda: with_text(SystemExit(3)),
    "text_cancelled": lambda: with_text(asyncio.CancelledError()),
    "text_evil": lambda: with_text(EvilText("evil")),
    "text_recursive": lambda: spoiled(error := ValueError(), args=([error],)),
    "argument_evil": lambda: ValueError(EvilText("evil")),
    "argument_repr": lambda: ValueError(BadRepr(), 1),
    "nameless": NamelessError,
    "secretive": Secretive,
    "traceless": Traceless,
    "caused_by_evil": lambda: caused(ValueError("sorry"), Secretive()),
    "group_of_evil": lambda: BaseExceptionGroup("several", [Secretive(), SystemExit(1)]),
    "syntax": lambda: SyntaxError("bad", ("file.py", "seven", "three", "x =", "1", "2")),  # type: ignore[arg-type]
    "surrogate": lambda: ValueError("half an emoji \ud83d"),
    "retry_bare": lambda: BareRetry(5),
    "retry_nan": lambda: spoiled(Retry(after=5), after=float("nan")),
    "retry_text": lambda: spoiled(Retry(after=5), after="soon"),
    "retry_without": lambda: spoiled(Retry(after=5), after=10**400),
    "snooze_bare": lambda: BareSnooze(5),
    "snooze_nan": lambda: spoiled(Snooze(5), seconds=float("nan")),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator_exit": GeneratorExit,
    "stop_iteration": StopIteration,
    "stop_async_iteration": StopAsyncIteration,
    "cancelled": asyncio.CancelledError,
}

BACKOFFS: dict[str, Any] = {
    "exits": SystemExit(3),
    "cancelled": asyncio.CancelledError(),
    "secretive": Secretive(),
    "text": EvilText("5"),
    "nan": float("nan"),
    "huge": 10**400,
    "nothing": None,
}


def give_backoff(name: str) -> Any:
    """Return the backoff of a name, or raise it."""
    given = BACKOFFS[name]
    # Not by isinstance: one of them raises when it is asked for its class.
    if issubclass(type(given), BaseException):
        raise given
    return given


_kept: list[object] = []


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def cancels_itself() -> None:
    own_task().cancel()
    await asyncio.sleep(LATER)


async def awaits_what_is_cancelled() -> None:
    other = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_later(LATER, other.cancel)
    await other


async def is_cancelled_by_a_timer() -> None:
    asyncio.get_running_loop().call_later(LATER, own_task().cancel)
    await asyncio.sleep(60)


async def cancels_itself_at_the_end() -> None:
    own_task().cancel()


async def cancels_itself_later() -> None:
    asyncio.get_running_loop().call_later(LATER, own_task().cancel)


async def half_reads_a_generator() -> None:
    async def rows() -> AsyncIterator[int]:
        async with asyncio.timeout(LATER):
            yield 1
            yield 2

    reading = rows()
    _kept.append(reading)
    await anext(reading)


async def _breaks() -> None:
    await asyncio.sleep(LATER)
    raise ConnectionError("the reader of a kept client")


async def keeps_a_task_group() -> None:
    group = asyncio.TaskGroup()
    _kept.append(group)
    await group.__aenter__()
    _kept.append(group.create_task(_breaks()))


async def keeps_an_anyio_task_group() -> None:
    group = anyio.create_task_group()
    _kept.append(group)
    await group.__aenter__()
    group.start_soon(_breaks)


async def never_leaves_a_scope() -> None:
    scope = anyio.move_on_after(LATER)
    _kept.append(scope)
    scope.__enter__()


async def never_leaves_a_timeout() -> None:
    timeout = asyncio.timeout(LATER)
    _kept.append(timeout)
    await timeout.__aenter__()


async def times_out_by_hand() -> None:
    """As older libraries do: the task is left as one that is being cancelled."""
    asyncio.get_running_loop().call_later(LATER, own_task().cancel)
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


CANCELLED = (cancels_itself, awaits_what_is_cancelled, is_cancelled_by_a_timer)
# These end well.
LEAVING = (
    cancels_itself_at_the_end,
    cancels_itself_later,
    half_reads_a_generator,
    keeps_a_task_group,
    keeps_an_anyio_task_group,
    never_leaves_a_scope,
    never_leaves_a_timeout,
    times_out_by_hand,
)


async def exits_in_a_task() -> None:
    async def exits() -> None:
        sys.exit(3)

    await asyncio.create_task(exits())


async def exits_in_a_task_group() -> None:
    async def exits() -> None:
        raise KeyboardInterrupt

    async with asyncio.TaskGroup() as group:
        group.create_task(exits())


async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    raise ValueError("sorry")


async def fails_in_a_callback() -> None:
    """The loop logs it, and a log handler raises."""
    asyncio.get_running_loop().call_soon(_breaks_at_once)
    await asyncio.sleep(0)
    raise ValueError("sorry")


def _breaks_at_once() -> None:
    raise ConnectionError("a callback")


# What nobody can survive whose event loop is the application's.
STOPPING_THE_LOOP = (exits_in_a_task, exits_in_a_task_group, stops_the_loop, fails_in_a_callback)


# Seconds that a hook may take here.
HOOK_LIMIT = 0.3


async def hangs() -> None:
    await asyncio.Event().wait()


async def hangs_when_cancelled() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.sleep(LATER)


async def cancels_the_workers() -> None:
    for task in asyncio.all_tasks():
        if task.get_name().startswith("asyncwork worker"):
            task.cancel()


def hangs_in_a_thread() -> None:
    time.sleep(2 * HOOK_LIMIT)


# These act as hooks as well.
HANGING = (hangs, hangs_when_cancelled, cancels_the_workers)


class EvilHandler(logging.Handler):
    """Of an application: it breaks by what it is given, and its filter does, too."""

    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("a log handler")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.ERROR:
            raise asyncio.CancelledError("a log filter")
        return True


class App:
    """A pool of all kinds.

    :param diary: where plain jobs write their number when they run.
    :ivar failing: the names of jobs that must fail.
    :ivar others: the names of jobs that may end well.
    :ivar hooked: how often each hook was called.
    """

    def __init__(self, url: str, namespace: str, diary: Path, **options: Any) -> None:
        self._diary = diary
        self.pool = pool = WorkerPool(url, namespace=namespace, concurrency=5, **QUICK, **options)
        self.failing: list[str] = []
        self.others: list[str] = []
        for name, make in RAISED.items():
            self._register_raising(name, make)
        for name in BACKOFFS:
            self._register_backoff(name)
        for act in CANCELLED:
            self._register(act, self.failing)
        for act in LEAVING:
            self._register(act, self.others)
        self._register_others()
        self.hooked: Counter[str] = Counter()
        self._hooks: list[Callable[[], Awaitable[None]]] = [*CANCELLED, *LEAVING, *HANGING, *map(_raising, RAISED)]
        self._add_hooks()

        @pool.middleware
        async def meddles(job: Job, call_next: Any) -> object:
            if job.name == "meddled_exit":
                raise SystemExit("a middleware")
            if job.name == "meddled_timeout":
                await times_out_by_hand()
            return await call_next()

        pool.job("plain")(self._plain)
        pool.job("threaded")(self._threaded)

    def _register(self, act: Callable[[], Awaitable[None]], where: list[str]) -> None:
        async def at_once() -> None:
            await act()

        async def after_a_wait() -> None:
            await asyncio.sleep(0.001)
            await act()

        name = act.__name__
        for job_name, handler in ((name, at_once), (f"{name}_after_a_wait", after_a_wait)):
            self.pool.job(job_name)(handler)
            where.append(job_name)

    def _register_raising(self, name: str, make: Callable[[], BaseException]) -> None:
        async def at_once() -> None:
            raise make()

        async def after_a_wait() -> None:
            await asyncio.sleep(0.001)
            raise make()

        def in_a_thread() -> None:
            raise make()

        handlers: dict[str, Any] = {name: at_once, f"{name}_waited": after_a_wait, f"{name}_in_a_thread": in_a_thread}
        for job_name, handler in handlers.items():
            self.pool.job(job_name)(handler)
            self.failing.append(job_name)

    def _register_backoff(self, name: str) -> None:
        async def fails() -> None:
            raise ValueError("sorry")

        self.pool.job(f"backoff_{name}", backoff=lambda job: give_backoff(name))(fails)
        self.failing.append(f"backoff_{name}")

    def _register_others(self) -> None:
        async def tampers(job: Job) -> None:
            job.raw, job.name, job.id, job.enqueued_at = None, BadRepr(), None, "soon"  # type: ignore[assignment]
            await asyncio.sleep(LATER * 5)  # so that it is observed
            raise ValueError("sorry")

        async def tampers_and_ends(job: Job) -> None:
            job.raw, job.name, job.args, job.enqueued_at = b"{", BadRepr(), BadRepr(), None  # type: ignore[assignment]
            await asyncio.sleep(LATER * 5)

        async def discards() -> None:
            raise BareDiscard(5)

        async def discards_evil() -> None:
            raise spoiled(Discard(""), reason=EvilText("evil"))

        async def nothing() -> None: ...

        failing: dict[str, Any] = {"tampers": tampers, "meddled_exit": nothing}
        for name, handler in failing.items():
            self.pool.job(name)(handler)
            self.failing.append(name)
        others: dict[str, Any] = {
            "tampers_and_ends": tampers_and_ends,
            "discards": discards,
            "discards_evil": discards_evil,
            "meddled_timeout": nothing,
        }
        for name, handler in others.items():
            self.pool.job(name)(handler)
            self.others.append(name)

    def _add_hooks(self) -> None:
        """Add hooks, each of which does something else for each job, and one behind them that counts the jobs."""
        in_threads: Iterator[Callable[[], None]] = cycle([hangs_in_a_thread, *map(_raising_at_once, RAISED)])
        turns = count()

        @self.pool.on_failure
        async def acts(job: Job, error: BaseException) -> None:
            act = self._hooks[next(turns) % len(self._hooks)]
            self.hooked[act.__name__] += 1
            await act()

        @self.pool.on_failure
        def acts_in_a_thread(job: Job, error: BaseException) -> None:
            self.hooked["in a thread"] += 1
            next(in_threads)()

        @self.pool.on_failure
        async def counts(job: Job, error: BaseException) -> None:
            self.hooked["failed"] += 1

        @self.pool.on_dead
        async def tampers(job: Job, error: BaseException) -> None:
            self.hooked["dead"] += 1
            job.raw, job.name, job.id, job.args = None, BadRepr(), None, BadRepr()  # type: ignore[assignment]
            raise Secretive

    def hook_names(self) -> set[str]:
        """Return what the hooks do that count themselves."""
        return {act.__name__ for act in self._hooks}

    def add_what_stops_the_loop(self) -> None:
        self._hooks += STOPPING_THE_LOOP
        for act in STOPPING_THE_LOOP:
            self._register(act, self.failing)

    def _write(self, n: int) -> None:
        file = os.open(self._diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{n}\n".encode())
        finally:
            os.close(file)

    async def _plain(self, n: int) -> None:
        # Some end at once, some wait, and some are there when something strikes.
        if n % 3:
            await asyncio.sleep(0.001 if n % 3 == 1 else 1.5 * LATER)
        self._write(n)

    def _threaded(self, n: int) -> None:
        self._write(n)

    def ran(self) -> Counter[int]:
        """How often each plain job has run."""
        return Counter(map(int, self._diary.read_text().split()))


def _raising_at_once(kind: str) -> Callable[[], None]:
    def raises() -> None:
        raise RAISED[kind]()

    return raises


def _raising(kind: str) -> Callable[[], Awaitable[None]]:
    async def raises() -> None:
        await asyncio.sleep(0)
        raise RAISED[kind]()

    raises.__name__ = f"raises_{kind}"
    return raises


def pool() -> WorkerPool[Any]:
    """The pool of a process of its own."""
    hooks._TIME_LIMIT = HOOK_LIMIT
    for name in ("asyncwork", "asyncwork.job", "asyncio"):
        logging.getLogger(name).addHandler(EvilHandler())
    app = App(os.environ["ASYNCWORK_REDIS"], os.environ["ASYNCWORK_NAMESPACE"], Path(os.environ["HOSTILE_DIARY"]))
    app.add_what_stops_the_loop()
    return app.pool
