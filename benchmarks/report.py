"""Puts the measurements into words and tables (Markdown)."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles

from .measure import Drain
from .orders import Case, Waited

_MB = 1024 * 1024


def settings(redis_version: str, method: Iterable[str]) -> str:
    """Return what the figures depend on, a line each."""
    packages = ("asyncwork", "redis", "hiredis", "orjson", "uvloop")
    lines = [
        f"{platform.python_implementation()} {platform.python_version()}, Redis {redis_version}",
        ", ".join(f"{name} {found}" for name in packages if (found := _version(name))),
        f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.release()}",
        *method,
    ]
    return "\n".join(f"- {line}" for line in lines)


def load() -> str:
    """Return how busy the machine is."""
    return f"load average {os.getloadavg()[0]:.2f}"


def drains(found: Mapping[Case, Sequence[Drain]]) -> str:
    """Return a table of the drains, one row a case."""
    head = ["", "workers", "jobs/s", "of the floor", "CPU us a job: worker", "Redis", "MB idle", "MB peak"]
    return table(head, [_drain_row(case, runs, found.get(case.ceiling, runs)) for case, runs in found.items()])


def _drain_row(case: Case, runs: Sequence[Drain], floor: Sequence[Drain]) -> list[str]:
    ratios = [run.rate / ceiling.rate for run, ceiling in zip(runs, floor, strict=True)]
    return [
        case.label,
        str(case.concurrency),
        spread([run.rate for run in runs]),
        "" if case == case.ceiling else spread(ratios, "{:.2f}".format),
        spread([1e6 * run.worker.cpu / run.jobs for run in runs], "{:.1f}".format),
        spread([1e6 * run.redis_cpu / run.jobs for run in runs], "{:.1f}".format),
        spread([run.worker.idle / _MB for run in runs], "{:.1f}".format),
        spread([run.worker.peak / _MB for run in runs], "{:.1f}".format),
    ]


def enqueues(found: Mapping[str, Sequence[float]]) -> str:
    """Return a table of the rates of enqueueing."""
    return table(["", "jobs/s"], [[how, spread(rates)] for how, rates in found.items()])


def waits(found: Mapping[Case, Sequence[Waited]]) -> str:
    """Return a table of how long jobs for an idle pool took to start."""
    return table(["", "p50 ms", "p95 ms", "p99 ms", "MB idle"], [_wait_row(case, runs) for case, runs in found.items()])


def _wait_row(case: Case, runs: Sequence[Waited]) -> list[str]:
    percentiles = [quantiles([1000 * each for each in run.seconds], n=100, method="inclusive") for run in runs]
    times = [spread([each[place - 1] for each in percentiles], "{:.2f}".format) for place in (50, 95, 99)]
    return [case.label, *times, spread([run.idle / _MB for run in runs], "{:.1f}".format)]


def spread(values: Sequence[float], shown: Callable[[float], str] = "{:,.0f}".format) -> str:
    """Return the median, and how far the values are apart where there are several."""
    low, high = shown(min(values)), shown(max(values))
    middle = shown(median(values))
    return middle if low == high else f"{middle} ({low}-{high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an aligned table: texts to the left, figures to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(f"| {' | '.join(_aligned(line, widths))} |" for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
