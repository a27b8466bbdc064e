"""The jobs that hold keys until they have ended, and so keep others out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UniqueHolder:
    """A job that holds a key until it has ended, so that others of its name with the same key are kept out.

    :ivar name: its name.
    :ivar job_id: its id.
    :ivar since: since when it holds the key, epoch seconds.
    :ivar until: until when: ``done`` or ``success``. Until ``success``, a dead job holds it, too.
    :ivar next_id: the id of the job that starts when it has ended; empty if there is none.
    """

    name: str
    job_id: str
    since: int
    until: str
    next_id: str = ""
