"""``asyncwork run``: runs the jobs of a pool until it is stopped."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from typing import Any

from .. import _environment
from .._pool.process_source import ProcessSource
from .._processes.link import ParentLink
from .._processes.systemd import Notifier
from ..errors import UsageError
from ..options import read_concurrency, read_grace
from ..worker_pool import WorkerPool
from . import logs, settings
from .event_loop import choose_loop
from .health_port import health_address, log_address, serving_health
from .importer import PoolMaker, find_pool
from .pool_process import run_pool
from .pool_runner import PoolRunner
from .processes import process_count, read_limits, run_processes
from .settings import choose

logger: logging.Logger = logging.getLogger("asyncwork.cli")


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises UsageError: when an option is invalid, or the app cannot be loaded.
    :raises RedisUnavailable, EmbeddedRedisError: when Redis cannot be used at the start.
    """
    link = ParentLink.from_environment()
    if link is not None:
        logs.name_child(link.number)
        if link.redis_url:
            options.redis, options.embedded = link.redis_url, None
    format_given = options.log_format is not None
    level, log_format = settings.log_options(options)
    if options.embedded is not None and options.redis is not None:
        raise UsageError("--embedded starts its own Redis, so --redis has no effect: give only one of the two")
    values: dict[str, Any] = {
        "namespace": choose("--namespace", options.namespace, _environment.NAMESPACE, str),
        "concurrency": choose("--concurrency", options.concurrency, _environment.CONCURRENCY, read_concurrency),
        "grace": choose("--grace", options.grace, _environment.GRACE, read_grace),
        "version_label": settings.version_label(options),
    }
    if options.embedded is None:
        values["redis"] = choose("--redis", options.redis, _environment.REDIS, settings.url)
    loop = choose_loop(options.loop)
    if link is None and (count := process_count(options)):
        return run_processes(options, count, level)
    notifier, stuck = Notifier.from_environment(), read_limits(options).stuck
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The output of handlers should appear at once, not after some kilobytes.
        sys.stdout.reconfigure(line_buffering=True)
    # The pool reads the environment itself where its code sets nothing. Only options replace what its code sets.
    given = {name: value for name, value in values.items() if getattr(options, name) is not None}
    source, health = ProcessSource(), health_address(options)
    # A parent process serves the health of all its children.
    with serving_health(health if link is None else None, source) as server:
        with logs.set_up_unless_the_app_does(
            level, log_format, level_given=options.log_level is not None, format_given=format_given
        ):
            pool = find_pool(options.app)
        logs.enable_own_loggers()
        log_address(server)
        if isinstance(pool, WorkerPool):
            _configure(pool, given, embedded=options.embedded is not None)
        else:
            pool = _configured(pool, given, embedded=options.embedded is not None)
        runner = PoolRunner(
            pool,
            options.app,
            burst=options.burst,
            directory=options.embedded,
            source=None if health is None else source,
            link=link,
            notifier=notifier,
        )
        return run_pool(runner, log_format, stuck, loop)


def _configured(make: PoolMaker, given: dict[str, Any], *, embedded: bool) -> PoolMaker:
    """Return a function that makes a pool and configures it."""

    async def make_configured() -> WorkerPool[Any]:
        pool = await make()
        _configure(pool, given, embedded=embedded)
        return pool

    return make_configured


def _configure(pool: WorkerPool[Any], given: dict[str, Any], *, embedded: bool) -> None:
    """Give a pool the values of options.

    :raises UsageError: when one is invalid.
    """
    _warn_of_ignored_variables(pool, given, embedded=embedded)
    pool.reconfigure(**{"url" if name == "redis" else name: value for name, value in given.items()})


def _warn_of_ignored_variables(pool: WorkerPool[Any], given: dict[str, Any], *, embedded: bool) -> None:
    """Log which environment variables differ from the code, because other programs may use the variables."""
    for option, name, value, used in pool.overruled:
        if option.replace("-", "_") not in given and not (embedded and option == "redis"):
            text = "environment variable %s=%s is ignored: the pool was made with %s (--%s overrides both)"
            logger.warning(text, name, value, used, option)
