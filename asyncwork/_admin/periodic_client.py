"""Shows periodic jobs, and changes them at run time, for the client."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any
from zoneinfo import ZoneInfo

from .._jobs.names import Named
from ..models.periodic import PeriodicRun, PeriodicState
from .job_client import JobClient
from .periodic_actions import PeriodicActions
from .periodic_reader import PeriodicReader
from .redaction import Redact


class PeriodicClient(JobClient):
    """Shows periodic jobs, and changes them at run time."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace, redact)
        self._periodic_reader = PeriodicReader(self._in_redis, self._readers)
        self._periodic_actions = PeriodicActions(self._in_redis, self._periodic_reader)

    async def periodic_jobs(self) -> list[PeriodicState]:
        """Return the periodic jobs of running pools, those that were changed at run time, and those that once fired,
        sorted by name.

        If a schedule names no time zone, and was edited or added or fires at this moment, its next firing is by the
        clock of this host.
        """
        with self._redis_errors():
            return await self._periodic_reader.jobs()

    async def periodic_runs(self, key: str, count: int = 50) -> list[PeriodicRun]:
        """Return the last runs of a periodic job, the newest first, also those that :meth:`run_periodic` has enqueued.

        :param key: as in :meth:`periodic_jobs`.
        :param count: how many, 1 to 100, which is what Redis keeps.
        :raises UsageError: when there is no such periodic job, or ``count`` is not valid.
        """
        with self._redis_errors():
            return await self._periodic_actions.runs(key, count)

    async def pause_periodic(self, key: str, *, who: str = "") -> None:
        """Pause a periodic job: it fires no more until it is unpaused, in whichever pool.

        That holds at once, and is kept in Redis. Instances that are on their queue or run already go on. A pool of
        gocraft/work that registers the job takes no notice. Pausing a paused job changes nothing.

        :param key: as in :meth:`periodic_jobs`.
        :param who: the user who does so; shown in :attr:`PeriodicState.changed_by`, and logged by the pools.
        :raises UsageError: when there is no such periodic job.
        """
        with self._redis_errors():
            await self._periodic_actions.pause(key, who)

    async def unpause_periodic(self, key: str, *, who: str = "") -> None:
        """Let a paused periodic job fire again, within about 2 s. The instances that it has missed do not run.

        Parameters and errors as for :meth:`pause_periodic`.
        """
        with self._redis_errors():
            await self._periodic_actions.unpause(key, who)

    async def run_periodic(self, key: str, *, who: str = "") -> str:
        """Enqueue a periodic job now, beside its schedule and also while it is paused; return the id of the new job.

        Parameters as for :meth:`pause_periodic`; ``who`` is shown in :meth:`periodic_runs`.

        :raises UsageError: when there is no such periodic job; or it has arguments that are unknown, because no pool
            is registered that has it.
        """
        with self._redis_errors():
            return await self._periodic_actions.run(key, who)

    async def add_periodic(
        self,
        spec: str,
        name: str | Named,
        arguments: Mapping[str, Any] | None = None,
        *,
        tz: str | ZoneInfo | None = None,
        who: str = "",
    ) -> str:
        """Add a periodic job; return its key. It is kept in Redis until :meth:`remove_periodic`.

        The pools that have a handler for its name plan it, within about 2 s. While there is none, it does not fire,
        and :attr:`PeriodicState.served` is false. Pools of gocraft/work run its jobs, but do not plan it.

        :param spec: six fields with seconds first (``0 */5 * * * *``), or five; ``@hourly`` and the like.
        :param name: the name of its jobs, or their task, whose types the arguments are not checked against.
        :param arguments: the arguments by name, of types that JSON can hold.
        :param tz: the time zone of the schedule or its name, such as ``Europe/Berlin``; ``None`` for the pools' hosts'.
        :param who: as for :meth:`pause_periodic`.
        :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
        :raises UsageError: when there is a periodic job with this name, spec and arguments; or the name is not valid.
        :raises ArgumentEncodingError: when JSON cannot hold the arguments.
        """
        with self._redis_errors():
            return await self._periodic_actions.add(spec, name, arguments, tz, who)

    async def edit_periodic(
        self,
        key: str,
        *,
        spec: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        tz: str | ZoneInfo | EllipsisType | None = ...,
        who: str = "",
    ) -> None:
        """Give a periodic job another schedule or other arguments, within about 2 s; its key stays.

        Instances that were planned by the old schedule are deleted at once. If the job is one of the code's, the edit
        holds until :meth:`reset_periodic`, also when the pools are started again.

        :param key: as in :meth:`periodic_jobs`.
        :param spec: the new schedule; ``None`` keeps the one in force.
        :param arguments: the new arguments by name; ``None`` keeps those in force, ``{}`` removes them.
        :param tz: the time zone of the schedule or its name; ``None`` for the pools' hosts'. Leave it out to keep the
            zone in force, unless ``spec`` names one.
        :param who: as for :meth:`pause_periodic`.
        :raises ScheduleError: when the spec is malformed or can never fire, or the zone is unknown or given twice.
        :raises UsageError: when there is no such periodic job, or nothing is to be edited.
        :raises ArgumentEncodingError: when JSON cannot hold the arguments.
        """
        with self._redis_errors():
            await self._periodic_actions.edit(key, spec, arguments, tz, who)

    async def reset_periodic(self, key: str, *, who: str = "") -> None:
        """Return to the schedule and the arguments of the code. A pause stays.

        Parameters as for :meth:`pause_periodic`.

        :raises UsageError: when there is no such periodic job, or it was added at run time.
        """
        with self._redis_errors():
            await self._periodic_actions.reset(key, who)

    async def remove_periodic(self, key: str, *, who: str = "") -> None:
        """Remove a periodic job that was added at run time, with its planned instances and its runs.

        One that the code once registered, and no pool has any more, is forgotten with what was changed in it.
        Parameters as for :meth:`pause_periodic`.

        :raises UsageError: when there is no such periodic job, or the code of a registered pool has it. Pause it then.
        """
        with self._redis_errors():
            await self._periodic_actions.remove(key, who)
