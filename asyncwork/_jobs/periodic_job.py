"""A periodic job: what a schedule enqueues, and the instances that are planned of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from .._json import codec
from ..schedule import Schedule
from .payload import write_payload
from .periodic_key import periodic_key

_INSTANCE_ID = re.compile(r"periodic:(.+):([0-9]{1,12})", re.DOTALL)


class InstanceParts(NamedTuple):
    """The payload of every instance of a periodic job, cut where its epoch second stands."""

    head: bytes
    middle: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """A job that is enqueued by a schedule.

    :ivar args: its arguments as JSON; ``null`` for none, as gocraft/work's periodic jobs have.
    :ivar kept_key: the key that it had before it was edited at run time; empty if it was not.
    """

    name: str
    schedule: Schedule
    args: bytes = b"null"
    kept_key: str = ""

    @property
    def key(self) -> str:
        """The name and the schedule, with a digest of the arguments if there are any; unique within the namespace."""
        return self.kept_key or periodic_key(self.name, self.schedule.spec, self.args)

    def instance(self, at: int) -> bytes:
        """Return the payload of the instance at an epoch second, the same bytes in every pool and in Go."""
        return write_payload(self.name, f"periodic:{self.key}:{at}", at, self.args)

    def edited(self, schedule: Schedule | None, args: bytes | None) -> PeriodicJob:
        """Return it with another schedule or other arguments, and with the same key; ``None`` keeps what it has."""
        kept = self.args if args is None else args
        return replace(self, schedule=schedule or self.schedule, args=kept, kept_key=self.key)


def instance_parts(name: str, key: str, args: bytes) -> InstanceParts:
    """Return the payload of the instances of a periodic job, in parts.

    :param args: its arguments as JSON; ``null`` for none.
    """
    head = b'{"name":%b,"id":%b' % (codec.encode_string(name), codec.encode_string(f"periodic:{key}:")[:-1])
    return InstanceParts(head, b'","t":', b',"args":%b}' % args)


def firing_of(job_id: str) -> tuple[str, int] | None:
    """Return the key and the epoch second from the id of a periodic job's instance; ``None`` for other ids."""
    match = _INSTANCE_ID.fullmatch(job_id)
    return None if match is None else (match[1], int(match[2]))
