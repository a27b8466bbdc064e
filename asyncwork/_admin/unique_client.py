"""Shows which jobs hold keys until they have ended, and frees keys, for the client."""

from __future__ import annotations

from .._jobs.names import Named, name_of
from .._jobs.option_checks import check_whole
from .._jobs.printable import shown
from .._redis.holds import Holds
from .._redis.protocol import encode
from ..errors import UsageError
from ..models.unique_holder import UniqueHolder
from .arguments import check_arguments
from .queue_client import QueueClient
from .redaction import Redact

# How many keys are read at most, and how long they are searched for, seconds.
_MOST = 10_000
_SECONDS = 2.0
# How long the key of one job is searched for, seconds.
_SECONDS_FOR_ONE = 20.0


class UniqueClient(QueueClient):
    """Shows and frees the keys that jobs hold."""

    def __init__(self, url: str | None, namespace: str | None, redact: Redact | None) -> None:
        super().__init__(url, namespace, redact)
        self._holds = Holds(self._in_redis)

    async def unique_holders(self, name: str | Named | None = None, *, limit: int = 100) -> list[UniqueHolder]:
        """Return the jobs that hold keys until they have ended, those first that have held them longest.

        The keys are searched for in steps, for two seconds at most, so there may be others if Redis is large.

        :param name: only jobs of this name or task.
        :param limit: how many to return, up to 10,000.
        :raises UsageError: when the name or the limit is not valid.
        """
        check_whole(limit, "limit", 1, _MOST)
        text = "" if name is None else name_of(name)
        with self._redis_errors():
            found, _ = await self._holds.search(text, _MOST, _SECONDS)
        return sorted(found.values(), key=lambda each: (each.since, each.name, each.job_id))[:limit]

    async def free_unique(self, name: str | Named, job_id: str) -> bool:
        """Free the key that a job holds, so that others with the same key are not kept out; return whether it held one.

        The job itself stays where it is: if it runs, another one may run beside it. If a successor waits for its end,
        that starts now. To take the job away as well, delete or :meth:`cancel` it.

        :raises UsageError: when the name or the id is not text, or no job can have that id.
        """
        check_arguments(job_id=job_id)
        text = name_of(name)
        try:
            encode(job_id)
        except UnicodeEncodeError:
            raise UsageError(f"no job has an id that UTF-8 cannot hold: {shown(job_id)}") from None
        with self._redis_errors():
            held = await self._holds.of_job(text, job_id, _SECONDS_FOR_ONE)
            return bool(held and await self._holds.free(held))
