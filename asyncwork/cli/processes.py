"""``asyncwork run --processes``: the parent of the processes, and what each child has to do with it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from .. import _environment
from .._environment import number
from .._health.summing import ReportSum, silent
from .._jobs.printable import shown
from .._processes.child import ChildCommand
from .._processes.fleet import Fleet
from .._processes.systemd import Notifier
from .._processes.watch import ChildLimits
from ..errors import UsageError
from . import logs
from .early_signals import QUIETING, REPLACING, STACKS, end_start
from .embedded_redis import start_redis
from .health_port import health_address, log_address, serving_health
from .settings import choose
from .signals import HANGUP_SECONDS, STOPPING, is_left_ignored

logger: logging.Logger = logging.getLogger("asyncwork.cli")

# Seconds between two sums of the reports of the children, and after which a child that does not report is not live.
_SUM_PERIOD, _SILENT = 1.0, 60.0
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def process_count(options: argparse.Namespace) -> int:
    """Return how many child processes are to run; 0 to run the pool in this process.

    :raises UsageError: when the number is invalid, or an option has no effect without it.
    """
    count = choose("--processes", options.processes, _environment.PROCESSES, _read_count) or 0
    for name in ("max_jobs", "max_memory"):
        if getattr(options, name) is not None and not count:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} replaces one of several processes: add --processes, such as --processes 2")
    return count


def read_limits(options: argparse.Namespace) -> ChildLimits:
    """Return the limits of the processes.

    :raises UsageError: when an option is invalid.
    """
    stuck = choose("--stuck", options.stuck, "", _read_stuck)
    return ChildLimits(
        max_jobs=choose("--max-jobs", options.max_jobs, "", _read_positive) or 0,
        max_memory=choose("--max-memory", options.max_memory, "", read_size) or 0,
        stuck=ChildLimits.stuck if stuck is None else stuck,
    )


def run_processes(options: argparse.Namespace, count: int, level: str) -> int:
    """Run the parent until all processes have ended; return the exit code.

    :param level: the lowest level that the parent logs.
    :raises EmbeddedRedisError: when ``--embedded`` is given and Redis cannot be started.
    :raises UsageError: when an option is invalid.
    """
    limits, notifier, total = read_limits(options), Notifier.from_environment(), ReportSum()
    logs.set_up(level, options.log_format)
    with serving_health(health_address(options), total) as server:
        log_address(server)
        return asyncio.run(_run(options, count, limits, notifier, total))


async def _run(
    options: argparse.Namespace, count: int, limits: ChildLimits, notifier: Notifier, total: ReportSum
) -> int:
    async with AsyncExitStack() as stack:
        url = ""
        if options.embedded is not None:
            url = await start_redis(options.embedded, stack)
        command = ChildCommand(options.arguments, url)
        fleet = Fleet(count, command, limits, burst=options.burst, notifier=notifier)
        _handle_signals(fleet)
        summing = asyncio.create_task(_sum_reports(fleet, total))
        stack.callback(summing.cancel)
        try:
            return await fleet.run()
        except OSError as error:
            logger.critical("failed: cannot start a child process: %s", error)
            return 1


async def _sum_reports(fleet: Fleet, total: ReportSum) -> None:
    """Hand the reports of the children to what serves their health."""
    while True:
        now = time.monotonic()
        # A child that has not reported yet is not counted.
        children = [each for each in fleet.take_reporting() if "process" in each.report]
        total.replace(
            {
                each: silent(each.report["process"], now - each.reported_at, _SILENT)
                for each in children
                if each.code is None
            },
            {each: each.report["process"] for each in children if each.code is not None},
        )
        await asyncio.sleep(_SUM_PERIOD)


def _handle_signals(fleet: Fleet) -> None:
    loop, hangup_at = asyncio.get_running_loop(), -HANGUP_SECONDS

    def stop(name: str) -> None:
        nonlocal hangup_at
        if name == "SIGHUP":
            # Closing a terminal may send it twice, by the kernel and by the shell.
            before, hangup_at = hangup_at, time.monotonic()
            if hangup_at - before < HANGUP_SECONDS:
                return
        fleet.stop(name)

    for each in STOPPING:
        if not is_left_ignored(each):
            loop.add_signal_handler(each, partial(stop, each.name))
    for each, handle in ((QUIETING, fleet.quiet), (REPLACING, fleet.roll), (STACKS, fleet.write_stacks)):
        signal.signal(each, partial(_call_in_loop, loop, handle))
    if end_start():
        fleet.quiet(QUIETING.name)


def _call_in_loop(
    loop: asyncio.AbstractEventLoop, handle: Callable[[str], None], number: int, frame: FrameType | None
) -> None:
    # A loop that is closed sets the default handlers of its signals, and that of SIGUSR2 ends the process.
    with suppress(RuntimeError):  # the loop is closed, and the process about to exit
        loop.call_soon_threadsafe(handle, signal.Signals(number).name)


def read_size(text: str) -> int:
    """Parse a size, such as ``512M``; return bytes.

    :raises UsageError: when it is not a size.
    """
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    digits = text[: len(text) - len(unit)]
    if unit not in _UNITS or not (digits.isascii() and digits.isdigit()) or not int(digits):
        raise UsageError(f"a size such as 512M or 2G is needed, not {shown(text)}")
    return int(digits) * _UNITS[unit]


def _read_count(text: str) -> int:
    if text == "auto":
        return _cpus()
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 1000:
        raise UsageError(f"a number of processes from 1 to 1000, or auto, is needed, not {shown(text)}")
    return int(text)


def _read_positive(text: str) -> int:
    value = number(text, int, "a number from 1")
    if value < 1:
        raise UsageError(f"a number from 1 is needed, not {shown(text)}")
    return value


def _read_stuck(text: str) -> float:
    value = number(text, float, "a number of seconds")
    if not 0 <= value <= 1e9:
        raise UsageError(f"a number of seconds from 0 is needed, not {shown(text)}")
    return value


def _cpus() -> int:
    """Return how many CPUs this process may use, also within the limit of a container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        count = min(count, max(1, -(-int(quota) // int(period))))
    return count
