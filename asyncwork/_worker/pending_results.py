"""Results of jobs that Redis has not confirmed yet, kept until it has."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from .._jobs.hold import Hold
from .._redis.commands import Command, CommandBatch, EndHolders, Fetch, MemberAck
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.job_end import JobEnd
from .._redis.member_commands import EndMember
from .._redis.queue import Queue
from .._redis.queue_poll import QueuePoll
from .services.outage import Outage

OnReply: TypeAlias = Callable[[Any], None]

_NO_ENDS: Mapping[Queue, Sequence[JobEnd]] = MappingProxyType({})
_NO_MEMBERS: Mapping[Queue, Sequence[MemberAck]] = MappingProxyType({})


class PendingResults:
    """The acknowledgements and other commands of one pool.

    :param wakeup: called when a command that was rejected is to be sent again.
    :param on_possible_loss: called when Redis may hold jobs as in progress that no worker has.
    :param most_rejected: the number of rejected commands from which a queue counts as crowded.
    :ivar acks: payloads of jobs that succeeded, by queue, for the next batch.
    :ivar ends: the ends of jobs that have a record, by queue, for the next batch.
    :ivar members: the members of batches that have ended and have no record, by queue, for the next batch.
    :ivar commands: other commands for the next batch.
    :ivar on_due: called when a batch has scheduled jobs that are due now.
    :ivar rejected: commands that are sent again later.
    """

    def __init__(self, wakeup: Callable[[], None], on_possible_loss: Callable[[], None], most_rejected: int) -> None:
        self.acks: defaultdict[Queue, list[bytes]] = defaultdict(list)
        self.ends: defaultdict[Queue, list[JobEnd]] = defaultdict(list)
        self.members: defaultdict[Queue, list[MemberAck]] = defaultdict(list)
        self.commands: list[Command] = []
        self.rejected = RejectedCommands(self.add, most_rejected)
        self.on_due: Callable[[], None] = lambda: None
        self._wakeup = wakeup
        self._on_possible_loss = on_possible_loss
        self._on_reply: dict[Command, OnReply] = {}
        # The ends of holders among the commands for the next batch, by queue.
        self._holders: dict[Queue, EndHolders] = {}
        self._in_flight: set[CommandBatch] = set()

    def __bool__(self) -> bool:
        """Whether there is anything that Redis has not confirmed."""
        return bool(self.acks or self.ends or self.members or self.commands or self._in_flight or self.rejected)

    def add(self, command: Command, on_reply: OnReply | None = None) -> None:
        """Have a command sent with the next batch.

        :param on_reply: called once with Redis's reply, which is not an error.
        """
        self.commands.append(command)
        if on_reply is not None:
            self._on_reply[command] = on_reply
        self._wakeup()

    def end_holder(self, queue: Queue, payload: bytes, hold: Hold) -> None:
        """Have a job that holds a key, and has no record, removed by one command with the others of its queue."""
        if (command := self._holders.get(queue)) is None:
            command = self._holders[queue] = EndHolders(queue, [], [])
            self.add(command)
        command.payloads.append(payload)
        command.holds.append(hold)

    @property
    def acked(self) -> Collection[Queue]:
        """The queues of the jobs that the next batch acknowledges."""
        return {**self.acks, **self.ends, **self.members} if self.ends or self.members else self.acks

    @property
    def unsent(self) -> bool:
        """Whether there is anything for the next batch."""
        return bool(self.acks or self.ends or self.commands or self.members)

    def take(self, fetch: Fetch | None = None, poll: QueuePoll | None = None) -> CommandBatch:
        """Return a batch with everything that is to be sent now."""
        members = self.members or _NO_MEMBERS
        batch = CommandBatch(self.acks, self.ends or _NO_ENDS, members, self.commands, fetch, poll=poll)
        self.acks, self.commands = defaultdict(list), []
        if batch.ends:
            self.ends = defaultdict(list)
        if batch.members:
            self.members = defaultdict(list)
        if self._holders:
            self._holders = {}
        self._in_flight.add(batch)
        return batch

    def on_lost(self, batch: CommandBatch) -> None:
        """Have everything in a batch sent again, because there was no reply."""
        self._in_flight.discard(batch)
        for queue, payloads in batch.acks.items():
            self.acks[queue] += payloads
        for queue, ends in batch.ends.items():
            self.ends[queue] += ends
        for queue, members in batch.members.items():
            self.members[queue] += members
        self.commands += batch.commands

    def on_replies(self, batch: CommandBatch, replies: Sequence[Any]) -> ErrorReply | None:
        """Take note of the replies to the acks, ends and commands of a batch.

        :returns: an error reply, if there was one; what it was for is sent again.
        """
        self._in_flight.discard(batch)
        error: ErrorReply | None = None
        at = 0
        for queue, payloads in batch.acks.items():
            if isinstance(reply := replies[at], ErrorReply):
                self.acks[queue] += payloads
                error = self._checked(reply)
            at += 1
        if batch.ends or batch.members:
            for queue, ends in batch.ends.items():
                if isinstance(reply := replies[at], ErrorReply):
                    self.ends[queue] += ends
                    error = self._checked(reply)
                at += 1
            for queue, members in batch.members.items():
                if isinstance(reply := replies[at], ErrorReply):
                    self.members[queue] += members
                    error = self._checked(reply)
                elif reply:
                    self.on_due()
                at += 1
        for command in batch.commands:
            reply = replies[at]
            at += 1
            if not isinstance(reply, ErrorReply):
                self._on_confirmed(command, reply)
            elif is_wrong_type(reply):
                self.rejected.add(command, reply)
                self._on_possible_loss()
            else:
                self.commands.append(command)
                error = reply
        return error

    def _checked(self, error: ErrorReply) -> ErrorReply:
        """Return an error. If it says that a key is of another type, jobs may be lost."""
        if is_wrong_type(error):
            self._on_possible_loss()
        return error

    def _on_confirmed(self, command: Command, reply: Any) -> None:
        if self.rejected:
            self.rejected.discard(command)
        if (on_reply := self._on_reply.pop(command, None)) is not None:
            on_reply(reply)
        if type(command) is EndMember and reply[1]:
            self.on_due()

    def unacknowledged(self) -> int:
        """Return the number of results that still are to be sent."""
        return _size(self.acks, self.ends, self.members, self.commands) + len(self.rejected.delayed)

    def unconfirmed(self) -> int:
        """Return the number of results that Redis has not confirmed. May be called from any thread."""
        in_flight = sum(_size(batch.acks, batch.ends, batch.members, batch.commands) for batch in list(self._in_flight))
        return in_flight + self.unacknowledged()

    def jobs(self) -> Iterator[tuple[Queue, bytes]]:
        """Yield the jobs whose results Redis may not have, as queue and payload."""
        in_flight = [(batch.acks, (batch.ends, batch.members), batch.commands) for batch in self._in_flight]
        here = (self.acks, (self.ends, self.members), self.commands)
        for acks, ended, commands in [*in_flight, here, ({}, (), self.rejected.delayed)]:
            for queue, payloads in acks.items():
                yield from ((queue, payload) for payload in payloads)
            for by_queue in ended:
                for queue, some in by_queue.items():
                    yield from ((queue, each.payload) for each in some)
            for command in commands:
                yield from ((command.queue, payload) for payload in command.payloads)

    def payloads(self) -> Counter[bytes]:
        """Return how often each payload is among :meth:`jobs`."""
        return Counter(payload for _, payload in self.jobs())


def _size(
    acks: Mapping[Queue, Sequence[bytes]],
    ends: Mapping[Queue, Sequence[JobEnd]],
    members: Mapping[Queue, Sequence[MemberAck]],
    commands: Sequence[Command],
) -> int:
    # Lists of the values, which the event loop cannot change while another thread adds them.
    jobs = sum(sum(map(len, list(each.values()))) for each in (acks, ends, members))
    # Others, such as the announcement of a pool that looks ahead, are about no job.
    return jobs + sum(1 for command in list(commands) if command.payloads)


class RejectedCommands:
    """Commands that Redis rejects because a key is of a wrong type; sent again later, so that others need not wait.

    :param send: called with a command when it is time to send it again.
    :param most: the number of rejected commands from which a queue counts as crowded.
    :ivar most: see above; it may be changed.
    :ivar crowded: queues from which no more jobs should be taken.
    """

    def __init__(self, send: Callable[[Command], None], most: int) -> None:
        self.crowded: set[Queue] = set()
        self._send = send
        self.most = most
        self._by_queue: dict[Queue, set[Command]] = {}
        self._outages: dict[Queue, Outage] = {}
        self._timers: dict[Command, asyncio.TimerHandle] = {}

    def __bool__(self) -> bool:
        return bool(self._by_queue)

    @property
    def delayed(self) -> Sequence[Command]:
        """The commands that wait to be sent again."""
        return list(self._timers)

    def add(self, command: Command, error: ErrorReply) -> None:
        """Have a command sent again later. Only the first in a row is logged for its queue."""
        queue = command.queue
        commands = self._by_queue.setdefault(queue, set())
        commands.add(command)
        if len(commands) >= self.most:
            self.crowded.add(queue)
        outage = self._outages.setdefault(queue, Outage(f"queue {queue.name}"))
        delay = outage.failed(error)
        self._timers[command] = asyncio.get_running_loop().call_later(delay, self._send_again, command)

    def _send_again(self, command: Command) -> None:
        del self._timers[command]
        self._send(command)

    def discard(self, command: Command) -> None:
        """Take note that Redis has accepted a command, which it may have rejected before."""
        queue = command.queue
        commands = self._by_queue.get(queue, set())
        commands.discard(command)
        if len(commands) < self.most:
            self.crowded.discard(queue)
        if not commands and self._by_queue.pop(queue, None) is not None:
            self._outages.pop(queue).over()

    def send_all(self) -> None:
        """Send all commands again now."""
        for command, timer in list(self._timers.items()):
            timer.cancel()
            self._send_again(command)
