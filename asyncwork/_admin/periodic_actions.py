"""Pauses, runs, adds, edits and removes periodic jobs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import EllipsisType
from typing import Any
from zoneinfo import ZoneInfo

from .._jobs.cron_spec import split_zone
from .._jobs.ids import make_identifier
from .._jobs.names import Named, job_name
from .._jobs.option_checks import check_whole
from .._jobs.periodic_job import PeriodicJob, instance_parts
from .._jobs.printable import printable, shown
from .._json.codec import encode_args
from .._redis.namespace import Namespace
from .._redis.periodic import PeriodicInstances
from .._redis.periodic_changes import PeriodicChange, PeriodicChanges
from ..errors import UsageError
from ..models.periodic import PeriodicRun, PeriodicState
from ..schedule import Schedule
from .arguments import check_arguments
from .periodic_reader import Definition, PeriodicReader

logger = logging.getLogger("asyncwork")

# The number of runs that Redis keeps of each periodic job.
_MOST_RUNS = 100

_UNCHANGED = PeriodicChange()


class PeriodicActions:
    """Changes the periodic jobs of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached, and UsageError when an argument
    is of the wrong type, or there is no periodic job with the key.
    """

    def __init__(self, namespace: Namespace, reader: PeriodicReader) -> None:
        self._reader = reader
        self._instances = PeriodicInstances(namespace)
        self._changes = PeriodicChanges(namespace)

    async def pause(self, key: str, who: str) -> None:
        """Pause a periodic job, and delete its planned instances."""
        await self._change(key, who, lambda _, change: replace(change, paused=True), overdue=True)

    async def unpause(self, key: str, who: str) -> None:
        """Let a paused periodic job fire again."""
        await self._change(key, who, lambda _, change: replace(change, paused=False))

    async def run(self, key: str, who: str) -> str:
        """Enqueue a periodic job now; return the id of the job.

        :raises UsageError: also when its arguments are unknown.
        """
        check_arguments(who=who)
        found = await self._find(key)
        if not found.name:
            raise UsageError(f"periodic job {shown(key)} cannot be run: its key does not begin with the name of a job")
        if found.args is None:
            raise UsageError(f"periodic job {shown(key)} cannot be run: no pool has it, so its arguments are not known")
        job_id = make_identifier()
        await self._instances.run_now(found.key, found.name, job_id, found.args, who)
        by = f" for {printable(who)}" if who else ""
        logger.info("enqueued periodic job %s beside its schedule%s: job %s", printable(key), by, job_id)
        return job_id

    async def add(
        self,
        spec: str,
        name: str | Named,
        arguments: Mapping[str, Any] | None,
        tz: str | ZoneInfo | None,
        who: str,
    ) -> str:
        """Add a periodic job; return the key with which it is shown.

        :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
        :raises UsageError: also when there is one with this name, spec and arguments, or they are not valid.
        """
        check_arguments(who=who)
        job = PeriodicJob(job_name(name), Schedule.parse(spec, tz), _encoded(arguments))
        found = (await self._reader.definitions()).get(job.key)
        if found is not None and (found.code is not None or found.added):
            where = "was added before" if found.added else "is registered by the code of a pool"
            key = await self._reader.shown_key(job.key)
            raise UsageError(f"periodic job {shown(key)} {where}: edit it, or add one with another schedule")
        change = PeriodicChange(False, job.name, job.schedule, job.args, who, int(time.time()))
        before = b"" if found is None else found.raw
        if not await self._changes.write(job.key, before, change.encode(), None, overdue=False):
            key = await self._reader.shown_key(job.key)
            raise UsageError(f"periodic job {shown(key)} was added or changed by another client at the same time")
        return await self._reader.shown_key(job.key)

    async def edit(
        self,
        key: str,
        spec: str | None,
        arguments: Mapping[str, Any] | None,
        tz: str | ZoneInfo | EllipsisType | None,
        who: str,
    ) -> None:
        """Give a periodic job another schedule or other arguments, and keep its key.

        :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
        :raises UsageError: also when the arguments are not valid, or nothing is to be edited.
        """
        if spec is None and arguments is None and isinstance(tz, EllipsisType):
            raise UsageError("nothing is to be edited: give spec, arguments or tz")
        args = None if arguments is None else _encoded(arguments)

        def edit(found: Definition, change: PeriodicChange) -> PeriodicChange:
            if found.code is not None and change.added:
                # The code has got the job since it was added, and holds instead.
                change = replace(change, name="", schedule=None, args=None)
            schedule = change.schedule
            if spec is not None or not isinstance(tz, EllipsisType):
                schedule = _edited(found.spec, spec, tz)
            edited = replace(change, schedule=schedule, args=change.args if args is None else args)
            return edited if found.code is None else _without_same(edited, found.code)

        await self._change(key, who, edit)

    async def reset(self, key: str, who: str) -> None:
        """Let hold again what the code says of a periodic job.

        :raises UsageError: also when the job was added at run time, so that no code says anything of it.
        """

        def reset(found: Definition, change: PeriodicChange) -> PeriodicChange:
            if found.added:
                raise UsageError(f"periodic job {shown(key)} was added at run time, not by code: edit or remove it")
            return replace(change, name="", schedule=None, args=None)

        await self._change(key, who, reset)

    async def remove(self, key: str, who: str) -> None:
        """Remove a periodic job that was added at run time, and delete its planned instances.

        :raises UsageError: also when the code of a registered pool has the job.
        """

        def remove(found: Definition, _: PeriodicChange) -> None:
            if found.code is not None:
                raise UsageError(f"periodic job {shown(key)} is registered by the code of a pool: pause it instead")

        found = await self._change(key, who, remove, overdue=True)
        await self._instances.forget([found.key])

    async def runs(self, key: str, count: int) -> list[PeriodicRun]:
        """Return the last runs of a periodic job, the newest first.

        :raises UsageError: also when ``count`` is not 1 to 100.
        """
        check_whole(count, "count", 1, _MOST_RUNS)
        return await self._reader.runs(await self._find(key), count)

    async def _find(self, key: str) -> Definition:
        if not isinstance(key, str):
            raise UsageError(f"key must be that of a periodic job, a text, not {shown(key)}")
        if (found := await self._reader.find(key)) is None:
            raise UsageError(
                f"there is no periodic job {shown(key)}; the page Periodic, `asyncwork periodic` and "
                "Client.periodic_jobs() list all with their keys"
            )
        return found

    async def _change(
        self,
        key: str,
        who: str,
        changed: Callable[[Definition, PeriodicChange], PeriodicChange | None],
        *,
        overdue: bool = False,
    ) -> Definition:
        """Change a periodic job; return it as it was before.

        :param changed: returns the change to write; ``None`` to remove the job.
        :param overdue: whether instances that are due and not on their queue yet are deleted as well.
        """
        check_arguments(who=who)
        while True:
            found = await self._find(key)
            before = found.change or _UNCHANGED
            change = changed(found, before)
            if change == before and found.readable:
                return found
            after = b"" if change is None or _changes_nothing(change) else _signed(change, who).encode()
            planned = None if found.args is None else instance_parts(found.name, found.key, found.args)
            # Another client may change it at the same time.
            if await self._changes.write(found.key, found.raw, after, planned, overdue=overdue):
                return found


def _changes_nothing(change: PeriodicChange) -> bool:
    return not (change.paused or change.added or change.edited)


def _without_same(change: PeriodicChange, code: PeriodicState) -> PeriodicChange:
    """Return a change without what the code says too."""
    if change.schedule is not None and change.schedule.spec == code.spec:
        change = replace(change, schedule=None)
    same = change.args == code.args or (change.args == b"{}" and code.args == b"null")
    return replace(change, args=None) if same else change


def _signed(change: PeriodicChange, who: str) -> PeriodicChange:
    return replace(change, who=who, at=int(time.time()), malformed=False)


def _edited(current: str, spec: str | None, tz: str | ZoneInfo | EllipsisType | None) -> Schedule:
    """Return the schedule with another spec, or in another time zone."""
    zone, rest = split_zone(current)
    if not isinstance(tz, EllipsisType):
        return Schedule.parse(rest if spec is None else spec, tz)
    # A spec that names a zone replaces the zone in force.
    keeps = isinstance(spec, str) and split_zone(spec.lstrip())[0] is None
    return Schedule.parse(current if spec is None else spec, zone if keeps else None)


def _encoded(arguments: Mapping[str, Any] | None) -> bytes:
    if arguments is not None and not isinstance(arguments, Mapping):
        raise UsageError(f"arguments must be given by name, in a dict, not as {shown(arguments)}")
    return encode_args(arguments)
