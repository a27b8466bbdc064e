"""Watches the children: those that are silent, and those that have done enough or use too much memory."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from .._redis.errors import REDIS_ERRORS
from .child import Child
from .child_recovery import ChildRecovery

logger = logging.getLogger("asyncwork.cli")

# Seconds between two passes.
TICK = 0.25
# How many reports in a row must be missing until a child counts as silent.
_MISSING = 2.5
# Seconds that an aborted child has to write its stacks.
_ABORT_SECONDS = 2.0


@dataclass(frozen=True)
class ChildLimits:
    """When a child is replaced or killed.

    :ivar max_jobs: how many attempts it ends before it is replaced; 0 for no limit.
    :ivar max_memory: how many bytes it may use before it is replaced; 0 for no limit.
    :ivar stuck: for how many seconds it may be silent before it is killed; 0 for no limit.
    :ivar slow_start: after how many seconds, and then again each time, it is logged that it does not serve yet.
    """

    max_jobs: int = 0
    max_memory: int = 0
    stuck: float = 300.0
    slow_start: float = 60.0

    def exceeded(self, child: Child) -> str:
        """Return which limit a child has exceeded, for the log; empty for none."""
        memory = child.report.get("memory", 0)
        if self.max_jobs and child.jobs >= self.max_jobs:
            return f"it has run {child.jobs} jobs (--max-jobs {self.max_jobs})"
        # A child that has run nothing would be replaced by one that is as large.
        if self.max_memory and child.jobs and isinstance(memory, int) and memory > self.max_memory:
            return f"it uses {_megabytes(memory)} (--max-memory {_megabytes(self.max_memory)})"
        return ""


class Watch:
    """Renews the heartbeats of silent children, and kills those that stay silent for too long. Logs those that do not
    begin to serve.
    """

    def __init__(self, recovery: ChildRecovery, limits: ChildLimits) -> None:
        self._recovery = recovery
        self._stuck = limits.stuck
        self._slow_start = limits.slow_start
        self._ticked_at = time.monotonic()
        # By child, what is known while it is silent.
        self._silent: dict[Child, _Silence] = {}

    def check(self, children: Iterable[Child], *, stopping: bool) -> None:
        """Do what is due. Called each :data:`TICK` seconds.

        :param stopping: whether no child is to serve any more.
        """
        now = time.monotonic()
        # After a longer gap, the parent itself was stopped.
        passed, self._ticked_at = min(now - self._ticked_at, 2 * TICK), now
        for child in children:
            child.poll()
            if child.code is None:
                child.silence += passed
                self._check(child, now)
                if not child.has_served and not stopping:
                    self._check_start(child, now)
        for child in [each for each in self._silent if each.code is not None]:
            del self._silent[child]

    def _check(self, child: Child, now: float) -> None:
        silence = self._silent.get(child)
        if child.silence < _MISSING * child.report_interval:
            if silence is not None:
                del self._silent[child]
                if silence.logged:
                    logger.warning("reports resumed: %s was silent for %.1f s", child, now - silence.since)
            return
        if silence is None:
            self._silent[child] = silence = _Silence(now - child.silence)
        if self._stuck and child.silence >= self._stuck:
            self._kill(child, now, silence)
        elif child.address is not None and now >= silence.renew_at and silence.can_renew():
            silence.renew_at = now + child.address.heartbeat
            silence.renewing = asyncio.create_task(self._renew(child, silence))

    def _check_start(self, child: Child, now: float) -> None:
        if now - child.warned_at >= self._slow_start:
            child.warned_at = now
            text = (
                "waiting for %s, which has not begun to serve after %.0f s: %s; SIGTTIN logs where it is, and SIGUSR2 "
                "replaces it by one with the newest code"
            )
            logger.warning(text, child, now - child.started_at, child.start_step)

    async def _renew(self, child: Child, silence: _Silence) -> None:
        try:
            renewed = await self._recovery.renew(child)
        except REDIS_ERRORS as error:
            logger.warning("could not renew the heartbeat of %s: Redis failed (%s)", child, error)
            return
        if renewed and not silence.logged:
            silence.logged = True
            limit = f", for {self._stuck:g} s at most (--stuck)" if self._stuck else ""
            text = (
                "renewing the heartbeat of %s%s, so that its jobs run only once: it is silent, because a handler holds "
                "the GIL, or the process is stopped"
            )
            logger.warning(text, child, limit)

    def _kill(self, child: Child, now: float, silence: _Silence) -> None:
        if not child.killed_for:
            child.killed_for = f"it was silent for {child.silence:.0f} s (--stuck {self._stuck:g})"
            silence.aborted_at = now
            logger.error("killing %s: it has reported nothing for %.0f s", child, child.silence)
            # It writes its stacks then, also while a handler holds the GIL.
            child.send_signal(signal.SIGABRT)
        elif now - silence.aborted_at >= _ABORT_SECONDS:
            child.send_signal(signal.SIGKILL)


@dataclass
class _Silence:
    """The silence of one child.

    :ivar since: when it began, monotonic seconds.
    """

    since: float
    renew_at: float = 0.0
    renewing: asyncio.Task[None] | None = None
    logged: bool = False
    aborted_at: float = 0.0

    def can_renew(self) -> bool:
        """Return whether no renewal is under way."""
        return self.renewing is None or self.renewing.done()


def _megabytes(size: int) -> str:
    return f"{size / 1_048_576:.0f}M"
