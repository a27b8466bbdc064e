"""The rules for queues whose jobs wait, or that take no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._jobs.printable import printable
from ..models.diagnosis import Problem
from ..models.queues import QueueInfo
from .wording import shell_word


def held_queues(queues: Sequence[QueueInfo]) -> Iterator[Problem]:
    """Yield a note on each queue whose jobs wait because it is paused or at its concurrency limit, or that is full."""
    for each in queues:
        if each.paused and each.count:
            text = f"{printable(each.name)} is paused; waiting: {each.count}"
            yield Problem(
                "paused",
                each.name,
                text,
                "unpause it when it is time",
                f"asyncwork queues unpause {shell_word(each.name)}",
            )
        elif each.count and 0 < each.max_concurrency <= each.running:
            text = (
                f"{printable(each.name)} is at its concurrency limit of {each.max_concurrency}; waiting: {each.count}"
            )
            yield Problem("capped", each.name, text, "raise its max_concurrency if that is too little")
        if each.is_full:
            text = (
                f"{printable(each.name)} is full: {each.count} jobs wait, and at most {each.max_waiting} may; "
                "enqueuers that have a limit get QueueFull"
            )
            yield Problem("full", each.name, text, "have more jobs run at once, or raise its max_waiting")
