"""The options of the commands that write logs."""

from __future__ import annotations

import argparse

LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of a command."""
    levels = ", ".join(LOG_LEVELS).lower()
    parser.add_argument("--log-level", metavar="LEVEL", help=f"{levels} (environment: ASYNCWORK_LOG_LEVEL; info)")
    parser.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        help="lines for people, or JSON objects (environment: ASYNCWORK_LOG_FORMAT; text)",
    )
