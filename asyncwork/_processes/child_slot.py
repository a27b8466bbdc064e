"""One slot of the parent: keeps one child running in it, and replaces it by a new one without a gap."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from .child import Child

logger = logging.getLogger("asyncwork.cli")

# Seconds: a child that ends earlier ends too soon. The first such end is forgiven.
_SOON = 10.0
# Seconds until the next child, doubled by each further such end; up to the longest if none could start to serve, and up
# to another if they served, because the other children's load grows meanwhile.
_FIRST_DELAY, _LONGEST_DELAY, _LONGEST_DELAY_SERVED = 0.5, 30.0, 2.0
# Seconds that a child which has not begun to serve has to stop until it is killed.
_GIVE_UP_SECONDS = 10.0


class ChildSlot:
    """Keeps one child running.

    :param number: of its children, from 1.
    :param spawn: starts a child.
    :param stopping: set when no more children are to be started.
    :param burst: whether a child that has ended by itself is not replaced.
    :param on_failed_start: called with a child that has ended before it served.
    :ivar child: the current child; the old one while a new one starts.
    """

    def __init__(
        self,
        number: int,
        spawn: Callable[[int], Child],
        stopping: asyncio.Event,
        *,
        burst: bool,
        on_failed_start: Callable[[Child], None],
    ) -> None:
        self.number = number
        self._spawn = spawn
        self._stopping = stopping
        self._burst = burst
        self._on_failed_start = on_failed_start
        self._replacing = asyncio.Lock()
        self._soon = 0
        # The child that is to replace the current one, until it serves; and the last one that was given up.
        self._starting: Child | None = None
        self._given_up: Child | None = None
        self.child = spawn(number)

    async def run(self) -> int:
        """Replace each child that ends; return the exit code of the last one."""
        while True:
            child = self.child
            code = await child.wait()
            # A replacement that is under way may be the next child.
            async with self._replacing:
                pass
            if self.child is not child:
                continue
            if self._stopping.is_set():
                return 0 if child.ended_unready else code
            if not child.has_served:
                self._on_failed_start(child)
            # One that was killed is replaced. One that has exited has found the queues empty, or cannot run.
            if self._burst and code >= 0:
                return code
            await self._start_next(child)
            if self.child is child:
                return 0

    async def _start_next(self, ended: Child) -> None:
        delay = self._delay(ended)
        while not self._stopping.is_set():
            when = f"in {delay:g} s" if delay else "now"
            text = "restarting child %d %s: process %d %s%s"
            # One that has served and exited by itself was stopped by an operator or by its application.
            level = logging.WARNING if ended.has_served and ended.code == 0 else logging.ERROR
            logger.log(level, text, self.number, when, ended.pid, describe_end(ended), _stacks(ended))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
            if self._stopping.is_set():
                return
            try:
                self.child = self._spawn(self.number)
                return
            except OSError as error:
                logger.error("could not start child %d: %s", self.number, error)
                delay = _LONGEST_DELAY

    def _delay(self, ended: Child) -> float:
        """Return the seconds until the next child is started."""
        if time.monotonic() - ended.started_at >= _SOON:
            self._soon = 0
            return 0.0
        self._soon += 1
        if self._soon == 1 and ended.has_served:
            return 0.0
        longest = _LONGEST_DELAY_SERVED if ended.has_served else _LONGEST_DELAY
        return min(_FIRST_DELAY * float(2 ** min(self._soon - 1, 10)), longest)

    async def replace(self, why: str) -> bool:
        """Start a new child, and stop the old one when the new one serves; return whether the new one serves.

        :param why: for the log.
        """
        async with self._replacing:
            old = self.child
            if old.code is not None or self._stopping.is_set():
                return True  # run() starts a new one, or none is wanted
            logger.info("replacing %s: %s", old, why)
            try:
                new = self._spawn(self.number)
            except OSError as error:
                logger.error("did not replace %s: another cannot be started: %s", old, error)
                return False
            self._starting = new
            serves = await new.serves()
            self._starting = None
            if new is self._given_up:
                return False
            if not serves:
                if not self._stopping.is_set():
                    text = "did not replace %s: the new %s %s before it served%s"
                    logger.error(text, old, new, describe_end(new), _stacks(new))
                return self._stopping.is_set()
            self.child = new
        if not self._stopping.is_set():
            logger.info("replaced %s by process %d, which serves; stopping the old one", old, new.pid)
            old.send_signal(signal.SIGTERM)
        if await old.wait():
            logger.warning("replaced %s, which %s%s", old, describe_end(old), _stacks(old))
        return True

    def give_up_starting(self, why: str) -> None:
        """End the child that is to replace the current one, if it does not serve yet. :meth:`replace` then returns.

        :param why: for the log.
        """
        new = self._starting
        if new is None or new is self._given_up or new.has_served:
            return
        logger.warning("%s: ending %s, which has not begun to serve: %s", why, new, new.start_step)
        self._given_up = new
        new.send_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(_GIVE_UP_SECONDS, _kill_unless_served, new)


def _kill_unless_served(child: Child) -> None:
    # One that began to serve meanwhile may have jobs, and stops as any other.
    if not child.has_served:
        child.send_signal(signal.SIGKILL)


def describe_end(child: Child) -> str:
    """Return how a child has ended, for the log."""
    code = child.code or 0
    if child.killed_for:
        return f"was killed: {child.killed_for}"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}"


def _stacks(child: Child) -> str:
    return f". Its stacks:\n{child.stacks}" if child.stacks else ""
