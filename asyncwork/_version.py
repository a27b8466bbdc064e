"""The version of asyncwork."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """Return the installed version of asyncwork. Read on first use, because it takes some time."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("asyncwork")
    except PackageNotFoundError:
        return "(not installed)"
