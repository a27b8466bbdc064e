"""The option ``--health`` of ``asyncwork run``: serves the health and the metrics of the process."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .._health.listening import ListenAddress
from .errors import FAILED, AppError
from .settings import choose

if TYPE_CHECKING:
    from .._health.server import HealthServer, Source


@contextmanager
def serving_health(options: argparse.Namespace, source: Source) -> Iterator[HealthServer | None]:
    """Serve within the context, if the option or the environment says where.

    :raises UsageError: when the address is invalid.
    :raises AppError: when the process cannot listen there.
    """
    address = choose("--health", options.health, "ASYNCWORK_HEALTH", ListenAddress.parse)
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


def cannot_listen(address: ListenAddress, error: OSError, option: str) -> str:
    """Return the message for an address at which a server cannot listen.

    :param option: sets the address.
    """
    if error.errno == errno.EADDRINUSE:
        return f"another program listens at {address}: choose another port with {option}, or port 0 for any free port"
    return f"cannot listen at {address}: {error.strerror or error}"
