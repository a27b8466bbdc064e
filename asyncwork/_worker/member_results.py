"""How the ends of members of batches are recorded: with what their batches are to note of them."""

from __future__ import annotations

from .._jobs.location import JobSet
from .._jobs.membership import MemberState, member_in
from .._redis.commands import Command, DropCancelled, EndMember, FinishJob, MemberAck, MoveToQuarantine, MoveToSet
from .._redis.job_end import JobEnd
from .._redis.keys import Queue
from .dispatcher import Dispatcher


def record_end(
    dispatcher: Dispatcher, queue: Queue, payload: bytes, end: JobEnd | None, state: MemberState = MemberState.DONE
) -> None:
    """Have a job that has ended removed, its record written if it has one, and its end noted in its batch if it is a
    member of one.

    :param end: for its record; ``None`` if it has none.
    """
    member = member_in(payload)
    if member is None:
        if end is None:
            dispatcher.ack(queue, payload)
        else:
            dispatcher.end(queue, end)
    elif end is None:
        dispatcher.ack_member(queue, MemberAck(payload, member, state))
    else:
        dispatcher.finish(EndMember(queue, [payload], FinishJob(queue, [payload], end), member, state))


def noted_in_batch(command: Command) -> Command:
    """Return a command that ends a job as one that also notes that in the job's batch, if it is a member of one."""
    match command:
        case MoveToSet(job_set=JobSet.DEAD) | MoveToQuarantine():
            state = MemberState.FAILED
        case DropCancelled():
            state = MemberState.CANCELLED
        case _:
            return command
    member = member_in(command.payloads[0])
    return command if member is None else EndMember(command.queue, command.payloads, command, member, state)
