"""The periodic jobs of a namespace: what the code of the pools says of each, and how it was changed at run time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .._jobs.cron_spec import split_zone
from .._jobs.names import is_utf8
from .._jobs.periodic_key import has_digest, split_periodic_key
from .._redis.errors import ErrorReply, is_wrong_type
from .._redis.job_record import status_of
from .._redis.namespace import Namespace
from .._redis.periodic import PeriodicInstances
from .._redis.periodic_changes import ChangesReading, PeriodicChange, PeriodicChanges
from .._redis.pool_registry import PoolRegistry
from .._redis.running_jobs import RunningJobs
from ..errors import ScheduleError
from ..models.job_status import JobState
from ..models.periodic import PeriodicRun, PeriodicState
from ..models.pools import Heartbeat
from ..schedule import Schedule
from .job_records import JobReaders


@dataclass(frozen=True, slots=True)
class Definition:
    """A periodic job.

    :ivar code: what the code of a registered pool says of it; ``None`` if no pool has it.
    :ivar change: how it was changed at run time; ``None`` if it was not.
    :ivar raw: the change as it is in Redis; empty for none.
    :ivar last: when it last fired, epoch seconds; ``None`` when no firing is recorded.
    :ivar served: whether a registered pool has a handler for its jobs.
    """

    key: str
    name: str
    code: PeriodicState | None
    change: PeriodicChange | None
    raw: bytes
    last: int | None
    served: bool

    @property
    def spec(self) -> str:
        """The schedule in force."""
        override = self._override
        return self.code_spec if override is None or override.schedule is None else override.schedule.spec

    @property
    def code_spec(self) -> str:
        """The schedule that the code says, or that an added job had at first."""
        return split_periodic_key(self.key)[1] if self.code is None else self.code.spec

    @property
    def args(self) -> bytes | None:
        """The arguments in force, as JSON; ``None`` if they are unknown."""
        if (override := self._override) is not None and override.args is not None:
            return override.args
        return b"null" if self.added else self.code_args

    @property
    def code_args(self) -> bytes | None:
        """The arguments that the code says, as JSON; ``None`` if they are unknown."""
        if self.code is not None:
            return self.code.args
        return None if has_digest(self.key) else b"null"

    @property
    def _override(self) -> PeriodicChange | None:
        """The change that says another schedule or other arguments than the code."""
        return self.change if self.change is not None and (self.change.edited or self.added) else None

    @property
    def readable(self) -> bool:
        """Whether it was not changed, or the change can be read."""
        return not self.raw or (self.change is not None and not self.change.malformed)

    @property
    def added(self) -> bool:
        """Whether it was added at run time, and no pool has it by its code."""
        return self.code is None and self.change is not None and self.change.added

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self.change is not None and self.change.paused

    def state(self, now: float) -> PeriodicState:
        """Return it as the client shows it; ``now`` is Redis's clock, epoch seconds."""
        change = self.change or PeriodicChange()
        zone, _ = split_zone(self.spec)
        return PeriodicState(
            self.name,
            self.spec,
            self.key,
            self.args or b"null",
            self._next(now),
            self.last,
            paused=change.paused,
            added=self.added,
            edited=change.edited,
            code_spec=self.code_spec if change.edited else "",
            code_args=self.code_args if change.edited else None,
            tz=zone or "",
            changed_by=change.who,
            changed_at=None if self.change is None else change.at,
            served=self.served,
        )

    def _next(self, now: float) -> int | None:
        if self.paused or (self.added and not self.served) or (self.code is None and not self.added):
            return None
        if self.code is not None and self.code.spec == self.spec:
            upcoming = self.code.next
            # It may have fired since the pool wrote its heartbeat.
            if upcoming is None or upcoming > now:
                return upcoming
        try:
            return Schedule.parse(self.spec).next(now)
        except ScheduleError:
            return None


class PeriodicReader:
    """Reads the periodic jobs of a namespace.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(self, namespace: Namespace, readers: JobReaders) -> None:
        self._redis = namespace.redis
        self._keys = namespace.keys
        self._readers = readers
        self._registry = PoolRegistry(namespace)
        self._instances = PeriodicInstances(namespace)
        self._changes = PeriodicChanges(namespace)
        self._running = RunningJobs(namespace)

    async def jobs(self) -> list[PeriodicState]:
        """Return the periodic jobs of running pools, those that were changed and those that once fired, redacted and
        sorted by name.
        """
        shown = await self._shown((await self.definitions()).values())
        return sorted((state for _, state in shown), key=lambda each: (each.name, each.spec))

    async def definitions(self) -> dict[str, Definition]:
        """Return all periodic jobs by key."""
        fired, changes = await self._instances.last_fired(), await self._changes.read()
        return _definitions(await self._registry.heartbeats(), changes, fired)

    async def find(self, shown_key: str) -> Definition | None:
        """Return the periodic job that is shown with a key; ``None`` if there is none."""
        for definition, state in await self._shown((await self.definitions()).values()):
            if state.key == shown_key:
                return definition
        return None

    async def shown_key(self, key: str) -> str:
        """Return the key with which a periodic job is shown."""
        definition = (await self.definitions()).get(key)
        return key if definition is None else (await self._shown([definition]))[0][1].key

    async def _shown(self, definitions: Iterable[Definition]) -> list[tuple[Definition, PeriodicState]]:
        now, redaction = await self._redis.now(), self._readers.redaction
        states = [(each, each.state(now)) for each in definitions]
        if not redaction:
            return states
        digest_key = await self._readers.digest_key.read()
        return [(each, redaction.apply_to_periodic(state, digest_key)) for each, state in states]

    async def runs(self, definition: Definition, count: int) -> list[PeriodicRun]:
        """Return the last runs of a periodic job, the newest first, redacted."""
        runs = await self._instances.runs(definition.key, count)
        states = await self._states([each.job_id for each in runs])
        digest_key = await self._readers.digest_key.read() if self._readers.redaction else b""
        ((_, shown),) = await self._shown([definition])
        # The id of an instance holds the key, and so the digest of the arguments.
        is_hidden = shown.key != definition.key
        return [
            PeriodicRun(
                each.at,
                self._readers.redaction.keyed(each.job_id, digest_key) if is_hidden else each.job_id,
                manual=each.who is not None,
                who=each.who or "",
                state=states.get(each.job_id),
            )
            for each in runs
        ]

    async def _states(self, job_ids: Sequence[str]) -> Mapping[str, JobState]:
        """Return how jobs have ended, as far as their records say, and which of them run."""
        if not job_ids:
            return {}
        async with self._redis.client().pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(self._keys.job_record(job_id), "state")
            replies = await pipe.execute(raise_on_error=False)
        found: dict[str, JobState] = {}
        for job_id, reply in zip(job_ids, replies, strict=True):
            if isinstance(reply, ErrorReply) and is_wrong_type(reply):
                continue
            if isinstance(reply, Exception):
                raise reply
            if reply is not None:
                found[job_id] = status_of(job_id, {b"state": reply}).state
        unknown = [each for each in job_ids if each not in found]
        return {**found, **dict.fromkeys(await self._running.find(unknown), JobState.RUNNING)}


def _definitions(
    heartbeats: Sequence[Heartbeat], reading: ChangesReading, fired: Mapping[str, int]
) -> dict[str, Definition]:
    served = {name for each in heartbeats for name in each.job_names}
    code = {each.key: each for heartbeat in heartbeats for each in heartbeat.periodic}
    found: dict[str, Definition] = {}
    for key in {**code, **fired, **dict.fromkeys(filter(is_utf8, reading.raw))}:
        change = reading.changes.get(key)
        name = split_periodic_key(key)[0]
        if change is not None and change.added:
            name = change.name
        if key in code:
            name = code[key].name
        raw = reading.raw.get(key, b"")
        found[key] = Definition(key, name, code.get(key), change, raw, fired.get(key), name in served)
    return found
