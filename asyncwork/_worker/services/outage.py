"""What a role does while Redis is away: says so once, waits longer and longer, says once that it is back."""

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
    """The state of one role's connection to Redis.

    :ivar active: whether a failure was noted since the last success.
    """

    def __init__(self, role: str) -> None:
        self.active = False
        self._role = role
        self._since: float | None = None
        self._defect = False
        self._delay = _FIRST_DELAY

    def failed(self, error: BaseException, *, by_defect: bool = False) -> float:
        """Note a failure; return how many seconds to wait until the next try. Logs the first of a row only.

        :param by_defect: whether it is none of Redis's: logged as an error, with where it was raised.
        """
        self.active = True
        if by_defect:
            if not self._defect:
                self._defect = True
                shown = type(error), error, traceback_of(error)
                text = "%s: failed by a defect (%s); trying again"
                logger.error(text, self._role, describe_error(error), exc_info=shown)
        elif self._since is None:
            self._since = time.monotonic()
            logger.warning("%s: Redis failed (%s); trying until it is back", self._role, describe_error(error))
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_DELAY)
        return delay * random.uniform(0.75, 1.25)

    def over(self) -> None:
        """Note a success; logs it when it ends an outage."""
        self.active = False
        if self._since is not None:
            logger.warning("%s: Redis is back after %.1f s", self._role, time.monotonic() - self._since)
            self._since, self._delay = None, _FIRST_DELAY
        if self._defect:
            logger.warning("%s: succeeded again", self._role)
            self._defect, self._delay = False, _FIRST_DELAY
