"""Help texts and options of the commands, apart from what the commands do.

They import no other part of asyncwork, so that help texts, usage errors and completions appear at once.
"""

from __future__ import annotations

from typing import Any

from . import cancel, doctor, enqueue, job, run, web


def add_parsers(commands: Any) -> None:
    """Add the commands, in the order in which the help lists them."""
    for each in (run, enqueue, job, cancel, web, doctor):
        each.add_parser(commands)
