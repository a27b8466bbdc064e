"""Rules for queues whose jobs wait because of a limit or a pause. Pure functions, which read nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from .._jobs.printable import printable
from ..models.diagnosis import Problem
from ..models.queues import QueueInfo
from .wording import shell_word


def held_queues(queues: Sequence[QueueInfo]) -> Iterator[Problem]:
    """Yield a note on each queue that is full, or whose jobs wait because it is paused, rests, or is at a limit."""
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
        elif each.count and each.rests_for:
            seconds = math.ceil(each.rests_for)
            text = (
                f"{printable(each.name)} rests for {seconds} s, because a job was rate limited; waiting: {each.count}"
            )
            command = f"asyncwork queues unpause {shell_word(each.name)}"
            yield Problem("resting", each.name, text, "wait, or end the rest", command)
        elif each.count and each.rate and not each.tokens:
            text = f"{printable(each.name)} has used up its rate of {each.rate_label}; waiting: {each.count}"
            yield Problem("out_of_tokens", each.name, text, "raise its rate if that is too little")
        if each.is_full:
            text = (
                f"{printable(each.name)} is full: {each.count} jobs wait, and at most {each.max_waiting} may; "
                "enqueuers that have a limit get QueueFull"
            )
            yield Problem("full", each.name, text, "have more jobs run at once, or raise its max_waiting")
