"""Help texts and options of the commands, apart from what the commands do.

They import no other part of asyncwork, so that help texts, usage errors and completions appear at once.
"""

from __future__ import annotations

from typing import Any

from . import (
    batches,
    cancel,
    completion,
    deletions,
    development,
    doctor,
    enqueue,
    job,
    jobs,
    limits,
    periodic,
    pools,
    queues,
    run,
    stats,
    top,
    unique,
    web,
)


def add_parsers(commands: Any) -> None:
    """Add the commands, in the order in which the help lists them."""
    working, single = (development, run), (enqueue, job, cancel)
    several = (jobs, queues, batches, periodic, pools, limits, unique, deletions)
    for each in (*working, *single, *several, stats, top, web, doctor, completion):
        each.add_parser(commands)
