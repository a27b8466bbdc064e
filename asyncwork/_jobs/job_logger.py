"""The logger of one job, whose lines name the job wherever they are logged."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

_logger = logging.getLogger("asyncwork.job")


class JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the fields ``job_name`` and ``job_id`` to its lines, as :class:`JobLogFilter` does, beside ``extra``.

    It holds the values and not the job, because a cycle would keep the job's payload in memory.
    """

    def __init__(self, job_name: str, job_id: str) -> None:
        super().__init__(_logger, {"job_name": job_name, "job_id": job_id})

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[object, MutableMapping[str, Any]]:
        """Add the two fields to what the caller passes as ``extra``."""
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **(self.extra or {})}}
