"""The parent of the processes of one pool."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress

from .child import Child, ChildCommand, processes
from .child_recovery import ChildRecovery
from .child_slot import ChildSlot, describe_end
from .systemd import Notifier
from .watch import TICK, ChildLimits, Watch

logger = logging.getLogger("asyncwork.cli")

# Seconds that requeueing the jobs of the last children may take.
_LAST_REQUEUE = 5.0
# Seconds until a child that could not be replaced is replaced again.
_RETRY = 30.0


class Fleet:
    """Keeps a number of child processes running. It never imports the application.

    :param count: how many.
    :param burst: whether the children end by themselves, when the queues are empty.
    :param environment: the environment of the children.
    """

    def __init__(
        self,
        count: int,
        command: ChildCommand,
        limits: ChildLimits,
        *,
        burst: bool,
        notifier: Notifier,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._count = count
        self._command = command
        self._limits = limits
        self._burst = burst
        self._notifier = notifier
        self._environment = environment
        self._slots: list[ChildSlot] = []
        self._children: list[Child] = []
        # The children that live, and those that have ended and were not taken since.
        self._reporting: list[Child] = []
        self._recovery = ChildRecovery()
        self._following: set[asyncio.Task[None]] = set()
        self._watch = Watch(self._recovery, limits)
        self._stopping = asyncio.Event()
        self._stops = 0
        self._is_quiet = False
        self._is_ready = False
        self._has_served = False
        self._failed_at_start: set[int] = set()
        # A rolling restart, or the replacement of one child. There is one at a time.
        self._replacing: asyncio.Task[None] | None = None
        self._roll_again = False
        self._retry_at: dict[int, float] = {}
        self._alive_at = 0.0

    def take_reporting(self) -> list[Child]:
        """Return each child that lives, and, once, each that has ended since the last call: its last report counts."""
        children = self._reporting
        self._reporting = [each for each in children if each.code is None]
        return children

    async def run(self) -> int:
        """Run until stopped, or until all children have ended; return the exit code.

        :raises OSError: when no process can be started.
        """
        logger.info("starting %s in parent process %d", processes(self._count), os.getpid())
        ticking = asyncio.create_task(self._tick())
        try:
            # A signal may have come before.
            for number in range(1, self._count + 1) if not self._stopping.is_set() else ():
                self._slots.append(
                    ChildSlot(
                        number,
                        self._spawn,
                        self._stopping,
                        burst=self._burst,
                        on_failed_start=self._on_failed_start,
                    )
                )
            codes = await asyncio.gather(*(slot.run() for slot in self._slots))
            # Children that were replaced, or were to replace another.
            for child in self._living():
                code = await child.wait()
                codes.append(0 if child.ended_unready else code)
        finally:
            await self._end(ticking)
        failed = not self._has_served and bool(self._failed_at_start)
        return 1 if failed or self._stops > 2 or any(codes) else 0

    async def _end(self, ticking: asyncio.Task[None]) -> None:
        self._stopping.set()
        for child in self._children:
            # After an error in the parent. Otherwise all have ended.
            child.send_signal(signal.SIGTERM)
        ticking.cancel()
        self._check_ended()
        if self._following:
            _, pending = await asyncio.wait(self._following, timeout=_LAST_REQUEUE)
            for task in pending:
                task.cancel()
            if pending:
                logger.error("did not requeue all jobs of ended children; the other pools do that")
        await self._recovery.close()

    def _spawn(self, number: int) -> Child:
        child = Child(number, self._command, self._environment)
        self._children.append(child)
        self._reporting.append(child)
        if self._is_quiet:
            child.send_signal(signal.SIGTSTP)
        following = asyncio.create_task(self._follow(child))
        self._following.add(following)
        following.add_done_callback(self._following.discard)
        return child

    async def _follow(self, child: Child) -> None:
        """Act when a child begins to serve, and when it ends."""
        await child.serves()
        self._check_ready()
        await child.wait()
        self._has_served = self._has_served or child.has_served
        await self._recovery.requeue(child)

    def _on_failed_start(self, child: Child) -> None:
        """Stop when no child could start to serve, each has tried, and none has ever served."""
        self._failed_at_start.add(child.number)
        self._has_served = self._has_served or any(each.has_served for each in self._children)
        if len(self._failed_at_start) == self._count and not self._has_served and not self._stopping.is_set():
            logger.critical("failed: no child process could start; the last, %s, %s", child, describe_end(child))
            self._stopping.set()
            self._signal_all(signal.SIGTERM)

    # Signals

    def stop(self, name: str) -> None:
        """Handle a signal to stop: the first lets jobs finish, the second cancels them, the third kills the children.

        :param name: its name, for the log.
        """
        self._stops += 1
        self._stopping.set()
        self._notifier.stopping()
        if self._stops > 2:
            logger.warning("%s: killing the child processes; their jobs are requeued", name)
            self._signal_all(signal.SIGKILL)
            return
        what = "stopping" if self._stops == 1 else "cancelling the running jobs of"
        logger.warning("%s: %s all child processes", name, what)
        self._signal_all(signal.SIGTERM)

    def quiet(self, name: str) -> None:
        """Handle a signal to fetch no more jobs.

        :param name: its name, for the log.
        """
        logger.warning("%s: quiet: no more jobs are fetched, running jobs go on; SIGTERM ends the processes", name)
        self._is_quiet = True
        # Also to those that were quiet before: an operator may have had them run again.
        self._signal_all(signal.SIGTSTP)

    def write_stacks(self, name: str) -> None:
        """Have each child write to the log what its workers do.

        :param name: the name of the signal, for the log.
        """
        for child in self._living():
            state, silence = child.report.get("state", "starting"), time.monotonic() - child.reported_at
            logger.warning("%s: %s is %s, last report %.1f s ago; it writes its stacks", name, child, state, silence)
            child.send_signal(signal.SIGTTIN)

    def roll(self, name: str) -> None:
        """Replace child by child by ones that run the newest code. If this is under way, begin again, because the code
        may be newer than that of the children which were started before.

        :param name: the name of the signal, for the log.
        """
        if self._stopping.is_set():
            logger.warning("%s: already stopping", name)
            return
        logger.warning("%s: replacing all child processes, one at a time", name)
        self._roll_again = True
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.create_task(self._roll())
            return
        for slot in self._slots:
            slot.give_up_starting(name)

    async def _roll(self) -> None:
        """Replace all children, until no rolling restart is requested any more."""
        while self._roll_again and not self._stopping.is_set():
            self._roll_again = False
            self._notifier.reloading()
            kept = ""
            for slot in self._slots:
                if self._stopping.is_set() or self._roll_again:
                    break
                if not await slot.replace("rolling restart"):
                    kept = f"child {slot.number}"
                    break
            if self._stopping.is_set():
                return
            if self._roll_again:
                continue
            if kept:
                logger.error("rolling restart stopped at %s: it and those after it run on as they were", kept)
            else:
                logger.info("rolling restart done")
            self._notifier.ready(self._status())

    async def _recycle(self, slot: ChildSlot, why: str) -> None:
        if not await slot.replace(why):
            self._retry_at[slot.number] = time.monotonic() + _RETRY
        if self._roll_again:
            await self._roll()

    # Checks of the children

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self._check()
            except Exception:
                logger.exception("watching the child processes failed; going on")

    def _check(self) -> None:
        self._watch.check(self._children, stopping=self._stopping.is_set())
        self._check_ended()
        self._check_limits()
        self._check_ready()
        now = time.monotonic()
        if self._notifier.watchdog_interval and now - self._alive_at >= self._notifier.watchdog_interval:
            self._alive_at = now
            self._notifier.alive()

    def _check_ended(self) -> None:
        current = {slot.child for slot in self._slots}
        self._children = [each for each in self._children if each.code is None or each in current]

    def _check_limits(self) -> None:
        if self._stopping.is_set() or (self._replacing is not None and not self._replacing.done()):
            return
        for slot in self._slots:
            why = self._limits.exceeded(slot.child)
            if why and slot.child.code is None and time.monotonic() >= self._retry_at.get(slot.number, 0.0):
                self._replacing = asyncio.create_task(self._recycle(slot, why))
                return

    def _check_ready(self) -> None:
        """Report that the service has started, when each child serves or has failed, and at least one serves."""
        have_served = {slot.number for slot in self._slots if slot.child.has_served}
        self._has_served = self._has_served or bool(have_served)
        if self._is_ready or self._stopping.is_set() or len(have_served | self._failed_at_start) < self._count:
            return
        if have_served:
            self._is_ready = True
            # With --burst, they may have ended by now.
            if serving := sum(each.has_served for each in self._living()):
                logger.info("serving in %s", processes(serving))
            self._notifier.ready(self._status())

    def _status(self) -> str:
        return processes(sum(each.has_served for each in self._living())) + " serving"

    def _living(self) -> list[Child]:
        return [each for each in self._children if each.code is None]

    def _signal_all(self, number: int) -> None:
        for child in self._living():
            with suppress(OSError):
                child.send_signal(number)
