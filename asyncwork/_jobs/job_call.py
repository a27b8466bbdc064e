"""A call of a task that is to be enqueued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .enqueue_options import AT_ONCE, EnqueueOptions


class JobCall(NamedTuple):
    """A job that is not enqueued yet: what ``task.call(…)`` returns, for ``enqueue_many``.

    :ivar name: the job's name.
    :ivar args: its arguments by name; ``None`` when it has none.
    :ivar options: when and where it is enqueued.
    """

    name: str
    args: Mapping[str, Any] | None
    options: EnqueueOptions = AT_ONCE
