"""The pytest plugin: the fixture ``jobs`` for tests of an application with a pool. It needs pytest alone.

pytest loads this module in every project where asyncwork is installed, so it imports the rest of the package when a
fixture is first used.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from .testing import Jobs
    from .worker_pool import WorkerPool

T = TypeVar("T")

_REDIS = "ASYNCWORK_TEST_REDIS"
_OPTION = "asyncwork_pool"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option ``asyncwork_pool``."""
    parser.addini(
        _OPTION, "the pool of the fixture `jobs`, or a function that makes it, as module:attribute", default=""
    )


@pytest.fixture(scope="session")
def asyncwork_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the Redis for tests: ``ASYNCWORK_TEST_REDIS``, or a redis-server of this session's own.

    With pytest-xdist, each process has its own.
    """
    if url := os.environ.get(_REDIS):
        _check_redis(url)
        yield url
        return
    from .embedded import EmbeddedRedis
    from .errors import EmbeddedRedisError

    server = EmbeddedRedis(tmp_path_factory.mktemp("asyncwork-redis"), appendonly=False)
    what = f"the fixture `jobs` needs a Redis. Set {_REDIS} to its URL, or let it start one"
    _call(server.start, EmbeddedRedisError, what)
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def asyncwork_pool(pytestconfig: pytest.Config) -> WorkerPool[Any]:
    """The pool under test: the one that the ini option ``asyncwork_pool`` names. Override it to return another.

    If the option names a function, plain or async, each test gets a new pool from it.
    """
    name: str = pytestconfig.getini(_OPTION)
    if not name:
        pytest.fail(
            "the fixture `jobs` does not know which pool to test. Name it in the configuration of pytest, as in\n"
            "    [tool.pytest.ini_options]\n"
            f'    {_OPTION} = "app:pool"\n'
            "or override the fixture `asyncwork_pool` with one that returns it.",
            pytrace=False,
        )
    return _import_pool(name)


@pytest.fixture
def jobs(asyncwork_pool: WorkerPool[Any], request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """The jobs of this test: its pool, in a new namespace of the Redis for tests; see :class:`asyncwork.testing.Jobs`.

    When the test has ended, the keys are deleted, and the pool has its own settings again.
    """
    from .errors import UsageError
    from .testing import open_jobs

    opened = open_jobs(asyncwork_pool, request.getfixturevalue("asyncwork_redis_url"))
    yield _call(opened.__enter__, UsageError, "fixture `jobs`")
    _call(lambda: opened.__exit__(None, None, None), AssertionError, "fixture `jobs`")


def _call(function: Callable[[], T], refusal: type[Exception], what: str) -> T:
    """Call a function; fail the test with the text of a refusal alone, without a traceback."""
    try:
        return function()
    except refusal as error:
        message = f"{what}: {error}"
    pytest.fail(message, pytrace=False)


def _import_pool(name: str) -> WorkerPool[Any]:
    """Return the pool that ``module:attribute`` names; fail the test when there is none."""
    module_name, _, path = name.partition(":")
    problem = f"the option {_OPTION} = {name!r}"
    if not module_name or not path:
        pytest.fail(f"{problem} does not name a pool: write module:attribute, such as app:pool", pytrace=False)
    found: Any = None
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Any other missing module is an import of the application.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
    if found is None:
        pytest.fail(
            f"{problem}: there is no module {module_name!r}. Add its directory to pytest's option `pythonpath`, as in "
            'pythonpath = "."',
            pytrace=False,
        )
    for step in path.split("."):
        if not hasattr(found, step):
            pytest.fail(f"{problem}: {found!r} has no attribute {step!r}", pytrace=False)
        found = getattr(found, step)
    return _as_pool(found, f"{problem} names {found!r}, which")


def _as_pool(found: Any, subject: str) -> WorkerPool[Any]:
    """Return a pool, or the one that a function makes; fail the test when it is neither.

    :param subject: begins the message.
    """
    from .task import Task
    from .worker_pool import WorkerPool

    if isinstance(found, WorkerPool):
        return found
    # A task is callable too, and calling it would run the job.
    if not callable(found) or isinstance(found, Task):
        pytest.fail(f"{subject} is not a WorkerPool, nor a function that makes one.", pytrace=False)
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        pytest.fail(
            f"{subject} cannot be called without arguments ({error}): override the fixture `asyncwork_pool` with one "
            "that calls it.",
            pytrace=False,
        )
    except ValueError:  # written in C
        pass
    made = found()
    if inspect.isawaitable(made):
        made = _run(made)
    if not isinstance(made, WorkerPool):
        pytest.fail(f"{subject} returned {made!r}, not a WorkerPool.", pytrace=False)
    return made


def _run(awaitable: Awaitable[T]) -> T:
    """Await something in an event loop of another thread, because this one may have an event loop that runs."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def result() -> T:
        return await awaitable

    with ThreadPoolExecutor(1, "asyncwork tests") as executor:
        return executor.submit(lambda: asyncio.run(result())).result()


def _check_redis(url: str) -> None:
    """Fail the test when there is no Redis at a URL."""
    from .client import Client
    from .errors import AsyncworkError

    async def ping() -> None:
        async with Client(url) as client:
            await client.ping()

    _call(lambda: _run(ping()), AsyncworkError, f"{_REDIS} names no Redis that can be used")
