"""Records the ends of members of batches, with what their batches are to note of them."""

from __future__ import annotations

from .._jobs.location import JobSet
from .._jobs.membership import Member, MemberState, member_in
from .._redis.commands import (
    Command,
    DropCancelled,
    EndHolder,
    FinishJob,
    MemberAck,
    MoveToQuarantine,
    MoveToSet,
)
from .._redis.job_end import JobEnd
from .._redis.member_commands import EndMember
from .._redis.queue import Queue
from .._redis.step_commands import FinishSteps
from .dispatcher import Dispatcher


def record_member(
    dispatcher: Dispatcher,
    queue: Queue,
    payload: bytes,
    member: Member,
    command: Command | None,
    end: JobEnd | None,
    state: MemberState,
) -> None:
    """Have the outcome of an attempt of a member recorded.

    :param command: what records it; ``None`` if the job is acknowledged.
    :param end: for the record of an acknowledged job, if it has one.
    :param state: how the job has ended, if the command does not say so.
    """
    if command is not None:
        dispatcher.finish(noted_in_batch(command, state))
    elif end is not None:
        dispatcher.finish(EndMember(queue, [payload], FinishJob(queue, [payload], end), member, state))
    else:
        dispatcher.ack_member(queue, MemberAck(payload, member, state))


def noted_in_batch(command: Command, state: MemberState = MemberState.FAILED) -> Command:
    """Return a command that ends a job as one that also notes that in the job's batch, if it is a member of one.

    :param state: how the job has ended, if the command does not say so.
    """
    match command:
        case EndHolder() | FinishSteps():
            pass
        case MoveToSet(job_set=JobSet.DEAD) | MoveToQuarantine():
            state = MemberState.FAILED
        case DropCancelled():
            state = MemberState.CANCELLED
        case _:
            return command
    member = member_in(command.payloads[0])
    return command if member is None else EndMember(command.queue, command.payloads, command, member, state)
