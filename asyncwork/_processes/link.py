"""A child's link to its parent: it sends reports, and notices when the parent has ended.

It has a thread of its own, so reports go on while a handler blocks the event loop. They stop while a handler holds the
GIL. The parent then writes the heartbeats.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from .messages import CHILD, CHILD_REDIS, PoolAddress, ProcessReport, encode, encode_address, report_interval

logger = logging.getLogger("asyncwork.cli")

# Bytes that wait for a parent that does not read. Reports beyond that are left out.
_MAX_UNSENT = 65_536
# Seconds that the last report may take.
_LAST_SECONDS = 2.0


class ParentLink:
    """The child's end.

    :param number: the child's number, from 1.
    :param channel: the socket to the parent.
    :param redis_url: the Redis that the parent has started; empty if it has started none.
    """

    def __init__(self, number: int, channel: socket.socket, redis_url: str = "") -> None:
        self.number = number
        self.redis_url = redis_url
        self._channel = channel
        self._channel.setblocking(False)
        self._lock = threading.Lock()
        # No report may be sent after a newer one.
        self._reporting = threading.Lock()
        self._unsent = b""
        self._interval = report_interval(2.0)
        self._report: Callable[[], ProcessReport] = dict
        self._on_parent_end: Callable[[], None] | None = None
        self._parent_has_ended = False

    @classmethod
    def from_environment(cls) -> ParentLink | None:
        """Return the link of this process to its parent; ``None`` if no parent started it.

        Takes the variables out of the environment, because programs that jobs start would inherit them.
        """
        text, url = os.environ.pop(CHILD, ""), os.environ.pop(CHILD_REDIS, "")
        if not text:
            return None
        number, channel, stacks = map(int, text.split(","))
        for descriptor in (channel, stacks):
            os.set_inheritable(descriptor, False)
        # The parent logs the stacks of a child that crashes, or that it aborts. In the middle of a crash, nothing but
        # this can write them.
        faulthandler.enable(open(stacks, "wb", buffering=0))  # noqa: SIM115 - it stays open
        link = cls(number, socket.socket(fileno=channel), url)
        threading.Thread(target=link._run, name="asyncwork parent link", daemon=True).start()
        return link

    def attach(self, report: Callable[[], ProcessReport], on_parent_end: Callable[[], None]) -> None:
        """Send reports from now on, and say that this process handles signals.

        :param report: called in the link's thread.
        :param on_parent_end: called in the link's thread when the parent has ended; at once if it already has.
        """
        self._report, self._on_parent_end = report, on_parent_end
        self._send(encode("ready", {}))
        if self._parent_has_ended:
            on_parent_end()

    def send_address(self, address: PoolAddress) -> None:
        """Report where the pool is registered. Called before the pool takes jobs, so the parent can requeue each."""
        self._interval = report_interval(address.heartbeat)
        self._send(encode_address(address))

    def send_report(self) -> None:
        """Send a report now, unless the parent has not read the last one."""
        with self._reporting:
            line = self._encode_report()
            if not self._unsent:
                self._send(line)

    def send_last_report(self) -> None:
        """Send a report after the last job, and wait until the parent has it, for two seconds at most."""
        with self._reporting:
            self._send(self._encode_report())
        deadline = time.monotonic() + _LAST_SECONDS
        while self._unsent and (left := deadline - time.monotonic()) > 0:
            self._is_ready(selectors.EVENT_WRITE, left)
            self._send(b"")

    def _encode_report(self) -> bytes:
        try:
            return encode("report", self._report())
        except Exception:  # such as counts that change while they are read
            logger.debug("cannot report to the parent process", exc_info=True)
            # The last report holds until the next one. Without any line, this process would seem to hold the GIL.
            return encode("alive", {})

    def _send(self, line: bytes) -> None:
        with self._lock:
            if len(self._unsent) < _MAX_UNSENT:
                self._unsent += line
            if not self._unsent:
                return
            try:
                self._unsent = self._unsent[self._channel.send(self._unsent) :]
            except BlockingIOError:
                pass
            except OSError:  # the parent has ended
                self._unsent = b""

    def _run(self) -> None:
        while not self._parent_has_ended:
            self.send_report()
            self._wait(time.monotonic() + self._interval)
        if self._on_parent_end is not None:
            self._on_parent_end()

    def _wait(self, deadline: float) -> None:
        """Wait until a time, or until the parent has ended."""
        while (left := deadline - time.monotonic()) > 0:
            if self._is_ready(selectors.EVENT_READ, min(left, self._interval)) and not self._receive():
                self._parent_has_ended = True
                return

    def _is_ready(self, event: int, seconds: float) -> bool:
        """Wait for an event of the socket, for some seconds at most; return whether it has come."""
        # Unlike select(), poll() takes descriptors from 1024 on. Unlike epoll, it needs none, which may be used up.
        with selectors.PollSelector() as selector:
            selector.register(self._channel, event)
            return bool(selector.select(seconds))

    def _receive(self) -> bool:
        try:
            return bool(self._channel.recv(4096))
        except BlockingIOError:
            return True
        except OSError:
            return False
