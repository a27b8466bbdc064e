"""The options of ``asyncwork run`` for several processes."""

from __future__ import annotations

import argparse

SIGNALS = """\
  SIGTTIN                   write to the log what each worker does, with stacks
  SIGUSR2                   with --processes: replace the processes one by one, with the newest code
"""


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the command."""
    add = parser.add_argument_group("processes").add_argument
    add(
        "--processes",
        metavar="N",
        help="start N processes, or `auto`: one for each CPU (environment: ASYNCWORK_PROCESSES)",
    )
    add("--max-jobs", metavar="N", help="replace a process, without a gap, once it has run N jobs")
    add("--max-memory", metavar="SIZE", help="replace a process, without a gap, that uses more, such as 512M or 2G")
    add("--stuck", metavar="SECONDS", help="kill a process that holds the GIL for so long; 0 for no limit (300)")
