"""Why a job that waits does not run yet, in one sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from .._doctor.wording import LISTED
from .._jobs.location import JobSet, queue_name
from .._jobs.membership import is_flow, member_of
from .._jobs.printable import plural, printable, utc_time
from .._redis.cancels import Cancels
from .._redis.enqueue_rules import SUCCESSOR_AT
from .._redis.holds import Holds
from .._redis.inspector import Inspector
from .._redis.limits import Limits
from .._redis.lock_state import LockState
from .._redis.metrics import MetricsStore
from .._redis.namespace import Namespace
from .._redis.protocol import encode
from ..models.job_status import JobState, JobStatus
from ..models.limits import LimitInfo
from ..models.pools import Heartbeat
from ..models.queues import QueueInfo
from ..rate import Rate
from .flows import FlowReader
from .job_status import JobStatusReader, WaitingJob
from .namespace_status import NamespaceStatusReader

# Whole minutes from which the rate of a queue is taken.
_MINUTES = 5
# Characters of an error that the sentence has at most.
_LONGEST_ERROR = 200


class WaitingReasonReader:
    """Finds out why jobs wait.

    Every method raises RedisError or OSError when Redis refuses or cannot be reached.
    """

    def __init__(
        self, namespace: Namespace, inspector: Inspector, job_status: JobStatusReader, status: NamespaceStatusReader
    ) -> None:
        self._redis = namespace.redis
        self._inspector = inspector
        self._job_status = job_status
        self._status = status
        self._cancels = Cancels(namespace)
        self._holds = Holds(namespace)
        self._flows = FlowReader(namespace)
        self._limits = Limits(namespace)
        self._metrics = MetricsStore(namespace)

    async def read(self, job_id: str, seconds: float) -> str:
        """Return why a job waits, the most important reason first; an empty text for a job that does not wait.

        :param seconds: how long to search for it at most.
        :raises UsageError: when the id is not text.
        """
        status, job = await self._job_status.find(job_id, seconds)
        if job is None or status.state is JobState.DEAD:
            return await self._in_flow(status)
        member = member_of(status.id)
        ids = [status.id] if member is None else [status.id, member.batch_id]
        if mark := next(iter((await self._cancels.read(ids)).values()), None):
            return f"it is {printable(str(mark))}, and will not start"
        if queue_name(job.location):
            return "; ".join(await self._in_queue(job))
        name = job.record.name
        if job.location == JobSet.SCHEDULED and job.record.at == SUCCESSOR_AT:
            holder = await self._holds.holder_before(name, status.id, seconds)
            if holder is not None:
                end = "has ended" if holder.until != "success" else "has succeeded or is deleted"
                return f"it waits until job {printable(holder.job_id)}, which holds its key, {end}"
        reasons = [_waits(job, status) or _delay(job, await self._redis.now())]
        reasons += _obstacles(name, await self._queue(name), await self._status.live_pools())
        return "; ".join(reasons)

    async def _in_flow(self, status: JobStatus) -> str:
        member = member_of(status.id)
        if status.state is not JobState.UNKNOWN or member is None or not is_flow(member.batch_id):
            return ""
        left = await self._flows.left_before(member.batch_id, member.number)
        if not left:
            return ""
        verb = "has" if left == 1 else "have"
        return f"it waits for {plural(left, 'node')} of flow {member.batch_id} that {verb} not ended"

    async def _queue(self, name: str) -> QueueInfo:
        queues = {each.name: each for each in await self._status.queues()}
        return queues.get(name, QueueInfo(name, 0, 0))

    async def _in_queue(self, job: WaitingJob) -> list[str]:
        name = queue_name(job.location)
        queue, live = await self._queue(name), await self._status.live_pools()
        reasons = [*_obstacles(name, queue, live)]
        is_blocked = bool(reasons)
        if 0 < queue.max_concurrency <= queue.running:
            lock = (await self._inspector.locks([name]))[name]
            reasons.append(_limit(queue, lock, live))
        if queue.fair:
            reasons += await self._of_tenant(name, job.tenant)
            is_blocked = bool(reasons)
        if queue.rate and not queue.tokens:
            reasons.append(_rate(queue))
            is_blocked = True
        shared = await self._of_limits(name, job.cost)
        if shared:
            reasons += shared
            is_blocked = True
        fetching = [each for each in live if _fetches(each, name)]
        busy = Counter(each.pool_id for each in await self._inspector.observations(fetching))
        if fetching and all(busy[each.pool_id] >= each.concurrency for each in fetching):
            workers = sum(each.concurrency for each in fetching)
            pools = "the pool that serves" if len(fetching) == 1 else f"the {len(fetching)} pools that serve"
            each_worker = "the only worker" if workers == 1 else f"all {workers} workers"
            verb = "is" if workers == 1 else "are"
            reasons.append(f"{each_worker} of {pools} {printable(name)} {verb} busy")
        if job.before:
            workers = sum(each.concurrency for each in fetching)
            slots = min(workers, queue.max_concurrency or workers)
            time_left = "" if is_blocked or queue.fair else await self._time_left(name, job.before, slots)
            verb = "is" if job.before == 1 else "are"
            whose = " of its tenant" if queue.fair else ""
            reasons.append(f"{plural(job.before, 'job')}{whose} {verb} before it in its queue{time_left}")
        if queue.fair and not is_blocked and queue.tenants - queue.tenants_held > 1:
            reasons.append(f"its tenant takes turns with {plural(queue.tenants - queue.tenants_held - 1, 'other')}")
        return reasons or ["it is the next in its queue, and a pool is about to fetch it"]

    async def _of_limits(self, name: str, cost: int | None) -> list[str]:
        """Return what of the shared limits of a queue is used up.

        :param cost: how many tokens of each the job takes; ``None`` for what its type says.
        """
        limits = [each for each in await self._limits.show() if name in each.jobs]
        if cost is None and limits and (of_type := (await self._limits.read()).types.get(name)) is not None:
            cost = of_type.cost
        return [text for each in limits if (text := _shared(each, cost or 1))]

    async def _of_tenant(self, name: str, tenant: str) -> list[str]:
        """Return the reasons for which no job of a tenant is started."""
        (state,) = await self._inspector.fair.queues.tenants(name, [encode(tenant)])
        reasons = []
        if state.paused:
            reasons.append("its tenant is paused")
        if state.retry_of:
            reasons.append(
                f"the jobs of its tenant are ordered, and wait for the retry of job {printable(state.retry_of)}"
            )
        if state.opens_in is not None and state.rests:
            reasons.append(f"its tenant rests for {_seconds(state.opens_in)}, because a job of it was rate limited")
        elif state.opens_in is not None:
            reasons.append(
                f"its tenant has no token left of its rate of {Rate.parse(state.rate).label}; the next one comes in "
                f"{_seconds(state.opens_in)}"
                if state.rate
                else "its tenant is about to go on"
            )
        if 0 < state.limit <= state.running:
            reasons.append(
                f"{plural(state.running, 'job')} of its tenant run, and no more than {state.limit} may at once"
            )
        return reasons

    async def _time_left(self, name: str, before: int, slots: int) -> str:
        """Return how long some jobs take.

        :param slots: how many of them can run at once.
        """
        counts = (await self._metrics.minutes_of([name], _MINUTES + 1))[name]
        ended = sum(each.processed for each in counts)
        if not ended:
            return f", and none of its jobs has ended in the last {_MINUTES} minutes"
        seconds = before * sum(each.run_ms for each in counts) / ended / 1000 / max(1, slots)
        minutes = round(seconds / 60)
        about = f"about {plural(minutes, 'minute')}" if minutes else "less than a minute"
        return f", {about} if they take as long as those of the last {_MINUTES} minutes"


def _fetches(pool: Heartbeat, name: str) -> bool:
    """Return whether a live pool fetches jobs of a name. A pool of gocraft/work has no state."""
    return name in pool.job_names and pool.state in ("running", "")


def _obstacles(name: str, queue: QueueInfo, live: Sequence[Heartbeat]) -> Iterator[str]:
    """Yield the reasons for which no job of a name is started."""
    if queue.paused:
        yield f"the queue {printable(name)} is paused"
    if queue.rests_for:
        seconds = math.ceil(queue.rests_for)
        yield f"the queue {printable(name)} rests for {plural(seconds, 'second')}, because a job was rate limited"
    serving = [each for each in live if name in each.job_names]
    if not serving:
        yield f"no pool that is alive serves {printable(name)}"
    elif not any(_fetches(each, name) for each in serving):
        pools = "the pool that serves" if len(serving) == 1 else f"all {len(serving)} pools that serve"
        states = " or ".join(sorted({each.state for each in serving}))
        yield f"{pools} {printable(name)} {'is' if len(serving) == 1 else 'are'} {states}, so no job is fetched"


def _limit(queue: QueueInfo, lock: LockState, live: Sequence[Heartbeat]) -> str:
    """Return that a concurrency limit is reached, and which pools hold the slots."""
    pools = {each.pool_id: each for each in live}
    holders = sorted(((share, pool_id) for pool_id, share in lock.shares.items() if share), reverse=True)
    held = [f"{_pool(pool_id, pools.get(pool_id))} holds {share}" for share, pool_id in holders]
    if len(held) > LISTED:
        held[LISTED:] = [f"{len(held) - LISTED} more pools hold the others"]
    if lock.excess and lock.excess > 0:
        held.append(f"{lock.excess} held by no pool, which `asyncwork doctor --repair` frees")
    which = f" ({', '.join(held)})" if held else ""
    return f"the concurrency limit of {queue.max_concurrency} of {printable(queue.name)} is reached{which}"


def _rate(queue: QueueInfo) -> str:
    """Return that there is no token of the rate of a queue."""
    rate = Rate.parse(queue.rate)
    return f"the rate of {printable(queue.name)} is used up ({rate.label}), and a token comes every {_every(rate)}"


def _shared(limit: LimitInfo, cost: int) -> str:
    """Return what of a shared limit is used up; an empty text if there is enough left for a job."""
    rate = Rate.parse(limit.rate) if limit.rate else None
    if rate is not None and not limit.tokens:
        return f"limit {printable(limit.name)} has no token left ({rate.label})"
    if rate is not None and limit.tokens < min(cost, rate.tokens):
        left = plural(limit.tokens, "token")
        return f"it costs {cost:,}, and limit {printable(limit.name)} has {left} left ({rate.label})"
    used = limit.running + limit.slots
    if 0 < limit.concurrency <= used:
        return f"limit {printable(limit.name)} is reached: {used:,} of {limit.concurrency:,} are in use"
    return ""


def _every(rate: Rate) -> str:
    return _seconds(rate.seconds / rate.count)


def _seconds(seconds: float) -> str:
    if seconds >= 100:
        return f"{seconds:.0f} s"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _pool(pool_id: str, heartbeat: Heartbeat | None) -> str:
    if heartbeat is None:
        return f"pool {printable(pool_id)}, which is gone,"
    return f"the pool on {printable(heartbeat.host) or 'an unknown host'}, process {heartbeat.pid},"


def _waits(job: WaitingJob, status: JobStatus) -> str:
    """Return what a job waits for that its handler has deferred; an empty text for any other."""
    waits = [each for each in status.steps if each.state == "waits" and each.until >= (job.record.at or 0.0)]
    if job.location != JobSet.SCHEDULED or not any(each.until == job.record.at for each in waits):
        return ""
    events = ", ".join(repr(printable(each.name)) for each in waits if each.kind == "event")
    sleeps = [each for each in waits if each.kind == "sleep"]
    reasons = [f"it waits for the event {events} until {utc_time(job.record.at or 0)}"] if events else []
    reasons += [f"it sleeps until {utc_time(each.until)} ({printable(each.name)})" for each in sleeps]
    return "; ".join(reasons)


def _delay(job: WaitingJob, now: float) -> str:
    """Return until when a job of a sorted set waits; ``now`` is Redis's clock, epoch seconds."""
    at, err = job.record.at or 0.0, printable(job.record.err)
    if len(err) > _LONGEST_ERROR:
        err = f"{err[:_LONGEST_ERROR]}…"
    reason = f", because attempt {job.record.fails} has failed: {err}" if err else ""
    if at <= now:
        return f"it was due at {utc_time(at)}, and waits for a pool to move it to its queue"
    if job.location == JobSet.RETRY:
        return f"it waits for its retry at {utc_time(at)}{reason}"
    return f"it is scheduled for {utc_time(at)}"
