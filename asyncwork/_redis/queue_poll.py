"""A poll: which queues hold jobs, asked with plain EXISTS commands.

A list exists in Redis only while it is not empty. One command counts the filled queues of a section, which
costs Redis about 60 ns for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .protocol import command
from .queue import Queue


class Section:
    """Some queues, about which Redis is asked with one command. Its commands are encoded once.

    :ivar queues: none of them twice.
    """

    def __init__(self, queues: Sequence[Queue]) -> None:
        self.queues = queues

    @cached_property
    def count_command(self) -> bytes:
        """The command that replies how many of the queues are filled."""
        return command(b"EXISTS", *(key for queue in self.queues for key in _filled_keys(queue)))

    @cached_property
    def list_commands(self) -> list[bytes]:
        """One command for each queue, which replies whether it is filled."""
        return [command(b"EXISTS", *_filled_keys(queue)) for queue in self.queues]


def _filled_keys(queue: Queue) -> tuple[bytes, ...]:
    """Return the keys of a queue: one exists while it holds jobs that may start."""
    return (queue.queue, queue.ring) if queue.fair else (queue.queue,)


@dataclass(slots=True, eq=False)
class QueuePoll:
    """The question which queues are filled: how many of each section, or whether each one is.

    :ivar sections: none of them is empty.
    :ivar lists: whether about each queue.
    """

    sections: Sequence[Section]
    lists: bool = False

    def __len__(self) -> int:
        """Return the number of commands, and of replies."""
        return sum(len(section.queues) for section in self.sections) if self.lists else len(self.sections)

    def commands(self) -> list[bytes]:
        """Return the encoded commands; each has one reply, a number."""
        if self.lists:
            return [each for section in self.sections for each in section.list_commands]
        return [section.count_command for section in self.sections]
