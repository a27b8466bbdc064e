"""Notifications to systemd, for services of ``Type=notify``."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress


class Notifier:
    """Sends the states of this process to the service manager. Does nothing where there is none.

    :param address: the socket, a path or an abstract name with ``@`` in front; empty for none.
    :param watchdog: seconds after which the manager ends a service that has sent no sign of life; 0 for no limit.
    """

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_interval: float = watchdog / 2

    @classmethod
    def from_environment(cls) -> Notifier:
        """Return the notifier of this process.

        Takes the variables out of the environment, because programs that jobs start would inherit them.
        """
        address, microseconds, pid = (
            os.environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
        )
        is_ours = pid in ("", str(os.getpid())) and microseconds.isascii() and microseconds.isdigit()
        return cls(address, int(microseconds) / 1e6 if is_ours else 0.0)

    def ready(self, status: str = "") -> None:
        """Report that the service has started, or has reloaded."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that the service replaces its processes."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=replacing the child processes")

    def stopping(self) -> None:
        """Report that the service stops."""
        self._send("STOPPING=1", "STATUS=stopping")

    def alive(self) -> None:
        """Report that the service is alive."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._address:
            # A manager that does not read must not end the jobs.
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)


class Watchdog:
    """Sends signs of life of a single process from a thread, as long as its event loop turns.

    :param call_in_loop: has the event loop call a function; raises RuntimeError when the loop is closed.
    :param limit: for how many seconds a job may block the loop.
    """

    def __init__(self, notifier: Notifier, call_in_loop: Callable[[Callable[[], None]], object], limit: float) -> None:
        self._notifier = notifier
        self._call_in_loop = call_in_loop
        self._limit = limit
        self._turned_at = time.monotonic()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the thread, if the service manager expects signs of life."""
        if self._notifier.watchdog_interval:
            threading.Thread(target=self._run, name="asyncwork watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._notifier.watchdog_interval):
            if time.monotonic() - self._turned_at < self._limit:
                self._notifier.alive()
            with suppress(RuntimeError):  # the process is about to exit
                self._call_in_loop(self._turn)

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
