"""The job that the running code belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..job import Job

current_job: ContextVar[Job | None] = ContextVar("asyncwork_job", default=None)
