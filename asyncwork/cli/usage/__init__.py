"""Help texts and options of the commands, apart from what the commands do.

They import no other part of asyncwork, so that help texts, usage errors and completions appear at once.
"""

from __future__ import annotations

from typing import Any

from . import completion, deletions, development, jobs, pools, queues, stats, top


def add_parsers(commands: Any) -> None:
    """Add the commands of this package."""
    for each in (development, stats, top, queues, jobs, pools, deletions, completion):
        each.add_parser(commands)
