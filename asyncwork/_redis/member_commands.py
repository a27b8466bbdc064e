"""The command by which a pool ends a member of a batch, as a frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from .._jobs.membership import Member, MemberState
from .commands import Command, DropCancelled, EndHolder, FinishJob, MoveToQuarantine, MoveToSet
from .step_commands import FinishSteps


@dataclass(frozen=True, slots=True, eq=False)
class EndMember(Command):
    """End a member of a batch by another command, and note that in its batch in the same step.

    Replies ``[ended, due]``: whether that command has ended it, and whether jobs are due now, such as a callback.

    :ivar by: the other command.
    """

    by: MoveToSet | MoveToQuarantine | DropCancelled | EndHolder | FinishJob | FinishSteps
    member: Member
    state: MemberState
