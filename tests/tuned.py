"""The times of pools in tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from asyncwork import PoolOptions

_DEFAULTS = {name: getattr(PoolOptions(), name) for name in ("heartbeat", "dead_after", "tuning")}


def tuned(base: Mapping[str, Any] = _DEFAULTS, /, **values: Any) -> dict[str, Any]:
    """Return the options ``heartbeat``, ``dead_after`` and ``tuning`` of a pool.

    :param base: options that this function has returned; the defaults otherwise.
    :param values: what differs from them: the two, and fields of ``Tuning``.
    """
    own: dict[str, Any] = {name: values.pop(name) for name in ("heartbeat", "dead_after") if name in values}
    return {**base, **own, "tuning": replace(base["tuning"], **values)}


# Quick enough for tests, otherwise as they come. In tests, the times of death are small numbers.
QUICK = tuned(heartbeat=0.5, dead_after=1.5, reap=0.2, observe=0.05, reconcile=0.5, dead_for=0)
