"""Rules for batches. Pure functions, which read nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice

from .._jobs.printable import plural, printable
from ..models.batches import BatchStatus
from ..models.diagnosis import LostMembers, Problem
from .batch_reader import BatchReading
from .wording import REPAIR, listed

# Seconds without a new member after which the creator of a batch, if it still may add some, is considered dead.
ABANDONED_AFTER = 3600


@dataclass(frozen=True, slots=True)
class BatchFindings:
    """The problems of batches.

    :ivar abandoned: by id, those that have been open for too long.
    :ivar lost: by id, the members that have not ended and are nowhere.
    :ivar overdue: by id, the callbacks that should have been scheduled.
    """

    abandoned: Mapping[str, BatchStatus] = field(default_factory=dict)
    lost: Mapping[str, LostMembers] = field(default_factory=dict)
    overdue: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.abandoned or self.lost or self.overdue)

    def still(self, later: BatchFindings) -> BatchFindings:
        """Return what is the same in another reading."""
        return BatchFindings(
            {each: status for each, status in later.abandoned.items() if each in self.abandoned},
            {each: lost for each, lost in later.lost.items() if self.lost.get(each) == lost},
            {each: callbacks for each, callbacks in later.overdue.items() if self.overdue.get(each) == callbacks},
        )


def is_abandoned(batch: BatchStatus, now: float) -> bool:
    """Return whether no member was added to an open batch for so long that its creator is considered dead."""
    return batch.open and batch.added_at < now - ABANDONED_AFTER


def batch_findings(batches: Sequence[BatchReading], members: Mapping[str, Set[int]], now: float) -> BatchFindings:
    """Return what is wrong with batches.

    :param members: by batch, the numbers of its members that exist.
    :param now: epoch seconds.
    """
    there: dict[str, set[int]] = {each.status.id: set(members.get(each.status.id, ())) for each in batches}
    for each in batches:
        if each.parent is not None and not each.status.ended:
            there.setdefault(each.parent.batch_id, set()).add(each.parent.number)
    lost: dict[str, LostMembers] = {}
    for each in batches:
        status = each.status
        existing = {number for number in there[status.id] if not each.has_ended(number)}
        missing = status.left - len(existing)
        if missing > 0:
            # Some numbers may never have been used. Which of them are counted makes no difference.
            numbers = tuple(islice((number for number in each.unended() if number not in existing), missing))
            lost[status.id] = LostMembers(status.total, status.left, numbers)
    return BatchFindings(
        {each.status.id: each.status for each in batches if is_abandoned(each.status, now)},
        lost,
        {each.status.id: each.overdue for each in batches if each.overdue},
    )


def batch_problems(found: BatchFindings) -> Iterator[Problem]:
    """Yield the problems of batches."""
    for batch_id, status in found.abandoned.items():
        name = f" ({printable(status.name)})" if status.name else ""
        yield Problem(
            "abandoned_batch",
            batch_id,
            f"batch {batch_id}{name} waits for its creator, which has added no member for more than an hour, so that "
            f"it does not end; {plural(status.total, 'member')} so far",
            "if the creator has died, let the doctor close it, so that it ends with the members that it has",
            REPAIR,
        )
    for batch_id, lost in found.lost.items():
        count = len(lost.numbers)
        yield Problem(
            "lost_members",
            batch_id,
            f"batch {batch_id} waits for {plural(count, 'member')} that {'is' if count == 1 else 'are'} nowhere, so "
            "that it does not end",
            "a pool of gocraft/work may have run them, which counts no members; let the doctor count them as failed",
            REPAIR,
        )
    if count := len(found.overdue):
        yield Problem(
            "overdue_callbacks",
            "",
            f"callbacks of {count} {'batch' if count == 1 else 'batches'} should have been scheduled "
            f"({listed(found.overdue)})",
            "let the doctor schedule them; the key of the scheduled jobs may have held another type",
            REPAIR,
        )
