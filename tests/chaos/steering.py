"""A program that enqueues jobs, waits for their results, and cancels some of them, while things go wrong."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from asyncwork import (
    CancelResult,
    Client,
    EnqueuedJob,
    Enqueuer,
    JobEndedError,
    JobState,
    NoResultError,
    RedisUnavailable,
    ResultTimeout,
    sync,
)
from asyncwork._redis.keys import Keys

from .producers import PoolMetrics
from .steered import EVENT, TRACKED, answer

# Seconds between two tries of what must come through in the end.
_AGAIN = 0.2
# Seconds after which a wait has failed that nothing has ended: everything is healed by then.
PATIENCE = 60.0
# Seconds after which a job is there whose enqueue had no answer, or never.
_IN_DOUBT = 20.0
# Seconds after which it ends all the same, although an answer or an end was not met.
_MEETS_ALL_WITHIN = 240.0
# Cancels that are asked for at a time. Each searches all queues, for which the busiest machine needs half a minute, so
# that more of them beside each other would all take longer than they may, and none would ever be complete.
CANCELS = 4
# Waits that may each block a thread at a time.
_THREADS = 6
# Seconds for which the queue of the jobs that expire is paused: longer than they have.
_PAUSED = 4.0
# The outcome of a wait that nothing has ended.
HANGS = "hangs"
# How often each name is drawn.
_WEIGHTS = {
    "tracked": 8,
    "tracked_threaded": 2,
    "expiring": 3,
    "emitting": 3,
    "stepping": 3,
    "waiting": 3,
    "timing_out": 1,
    "timing_out_threaded": 1,
}


@dataclass(slots=True)
class Cancel:
    """A cancel that was answered.

    :ivar at: when its answer came, seconds of the monotonic clock.
    :ivar asked_at: when it was first asked for.
    :ivar tries: how often it was asked for, until there was an answer.
    """

    result: CancelResult
    asked_at: float
    at: float
    tries: int = 1


@dataclass(slots=True)
class SteeredJob:
    """A job whose results are kept.

    :ivar way: how its end is waited for: ``awaiting`` or ``blocking``.
    :ivar expires: the end of its time to start, in seconds of the monotonic clock; ``None`` without.
    :ivar cancels: those that were answered.
    :ivar outcome: what its waiter got: the result, or the name of the error; :data:`HANGS` if it got nothing.
    :ivar state: what its record says of it; empty if there is none.
    :ivar result: what its record has as its result; ``None`` for none.
    :ivar signal: what became of the event that was sent to it: ``sent``; ``twice``, if the reply to it may have been
        lost before; or ``ended``, if the job had; ``refused``, if there was
        one. Empty if none was.
    :ivar ends: how many ends its stream has, and the state in the last entry.
    """

    job_id: str
    name: str
    number: int
    way: str = "awaiting"
    expires: float | None = None
    cancels: list[Cancel] = field(default_factory=list)
    outcome: str | None = None
    state: str = ""
    result: str | None = None
    ends: tuple[int, str] = (0, "")
    signal: str = ""


class Steerer:
    """Enqueues, waits and cancels until it is told to stop, and each answer and each end was there.

    :param client: cancels and pauses.
    :param pause: the longest time between two jobs, seconds.
    :ivar missed: the answers, ends and kinds of jobs that were not met.
    """

    def __init__(
        self,
        enqueuer: Enqueuer,
        blocking: sync.Enqueuer,
        client: Client,
        ledger: PoolMetrics,
        rng: random.Random,
        pause: float,
    ) -> None:
        self._enqueuer, self._blocking, self._client = enqueuer, blocking, client
        self._ledger, self._rng, self._pause = ledger, rng, pause
        self.stopping = False
        self.missed: list[str] = []
        self.jobs: list[SteeredJob] = []
        self._waits: dict[asyncio.Task[None], SteeredJob] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "chaos waiting")
        self._cancels = asyncio.Semaphore(CANCELS)
        self._blocked = 0
        self._finished = False

    async def run(self) -> None:
        """Enqueue, wait and cancel. Waits that have not ended by then go on."""
        async with asyncio.TaskGroup() as cancelling:
            pausing = cancelling.create_task(self._pause_often())
            until = math.inf
            while not self.stopping or ((missed := self._missing()) and time.monotonic() < until):
                if self.stopping and until == math.inf:
                    until = time.monotonic() + _MEETS_ALL_WITHIN
                # Otherwise those would pile up that are to be cancelled.
                job = None if self._cancels.locked() else await self._enqueue(cancelling)
                if job is not None:
                    cancelling.create_task(self._steer(job))
                    if job.name == "waiting":
                        cancelling.create_task(self._send_event(job))
                await asyncio.sleep(self._rng.random() * self._pause)
            self.missed = missed
            pausing.cancel()
        await self._persist(lambda: self._client.unpause("expiring"))

    async def finish(self) -> None:
        """Give the waits their time, and end those that nothing has ended. To be called when all jobs have ended."""
        if self._waits:
            _, left = await asyncio.wait(self._waits, timeout=PATIENCE)
            for wait in left:
                self._waits[wait].outcome = HANGS
                wait.cancel()
        self.close()

    def close(self) -> None:
        """Have the threads that wait give up, so that a trial ends that has failed."""
        self._finished = True
        self._threads.shutdown(wait=False)

    async def look(self, redis: Any, keys: Keys) -> None:
        """Read what Redis has of each job in the end."""
        for job in self.jobs:
            record = await redis.hgetall(keys.job_record(job.job_id))
            job.state = record.get(b"state", b"").decode()
            job.result = None if (raw := record.get(b"result")) is None else json.loads(raw)
            entries = await redis.xrange(keys.stream(job.job_id))
            ends = [fields[b"end"].decode() for _, fields in entries if b"end" in fields]
            job.ends = len(ends), ends[-1] if ends and b"end" in entries[-1][1] else ""

    def _missing(self) -> list[str]:
        answers = {each.result for job in self.jobs for each in job.cancels}
        errors = {job.outcome for job in self.jobs}
        ran = {job.name for job in self.jobs if job.outcome not in (None, "JobCancelled", "JobExpired")}
        wanted = {"JobCancelled", "JobExpired", "JobFailed"}
        missing = [f"the answer {each!s} to a cancel" for each in set(CancelResult) - answers]
        missing += [f"the end {each}" for each in wanted - errors]
        return sorted([*missing, *(f"a job {each} that ran" for each in _WEIGHTS.keys() - ran)])

    async def _enqueue(self, sending: asyncio.TaskGroup) -> SteeredJob | None:
        name, args, options = self._draw()
        number = self._ledger.number(name)
        asked_at = time.monotonic()
        if name == "waiting":
            options["id"] = f"waiting-{number}"
        try:
            job = await self._enqueuer.enqueue(name, {"number": number, **args}, **options)
        except RedisUnavailable:
            if name == "waiting":
                # It may be there all the same, and would wait for its event.
                sending.create_task(self._send_in_doubt(options["id"], number))
            return None
        # Whole seconds, rounded up.
        expires = asked_at + options["expires"] + 2 if "expires" in options else None
        steered = SteeredJob(job.id, name, number, expires=expires)
        if self._blocked < _THREADS and self._rng.random() < 0.4:
            steered.way = "blocking"
        self.jobs.append(steered)
        self._waits[asyncio.create_task(self._wait(steered, job))] = steered
        return steered

    def _draw(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return the name, arguments and options of a job."""
        (name,) = self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        match name:
            case "tracked":
                kind = self._rng.choice(TRACKED)
                seconds = self._rng.choice((0.1, 0.9, 2.0)) if kind == "lasting" else 0.0
                delay = {"delay": self._rng.choice((0.5, 2))} if kind == "scheduled" else {}
                return name, {"kind": kind, "seconds": seconds}, delay
            case "tracked_threaded":
                return name, {"seconds": self._rng.choice((0.05, 0.8))}, {}
            case "expiring":
                return name, {}, {"expires": 1}
        return name, {}, {}

    async def _wait(self, steered: SteeredJob, job: EnqueuedJob[Any]) -> None:
        try:
            if steered.way == "blocking":
                self._blocked += 1
                try:
                    loop = asyncio.get_running_loop()
                    result = await loop.run_in_executor(self._threads, self._block, job)
                finally:
                    self._blocked -= 1
            else:
                result = await job.result()
        except NoResultError as error:
            steered.outcome = type(error).__name__
        else:
            steered.outcome = str(result)

    def _block(self, job: EnqueuedJob[Any]) -> Any:
        """Wait for the result of a job. Ends with the run, because a job that is retried by a wrong clock may wait."""
        while True:
            try:
                return self._blocking.result(job, timeout=PATIENCE / 10)
            except ResultTimeout:
                if self._finished:
                    raise

    async def _steer(self, job: SteeredJob) -> None:
        """Cancel a job, or do not."""
        way = self._rng.choice(("not", "not", "soon", "later", "when it has ended"))
        if way == "not" or (job.name == "expiring" and way != "when it has ended"):
            return
        if way == "when it has ended":
            while job.outcome is None and not self.stopping:  # noqa: ASYNC110
                await asyncio.sleep(_AGAIN)
        else:
            await asyncio.sleep(0.0 if way == "soon" else self._rng.choice((0.05, 0.3, 1.0)))
        async with self._cancels:
            await self._cancel(job)

    async def _cancel(self, job: SteeredJob) -> None:
        asked_at, tries = time.monotonic(), 0

        async def cancel() -> CancelResult:
            nonlocal tries
            tries += 1
            # So long that the search is complete: the mark of a job that was not found in time stays.
            return await self._client.cancel(job.job_id, reason="chaos", seconds=PATIENCE)

        result = await self._persist(cancel)
        job.cancels.append(Cancel(result, asked_at, time.monotonic(), tries))

    async def _send_event(self, job: SteeredJob) -> None:
        """Send a job the event for which it waits: before it has begun, while it sleeps, or while it waits."""
        await asyncio.sleep(self._rng.choice((0.0, 0.5, 2.0, 4.0)))
        tries = 0

        async def send() -> str:
            nonlocal tries
            tries += 1
            try:
                first = await self._client.signal(job.job_id, EVENT, answer(job.number))
            except JobEndedError:
                return "ended" if tries == 1 else "twice"
            return "sent" if first else "twice"

        job.signal = await self._persist(send)
        if job.signal == "twice" and tries == 1:
            job.signal = "refused"

    async def _send_in_doubt(self, job_id: str, number: int) -> None:
        """Send an event to a job that may be there, or be there soon."""
        until = time.monotonic() + _IN_DOUBT
        while time.monotonic() < until:
            try:
                await self._client.signal(job_id, EVENT, answer(number))
            except (JobEndedError, RedisUnavailable):
                await asyncio.sleep(_AGAIN)
            else:
                return

    async def _pause_often(self) -> None:
        """Pause the queue of the jobs that expire, again and again."""
        while True:
            await self._persist(lambda: self._client.pause("expiring"))
            await asyncio.sleep(_PAUSED)
            await self._persist(lambda: self._client.unpause("expiring"))
            await asyncio.sleep(self._rng.random())

    async def _persist(self, act: Callable[[], Awaitable[Any]]) -> Any:
        """Do something until Redis has answered; return its answer."""
        while True:
            try:
                return await act()
            except RedisUnavailable:
                await asyncio.sleep(_AGAIN)


STATES = {
    "JobCancelled": {JobState.CANCELLED},
    "JobExpired": {JobState.EXPIRED},
    "JobFailed": {JobState.DEAD},
}
