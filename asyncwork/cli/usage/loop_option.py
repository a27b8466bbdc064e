"""The option for the event loop of the commands that run a pool."""

from __future__ import annotations

import argparse

LOOPS = ("auto", "asyncio", "uvloop")


def add_loop_option(parser: argparse.ArgumentParser) -> None:
    """Add the option to the parser of a command."""
    parser.add_argument(
        "--loop",
        choices=LOOPS,
        help="the event loop; auto is uvloop if that is installed (environment: ASYNCWORK_LOOP; auto)",
    )
