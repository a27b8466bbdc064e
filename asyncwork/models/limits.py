"""Shared limits, as the client returns them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitInfo:
    """A limit that job types and other code share.

    :ivar name: its name.
    :ivar rate: ``COUNT/SECONDS/BURST``; empty for no rate.
    :ivar concurrency: how many jobs and slots there may be at once; 0 for any number.
    :ivar is_set: whether both were set at run time. If not, they are those of the code.
    :ivar tokens: how many tokens are left; 0 without a rate.
    :ivar running: how many of its jobs run.
    :ivar slots: how many slots other code has.
    :ivar jobs: the names of its jobs.
    """

    name: str
    rate: str = ""
    concurrency: int = 0
    is_set: bool = False
    tokens: int = 0
    running: int = 0
    slots: int = 0
    jobs: tuple[str, ...] = ()

    @property
    def is_used_up(self) -> bool:
        """Whether no job and no slot may start now."""
        return bool(self.rate and not self.tokens) or 0 < self.concurrency <= self.running + self.slots
