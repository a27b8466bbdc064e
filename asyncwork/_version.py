"""Which version of asyncwork this is."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """Return the version of asyncwork that is installed. Looked up when it is first asked for: that takes a while."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("asyncwork")
    except PackageNotFoundError:
        return "(not installed)"
