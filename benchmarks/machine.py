"""Describes the machine on which the benchmarks run, and its load."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine() -> str:
    """Return the cores, processor and system of this machine."""
    # What distributions and clouds add to the version of their kernels says nothing about its speed.
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {kernel}"


def versions(redis: str) -> str:
    """Return the versions of Python, Redis and asyncwork's packages.

    :param redis: the version of the server.
    """
    packages = ("asyncwork", "redis", "hiredis", "orjson", "uvloop")
    found = [f"{name} {number}" for name in packages if (number := _version(name))]
    return ", ".join([f"{platform.python_implementation()} {platform.python_version()}", f"Redis {redis}", *found])


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


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
