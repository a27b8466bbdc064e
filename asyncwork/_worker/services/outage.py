"""Logs the start and the end of an outage of Redis, and spaces the tries in between."""

from __future__ import annotations

import logging
import random
import time

from ..._jobs.error_text import describe_error, traceback_of

logger = logging.getLogger("asyncwork")

# Seconds.
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0


class Outage:
    """Tracks the failures of one service.

    :param name: the name of the service in the log.
    :ivar active: whether it failed since its last success.
    """

    def __init__(self, name: str) -> None:
        self.active = False
        self._name = name
        self._since: float | None = None
        self._unexpected = False
        self._delay = _FIRST_DELAY

    def failed(self, error: BaseException, *, unexpected: bool = False) -> float:
        """Record a failure; return the seconds to wait before the next try. Log only the first failure in a row.

        :param unexpected: whether Redis is not the cause; such an error is logged with its traceback.
        """
        self.active = True
        if unexpected:
            if not self._unexpected:
                self._unexpected = True
                exc_info = type(error), error, traceback_of(error)
                text = "%s: unexpected error (%s); retrying"
                logger.error(text, self._name, describe_error(error), exc_info=exc_info)
        elif self._since is None:
            self._since = time.monotonic()
            logger.warning("%s: Redis failed (%s); retrying until it is back", self._name, describe_error(error))
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_DELAY)
        return delay * random.uniform(0.75, 1.25)

    def over(self) -> None:
        """Record a success; log it if it ends an outage."""
        self.active = False
        if self._since is not None:
            logger.warning("%s: Redis is back after %.1f s", self._name, time.monotonic() - self._since)
            self._since, self._delay = None, _FIRST_DELAY
        if self._unexpected:
            logger.warning("%s: recovered", self._name)
            self._unexpected, self._delay = False, _FIRST_DELAY
