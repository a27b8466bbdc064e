"""The options of one enqueue: the job's time, its uniqueness, its id, and its end of the queue.

``EnqueueOptions`` has more than ten arguments, because each is an option of an enqueue, passed by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import UsageError
from ..limit import MOST_COST
from ..unique import Debounce, Throttle, Unique, check_rules
from .ids import GIVEN_IDS, may_be_given
from .option_checks import check_whole
from .printable import shown
from .tenants import tenant_text
from .times import LATEST, epoch_second, seconds_of

if TYPE_CHECKING:
    from ..options import JobOptions

_GROUP_ID = re.compile("[0-9A-Fa-fw][0-9A-Fa-f]{23}[_-]")


class OptionsDict(TypedDict, total=False):
    """The keyword arguments of :class:`EnqueueOptions`."""

    delay: float | timedelta | None
    at: datetime | float | None
    unique: bool | Mapping[str, Any] | Unique | None
    id: str | None
    front: bool
    timeout: float | timedelta | None
    expires: float | timedelta | datetime | None
    debounce: Debounce | None
    throttle: Throttle | None
    max_waiting: int | None
    partition: str | int | None
    cost: int | None


@dataclass(frozen=True, slots=True, eq=False)
class EnqueueOptions:
    """Options of one job that is enqueued.

    :param delay: how long it waits before it may run: seconds, rounded up to a whole one, or a ``timedelta``.
    :param at: when it may run: an aware ``datetime``, or epoch seconds. A time in the past means now.
    :param unique: enqueue it only if no job with the same name and arguments waits. With a mapping, only if none waits
        with the same name and mapping. With a :class:`Unique`, as that says. ``False`` for any job, and ``None`` for
        what its type says, where the job is enqueued by its task.
    :param id: its id: 1 to 64 ASCII letters, digits, ``_`` and ``-``; ``None`` for a random one. It must not begin with
        24 hex digits and ``_`` or ``-``, which mark the jobs of a group. Give each job an id of its own. Others may
        have the same: ``unique`` keeps a duplicate out, an id does not. But jobs with the same name, arguments and id
        that are enqueued in the same second are equal, and Redis keeps only one of equal jobs among the scheduled,
        retry or dead jobs. If one is scheduled, the next is returned as a duplicate.
    :param front: put it at the front of its queue, so that it runs before those that wait.
    :param timeout: how long an attempt of it may take, in seconds or as a ``timedelta``; 0 for no limit, and ``None``
        for the timeout of its type.
    :param expires: how long from now it may start, seconds or a ``timedelta``, rounded up to a whole second; or until
        when, an aware ``datetime``. Later it is dropped, also when it waits for a retry.
    :param debounce: run it once things are quiet, with the newest arguments; ``None`` for what its type says.
    :param throttle: let it start once in a period; ``None`` for what its type says.
    :param max_waiting: how many jobs may wait in its queue, with it; 0 for any number, and ``None`` for the limit of
        its task. A limit that was set at run time (:meth:`Client.set_max_waiting`) replaces it.
    :param partition: the tenant to which it belongs in a fair queue, text of at most 200 bytes or a number.
    :param cost: how many tokens of each of its limits it takes; ``None`` for what its type says.
    :raises UsageError: when a value is not valid, or two of them exclude each other.
    """

    delay: float | timedelta | None = None
    at: datetime | float | None = None
    unique: bool | Mapping[str, Any] | Unique | None = None
    id: str | None = None
    front: bool = False
    timeout: float | timedelta | None = None
    expires: float | timedelta | datetime | None = None
    debounce: Debounce | None = None
    throttle: Throttle | None = None
    max_waiting: int | None = None
    partition: str | int | None = None
    cost: int | None = None

    def __post_init__(self) -> None:
        if self.delay is not None and self.at is not None:
            raise UsageError("a job has a delay or a time: pass either delay or at")
        if self.delay is not None:
            object.__setattr__(self, "delay", seconds_of(self.delay))
        if self.at is not None:
            object.__setattr__(self, "at", epoch_second(self.at))
        self._check_rule()
        if self.id is not None and not (isinstance(self.id, str) and may_be_given(self.id)):
            raise UsageError(f"id must be {GIVEN_IDS}, not {shown(self.id)}")
        if self.id is not None and _GROUP_ID.match(self.id):
            raise UsageError(
                f"id must not begin with 24 hex digits and {self.id[24]!r}, which marks the jobs of a group: put a "
                f"word before it, such as {f'job-{self.id}'[:64]!r}, not {shown(self.id)}"
            )
        if not isinstance(self.front, bool):
            raise UsageError(f"front must be True or False, not {shown(self.front)}")
        if self.timeout is not None:
            object.__setattr__(self, "timeout", seconds_of(self.timeout, "timeout"))
        if self.front and (self.delay or self.at is not None):
            raise UsageError("only a job that may run at once goes to the front of its queue: pass front, delay or at")

        if self.expires is not None:
            object.__setattr__(self, "expires", _read_expiry(self.expires))
        if self.max_waiting is not None:
            _check_limit(self.max_waiting)
        if self.partition is not None:
            object.__setattr__(self, "partition", tenant_text(self.partition, "partition"))
        if self.cost is not None:
            check_whole(self.cost, "cost", 1, MOST_COST)

    def limited(self, max_waiting: int) -> EnqueueOptions:
        """Return the same options with a limit of how many jobs may wait, unless they have one; 0 for none."""
        return replace(self, max_waiting=max_waiting) if max_waiting and self.max_waiting is None else self

    def of_tenant(self, tenant: str) -> EnqueueOptions:
        """Return the same options for a tenant, which is checked already."""
        options = copy(self)
        object.__setattr__(options, "partition", tenant)
        return options

    def costing(self, cost: int | None) -> EnqueueOptions:
        """Return the same options with a cost, which is checked already, unless they have one or it is ``None``."""
        if cost is None or self.cost is not None:
            return self
        options = copy(self)
        object.__setattr__(options, "cost", cost)
        return options

    def _check_rule(self) -> None:
        if not isinstance(self.unique, (bool, Mapping, Unique, type(None))):
            raise UsageError(
                f"unique must be True, a Unique(…), or a mapping to be unique by, not {type(self.unique).__name__}: "
                f"{shown(self.unique)}"
            )
        check_rules(self.unique, self.debounce, self.throttle)
        rule = self.debounce or self.throttle
        if rule is not None and (self.delay is not None or self.at is not None):
            what = type(rule).__name__
            raise UsageError(f"{what}(…) says when the job starts: pass it without delay and at")
        if self.debounce is not None and self.front:
            raise UsageError("a debounced job starts later: pass it without front")

    @property
    def rule(self) -> Unique | Debounce | Throttle | None:
        """The rule that keeps the job from being enqueued too often; ``None`` if there is none, or for a mapping to be
        unique by."""
        if isinstance(self.unique, Unique):
            return self.unique
        return Unique() if self.unique is True else self.debounce or self.throttle

    def of_type(self, options: JobOptions) -> EnqueueOptions:
        """Return these options with what the job's type says, if they do not say it.

        :raises UsageError: when the two exclude each other.
        """
        if options.rule is None or self.unique is not None or self.rule is not None:
            return self
        return replace(self, unique=options.unique or None, debounce=options.debounce, throttle=options.throttle)

    def run_at(self, now: int) -> int | None:
        """Return when the job may run, epoch seconds; ``None`` for now.

        :param now: epoch seconds.
        :raises UsageError: when that is after the start of the year 3000.
        """
        if self.at is not None:
            assert isinstance(self.at, int)
            return self.at if self.at > now else None
        if not self.delay:
            return None
        assert not isinstance(self.delay, timedelta)
        run_at = now + math.ceil(self.delay)
        if run_at > LATEST:
            raise UsageError(
                f"the delay must be in seconds and end before the year 3000: {shown(self.delay)} are too many"
            )
        return run_at

    def expires_at(self, now: int) -> int | None:
        """Return until when the job may start, epoch seconds; ``None`` for any time.

        :param now: epoch seconds, rounded down.
        :raises UsageError: when the job is due only after that, or it is after the start of the year 3000.
        """
        if self.expires is None:
            return None
        if isinstance(self.expires, datetime):
            at = epoch_second(self.expires)
        else:
            assert not isinstance(self.expires, timedelta)
            at = now + 1 + math.ceil(self.expires)
            if at > LATEST:
                raise UsageError(
                    f"expires must be in seconds and end before the year 3000: {shown(self.expires)} are too many"
                )
        if (run_at := self.run_at(now)) is not None and run_at >= at:
            raise UsageError(
                f"the job would expire before it is due: expires counts from now, so it must be more than the "
                f"{run_at - now} s until then"
            )
        return at


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise UsageError(f"max_waiting must be a whole number of 0 or more, not {shown(limit)}")


def _read_expiry(expires: float | timedelta | datetime) -> float | datetime:
    if isinstance(expires, datetime):
        epoch_second(expires)
        return expires
    if (seconds := seconds_of(expires, "expires")) == 0:
        raise UsageError("expires must be more than 0 seconds, or the job would never start")
    return seconds


AT_ONCE = EnqueueOptions()
