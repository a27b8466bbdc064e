"""``asyncwork check``: imports an app without Redis, and lists what its pool does."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import starmap
from typing import Any
from zoneinfo import ZoneInfo

from .._jobs.cron_spec import split_zone
from .._jobs.handler import Handler
from .._jobs.printable import plural
from ..errors import UsageError
from ..options import JobOptions
from ..schedule import Schedule
from ..worker_pool import WorkerPool
from . import shutdown, streams
from .errors import FAILED, AppError
from .importer import find_pool
from .summary import NO_JOBS

# Ends the type of an argument that has a default.
_OPTIONAL = ", optional"
# Firings of a periodic job that are shown.
_FIRINGS = 3
_DEFAULTS = JobOptions()


@dataclass(frozen=True, slots=True)
class JobTypeReport:
    """A job type: the options that differ from the defaults, and the types of its arguments by name."""

    name: str
    options: dict[str, Any]
    arguments: dict[str, str]


@dataclass(frozen=True, slots=True)
class PeriodicReport:
    """A periodic job, its time zone (``null`` for that of each host) and its next firings."""

    name: str
    spec: str
    zone: str | None
    next: list[str]


@dataclass(frozen=True, slots=True)
class AppReport:
    """The report about an app: what its pool does, and its problems."""

    app: str
    namespace: str | None = None
    concurrency: int | None = None
    jobs: Sequence[JobTypeReport] = ()
    periodic: Sequence[PeriodicReport] = ()
    warnings: Sequence[str] = ()
    error: str | None = None
    traceback: str | None = None


def check(options: argparse.Namespace) -> int:
    """Run the command; return the exit code.

    :raises AppError: when the app is not valid, unless the result is printed as JSON.
    :raises OutputError: when standard output cannot be written.
    """
    before = set(threading.enumerate())
    try:
        # Output of the app, and of programs that it starts, must not mix with the result.
        with contextlib.redirect_stdout(sys.stderr), streams.output_to_error():
            report = _report(options.app)
    except UsageError as error:
        trace = error.trace if isinstance(error, AppError) else ""
        if not options.json:
            raise AppError(str(error), trace, code=FAILED) from None
        report = AppReport(options.app, error=str(error), traceback=trace or None)
    text = json.dumps(asdict(report), indent=2) if options.json else "\n".join(_lines(report))
    streams.print_result(text, f"{options.app} was checked")
    code = 0 if report.error is None else FAILED
    if set(threading.enumerate()) - before and (stuck := set(shutdown.stuck_threads()) - before):
        # The interpreter would wait for the threads that the import has started.
        shutdown.exit_now(code, [], list(stuck))
    return code


def _report(app: str) -> AppReport:
    """Import an app and describe it.

    :raises UsageError: when the app cannot be imported, or is not valid.
    """
    found = find_pool(app)
    pool = found if isinstance(found, WorkerPool) else asyncio.run(_make(found))
    registry = pool._registry
    registry.check_periodic()
    handlers = [registry.handlers[name] for name in registry.job_names]
    return AppReport(
        app,
        pool.options.namespace,
        pool.options.concurrency,
        [_job_report(handler) for handler in handlers],
        [_periodic_report(each.name, each.schedule) for each in registry.periodic],
        list(_warnings(pool, handlers)),
    )


async def _make(maker: Callable[[], Awaitable[WorkerPool[Any]]]) -> WorkerPool[Any]:
    return await maker()


def _job_report(handler: Handler) -> JobTypeReport:
    values = {each.name: getattr(handler.options, each.name) for each in fields(JobOptions)}
    changed = {name: _plain(value) for name, value in values.items() if value != getattr(_DEFAULTS, name)}
    types = {name: _type_of(each.annotation) for name, each in handler.parameters.items()}
    optional = {name: f"{types[name]}{_OPTIONAL}" for name, each in handler.parameters.items() if not each.required}
    return JobTypeReport(handler.name, changed, {**types, **optional})


def _argument(name: str, kind: str) -> str:
    """Return an argument as a signature has it."""
    required = kind.removesuffix(_OPTIONAL)
    return f"{name}: {required}" + ("" if required == kind else " = ...")


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, (bool, int, float, str)) else getattr(value, "__name__", repr(value))


def _type_of(annotation: object) -> str:
    return "any" if _is_missing(annotation) else inspect.formatannotation(annotation)


def _is_missing(annotation: object) -> bool:
    return annotation is inspect.Parameter.empty or annotation is Any


def _periodic_report(name: str, schedule: Schedule) -> PeriodicReport:
    zone, _ = split_zone(schedule.spec)
    firings, at = [], time.time()
    for _ in range(_FIRINGS):
        at = schedule.next(at)
        moment = datetime.fromtimestamp(at, UTC)
        firings.append(moment.astimezone(None if zone is None else ZoneInfo(zone)).isoformat())
    return PeriodicReport(name, schedule.spec, zone, firings)


def _warnings(pool: WorkerPool[Any], handlers: Sequence[Handler]) -> Iterator[str]:
    if not handlers:
        yield NO_JOBS
    for handler in handlers:
        if untyped := [name for name, each in handler.parameters.items() if _is_missing(each.annotation)]:
            yield f"job {handler.name}: no type is checked of {', '.join(untyped)}: annotate each with its type"
        if handler.options.max_concurrency > 0 and not handler.options.timeout:
            yield (
                f"job {handler.name}: max_concurrency is set without a timeout: an attempt that hangs blocks the others"
            )
    for each in pool._registry.periodic:
        zone, rest = split_zone(each.schedule.spec)
        if zone is None and not rest.startswith("@every"):
            yield f"periodic job {each.name}: {rest!r} is in the time zone of each host: pass tz= to name one"


def _lines(report: AppReport) -> Iterator[str]:
    yield f"{report.app} is valid: namespace {report.namespace!r}, concurrency {report.concurrency}"
    for job in report.jobs:
        arguments = ", ".join(starmap(_argument, job.arguments.items()))
        options = ", ".join(f"{name}={value}" for name, value in job.options.items())
        yield f"job       {job.name}({arguments})" + (f"  {options}" if options else "")
    for each in report.periodic:
        yield f"periodic  {each.name} at {each.spec!r} ({each.zone or 'time zone of each host'})"
        yield f"          next: {', '.join(each.next)}"
    for warning in report.warnings:
        yield f"warning   {warning}"
    counts = [plural(len(report.jobs), "job"), f"{len(report.periodic)} periodic"]
    yield f"{', '.join(counts)}, {plural(len(report.warnings), 'warning')}"
