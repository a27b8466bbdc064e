"""The option ``--health`` of ``asyncwork run``: serves the health and the metrics of the process."""

from __future__ import annotations

import argparse
import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .._health.listening import ListenAddress
from .errors import FAILED, AppError
from .settings import choose

logger: logging.Logger = logging.getLogger("asyncwork.cli")

if TYPE_CHECKING:
    from .._health.server import HealthServer, Source


def health_address(options: argparse.Namespace) -> ListenAddress | None:
    """Return where the health is to be served; ``None`` if it is not.

    :raises UsageError: when the address is invalid.
    """
    return choose("--health", options.health, "ASYNCWORK_HEALTH", ListenAddress.parse)


@contextmanager
def serving_health(address: ListenAddress | None, source: Source) -> Iterator[HealthServer | None]:
    """Serve within the context, if there is an address.

    :raises AppError: when the process cannot listen there.
    """
    if address is None:
        yield None
        return
    from .._health.server import HealthServer

    try:
        server = HealthServer(address, source)
    except OSError as error:
        raise AppError(cannot_listen(address, error, "--health"), code=FAILED) from None
    server.start()
    try:
        yield server
    finally:
        server.stop()


def log_address(server: HealthServer | None) -> None:
    """Log where the health is served, if it is."""
    if server is not None:
        logger.info("serving /livez, /readyz and /metrics at http://%s", server.address)


def cannot_listen(address: ListenAddress, error: OSError, option: str) -> str:
    """Return the message for an address at which a server cannot listen.

    :param option: sets the address.
    """
    if error.errno == errno.EADDRINUSE:
        return f"another program listens at {address}: choose another port with {option}, or port 0 for any free port"
    return f"cannot listen at {address}: {error.strerror or error}"
