"""File descriptors that no child of this process inherits."""

from __future__ import annotations

import os
import threading
import weakref
from typing import ClassVar


class PrivateDescriptor:
    """A file descriptor that no child of this process has, whether it only forks or runs a program.

    A child that outlives this process would keep the pipe open, or the directory locked.
    """

    # Held while a descriptor is opened or closed, and during each fork, so that a fork finds all of them registered.
    guard: threading.RLock = threading.RLock()
    _all: ClassVar[weakref.WeakSet[PrivateDescriptor]] = weakref.WeakSet()

    def __init__(self, number: int) -> None:
        """Own ``number``, which the caller has opened while holding :attr:`guard`."""
        self.number = number
        self._is_open = True
        self._all.add(self)

    def __del__(self) -> None:
        # A Ctrl-C can come before the caller has registered the call of close().
        self.close()

    def close(self) -> None:
        """Close the descriptor; do nothing when it is closed."""
        with self.guard:
            if self._is_open:
                self._is_open = False
                os.close(self.number)

    @classmethod
    def close_after_fork(cls) -> None:
        """Close every descriptor in a forked child."""
        for descriptor in cls._all:
            descriptor.close()
        cls.guard.release()


os.register_at_fork(
    before=PrivateDescriptor.guard.acquire,
    after_in_parent=PrivateDescriptor.guard.release,
    after_in_child=PrivateDescriptor.close_after_fork,
)
