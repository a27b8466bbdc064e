"""Finds which of a pool's queues hold jobs, without reading those that are empty.

Reading a queue in a fetch takes five commands. A pool with many job names therefore polls its queues first, and its
fetches name only the filled ones. With fewer queues, a poll only finds whether a fetch is worth it.

A poll of many queues asks in two steps: how many queues of each section are filled, and then which ones, in those
sections where more are filled than the pool knows of.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from .._redis.queue import Queue
from .._redis.queue_poll import QueuePoll, Section
from .filled_queues import FilledQueues

# A pool with more queues polls them before each fetch. With fewer, naming them all is as cheap.
FEW_QUEUES = 64
# Queues in a section.
_SECTION = 256
# Seconds between two polls while no jobs come: the shortest, and for each queue. A poll then takes less than 1 % of
# the time of Redis and of the pool.
_SHORTEST_PERIOD, _PERIOD_EACH = 0.04, 0.000_008


class QueuePoller:
    """The polls of one pool.

    It is pure and synchronous, as :class:`FetchState` is.

    :param queues: all queues of the pool.
    :param filled: gets the filled queues of many; ``None`` if they are only counted.
    :ivar period: seconds between two polls while no jobs come.
    :ivar in_flight: whether there is a poll without a reply.
    """

    def __init__(self, queues: Sequence[Queue], filled: FilledQueues | None) -> None:
        self.period = max(_SHORTEST_PERIOD, len(queues) * _PERIOD_EACH)
        self.in_flight = False
        self._filled = filled
        # All queues of each section, and the sections without those that are excluded now.
        self._members = [queues[start : start + _SECTION] for start in range(0, len(queues), _SECTION)]
        self._sections = [Section(members) for members in self._members]
        self._section_of = {queue: number for number, members in enumerate(self._members) for queue in members}
        self._excluded: Set[Queue] = frozenset()
        self._to_list: list[Section] = []

    def next(self, excluded: Set[Queue]) -> QueuePoll | None:
        """Return the next poll; ``None`` if there is no queue to ask about.

        :param excluded: queues from which nothing may be taken, so that it does not matter whether they are filled.
        """
        if self._to_list:
            poll = QueuePoll(self._to_list, lists=True)
            self._to_list = []
        else:
            self._exclude(excluded)
            poll = QueuePoll([section for section in self._sections if section.queues])
        self.in_flight = bool(poll.sections)
        return poll if poll.sections else None

    def _exclude(self, excluded: Set[Queue]) -> None:
        if excluded == self._excluded:
            return
        for number in {self._section_of[queue] for queue in excluded ^ self._excluded}:
            self._sections[number] = Section([queue for queue in self._members[number] if queue not in excluded])
        self._excluded = frozenset(excluded)

    def on_replies(self, poll: QueuePoll, replies: Sequence[int]) -> bool:
        """Process the replies to a poll.

        :returns: whether jobs wait that may be fetched. If the poll has only counted the filled queues of many, that
            is not known before the next one has listed them.
        """
        self.in_flight = False
        filled = self._filled
        if filled is None:
            return any(replies)
        if poll.lists:
            queues = (queue for section in poll.sections for queue in section.queues)
            filled.add(queue for queue, reply in zip(queues, replies, strict=True) if reply)
        else:
            counts = zip(poll.sections, replies, strict=True)
            self._to_list = [section for section, count in counts if count and count > self._known(section, filled)]
        return len(filled) > 0

    @staticmethod
    def _known(section: Section, filled: FilledQueues) -> int:
        return sum(queue in filled for queue in section.queues) if filled else 0

    @property
    def counted(self) -> bool:
        """Whether the next poll is to list what the last one has counted."""
        return bool(self._to_list)

    def on_failed(self) -> None:
        """Begin anew, because a poll was rejected or lost."""
        self.in_flight = False
        self._to_list = []
