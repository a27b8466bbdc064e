"""Logs what keeps waits from learning that their jobs have ended: an outage of Redis, or a channel that is refused."""

from __future__ import annotations

import logging

logger = logging.getLogger("asyncwork")

# Seconds between two readings of the records where the user may not subscribe.
POLL = 0.5


class WaitOutage:
    """The outage log that several waits share, so that each event is logged once. Threads may share it.

    :ivar was_refused: whether the user may not subscribe.
    """

    def __init__(self) -> None:
        self._is_away = False
        self.was_refused: bool = False

    def begin(self, error: Exception) -> None:
        """Log that Redis is away, unless that is logged already."""
        if not self._is_away:
            self._is_away = True
            logger.warning("waiting for jobs: Redis is away (%s); going on when it is back", error)

    def end(self) -> None:
        """Log that Redis is back if it was away."""
        if self._is_away:
            self._is_away = False
            logger.info("waiting for jobs: Redis is back")

    def forget(self) -> None:
        """Log the next failure as the beginning of an outage, because no wait is left over from the last one."""
        self._is_away = False

    def refuse_channel(self, error: Exception) -> None:
        """Log that the user may not subscribe, unless that is logged already."""
        if not self.was_refused:
            self.was_refused = True
            text = "waiting for jobs: Redis refuses a channel (%s); their records are read every %g s"
            logger.warning(text, error, POLL)
